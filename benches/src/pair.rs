//! A worker and the readers that have sessions with it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use kalitka_core::{Entropy, Keys, Now, Outcome, Output, Overlay, Texts, View, Worker, World};
use kalitka_protocol::credential::CardRead;
use kalitka_protocol::datagram::Datagram;
use kalitka_protocol::handshake::{Hello, Initiator, Psk, TagKeys};
use kalitka_protocol::limits::{DATAGRAM_MAX, HANDSHAKE_LEN, SEALED_HEADER_LEN};
use kalitka_protocol::message::{Ask, Message};
use kalitka_protocol::reason::Direction;
use kalitka_protocol::seal::SealKey;
use kalitka_protocol::wire::Writer;
use kalitka_protocol::{BootId, ReaderId, SessionId, Stamp};

use crate::{NOW, READER};

const HELLO: Hello = Hello { boot: BootId(1), firmware: 0 };

struct Seeded(Rng);

impl Entropy for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}

/// A worker and its readers, [`READER`] and those that follow it. One of them is the one that speaks.
pub struct Pair {
    worker: Worker,
    keys: Keys,
    texts: Texts,
    view: Arc<View>,
    overlay: Overlay,
    out: Output,
    now: Now,
    far: Vec<Far>,
    speaks: usize,
}

/// A reader's side.
struct Far {
    reader: ReaderId,
    psk: Psk,
    tags: TagKeys,
    initiations: u32,
    first_initiation: [u8; HANDSHAKE_LEN],
    key: SealKey,
    session: SessionId,
    counter: u64,
    requests: u32,
}

impl Pair {
    /// One reader shakes hands with a worker that decides by `view`, and uses its session once.
    #[must_use]
    pub fn new(view: Arc<View>) -> Self {
        Self::of_many(view, 1)
    }

    /// The same of so many readers.
    #[must_use]
    pub fn of_many(view: Arc<View>, readers: u32) -> Self {
        let readers: Vec<ReaderId> = (0..readers).map(|place| ReaderId(READER.0 + place)).collect();
        let mut pair = Self {
            worker: Worker::new(0, 1, [], Box::new(Seeded(Rng::with_seed(1)))),
            keys: Keys::new(1, readers.iter().map(|&reader| (reader, psk(reader)))).unwrap(),
            texts: Texts::default(),
            view,
            overlay: Overlay::default(),
            out: Output::new(),
            now: Now::good(Duration::from_secs(1), NOW),
            far: Vec::new(),
            speaks: 0,
        };
        for (place, &reader) in readers.iter().enumerate() {
            pair.shake_hands(reader);
            pair.turn_to(place);
            let mut first = pair.sealed_bytes(&[]);
            pair.handle(&mut first);
        }
        pair.turn_to(0);
        pair
    }

    fn shake_hands(&mut self, reader: ReaderId) {
        let psk = psk(reader);
        let tags = TagKeys::new(&psk);
        let (initiator, first_initiation) = Initiator::new(reader, &psk, &tags, Stamp::new(1, 1), &HELLO, [9; 32]);
        self.handle(&mut first_initiation.clone());
        let mut response = self.out.datagram().to_vec();
        let Ok(Datagram::Response(response)) = Datagram::parse(&mut response) else { panic!("no response") };
        let (session_keys, welcome) = initiator.finish(&tags, &response).unwrap();
        let key = SealKey::new(&session_keys.reader);
        let (initiations, session, counter, requests) = (1, welcome.session, 0, 0);
        self.far.push(Far { reader, psk, tags, initiations, first_initiation, key, session, counter, requests });
    }

    /// Lets the reader in this place speak from now on.
    pub fn turn_to(&mut self, place: usize) {
        self.speaks = place % self.far.len();
    }

    fn far(&mut self) -> &mut Far {
        &mut self.far[self.speaks]
    }

    /// The next ask, about `card`.
    pub fn ask(&mut self, card: CardRead) -> Ask {
        let far = self.far();
        far.requests += 1;
        Ask { request: far.requests, age_ms: 3, direction: Direction::Entry, card }
    }

    /// The next sealed datagram, with `messages`.
    pub fn sealed(&mut self, messages: &[Message<'_>]) -> Vec<u8> {
        let mut plaintext = [0; DATAGRAM_MAX];
        let mut writer = Writer::new(&mut plaintext);
        messages.iter().for_each(|message| message.emit(&mut writer).unwrap());
        let len = writer.len();
        self.sealed_bytes(&plaintext[..len])
    }

    /// The next sealed datagram, with `plaintext`.
    pub fn sealed_bytes(&mut self, plaintext: &[u8]) -> Vec<u8> {
        let counter = self.far().counter;
        self.far().counter += 1;
        self.sealed_as(counter, plaintext)
    }

    /// Sealed datagram `counter`, with `plaintext`.
    pub fn sealed_as(&mut self, counter: u64, plaintext: &[u8]) -> Vec<u8> {
        let mut datagram = vec![0; DATAGRAM_MAX];
        datagram[SEALED_HEADER_LEN..][..plaintext.len()].copy_from_slice(plaintext);
        let Far { key, session, .. } = self.far();
        let len = key.seal(*session, counter, &mut datagram, plaintext.len()).unwrap();
        datagram.truncate(len);
        datagram
    }

    /// Leaves so many counters out.
    pub fn skip(&mut self, counters: u64) {
        self.far().counter += counters;
    }

    /// The next authentic initiation.
    pub fn initiation(&mut self) -> [u8; HANDSHAKE_LEN] {
        self.initiation_by(|reader, psk, tags, stamp| Initiator::new(reader, psk, tags, stamp, &HELLO, [9; 32]).1)
    }

    /// The next initiation as `make` makes it, of the reader, its key, the keys of its tags and the stamp.
    pub fn initiation_by<T>(&mut self, make: impl FnOnce(ReaderId, &Psk, &TagKeys, Stamp) -> T) -> T {
        let far = self.far();
        far.initiations += 1;
        make(far.reader, &far.psk, &far.tags, Stamp::new(1, far.initiations))
    }

    /// The initiation that the worker has answered.
    pub fn first_initiation(&mut self) -> [u8; HANDSHAKE_LEN] {
        self.far().first_initiation
    }

    /// Lets time go by, for sessions; the hour of the day stays.
    pub fn wait(&mut self, time: Duration) {
        self.now.monotonic += time;
    }

    /// Hands the worker a datagram.
    pub fn handle(&mut self, datagram: &mut [u8]) -> Outcome {
        self.handle_from(from(), datagram)
    }

    /// Hands the worker a datagram that comes from `from`.
    pub fn handle_from(&mut self, from: SocketAddr, datagram: &mut [u8]) -> Outcome {
        let now = self.now;
        let (worker, world, out) = self.parts();
        worker.handle(&world, now, from, datagram, out)
    }

    /// The moment.
    #[must_use]
    pub const fn now(&self) -> Now {
        self.now
    }

    /// The worker, what it sees, and room for what comes of a datagram.
    pub fn parts(&mut self) -> (&mut Worker, World<'_>, &mut Output) {
        let Self { worker, view, overlay, keys, texts, out, .. } = self;
        (worker, World { view: Some(view), overlay, keys, texts, fall_back_after_ms: 1000 }, out)
    }
}

/// The reader's own key.
fn psk(reader: ReaderId) -> Psk {
    let mut bytes = [5; 32];
    bytes[..4].copy_from_slice(&reader.0.to_le_bytes());
    Psk::new(bytes)
}

/// Where the readers are.
#[must_use]
pub fn from() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 5000))
}

/// An initiation of [`READER`] whose tag does not hold.
#[must_use]
pub fn forged_initiation() -> [u8; HANDSHAKE_LEN] {
    let psk = Psk::new([6; 32]);
    Initiator::new(READER, &psk, &TagKeys::new(&psk), Stamp::new(2, 0), &HELLO, [8; 32]).1
}
