//! Which snapshots the hub holds, and what became of them.

use serde::{Deserialize, Serialize};

use super::{Ledger, LedgerError, Sheet, get, hex_bytes, open, put};
use crate::store::StoreError;

/// By building and generation.
const SNAPSHOTS: Sheet<(u32, u32)> = Sheet::new("snapshots");

/// A published snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotEntry {
    pub(crate) building: u32,
    pub(crate) generation: u32,
    pub(crate) bytes: u64,
    /// BLAKE3 of the whole file.
    #[serde(with = "hex_bytes")]
    pub(crate) hash: [u8; 32],
    #[serde(with = "hex_bytes")]
    pub(crate) publisher: [u8; 32],
    /// Seconds since 1970.
    pub(crate) published: i64,
    pub(crate) result: Option<SnapshotOutcome>,
}

/// What the gateway said of a snapshot (SPEC 15.12).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotOutcome {
    pub(crate) code: u8,
    pub(crate) at: i64,
}

impl Ledger<'_> {
    /// Keeps a snapshot that is newer than every one before of its building; one that is there already is kept once. Gives
    /// the generations that need not be held any more: all but the newest two.
    ///
    /// # Errors
    /// [`LedgerError::Refused`] when it is not newer.
    pub(crate) fn add_snapshot(self, entry: &SnapshotEntry) -> Result<Vec<u32>, LedgerError> {
        self.change(|transaction| {
            let mut table = open(transaction, SNAPSHOTS)?;
            let held = held(&table, entry.building)?;
            if let Some(newest) = held.last() {
                if newest.generation == entry.generation && newest.hash == entry.hash {
                    return Ok(Vec::new());
                }
                if newest.generation >= entry.generation {
                    return Err(LedgerError::Refused(format!(
                        "building {}: generation {} is published already, so {} is refused; build it anew with a higher one",
                        entry.building, newest.generation, entry.generation
                    )));
                }
            }
            put(&mut table, (entry.building, entry.generation), entry)?;
            let old: Vec<u32> = held.iter().rev().skip(1).map(|entry| entry.generation).collect();
            for generation in &old {
                table.remove((entry.building, *generation)).map_err(StoreError::from)?;
            }
            Ok(old)
        })
    }

    /// The newest snapshot of `building`.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn snapshot(self, building: u32) -> Result<Option<SnapshotEntry>, LedgerError> {
        Ok(self.all(SNAPSHOTS, |(of, _), entry| (of == building).then_some(entry))?.pop())
    }

    /// Every snapshot that is held.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn snapshots(self) -> Result<Vec<SnapshotEntry>, LedgerError> {
        self.all(SNAPSHOTS, |_, entry| Some(entry))
    }

    /// Notes what the gateway said.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn note_snapshot(
        self,
        (building, generation): (u32, u32),
        result: SnapshotOutcome,
    ) -> Result<(), LedgerError> {
        self.change(|transaction| {
            let mut table = open(transaction, SNAPSHOTS)?;
            let entry: Option<SnapshotEntry> = get(&table, (building, generation))?;
            let Some(entry) = entry else { return Ok(()) };
            Ok(put(&mut table, (building, generation), &SnapshotEntry { result: Some(result), ..entry })?)
        })
    }
}

/// Those of `building`, by generation.
fn held(
    table: &impl redb::ReadableTable<(u32, u32), &'static [u8]>,
    building: u32,
) -> Result<Vec<SnapshotEntry>, StoreError> {
    let entries = table.range((building, 0)..=(building, u32::MAX))?;
    entries.map(|entry| super::decode(entry?.1.value())).collect()
}
