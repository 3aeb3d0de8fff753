//! The state folder: made if missing, private, used by one process at a time.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{Access, FlockOperation, access, flock};
use rustix::io::Errno;

use crate::failure::Failure;

const LOCK_NAME: &str = "lock";

/// What to do about a folder that is there. `program` is the name of the program, as in all functions here.
fn owned(program: &str) -> String {
    format!("let the folder belong to the {program}'s user, or configure another one")
}

fn make_it(program: &str) -> String {
    format!("make the folder for the {program}'s user, or configure one where that user may make it")
}

/// The folder, for as long as this lives. The system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub struct StateFolder {
    _lock: File,
}

impl StateFolder {
    /// Makes `folder` (0700) if it is missing, and takes it.
    ///
    /// # Errors
    /// [`Failure::Environment`] when it cannot be made, others may enter it, or another process has it.
    pub fn take(folder: &Path, program: &str) -> Result<Self, Failure> {
        make_private(folder, program)?;
        let path = folder.join(LOCK_NAME);
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        // A disk that takes nothing keeps nobody from deciding; of a file that is not there the folder takes the place.
        let lock = lock.or_else(|error| match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem => File::open(&path).or_else(|_| File::open(folder)),
            _ => Err(error),
        });
        let lock = lock.map_err(|error| Failure::at(&path, "open", &error, owned(program)))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            Errno::WOULDBLOCK => {
                let folder = folder.display();
                Failure::Environment(format!("{folder}: another {program} uses this state folder; stop it first"))
            }
            error => Failure::at(&path, "lock", &error.into(), "put `state` on a file system that has locks"),
        })?;
        Ok(Self { _lock: lock })
    }
}

/// Whether a process has `folder`; nothing when this user may not know. A process that takes it in the moment in which this looks
/// has to start once more.
#[must_use]
pub fn is_taken(folder: &Path) -> Option<bool> {
    match File::open(folder.join(LOCK_NAME)) {
        Ok(lock) => Some(flock(&lock, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)),
        Err(error) => (error.kind() == io::ErrorKind::NotFound).then_some(false),
    }
}

/// Makes `folder` and what is above it, unless it is there.
///
/// # Errors
/// [`Failure::Environment`] when that fails.
pub fn make(folder: &Path, program: &str) -> Result<(), Failure> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| Failure::at(folder, "make the folder", &error, make_it(program)))
}

/// Makes `folder` as [`make`] does, but for the group to enter (0750). One that is there stays as it is.
///
/// # Errors
/// [`Failure::Environment`] when that fails.
pub fn make_for_group(folder: &Path, program: &str) -> Result<(), Failure> {
    if folder.is_dir() {
        return Ok(());
    }
    make(folder, program)?;
    // Apart, because the process's umask takes the group's bits away.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o750))
        .map_err(|error| Failure::at(folder, "open the folder to its group", &error, owned(program)))
}

/// Looks whether a start could use the folder configured as `key`, and changes nothing: it is there with the `needed`
/// access for this user, or the nearest folder above it lets this user make it.
///
/// # Errors
/// [`Failure::Environment`] when neither holds.
pub fn look_at(key: &str, folder: &Path, needed: Access, program: &str) -> Result<(), Failure> {
    let nearest = folder.ancestors().find(|ancestor| ancestor.symlink_metadata().is_ok()).unwrap_or(folder);
    let needed = if nearest == folder { needed } else { Access::WRITE_OK | Access::EXEC_OK };
    let usable = if nearest.is_dir() { access(nearest, needed) } else { Err(Errno::NOTDIR) };
    usable.map_err(|error| {
        let what = format!("use {} for {key}", folder.display());
        Failure::at(nearest, what, &error.into(), make_it(program))
    })
}

fn make_private(folder: &Path, program: &str) -> Result<(), Failure> {
    make(folder, program)?;
    let metadata =
        fs::metadata(folder).map_err(|error| Failure::at(folder, "look at the folder", &error, owned(program)))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(Failure::Environment(format!(
        "{path}: its mode is {mode:04o}, so others may look into the state folder; give the {program} a folder of its \
         own, or run `chmod 700 {path}` if it is one",
        path = folder.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_is_private_and_taken_once() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("a/state");
        let taken = StateFolder::take(&folder, "gateway").unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(StateFolder::take(&folder, "gateway").unwrap_err().to_string().contains("another gateway"));
        drop(taken);
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o750)).unwrap();
        assert!(StateFolder::take(&folder, "gateway").unwrap_err().to_string().contains("chmod 700"));
    }
}
