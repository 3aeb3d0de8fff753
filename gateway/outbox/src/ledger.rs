//! What a store holds, epoch by epoch, without the events.

use kalitka_protocol::EpochId;
use kalitka_protocol::event::Loss;

use crate::block::BlockHeader;
use crate::record::Record;
use crate::types::{EpochSummary, Head};

/// What is held of one epoch.
#[derive(Clone, Debug)]
pub(crate) struct Epoch {
    pub(crate) record: Record,
    /// The oldest event held; one above `last` when none is.
    pub(crate) oldest: u64,
    pub(crate) last: u64,
    pub(crate) hash: [u8; 32],
    pub(crate) events: u64,
    pub(crate) blocks: u64,
    pub(crate) bytes: u64,
    /// Of events that are being moved: those up to here have been copied and must go.
    pub(crate) copied: Option<u64>,
    /// What the hub misses and is gone from the front: the first number and the last, until the loss that says so is durable.
    pub(crate) untold: Option<(u64, u64)>,
}

impl Epoch {
    /// An epoch without events.
    pub(crate) fn new(record: Record) -> Self {
        let (last, hash) = record.ended;
        Self { record, oldest: last + 1, last, hash, events: 0, blocks: 0, bytes: 0, copied: None, untold: None }
    }

    pub(crate) const fn id(&self) -> EpochId {
        self.record.epoch
    }

    pub(crate) const fn head(&self) -> Head {
        Head { epoch: self.record.epoch, number: self.last, hash: self.hash }
    }

    /// The record as it is to lie on the disk: the hub counts as having what it misses until a loss has told of it. So the
    /// store is whole without it, and the next process finds it missing again.
    pub(crate) fn written(&self) -> Record {
        let acknowledged = self.record.acknowledged.max(self.untold.map_or(0, |untold| untold.1));
        Record { acknowledged, ..self.record.clone() }
    }

    /// Takes the newest block into the books.
    pub(crate) const fn add(&mut self, block: &BlockHeader, value_len: usize, hash: [u8; 32]) {
        if self.blocks == 0 {
            self.oldest = block.first;
        }
        (self.last, self.hash) = (block.last(), hash);
        self.events += block.count as u64;
        self.blocks += 1;
        self.bytes += value_len as u64;
    }

    /// Takes a block out of the books.
    pub(crate) const fn subtract(&mut self, block: &BlockHeader, value_len: usize) {
        self.events -= block.count as u64;
        self.blocks -= 1;
        self.bytes -= value_len as u64;
    }

    /// Events held of which the hub has said that it keeps them; gaps in them count too.
    pub(crate) fn acknowledged_held(&self) -> u64 {
        let through = self.record.acknowledged.min(self.last);
        (through + 1).saturating_sub(self.oldest).min(self.events)
    }

    /// The last event that keeps its identity, and its hash: events that are being moved are no longer told of.
    pub(crate) fn staying(&self) -> (u64, [u8; 32]) {
        self.record.moving.map_or((self.last, self.hash), |moving| (moving.first - 1, moving.hash_before))
    }

    fn summary(&self) -> EpochSummary {
        let (last, hash) = self.staying();
        EpochSummary {
            epoch: self.id(),
            oldest: self.oldest.min(last + 1),
            last,
            hash,
            acknowledged: self.record.acknowledged,
            loss_open: self.record.loss_open,
        }
    }
}

/// All epochs of a store.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    /// Those that have ended, oldest first.
    pub(crate) earlier: Vec<Epoch>,
    pub(crate) present: Epoch,
    /// The highest sequence in the store.
    pub(crate) sequence: u64,
    /// The newest loss found that says that events of a class have given way: perhaps not all of them have left.
    pub(crate) gave_way: Option<Loss>,
}

impl Ledger {
    /// The ledger of a store's epochs, oldest first; `None` when there is none.
    pub(crate) fn new(mut epochs: Vec<Epoch>, sequence: u64) -> Option<Self> {
        let present = epochs.pop()?;
        Some(Self { earlier: epochs, present, sequence, gave_way: None })
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Epoch> {
        self.earlier.iter().chain([&self.present])
    }

    pub(crate) fn get(&self, epoch: EpochId) -> Option<&Epoch> {
        self.iter().rev().find(|held| held.id() == epoch)
    }

    pub(crate) fn get_mut(&mut self, epoch: EpochId) -> Option<&mut Epoch> {
        self.earlier.iter_mut().chain([&mut self.present]).rev().find(|held| held.id() == epoch)
    }

    /// Ends the present epoch.
    pub(crate) fn succeed(&mut self, next: Epoch) {
        let ended = std::mem::replace(&mut self.present, next);
        self.earlier.push(ended);
    }

    pub(crate) const fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    pub(crate) fn events(&self) -> u64 {
        self.iter().map(|epoch| epoch.events).sum()
    }

    pub(crate) fn blocks(&self) -> u64 {
        self.iter().map(|epoch| epoch.blocks).sum()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.iter().map(|epoch| epoch.bytes).sum()
    }

    /// The present epoch, then earlier ones with events or an open loss, newest first.
    pub(crate) fn summaries(&self) -> Vec<EpochSummary> {
        let worth = |epoch: &&Epoch| epoch.blocks > 0 || epoch.record.loss_open.is_some();
        let earlier = self.earlier.iter().rev().filter(worth);
        [&self.present].into_iter().chain(earlier).map(Epoch::summary).collect()
    }
}
