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
use crate::metrics::{names, unanswered};

/// How long an LED and a text show an answer at the most.
const SHOWN_MAX: Duration = Duration::from_secs(3);

/// What a seat needs to begin to be a reader.
pub(super) struct Start {
    pub(super) psk: Psk,
    pub(super) boot_counter: u32,
    /// Sixteen random bytes.
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
}

pub(super) struct Seat {
    settings: DeviceSettings,
    portal: Portal,
    reader: Option<Box<Reader<OSDP_REPORTS_MAX>>>,
    /// What a reader that has ended had to report.
    memory: Option<Box<ReportMemory<OSDP_REPORTS_MAX>>>,
    psk: Option<Psk>,
    boot_counter: u32,
    asked: VecDeque<Asked>,
    effects: Vec<Effect>,
}

impl Seat {
    pub(super) fn new(settings: DeviceSettings) -> Self {
        let portal = Portal::new(settings.inputs, settings.held_open_after());
        let (asked, effects) = (VecDeque::new(), Vec::new());
        Self { settings, portal, reader: None, memory: None, psk: None, boot_counter: 0, asked, effects }
    }

    pub(super) const fn reader(&self) -> ReaderId {
        self.settings.reader()
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
        let [boot, log] =
            [0, 8].map(|place| u64::from_le_bytes(random[place..place + 8].try_into().unwrap_or_default()));
        self.end();
        let memory = self.memory.take().map_or_else(|| ReportMemory::new(LogId(log)), |memory| *memory);
        let identity = Identity {
            reader: self.reader(),
            psk: psk.clone(),
            firmware: 0,
            boot_counter,
            boot: BootId(boot),
            last_command: 0,
            fall_back: FallBack::Closed,
        };
        self.reader = Some(Box::new(Reader::new(identity, memory)));
        (self.psk, self.boot_counter) = (Some(psk), boot_counter);
    }

    /// The reader's key was taken away: every card is refused, whatever the fall-back mode, until there is another.
    pub(super) fn end(&mut self) {
        if let Some(reader) = self.reader.take() {
            self.memory = Some(Box::new(reader.into_memory()));
        }
        self.psk = None;
        self.asked.clear();
    }

    /// A card was shown.
    pub(super) fn card(&mut self, now: Duration, card: CardRead, out: &mut Outcome) {
        let direction = self.settings.direction();
        let asked = self.reader.as_mut().map(|reader| reader.ask(card, direction, now));
        count_unasked(asked.as_ref());
        match asked {
            Some(Ok(request)) => {
                self.asked.truncate(ASKS_OUTSTANDING - 1);
                self.asked.push_back(Asked { request, card, at: now });
            }
            Some(Err(NotAsked::FallingBack(mode))) if lets_pass(mode, direction) => {
                let pass = Pass { request: None, direction, card: Some(card), unasked: true };
                self.portal.grant(now, pass, SHOWN_MAX, &mut self.effects);
                self.settle(now, out);
                self.show(Tone::Welcome, "", SHOWN_MAX, out);
            }
            Some(Err(_)) | None => self.show(Tone::Refused, "", SHOWN_MAX, out),
        }
    }

    /// A card was shown that nobody can have: it is refused here, because there are no words to ask about it.
    pub(super) fn unknown_card(&self, out: &mut Outcome) {
        self.show(Tone::Refused, "", SHOWN_MAX, out);
    }

    /// The inputs are `active`, and those in `changed` have changed.
    pub(super) fn inputs(&mut self, now: Duration, active: u32, changed: u32, out: &mut Outcome) {
        self.portal.inputs(now, active, changed, &mut self.effects);
        self.settle(now, out);
    }

    /// Whoever was granted last was told nothing: they are to show their card again. What was not done nobody passes by; what may
    /// have been done somebody still may.
    pub(super) fn release_lost(&mut self, now: Duration, may_be_done: bool, out: &mut Outcome) {
        if !may_be_done {
            self.portal.not_released(&mut self.effects);
            self.settle(now, out);
        }
        self.show(Tone::Refused, "", SHOWN_MAX, out);
    }

    /// Somebody tampers with the device, or with what it says.
    pub(super) fn tampered(&mut self, now: Duration) {
        let kind = ReportKind::Tamper;
        self.report(now, Happening { kind, direction: None, request: None, input: 0, unasked: false, card: None });
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
        self.portal.handle_timeout(now, &mut self.effects);
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
        self.reader.as_mut()?.poll_transmit(now, buffer, entropy)
    }

    /// When there is something to do.
    pub(super) fn next_timeout(&self) -> Duration {
        let reader = self.reader.as_ref().map(|reader| reader.next_timeout());
        [reader, self.portal.next_timeout()].into_iter().flatten().min().unwrap_or(Duration::MAX)
    }

    /// Lets the reader's half do `work`, and does what comes of it.
    fn with_reader<T>(
        &mut self,
        now: Duration,
        out: &mut Outcome,
        work: impl FnOnce(&mut Reader<OSDP_REPORTS_MAX>, &mut dyn FnMut(Event<'_>)) -> T,
    ) -> Option<T> {
        let mut reader = self.reader.take()?;
        let mut done = None;
        let result = work(&mut reader, &mut |event| match event {
            Event::Answer(answer) => self.answered(now, &answer, out),
            Event::Unanswered { request } => {
                metrics::counter!(names::OSDP_CARDS_UNANSWERED, "reason" => unanswered::LATE).increment(1);
                self.asked.retain(|asked| asked.request != request);
                self.show(Tone::Refused, "", SHOWN_MAX, out);
            }
            Event::Command(command) => done = Some((command.id, self.command(now, command, out))),
            Event::FallBackEntered(mode) => {
                tracing::warn!(reader = self.reader().0, mode = mode.label(), "an OSDP reader gets no answers");
            }
            Event::FallBackLeft | Event::ListPage(_) | Event::Receipted { .. } | Event::SessionUp(_) => {}
        });
        if let Some((id, result)) = done {
            reader.done(id, result);
        }
        self.reader = Some(reader);
        self.settle(now, out);
        Some(result)
    }

    fn answered(&mut self, now: Duration, answer: &Answer<'_>, out: &mut Outcome) {
        let asked = self.asked.iter().position(|asked| asked.request == answer.request);
        let Some(Asked { request, card, at }) = asked.and_then(|place| self.asked.remove(place)) else { return };
        out.decided.push(now.saturating_sub(at));
        let hold_open = Duration::from_millis(answer.hold_open_ms.into());
        if answer.verdict.is_grant() {
            // What lets somebody pass is late 2 s after the card, not after its answer (SPEC 6.6).
            out.since = Some(at);
            let direction = self.settings.direction();
            let pass = Pass { request: Some(request), direction, card: Some(card), unasked: false };
            self.portal.grant(now, pass, hold_open, &mut self.effects);
            // The release goes before what only shows.
            self.settle(now, out);
            return self.show(answer.tone, answer.text, hold_open, out);
        }
        self.show(answer.tone, answer.text, SHOWN_MAX, out);
    }

    fn command(&mut self, now: Duration, command: Command, out: &mut Outcome) -> CommandResult {
        match command.order {
            Order::Open { direction, hold_open_ms } if self.settings.release.is_some() => {
                let pass = Pass { request: None, direction, card: None, unasked: false };
                let hold_open = Duration::from_millis(hold_open_ms.into());
                self.portal.grant(now, pass, hold_open, &mut self.effects);
                self.settle(now, out);
                self.show(Tone::Welcome, "", hold_open, out);
            }
            Order::Open { .. } => return CommandResult::NotSupported,
            Order::SetFallBack(_) => {}
            Order::Play(tone) => self.show(tone, "", SHOWN_MAX, out),
        }
        CommandResult::Done
    }

    /// Does what the portal wants.
    fn settle(&mut self, now: Duration, out: &mut Outcome) {
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                Effect::Release(time) => {
                    let release = self.settings.release;
                    let act = |number| Act::Output { number, switch: Switch::OnForATime, tenths: tenths(time) };
                    out.acts.extend(release.map(act));
                }
                Effect::Report(happening) => self.report(now, happening),
            }
        }
    }

    /// A full memory counts what it cannot keep, and reports the count.
    fn report(&mut self, now: Duration, happening: Happening) {
        if let Some(reader) = &mut self.reader {
            reader.report(now, happening);
        }
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

    fn seat() -> Seat {
        let settings = "address = 0\nreader = 101\nrelease = 2\ninputs = { tamper = 1 }";
        Seat::new(toml::from_str(settings).unwrap())
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

    #[test]
    fn without_a_key_every_card_is_refused_and_what_happens_is_kept_over_a_change_of_keys() {
        let (mut seat, mut out) = (seat(), Outcome::default());
        seat.card(Duration::ZERO, card(), &mut out);
        assert_eq!(shown(&out), (vec![Colour::Red], vec![]));
        seat.begin(start(1));
        assert!(!seat.needs(&Psk::new([1; 32])) && seat.needs(&Psk::new([2; 32])));
        seat.tampered(Duration::ZERO);
        seat.end();
        let mut out = Outcome::default();
        seat.card(Duration::ZERO, card(), &mut out);
        assert_eq!(shown(&out), (vec![Colour::Red], vec![]));
        seat.begin(start(2));
        assert_eq!(seat.reader.as_ref().unwrap().memory().waiting(), 1);
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

    /// The card that was shown at `at` is granted at `now`.
    fn grant(seat: &mut Seat, at: Duration, now: Duration) -> Outcome {
        let mut out = Outcome::default();
        seat.asked.push_back(Asked { request: 7, card: card(), at });
        let (verdict, tone) = (Verdict::Grant(Grant::AccessLevel), Tone::Welcome);
        let answer = Answer { request: 7, generation: 1, hold_open_ms: 5000, verdict, tone, text: "" };
        seat.answered(now, &answer, &mut out);
        out
    }

    #[test]
    fn grant_is_as_old_as_its_card() {
        let shown_at = Duration::from_secs(5);
        let out = grant(&mut seat(), shown_at, Duration::from_millis(6900));
        assert_eq!((shown(&out).1, out.since), (vec![2], Some(shown_at)));
    }

    #[test]
    fn release_that_is_lost_is_shown_in_red_and_awaited_only_if_it_may_have_been_done() {
        for (may_be_done, reports) in [(false, 1), (true, 0)] {
            let settings = "address = 0\nreader = 101\nrelease = 2\ninputs = { rotation_entry = 1 }";
            let mut seat = Seat::new(toml::from_str(settings).unwrap());
            seat.begin(start(1));
            grant(&mut seat, Duration::ZERO, Duration::ZERO);
            let mut out = Outcome::default();
            seat.release_lost(Duration::from_secs(1), may_be_done, &mut out);
            assert_eq!(shown(&out), (vec![Colour::Red], vec![]));
            assert_eq!(seat.reader.as_ref().unwrap().memory().waiting(), reports, "turned back");
            seat.inputs(Duration::from_secs(2), 2, 2, &mut out);
            assert_eq!(seat.portal.next_timeout(), None);
        }
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
