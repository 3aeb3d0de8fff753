//! A worker with its surroundings, and readers that speak to it.

use std::net::SocketAddr;
use std::time::Duration;

use kalitka_core::{Effect, Entropy, Keys, Now, Opening, Outcome, Output, Overlay, Texts, View, Worker, World};
use kalitka_protocol::datagram::Datagram;
use kalitka_protocol::handshake::{Hello, Initiator, Psk, TagKeys, Welcome};
use kalitka_protocol::limits::{DATAGRAM_MAX, SEALED_HEADER_LEN};
use kalitka_protocol::message::Message;
use kalitka_protocol::seal::SealKey;
use kalitka_protocol::wire::Writer;
use kalitka_protocol::{BootId, ReaderId, SessionId, Stamp};

use super::{GENERATION, SUNDAY_NOON, building, profile, slot, snapshot};

/// Random bytes that are the same in every run.
pub(crate) struct Seeded(pub fastrand::Rng);

impl Entropy for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}

pub(crate) fn entropy(seed: u64) -> Box<dyn Entropy + Send> {
    Box::new(Seeded(fastrand::Rng::with_seed(seed)))
}

pub(crate) fn psk(reader: u32, edition: u8) -> Psk {
    let mut bytes = [edition; 32];
    bytes[..4].copy_from_slice(&reader.to_le_bytes());
    Psk::new(bytes)
}

pub(crate) fn keys(version: u64, readers: &[(u32, u8)]) -> Keys {
    Keys::new(version, readers.iter().map(|&(reader, edition)| (ReaderId(reader), psk(reader, edition)))).unwrap()
}

/// The building of [`super::building`] with cards 1 (always), 2 (in lessons) and 3 (nothing).
pub(crate) fn view(generation: u32) -> View {
    let mut model = building();
    model.slots = vec![slot(1, profile::ALWAYS), slot(2, profile::LESSONS), slot(3, profile::NOTHING)];
    View::build(snapshot(model, generation), SUNDAY_NOON)
}

/// What a worker works with. `now` stands still unless moved.
pub(crate) struct Rig {
    pub(crate) worker: Worker,
    pub(crate) keys: Keys,
    pub(crate) texts: Texts,
    pub(crate) view: Option<View>,
    pub(crate) overlay: Overlay,
    pub(crate) now: Now,
    pub(crate) out: Output,
}

impl Rig {
    /// One worker, readers 101 to 103.
    pub(crate) fn new() -> Self {
        Self::with_stamps(&[])
    }

    pub(crate) fn with_stamps(stamps: &[(u32, Stamp)]) -> Self {
        let stamps = stamps.iter().map(|&(reader, stamp)| (ReaderId(reader), stamp));
        Self {
            worker: Worker::new(0, 1, stamps, entropy(1)),
            keys: keys(1, &[(101, 1), (102, 1), (103, 1)]),
            texts: Texts::default(),
            view: Some(view(GENERATION)),
            overlay: Overlay::default(),
            now: Now::good(Duration::from_secs(1000), SUNDAY_NOON),
            out: Output::new(),
        }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now.monotonic += time;
        self.now.wall_ms += i64::try_from(time.as_millis()).unwrap();
    }

    /// Hands a copy of `datagram` to the worker.
    pub(crate) fn take(&mut self, from: SocketAddr, datagram: &[u8]) -> Outcome {
        let mut datagram = datagram.to_vec();
        let Self { worker, keys, texts, view, overlay, now, out } = self;
        let world = World { view: view.as_ref(), overlay, keys, texts, fall_back_after_ms: 1000 };
        worker.handle(&world, *now, from, &mut datagram, out)
    }

    /// Opens a copy of `datagram`, to be answered later.
    pub(crate) fn open(&mut self, from: SocketAddr, datagram: &[u8]) -> Open {
        let (mut datagram, mut out) = (datagram.to_vec(), Output::new());
        let Self { worker, keys, texts, view, overlay, now, .. } = self;
        let world = World { view: view.as_ref(), overlay, keys, texts, fall_back_after_ms: 1000 };
        let opening = worker.open(&world, *now, from, &mut datagram, &mut out);
        Open { from, datagram, opening, out }
    }

    /// What becomes of a datagram after it has been opened.
    pub(crate) fn answer(&mut self, Open { from, mut datagram, opening, mut out }: Open) -> Taken {
        let Self { worker, keys, texts, view, overlay, now, .. } = self;
        let world = World { view: view.as_ref(), overlay, keys, texts, fall_back_after_ms: 1000 };
        let outcome = match opening {
            Opening::Sealed(opened) => worker.answer(&world, *now, from, opened, &mut out),
            Opening::Initiation => worker.shake_hands(&world, *now, from, &mut datagram, &mut out),
            Opening::Over(outcome) => outcome,
        };
        Taken { outcome, reply: out.datagram().to_vec(), effects: out.effects().to_vec() }
    }

    /// What the worker sends by itself now, each with where it goes, and what it tells of meanwhile.
    pub(crate) fn poll(&mut self) -> (Vec<(SocketAddr, Vec<u8>)>, Vec<Effect>) {
        let (mut sent, mut effects) = (Vec::new(), Vec::new());
        loop {
            let address = self.worker.poll(self.now.monotonic, &mut self.out);
            effects.extend_from_slice(self.out.effects());
            sent.extend(address.map(|address| (address, self.out.datagram().to_vec())));
            if address.is_none() && self.worker.next_timeout().is_none_or(|due| due > self.now.monotonic) {
                return (sent, effects);
            }
        }
    }

    /// Hands a copy of `datagram` to the worker and gives the reply.
    pub(crate) fn reply(&mut self, from: SocketAddr, datagram: &[u8]) -> Vec<u8> {
        let outcome = self.take(from, datagram);
        assert_eq!(outcome, Outcome::Reply(self.out.datagram().len()), "{datagram:02x?}");
        self.out.datagram().to_vec()
    }

    pub(crate) fn effects(&self) -> Vec<Effect> {
        self.out.effects().to_vec()
    }

    /// `reader` with a session agreed on, not yet used. 100 ms pass before, as SPEC demands between initiations.
    pub(crate) fn shake_hands(&mut self, reader: &mut TestReader) -> Welcome {
        self.pass(Duration::from_millis(100));
        let (initiator, datagram) = reader.initiate();
        let response = self.reply(reader.address, &datagram);
        reader.finish(&initiator, &response)
    }

    /// `reader` with a session in use.
    pub(crate) fn connect(&mut self, reader: &mut TestReader) {
        self.shake_hands(reader);
        let empty = reader.seal(&[]);
        assert_eq!(self.take(reader.address, &empty), Outcome::Silent);
    }
}

/// A datagram that has been opened, with the output that it was opened into.
pub(crate) struct Open {
    pub(crate) from: SocketAddr,
    datagram: Vec<u8>,
    pub(crate) opening: Opening,
    out: Output,
}

impl Open {
    /// What is over after the first step.
    pub(crate) fn over(&self) -> Option<Outcome> {
        if let Opening::Over(outcome) = self.opening { Some(outcome) } else { None }
    }
}

/// All that came of a datagram.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) outcome: Outcome,
    pub(crate) reply: Vec<u8>,
    pub(crate) effects: Vec<Effect>,
}

/// The reader's end of a session.
pub(crate) struct Link {
    pub(crate) id: SessionId,
    send: SealKey,
    receive: SealKey,
    pub(crate) counter: u64,
}

impl Link {
    /// The next datagram of the session, with `messages`.
    pub(crate) fn seal(&mut self, messages: &[Message<'_>]) -> Vec<u8> {
        self.seal_bytes(&laid_out(messages))
    }

    pub(crate) fn seal_bytes(&mut self, plaintext: &[u8]) -> Vec<u8> {
        let mut datagram = [0; DATAGRAM_MAX];
        datagram[SEALED_HEADER_LEN..][..plaintext.len()].copy_from_slice(plaintext);
        let len = self.send.seal(self.id, self.counter, &mut datagram, plaintext.len()).unwrap();
        self.counter += 1;
        datagram[..len].to_vec()
    }

    /// The plaintext of `datagram`, if it is sealed for this end of this session.
    pub(crate) fn open(&self, datagram: &[u8]) -> Option<Vec<u8>> {
        let mut datagram = datagram.to_vec();
        let Ok(Datagram::Sealed(sealed)) = Datagram::parse(&mut datagram) else { return None };
        if sealed.session != self.id {
            return None;
        }
        self.receive.open(sealed).map(<[u8]>::to_vec)
    }
}

/// The messages' bytes, one behind the other.
pub(crate) fn laid_out(messages: &[Message<'_>]) -> Vec<u8> {
    let mut buffer = [0; DATAGRAM_MAX];
    let mut writer = Writer::new(&mut buffer);
    messages.iter().for_each(|message| message.emit(&mut writer).unwrap());
    let len = writer.len();
    buffer[..len].to_vec()
}

/// A reader that does what the test says.
pub(crate) struct TestReader {
    pub(crate) id: ReaderId,
    pub(crate) psk: Psk,
    pub(crate) tags: TagKeys,
    pub(crate) boot: BootId,
    /// The stamp of the next initiation.
    pub(crate) stamp: Stamp,
    pub(crate) address: SocketAddr,
    pub(crate) link: Option<Link>,
    rng: fastrand::Rng,
}

impl TestReader {
    pub(crate) fn new(id: u32) -> Self {
        Self::with_key(id, psk(id, 1))
    }

    pub(crate) fn with_key(id: u32, psk: Psk) -> Self {
        let port = u16::try_from(40_000 + id).unwrap();
        Self {
            id: ReaderId(id),
            tags: TagKeys::new(&psk),
            psk,
            boot: BootId(u64::from(id) << 32 | 1),
            stamp: Stamp::new(1, 0),
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            link: None,
            rng: fastrand::Rng::with_seed(u64::from(id)),
        }
    }

    /// Starts anew: another boot, the next boot counter, no session.
    pub(crate) fn restart(&mut self) {
        self.boot = BootId(self.boot.0 + 1);
        self.stamp = Stamp(((self.stamp.0 >> 32) + 1) << 32);
        self.link = None;
    }

    pub(crate) fn initiate(&mut self) -> (Initiator, Vec<u8>) {
        let mut ephemeral = [0; 32];
        self.rng.fill(&mut ephemeral);
        let hello = Hello { boot: self.boot, firmware: 7 };
        let (initiator, datagram) = Initiator::new(self.id, &self.psk, &self.tags, self.stamp, &hello, ephemeral);
        self.stamp.0 += 1;
        (initiator, datagram.to_vec())
    }

    /// Takes the session that `response` gives.
    pub(crate) fn finish(&mut self, initiator: &Initiator, response: &[u8]) -> Welcome {
        let mut response = response.to_vec();
        let Ok(Datagram::Response(response)) = Datagram::parse(&mut response) else { panic!("no response") };
        let (keys, welcome) = initiator.finish(&self.tags, &response).unwrap();
        let (send, receive) = (SealKey::new(&keys.reader), SealKey::new(&keys.gateway));
        self.link = Some(Link { id: welcome.session, send, receive, counter: 0 });
        welcome
    }

    pub(crate) fn link(&mut self) -> &mut Link {
        self.link.as_mut().unwrap()
    }

    pub(crate) fn seal(&mut self, messages: &[Message<'_>]) -> Vec<u8> {
        self.link().seal(messages)
    }

    /// The plaintext of a reply in the present session.
    pub(crate) fn open(&mut self, reply: &[u8]) -> Vec<u8> {
        self.link().open(reply).unwrap()
    }
}
