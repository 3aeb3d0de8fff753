use kalitka_core::{Effect as Told, Keys, Now, Output, Overlay, Texts, UnixSeconds, Worker, World};
use kalitka_protocol::reason::{Grant, Verdict};
use kalitka_protocol::upstream::CommandOutcome;

use super::*;
use crate::entropy::SystemEntropy;
use crate::limits::OSDP_PASSES_AWAITED_MAX;

fn seat() -> Seat {
    let settings = "address = 0\nreader = 101\nrelease = 2\ninputs = { rotation_entry = 0, tamper = 1 }";
    Seat::new(toml::from_str(settings).unwrap(), 0, LogId(7), Duration::ZERO)
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

fn open(id: u64, direction: Direction) -> Event<'static> {
    Event::Command(Command { id, seen: 1, order: Order::Open { direction, hold_open_ms: 5000 } })
}

/// Reports that wait in the seat's memory.
fn waiting(seat: &Seat) -> usize {
    seat.reader.memory().waiting()
}

/// A worker without a snapshot, and the time.
struct Core {
    worker: Worker,
    keys: Keys,
    now: Duration,
    out: Output,
}

impl Core {
    /// One that knows the key of [`start`] with `byte`.
    fn new(byte: u8) -> Self {
        let worker = Worker::new(0, 1, [], Box::new(SystemEntropy::new().unwrap()));
        let keys = Keys::new(1, [(ReaderId(101), Psk::new([byte; 32]))]).unwrap();
        Self { worker, keys, now: Duration::from_secs(1000), out: Output::new() }
    }

    /// Carries datagrams between it and `seat` until neither has any; gives what the device is to do, and what the worker tells.
    fn talk(&mut self, seat: &mut Seat) -> (Outcome, Vec<Told>) {
        let (mut outcome, mut told, mut buffer) = (Outcome::default(), Vec::new(), [0; DATAGRAM_MAX]);
        let (overlay, texts) = (Overlay::default(), Texts::default());
        let world = World { view: None, overlay: &overlay, keys: &self.keys, texts: &texts, fall_back_after_ms: 1000 };
        loop {
            let sent = seat.poll_transmit(self.now, &mut buffer, &mut |bytes| fastrand::Rng::with_seed(1).fill(bytes));
            let has_reply = if let Some(len) = sent {
                let (now, from) = (Now::good(self.now, UnixSeconds(0)), "127.0.0.1:9".parse().unwrap());
                let outcome = self.worker.handle(&world, now, from, &mut buffer[..len], &mut self.out);
                matches!(outcome, kalitka_core::Outcome::Reply(_))
            } else {
                self.worker.poll(self.now, &mut self.out).is_some()
            };
            told.extend_from_slice(self.out.effects());
            if has_reply {
                assert!(seat.datagram(self.now, self.out.datagram(), &mut outcome));
            } else if sent.is_none() {
                return (outcome, told);
            }
        }
    }

    /// Gives `seat` the command `id`, to open.
    fn open(&mut self, seat: &mut Seat, id: u64) -> (Outcome, Vec<Told>) {
        let order = Order::Open { direction: Direction::Entry, hold_open_ms: 5000 };
        self.worker.command(self.now, ReaderId(101), id, order, self.now + Duration::from_secs(60)).unwrap();
        self.talk(seat)
    }
}

fn is_done(told: &[Told]) -> bool {
    told.iter().any(|told| matches!(told, Told::CommandEnded { outcome: CommandOutcome::Done, .. }))
}

#[test]
fn command_of_before_a_start_is_done_and_not_done_again() {
    let mut core = Core::new(1);
    let settings = || toml::from_str("address = 0\nreader = 101\nrelease = 2").unwrap();
    let mut seat = Seat::new(settings(), 0, LogId(7), core.now);
    seat.begin(start(1));
    core.talk(&mut seat);
    let (out, told) = core.open(&mut seat, 5);
    assert!(out.command == Some(5) && out.acts.is_empty() && !is_done(&told));
    // The number is on the disk, and the gateway is killed before anybody knows that the command is done.
    let mut core = Core::new(1);
    let mut seat = Seat::new(settings(), 5, LogId(8), core.now);
    seat.begin(Start { boot_counter: 2, ..start(1) });
    core.talk(&mut seat);
    let (out, told) = core.open(&mut seat, 5);
    assert!(out.command.is_none() && out.acts.is_empty() && is_done(&told));
    let (out, told) = core.open(&mut seat, 6);
    assert!(out.command == Some(6) && !is_done(&told));
    let mut out = Outcome::default();
    seat.kept(core.now, 6, true, &mut out);
    assert_eq!(shown(&out).1, [2]);
    assert!(is_done(&core.talk(&mut seat).1));
    // Another key is no reason to do it once more.
    let mut core = Core::new(2);
    seat.begin(Start { boot_counter: 3, ..start(2) });
    core.talk(&mut seat);
    let (out, told) = core.open(&mut seat, 6);
    assert!(out.command.is_none() && out.acts.is_empty() && is_done(&told));
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
    for request in 1..=6_u8 {
        seat.card(Duration::ZERO, CardRead::from_uid(&[request; 4]).unwrap(), &mut Outcome::default());
        let request = u32::from(request);
        let out = given(&mut seat, Duration::ZERO, &answer(request, Verdict::Grant(Grant::AccessLevel)));
        assert_eq!(shown(&out), (vec![Colour::Green], vec![2]));
        assert!(matches!(out.acts[0], Act::Output { .. }), "the release goes first");
    }
    // The oldest of too many are ended by the next.
    assert_eq!(waiting(&seat), 6 - OSDP_PASSES_AWAITED_MAX);
    given(&mut seat, Duration::ZERO, &open(1, Direction::Entry));
    let mut out = Outcome::default();
    seat.kept(Duration::ZERO, 1, true, &mut out);
    assert_eq!((shown(&out).1, waiting(&seat)), (vec![2], 7 - OSDP_PASSES_AWAITED_MAX));
}

#[test]
fn command_is_done_in_the_directions_that_are_served_and_in_no_other() {
    let is_done = |settings: &str, direction| {
        let settings = toml::from_str(&format!("address = 0\nreader = 101\n{settings}")).unwrap();
        let mut seat = Seat::new(settings, 0, LogId(7), Duration::ZERO);
        seat.begin(start(1));
        let ordered = given(&mut seat, Duration::ZERO, &open(1, direction));
        let mut out = Outcome::default();
        seat.kept(Duration::ZERO, 1, true, &mut out);
        assert_eq!(ordered.command.is_some(), !shown(&out).1.is_empty());
        ordered.command.is_some()
    };
    use Direction::{Entry, Exit};
    for (settings, entry, exit) in [
        ("", false, false),
        ("release = 2", true, false),
        ("release = 2\ninputs = { exit_button = 1 }", true, true),
        ("release = 2\ndirection = \"exit\"", false, true),
    ] {
        assert_eq!((is_done(settings, Entry), is_done(settings, Exit)), (entry, exit), "{settings}");
    }
}

#[test]
fn command_is_done_once_and_when_its_number_is_on_the_disk_and_not_late() {
    let mut seat = seat();
    seat.begin(start(1));
    let kept = |seat: &mut Seat, now, id, is_kept| {
        let mut out = Outcome::default();
        seat.kept(now, id, is_kept, &mut out);
        shown(&out).1
    };
    let ordered = |seat: &mut Seat, id| given(seat, Duration::ZERO, &open(id, Direction::Entry));
    let out = ordered(&mut seat, 5);
    assert!(out.acts.is_empty() && out.command == Some(5));
    // The disk has not taken the one before.
    let out = ordered(&mut seat, 6);
    assert!(out.acts.is_empty() && out.command.is_none());
    assert!(kept(&mut seat, Duration::ZERO, 6, true).is_empty());
    assert_eq!(kept(&mut seat, Duration::from_millis(1999), 5, true), [2]);
    assert!(kept(&mut seat, Duration::ZERO, 5, true).is_empty(), "once");
    ordered(&mut seat, 7);
    assert!(kept(&mut seat, Duration::ZERO, 7, false).is_empty(), "the disk has not got it");
    ordered(&mut seat, 8);
    assert!(kept(&mut seat, Duration::from_secs(2), 8, true).is_empty(), "too late");
    assert_eq!(seat.last_command, 8);
}

#[test]
fn whose_release_is_lost_sees_red_and_turns_back_at_once_or_when_nobody_has_passed() {
    for (may_be_done, at_once) in [(false, 1), (true, 0)] {
        let mut seat = seat();
        seat.begin(start(1));
        seat.card(Duration::ZERO, card(), &mut Outcome::default());
        given(&mut seat, Duration::ZERO, &answer(1, Verdict::Grant(Grant::AccessLevel)));
        let mut out = Outcome::default();
        seat.release_lost(Duration::from_secs(1), Duration::ZERO, may_be_done, &mut out);
        assert_eq!(shown(&out), (vec![Colour::Red], vec![]));
        assert_eq!(waiting(&seat), at_once);
        seat.handle_timeout(Duration::from_secs(6), &mut out);
        assert_eq!(waiting(&seat), 1);
    }
}

#[test]
fn grant_is_as_old_as_its_card() {
    let (mut seat, shown_at) = (seat(), Duration::from_secs(5));
    seat.begin(start(1));
    seat.card(shown_at, card(), &mut Outcome::default());
    let out = given(&mut seat, Duration::from_millis(6900), &answer(1, Verdict::Grant(Grant::AccessLevel)));
    assert_eq!((shown(&out).1, out.since), (vec![2], Some(shown_at)));
}

#[test]
fn release_of_a_command_or_a_button_is_as_old_as_that_and_is_lost_by_it() {
    let settings = "address = 0\nreader = 101\nrelease = 2\ninputs = { exit_button = 1 }";
    let mut seat = Seat::new(toml::from_str(settings).unwrap(), 0, LogId(7), Duration::ZERO);
    seat.begin(start(1));
    let (ordered, kept) = (Duration::from_secs(5), Duration::from_millis(6900));
    given(&mut seat, ordered, &open(1, Direction::Entry));
    let mut out = Outcome::default();
    seat.kept(kept, 1, true, &mut out);
    assert_eq!((shown(&out).1, out.since, waiting(&seat)), (vec![2], Some(ordered), 0));
    seat.release_lost(kept, ordered, false, &mut Outcome::default());
    assert_eq!(waiting(&seat), 1, "nobody has passed by it");
    let mut out = Outcome::default();
    seat.inputs(kept, 2, 2, &mut out);
    assert_eq!((shown(&out).1, out.since), (vec![2], Some(kept)));
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
