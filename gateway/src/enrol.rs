//! `enrol`: the box becomes the gateway of its building at a hub, with a token that is good once.

use std::fs::File;
use std::io::{self, BufRead as _, Read as _};
use std::path::Path;
use std::time::Duration;

use kalitka_uplink::{EnrolError, Enrolling, Identity};
use tokio::runtime::Builder;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::config::Config;
use crate::failure::Failure;
use crate::limits::TOKEN_BYTES_MAX;
use crate::state;
use crate::trust::identity_folder;

/// The credential of the service manager that holds the token.
const CREDENTIAL: &str = "enrol-token";
const SECONDS_OF_A_DAY: i64 = 24 * 60 * 60;

/// Enrols the gateway; gives what was done and what to do next. A running gateway is not disturbed: it connects with the new
/// identity when it connects next.
///
/// # Errors
/// [`Failure::Input`] for a token, hub or building that is refused and for a box that is enrolled already;
/// [`Failure::Environment`] when the hub cannot be reached or the identity not be kept.
pub(crate) fn enrol(config: &Config, file: &Path, hub: &str, token: &str, again: bool) -> Result<String, Failure> {
    state::make(&config.state, crate::PROGRAM)?;
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Environment(format!("no event loop for the enrolment: {error}")))?;
    let folder = identity_folder(&config.state);
    let enrolling = Enrolling {
        building: config.building,
        hub,
        token,
        folder: &folder,
        again,
        now: || Duration::from_secs(u64::try_from(Clock::wall_seconds()).unwrap_or(0)),
    };
    let identity = runtime.block_on(kalitka_uplink::enrol(enrolling)).map_err(|error| match error {
        EnrolError::Input(text) => Failure::Input(text),
        EnrolError::Environment(text) => Failure::Environment(text),
    })?;
    Ok(report(&identity, file, Clock::wall_seconds()))
}

/// The token in `file`, on standard input for `-`; when no file is given, in the folder of the service manager's `credentials`.
///
/// # Errors
/// [`Failure`] when there is none, or it is none.
pub(crate) fn token(file: Option<&Path>, credentials: Option<&Path>) -> Result<Zeroizing<String>, Failure> {
    let credential = || credentials.map(|folder| folder.join(CREDENTIAL));
    let file = file.map(Path::to_path_buf).or_else(credential).ok_or_else(|| {
        Failure::Input(format!(
            "no token: give --token-file FILE, or start this by a service manager with the credential {CREDENTIAL}"
        ))
    })?;
    let mut text = Zeroizing::new(String::with_capacity(TOKEN_BYTES_MAX));
    let read = if file == Path::new("-") {
        // Whoever pastes it ends the line, and not the input.
        io::stdin().lock().take(TOKEN_BYTES_MAX as u64).read_line(&mut text)
    } else {
        File::open(&file).and_then(|opened| opened.take(TOKEN_BYTES_MAX as u64).read_to_string(&mut text))
    };
    let remedy = "put what `kalitka-hub pki token` printed into a file that this user may read";
    read.map_err(|error| Failure::at(&file, "read the token", &error, remedy))?;
    // The hub prints more lines, for people.
    let token = text.lines().next().unwrap_or_default().trim();
    if token.is_empty() {
        return Err(Failure::Input(format!("{}: there is no token in it; {remedy}", file.display())));
    }
    Ok(Zeroizing::new(token.to_owned()))
}

fn report(identity: &Identity, file: &Path, now: i64) -> String {
    format!(
        "building   {}\nhub        {}\nvalid      {} days\npublishers {} pinned\noperators  {} pinned\n\
         next       kalitka-gateway run --config {}, or restart the gateway if it runs\n",
        identity.building(),
        identity.hub(),
        identity.expires().saturating_sub(now) / SECONDS_OF_A_DAY,
        identity.publishers().len(),
        identity.operators().len(),
        file.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn token_is_the_first_line_of_the_file_or_else_of_the_credential() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        fs::write(&file, "  secret \n\nGood once, for the box of building 17\n").unwrap();
        fs::write(folder.path().join(CREDENTIAL), "credential").unwrap();
        let taken = |file, credentials| token(file, credentials).unwrap().as_str().to_owned();
        assert_eq!(taken(Some(&file), Some(folder.path())), "secret");
        assert_eq!(taken(None, Some(folder.path())), "credential");
    }

    #[test]
    fn token_that_is_not_there_is_asked_for_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let refused = |file, credentials| token(file, credentials).unwrap_err();
        assert!(matches!(refused(None, None), Failure::Input(text) if text.contains("--token-file")));
        assert!(matches!(refused(Some(&file), None), Failure::Environment(text) if text.contains("token")));
        assert!(matches!(refused(None, Some(folder.path())), Failure::Environment(text) if text.contains(CREDENTIAL)));
        for nothing in ["", "\nsecret\n", "   "] {
            fs::write(&file, nothing).unwrap();
            assert!(matches!(refused(Some(&file), None), Failure::Input(text) if text.contains("no token in it")));
        }
    }
}
