//! Bodies of events, one for each kind (SPEC 14.5 to 14.13).

use super::{LossCause, kind};
use crate::credential::{CREDENTIAL_LEN, Credential};
use crate::limits::{COMMAND_BODY_MAX, HOLDER_MAX, SOFTWARE_VERSION_MAX};
use crate::message::Report;
use crate::reason::{Direction, Verdict, codes};
use crate::wire::{Cursor, Malformed, NoRoom, Writer};
use crate::{BootId, EpochId, ReaderId};

/// The place on the wire of a reader's portal that its generation does not have.
pub const NO_PORTAL: u16 = u16::MAX;
/// The last number of a loss of unknown end.
pub const UNKNOWN_END: u64 = u64::MAX;

/// What an event says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// The gateway has decided.
    Decision(Decision<'a>),
    /// A reader has reported.
    Report(ReportTaken),
    /// This epoch has begun.
    EpochBegun(EpochBegun),
    /// Events were lost.
    Loss(Loss),
    /// A loss of unknown end has got its end.
    LossClosed(LossClosed),
    /// A command was done, or was not.
    Command(CommandDone<'a>),
    /// A snapshot was adopted.
    SnapshotAdopted(SnapshotAdopted),
    /// The gateway's process has started.
    GatewayStarted(GatewayStarted<'a>),
    /// Events were purged by age.
    Purged(Purged),
    /// A kind that this version does not know.
    Unknown {
        /// Its kind byte.
        kind: u8,
        /// Its body.
        bytes: &'a [u8],
    },
}

/// The gateway has decided. 44 bytes and the holder (SPEC 14.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    /// Who asked.
    pub reader: ReaderId,
    /// In which boot.
    pub boot: BootId,
    /// Number of the request there.
    pub request: u32,
    /// Generation of the snapshot that decided; 0 for none.
    pub generation: u32,
    /// The portal's place in that generation's list; `None` when the reader is not in it.
    pub portal: Option<u16>,
    /// What was decided, and why. A reason of a denial that this version does not know reads as
    /// [`Denial::PlanMissing`](crate::reason::Denial::PlanMissing); the event's bytes keep it.
    pub verdict: Verdict,
    /// Which way.
    pub direction: Direction,
    /// Milliseconds since the card was shown, as the ask said.
    pub age_ms: u16,
    /// What the card is; `None` when it was not interpreted.
    pub credential: Option<Credential>,
    /// Whose: an opaque identity of at most [`HOLDER_MAX`] bytes of `A-Z a-z 0-9 . _ -`; empty when none was found.
    pub holder: &'a [u8],
}

/// A reader has reported. 68 bytes (SPEC 14.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportTaken {
    /// Who reported.
    pub reader: ReaderId,
    /// Generation of the snapshot in force at the commit; 0 for none.
    pub generation: u32,
    /// The portal's place in that generation's list; `None` when the reader is not in it.
    pub portal: Option<u16>,
    /// The report, as the reader sent it.
    pub report: Report,
}

/// An epoch has begun: number 1 of every epoch. 48 bytes (SPEC 14.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochBegun {
    /// The epoch before; `None` for none.
    pub before: Option<EpochId>,
    /// The highest number known of it; 0 for none.
    pub last: u64,
    /// The hash of that number; zero for none.
    pub hash: [u8; 32],
}

/// Events were lost. 32 bytes (SPEC 14.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// In which numbers were lost; the event's own when they never had numbers.
    pub epoch: EpochId,
    /// The first number lost; 0 when they never had numbers.
    pub first: u64,
    /// The last number lost, [`UNKNOWN_END`] when it is not known; 0 when they never had numbers.
    pub last: u64,
    /// Why.
    pub cause: LossCause,
    /// How many; `u32::MAX` for so many or more, 0 for not known.
    pub count: u32,
}

/// A loss of unknown end has got its end. 56 bytes (SPEC 14.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LossClosed {
    /// The epoch of the loss.
    pub epoch: EpochId,
    /// The first number of the loss.
    pub first: u64,
    /// The highest number that the hub holds; `first - 1` when it holds none from `first` on.
    pub held: u64,
    /// The hub's hash of that number; zero when it holds none from `first` on.
    pub hash: [u8; 32],
}

/// A command was done, or was not: an event for each reader that one was for. 48 bytes and the body (SPEC 14.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandDone<'a> {
    /// Its number; 0 when it was given at the gateway itself.
    pub number: u64,
    /// The operator's key; zero when it was given at the gateway itself.
    pub operator: [u8; 32],
    /// The reader; 0 when it was for none.
    pub reader: u32,
    /// What became of it: a code of [`CommandOutcome`](crate::upstream::CommandOutcome), or one of a later version.
    pub result: u8,
    /// The envelope's body as it came, at most [`COMMAND_BODY_MAX`] bytes; perhaps malformed, when the result says so.
    pub body: &'a [u8],
}

codes! {
    /// Why a snapshot was adopted (SPEC 14.11).
    AdoptionCause, "adoption cause" {
        /// It is newer than the one before.
        Newer = 1, "newer";
        /// Somebody has rolled back to it.
        RollBack = 2, "roll_back";
    }
}

/// A snapshot was adopted. 40 bytes (SPEC 14.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotAdopted {
    /// Its generation, from 1.
    pub generation: u32,
    /// Why.
    pub cause: AdoptionCause,
    /// BLAKE3 of its archive.
    pub hash: [u8; 32],
}

/// The gateway's process has started. 5 bytes and the version (SPEC 14.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatewayStarted<'a> {
    /// Readers that have a key.
    pub readers: u32,
    /// Of the software: 1 to [`SOFTWARE_VERSION_MAX`] printable ASCII characters.
    pub version: &'a [u8],
}

/// Events were purged because they were older than is kept. 72 bytes (SPEC 14.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purged {
    /// The epoch in which numbers were purged.
    pub epoch: EpochId,
    /// The first number purged.
    pub first: u64,
    /// The last number purged.
    pub last: u64,
    /// The hash of the last: the chain goes on from it.
    pub hash: [u8; 32],
    /// All of them happened before this moment, microseconds since 1970.
    pub before_us: i64,
    /// How many events they were; fewer than their numbers where some were lost before.
    pub count: u64,
}

impl<'a> Body<'a> {
    /// The kind byte.
    #[must_use]
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Decision(_) => kind::DECISION,
            Self::Report(_) => kind::REPORT,
            Self::EpochBegun(_) => kind::EPOCH_BEGUN,
            Self::Loss(_) => kind::LOSS,
            Self::LossClosed(_) => kind::LOSS_CLOSED,
            Self::Command(_) => kind::COMMAND,
            Self::SnapshotAdopted(_) => kind::SNAPSHOT_ADOPTED,
            Self::GatewayStarted(_) => kind::GATEWAY_STARTED,
            Self::Purged(_) => kind::PURGED,
            Self::Unknown { kind, .. } => *kind,
        }
    }

    pub(super) fn parse(kind: u8, body: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(body);
        let at = &mut cursor;
        let parsed = match kind {
            kind::DECISION => Self::Decision(Decision::parse(at)?),
            kind::REPORT => Self::Report(ReportTaken::parse(at)?),
            kind::EPOCH_BEGUN => Self::EpochBegun(EpochBegun::parse(at)?),
            kind::LOSS => Self::Loss(Loss::parse(at)?),
            kind::LOSS_CLOSED => Self::LossClosed(LossClosed::parse(at)?),
            kind::COMMAND => Self::Command(CommandDone::parse(at)?),
            kind::SNAPSHOT_ADOPTED => Self::SnapshotAdopted(SnapshotAdopted::parse(at)?),
            kind::GATEWAY_STARTED => Self::GatewayStarted(GatewayStarted::parse(at)?),
            kind::PURGED => Self::Purged(Purged::parse(at)?),
            _ => return Ok(Self::Unknown { kind, bytes: body }),
        };
        cursor.finish("event body")?;
        Ok(parsed)
    }

    pub(super) fn encoded_len(&self) -> Result<usize, NoRoom> {
        Ok(match self {
            Self::Decision(decision) => 44 + within(decision.holder, HOLDER_MAX)?,
            Self::Report(_) => 68,
            Self::EpochBegun(_) => 48,
            Self::Loss(_) => 32,
            Self::LossClosed(_) => 56,
            Self::Command(command) => 48 + within(command.body, COMMAND_BODY_MAX)?,
            Self::SnapshotAdopted(_) => 40,
            Self::GatewayStarted(started) => 5 + within(started.version, SOFTWARE_VERSION_MAX)?,
            Self::Purged(_) => 72,
            Self::Unknown { bytes, .. } => bytes.len(),
        })
    }

    pub(super) fn emit(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        match self {
            Self::Decision(decision) => decision.emit(out),
            Self::Report(taken) => taken.emit(out),
            Self::EpochBegun(begun) => begun.emit(out),
            Self::Loss(loss) => loss.emit(out),
            Self::LossClosed(closed) => closed.emit(out),
            Self::Command(command) => command.emit(out),
            Self::SnapshotAdopted(adopted) => adopted.emit(out),
            Self::GatewayStarted(started) => started.emit(out),
            Self::Purged(purged) => purged.emit(out),
            Self::Unknown { bytes, .. } => out.put(bytes),
        }
    }
}

impl<'a> Decision<'a> {
    fn parse(cursor: &mut Cursor<'a>) -> Result<Self, Malformed> {
        let reader = ReaderId(cursor.u32_from_1("reader")?);
        let boot = BootId(cursor.u64("boot")?);
        let request = cursor.u32_from_1("request")?;
        let generation = cursor.u32("snapshot generation")?;
        let portal = portal(cursor.u16("portal")?);
        let verdict = Verdict::from_bytes(cursor.array("verdict")?)?;
        let direction = Direction::from_code(cursor.u8("direction")?)?;
        let holder_len = usize::from(cursor.u8("holder length")?);
        let age_ms = cursor.u16("ask age")?;
        let credential: [u8; CREDENTIAL_LEN] = cursor.array("credential")?;
        let credential =
            if credential == [0; CREDENTIAL_LEN] { None } else { Some(Credential::from_canonical(credential)?) };
        if holder_len > HOLDER_MAX {
            return Err(Malformed::Value("holder length"));
        }
        let holder = cursor.bytes(holder_len, "holder")?;
        if !holder.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte)) {
            return Err(Malformed::Value("holder"));
        }
        Ok(Self { reader, boot, request, generation, portal, verdict, direction, age_ms, credential, holder })
    }

    fn emit(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        out.put(&self.reader.0.to_le_bytes())?;
        out.put(&self.boot.0.to_le_bytes())?;
        out.put(&self.request.to_le_bytes())?;
        out.put(&self.generation.to_le_bytes())?;
        out.put(&self.portal.unwrap_or(NO_PORTAL).to_le_bytes())?;
        out.put(&self.verdict.to_bytes())?;
        out.put(&[self.direction.code(), u8::try_from(self.holder.len()).map_err(|_| NoRoom)?])?;
        out.put(&self.age_ms.to_le_bytes())?;
        out.put(&self.credential.map_or([0; CREDENTIAL_LEN], |credential| *credential.as_bytes()))?;
        out.put(self.holder)
    }
}

impl ReportTaken {
    fn parse(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let reader = ReaderId(cursor.u32_from_1("reader")?);
        let generation = cursor.u32("snapshot generation")?;
        let portal = portal(cursor.u16("portal")?);
        cursor.reserved(2, "report reserved")?;
        Ok(Self { reader, generation, portal, report: Report::parse(cursor)? })
    }

    fn emit(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        out.put(&self.reader.0.to_le_bytes())?;
        out.put(&self.generation.to_le_bytes())?;
        out.put(&self.portal.unwrap_or(NO_PORTAL).to_le_bytes())?;
        out.put(&[0; 2])?;
        self.report.emit(out)
    }
}

impl EpochBegun {
    fn parse(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let before = cursor.u64("epoch before")?;
        let last = cursor.u64("last number")?;
        let hash: [u8; 32] = cursor.array("hash")?;
        if before == 0 && last != 0 {
            return Err(Malformed::Value("last number"));
        }
        if last == 0 && hash != [0; 32] {
            return Err(Malformed::Value("hash"));
        }
        Ok(Self { before: (before != 0).then_some(EpochId(before)), last, hash })
    }

    fn emit(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        out.put(&self.before.map_or(0, |epoch| epoch.0).to_le_bytes())?;
        out.put(&self.last.to_le_bytes())?;
        out.put(&self.hash)
    }
}

impl Loss {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let epoch = EpochId(cursor.u64_from_1("loss epoch")?);
        let first = cursor.u64("first lost")?;
        let last = cursor.u64("last lost")?;
        let cause = LossCause::from_code(cursor.u8("loss cause")?)?;
        cursor.reserved(3, "loss reserved")?;
        let count = cursor.u32("loss count")?;
        let numbered = !cause.is_of_own_epoch();
        if numbered == (first == 0) {
            return Err(Malformed::Value("first lost"));
        }
        let unknown = last == UNKNOWN_END && cause != LossCause::Damaged;
        if last < first || unknown || (!numbered && last != 0) {
            return Err(Malformed::Value("last lost"));
        }
        if cause.is_of_a_class() && (count == 0 || u64::from(count) > last - first + 1) {
            return Err(Malformed::Value("loss count"));
        }
        Ok(Self { epoch, first, last, cause, count })
    }

    fn emit(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        out.put(&self.epoch.0.to_le_bytes())?;
        out.put(&self.first.to_le_bytes())?;
        out.put(&self.last.to_le_bytes())?;
        out.put(&[self.cause.code(), 0, 0, 0])?;
        out.put(&self.count.to_le_bytes())
    }
}

impl LossClosed {
    fn parse(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let epoch = EpochId(cursor.u64_from_1("loss epoch")?);
        let first = cursor.u64_from_1("first lost")?;
        let held = cursor.u64("highest held")?;
        let hash: [u8; 32] = cursor.array("hash")?;
        if held < first - 1 {
            return Err(Malformed::Value("highest held"));
        }
        if held < first && hash != [0; 32] {
            return Err(Malformed::Value("hash"));
        }
        Ok(Self { epoch, first, held, hash })
    }

    fn emit(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        out.put(&self.epoch.0.to_le_bytes())?;
        out.put(&self.first.to_le_bytes())?;
        out.put(&self.held.to_le_bytes())?;
        out.put(&self.hash)
    }
}

impl<'a> CommandDone<'a> {
    fn parse(cursor: &mut Cursor<'a>) -> Result<Self, Malformed> {
        let number = cursor.u64("command number")?;
        let operator = cursor.array("operator")?;
        let reader = cursor.u32("reader")?;
        let result = cursor.u8("command result")?;
        cursor.reserved(1, "command reserved")?;
        let len = usize::from(cursor.u16("command length")?);
        if len > COMMAND_BODY_MAX {
            return Err(Malformed::Value("command length"));
        }
        Ok(Self { number, operator, reader, result, body: cursor.bytes(len, "command body")? })
    }

    fn emit(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        out.put(&self.number.to_le_bytes())?;
        out.put(&self.operator)?;
        out.put(&self.reader.to_le_bytes())?;
        out.put(&[self.result, 0])?;
        out.put(&u16::try_from(self.body.len()).map_err(|_| NoRoom)?.to_le_bytes())?;
        out.put(self.body)
    }
}

impl SnapshotAdopted {
    fn parse(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let generation = cursor.u32_from_1("snapshot generation")?;
        let cause = AdoptionCause::from_code(cursor.u8("adoption cause")?)?;
        cursor.reserved(3, "adoption reserved")?;
        Ok(Self { generation, cause, hash: cursor.array("hash")? })
    }

    fn emit(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        out.put(&self.generation.to_le_bytes())?;
        out.put(&[self.cause.code(), 0, 0, 0])?;
        out.put(&self.hash)
    }
}

impl<'a> GatewayStarted<'a> {
    fn parse(cursor: &mut Cursor<'a>) -> Result<Self, Malformed> {
        let readers = cursor.u32("readers")?;
        let len = usize::from(cursor.u8("version length")?);
        if !(1..=SOFTWARE_VERSION_MAX).contains(&len) {
            return Err(Malformed::Value("version length"));
        }
        let version = cursor.bytes(len, "software version")?;
        if version.iter().all(|byte| matches!(byte, b' '..=b'~')) {
            Ok(Self { readers, version })
        } else {
            Err(Malformed::Value("software version"))
        }
    }

    fn emit(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        out.put(&self.readers.to_le_bytes())?;
        out.put(&[u8::try_from(self.version.len()).map_err(|_| NoRoom)?])?;
        out.put(self.version)
    }
}

impl Purged {
    fn parse(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let epoch = EpochId(cursor.u64_from_1("purged epoch")?);
        let first = cursor.u64_from_1("first purged")?;
        let last = cursor.u64("last purged")?;
        let hash = cursor.array("hash")?;
        let before_us = cursor.i64("purged before")?;
        let count = cursor.u64_from_1("purged count")?;
        if last < first || last == u64::MAX {
            return Err(Malformed::Value("last purged"));
        }
        if count > last - first + 1 {
            return Err(Malformed::Value("purged count"));
        }
        Ok(Self { epoch, first, last, hash, before_us, count })
    }

    fn emit(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        out.put(&self.epoch.0.to_le_bytes())?;
        out.put(&self.first.to_le_bytes())?;
        out.put(&self.last.to_le_bytes())?;
        out.put(&self.hash)?;
        out.put(&self.before_us.to_le_bytes())?;
        out.put(&self.count.to_le_bytes())
    }
}

fn portal(place: u16) -> Option<u16> {
    (place != NO_PORTAL).then_some(place)
}

fn within(bytes: &[u8], max: usize) -> Result<usize, NoRoom> {
    if bytes.len() <= max { Ok(bytes.len()) } else { Err(NoRoom) }
}
