//! A worker: one thread, one socket and one [`kalitka_core::Worker`].
//!
//! It lives in turns. A turn takes a batch of datagrams by one call, opens all of them, answers all of them, sends the answers
//! by one call, and only then records what it decided. Between receiving and sending there is no lock, no allocation and no
//! disk, and a turn in which nothing else happens makes no other system call.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

use kalitka_core::{Keys, Now, Opened, Opening, Outcome, Output, Overlay, Texts, View, World};
use nix::errno::Errno;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::batch::{Datagram, Wait, Wire};
use super::lines::Lines;
use super::places::Places;
use super::post::Post;
use super::wake::Bell;
use crate::clock::{Clock, Moment};
use crate::journal::Recorder;
use crate::limits::{BATCH_MAX, HANDSHAKES_A_TURN, RECEIVE_PAUSE};
use crate::metrics::Tally;
use crate::published::Published;
use crate::stamps::Taken;

/// What all workers look at.
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) views: Arc<Published<View>>,
    pub(crate) keys: Arc<Published<Keys>>,
    pub(crate) overlay: Arc<Overlay>,
    pub(crate) texts: Texts,
    pub(crate) fall_back_after_ms: u16,
    /// How long a worker looks for the next datagram before it sleeps.
    pub(crate) spin: Duration,
    pub(crate) tallies: Arc<[Tally]>,
    /// Where what goes to serial lines is left.
    pub(crate) lines: Lines,
}

/// Where a worker takes what others hand over.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) door: SyncSender<Datagram>,
    pub(super) bell: Bell,
}

pub(super) struct Worker {
    pub(super) index: u8,
    pub(super) core: kalitka_core::Worker,
    pub(super) shared: Arc<Shared>,
    pub(super) stopping: Arc<AtomicBool>,
    pub(super) bell: Bell,
    /// How long it sleeps at most: the socket's receive time-out.
    pub(super) patience: Duration,
    /// What other workers hand over.
    pub(super) inbox: Receiver<Datagram>,
    /// What the journal has for its readers.
    pub(super) posts: Receiver<Post>,
    /// Of all workers, by index.
    pub(super) doors: Vec<Door>,
    pub(super) taken: SyncSender<Taken>,
    pub(super) journal: Recorder,
    pub(super) desk: Desk,
}

/// The datagrams in hand, by place, and for each what comes of it.
pub(super) struct Desk {
    pub(super) datagrams: Box<[Datagram]>,
    pub(super) outs: Box<[Output]>,
    /// So many at the front are initiations that were put off in the last turn.
    pub(super) put_off: usize,
    /// So many at the front did not come from the socket in this turn: among them may be a line's.
    handed: usize,
    /// The journal may have left more than the last turn took.
    pub(super) has_post: bool,
}

impl Desk {
    pub(super) fn new() -> Self {
        let outs = (0..BATCH_MAX).map(|_| Output::new()).collect();
        Self { datagrams: vec![Datagram::EMPTY; BATCH_MAX].into(), outs, put_off: 0, handed: 0, has_post: false }
    }

    /// The datagrams at `places` that are to be sent back to where theirs came from.
    fn replies(&self, places: Places) -> impl Iterator<Item = (&[u8], SocketAddr)> {
        places.map(|place| (self.outs[place].datagram(), self.datagrams[place].from))
    }
}

/// One turn's circumstances.
pub(super) struct Turn<'a> {
    pub(super) world: World<'a>,
    /// When its batch was there.
    pub(super) at: Moment,
    pub(super) tally: &'a Tally,
}

impl Turn<'_> {
    const fn now(&self) -> Now {
        let Moment { wall_us, monotonic, quality, .. } = self.at;
        Now { monotonic, wall_ms: wall_us.div_euclid(1000), quality }
    }
}

impl Worker {
    pub(super) fn run(mut self, mut wire: Wire) {
        let shared = Arc::clone(&self.shared);
        let tally = &shared.tallies[usize::from(self.index)];
        tally.beat(shared.clock.monotonic());
        while !self.stopping.load(Ordering::Acquire) {
            self.turn(&mut wire, &shared, tally);
        }
        self.leave(&mut wire, tally);
    }

    /// Waits for a batch and does all that is due.
    pub(super) fn turn(&mut self, wire: &mut Wire, shared: &Shared, tally: &Tally) {
        let count = self.take_in(wire, tally);
        // Before the view: time jumps only when a view that has a plan for it is there.
        let at = shared.clock.now();
        tally.beat(at.monotonic);
        let (view, keys) = (shared.views.load(), shared.keys.load());
        // The table of keys is there before the first worker is.
        let Some(keys) = keys.as_deref() else { return };
        let Shared { overlay, texts, fall_back_after_ms, .. } = shared;
        let world = World { view: view.as_deref(), overlay, keys, texts, fall_back_after_ms: *fall_back_after_ms };
        let turn = Turn { world, at, tally };
        let initiations = self.answer(&turn, wire, count);
        self.shake_hands(&turn, wire, initiations);
        self.deliver(&turn, wire);
        self.journal.publish();
    }

    /// Lays datagrams on the desk, behind those put off; gives how many lie there. What others hand over has at most half
    /// of the room, and what the socket has the other: a flood of the one does not starve the other.
    fn take_in(&mut self, wire: &mut Wire, tally: &Tally) -> usize {
        let mut count = self.desk.put_off;
        let handed_end = count + (BATCH_MAX - count) / 2;
        while count < handed_end
            && let Ok(handed) = self.inbox.try_recv()
        {
            self.desk.datagrams[count] = handed;
            count += 1;
        }
        self.desk.handed = count;
        let received = if count == 0 && !self.desk.has_post {
            self.wait(wire)
        } else {
            wire.receive(&mut self.desk.datagrams[count..], Wait::No)
        };
        match received {
            Ok(received) => count + self.without_calls(count, received, tally),
            Err(Errno::EAGAIN | Errno::EINTR) => count,
            Err(_) => {
                tally.receive_failures.add(1);
                // A failure that lasts does not take the core; nobody unparks.
                std::thread::park_timeout(RECEIVE_PAUSE);
                count
            }
        }
    }

    /// Takes up to a batch, and sleeps if there is nothing: until a datagram comes, the bell rings, or something is due.
    fn wait(&mut self, wire: &mut Wire) -> Result<usize, Errno> {
        if !self.shared.spin.is_zero() {
            let until = self.shared.clock.monotonic() + self.shared.spin;
            while !self.bell.is_called() && self.shared.clock.monotonic() < until {
                match wire.receive(&mut self.desk.datagrams, Wait::No) {
                    Err(Errno::EAGAIN) => {}
                    done => return done,
                }
            }
        }
        let wait = match (self.bell.may_sleep(), self.core.next_timeout()) {
            (false, _) => Wait::No,
            (true, None) => Wait::ForOne,
            (true, Some(due)) => {
                let patience = due.saturating_sub(self.shared.clock.monotonic()).min(self.patience);
                // An interrupted sleep is a short one.
                let _ =
                    poll(&mut [PollFd::new(wire.socket(), PollFlags::IN)], Timespec::try_from(patience).ok().as_ref());
                Wait::No
            }
        };
        let received = wire.receive(&mut self.desk.datagrams, wait);
        self.bell.awake();
        received
    }

    /// Clears the bell's calls away from the `received` datagrams behind the first `count`; gives how many are left.
    fn without_calls(&mut self, count: usize, received: usize, tally: &Tally) -> usize {
        let (mut place, mut end) = (count, count + received);
        while place < end {
            let datagram = &self.desk.datagrams[place];
            if self.bell.is_call(datagram.bytes(), datagram.from) {
                end -= 1;
                self.desk.datagrams.swap(place, end);
            } else {
                place += 1;
            }
        }
        tally.received.add((end - count) as u64);
        end - count
    }

    /// Answers the first `count` datagrams but for the initiations, and gives where those lie.
    fn answer(&mut self, turn: &Turn<'_>, wire: &mut Wire, count: usize) -> Places {
        let Turn { world, tally, .. } = turn;
        let now = turn.now();
        let mut opened: [Option<Opened>; BATCH_MAX] = [const { None }; BATCH_MAX];
        let (mut initiations, mut replies) = (Places::NONE, Places::NONE);
        for (place, opened) in opened.iter_mut().enumerate().take(count) {
            let (datagram, out) = (&mut self.desk.datagrams[place], &mut self.desk.outs[place]);
            match self.core.open(world, now, datagram.from, datagram.bytes_mut(), out) {
                Opening::Sealed(sealed) => *opened = Some(sealed),
                Opening::Initiation => initiations.add(place),
                Opening::Over(outcome) => replies.add_if(self.settle(place, outcome, tally), place),
            }
        }
        for (place, opened) in opened.into_iter().enumerate().take(count) {
            let Some(opened) = opened else { continue };
            let (datagram, out) = (&self.desk.datagrams[place], &mut self.desk.outs[place]);
            let outcome = self.core.answer(world, now, datagram.from, opened, out);
            replies.add_if(self.settle(place, outcome, tally), place);
        }
        self.send(wire, replies, tally);
        let sent = if replies.is_empty() { turn.at.monotonic } else { self.shared.clock.monotonic() };
        let mut asked = 0;
        for place in 0..count {
            asked += u64::from(self.note_effects(turn, place));
        }
        tally.service.record_times(sent.saturating_sub(turn.at.monotonic), asked);
        self.journal.publish();
        initiations
    }

    /// Shakes hands with those who want to at `initiations`, until as many as a turn has time for have proved authentic; the
    /// others are put off to the next turn, which answers what comes in between first.
    fn shake_hands(&mut self, turn: &Turn<'_>, wire: &mut Wire, mut initiations: Places) {
        let (mut authentic, mut replies) = (0, Places::NONE);
        while authentic < HANDSHAKES_A_TURN
            && let Some(place) = initiations.next()
        {
            let (datagram, out) = (&mut self.desk.datagrams[place], &mut self.desk.outs[place]);
            let outcome = self.core.shake_hands(&turn.world, turn.now(), datagram.from, datagram.bytes_mut(), out);
            authentic += usize::from(!out.effects().is_empty());
            replies.add_if(self.settle(place, outcome, turn.tally), place);
            self.note_effects(turn, place);
        }
        self.send(wire, replies, turn.tally);
        self.desk.put_off = 0;
        for place in initiations {
            self.desk.datagrams.swap(self.desk.put_off, place);
            self.desk.put_off += 1;
        }
    }

    /// Counts what became of the datagram at `place`, or hands it over; says whether a reply is to be sent.
    fn settle(&self, place: usize, outcome: Outcome, tally: &Tally) -> bool {
        match outcome {
            Outcome::Reply(_) => return true,
            Outcome::HandOver { worker } => self.hand_over(worker, &self.desk.datagrams[place], tally),
            Outcome::Silent => {}
            Outcome::Dropped(reason) => tally.dropped(reason).add(1),
        }
        false
    }

    fn send(&self, wire: &mut Wire, replies: Places, tally: &Tally) {
        let replies = if self.desk.handed == 0 { replies } else { self.without_lines(replies) };
        if !replies.is_empty() {
            tally.sent(wire.send(self.desk.replies(replies)));
        }
    }

    /// Leaves those of `replies` that go to serial lines where these take them; gives the others.
    fn without_lines(&self, replies: Places) -> Places {
        let mut others = Places::NONE;
        for place in replies {
            let (to, reply) = (self.desk.datagrams[place].from, self.desk.outs[place].datagram());
            others.add_if(place >= self.desk.handed || !self.shared.lines.take(to, reply), place);
        }
        others
    }

    fn hand_over(&self, worker: u8, datagram: &Datagram, tally: &Tally) {
        let door = self.doors.get(usize::from(worker));
        match door.filter(|door| door.door.try_send(*datagram).is_ok()) {
            Some(Door { bell, .. }) => {
                tally.handed_over.add(1);
                bell.ring();
            }
            // A reader whose datagram is lost here sends again.
            None => tally.hand_over_lost.add(1),
        }
    }
}
