//! Time as it is passed in. Nothing in the core reads a clock.

use core::time::Duration;

/// A second of wall time, counted from 1970 (UTC, leap seconds not counted).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixSeconds(pub i64);

/// The moment of one batch of datagrams, by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Since a fixed moment of the process's life; never goes back. Sessions are timed by it.
    pub monotonic: Duration,
    /// Milliseconds since 1970. Schedules and validity are judged by it.
    pub wall_ms: i64,
}

impl Now {
    /// The whole second of wall time.
    #[must_use]
    pub const fn seconds(&self) -> UnixSeconds {
        UnixSeconds(self.wall_ms.div_euclid(1000))
    }
}
