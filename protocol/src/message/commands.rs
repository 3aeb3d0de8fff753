//! Commands: a reader is told to do something, once, and says what became of it (SPEC 8).

use crate::reason::{Direction, FallBack, Tone, codes};
use crate::wire::{Cursor, Malformed, NoRoom, Writer};

/// What a reader is told to do (SPEC 8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Let one person through, holding the portal open for so many milliseconds.
    Open {
        /// Which way.
        direction: Direction,
        /// How long.
        hold_open_ms: u16,
    },
    /// Keep this mode for when the gateway does not answer.
    SetFallBack(FallBack),
    /// Play a tone.
    Play(Tone),
}

/// Do something, once. 24 bytes (SPEC 8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// Its number, growing over all sessions.
    pub id: u64,
    /// The highest counter of this session that the gateway has seen of the reader.
    pub seen: u64,
    /// What to do.
    pub order: Order,
}

codes! {
    /// What became of a command.
    CommandResult, "command result" {
        /// It has been done.
        Done = 0, "done";
        /// This reader cannot do it.
        NotSupported = 1, "not_supported";
    }
}

/// What became of a command. 16 bytes (SPEC 8.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// The command.
    pub id: u64,
    /// What became of it.
    pub result: CommandResult,
}

impl Order {
    /// The four bytes that stand in a command (8.3) and in an envelope for readers (15.8).
    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let order = cursor.u8("order")?;
        let argument = cursor.u8("order argument")?;
        let hold_open_ms = cursor.u16("hold open")?;
        match (order, hold_open_ms) {
            (1, _) => Ok(Self::Open { direction: Direction::from_code(argument)?, hold_open_ms }),
            (2, 0) => Ok(Self::SetFallBack(FallBack::from_code(argument)?)),
            (3, 0) => Ok(Self::Play(Tone::from_code(argument)?)),
            (2 | 3, _) => Err(Malformed::Value("hold open")),
            _ => Err(Malformed::Value("order")),
        }
    }

    pub(crate) const fn to_bytes(self) -> [u8; 4] {
        match self {
            Self::Open { direction, hold_open_ms } => {
                let [low, high] = hold_open_ms.to_le_bytes();
                [1, direction.code(), low, high]
            }
            Self::SetFallBack(mode) => [2, mode.code(), 0, 0],
            Self::Play(tone) => [3, tone.code(), 0, 0],
        }
    }
}

impl Command {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let id = cursor.u64_from_1("command id")?;
        let seen = cursor.u64("counter seen")?;
        let order = Order::parse(cursor)?;
        cursor.reserved(4, "command reserved")?;
        Ok(Self { id, seen, order })
    }

    pub(super) fn emit(&self, writer: &mut Writer<'_>) -> Result<(), NoRoom> {
        writer.put(&self.id.to_le_bytes())?;
        writer.put(&self.seen.to_le_bytes())?;
        writer.put(&self.order.to_bytes())?;
        writer.put(&[0; 4])
    }
}

impl Done {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let id = cursor.u64_from_1("command id")?;
        let result = CommandResult::from_code(cursor.u8("command result")?)?;
        cursor.reserved(7, "done reserved")?;
        Ok(Self { id, result })
    }

    pub(super) fn emit(self, writer: &mut Writer<'_>) -> Result<(), NoRoom> {
        writer.put(&self.id.to_le_bytes())?;
        writer.put(&[self.result.code(), 0, 0, 0, 0, 0, 0, 0])
    }
}
