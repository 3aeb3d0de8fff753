//! A gateway that answers as it is told to, right or wrong, so that the load generator itself can be tested.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kalitka_loadgen::keys::ReaderKey;
use kalitka_loadgen::run::Target;
use kalitka_protocol::datagram::{Datagram, Handshake, emit_response};
use kalitka_protocol::handshake::{NOISE_NAME, Psk, TagKeys, Welcome, prologue};
use kalitka_protocol::limits::{DATAGRAM_MAX, SEALED_HEADER_LEN};
use kalitka_protocol::message::{Answer, Ask, Command, Message, Messages, Order, Pong, Receipt, Report};
use kalitka_protocol::reason::{FallBack, Tone, Verdict};
use kalitka_protocol::seal::SealKey;
use kalitka_protocol::wire::Writer;
use kalitka_protocol::{LogId, ReaderId, SessionId};

/// What it answers to an ask of a reader: verdict and generation, or nothing.
pub(crate) type Decide = Box<dyn Fn(ReaderId, &Ask) -> Option<(Verdict, u32)> + Send>;

/// Reports taken, in their order.
pub(crate) type Taken = Vec<(ReaderId, Report)>;

struct Session {
    reader: ReaderId,
    opening: SealKey,
    sealing: SealKey,
    counter: u64,
}

/// The gateway, listening until it is dropped.
pub(crate) struct FakeGateway {
    pub(crate) address: SocketAddr,
    /// Handshakes answered.
    pub(crate) handshakes: Arc<AtomicU64>,
    /// Datagrams that were none.
    pub(crate) junk: Arc<AtomicU64>,
    /// Reports receipted.
    pub(crate) taken: Arc<Mutex<Taken>>,
    /// While this is raised, no report is taken.
    pub(crate) takes_nothing: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FakeGateway {
    /// What a run is played against: this, by the readers of `keys`, over the network and without a hub.
    pub(crate) fn target<'a>(&self, keys: &'a [ReaderKey]) -> Target<'a> {
        Target { gateway: self.address, keys, ways: &[], buses: &mut [], turnstiles: false, hub: None }
    }

    pub(crate) fn start(psk: [u8; 32], decide: Decide) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let address = socket.local_addr().unwrap();
        let [handshakes, junk] = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
        let stop = Arc::new(AtomicBool::new(false));
        let taken = Arc::new(Mutex::new(Vec::new()));
        let takes_nothing = Arc::new(AtomicBool::new(false));
        let next = HashMap::new();
        let books = Books { taken: Arc::clone(&taken), takes_nothing: Arc::clone(&takes_nothing), next };
        let mut bench = Bench { socket, psk, decide, sessions: HashMap::new(), books };
        let (counts, is_stopped) = ((Arc::clone(&handshakes), Arc::clone(&junk)), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            while !is_stopped.load(Ordering::Relaxed) {
                bench.serve(&counts.0, &counts.1);
            }
        });
        Self { address, handshakes, junk, taken, takes_nothing, stop, thread: Some(thread) }
    }
}

impl Drop for FakeGateway {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

struct Bench {
    socket: UdpSocket,
    psk: [u8; 32],
    decide: Decide,
    sessions: HashMap<u32, Session>,
    books: Books,
}

/// What is receipted, and the number that comes next of each memory.
struct Books {
    taken: Arc<Mutex<Taken>>,
    takes_nothing: Arc<AtomicBool>,
    next: HashMap<(ReaderId, LogId), u64>,
}

impl Books {
    /// Takes `report` when it is the next; gives what is receipted then.
    fn take(&mut self, reader: ReaderId, report: Report) -> Receipt {
        let next = self.next.entry((reader, report.log)).or_insert(1);
        if report.number == *next && !self.takes_nothing.load(Ordering::Relaxed) {
            *next += 1;
            self.taken.lock().unwrap().push((reader, report));
        }
        Receipt { log: report.log, number: *next - 1 }
    }
}

impl Bench {
    fn serve(&mut self, handshakes: &AtomicU64, junk: &AtomicU64) {
        let mut buffer = [0; 2048];
        let Ok((len, from)) = self.socket.recv_from(&mut buffer) else { return };
        match Datagram::parse(&mut buffer[..len]) {
            Ok(Datagram::Initiation(initiation)) => {
                if let Some(response) = self.respond(&initiation) {
                    handshakes.fetch_add(1, Ordering::Relaxed);
                    self.socket.send_to(&response, from).unwrap();
                }
            }
            Ok(Datagram::Sealed(sealed)) => {
                let Self { sessions, decide, books, .. } = self;
                let (id, seen) = (sealed.session, sealed.counter);
                let Some(session) = sessions.get_mut(&id.0) else { return };
                let Some(plaintext) = session.opening.open(sealed) else { return };
                let mut out = [0; DATAGRAM_MAX];
                let len =
                    answer(session, seen, plaintext, (decide, books), &mut out[SEALED_HEADER_LEN..DATAGRAM_MAX - 16]);
                if len > 0 {
                    let len = session.sealing.seal(id, session.counter, &mut out, len).unwrap();
                    session.counter += 1;
                    self.socket.send_to(&out[..len], from).unwrap();
                }
            }
            Ok(Datagram::Response(_)) | Err(_) => {
                junk.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn respond(&mut self, initiation: &Handshake<'_>) -> Option<[u8; 96]> {
        let tags = TagKeys::new(&Psk::new(self.psk));
        if !tags.verify_initiation(initiation) {
            return None;
        }
        let prologue = prologue(initiation.reader);
        let builder = snow::Builder::new(NOISE_NAME.parse().unwrap());
        let mut noise = builder.psk(0, &self.psk).unwrap().prologue(&prologue).unwrap().build_responder().unwrap();
        let mut hello = [0; 64];
        noise.read_message(initiation.noise(), &mut hello).unwrap();
        let session = SessionId(u32::try_from(self.sessions.len()).unwrap() + 1);
        let welcome = Welcome { session, fall_back_after_ms: 1000, fall_back: FallBack::Closed };
        let mut message = [0; 64];
        assert_eq!(noise.write_message(&welcome.to_bytes(), &mut message).unwrap(), 64);
        let (opening, sealing) = noise.dangerously_get_raw_split();
        let mut response = emit_response(initiation.reader, initiation.stamp, &message);
        tags.tag_response(&mut response);
        let (opening, sealing) = (SealKey::new(&opening), SealKey::new(&sealing));
        self.sessions.insert(session.0, Session { reader: initiation.reader, opening, sealing, counter: 0 });
        Some(response)
    }
}

/// Writes the answers to what stands in `plaintext`; gives their length.
fn answer(
    session: &Session,
    seen: u64,
    plaintext: &[u8],
    (decide, books): (&Decide, &mut Books),
    out: &mut [u8],
) -> usize {
    let mut writer = Writer::new(out);
    let mut receipt = None;
    for message in Messages::new(plaintext) {
        match message.unwrap() {
            Message::Ask(ask) => {
                let Some((verdict, generation)) = decide(session.reader, &ask) else { continue };
                let (request, tone) = (ask.request, Tone::Silent);
                let answer = Answer { request, generation, hold_open_ms: 0, verdict, tone, text: "" };
                Message::Answer(answer).emit(&mut writer).unwrap();
            }
            Message::Ping(ping) => {
                Message::Pong(Pong { token: ping.token }).emit(&mut writer).unwrap();
                // Repeated with every ping, and still to be done once.
                Message::Command(Command { id: 1, seen, order: Order::Play(Tone::Welcome) }).emit(&mut writer).unwrap();
            }
            Message::Report(report) => receipt = Some(books.take(session.reader, report)),
            _ => {}
        }
    }
    if let Some(receipt) = receipt.filter(|receipt| receipt.number > 0) {
        Message::Receipt(receipt).emit(&mut writer).unwrap();
    }
    writer.len()
}
