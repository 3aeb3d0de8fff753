//! Foreign programs that tests need: made once, in the target folder.

use std::fs;
use std::path::{Path, PathBuf};

/// The folder `name` in the target folder, filled by `make` unless it holds the release `release` already.
///
/// # Panics
/// When it cannot be made.
#[must_use]
pub fn once(name: &str, release: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let target = exe.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file()).unwrap();
    let (folder, ready) = (target.join(name), target.join(name).join("ready"));
    // Another test may be at it.
    let lock = fs::File::create(target.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    if fs::read_to_string(&ready).ok().as_deref() != Some(release) {
        make(&folder);
        fs::write(&ready, release).unwrap();
    }
    folder
}
