//! The watched folder: which files in it have not been looked at as they now are.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::limits::INBOX_FILES_MAX;

/// Tells a changed file from an unchanged one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    inode: u64,
    len: u64,
    changed: (i64, i64),
}

impl Look {
    fn of(metadata: &Metadata) -> Self {
        Self { inode: metadata.ino(), len: metadata.len(), changed: (metadata.ctime(), metadata.ctime_nsec()) }
    }
}

/// The folder, and what was seen in it.
#[derive(Debug)]
pub(super) struct Inbox {
    folder: PathBuf,
    seen: BTreeMap<PathBuf, Look>,
    /// Whether the last look found more than [`INBOX_FILES_MAX`] files.
    overflowing: bool,
}

impl Inbox {
    pub(super) const fn new(folder: PathBuf) -> Self {
        Self { folder, seen: BTreeMap::new(), overflowing: false }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Gives `path` again at the next look, even if it has not changed by then.
    pub(super) fn forget(&mut self, path: &Path) {
        self.seen.remove(path);
    }

    /// The files that are new or have changed since they were last given, by name. Names that begin with a dot are being
    /// written; what is no regular file is no snapshot. Of more than [`INBOX_FILES_MAX`] files those count that changed
    /// last: a folder that nobody clears must not hide the newest.
    ///
    /// # Errors
    /// What the file system says of the folder.
    pub(super) fn changed(&mut self) -> io::Result<Vec<PathBuf>> {
        let mut there = Vec::new();
        let mut overflowing = false;
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            // A file that is gone by now is no error, and neither is a dangling link.
            let Ok(metadata) = fs::metadata(entry.path()) else { continue };
            if metadata.is_file() {
                there.push((Look::of(&metadata), entry.path()));
            }
            // Twice as many at a time, so that the folder's size costs no memory and little sorting.
            if there.len() == INBOX_FILES_MAX * 2 {
                keep_newest(&mut there);
                overflowing = true;
            }
        }
        overflowing |= there.len() > INBOX_FILES_MAX;
        keep_newest(&mut there);
        if overflowing && !self.overflowing {
            let (folder, looked_at) = (self.folder.display(), INBOX_FILES_MAX);
            tracing::warn!(%folder, looked_at, "the inbox holds too many files; only the newest are looked at");
        }
        self.overflowing = overflowing;
        let there = there.into_iter().map(|(look, path)| (path, look)).collect();
        let seen = std::mem::replace(&mut self.seen, there);
        let changed = self.seen.iter().filter(|(path, look)| seen.get(*path) != Some(look));
        Ok(changed.map(|(path, _)| path.clone()).collect())
    }
}

/// Keeps the [`INBOX_FILES_MAX`] files that changed last.
fn keep_newest(files: &mut Vec<(Look, PathBuf)>) {
    files.sort_unstable_by(|(one, at), (other, beside)| other.changed.cmp(&one.changed).then_with(|| at.cmp(beside)));
    files.truncate(INBOX_FILES_MAX);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_given_once_for_each_change() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let mut inbox = Inbox::new(folder.path().into());
        fs::write(file("one"), "1").unwrap();
        fs::write(file(".hidden"), "1").unwrap();
        fs::create_dir(file("folder")).unwrap();
        assert_eq!(inbox.changed().unwrap(), [file("one")]);
        assert!(inbox.changed().unwrap().is_empty());
        fs::write(file("one"), "12").unwrap();
        fs::write(file("two"), "2").unwrap();
        assert_eq!(inbox.changed().unwrap(), [file("one"), file("two")]);
        fs::rename(file("two"), file("one")).unwrap();
        assert_eq!(inbox.changed().unwrap(), [file("one")]);
        fs::remove_file(file("one")).unwrap();
        assert!(inbox.changed().unwrap().is_empty() && inbox.seen.is_empty());
    }

    #[test]
    fn inbox_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let mut inbox = Inbox::new(folder.path().into());
        for number in 0..INBOX_FILES_MAX * 5 {
            fs::write(folder.path().join(number.to_string()), "").unwrap();
        }
        assert_eq!(inbox.changed().unwrap().len(), INBOX_FILES_MAX);
    }

    #[test]
    fn files_that_changed_last_are_kept() {
        let look = |second: i64| Look { inode: 1, len: 1, changed: (second, 0) };
        let last = i64::try_from(INBOX_FILES_MAX).unwrap() * 3;
        // In an order as a folder may give them.
        let mut files: Vec<_> = (0..last).map(|n| (look(n * 7 % last), PathBuf::from(n.to_string()))).collect();
        keep_newest(&mut files);
        let kept: Vec<i64> = files.iter().map(|(look, _)| look.changed.0).collect();
        assert_eq!(kept, (last - kept.len() as i64..last).rev().collect::<Vec<_>>());
        assert_eq!(kept.len(), INBOX_FILES_MAX);
    }

    #[test]
    fn forgotten_file_is_given_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut inbox = Inbox::new(folder.path().into());
        let file = folder.path().join("one");
        fs::write(&file, "1").unwrap();
        inbox.changed().unwrap();
        inbox.forget(&file);
        assert_eq!(inbox.changed().unwrap(), [file]);
    }

    #[test]
    fn absent_inbox_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Inbox::new(folder.path().join("absent")).changed().is_err());
    }
}
