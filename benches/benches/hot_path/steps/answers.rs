//! What a worker does with an honest reader's datagrams, without sockets.

use std::slice::from_ref;

use fastrand::Rng;
use kalitka_benches::Pair;
use kalitka_benches::pair::from;
use kalitka_core::{Effect, Opened, Opening, Outcome, Output};
use kalitka_protocol::limits::INITIATION_INTERVAL_MIN;
use kalitka_protocol::message::{Message, Ping, Report, ReportKind};
use kalitka_protocol::reason::Direction;
use kalitka_protocol::{BootId, LogId};

use crate::stage::{Size, Stage, card};
use crate::step::Step;

/// Datagrams that the shell receives at a time.
const BATCH: u32 = 32;
/// Asks in one datagram of a busy reader.
const TOGETHER: u32 = 8;

pub(super) fn steps() -> Vec<Step> {
    use Size::{Million, SixteenThousand, TenMillion};
    vec![
        open(),
        answer(),
        handle("whole answer, 16,000 entries at random", SixteenThousand),
        handle("whole answer, 1,000,000 entries at random", Million).not_counted(),
        batch("whole answer in a batch of 32, 16,000 entries", SixteenThousand, 1),
        batch("the same of 64 readers, 16,000 entries", SixteenThousand, 64),
        batch("the same of 64 readers, 1,000,000 entries", Million, 64).not_counted(),
        batch("the same of 64 readers, 10,000,000 entries", TenMillion, 64).not_counted().long(),
        together(),
        repeated(),
        ping(),
        report(),
        shake_hands(),
    ]
}

/// Readers at which anybody of the school may come next.
struct Gate {
    pair: Pair,
    entries: u32,
    rng: Rng,
}

impl Gate {
    fn new(stage: &Stage, size: Size, readers: u32) -> Self {
        let pair = Pair::of_many(stage.view(size), readers);
        Self { pair, entries: stage.entries(size), rng: Rng::with_seed(1) }
    }

    /// The next datagram, with so many asks.
    fn asks(&mut self, count: u32) -> Vec<u8> {
        let mut ask = || Message::Ask(self.pair.ask(card(self.rng.u32(..self.entries))));
        let asks: Vec<Message<'_>> = (0..count).map(|_| ask()).collect();
        self.pair.sealed(&asks)
    }
}

fn small(stage: &Stage) -> Gate {
    Gate::new(stage, Size::SixteenThousand, 1)
}

const fn is_reply(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Reply(_))
}

fn open() -> Step {
    Step::new(
        "open, to the parsed ask",
        small,
        |gate| gate.asks(1),
        |gate, datagram| {
            let now = gate.pair.now();
            let (worker, world, out) = gate.pair.parts();
            worker.open(&world, now, from(), datagram, out)
        },
        |opening| matches!(opening, Opening::Sealed(_)),
    )
}

/// A datagram that has been opened, with the room that it was opened into.
struct Waiting {
    opened: Option<Opened>,
    out: Output,
}

fn answer() -> Step {
    Step::new(
        "answer, from there to the sealed datagram",
        small,
        |gate| {
            let (mut datagram, now, mut out) = (gate.asks(1), gate.pair.now(), Output::new());
            let (worker, world, _) = gate.pair.parts();
            let opening = worker.open(&world, now, from(), &mut datagram, &mut out);
            let Opening::Sealed(opened) = opening else { panic!("{opening:?}") };
            Waiting { opened: Some(opened), out }
        },
        |gate, Waiting { opened, out }| {
            let now = gate.pair.now();
            let (worker, world, _) = gate.pair.parts();
            opened.take().map(|opened| worker.answer(&world, now, from(), opened, out))
        },
        |outcome| outcome.as_ref().is_some_and(is_reply),
    )
}

fn handle(name: &'static str, size: Size) -> Step {
    Step::new(
        name,
        move |stage| Gate::new(stage, size, 1),
        |gate| gate.asks(1),
        |gate, datagram| gate.pair.handle(datagram),
        is_reply,
    )
}

/// As the shell does it: all of a batch are opened before the first is answered.
fn batch(name: &'static str, size: Size, readers: u32) -> Step {
    let set_up = move |stage: &Stage| {
        let outputs: Vec<Output> = (0..BATCH).map(|_| Output::new()).collect();
        (Gate::new(stage, size, readers), outputs)
    };
    let body = |(gate, outputs): &mut (Gate, Vec<Output>), datagrams: &mut Vec<Vec<u8>>| {
        let now = gate.pair.now();
        let (worker, world, _) = gate.pair.parts();
        let mut openings = [const { None }; BATCH as usize];
        for ((datagram, out), opening) in datagrams.iter_mut().zip(&mut *outputs).zip(&mut openings) {
            *opening = Some(worker.open(&world, now, from(), datagram, out));
        }
        let mut answered = 0;
        for (out, opening) in outputs.iter_mut().zip(openings) {
            if let Some(Opening::Sealed(opened)) = opening {
                let outcome = worker.answer(&world, now, from(), opened, out);
                answered += u32::from(is_reply(&outcome));
            }
        }
        answered
    };
    let input = |(gate, _): &mut (Gate, Vec<Output>)| {
        let mut any = || {
            gate.pair.turn_to(gate.rng.usize(..));
            gate.asks(1)
        };
        (0..BATCH).map(|_| any()).collect::<Vec<_>>()
    };
    Step::new(name, set_up, input, body, |&answered| answered == BATCH).each(BATCH)
}

fn together() -> Step {
    Step::new(
        "one of 8 asks in a datagram, 16,000 entries",
        small,
        |gate| gate.asks(TOGETHER),
        |gate, datagram| gate.pair.handle(datagram),
        is_reply,
    )
    .each(TOGETHER)
}

fn repeated() -> Step {
    Step::new(
        "a repeated ask",
        |stage| {
            let mut pair = Pair::new(stage.view(Size::SixteenThousand));
            let ask = Message::Ask(pair.ask(card(1)));
            let mut first = pair.sealed(from_ref(&ask));
            pair.handle(&mut first);
            (pair, ask)
        },
        |(pair, ask)| pair.sealed(from_ref(ask)),
        |(pair, _), datagram| pair.handle(datagram),
        is_reply,
    )
}

fn ping() -> Step {
    Step::new(
        "ping to pong",
        small,
        |gate| gate.pair.sealed(&[Message::Ping(Ping { token: 1, reports_waiting: 0, falling_back: false })]),
        |gate, datagram| gate.pair.handle(datagram),
        is_reply,
    )
}

fn report() -> Step {
    Step::new(
        "a report taken",
        |stage| {
            // Its holder was let in: what a pass follows is looked for.
            let mut pair = Pair::new(stage.view(Size::SixteenThousand));
            let ask = pair.ask(card(1));
            let mut asked = pair.sealed(&[Message::Ask(ask)]);
            pair.handle(&mut asked);
            let (_, _, out) = pair.parts();
            let is_grant =
                |effect: &Effect| matches!(effect, Effect::Decided(asked) if asked.decision.verdict.is_grant());
            assert!(out.effects().iter().any(is_grant));
            (pair, ask.request, 0)
        },
        |(pair, request, number)| {
            *number += 1;
            let report = Report {
                log: LogId(1),
                number: *number,
                boot: BootId(1),
                request: *request,
                age_ms: 3,
                count: 0,
                kind: ReportKind::Passed,
                direction: Some(Direction::Entry),
                input: 0,
                unasked: false,
                oldest: false,
                card: Some(card(1)),
            };
            pair.sealed(&[Message::Report(report)])
        },
        |(pair, ..), datagram| pair.handle(datagram),
        |outcome| *outcome == Outcome::Silent,
    )
}

fn shake_hands() -> Step {
    Step::new(
        "an honest handshake",
        small,
        |gate| gate.pair.initiation(),
        |gate, datagram| {
            gate.pair.wait(INITIATION_INTERVAL_MIN);
            gate.pair.handle(datagram)
        },
        is_reply,
    )
    .slow()
}
