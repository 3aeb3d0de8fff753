//! The look at everything in a store when it is opened: checksums, identities, continuity of numbers and hashes.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use kalitka_protocol::EpochId;
use kalitka_protocol::event::Loss;

use crate::block::{self, Block};
use crate::error::StoreError;
use crate::ledger::Epoch;
use crate::reading;
use crate::record::{self, Record};
use crate::store::{Key, Store};

/// What was found in a store.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// Oldest first.
    pub(crate) epochs: Vec<Epoch>,
    /// The highest sequence of all values.
    pub(crate) sequence: u64,
    /// Blocks that do not count: an append that failed has left them, or a cutting that was interrupted.
    pub(crate) void: Vec<Key>,
    /// The newest loss that says that events of a class have given way: perhaps not all of them have left.
    pub(crate) gave_way: Option<Loss>,
    /// The sequence of the last block that counts.
    newest: u64,
    /// First and last numbers of an epoch that later blocks say they have taken over.
    moved: BTreeMap<u64, Vec<(u64, u64)>>,
    /// Epochs that hold an event that closes a loss of them.
    closed: Vec<EpochId>,
    building: u32,
}

/// Looks at everything in `store`.
///
/// # Errors
/// [`StoreError::Damaged`] with the first thing that is not as it was written; others as the store says.
pub(crate) fn check(store: &mut dyn Store, building: u32) -> Result<Checked, StoreError> {
    let mut checked = Checked { building, ..Checked::default() };
    reading::scan(store, Key::FIRST, |key, value| {
        checked.take(key, value).map_err(StoreError::Damaged)?;
        Ok(ControlFlow::Continue(()))
    })?;
    checked.end_of_epoch().map_err(StoreError::Damaged)?;
    for epoch in &mut checked.epochs {
        if checked.closed.contains(&epoch.id()) {
            epoch.record.loss_open = None;
        }
        if let Some(moving) = epoch.record.moving {
            let copies = checked.moved.get(&epoch.id().0).into_iter().flatten();
            // A salvage has left whole blocks of them out: then the copies reach beyond what is left. Those of an earlier moving
            // begin there.
            let copies = copies.filter(|range| moving.first <= range.0.max(2) && range.0 <= epoch.last);
            epoch.copied = copies.map(|range| range.1.min(epoch.last)).max();
        }
    }
    Ok(checked)
}

impl Checked {
    fn take(&mut self, key: Key, value: &[u8]) -> Result<(), String> {
        if key.number == 0 {
            let record =
                record::parse(value).ok_or_else(|| format!("the record of epoch {} is not whole", key.ordinal))?;
            return self.take_record(key, record);
        }
        let name = || format!("block {} of epoch {}", key.number, key.ordinal);
        let block = block::parse(value).ok_or_else(|| format!("{} is not whole", name()))?;
        if block.header.key() != key {
            return Err(format!("{} stands in a wrong place", name()));
        }
        self.sequence = self.sequence.max(block.header.sequence);
        let epoch = self.epochs.last().filter(|epoch| epoch.record.ordinal == key.ordinal);
        let epoch = epoch.ok_or_else(|| format!("{} has no record of its epoch", name()))?;
        if epoch.id() != block.header.epoch {
            return Err(format!("{} is of another epoch", name()));
        }
        let void = epoch.record.void;
        if block.header.first > void.number && block.header.sequence <= void.sequence {
            self.void.push(key);
            return Ok(());
        }
        let is_part = block.header.shed > 0 && block.header.last() <= epoch.last;
        if is_part && epoch.blocks > 0 && self.newest < block.header.sequence {
            // A part of the block before, which has all of it: that was being cut.
            self.void.push(key);
            return Ok(());
        }
        follows(epoch, &block)?;
        self.newest = block.header.sequence;
        self.take_block(&block, value.len())
    }

    fn take_record(&mut self, key: Key, record: Record) -> Result<(), String> {
        self.end_of_epoch()?;
        if record.key() != key {
            return Err(format!("the record of epoch {} stands in a wrong place", key.ordinal));
        }
        self.sequence = self.sequence.max(record.sequence).max(record.void.sequence);
        // Counted up by the blocks; what they must reach is looked at when they are through.
        self.epochs.push(Epoch { last: 0, hash: [0; 32], ..Epoch::new(record) });
        Ok(())
    }

    fn take_block(&mut self, block: &Block<'_>, value_len: usize) -> Result<(), String> {
        let walked = block.walk(self.building)?;
        self.closed.extend(walked.closed);
        self.gave_way = walked.gave_way.or(self.gave_way);
        if let Some((origin, first)) = block.header.origin {
            let last = first + u64::from(block.header.count) - 1;
            self.moved.entry(origin.0).or_default().push((first, last));
        }
        if let Some(epoch) = self.epochs.last_mut() {
            epoch.add(&block.header, value_len, walked.hash);
        }
        Ok(())
    }

    /// The blocks of the last epoch are through: they must reach its end.
    fn end_of_epoch(&mut self) -> Result<(), String> {
        let Some(epoch) = self.epochs.last_mut() else { return Ok(()) };
        let (last, hash) = epoch.record.ended;
        if epoch.last == last && epoch.blocks > 0 && last > 0 && epoch.hash != hash {
            return Err(format!("epoch {} does not end with the event that it ended with", epoch.record.ordinal));
        }
        if epoch.last < last {
            if epoch.record.front() < last && !spans(&epoch.record, epoch.last.max(epoch.record.front()) + 1, last) {
                return Err(format!("epoch {} ends at {} and not at {last}", epoch.record.ordinal, epoch.last));
            }
            (epoch.last, epoch.hash) = (last, hash);
        }
        if epoch.blocks == 0 {
            epoch.oldest = epoch.last + 1;
        }
        Ok(())
    }
}

/// Whether `block` is the next one of `epoch`, or what is between them is known to be gone.
fn follows(epoch: &Epoch, block: &Block<'_>) -> Result<(), String> {
    let Record { ordinal, moving, .. } = &epoch.record;
    let first = block.header.first;
    let next = if epoch.blocks == 0 { epoch.record.front().min(first - 1) + 1 } else { epoch.last + 1 };
    let being_moved = moving.is_some_and(|moving| next >= moving.first);
    if first < next {
        return Err(format!("block {first} of epoch {ordinal} begins before {next}"));
    }
    // What has given way before the block is missing by right.
    let last = (first - 1).saturating_sub(u64::from(block.header.shed));
    if next <= last && !being_moved && !spans(&epoch.record, next, last) {
        return Err(format!("events {next} to {last} of epoch {ordinal} are missing"));
    }
    let before = if epoch.blocks > 0 { epoch.hash } else { [0; 32] };
    let has_before = epoch.blocks > 0 || first == 1;
    if first == next && has_before && block.header.hash_before != before {
        return Err(format!("block {first} of epoch {ordinal} does not follow by its hash"));
    }
    Ok(())
}

/// Whether a known gap takes in all of `first` to `last`.
fn spans(record: &Record, first: u64, last: u64) -> bool {
    record.gaps.iter().any(|gap| gap.0 <= first && last <= gap.1)
}
