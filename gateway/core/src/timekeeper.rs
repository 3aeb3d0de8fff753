//! What time it is, by clocks that may be wrong.
//!
//! A wall clock is believed while somebody vouches for it: whoever keeps the machine's clock by a source outside. Until
//! then, and when it does what nobody vouches for, time is *held*: it goes on by the monotonic clock from where it was, and
//! at the start from the *floor*, the newest moment that is known to have passed. Without a floor there is *none*.
//!
//! The table of its transitions, with the reasons, is decision 12 (`docs/decisions/`); `tests/timekeeper.rs` walks it.

use core::time::Duration;

use kalitka_protocol::event::ClockQuality;

use crate::limits::{CLOCK_BACK_US, CLOCK_COAST, CLOCK_CONFIRM, CLOCK_JUMP_US, PLAUSIBLE_FROM_US};
use crate::time::UnixSeconds;

/// Who vouches for the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Nobody.
    Nobody,
    /// Nobody now, but somebody has since the machine was started, and nothing is known to have set it since.
    Earlier,
    /// Somebody, now.
    Vouched,
}

/// The clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Since a fixed moment of the process's life; never goes back.
    pub monotonic: Duration,
    /// Microseconds since 1970, as the wall clock says.
    pub wall_us: i64,
    /// Who vouches for the wall clock.
    pub word: Word,
}

impl Reading {
    /// Wall clock less monotonic clock.
    fn offset_us(&self) -> i64 {
        self.wall_us.saturating_sub(micros(self.monotonic))
    }
}

/// The time to decide by, as a function of the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reckoned {
    /// What is added to the monotonic clock, in microseconds.
    pub offset_us: i64,
    /// How well the sum is known.
    pub quality: ClockQuality,
}

impl Reckoned {
    /// Before any clock was read.
    pub const NONE: Self = Self { offset_us: 0, quality: ClockQuality::None };

    /// Microseconds since 1970 at `monotonic`.
    #[must_use]
    pub fn wall_us(&self, monotonic: Duration) -> i64 {
        self.offset_us.saturating_add(micros(monotonic))
    }

    /// The whole second at `monotonic`.
    #[must_use]
    pub fn seconds(&self, monotonic: Duration) -> UnixSeconds {
        UnixSeconds(self.wall_us(monotonic).div_euclid(1_000_000))
    }
}

/// Reckons the time to decide by, reading by reading.
#[derive(Clone, Debug)]
pub struct Timekeeper {
    reckoned: Reckoned,
    /// The wall clock's own offset at the reading before.
    seen_us: Option<i64>,
    /// The highest offset that was believed: time does not go back behind it for one word.
    highest_us: Option<i64>,
    /// When the wall clock was last believed on somebody's word.
    vouched_at: Duration,
    /// Since when somebody has vouched without a break for a wall clock that has not jumped.
    steady_since: Option<Duration>,
    /// When the snapshot in force was made.
    snapshot_us: Option<i64>,
    /// When the newest durable event happened.
    committed_us: Option<i64>,
    jumps: u64,
}

impl Default for Timekeeper {
    fn default() -> Self {
        Self {
            reckoned: Reckoned::NONE,
            seen_us: None,
            highest_us: None,
            vouched_at: Duration::ZERO,
            steady_since: None,
            snapshot_us: None,
            committed_us: None,
            jumps: 0,
        }
    }
}

impl Timekeeper {
    /// A snapshot made at `created` is in force: no earlier moment can be now. It takes the place of the one before.
    pub const fn adopted(&mut self, created: UnixSeconds) {
        self.snapshot_us = plausible(created.0.saturating_mul(1_000_000));
    }

    /// The newest durable event happened at `wall_us`, by the time that was decided by. To be told once: what a wall clock that
    /// is vouched for has refuted since is no floor any more.
    pub fn committed(&mut self, wall_us: i64) {
        self.committed_us = plausible(wall_us).max(self.committed_us);
    }

    /// What is reckoned since the last reading.
    #[must_use]
    pub const fn reckoned(&self) -> Reckoned {
        self.reckoned
    }

    /// How often the wall clock, or the time to decide by, has jumped.
    #[must_use]
    pub const fn jumps(&self) -> u64 {
        self.jumps
    }

    /// Takes a reading; gives the time to decide by from now on.
    pub fn read(&mut self, reading: Reading) -> Reckoned {
        let offset_us = reading.offset_us();
        let seen = self.seen_us.replace(offset_us);
        let set = seen.is_some_and(|seen| far(seen, offset_us));
        let is_steady = self.steady(reading, set);
        let next = if self.is_believed(reading, seen.is_none(), is_steady) {
            self.vouched_at = reading.monotonic;
            if is_steady {
                // Whatever was thought to be later was wrong.
                self.highest_us = None;
                self.committed_us = self.committed_us.map(|committed| committed.min(reading.wall_us));
            }
            self.highest_us = self.highest_us.max(Some(offset_us));
            Reckoned { offset_us, quality: ClockQuality::Good }
        } else {
            self.hold(reading, set)
        };
        let before = core::mem::replace(&mut self.reckoned, next);
        self.jumps += u64::from(set || seen.is_some() && far(before.offset_us, next.offset_us));
        next
    }

    /// Notes since when the word has stood; says whether that is long enough to follow it back in time.
    fn steady(&mut self, reading: Reading, set: bool) -> bool {
        if reading.word != Word::Vouched {
            self.steady_since = None;
            return false;
        }
        let since = self.steady_since.filter(|_| !set).unwrap_or(reading.monotonic);
        self.steady_since = Some(since);
        reading.monotonic.saturating_sub(since) >= CLOCK_CONFIRM
    }

    /// Whether the wall clock is what to decide by: on somebody's word, unless that leads behind what is known to have passed.
    fn is_believed(&self, reading: Reading, is_first: bool, is_steady: bool) -> bool {
        let is_behind =
            |known: Option<i64>| known.is_some_and(|known| reading.wall_us < known.saturating_sub(CLOCK_BACK_US));
        let has_word = match reading.word {
            Word::Nobody => false,
            Word::Earlier => is_first,
            Word::Vouched => true,
        };
        if !has_word || plausible(reading.wall_us).is_none() || is_behind(self.snapshot_us) {
            return false;
        }
        let reached = self.highest_us.map(|high| high.saturating_add(micros(reading.monotonic)));
        is_steady || !is_behind(self.own(reading.monotonic)) && !is_behind(reached.max(self.committed_us))
    }

    /// Time goes on by the monotonic clock.
    fn hold(&self, reading: Reading, set: bool) -> Reckoned {
        let offset_us = reading.offset_us();
        let Reckoned { offset_us: own_us, quality } = self.reckoned;
        let coasts = quality == ClockQuality::Good
            && reading.word != Word::Vouched
            && !set
            && !far(own_us, offset_us)
            && reading.monotonic.saturating_sub(self.vouched_at) <= CLOCK_COAST;
        if coasts {
            return self.reckoned;
        }
        match self.own(reading.monotonic).max(self.floor()) {
            Some(wall_us) => {
                Reckoned { offset_us: wall_us.saturating_sub(micros(reading.monotonic)), quality: ClockQuality::Held }
            }
            None => Reckoned { offset_us, quality: ClockQuality::None },
        }
    }

    /// The time as reckoned before, unless there is none.
    fn own(&self, monotonic: Duration) -> Option<i64> {
        (self.reckoned.quality != ClockQuality::None).then(|| self.reckoned.wall_us(monotonic))
    }

    /// The newest moment that is known to have passed.
    fn floor(&self) -> Option<i64> {
        self.snapshot_us.max(self.committed_us)
    }
}

/// `wall_us`, if it is not before there was this software.
const fn plausible(wall_us: i64) -> Option<i64> {
    if wall_us < PLAUSIBLE_FROM_US { None } else { Some(wall_us) }
}

const fn far(one_us: i64, other_us: i64) -> bool {
    one_us.saturating_sub(other_us).saturating_abs() > CLOCK_JUMP_US
}

fn micros(monotonic: Duration) -> i64 {
    i64::try_from(monotonic.as_micros()).unwrap_or(i64::MAX)
}
