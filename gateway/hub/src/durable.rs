//! Small files, read whole and bounded.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// What to do about a file of the state folder that cannot be read.
pub(crate) const READ_REMEDY: &str = "let it be a regular file that belongs to the hub's user, or restore it";

/// The whole of `path`, or `None` when there is no such file.
///
/// # Errors
/// What the file system says; [`io::ErrorKind::FileTooLarge`] beyond `bytes_max`.
pub(crate) fn read_if_there(path: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // Room for all of it at once: a vector that grows leaves copies of keys in freed memory.
    let len = file.metadata()?.len().min(bytes_max);
    let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or(0) + 1);
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(Some(bytes)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_is_bounded_and_absence_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert!(read_if_there(&path, 3).unwrap().is_none());
        std::fs::write(&path, b"four").unwrap();
        assert_eq!(read_if_there(&path, 3).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
