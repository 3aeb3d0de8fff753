//! A batch that holds: its building, its hashes and its signature.

use kalitka_protocol::EpochId;
use kalitka_protocol::event::{Events, chain};
use kalitka_protocol::upstream::{Batch, batch_signed};
use ring::signature::{ED25519, UnparsedPublicKey};

/// Why a batch is not taken, by the fault of who sent it (SPEC 15.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotSound {
    #[error("a batch holds events of another building than the certificate's")]
    Building,
    #[error("a batch holds the last of all numbers, behind which there is none")]
    Number,
    #[error("the hash of a batch is not that of its events")]
    Hash,
    #[error("the signature of a batch is not by the certificate's key")]
    Signature,
}

/// A batch that holds in itself; whether it fits to what is kept is the store's to say.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    pub(super) building: u32,
    pub(super) epoch: EpochId,
    pub(super) first: u64,
    pub(super) hash_before: [u8; 32],
    pub(super) events: Vec<u8>,
    /// One for each event; not empty.
    pub(super) marks: Vec<Mark>,
    pub(super) key: [u8; 32],
    pub(super) signature: [u8; 64],
    pub(super) received_us: i64,
}

/// Where an event ends, and h of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) end: usize,
    pub(super) hash: [u8; 32],
}

impl Checked {
    /// Checks `batch`, which came at `received_us` over a connection with the certificate of `building` and `key`.
    ///
    /// # Errors
    /// [`NotSound`].
    pub(crate) fn check(building: u32, key: [u8; 32], batch: &Batch<'_>, received_us: i64) -> Result<Self, NotSound> {
        if batch.building() != Some(building) {
            return Err(NotSound::Building);
        }
        // It also stands for an end that nobody knows (SPEC 14.8), and whoever counts on from it begins at 0.
        if batch.last() == u64::MAX {
            return Err(NotSound::Number);
        }
        let signed = batch_signed(building, batch.epoch, batch.last(), &batch.hash);
        let by = UnparsedPublicKey::new(&ED25519, key);
        by.verify(&signed, &batch.signature).map_err(|_| NotSound::Signature)?;
        let marks = marks(batch);
        if marks.last().is_none_or(|mark| mark.hash != batch.hash) {
            return Err(NotSound::Hash);
        }
        Ok(Self {
            building,
            epoch: batch.epoch,
            first: batch.first,
            hash_before: batch.hash_before,
            events: batch.events.to_vec(),
            marks,
            key,
            signature: batch.signature,
            received_us,
        })
    }

    /// The epoch of all events.
    pub(crate) const fn epoch(&self) -> EpochId {
        self.epoch
    }

    /// The number of the last event.
    pub(crate) const fn last(&self) -> u64 {
        self.first.saturating_add((self.marks.len() as u64).saturating_sub(1))
    }

    /// Bytes of the events.
    pub(crate) const fn len(&self) -> usize {
        self.events.len()
    }

    /// h of the last event.
    pub(super) fn hash(&self) -> [u8; 32] {
        self.marks.last().map_or(self.hash_before, |mark| mark.hash)
    }
}

fn marks(batch: &Batch<'_>) -> Vec<Mark> {
    let mut mark = Mark { end: 0, hash: batch.hash_before };
    let mut marks = Vec::with_capacity(usize::try_from(batch.count).unwrap_or(0));
    for event in Events::new(batch.events).flatten() {
        mark = Mark { end: mark.end + event.bytes.len(), hash: chain(&mark.hash, event.bytes) };
        marks.push(mark);
    }
    marks
}
