//! The reader half over a network that loses, repeats, delays and reorders: what it promises holds whatever happens.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]

mod support;

use std::collections::HashMap;
use std::time::Duration;

use kalitka_protocol::datagram::Datagram;
use kalitka_protocol::limits::ASK_AGE_MAX;
use kalitka_protocol::message::{Command, CommandResult, Message, Messages, Order, Pong, Receipt, ReportKind};
use kalitka_protocol::reader::Happening;
use kalitka_protocol::reason::{Direction, Tone};
use proptest::prelude::*;
use support::{LOG, Told, World, card, grant, ms};

const MEMORY: usize = 20;
/// How long after the last trouble everything must be settled.
const SETTLED: Duration = ms(20_000);

struct Network {
    rng: fastrand::Rng,
    loss_percent: u8,
    /// Datagrams under way with the time of their arrival; `true` for the reader.
    under_way: Vec<(Duration, bool, Vec<u8>)>,
}

impl Network {
    fn send(&mut self, now: Duration, to_reader: bool, datagram: &[u8]) {
        let copies = if self.rng.u8(..100) < 10 { 2 } else { 1 };
        for _ in 0..copies {
            if self.rng.u8(..100) >= self.loss_percent {
                let delay = ms(self.rng.u64(..40));
                self.under_way.push((now + delay, to_reader, datagram.to_vec()));
            }
        }
    }

    fn arrived(&mut self, now: Duration) -> Vec<(bool, Vec<u8>)> {
        let (here, later) = self.under_way.drain(..).partition(|(at, ..)| *at <= now);
        self.under_way = later;
        here.into_iter().map(|(_, to_reader, datagram)| (to_reader, datagram)).collect()
    }
}

/// Reader and gateway, what they were asked to do, and what became of it.
struct Run {
    world: World<MEMORY>,
    network: Network,
    /// Of each request when its card was shown and how often it ended.
    asks: HashMap<u32, (Duration, u32)>,
    happened: u64,
    /// The highest report number that the gateway took, and the reports lost by overflow that it was told of.
    taken: u64,
    told_lost: u64,
    command: u64,
    commands_done: Vec<u64>,
}

impl Run {
    fn new(seed: u64, loss_percent: u8) -> Self {
        Self {
            world: World::new(),
            network: Network { rng: fastrand::Rng::with_seed(seed), loss_percent, under_way: Vec::new() },
            asks: HashMap::new(),
            happened: 0,
            taken: 0,
            told_lost: 0,
            command: 1,
            commands_done: Vec::new(),
        }
    }

    fn step(&mut self, is_trouble: bool) {
        let now = self.world.now;
        if is_trouble {
            self.use_portal();
        }
        for (to_reader, datagram) in self.network.arrived(now) {
            if to_reader {
                // What is dropped is dropped.
                let _ = self.world.deliver(datagram);
            } else {
                self.gateway_takes(datagram);
            }
        }
        self.world.jump(now);
        self.note_events();
        while let Some(datagram) = self.world.transmit() {
            self.network.send(now, false, &datagram);
        }
        self.world.now += ms(5);
    }

    fn use_portal(&mut self) {
        let now = self.world.now;
        let card = (self.network.rng.u8(..100) < 5).then(card);
        // Refused in fall-back.
        if let Some(Ok(request)) = card.map(|card| self.world.reader.ask(card, Direction::Entry, now)) {
            assert!(self.asks.insert(request, (now, 0)).is_none(), "a request number is used once");
        }
        if self.network.rng.u8(..100) < 5 {
            let (kind, direction) = (ReportKind::Passed, Some(Direction::Entry));
            let happening = Happening { kind, direction, request: None, input: 0, unasked: true, card: None };
            self.world.reader.report(now, happening);
            self.happened += 1;
        }
    }

    fn gateway_takes(&mut self, mut datagram: Vec<u8>) {
        let gateway = &mut self.world.gateway;
        let is_new = match Datagram::parse(&mut datagram) {
            Ok(Datagram::Initiation(initiation)) => gateway.stamps.last().is_none_or(|last| *last < initiation.stamp),
            Ok(Datagram::Sealed(sealed)) => sealed.session.0 == gateway.sessions,
            _ => false,
        };
        if !is_new {
            return;
        }
        if matches!(datagram[0], 1) {
            let response = gateway.shake(&mut datagram);
            self.network.send(self.world.now, true, &response);
            return;
        }
        let plaintext = gateway.open(&mut datagram);
        let mut replies = Vec::new();
        for message in Messages::new(&plaintext) {
            match message.unwrap() {
                Message::Ask(ask) => replies.push(grant(ask.request)),
                Message::Ping(ping) => replies.push(Message::Pong(Pong { token: ping.token })),
                Message::Report(report) => {
                    if report.number == self.taken + 1 {
                        self.taken = report.number;
                        self.told_lost += u64::from(report.count);
                    }
                    replies.push(Message::Receipt(Receipt { log: LOG, number: self.taken }));
                }
                Message::Done(done) => self.command = self.command.max(done.id + 1),
                other => panic!("{other:?}"),
            }
        }
        let order = Order::Play(Tone::Welcome);
        let command = Command { id: self.command, seen: self.world.gateway.seen, order };
        replies.push(Message::Command(command));
        let sealed = self.world.gateway.seal(&replies);
        self.network.send(self.world.now, true, &sealed);
    }

    fn note_events(&mut self) {
        for event in self.world.told() {
            match event {
                Told::Answer(request, _) => {
                    let (shown, ends) = self.asks.get_mut(&request).unwrap();
                    assert!(self.world.now - *shown < ASK_AGE_MAX, "acted on while fresh");
                    *ends += 1;
                }
                Told::Unanswered(request) => self.asks.get_mut(&request).unwrap().1 += 1,
                Told::Command(id) => {
                    assert!(self.commands_done.last().is_none_or(|last| *last < id), "done once");
                    self.commands_done.push(id);
                    self.world.reader.done(id, CommandResult::Done);
                }
                _ => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_ask_ends_once_and_no_report_is_lost_uncounted(seed: u64, loss_percent in 0u8..70, outage in any::<bool>()) {
        let mut run = Run::new(seed, loss_percent);
        while run.world.now < ms(8_000) {
            let is_out = outage && (ms(3_000)..ms(6_000)).contains(&run.world.now);
            run.network.loss_percent = if is_out { 100 } else { loss_percent };
            run.step(true);
        }
        run.network.loss_percent = 0;
        let end = run.world.now + SETTLED;
        while run.world.now < end {
            run.step(false);
        }
        for (request, (_, ends)) in &run.asks {
            prop_assert_eq!(*ends, 1, "request {}", request);
        }
        let memory = run.world.reader.memory();
        prop_assert_eq!((memory.waiting(), memory.lost()), (0, 0), "everything is receipted");
        let notices = run.taken + run.told_lost - run.happened;
        prop_assert!((run.told_lost == 0) == (notices == 0) && notices <= run.told_lost, "{} notices", notices);
        prop_assert_eq!(run.world.reader.fall_back(), None);
        prop_assert!(!run.commands_done.is_empty());
    }
}
