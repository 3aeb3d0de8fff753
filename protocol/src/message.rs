//! What travels under the seal: messages, several to a datagram (SPEC 5.5 to 9).

mod commands;
mod lists;

pub use commands::{Command, CommandResult, Done, Order};
pub use lists::{ListAsk, ListEntries, ListEntry, ListKind, ListPage, ListStatus};

use crate::credential::{CREDENTIAL_LEN, CardRead};
use crate::limits::{ANSWER_LEN, MESSAGE_HEADER_LEN, MESSAGES_MAX, TEXT_MAX};
use crate::reason::{Direction, Tone, Verdict, codes};
use crate::wire::{Cursor, Malformed, NoRoom, Writer};
use crate::{BootId, LogId};

/// Kind bytes. A gateway's messages have the high bit.
mod kind {
    pub(super) const ASK: u8 = 0x01;
    pub(super) const REPORT: u8 = 0x02;
    pub(super) const DONE: u8 = 0x03;
    pub(super) const PING: u8 = 0x04;
    pub(super) const LIST_ASK: u8 = 0x05;
    pub(super) const ANSWER: u8 = 0x81;
    pub(super) const RECEIPT: u8 = 0x82;
    pub(super) const COMMAND: u8 = 0x83;
    pub(super) const PONG: u8 = 0x84;
    pub(super) const LIST_PAGE: u8 = 0x85;
    pub(super) const LEAVE: u8 = 0x86;
}

/// The flags of a report (SPEC 7.2).
const UNASKED: u8 = 1;
const OLDEST: u8 = 2;

/// One message, borrowing its texts from the opened datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// May this card pass? Reader to gateway.
    Ask(Ask),
    /// Something happened at the portal. Reader to gateway.
    Report(Report),
    /// A command has been done, or cannot be. Reader to gateway.
    Done(Done),
    /// Are you there? Reader to gateway.
    Ping(Ping),
    /// A page of a list, please. Reader to gateway.
    ListAsk(ListAsk),
    /// The decision. Gateway to reader.
    Answer(Answer<'a>),
    /// Reports up to here are durable. Gateway to reader.
    Receipt(Receipt),
    /// Do something. Gateway to reader.
    Command(Command),
    /// I am. Gateway to reader.
    Pong(Pong),
    /// A page of a list. Gateway to reader.
    ListPage(ListPage<'a>),
    /// This session ends here; shake hands with whoever comes after me. Gateway to reader.
    Leave,
}

/// May this card pass in this direction? 24 bytes (SPEC 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Number of the request, growing within a boot of the reader.
    pub request: u32,
    /// Milliseconds since the card was shown, to the sending of this datagram; saturates.
    pub age_ms: u16,
    /// Which way.
    pub direction: Direction,
    /// The card.
    pub card: CardRead,
}

/// The decision. 16 bytes and the text (SPEC 6.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The request that it answers.
    pub request: u32,
    /// Generation of the snapshot by which it was decided; 0 when there is none.
    pub generation: u32,
    /// How long to hold the portal open for the person, in milliseconds; 0 on a denial.
    pub hold_open_ms: u16,
    /// Grant or denial, and why.
    pub verdict: Verdict,
    /// What to play.
    pub tone: Tone,
    /// What to show, at most [`TEXT_MAX`] bytes.
    pub text: &'a str,
}

codes! {
    /// What a reader reports (SPEC 7.2).
    ReportKind, "report kind" {
        /// Somebody went through.
        Passed = 1, "passed";
        /// Nobody went through after a grant.
        TurnedBack = 2, "turned_back";
        /// The portal was forced.
        Forced = 3, "forced";
        /// The portal stands open for too long.
        HeldOpen = 4, "held_open";
        /// Somebody tampers with the reader.
        Tamper = 5, "tamper";
        /// An input has changed.
        InputChange = 6, "input_change";
        /// The report memory was full: `count` reports were not kept.
        ReportsLost = 7, "reports_lost";
    }
}

/// Something that happened at the portal. 56 bytes (SPEC 7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The report memory that numbers it.
    pub log: LogId,
    /// Its number there, from 1, without gaps.
    pub number: u64,
    /// The boot of the ask that it follows; 0 when it follows none.
    pub boot: BootId,
    /// The request that it follows; 0 when it follows none.
    pub request: u32,
    /// Milliseconds since it happened, to the sending of this datagram; 2^32 - 1 means so much or more, or not known.
    pub age_ms: u32,
    /// How many reports were lost ([`ReportKind::ReportsLost`]), else 0.
    pub count: u32,
    /// What happened.
    pub kind: ReportKind,
    /// Which way, if it has one.
    pub direction: Option<Direction>,
    /// The input that changed, its new state in bit 7 ([`ReportKind::InputChange`]), else 0.
    pub input: u8,
    /// Whether the reader let the person pass by itself, in fall-back.
    pub unasked: bool,
    /// Whether the memory held no older report when this datagram was sent (SPEC 7.3).
    pub oldest: bool,
    /// The card, if one was shown.
    pub card: Option<CardRead>,
}

/// Every report of `log` up to and with `number` is durable on the gateway's disk. 16 bytes (SPEC 7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The report memory.
    pub log: LogId,
    /// The highest number.
    pub number: u64,
}

/// Are you there? 8 bytes (SPEC 10.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// Anything; comes back in the pong.
    pub token: u32,
    /// Reports in the reader's memory that no receipt covers; saturates.
    pub reports_waiting: u16,
    /// Whether the reader is in fall-back.
    pub falling_back: bool,
}

/// I am. 8 bytes (SPEC 10.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pong {
    /// The ping's token.
    pub token: u32,
}

/// The messages of an opened datagram, one after the other. Messages of unknown kinds are skipped; after an error there
/// are no more.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    cursor: Cursor<'a>,
    left: usize,
    /// Messages of kinds unknown to this version that were skipped.
    pub skipped: u32,
}

impl<'a> Messages<'a> {
    /// The messages of `plaintext`.
    #[must_use]
    pub const fn new(plaintext: &'a [u8]) -> Self {
        Self { cursor: Cursor::new(plaintext), left: MESSAGES_MAX, skipped: 0 }
    }

    #[inline]
    fn step(&mut self) -> Result<Option<Message<'a>>, Malformed> {
        while !self.cursor.is_empty() {
            self.left = self.left.checked_sub(1).ok_or(Malformed::Trailing("messages"))?;
            let kind = self.cursor.u8("message kind")?;
            self.cursor.reserved(1, "message flags")?;
            let len = self.cursor.u16("message length")?;
            let body = self.cursor.bytes(usize::from(len), "message body")?;
            if let Some(message) = Message::parse(kind, body)? {
                return Ok(Some(message));
            }
            self.skipped += 1;
        }
        Ok(None)
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.cursor = Cursor::new(&[]);
        }
        step.transpose()
    }
}

impl<'a> Message<'a> {
    /// Whether it travels from reader to gateway.
    #[must_use]
    pub const fn is_for_gateway(&self) -> bool {
        matches!(self, Self::Ask(_) | Self::Report(_) | Self::Done(_) | Self::Ping(_) | Self::ListAsk(_))
    }

    /// The message of `kind` in `body`, or `None` for an unknown kind.
    #[inline]
    fn parse(kind: u8, body: &'a [u8]) -> Result<Option<Self>, Malformed> {
        let mut cursor = Cursor::new(body);
        let at = &mut cursor;
        let message = match kind {
            kind::ASK => Self::Ask(Ask::parse(at)?),
            kind::REPORT => Self::Report(Report::parse(at)?),
            kind::DONE => Self::Done(Done::parse(at)?),
            kind::PING => Self::Ping(Ping::parse(at)?),
            kind::LIST_ASK => Self::ListAsk(ListAsk::parse(at)?),
            kind::ANSWER => Self::Answer(Answer::parse(at)?),
            kind::RECEIPT => Self::Receipt(Receipt { log: LogId(at.u64("log")?), number: at.u64("report number")? }),
            kind::COMMAND => Self::Command(Command::parse(at)?),
            kind::PONG => Self::Pong(Pong::parse(at)?),
            kind::LIST_PAGE => Self::ListPage(ListPage::parse(at, body)?),
            kind::LEAVE => Self::Leave,
            _ => return Ok(None),
        };
        cursor.finish("message")?;
        Ok(Some(message))
    }

    /// Writes the message behind what `writer` holds; on error the writer is as it was.
    ///
    /// # Errors
    /// [`NoRoom`] when it does not fit or a text is longer than SPEC allows.
    pub fn emit(&self, writer: &mut Writer<'_>) -> Result<(), NoRoom> {
        let (kind, len) = self.kind_and_len()?;
        if writer.room() < MESSAGE_HEADER_LEN + usize::from(len) {
            return Err(NoRoom);
        }
        let [low, high] = len.to_le_bytes();
        writer.put(&[kind, 0, low, high])?;
        match self {
            Self::Ask(ask) => ask.emit(writer),
            Self::Report(report) => report.emit(writer),
            Self::Done(done) => done.emit(writer),
            Self::Ping(ping) => ping.emit(writer),
            Self::ListAsk(ask) => ask.emit(writer),
            Self::Answer(answer) => answer.emit(writer),
            Self::Receipt(receipt) => {
                writer.put(&receipt.log.0.to_le_bytes())?;
                writer.put(&receipt.number.to_le_bytes())
            }
            Self::Command(command) => command.emit(writer),
            Self::Pong(pong) => {
                writer.put(&pong.token.to_le_bytes())?;
                writer.put(&[0; 4])
            }
            Self::ListPage(page) => page.emit(writer),
            Self::Leave => Ok(()),
        }
    }

    fn kind_and_len(&self) -> Result<(u8, u16), NoRoom> {
        Ok(match self {
            Self::Ask(_) => (kind::ASK, 24),
            Self::Report(_) => (kind::REPORT, 56),
            Self::Done(_) => (kind::DONE, 16),
            Self::Ping(_) => (kind::PING, 8),
            Self::ListAsk(_) => (kind::LIST_ASK, 24),
            Self::Answer(answer) => (kind::ANSWER, 16 + u16::from(text_len(answer.text, TEXT_MAX)?)),
            Self::Receipt(_) => (kind::RECEIPT, 16),
            Self::Command(_) => (kind::COMMAND, 24),
            Self::Pong(_) => (kind::PONG, 8),
            Self::ListPage(page) => (kind::LIST_PAGE, u16::try_from(page.body_len()).map_err(|_| NoRoom)?),
            Self::Leave => (kind::LEAVE, 0),
        })
    }
}

impl Ask {
    #[inline]
    fn parse(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let request = cursor.u32_from_1("request")?;
        let age_ms = cursor.u16("ask age")?;
        let direction = Direction::from_code(cursor.u8("direction")?)?;
        cursor.reserved(1, "ask reserved")?;
        Ok(Self { request, age_ms, direction, card: CardRead::parse(cursor)? })
    }

    fn emit(&self, writer: &mut Writer<'_>) -> Result<(), NoRoom> {
        writer.put(&self.request.to_le_bytes())?;
        writer.put(&self.age_ms.to_le_bytes())?;
        writer.put(&[self.direction.code(), 0])?;
        self.card.emit(writer)
    }
}

impl<'a> Answer<'a> {
    fn parse(cursor: &mut Cursor<'a>) -> Result<Self, Malformed> {
        let request = cursor.u32("request")?;
        let generation = cursor.u32("snapshot generation")?;
        let hold_open_ms = cursor.u16("hold open")?;
        let verdict = Verdict::from_bytes(cursor.array("verdict")?)?;
        let tone = Tone::from_code(cursor.u8("tone")?)?;
        let len = cursor.u8("text length")?;
        cursor.reserved(2, "answer reserved")?;
        if hold_open_ms != 0 && !verdict.is_grant() {
            return Err(Malformed::Value("hold open"));
        }
        Ok(Self { request, generation, hold_open_ms, verdict, tone, text: text(cursor, len, TEXT_MAX)? })
    }

    fn emit(&self, writer: &mut Writer<'_>) -> Result<(), NoRoom> {
        let mut head = [0; ANSWER_LEN];
        head[..4].copy_from_slice(&self.request.to_le_bytes());
        head[4..8].copy_from_slice(&self.generation.to_le_bytes());
        head[8..10].copy_from_slice(&self.hold_open_ms.to_le_bytes());
        head[10..12].copy_from_slice(&self.verdict.to_bytes());
        head[12..14].copy_from_slice(&[self.tone.code(), text_len(self.text, TEXT_MAX)?]);
        writer.put(&head)?;
        writer.put(self.text.as_bytes())
    }
}

impl Report {
    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let log = LogId(cursor.u64("log")?);
        let number = cursor.u64_from_1("report number")?;
        let boot = BootId(cursor.u64("boot")?);
        let request = cursor.u32("request")?;
        let age_ms = cursor.u32("report age")?;
        let count = cursor.u32("report count")?;
        let kind = ReportKind::from_code(cursor.u8("report kind")?)?;
        let direction = optional(cursor.u8("direction")?, Direction::from_code)?;
        let input = cursor.u8("input")?;
        if count != 0 && kind != ReportKind::ReportsLost {
            return Err(Malformed::Value("report count"));
        }
        if input != 0 && kind != ReportKind::InputChange {
            return Err(Malformed::Value("input"));
        }
        let flags = cursor.u8("report flags")?;
        if flags & !(UNASKED | OLDEST) != 0 {
            return Err(Malformed::Value("report flags"));
        }
        let (unasked, oldest) = (flags & UNASKED != 0, flags & OLDEST != 0);
        let card: [u8; CREDENTIAL_LEN] = cursor.array("card")?;
        let card = if card == [0; CREDENTIAL_LEN] { None } else { Some(CardRead::parse(&mut Cursor::new(&card))?) };
        Ok(Self { log, number, boot, request, age_ms, count, kind, direction, input, unasked, oldest, card })
    }

    pub(crate) fn emit(&self, writer: &mut Writer<'_>) -> Result<(), NoRoom> {
        writer.put(&self.log.0.to_le_bytes())?;
        writer.put(&self.number.to_le_bytes())?;
        writer.put(&self.boot.0.to_le_bytes())?;
        writer.put(&self.request.to_le_bytes())?;
        writer.put(&self.age_ms.to_le_bytes())?;
        writer.put(&self.count.to_le_bytes())?;
        let direction = self.direction.map_or(0, Direction::code);
        let flags = if self.unasked { UNASKED } else { 0 } | if self.oldest { OLDEST } else { 0 };
        writer.put(&[self.kind.code(), direction, self.input, flags])?;
        writer.put(&self.card.map_or([0; CREDENTIAL_LEN], |card| card.to_bytes()))
    }
}

impl Ping {
    fn parse(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let token = cursor.u32("ping token")?;
        let reports_waiting = cursor.u16("reports waiting")?;
        let falling_back = flag(cursor.u8("ping flags")?, "ping flags")?;
        cursor.reserved(1, "ping reserved")?;
        Ok(Self { token, reports_waiting, falling_back })
    }

    fn emit(self, writer: &mut Writer<'_>) -> Result<(), NoRoom> {
        writer.put(&self.token.to_le_bytes())?;
        writer.put(&self.reports_waiting.to_le_bytes())?;
        writer.put(&[u8::from(self.falling_back), 0])
    }
}

impl Pong {
    fn parse(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let token = cursor.u32("ping token")?;
        cursor.reserved(4, "pong reserved")?;
        Ok(Self { token })
    }
}

fn text<'a>(cursor: &mut Cursor<'a>, len: u8, max: usize) -> Result<&'a str, Malformed> {
    if usize::from(len) > max {
        return Err(Malformed::Value("text length"));
    }
    core::str::from_utf8(cursor.bytes(usize::from(len), "text")?).map_err(|_| Malformed::Value("text"))
}

fn text_len(text: &str, max: usize) -> Result<u8, NoRoom> {
    u8::try_from(text.len()).ok().filter(|_| text.len() <= max).ok_or(NoRoom)
}

fn flag(byte: u8, field: &'static str) -> Result<bool, Malformed> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed::Value(field)),
    }
}

fn optional<T>(code: u8, from_code: impl Fn(u8) -> Result<T, Malformed>) -> Result<Option<T>, Malformed> {
    if code == 0 { Ok(None) } else { from_code(code).map(Some) }
}
