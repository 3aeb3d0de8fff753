//! What leaves the outbox by its age. What the hub has not acknowledged goes behind a record that names it, durable first.
//!
//! Removed values stay in a store's files until something else is written there. [`Outbox::renew`] copies what is left into
//! a fresh store and removes the old one's files.

use std::ops::ControlFlow;

use kalitka_protocol::event::{ClockQuality, EventHeader, Events, Purged, kind};

use crate::block::BlockHeader;
use crate::error::StoreError;
use crate::ledger::Epoch;
use crate::limits::PURGE_BLOCKS_MAX;
use crate::outbox::Outbox;
use crate::reading;
use crate::store::Key;

/// Before this moment, the beginning of 2026, no clock of a gateway can be right.
const PLAUSIBLE_FROM_US: i64 = 1_767_225_600_000_000;

/// What is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Old {
    /// What happened before this moment, microseconds since 1970.
    pub before_us: i64,
    /// Now, by a clock that is believed: no event has happened later.
    pub now_us: i64,
}

/// What a step of a purge came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purging {
    /// Nothing is old.
    Nothing,
    /// So many acknowledged events have gone. There may be more.
    Gone(u64),
    /// These are to go. They leave the store with the next append, which has to hold this record.
    Record(Purged),
    /// What is old lies behind the older checkpoint and stays: write checkpoints first.
    Floor,
}

/// A block that may go.
#[derive(Clone, Copy, Debug)]
struct OldBlock {
    header: BlockHeader,
    len: usize,
    /// Whether it tells of persons.
    personal: bool,
}

impl Outbox {
    /// One step of a purge of what is old, from the oldest event held on: whole blocks of which each event happened before
    /// `old.before_us`. An event whose clock cannot have been right (never set, or later than now) is as old as what follows it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn purge(&mut self, old: Old) -> Result<Purging, StoreError> {
        self.well()?;
        if self.purging.is_some() {
            return Ok(Purging::Nothing);
        }
        let Some(held) = self.ledger.iter().find(|epoch| epoch.blocks > 0).cloned() else {
            return Ok(Purging::Nothing);
        };
        if held.record.moving.is_some() {
            return Ok(Purging::Nothing);
        }
        let mut blocks = self.old_blocks(&held, old)?;
        self.spare_newest(&mut blocks);
        let found = blocks.len();
        blocks.retain(|block| self.is_before_floor(&block.header));
        let Some(first) = blocks.first() else {
            return Ok(if found > 0 { Purging::Floor } else { Purging::Nothing });
        };
        let acknowledged = held.record.acknowledged;
        let is_newest = |block: &OldBlock| self.is_newest(&block.header);
        if first.header.last() <= acknowledged && !is_newest(first) {
            let gone: Vec<_> =
                blocks.iter().take_while(|block| block.header.last() <= acknowledged && !is_newest(block)).collect();
            for block in &gone {
                self.remove_oldest(&block.header, block.len)?;
            }
            let events = gone.iter().map(|block| u64::from(block.header.count)).sum();
            self.shed()?;
            return Ok(Purging::Gone(events));
        }
        self.mark(&held, &blocks, old).map(Purging::Record)
    }

    /// Marks the front of `blocks`, as far as no number is missing between them, and says what is to be recorded.
    fn mark(&mut self, held: &Epoch, blocks: &[OldBlock], old: Old) -> Result<Purged, StoreError> {
        let (mut events, mut next) = (0, blocks.first().map_or(1, |block| block.header.first));
        let begin = next;
        for block in blocks {
            if block.header.first != next {
                break;
            }
            events += u64::from(block.header.count);
            next = block.header.last() + 1;
        }
        let last = next - 1;
        let hash = self.hash_at(held.id(), last)?.unwrap_or_default();
        // What the hub has of them is not told of, unless it has all.
        let known = if held.record.acknowledged < last { held.record.acknowledged } else { 0 };
        let first = begin.max(known + 1);
        self.purging = Some((held.record.ordinal, last));
        let count = events - (first - begin);
        Ok(Purged { epoch: held.id(), first, last, hash, before_us: old.before_us, count })
    }

    /// After an append: what was marked leaves the store.
    pub(crate) fn let_purged_go(&mut self) -> Result<(), StoreError> {
        let Some((ordinal, last)) = self.purging.take() else { return Ok(()) };
        let Some(held) = self.ledger.iter().find(|epoch| epoch.record.ordinal == ordinal).cloned() else {
            return Ok(());
        };
        if let Some(epoch) = self.ledger.get_mut(held.id()) {
            epoch.record.tell((held.oldest.min(last), last));
        }
        self.put_record(held.id())?;
        while let Some((header, len)) = self
            .on_store(|store, _| reading::first_block(store, ordinal, 1))?
            .filter(|(header, _)| header.last() <= last)
        {
            self.remove_oldest(&header, len)?;
        }
        self.shed()
    }

    /// When the oldest event held happened by its own clock, microseconds since 1970; `None` when none is held.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn oldest_us(&mut self) -> Result<Option<i64>, StoreError> {
        let Some(held) = self.ledger.iter().find(|epoch| epoch.blocks > 0) else { return Ok(None) };
        let (epoch, oldest) = (held.id(), held.oldest);
        let run = self.read(epoch, oldest, 1)?;
        Ok(run.and_then(|run| Events::new(&run.events).flatten().next().map(|event| event.header.wall_us)))
    }

    /// Whether values that were removed may still have bytes in the store's files.
    #[must_use]
    pub const fn has_remnants(&self) -> bool {
        self.remnants
    }

    /// Copies what is held into a fresh store, which takes the old one's place; the old one's files are removed. Takes as long
    /// as writing and reading all of it.
    ///
    /// # Errors
    /// [`StoreError`]. The old store is still the one, unless the outbox is poisoned now.
    pub fn renew(&mut self) -> Result<(), StoreError> {
        self.well()?;
        let Some(mut old) = self.store.take() else { return Err(StoreError::Poisoned) };
        match self.yard.copy_afresh(old.as_mut(), self.ledger.blocks()) {
            Ok((store, named)) => {
                // Closed before its folder goes: what it does on its way out is done then.
                drop(old);
                match self.yard.replace(named) {
                    Ok(()) => {
                        (self.store, self.oldest_known, self.remnants) = (Some(store), None, false);
                        Ok(())
                    }
                    Err(error) => {
                        drop(store);
                        Err(self.fail(StoreError::Io(error)))
                    }
                }
            }
            Err(error) => {
                self.store = Some(old);
                Err(error)
            }
        }
    }

    /// The first blocks of `held` that are old, behind each of which an event says so.
    fn old_blocks(&mut self, held: &Epoch, old: Old) -> Result<Vec<OldBlock>, StoreError> {
        let (ordinal, number) = (held.record.ordinal, held.oldest);
        let (mut blocks, mut sure) = (Vec::new(), 0);
        self.on_store(|store, _| {
            reading::scan(store, Key { ordinal, number }, |key, value| {
                if key.ordinal != ordinal || blocks.len() >= PURGE_BLOCKS_MAX {
                    return Ok(ControlFlow::Break(()));
                }
                let block = reading::whole(key, value)?;
                let newest = newest_us(block.events, old.now_us);
                if newest.is_some_and(|us| us >= old.before_us) {
                    return Ok(ControlFlow::Break(()));
                }
                let personal = Events::new(block.events).flatten().any(|event| is_personal(event.kind));
                blocks.push(OldBlock { header: block.header, len: value.len(), personal });
                if newest.is_some() {
                    sure = blocks.len();
                }
                Ok(ControlFlow::Continue(()))
            })
        })?;
        blocks.truncate(sure);
        Ok(blocks)
    }

    /// The newest block of all tells where the head is: it goes only with a record behind it, and stays when nobody is in it.
    fn spare_newest(&self, blocks: &mut Vec<OldBlock>) {
        if blocks.last().is_some_and(|block| self.is_newest(&block.header) && !block.personal) {
            blocks.pop();
        }
    }
}

/// The newest moment of `events` of those whose clocks can have been right; `None` when none can.
fn newest_us(events: &[u8], now_us: i64) -> Option<i64> {
    let can_be_right = |header: &EventHeader| {
        header.quality != ClockQuality::None && (PLAUSIBLE_FROM_US..=now_us).contains(&header.wall_us)
    };
    let headers = Events::new(events).flatten().map(|event| event.header);
    headers.filter(can_be_right).map(|header| header.wall_us).max()
}

/// Whether an event of this kind can tell of a person: those that cannot are few and small.
const fn is_personal(of: u8) -> bool {
    !matches!(
        of,
        kind::EPOCH_BEGUN
            | kind::LOSS
            | kind::LOSS_CLOSED
            | kind::SNAPSHOT_ADOPTED
            | kind::GATEWAY_STARTED
            | kind::PURGED
    )
}
