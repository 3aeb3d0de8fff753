//! The workers: one thread, one socket and one [`kalitka_core::Worker`] each. Between receiving and sending there is no
//! lock, no allocation and no disk.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use kalitka_core::{Keys, Now, Outcome, Output, Overlay, Texts, View, World};
use kalitka_protocol::limits::DATAGRAM_MAX;
use kalitka_protocol::{ReaderId, Stamp};

use super::post::{Post, Posts};
use super::wake::Bell;
use crate::clock::Clock;
use crate::entropy::SystemEntropy;
use crate::failure::Failure;
use crate::journal::{Door as JournalDoor, Moment};
use crate::limits::{BATCH_MAX, HAND_OVER_MAX, WORKER_HEARTBEAT};
use crate::metrics::Tally;
use crate::published::Published;
use crate::stamps::Taken;
use crate::thread::{self, Ended};

/// What all workers look at.
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) views: Arc<Published<View>>,
    pub(crate) keys: Arc<Published<Keys>>,
    pub(crate) overlay: Arc<Overlay>,
    pub(crate) texts: Texts,
    pub(crate) fall_back_after_ms: u16,
    pub(crate) tallies: Arc<[Tally]>,
}

impl Shared {
    /// The moment that is `monotonic`, by both clocks.
    pub(super) fn moment(&self, monotonic: Duration) -> Moment {
        Moment { wall_us: Clock::wall_us(), monotonic }
    }
}

/// The running workers.
pub(crate) struct Pool {
    posts: Posts,
    stopping: Arc<AtomicBool>,
    bells: Vec<Bell>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts a worker for each of `sockets`. `stamps` are the highest from before; new ones go to `taken`, and what happens
    /// to the journal. When a worker ends, asked or not, `ended` is told.
    ///
    /// # Errors
    /// [`Failure::Environment`] when the system gives no thread or random bytes.
    pub(crate) fn start(
        shared: &Arc<Shared>,
        sockets: Vec<UdpSocket>,
        stamps: &[(ReaderId, Stamp)],
        taken: &SyncSender<Taken>,
        journal: &JournalDoor,
        ended: &Ended,
    ) -> Result<Self, Failure> {
        let no_worker = |error: io::Error| Failure::Environment(format!("cannot start a worker: {error}"));
        let workers = u8::try_from(sockets.len()).unwrap_or(u8::MAX);
        let bells = sockets.iter().map(|_| Bell::new()).collect::<io::Result<Vec<_>>>().map_err(no_worker)?;
        let (doors, inboxes): (Vec<_>, Vec<_>) = bells
            .iter()
            .map(|bell| (bell.clone(), sync_channel(HAND_OVER_MAX)))
            .map(|(bell, (door, inbox))| (Door { door, bell }, inbox))
            .unzip();
        let (posts, post_boxes) = Posts::new(&bells);
        let mut pool = Self { posts, stopping: Arc::default(), bells: bells.clone(), threads: Vec::new() };
        let inboxes = inboxes.into_iter().zip(post_boxes);
        for (((index, socket), bell), (inbox, posts)) in (0..workers).zip(sockets).zip(bells).zip(inboxes) {
            let entropy = Box::new(SystemEntropy::new()?);
            let worker = Worker {
                index,
                core: kalitka_core::Worker::new(index, workers, stamps.iter().copied(), entropy),
                shared: Arc::clone(shared),
                stopping: Arc::clone(&pool.stopping),
                socket,
                bell,
                inbox,
                posts,
                doors: doors.clone(),
                taken: taken.clone(),
                journal: journal.clone(),
                buffer: Box::new([0; BUFFER_LEN]),
                out: Output::new(),
            };
            pool.threads.push(thread::spawn(&format!("udp-{index}"), ended, || worker.run())?);
        }
        Ok(pool)
    }

    /// Where post for their readers is left.
    pub(crate) fn posts(&self) -> Posts {
        self.posts.clone()
    }

    /// Lets the workers finish the datagrams in their hands and waits for them.
    pub(crate) fn stop(self) {
        self.stopping.store(true, Ordering::Release);
        self.bells.iter().for_each(Bell::ring);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a worker had panicked");
            }
        }
    }
}

/// One byte more than a datagram may have, so that a longer one shows.
const BUFFER_LEN: usize = DATAGRAM_MAX + 1;

/// A datagram for another worker.
struct Handed {
    from: SocketAddr,
    len: usize,
    bytes: [u8; BUFFER_LEN],
}

/// Where a worker takes what others hand over.
#[derive(Clone)]
struct Door {
    door: SyncSender<Handed>,
    bell: Bell,
}

pub(super) struct Worker {
    index: u8,
    pub(super) core: kalitka_core::Worker,
    pub(super) shared: Arc<Shared>,
    stopping: Arc<AtomicBool>,
    socket: UdpSocket,
    bell: Bell,
    inbox: Receiver<Handed>,
    pub(super) posts: Receiver<Post>,
    /// Of all workers, by index.
    doors: Vec<Door>,
    pub(super) taken: SyncSender<Taken>,
    pub(super) journal: JournalDoor,
    buffer: Box<[u8; BUFFER_LEN]>,
    pub(super) out: Output,
}

impl Worker {
    fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let tally = &shared.tallies[usize::from(self.index)];
        tally.beat(shared.clock.monotonic());
        while !self.stopping.load(Ordering::Acquire) {
            if self.batch(&shared, tally) == Batch::Drained {
                self.bell.sleep(&self.socket, self.patience());
            }
            tally.beat(shared.clock.monotonic());
        }
    }

    /// How long there is nothing to do by itself.
    fn patience(&self) -> Duration {
        let due = self.core.next_timeout().map(|due| due.saturating_sub(self.shared.clock.monotonic()));
        due.unwrap_or(WORKER_HEARTBEAT).min(WORKER_HEARTBEAT)
    }

    /// Takes up to [`BATCH_MAX`] datagrams under one view of the world, and delivers as much of what the journal has left.
    fn batch(&mut self, shared: &Shared, tally: &Tally) -> Batch {
        let (view, keys) = (shared.views.load(), shared.keys.load());
        let Some(keys) = keys.as_deref() else { return Batch::Drained };
        let Shared { overlay, texts, fall_back_after_ms, .. } = shared;
        let view = view.as_deref();
        let world = World { view, overlay, keys, texts, fall_back_after_ms: *fall_back_after_ms };
        let delivered = self.deliver(keys, tally);
        for turn in 0..BATCH_MAX {
            let Some((len, from)) = self.receive(turn % 2 == 0, tally) else { return delivered };
            let at = shared.moment(shared.clock.monotonic());
            let now = Now { monotonic: at.monotonic, wall_ms: at.wall_us.div_euclid(1000) };
            self.take(&world, now, len, from, tally);
            if self.note_effects(at, view, keys, tally) {
                tally.service.record(shared.clock.monotonic().saturating_sub(now.monotonic));
            }
        }
        Batch::Full
    }

    /// Takes a datagram into the buffer; gives its length and where it came from. What others hand over and what the socket
    /// has come first by turns, so that a flood of the one does not starve the other.
    fn receive(&mut self, handed_first: bool, tally: &Tally) -> Option<(usize, SocketAddr)> {
        if handed_first && let Some(handed) = self.receive_handed() {
            return Some(handed);
        }
        match self.socket.recv_from(&mut self.buffer[..]) {
            Ok(received) => {
                tally.received.add(1);
                return Some(received);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => tally.receive_failures.add(1),
        }
        if handed_first { None } else { self.receive_handed() }
    }

    fn receive_handed(&mut self) -> Option<(usize, SocketAddr)> {
        let handed = self.inbox.try_recv().ok()?;
        *self.buffer = handed.bytes;
        Some((handed.len, handed.from))
    }

    fn take(&mut self, world: &World<'_>, now: Now, len: usize, from: SocketAddr, tally: &Tally) {
        match self.core.handle(world, now, from, &mut self.buffer[..len], &mut self.out) {
            Outcome::Reply(_) => self.send(from, tally),
            Outcome::HandOver { worker } => self.hand_over(worker, len, from, tally),
            Outcome::Silent => {}
            Outcome::Dropped(reason) => tally.dropped(reason).add(1),
        }
    }

    /// Sends the datagram that the last step left.
    pub(super) fn send(&self, to: SocketAddr, tally: &Tally) {
        match self.socket.send_to(self.out.datagram(), to) {
            Ok(_) => tally.sent.add(1),
            Err(_) => tally.send_failures.add(1),
        }
    }

    fn hand_over(&self, worker: u8, len: usize, from: SocketAddr, tally: &Tally) {
        let handed = Handed { from, len, bytes: *self.buffer };
        let door = self.doors.get(usize::from(worker));
        match door.map(|door| (door.door.try_send(handed), &door.bell)) {
            Some((Ok(()), bell)) => {
                tally.handed_over.add(1);
                bell.ring();
            }
            // A reader whose datagram is lost here sends again.
            Some((Err(TrySendError::Full(_) | TrySendError::Disconnected(_)), _)) | None => tally.hand_over_lost.add(1),
        }
    }
}

#[derive(PartialEq, Eq)]
pub(super) enum Batch {
    /// Nothing is left to take.
    Drained,
    /// More may wait.
    Full,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(socket: UdpSocket, inbox: Receiver<Handed>) -> Worker {
        let tallies = [const { Tally::new() }];
        let shared = Shared {
            clock: Clock::start(),
            views: Arc::new(Published::new(None)),
            overlay: Arc::default(),
            keys: Arc::new(Published::new(Some(Arc::default()))),
            texts: Texts::default(),
            fall_back_after_ms: 1000,
            tallies: Arc::new(tallies),
        };
        Worker {
            index: 0,
            core: kalitka_core::Worker::new(0, 1, [], Box::new(SystemEntropy::new().unwrap())),
            shared: Arc::new(shared),
            stopping: Arc::default(),
            socket,
            bell: Bell::new().unwrap(),
            inbox,
            posts: sync_channel(1).1,
            doors: Vec::new(),
            taken: sync_channel(1).0,
            journal: crate::journal::ring().0,
            buffer: Box::new([0; BUFFER_LEN]),
            out: Output::new(),
        }
    }

    #[test]
    fn flood_of_handed_datagrams_does_not_starve_the_socket() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let from = socket.local_addr().unwrap();
        let (door, inbox) = sync_channel(HAND_OVER_MAX);
        for _ in 0..HAND_OVER_MAX {
            door.try_send(Handed { from, len: 1, bytes: [77; BUFFER_LEN] }).unwrap();
        }
        for _ in 0..BATCH_MAX {
            socket.send_to(&[78], from).unwrap();
        }
        let mut worker = worker(socket, inbox);
        let shared = Arc::clone(&worker.shared);
        assert!(worker.batch(&shared, &shared.tallies[0]) == Batch::Full);
        assert_eq!(shared.tallies[0].received.get(), BATCH_MAX as u64 / 2);
        // And with nothing on the socket all that was handed over is still taken.
        while worker.batch(&shared, &shared.tallies[0]) == Batch::Full {}
        assert!(worker.inbox.try_recv().is_err());
    }
}
