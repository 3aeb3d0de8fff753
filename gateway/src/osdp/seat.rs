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
use crate::limits::OSDP_REPORTS_MAX;

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
    /// How long decisions took that have come.
    pub(super) decided: Vec<Duration>,
}

pub(super) struct Seat {
    reader: Box<Reader<OSDP_REPORTS_MAX>>,
    /// By which the reader speaks; without, it only keeps what happens.
    psk: Option<Psk>,
    boot_counter: u32,
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
    /// A seat without a key, from `now` on. `log` is random: the number of its report memory.
    pub(super) fn new(settings: DeviceSettings, log: LogId, now: Duration) -> Self {
        let portal = Portal::new(&settings, now);
        let reader = Box::new(Reader::new(keyless(settings.reader()), ReportMemory::new(log)));
        let hands = Hands { settings, portal, asked: VecDeque::new(), effects: Vec::new() };
        Self { reader, psk: None, boot_counter: 0, hands }
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

    /// Begins to speak, as a reader that has been started. What it has to report it still has.
    pub(super) fn begin(&mut self, start: Start) {
        let Start { psk, boot_counter, random } = start;
        let boot = BootId(random.iter().take(8).fold(0, |boot, &byte| boot << 8 | u64::from(byte)));
        self.start(Identity { psk: psk.clone(), boot_counter, boot, ..keyless(self.reader()) });
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
        self.reader = Box::new(Reader::new(identity, self.reader.memory().clone()));
        self.hands.asked.clear();
        self.hands.portal.forget_requests();
    }

    /// A card was shown.
    pub(super) fn card(&mut self, now: Duration, card: CardRead, out: &mut Outcome) {
        let direction = self.hands.settings.direction();
        let has_key = self.psk.is_some();
        match has_key.then(|| self.reader.ask(card, direction, now)) {
            Some(Ok(request)) => {
                self.hands.asked.truncate(ASKS_OUTSTANDING - 1);
                self.hands.asked.push_back(Asked { request, card, at: now });
            }
            Some(Err(NotAsked::FallingBack(mode))) if lets_pass(mode, direction) => {
                let pass = Pass { request: None, direction, card: Some(card), unasked: true };
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
        self.hands.portal.inputs(now, active, changed, &mut self.hands.effects);
        self.settle(now, out);
    }

    /// A release has got lost on its way to the device: whoever stands there is not to run into the arm.
    #[cfg_attr(not(test), expect(dead_code, reason = "the bus does not say so yet"))]
    pub(super) fn release_lost(&mut self, out: &mut Outcome) {
        self.hands.portal.release_lost();
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
        let mut done = None;
        let result = work(reader, &mut |event| match event {
            Event::Command(command) => done = Some((command.id, hands.command(now, command, out))),
            event => hands.take(now, &event, out),
        });
        if let Some((id, result)) = done {
            self.reader.done(id, result);
        }
        self.settle(now, out);
        Some(result)
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
            let pass = Pass { request: Some(request), direction, card: Some(card), unasked: false };
            let hold_open = Duration::from_millis(answer.hold_open_ms.into());
            return self.grant(now, pass, hold_open, (answer.tone, answer.text), out);
        }
        self.show(answer.tone, answer.text, SHOWN_MAX, out);
    }

    fn command(&mut self, now: Duration, command: Command, out: &mut Outcome) -> CommandResult {
        match command.order {
            Order::Open { direction, hold_open_ms } if self.can_open(direction) => {
                let pass = Pass { request: None, direction, card: None, unasked: false };
                self.grant(now, pass, Duration::from_millis(hold_open_ms.into()), (Tone::Welcome, ""), out);
            }
            Order::Open { .. } => return CommandResult::NotSupported,
            Order::SetFallBack(_) => {}
            Order::Play(tone) => self.show(tone, "", SHOWN_MAX, out),
        }
        CommandResult::Done
    }

    fn can_open(&self, direction: Direction) -> bool {
        self.settings.release.is_some() && self.settings.serves(direction)
    }

    fn grant(&mut self, now: Duration, pass: Pass, hold_open: Duration, shown: (Tone, &str), out: &mut Outcome) {
        self.portal.grant(now, pass, hold_open, &mut self.effects);
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
mod tests {
    use kalitka_protocol::reason::{Grant, Verdict};

    use super::*;
    use crate::limits::OSDP_PASSES_AWAITED_MAX;

    fn seat() -> Seat {
        let settings = "address = 0\nreader = 101\nrelease = 2\ninputs = { rotation_entry = 0, tamper = 1 }";
        Seat::new(toml::from_str(settings).unwrap(), LogId(7), Duration::ZERO)
    }

    fn start(byte: u8) -> Start {
        Start { psk: Psk::new([byte; 32]), boot_counter: 1, random: [byte; 16] }
    }

    fn card() -> CardRead {
        CardRead::from_uid(&[1, 2, 3, 4]).unwrap()
    }

    /// Colours that were lit, and outputs that were switched.
    fn shown(out: &Outcome) -> (Vec<Colour>, Vec<u8>) {
        let colour = |act: &Act| if let Act::Led { blink, .. } = act { Some(blink.on_colour) } else { None };
        let output = |act: &Act| if let Act::Output { number, .. } = act { Some(*number) } else { None };
        (out.acts.iter().filter_map(colour).collect(), out.acts.iter().filter_map(output).collect())
    }

    /// The seat's reader is given `event`.
    fn given(seat: &mut Seat, now: Duration, event: &Event<'static>) -> Outcome {
        let mut out = Outcome::default();
        seat.with_reader(now, &mut out, |_, events| events(event.clone())).unwrap();
        out
    }

    fn answer(request: u32, verdict: Verdict) -> Event<'static> {
        let hold_open_ms = if verdict.is_grant() { 5000 } else { 0 };
        Event::Answer(Answer { request, generation: 1, hold_open_ms, verdict, tone: Tone::Welcome, text: "" })
    }

    /// Reports that wait in the seat's memory.
    fn waiting(seat: &Seat) -> usize {
        seat.reader.memory().waiting()
    }

    #[test]
    fn without_a_key_every_card_is_refused_and_what_happens_is_kept_over_a_change_of_keys() {
        let mut seat = seat();
        let refused = |seat: &mut Seat| {
            let mut out = Outcome::default();
            seat.card(Duration::ZERO, card(), &mut out);
            assert_eq!(shown(&out), (vec![Colour::Red], vec![]));
        };
        refused(&mut seat);
        seat.tampered(Duration::ZERO);
        assert_eq!(waiting(&seat), 1, "before the first key");
        seat.begin(start(1));
        assert!(!seat.needs(&Psk::new([1; 32])) && seat.needs(&Psk::new([2; 32])));
        seat.tampered(Duration::ZERO);
        seat.end();
        seat.end();
        refused(&mut seat);
        seat.inputs(Duration::ZERO, 1, 1, &mut Outcome::default());
        let mut buffer = [0; DATAGRAM_MAX];
        assert!(seat.poll_transmit(Duration::ZERO, &mut buffer, &mut |bytes| bytes.fill(7)).is_none());
        assert!(!seat.datagram(Duration::ZERO, &[0; 64], &mut Outcome::default()));
        assert_eq!(seat.next_timeout(), Duration::MAX);
        seat.begin(start(2));
        assert_eq!((waiting(&seat), seat.reader.memory().log()), (3, LogId(7)));
    }

    #[test]
    fn without_a_key_a_full_memory_counts_what_it_cannot_keep() {
        let mut seat = seat();
        (0..OSDP_REPORTS_MAX + 3).for_each(|_| seat.tampered(Duration::ZERO));
        seat.begin(start(1));
        assert_eq!((waiting(&seat), seat.reader.memory().lost()), (OSDP_REPORTS_MAX, 3));
    }

    #[test]
    fn what_an_answer_or_a_command_ends_is_reported() {
        let mut seat = seat();
        seat.begin(start(1));
        for request in 1..=6 {
            seat.card(Duration::ZERO, card(), &mut Outcome::default());
            let out = given(&mut seat, Duration::ZERO, &answer(request, Verdict::Grant(Grant::AccessLevel)));
            assert_eq!(shown(&out), (vec![Colour::Green], vec![2]));
            assert!(matches!(out.acts[0], Act::Output { .. }), "the release goes first");
        }
        // The oldest of too many are ended by the next.
        assert_eq!(waiting(&seat), 6 - OSDP_PASSES_AWAITED_MAX);
        let order = Order::Open { direction: Direction::Entry, hold_open_ms: 5000 };
        let out = given(&mut seat, Duration::ZERO, &Event::Command(Command { id: 1, seen: 1, order }));
        assert_eq!((shown(&out).1, waiting(&seat)), (vec![2], 7 - OSDP_PASSES_AWAITED_MAX));
    }

    #[test]
    fn command_is_done_in_the_directions_that_are_served_and_in_no_other() {
        let given = |settings: &str, direction| {
            let settings = toml::from_str(&format!("address = 0\nreader = 101\n{settings}")).unwrap();
            let mut seat = Seat::new(settings, LogId(7), Duration::ZERO);
            let mut out = Outcome::default();
            let command = Command { id: 1, seen: 1, order: Order::Open { direction, hold_open_ms: 5000 } };
            let result = seat.hands.command(Duration::ZERO, command, &mut out);
            assert_eq!(result == CommandResult::Done, !shown(&out).1.is_empty());
            result
        };
        use Direction::{Entry, Exit};
        for (settings, entry, exit) in [
            ("", CommandResult::NotSupported, CommandResult::NotSupported),
            ("release = 2", CommandResult::Done, CommandResult::NotSupported),
            ("release = 2\ninputs = { exit_button = 1 }", CommandResult::Done, CommandResult::Done),
            ("release = 2\ndirection = \"exit\"", CommandResult::NotSupported, CommandResult::Done),
        ] {
            assert_eq!((given(settings, Entry), given(settings, Exit)), (entry, exit), "{settings}");
        }
    }

    #[test]
    fn whose_release_is_lost_sees_red_and_turns_back() {
        let mut seat = seat();
        seat.begin(start(1));
        seat.card(Duration::ZERO, card(), &mut Outcome::default());
        given(&mut seat, Duration::ZERO, &answer(1, Verdict::Grant(Grant::AccessLevel)));
        let mut out = Outcome::default();
        seat.release_lost(&mut out);
        assert_eq!(shown(&out), (vec![Colour::Red], vec![]));
        seat.handle_timeout(Duration::from_secs(6), &mut out);
        assert_eq!(waiting(&seat), 1);
    }

    #[test]
    fn card_is_neither_granted_nor_denied_before_it_is_answered() {
        let (mut seat, mut out) = (seat(), Outcome::default());
        seat.begin(start(1));
        seat.card(Duration::ZERO, card(), &mut out);
        assert!(out.acts.is_empty() && out.decided.is_empty());
        // No session, no answer: closed until somebody has said otherwise.
        let mut buffer = [0; DATAGRAM_MAX];
        assert!(seat.poll_transmit(Duration::ZERO, &mut buffer, &mut |bytes| bytes.fill(7)).is_some());
        seat.handle_timeout(Duration::from_secs(3), &mut out);
        assert_eq!(shown(&out), (vec![Colour::Red], vec![]));
        let mut out = Outcome::default();
        seat.card(Duration::from_secs(4), card(), &mut out);
        assert_eq!(shown(&out), (vec![Colour::Red], vec![]), "in fall-back");
    }

    #[test]
    fn only_a_mode_that_says_so_lets_pass_without_an_answer() {
        use Direction::{Entry, Exit};
        for (mode, direction, passes) in [
            (FallBack::Closed, Entry, false),
            (FallBack::Closed, Exit, false),
            (FallBack::ExitFree, Entry, false),
            (FallBack::ExitFree, Exit, true),
            (FallBack::Free, Entry, true),
            (FallBack::Free, Exit, true),
        ] {
            assert_eq!(lets_pass(mode, direction), passes);
        }
    }
}
