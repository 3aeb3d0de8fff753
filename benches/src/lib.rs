//! What the benches stand on: a verified snapshot of an invented school, and a worker with one reader that has a session.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

pub mod table;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use kalitka_core::{Entropy, Keys, Now, Outcome, Output, Overlay, Texts, UnixSeconds, View, Worker, World};
use kalitka_protocol::datagram::Datagram;
use kalitka_protocol::handshake::{Hello, Initiator, Psk, TagKeys};
use kalitka_protocol::limits::{DATAGRAM_MAX, HANDSHAKE_LEN, SEALED_HEADER_LEN};
use kalitka_protocol::message::Message;
use kalitka_protocol::seal::SealKey;
use kalitka_protocol::wire::Writer;
use kalitka_protocol::{BootId, ReaderId, SessionId, Stamp};
use kalitka_snapshot::{AlignedBytes, PublisherKey, Snapshot};
use kalitka_tests::site::Site;

/// A Tuesday in November, in school hours.
pub const NOW: UnixSeconds = UnixSeconds(1_795_510_800);
/// A reader of the invented school.
pub const READER: ReaderId = ReaderId(101);

/// Verifies the snapshot in `file` as `site`'s gateway does.
///
/// # Panics
/// When it is refused; the other functions here panic likewise.
#[must_use]
pub fn verified(site: &Site, file: &Path) -> Snapshot {
    let publisher = PublisherKey::from_hex(site.publisher()).unwrap();
    Snapshot::verify(AlignedBytes::read(file).unwrap(), &[publisher], site.building()).unwrap()
}

struct Seeded(Rng);

impl Entropy for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}

/// A worker and the reader [`READER`], which has a session with it.
pub struct Pair {
    worker: Worker,
    keys: Keys,
    texts: Texts,
    view: View,
    overlay: Overlay,
    key: SealKey,
    session: SessionId,
    counter: u64,
    out: Output,
}

impl Pair {
    /// Shakes hands.
    #[must_use]
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        let (psk, mut out) = (Psk::new([5; 32]), Output::new());
        let tags = TagKeys::new(&psk);
        let keys = Keys::new(1, [(READER, psk.clone())]).unwrap();
        let (view, texts) = (View::build(snapshot, NOW), Texts::default());
        let mut worker = Worker::new(0, 1, [], Box::new(Seeded(Rng::with_seed(1))));
        let hello = Hello { boot: BootId(1), firmware: 0 };
        let (initiator, mut datagram) = Initiator::new(READER, &psk, &tags, Stamp::new(1, 0), &hello, [9; 32]);
        let overlay = Overlay::default();
        let world =
            World { view: Some(&view), overlay: &overlay, keys: &keys, texts: &texts, fall_back_after_ms: 1000 };
        worker.handle(&world, now(), from(), &mut datagram, &mut out);
        let mut response = out.datagram().to_vec();
        let Ok(Datagram::Response(response)) = Datagram::parse(&mut response) else { panic!("no response") };
        let (session_keys, welcome) = initiator.finish(&tags, &response).unwrap();
        let key = SealKey::new(&session_keys.reader);
        Self { worker, keys, texts, view, overlay, key, session: welcome.session, counter: 0, out }
    }

    /// The view that the worker decides by.
    #[must_use]
    pub const fn view(&self) -> &View {
        &self.view
    }

    /// The next sealed datagram, with one message.
    pub fn sealed(&mut self, message: &Message<'_>) -> Vec<u8> {
        let mut datagram = vec![0; DATAGRAM_MAX];
        let mut writer = Writer::new(&mut datagram[SEALED_HEADER_LEN..]);
        message.emit(&mut writer).unwrap();
        let plaintext_len = writer.len();
        let len = self.key.seal(self.session, self.counter, &mut datagram, plaintext_len).unwrap();
        self.counter += 1;
        datagram.truncate(len);
        datagram
    }

    /// Hands the worker a datagram.
    pub fn handle(&mut self, datagram: &mut [u8]) -> Outcome {
        let Self { worker, view, overlay, keys, texts, out, .. } = self;
        let world = World { view: Some(view), overlay, keys, texts, fall_back_after_ms: 1000 };
        worker.handle(&world, now(), from(), datagram, out)
    }
}

/// An initiation of [`READER`] whose tag does not hold.
#[must_use]
pub fn forged_initiation() -> [u8; HANDSHAKE_LEN] {
    let psk = Psk::new([6; 32]);
    let hello = Hello { boot: BootId(1), firmware: 0 };
    Initiator::new(READER, &psk, &TagKeys::new(&psk), Stamp::new(2, 0), &hello, [8; 32]).1
}

const fn now() -> Now {
    Now { monotonic: Duration::from_secs(1), wall_ms: NOW.0 * 1000 }
}

fn from() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 5000))
}
