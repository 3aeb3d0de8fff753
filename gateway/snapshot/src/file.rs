//! A snapshot's bytes: read once into memory of our own, written so that a reader sees all of a file or none.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rkyv::util::AlignedVec;

use crate::limits::SNAPSHOT_BYTES_MAX;
use crate::view::use_large_pages;

/// Bytes in a private buffer that begins at a multiple of 64. Nothing outside this process can change them.
pub struct AlignedBytes(AlignedVec<64>);

impl AlignedBytes {
    /// Reads the file at `path` whole.
    ///
    /// # Errors
    /// What the system says, [`io::ErrorKind::FileTooLarge`] beyond [`SNAPSHOT_BYTES_MAX`], and
    /// [`io::ErrorKind::InvalidInput`] for what is no regular file.
    pub fn read(path: &Path) -> io::Result<Self> {
        let file = open_regular(path)?;
        let len = file.metadata()?.len();
        if len > SNAPSHOT_BYTES_MAX {
            return Err(too_large(len));
        }
        let mut bytes = room(usize::try_from(len).map_err(|_| too_large(len))?);
        bytes.extend_from_reader(&mut file.take(SNAPSHOT_BYTES_MAX + 1))?;
        if bytes.len() as u64 > SNAPSHOT_BYTES_MAX {
            return Err(too_large(bytes.len() as u64));
        }
        Ok(Self(bytes))
    }
}

/// Opens the file at `path` to read it.
///
/// # Errors
/// What the system says, and [`io::ErrorKind::InvalidInput`] for what is no regular file.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    if !fs::metadata(path)?.is_file() {
        // Opening a pipe would wait for whoever writes into it.
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no regular file"));
    }
    File::open(path)
}

fn too_large(len: u64) -> io::Error {
    let text = format!("{len} bytes, but a snapshot has at most {SNAPSHOT_BYTES_MAX}");
    io::Error::new(io::ErrorKind::FileTooLarge, text)
}

/// An empty buffer for `len` bytes.
fn room(len: usize) -> AlignedVec<64> {
    let mut bytes = AlignedVec::with_capacity(len);
    use_large_pages(&mut bytes);
    bytes
}

impl From<&[u8]> for AlignedBytes {
    fn from(bytes: &[u8]) -> Self {
        let mut aligned = room(bytes.len());
        aligned.extend_from_slice(bytes);
        Self(aligned)
    }
}

impl core::ops::Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Writes `bytes` to `path` (mode 0644) so that a crash or a reader at any moment finds the old file or the new one whole.
///
/// # Errors
/// What the system says; the old file, if any, is then still there.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "names no file"))?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}.new", std::process::id()));
    let temporary = folder.join(temporary);
    let written = write_whole(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The first error is the one to tell; a leftover is harmless.
        let _ = fs::remove_file(&temporary);
    }
    written.and_then(|()| File::open(folder)?.sync_all())
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_in_large_pages_is_what_was_read() {
        let mut rng = fastrand::Rng::with_seed(1);
        for len in [0, 1, 4096, (2 << 20) - 1, 5 << 20] {
            let bytes: Vec<u8> = core::iter::repeat_with(|| rng.u8(..)).take(len).collect();
            let file = tempfile::NamedTempFile::new().unwrap();
            fs::write(&file, &bytes).unwrap();
            let read = AlignedBytes::read(file.path()).unwrap();
            assert!(*read == bytes[..] && *AlignedBytes::from(&bytes[..]) == bytes[..], "{len}");
            assert_eq!(read.as_ptr().align_offset(64), 0);
        }
    }
}
