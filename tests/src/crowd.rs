//! Readers that report one happening after another and remember what they were receipted.
//!
//! They are the protocol's own reader, moved by one thread. What they remember is the test's truth: a report that was
//! receipted must be at the hub, once, as it was sent.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fastrand::Rng;
use kalitka_loadgen::keys::{self, ReaderKey};
use kalitka_protocol::credential::CardRead;
use kalitka_protocol::limits::DATAGRAM_MAX;
use kalitka_protocol::message::ReportKind;
use kalitka_protocol::reader::{Event, Happening, Identity, Reader, ReportMemory};
use kalitka_protocol::reason::{Direction, FallBack};
use kalitka_protocol::{BootId, LogId};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Reports that a reader keeps.
const MEMORY: usize = 256;
/// How long the thread waits for datagrams at most before it looks at its timers.
const TURN: Duration = Duration::from_millis(2);

/// Who reported it: reader, log id, number.
pub type Identified = (u32, u64, u64);

/// What was reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reported {
    /// What happened.
    pub kind: ReportKind,
    /// Which way.
    pub direction: Direction,
    /// The UID of the card.
    pub uid: [u8; 7],
}

#[derive(Default)]
struct Shared {
    /// Nothing new happens any more.
    quiet: AtomicBool,
    stopping: AtomicBool,
    receipted: AtomicU64,
    waiting: AtomicU64,
    last_wait_us: AtomicU64,
    gateway: Mutex<Option<SocketAddr>>,
}

/// The readers, reporting. Dropped, they stop.
pub struct Crowd {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<BTreeMap<Identified, Reported>>>,
}

impl Crowd {
    /// The readers of the key file `keys`, each of which reports something every `every`, or, when that is zero, as much as
    /// it has room for.
    ///
    /// # Panics
    /// When the key file or the sockets are not as they should be; so do all functions here.
    #[must_use]
    pub fn start(gateway: SocketAddr, keys: &Path, every: Duration, seed: u64) -> Self {
        let shared = Arc::new(Shared::default());
        let mut rng = Rng::with_seed(seed);
        let seats = keys::read(keys).unwrap().iter().map(|key| Seat::new(key, gateway, &mut rng)).collect();
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || play(seats, &theirs, every, &mut rng));
        Self { shared, thread: Some(thread) }
    }

    /// Reports receipted so far.
    #[must_use]
    pub fn receipted(&self) -> u64 {
        self.shared.receipted.load(Ordering::Relaxed)
    }

    /// Reports that no receipt covers yet.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.shared.waiting.load(Ordering::Relaxed)
    }

    /// How long the report that was receipted last had waited for it, since it happened.
    #[must_use]
    pub fn last_wait(&self) -> Duration {
        Duration::from_micros(self.shared.last_wait_us.load(Ordering::Relaxed))
    }

    /// The gateway is now at `address`.
    pub fn move_to(&self, address: SocketAddr) {
        *self.shared.gateway.lock().unwrap() = Some(address);
    }

    /// Nothing new happens from now on; what is unreceipted is still sent.
    pub fn hush(&self) {
        self.shared.quiet.store(true, Ordering::Relaxed);
    }

    /// Ends the readers; gives what they were receipted.
    #[must_use]
    pub fn finish(mut self) -> BTreeMap<Identified, Reported> {
        self.shared.stopping.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
    }
}

struct Seat {
    id: u32,
    log: u64,
    reader: Box<Reader<MEMORY>>,
    socket: UdpSocket,
    due: Duration,
    sent: BTreeMap<u64, Reported>,
    /// When the newest happened.
    happened: Duration,
    receipted: u64,
    last_wait: Duration,
}

impl Seat {
    fn new(key: &ReaderKey, gateway: SocketAddr, rng: &mut Rng) -> Self {
        let log = rng.u64(1..);
        let identity = Identity {
            reader: key.reader(),
            psk: key.psk().unwrap(),
            firmware: 0,
            boot_counter: boot_counter(),
            boot: BootId(rng.u64(1..)),
            last_command: 0,
            fall_back: FallBack::Closed,
        };
        Self {
            id: key.reader().0,
            log,
            reader: Box::new(Reader::new(identity, ReportMemory::new(LogId(log)))),
            socket: connected(gateway),
            due: Duration::ZERO,
            sent: BTreeMap::new(),
            happened: Duration::ZERO,
            receipted: 0,
            last_wait: Duration::ZERO,
        }
    }

    /// What happens by `now`, as far as there is room to remember it.
    fn happenings(&mut self, now: Duration, every: Duration, rng: &mut Rng) {
        while self.due <= now && self.reader.memory().waiting() < MEMORY / 2 {
            self.happen(now, rng);
            self.due = now + every;
        }
    }

    fn happen(&mut self, now: Duration, rng: &mut Rng) {
        let mut uid = [0; 7];
        rng.fill(&mut uid);
        let kind = if rng.u8(..8) == 0 { ReportKind::TurnedBack } else { ReportKind::Passed };
        let direction = if rng.bool() { Direction::Entry } else { Direction::Exit };
        let happening = Happening {
            kind,
            direction: Some(direction),
            request: None,
            input: 0,
            unasked: false,
            card: CardRead::from_uid(&uid),
        };
        let number = self.reader.report(now, happening).unwrap();
        self.sent.insert(number, Reported { kind, direction, uid });
        self.happened = now;
    }

    fn take(&mut self, now: Duration, datagram: Option<&mut [u8]>) {
        let (receipted, last_wait, happened) = (&mut self.receipted, &mut self.last_wait, self.happened);
        let mut take = |event: Event<'_>| {
            if let Event::Receipted { number } = event {
                (*receipted, *last_wait) = (number, now.saturating_sub(happened));
            }
        };
        match datagram {
            // What is no datagram of the gateway's is dropped, as readers do.
            Some(datagram) => drop(self.reader.handle(now, datagram, &mut take)),
            None => self.reader.handle_timeout(now, &mut take),
        }
    }

    fn pump(&mut self, now: Duration) {
        let mut datagram = [0; DATAGRAM_MAX];
        while let Some(len) = self.reader.poll_transmit(now, &mut datagram, &mut |bytes| fastrand::fill(bytes)) {
            // Nobody listens while the gateway is down.
            let _ = self.socket.send(&datagram[..len]);
        }
    }
}

fn play(mut seats: Vec<Seat>, shared: &Shared, every: Duration, rng: &mut Rng) -> BTreeMap<Identified, Reported> {
    let start = Instant::now();
    while !shared.stopping.load(Ordering::Relaxed) {
        if let Some(gateway) = shared.gateway.lock().unwrap().take() {
            seats.iter_mut().for_each(|seat| seat.socket = connected(gateway));
        }
        for place in arrived(&seats) {
            receive(&mut seats[place], start);
        }
        let now = start.elapsed();
        for seat in &mut seats {
            seat.take(now, None);
            if !shared.quiet.load(Ordering::Relaxed) {
                seat.happenings(now, every, rng);
            }
            seat.pump(now);
        }
        let wait = seats.iter().map(|seat| seat.last_wait.as_micros()).max().unwrap_or(0);
        shared.last_wait_us.store(u64::try_from(wait).unwrap_or(u64::MAX), Ordering::Relaxed);
        shared.receipted.store(seats.iter().map(|seat| seat.receipted).sum(), Ordering::Relaxed);
        shared.waiting.store(seats.iter().map(|seat| seat.reader.memory().waiting() as u64).sum(), Ordering::Relaxed);
    }
    let of = |seat: Seat| {
        let Seat { id, log, sent, receipted, .. } = seat;
        sent.into_iter().filter(move |&(number, _)| number <= receipted).map(move |(n, what)| ((id, log, n), what))
    };
    seats.into_iter().flat_map(of).collect()
}

fn arrived(seats: &[Seat]) -> Vec<usize> {
    let mut polled: Vec<_> = seats.iter().map(|seat| PollFd::new(&seat.socket, PollFlags::IN)).collect();
    let turn = Timespec { tv_sec: 0, tv_nsec: TURN.subsec_nanos().into() };
    match poll(&mut polled, Some(&turn)) {
        Ok(_) => (0..polled.len()).filter(|&place| !polled[place].revents().is_empty()).collect(),
        Err(_) => Vec::new(),
    }
}

fn receive(seat: &mut Seat, start: Instant) {
    let mut datagram = [0; DATAGRAM_MAX];
    loop {
        match seat.socket.recv(&mut datagram) {
            Ok(len) => seat.take(start.elapsed(), Some(&mut datagram[..len])),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            // The kernel tells once that nobody listens there.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => panic!("a reader's socket: {error}"),
        }
    }
}

/// Tenths of a second since 2025: grows from crowd to crowd, as a reader's own counter does from boot to boot.
fn boot_counter() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u32::try_from((now.as_millis() - 1_735_689_600_000) / 100).unwrap()
}

fn connected(gateway: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(gateway).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}
