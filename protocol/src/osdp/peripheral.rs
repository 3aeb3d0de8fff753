//! A device's half: what it answers to its control panel.
//!
//! ```text
//! no channel ─ challenge ─ cryptogram ─ open by its own key: polls, states, acts, another key
//!     ▲            │            └────── open by the key that everybody knows: a key of its own, and nothing else
//!     └────────────┴─ a wrong key, a MAC that does not hold, a conversation begun anew, lost power
//! ```
//! In the clear it says who it is and what it can do, and takes challenges. A device that has a key of its own does not answer to
//! the key that everybody knows; one that has none answers to that alone.

mod remember;

use super::command::{Act, code as command};
use super::frame::{Address, Block, Frame, Header, Sequence, emit};
use super::reply::{Capabilities, Identity, code};
use super::secure::{Answered, Channel, Scbk, accept, answer};
use crate::credential::{CardFormat, CardRead};
use crate::limits::{OSDP_DATA_MAX, OSDP_POINTS_MAX, OSDP_SENT_MAX};
use crate::wire::{NoRoom, Writer};
use remember::Last;

/// Reasons of refusals, as they travel.
mod refusal {
    pub(super) const LENGTH: u8 = 2;
    pub(super) const UNKNOWN: u8 = 3;
    pub(super) const SEQUENCE: u8 = 4;
    pub(super) const NO_SECURE_CHANNEL: u8 = 5;
    pub(super) const NOT_SECURED: u8 = 6;
    pub(super) const NOT_DONE: u8 = 9;
}

/// What a handshake's last step says when the other side has not shown the key.
const WRONG_KEY: u8 = 0xff;
const WELL: u8 = 1;

/// What a device is.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Where it answers.
    pub address: Address,
    /// What it says that it is.
    pub identity: Identity,
    /// What it says that it can do: 31 functions at most.
    pub capabilities: Capabilities,
    /// Inputs that it has.
    pub inputs: u8,
    /// Outputs that it has, none of which it shows as on.
    pub outputs: u8,
}

/// Something that has become of a device, or that it was told.
#[derive(Clone, Debug)]
pub enum News {
    /// A channel is open by its own key.
    Open,
    /// A channel that was open by its own key is not any more.
    Closed,
    /// It has this key from now on, over every loss of power.
    KeySet(Scbk),
    /// It is to do this.
    Told(Act),
}

/// What a device says to a command.
#[derive(Debug)]
pub struct Said {
    /// Bytes of its frame.
    pub len: usize,
    /// What has come of the command.
    pub news: Option<News>,
}

/// The secure channel, as far as it has got.
enum Secure {
    No,
    Answered(Answered),
    Open(Channel),
}

/// A device.
pub struct Peripheral {
    about: About,
    /// `None` before it was given one.
    key: Option<Scbk>,
    secure: Secure,
    /// The sequence number of the next command; `None` until a conversation is begun.
    next: Option<Sequence>,
    last: Option<Last>,
    card: Option<CardRead>,
    /// Bit *n* for input *n*: 1 is active; and whether the panel has not been told.
    inputs: u32,
    is_news: bool,
}

impl core::fmt::Debug for Peripheral {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Peripheral({})", self.about.address.number())
    }
}

/// A reply before it is laid out.
struct Reply {
    code: u8,
    data: [u8; OSDP_DATA_MAX],
    len: usize,
}

impl Reply {
    fn new(code: u8, write: impl FnOnce(&mut Writer<'_>) -> Result<(), NoRoom>) -> Option<Self> {
        let mut data = [0; OSDP_DATA_MAX];
        let mut writer = Writer::new(&mut data);
        write(&mut writer).ok()?;
        let len = writer.len();
        Some(Self { code, data, len })
    }

    fn data(&self) -> &[u8] {
        &self.data[..self.len]
    }
}

impl Peripheral {
    /// A device that has just been given power; `key` is the one that it was given before, if it was.
    #[must_use]
    pub const fn new(about: About, key: Option<Scbk>) -> Self {
        let (secure, next, last, card) = (Secure::No, None, None, None);
        Self { about, key, secure, next, last, card, inputs: 0, is_news: false }
    }

    /// It loses power and gets it again: all is forgotten but the key.
    pub fn restart(&mut self) {
        let key = self.key.take();
        *self = Self::new(self.about, key);
    }

    /// Whether it is spoken to by its own key.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.secure, Secure::Open(_)) && self.key.is_some()
    }

    /// Whether everything that has happened was said.
    #[must_use]
    pub const fn has_said_all(&self) -> bool {
        self.card.is_none() && !self.is_news
    }

    /// A card is shown; it is said at the next poll.
    ///
    /// # Errors
    /// [`NoRoom`] while another waits to be said.
    pub const fn show(&mut self, card: CardRead) -> Result<(), NoRoom> {
        if self.card.is_some() {
            return Err(NoRoom);
        }
        self.card = Some(card);
        Ok(())
    }

    /// Input `number` is active or not; a change is said when it is polled. A number that it does not have is nothing.
    pub fn set_input(&mut self, number: u8, is_active: bool) {
        if number >= self.about.inputs || usize::from(number) >= OSDP_POINTS_MAX {
            return;
        }
        let inputs = self.inputs & !(1 << number) | u32::from(is_active) << number;
        self.is_news |= inputs != self.inputs;
        self.inputs = inputs;
    }

    /// Answers to `frame`, if it is for this device, into `out`. `entropy` fills bytes for a handshake.
    pub fn hear(
        &mut self,
        frame: &Frame<'_>,
        entropy: &mut dyn FnMut(&mut [u8]),
        out: &mut [u8; OSDP_SENT_MAX],
    ) -> Option<Said> {
        let Header { address, is_reply, sequence, .. } = frame.header;
        if is_reply || address != self.about.address {
            return None;
        }
        // What is asked for again was not heard: nothing is done twice.
        if let Some(len) = self.last.as_ref().and_then(|last| last.again(frame, out)) {
            return Some(Said { len, news: None });
        }
        let mut news = None;
        if sequence == Sequence::FIRST {
            news = self.close();
        } else if self.next != Some(sequence) {
            return self.refuse(frame.header, refusal::SEQUENCE, out).map(|len| Said { len, news });
        }
        let len = self.answer(frame, entropy, out, &mut news)?;
        self.next = Some(sequence.next());
        self.last = Last::new(frame, &out[..len]);
        Some(Said { len, news })
    }

    fn answer(
        &mut self,
        frame: &Frame<'_>,
        entropy: &mut dyn FnMut(&mut [u8]),
        out: &mut [u8],
        news: &mut Option<News>,
    ) -> Option<usize> {
        let header = frame.header;
        match (frame.block, frame.code) {
            (None, command::IDENTITY | command::CAPABILITIES) => {
                let reply = self.describe(frame.code)?;
                self.clear(header, None, reply.code, reply.data(), out)
            }
            (Some(Block::Handshake { step: Block::CHALLENGE, value }), command::CHALLENGE) => {
                self.challenged(frame, value, entropy, out, news)
            }
            (Some(Block::Handshake { step: Block::PANEL_CRYPTOGRAM, .. }), command::PANEL_CRYPTOGRAM) => {
                self.confirmed(frame, out, news)
            }
            (Some(Block::Authentic | Block::Encrypted), _) => self.secured(frame, out, news),
            _ => self.refuse(header, refusal::NOT_SECURED, out),
        }
    }

    /// Whoever knows the key that this device answers to is answered.
    fn challenged(
        &mut self,
        frame: &Frame<'_>,
        value: u8,
        entropy: &mut dyn FnMut(&mut [u8]),
        out: &mut [u8],
        news: &mut Option<News>,
    ) -> Option<usize> {
        *news = news.take().or(self.close());
        if value != u8::from(self.key.is_some()) {
            return self.refuse(frame.header, refusal::NOT_SECURED, out);
        }
        let Ok(challenge) = frame.data.try_into() else { return self.refuse(frame.header, refusal::LENGTH, out) };
        let mut random = [0; 8];
        entropy(&mut random);
        let mut client = [0; 8];
        client[..4].copy_from_slice(&self.about.identity.serial.to_le_bytes());
        let (made, answered) = answer(self.key.as_ref().unwrap_or(&Scbk::DEFAULT), challenge, client, random);
        self.secure = Secure::Answered(answered);
        let reply = Reply::new(code::DEVICE_CRYPTOGRAM, |writer| {
            writer.put(&made.client)?;
            writer.put(&made.random)?;
            writer.put(&made.cryptogram)
        })?;
        let block = Block::Handshake { step: Block::DEVICE_CRYPTOGRAM, value };
        self.clear(frame.header, Some(block), reply.code, reply.data(), out)
    }

    fn confirmed(&mut self, frame: &Frame<'_>, out: &mut [u8], news: &mut Option<News>) -> Option<usize> {
        let Secure::Answered(answered) = core::mem::replace(&mut self.secure, Secure::No) else {
            return self.refuse(frame.header, refusal::NO_SECURE_CHANNEL, out);
        };
        let Ok(cryptogram) = frame.data.try_into() else { return self.refuse(frame.header, refusal::LENGTH, out) };
        let block = |value| Some(Block::Handshake { step: Block::FIRST_MAC, value });
        let Ok((channel, first)) = accept(&answered, cryptogram) else {
            return self.clear(frame.header, block(WRONG_KEY), code::FIRST_MAC, &[0; 16], out);
        };
        self.secure = Secure::Open(channel);
        *news = self.key.is_some().then_some(News::Open);
        self.clear(frame.header, block(WELL), code::FIRST_MAC, &first, out)
    }

    /// One frame that is not authentic, or hides nothing where there is something to hide, ends the channel.
    fn secured(&mut self, frame: &Frame<'_>, out: &mut [u8], news: &mut Option<News>) -> Option<usize> {
        let Secure::Open(channel) = &mut self.secure else {
            return self.refuse(frame.header, refusal::NO_SECURE_CHANNEL, out);
        };
        let is_bare = frame.block == Some(Block::Authentic) && !frame.data.is_empty();
        let opened = channel.open(frame).ok().filter(|_| !is_bare);
        let Some(opened) = opened else {
            *news = self.close();
            return self.refuse(frame.header, refusal::NOT_SECURED, out);
        };
        let had_key = self.key.is_some();
        let reply = match frame.code {
            command::KEY_SET => self.take_key(opened.data(), news),
            _ if !had_key => nak(refusal::NOT_SECURED),
            code => self.obey(code, opened.data(), news),
        }?;
        let header = Header { is_reply: true, ..frame.header };
        let Secure::Open(channel) = &mut self.secure else { return None };
        let len = channel.seal(header, reply.code, reply.data(), out).ok();
        // Nothing more is said in a channel that everybody could have opened.
        if !had_key && self.key.is_some() {
            self.secure = Secure::No;
        }
        len
    }

    fn take_key(&mut self, data: &[u8], news: &mut Option<News>) -> Option<Reply> {
        let Some([1, 16, bytes @ ..]) = data.as_array::<18>() else { return nak(refusal::LENGTH) };
        let Some(key) = Scbk::new(*bytes) else { return nak(refusal::NOT_DONE) };
        self.key = Some(key.clone());
        *news = Some(News::KeySet(key));
        ack()
    }

    fn obey(&mut self, command: u8, data: &[u8], news: &mut Option<News>) -> Option<Reply> {
        match command {
            command::POLL => self.poll(),
            command::IDENTITY | command::CAPABILITIES => self.describe(command),
            command::LOCAL_STATUS => Reply::new(code::LOCAL_STATUS, |writer| writer.put(&[0, 0])),
            command::INPUT_STATUS => self.tell_inputs(),
            command::OUTPUT_STATUS => {
                let outputs = [0; OSDP_POINTS_MAX];
                let outputs = outputs.get(..usize::from(self.about.outputs))?;
                Reply::new(code::OUTPUT_STATUS, |writer| writer.put(outputs))
            }
            command::READER_STATUS => Reply::new(code::READER_STATUS, |writer| writer.put(&[0])),
            _ => match Act::parse(command, data) {
                Ok(Some(Act::Output { number, .. })) if number >= self.about.outputs => nak(refusal::NOT_DONE),
                Ok(Some(act)) => {
                    *news = Some(News::Told(act));
                    ack()
                }
                Ok(None) => nak(refusal::UNKNOWN),
                Err(_) => nak(refusal::LENGTH),
            },
        }
    }

    /// What is new: a card before inputs.
    fn poll(&mut self) -> Option<Reply> {
        match self.card.take() {
            Some(card) => tell_card(&card),
            None if self.is_news => self.tell_inputs(),
            None => ack(),
        }
    }

    fn tell_inputs(&mut self) -> Option<Reply> {
        self.is_news = false;
        let (active, count) = (self.inputs, self.about.inputs);
        Reply::new(code::INPUT_STATUS, |writer| {
            (0..count).try_for_each(|number| writer.put(&[u8::from(active >> number & 1 != 0)]))
        })
    }

    fn describe(&self, command: u8) -> Option<Reply> {
        if command == command::CAPABILITIES {
            let entries = self.about.capabilities;
            return Reply::new(code::CAPABILITIES, |writer| {
                entries.entries().iter().try_for_each(|entry| writer.put(entry))
            });
        }
        let Identity { vendor, model, version, serial, firmware } = self.about.identity;
        Reply::new(code::IDENTITY, |writer| {
            writer.put(&vendor)?;
            writer.put(&[model, version])?;
            writer.put(&serial.to_le_bytes())?;
            writer.put(&firmware)
        })
    }

    fn refuse(&self, header: Header, reason: u8, out: &mut [u8]) -> Option<usize> {
        self.clear(header, None, code::NAK, &[reason], out)
    }

    fn clear(&self, header: Header, block: Option<Block>, code: u8, data: &[u8], out: &mut [u8]) -> Option<usize> {
        emit(Header { is_reply: true, ..header }, block, code, data, out).ok()
    }

    /// Leaves the channel, and what was to be said in it: whoever showed the card has seen that nothing came of it.
    fn close(&mut self) -> Option<News> {
        let was_open = self.is_open();
        (self.secure, self.last) = (Secure::No, None);
        if was_open {
            self.card = None;
        }
        was_open.then_some(News::Closed)
    }
}

fn ack() -> Option<Reply> {
    Reply::new(code::ACK, |_| Ok(()))
}

fn nak(reason: u8) -> Option<Reply> {
    Reply::new(code::NAK, |writer| writer.put(&[reason]))
}

fn tell_card(card: &CardRead) -> Option<Reply> {
    let [format, bits, data @ ..] = card.to_bytes();
    let format = u8::from(format == CardFormat::Wiegand.code());
    let data = data.get(..usize::from(bits).div_ceil(8))?;
    Reply::new(code::RAW, |writer| {
        writer.put(&[0, format, bits, 0])?;
        writer.put(data)
    })
}
