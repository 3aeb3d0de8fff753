//! The store on sled 0.34.7, by rules that were each learnt by an experiment.
//!
//! Its `flush` is no barrier on Linux: data that it calls flushed was lost in simulated power cuts, until the `db` file was
//! also synced. Its batches cost twenty times an insert. Values and nodes above a quarter of a segment go to files of
//! their own that are never synced. A leftover of an interrupted snapshot keeps it from opening for ever, damage makes it panic,
//! and an error stays until it is opened anew.

use std::fmt::Debug;
use std::fs::{self, File};
use std::io;
use std::ops::{ControlFlow, Deref};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use rustix::fs::FlockOperation;

use crate::error::StoreError;
use crate::limits::{SLED_CACHE_BYTES, SLED_FLUSH_EVERY, SLED_LOCK_MAX, SLED_OPEN_MAX, SLED_SEGMENT_BYTES};
use crate::store::{Key, Store, Visit};

/// The one file that sled keeps values in.
pub(crate) const DATA_NAME: &str = "db";
/// Where it puts what is too large for a segment.
const BLOBS_NAME: &str = "blobs";

/// The two steps of a commit, in their order.
pub(crate) trait Barrier: Debug + Send {
    /// sled hands what it has to the system.
    fn flush(&mut self, db: &sled::Db) -> sled::Result<()>;

    /// The system hands it to the disk.
    fn sync_data(&mut self, file: &File) -> io::Result<()>;
}

/// The real steps.
#[derive(Debug)]
pub(crate) struct Disk;

impl Barrier for Disk {
    fn flush(&mut self, db: &sled::Db) -> sled::Result<()> {
        db.flush().map(drop)
    }

    fn sync_data(&mut self, file: &File) -> io::Result<()> {
        file.sync_data()
    }
}

/// An open sled. It panics on its way out when its last writes fail: that ends nobody else.
#[derive(Debug)]
struct Database(Option<sled::Db>);

impl Deref for Database {
    type Target = sled::Db;

    fn deref(&self) -> &sled::Db {
        self.0.as_ref().unwrap_or_else(|| unreachable!("taken only when dropped"))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let db = self.0.take();
        if catch_unwind(AssertUnwindSafe(|| drop(db))).is_err() {
            tracing::warn!("sled panicked when it was closed");
        }
    }
}

/// One sled database.
#[derive(Debug)]
pub(crate) struct SledStore {
    folder: PathBuf,
    db: Database,
    /// Our own handle of sled's data file, for the sync that sled leaves out.
    data: File,
    barrier: Box<dyn Barrier>,
}

impl SledStore {
    /// Opens or makes the database in `folder`.
    ///
    /// # Errors
    /// [`StoreError`], also when sled panics or does not come back.
    pub(crate) fn open(folder: &Path, barrier: Box<dyn Barrier>) -> Result<Self, StoreError> {
        fs::create_dir_all(folder)?;
        remove_leftovers(folder)?;
        let db = Database(Some(open_guarded(configuration(folder))?));
        let data = File::open(folder.join(DATA_NAME))?;
        sync_names(folder)?;
        let store = Self { folder: folder.to_path_buf(), db, data, barrier };
        store.refuse_blobs()?;
        Ok(store)
    }

    /// Whatever stands in the blobs folder was never synced.
    fn refuse_blobs(&self) -> Result<(), StoreError> {
        match fs::read_dir(self.folder.join(BLOBS_NAME))?.next() {
            None => Ok(()),
            Some(_) => Err(StoreError::Damaged("sled has put a value into a file that it does not sync".into())),
        }
    }
}

impl Store for SledStore {
    fn put(&mut self, key: Key, value: &[u8]) -> Result<(), StoreError> {
        guarded(|| self.db.insert(key.to_bytes(), value).map(drop))
    }

    fn remove(&mut self, key: Key) -> Result<(), StoreError> {
        guarded(|| self.db.remove(key.to_bytes()).map(drop))
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        guarded(|| self.barrier.flush(&self.db)).map_err(not_synced)?;
        self.barrier.sync_data(&self.data).map_err(StoreError::NotSynced)?;
        self.refuse_blobs()
    }

    fn at_or_before(&mut self, key: Key) -> Result<Option<(Key, Vec<u8>)>, StoreError> {
        let found = guarded(|| self.db.range(..=key.to_bytes()).next_back().transpose())?;
        found.map(|(key, value)| Ok((key_of(&key)?, value.to_vec()))).transpose()
    }

    fn scan(&mut self, key: Key, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let mut values = self.db.range(key.to_bytes()..);
        while let Some((key, value)) = guarded(|| values.next().transpose())? {
            if visit(key_of(&key)?, &value) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn disk_bytes(&self) -> u64 {
        let Ok(entries) = fs::read_dir(&self.folder) else { return 0 };
        entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
    }
}

pub(crate) fn configuration(folder: &Path) -> sled::Config {
    sled::Config::new()
        .path(folder)
        .segment_size(SLED_SEGMENT_BYTES)
        .cache_capacity(SLED_CACHE_BYTES)
        .flush_every_ms(Some(SLED_FLUSH_EVERY.as_millis().try_into().unwrap_or(u64::MAX)))
}

/// Removes what an interrupted snapshot has left: with it sled finds itself corrupt for ever.
fn remove_leftovers(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with("snap.") && name.ends_with(".generating")) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Opens in a thread of its own: a panic ends that thread alone, and one that never ends is left behind.
fn open_guarded(configuration: sled::Config) -> Result<sled::Db, StoreError> {
    let (freed, free) = mpsc::channel();
    let (done, opened) = mpsc::channel();
    let thread = thread::Builder::new().name("outbox-open".into());
    let thread = thread.spawn(move || {
        // Nobody waits any more for what came too late.
        if freed.send(wait_for_lock(&configuration.get_path())).is_ok() {
            let _ = done.send(configuration.open());
        }
    })?;
    match free.recv_timeout(SLED_LOCK_MAX) {
        Ok(waited) => waited?,
        Err(_) => return Err(StoreError::Panicked("sled still has the store open that was closed".into())),
    }
    match opened.recv_timeout(SLED_OPEN_MAX) {
        Ok(opened) => opened.map_err(of_sled),
        Err(mpsc::RecvTimeoutError::Timeout) => Err(StoreError::Panicked("sled does not open".into())),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            let text = thread.join().err().map_or_else(String::new, |payload| panic_text(payload.as_ref()));
            Err(StoreError::Panicked(text))
        }
    }
}

/// Waits until an instance of this process that has been closed lets go of its file: its threads may do so later. Sled
/// itself only tries. Other processes are kept out by the outbox's own lock.
fn wait_for_lock(folder: &Path) -> io::Result<()> {
    match File::open(folder.join(DATA_NAME)) {
        Ok(data) => Ok(rustix::fs::flock(&data, FlockOperation::LockExclusive)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// The names of the files, and what sled itself does not sync of them.
fn sync_names(folder: &Path) -> io::Result<()> {
    File::open(folder.join(DATA_NAME))?.sync_all()?;
    File::open(folder.join("conf"))?.sync_all()?;
    File::open(folder)?.sync_all()?;
    folder.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

fn guarded<T>(step: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(done) => done.map_err(of_sled),
        Err(payload) => Err(StoreError::Panicked(panic_text(payload.as_ref()))),
    }
}

fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no text".into())
}

fn of_sled(error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(error) => StoreError::Io(error),
        other => StoreError::Damaged(other.to_string()),
    }
}

/// An error of the disk while flushing leaves pages that the system may have given up, unless it was only full.
fn not_synced(error: StoreError) -> StoreError {
    match error {
        StoreError::Io(error) if !is_full(&error) => StoreError::NotSynced(error),
        other => other,
    }
}

pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn key_of(bytes: &[u8]) -> Result<Key, StoreError> {
    Key::from_bytes(bytes).ok_or_else(|| StoreError::Damaged("a key has not 16 bytes".into()))
}
