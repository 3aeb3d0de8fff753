//! New epochs, and new identities for the events of an old one (SPEC 15.13).

use kalitka_protocol::EpochId;
use kalitka_protocol::event::{Events, Loss, LossCause, UNKNOWN_END, kind, renumber};

use crate::block::{self, BlockHeader};
use crate::error::{AppendError, StoreError};
use crate::ledger::Epoch;
use crate::limits::BLOCK_EVENTS_MAX;
use crate::outbox::Outbox;
use crate::reading::{self, Limit};
use crate::record::{Moving, Record, Void};
use crate::types::{Begun, NewEpochWhy, Run};

impl Outbox {
    /// Ends the present epoch and begins `fresh`; gives a [`Begun::NewEpoch`] to append from. A present epoch without
    /// events has not begun yet and is told again.
    ///
    /// # Errors
    /// [`StoreError`]; reopened, the store stands before or behind it.
    pub fn begin_epoch(&mut self, fresh: EpochId, why: NewEpochWhy) -> Result<Begun, StoreError> {
        self.well()?;
        let head = self.head();
        if head.number == 0 {
            return Ok(begun(&self.ledger.present.record));
        }
        let mut losses = Vec::new();
        if why == NewEpochWhy::HubAhead {
            let (epoch, first) = (head.epoch, head.number + 1);
            losses.push(Loss { epoch, first, last: UNKNOWN_END, cause: LossCause::Damaged, count: 0 });
            self.ledger.present.record.loss_open = Some(first);
        }
        let mut record = Record::new(self.ledger.present.record.ordinal + 1, fresh, why, Some(head));
        record.losses = losses;
        self.ledger.present.record.ended = (head.number, head.hash);
        self.put_record(head.epoch)?;
        self.ledger.succeed(Epoch::new(record));
        self.put_record(fresh)?;
        self.on_store(|store, _| store.sync())?;
        Ok(begun(&self.ledger.present.record))
    }

    /// Gives the events of an ended epoch from number `from` on a new identity at the head, all else as it was; they leave
    /// their old place. Gives how many were moved. After a crash at any moment each is there once: an opening goes on with it.
    ///
    /// # Errors
    /// [`AppendError`]; what was moved before stays moved.
    pub fn reissue(&mut self, epoch: EpochId, from: u64) -> Result<u64, AppendError> {
        self.well()?;
        if epoch == self.ledger.present.id() {
            return Err(AppendError::Present);
        }
        // One that was interrupted comes first.
        let moved = self.move_on(epoch)?;
        let Some(held) = self.ledger.get(epoch) else { return Ok(moved) };
        let (first, ordinal) = (from.max(held.oldest).max(1), held.record.ordinal);
        if held.blocks == 0 || first > held.last {
            return Ok(moved);
        }
        let hash_before = match self.hash_at(epoch, first - 1)? {
            Some(hash) => hash,
            // It is behind a gap: its block knows.
            None => {
                let next = self.on_store(|store, _| reading::first_block(store, ordinal, first))?;
                next.map_or([0; 32], |(header, _)| header.hash_before)
            }
        };
        if let Some(held) = self.ledger.get_mut(epoch) {
            held.record.moving = Some(Moving { first, hash_before });
            held.record.ended = (first - 1, hash_before);
            held.record.acknowledged = held.record.acknowledged.min(first - 1);
        }
        self.put_record(epoch)?;
        self.on_store(|store, _| store.sync())?;
        Ok(moved + self.move_on(epoch)?)
    }

    /// Removes what has been copied already by a moving that was interrupted.
    pub(crate) fn drop_copied(&mut self) -> Result<(), StoreError> {
        let copied = self.ledger.earlier.iter_mut();
        let copied = copied.filter_map(|epoch| Some((epoch.id(), epoch.record.moving?.first, epoch.copied.take()?)));
        for (epoch, first, last) in copied.collect::<Vec<_>>() {
            self.cut_out(epoch, first, last)?;
        }
        Ok(())
    }

    /// Goes on with every moving that was interrupted.
    pub(crate) fn finish_moves(&mut self) -> Result<(), AppendError> {
        let moving: Vec<_> =
            self.ledger.earlier.iter().filter(|epoch| epoch.record.moving.is_some()).map(Epoch::id).collect();
        for epoch in moving {
            self.move_on(epoch)?;
        }
        Ok(())
    }

    /// Moves what is left to be moved of `epoch`, some whole blocks at a time: copied, durable, then removed.
    fn move_on(&mut self, epoch: EpochId) -> Result<u64, AppendError> {
        let moving = self.ledger.get(epoch).and_then(|held| held.record.moving);
        let Some(Moving { first, hash_before }) = moving else { return Ok(0) };
        let mut moved = 0;
        while let Some(run) = self.read_blocks(epoch, first)? {
            moved += self.copy(&run)?;
            self.cut_out(epoch, first, run.first + u64::from(run.count) - 1)?;
        }
        // What still lies of them in the files is not theirs any more, whatever becomes of the copies.
        let sequence = self.ledger.next_sequence();
        if let Some(held) = self.ledger.get_mut(epoch) {
            held.record.void = Void { number: first - 1, sequence };
            held.record.moving = None;
            held.record.gaps.retain(|gap| gap.0 < first);
            (held.last, held.hash) = (first - 1, hash_before);
            if held.blocks == 0 {
                held.oldest = first;
            }
        }
        self.look_again();
        self.put_record(epoch)?;
        self.on_store(|store, _| store.sync())?;
        Ok(moved)
    }

    /// Appends the events of `run` under new identities, but for the beginning of their epoch.
    fn copy(&mut self, run: &Run) -> Result<u64, AppendError> {
        let mut events = Vec::with_capacity(run.events.len());
        let (epoch, mut number) = (self.head().epoch, self.head().number);
        let mut origin = run.first;
        for event in Events::new(&run.events) {
            let event = event?;
            if event.kind == kind::EPOCH_BEGUN {
                origin += 1;
                continue;
            }
            let start = events.len();
            events.extend_from_slice(event.bytes);
            number += 1;
            renumber(&mut events[start..], epoch, number)?;
        }
        if events.is_empty() {
            return Ok(0);
        }
        let before = self.head().number;
        let cut = self.cut(&events, Some((run.epoch, origin)))?;
        self.leave_room()?;
        self.commit(&cut)?;
        Ok(self.head().number - before)
    }

    /// The next events to be moved: to the end of a block, and as many as fit one.
    fn read_blocks(&mut self, epoch: EpochId, from: u64) -> Result<Option<Run>, StoreError> {
        let Some(held) = self.ledger.get(epoch).cloned() else { return Ok(None) };
        self.on_store(|store, _| reading::read(store, &held, from, held.last, Limit::WholeBlocks(BLOCK_EVENTS_MAX)))
    }

    /// Removes the events `first` to `last` of an ended epoch; a block that begins before keeps its beginning, and none
    /// ends behind.
    pub(crate) fn cut_out(&mut self, epoch: EpochId, first: u64, last: u64) -> Result<(), StoreError> {
        let Some(ordinal) = self.ledger.get(epoch).map(|held| held.record.ordinal) else { return Ok(()) };
        if let Some(value) = self.on_store(|store, _| reading::block_with(store, ordinal, first - 1))? {
            self.shorten(&value, first)?;
        }
        let mut next = self.on_store(|store, _| reading::first_block(store, ordinal, first))?;
        while let Some((header, len)) = next.filter(|(header, _)| header.last() <= last) {
            self.remove_block(&header, len)?;
            next = self.on_store(|store, _| reading::first_block(store, ordinal, header.last() + 1))?;
        }
        if let Some(held) = self.ledger.get_mut(epoch)
            && held.oldest >= first
        {
            held.oldest = next.map_or(held.last + 1, |(header, _)| header.first);
        }
        Ok(())
    }

    /// Puts a block without its events from `first` on in its own place.
    fn shorten(&mut self, value: &[u8], first: u64) -> Result<(), StoreError> {
        let Some(block) = block::parse(value).filter(|block| block.header.last() >= first) else { return Ok(()) };
        let old = block.header;
        let (_, behind) = reading::skip(&block, usize::try_from(first - old.first).unwrap_or(usize::MAX))?;
        let kept = &block.events[..block.events.len() - behind.len()];
        let count = u32::try_from(first - old.first).unwrap_or(u32::MAX);
        let header = BlockHeader { count, sequence: self.ledger.next_sequence(), ..old };
        let short = block::emit(&header, kept);
        self.oldest_known = None;
        self.on_store(|store, _| store.put(header.key(), &short))?;
        if let Some(held) = self.ledger.get_mut(old.epoch) {
            held.subtract(&old, value.len());
            held.events += u64::from(count);
            held.blocks += 1;
            held.bytes += short.len() as u64;
        }
        Ok(())
    }
}

/// What a new epoch's record says of its beginning.
pub(crate) fn begun(record: &Record) -> Begun {
    Begun::NewEpoch { before: record.before, losses: record.losses.clone(), why: record.why }
}
