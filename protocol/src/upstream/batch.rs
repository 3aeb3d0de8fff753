//! Events on their way to the hub, and what the hub says of them (SPEC 15.6, 15.7, 15.10, 15.13).

use super::{Head, joined, kind, whole};
use crate::EpochId;
use crate::event::Events;
use crate::limits::{BATCH_EVENTS_MAX, EVENT_HEADER_LEN, LIVE_LEN_MAX, MESSAGE_HEAD_LEN};
use crate::wire::{Cursor, Malformed, NoRoom, Writer};

/// Events of one epoch with numbers one after the other, signed. 152 bytes and the events (SPEC 15.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch<'a> {
    /// The epoch.
    pub epoch: EpochId,
    /// Number of the first event.
    pub first: u64,
    /// Hash of the one before it.
    pub hash_before: [u8; 32],
    /// How many events.
    pub count: u32,
    /// The events, one behind the other.
    pub events: &'a [u8],
    /// Hash of the last one.
    pub hash: [u8; 32],
    /// The gateway's, over [`batch_signed`].
    pub signature: [u8; 64],
}

impl<'a> Batch<'a> {
    /// The batch that `body` is: its events' headers are well-formed, of one building and of this epoch, and numbered one
    /// after the other from `first`. Bodies of events, hashes and the signature are not looked at.
    ///
    /// # Errors
    /// [`Malformed`] names the first field that is cut off or out of its range.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        whole(body, "batch", |cursor| {
            let epoch = EpochId(cursor.u64_from_1("epoch")?);
            let first = cursor.u64_from_1("first number")?;
            let hash_before = cursor.array("hash before")?;
            let count = cursor.u32_from_1("event count")?;
            let len = usize::try_from(cursor.u32("events length")?).map_err(|_| Malformed::Value("events length"))?;
            if !(EVENT_HEADER_LEN..=BATCH_EVENTS_MAX).contains(&len) {
                return Err(Malformed::Value("events length"));
            }
            let events = cursor.bytes(len, "events")?;
            let (hash, signature) = (cursor.array("hash")?, cursor.array("signature")?);
            let batch = Self { epoch, first, hash_before, count, events, hash, signature };
            batch.check()?;
            Ok(batch)
        })
    }

    fn check(&self) -> Result<(), Malformed> {
        let building = self.building().ok_or(Malformed::Truncated("event"))?;
        let mut count = 0;
        for event in Events::new(self.events) {
            let header = event?.header;
            if header.building != building {
                return Err(Malformed::Value("building"));
            }
            if header.epoch != self.epoch {
                return Err(Malformed::Value("epoch"));
            }
            if Some(header.number) != self.first.checked_add(count) {
                return Err(Malformed::Value("event number"));
            }
            count += 1;
        }
        if count == u64::from(self.count) { Ok(()) } else { Err(Malformed::Value("event count")) }
    }

    /// The building of the first event, and of all in a batch that was parsed.
    #[must_use]
    pub fn building(&self) -> Option<u32> {
        Some(Events::new(self.events).next()?.ok()?.header.building)
    }

    /// Number of the last event.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.first.saturating_add((self.count as u64).saturating_sub(1))
    }

    /// Writes the body behind what `out` holds.
    ///
    /// # Errors
    /// [`NoRoom`] when it does not fit.
    pub fn emit(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        let len = u32::try_from(self.events.len()).map_err(|_| NoRoom)?;
        out.put(&self.epoch.0.to_le_bytes())?;
        out.put(&self.first.to_le_bytes())?;
        out.put(&self.hash_before)?;
        out.put(&self.count.to_le_bytes())?;
        out.put(&len.to_le_bytes())?;
        out.put(self.events)?;
        out.put(&self.hash)?;
        out.put(&self.signature)
    }
}

/// What a gateway signs of a batch with its certificate's key (SPEC 15.6).
#[must_use]
pub fn batch_signed(building: u32, epoch: EpochId, last: u64, hash: &[u8; 32]) -> [u8; 67] {
    joined(&[b"kalitka batch 1", &building.to_le_bytes(), &epoch.0.to_le_bytes(), &last.to_le_bytes(), hash])
}

/// All of that epoch up to that number is durable at the hub. 16 bytes (SPEC 15.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// The epoch.
    pub epoch: EpochId,
    /// The highest number.
    pub number: u64,
}

impl Acknowledgement {
    /// The acknowledgement that `body` is.
    ///
    /// # Errors
    /// [`Malformed`] names the first field that is cut off or out of its range.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let (epoch, number) = identity(body, "acknowledgement")?;
        Ok(Self { epoch, number })
    }

    /// Writes the body behind what `out` holds.
    ///
    /// # Errors
    /// [`NoRoom`] when it does not fit.
    pub fn emit(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        emit_identity(self.epoch, self.number, out)
    }
}

/// The hub keeps another event of this identity, and took nothing of the batch. 16 bytes (SPEC 15.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fork {
    /// The epoch.
    pub epoch: EpochId,
    /// The first number of the batch with another hash than the hub's.
    pub number: u64,
}

impl Fork {
    /// The fork that `body` is.
    ///
    /// # Errors
    /// [`Malformed`] names the first field that is cut off or out of its range.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let (epoch, number) = identity(body, "fork")?;
        Ok(Self { epoch, number })
    }

    /// Writes the body behind what `out` holds.
    ///
    /// # Errors
    /// [`NoRoom`] when it does not fit.
    pub fn emit(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        emit_identity(self.epoch, self.number, out)
    }
}

fn identity(body: &[u8], what: &'static str) -> Result<(EpochId, u64), Malformed> {
    whole(body, what, |cursor| Ok((EpochId(cursor.u64_from_1("epoch")?), cursor.u64_from_1("event number")?)))
}

fn emit_identity(epoch: EpochId, number: u64, out: &mut Writer<'_>) -> Result<(), NoRoom> {
    out.put(&epoch.0.to_le_bytes())?;
    out.put(&number.to_le_bytes())
}

/// What the hub has, signed, for the gateway to keep. 124 bytes (SPEC 15.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The building.
    pub building: u32,
    /// The epoch.
    pub epoch: EpochId,
    /// The highest number that the hub keeps of it.
    pub number: u64,
    /// Its hash.
    pub hash: [u8; 32],
    /// The hub's wall clock, in microseconds since 1970.
    pub wall_us: i64,
    /// The hub's, over [`checkpoint_signed`].
    pub signature: [u8; 64],
}

impl Checkpoint {
    /// The checkpoint that `body` is. Its signature is not looked at.
    ///
    /// # Errors
    /// [`Malformed`] names the first field that is cut off or out of its range.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        whole(body, "checkpoint", |cursor| {
            let building = cursor.u32_from_1("building")?;
            let epoch = EpochId(cursor.u64_from_1("epoch")?);
            let number = cursor.u64_from_1("event number")?;
            let (hash, wall_us) = (cursor.array("hash")?, cursor.i64("wall clock")?);
            Ok(Self { building, epoch, number, hash, wall_us, signature: cursor.array("signature")? })
        })
    }

    /// What the hub signs of this checkpoint.
    #[must_use]
    pub fn signed(&self) -> [u8; 80] {
        checkpoint_signed(self.building, self.epoch, self.number, &self.hash, self.wall_us)
    }

    /// Writes the body behind what `out` holds.
    ///
    /// # Errors
    /// [`NoRoom`] when it does not fit.
    pub fn emit(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        out.put(&self.building.to_le_bytes())?;
        out.put(&self.epoch.0.to_le_bytes())?;
        out.put(&self.number.to_le_bytes())?;
        out.put(&self.hash)?;
        out.put(&self.wall_us.to_le_bytes())?;
        out.put(&self.signature)
    }
}

/// What the hub signs of a checkpoint (SPEC 15.7).
#[must_use]
pub fn checkpoint_signed(building: u32, epoch: EpochId, number: u64, hash: &[u8; 32], wall_us: i64) -> [u8; 80] {
    joined(&[
        b"kalitka checkpoint 1",
        &building.to_le_bytes(),
        &epoch.0.to_le_bytes(),
        &number.to_le_bytes(),
        hash,
        &wall_us.to_le_bytes(),
    ])
}

/// The events of a live message that came as a QUIC datagram: at least one, all with well-formed headers (SPEC 15.10).
///
/// # Errors
/// [`Malformed`] when the datagram is anything else.
pub fn live(datagram: &[u8]) -> Result<Events<'_>, Malformed> {
    if datagram.len() > LIVE_LEN_MAX {
        return Err(Malformed::Trailing("live message"));
    }
    let mut cursor = Cursor::new(datagram);
    let head = Head::parse(&cursor.array::<MESSAGE_HEAD_LEN>("message head")?)?;
    if head.kind != kind::LIVE {
        return Err(Malformed::Value("message kind"));
    }
    let events = cursor.rest();
    if usize::try_from(head.len) != Ok(events.len()) {
        return Err(Malformed::Value("message length"));
    }
    if events.is_empty() {
        return Err(Malformed::Truncated("event"));
    }
    Events::new(events).try_for_each(|event| event.map(drop))?;
    Ok(Events::new(events))
}
