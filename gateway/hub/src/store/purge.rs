//! What is removed by its age, and the record of it: whole records of events from an epoch's front on, oldest epoch first.

use kalitka_protocol::EpochId;
use kalitka_protocol::event::{ClockQuality, EventHeader, Events};
use redb::{ReadableTable, ReadableTableMetadata, TableDefinition};
use serde::{Deserialize, Serialize};

use super::record::{Place, Record};
use super::tables::{EPOCHS, Head, NOTES, Tables};
use super::{Store, StoreError};
use crate::ledger::hex_bytes;
use crate::limits::{PURGE_RECORDS_MAX, PURGES_KEPT_MAX};
use crate::pki::Pki;

/// Records of purges by building, epoch and last number.
pub(super) const PURGES: TableDefinition<'_, Place, &[u8]> = TableDefinition::new("purges");
/// The note of the highest order number that was ever removed.
pub(super) const ORDER_NOTE: &str = "purged_order";
/// Before this moment, the beginning of 2026, no clock of a gateway can be right.
const PLAUSIBLE_FROM_US: i64 = 1_767_225_600_000_000;
/// What the signature of a purge begins with.
const SIGNED: &[u8] = b"kalitka hub purge 1";

/// The record of a purge: what it removed, and the hash from which the rest of the epoch goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Purge {
    pub(crate) building: u32,
    #[serde(with = "epoch_text")]
    pub(crate) epoch: EpochId,
    /// The numbers that it removed, as far as they were kept: all before the first had gone earlier.
    pub(crate) first: u64,
    pub(crate) through: u64,
    /// h of `through`.
    #[serde(with = "hex_bytes")]
    pub(crate) hash: [u8; 32],
    /// Events that it removed.
    pub(crate) count: u64,
    /// Events of this epoch that have been removed in all.
    pub(crate) total: u64,
    /// The highest order number of this epoch that has been removed.
    pub(crate) order: u64,
    /// All of them happened before this moment, microseconds since 1970.
    pub(crate) before_us: i64,
    /// When they were removed.
    pub(crate) purged_us: i64,
    /// The hub's checkpoint key, and its signature over all of this.
    #[serde(with = "hex_bytes")]
    pub(crate) key: [u8; 32],
    #[serde(with = "hex_bytes")]
    pub(crate) signature: [u8; 64],
}

impl Purge {
    /// What is signed.
    pub(crate) fn signed(&self) -> Vec<u8> {
        let mut bytes = SIGNED.to_vec();
        bytes.extend(self.building.to_le_bytes());
        for field in [self.epoch.0, self.first, self.through] {
            bytes.extend(field.to_le_bytes());
        }
        bytes.extend(self.hash);
        for field in [self.count, self.total, self.order] {
            bytes.extend(field.to_le_bytes());
        }
        bytes.extend(self.before_us.to_le_bytes());
        bytes.extend(self.purged_us.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        serde_json::from_slice(bytes).map_err(|error| StoreError::Damaged(format!("the record of a purge: {error}")))
    }
}

/// What a purge is to remove.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Old {
    /// What happened before this moment, microseconds since 1970.
    pub(crate) before_us: i64,
    /// When the purge began: its steps make one record an epoch.
    pub(crate) now_us: i64,
}

/// When an event happened, as far as that can be told: by its own clock unless that cannot be right, and never after it came.
fn happened_us(header: &EventHeader, received_us: i64) -> i64 {
    if header.quality == ClockQuality::None || header.wall_us < PLAUSIBLE_FROM_US {
        received_us
    } else {
        header.wall_us.min(received_us)
    }
}

impl Store {
    /// Removes old events of one epoch of `building`, some [`PURGE_RECORDS_MAX`] records of them, and records it: gives
    /// the record and how many events went. `None` when there is nothing to remove.
    ///
    /// # Errors
    /// What the store says; then nothing is removed.
    pub(crate) fn purge(&self, building: u32, old: Old, pki: &Pki) -> Result<Option<(Purge, u64)>, StoreError> {
        self.write(|transaction| {
            let mut tables = Tables::open(transaction)?;
            for epoch in epochs(&tables, building)? {
                let (records, rest) = old_records(&tables, (building, epoch), old)?;
                if !records.is_empty() {
                    return remove(&mut tables, &records, old, pki).map(Some);
                }
                // What is younger epochs' stays until this one is through: a loss that one of them tells of is needed so long.
                if rest {
                    return Ok(None);
                }
            }
            Ok(None)
        })
    }

    /// The records of purges, of all buildings or one, by epoch and number.
    ///
    /// # Errors
    /// What the store says, as of every call here.
    pub(crate) fn purges(&self, building: Option<u32>) -> Result<Vec<Purge>, StoreError> {
        let (from, to) = building.map_or((0, u32::MAX), |building| (building, building));
        self.read(|transaction| {
            let mut purges = Vec::new();
            for row in transaction.open_table(PURGES)?.range((from, 0, 0)..=(to, u64::MAX, u64::MAX))? {
                purges.push(Purge::decode(row?.1.value())?);
            }
            Ok(purges)
        })
    }

    /// The newest record of a purge of each epoch, as far as events behind the order number `after` went with it.
    pub(crate) fn purged_behind(&self, after: u64, building: Option<u32>) -> Result<Vec<Purge>, StoreError> {
        self.read(|transaction| purged_behind(transaction, after, building))
    }

    /// When the oldest event of `building` happened, microseconds since 1970; `None` when none is kept.
    pub(crate) fn oldest_us(&self, building: u32) -> Result<Option<i64>, StoreError> {
        let mut oldest: Option<i64> = None;
        for (epoch, _) in self.epochs(building)? {
            for record in self.history(building, epoch, 1, 1)? {
                let first = Events::new(&record.events).flatten().next();
                let us = first.map(|event| happened_us(&event.header, record.received_us));
                oldest = [oldest, us].into_iter().flatten().min();
            }
        }
        Ok(oldest)
    }
}

/// As [`Store::purged_behind`], of one state of the store.
pub(super) fn purged_behind(
    transaction: &redb::ReadTransaction,
    after: u64,
    building: Option<u32>,
) -> Result<Vec<Purge>, StoreError> {
    if purged_order(&transaction.open_table(NOTES)?)? <= after {
        return Ok(Vec::new());
    }
    let (from, to) = building.map_or((0, u32::MAX), |building| (building, building));
    let purges = transaction.open_table(PURGES)?;
    let mut newest = Vec::new();
    for row in transaction.open_table(EPOCHS)?.range((from, 0)..=(to, u64::MAX))? {
        let (building, epoch) = row?.0.value();
        newest.extend(last_of(&purges, (building, epoch))?.filter(|purge| purge.order > after));
    }
    Ok(newest)
}

/// The newest record of a purge of an epoch.
pub(super) fn last_of(
    purges: &impl ReadableTable<Place, &'static [u8]>,
    (building, epoch): (u32, u64),
) -> Result<Option<Purge>, StoreError> {
    let row = purges.range((building, epoch, 0)..=(building, epoch, u64::MAX))?.next_back();
    row.map(|row| Purge::decode(row?.1.value())).transpose()
}

/// The highest order number that was ever removed; 0 for none.
pub(super) fn purged_order(notes: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<u64, StoreError> {
    let Some(note) = notes.get(ORDER_NOTE)? else { return Ok(0) };
    let bytes = note.value().try_into().map_err(|_| StoreError::Damaged(format!("the note {ORDER_NOTE}")))?;
    Ok(u64::from_le_bytes(bytes))
}

/// The building's epochs in the order in which they came.
fn epochs(tables: &Tables<'_>, building: u32) -> Result<Vec<u64>, StoreError> {
    let mut epochs = Vec::new();
    for row in tables.epochs.range((building, 0)..=(building, u64::MAX))? {
        let (key, row) = row?;
        epochs.push((Head::from_row(row.value()).ordinal, key.value().1));
    }
    epochs.sort_unstable();
    Ok(epochs.into_iter().map(|(_, epoch)| epoch).collect())
}

/// The first records of an epoch of which every event is old; and whether others follow.
fn old_records(
    tables: &Tables<'_>,
    (building, epoch): (u32, u64),
    old: Old,
) -> Result<(Vec<Record>, bool), StoreError> {
    let mut records = Vec::new();
    for row in tables.records.range((building, epoch, 0)..=(building, epoch, u64::MAX))? {
        let (place, bytes) = row?;
        let record = Record::decode(place.value(), bytes.value())?;
        let is_old = |header: &EventHeader| happened_us(header, record.received_us) < old.before_us;
        let all_old = Events::new(&record.events).flatten().all(|event| is_old(&event.header));
        if !all_old || records.len() >= PURGE_RECORDS_MAX {
            return Ok((records, true));
        }
        records.push(record);
    }
    Ok((records, false))
}

/// Removes `records`, the first of their epoch, and writes down what they were.
fn remove(tables: &mut Tables<'_>, records: &[Record], old: Old, pki: &Pki) -> Result<(Purge, u64), StoreError> {
    let (Some(front), Some(last)) = (records.first(), records.last()) else {
        return Err(StoreError::Damaged("a purge of nothing".into()));
    };
    let (building, epoch) = (front.building, front.epoch);
    let before = last_of(&tables.purges, (building, epoch.0))?;
    let count = records.iter().map(|record| u64::from(record.count)).sum();
    let order = records.iter().map(Record::last_order).max().unwrap_or(0);
    let mut purge = Purge {
        building,
        epoch,
        first: before.as_ref().map_or(front.first, |before| front.first.min(before.through + 1)),
        through: last.last(),
        hash: last.hash,
        count,
        total: before.as_ref().map_or(0, |before| before.total) + count,
        order: before.as_ref().map_or(0, |before| before.order).max(order),
        before_us: old.before_us,
        purged_us: old.now_us,
        key: pki.checkpoint_public(),
        signature: [0; 64],
    };
    if let Some(before) = before.filter(|before| (before.purged_us, before.before_us) == (old.now_us, old.before_us)) {
        // The steps of one purge are one record.
        (purge.first, purge.count) = (before.first, before.count + count);
        tables.purges.remove((building, epoch.0, before.through))?;
    }
    let signature = pki.checkpoint().sign(&purge.signed());
    purge.signature.copy_from_slice(signature.as_ref());
    for record in records {
        tables.records.remove(record.place())?;
        tables.orders.remove(record.order)?;
        tables.building_orders.remove((building, record.order))?;
    }
    note(tables, &purge, count)?;
    Ok((purge, count))
}

fn note(tables: &mut Tables<'_>, purge: &Purge, removed: u64) -> Result<(), StoreError> {
    let key = (purge.building, purge.epoch.0);
    let head = tables.epochs.get(key)?.map(|row| Head::from_row(row.value()));
    if let Some(mut head) = head {
        // The head stays: nothing that has gone is ever taken for new.
        head.count = head.count.saturating_sub(removed);
        tables.epochs.insert(key, head.row())?;
    }
    let bytes = serde_json::to_vec(purge).map_err(|error| StoreError::Damaged(error.to_string()))?;
    tables.purges.insert((key.0, key.1, purge.through), bytes.as_slice())?;
    let of_epoch = (key.0, key.1, 0)..=(key.0, key.1, u64::MAX);
    if tables.purges.len()? > PURGES_KEPT_MAX && tables.purges.range(of_epoch.clone())?.count() > 1 {
        let oldest = tables.purges.range(of_epoch)?.next().transpose()?.map(|(place, _)| place.value());
        if let Some(oldest) = oldest {
            tables.purges.remove(oldest)?;
        }
    }
    let order = purged_order(&tables.notes)?.max(purge.order);
    tables.notes.insert(ORDER_NOTE, order.to_le_bytes().as_slice())?;
    Ok(())
}

/// An epoch in a document: 16 hex digits.
mod epoch_text {
    use kalitka_protocol::EpochId;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
    pub(super) fn serialize<S: Serializer>(epoch: &EpochId, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format!("{:016x}", epoch.0))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<EpochId, D::Error> {
        let text = String::deserialize(from)?;
        u64::from_str_radix(&text, 16).map(EpochId).map_err(serde::de::Error::custom)
    }
}
