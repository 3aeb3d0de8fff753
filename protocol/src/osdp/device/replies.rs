//! What a device's replies come to.

use core::time::Duration;

use super::acts::{Aged, is_release};
use super::{Device, Notes, Phase, Secure, State, What, Which};
use crate::limits::{OSDP_BUSY_MAX, OSDP_DOUBTS_MAX, OSDP_OPENINGS_MAX};
use crate::osdp::card::card;
use crate::osdp::command::code as command;
use crate::osdp::fault::{Alarm, Fault};
use crate::osdp::frame::{Block, Check, Frame, Sequence};
use crate::osdp::reply::{Capabilities, Points, Refusal, Reply, code};
use crate::osdp::secure::{DeviceCryptogram, NotOpened};

/// The one reader of a device that is listened to.
const READER: u8 = 0;

/// Whether the device is still waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::osdp) enum Heard {
    /// The frame was no reply to what was said; the reply may still come.
    NotYet,
    /// It was.
    Answered,
    /// It was, and somebody has used the device.
    Used,
    /// The device will be asked again, later.
    Busy,
    /// The device answers, and is left alone for a while.
    Refused,
}

impl Device {
    /// Takes a `frame` that has come from this device's address.
    pub(in crate::osdp) fn hear(&mut self, now: Duration, frame: &Frame<'_>, notes: &mut dyn Notes) -> Heard {
        let Some(pending) = &self.pending else { return Heard::NotYet };
        let is_busy = frame.block.is_none() && frame.code == code::BUSY && frame.data.is_empty();
        let is_first = frame.header.sequence == Sequence::FIRST;
        if frame.header.sequence != pending.sequence && !(is_busy && is_first) {
            notes.fault(Fault::WrongSequence);
            return Heard::NotYet;
        }
        if is_busy {
            return self.hear_busy(now, notes);
        }
        if pending.is_secured { self.hear_secured(now, frame, notes) } else { self.hear_clear(now, frame, notes) }
    }

    /// A busy device keeps its command, which is said again byte for byte.
    fn hear_busy(&mut self, now: Duration, notes: &mut dyn Notes) -> Heard {
        notes.fault(Fault::Busy);
        self.heard = now;
        let since = self.pending.as_mut().map(|pending| *pending.busy_since.get_or_insert(now));
        if since.is_some_and(|since| now.saturating_sub(since) >= OSDP_BUSY_MAX) {
            self.restart();
        }
        Heard::Busy
    }

    fn hear_secured(&mut self, now: Duration, frame: &Frame<'_>, notes: &mut dyn Notes) -> Heard {
        let Secure::Open(channel) = &mut self.secure else { return Heard::NotYet };
        let opened = match channel.open(frame) {
            Ok(opened) => opened,
            Err(NotOpened::Malformed) => {
                notes.fault(Fault::Malformed);
                let (asked, _) = self.answered(now);
                return self.take_unread(asked, notes);
            }
            Err(NotOpened::Clear) => {
                notes.fault(Fault::Clear);
                // A device that has lost its power says no in the clear. Anything else is not the device.
                if frame.code != code::NAK {
                    self.raise(Alarm::ChannelBroken, notes);
                }
                self.restart();
                return Heard::Answered;
            }
            // A MAC may be guessed at once for each channel.
            Err(NotOpened::Mac) => {
                notes.fault(Fault::WrongMac);
                self.raise(Alarm::ChannelBroken, notes);
                self.restart();
                return Heard::Answered;
            }
        };
        let (asked, act) = self.answered(now);
        // Devices say no without encrypting why; anything else that others could have read is not taken.
        let is_open = frame.block == Some(Block::Authentic) && !frame.data.is_empty();
        if is_open && frame.code != code::NAK {
            notes.fault(Fault::Clear);
            return self.take_unread(asked, notes);
        }
        match Reply::parse(frame.code, opened.data()) {
            Ok(Reply::Nak(refusal)) => {
                if let Some((release, may_be_done)) = act.filter(|(act, _)| is_release(act.0)) {
                    self.acts.lose(release, may_be_done);
                }
                self.take_refusal(asked, refusal, notes)
            }
            Ok(reply) => self.take_secured(asked, &reply, notes),
            Err(_) => {
                notes.fault(Fault::Malformed);
                self.take_unread(asked, notes)
            }
        }
    }

    /// The command has been answered; gives its code, and the act that it was with whether another copy of it was sent before.
    fn answered(&mut self, now: Duration) -> (u8, Option<(Aged, bool)>) {
        self.heard = now;
        self.sequence = self.sequence.next();
        let Some(pending) = self.pending.take() else { return (0, None) };
        (pending.code, pending.act.map(|act| (act, pending.tries > 0)))
    }

    /// An authentic reply, but for a refusal, to the command `asked`.
    fn take_secured(&mut self, asked: u8, reply: &Reply<'_>, notes: &mut dyn Notes) -> Heard {
        let is_polled = asked == command::POLL;
        match *reply {
            Reply::Ack if asked == command::KEY_SET => self.use_new_key(),
            Reply::Ack => {}
            Reply::Capabilities(capabilities) if asked == command::CAPABILITIES => self.pin(capabilities, notes),
            Reply::LocalStatus { tamper, power } if is_polled || asked == command::LOCAL_STATUS => {
                if self.local.replace((tamper, power)) != Some((tamper, power)) {
                    notes.what(What::Local { tamper, power });
                }
            }
            Reply::Readers(points) if is_polled || asked == command::READER_STATUS => {
                let is_tampered = points.active != 0;
                if core::mem::replace(&mut self.reader_tamper, is_tampered) != is_tampered {
                    notes.what(What::ReaderTamper(is_tampered));
                }
            }
            Reply::Inputs(points) if is_polled || asked == command::INPUT_STATUS => {
                let heard = if self.take_inputs(points, notes) { Heard::Used } else { Heard::Answered };
                return self.proceed(asked, heard, notes);
            }
            Reply::Outputs(points) if is_polled || asked == command::OUTPUT_STATUS || asked == command::OUTPUT => {
                if let Some(changed) = changed(&mut self.outputs, points) {
                    notes.what(What::Outputs { points, changed });
                }
            }
            // Another reader's cards mean another way through the portal, and nobody has said which.
            Reply::Raw(raw) if is_polled && raw.reader == READER => {
                notes.what(card(&raw).map_or(What::UnknownCard, What::Card));
                return Heard::Used;
            }
            Reply::Keypad(keypad) if is_polled && keypad.reader() == READER => {
                notes.what(What::Keypad(keypad));
                return Heard::Used;
            }
            Reply::Other(_) if is_polled => {}
            _ => notes.fault(Fault::Unexpected),
        }
        self.proceed(asked, Heard::Answered, notes)
    }

    /// The next step after an authentic reply to `asked`, on the way into service.
    fn proceed(&mut self, asked: u8, heard: Heard, notes: &mut dyn Notes) -> Heard {
        self.phase = match (self.phase, asked) {
            (Phase::Capabilities, command::CAPABILITIES) => Phase::Local,
            (Phase::Local, command::LOCAL_STATUS) => Phase::Readers,
            (Phase::Readers, command::READER_STATUS) => Phase::Inputs,
            (Phase::Inputs, command::INPUT_STATUS) => Phase::Outputs,
            (Phase::Outputs, command::OUTPUT_STATUS) => {
                self.state = State::Online;
                self.alarm = self.alarm.filter(|alarm| *alarm == Alarm::CapabilitiesChanged);
                self.openings = 0;
                notes.what(What::Online);
                Phase::Serving
            }
            (phase, _) => phase,
        };
        heard
    }

    fn take_refusal(&mut self, asked: u8, refusal: Refusal, notes: &mut dyn Notes) -> Heard {
        notes.fault(Fault::Refused);
        match refusal {
            Refusal::Sequence | Refusal::NoSecureChannel | Refusal::NotSecured => {
                self.restart();
                Heard::Answered
            }
            _ => self.take_nothing(asked, notes),
        }
    }

    /// A reply to `asked` that is authentic, and cannot be read or should not have been readable.
    fn take_unread(&mut self, asked: u8, notes: &mut dyn Notes) -> Heard {
        if asked == command::CAPABILITIES {
            self.raise(Alarm::CapabilitiesChanged, notes);
        }
        self.take_nothing(asked, notes)
    }

    /// What the device does not say it is not asked again on the way into service; an act is lost. Inputs of which nothing is said
    /// are at rest.
    fn take_nothing(&mut self, asked: u8, notes: &mut dyn Notes) -> Heard {
        match asked {
            command::KEY_SET => {
                self.restart();
                return Heard::Refused;
            }
            command::INPUT_STATUS => {
                self.take_inputs(Points::default(), notes);
            }
            _ => {}
        }
        self.proceed(asked, Heard::Answered, notes)
    }

    /// Whether anything is new.
    fn take_inputs(&mut self, points: Points, notes: &mut dyn Notes) -> bool {
        let changed = changed(&mut self.inputs, points);
        if let Some(changed) = changed {
            notes.what(What::Inputs { points, changed });
        }
        changed.is_some()
    }

    fn use_new_key(&mut self) {
        self.restart();
        self.which = Which::New;
    }

    fn pin(&mut self, capabilities: Capabilities, notes: &mut dyn Notes) {
        match self.pinned {
            None => {
                self.pinned = Some(capabilities);
                notes.what(What::Pinned(capabilities));
            }
            Some(pinned) if pinned != capabilities => self.raise(Alarm::CapabilitiesChanged, notes),
            Some(_) => {}
        }
    }

    /// A frame in the clear, as a reply to a command in the clear.
    fn hear_clear(&mut self, now: Duration, frame: &Frame<'_>, notes: &mut dyn Notes) -> Heard {
        let Ok(reply) = Reply::parse(frame.code, frame.data) else {
            notes.fault(Fault::Malformed);
            return Heard::NotYet;
        };
        let wanted = match self.phase {
            Phase::Challenge => Some(Block::Handshake { step: Block::DEVICE_CRYPTOGRAM, value: self.key_number() }),
            Phase::Cryptogram => Some(Block::Handshake { step: Block::FIRST_MAC, value: 1 }),
            _ => None,
        };
        match reply {
            Reply::Nak(refusal) if frame.block.is_none() => {
                self.answered(now);
                self.take_clear_refusal(refusal, notes)
            }
            Reply::Identity(identity) if self.phase == Phase::Identity && frame.block == wanted => {
                self.answered(now);
                notes.what(What::Identity(identity));
                self.is_there(notes)
            }
            Reply::Capabilities(capabilities) if self.phase == Phase::ClearCapabilities && frame.block == wanted => {
                self.answered(now);
                if capabilities.of(Capabilities::SECURE_CHANNEL).is_none() {
                    return self.refuse(Alarm::NoSecureChannel, notes);
                }
                self.phase = Phase::Challenge;
                Heard::Answered
            }
            Reply::DeviceCryptogram(cryptogram) if self.phase == Phase::Challenge && is_step(frame, wanted) => {
                self.answered(now);
                // With another value in the block the device has the other key.
                if frame.block == wanted { self.take_cryptogram(&cryptogram, notes) } else { self.try_other_key(notes) }
            }
            Reply::FirstMac(mac) if self.phase == Phase::Cryptogram => {
                self.answered(now);
                // With another value in the block the device says that it did not like the cryptogram.
                if frame.block == wanted { self.take_first_mac(&mac, notes) } else { self.try_other_key(notes) }
            }
            _ => {
                notes.fault(Fault::Unexpected);
                Heard::NotYet
            }
        }
    }

    /// The device answers: on to its channel, if there is a key to open one by.
    fn is_there(&mut self, notes: &mut dyn Notes) -> Heard {
        if self.state == State::Offline {
            self.state = State::Opening;
        }
        if self.install.is_some() {
            self.phase = Phase::ClearCapabilities;
            return Heard::Answered;
        }
        self.which = Which::Own;
        if self.key.is_none() {
            return self.refuse(Alarm::NotEnrolled, notes);
        }
        self.openings += 1;
        if self.openings > OSDP_OPENINGS_MAX {
            let heard = self.refuse(Alarm::NoChannel, notes);
            // One more behind each pause.
            self.openings = OSDP_OPENINGS_MAX - 1;
            return heard;
        }
        self.phase = Phase::Challenge;
        Heard::Answered
    }

    fn take_clear_refusal(&mut self, refusal: Refusal, notes: &mut dyn Notes) -> Heard {
        notes.fault(Fault::Refused);
        match (self.phase, refusal) {
            (Phase::Identity, Refusal::Check) => {
                self.check = if self.check == Check::Crc { Check::Sum } else { Check::Crc };
                Heard::Answered
            }
            (Phase::Challenge, Refusal::NoSecureChannel) => self.refuse(Alarm::NoSecureChannel, notes),
            // It has not got as far as the key: the frame was hit.
            (Phase::Challenge | Phase::Cryptogram, Refusal::Check | Refusal::Length | Refusal::Sequence) => {
                self.restart();
                Heard::Answered
            }
            (Phase::Challenge | Phase::Cryptogram, _) => self.try_other_key(notes),
            _ => {
                self.restart();
                Heard::Busy
            }
        }
    }

    fn take_cryptogram(&mut self, cryptogram: &DeviceCryptogram, notes: &mut dyn Notes) -> Heard {
        let Secure::Challenged(challenge) = &self.secure else { return Heard::Answered };
        match challenge.answered(cryptogram) {
            Ok((awaiting, ours)) => {
                self.secure = Secure::Awaiting(awaiting, ours);
                self.phase = Phase::Cryptogram;
                Heard::Answered
            }
            Err(_) => self.try_other_key(notes),
        }
    }

    fn take_first_mac(&mut self, mac: &[u8; 16], notes: &mut dyn Notes) -> Heard {
        let Secure::Awaiting(awaiting, _) = &self.secure else { return Heard::Answered };
        let Ok(channel) = awaiting.confirmed(mac) else { return self.try_other_key(notes) };
        self.secure = Secure::Open(channel);
        self.doubts = 0;
        self.phase = match (self.which, self.install.take_if(|_| self.which == Which::New)) {
            (Which::New, Some(done)) => {
                self.key = Some(done.key);
                self.which = Which::Own;
                self.pinned = None;
                notes.what(What::KeySet);
                Phase::Capabilities
            }
            // By its own key a device that is to have a new one is given it, too.
            _ if self.install.is_some() => Phase::KeySet,
            _ => Phase::Capabilities,
        };
        Heard::Answered
    }

    /// The device has not shown that it has the key. It is asked again before that is believed; in an install window another key is
    /// tried, each by turns.
    fn try_other_key(&mut self, notes: &mut dyn Notes) -> Heard {
        self.restart();
        if self.install.is_none() {
            self.doubts = self.doubts.saturating_add(1);
            let is_wrong = self.doubts >= OSDP_DOUBTS_MAX;
            return if is_wrong { self.refuse(Alarm::WrongKey, notes) } else { Heard::Answered };
        }
        self.which = match self.which {
            Which::Default => Which::New,
            Which::New if self.key.is_some() => Which::Own,
            Which::New | Which::Own => Which::Default,
        };
        Heard::Answered
    }

    fn refuse(&mut self, alarm: Alarm, notes: &mut dyn Notes) -> Heard {
        self.raise(alarm, notes);
        self.restart();
        self.openings = 0;
        self.state = State::Refused;
        Heard::Refused
    }

    fn raise(&mut self, alarm: Alarm, notes: &mut dyn Notes) {
        if self.alarm.replace(alarm) != Some(alarm) {
            notes.what(What::Alarm(alarm));
        }
    }
}

/// Whether `frame` is of the handshake's step that is `wanted`, whatever it says there.
const fn is_step(frame: &Frame<'_>, wanted: Option<Block>) -> bool {
    match (frame.block, wanted) {
        (Some(Block::Handshake { step, .. }), Some(Block::Handshake { step: wanted, .. })) => step == wanted,
        _ => false,
    }
}

/// Which points differ from what was known, if any do or nothing was. Before anything was known all were at rest.
fn changed(known: &mut Option<Points>, points: Points) -> Option<u32> {
    let before = known.replace(points);
    let changed = before.unwrap_or_default().active ^ points.active;
    (before != Some(points)).then_some(changed)
}
