//! The store of events: each identity once, with the signatures that vouch for it, in redb.

mod append;
mod checked;
mod purge;
mod read;
mod record;
mod rewriting;
mod scrub;
mod tables;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use redb::{Database, Durability, ReadTransaction, ReadableDatabase, WriteTransaction};
use tokio::sync::Notify;

use crate::failure::Failure;
use crate::limits::STORE_CACHE_BYTES;
pub(crate) use append::Taken;
pub(crate) use checked::{Checked, NotSound};
pub(crate) use purge::{Old, Purge};
pub(crate) use read::Page;
pub(crate) use record::{Placed, Record, Signed};
pub(crate) use scrub::Scrub;
pub(crate) use tables::Head;
use tables::Tables;
pub(crate) use writer::{Forked, NotNow, Work, Writer};

/// The store's file in the state folder.
pub(crate) const FILE_NAME: &str = "hub.redb";

/// Why the store did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// It failed and is being opened again.
    #[error("the store has failed and is being opened again; try again in a moment")]
    Reopening,
    /// The disk is full, but for a reserve.
    #[error("less than 16 MiB are free for the store; free space")]
    NoRoom,
    /// The machine or the file failed.
    #[error("the store: {0}")]
    Failed(Box<redb::Error>),
    /// What is kept is not what was written.
    #[error("the store is damaged: {0}")]
    Damaged(String),
}

macro_rules! from_redb {
    ($($error:ident),*) => {
        $(impl From<redb::$error> for StoreError {
            fn from(error: redb::$error) -> Self {
                Self::Failed(Box::new(error.into()))
            }
        })*
    };
}
from_redb!(CommitError, DatabaseError, StorageError, TableError, TransactionError);

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Environment(error.to_string())
    }
}

/// The open store. One a process.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    /// `None` while it is being opened again.
    database: RwLock<Option<Database>>,
    /// Held by whoever changes it: one at a time, also over several transactions.
    changing: Mutex<()>,
    /// Whether it has failed since it was opened: redb does nothing more then.
    failed: AtomicBool,
    /// Rung when it fails.
    bell: Notify,
    /// Seconds for which the step that writes has taken too long; 0 while it does not.
    held_up: AtomicU64,
}

impl Store {
    /// Opens the store under `state`, and makes it if there is none.
    ///
    /// # Errors
    /// [`Failure::Environment`] when it cannot be opened.
    pub(crate) fn open(state: &Path) -> Result<Self, Failure> {
        let path = state.join(FILE_NAME);
        let database = open(&path).map_err(|error| {
            Failure::Environment(format!(
                "{}: cannot open the store: {error}; free space, look at the disk, or restore the file",
                path.display()
            ))
        })?;
        let (database, changing) = (RwLock::new(Some(database)), Mutex::new(()));
        let (failed, held_up) = (AtomicBool::new(false), AtomicU64::new(0));
        Ok(Self { path, database, changing, failed, bell: Notify::new(), held_up })
    }

    /// Opens the store again after it has failed. Blocks until whoever reads is done.
    ///
    /// # Errors
    /// Why it could not be opened; it stays closed then.
    fn reopen(&self) -> Result<(), StoreError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // The old one holds the file's lock.
        drop(database.take());
        *database = Some(open(&self.path)?);
        self.failed.store(false, Ordering::Release);
        Ok(())
    }

    /// Whether the store has failed and is not open again.
    pub(crate) fn is_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// For how many seconds the disk has kept a write waiting; 0 while that is not long.
    pub(crate) fn held_up(&self) -> u64 {
        self.held_up.load(Ordering::Relaxed)
    }

    /// Reads one state of the store. Blocks, and holds off reopening: no waiting in `work`.
    ///
    /// # Errors
    /// What `work` says, or the store.
    pub(crate) fn read<T>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.with(|database| work(&database.begin_read()?))
    }

    /// Changes the store: all of `work` or, when it gives an error, nothing. Durable when this returns. Blocks while
    /// another change is under way: no waiting in `work`.
    ///
    /// # Errors
    /// What `work` says, or the store. The outcome of a commit that failed is not known before the store is open again.
    pub(crate) fn write<T>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.with(|database| {
            let written = write(database, work);
            // Before anybody opens it again.
            if matches!(written, Err(StoreError::Failed(_))) {
                rewriting::note_unconfirmed(&self.path);
            }
            written
        })
    }

    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        if self.failed.load(Ordering::Acquire) {
            return Err(StoreError::Reopening);
        }
        let done = work(database.as_ref().ok_or(StoreError::Reopening)?);
        if matches!(done, Err(StoreError::Failed(_))) {
            self.failed.store(true, Ordering::Release);
            self.bell.notify_one();
        }
        done
    }
}

fn write<T>(
    database: &Database,
    work: impl FnOnce(&WriteTransaction) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate).map_err(|error| StoreError::Damaged(error.to_string()))?;
    let done = work(&transaction)?;
    transaction.commit()?;
    Ok(done)
}

fn open(path: &Path) -> Result<Database, StoreError> {
    rewriting::rewrite_if_unconfirmed(path)?;
    open_confirmed(path).inspect_err(|_| rewriting::note_unconfirmed(path))
}

fn open_confirmed(path: &Path) -> Result<Database, StoreError> {
    let database = Database::builder().set_cache_size(STORE_CACHE_BYTES).create(path)?;
    let transaction = database.begin_write()?;
    // So that every table is there for whoever reads.
    drop(Tables::open(&transaction)?);
    transaction.commit()?;
    Ok(database)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
