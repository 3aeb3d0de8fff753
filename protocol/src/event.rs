//! The event record: what the gateway has decided and what readers have reported (SPEC 14).
//!
//! The bytes of an event are made once, when it is committed, and travel unchanged to the hub's store. [`Events`] walks
//! over events by their headers alone, as whoever stores, sends or verifies them does; [`Event::parse`] reads a body too.

mod body;
mod class;

pub use body::{
    AdoptionCause, Body, CommandDone, Decision, EpochBegun, GatewayStarted, Loss, LossClosed, NO_PORTAL, Purged,
    ReportTaken, SnapshotAdopted, UNKNOWN_END,
};
pub use class::{Class, LossCause};

use crate::EpochId;
use crate::limits::{EVENT_HEADER_LEN, EVENT_LEN_MAX};
use crate::reason::codes;
use crate::wire::{Cursor, Malformed, NoRoom, Writer};

/// The layout of events that this crate writes and reads (SPEC 14.2).
const LAYOUT: u8 = 1;
/// Where an event has its epoch and, behind it, its number.
const IDENTITY_AT: usize = 8;
/// The flag of a clock that has jumped.
const JUMPED: u8 = 1;

/// Kind bytes of events (SPEC 14.4).
pub mod kind {
    /// A decision.
    pub const DECISION: u8 = 1;
    /// A reader's report.
    pub const REPORT: u8 = 2;
    /// An epoch has begun.
    pub const EPOCH_BEGUN: u8 = 3;
    /// Events were lost.
    pub const LOSS: u8 = 4;
    /// A loss of unknown end has got its end.
    pub const LOSS_CLOSED: u8 = 5;
    /// A command was done, or was not.
    pub const COMMAND: u8 = 6;
    /// A snapshot was adopted.
    pub const SNAPSHOT_ADOPTED: u8 = 7;
    /// The gateway's process has started.
    pub const GATEWAY_STARTED: u8 = 8;
    /// Events were purged by age.
    pub const PURGED: u8 = 9;
}

codes! {
    /// What an event's wall clock is worth (SPEC 14.2).
    ClockQuality, "clock quality" {
        /// Disciplined by a time source.
        Good = 0, "good";
        /// Was once, and has been running on since.
        Held = 1, "held";
        /// Never was.
        None = 2, "none";
    }
}

/// What every event begins with: its identity and its times. 48 bytes (SPEC 14.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventHeader {
    /// The building, from 1.
    pub building: u32,
    /// The epoch of the gateway's store.
    pub epoch: EpochId,
    /// The number in that epoch, from 1 without gaps.
    pub number: u64,
    /// Wall clock in microseconds since 1970, at the decision or at the report's arrival; not at the commit.
    pub wall_us: i64,
    /// Microseconds from the gateway's start to the same moment.
    pub monotonic_us: u64,
    /// The first 4 bytes of the machine's boot id.
    pub gateway_boot: u32,
    /// What the wall clock is worth.
    pub quality: ClockQuality,
    /// Of decisions and reports: whether the clock has jumped since the one before.
    pub jumped: bool,
}

/// One event, borrowing its texts from the bytes that it was read of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Identity and times.
    pub header: EventHeader,
    /// What happened.
    pub body: Body<'a>,
}

impl Event<'_> {
    /// The event that `bytes` are, exactly one.
    ///
    /// # Errors
    /// [`Malformed`] names the first field that is cut off or out of its range. Such bytes can still be a well-formed
    /// [`RawEvent`], to be kept as they are.
    pub fn parse(bytes: &[u8]) -> Result<Event<'_>, Malformed> {
        let mut events = Events::new(bytes);
        let event = events.next().ok_or(Malformed::Truncated("event"))??;
        events.cursor.finish("event")?;
        event.event()
    }

    /// Writes the event behind what `out` holds; on error `out` is as it was.
    ///
    /// # Errors
    /// [`NoRoom`] when it does not fit, or a text of it is longer than SPEC allows.
    pub fn emit(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        let len = self.encoded_len()?;
        if out.room() < len {
            return Err(NoRoom);
        }
        let [low, high] = u16::try_from(len).map_err(|_| NoRoom)?.to_le_bytes();
        out.put(&[low, high, LAYOUT, self.body.kind()])?;
        self.header.emit(out)?;
        self.body.emit(out)
    }

    /// Bytes that [`emit`](Self::emit) writes.
    ///
    /// # Errors
    /// [`NoRoom`] when a text of it is longer than SPEC allows.
    pub fn encoded_len(&self) -> Result<usize, NoRoom> {
        let len = EVENT_HEADER_LEN + self.body.encoded_len()?;
        if len <= EVENT_LEN_MAX { Ok(len) } else { Err(NoRoom) }
    }
}

impl EventHeader {
    /// The header behind length, layout and kind.
    fn parse(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let building = cursor.u32_from_1("building")?;
        let epoch = EpochId(cursor.u64_from_1("epoch")?);
        let number = cursor.u64_from_1("event number")?;
        let wall_us = cursor.i64("wall clock")?;
        let monotonic_us = cursor.u64("monotonic clock")?;
        let gateway_boot = cursor.u32("gateway boot")?;
        let quality = ClockQuality::from_code(cursor.u8("clock quality")?)?;
        let flags = cursor.u8("event flags")?;
        if flags & !JUMPED != 0 {
            return Err(Malformed::Value("event flags"));
        }
        cursor.reserved(2, "event reserved")?;
        let jumped = flags & JUMPED != 0;
        Ok(Self { building, epoch, number, wall_us, monotonic_us, gateway_boot, quality, jumped })
    }

    fn emit(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        out.put(&self.building.to_le_bytes())?;
        out.put(&self.epoch.0.to_le_bytes())?;
        out.put(&self.number.to_le_bytes())?;
        out.put(&self.wall_us.to_le_bytes())?;
        out.put(&self.monotonic_us.to_le_bytes())?;
        out.put(&self.gateway_boot.to_le_bytes())?;
        out.put(&[self.quality.code(), if self.jumped { JUMPED } else { 0 }, 0, 0])
    }
}

/// An event of which the header is well-formed and the body has not been looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawEvent<'a> {
    /// Identity and times.
    pub header: EventHeader,
    /// What kind of body it has, perhaps one that this version does not know.
    pub kind: u8,
    /// The whole event.
    pub bytes: &'a [u8],
}

impl<'a> RawEvent<'a> {
    /// The event with its body read.
    ///
    /// # Errors
    /// [`Malformed`] when the body is not one of its kind, or not one that an event of this identity has.
    pub fn event(&self) -> Result<Event<'a>, Malformed> {
        let body = Body::parse(self.kind, self.body())?;
        if matches!(body, Body::EpochBegun(_)) != (self.header.number == 1) {
            return Err(Malformed::Value("event number"));
        }
        if let Body::Loss(loss) = body
            && loss.cause.is_of_own_epoch()
            && loss.epoch != self.header.epoch
        {
            return Err(Malformed::Value("loss epoch"));
        }
        Ok(Event { header: self.header, body })
    }

    /// The bytes behind the header.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.bytes.get(EVENT_HEADER_LEN..).unwrap_or_default()
    }
}

/// Events one behind the other, by their headers. After an error there are no more.
#[derive(Clone, Debug)]
pub struct Events<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Events<'a> {
    /// The events of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { cursor: Cursor::new(bytes) }
    }

    fn step(&mut self) -> Result<RawEvent<'a>, Malformed> {
        let mut ahead = self.cursor;
        let len = usize::from(ahead.u16("event length")?);
        if !(EVENT_HEADER_LEN..=EVENT_LEN_MAX).contains(&len) {
            return Err(Malformed::Value("event length"));
        }
        let bytes = self.cursor.bytes(len, "event")?;
        if ahead.u8("event layout")? != LAYOUT {
            return Err(Malformed::Value("event layout"));
        }
        let kind = ahead.u8("event kind")?;
        Ok(RawEvent { header: EventHeader::parse(&mut ahead)?, kind, bytes })
    }
}

impl<'a> Iterator for Events<'a> {
    type Item = Result<RawEvent<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.cursor.is_empty() {
            return None;
        }
        let step = self.step();
        if step.is_err() {
            self.cursor = Cursor::new(&[]);
        }
        Some(step)
    }
}

/// Gives the event that `event` holds another identity of its building, in place (SPEC 15.13).
///
/// A loss that tells of its own epoch (causes 1, 4 and 7 of SPEC 14.8) then tells of the new one. All else stays.
///
/// # Errors
/// [`Malformed`] when `event` is not exactly one whole event, `epoch` or `number` is 0, or the event says that its epoch
/// has begun: that one stays where it is. Nothing is changed then.
pub fn renumber(event: &mut [u8], epoch: EpochId, number: u64) -> Result<(), Malformed> {
    let mut events = Events::new(event);
    let raw = events.next().ok_or(Malformed::Truncated("event"))??;
    events.cursor.finish("event")?;
    if epoch.0 == 0 {
        return Err(Malformed::Value("epoch"));
    }
    if number == 0 || raw.kind == kind::EPOCH_BEGUN {
        return Err(Malformed::Value("event number"));
    }
    let tells_of_own = match raw.kind {
        kind::LOSS => Loss::parse(&mut Cursor::new(raw.body()))?.cause.is_of_own_epoch(),
        _ => false,
    };
    patch(event, IDENTITY_AT, epoch.0);
    patch(event, IDENTITY_AT + 8, number);
    if tells_of_own {
        patch(event, EVENT_HEADER_LEN, epoch.0);
    }
    Ok(())
}

fn patch(bytes: &mut [u8], at: usize, value: u64) {
    if let Some(place) = bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = value.to_le_bytes();
    }
}

/// The chain's hash of an event, by the hash of the one before; that of number 0 is all zero (SPEC 14.3).
#[must_use]
pub fn chain(before: &[u8; 32], event: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(before);
    hasher.update(event);
    *hasher.finalize().as_bytes()
}

/// The chain's hash of the last of `events`, and how many they are.
///
/// # Errors
/// [`Malformed`] when one of them is no event by its header.
pub fn chain_all(before: &[u8; 32], events: &[u8]) -> Result<([u8; 32], u64), Malformed> {
    Events::new(events).try_fold((*before, 0), |(hash, count), event| Ok((chain(&hash, event?.bytes), count + 1)))
}
