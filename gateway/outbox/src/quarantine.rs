//! Damaged stores that are kept for a look at them, within bounds: whatever was whole in them has been copied.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::limits::{QUARANTINE_BYTES_MAX, QUARANTINE_STORES_MAX};

pub(crate) const NAME: &str = "quarantine";

/// The folder of stores set aside, in the outbox's own. It is there only while something is in it.
#[derive(Debug)]
pub(crate) struct Quarantine {
    folder: PathBuf,
}

impl Quarantine {
    pub(crate) fn of(outbox: &Path) -> Self {
        Self { folder: outbox.join(NAME) }
    }

    /// Moves the store in folder `store` here; older ones give way to it.
    pub(crate) fn take_in(&self, store: &Path) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let name = store.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let place = self.folder.join(name);
        remove(&place)?;
        fs::rename(store, &place)?;
        self.keep_within_bounds()?;
        File::open(&self.folder)?.sync_all()
    }

    /// The stores here, oldest first.
    pub(crate) fn stores(&self) -> io::Result<Vec<PathBuf>> {
        let mut stores = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            found => found?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?,
        };
        stores.sort_by_key(|path| super::place::number_of(path));
        Ok(stores)
    }

    /// How many stores are here, and the bytes that they take up.
    pub(crate) fn usage(&self) -> (u64, u64) {
        let stores = self.stores().unwrap_or_default();
        (stores.len() as u64, stores.iter().map(|store| bytes_of(store)).sum())
    }

    /// Removes everything: the disk has no room for what is to be kept.
    pub(crate) fn empty(&self) -> io::Result<()> {
        remove(&self.folder)
    }

    /// The newest stay, as many as the bounds allow. The newest of all is never removed: of one that is too large the small
    /// files stay, and of the largest its beginning.
    fn keep_within_bounds(&self) -> io::Result<()> {
        let stores = self.stores()?;
        let Some((newest, older)) = stores.split_last() else { return Ok(()) };
        let mut bytes = cut(newest, QUARANTINE_BYTES_MAX)?;
        let mut kept = 1;
        for store in older.iter().rev() {
            bytes += bytes_of(store);
            kept += 1;
            if kept > QUARANTINE_STORES_MAX || bytes > QUARANTINE_BYTES_MAX {
                // Those before it are older still.
                bytes = u64::MAX / 2;
                tracing::warn!(store = %store.display(), "a damaged store that was kept gives way to newer ones");
                remove(store)?;
            }
        }
        Ok(())
    }
}

/// Cuts the files of a store until they take up no more than `bytes_max`, the largest first; gives what they take up.
fn cut(store: &Path, bytes_max: u64) -> io::Result<u64> {
    let mut files = files_in(store)?;
    files.sort_by_key(|(_, bytes)| *bytes);
    let mut room = bytes_max;
    for (path, bytes) in files {
        if bytes > room {
            tracing::warn!(file = %path.display(), bytes, kept = room, "a damaged store is kept in part: it is too large");
            File::options().write(true).open(&path)?.set_len(room)?;
        }
        room = room.saturating_sub(bytes);
    }
    Ok(bytes_max - room)
}

/// Bytes that what is at `path` takes up on the disk.
fn bytes_of(path: &Path) -> u64 {
    files_in(path).unwrap_or_default().iter().map(|(_, bytes)| bytes).sum()
}

/// All files at or under `path`, one level of folders deep, with the bytes that they take up.
fn files_in(path: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    if !path.is_dir() {
        return Ok(vec![(path.to_path_buf(), taken_up(&path.symlink_metadata()?))]);
    }
    let mut files = Vec::new();
    for path in crate::carve::files_under(path)? {
        let bytes = taken_up(&path.symlink_metadata()?);
        files.push((path, bytes));
    }
    Ok(files)
}

/// A file with holes in it takes up less than its length.
fn taken_up(metadata: &fs::Metadata) -> u64 {
    metadata.blocks().saturating_mul(512)
}

/// Removes a file or a folder with all in it, if it is there.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let removed = match path.symlink_metadata() {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(outbox: &Path, number: u64, bytes: usize) -> PathBuf {
        let store = outbox.join(format!("sled-{number}"));
        fs::create_dir_all(store.join("blobs")).unwrap();
        fs::write(store.join("conf"), b"conf").unwrap();
        fs::write(store.join("db"), vec![7; bytes]).unwrap();
        store
    }

    fn names(quarantine: &Quarantine) -> Vec<String> {
        let stores = quarantine.stores().unwrap();
        stores.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn newest_stores_are_kept_up_to_a_number() {
        let outbox = tempfile::tempdir().unwrap();
        let quarantine = Quarantine::of(outbox.path());
        assert_eq!(quarantine.usage(), (0, 0));
        for number in 8..=8 + QUARANTINE_STORES_MAX as u64 + 2 {
            quarantine.take_in(&stored(outbox.path(), number, 5000)).unwrap();
        }
        let last = 8 + QUARANTINE_STORES_MAX as u64 + 2;
        let expected: Vec<_> = (last + 1 - QUARANTINE_STORES_MAX as u64..=last).map(|n| format!("sled-{n}")).collect();
        assert_eq!(names(&quarantine), expected);
        quarantine.empty().unwrap();
        assert_eq!((quarantine.usage(), outbox.path().join(NAME).exists()), ((0, 0), false));
    }

    #[test]
    fn newest_stores_are_kept_up_to_their_bytes() {
        let outbox = tempfile::tempdir().unwrap();
        let quarantine = Quarantine::of(outbox.path());
        let large = usize::try_from(QUARANTINE_BYTES_MAX / 2).unwrap();
        for (number, bytes) in [(1, 10), (2, large), (3, large)] {
            quarantine.take_in(&stored(outbox.path(), number, bytes)).unwrap();
        }
        assert_eq!(
            names(&quarantine),
            ["sled-3"],
            "the oldest go first, and none that is older than one that went stays"
        );
        assert!(quarantine.usage().1 <= QUARANTINE_BYTES_MAX);
    }

    #[test]
    fn store_that_is_too_large_by_itself_keeps_its_small_files_and_a_beginning() {
        let outbox = tempfile::tempdir().unwrap();
        let quarantine = Quarantine::of(outbox.path());
        let large = usize::try_from(QUARANTINE_BYTES_MAX).unwrap() + 100_000;
        quarantine.take_in(&stored(outbox.path(), 1, large)).unwrap();
        let (stores, bytes) = quarantine.usage();
        assert!(stores == 1 && bytes <= QUARANTINE_BYTES_MAX, "{bytes}");
        let store = outbox.path().join(NAME).join("sled-1");
        assert_eq!(fs::read(store.join("conf")).unwrap(), b"conf");
        let kept = fs::metadata(store.join("db")).unwrap().len();
        assert!(kept < large as u64 && kept > QUARANTINE_BYTES_MAX - 100_000, "{kept}");
    }
}
