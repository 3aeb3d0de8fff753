//! Two workers that hand over to each other, against one that has everything: whatever the network and the hand-over
//! lose, delay or repeat, the readers get the same replies and leave the same state.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use common::rig::{Link, TestReader, entropy, keys, psk, view};
use common::{GENERATION, SUNDAY_NOON, ask};
use kalitka_core::{Effect, Keys, Now, Outcome, Output, Overlay, ReaderStatus, Texts, View, Worker, World};
use kalitka_protocol::handshake::Initiator;
use kalitka_protocol::message::{Message, Ping, Report, ReportKind};
use kalitka_protocol::reason::Direction;
use kalitka_protocol::{BootId, LogId};

const SEEDS: u64 = 60;
const STEPS: usize = 600;
const HAND_OVER_MAX: usize = 3;
const READERS: [u32; 4] = [101, 102, 103, 104];
/// The two systems: of two workers and of one.
const TWO: usize = 0;
const ONE: usize = 1;

/// One datagram as it is in either system: the sessions' numbers and keys differ, what is said does not.
#[derive(Clone)]
struct Packet {
    bytes: [Vec<u8>; 2],
    from: SocketAddr,
    /// Which reader sent it, and the handshake that it begins, if it begins one.
    reader: usize,
    handshake: Option<usize>,
}

/// A reader in both systems.
struct Twin {
    readers: [TestReader; 2],
    handshakes: Vec<[Initiator; 2]>,
    links: [Vec<Link>; 2],
    requests: u32,
    edition: u8,
}

impl Twin {
    fn new(id: u32) -> Self {
        let readers = [TestReader::new(id), TestReader::new(id)];
        Self { readers, handshakes: vec![], links: [vec![], vec![]], requests: 0, edition: 1 }
    }

    /// Takes over the key of the next edition, as a device put in the old one's place.
    fn replace(&mut self) {
        self.edition += 1;
        let id = self.readers[TWO].id.0;
        let boot = BootId(self.readers[TWO].boot.0 + 1000);
        self.readers = [TWO, ONE].map(|_| TestReader::with_key(id, psk(id, self.edition)));
        self.readers.iter_mut().for_each(|reader| reader.boot = boot);
        self.links = [vec![], vec![]];
    }
}

struct Model {
    rng: fastrand::Rng,
    two: [Worker; 2],
    one: Worker,
    hand_over: [VecDeque<Packet>; 2],
    twins: Vec<Twin>,
    network: Vec<Packet>,
    keys: Keys,
    views: [View; 2],
    adopted: usize,
    texts: Texts,
    overlay: Overlay,
    now: Now,
    out: [Output; 2],
    replies: usize,
}

impl Model {
    fn new(seed: u64) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(seed),
            two: [0, 1].map(|index| Worker::new(index, 2, [], entropy(seed ^ u64::from(index)))),
            one: Worker::new(0, 1, [], entropy(seed + 1000)),
            hand_over: Default::default(),
            twins: READERS.map(Twin::new).into(),
            network: vec![],
            keys: keys(1, &READERS.map(|reader| (reader, 1))),
            views: [view(GENERATION), view(GENERATION + 1)],
            adopted: 0,
            texts: Texts::default(),
            overlay: Overlay::default(),
            now: Now::good(Duration::from_secs(1), SUNDAY_NOON),
            out: [Output::new(), Output::new()],
            replies: 0,
        }
    }

    fn step(&mut self) {
        match self.rng.u32(..100) {
            0..15 => self.initiate(),
            15..45 => self.speak(),
            45..75 => self.deliver(),
            75..88 => self.take_over(),
            88..95 => self.pass(),
            95 => self.adopted ^= 1,
            96 => self.rekey(),
            97 => self.twins[self.rng.usize(..READERS.len())].readers.iter_mut().for_each(TestReader::restart),
            _ => self.lose(),
        }
    }

    fn initiate(&mut self) {
        let reader = self.rng.usize(..READERS.len());
        let twin = &mut self.twins[reader];
        let [two, one] = &mut twin.readers;
        let ((two, bytes_two), (one, bytes_one)) = (two.initiate(), one.initiate());
        twin.handshakes.push([two, one]);
        let handshake = Some(twin.handshakes.len() - 1);
        let from = self.address(reader);
        self.send(Packet { bytes: [bytes_two, bytes_one], from, reader, handshake });
    }

    fn speak(&mut self) {
        let reader = self.rng.usize(..READERS.len());
        let messages: Vec<_> = (0..self.rng.usize(..4)).map(|_| self.message(reader)).collect();
        let from = self.address(reader);
        let newest = self.rng.usize(..2);
        let [two, one] = &mut self.twins[reader].links;
        let Some(link) = two.len().checked_sub(newest + 1) else { return };
        let bytes = [two[link].seal(&messages), one[link].seal(&messages)];
        self.send(Packet { bytes, from, reader, handshake: None });
    }

    fn message(&mut self, reader: usize) -> Message<'static> {
        let twin = &mut self.twins[reader];
        match self.rng.u32(..5) {
            0 => Message::Ping(Ping { token: self.rng.u32(..), reports_waiting: 0, falling_back: false }),
            1 => Message::Report(Report {
                log: LogId(1),
                number: 1,
                boot: BootId(0),
                request: 0,
                age_ms: 0,
                count: 0,
                kind: ReportKind::Tamper,
                direction: None,
                input: 0,
                unasked: false,
                oldest: true,
                card: None,
            }),
            2 => Message::Ask(ask(self.rng.u32(..=twin.requests), self.rng.u32(1..5), Direction::Exit)),
            _ => {
                twin.requests += 1;
                Message::Ask(ask(twin.requests, self.rng.u32(1..5), Direction::Entry))
            }
        }
    }

    /// Where `reader` is; now and then it moves.
    fn address(&mut self, reader: usize) -> SocketAddr {
        let mut address = self.twins[reader].readers[TWO].address;
        if self.rng.u32(..20) == 0 {
            address.set_port(self.rng.u16(1..));
            self.twins[reader].readers[TWO].address = address;
        }
        address
    }

    /// Puts a packet on the wire, sometimes twice, sometimes damaged.
    fn send(&mut self, mut packet: Packet) {
        if self.rng.u32(..10) == 0 {
            self.network.push(packet.clone());
        }
        if self.rng.u32(..20) == 0 {
            packet.bytes.iter_mut().for_each(|bytes| *bytes.last_mut().unwrap() ^= 1);
        }
        self.network.push(packet);
    }

    fn lose(&mut self) {
        if !self.network.is_empty() {
            self.network.swap_remove(self.rng.usize(..self.network.len()));
        }
    }

    fn pass(&mut self) {
        let time = [1, 60, 100, 1000, 9_900][self.rng.usize(..5)];
        self.now.monotonic += Duration::from_millis(time);
        self.now.wall_ms += i64::try_from(time).unwrap();
    }

    fn rekey(&mut self) {
        let reader = self.rng.usize(..READERS.len());
        self.twins[reader].replace();
        let editions: Vec<_> = self.twins.iter().map(|twin| (twin.readers[TWO].id.0, twin.edition)).collect();
        self.keys = keys(self.keys.version() + 1, &editions);
    }

    /// One packet off the wire, in any order, to either worker.
    fn deliver(&mut self) {
        if !self.network.is_empty() {
            let packet = self.network.swap_remove(self.rng.usize(..self.network.len()));
            let worker = self.rng.usize(..2);
            self.handle(worker, packet);
        }
    }

    fn take_over(&mut self) {
        let worker = self.rng.usize(..2);
        if let Some(packet) = self.hand_over[worker].pop_front() {
            self.handle(worker, packet);
        }
    }

    /// Worker `worker` of the two handles `packet`; the one worker sees it when its owner does.
    fn handle(&mut self, worker: usize, packet: Packet) {
        let view = Some(&self.views[self.adopted]);
        let (overlay, keys, texts) = (&self.overlay, &self.keys, &self.texts);
        let world = World { view, overlay, keys, texts, fall_back_after_ms: 1000 };
        let [out_two, out_one] = &mut self.out;
        let mut bytes = packet.bytes.clone();
        let outcome = self.two[worker].handle(&world, self.now, packet.from, &mut bytes[TWO], out_two);
        if let Outcome::HandOver { worker: other } = outcome {
            assert_ne!(usize::from(other), worker);
            assert_eq!((&bytes[TWO], out_two.effects()), (&packet.bytes[TWO], &[][..]), "handed over untouched");
            let queue = &mut self.hand_over[usize::from(other)];
            if queue.len() < HAND_OVER_MAX {
                queue.push_back(packet);
            }
            return;
        }
        assert_eq!(self.one.handle(&world, self.now, packet.from, &mut bytes[ONE], out_one), outcome);
        assert_eq!(out_one.effects(), out_two.effects());
        if let Outcome::Reply(_) = outcome {
            self.replies += 1;
            self.take_reply(&packet);
        }
    }

    fn take_reply(&mut self, packet: &Packet) {
        let twin = &mut self.twins[packet.reader];
        let replies = [self.out[TWO].datagram(), self.out[ONE].datagram()];
        let Some(handshake) = packet.handshake else {
            let open = |system: usize| twin.links[system].iter().rev().find_map(|link| link.open(replies[system]));
            assert_eq!(open(TWO), open(ONE));
            return;
        };
        if self.rng.u32(..4) == 0 {
            return;
        }
        for system in [TWO, ONE] {
            let initiator = &twin.handshakes[handshake][system];
            // An initiation of the device that stood here before a rekey gets no reply, so this one is its own.
            twin.readers[system].finish(initiator, replies[system]);
            let link = twin.readers[system].link.take().unwrap();
            twin.links[system].push(link);
        }
    }

    fn assert_same_state(&mut self) {
        let (overlay, keys, texts) = (&self.overlay, &self.keys, &self.texts);
        let world = World { view: None, overlay, keys, texts, fall_back_after_ms: 1000 };
        for worker in self.two.iter_mut().chain([&mut self.one]) {
            // So that each has seen the last table of keys.
            worker.handle(&world, self.now, SocketAddr::from(([0; 4], 0)), &mut [], &mut self.out[TWO]);
        }
        let sorted = |mut all: Vec<ReaderStatus>| {
            all.sort_by_key(|status| status.reader);
            all
        };
        let two = sorted(self.two.iter().flat_map(Worker::status).collect());
        assert_eq!(two, sorted(self.one.status().collect()));
    }
}

#[test]
fn two_workers_leave_what_one_would() {
    let mut replies = 0;
    for seed in 0..SEEDS {
        let mut model = Model::new(seed);
        for _ in 0..STEPS {
            model.step();
        }
        model.assert_same_state();
        replies += model.replies;
    }
    // Enough was said for the comparison to mean something.
    assert!(replies > 50 * usize::try_from(SEEDS).unwrap(), "{replies} replies");
}

#[test]
fn initiation_goes_to_its_readers_owner_and_its_session_names_it() {
    let mut model = Model::new(7);
    for twin in &mut model.twins {
        let reader = &mut twin.readers[TWO];
        let owner = usize::try_from(reader.id.0 % 2).unwrap();
        let (initiator, bytes) = reader.initiate();
        let (overlay, keys, texts) = (&model.overlay, &model.keys, &model.texts);
        let world = World { view: None, overlay, keys, texts, fall_back_after_ms: 1000 };
        let from = reader.address;
        let out = &mut model.out[TWO];
        let outcome = model.two[1 - owner].handle(&world, model.now, from, &mut bytes.clone(), out);
        assert_eq!(outcome, Outcome::HandOver { worker: u8::try_from(owner).unwrap() });
        assert_eq!(out.effects(), []);
        let outcome = model.two[owner].handle(&world, model.now, from, &mut bytes.clone(), out);
        assert!(matches!((outcome, out.effects()), (Outcome::Reply(96), [Effect::StampTaken { .. }])));
        let welcome = reader.finish(&initiator, out.datagram());
        assert_eq!(welcome.session.0 & 63, u32::try_from(owner).unwrap());
    }
}
