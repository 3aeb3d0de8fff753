//! What travels between gateway and hub (SPEC 15).
//!
//! [`Head`] begins every message; the bodies have a type each, with `parse` for what came and `emit` for what goes.
//! [`message`] writes a head and the body behind it. Signatures are the callers': this module says over which bytes.

mod batch;
mod command;
mod enrol;
mod hello;
mod pace;
mod renew;
mod snapshot;

pub use batch::{Acknowledgement, Batch, Checkpoint, Fork, batch_signed, checkpoint_signed, live};
pub use command::{CommandBody, CommandOutcome, CommandResult, Envelope, PortalModeCode};
pub use enrol::{EnrolRefused, EnrolRequest, Enrolled, TOKEN_TEXT_LEN, Token, refusal};
pub use hello::{Earlier, Hello, Position, PositionEntry};
pub use pace::Pace;
pub use renew::{Renew, RenewRefused, Renewed, renewal};
pub use snapshot::{SnapshotHead, SnapshotResult, SnapshotWanted, snapshot_result};

pub use crate::limits::{BODY_MAX, MESSAGE_HEAD_LEN};
use crate::wire::{Cursor, Malformed, NoRoom, Writer};

/// The application protocol of gateway and hub (SPEC 15.1).
pub const ALPN: &[u8] = b"kalitka/1";
/// The application protocol of a box that has no certificate yet (SPEC 15.14).
pub const ALPN_ENROL: &[u8] = b"kalitka-enrol/1";
/// The application protocol of a gateway whose certificate has expired: it may renew it, and nothing else (SPEC 15.15).
pub const ALPN_RENEW: &[u8] = b"kalitka-renew/1";
/// The name in the hub's certificate (SPEC 15.1).
pub const HUB_NAME: &str = "hub.kalitka";
/// What the name in a gateway's certificate begins with; the building's number follows, in decimal (SPEC 15.1).
pub const BUILDING_NAME: &str = "urn:kalitka:building:";

/// Version of the upstream messages.
const VERSION: u8 = 1;

/// Kind bytes of upstream messages (SPEC 15.2).
pub mod kind {
    /// What the gateway has. From the gateway.
    pub const HELLO: u8 = 1;
    /// What the hub has. From the hub.
    pub const POSITION: u8 = 2;
    /// Events, signed. From the gateway.
    pub const BATCH: u8 = 3;
    /// Events up to here are durable. From the hub.
    pub const ACKNOWLEDGEMENT: u8 = 4;
    /// The same, signed. From the hub.
    pub const CHECKPOINT: u8 = 5;
    /// Events at best effort. From the gateway, in a QUIC datagram.
    pub const LIVE: u8 = 6;
    /// A snapshot is there. From the hub.
    pub const SNAPSHOT: u8 = 7;
    /// What became of it. From the gateway.
    pub const SNAPSHOT_RESULT: u8 = 8;
    /// A command's envelope. From the hub.
    pub const COMMAND: u8 = 9;
    /// What became of it. From the gateway.
    pub const COMMAND_RESULT: u8 = 10;
    /// An identity is taken by another event. From the hub.
    pub const FORK: u8 = 11;
    /// The snapshot, please, from here on. From the gateway.
    pub const SNAPSHOT_WANTED: u8 = 12;
    /// A certificate, please. From a box.
    pub const ENROL: u8 = 16;
    /// Here it is. From the hub.
    pub const ENROLLED: u8 = 17;
    /// None for you. From the hub.
    pub const ENROL_REFUSED: u8 = 18;
    /// A new certificate, please. From a gateway that has one.
    pub const RENEW: u8 = 19;
    /// Here it is. From the hub.
    pub const RENEWED: u8 = 20;
    /// None for you. From the hub.
    pub const RENEW_REFUSED: u8 = 21;
    /// So much may be on its way. From the hub.
    pub const PACE: u8 = 22;

    /// Whether SPEC 15.2 names `code`: such a message on a stream that is not its own is a breach, any other is skipped.
    #[must_use]
    pub const fn is_known(code: u8) -> bool {
        matches!(code, HELLO..=SNAPSHOT_WANTED | ENROL..=PACE)
    }
}

/// Application error codes with which a connection is closed (SPEC 15.11).
pub mod close {
    /// A message is malformed, of the wrong side, or not of its stream.
    pub const MALFORMED: u32 = 1;
    /// A message has another version.
    pub const VERSION: u32 = 2;
    /// Another building than the certificate's.
    pub const BUILDING: u32 = 3;
    /// The building has another living connection.
    pub const SECOND_CONNECTION: u32 = 4;
    /// A hash or signature does not hold.
    pub const HISTORY: u32 = 5;
    /// The certificate is revoked.
    pub const REVOKED: u32 = 6;
    /// The certificate names no building.
    pub const NO_BUILDING: u32 = 7;
    /// The hub takes nothing now.
    pub const NOT_NOW: u32 = 8;
    /// The certificate has expired: all that it is good for is its renewal.
    pub const EXPIRED: u32 = 9;
}

/// What every message begins with. 8 bytes (SPEC 15.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The kind, perhaps one that this version does not know: its body is skipped.
    pub kind: u8,
    /// Bytes of the body, at most [`BODY_MAX`].
    pub len: u32,
}

impl Head {
    /// The head that `bytes` are.
    ///
    /// # Errors
    /// [`Malformed::Version`] for another version, [`Malformed::Value`] for a body that is too long or reserved bytes.
    pub fn parse(bytes: &[u8; MESSAGE_HEAD_LEN]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(bytes);
        let len = cursor.u32("message length")?;
        let kind = cursor.u8("message kind")?;
        if cursor.u8("message version")? != VERSION {
            return Err(Malformed::Version);
        }
        cursor.reserved(2, "message reserved")?;
        if usize::try_from(len).is_ok_and(|len| len <= BODY_MAX) {
            Ok(Self { kind, len })
        } else {
            Err(Malformed::Value("message length"))
        }
    }

    /// The bytes on the wire.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; MESSAGE_HEAD_LEN] {
        let [a, b, c, d] = self.len.to_le_bytes();
        [a, b, c, d, self.kind, VERSION, 0, 0]
    }
}

/// Writes a message of `kind` behind what `out` holds: a head, and what `body` writes. On error `out` is as it was.
///
/// # Errors
/// [`NoRoom`] when `body` says so, or the body is longer than [`BODY_MAX`].
pub fn message(
    kind: u8,
    out: &mut Writer<'_>,
    body: impl FnOnce(&mut Writer<'_>) -> Result<(), NoRoom>,
) -> Result<(), NoRoom> {
    let start = out.len();
    let written = write(kind, start, out, body);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

fn write(
    kind: u8,
    start: usize,
    out: &mut Writer<'_>,
    body: impl FnOnce(&mut Writer<'_>) -> Result<(), NoRoom>,
) -> Result<(), NoRoom> {
    out.put(&Head { kind, len: 0 }.to_bytes())?;
    body(out)?;
    let len = out.len() - start - MESSAGE_HEAD_LEN;
    let len = u32::try_from(len).ok().filter(|_| len <= BODY_MAX).ok_or(NoRoom)?;
    let head = out.written().get_mut(start..).and_then(<[u8]>::first_chunk_mut).ok_or(NoRoom)?;
    *head = Head { kind, len }.to_bytes();
    Ok(())
}

/// The body that `parse` reads of `bytes`, all of them.
fn whole<'a, T>(
    bytes: &'a [u8],
    what: &'static str,
    parse: impl FnOnce(&mut Cursor<'a>) -> Result<T, Malformed>,
) -> Result<T, Malformed> {
    let mut cursor = Cursor::new(bytes);
    let parsed = parse(&mut cursor)?;
    cursor.finish(what)?;
    Ok(parsed)
}

/// `fields` one behind the other, in an array of just their length.
fn joined<const N: usize>(fields: &[&[u8]]) -> [u8; N] {
    let mut bytes = [0; N];
    let mut writer = Writer::new(&mut bytes);
    let fits = fields.iter().all(|field| writer.put(field).is_ok());
    debug_assert!(fits && writer.room() == 0, "the fields fill the array");
    bytes
}
