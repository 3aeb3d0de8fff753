//! The only file of the gateway that reads clocks.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The process's clocks: monotonic time counts from when this was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts monotonic time.
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Time since the start; never goes back.
    pub(crate) fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    /// Microseconds since 1970 by the wall clock, which may jump.
    pub(crate) fn wall_us() -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |us| -us),
        }
    }

    /// Milliseconds since 1970 by the wall clock.
    pub(crate) fn wall_ms() -> i64 {
        Self::wall_us().div_euclid(1000)
    }

    /// Whole seconds since 1970 by the wall clock.
    pub(crate) fn wall_seconds() -> i64 {
        Self::wall_ms().div_euclid(1000)
    }
}
