//! Commands of operators, which the hub carries and cannot make (SPEC 15.8, 15.9).

use super::whole;
use crate::ReaderId;
use crate::credential::Credential;
use crate::limits::{COMMAND_BODY_MAX, COMMAND_BODY_MIN};
use crate::message::Order;
use crate::reason::codes;
use crate::wire::{Cursor, Malformed, NoRoom, Writer};

/// What the operator's signature covers before the envelope's own fields.
const SIGNED_PREFIX: &[u8] = b"kalitka command 1";
/// Orders for the gateway itself; below them are those of SPEC 8.3.
const BLOCK: u8 = 64;
const UNBLOCK: u8 = 65;
const MODE: u8 = 66;
/// The mode byte for "as scheduled".
const AS_SCHEDULED: u8 = 255;

/// A signed command. 118 bytes and the body (SPEC 15.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// For which building.
    pub building: u32,
    /// Its number, from 1, growing over all commands of the building.
    pub number: u64,
    /// In microseconds since 1970: not to be done later.
    pub not_after_us: i64,
    /// Whose it is: an Ed25519 public key.
    pub operator: [u8; 32],
    /// What to do, of 8 to 1,024 bytes; [`CommandBody::parse`] reads it.
    pub body: &'a [u8],
    /// The operator's, over [`signed`](Self::signed).
    pub signature: [u8; 64],
}

impl<'a> Envelope<'a> {
    /// The envelope that `body` is. What is in it and its signature are not looked at.
    ///
    /// # Errors
    /// [`Malformed`] names the first field that is cut off or out of its range.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        whole(body, "command", |cursor| {
            let building = cursor.u32_from_1("building")?;
            let number = cursor.u64_from_1("command number")?;
            let not_after_us = cursor.i64("not after")?;
            let operator = cursor.array("operator")?;
            let len = usize::from(cursor.u16("command length")?);
            if !(COMMAND_BODY_MIN..=COMMAND_BODY_MAX).contains(&len) {
                return Err(Malformed::Value("command length"));
            }
            let body = cursor.bytes(len, "command body")?;
            Ok(Self { building, number, not_after_us, operator, body, signature: cursor.array("signature")? })
        })
    }

    /// Writes the body of the message behind what `out` holds.
    ///
    /// # Errors
    /// [`NoRoom`] when it does not fit, or what is to be done is longer or shorter than allowed.
    pub fn emit(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        self.fields(out)?;
        out.put(&self.signature)
    }

    /// Writes what the operator signs behind what `out` holds: at most 1,095 bytes.
    ///
    /// # Errors
    /// [`NoRoom`] when it does not fit, or what is to be done is longer or shorter than allowed.
    pub fn signed(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        out.put(SIGNED_PREFIX)?;
        self.fields(out)
    }

    fn fields(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        if !(COMMAND_BODY_MIN..=COMMAND_BODY_MAX).contains(&self.body.len()) {
            return Err(NoRoom);
        }
        out.put(&self.building.to_le_bytes())?;
        out.put(&self.number.to_le_bytes())?;
        out.put(&self.not_after_us.to_le_bytes())?;
        out.put(&self.operator)?;
        out.put(&u16::try_from(self.body.len()).map_err(|_| NoRoom)?.to_le_bytes())?;
        out.put(self.body)
    }
}

codes! {
    /// A portal's mode, by the codes that snapshots have for it (SPEC 15.8).
    PortalModeCode, "portal mode" {
        /// The ordinary rules hold.
        Normal = 0, "normal";
        /// Nobody passes.
        Closed = 1, "closed";
        /// Everybody passes.
        Free = 2, "free";
        /// The ordinary rules hold for entry; nobody passes out.
        EntryOnly = 3, "entry_only";
        /// The ordinary rules hold for exit; nobody passes in.
        ExitOnly = 4, "exit_only";
    }
}

/// What an operator orders (SPEC 15.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandBody {
    /// Readers are told to do something.
    Reader {
        /// Which; `None` for every one that has a key.
        reader: Option<ReaderId>,
        /// What.
        order: Order,
    },
    /// The credential opens nothing.
    Block {
        /// Which.
        credential: Credential,
    },
    /// The credential is as if it were issued.
    Unblock {
        /// Which.
        credential: Credential,
    },
    /// Portals are in this mode whatever the plan says.
    Mode {
        /// The reader at whose portal; `None` for every one.
        reader: Option<ReaderId>,
        /// Which; `None` for as scheduled.
        mode: Option<PortalModeCode>,
    },
}

impl CommandBody {
    /// What the envelope's `body` orders; `None` for an order that this version does not know.
    ///
    /// # Errors
    /// [`Malformed`] names the first field that is cut off or out of its range.
    pub fn parse(body: &[u8]) -> Result<Option<Self>, Malformed> {
        let Some(&order) = body.first() else { return Err(Malformed::Truncated("order")) };
        let parsed = match order {
            1..=3 => whole(body, "command body", |cursor| {
                let order = Order::parse(cursor)?;
                Ok(Self::Reader { reader: reader(cursor)?, order })
            }),
            BLOCK => addressed(body).map(|credential| Self::Block { credential }),
            UNBLOCK => addressed(body).map(|credential| Self::Unblock { credential }),
            MODE => whole(body, "command body", |cursor| {
                cursor.u8("order")?;
                let mode = match cursor.u8("portal mode")? {
                    AS_SCHEDULED => None,
                    code => Some(PortalModeCode::from_code(code)?),
                };
                cursor.reserved(2, "command reserved")?;
                Ok(Self::Mode { reader: reader(cursor)?, mode })
            }),
            _ => return Ok(None),
        };
        parsed.map(Some)
    }

    /// Writes the envelope's body behind what `out` holds: at most 24 bytes.
    ///
    /// # Errors
    /// [`NoRoom`] when it does not fit.
    pub fn emit(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        let (order, credential) = match self {
            Self::Reader { reader, order } => {
                out.put(&order.to_bytes())?;
                return out.put(&number(*reader).to_le_bytes());
            }
            Self::Mode { reader, mode } => {
                out.put(&[MODE, mode.map_or(AS_SCHEDULED, PortalModeCode::code), 0, 0])?;
                return out.put(&number(*reader).to_le_bytes());
            }
            Self::Block { credential } => (BLOCK, credential),
            Self::Unblock { credential } => (UNBLOCK, credential),
        };
        out.put(&[order, 0, 0, 0, 0, 0, 0, 0])?;
        out.put(credential.as_bytes())
    }
}

/// The credential of an order that names one.
fn addressed(body: &[u8]) -> Result<Credential, Malformed> {
    whole(body, "command body", |cursor| {
        cursor.u8("order")?;
        cursor.reserved(7, "command reserved")?;
        Credential::from_canonical(cursor.array("credential")?)
    })
}

fn reader(cursor: &mut Cursor<'_>) -> Result<Option<ReaderId>, Malformed> {
    let number = cursor.u32("reader")?;
    Ok((number != 0).then_some(ReaderId(number)))
}

const fn number(reader: Option<ReaderId>) -> u32 {
    match reader {
        Some(ReaderId(number)) => number,
        None => 0,
    }
}

codes! {
    /// What became of a command (SPEC 15.9).
    CommandOutcome, "command outcome" {
        /// It has been done.
        Done = 0, "done";
        /// The reader or the gateway cannot do it.
        NotSupported = 1, "not_supported";
        /// The reader did not answer.
        GivenUp = 2, "given_up";
        /// There is no such reader.
        ReaderUnknown = 3, "reader_unknown";
        /// Its time has passed, or nobody knows what time it is.
        TooLate = 4, "too_late";
        /// Its number is not above the highest.
        NumberNotAbove = 5, "number_not_above";
        /// The gateway does not know this operator.
        OperatorUnknown = 6, "operator_unknown";
        /// The operator has not signed it.
        SignatureWrong = 7, "signature_wrong";
        /// Its body is malformed.
        Malformed = 8, "malformed";
    }
}

/// What became of a command. 16 bytes (SPEC 15.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandResult {
    /// The command's number.
    pub number: u64,
    /// What became of it.
    pub outcome: CommandOutcome,
}

impl CommandResult {
    /// The result that `body` is.
    ///
    /// # Errors
    /// [`Malformed`] names the first field that is cut off or out of its range.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        whole(body, "command result", |cursor| {
            let number = cursor.u64_from_1("command number")?;
            let outcome = CommandOutcome::from_code(cursor.u8("command outcome")?)?;
            cursor.reserved(7, "result reserved")?;
            Ok(Self { number, outcome })
        })
    }

    /// Writes the body behind what `out` holds.
    ///
    /// # Errors
    /// [`NoRoom`] when it does not fit.
    pub fn emit(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        out.put(&self.number.to_le_bytes())?;
        out.put(&[self.outcome.code(), 0, 0, 0, 0, 0, 0, 0])
    }
}
