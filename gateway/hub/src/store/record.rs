//! A record: a run of events as the store keeps it, with what proves it.

use kalitka_protocol::EpochId;
use kalitka_protocol::event::{Events, RawEvent, chain};
use kalitka_protocol::wire::{Cursor, Malformed};

use super::StoreError;

const LAYOUT: u8 = 1;
/// Bytes before the events.
pub(super) const HEAD_LEN: usize = 224;

/// Where a run of events belongs: building, epoch, first number.
pub(crate) type Place = (u32, u64, u64);

/// A signature of a gateway: the history of an epoch up to `number` has the hash `hash`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signed {
    /// The Ed25519 key of the certificate with which the batch came.
    pub(crate) key: [u8; 32],
    /// The batch's last number: that of these events, or higher when the batch was cut.
    pub(crate) number: u64,
    pub(crate) hash: [u8; 32],
    pub(crate) signature: [u8; 64],
}

/// Events of one epoch, one behind the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// The order number of the first event: a place in the hub's one row of all events, without gaps, from 1.
    pub(crate) order: u64,
    pub(crate) building: u32,
    pub(crate) epoch: EpochId,
    pub(crate) first: u64,
    pub(crate) count: u32,
    /// When they came, microseconds since 1970.
    pub(crate) received_us: i64,
    /// h of `first` - 1.
    pub(crate) hash_before: [u8; 32],
    /// h of the last event.
    pub(crate) hash: [u8; 32],
    pub(crate) signed: Signed,
    pub(crate) events: Vec<u8>,
}

/// An event of a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed<'a> {
    pub(crate) order: u64,
    /// h of it, by the chain (SPEC 14.3).
    pub(crate) hash: [u8; 32],
    pub(crate) raw: RawEvent<'a>,
}

impl Record {
    /// The number of the last event.
    pub(crate) fn last(&self) -> u64 {
        self.first.saturating_add(u64::from(self.count)).saturating_sub(1)
    }

    /// The order number of the last event.
    pub(crate) fn last_order(&self) -> u64 {
        self.order.saturating_add(u64::from(self.count)).saturating_sub(1)
    }

    pub(super) const fn place(&self) -> Place {
        (self.building, self.epoch.0, self.first)
    }

    /// The events with order numbers above `after`.
    pub(crate) fn placed(&self, after: u64) -> impl Iterator<Item = Result<Placed<'_>, Malformed>> {
        let mut hash = self.hash_before;
        let orders = self.order..;
        let all = Events::new(&self.events).zip(orders).map(move |(raw, order)| {
            let raw = raw?;
            hash = chain(&hash, raw.bytes);
            Ok(Placed { order, hash, raw })
        });
        all.filter(move |placed| placed.as_ref().map_or(true, |placed| placed.order > after))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_LEN + self.events.len());
        bytes.extend([LAYOUT, 0, 0, 0]);
        bytes.extend(self.count.to_le_bytes());
        bytes.extend(self.order.to_le_bytes());
        bytes.extend(self.received_us.to_le_bytes());
        bytes.extend(self.hash_before);
        bytes.extend(self.hash);
        bytes.extend(self.signed.key);
        bytes.extend(self.signed.number.to_le_bytes());
        bytes.extend(self.signed.hash);
        bytes.extend(self.signed.signature);
        bytes.extend(&self.events);
        bytes
    }

    /// What was kept at `place`.
    pub(super) fn decode(place: Place, bytes: &[u8]) -> Result<Self, StoreError> {
        Self::read(place, &mut Cursor::new(bytes)).map_err(|error| StoreError::Damaged(format!("{place:?}: {error}")))
    }

    fn read((building, epoch, first): Place, cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        if cursor.u8("layout")? != LAYOUT {
            return Err(Malformed::Value("layout"));
        }
        cursor.reserved(3, "reserved")?;
        let count = cursor.u32_from_1("count")?;
        Ok(Self {
            building,
            epoch: EpochId(epoch),
            first,
            count,
            order: cursor.u64_from_1("order")?,
            received_us: cursor.i64("received")?,
            hash_before: cursor.array("hash before")?,
            hash: cursor.array("hash")?,
            signed: Signed {
                key: cursor.array("key")?,
                number: cursor.u64("signed number")?,
                hash: cursor.array("signed hash")?,
                signature: cursor.array("signature")?,
            },
            events: cursor.rest().to_vec(),
        })
    }
}
