//! Readers that report one happening after another and remember what they were receipted.
//!
//! They are the protocol's own reader, moved by one thread. What they remember is the test's truth: a report that was
//! receipted must be at the hub, once, as it was sent. If they are told to, they also ask, and judge the answers; and they
//! measure how long they go without answers and without receipts.

mod asking;
mod clocks;

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use asking::Asking;
use asking::{Answered, Asked};
use clocks::Drought;
use fastrand::Rng;
use kalitka_loadgen::keys::{self, ReaderKey};
use kalitka_protocol::credential::CardRead;
use kalitka_protocol::limits::DATAGRAM_MAX;
use kalitka_protocol::message::ReportKind;
use kalitka_protocol::reader::{Event, Happening, Identity, Reader, ReportMemory};
use kalitka_protocol::reason::{Direction, FallBack};
use kalitka_protocol::{BootId, LogId, ReaderId};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::wait::until;

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

/// How the crowd fares.
#[derive(Clone, Debug, Default)]
pub struct Fares {
    /// Turns of the crowd's thread so far: what is older than two turns has been seen by it.
    pub turns: u64,
    /// Answers so far.
    pub answers: u64,
    /// Of these, answers within a session that began after the last [`forget_sessions`](Crowd::forget_sessions).
    pub fresh_answers: u64,
    /// Of the fresh ones, right ones.
    pub fresh_right: u64,
    /// Answers that were denials by a closed portal which nothing in the roster closes.
    pub closed: u64,
    /// Answers that were wrong, some of them in words.
    pub wrong: u64,
    /// The first of those.
    pub wrong_first: Vec<String>,
    /// Asks that wait for their answers.
    pub asks_waiting: u64,
    /// The longest time for which no reader was answered although readers asked.
    pub longest_undecided: Duration,
    /// The longest time for which no receipt came although reports waited, excused times apart.
    pub longest_unreceipted: Duration,
    /// Of each reader, the number of its newest report and of the newest receipted one.
    pub standings: Vec<(u64, u64)>,
}

/// Descriptions of wrong answers that are kept.
const WRONG_KEPT: usize = 20;

#[derive(Default)]
struct Shared {
    /// Nothing new happens any more.
    quiet: AtomicBool,
    /// Nothing is asked any more.
    asks_quiet: AtomicBool,
    /// While receipts fail to come, that is excused.
    excused: AtomicBool,
    stopping: AtomicBool,
    receipted: AtomicU64,
    waiting: AtomicU64,
    last_wait_us: AtomicU64,
    gateway: Mutex<Option<SocketAddr>>,
    /// Readers that are to go another way to it.
    ways: Mutex<Vec<(u32, SocketAddr)>>,
    fares: Mutex<Fares>,
    /// Sessions that began before this count as those of an earlier gateway.
    sessions_from: Mutex<Option<Instant>>,
    undecided: Mutex<Drought>,
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
        Self::play(gateway, keys, every, None, seed)
    }

    /// The same readers, which also ask.
    #[must_use]
    pub fn start_asking(gateway: SocketAddr, keys: &Path, every: Duration, asking: Asking, seed: u64) -> Self {
        Self::play(gateway, keys, every, Some(asking), seed)
    }

    fn play(gateway: SocketAddr, keys: &Path, every: Duration, asking: Option<Asking>, seed: u64) -> Self {
        let shared = Arc::new(Shared::default());
        let mut rng = Rng::with_seed(seed);
        let seats = keys::read(keys).unwrap().iter().map(|key| Seat::new(key, gateway, &mut rng)).collect();
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || play(seats, &theirs, every, asking, &mut rng));
        Self { shared, thread: Some(thread) }
    }

    /// How it fares.
    #[must_use]
    pub fn fares(&self) -> Fares {
        self.shared.fares.lock().unwrap().clone()
    }

    /// The longest time for which no reader was answered although readers asked, since this was called before.
    #[must_use]
    pub fn take_undecided(&self) -> Duration {
        self.shared.undecided.lock().unwrap().take_lately()
    }

    /// The gateway is gone: from now on only answers in sessions that begin later are fresh.
    pub fn forget_sessions(&self) {
        *self.shared.sessions_from.lock().unwrap() = Some(Instant::now());
        let mut fares = self.shared.fares.lock().unwrap();
        (fares.fresh_answers, fares.fresh_right) = (0, 0);
    }

    /// Whether receipts that fail to come are excused from now on.
    pub fn excuse_receipts(&self, are_excused: bool) {
        self.shared.excused.store(are_excused, Ordering::Relaxed);
    }

    /// Nothing is asked from now on, or asks go on.
    pub fn hush_asks(&self, is_quiet: bool) {
        self.shared.asks_quiet.store(is_quiet, Ordering::Relaxed);
    }

    /// Ends [`hush`](Self::hush).
    pub fn unhush(&self) {
        self.shared.quiet.store(false, Ordering::Relaxed);
    }

    /// Reports receipted so far.
    #[must_use]
    pub fn receipted(&self) -> u64 {
        self.shared.receipted.load(Ordering::Relaxed)
    }

    /// Waits until `more` reports than by now are receipted.
    ///
    /// # Panics
    /// When they are not within `bound`.
    pub fn await_receipts(&self, more: u64, bound: Duration) {
        let target = self.receipted() + more;
        until("receipts", bound, || (self.receipted() >= target).then_some(()));
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

    /// Reader `id` goes this way to its gateway from now on, as on a serial line.
    pub fn put_on(&self, id: u32, way: SocketAddr) {
        self.shared.ways.lock().unwrap().push((id, way));
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
    /// It goes another way than the others, and stays there.
    is_elsewhere: bool,
    due: Duration,
    sent: BTreeMap<u64, Reported>,
    /// When the newest happened.
    happened: Duration,
    receipted: u64,
    last_wait: Duration,
    ask_due: Duration,
    asked: Asked,
    /// When the present session began.
    session_from: Option<Instant>,
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
            is_elsewhere: false,
            due: Duration::ZERO,
            sent: BTreeMap::new(),
            happened: Duration::ZERO,
            receipted: 0,
            last_wait: Duration::ZERO,
            ask_due: Duration::ZERO,
            asked: Asked::default(),
            session_from: None,
        }
    }

    /// Asks what is due by `now`, as far as the reader has room and does not fall back.
    fn ask(&mut self, now: Duration, asking: &mut Asking) {
        if self.ask_due > now {
            return;
        }
        self.ask_due = now + asking.every;
        let show = asking.show(ReaderId(self.id));
        if let Ok(request) = self.reader.ask(show.card, show.direction, now) {
            self.asked.add(request, show);
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

    fn take(&mut self, now: Duration, datagram: Option<&mut [u8]>, table: &mut Table<'_>) {
        let (receipted, last_wait, happened) = (&mut self.receipted, &mut self.last_wait, self.happened);
        let (asked, session_from, reader) = (&mut self.asked, &mut self.session_from, ReaderId(self.id));
        let mut take = |event: Event<'_>| match event {
            Event::Receipted { number } => {
                (*receipted, *last_wait) = (number, now.saturating_sub(happened));
                table.receipts.came(now);
            }
            Event::Answer(answer) => {
                if let Some(asking) = table.asking {
                    let answered = asked.judge(asking, reader, &answer);
                    table.answered(now, answered, *session_from);
                }
            }
            Event::Unanswered { request } => asked.forget(request),
            Event::SessionUp(_) => *session_from = Some(Instant::now()),
            _ => {}
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

/// What all readers write on.
struct Table<'a> {
    shared: &'a Shared,
    asking: Option<&'a Asking>,
    receipts: &'a mut Drought,
}

impl Table<'_> {
    fn answered(&mut self, now: Duration, answered: Answered, session_from: Option<Instant>) {
        self.shared.undecided.lock().unwrap().came(now);
        let sessions_from = *self.shared.sessions_from.lock().unwrap();
        let is_fresh = session_from.is_some_and(|began| sessions_from.is_none_or(|from| from < began));
        let mut fares = self.shared.fares.lock().unwrap();
        fares.answers += 1;
        fares.fresh_answers += u64::from(is_fresh);
        match answered {
            Answered::Right => fares.fresh_right += u64::from(is_fresh),
            Answered::Closed => fares.closed += 1,
            Answered::Late => {}
            Answered::Wrong(what) => {
                fares.wrong += 1;
                if fares.wrong_first.len() < WRONG_KEPT {
                    fares.wrong_first.push(what);
                }
            }
        }
    }
}

fn play(
    mut seats: Vec<Seat>,
    shared: &Shared,
    every: Duration,
    mut asking: Option<Asking>,
    rng: &mut Rng,
) -> BTreeMap<Identified, Reported> {
    let start = Instant::now();
    let mut receipts = Drought::default();
    while !shared.stopping.load(Ordering::Relaxed) {
        if let Some(gateway) = shared.gateway.lock().unwrap().take() {
            seats.iter_mut().filter(|seat| !seat.is_elsewhere).for_each(|seat| seat.socket = connected(gateway));
        }
        for (id, way) in shared.ways.lock().unwrap().drain(..) {
            let seat = seats.iter_mut().find(|seat| seat.id == id).unwrap();
            (seat.socket, seat.is_elsewhere) = (connected(way), true);
        }
        let mut table = Table { shared, asking: asking.as_ref(), receipts: &mut receipts };
        for place in arrived(&seats) {
            receive(&mut seats[place], start, &mut table);
        }
        let now = start.elapsed();
        seats.iter_mut().for_each(|seat| seat.take(now, None, &mut table));
        let is_asking = asking.is_some() && !shared.asks_quiet.load(Ordering::Relaxed);
        for seat in &mut seats {
            if !shared.quiet.load(Ordering::Relaxed) {
                seat.happenings(now, every, rng);
            }
            if let Some(asking) = asking.as_mut().filter(|_| is_asking) {
                seat.ask(now, asking);
            }
            seat.pump(now);
        }
        publish(&seats, shared, now, is_asking, &mut receipts);
    }
    let of = |seat: Seat| {
        let Seat { id, log, sent, receipted, .. } = seat;
        sent.into_iter().filter(move |&(number, _)| number <= receipted).map(move |(n, what)| ((id, log, n), what))
    };
    seats.into_iter().flat_map(of).collect()
}

/// Shows others how matters stand after a turn.
fn publish(seats: &[Seat], shared: &Shared, now: Duration, is_asking: bool, receipts: &mut Drought) {
    let wait = seats.iter().map(|seat| seat.last_wait.as_micros()).max().unwrap_or(0);
    let waiting: u64 = seats.iter().map(|seat| seat.reader.memory().waiting() as u64).sum();
    shared.last_wait_us.store(u64::try_from(wait).unwrap_or(u64::MAX), Ordering::Relaxed);
    shared.receipted.store(seats.iter().map(|seat| seat.receipted).sum(), Ordering::Relaxed);
    shared.waiting.store(waiting, Ordering::Relaxed);
    if shared.excused.load(Ordering::Relaxed) {
        receipts.excuse();
    } else {
        receipts.awaited(now, waiting > 0);
    }
    let mut undecided = shared.undecided.lock().unwrap();
    undecided.awaited(now, is_asking);
    let longest_undecided = undecided.longest();
    drop(undecided);
    let mut fares = shared.fares.lock().unwrap();
    fares.turns += 1;
    fares.asks_waiting = seats.iter().map(|seat| seat.asked.waiting() as u64).sum();
    (fares.longest_undecided, fares.longest_unreceipted) = (longest_undecided, receipts.longest());
    fares.standings.clear();
    fares.standings.extend(seats.iter().map(|seat| (seat.reader.memory().last(), seat.receipted)));
}

fn arrived(seats: &[Seat]) -> Vec<usize> {
    let mut polled: Vec<_> = seats.iter().map(|seat| PollFd::new(&seat.socket, PollFlags::IN)).collect();
    let turn = Timespec { tv_sec: 0, tv_nsec: TURN.subsec_nanos().into() };
    match poll(&mut polled, Some(&turn)) {
        Ok(_) => (0..polled.len()).filter(|&place| !polled[place].revents().is_empty()).collect(),
        Err(_) => Vec::new(),
    }
}

fn receive(seat: &mut Seat, start: Instant, table: &mut Table<'_>) {
    let mut datagram = [0; DATAGRAM_MAX];
    loop {
        match seat.socket.recv(&mut datagram) {
            Ok(len) => seat.take(start.elapsed(), Some(&mut datagram[..len]), table),
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
