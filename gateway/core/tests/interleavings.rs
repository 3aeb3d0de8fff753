//! Random traffic, opened ahead and answered later, against the same traffic handled one by one.
//!
//! As long as nothing of a reader waits to be answered while its address or session changes, both do the same to the byte.
//! When something does wait, SPEC 5.8 and 4.11 give it to the new address or session: it may be dropped for that, or sealed
//! in the other session, and whatever is answered is still right.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use common::rig::{Open, Rig, Taken, TestReader, keys};
use common::{ask, report};
use fastrand::Rng;
use kalitka_core::{DropReason, Effect, Outcome, decide};
use kalitka_protocol::SessionId;
use kalitka_protocol::message::{Ask, Message, Messages, Ping};
use kalitka_protocol::reason::{Direction, Verdict};

const READERS: [u32; 3] = [101, 102, 103];
/// Datagrams that wait to be answered, at most.
const WAITING_MAX: usize = 32;

/// A datagram on its way.
#[derive(Clone)]
struct Packet {
    reader: usize,
    from: SocketAddr,
    bytes: Vec<u8>,
    /// The session of a sealed one.
    session: Option<SessionId>,
}

/// A reader with all it remembers.
struct Player {
    reader: TestReader,
    requests: u32,
    /// What it asked, by boot and request.
    asked: BTreeMap<(u64, u32), Ask>,
    /// Address and session of what was delivered last.
    last: Option<(SocketAddr, SessionId)>,
}

/// The same traffic into a gateway that handles one datagram after the other and one that opens ahead.
struct Twins {
    rng: Rng,
    one_by_one: Rig,
    ahead: Rig,
    players: Vec<Player>,
    /// Datagrams sent, to be delivered late or again.
    sent: Vec<Packet>,
    /// Opened by `ahead`, with what `one_by_one` did.
    waiting: VecDeque<(Packet, Open, Taken)>,
    /// Whether nothing of a reader waits while its address or session changes.
    in_step: bool,
    keys_version: u64,
    answers: u32,
    /// Datagrams that only `one_by_one` has answered.
    overtaken: u32,
}

impl Twins {
    fn new(seed: u64, in_step: bool) -> Self {
        let player = |id| Player { reader: TestReader::new(id), requests: 0, asked: BTreeMap::new(), last: None };
        let mut twins = Self {
            rng: Rng::with_seed(seed),
            one_by_one: Rig::new(),
            ahead: Rig::new(),
            players: READERS.map(player).into(),
            sent: Vec::new(),
            waiting: VecDeque::new(),
            in_step,
            keys_version: 1,
            answers: 0,
            overtaken: 0,
        };
        (0..READERS.len()).for_each(|reader| twins.shake_hands(reader));
        twins
    }

    fn step(&mut self) {
        let reader = self.rng.usize(..READERS.len());
        match self.rng.u32(..100) {
            0..60 => self.speak(reader),
            60..66 => self.send_again(),
            66..70 => self.forge(),
            70..85 => self.answer_one(),
            85..88 => self.move_address(reader),
            88..92 => self.shake_hands(reader),
            92..94 => self.restart(reader),
            94..98 => self.pass(),
            _ => self.replace_keys(),
        }
    }

    /// Sends one to four messages; one datagram in eight is held back.
    fn speak(&mut self, reader: usize) {
        let messages: Vec<_> = (0..self.rng.u32(1..=4)).map(|_| self.message(reader)).collect();
        let player = &mut self.players[reader];
        let session = Some(player.reader.link().id);
        let bytes = player.reader.seal(&messages);
        let packet = Packet { reader, from: player.reader.address, bytes, session };
        self.sent.push(packet.clone());
        if self.rng.u32(..8) != 0 {
            self.deliver(packet);
        }
    }

    fn message(&mut self, reader: usize) -> Message<'static> {
        let Self { rng, players, .. } = self;
        let player = &mut players[reader];
        match rng.u32(..8) {
            0 => Message::Ping(Ping { token: rng.u32(..), reports_waiting: 0, falling_back: false }),
            1 => Message::Report(report(rng.u64(1..100))),
            2 | 3 if player.requests > 0 => {
                let request = rng.u32(player.requests.saturating_sub(5).max(1)..=player.requests);
                Message::Ask(player.asked[&(player.reader.boot.0, request)])
            }
            _ => {
                player.requests += 1;
                let direction = if rng.bool() { Direction::Entry } else { Direction::Exit };
                let ask = ask(player.requests, rng.u32(1..6), direction);
                player.asked.insert((player.reader.boot.0, ask.request), ask);
                Message::Ask(ask)
            }
        }
    }

    /// Hands `packet` to both; the one answers at once.
    fn deliver(&mut self, packet: Packet) {
        let last = packet.session.map(|session| (packet.from, session));
        if last.is_some() && self.players[packet.reader].last != last {
            self.settle();
            self.players[packet.reader].last = last;
        }
        if self.waiting.len() >= WAITING_MAX {
            self.answer_one();
        }
        let outcome = self.one_by_one.take(packet.from, &packet.bytes);
        let (reply, effects) = (self.one_by_one.out.datagram().to_vec(), self.one_by_one.effects());
        let open = self.ahead.open(packet.from, &packet.bytes);
        self.waiting.push_back((packet, open, Taken { outcome, reply, effects }));
    }

    fn answer_one(&mut self) {
        let Some((packet, open, one_by_one)) = self.waiting.pop_front() else { return };
        let ahead = self.ahead.answer(open);
        if self.in_step {
            assert_eq!(ahead, one_by_one);
        }
        let late = [DropReason::AddressLeft, DropReason::UnknownSession].map(Outcome::Dropped);
        if late.contains(&ahead.outcome) && ahead.outcome != one_by_one.outcome {
            self.overtaken += 1;
        }
        if packet.session.is_some() && !ahead.reply.is_empty() {
            self.check(&packet, &ahead);
        }
    }

    /// Every answer in a reply is the one that its ask deserves, in a session of the boot that asked.
    fn check(&mut self, packet: &Packet, taken: &Taken) {
        let Player { reader, asked, .. } = &mut self.players[packet.reader];
        let Some(plaintext) = reader.link.as_ref().and_then(|link| link.open(&taken.reply)) else {
            assert!(!self.in_step, "sealed in another session");
            return;
        };
        for message in Messages::new(&plaintext) {
            let Message::Answer(answer) = message.unwrap() else { continue };
            let ask = asked[&(reader.boot.0, answer.request)];
            let Rig { view, overlay, now, .. } = &self.ahead;
            let deserved = decide(view.as_ref(), overlay, reader.id, &ask, now.time());
            assert_eq!(answer.verdict, deserved.verdict);
            self.answers += 1;
        }
        let decided = taken.effects.iter().filter_map(|effect| match effect {
            Effect::Decided(decided) => Some(decided),
            _ => None,
        });
        decided.for_each(|decided| assert_eq!((decided.reader, decided.boot), (reader.id, reader.boot)));
    }

    /// Lets nothing wait, if the twins are to be in step.
    fn settle(&mut self) {
        if self.in_step {
            self.answer_all();
        }
    }

    fn answer_all(&mut self) {
        while !self.waiting.is_empty() {
            self.answer_one();
        }
    }

    /// A new session, taken into use.
    fn shake_hands(&mut self, reader: usize) {
        self.pass();
        self.initiate(reader);
        let empty = self.players[reader].reader.seal(&[]);
        let Player { reader: TestReader { address, link, .. }, .. } = &self.players[reader];
        let session = link.as_ref().map(|link| link.id);
        self.deliver(Packet { reader, from: *address, bytes: empty, session });
    }

    fn initiate(&mut self, reader: usize) {
        let player = &mut self.players[reader].reader;
        let (initiator, initiation) = player.initiate();
        let from = player.address;
        // Both at once, so that both draw the same numbers.
        let outcome = self.one_by_one.take(from, &initiation);
        let open = self.ahead.open(from, &initiation);
        let ahead = self.ahead.answer(open);
        assert_eq!((ahead.outcome, &ahead.reply[..]), (outcome, self.one_by_one.out.datagram()));
        player.finish(&initiator, &ahead.reply);
        self.sent.push(Packet { reader, from, bytes: initiation, session: None });
    }

    /// Another boot: nothing of the one before is answered any more.
    fn restart(&mut self, reader: usize) {
        self.settle();
        let player = &mut self.players[reader];
        player.reader.restart();
        player.requests = 0;
        self.shake_hands(reader);
    }

    fn send_again(&mut self) {
        if let Some(packet) = self.rng.choice(&self.sent).cloned() {
            self.deliver(packet);
        }
    }

    fn forge(&mut self) {
        let Some(mut packet) = self.rng.choice(&self.sent).cloned() else { return };
        let bit = self.rng.usize(..packet.bytes.len() * 8);
        packet.bytes[bit / 8] ^= 1 << (bit % 8);
        self.deliver(packet);
    }

    fn move_address(&mut self, reader: usize) {
        self.players[reader].reader.address.set_port(self.rng.u16(40_000..40_004));
    }

    fn pass(&mut self) {
        self.settle();
        let time = Duration::from_millis(self.rng.u64(100..3000));
        self.one_by_one.pass(time);
        self.ahead.pass(time);
    }

    /// The same keys under another version, or without one reader for a while.
    fn replace_keys(&mut self) {
        self.answer_all();
        let gone = self.rng.usize(..2 * READERS.len());
        let all = READERS.map(|reader| (reader, 1));
        let left: Vec<_> = (0..).zip(all).filter(|(place, _)| *place != gone).map(|(_, key)| key).collect();
        for table in [&left[..], &all[..]] {
            self.keys_version += 1;
            for rig in [&mut self.one_by_one, &mut self.ahead] {
                rig.keys = keys(self.keys_version, table);
                rig.worker.follow(&rig.keys);
            }
        }
        if gone < READERS.len() {
            self.restart(gone);
        }
    }
}

fn play(seeds: u64, in_step: bool) -> (u32, u32) {
    let (mut answers, mut overtaken) = (0, 0);
    for seed in 0..seeds {
        let mut twins = Twins::new(seed, in_step);
        (0..2000).for_each(|_| twins.step());
        twins.answer_all();
        answers += twins.answers;
        overtaken += twins.overtaken;
    }
    (answers, overtaken)
}

#[test]
fn opened_ahead_all_is_as_one_by_one() {
    let (answers, overtaken) = play(10, true);
    assert!(answers > 5_000 && overtaken == 0, "{answers} {overtaken}");
}

#[test]
fn what_is_overtaken_between_opening_and_answer_is_dropped_and_never_wrong() {
    let (answers, overtaken) = play(10, false);
    assert!(answers > 5_000 && overtaken > 100, "{answers} {overtaken}");
}

/// The check above would not see a verdict that is the same for everybody.
#[test]
fn cards_of_the_traffic_deserve_different_verdicts() {
    let rig = Rig::new();
    let verdicts = (1..6).map(|card| {
        let ask = ask(1, card, Direction::Entry);
        decide(rig.view.as_ref(), &rig.overlay, kalitka_protocol::ReaderId(101), &ask, rig.now.time()).verdict
    });
    let verdicts: Vec<Verdict> = verdicts.collect();
    assert!(verdicts.iter().any(|verdict| verdict.is_grant()) && verdicts.iter().any(|verdict| !verdict.is_grant()));
}
