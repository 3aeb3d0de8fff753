//! The protocol crate's reader against the worker: a whole conversation, each half by its own code.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use common::rig::{Rig, psk};
use common::uid;
use kalitka_core::{Effect, Fold, Judge, Outcome, ReportVerdict};
use kalitka_protocol::credential::CardRead;
use kalitka_protocol::event::{Body, ClockQuality, EventHeader, ReportTaken};
use kalitka_protocol::limits::DATAGRAM_MAX;
use kalitka_protocol::message::{CommandResult, Order, Report, ReportKind};
use kalitka_protocol::reader::{Dropped, Event, Happening, Identity, Reader, ReportMemory};
use kalitka_protocol::reason::{Denial, Direction, FallBack, Grant, Verdict};
use kalitka_protocol::upstream::CommandOutcome;
use kalitka_protocol::{BootId, EpochId, LogId, ReaderId};

const ADDRESS: &str = "127.0.0.1:4701";
const READER: ReaderId = ReaderId(101);
const HEADER: EventHeader = EventHeader {
    building: 17,
    epoch: EpochId(1),
    number: 2,
    wall_us: 0,
    monotonic_us: 0,
    gateway_boot: 0,
    quality: ClockQuality::Good,
    jumped: false,
};

struct Conversation {
    rig: Rig,
    reader: Reader<8>,
    rng: fastrand::Rng,
    now: Duration,
    /// The request of each decision.
    decided: Vec<u32>,
    verdicts: Vec<(u32, Verdict)>,
    sessions: usize,
    journal: Journal,
    /// Commands as the reader carried them out, and what the worker told of them.
    done: Vec<u64>,
    ended: Vec<(u64, CommandOutcome)>,
}

/// What stands behind the worker: it commits what was reported every 30 ms, and then gives receipts.
#[derive(Default)]
struct Journal {
    fold: Fold,
    judge: Judge,
    /// Judged, and not yet on the disk.
    waiting: Vec<Report>,
    /// On the disk.
    taken: Vec<Report>,
    out_of_order: usize,
    repeated: usize,
}

impl Journal {
    fn report(&mut self, report: Report) {
        match self.judge.judge(&self.fold, READER, &report) {
            ReportVerdict::Take => self.waiting.push(report),
            ReportVerdict::Repeat { .. } => self.repeated += 1,
            ReportVerdict::OutOfOrder => self.out_of_order += 1,
        }
    }

    /// Gives what is now durable: log and number.
    fn commit(&mut self) -> Vec<(LogId, u64)> {
        for report in self.waiting.drain(..) {
            let taken = ReportTaken { reader: READER, generation: 0, portal: None, report };
            self.fold.apply(&kalitka_protocol::event::Event { header: HEADER, body: Body::Report(taken) });
            self.taken.push(report);
        }
        let receipts = self.judge.receipts().map(|(_, log, number)| (log, number)).collect();
        self.judge.clear();
        receipts
    }

    /// The power goes, and comes back: what was not on the disk is gone.
    fn fail(&mut self) {
        self.waiting.clear();
        self.judge.clear();
        let mut bytes = Vec::new();
        self.fold.to_bytes(&mut bytes);
        self.fold = Fold::from_bytes(&bytes).unwrap();
    }
}

impl Conversation {
    fn new() -> Self {
        let identity = Identity {
            reader: READER,
            psk: psk(101, 1),
            firmware: 1,
            boot_counter: 1,
            boot: BootId(99),
            last_command: 0,
            fall_back: FallBack::Closed,
        };
        let reader = Reader::new(identity, ReportMemory::new(LogId(7)));
        let (rng, now) = (fastrand::Rng::with_seed(5), Duration::ZERO);
        let (decided, verdicts, journal) = (vec![], vec![], Journal::default());
        let (done, ended) = (vec![], vec![]);
        Self { rig: Rig::new(), reader, rng, now, decided, verdicts, sessions: 0, journal, done, ended }
    }

    /// Lets `time` pass in steps of 10 ms. Of a thousand datagrams in either direction so many are `lost`.
    fn run(&mut self, time: Duration, lost: u32) {
        let from: SocketAddr = ADDRESS.parse().unwrap();
        let until = self.now + time;
        while self.now < until {
            let mut buffer = [0; DATAGRAM_MAX];
            while let Some(len) = self.reader.poll_transmit(self.now, &mut buffer, &mut |bytes| self.rng.fill(bytes)) {
                if self.rng.u32(..1000) < lost {
                    continue;
                }
                let outcome = self.rig.take(from, &buffer[..len]);
                for effect in self.rig.effects() {
                    self.note(effect);
                }
                if matches!(outcome, Outcome::Reply(_)) {
                    self.deliver(lost);
                }
            }
            self.work(lost);
            self.now += Duration::from_millis(10);
            self.rig.pass(Duration::from_millis(10));
            self.reader.handle_timeout(self.now, &mut |_| {});
        }
    }

    fn note(&mut self, effect: Effect) {
        match effect {
            Effect::Decided(decided) => self.decided.push(decided.request),
            Effect::Reported { report, .. } => self.journal.report(report),
            Effect::CommandEnded { id, outcome, .. } => self.ended.push((id, outcome)),
            _ => {}
        }
    }

    /// Brings what stands in the worker's output to the reader, unless it is lost on the way.
    fn deliver(&mut self, lost: u32) {
        if self.rng.u32(..1000) < lost {
            return;
        }
        let mut reply = self.rig.out.datagram().to_vec();
        let mut commanded = None;
        let note = &mut |event: Event<'_>| match event {
            Event::Answer(answer) => self.verdicts.push((answer.request, answer.verdict)),
            Event::SessionUp(_) => self.sessions += 1,
            Event::Command(command) => commanded = Some(command.id),
            _ => {}
        };
        // What the worker sends by itself may come in the session before, which the reader has left.
        let dropped = self.reader.handle(self.now, &mut reply, note).err();
        assert!(matches!(dropped, None | Some(Dropped::UnknownSession)), "{dropped:?}");
        if let Some(id) = commanded {
            self.done.push(id);
            self.reader.done(id, CommandResult::Done);
        }
    }

    /// What the gateway does by itself: commits with their receipts, and commands.
    fn work(&mut self, lost: u32) {
        let now = self.rig.now.monotonic;
        if now.as_millis().is_multiple_of(30) {
            for (log, number) in self.journal.commit() {
                if self.rig.worker.receipt(now, READER, log, number, &mut self.rig.out).is_some() {
                    self.deliver(lost);
                }
            }
        }
        loop {
            let address = self.rig.worker.poll(now, &mut self.rig.out);
            for effect in self.rig.effects() {
                self.note(effect);
            }
            if address.is_none() {
                return;
            }
            self.deliver(lost);
        }
    }

    fn report(&mut self, count: u32) -> Option<u64> {
        let happening = Happening {
            kind: ReportKind::Passed,
            direction: Some(Direction::Entry),
            request: None,
            input: 0,
            unasked: false,
            card: CardRead::from_uid(&uid(count)),
        };
        self.reader.report(self.now, happening)
    }

    fn ask(&mut self, card: u32) -> u32 {
        self.reader.ask(CardRead::from_uid(&uid(card)).unwrap(), Direction::Entry, self.now).unwrap()
    }
}

#[test]
fn reader_connects_asks_and_is_answered() {
    let mut talk = Conversation::new();
    talk.run(Duration::from_millis(200), 0);
    assert_eq!(talk.sessions, 1);
    let (first, second) = (talk.ask(1), talk.ask(3));
    talk.run(Duration::from_millis(50), 0);
    let expected = [(first, Verdict::Grant(Grant::AccessLevel)), (second, Verdict::Deny(Denial::NoAccess))];
    assert_eq!(talk.verdicts, expected);
    assert_eq!(talk.decided, [first, second]);
}

#[test]
fn no_ask_is_decided_twice_on_a_bad_network() {
    let mut talk = Conversation::new();
    talk.run(Duration::from_secs(5), 0);
    for _ in 0..300 {
        if talk.reader.fall_back().is_none() {
            talk.ask(1);
        }
        talk.run(Duration::from_millis(100), 300);
    }
    talk.run(Duration::from_secs(5), 0);
    assert!(talk.verdicts.len() > 200, "{} answered", talk.verdicts.len());
    assert!(talk.verdicts.iter().all(|(_, verdict)| verdict.is_grant()));
    let once: BTreeSet<u32> = talk.decided.iter().copied().collect();
    assert_eq!(once.len(), talk.decided.len());
}

#[test]
fn new_session_follows_a_restart_of_the_gateway() {
    let mut talk = Conversation::new();
    talk.run(Duration::from_secs(1), 0);
    let now = talk.rig.now;
    talk.rig = Rig::new();
    talk.rig.now = now;
    talk.run(Duration::from_secs(5), 0);
    assert_eq!(talk.sessions, 2);
    let request = talk.ask(1);
    talk.run(Duration::from_millis(50), 0);
    assert_eq!(talk.verdicts, [(request, Verdict::Grant(Grant::AccessLevel))]);
}

#[test]
fn every_report_is_taken_once_and_in_order_on_a_bad_network_and_over_power_cuts() {
    let mut talk = Conversation::new();
    talk.run(Duration::from_secs(1), 0);
    let mut kept = 0;
    for step in 1..=600 {
        kept += u64::from(talk.report(step).is_some());
        talk.run(Duration::from_millis(50), 300);
        if step % 97 == 0 {
            talk.journal.fail();
        }
        if step % 211 == 0 {
            let now = talk.rig.now;
            talk.rig = Rig { now, ..Rig::new() };
        }
    }
    talk.run(Duration::from_secs(20), 0);
    let numbers: Vec<_> = talk.journal.taken.iter().map(|report| report.number).collect();
    let reported = u64::try_from(numbers.len()).unwrap();
    assert_eq!(numbers, (1..=reported).collect::<Vec<_>>());
    // All that the reader's memory had room for, and a report of what it had none for.
    assert!(reported >= kept, "{reported} taken of {kept}");
    let lost = talk.journal.taken.iter().map(|report| u64::from(report.count)).sum::<u64>();
    let passed = talk.journal.taken.iter().filter(|report| report.kind == ReportKind::Passed).count();
    assert_eq!(u64::try_from(passed).unwrap() + lost, 600);
    // The network was bad enough for the test to mean something.
    let Journal { repeated, out_of_order, .. } = talk.journal;
    assert!(repeated > 20 && out_of_order > 20, "{repeated} repeated, {out_of_order} out of order");
}

// SPEC 7.3 a log that begins in the middle: the reports before were receipted by a store that is no more
#[test]
fn reports_go_on_after_the_store_was_replaced_by_a_blank_one() {
    let mut talk = Conversation::new();
    talk.run(Duration::from_secs(1), 0);
    for step in 1..=20 {
        talk.report(step);
        talk.run(Duration::from_millis(100), 0);
    }
    let before = core::mem::take(&mut talk.journal);
    assert_eq!(before.taken.len(), 20);
    for step in 21..=30 {
        talk.report(step);
        talk.run(Duration::from_millis(100), 200);
    }
    talk.run(Duration::from_secs(10), 0);
    let numbers: Vec<_> = talk.journal.taken.iter().map(|report| report.number).collect();
    assert_eq!(numbers, (21..=30).collect::<Vec<_>>());
}

#[test]
fn every_command_is_carried_out_at_most_once_on_a_bad_network() {
    let mut talk = Conversation::new();
    talk.run(Duration::from_secs(1), 0);
    let mut given = Vec::new();
    for id in 1..=150 {
        let (now, order) = (talk.rig.now.monotonic, Order::Open { direction: Direction::Entry, hold_open_ms: 1000 });
        if talk.rig.worker.command(now, READER, id, order, now + Duration::from_secs(2)).is_ok() {
            given.push(id);
        }
        talk.run(Duration::from_millis(400), 400);
    }
    talk.run(Duration::from_secs(5), 0);
    let ended: Vec<_> = talk.ended.iter().map(|&(id, _)| id).collect();
    let once: BTreeSet<_> = ended.iter().copied().collect();
    assert_eq!((once.len(), ended.len()), (given.len(), given.len()), "each ends once");
    assert!(talk.done.is_sorted_by(|before, after| before < after), "each is done once: {:?}", talk.done);
    let was_done = |id: &u64| talk.done.contains(id);
    let told_done = |outcome| outcome == CommandOutcome::Done;
    assert!(talk.ended.iter().all(|(id, outcome)| was_done(id) || !told_done(*outcome)));
    let done = talk.ended.iter().filter(|(_, outcome)| told_done(*outcome)).count();
    assert!(done > 100, "{done} of {} done", given.len());
}
