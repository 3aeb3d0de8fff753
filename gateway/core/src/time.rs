//! Time as it is passed in. Nothing in the core reads a clock.

use core::time::Duration;

pub use kalitka_protocol::event::ClockQuality;

/// A second of wall time, counted from 1970 (UTC, leap seconds not counted).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixSeconds(pub i64);

/// The second to decide by, and how well it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// The second.
    pub seconds: UnixSeconds,
    /// How well it is known: what is good decides by itself, what is held is not asked about schedules of whom the
    /// building cannot do without, and of none nothing follows.
    pub quality: ClockQuality,
}

impl Time {
    /// A second that is known.
    #[must_use]
    pub const fn good(seconds: UnixSeconds) -> Self {
        Self { seconds, quality: ClockQuality::Good }
    }
}

/// The moment of one batch of datagrams, by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Since a fixed moment of the process's life; never goes back. Sessions are timed by it.
    pub monotonic: Duration,
    /// Milliseconds since 1970, as a [`Timekeeper`](crate::Timekeeper) reckons. Schedules and validity are judged by it.
    pub wall_ms: i64,
    /// How well that is known.
    pub quality: ClockQuality,
}

impl Now {
    /// The moment at which a good clock shows the beginning of a second.
    #[must_use]
    pub const fn good(monotonic: Duration, second: UnixSeconds) -> Self {
        Self { monotonic, wall_ms: second.0.saturating_mul(1000), quality: ClockQuality::Good }
    }

    /// The whole second of wall time.
    #[must_use]
    pub const fn time(&self) -> Time {
        Time { seconds: UnixSeconds(self.wall_ms.div_euclid(1000)), quality: self.quality }
    }
}
