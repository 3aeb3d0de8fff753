//! One device's reader: asks what the core decides, reports what happens, and turns answers into acts.
//!
//! An OSDP device has no key of ours and no memory. The gateway plays that part for it, with the same code that a reader's
//! firmware is built of ([`kalitka_protocol::reader`]) and over the same sockets: its asks are decided, kept, repeated and
//! recorded, its reports receipted when they are durable, its commands done once, as those of every other reader.

use std::collections::VecDeque;
use std::time::Duration;

use kalitka_protocol::credential::CardRead;
use kalitka_protocol::handshake::Psk;
use kalitka_protocol::limits::{ASKS_OUTSTANDING, DATAGRAM_MAX};
use kalitka_protocol::message::{Answer, Command, CommandResult, Order, ReportKind};
use kalitka_protocol::osdp::Act;
use kalitka_protocol::osdp::command::{Blink, Colour, Switch, Text};
use kalitka_protocol::reader::{Event, Happening, Identity, NotAsked, Reader, ReportMemory};
use kalitka_protocol::reason::{Direction, FallBack, Tone};
use kalitka_protocol::{BootId, LogId, ReaderId};

use super::portal::{Effect, Pass, Portal};
use super::settings::DeviceSettings;
use crate::limits::{OSDP_COMMAND_AGE_MAX, OSDP_REPORTS_MAX};
use crate::metrics::{names, unanswered};

/// How long an LED and a text show an answer at the most.
const SHOWN_MAX: Duration = Duration::from_secs(3);

/// What a seat needs to begin to be a reader.
pub(super) struct Start {
    pub(super) psk: Psk,
    pub(super) boot_counter: u32,
    /// Random bytes.
    pub(super) random: [u8; 16],
}

/// A card that has been asked about.
struct Asked {
    request: u32,
    card: CardRead,
    at: Duration,
}

/// What has come of something.
#[derive(Default)]
pub(super) struct Outcome {
    /// For the device, in this order.
    pub(super) acts: Vec<Act>,
    /// Since when whoever they are for has waited, when that is longer than now.
    pub(super) since: Option<Duration>,
    /// How long decisions took that have come.
    pub(super) decided: Vec<Duration>,
    /// The number of a command, which is to be put on the disk before [`Seat::kept`] does it.
    pub(super) command: Option<u64>,
}

pub(super) struct Seat {
    reader: Box<Reader<OSDP_REPORTS_MAX>>,
    /// By which the reader speaks; without, it only keeps what happens.
    psk: Option<Psk>,
    boot_counter: u32,
    last_command: u64,
    /// A command whose number is on its way to the disk, and when it came.
    ordered: Option<(Command, Duration)>,
    hands: Hands,
}

/// What the reader's half has the device do.
struct Hands {
    settings: DeviceSettings,
    portal: Portal,
    asked: VecDeque<Asked>,
    effects: Vec<Effect>,
}

impl Seat {
    /// A seat without a key, from `now` on, after `last_command`. `log` is random: the number of its report memory.
    pub(super) fn new(settings: DeviceSettings, last_command: u64, log: LogId, now: Duration) -> Self {
        let portal = Portal::new(&settings, now);
        let reader = Box::new(Reader::new(keyless(settings.reader()), ReportMemory::new(log)));
        let hands = Hands { settings, portal, asked: VecDeque::new(), effects: Vec::new() };
        Self { reader, psk: None, boot_counter: 0, last_command, ordered: None, hands }
    }

    pub(super) const fn reader(&self) -> ReaderId {
        self.hands.settings.reader()
    }

    /// Whether it has to [`begin`](Self::begin) to speak by `psk`.
    pub(super) fn needs(&self, psk: &Psk) -> bool {
        self.psk.as_ref().is_none_or(|known| known.as_bytes() != psk.as_bytes())
    }

    /// The boot counter that a new beginning must be above.
    pub(super) const fn boot_counter(&self) -> u32 {
        self.boot_counter
    }

    /// The last command that was given to it, done or not.
    #[cfg(test)]
    pub(super) const fn last_command(&self) -> u64 {
        self.last_command
    }

    /// Begins to speak, as a reader that has been started. What it has to report it still has.
    pub(super) fn begin(&mut self, start: Start) {
        let Start { psk, boot_counter, random } = start;
        let boot = BootId(random.iter().take(8).fold(0, |boot, &byte| boot << 8 | u64::from(byte)));
        let last_command = self.last_command;
        self.start(Identity { psk: psk.clone(), boot_counter, boot, last_command, ..keyless(self.reader()) });
        (self.psk, self.boot_counter) = (Some(psk), boot_counter);
    }

    /// The reader's key was taken away: every card is refused, whatever the fall-back mode, until there is another. What
    /// happens meanwhile is kept.
    pub(super) fn end(&mut self) {
        if self.psk.take().is_some() {
            self.start(keyless(self.reader()));
        }
    }

    fn start(&mut self, identity: Identity) {
        *self.reader = Reader::new(identity, self.reader.memory().clone());
        self.hands.asked.clear();
        self.hands.portal.forget_requests();
    }

    /// A card was shown.
    pub(super) fn card(&mut self, now: Duration, card: CardRead, out: &mut Outcome) {
        let direction = self.hands.settings.direction();
        let has_key = self.psk.is_some();
        let asked = has_key.then(|| self.reader.ask(card, direction, now));
        count_unasked(asked.as_ref());
        match asked {
            Some(Ok(request)) => {
                self.hands.asked.truncate(ASKS_OUTSTANDING - 1);
                self.hands.asked.push_back(Asked { request, card, at: now });
            }
            Some(Err(NotAsked::FallingBack(mode))) if lets_pass(mode, direction) => {
                let pass = Pass { request: None, direction, card: Some(card), unasked: true, asked: now };
                self.hands.grant(now, pass, SHOWN_MAX, (Tone::Welcome, ""), out);
                self.settle(now, out);
            }
            Some(Err(_)) | None => self.hands.refuse(out),
        }
    }

    /// A card was shown that nobody can have: it is refused here, because there are no words to ask about it.
    pub(super) fn unknown_card(&self, out: &mut Outcome) {
        self.hands.refuse(out);
    }

    /// The inputs are `active`, and those in `changed` have changed.
    pub(super) fn inputs(&mut self, now: Duration, active: u32, changed: u32, out: &mut Outcome) {
        // A button may have been pressed.
        out.since = Some(now);
        self.hands.portal.inputs(now, active, changed, &mut self.hands.effects);
        self.settle(now, out);
    }

    /// Whoever has waited since `since` was told nothing: they are to show their card again. What was not done nobody passes by; what
    /// may have been done somebody still may.
    pub(super) fn release_lost(&mut self, now: Duration, since: Duration, may_be_done: bool, out: &mut Outcome) {
        self.hands.portal.release_lost(since, may_be_done, &mut self.hands.effects);
        self.settle(now, out);
        self.hands.refuse(out);
    }

    /// Somebody tampers with the device, or with what it says.
    pub(super) fn tampered(&mut self, now: Duration) {
        let kind = ReportKind::Tamper;
        let happening = Happening { kind, direction: None, request: None, input: 0, unasked: false, card: None };
        self.reader.report(now, happening);
    }

    /// Takes a datagram of the gateway's; false when it was not for this reader.
    pub(super) fn datagram(&mut self, now: Duration, datagram: &[u8], out: &mut Outcome) -> bool {
        let mut bytes = [0; DATAGRAM_MAX];
        let Some(bytes) = bytes.get_mut(..datagram.len()) else { return false };
        bytes.copy_from_slice(datagram);
        self.with_reader(now, out, |reader, events| reader.handle(now, bytes, events).is_ok()).unwrap_or(false)
    }

    /// Does what time asks for.
    pub(super) fn handle_timeout(&mut self, now: Duration, out: &mut Outcome) {
        self.hands.portal.handle_timeout(now, &mut self.hands.effects);
        self.settle(now, out);
        self.with_reader(now, out, |reader, events| reader.handle_timeout(now, events));
    }

    /// The next datagram for the gateway.
    pub(super) fn poll_transmit(
        &mut self,
        now: Duration,
        buffer: &mut [u8; DATAGRAM_MAX],
        entropy: &mut dyn FnMut(&mut [u8]),
    ) -> Option<usize> {
        self.psk.as_ref()?;
        self.reader.poll_transmit(now, buffer, entropy)
    }

    /// When there is something to do.
    pub(super) fn next_timeout(&self) -> Duration {
        let reader = self.psk.is_some().then(|| self.reader.next_timeout());
        [reader, self.hands.portal.next_timeout()].into_iter().flatten().min().unwrap_or(Duration::MAX)
    }

    /// Lets the reader's half do `work`, and does what comes of it; nothing without a key.
    fn with_reader<T>(
        &mut self,
        now: Duration,
        out: &mut Outcome,
        work: impl FnOnce(&mut Reader<OSDP_REPORTS_MAX>, &mut dyn FnMut(Event<'_>)) -> T,
    ) -> Option<T> {
        self.psk.as_ref()?;
        let Self { reader, hands, .. } = self;
        let mut ordered = None;
        let result = work(reader, &mut |event| match event {
            Event::Command(command) => ordered = Some(command),
            event => hands.take(now, &event, out),
        });
        if let Some(command) = ordered {
            self.order(now, command, out);
        }
        self.settle(now, out);
        Some(result)
    }

    /// A command is done when its number is on the disk, so that it is not done again after a crash (SPEC 8.1).
    fn order(&mut self, now: Duration, command: Command, out: &mut Outcome) {
        self.last_command = command.id;
        if !self.hands.can(command.order) {
            return self.reader.done(command.id, CommandResult::NotSupported);
        }
        // While the disk has not taken the one before, this one is not done and its giver hears nothing of it.
        if self.ordered.is_none() {
            (self.ordered, out.command) = (Some((command, now)), Some(command.id));
        }
    }

    /// The number of the command `id` is on the disk, or could not be put there. The command is done if that was soon enough.
    pub(super) fn kept(&mut self, now: Duration, id: u64, is_kept: bool, out: &mut Outcome) {
        let Some((command, at)) = self.ordered.take_if(|(command, _)| command.id == id) else { return };
        if !is_kept || now.saturating_sub(at) >= OSDP_COMMAND_AGE_MAX {
            let reader = self.reader().0;
            return tracing::error!(
                reader,
                id,
                "a command to an OSDP reader is not done: it may not be, or its number was not on the disk in time"
            );
        }
        self.hands.obey(now, at, command.order, out);
        self.reader.done(id, CommandResult::Done);
        self.settle(now, out);
    }

    /// Does what the portal wants. A full memory counts what it cannot keep, and reports the count.
    fn settle(&mut self, now: Duration, out: &mut Outcome) {
        self.hands.release(out);
        for effect in self.hands.effects.drain(..) {
            if let Effect::Report(happening) = effect {
                self.reader.report(now, happening);
            }
        }
    }
}

impl Hands {
    fn take(&mut self, now: Duration, event: &Event<'_>, out: &mut Outcome) {
        match event {
            Event::Answer(answer) => self.answered(now, answer, out),
            Event::Unanswered { request } => {
                metrics::counter!(names::OSDP_CARDS_UNANSWERED, "reason" => unanswered::LATE).increment(1);
                self.asked.retain(|asked| asked.request != *request);
                self.refuse(out);
            }
            Event::FallBackEntered(mode) => {
                tracing::warn!(reader = self.settings.reader, mode = mode.label(), "an OSDP reader gets no answers");
            }
            Event::Command(_)
            | Event::FallBackLeft
            | Event::ListPage(_)
            | Event::Receipted { .. }
            | Event::SessionUp(_) => {}
        }
    }

    fn answered(&mut self, now: Duration, answer: &Answer<'_>, out: &mut Outcome) {
        let asked = self.asked.iter().position(|asked| asked.request == answer.request);
        let Some(Asked { request, card, at }) = asked.and_then(|place| self.asked.remove(place)) else { return };
        out.decided.push(now.saturating_sub(at));
        if answer.verdict.is_grant() {
            let direction = self.settings.direction();
            let pass = Pass { request: Some(request), direction, card: Some(card), unasked: false, asked: at };
            let hold_open = Duration::from_millis(answer.hold_open_ms.into());
            return self.grant(now, pass, hold_open, (answer.tone, answer.text), out);
        }
        self.show(answer.tone, answer.text, SHOWN_MAX, out);
    }

    /// Whether the device can do `order`.
    fn can(&self, order: Order) -> bool {
        let Order::Open { direction, .. } = order else { return true };
        self.settings.release.is_some() && self.settings.serves(direction)
    }

    /// Obeys `order`, which came `at` some time before `now`.
    fn obey(&mut self, now: Duration, at: Duration, order: Order, out: &mut Outcome) {
        match order {
            Order::Open { direction, hold_open_ms } => {
                let pass = Pass { request: None, direction, card: None, unasked: false, asked: at };
                self.grant(now, pass, Duration::from_millis(hold_open_ms.into()), (Tone::Welcome, ""), out);
            }
            Order::SetFallBack(_) => {}
            Order::Play(tone) => self.show(tone, "", SHOWN_MAX, out),
        }
    }

    fn grant(&mut self, now: Duration, pass: Pass, hold_open: Duration, shown: (Tone, &str), out: &mut Outcome) {
        self.portal.grant(now, pass, hold_open, &mut self.effects);
        // What lets somebody pass is late 2 s after the card or the command, not after its answer or the disk (SPEC 6.6).
        out.since = Some(pass.asked);
        // The release goes before what only shows.
        self.release(out);
        self.show(shown.0, shown.1, hold_open, out);
    }

    /// Has the device release; what is to be reported stays for [`Seat::settle`].
    fn release(&mut self, out: &mut Outcome) {
        self.effects.retain(|effect| {
            let Effect::Release(time) = effect else { return true };
            let act = |number| Act::Output { number, switch: Switch::OnForATime, tenths: tenths(*time) };
            out.acts.extend(self.settings.release.map(act));
            false
        });
    }

    fn refuse(&self, out: &mut Outcome) {
        self.show(Tone::Refused, "", SHOWN_MAX, out);
    }

    fn show(&self, tone: Tone, text: &str, time: Duration, out: &mut Outcome) {
        let time = time.min(SHOWN_MAX);
        let (colour, count) = match tone {
            Tone::Silent => return,
            Tone::Welcome => (Colour::Green, 1),
            Tone::Refused => (Colour::Red, 2),
            Tone::Attention => (Colour::Amber, 3),
        };
        let blink = Blink { on: 10, off: 0, on_colour: colour, off_colour: Colour::None };
        out.acts.push(Act::Led { number: 0, blink, tenths: Some(tenths(time)) });
        out.acts.push(Act::Buzzer { on: 2, off: 1, count });
        if self.settings.display && !text.is_empty() {
            let seconds = u8::try_from(time.as_secs().max(1)).unwrap_or(u8::MAX);
            out.acts.push(Act::Text { seconds, text: Text::new(text) });
        }
    }
}

/// Counts a card about which the core is not asked, and why.
fn count_unasked(asked: Option<&Result<u32, NotAsked>>) {
    let reason = match asked {
        Some(Ok(_)) => return,
        Some(Err(NotAsked::FallingBack(_))) => unanswered::FALL_BACK,
        Some(Err(NotAsked::Busy)) => unanswered::BUSY,
        None => unanswered::NO_KEY,
    };
    metrics::counter!(names::OSDP_CARDS_UNANSWERED, "reason" => reason).increment(1);
}

/// What a reader is without a key: it says nothing, so nobody ever sees the key that stands in it.
fn keyless(reader: ReaderId) -> Identity {
    let (psk, boot) = (Psk::new([0; 32]), BootId(0));
    Identity { reader, psk, firmware: 0, boot_counter: 0, boot, last_command: 0, fall_back: FallBack::Closed }
}

fn lets_pass(mode: FallBack, direction: Direction) -> bool {
    mode == FallBack::Free || (mode == FallBack::ExitFree && direction == Direction::Exit)
}

fn tenths(time: Duration) -> u16 {
    u16::try_from(time.as_millis().div_ceil(100)).unwrap_or(u16::MAX)
}

#[cfg(test)]
#[path = "seat_tests.rs"]
mod tests;
