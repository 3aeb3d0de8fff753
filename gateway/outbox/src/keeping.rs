//! What leaves the outbox, and when: acknowledged events beyond those to keep, and the oldest when the bound is reached.

use kalitka_protocol::EpochId;
use kalitka_protocol::event::{Loss, LossCause};

use crate::block::BlockHeader;
use crate::error::StoreError;
use crate::ledger::Epoch;
use crate::limits::{BOUND_SLACK, ENDED_EPOCHS_KEPT};
use crate::outbox::Outbox;
use crate::reading;
use crate::types::Head;

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

    /// Makes room when more is held than the bounds allow: acknowledged events go without a word; of the oldest others some
    /// blocks give way and come out as a loss to append. Call it until it gives `None`. The blocks leave
    /// the store only with the next append, so that the loss is durable first. Nothing behind the floor gives way: with
    /// the bound reached, write checkpoints.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn drop_oldest(&mut self) -> Result<Option<Loss>, StoreError> {
        self.well()?;
        if self.giving_way.is_some() || !self.is_over(0, 0) {
            return Ok(None);
        }
        while let Some((header, len)) = self.oldest_block(None)? {
            let acknowledged = self.ledger.get(header.epoch).map_or(0, |epoch| epoch.record.acknowledged);
            if header.last() > acknowledged {
                return self.give_way((header, len), acknowledged);
            }
            self.remove_oldest(&header, len)?;
            if !self.is_over(0, 0) {
                break;
            }
        }
        Ok(None)
    }

    /// Marks blocks from `header` on as giving way, as many as the bounds ask for and a little more.
    fn give_way(&mut self, block: (BlockHeader, usize), acknowledged: u64) -> Result<Option<Loss>, StoreError> {
        let BlockHeader { ordinal, epoch, first, .. } = block.0;
        let (mut events, mut bytes, mut last) = (0, 0, first - 1);
        let first = first.max(acknowledged + 1);
        let mut next = Some(block);
        while let Some((header, len)) = next.take().filter(|(header, _)| header.first == last + 1) {
            events += u64::from(header.count);
            bytes += len as u64;
            last = header.last();
            if !self.is_over(events, bytes) {
                break;
            }
            next = self.oldest_block(Some((ordinal, last + 1)))?;
        }
        self.giving_way = Some((ordinal, last));
        let count = u32::try_from(last - first + 1).unwrap_or(u32::MAX);
        Ok(Some(Loss { epoch, first, last, cause: LossCause::Bound, count }))
    }

    /// After an append: what gave way leaves the store.
    pub(crate) fn let_go(&mut self) -> Result<(), StoreError> {
        let Some((ordinal, last)) = self.giving_way.take() else { return Ok(()) };
        let Some(epoch) = self.ledger.iter().find(|epoch| epoch.record.ordinal == ordinal).map(Epoch::id) else {
            return Ok(());
        };
        if let Some(held) = self.ledger.get_mut(epoch) {
            held.record.told = (held.oldest.min(last), last);
        }
        self.put_record(epoch)?;
        while let Some((header, len)) = self.oldest_block(None)?.filter(|(header, _)| header.epoch == epoch) {
            if header.last() > last {
                break;
            }
            self.remove_oldest(&header, len)?;
        }
        Ok(())
    }

    /// Removes acknowledged blocks, oldest first, until no more are held than are to be kept.
    pub(crate) fn shed(&mut self) -> Result<(), StoreError> {
        while let Some((header, len)) = self.oldest_block(None)? {
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

    /// The oldest block that may be removed at all, or the next one from ordinal and number on: never behind the floor,
    /// and never the newest of the present epoch, by which the head is known.
    fn oldest_block(&mut self, from: Option<(u64, u64)>) -> Result<Option<(BlockHeader, usize)>, StoreError> {
        let Some((floor_ordinal, floor_number)) = self.floor else { return Ok(None) };
        let held = self.ledger.iter().find(|epoch| match from {
            Some((ordinal, _)) => epoch.record.ordinal == ordinal,
            None => epoch.blocks > 0,
        });
        let Some(held) = held else { return Ok(None) };
        let (ordinal, number) = from.unwrap_or((held.record.ordinal, held.oldest));
        let present_last = (held.id() == self.ledger.present.id()).then_some(held.last);
        let known = self.oldest_known.filter(|(header, _)| (header.ordinal, header.first) == (ordinal, number));
        let block = match known {
            Some(known) => Some(known),
            None => self.on_store(|store, _| reading::first_block(store, ordinal, number))?,
        };
        Ok(block.filter(|(header, _)| {
            let behind = ordinal > floor_ordinal || (ordinal == floor_ordinal && header.last() > floor_number);
            !behind && present_last != Some(header.last())
        }))
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

    /// Whether more is held than the bounds allow, were so much given up; once something is, a part more goes.
    fn is_over(&self, events: u64, bytes: u64) -> bool {
        let slack = |max: u64| if events == 0 { max } else { max - max / BOUND_SLACK };
        self.ledger.events().saturating_sub(events) > slack(self.bounds.events_max)
            || self.ledger.bytes().saturating_sub(bytes) > slack(self.bounds.bytes_max)
    }
}
