//! Whether the state folder is its user's alone, and all in it that user's.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{Case, Finding, listed};
use crate::limits::{DOCTOR_DEPTH_MAX, DOCTOR_FILES_MAX};

const CHECK: &str = "permissions";

pub(super) fn look(case: &Case<'_>) -> Vec<Finding> {
    let state = &case.config.state;
    let folder = match fs::metadata(state) {
        Ok(folder) => folder,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let remedy = "the first start makes it; see that its user may, or make it as the runbook says";
            return vec![Finding::notice(CHECK, format!("{} is not there yet", state.display()), remedy)];
        }
        Err(error) => return vec![unseen(state, &error)],
    };
    let inbox = case.config.snapshots.inbox.clone();
    let mut survey = Survey { owner: folder.uid(), inbox, left: DOCTOR_FILES_MAX, ..Survey::default() };
    survey.judge(state, &folder);
    match survey.walk(state, DOCTOR_DEPTH_MAX) {
        Ok(()) => survey.findings(state),
        Err((path, error)) => vec![unseen(&path, &error)],
    }
}

fn unseen(path: &Path, error: &io::Error) -> Finding {
    let found = format!("{}: cannot look at it: {error}", path.display());
    Finding::wrong(CHECK, found, "run this as root or as the gateway's user")
}

/// What was seen of the state folder.
#[derive(Default)]
struct Survey {
    /// Of the folder, and so of all in it.
    owner: u32,
    /// Others put files there, which are signed.
    inbox: PathBuf,
    /// What others may look into.
    open: Vec<String>,
    /// What belongs to somebody else: the gateway may not read or replace it.
    foreign: Vec<String>,
    left: usize,
}

impl Survey {
    fn judge(&mut self, path: &Path, found: &Metadata) {
        // Locks and links hold nothing; a socket is opened to its group by name.
        let holds = found.is_file() || found.is_dir();
        if holds && found.permissions().mode() & 0o077 != 0 {
            self.open.push(path.display().to_string());
        }
        if found.uid() != self.owner {
            self.foreign.push(path.display().to_string());
        }
    }

    /// Judges all in `folder`, as deep and as much as the limits say.
    fn walk(&mut self, folder: &Path, depth: usize) -> Result<(), (PathBuf, io::Error)> {
        let at = |error| (folder.to_path_buf(), error);
        for entry in fs::read_dir(folder).map_err(at)? {
            let path = entry.map_err(at)?.path();
            if path == self.inbox {
                continue;
            }
            let found = match fs::symlink_metadata(&path) {
                // The gateway moves files while one looks.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                found => found.map_err(|error| (path.clone(), error))?,
            };
            if self.left == 0 {
                return Ok(());
            }
            self.left -= 1;
            self.judge(&path, &found);
            if found.is_dir() && depth > 0 {
                self.walk(&path, depth - 1)?;
            }
        }
        Ok(())
    }

    fn findings(self, state: &Path) -> Vec<Finding> {
        let mut findings = Vec::new();
        let folder = state.display();
        if !self.open.is_empty() {
            let found = format!("others may look into {}", listed(&self.open));
            findings.push(Finding::wrong(CHECK, found, format!("`chmod -R go= {folder}`")));
        }
        if !self.foreign.is_empty() {
            let found = format!("not the gateway's user's: {}", listed(&self.foreign));
            let remedy = format!("`chown -R --reference={folder} {folder}`; run `enrol` as the gateway's user");
            findings.push(Finding::wrong(CHECK, found, remedy));
        }
        if findings.is_empty() {
            findings.push(Finding::good(CHECK, format!("{folder} and all in it is its user's alone")));
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::tests::{config, judged};
    use super::*;

    fn case(state: &Path) -> (Verdict, String) {
        let config = config(state, "");
        judged(&look(&Case { config: &config, running: None }))
    }

    #[test]
    fn what_others_may_look_into_is_named_with_the_command_that_mends_it() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        assert!(matches!(case(&state), (Verdict::Notice, text) if text.contains("not there yet")));
        crate::state::make(&state, "gateway").unwrap();
        fs::create_dir_all(state.join("a/b")).unwrap();
        fs::write(state.join("a/b/readers.keys"), "").unwrap();
        fs::create_dir(state.join("inbox")).unwrap();
        let close = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        [state.join("a"), state.join("a/b")].iter().for_each(|folder| close(folder, 0o700));
        close(&state.join("a/b/readers.keys"), 0o600);
        assert_eq!(case(&state).0, Verdict::Good);
        for (path, mode, good) in [("a/b/readers.keys", 0o640, 0o600), ("a", 0o701, 0o700), ("", 0o750, 0o700)] {
            close(&state.join(path), mode);
            let (verdict, text) = case(&state);
            assert!(verdict == Verdict::Wrong && text.contains(path) && text.contains("chmod -R go="), "{text}");
            close(&state.join(path), good);
        }
    }

    #[test]
    fn what_belongs_to_somebody_else_is_named() {
        let mut survey = Survey { owner: 1_234_567, left: 10, ..Survey::default() };
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("gateway.key"), "").unwrap();
        survey.walk(folder.path(), 1).unwrap();
        assert!(survey.foreign.len() == 1 && survey.foreign[0].contains("gateway.key"));
        let (verdict, text) = judged(&survey.findings(folder.path()));
        assert!(verdict == Verdict::Wrong && text.contains("chown -R --reference="), "{text}");
    }
}
