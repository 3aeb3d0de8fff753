//! What happens while the clock runs: nothing but sends and receives.

use std::io;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::lane::Lane;
use super::line::{Headers, Line};
use super::slice::Slice;
use super::{Volley, Waiting};
use crate::cpu::of_this_thread;
use crate::limits::{LOST_AFTER, NAP, NAP_WINDOW_MIN, TRAIN_MAX};

/// Most datagrams of an open loop that go in one train: they are due at different moments.
const LATE_TRAIN_MAX: usize = 16;

/// The clock of a slice, from its beginning.
pub(super) struct Clock {
    begun: Instant,
    cpu: Duration,
}

impl Clock {
    pub(super) fn start() -> Self {
        // The kernel may otherwise wake this thread 50 µs late. Refused: then lateness says so.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let cpu = of_this_thread();
        Self { begun: Instant::now(), cpu }
    }

    /// Nanoseconds since the beginning.
    pub(super) fn now(&self) -> u64 {
        nanos(self.begun.elapsed())
    }

    /// Ends the slice.
    pub(super) fn stop(&self, slice: &mut Slice, last: Option<u64>) {
        slice.generator_cpu = of_this_thread().saturating_sub(self.cpu);
        slice.ran_for = self.begun.elapsed();
        slice.elapsed = last.map_or(slice.ran_for, Duration::from_nanos);
    }
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Lanes in the order in which they take turns.
struct Turns {
    /// The lanes of each line.
    of: Vec<Vec<usize>>,
    next: Vec<usize>,
}

impl Turns {
    fn new(lines: usize, lanes: &[Lane]) -> Self {
        let of = |line| (0..lanes.len()).filter(|&lane| lanes[lane].line == line).collect();
        Self { of: (0..lines).map(of).collect(), next: vec![0; lines] }
    }

    /// The lane whose turn it is at `line`.
    fn take(&mut self, line: usize) -> usize {
        let (of, next) = (&self.of[line], &mut self.next[line]);
        let lane = of[*next];
        *next = (*next + 1) % of.len();
        lane
    }
}

/// Keeps `window` datagrams outstanding.
pub(super) fn closed(volley: &mut Volley<'_>, window: usize, duration: Duration) -> io::Result<Slice> {
    let lines = volley.lines.len();
    let mut turns = Turns::new(lines, &volley.lanes);
    let shares: Vec<usize> = (0..lines).map(|line| (window + lines - 1 - line) / lines).collect();
    let mut outstanding = vec![0usize; lines];
    let (mut slice, end) = (Slice::new(), nanos(duration));
    let mut headers = Headers::new();
    let (clock, mut heard) = (Clock::start(), 0);
    loop {
        let now = clock.now();
        for line in 0..lines {
            let room = shares[line] - outstanding[line];
            if now < end && !slice.ran_out && room > 0 {
                outstanding[line] += fill(volley, &mut headers, &mut turns, (line, room), now, &mut slice)?;
            }
        }
        let mut came = 0;
        for (line, outstanding) in volley.lines.iter().zip(&mut outstanding).filter(|(_, count)| **count > 0) {
            let taken = volley.catch.take(line, &mut headers, || clock.now())?;
            *outstanding = outstanding.saturating_sub(taken);
            came += taken;
        }
        if came > 0 {
            heard = clock.now();
        } else if now >= heard + nanos(LOST_AFTER) {
            heard = now;
            outstanding.fill(0);
        }
        if (now >= end || slice.ran_out) && outstanding.iter().all(|&count| count == 0) {
            break;
        }
        if came == 0 || came < window / 4 {
            rest(&volley.lines, window)?;
        }
    }
    clock.stop(&mut slice, volley.catch.last());
    Ok(slice)
}

/// Sends `room` datagrams on `line`, in as few trains as can be; gives how many went.
fn fill(
    volley: &mut Volley<'_>,
    headers: &mut Headers,
    turns: &mut Turns,
    (line, room): (usize, usize),
    now: u64,
    slice: &mut Slice,
) -> io::Result<usize> {
    let len = volley.datagram_len();
    let mut sent = 0;
    while sent < room {
        let lane = &mut volley.lanes[turns.take(line)];
        let count = TRAIN_MAX.min(room - sent).min(lane.left());
        if count == 0 || volley.catch.room() < room {
            slice.ran_out = true;
            break;
        }
        volley.lines[line].send(headers, lane.take(count, |_| now), len)?;
        sent += count;
    }
    slice.datagrams += sent as u64;
    slice.sending = Duration::from_nanos(now);
    Ok(sent)
}

/// Waits for something to come, or only a moment when there is much on its way.
fn rest(lines: &[Line], window: usize) -> io::Result<()> {
    if window >= NAP_WINDOW_MIN {
        std::thread::sleep(NAP);
        return Ok(());
    }
    wait(lines, LOST_AFTER)
}

/// Sleeps until something has come to one of `lines`, `patience` at most.
fn wait(lines: &[Line], patience: Duration) -> io::Result<()> {
    let tv_sec = i64::try_from(patience.as_secs()).unwrap_or(i64::MAX);
    let timeout = Timespec { tv_sec, tv_nsec: patience.subsec_nanos().into() };
    let mut polled: Vec<_> = lines.iter().map(|line| PollFd::new(line.socket(), PollFlags::IN)).collect();
    match poll(&mut polled, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// When datagrams of an open loop are due, in nanoseconds from the beginning of the slice.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    pub(super) per_second: u32,
    pub(super) total: u64,
}

impl Pace {
    /// When datagram `number` is due, counted from 0.
    pub(super) fn moment(self, number: u64) -> u64 {
        let moment = u128::from(number) * 1_000_000_000 / u128::from(self.per_second.max(1));
        u64::try_from(moment).unwrap_or(u64::MAX)
    }

    /// How many are due at `now`.
    pub(super) fn due_by(self, now: u64) -> u64 {
        let before = u128::from(now) * u128::from(self.per_second) / 1_000_000_000;
        u64::try_from(before).unwrap_or(u64::MAX).saturating_add(1).min(self.total)
    }
}

/// Sends what `pace` says, each datagram at its moment or as soon after it as can be.
pub(super) fn open(volley: &mut Volley<'_>, pace: Pace, waiting: Waiting) -> io::Result<Slice> {
    let sealed: usize = volley.lanes.iter().map(Lane::left).sum();
    let pace = Pace { total: pace.total.min(sealed as u64), ..pace };
    let last = pace.moment(pace.total.saturating_sub(1));
    let (mut slice, mut headers) = (Slice::new(), Headers::new());
    let (clock, mut heard, mut turn) = (Clock::start(), 0, 0);
    loop {
        let now = clock.now();
        while slice.datagrams < pace.due_by(now) {
            turn = (turn + 1) % volley.lanes.len();
            send_due(volley, &mut headers, turn, (pace, &clock), &mut slice)?;
        }
        let mut came = 0;
        for line in &volley.lines {
            came += volley.catch.take(line, &mut headers, || clock.now())?;
        }
        if came > 0 {
            heard = clock.now();
        }
        let is_sent = slice.datagrams == pace.total;
        let given_up = heard.max(last) + nanos(LOST_AFTER);
        if is_sent && (volley.catch.len() as u64 >= pace.total || now >= given_up) {
            break;
        }
        if came == 0 && waiting == Waiting::Block {
            let next = if is_sent { given_up } else { pace.moment(slice.datagrams) };
            wait(&volley.lines, Duration::from_nanos(next.saturating_sub(clock.now())))?;
        }
    }
    clock.stop(&mut slice, volley.catch.last());
    Ok(slice)
}

/// Sends what is due and not sent yet from the lane in place `turn`, as far as one train goes.
fn send_due(
    volley: &mut Volley<'_>,
    headers: &mut Headers,
    turn: usize,
    (pace, clock): (Pace, &Clock),
    slice: &mut Slice,
) -> io::Result<()> {
    let (now, first, len) = (clock.now(), slice.datagrams, volley.datagram_len());
    let lane = &mut volley.lanes[turn];
    let due = usize::try_from(pace.due_by(now) - first).unwrap_or(usize::MAX);
    let count = due.min(LATE_TRAIN_MAX).min(lane.left());
    for number in first..first + count as u64 {
        slice.lateness.saturating_record(now.saturating_sub(pace.moment(number)));
    }
    let line = &volley.lines[lane.line];
    line.send(headers, lane.take(count, |place| pace.moment(first + place as u64)), len)?;
    slice.datagrams += count as u64;
    slice.sending = Duration::from_nanos(now);
    Ok(())
}

/// Sends one datagram, waits for its answer, and so on.
pub(super) fn one_by_one(volley: &mut Volley<'_>, waiting: Waiting, duration: Duration) -> io::Result<Slice> {
    let (mut slice, end) = (Slice::new(), nanos(duration));
    volley.lines.iter().try_for_each(|line| line.set_patience(LOST_AFTER))?;
    let (clock, mut turn) = (Clock::start(), 0);
    loop {
        turn = (turn + 1) % volley.lanes.len();
        let lane = &mut volley.lanes[turn];
        slice.ran_out = lane.left() == 0 || volley.catch.room() == 0;
        let now = clock.now();
        if slice.ran_out || now >= end {
            break;
        }
        let line = &volley.lines[lane.line];
        line.send_one(lane.take(1, |_| now))?;
        slice.datagrams += 1;
        slice.sending = Duration::from_nanos(now);
        loop {
            let wait = waiting == Waiting::Block;
            if volley.catch.take_one(line, wait, || clock.now())? || clock.now() >= now + nanos(LOST_AFTER) {
                break;
            }
        }
    }
    clock.stop(&mut slice, volley.catch.last());
    Ok(slice)
}
