//! How far long work has got, on standard error.

use std::io::Write;
use std::time::Duration;

use crate::clock::Clock;

/// Work that is done sooner says nothing, and then it speaks as often.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Progress {
    what: &'static str,
    clock: Clock,
    next: Duration,
}

impl Progress {
    pub(super) fn start(what: &'static str) -> Self {
        Self { what, clock: Clock::start(), next: PAUSE }
    }

    /// `done` bytes of `of` are done.
    pub(super) fn at(&mut self, done: u64, of: u64) {
        let now = self.clock.monotonic();
        if now >= self.next {
            self.next = now + PAUSE;
            let (percent, mebibytes) = (done.saturating_mul(100) / of.max(1), of >> 20);
            // With standard error gone there is nobody left to tell.
            let _ = writeln!(std::io::stderr(), "{percent:3} % of {mebibytes} MiB {}", self.what);
        }
    }
}
