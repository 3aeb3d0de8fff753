//! The plain segment log: files that are only appended to. It takes over when sled has failed too often.
//!
//! Old files are deleted whole, oldest first, so a removal always outlives what it removes. See `FORMAT.md`.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::{Bound, ControlFlow};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use kalitka_protocol::wire::Cursor;

use crate::checksum::crc32c;
use crate::error::StoreError;
use crate::limits::{BLOCK_MAX, LOG_FILE_BYTES, LOG_LIVE_PART_MIN};
use crate::store::{Key, Store, Visit};

const MAGIC: [u8; 4] = *b"KLTL";
const PUT: u8 = 1;
const REMOVE: u8 = 2;
const HEADER_LEN: usize = 40;
const ENDING: &str = ".log";

/// Where a value stands.
#[derive(Clone, Copy, Debug)]
struct Place {
    file: u64,
    /// Of its entry's header.
    at: u64,
    len: u32,
}

impl Place {
    const fn entry_len(&self) -> u64 {
        HEADER_LEN as u64 + self.len as u64
    }
}

#[derive(Debug)]
struct LogFile {
    number: u64,
    len: u64,
    /// Bytes of entries that are still needed.
    live: u64,
}

/// The log in one folder.
#[derive(Debug)]
pub(crate) struct SegmentLog {
    folder: PathBuf,
    index: BTreeMap<Key, Place>,
    /// Oldest first; the last one is written to. Never empty.
    files: VecDeque<LogFile>,
    writer: File,
    /// Of the written file, bytes that are durable.
    synced: u64,
    /// The file last read.
    reader: Option<(u64, File)>,
}

impl SegmentLog {
    /// Opens or makes the log in `folder`. A torn end that was never synced is cut off.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when anything else is not as it was written.
    pub(crate) fn open(folder: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(folder)?;
        let numbers = file_numbers(folder)?;
        let newest = numbers.last().copied().unwrap_or(1);
        let writer = open_writer(&file_path(folder, newest))?;
        sync_folder(folder)?;
        folder.parent().map_or(Ok(()), sync_folder)?;
        let mut log = Self {
            folder: folder.to_path_buf(),
            index: BTreeMap::new(),
            files: VecDeque::new(),
            writer,
            synced: 0,
            reader: None,
        };
        for &number in &numbers {
            log.replay(number, number == newest)?;
        }
        if numbers.is_empty() {
            log.files.push_back(LogFile { number: newest, len: 0, live: 0 });
        }
        log.synced = log.files.back().map_or(0, |file| file.len);
        Ok(log)
    }

    fn replay(&mut self, number: u64, newest: bool) -> Result<(), StoreError> {
        let path = file_path(&self.folder, number);
        let bytes = fs::read(&path)?;
        self.files.push_back(LogFile { number, len: 0, live: 0 });
        let mut at = 0;
        while let Some(entry) = parse_entry(&bytes[at..]) {
            let len = entry.value_len as usize + HEADER_LEN;
            let place = Place { file: number, at: at as u64, len: entry.value_len };
            self.note(entry.key, entry.is_put.then_some(place));
            at += len;
        }
        if let Some(file) = self.files.back_mut() {
            file.len = at as u64;
        }
        if at == bytes.len() {
            return Ok(());
        }
        if !newest || was_synced(&bytes, at) {
            return Err(StoreError::Damaged(format!("{}: not an entry at byte {at}", path.display())));
        }
        self.writer.set_len(at as u64)?;
        Ok(self.writer.sync_all()?)
    }

    /// Takes into the books what now stands under `key`.
    fn note(&mut self, key: Key, place: Option<Place>) {
        let old = match place {
            Some(place) => self.index.insert(key, place),
            None => self.index.remove(&key),
        };
        for file in &mut self.files {
            if let Some(old) = old
                && old.file == file.number
            {
                file.live -= old.entry_len();
            }
            if let Some(place) = place
                && place.file == file.number
            {
                file.live += place.entry_len();
            }
        }
    }

    fn write(&mut self, kind: u8, key: Key, value: &[u8]) -> Result<(), StoreError> {
        self.rotate_if_full()?;
        let len = u32::try_from(value.len()).unwrap_or(u32::MAX);
        let entry = emit_entry(kind, key, self.synced, value);
        self.writer.write_all(&entry)?;
        let Some(file) = self.files.back_mut() else { return Ok(()) };
        let place = Place { file: file.number, at: file.len, len };
        file.len += entry.len() as u64;
        self.note(key, (kind == PUT).then_some(place));
        Ok(())
    }

    fn rotate_if_full(&mut self) -> Result<(), StoreError> {
        let Some(LogFile { number, len, .. }) = self.files.back() else { return Ok(()) };
        if *len < LOG_FILE_BYTES {
            return Ok(());
        }
        let number = number + 1;
        self.sync_writer()?;
        self.writer = open_writer(&file_path(&self.folder, number))?;
        sync_folder(&self.folder)?;
        self.files.push_back(LogFile { number, len: 0, live: 0 });
        self.synced = 0;
        Ok(())
    }

    fn sync_writer(&self) -> Result<(), StoreError> {
        self.writer.sync_data().map_err(StoreError::NotSynced)
    }

    /// Deletes the oldest files of which nothing is needed. What would keep the next one for little is written again; it goes
    /// after the next sync.
    fn shed(&mut self) -> Result<(), StoreError> {
        while self.files.len() > 1
            && let Some(oldest) = self.files.front()
            && oldest.live == 0
        {
            fs::remove_file(file_path(&self.folder, oldest.number))?;
            self.files.pop_front();
        }
        let Some(&LogFile { number, len, live }) = self.files.front() else { return Ok(()) };
        if self.files.len() < 2 || live * LOG_LIVE_PART_MIN > len {
            return Ok(());
        }
        let kept: Vec<_> =
            self.index.iter().filter(|(_, place)| place.file == number).map(|(&key, &at)| (key, at)).collect();
        for (key, place) in kept {
            let value = self.load(key, place)?;
            self.write(PUT, key, &value)?;
        }
        Ok(())
    }

    fn load(&mut self, key: Key, place: Place) -> Result<Vec<u8>, StoreError> {
        if self.reader.as_ref().is_none_or(|(number, _)| *number != place.file) {
            self.reader = Some((place.file, File::open(file_path(&self.folder, place.file))?));
        }
        let mut bytes = vec![0; HEADER_LEN + place.len as usize];
        if let Some((_, file)) = &self.reader {
            file.read_exact_at(&mut bytes, place.at)?;
        }
        let whole = parse_entry(&bytes).is_some_and(|entry| entry.is_put && entry.key == key);
        if !whole {
            let path = file_path(&self.folder, place.file);
            return Err(StoreError::Damaged(format!("{}: not the entry at byte {}", path.display(), place.at)));
        }
        Ok(bytes.split_off(HEADER_LEN))
    }
}

impl Store for SegmentLog {
    fn put(&mut self, key: Key, value: &[u8]) -> Result<(), StoreError> {
        self.write(PUT, key, value)
    }

    fn remove(&mut self, key: Key) -> Result<(), StoreError> {
        if self.index.contains_key(&key) { self.write(REMOVE, key, &[]) } else { Ok(()) }
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.sync_writer()?;
        self.synced = self.files.back().map_or(0, |file| file.len);
        self.shed()
    }

    fn at_or_before(&mut self, key: Key) -> Result<Option<(Key, Vec<u8>)>, StoreError> {
        let found = self.index.range(..=key).next_back().map(|(&key, &place)| (key, place));
        found.map(|(key, place)| Ok((key, self.load(key, place)?))).transpose()
    }

    fn scan(&mut self, key: Key, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let mut from = Bound::Included(key);
        while let Some((&key, &place)) = self.index.range((from, Bound::Unbounded)).next() {
            let value = self.load(key, place)?;
            if visit(key, &value) == ControlFlow::Break(()) {
                break;
            }
            from = Bound::Excluded(key);
        }
        Ok(())
    }

    fn disk_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.len).sum()
    }
}

struct Entry {
    is_put: bool,
    key: Key,
    /// Bytes of its file that were durable when it was written.
    synced: u64,
    value_len: u32,
}

fn emit_entry(kind: u8, key: Key, synced: u64, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_LEN + value.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[kind, 0, 0, 0]);
    for field in [key.ordinal, key.number, synced] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
    let crc = crc32c(&[&out, value]);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(value);
    out
}

/// The entry at the beginning of `bytes`; `None` when no whole one stands there.
fn parse_entry(bytes: &[u8]) -> Option<Entry> {
    let (head, rest) = bytes.split_at_checked(HEADER_LEN)?;
    let mut cursor = Cursor::new(head);
    let field = "entry";
    let (magic, kind) = (cursor.bytes(4, field).ok()?, cursor.u8(field).ok()?);
    if magic != MAGIC || !(kind == PUT || kind == REMOVE) {
        return None;
    }
    cursor.reserved(3, field).ok()?;
    let key = Key { ordinal: cursor.u64(field).ok()?, number: cursor.u64(field).ok()? };
    let (synced, value_len) = (cursor.u64(field).ok()?, cursor.u32(field).ok()?);
    if value_len as usize > BLOCK_MAX {
        return None;
    }
    let value = rest.get(..value_len as usize)?;
    let whole = cursor.u32(field).ok()? == crc32c(&[&head[..HEADER_LEN - 4], value]);
    whole.then_some(Entry { is_put: kind == PUT, key, synced, value_len })
}

/// Whether a whole entry behind `at` says that the bytes there were durable: then they are damaged, and not a torn end.
fn was_synced(bytes: &[u8], at: usize) -> bool {
    let behind = bytes.get(at + 1..).unwrap_or_default();
    let starts = behind.windows(MAGIC.len()).enumerate().filter(|(_, window)| *window == MAGIC);
    starts.filter_map(|(start, _)| parse_entry(&behind[start..])).any(|entry| entry.synced > at as u64)
}

fn file_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:016}{ENDING}"))
}

/// The numbers of the log's files, ascending.
fn file_numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(ENDING)).and_then(|stem| stem.parse::<u64>().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn open_writer(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
