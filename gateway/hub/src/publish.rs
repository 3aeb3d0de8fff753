//! Taking in a signed snapshot that is to be handed down (FORMAT.md of the snapshot).

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ring::signature::{ED25519, UnparsedPublicKey};

use crate::failure::Failure;
use crate::ledger::{Ledger, LedgerError, SnapshotEntry};
use crate::limits::{SNAPSHOT_BYTES_MAX, SNAPSHOT_CHUNK_BYTES};
use crate::state::make;

const HEADER_LEN: usize = 256;
const SIGNATURE_LEN: usize = 64;
const MAGIC: &[u8; 8] = b"KALITKA\0";
const FOLDER: &str = "snapshots";
const INCOMING: &str = ".incoming";
const REMEDY: &str = "give a signed snapshot that the hub's user may read";

/// What the hub reads of a snapshot's header; the archive is the gateway's to understand.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    building: u32,
    generation: u32,
    archive_len: u64,
    publisher: [u8; 32],
    archive_hash: [u8; 32],
}

impl Header {
    /// FORMAT.md, section 2.
    fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Self, &'static str> {
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if !bytes.starts_with(MAGIC) {
            return Err("it is no snapshot");
        }
        if number(8) != 1 | 256 << 16 {
            return Err("it is of another format than 1");
        }
        let mut header = Self {
            building: number(12),
            generation: number(20),
            archive_len: u64::from(number(40)) | u64::from(number(44)) << 32,
            publisher: [0; 32],
            archive_hash: [0; 32],
        };
        header.publisher.copy_from_slice(&bytes[72..104]);
        header.archive_hash.copy_from_slice(&bytes[104..136]);
        if header.building == 0 || header.generation == 0 {
            return Err("its building or generation is 0");
        }
        if header.publisher == [0; 32] {
            return Err("it is not signed; sign it with `kalitka-snapshot sign`");
        }
        Ok(header)
    }

    const fn file_len(&self) -> u64 {
        self.archive_len.saturating_add((HEADER_LEN + SIGNATURE_LEN) as u64)
    }
}

/// Where the snapshot of `building` and `generation` is kept.
pub(crate) fn path(state: &Path, building: u32, generation: u32) -> PathBuf {
    folder(state, building).join(format!("{generation}.kalitka"))
}

fn folder(state: &Path, building: u32) -> PathBuf {
    state.join(FOLDER).join(building.to_string())
}

/// Verifies `file` as far as the hub can, copies it, and keeps it as the newest of its building; what is read is what is
/// verified and kept. Gives its entry. One at a time. `publishers` are those whose signature counts; any when it is empty.
///
/// # Errors
/// [`Failure::Input`] naming what is wrong with it, [`Failure::Environment`] when it cannot be read or kept.
pub(crate) fn publish(
    (state, publishers): (&Path, &[[u8; 32]]),
    ledger: Ledger<'_>,
    file: &Path,
    now: i64,
) -> Result<SnapshotEntry, Failure> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    if !file.is_absolute() {
        return Err(Failure::Input(format!("{}: give the absolute path", file.display())));
    }
    let mut source = File::open(file).map_err(|error| Failure::at(file, "read the snapshot", &error, REMEDY))?;
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    make(&state.join(FOLDER), crate::PROGRAM)?;
    let incoming = state.join(FOLDER).join(INCOMING);
    let taken = take(&mut source, &incoming, publishers);
    let taken = taken.and_then(|(header, bytes, hash)| {
        let Header { building, generation, publisher, .. } = header;
        let entry = SnapshotEntry { building, generation, bytes, hash, publisher, published: now, result: None };
        settle(state, ledger, &incoming, entry)
    });
    // Moved into its place, or of no use. A leftover would keep a full disk full.
    let _ = fs::remove_file(&incoming);
    taken.map_err(|fault| match fault {
        Fault::File(what) => Failure::Input(format!("{}: {what}", file.display())),
        Fault::Read(error) => Failure::at(file, "read the snapshot", &error, REMEDY),
        Fault::Keep(error) => Failure::at(state, "keep the snapshot", &error, "free space, or look at its permissions"),
        Fault::Ledger(error) => error.into(),
    })
}

/// Why a snapshot was not taken in.
enum Fault {
    File(&'static str),
    Read(io::Error),
    Keep(io::Error),
    Ledger(LedgerError),
}

/// Copies `source` to `incoming` and verifies what is copied; gives its header, its length and BLAKE3 of all of it.
fn take(source: &mut File, incoming: &Path, publishers: &[[u8; 32]]) -> Result<(Header, u64, [u8; 32]), Fault> {
    let mut first = [0; HEADER_LEN];
    source.read_exact(&mut first).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Fault::File("it is no snapshot: it is too short"),
        _ => Fault::Read(error),
    })?;
    let header = Header::parse(&first).map_err(Fault::File)?;
    let len = header.file_len();
    if len > SNAPSHOT_BYTES_MAX {
        return Err(Fault::File("it is longer than a snapshot may be"));
    }
    if !publishers.is_empty() && !publishers.contains(&header.publisher) {
        return Err(Fault::File("its publisher is none of gateways.publishers; gateways would refuse it"));
    }
    let copy = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(incoming);
    let mut copy = copy.map_err(Fault::Keep)?;
    let mut whole = blake3::Hasher::new();
    copy.write_all(&first).map_err(Fault::Keep)?;
    whole.update(&first);
    let archive = copy_hashed(source, &mut copy, header.archive_len, &mut whole)?;
    if archive != header.archive_hash {
        return Err(Fault::File("it is damaged: its archive is not what its header says"));
    }
    let mut signature = [0; SIGNATURE_LEN + 1];
    let signature = match read_up_to(source, &mut signature).map_err(Fault::Read)? {
        SIGNATURE_LEN => &signature[..SIGNATURE_LEN],
        read if read < SIGNATURE_LEN => return Err(Fault::File("it ends too early")),
        _ => return Err(Fault::File("something stands behind its signature")),
    };
    let signed = UnparsedPublicKey::new(&ED25519, header.publisher).verify(&first, signature);
    signed.map_err(|_| Fault::File("its signature does not hold"))?;
    copy.write_all(signature).and_then(|()| copy.sync_all()).map_err(Fault::Keep)?;
    whole.update(signature);
    Ok((header, len, *whole.finalize().as_bytes()))
}

/// Copies the archive; gives its BLAKE3.
fn copy_hashed(from: &mut File, to: &mut File, len: u64, whole: &mut blake3::Hasher) -> Result<[u8; 32], Fault> {
    let mut archive = blake3::Hasher::new();
    let mut chunk = vec![0; SNAPSHOT_CHUNK_BYTES];
    let mut left = len;
    while left > 0 {
        let step = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
        let read = from.read(&mut chunk[..step]).map_err(Fault::Read)?;
        if read == 0 {
            return Err(Fault::File("it ends too early"));
        }
        let bytes = &chunk[..read];
        to.write_all(bytes).map_err(Fault::Keep)?;
        archive.update(bytes);
        whole.update(bytes);
        left -= read as u64;
    }
    Ok(*archive.finalize().as_bytes())
}

fn read_up_to(from: &mut File, into: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < into.len() {
        match from.read(&mut into[len..])? {
            0 => break,
            read => len += read,
        }
    }
    Ok(len)
}

/// Moves the copy into its place and notes it. One that would not be the newest never touches what is there.
fn settle(state: &Path, ledger: Ledger<'_>, incoming: &Path, entry: SnapshotEntry) -> Result<SnapshotEntry, Fault> {
    let place = path(state, entry.building, entry.generation);
    let newest = ledger.snapshot(entry.building).map_err(Fault::Ledger)?;
    if newest.is_none_or(|newest| newest.generation < entry.generation) {
        let folder = folder(state, entry.building);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(Fault::Keep)?;
        fs::rename(incoming, &place).map_err(Fault::Keep)?;
        File::open(&folder).and_then(|folder| folder.sync_all()).map_err(Fault::Keep)?;
    }
    for generation in ledger.add_snapshot(&entry).map_err(Fault::Ledger)? {
        let path = path(state, entry.building, generation);
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!(file = %path.display(), %error, "cannot remove an old snapshot");
        }
    }
    Ok(entry)
}

#[cfg(test)]
#[path = "publish_tests.rs"]
mod tests;
