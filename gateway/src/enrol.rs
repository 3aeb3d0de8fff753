//! `enrol`: the box becomes the gateway of its building at a hub, with a token that is good once.

use std::env;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
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

/// The token in `file`, on standard input for `-`, or in the service manager's credential when no file is given.
///
/// # Errors
/// [`Failure`] when there is none, or it is none.
pub(crate) fn token(file: Option<&Path>) -> Result<Zeroizing<String>, Failure> {
    let file = file.map_or_else(credential, |file| Ok(file.to_path_buf()))?;
    let mut text = Zeroizing::new(String::with_capacity(TOKEN_BYTES_MAX));
    let read = if file == Path::new("-") {
        io::stdin().lock().take(TOKEN_BYTES_MAX as u64).read_to_string(&mut text)
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

/// Where the service manager has put the credential.
fn credential() -> Result<PathBuf, Failure> {
    let folder = env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
        Failure::Input(format!(
            "no token: give --token-file FILE, or start this by a service manager with the credential {CREDENTIAL}"
        ))
    })?;
    Ok(Path::new(&folder).join(CREDENTIAL))
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
