//! What leaves the outbox, and when: acknowledged events beyond those to keep, and beyond the bound.

use kalitka_protocol::EpochId;

use crate::block::BlockHeader;
use crate::error::StoreError;
use crate::ledger::Epoch;
use crate::limits::{BOUND_MARGIN, BOUND_SLACK, ENDED_EPOCHS_KEPT};
use crate::outbox::Outbox;
use crate::reading;
use crate::types::{Bounds, Head};

impl Outbox {
    /// Remembers that the hub keeps all of `epoch` up to `number`, and removes acknowledged events beyond those to keep. An
    /// epoch that is not held is no error.
    ///
    /// # Errors
    /// [`StoreError::Beyond`] for a number that the present epoch has not given yet; else what the store says.
    pub fn acknowledge(&mut self, epoch: EpochId, number: u64) -> Result<(), StoreError> {
        self.well()?;
        let is_present = self.ledger.present.id() == epoch;
        let Some(held) = self.ledger.get_mut(epoch) else { return Ok(()) };
        if is_present && number > held.last {
            return Err(StoreError::Beyond { number, last: held.last });
        }
        // Of an epoch that has ended the hub may have more than this store.
        let number = number.min(held.last);
        if number <= held.record.acknowledged {
            return Ok(());
        }
        held.record.acknowledged = number;
        self.put_record(epoch)?;
        self.shed()
    }

    /// The older checkpoint's place: what a start would replay after it is never removed. Nothing is before this is called.
    pub fn set_floor(&mut self, floor: Head) {
        self.floor = self.ledger.get(floor.epoch).map(|epoch| (epoch.record.ordinal, floor.number));
    }

    /// Removes acknowledged blocks, oldest first, until no more is held than the bounds allow.
    pub(crate) fn shed_down(&mut self, slack: bool) -> Result<(), StoreError> {
        while self.fill().is_above(slack)
            && let Some((header, len)) = self.oldest_block()?
            && self.ledger.get(header.epoch).is_some_and(|epoch| header.last() <= epoch.record.acknowledged)
        {
            self.remove_oldest(&header, len)?;
        }
        Ok(())
    }

    /// Removes acknowledged blocks, oldest first, until no more are held than are to be kept.
    pub(crate) fn shed(&mut self) -> Result<(), StoreError> {
        while let Some((header, len)) = self.oldest_block()? {
            let kept: u64 = self.ledger.iter().map(Epoch::acknowledged_held).sum();
            let crowded = self.ledger.earlier.iter().filter(|epoch| epoch.blocks > 0).count() > ENDED_EPOCHS_KEPT
                && header.epoch != self.ledger.present.id();
            let acknowledged = self.ledger.get(header.epoch).map_or(0, |epoch| epoch.record.acknowledged);
            let spare = kept.saturating_sub(u64::from(header.count)) >= self.bounds.keep_acknowledged || crowded;
            if header.last() > acknowledged || !spare {
                break;
            }
            self.remove_oldest(&header, len)?;
        }
        self.forget_epochs()
    }

    /// The oldest block, if it may be removed at all: never behind the floor, and never the newest of the present epoch, by
    /// which the head is known.
    fn oldest_block(&mut self) -> Result<Option<(BlockHeader, usize)>, StoreError> {
        if self.floor.is_none() {
            return Ok(None);
        }
        let Some(held) = self.ledger.iter().find(|epoch| epoch.blocks > 0) else { return Ok(None) };
        let (ordinal, number) = (held.record.ordinal, held.oldest);
        let known = self.oldest_known.filter(|(header, _)| (header.ordinal, header.first) == (ordinal, number));
        let block = match known {
            Some(known) => Some(known),
            None => self.on_store(|store, _| reading::first_block(store, ordinal, number))?,
        };
        Ok(block.filter(|(header, _)| self.is_before_floor(header) && !self.is_newest(header)))
    }

    /// Whether a start would not replay the block: only what is so far back may be removed.
    pub(crate) fn is_before_floor(&self, block: &BlockHeader) -> bool {
        self.floor.is_some_and(|floor| (block.ordinal, block.last()) <= floor)
    }

    /// Whether it is the newest block of the present epoch, by which the head is known.
    pub(crate) fn is_newest(&self, block: &BlockHeader) -> bool {
        block.ordinal == self.ledger.present.record.ordinal && block.last() == self.ledger.present.last
    }

    /// Removes an epoch's oldest block.
    pub(crate) fn remove_oldest(&mut self, header: &BlockHeader, len: usize) -> Result<(), StoreError> {
        self.remove_block(header, len)?;
        let next = self.on_store(|store, _| reading::first_block(store, header.ordinal, header.last() + 1))?;
        if let Some(epoch) = self.ledger.get_mut(header.epoch) {
            epoch.oldest = next.map_or(epoch.last + 1, |(next, _)| next.first);
        }
        self.oldest_known = next;
        Ok(())
    }

    /// Removes the records of epochs that have ended, have nothing left and are before the floor.
    fn forget_epochs(&mut self) -> Result<(), StoreError> {
        let Some((floor, _)) = self.floor else { return Ok(()) };
        let is_done =
            |epoch: &Epoch| epoch.blocks == 0 && epoch.record.loss_open.is_none() && epoch.record.ordinal < floor;
        let done: Vec<_> =
            self.ledger.earlier.iter().filter(|epoch| is_done(epoch)).map(|epoch| epoch.record.key()).collect();
        for key in done {
            self.on_store(|store, _| store.remove(key))?;
            self.ledger.earlier.retain(|epoch| epoch.record.key() != key);
        }
        Ok(())
    }

    /// How full the store is.
    pub(crate) fn fill(&self) -> Fill {
        Fill { events: self.ledger.events(), bytes: self.ledger.bytes(), bounds: self.bounds }
    }
}

/// What is held, beside what may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fill {
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    pub(crate) bounds: Bounds,
}

impl Fill {
    /// Whether more is held than the bounds allow; with `slack`, than a part less.
    pub(crate) const fn is_above(&self, slack: bool) -> bool {
        let Bounds { events_max, bytes_max, .. } = self.bounds;
        let (events_part, bytes_part) =
            if slack { (events_max / BOUND_SLACK, bytes_max / BOUND_SLACK) } else { (0, 0) };
        self.events > events_max - events_part || self.bytes > bytes_max - bytes_part
    }

    /// How much of the bound the events take of which `acknowledged` are not counted.
    pub(crate) fn percent(&self, acknowledged: u64) -> u8 {
        let pending = self.events.saturating_sub(acknowledged);
        // Of the bytes, as large a part as of the events.
        let bytes = u128::from(self.bytes) * u128::from(pending) / u128::from(self.events.max(1));
        let of_bytes = percent(u64::try_from(bytes).unwrap_or(u64::MAX), self.bounds.bytes_max);
        percent(pending, self.bounds.events_max).max(of_bytes)
    }

    /// Whether not even what must be said has room.
    pub(crate) const fn is_beyond_margin(&self) -> bool {
        let Bounds { events_max, bytes_max, .. } = self.bounds;
        self.events > events_max + events_max / BOUND_MARGIN || self.bytes > bytes_max + bytes_max / BOUND_MARGIN
    }
}

/// `part` of `whole` in percent, rounded down; 255 is so much or more.
pub(crate) fn percent(part: u64, whole: u64) -> u8 {
    u8::try_from(u128::from(part) * 100 / u128::from(whole.max(1))).unwrap_or(u8::MAX)
}
