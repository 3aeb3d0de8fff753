//! The protocol crate's reader against the worker: a whole conversation, each half by its own code.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use common::rig::{Rig, psk};
use common::uid;
use kalitka_core::{Effect, Outcome};
use kalitka_protocol::credential::CardRead;
use kalitka_protocol::limits::DATAGRAM_MAX;
use kalitka_protocol::reader::{Event, Identity, Reader, ReportMemory};
use kalitka_protocol::reason::{Denial, Direction, FallBack, Grant, Verdict};
use kalitka_protocol::{BootId, LogId, ReaderId};

const ADDRESS: &str = "127.0.0.1:4701";

struct Conversation {
    rig: Rig,
    reader: Reader<4>,
    rng: fastrand::Rng,
    now: Duration,
    /// The request of each decision.
    decided: Vec<u32>,
    verdicts: Vec<(u32, Verdict)>,
    sessions: usize,
}

impl Conversation {
    fn new() -> Self {
        let identity = Identity {
            reader: ReaderId(101),
            psk: psk(101, 1),
            firmware: 1,
            boot_counter: 1,
            boot: BootId(99),
            last_command: 0,
            fall_back: FallBack::Closed,
        };
        let reader = Reader::new(identity, ReportMemory::new(LogId(7)));
        let (rng, now) = (fastrand::Rng::with_seed(5), Duration::ZERO);
        Self { rig: Rig::new(), reader, rng, now, decided: vec![], verdicts: vec![], sessions: 0 }
    }

    /// Lets `time` pass in steps of 10 ms. Of a thousand datagrams in either direction so many are `lost`.
    fn run(&mut self, time: Duration, lost: u32) {
        let from: SocketAddr = ADDRESS.parse().unwrap();
        let until = self.now + time;
        while self.now < until {
            let mut buffer = [0; DATAGRAM_MAX];
            let rng = &mut self.rng;
            while let Some(len) = self.reader.poll_transmit(self.now, &mut buffer, &mut |bytes| rng.fill(bytes)) {
                if rng.u32(..1000) < lost {
                    continue;
                }
                let outcome = self.rig.take(from, &buffer[..len]);
                self.decided.extend(self.rig.out.effects().iter().filter_map(|effect| match effect {
                    Effect::Decided(decided) => Some(decided.request),
                    _ => None,
                }));
                if matches!(outcome, Outcome::Reply(_)) && rng.u32(..1000) >= lost {
                    let mut reply = self.rig.out.datagram().to_vec();
                    let note = &mut |event: Event<'_>| match event {
                        Event::Answer(answer) => self.verdicts.push((answer.request, answer.verdict)),
                        Event::SessionUp(_) => self.sessions += 1,
                        _ => {}
                    };
                    self.reader.handle(self.now, &mut reply, note).unwrap();
                }
            }
            self.now += Duration::from_millis(10);
            self.rig.pass(Duration::from_millis(10));
            self.reader.handle_timeout(self.now, &mut |_| {});
        }
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
