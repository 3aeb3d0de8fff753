//! Follows time: reads the clocks again and again, and says by which time is decided from now on.
//!
//! It belongs to the adopter, because who decides must find a plan for the time that it decides by: the view is there first.

use kalitka_core::{ClockQuality, Reckoned, Timekeeper, UnixSeconds};

use crate::clock::Clock;
use crate::config::Trust;
use crate::metrics::names;

/// Reckons for all who decide and record by `clock`.
pub(crate) struct Timekeeping {
    clock: Clock,
    keeper: Timekeeper,
    vouched: bool,
    /// What was said last of how well time is known.
    told: Option<ClockQuality>,
}

/// What time is about to be, and what it would have been.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    reckoned: Reckoned,
    wall_us: i64,
    pub(crate) from: UnixSeconds,
    pub(crate) to: UnixSeconds,
}

impl Turn {
    /// The second to decide by, unless nothing is known of it.
    pub(crate) fn known(&self) -> Option<UnixSeconds> {
        (self.reckoned.quality != ClockQuality::None).then_some(self.to)
    }
}

impl Timekeeping {
    /// Nothing is reckoned until the first turn is [`settled`](Self::settle).
    pub(crate) fn new(clock: Clock, trust: Trust) -> Self {
        Self { clock, keeper: Timekeeper::default(), vouched: trust == Trust::Always, told: None }
    }

    /// A snapshot made at `created` is about to be in force.
    pub(crate) const fn adopted(&mut self, created: UnixSeconds) {
        self.keeper.adopted(created);
    }

    /// Reads the clocks. By what follows is decided once it is [`settled`](Self::settle).
    pub(crate) fn look(&mut self) -> Turn {
        if let Some(wall_us) = self.clock.take_committed() {
            self.keeper.committed(wall_us);
        }
        let reading = self.clock.read(self.vouched);
        let from = self.clock.at(reading.monotonic).seconds();
        let reckoned = self.keeper.read(reading);
        Turn { reckoned, wall_us: reading.wall_us, from, to: reckoned.seconds(reading.monotonic) }
    }

    /// From now on it is decided by the time that `turn` has found.
    pub(crate) fn settle(&mut self, turn: Turn) {
        let jumps = self.keeper.jumps();
        self.clock.reckon(turn.reckoned, jumps);
        let quality = turn.reckoned.quality;
        if self.told.replace(quality) != Some(quality) {
            tell(quality);
        }
        metrics::gauge!(names::CLOCK_QUALITY).set(f64::from(quality.code()));
        metrics::counter!(names::CLOCK_JUMPS).absolute(jumps);
        let reckoned_us = turn.reckoned.wall_us(self.clock.monotonic());
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; a century is below 2^52 microseconds")]
        metrics::gauge!(names::CLOCK_OFFSET).set(turn.wall_us.saturating_sub(reckoned_us) as f64 / 1e6);
    }
}

fn tell(quality: ClockQuality) {
    match quality {
        ClockQuality::Good => tracing::info!("the time is known"),
        ClockQuality::Held => tracing::warn!(
            "nobody vouches for the clock: time is held, and essential access levels pass whatever their schedules; see that \
             the system's time service runs and reaches its source, or set time.trust"
        ),
        ClockQuality::None => tracing::error!(
            "it is not known what time it is, and everybody is denied; see that the system's time service runs and reaches \
             its source, and that the snapshot was built by a right clock"
        ),
    }
}
