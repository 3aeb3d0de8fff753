//! Readers on sockets: one UDP socket each, moved by one thread.
//!
//! The protocol's own reader does the talking; here are the queue in front of it, the bytes, and what a reader's owner
//! does: cut its power, change its address.

mod overheard;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fastrand::Rng;
use kalitka_protocol::limits::{ASKS_OUTSTANDING, DATAGRAM_MAX};
use kalitka_protocol::message::{Answer, CommandResult, Order, ReportKind};
use kalitka_protocol::reader::{Event, Happening, Identity, NotAsked, Reader, ReportMemory};
use kalitka_protocol::reason::FallBack;
use kalitka_protocol::{BootId, LogId, ReaderId};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::book::{Book, Words};
use crate::deck::Show;
use crate::keys::ReaderKey;
use crate::limits::{GIVE_UP_AFTER, IN_FLIGHT, QUEUE_MAX, REPORTS_MAX};
use crate::tally::{Answered, Asked};
use crate::turnstile::{Person, Turnstile};
use crate::volley::{Prey, address, is_passing};
use overheard::Overheard;

/// Reports that a reader keeps while no receipt covers them.
pub const REPORT_MEMORY: usize = 256;

/// Least time between two looks of a reader at its own timers.
const GRAIN: Duration = Duration::from_micros(100);

/// What became of a card that was shown.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    /// It was answered in time.
    Answered(Asked, Answered),
    /// It was not.
    GivenUp(Asked),
    /// Its reader lost power.
    Abandoned(Asked),
}

struct Seat {
    key: ReaderKey,
    boot_counter: u32,
    boot: BootId,
    /// The highest command done.
    last_command: u64,
    reader: Box<Reader<REPORT_MEMORY>>,
    socket: UdpSocket,
    /// Cards that wait for the reader to have room.
    queue: VecDeque<Asked>,
    outstanding: HashMap<u32, Asked>,
    overheard: Overheard,
    /// What happens after a grant, if it takes its time.
    turnstile: Option<Turnstile>,
    /// Where its gateway is for it.
    way: SocketAddr,
    wake: Duration,
}

/// All readers of a run.
pub struct Fleet {
    seats: Vec<Seat>,
    /// Whether readers report what followed an answer.
    reports: bool,
    fates: Vec<Fate>,
    /// What readers have reported.
    book: Book,
    /// Commands that readers have done.
    pub commands: u64,
    /// Datagrams that readers dropped.
    pub dropped: u64,
    /// How often a reader fell back.
    pub fall_backs: u64,
    /// Sessions that readers got.
    pub sessions: u64,
}

impl Fleet {
    /// The readers of `keys`, at their start. `boot_counter` must be higher than any that they have used before.
    ///
    /// # Errors
    /// What the sockets say, or [`io::ErrorKind::InvalidData`] for a key that is none.
    pub fn open(gateway: SocketAddr, keys: &[ReaderKey], boot_counter: u32, reports: bool) -> io::Result<Self> {
        let seat = |(place, key)| Seat::open(gateway, place, key, boot_counter);
        let seats = keys.iter().enumerate().map(seat).collect::<io::Result<Vec<_>>>()?;
        let mut book = Book::default();
        for seat in &seats {
            book.open(seat.key.reader(), seat.reader.memory().log());
        }
        let fates = Vec::new();
        Ok(Self { seats, reports, fates, book, commands: 0, dropped: 0, fall_backs: 0, sessions: 0 })
    }

    /// From now on the readers stand at turnstiles: what follows a grant takes its time, as `seed` has it.
    #[must_use]
    pub fn at_turnstiles(mut self, seed: u64) -> Self {
        for (place, seat) in (0..).zip(&mut self.seats) {
            seat.turnstile = Some(Turnstile::new(Rng::with_seed(seed.wrapping_add(place))));
        }
        self
    }

    /// Puts `reader` on another way to its gateway, as on a line.
    ///
    /// # Errors
    /// What the sockets say; [`io::ErrorKind::NotFound`] when there is no such reader.
    pub fn put_on(&mut self, reader: ReaderId, way: SocketAddr) -> io::Result<()> {
        let place = self.seats.iter().position(|seat| seat.key.reader() == reader);
        let place =
            place.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("reader {} has no key", reader.0)))?;
        self.seats[place].way = way;
        self.change_address(place)
    }

    /// The readers' numbers, by their places.
    #[must_use]
    pub fn ids(&self) -> Vec<ReaderId> {
        self.seats.iter().map(|seat| seat.key.reader()).collect()
    }

    /// Whether every reader has a session.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.seats.iter().all(|seat| seat.reader.session().is_some())
    }

    /// Cards shown and not answered yet, at the reader in `place`.
    #[must_use]
    pub fn waiting_at(&self, place: usize) -> usize {
        self.seats[place].queue.len() + self.seats[place].outstanding.len()
    }

    /// Cards shown and not answered yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        (0..self.seats.len()).map(|place| self.waiting_at(place)).sum()
    }

    /// What is still to happen at turnstiles.
    #[must_use]
    pub fn moving(&self) -> usize {
        self.seats.iter().filter_map(|seat| seat.turnstile.as_ref()).map(Turnstile::waiting).sum()
    }

    /// Reports that no receipt covers, and reports that found the memory full.
    #[must_use]
    pub fn reports(&self) -> (usize, u64) {
        let memories = self.seats.iter().map(|seat| seat.reader.memory());
        memories.fold((0, 0), |(waiting, lost), memory| (waiting + memory.waiting(), lost + u64::from(memory.lost())))
    }

    /// The list of what readers have reported.
    #[must_use]
    pub const fn book(&self) -> &Book {
        &self.book
    }

    /// Has the reader in `place` report `happening`, unless its memory or the list is full; says whether it did.
    pub fn report(&mut self, now: Duration, place: usize, happening: Happening) -> bool {
        if self.book.kept() >= REPORTS_MAX {
            return false;
        }
        let seat = &mut self.seats[place];
        let is_kept = seat.reader.report(now, happening).is_some();
        if is_kept {
            self.book.keep(place, Words::of(&happening, seat.boot), now);
            seat.wake = Duration::ZERO;
        }
        is_kept
    }

    /// Reports that the reader in `place` can still keep.
    #[must_use]
    pub fn report_room(&self, place: usize) -> usize {
        REPORT_MEMORY - self.seats[place].reader.memory().waiting()
    }

    /// Shows a card at the reader in `place`.
    pub fn show(&mut self, now: Duration, place: usize, ask: Asked) -> io::Result<()> {
        let seat = &mut self.seats[place];
        if seat.queue.len() >= QUEUE_MAX {
            self.fates.push(Fate::GivenUp(ask));
            return Ok(());
        }
        seat.queue.push_back(ask);
        self.pump(now, place)
    }

    /// Does what is due by `now`.
    pub fn turn(&mut self, now: Duration) -> io::Result<()> {
        for place in 0..self.seats.len() {
            if self.seats[place].wake <= now {
                self.let_happen(now, place);
                self.handle_events(now, place, None);
                self.pump(now, place)?;
            }
        }
        Ok(())
    }

    /// When something is due next.
    #[must_use]
    pub fn next_timeout(&self) -> Duration {
        self.seats.iter().map(|seat| seat.wake).min().unwrap_or(Duration::MAX)
    }

    /// Waits at most `patience` for datagrams; says at which places there are some.
    pub fn wait(&self, patience: Duration) -> io::Result<Vec<usize>> {
        let timeout = Timespec {
            tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        };
        let mut polled: Vec<_> = self.seats.iter().map(|seat| PollFd::new(&seat.socket, PollFlags::IN)).collect();
        match poll(&mut polled, Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => Ok(Vec::new()),
            Ok(_) => Ok((0..polled.len()).filter(|&place| !polled[place].revents().is_empty()).collect()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes every datagram that has come to `place`; `clock` is read for each.
    pub fn receive(&mut self, place: usize, clock: impl Fn() -> Duration) -> io::Result<()> {
        let mut datagram = [0; DATAGRAM_MAX];
        loop {
            match self.seats[place].socket.recv(&mut datagram) {
                Ok(len) => self.handle_events(clock(), place, Some(&mut datagram[..len])),
                Err(error) if is_passing(&error) => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.pump(clock(), place),
                Err(error) => return Err(error),
            }
        }
    }

    /// What has become of cards since the last call.
    pub fn take_fates(&mut self) -> Vec<Fate> {
        std::mem::take(&mut self.fates)
    }

    /// Gives up every card that is not answered yet.
    pub fn give_up(&mut self) {
        for seat in &mut self.seats {
            let waiting = seat.queue.drain(..).chain(seat.outstanding.drain().map(|(_, ask)| ask));
            self.fates.extend(waiting.map(Fate::GivenUp));
        }
    }

    /// The gateway has just been killed: asks that can still have been on their way belong to the outage. Gives how many.
    pub fn begin_outage(&mut self, now: Duration) -> u64 {
        let mut in_flight = 0;
        for seat in &mut self.seats {
            let asks = seat.queue.iter_mut().chain(seat.outstanding.values_mut());
            for ask in asks.filter(|ask| now.saturating_sub(ask.shown) < IN_FLIGHT) {
                ask.in_outage = true;
                in_flight += 1;
            }
        }
        in_flight
    }

    /// Cuts the power of the reader in `place` and switches it on again: what it was asking is gone, its report memory
    /// and its boot counter are not.
    pub fn cut_power(&mut self, now: Duration, place: usize) -> io::Result<()> {
        let seat = &mut self.seats[place];
        let lost = seat.queue.drain(..).chain(seat.outstanding.drain().map(|(_, ask)| ask));
        self.fates.extend(lost.map(Fate::Abandoned));
        seat.boot_counter += 1;
        seat.boot = BootId(random());
        let memory = seat.reader.memory().clone();
        *seat.reader = start(&seat.key, seat.identity(), memory)?;
        if let Some(turnstile) = &mut seat.turnstile {
            turnstile.lose_power(now);
        }
        seat.wake = Duration::ZERO;
        Ok(())
    }

    /// Gives the reader in `place` another address.
    pub fn change_address(&mut self, place: usize) -> io::Result<()> {
        self.seats[place].socket = connected(self.seats[place].way, place)?;
        Ok(())
    }

    /// Sends `bytes` to the gateway from the address of the reader in `place`.
    pub fn send_junk(&self, place: usize, bytes: &[u8]) -> io::Result<()> {
        send(&self.seats[place].socket, bytes)
    }

    /// What an eavesdropper has heard of those readers that have asked something.
    #[must_use]
    pub fn prey(&self) -> Vec<Prey> {
        self.seats.iter().filter_map(|seat| seat.overheard.prey()).collect()
    }

    /// Has the reader in `place` report what has happened at its turnstile.
    fn let_happen(&mut self, now: Duration, place: usize) {
        while let Some(happening) = self.seats[place].turnstile.as_mut().and_then(|turnstile| turnstile.happened(now)) {
            self.report(now, place, happening);
        }
    }

    /// Lets the reader take `datagram`, or see to its timers when there is none, and does what follows.
    fn handle_events(&mut self, now: Duration, place: usize, datagram: Option<&mut [u8]>) {
        let Seat { reader, outstanding, last_command, turnstile, .. } = &mut self.seats[place];
        let lost = reader.memory().lost();
        let (mut passes, mut command) = (Vec::new(), None);
        let mut take = |event: Event<'_>| match event {
            Event::Answer(answer) => {
                if let Some(ask) = outstanding.remove(&answer.request) {
                    match turnstile.as_mut() {
                        Some(turnstile) => follow(turnstile, now, &answer, &ask),
                        None => passes.extend(answer.verdict.is_grant().then(|| pass(&answer, &ask))),
                    }
                    self.fates.push(Fate::Answered(ask, answered(&answer, now, wall_seconds())));
                }
            }
            Event::Unanswered { request } => {
                self.fates.extend(outstanding.remove(&request).map(Fate::GivenUp));
            }
            Event::Receipted { number } => self.book.receipt(place, number, now),
            Event::Command(ordered) => command = Some((ordered.id, ordered.order)),
            Event::SessionUp(_) => self.sessions += 1,
            Event::FallBackEntered(_) => self.fall_backs += 1,
            Event::ListPage(_) | Event::FallBackLeft => {}
        };
        match datagram {
            Some(datagram) => self.dropped += u64::from(reader.handle(now, datagram, &mut take).is_err()),
            None => reader.handle_timeout(now, &mut take),
        }
        if let Some((id, order)) = command {
            if let (Order::Open { direction, hold_open_ms }, Some(turnstile)) = (order, turnstile) {
                let person = Person { request: None, direction, card: None };
                turnstile.release(now, person, Duration::from_millis(hold_open_ms.into()));
            }
            *last_command = id;
            reader.done(id, CommandResult::Done);
            self.commands += 1;
        }
        // A receipt has made room for telling what was lost.
        if reader.memory().last() > self.book.last(place) {
            self.book.keep(place, Words::lost(lost), now);
        }
        let passes = if self.reports { passes } else { Vec::new() };
        for pass in passes {
            self.report(now, place, pass);
        }
    }

    /// Asks what waits, as far as the reader has room, and sends what it wants to send.
    fn pump(&mut self, now: Duration, place: usize) -> io::Result<()> {
        let seat = &mut self.seats[place];
        while let Some(ask) = seat.queue.front() {
            if ask.shown + GIVE_UP_AFTER <= now {
                self.fates.extend(seat.queue.pop_front().map(Fate::GivenUp));
                continue;
            }
            match seat.reader.ask(ask.show.card, ask.show.direction, ask.shown) {
                Ok(request) => {
                    let sent = wall_seconds();
                    let ask = seat.queue.pop_front().map(|ask| Asked { sent, ..ask });
                    seat.outstanding.extend(ask.map(|ask| (request, ask)));
                }
                Err(NotAsked::Busy) => break,
                // The person passes, or not, by the mode; nobody waits.
                Err(NotAsked::FallingBack(_)) => self.fates.extend(seat.queue.pop_front().map(Fate::GivenUp)),
            }
        }
        let mut datagram = [0; DATAGRAM_MAX];
        while let Some(len) = seat.reader.poll_transmit(now, &mut datagram, &mut fill) {
            seat.overheard.note(&datagram[..len]);
            send(&seat.socket, &datagram[..len])?;
        }
        let queue = seat.queue.front().map_or(Duration::MAX, |ask| ask.shown + GIVE_UP_AFTER);
        let turnstile = seat.turnstile.as_ref().map_or(Duration::MAX, Turnstile::next);
        seat.wake = seat.reader.next_timeout().min(queue).min(turnstile).max(now + GRAIN);
        Ok(())
    }
}

impl Seat {
    fn open(gateway: SocketAddr, place: usize, key: &ReaderKey, boot_counter: u32) -> io::Result<Self> {
        let memory = ReportMemory::new(LogId(random()));
        let boot = BootId(random());
        Ok(Self {
            key: key.clone(),
            boot_counter,
            boot,
            last_command: 0,
            reader: Box::new(start(key, (boot_counter, boot, 0), memory)?),
            socket: connected(gateway, place)?,
            queue: VecDeque::new(),
            outstanding: HashMap::with_capacity(ASKS_OUTSTANDING),
            overheard: Overheard::default(),
            turnstile: None,
            way: gateway,
            wake: Duration::ZERO,
        })
    }

    /// What tells this start of the reader from others, and its highest command.
    const fn identity(&self) -> (u32, BootId, u64) {
        (self.boot_counter, self.boot, self.last_command)
    }
}

fn start(
    key: &ReaderKey,
    (boot_counter, boot, last_command): (u32, BootId, u64),
    memory: ReportMemory<REPORT_MEMORY>,
) -> io::Result<Reader<REPORT_MEMORY>> {
    let (reader, psk, fall_back) = (key.reader(), key.psk()?, FallBack::Closed);
    Ok(Reader::new(Identity { reader, psk, firmware: 0, boot_counter, boot, last_command, fall_back }, memory))
}

fn connected(gateway: SocketAddr, place: usize) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((address(gateway, place), 0))?;
    socket.connect(gateway)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Sends, or loses: a datagram that finds no room or no gateway is the network's loss, which the reader makes good.
fn send(socket: &UdpSocket, bytes: &[u8]) -> io::Result<()> {
    match socket.send(bytes) {
        Ok(_) => Ok(()),
        Err(error) if is_passing(&error) || error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
    }
}

const fn answered(answer: &Answer<'_>, at: Duration, wall: i64) -> Answered {
    Answered { verdict: answer.verdict, generation: answer.generation, at, wall }
}

/// Lets somebody through at `turnstile`, or does not.
fn follow(turnstile: &mut Turnstile, now: Duration, answer: &Answer<'_>, ask: &Asked) {
    let Show { card, direction } = ask.show;
    if answer.verdict.is_grant() {
        let hold_open = Duration::from_millis(answer.hold_open_ms.into());
        turnstile.release(now, Person { request: Some(answer.request), direction, card: Some(card) }, hold_open);
    } else {
        turnstile.refuse(now, direction);
    }
}

/// Nearly everybody who may pass does.
const fn pass(answer: &Answer<'_>, ask: &Asked) -> Happening {
    let kind = if answer.request.is_multiple_of(20) { ReportKind::TurnedBack } else { ReportKind::Passed };
    let (direction, request) = (Some(ask.show.direction), Some(answer.request));
    Happening { kind, direction, request, input: 0, unasked: false, card: Some(ask.show.card) }
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

fn fill(bytes: &mut [u8]) {
    // Without the kernel's random numbers nothing here can go on; it fails only before they are ready at boot.
    getrandom::fill(bytes).unwrap_or_else(|error| unreachable!("no random numbers: {error}"));
}

/// The wall clock, in whole seconds since 1970.
#[must_use]
pub fn wall_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
