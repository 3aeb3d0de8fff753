//! One direction: the fate of each datagram, by a seed and the time that is passed in.
//!
//! A datagram that comes is dropped at random, waits in a queue of finite length for the line, takes its time on it by its
//! length, and arrives a delay later, in order, but for those that are held back. The dice for it are always thrown in the
//! same number, so that another line under the same seed meets the same chance.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;

use super::counts::{Counts, Dropped};
use super::line::Line;
use crate::limits::{MILLION, RELAY_WAITING_BYTES_MAX, RELAY_WAITING_MAX};

/// Bytes of IPv4 and UDP headers, which take their time on the line too.
const HEADERS: u64 = 28;

/// The direction; `T` is what stands for a datagram.
#[derive(Debug)]
pub struct Way<T> {
    line: Line,
    rng: Rng,
    /// When the line has sent all that waits for it.
    free_at: Duration,
    /// When the last datagram that was not held back arrives.
    arrives_at: Duration,
    cut: Cut,
    /// From when the line's cuts are counted.
    cuts_since: Duration,
    /// By when they are due, and the order in which they came.
    waiting: BTreeMap<(Duration, u64), Waiting<T>>,
    waiting_bytes: usize,
    next: u64,
    counts: Counts,
}

#[derive(Debug)]
struct Waiting<T> {
    len: usize,
    datagram: T,
}

/// Cut by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Not,
    Until(Duration),
    ForGood,
}

/// Everything that chance says about one datagram.
struct Dice {
    loss: u32,
    duplicate: u32,
    reorder: u32,
    /// Shares of jitter and of the time held back, of the datagram and of its copy.
    jitter: f64,
    held: f64,
    copy_held: f64,
}

impl Dice {
    fn throw(rng: &mut Rng) -> Self {
        let [loss, duplicate, reorder] = [(); 3].map(|()| rng.u32(..MILLION));
        let [jitter, held, copy_held] = [(); 3].map(|()| rng.f64());
        Self { loss, duplicate, reorder, jitter, held, copy_held }
    }
}

impl<T: Clone> Way<T> {
    /// A direction like `line`, with the chance of `seed`.
    #[must_use]
    pub fn new(line: Line, seed: u64) -> Self {
        Self {
            line,
            rng: Rng::with_seed(seed),
            free_at: Duration::ZERO,
            arrives_at: Duration::ZERO,
            cut: Cut::Not,
            cuts_since: Duration::ZERO,
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            next: 0,
            counts: Counts::default(),
        }
    }

    /// A datagram of `len` bytes comes.
    pub fn put(&mut self, now: Duration, len: usize, datagram: T) {
        self.counts.came += 1;
        let dice = Dice::throw(&mut self.rng);
        let due = match self.place(now, len, &dice) {
            Ok(due) => due,
            Err(why) => return self.counts.drop(why, 1),
        };
        if dice.duplicate < self.line.duplicate_millionths {
            self.counts.copied += 1;
            self.wait(due + self.line.held.mul_f64(dice.copy_held), len, datagram.clone());
        }
        self.wait(due, len, datagram);
    }

    /// When it arrives, or why not.
    fn place(&mut self, now: Duration, len: usize, dice: &Dice) -> Result<Duration, Dropped> {
        if self.is_cut(now) {
            return Err(Dropped::Cut);
        }
        if dice.loss < self.line.loss_millionths {
            return Err(Dropped::Lost);
        }
        let free_at = self.free_at.max(now);
        if self.line.rate.is_some() && free_at - now > self.line.time(self.line.queue) {
            return Err(Dropped::QueueFull);
        }
        self.free_at = free_at + self.line.time(len as u64 + HEADERS);
        let due = (self.free_at + self.line.delay + self.line.jitter.mul_f64(dice.jitter)).max(self.arrives_at);
        if dice.reorder < self.line.reorder_millionths {
            self.counts.held_back += 1;
            return Ok(due + self.line.held.mul_f64(dice.held));
        }
        self.arrives_at = due;
        Ok(due)
    }

    fn wait(&mut self, due: Duration, len: usize, datagram: T) {
        if self.waiting.len() >= RELAY_WAITING_MAX || self.waiting_bytes + len > RELAY_WAITING_BYTES_MAX {
            return self.counts.drop(Dropped::RelayFull, 1);
        }
        self.waiting_bytes += len;
        self.waiting.insert((due, self.next), Waiting { len, datagram });
        self.next += 1;
    }

    /// The next datagram that has arrived by `now`. What arrives at a cut line is dropped.
    pub fn arrived(&mut self, now: Duration) -> Option<T> {
        while self.due().is_some_and(|due| due <= now) {
            let (_, Waiting { len, datagram }) = self.waiting.pop_first()?;
            self.waiting_bytes -= len;
            if self.is_cut(now) {
                self.counts.drop(Dropped::Cut, 1);
                continue;
            }
            self.counts.pass(len);
            return Some(datagram);
        }
        None
    }

    /// When the next datagram arrives.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        self.waiting.first_key_value().map(|((due, _), _)| *due)
    }

    /// What came last from [`arrived`](Self::arrived), of `len` bytes, could not be handed on after all.
    pub fn take_back(&mut self, len: usize, why: Dropped) {
        self.counts.passed -= 1;
        self.counts.bytes -= len as u64;
        self.counts.drop(why, 1);
    }

    /// `count` datagrams were dropped before they came here.
    pub fn dropped(&mut self, why: Dropped, count: u64) {
        self.counts.came += if why == Dropped::Kernel { 0 } else { count };
        self.counts.drop(why, count);
    }

    /// Makes it another line from now on.
    pub fn change(&mut self, now: Duration, change: impl FnOnce(&mut Line)) {
        let before = self.line;
        change(&mut self.line);
        if self.line.cuts != before.cuts {
            self.cuts_since = now;
        }
        if self.line.rate != before.rate {
            // What waits under the old rate holds nobody up for longer than a full queue does under the new one.
            self.free_at = self.free_at.min(now + self.line.time(self.line.queue));
        }
        // The new delay may be shorter: what has left already arrives as it would have, and may be overtaken.
        self.arrives_at = self.arrives_at.min(now + self.line.delay);
    }

    /// Cuts it for a time, or for good. What is under way is dropped if it arrives meanwhile.
    pub fn cut(&mut self, now: Duration, time: Option<Duration>) {
        self.cut = time.map_or(Cut::ForGood, |time| Cut::Until(now.saturating_add(time)));
    }

    /// Mends what was cut by hand.
    pub fn mend(&mut self) {
        self.cut = Cut::Not;
    }

    /// Whether it is cut, by hand or by the clock.
    #[must_use]
    pub fn is_cut(&self, now: Duration) -> bool {
        let by_hand = match self.cut {
            Cut::Not => false,
            Cut::Until(end) => now < end,
            Cut::ForGood => true,
        };
        by_hand || self.line.cuts.is_some_and(|cuts| cuts.is_cut(now.saturating_sub(self.cuts_since)))
    }

    /// What it is like.
    #[must_use]
    pub const fn line(&self) -> &Line {
        &self.line
    }

    /// What became of the datagrams.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Datagrams under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.waiting.len()
    }
}
