//! One device as its control panel sees it: what to say to it next, and what its replies come to.
//!
//! ```text
//! offline ─ identity ─ challenge ─ cryptogram ─ capabilities ─ status ─ in service: polls and acts
//!    ▲          │           └─────────┴─ wrong key, or no channel again and again: refused, alarm, tried again after a pause
//!    └ silence  └ install window: capabilities, challenge by the key that everybody knows, new key, challenge by that
//! ```
//! Nothing but identity, and in an install window capabilities, is ever asked in the clear, and nothing but a new key is ever
//! said under the key that everybody knows. There is no way into service but through a channel of the device's own key.

mod acts;
mod replies;

pub(super) use acts::is_release;
pub(super) use replies::Heard;

use core::time::Duration;

use zeroize::{Zeroize, ZeroizeOnDrop};

use acts::{Acts, Aged, is_late};

use super::bus::Pace;
use super::command::{Act, Command};
use super::fault::{Alarm, Fault};
use super::frame::{Address, Block, Check, Header, Sequence, emit};
use super::reply::{Capabilities, Identity, Keypad, Points};
use super::secure::{Awaiting, Challenge, Channel, Scbk};
use crate::credential::CardRead;
use crate::limits::{OSDP_DATA_MAX, OSDP_OFFLINE_AFTER, OSDP_SENT_MAX, OSDP_TRIES_MAX};
use crate::wire::{NoRoom, Writer};

/// How matters stand with a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It does not answer.
    #[default]
    Offline,
    /// A secure channel is being opened.
    Opening,
    /// It answers, and is not spoken to: an [`Alarm`] says why.
    Refused,
    /// It is in service, by a secure channel.
    Online,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Offline, Self::Opening, Self::Refused, Self::Online];

    /// The name in metrics and tools.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Opening => "opening",
            Self::Refused => "refused",
            Self::Online => "online",
        }
    }
}

/// Something that a device has done, or that has become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It is in service.
    Online,
    /// It is no longer: it has been silent for too long.
    Offline,
    /// It has said, in the clear, who it is.
    Identity(Identity),
    /// It has the new key, and has shown it.
    KeySet,
    /// The install window is over and it has not got its key.
    InstallOver,
    /// It has said, by its own key for the first time, what it can do: to be kept, and given to [`Device::new`].
    Pinned(Capabilities),
    /// A card was shown.
    Card(CardRead),
    /// A card was shown whose number of bits no building can declare.
    UnknownCard,
    /// Keys were pressed.
    Keypad(Keypad),
    /// Tamper and power, when either has changed or is first known.
    Local {
        /// Somebody tampers with it.
        tamper: bool,
        /// Its power has failed, or has been away.
        power: bool,
    },
    /// Somebody tampers with a reader attached to it, or has taken one off; `false` when that is over.
    ReaderTamper(bool),
    /// The inputs, when one has changed or they are first known.
    Inputs {
        /// As they are.
        points: Points,
        /// Those that have changed since they were last told, by whatever channel; at first those that are not at rest.
        changed: u32,
    },
    /// The outputs, likewise.
    Outputs {
        /// As they are.
        points: Points,
        /// Those that have changed since they were last told.
        changed: u32,
    },
    /// An output was not switched, as far as is known: the act was given up, and with it what was asked for behind it by the
    /// same answer. No light says *pass* at an arm that is locked.
    ReleaseLost {
        /// Since when whoever it is for has waited, as it was given to [`act`](super::Bus::act).
        since: Duration,
        /// It was sent, and nothing says that it was not done.
        may_be_done: bool,
    },
    /// Somebody must look into it. Told once until the device is in service.
    Alarm(Alarm),
}

/// Where a device leaves what has happened.
pub(super) trait Notes {
    fn what(&mut self, what: What);
    fn fault(&mut self, fault: Fault);
}

/// What is said next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Identity,
    ClearCapabilities,
    Challenge,
    Cryptogram,
    KeySet,
    Capabilities,
    Local,
    Readers,
    Inputs,
    Outputs,
    Serving,
}

/// Which key a channel is opened by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Own,
    Default,
    New,
}

/// The secure channel, as far as it has got.
enum Secure {
    No,
    Challenged(Challenge),
    Awaiting(Awaiting, [u8; 16]),
    Open(Channel),
}

/// A time in which a device may be given a key.
struct Install {
    key: Scbk,
    until: Duration,
}

/// A command that has not been answered.
#[derive(Zeroize, ZeroizeOnDrop)]
struct Pending {
    bytes: [u8; OSDP_SENT_MAX],
    len: usize,
    #[zeroize(skip)]
    sequence: Sequence,
    /// Whether it was sent in the channel.
    is_secured: bool,
    /// What the reply to it must be.
    code: u8,
    tries: u8,
    /// Whether the device has said that it is busy.
    #[zeroize(skip)]
    busy_since: Option<Duration>,
    /// What it asks for, and since when.
    #[zeroize(skip)]
    act: Option<Aged>,
}

/// A device at one address.
pub struct Device {
    address: Address,
    key: Option<Scbk>,
    pinned: Option<Capabilities>,
    install: Option<Install>,
    check: Check,
    phase: Phase,
    which: Which,
    secure: Secure,
    sequence: Sequence,
    pending: Option<Pending>,
    acts: Acts,
    state: State,
    /// When it last answered anything.
    heard: Duration,
    /// What was last told of these outlives the channel: what changes while another is opened is told behind it.
    local: Option<(bool, bool)>,
    reader_tamper: bool,
    inputs: Option<Points>,
    outputs: Option<Points>,
    /// Handshakes in a row in which it has not shown its key.
    doubts: u8,
    /// Handshakes in a row that have come to nothing.
    openings: u8,
    /// Told, and not over.
    alarm: Option<Alarm>,
    pub(super) pace: Pace,
}

impl core::fmt::Debug for Device {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Device({}, {})", self.address.number(), self.state.label())
    }
}

impl Device {
    /// The device at `address`: `key` is its own once it has one, `pinned` what it could do when it got it.
    #[must_use]
    pub fn new(address: Address, key: Option<Scbk>, pinned: Option<Capabilities>) -> Self {
        Self {
            address,
            key,
            pinned,
            install: None,
            check: Check::Crc,
            phase: Phase::Identity,
            which: Which::Own,
            secure: Secure::No,
            sequence: Sequence::FIRST,
            pending: None,
            acts: Acts::default(),
            state: State::Offline,
            heard: Duration::ZERO,
            local: None,
            reader_tamper: false,
            inputs: None,
            outputs: None,
            doubts: 0,
            openings: 0,
            alarm: None,
            pace: Pace::default(),
        }
    }

    /// Its address.
    #[must_use]
    pub const fn address(&self) -> Address {
        self.address
    }

    /// How matters stand with it.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// What is wrong with it, if something is.
    #[must_use]
    pub const fn alarm(&self) -> Option<Alarm> {
        self.alarm
    }

    /// Opens an install window: until `until`, the device may be given `key`, by its present one or by the one that everybody
    /// knows. To be called when `key` is safely kept, for a device that was given a key that is lost must be reset by hand.
    pub fn install(&mut self, key: Scbk, until: Duration) {
        self.install = Some(Install { key, until });
        self.which = Which::Default;
        self.pace.hurry();
        self.restart();
    }

    /// Ends the install window, if one is open.
    pub fn end_install(&mut self) {
        if self.install.take().is_some() {
            self.which = Which::Own;
            self.restart();
        }
    }

    /// Whether an install window is open.
    #[must_use]
    pub const fn is_installing(&self) -> bool {
        self.install.is_some()
    }

    /// Has it do `act` when its turn comes, if that is soon enough for whoever has waited since `since`. A channel that breaks
    /// meanwhile is opened anew first.
    ///
    /// # Errors
    /// [`NoRoom`] when too many wait, or the device neither is in service nor comes into it.
    pub fn act(&mut self, since: Duration, act: Act) -> Result<(), NoRoom> {
        let is_there = matches!(self.state, State::Online | State::Opening);
        if is_there { self.acts.push((act, since)) } else { Err(NoRoom) }
    }

    /// Whether an act could go out now.
    pub(super) fn has_act(&self) -> bool {
        self.phase == Phase::Serving && self.pending.is_none() && !self.acts.is_empty()
    }

    /// Follows time: windows end, and so does patience with a silent device. An act that was sent and not answered is given up
    /// when it has become late, and the channel with it: the same bytes, taken later, would do it for whoever stands there then.
    pub(super) fn follow(&mut self, now: Duration, notes: &mut dyn Notes) {
        if self.install.as_ref().is_some_and(|install| install.until <= now) {
            self.end_install();
            notes.what(What::InstallOver);
        }
        if self.state != State::Offline && now.saturating_sub(self.heard) >= OSDP_OFFLINE_AFTER {
            self.state = State::Offline;
            (self.alarm, self.doubts, self.openings) = (None, 0, 0);
            self.restart();
            notes.what(What::Offline);
        }
        if self.pending.as_ref().and_then(|pending| pending.act).is_some_and(|act| is_late(act, now)) {
            self.restart();
        }
        self.acts.expire(now);
        self.acts.tell(notes);
    }

    /// The frame to send now: the one that was not answered, byte for byte, or the next.
    pub(super) fn speak(&mut self, entropy: &mut dyn FnMut(&mut [u8])) -> &[u8] {
        if self.pending.is_none() {
            // Whatever does not fit would be a defect in the limits; nothing is sent then, and the device goes offline.
            self.pending = self.next(entropy).ok();
        }
        self.pending.as_ref().map_or(&[], |pending| &pending.bytes[..pending.len])
    }

    /// The frame that was sent has not been answered in time.
    pub(super) fn unanswered(&mut self, notes: &mut dyn Notes) {
        // Nothing can be hoped from a device that is off.
        if self.state != State::Offline {
            notes.fault(Fault::NoReply);
        }
        let Some(pending) = self.pending.as_mut() else { return };
        pending.tries = pending.tries.saturating_add(1);
        // In service the same frame is tried until the device counts as offline, or until what it asks for is late.
        if self.phase != Phase::Serving && pending.tries >= OSDP_TRIES_MAX {
            self.restart();
        }
    }

    fn next(&mut self, entropy: &mut dyn FnMut(&mut [u8])) -> Result<Pending, NoRoom> {
        match self.phase {
            Phase::Identity => {
                self.sequence = Sequence::FIRST;
                self.clear(&Command::Identity, None)
            }
            Phase::ClearCapabilities => self.clear(&Command::Capabilities, None),
            Phase::Challenge => {
                let mut random = [0; 8];
                entropy(&mut random);
                let challenge = Challenge::new(&self.candidate().ok_or(NoRoom)?, random);
                let block = Block::Handshake { step: Block::CHALLENGE, value: self.key_number() };
                let pending = self.clear(&Command::Challenge(&random), Some(block));
                self.secure = Secure::Challenged(challenge);
                pending
            }
            Phase::Cryptogram => {
                let Secure::Awaiting(_, cryptogram) = &self.secure else { return Err(NoRoom) };
                let cryptogram = *cryptogram;
                let block = Block::Handshake { step: Block::PANEL_CRYPTOGRAM, value: self.key_number() };
                self.clear(&Command::PanelCryptogram(&cryptogram), Some(block))
            }
            Phase::KeySet => {
                let key = self.install.as_ref().map(|install| install.key.clone()).ok_or(NoRoom)?;
                self.secured(&Command::KeySet(&key))
            }
            Phase::Capabilities => self.secured(&Command::Capabilities),
            Phase::Local => self.secured(&Command::LocalStatus),
            Phase::Readers => self.secured(&Command::ReaderStatus),
            Phase::Inputs => self.secured(&Command::InputStatus),
            Phase::Outputs => self.secured(&Command::OutputStatus),
            Phase::Serving => match self.acts.pop() {
                Some(act) => Ok(Pending { act: Some(act), ..self.secured(&Command::Act(act.0))? }),
                None => self.secured(&Command::Poll),
            },
        }
    }

    /// The key that the channel is opened by now.
    fn candidate(&self) -> Option<Scbk> {
        match self.which {
            Which::Own => self.key.clone(),
            // Outside a window this key is not there.
            Which::Default => self.install.as_ref().map(|_| Scbk::DEFAULT),
            Which::New => self.install.as_ref().map(|install| install.key.clone()),
        }
    }

    /// As a block names it: 0 for the key that everybody knows, 1 for the device's own.
    const fn key_number(&self) -> u8 {
        match self.which {
            Which::Default => 0,
            Which::Own | Which::New => 1,
        }
    }

    fn clear(&mut self, command: &Command<'_>, block: Option<Block>) -> Result<Pending, NoRoom> {
        let mut pending = self.begin(command, false);
        let mut data = [0; OSDP_DATA_MAX];
        let mut writer = Writer::new(&mut data);
        command.emit(&mut writer)?;
        let len = writer.len();
        pending.len = emit(self.header(), block, command.code(), &data[..len], &mut pending.bytes)?;
        Ok(pending)
    }

    fn secured(&mut self, command: &Command<'_>) -> Result<Pending, NoRoom> {
        let mut pending = self.begin(command, true);
        let mut data = [0; OSDP_DATA_MAX];
        let mut writer = Writer::new(&mut data);
        command.emit(&mut writer)?;
        let (len, header) = (writer.len(), self.header());
        let Secure::Open(channel) = &mut self.secure else { return Err(NoRoom) };
        let sealed = channel.seal(header, command.code(), &data[..len], &mut pending.bytes);
        // It may have been a key.
        data.zeroize();
        pending.len = sealed?;
        Ok(pending)
    }

    fn begin(&self, command: &Command<'_>, is_secured: bool) -> Pending {
        let (sequence, code) = (self.sequence, command.code());
        Pending { bytes: [0; OSDP_SENT_MAX], len: 0, sequence, is_secured, code, tries: 0, busy_since: None, act: None }
    }

    const fn header(&self) -> Header {
        Header { address: self.address, is_reply: false, sequence: self.sequence, check: self.check }
    }

    /// Begins the conversation anew, in the clear and with sequence number 0, which ends any channel at the device too. An act
    /// that was under way may have been done: what only shows is said again, and nothing is released twice.
    fn restart(&mut self) {
        self.phase = Phase::Identity;
        self.secure = Secure::No;
        match self.pending.take().and_then(|pending| pending.act) {
            Some(release @ (Act::Output { .. }, _)) => self.acts.lose(release, true),
            Some(act) => self.acts.put_back(act),
            None => {}
        }
        if self.state == State::Online {
            self.state = State::Opening;
        }
    }

    /// Whether something was said to it that it has not answered.
    pub(super) const fn owes(&self) -> bool {
        self.pending.is_some()
    }

    /// Whether the device is waited for only as long as an absent one.
    pub(super) fn is_probed(&self) -> bool {
        self.state == State::Offline
    }
}
