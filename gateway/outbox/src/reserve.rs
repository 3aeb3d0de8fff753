//! The reserve: a file that keeps room on the disk, and is given back when the disk is full. Then what makes room, and what
//! must not be lost, can still be written: removals, checkpoints, the safety file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::limits::RESERVE_BYTES;

const NAME: &str = "reserve";

/// Whether the reserve is in `folder`, whole.
pub(crate) fn is_held(folder: &Path) -> bool {
    fs::metadata(folder.join(NAME)).is_ok_and(|reserve| reserve.len() == RESERVE_BYTES)
}

/// Puts the reserve into `folder`. One that does not get all its room is taken away again.
pub(crate) fn hold(folder: &Path) -> io::Result<()> {
    let path = folder.join(NAME);
    let made = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path).and_then(allocate);
    if made.is_err() {
        give_back(folder)?;
    }
    made
}

/// Takes the reserve away. None is no error.
pub(crate) fn give_back(folder: &Path) -> io::Result<()> {
    match fs::remove_file(folder.join(NAME)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn allocate(mut file: File) -> io::Result<()> {
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, RESERVE_BYTES) {
        // A file system that does not know how gets bytes.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            let part = vec![0; 64 << 10];
            for _ in 0..RESERVE_BYTES / part.len() as u64 {
                file.write_all(&part)?;
            }
            file.sync_all()
        }
        done => Ok(done?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn reserve_takes_its_room_is_private_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_held(folder.path()));
        give_back(folder.path()).unwrap();
        hold(folder.path()).unwrap();
        let reserve = fs::metadata(folder.path().join(NAME)).unwrap();
        assert!(reserve.blocks() * 512 >= RESERVE_BYTES, "{} blocks", reserve.blocks());
        assert_eq!((reserve.mode() & 0o777, is_held(folder.path())), (0o600, true));
        // One that was cut off while it was made is made again.
        File::create(folder.path().join(NAME)).unwrap().set_len(5).unwrap();
        assert!(!is_held(folder.path()));
        hold(folder.path()).unwrap();
        assert!(is_held(folder.path()));
        give_back(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
