//! A worker without a thread, or a pool of them, and readers that have keys.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use kalitka_core::{Keys, Texts, UnixSeconds, View};
use kalitka_protocol::ReaderId;
use kalitka_protocol::credential::CardRead;
use kalitka_protocol::handshake::Psk;
use kalitka_protocol::message::{Ask, Message};
use kalitka_protocol::reason::Direction;
use kalitka_snapshot::roster::Roster;
use kalitka_snapshot::{AlignedBytes, PublisherKey, Snapshot};

use super::PATIENCE;
use super::reader::TestReader;
use crate::clock::Clock;
use crate::config;
use crate::entropy::SystemEntropy;
use crate::journal::{self, Ring};
use crate::limits::{HAND_OVER_MAX, STAMPS_WAITING_MAX};
use crate::metrics::Tally;
use crate::published::Published;
use crate::stamps::Taken;
use crate::thread::Ended;
use crate::udp::batch::{Datagram, Wire};
use crate::udp::lines::{Letter, Lines};
use crate::udp::pool::Pool;
use crate::udp::post::Posts;
use crate::udp::socket::{Sockets, bind_steered};
use crate::udp::wake::{Bell, Line};
use crate::udp::worker::{Desk, Shared, Worker};

/// The first of the readers that have keys.
pub(super) const FIRST: u32 = 101;
pub(super) const READERS: u32 = 40;
pub(super) const PSK: [u8; 32] = [9; 32];
/// The card that may pass.
pub(super) const CARD: [u8; 4] = [0x04, 0xa1, 0xb2, 0xc3];

const ROSTER: [(&str, &str); 3] = [
    (
        "building.toml",
        "[building]\nnumber = 17\norganisation = 3\nname = \"School 17\"\ntime_zone = \"Europe/Moscow\"\n\
         [[area]]\nname = \"street\"\n[[area]]\nname = \"hall\"\n\
         [[portal]]\nname = \"gate\"\nfrom = \"street\"\nto = \"hall\"\n\
         [[access_level]]\nname = \"pupil\"\ngrants = [ { portals = [\"*\"] } ]\n",
    ),
    ("people.csv", "holder,kind,group,state,access_levels,valid_from,valid_to\np0001,pupil,1A,active,pupil,,\n"),
    ("cards.csv", "card,holder,state,valid_from,valid_to,blocked_until\nuid:04A1B2C3,p0001,issued,,,\n"),
];

fn view() -> View {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in ROSTER {
        let reader = |number| format!("[[reader]]\nnumber = {number}\nportal = \"gate\"\nshapes = [\"uid\"]\n");
        let readers: String = (FIRST..FIRST + READERS).map(reader).collect();
        let text = if name == "building.toml" { format!("{text}{readers}") } else { text.to_owned() };
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let roster = Roster::read(folder.path()).unwrap();
    let publisher = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let (unsigned, _) = kalitka_snapshot::build(&roster, 1, 1_700_000_000, 0).unwrap();
    let signed = kalitka_snapshot::sign(unsigned, &publisher).unwrap();
    let known = PublisherKey::from_hex(&hex::encode(publisher.verifying_key().as_bytes())).unwrap();
    let snapshot = Snapshot::verify(AlignedBytes::from(signed.as_slice()), &[known], 17).unwrap();
    View::build(Arc::new(snapshot), UnixSeconds(Clock::wall_seconds()))
}

pub(super) fn shared(workers: usize, spin: Duration) -> Arc<Shared> {
    let keys = (FIRST..FIRST + READERS).map(|reader| (ReaderId(reader), Psk::new(PSK)));
    Arc::new(Shared {
        clock: Clock::good(),
        views: Arc::new(Published::new(Some(Arc::new(view())))),
        keys: Arc::new(Published::new(Some(Arc::new(Keys::new(1, keys).unwrap())))),
        overlay: Arc::default(),
        texts: Texts::default(),
        fall_back_after_ms: 1000,
        spin,
        tallies: (0..workers).map(|_| Tally::new()).collect(),
        lines: Lines::default(),
    })
}

fn bound(workers: u8, steer: fn(&UdpSocket, u8) -> bool) -> Sockets {
    let listen = "127.0.0.1:0".parse().unwrap();
    bind_steered(&config::Udp { listen, workers, ..config::Udp::default() }, steer).unwrap()
}

/// The only worker, driven by hand.
pub(super) struct Rig {
    pub(super) worker: Worker,
    pub(super) wire: Wire,
    pub(super) shared: Arc<Shared>,
    pub(super) posts: Posts,
    pub(super) bell: Bell,
    /// Where others hand datagrams over.
    pub(super) door: SyncSender<Datagram>,
    pub(super) ring: Ring,
    /// What the worker tells of stamps.
    pub(super) taken: Receiver<Taken>,
    /// What goes to serial line 0.
    pub(super) outlet: tokio::sync::mpsc::Receiver<Letter>,
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::with(Duration::ZERO, true)
    }

    /// A worker that spins so long before it sleeps, and that the bell can call or cannot. It sleeps longer than a test runs.
    pub(super) fn with(spin: Duration, callable: bool) -> Self {
        let Sockets { mut sockets, address, .. } = bound(1, |_, _| true);
        let socket = sockets.remove(0);
        socket.set_read_timeout(Some(PATIENCE * 2)).unwrap();
        let line = callable.then(|| Arc::new(Line::to(address).unwrap()));
        let bell = Bell::new(0, line);
        let (posts, mut boxes) = Posts::new(std::slice::from_ref(&bell));
        let (door, inbox) = sync_channel(HAND_OVER_MAX);
        let (taken, stamps) = sync_channel(STAMPS_WAITING_MAX);
        let (mut recorders, _, ring) = journal::rings(1, 65_536);
        let mut shared = shared(1, spin);
        let (lines, mut outlets) = Lines::new([metrics::Counter::noop()]);
        Arc::get_mut(&mut shared).unwrap().lines = lines;
        let worker = Worker {
            index: 0,
            core: kalitka_core::Worker::new(0, 1, [], Box::new(SystemEntropy::new().unwrap())),
            shared: Arc::clone(&shared),
            stopping: Arc::default(),
            bell: bell.clone(),
            patience: PATIENCE * 2,
            inbox,
            posts: boxes.remove(0),
            doors: Vec::new(),
            taken,
            journal: recorders.remove(0),
            desk: Desk::new(),
        };
        Self {
            worker,
            wire: Wire::new(socket, address),
            shared,
            posts,
            bell,
            door,
            ring,
            taken: stamps,
            outlet: outlets.remove(0),
        }
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.shared.tallies[0]
    }

    pub(super) fn turn(&mut self) {
        self.worker.turn(&mut self.wire, &self.shared, &self.shared.tallies[0]);
    }

    /// Reader `number`, with its socket and no session.
    pub(super) fn reader(&self, number: u32) -> TestReader {
        TestReader::new(self.wire.socket().local_addr().unwrap(), number, PSK)
    }

    /// Takes turns until `play`, on a thread of its own, is over.
    pub(super) fn serve<T: Send>(&mut self, play: impl FnOnce() -> T + Send) -> T {
        let (bell, is_over) = (self.bell.clone(), &AtomicBool::new(false));
        let played = std::thread::scope(|scope| {
            let player = scope.spawn(move || {
                let played = play();
                is_over.store(true, Ordering::Release);
                bell.ring();
                played
            });
            while !is_over.load(Ordering::Acquire) {
                self.turn();
            }
            player.join().unwrap()
        });
        // One more that does not wait, for the call that the last one may not have heard.
        self.bell.ring();
        self.turn();
        played
    }

    /// Reader `number` with a session in use.
    pub(super) fn connected(&mut self, number: u32) -> TestReader {
        let mut reader = self.reader(number);
        self.serve(|| {
            reader.shake_hands(1);
            assert!(reader.pong_within(0, PATIENCE));
        });
        reader
    }
}

/// A sealed datagram with an ask whether the card may pass.
pub(super) fn ask(reader: &mut TestReader, request: u32) -> Vec<u8> {
    let card = CardRead::from_uid(&CARD).unwrap();
    reader.seal(&[Message::Ask(Ask { request, age_ms: 5, direction: Direction::Entry, card })])
}

/// `workers` running workers, whose datagrams the kernel steers as `steer` says.
pub(super) struct Running {
    pub(super) pool: Pool,
    pub(super) address: std::net::SocketAddr,
    pub(super) shared: Arc<Shared>,
    _ring: Ring,
    _taken: Receiver<Taken>,
}

impl Running {
    pub(super) fn start(workers: u8, steer: fn(&UdpSocket, u8) -> bool) -> Self {
        let sockets = bound(workers, steer);
        let address = sockets.address;
        let shared = shared(usize::from(workers), Duration::ZERO);
        let (taken, stamps) = sync_channel(STAMPS_WAITING_MAX);
        let (recorders, _, ring) = journal::rings(usize::from(workers), 4096);
        let pool = Pool::start(&shared, sockets, &[], &[], &taken, recorders, &Ended::default()).unwrap();
        Self { pool, address, shared, _ring: ring, _taken: stamps }
    }

    pub(super) fn of_all(&self, read: impl Fn(&Tally) -> u64) -> Vec<u64> {
        self.shared.tallies.iter().map(read).collect()
    }
}
