//! What follows from a write that failed: what is read of the file may not be on the disk.
//!
//! Linux gives up what a failed sync was to write, keeps it in memory as if it were written, and lets the next sync succeed.
//! A store that is opened then shows a commit that the next power cut takes back. So the whole file is written again in its
//! place, byte for byte as it is read, and synced, before anything in it is believed. A note beside the file says that this is
//! due, so that it holds for the next process too; it need not outlive a power cut, for then only the disk is left to read.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::StoreError;
use crate::limits::REWRITE_BYTES;

/// Notes that a write to the store at `path` has failed.
pub(super) fn note_unconfirmed(path: &Path) {
    if let Err(error) = File::create(note(path)) {
        tracing::error!(%error, "cannot note that the store's file is to be written again; do not restart the hub before it is");
    }
}

/// Writes the file at `path` again if that is due.
///
/// # Errors
/// What the disk says; it is due still.
pub(super) fn rewrite_if_unconfirmed(path: &Path) -> Result<(), StoreError> {
    let note = note(path);
    if !note.exists() {
        return Ok(());
    }
    let rewritten = rewrite(path).and_then(|bytes| {
        fs::remove_file(&note)?;
        Ok(bytes)
    });
    let bytes = rewritten.map_err(redb::StorageError::Io)?;
    tracing::warn!(bytes, "a write had failed; the store's file was written again");
    Ok(())
}

fn rewrite(path: &Path) -> io::Result<u64> {
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut window = vec![0; REWRITE_BYTES];
    let mut at = 0;
    loop {
        let read = match file.read_at(&mut window, at) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        file.write_all_at(&window[..read], at)?;
        at += read as u64;
    }
    file.sync_all()?;
    Ok(at)
}

fn note(path: &Path) -> PathBuf {
    path.with_extension("unconfirmed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_written_again_as_it_is_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hub.redb");
        let bytes: Vec<u8> = (0..REWRITE_BYTES * 2 + 77).map(|at| (at % 251).to_le_bytes()[0]).collect();
        fs::write(&path, &bytes).unwrap();
        let written_at = || fs::metadata(&path).unwrap().modified().unwrap();
        let before = written_at();
        rewrite_if_unconfirmed(&path).unwrap();
        assert_eq!(written_at(), before, "written again without a reason");
        note_unconfirmed(&path);
        rewrite_if_unconfirmed(&path).unwrap();
        assert!(written_at() > before && fs::read(&path).unwrap() == bytes);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the note stays");
    }

    #[test]
    fn what_cannot_be_written_again_is_due_still() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hub.redb");
        note_unconfirmed(&path);
        fs::create_dir(&path).unwrap();
        assert!(rewrite_if_unconfirmed(&path).is_err() && note(&path).exists());
        fs::remove_dir(&path).unwrap();
        rewrite_if_unconfirmed(&path).unwrap();
        assert!(!note(&path).exists());
    }
}
