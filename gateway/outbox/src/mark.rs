//! How far the store has got, in a file of its own: a store that ends before it has lost its end, and does not know.
//!
//! It is written behind each commit and never synced, so it costs next to nothing; after a power cut it may be behind
//! the store, and never before it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use kalitka_protocol::EpochId;
use kalitka_protocol::wire::Cursor;

use crate::checksum::crc32c;
use crate::types::Head;

const NAME: &str = "mark";
const MAGIC: [u8; 4] = *b"KLTM";
const LEN: usize = 64;
/// The two places that are written in turns lie in sectors of their own.
const PLACES: [u64; 2] = [0, 4096];

/// The file, open for as long as the outbox is.
#[derive(Debug)]
pub(crate) struct Mark {
    file: Option<File>,
    turn: u64,
}

impl Mark {
    /// Opens the mark in `folder`; gives what it says, if anything. Without it the outbox works as well, and knows less.
    pub(crate) fn open(folder: &Path) -> (Self, Option<Head>) {
        let path = folder.join(NAME);
        let found = read(&path);
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        if let Err(error) = &file {
            tracing::warn!(path = %path.display(), %error, "how far the outbox has got cannot be written down");
        }
        (Self { file: file.ok(), turn: found.map_or(0, |(turn, _)| turn) }, found.map(|(_, head)| head))
    }

    /// Writes down that `head` is durable.
    pub(crate) fn set(&mut self, head: Head) {
        let Some(file) = &self.file else { return };
        self.turn += 1;
        let place = PLACES[usize::from(!self.turn.is_multiple_of(2))];
        // What it knew before is still true.
        let _ = file.write_all_at(&emit(self.turn, head), place);
    }
}

/// What the mark in the outbox's folder `folder` says, without a change to it.
pub(crate) fn look(folder: &Path) -> Option<Head> {
    read(&folder.join(NAME)).map(|(_, head)| head)
}

fn read(path: &Path) -> Option<(u64, Head)> {
    let bytes = match fs::metadata(path) {
        // A file that somebody else has put there is not read into memory.
        Ok(found) if found.len() <= PLACES[1] + LEN as u64 => fs::read(path),
        Ok(_) => Err(io::ErrorKind::FileTooLarge.into()),
        Err(error) => Err(error),
    };
    let bytes = bytes.ok()?;
    let slots = PLACES.iter().filter_map(|place| bytes.get(usize::try_from(*place).ok()?..));
    slots.filter_map(parse).max_by_key(|(turn, _)| *turn)
}

fn emit(turn: u64, head: Head) -> [u8; LEN] {
    let mut out = [0; LEN];
    out[..4].copy_from_slice(&MAGIC);
    out[8..16].copy_from_slice(&turn.to_le_bytes());
    out[16..24].copy_from_slice(&head.epoch.0.to_le_bytes());
    out[24..32].copy_from_slice(&head.number.to_le_bytes());
    out[32..].copy_from_slice(&head.hash);
    let crc = crc32c(&[&out]);
    out[4..8].copy_from_slice(&crc.to_le_bytes());
    out
}

fn parse(bytes: &[u8]) -> Option<(u64, Head)> {
    let mut cursor = Cursor::new(bytes.get(..LEN)?);
    let field = "mark";
    let (magic, _) = (cursor.bytes(4, field).ok()?, cursor.u32(field).ok()?);
    let (turn, epoch) = (cursor.u64(field).ok()?, EpochId(cursor.u64_from_1(field).ok()?));
    let head = Head { epoch, number: cursor.u64(field).ok()?, hash: cursor.array(field).ok()? };
    (magic == MAGIC && emit(turn, head) == bytes[..LEN]).then_some((turn, head))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(number: u64) -> Head {
        Head { epoch: EpochId(5), number, hash: [number.to_le_bytes()[0]; 32] }
    }

    #[test]
    fn mark_says_what_was_set_last() {
        let folder = tempfile::tempdir().unwrap();
        let (mut mark, none) = Mark::open(folder.path());
        assert_eq!(none, None);
        for number in 1..6 {
            mark.set(head(number));
            assert_eq!(look(folder.path()), Some(head(number)));
            assert_eq!(Mark::open(folder.path()).1, Some(head(number)));
        }
    }

    #[test]
    fn every_damage_to_the_newest_gives_the_one_before_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let (mut mark, _) = Mark::open(folder.path());
        mark.set(head(1));
        mark.set(head(2));
        let path = folder.path().join(NAME);
        let whole = fs::read(&path).unwrap();
        for bit in 0..LEN * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, bytes).unwrap();
            assert_eq!(look(folder.path()), Some(head(1)), "{bit}");
        }
        for len in 0..LEN {
            fs::write(&path, &whole[..len]).unwrap();
            assert_eq!(look(folder.path()), None, "{len}");
        }
        fs::write(&path, vec![0; 1 << 20]).unwrap();
        assert_eq!(look(folder.path()), None);
    }
}
