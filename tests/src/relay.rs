//! A bad network between two UDP ends: a relay in user space with a rate, a delay, a finite queue and seeded loss.
//!
//! Who would talk to a server talks to [`Relay::address`] instead. Each of the two directions is a line of its own:
//! datagrams are lost at random, wait in a queue of finite length for the line, take their time on it by their length (with
//! the 28 bytes of IP and UDP), and arrive a delay later, in order. The line can be cut and mended, and every flow can be
//! moved to another source address, as a NAT does.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes of IPv4 and UDP headers, which take their time on the line too.
const HEADERS: u64 = 28;
/// How long a thread waits for a datagram before it looks whether the relay has ended.
const LOOK: Duration = Duration::from_millis(50);
/// Ends that talk through one relay at a time.
const FLOWS_MAX: usize = 64;
const DATAGRAM_MAX: usize = 65_536;

/// What both directions are like.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// Bits a second; `None` for no limit, and then no queue.
    pub rate: Option<u64>,
    /// One way. Half of the round trip.
    pub delay: Duration,
    /// Datagrams lost of a million.
    pub loss_millionths: u32,
    /// Bytes that wait for the line at most; what comes then is lost.
    pub queue: u64,
    /// Of the losses.
    pub seed: u64,
}

impl Line {
    /// Nothing is lost, nothing takes time.
    pub const PERFECT: Self = Self { rate: None, delay: Duration::ZERO, loss_millionths: 0, queue: u64::MAX, seed: 1 };
    /// A school's bad line: 10 Mbit/s, 50 ms there and back, 1 % lost, a queue of 100 ms.
    pub const POOR: Self = Self {
        rate: Some(10_000_000),
        delay: Duration::from_millis(25),
        loss_millionths: 10_000,
        queue: 125_000,
        seed: 1,
    };
}

/// What became of the datagrams of both directions.
#[derive(Debug, Default)]
pub struct Passed {
    /// Datagrams that were handed on.
    pub datagrams: AtomicU64,
    /// Their bytes, without headers.
    pub bytes: AtomicU64,
    /// Lost at random.
    pub lost: AtomicU64,
    /// Lost because the queue was full.
    pub overflowed: AtomicU64,
    /// Lost because the line was cut.
    pub cut: AtomicU64,
}

/// A running relay. Dropped, it ends.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<Shared>,
    address: SocketAddr,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    to: SocketAddr,
    front: UdpSocket,
    up: Way,
    down: Way,
    flows: Mutex<BTreeMap<SocketAddr, Arc<UdpSocket>>>,
    is_cut: AtomicBool,
    ended: AtomicBool,
    passed: Passed,
}

impl Relay {
    /// A relay to the server at `to`, which must be a loopback address.
    ///
    /// # Panics
    /// When the system gives no sockets or threads.
    #[must_use]
    pub fn start(to: SocketAddr, line: Line) -> Self {
        let front = socket();
        let address = front.local_addr().unwrap();
        let (up, down) = (Way::new(line), Way::new(Line { seed: line.seed ^ 0x5555_5555, ..line }));
        let shared = Arc::new(Shared {
            to,
            front,
            up,
            down,
            flows: Mutex::default(),
            is_cut: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            passed: Passed::default(),
        });
        let jobs: [fn(&Arc<Shared>); 3] =
            [take_in, |shared| shared.up.carry(shared), |shared| shared.down.carry(shared)];
        let threads = jobs.map(|job| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || job(&shared))
        });
        Self { shared, address, threads: threads.into() }
    }

    /// Where to talk to instead of the server.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts the line (`true`) or mends it: while cut, what comes is lost, and what was on the way too.
    pub fn cut(&self, is_cut: bool) {
        self.shared.is_cut.store(is_cut, Relaxed);
    }

    /// Makes both directions another line from now on.
    pub fn become_like(&self, line: Line) {
        for way in [&self.shared.up, &self.shared.down] {
            lock(&way.state).line = line;
        }
    }

    /// Moves every flow to a new source address, as seen by the server.
    ///
    /// # Panics
    /// When the system gives no sockets or threads.
    pub fn move_flows(&self) {
        let mut flows = lock(&self.shared.flows);
        let ends: Vec<SocketAddr> = flows.keys().copied().collect();
        for end in ends {
            flows.insert(end, open_flow(&self.shared, end));
        }
    }

    /// What became of the datagrams.
    #[must_use]
    pub fn passed(&self) -> &Passed {
        &self.shared.passed
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.ended.store(true, Relaxed);
        for way in [&self.shared.up, &self.shared.down] {
            way.changed.notify_all();
        }
        for thread in self.threads.drain(..) {
            // A thread that has panicked has failed its test already.
            let _ = thread.join();
        }
    }
}

/// One direction.
#[derive(Debug)]
struct Way {
    state: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug)]
struct Waiting {
    line: Line,
    random: u64,
    /// When the line has sent all that waits for it.
    free_at: Instant,
    datagrams: VecDeque<Datagram>,
}

#[derive(Debug)]
struct Datagram {
    due: Instant,
    bytes: Vec<u8>,
    /// The end at the near side that it is from or for.
    end: SocketAddr,
}

impl Way {
    fn new(line: Line) -> Self {
        let state = Waiting { line, random: line.seed | 1, free_at: Instant::now(), datagrams: VecDeque::new() };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn put(&self, shared: &Shared, end: SocketAddr, bytes: &[u8]) {
        if shared.is_cut.load(Relaxed) {
            shared.passed.cut.fetch_add(1, Relaxed);
            return;
        }
        let mut state = lock(&self.state);
        let counter = match state.place(bytes.len()) {
            Ok(due) => {
                state.datagrams.push_back(Datagram { due, bytes: bytes.to_vec(), end });
                drop(state);
                self.changed.notify_one();
                return;
            }
            Err(Lost::AtRandom) => &shared.passed.lost,
            Err(Lost::QueueFull) => &shared.passed.overflowed,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// Hands on what is due, until the relay ends.
    fn carry(&self, shared: &Shared) {
        while let Some(datagram) = self.next(shared) {
            if shared.is_cut.load(Relaxed) {
                shared.passed.cut.fetch_add(1, Relaxed);
                continue;
            }
            let sent = if std::ptr::eq(self, &shared.up) {
                let flow = lock(&shared.flows).get(&datagram.end).cloned();
                flow.map_or(Ok(0), |flow| flow.send_to(&datagram.bytes, shared.to))
            } else {
                shared.front.send_to(&datagram.bytes, datagram.end)
            };
            // Nobody listens there now: lost, as on any network.
            let _ = sent;
            shared.passed.datagrams.fetch_add(1, Relaxed);
            shared.passed.bytes.fetch_add(datagram.bytes.len() as u64, Relaxed);
        }
    }

    /// The next datagram, when it is due; `None` at the end.
    fn next(&self, shared: &Shared) -> Option<Datagram> {
        let mut state = lock(&self.state);
        loop {
            if shared.ended.load(Relaxed) {
                return None;
            }
            let now = Instant::now();
            let wait = match state.datagrams.front() {
                Some(first) if first.due <= now => return state.datagrams.pop_front(),
                Some(first) => (first.due - now).min(LOOK),
                None => LOOK,
            };
            state = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

enum Lost {
    AtRandom,
    QueueFull,
}

impl Waiting {
    /// When a datagram of `len` bytes that comes now arrives.
    fn place(&mut self, len: usize) -> Result<Instant, Lost> {
        if self.draw() % 1_000_000 < u64::from(self.line.loss_millionths) {
            return Err(Lost::AtRandom);
        }
        let now = Instant::now();
        let Some(rate) = self.line.rate else { return Ok(now + self.line.delay) };
        let time = |bytes: u64| Duration::from_nanos(bytes.saturating_mul(8_000_000_000) / rate);
        let free_at = self.free_at.max(now);
        if free_at - now > time(self.line.queue.min(1 << 30)) {
            return Err(Lost::QueueFull);
        }
        self.free_at = free_at + time(len as u64 + HEADERS);
        Ok(self.free_at + self.line.delay)
    }

    /// The next random number (xorshift64*).
    fn draw(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
}

/// Takes in what comes from the near side.
fn take_in(shared: &Arc<Shared>) {
    let mut buffer = vec![0; DATAGRAM_MAX];
    while let Some((len, end)) = receive(&shared.front, shared, &mut buffer) {
        let mut flows = lock(&shared.flows);
        if !flows.contains_key(&end) && flows.len() < FLOWS_MAX {
            flows.insert(end, open_flow(shared, end));
        }
        drop(flows);
        shared.up.put(shared, end, &buffer[..len]);
    }
}

/// A socket towards the server for the near side's `end`, and the thread that takes in what comes back.
fn open_flow(shared: &Arc<Shared>, end: SocketAddr) -> Arc<UdpSocket> {
    let flow = Arc::new(socket());
    let (shared, back) = (Arc::clone(shared), Arc::clone(&flow));
    // It ends with the relay, within one look; nobody waits for it.
    std::thread::spawn(move || {
        let mut buffer = vec![0; DATAGRAM_MAX];
        while let Some((len, _)) = receive(&back, &shared, &mut buffer) {
            // What still comes to an address that was moved away from finds nobody.
            let is_current = lock(&shared.flows).get(&end).is_some_and(|flow| Arc::ptr_eq(flow, &back));
            if !is_current {
                return;
            }
            shared.down.put(&shared, end, &buffer[..len]);
        }
    });
    flow
}

/// The next datagram of `socket`; `None` at the relay's end.
fn receive(socket: &UdpSocket, shared: &Shared, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
    while !shared.ended.load(Relaxed) {
        match socket.recv_from(buffer) {
            Ok(received) => return Some(received),
            // Nothing came, or an earlier datagram found nobody.
            Err(error) if is_passing(&error) => {}
            Err(error) => panic!("the relay's socket: {error}"),
        }
    }
    None
}

fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | ConnectionRefused | Interrupted)
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(LOOK)).unwrap();
    socket
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
