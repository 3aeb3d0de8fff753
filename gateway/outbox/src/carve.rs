//! Finds whole blocks and records in the raw files of a store that cannot be trusted or opened, whatever lies around them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use kalitka_protocol::EpochId;
use kalitka_protocol::event::Events;
use memchr::memmem;

use crate::block::{self, BlockHeader};
use crate::error::StoreError;
use crate::limits::{BLOCK_HEADER_LEN, BLOCK_MAX, CARVE_BYTES, KEPT_BYTES_MAX};
use crate::record::{self, Record, Void};

/// What the magics of blocks and records begin with.
const MAGIC_START: [u8; 3] = *b"KLT";
/// The file of a piece that is kept in memory.
const KEPT: usize = usize::MAX;
/// How much is skipped where the disk gives nothing.
const UNREADABLE_BYTES: u64 = 4096;

/// What is done where the disk gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It may give it later: nothing is decided now.
    Awaited,
    /// It is passed over.
    GivenUp,
}

/// A whole block and where it lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub(crate) file: usize,
    pub(crate) at: u64,
    pub(crate) len: usize,
    pub(crate) ordinal: u64,
    pub(crate) epoch: EpochId,
    pub(crate) first: u64,
    pub(crate) count: u32,
    pub(crate) sequence: u64,
    pub(crate) origin: Option<(EpochId, u64)>,
    /// The beginnings of the hashes before the first event and of the last.
    pub(crate) before: u64,
    pub(crate) end: u64,
    /// So many events right before the first have given way at most.
    pub(crate) shed: u32,
}

impl Piece {
    pub(crate) const fn last(&self) -> u64 {
        self.first + self.count as u64 - 1
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Carved {
    pub(crate) files: Vec<PathBuf>,
    pub(crate) pieces: Vec<Piece>,
    /// The newest of each epoch, by ordinal.
    pub(crate) records: BTreeMap<u64, Record>,
    /// Blocks that may no longer lie in any file.
    kept: Vec<Vec<u8>>,
}

impl Carved {
    /// Looks through all files under `folder`, one level of folders deep; `passed` hears of bytes that were looked at.
    ///
    /// # Errors
    /// When the folder itself cannot be listed, or a file cannot be opened; when it cannot be read, by `unreadable`.
    pub(crate) fn look_through(
        &mut self,
        folder: &Path,
        building: u32,
        unreadable: Unreadable,
        passed: &mut dyn FnMut(u64),
    ) -> Result<(), StoreError> {
        for path in files_under(folder)? {
            let number = self.files.len();
            let file = File::open(&path)?;
            self.files.push(path);
            look_into(&file, unreadable, passed, &mut |bytes, at| self.take(bytes, number, at, building))?;
        }
        Ok(())
    }

    /// Adds what was read before the store was opened.
    pub(crate) fn add(&mut self, kept: Kept, building: u32) {
        for record in kept.records.into_values() {
            take_record(&mut self.records, &record.to_bytes());
        }
        for (at, (_, value)) in (0..).zip(kept.blocks.into_values()) {
            self.take(&value, KEPT, at, building);
            self.kept.push(value);
        }
    }

    /// The piece's bytes, as they lie.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when they have changed since they were found.
    pub(crate) fn load(&self, piece: &Piece, open: &mut Option<(usize, File)>) -> Result<Vec<u8>, StoreError> {
        let mut bytes = vec![0; piece.len];
        if piece.file == KEPT {
            let value = usize::try_from(piece.at).ok().and_then(|at| self.kept.get(at));
            return value.cloned().ok_or_else(|| StoreError::Damaged("a kept block is gone".into()));
        }
        if open.as_ref().is_none_or(|(number, _)| *number != piece.file) {
            *open = self.files.get(piece.file).map(File::open).transpose()?.map(|file| (piece.file, file));
        }
        if let Some((_, file)) = open {
            file.read_exact_at(&mut bytes, piece.at)?;
        }
        let same = block::parse(&bytes).is_some_and(|block| block.header.sequence == piece.sequence);
        if same { Ok(bytes) } else { Err(StoreError::Damaged("a block has changed while it was salvaged".into())) }
    }

    /// Takes the block or record at the beginning of `bytes`; gives its length.
    fn take(&mut self, bytes: &[u8], file: usize, at: u64, building: u32) -> Option<usize> {
        if let Some(len) = take_record(&mut self.records, bytes) {
            return Some(len);
        }
        let block = block::parse_front(bytes)?;
        let walked = block.walk(building).ok()?;
        let BlockHeader { ordinal, epoch, first, sequence, origin, count, hash_before, shed } = block.header;
        let len = BLOCK_HEADER_LEN + block.events.len();
        let (before, end) = (beginning(&hash_before), beginning(&walked.hash));
        self.pieces.push(Piece { file, at, len, ordinal, epoch, first, count, sequence, origin, before, end, shed });
        Some(len)
    }
}

/// Whose events the first whole block in the files under `folders` holds.
///
/// # Errors
/// What the file system says.
pub(crate) fn building_of(folders: &[PathBuf]) -> Result<Option<u32>, StoreError> {
    for folder in folders {
        for path in files_under(folder)? {
            let mut building = None;
            look_into(&File::open(path)?, Unreadable::GivenUp, &mut |_| (), &mut |bytes, _| {
                let block = block::parse_front(bytes)?;
                building = building.or_else(|| Some(Events::new(block.events).next()?.ok()?.header.building));
                Some(BLOCK_HEADER_LEN + block.events.len())
            })?;
            if building.is_some() {
                return Ok(building);
            }
        }
    }
    Ok(None)
}

/// Drops from `found`, ascending, what begins where a newer one says that all has given way: it was removed, or put anew
/// without its beginning, and is still in a file. `of` gives first number, *shed* and sequence.
pub(crate) fn drop_given_way<T>(found: &mut Vec<T>, of: impl Fn(&T) -> (u64, u32, u64)) {
    // From where to where, and since when.
    let mut claim = (0, 0, 0);
    let mut kept: Vec<bool> = Vec::with_capacity(found.len());
    for one in found.iter().rev() {
        let (first, shed, sequence) = of(one);
        let is_gone = claim.0 <= first && first < claim.1 && sequence < claim.2;
        kept.push(!is_gone);
        if !is_gone && shed > 0 {
            claim = (first.saturating_sub(u64::from(shed)), first, sequence);
        }
    }
    let mut kept = kept.into_iter().rev();
    found.retain(|_| kept.next().unwrap_or(true));
}

/// The highest sequence of the blocks in the files under `folder`; 0 for none.
///
/// # Errors
/// What the file system says.
pub(crate) fn newest_sequence(folder: &Path, unreadable: Unreadable) -> Result<u64, StoreError> {
    let mut newest = 0;
    for path in files_under(folder)? {
        look_into(&File::open(path)?, unreadable, &mut |_| (), &mut |bytes, _| {
            let block = block::parse_front(bytes)?;
            newest = newest.max(block.header.sequence);
            Some(BLOCK_HEADER_LEN + block.events.len())
        })?;
    }
    Ok(newest)
}

/// What the hub does not have yet of a store, read before it is opened: damage at its end is taken for a torn one, and what
/// comes behind is cut off or overwritten.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// By ordinal and first number, with their sequence.
    blocks: BTreeMap<(u64, u64), (u64, Vec<u8>)>,
    records: BTreeMap<u64, Record>,
    bytes: usize,
}

impl Kept {
    /// Reads the files under `folder`. Of more than is kept the oldest goes first.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn read(folder: &Path, unreadable: Unreadable) -> Result<Self, StoreError> {
        let mut kept = Self::default();
        let paths = if folder.is_dir() { files_under(folder)? } else { Vec::new() };
        for path in &paths {
            look_into(&File::open(path)?, unreadable, &mut |_| (), &mut |bytes, _| {
                take_record(&mut kept.records, bytes).or_else(|| kept.take_block(bytes))
            })?;
        }
        kept.drop_acknowledged();
        Ok(kept)
    }

    fn take_block(&mut self, bytes: &[u8]) -> Option<usize> {
        let block = block::parse_front(bytes)?;
        let BlockHeader { ordinal, first, sequence, .. } = block.header;
        let len = BLOCK_HEADER_LEN + block.events.len();
        // More may be acknowledged by a record that lies further on.
        let acknowledged = self.acknowledged(ordinal);
        let newer = self.blocks.get(&(ordinal, first)).is_none_or(|(known, _)| *known < sequence);
        if block.header.last() > acknowledged && newer {
            let replaced = self.blocks.insert((ordinal, first), (sequence, bytes[..len].to_vec()));
            self.bytes += len;
            self.bytes -= replaced.map_or(0, |(_, value)| value.len());
        }
        while self.bytes > KEPT_BYTES_MAX {
            self.bytes -= self.blocks.pop_first().map_or(self.bytes, |(_, (_, value))| value.len());
        }
        Some(len)
    }

    fn acknowledged(&self, ordinal: u64) -> u64 {
        self.records.get(&ordinal).map_or(0, |record| record.acknowledged)
    }

    fn drop_acknowledged(&mut self) {
        let mut blocks = std::mem::take(&mut self.blocks);
        blocks.retain(|&(ordinal, _), (_, value)| {
            block::header_of(value).is_some_and(|header| header.last() > self.acknowledged(ordinal))
        });
        self.blocks = blocks;
    }

    /// Whether numbers are missing between blocks of the newest epoch. Were such a store opened, sled would take the place for its
    /// end, and overwrite what comes behind.
    pub(crate) fn has_hole(&self) -> bool {
        let Some((&ordinal, record)) = self.records.last_key_value() else { return false };
        let (front, void) = (record.front(), record.void);
        let mut next = None;
        let blocks = self.blocks.range((ordinal, 0)..=(ordinal, u64::MAX));
        let mut headers: Vec<_> = blocks.filter_map(|(_, (_, value))| block::header_of(value)).collect();
        drop_given_way(&mut headers, |header| (header.first, header.shed, header.sequence));
        for BlockHeader { first, count, sequence, shed, .. } in headers {
            let last = first + u64::from(count) - 1;
            // What has given way before the block is missing by right.
            let first_missing = first.saturating_sub(u64::from(shed));
            if last <= front || (first > void.number && sequence <= void.sequence) {
                continue;
            }
            let known = |next| record.gaps.iter().any(|gap| gap.0 <= next && first_missing <= gap.1 + 1);
            if next.is_some_and(|next| first_missing > next && !known(next)) {
                return true;
            }
            next = next.max(Some(last + 1));
        }
        false
    }

    /// Whether a block is here that is behind event `last` of the epoch with `ordinal`, the newest of the opened store, and
    /// begins no later than `end`: then the store has dropped its end without a word.
    pub(crate) fn reaches_behind(&self, ordinal: u64, last: u64, void: Void, end: u64) -> bool {
        let mut behind = self.blocks.range((ordinal, last + 1)..);
        behind.any(|(&(place, first), (sequence, _))| {
            let is_void = place == ordinal && first > void.number && *sequence <= void.sequence;
            !is_void && (place > ordinal || first <= end)
        })
    }
}

fn take_record(records: &mut BTreeMap<u64, Record>, bytes: &[u8]) -> Option<usize> {
    let (record, len) = record::parse_front(bytes)?;
    let known = records.entry(record.ordinal).or_insert_with(|| record.clone());
    if known.sequence <= record.sequence {
        *known = record;
    }
    Some(len)
}

/// Calls `take` wherever in `file` a block or record may begin; it gives the length of what it took.
fn look_into(
    file: &File,
    unreadable: Unreadable,
    passed: &mut dyn FnMut(u64),
    take: &mut dyn FnMut(&[u8], u64) -> Option<usize>,
) -> Result<(), StoreError> {
    let len = file.metadata()?.len();
    let mut window = vec![0; CARVE_BYTES + BLOCK_MAX];
    let mut base = 0;
    while base < len {
        let filled = match fill(file, &mut window, base) {
            Ok(filled) => filled,
            Err(error) if unreadable == Unreadable::Awaited => return Err(error.into()),
            Err(_) => {
                base += UNREADABLE_BYTES;
                passed(UNREADABLE_BYTES);
                continue;
            }
        };
        // What begins in the last part may not be whole here: it is looked at again from there.
        let whole_to = if base + filled as u64 >= len { filled } else { filled.saturating_sub(BLOCK_MAX).max(1) };
        let looked_at = look_at(&window[..filled], whole_to, base, take) as u64;
        base += looked_at;
        passed(looked_at);
    }
    Ok(())
}

/// Looks at what begins in `window` before `whole_to`; gives where the next window begins.
fn look_at(window: &[u8], whole_to: usize, base: u64, take: &mut dyn FnMut(&[u8], u64) -> Option<usize>) -> usize {
    let reach = window.len().min(whole_to + MAGIC_START.len() - 1);
    let mut at = 0;
    while at < whole_to {
        let Some(ahead) = memmem::find(&window[at..reach], &MAGIC_START) else { return whole_to };
        at += ahead;
        at += take(&window[at..], base + at as u64).unwrap_or(1);
    }
    at
}

pub(crate) fn beginning(hash: &[u8; 32]) -> u64 {
    hash.first_chunk().map_or(0, |start| u64::from_le_bytes(*start))
}

fn fill(file: &File, window: &mut [u8], base: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < window.len() {
        match file.read_at(&mut window[filled..], base + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // What came before the place that cannot be read is taken first.
            Err(_) if filled > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Regular files in `folder` and in folders in it, in a fixed order.
pub(crate) fn files_under(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_file() {
            files.push(entry.path());
        } else if kind.is_dir() {
            let inner = fs::read_dir(entry.path())?.flatten();
            files.extend(
                inner.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file())).map(|entry| entry.path()),
            );
        }
    }
    files.sort();
    Ok(files)
}
