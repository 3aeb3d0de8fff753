//! A site of one's own: programs as child processes, their folder, a gateway, and a time zone in which it is morning.

pub(crate) mod child;
pub(crate) mod folder;
pub(crate) mod gateway;
pub(crate) mod zone;

use std::io;
use std::path::{Path, PathBuf};

/// The folder of our programs: `binaries`, or that of this one.
///
/// # Errors
/// When this program's own place is not known.
pub fn programs(binaries: Option<&Path>) -> io::Result<PathBuf> {
    match binaries {
        Some(folder) => Ok(folder.to_owned()),
        None => Ok(std::env::current_exe()?.parent().map(Path::to_owned).unwrap_or_default()),
    }
}
