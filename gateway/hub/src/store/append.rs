//! Where a batch's events go: each identity is kept once, and its hash compared when it comes again (SPEC 15.6, 15.13).

use kalitka_protocol::EpochId;
use kalitka_protocol::event::{Events, chain};
use redb::ReadableTable;

use super::purge::last_of;
use super::record::{HEAD_LEN, Record, Signed};
use super::tables::{Head, Tables};
use super::{Checked, StoreError};
use crate::limits::{FORKS_MAX, RECORD_BYTES_MAX};

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// All of it is kept; `new` events of it were not before, and `order` is the newest order number.
    Kept { new: u64, order: u64 },
    /// Nothing of it is kept: `number` is the first of its events of which another history is known. `is_held_before` says
    /// whether those before it in the batch are all kept already.
    Fork { number: u64, is_held_before: bool },
    /// Nothing of it is kept: its epoch forked earlier on this connection.
    Dropped,
}

/// Compares `batch` with what is kept, and keeps what is new of it. On [`Taken::Fork`] nothing but the fork is noted.
pub(super) fn append(tables: &mut Tables<'_>, batch: &Checked) -> Result<Taken, StoreError> {
    match compare(tables, batch)? {
        Compared::Fork { number, is_held_before } => {
            note_fork(tables, batch, number)?;
            Ok(Taken::Fork { number, is_held_before })
        }
        Compared::Missing(runs) => {
            let mut order = tables.newest()?;
            let before = order;
            for (first, last) in runs {
                order = keep(tables, batch, (first, last), order)?;
            }
            let new = order - before;
            if new > 0 {
                note_head(tables, batch, new)?;
            }
            Ok(Taken::Kept { new, order })
        }
    }
}

enum Compared {
    /// The runs of numbers, first and last, that are not kept yet.
    Missing(Vec<(u64, u64)>),
    Fork {
        number: u64,
        is_held_before: bool,
    },
}

fn compare(tables: &Tables<'_>, batch: &Checked) -> Result<Compared, StoreError> {
    let (building, epoch) = (batch.building, batch.epoch.0);
    let at = |number: u64| (building, epoch, number);
    // What holds the number before the batch, or begins before it, and then what begins within or right behind it.
    let before = tables.records.range(at(0)..at(batch.first))?.next_back();
    let within = tables.records.range(at(batch.first)..=at(batch.last().saturating_add(1)))?;
    let mut missing = Vec::new();
    let mut next = batch.first;
    if let Some(purge) = last_of(&tables.purges, (building, epoch))? {
        // What has been purged was kept once; of it this hash alone is known, which vouches for all before it.
        if batch.hash_of(purge.through).is_some_and(|own| own != purge.hash) {
            return Ok(Compared::Fork { number: batch.first, is_held_before: false });
        }
        next = next.max(purge.through + 1);
    }
    for entry in before.into_iter().chain(within) {
        let (place, bytes) = entry?;
        let record = Record::decode(place.value(), bytes.value())?;
        if record.last() < batch.first - 1 {
            continue;
        }
        if let Some(number) = fork(batch, &record, next)? {
            let is_held_before = number > batch.first && missing.is_empty();
            return Ok(Compared::Fork { number, is_held_before });
        }
        if record.first > next {
            missing.push((next, batch.last().min(record.first - 1)));
        }
        next = next.max(record.last().saturating_add(1));
    }
    if next <= batch.last() {
        missing.push((next, batch.last()));
    }
    Ok(Compared::Missing(missing))
}

/// The first number of `batch` of which `record` knows another history; all before `next` are known to be the same.
fn fork(batch: &Checked, record: &Record, next: u64) -> Result<Option<u64>, StoreError> {
    let mut number = record.first - 1;
    let mut hash = record.hash_before;
    let mut events = Events::new(&record.events);
    loop {
        if batch.hash_of(number).is_some_and(|own| own != hash) {
            // A hash vouches for all before it: what lies in a gap before the record is of another history too.
            let first = if number < record.first { number.min(next) } else { number };
            return Ok(Some(first.max(batch.first)));
        }
        if number >= batch.last() {
            return Ok(None);
        }
        let Some(event) = events.next() else { return Ok(None) };
        let event = event.map_err(|error| StoreError::Damaged(format!("{:?}: {error}", record.place())))?;
        hash = chain(&hash, event.bytes);
        number += 1;
    }
}

/// Keeps the batch's events from `first` to `last` behind the order number `order`; gives the last one's.
fn keep(
    tables: &mut Tables<'_>,
    batch: &Checked,
    (first, last): (u64, u64),
    mut order: u64,
) -> Result<u64, StoreError> {
    let mut from = first;
    while from <= last {
        let to = batch.fitting(from, last, RECORD_BYTES_MAX - HEAD_LEN);
        let record = batch.cut(from, to, order + 1);
        let (building, epoch, _) = record.place();
        tables.records.insert(record.place(), record.encode().as_slice())?;
        tables.orders.insert(record.order, record.place())?;
        tables.building_orders.insert((building, record.order), (epoch, from))?;
        order = record.last_order();
        from = to + 1;
    }
    Ok(order)
}

fn note_head(tables: &mut Tables<'_>, batch: &Checked, new: u64) -> Result<(), StoreError> {
    let key = (batch.building, batch.epoch.0);
    let known = tables.epochs.get(key)?.map(|row| Head::from_row(row.value()));
    let mut head = match known {
        Some(head) => head,
        None => Head { ordinal: ordinal_next(tables, batch.building)?, ..Head::default() },
    };
    head.count += new;
    if batch.last() > head.last {
        head.last = batch.last();
        head.hash = batch.hash();
    }
    tables.epochs.insert(key, head.row())?;
    Ok(())
}

fn ordinal_next(tables: &Tables<'_>, building: u32) -> Result<u64, StoreError> {
    let mut newest = 0;
    for row in tables.epochs.range((building, 0)..=(building, u64::MAX))? {
        newest = newest.max(row?.1.value().0);
    }
    Ok(newest + 1)
}

fn note_fork(tables: &mut Tables<'_>, batch: &Checked, number: u64) -> Result<(), StoreError> {
    let key = (batch.building, batch.epoch.0, number);
    let times = tables.forks.get(key)?.map_or(0, |row| row.value().0);
    let building = (batch.building, 0, 0)..=(batch.building, u64::MAX, u64::MAX);
    // A gateway gone wrong does not fill the disk with its forks.
    if times == 0 && tables.forks.range(building)?.count() >= FORKS_MAX {
        return Ok(());
    }
    let other = batch.hash_of(number).unwrap_or_default();
    tables.forks.insert(key, (times.saturating_add(1), batch.received_us, other))?;
    Ok(())
}

impl Checked {
    /// h of `number`, when the batch says it: the number before its first one, or one of its own.
    fn hash_of(&self, number: u64) -> Option<[u8; 32]> {
        let place = usize::try_from(number.checked_sub(self.first - 1)?).ok()?;
        match place.checked_sub(1) {
            None => Some(self.hash_before),
            Some(place) => self.marks.get(place).map(|mark| mark.hash),
        }
    }

    /// Where in the events' bytes `number` ends; 0 for the one before the first.
    fn end_of(&self, number: u64) -> usize {
        let place = number.checked_sub(self.first).and_then(|place| usize::try_from(place).ok());
        place.and_then(|place| self.marks.get(place)).map_or(0, |mark| mark.end)
    }

    /// The highest number up to `last` so that from `from` on all events fit into `bytes_max`; at least `from`.
    fn fitting(&self, from: u64, last: u64, bytes_max: usize) -> u64 {
        let start = self.end_of(from - 1);
        let place = usize::try_from(from - self.first).unwrap_or(usize::MAX);
        let marks = self.marks.get(place..).unwrap_or_default();
        let fitting = marks.partition_point(|mark| mark.end - start <= bytes_max).max(1) as u64;
        last.min(from + fitting - 1)
    }

    fn cut(&self, first: u64, last: u64, order: u64) -> Record {
        let events = self.events.get(self.end_of(first - 1)..self.end_of(last)).unwrap_or_default();
        Record {
            order,
            building: self.building,
            epoch: EpochId(self.epoch.0),
            first,
            count: u32::try_from(last - first + 1).unwrap_or(u32::MAX),
            received_us: self.received_us,
            hash_before: self.hash_of(first - 1).unwrap_or_default(),
            hash: self.hash_of(last).unwrap_or_default(),
            signed: Signed { key: self.key, number: self.last(), hash: self.hash(), signature: self.signature },
            events: events.to_vec(),
        }
    }
}
