//! The outbox itself.

use std::io;

use kalitka_protocol::EpochId;
use kalitka_protocol::event::{Body, Events, Loss, chain, kind};
use kalitka_protocol::wire::Malformed;

use crate::block::{self, BlockHeader};
use crate::error::{AppendError, StoreError};
use crate::giving::Giving;
use crate::ground::Kind;
use crate::keeping::percent;
use crate::ledger::{Epoch, Ledger};
use crate::limits::{BLOCK_EVENTS_MAX, BLOCK_HEADER_LEN, FILES_FACTOR, SLED_SEGMENT_BYTES};
use crate::mark::Mark;
use crate::reading::{self, Limit};
use crate::sled_store::is_full;
use crate::store::{Key, Store};
use crate::types::{Bounds, EpochSummary, Head, Run, Usage};
use crate::yard::Yard;

/// The durable store of one building's events.
#[derive(Debug)]
pub struct Outbox {
    pub(crate) yard: Yard,
    /// Gone while the store has failed.
    pub(crate) store: Option<Box<dyn Store>>,
    pub(crate) ledger: Ledger,
    pub(crate) bounds: Bounds,
    /// How the store failed.
    pub(crate) poison: Option<Poison>,
    /// Where the older checkpoint stands: ordinal of the epoch and number.
    pub(crate) floor: Option<(u64, u64)>,
    /// What gives way at the bound.
    pub(crate) giving: Giving,
    /// Old blocks that leave with the next append: ordinal, numbers up to and with.
    pub(crate) purging: Option<(u64, u64)>,
    /// Whether removed values may still have bytes in the store's files.
    pub(crate) remnants: bool,
    pub(crate) reopens: u32,
    /// The block behind the last one that was removed, which is likely to be the next, so that it is not read twice.
    pub(crate) oldest_known: Option<(BlockHeader, usize)>,
    /// Room for the block that is being put.
    pub(crate) value: Vec<u8>,
    pub(crate) mark: Mark,
}

/// How a store has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Poison {
    /// What is on the disk can be gone on with, if it is found whole.
    Failed,
    /// It cannot be known what is on the disk: it must be copied.
    Distrusted,
}

/// One block that is to be put.
struct Packed<'a> {
    header: BlockHeader,
    events: &'a [u8],
    /// h of its last event.
    hash: [u8; 32],
}

/// Events that have been looked at and cut into blocks.
#[derive(Default)]
pub(crate) struct Cut<'a> {
    blocks: Vec<Packed<'a>>,
    /// Epochs of which a loss is closed by them.
    closed: Vec<EpochId>,
    /// Losses that they tell of.
    told: Vec<Loss>,
}

impl Outbox {
    /// The newest durable event.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.ledger.present.head()
    }

    /// Makes `events` durable: they are numbered from the head's successor on in its epoch. Gives the new head.
    ///
    /// # Errors
    /// [`AppendError`]: none of them counts as taken, and after a store's error none is in the store when it is reopened.
    pub fn append(&mut self, events: &[u8]) -> Result<Head, AppendError> {
        self.well()?;
        let cut = self.cut(events, None)?;
        self.leave_room()?;
        self.commit(&cut)?;
        if self.ledger.earlier.iter().any(|epoch| epoch.record.moving.is_some()) {
            // What was appended is durable whatever becomes of this; a failure poisons the store.
            let _ = self.finish_moves();
        }
        Ok(self.head())
    }

    /// The first events held of `epoch` from number `from` on, as many whole ones as `bytes_max` takes but at least one. They
    /// begin above `from` when that is no longer held. `None` when nothing is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn read(&mut self, epoch: EpochId, from: u64, bytes_max: usize) -> Result<Option<Run>, StoreError> {
        self.well()?;
        let Some(held) = self.ledger.get(epoch) else { return Ok(None) };
        let run = self
            .store
            .as_deref_mut()
            .map_or(Ok(None), |store| reading::read(store, held, from, held.staying().0, Limit::Bytes(bytes_max)));
        run.map_err(|error| self.fail(error))
    }

    /// h of an event, of number 0, or of the one before the oldest held; `None` when that is not known any more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn hash_at(&mut self, epoch: EpochId, number: u64) -> Result<Option<[u8; 32]>, StoreError> {
        self.well()?;
        let Some(held) = self.ledger.get(epoch) else { return Ok(None) };
        let hash = self.store.as_deref_mut().map_or(Ok(None), |store| reading::hash_at(store, held, number));
        hash.map_err(|error| self.fail(error))
    }

    /// What is held: the present epoch, then earlier ones with events or an open loss, newest first. A hello has room for the
    /// first 16; what it leaves out is for a later one.
    #[must_use]
    pub fn epochs(&self) -> Vec<EpochSummary> {
        self.ledger.summaries()
    }

    /// Whether the store has failed and must be reopened.
    #[must_use]
    pub const fn is_poisoned(&self) -> bool {
        self.poison.is_some()
    }

    /// What is taken up.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let (quarantined, quarantine_bytes) = self.yard.quarantined();
        let disk = self.yard.disk().ok();
        Usage {
            bound_percent: self.fill().percent(self.ledger.iter().map(Epoch::acknowledged_held).sum()),
            is_crowded: self.giving.is_crowded,
            disk_percent: disk.map_or(0, |disk| percent(disk.used, disk.used.saturating_add(disk.free))),
            has_reserve: self.yard.has_reserve(),
            blocks: self.ledger.blocks(),
            events: self.ledger.events(),
            block_bytes: self.ledger.bytes(),
            disk_bytes: self.store.as_ref().map_or(0, |store| store.disk_bytes()),
            on_refuge: self.yard.kind() == Kind::Log,
            reopens: self.reopens,
            quarantined,
            quarantine_bytes,
        }
    }

    /// Refuses while the store is poisoned.
    pub(crate) fn well(&self) -> Result<(), StoreError> {
        if self.poison.is_some() || self.store.is_none() { Err(StoreError::Poisoned) } else { Ok(()) }
    }

    /// Remembers that the store has failed.
    pub(crate) fn fail(&mut self, error: StoreError) -> StoreError {
        let poison = match &error {
            StoreError::Beyond { .. } | StoreError::Poisoned => return error,
            StoreError::Io(_) | StoreError::Panicked(_) => Poison::Failed,
            StoreError::NotSynced(_) | StoreError::Damaged(_) => Poison::Distrusted,
        };
        if matches!(error, StoreError::NotSynced(_)) {
            self.yard.note_unconfirmed();
        }
        self.poison = Some(poison);
        if matches!(&error, StoreError::Io(error) if is_full(error)) && self.yard.give_reserve_back() {
            tracing::error!(
                "the disk is full; the reserve is given back, so that the store opens and what it holds can be sent"
            );
        }
        error
    }

    /// Runs `step` on the store; an error poisons it.
    pub(crate) fn on_store<T>(
        &mut self,
        step: impl FnOnce(&mut dyn Store, &mut Ledger) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.well()?;
        let Some(store) = self.store.as_deref_mut() else { return Err(StoreError::Poisoned) };
        step(store, &mut self.ledger).map_err(|error| self.fail(error))
    }

    /// Gives the reserve back to a disk that is full, for what must be written there beside the store; says whether there was
    /// one. Nothing is appended until it can be made anew.
    pub fn give_reserve_back(&mut self) -> bool {
        self.yard.give_reserve_back()
    }

    /// A commit must leave some room on the disk, so that sled does not meet its end; and at the bound it must be of what
    /// is still taken there.
    pub(crate) fn leave_room(&mut self) -> Result<(), AppendError> {
        let needed = self.yard.free_needed();
        let free = self.yard.free().map_err(|error| self.fail(StoreError::Io(error)))?;
        if free >= needed {
            self.yard.hold_reserve();
        } else if free + self.room_inside() < needed {
            return Err(AppendError::DiskFull { free, needed });
        }
        if self.giving.is_crowded && self.fill().is_beyond_margin() {
            return Err(AppendError::AtBound { held: self.ledger.events(), max: self.bounds.events_max });
        }
        Ok(())
    }

    /// Free bytes, on the disk and in the store's own files.
    pub(crate) fn room(&self) -> io::Result<u64> {
        Ok(self.yard.free()?.saturating_add(self.room_inside()))
    }

    /// Free bytes in the store's own files: those do not shrink when events leave, and take new ones.
    fn room_inside(&self) -> u64 {
        let needed = FILES_FACTOR * (self.ledger.bytes() + SLED_SEGMENT_BYTES as u64);
        let files = self.store.as_ref().map_or(0, |store| store.disk_bytes());
        files.saturating_sub(needed)
    }

    /// Looks at `events` and cuts them into blocks. `origin` is the old identity of the first one, when they have had one.
    pub(crate) fn cut<'a>(&mut self, events: &'a [u8], origin: Option<(EpochId, u64)>) -> Result<Cut<'a>, AppendError> {
        let Head { epoch, number: before, hash: mut hash_before } = self.head();
        let building = self.yard.building();
        let ordinal = self.ledger.present.record.ordinal;
        let (mut cut, mut hash, mut number) = (Cut::default(), hash_before, before);
        let (mut first, mut start, mut at) = (number + 1, 0, 0);
        let mut seal = |first: u64, next: u64, hash_before: [u8; 32], hash: [u8; 32], events: &'a [u8]| {
            let count = u32::try_from(next - first).unwrap_or(u32::MAX);
            let origin = origin.map(|(epoch, old)| (epoch, old + (first - before - 1)));
            let sequence = self.ledger.next_sequence();
            let header = BlockHeader { ordinal, epoch, first, sequence, origin, count, hash_before, shed: 0 };
            Packed { header, events, hash }
        };
        for event in Events::new(events) {
            let event = event?;
            if event.header.building != building {
                return Err(Malformed::Value("building").into());
            }
            if event.header.epoch != epoch {
                return Err(Malformed::Value("epoch").into());
            }
            if event.header.number != number + 1 {
                return Err(AppendError::Numbering { expected: number + 1, found: event.header.number });
            }
            if at + event.bytes.len() - start > BLOCK_EVENTS_MAX {
                cut.blocks.push(seal(first, number + 1, hash_before, hash, &events[start..at]));
                (first, start, hash_before) = (number + 1, at, hash);
            }
            if matches!(event.kind, kind::LOSS | kind::LOSS_CLOSED) {
                match event.event()?.body {
                    Body::Loss(loss) => cut.told.push(loss),
                    Body::LossClosed(closed) => cut.closed.push(closed.epoch),
                    _ => {}
                }
            }
            hash = chain(&hash, event.bytes);
            number += 1;
            at += event.bytes.len();
        }
        if at == start {
            return Err(Malformed::Truncated("event").into());
        }
        cut.blocks.push(seal(first, number + 1, hash_before, hash, &events[start..at]));
        Ok(cut)
    }

    /// Puts the blocks, makes them durable and only then takes them into the books.
    pub(crate) fn commit(&mut self, cut: &Cut<'_>) -> Result<(), StoreError> {
        let mut value = std::mem::take(&mut self.value);
        let put = self.on_store(|store, _| {
            for block in &cut.blocks {
                block::emit_into(&mut value, &block.header, block.events);
                store.put(block.header.key(), &value)?;
            }
            store.sync()
        });
        self.value = value;
        put?;
        let opens = self.ledger.present.blocks == 0 && !self.ledger.present.record.losses.is_empty();
        for block in &cut.blocks {
            let value_len = BLOCK_HEADER_LEN + block.events.len();
            self.ledger.present.add(&block.header, value_len, block.hash);
        }
        self.mark.set(self.head());
        // The events are durable whatever becomes of this; a failure poisons the store.
        let _ = self.note_down(opens, cut);
        Ok(())
    }

    /// Writes down what follows from a commit. It is durable with the next one, and harmless when it is not.
    fn note_down(&mut self, opens: bool, cut: &Cut<'_>) -> Result<(), StoreError> {
        if opens {
            self.ledger.present.record.losses.clear();
            self.put_record(self.ledger.present.id())?;
        }
        for &epoch in &cut.closed {
            if let Some(held) = self.ledger.get_mut(epoch) {
                held.record.loss_open = None;
                self.put_record(epoch)?;
            }
        }
        for loss in &cut.told {
            self.note_told(loss)?;
        }
        self.let_go()?;
        self.let_purged_go()
    }

    /// Writes the record of `epoch` anew; durable with the next commit.
    pub(crate) fn put_record(&mut self, epoch: EpochId) -> Result<(), StoreError> {
        self.on_store(|store, ledger| {
            let sequence = ledger.next_sequence();
            let Some(held) = ledger.get_mut(epoch) else { return Ok(()) };
            held.record.sequence = sequence;
            store.put(held.record.key(), &held.written().to_bytes())
        })
    }

    /// Takes the block under `key` out of the store and the books.
    pub(crate) fn remove_block(&mut self, header: &BlockHeader, len: usize) -> Result<(), StoreError> {
        let key: Key = header.key();
        self.oldest_known = None;
        self.remnants = true;
        self.on_store(|store, _| store.remove(key))?;
        if let Some(epoch) = self.ledger.get_mut(header.epoch) {
            epoch.subtract(header, len);
        }
        Ok(())
    }
}
