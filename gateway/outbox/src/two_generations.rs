//! A small file that is never lost to a crash or to one damaged sector: it is written in turns to `name.a` and
//! `name.b`, and each says by its own checksum whether it is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::checksum::crc32c;
use crate::limits::GENERATION_BYTES_MAX;

const MAGIC: [u8; 4] = *b"KLT2";
const HEADER_LEN: usize = 20;
const ENDINGS: [char; 2] = ['a', 'b'];

/// What is there of a file in two generations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The whole one with the highest sequence, and that.
    pub newest: Option<(u64, Vec<u8>)>,
    /// The other one, when it is whole too.
    pub older: Option<(u64, Vec<u8>)>,
    /// Files that are there and not whole, or that the disk does not give.
    pub damaged: usize,
    /// Of those, the ones that the disk does not give: it may yet.
    pub unreadable: usize,
}

impl Found {
    /// Whether nothing was ever written, as far as one can see.
    #[must_use]
    pub const fn is_blank(&self) -> bool {
        self.newest.is_none() && self.damaged == 0
    }

    /// What the next generation is called by.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.newest.as_ref().map_or(1, |(sequence, _)| sequence + 1)
    }
}

/// Writes `bytes` as the generation `sequence` (mode 0600): an even one to `name.a`, an odd one to `name.b`. When it
/// returns they are durable; when it fails the other generation is as it was. One writer a name.
///
/// # Errors
/// What the file system says.
pub fn write(folder: &Path, name: &str, sequence: u64, bytes: &[u8]) -> io::Result<()> {
    let path = path(folder, name, sequence);
    let temporary = path.with_extension(if sequence.is_multiple_of(2) { "a.new" } else { "b.new" });
    let written = write_whole(&temporary, sequence, bytes).and_then(|()| fs::rename(&temporary, &path));
    if written.is_err() {
        // A leftover would keep a full disk full. The first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    File::open(folder)?.sync_all()
}

/// What is there of `name`. A generation that the disk does not give counts as damaged.
#[must_use]
pub fn read(folder: &Path, name: &str) -> Found {
    let mut found = Found::default();
    for turn in 0..2 {
        match read_one(&path(folder, name, turn)) {
            Ok(Some(whole)) => found.take(whole),
            Ok(None) => found.damaged += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => (found.damaged, found.unreadable) = (found.damaged + 1, found.unreadable + 1),
        }
    }
    found
}

impl Found {
    fn take(&mut self, whole: (u64, Vec<u8>)) {
        match self.newest.take() {
            Some(newest) if newest.0 > whole.0 => (self.newest, self.older) = (Some(newest), Some(whole)),
            other => (self.newest, self.older) = (Some(whole), other),
        }
    }
}

fn path(folder: &Path, name: &str, sequence: u64) -> PathBuf {
    folder.join(format!("{name}.{}", ENDINGS[usize::from(!sequence.is_multiple_of(2))]))
}

fn write_whole(path: &Path, sequence: u64, bytes: &[u8]) -> io::Result<()> {
    if bytes.len() as u64 > GENERATION_BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut head = Vec::with_capacity(HEADER_LEN);
    head.extend_from_slice(&MAGIC);
    head.extend_from_slice(&sequence.to_le_bytes());
    head.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    let crc = crc32c(&[&head, bytes]);
    head.extend_from_slice(&crc.to_le_bytes());
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(&head)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A generation and its sequence; `None` when it is not whole.
fn read_one(path: &Path) -> io::Result<Option<(u64, Vec<u8>)>> {
    let file = File::open(path)?;
    let limit = GENERATION_BYTES_MAX + HEADER_LEN as u64;
    let len = file.metadata()?.len();
    if len > limit {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or(0) + 1);
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(parse(bytes))
}

fn parse(mut bytes: Vec<u8>) -> Option<(u64, Vec<u8>)> {
    let (head, body) = bytes.split_first_chunk::<HEADER_LEN>()?;
    let (fields, crc) = head.split_last_chunk::<4>()?;
    let sequence = u64::from_le_bytes(*fields[4..].first_chunk()?);
    let len = u32::from_le_bytes(*fields[12..].first_chunk()?);
    let whole =
        fields[..4] == MAGIC && len as usize == body.len() && crc32c(&[fields, body]) == u32::from_le_bytes(*crc);
    whole.then(|| (sequence, bytes.split_off(HEADER_LEN)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn written(generations: u64) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for sequence in 1..=generations {
            write(folder.path(), "file", sequence, format!("generation {sequence}").as_bytes()).unwrap();
        }
        folder
    }

    fn generation(sequence: u64) -> Option<(u64, Vec<u8>)> {
        Some((sequence, format!("generation {sequence}").into_bytes()))
    }

    #[test]
    fn newest_two_generations_are_there_and_private() {
        let folder = written(0);
        assert!(read(folder.path(), "file").is_blank());
        for generations in 1..6 {
            let folder = written(generations);
            let found = read(folder.path(), "file");
            assert_eq!(found.newest, generation(generations));
            assert_eq!(found.older, (generations > 1).then(|| generation(generations - 1)).flatten());
            assert_eq!((found.damaged, found.next_sequence()), (0, generations + 1));
            for entry in fs::read_dir(folder.path()).unwrap() {
                let entry = entry.unwrap();
                assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600);
                assert!(!entry.file_name().to_str().unwrap().ends_with("new"));
            }
        }
    }

    #[test]
    fn every_damage_to_the_newest_gives_the_older() {
        let folder = written(4);
        let path = folder.path().join("file.a");
        let whole = fs::read(&path).unwrap();
        let cuts = (0..whole.len()).map(|len| whole[..len].to_vec());
        let flips = (0..whole.len() * 8).map(|bit| {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        });
        for bytes in cuts.chain(flips).chain([[&whole[..], b"x"].concat()]) {
            fs::write(&path, bytes).unwrap();
            let found = read(folder.path(), "file");
            assert_eq!((found.newest, found.older, found.damaged), (generation(3), None, 1));
        }
    }

    #[test]
    fn neither_generation_whole_is_not_the_same_as_blank() {
        let folder = written(2);
        fs::write(folder.path().join("file.a"), b"").unwrap();
        fs::write(folder.path().join("file.b"), b"rubbish").unwrap();
        let found = read(folder.path(), "file");
        assert_eq!((found.newest.clone(), found.damaged, found.is_blank()), (None, 2, false));
    }

    #[test]
    fn write_that_fails_leaves_the_generations_as_they_were() {
        let folder = written(2);
        fs::create_dir(folder.path().join("file.b.new")).unwrap();
        write(folder.path(), "file", 3, b"").unwrap_err();
        assert_eq!(read(folder.path(), "file").newest, generation(2));
        fs::write(folder.path().join("file.a.new"), b"half of the next").unwrap();
        assert_eq!(read(folder.path(), "file").newest, generation(2));
    }
}
