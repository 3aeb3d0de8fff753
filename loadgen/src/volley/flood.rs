//! Junk by the hundred thousand.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;

use super::datagrams;
use super::drive::{Clock, Pace};
use super::junk::{Junk, Prey, lots};
use super::line::{BATCH, Headers, Line};
use super::slice::Slice;
use crate::limits::{FLOOD_EVERY, FLOOD_TRAIN_MAX, SOCKETS_MAX};

/// Sockets and datagrams of a flood.
pub struct Flood {
    pools: Vec<Pool>,
}

/// Datagrams of one length, sent in turn over a socket of their own.
struct Pool {
    line: Line,
    len: usize,
    bytes: Vec<u8>,
    next: usize,
}

impl Flood {
    /// A flood of `server` with `kinds` in turn, made of `prey`.
    ///
    /// # Errors
    /// What the sockets say; [`io::ErrorKind::InvalidInput`] when there is no kind, or one needs what nobody has sent.
    pub fn new(server: SocketAddr, kinds: &[Junk], prey: &[Prey], seed: u64) -> io::Result<Self> {
        let mut rng = Rng::with_seed(seed);
        let mut pools = Vec::new();
        for &kind in kinds {
            for lot in lots(kind, prey, &mut rng)? {
                let mut line = Line::open(server, SOCKETS_MAX + pools.len())?;
                line.send_trains_of(lot.len);
                pools.push(Pool { line, len: lot.len, bytes: lot.bytes, next: 0 });
            }
        }
        if pools.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a flood of nothing"));
        }
        Ok(Self { pools })
    }

    /// Sends `per_second` datagrams a second, in a burst every [`FLOOD_EVERY`], for `duration` or until `stop`.
    ///
    /// # Errors
    /// What the sockets say.
    pub fn run(&mut self, per_second: u32, duration: Duration, stop: &AtomicBool) -> io::Result<Slice> {
        let pace = Pace { per_second, total: datagrams(per_second.into(), duration) as u64 };
        let (mut slice, mut headers) = (Slice::new(), Headers::new());
        let (clock, mut turn) = (Clock::start(), 0);
        while slice.datagrams < pace.total && !stop.load(Ordering::Relaxed) {
            let due = pace.due_by(clock.now());
            while slice.datagrams < due {
                let late = clock.now().saturating_sub(pace.moment(slice.datagrams));
                let wanted = usize::try_from(due - slice.datagrams).unwrap_or(usize::MAX).min(FLOOD_TRAIN_MAX);
                turn = (turn + 1) % self.pools.len();
                let sent = self.pools[turn].send(&mut headers, wanted)? as u64;
                slice.lateness.saturating_record_n(late, sent);
                slice.datagrams += sent;
            }
            std::thread::sleep(FLOOD_EVERY);
        }
        clock.stop(&mut slice, None);
        slice.sending = slice.ran_for;
        for pool in &self.pools {
            slice.received += pool.drain(&mut headers)?;
        }
        Ok(slice)
    }
}

impl Pool {
    /// Sends the next datagrams, `wanted` at most; gives how many went.
    fn send(&mut self, headers: &mut Headers, wanted: usize) -> io::Result<usize> {
        let count = wanted.min(self.bytes.len() / self.len - self.next);
        let train = &self.bytes[self.next * self.len..(self.next + count) * self.len];
        self.line.send(headers, train, self.len)?;
        self.next = (self.next + count) % (self.bytes.len() / self.len);
        Ok(count)
    }

    /// Throws away what came back; gives how much it was.
    fn drain(&self, headers: &mut Headers) -> io::Result<u64> {
        let (mut lens, mut slots, mut received) = ([0; BATCH], [0; BATCH], 0);
        loop {
            match self.line.receive(headers, &mut slots, 1, &mut lens)?.len() as u64 {
                0 => return Ok(received),
                some => received += some,
            }
        }
    }
}
