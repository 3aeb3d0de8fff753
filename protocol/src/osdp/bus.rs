//! One line shared by several devices: whose turn it is, and how long a reply is waited for.
//!
//! One device at a time is spoken to, because all of them share the line. Whose turn it is, in this order:
//! 1. a device for which an act waits, each by turns; after [`OSDP_ACTS_IN_A_ROW`] of them somebody else gets a slot;
//! 2. an offline device that has been left alone for [`OSDP_PROBE_INTERVAL_MAX`];
//! 3. by turns a device that opens its channel, and whoever's poll has been due for the longest: at once for a device in use, a
//!    while later for others, and much later for a slow one;
//! 4. an offline device that has been left alone for [`OSDP_PROBE_INTERVAL`].

mod pace;

use core::time::Duration;

pub(super) use pace::Pace;

use super::command::Act;
use super::deframer::Deframer;
use super::device::{Device, Heard, Notes, State, What, is_release};
use super::fault::Fault;
use super::frame::Frame;
use crate::limits::{
    OSDP_ACTS_IN_A_ROW, OSDP_EVENTS_MAX, OSDP_GAP_MAX, OSDP_PROBE_INTERVAL, OSDP_PROBE_INTERVAL_MAX, OSDP_REPLY_MAX,
};
use crate::wire::NoRoom;

/// Bits of a byte on the line: start, eight, stop.
const BITS_A_BYTE: u64 = 10;
/// Characters of silence before the control panel speaks: the device's driver lets go of the line in that time.
const TURNAROUND: u32 = 2;

/// A line's speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Bits a second; not 0.
    pub baud: u32,
}

impl Line {
    /// How long `bytes` take on it.
    #[must_use]
    pub const fn time(self, bytes: usize) -> Duration {
        let baud = if self.baud == 0 { 1 } else { self.baud };
        Duration::from_micros(bytes as u64 * BITS_A_BYTE * 1_000_000 / baud as u64)
    }
}

/// Something that has happened at one of the devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its place among the devices.
    pub device: usize,
    /// What.
    pub what: What,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Send this. Whatever had come is handed in before [`Bus::poll`] is called: it may be a reply that is late.
    Send(&'a [u8]),
    /// Nothing before then, unless bytes come or an act is given.
    Wait(Duration),
}

/// An exchange that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// With which device.
    pub device: usize,
    /// From the first byte of the command to the last of the reply, or to the end of patience.
    pub took: Duration,
    /// Whether there was a reply.
    pub is_answered: bool,
}

/// An exchange under way.
struct Slot {
    device: usize,
    began: Duration,
    /// When the last byte of the command has left.
    sent: Duration,
    /// When the first byte of anything came.
    first: Option<Duration>,
    deadline: Duration,
    /// What the deadline may grow to, while a reply comes.
    latest: Duration,
}

/// Events that wait, and what is counted.
struct Noted {
    device: usize,
    events: [Option<Event>; OSDP_EVENTS_MAX],
    len: usize,
    faults: [u64; Fault::ALL.len()],
}

impl Notes for Noted {
    fn what(&mut self, what: What) {
        let event = Some(Event { device: self.device, what });
        match self.events.get_mut(self.len) {
            Some(place) => {
                *place = event;
                self.len += 1;
            }
            None => self.fault(Fault::EventLost),
        }
    }

    fn fault(&mut self, fault: Fault) {
        let count = &mut self.faults[fault as usize];
        *count = count.wrapping_add(1);
    }
}

/// The devices on one line.
pub struct Bus<D> {
    devices: D,
    line: Line,
    deframer: Deframer,
    slot: Option<Slot>,
    /// When the line is free for the next command.
    free: Duration,
    noted: Noted,
    exchange: Option<Exchange>,
    /// The device that had the last act.
    turn: usize,
    acts_in_a_row: u32,
    /// Whether the last other slot was a device's that opens its channel.
    has_opened: bool,
}

impl<D> core::fmt::Debug for Bus<D> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Bus({} baud)", self.line.baud)
    }
}

impl<D: AsRef<[Device]> + AsMut<[Device]>> Bus<D> {
    /// A bus of `devices`, each with an address of its own.
    #[must_use]
    pub fn new(line: Line, devices: D) -> Self {
        let noted = Noted { device: 0, events: [None; OSDP_EVENTS_MAX], len: 0, faults: [0; Fault::ALL.len()] };
        Self {
            devices,
            line,
            deframer: Deframer::new(),
            slot: None,
            free: Duration::ZERO,
            noted,
            exchange: None,
            turn: 0,
            acts_in_a_row: 0,
            has_opened: false,
        }
    }

    /// The devices, by place.
    #[must_use]
    pub fn devices(&self) -> &[Device] {
        self.devices.as_ref()
    }

    /// The device at `place`, to open or end an install window.
    pub fn device_mut(&mut self, place: usize) -> Option<&mut Device> {
        self.devices.as_mut().get_mut(place)
    }

    /// Has the device at `place` do `act` in one of the next slots, for somebody who has waited since `since`.
    ///
    /// # Errors
    /// [`NoRoom`] when it is not there or too many acts wait; that is counted, and a release's loss is an event.
    pub fn act(&mut self, since: Duration, place: usize, act: Act) -> Result<(), NoRoom> {
        let device = self.devices.as_mut().get_mut(place).ok_or(NoRoom)?;
        device.act(since, act).inspect_err(|_| {
            self.noted.fault(Fault::ActLost);
            if is_release(act) {
                self.noted.device = place;
                self.noted.what(What::ReleaseLost { since, may_be_done: false });
            }
        })
    }

    /// What is to be done at `now`. `entropy` fills with fresh random bytes, fit for keys.
    pub fn poll(&mut self, now: Duration, entropy: &mut dyn FnMut(&mut [u8])) -> Step<'_> {
        if let Some(slot) = &self.slot {
            if now < slot.deadline {
                return Step::Wait(slot.deadline);
            }
            self.give_up(now);
        }
        for (place, device) in self.devices.as_mut().iter_mut().enumerate() {
            self.noted.device = place;
            device.follow(now, &mut self.noted);
        }
        if now < self.free {
            return Step::Wait(self.free);
        }
        let Some(place) = self.choose(now) else { return Step::Wait(self.next_due()) };
        self.deframer.clear();
        self.count_dropped();
        self.noted.device = place;
        // Chosen from among them.
        let device = &mut self.devices.as_mut()[place];
        device.pace.begin(now);
        let patience = device.pace.patience(device.is_probed());
        let frame = device.speak(entropy);
        let sent = now + self.line.time(frame.len());
        let deadline = sent + patience;
        let latest = deadline + self.line.time(OSDP_REPLY_MAX);
        self.slot = Some(Slot { device: place, began: now, sent, first: None, deadline, latest });
        Step::Send(frame)
    }

    /// Takes `bytes` that have come by `now`.
    pub fn received(&mut self, now: Duration, mut bytes: &[u8]) {
        self.free = self.free.max(now + self.line.time(1) * TURNAROUND);
        if let Some(slot) = &mut self.slot {
            slot.first.get_or_insert(now);
        }
        loop {
            bytes = self.deframer.push(bytes);
            self.take_frames(now);
            if bytes.is_empty() {
                break;
            }
        }
        if let Some(slot) = &mut self.slot
            && self.deframer.is_within()
        {
            slot.deadline = slot.deadline.max(now + OSDP_GAP_MAX).min(slot.latest);
        }
    }

    /// The oldest event that has not been taken.
    pub fn take_event(&mut self) -> Option<Event> {
        let first = self.noted.events[0].take()?;
        self.noted.events.rotate_left(1);
        self.noted.len -= 1;
        Some(first)
    }

    /// The exchange that has ended since the last call, if one has.
    pub fn take_exchange(&mut self) -> Option<Exchange> {
        self.exchange.take()
    }

    /// How often each fault was counted, by its place in [`Fault::ALL`].
    #[must_use]
    pub const fn faults(&self) -> &[u64; Fault::ALL.len()] {
        &self.noted.faults
    }

    fn take_frames(&mut self, now: Duration) {
        while let Some(frame) = self.deframer.next() {
            let place = match sender(&frame, self.devices.as_ref(), self.slot.as_ref().map(|slot| slot.device)) {
                Ok(place) => place,
                Err(fault) => {
                    self.noted.fault(fault);
                    continue;
                }
            };
            let device = &mut self.devices.as_mut()[place];
            self.noted.device = place;
            let heard = device.hear(now, &frame, &mut self.noted);
            if heard == Heard::NotYet {
                continue;
            }
            let is_opening = device.state() == State::Opening;
            let Some(slot) = self.slot.take_if(|slot| slot.device == place) else {
                device.pace.answered_late(now, heard, is_opening);
                continue;
            };
            let waited = slot.first.unwrap_or(now).saturating_sub(slot.sent);
            let took = now.saturating_sub(slot.began);
            device.pace.answered(now, took, waited, heard, is_opening);
            self.exchange = Some(Exchange { device: place, took, is_answered: true });
        }
        self.count_dropped();
    }

    /// Ends the slot, but not before whatever came has been looked through for the reply.
    fn give_up(&mut self, now: Duration) {
        while self.slot.is_some() && self.deframer.give_up_front() {
            self.take_frames(now);
        }
        let Some(slot) = self.slot.take() else { return };
        let device = &mut self.devices.as_mut()[slot.device];
        self.noted.device = slot.device;
        device.unanswered(&mut self.noted);
        let took = now.saturating_sub(slot.began);
        device.pace.unanswered(now, took, device.is_probed());
        self.exchange = Some(Exchange { device: slot.device, took, is_answered: false });
    }

    fn count_dropped(&mut self) {
        for _ in 0..self.deframer.take_dropped().frames {
            self.noted.fault(Fault::Damaged);
        }
    }

    fn choose(&mut self, now: Duration) -> Option<usize> {
        let devices = self.devices.as_ref();
        let due = |device: &Device| device.pace.due() <= now;
        let (mut opened, mut polled, mut probed) = (None, None, None);
        for (place, device) in devices.iter().enumerate().filter(|(_, device)| due(device)) {
            let best = match device.state() {
                State::Offline => &mut probed,
                State::Opening => &mut opened,
                State::Online | State::Refused => &mut polled,
            };
            if best.is_none_or(|best: usize| device.pace.due() < devices[best].pace.due()) {
                *best = Some(place);
            }
        }
        let is_overdue =
            |place: &usize| devices[*place].pace.due() + (OSDP_PROBE_INTERVAL_MAX - OSDP_PROBE_INTERVAL) <= now;
        let alternate = if self.has_opened { polled.or(opened) } else { opened.or(polled) };
        let others = probed.filter(is_overdue).or(alternate).or(probed);
        let count = devices.len().max(1);
        let mut acting = (1..=count).map(|step| (self.turn + step) % count);
        let acting = acting.find(|&place| devices.get(place).is_some_and(Device::has_act));
        match (acting, others) {
            (Some(place), others) if others.is_none() || self.acts_in_a_row < OSDP_ACTS_IN_A_ROW => {
                self.turn = place;
                self.acts_in_a_row += 1;
                Some(place)
            }
            _ => {
                self.acts_in_a_row = 0;
                self.has_opened = others.is_some() && others == opened;
                others
            }
        }
    }

    fn next_due(&self) -> Duration {
        self.devices().iter().map(|device| device.pace.due()).min().unwrap_or(Duration::MAX)
    }
}

/// Which of `devices` has sent `frame`: the one that is waited for, or one that was and has not answered yet. Some say what they
/// have to say once only; whether it is what was asked for, its number and its MAC tell as well as in time.
fn sender(frame: &Frame<'_>, devices: &[Device], waited_for: Option<usize>) -> Result<usize, Fault> {
    if !frame.header.is_reply {
        return Err(Fault::NotAReply);
    }
    let place = devices.iter().position(|device| device.address() == frame.header.address);
    match (place, waited_for) {
        (Some(place), Some(other)) if place == other => Ok(place),
        (Some(place), _) if devices[place].owes() => Ok(place),
        (_, Some(_)) => Err(Fault::WrongAddress),
        (_, None) => Err(Fault::Unasked),
    }
}
