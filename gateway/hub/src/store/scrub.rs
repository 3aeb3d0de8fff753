//! Bytes of removed events stay in the file's free pages until something else is written there. So something is.
//!
//! The free pages are filled with zeros until the file would have to grow; that last step is given up, which takes the growth
//! back. Then the filling goes. It is done in steps, so that whoever keeps batches waits for one at most; but nobody else writes
//! while no room is left, because the file would grow for it. Taking the filling away needs some free pages itself. In a large
//! file those stay unfilled; a small one is filled to the brim, grows, and is made compact behind that.

use std::sync::PoisonError;

use redb::{CompactionError, Database, ReadableTable, TableDefinition};

use super::writer::has_room;
use super::{Store, StoreError};
use crate::limits::{
    COMPACT_BYTES_MAX, SCRUB_LARGE_BYTES, SCRUB_LARGE_MAX, SCRUB_SMALL_BYTES, SCRUB_SMALL_MAX, SCRUB_SMALL_MIN,
};

/// Commits behind which what was removed before is free.
const COMMITS: u32 = 3;
const FILLING: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("filling");

/// How far a scrubbing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scrub {
    /// What was removed is becoming free.
    Begin,
    /// There is room left to be filled, in a file of so many bytes.
    Fill(u64),
    /// The filling is being taken away, so many values a step.
    Empty(u64),
    /// The file is being made as small as it can be.
    Compact,
    Done,
}

impl Store {
    /// Does one step and gives the next one. What an interrupted scrubbing has left is part of the filling.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn scrub(&self, step: Scrub) -> Result<Scrub, StoreError> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        match step {
            Scrub::Begin => {
                // Pages are free from the second commit on behind the one that no longer needs them.
                for _ in 0..COMMITS {
                    self.with(|database| Ok(database.begin_write()?.commit()?))?;
                }
                Ok(Scrub::Fill(self.len()))
            }
            Scrub::Fill(len) if self.fill((SCRUB_LARGE_MAX, SCRUB_LARGE_BYTES), len, false)? => Ok(step),
            Scrub::Fill(len) => {
                self.fill_up(SCRUB_LARGE_MAX / 2, 1, SCRUB_LARGE_BYTES, len)?;
                if len <= COMPACT_BYTES_MAX {
                    self.fill_up(SCRUB_SMALL_MAX, 1, SCRUB_SMALL_BYTES, len)?;
                    while self.len() <= len {
                        self.fill((1, SCRUB_SMALL_BYTES), len, true)?;
                    }
                } else {
                    self.fill_up(SCRUB_SMALL_MAX, SCRUB_SMALL_MIN, SCRUB_SMALL_BYTES, len)?;
                }
                self.with(|database| empty(database, SCRUB_SMALL_MIN))
            }
            Scrub::Empty(values) => self.with(|database| empty(database, values)),
            Scrub::Compact => {
                // Growing to the brim has doubled it.
                if self.len() <= 2 * COMPACT_BYTES_MAX {
                    self.compact()?;
                }
                Ok(Scrub::Done)
            }
            Scrub::Done => Ok(Scrub::Done),
        }
    }

    /// Fills as much as there is, with fewer and fewer values at a time, from `most` down to `least`.
    fn fill_up(&self, most: u64, least: u64, bytes: usize, len: u64) -> Result<(), StoreError> {
        let mut values = most;
        // Also a commit may have made it grow: then nothing is left to be filled.
        while values >= least && self.len() <= len {
            if !self.fill((values, bytes), len, false)? {
                values /= 2;
            }
        }
        Ok(())
    }

    /// Fills so many values of so many bytes; false when the file would have grown beyond `len`: then it has, or nothing was
    /// filled.
    fn fill(&self, values: (u64, usize), len: u64, may_grow: bool) -> Result<bool, StoreError> {
        has_room(self)?;
        self.with(|database| self.fill_with(database, values, len, may_grow))
    }

    fn len(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }

    /// Makes the file as small as it can be. Whoever reads or writes waits.
    fn compact(&self) -> Result<(), StoreError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        match database.as_mut().ok_or(StoreError::Reopening)?.compact() {
            Ok(_) => Ok(()),
            Err(CompactionError::Storage(error)) => {
                drop(database);
                // Noted as any failure is, so that the store is opened again.
                self.with(|_| Err(error.into()))
            }
            Err(other) => {
                tracing::warn!(error = %other, "the store's file could not be made compact; it stays larger");
                Ok(())
            }
        }
    }

    fn fill_with(
        &self,
        database: &Database,
        (values, bytes): (u64, usize),
        len: u64,
        may_grow: bool,
    ) -> Result<bool, StoreError> {
        let transaction = database.begin_write()?;
        let mut fits = true;
        {
            let mut filling = transaction.open_table(FILLING)?;
            let next = filling.last()?.map_or(0, |(key, _)| key.value() + 1);
            let zeros = vec![0; bytes];
            for key in next..next + values {
                filling.insert(key, zeros.as_slice())?;
                fits = self.len() <= len;
                if !fits {
                    break;
                }
            }
        }
        if fits || may_grow {
            transaction.commit()?;
        } else {
            transaction.abort()?;
        }
        Ok(fits)
    }
}

/// Takes up to `values` of the filling away, the largest first. What is taken leaves room for more the next time.
fn empty(database: &Database, values: u64) -> Result<Scrub, StoreError> {
    let transaction = database.begin_write()?;
    let mut taken = 0;
    {
        let mut filling = transaction.open_table(FILLING)?;
        while taken < values && filling.pop_first()?.is_some() {
            taken += 1;
        }
    }
    transaction.commit()?;
    Ok(if taken < values { Scrub::Compact } else { Scrub::Empty((values * 2).min(SCRUB_SMALL_MAX)) })
}
