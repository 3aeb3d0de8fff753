//! Which wall clock is believed when something is removed by its age for good.
//!
//! A clock that has jumped years ahead makes everything look old. So a clock is believed at once only while it goes on from
//! where it was believed before; one that is further ahead than that has to stay good and steady first. A box that was off for
//! half a year waits so long once; a clock that somebody sets right again within the day has removed nothing.

use std::time::Duration;

/// How far ahead of what is expected a clock is believed at once, unless what is removed is younger.
pub const AHEAD_MAX: Duration = Duration::from_secs(7 * 86_400);
/// How long one that is further ahead has to stay, unless what is removed is younger.
pub const SETTLE: Duration = Duration::from_secs(86_400);
/// How much a clock may be corrected meanwhile.
const SLEW_US: i64 = 300_000_000;

/// The newest moment that is believed to have come. Both clocks are passed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// That moment, microseconds since 1970, and the monotonic clock then.
    believed: Option<(i64, Duration)>,
    /// A clock that is further ahead: wall less monotonic clock, and since when.
    pending: Option<(i64, Duration)>,
    ahead: Duration,
    settle: Duration,
}

impl Horizon {
    /// One for the removal of what is older than `age`. `kept` is what an earlier process believed last, as
    /// [`believed_us`](Self::believed_us) gave it; what comes after it counts from `monotonic`.
    #[must_use]
    pub fn new(kept: Option<i64>, age: Duration, monotonic: Duration) -> Self {
        let believed = kept.map(|believed_us| (believed_us, monotonic));
        Self { believed, pending: None, ahead: AHEAD_MAX.min(age), settle: SETTLE.min(age) }
    }

    /// Looks at the clocks. Gives the moment by which ages may be judged; `None` while the wall clock is not good, or not
    /// believed yet.
    pub fn look(&mut self, wall_us: i64, monotonic: Duration, is_good: bool) -> Option<i64> {
        if !is_good {
            self.pending = None;
            return None;
        }
        let goes_on = self.believed.is_some_and(|(believed_us, at)| {
            let expected_us = believed_us.saturating_add(micros(monotonic.saturating_sub(at)));
            wall_us <= expected_us.saturating_add(micros(self.ahead))
        });
        if !goes_on && !self.has_settled(wall_us, monotonic) {
            return None;
        }
        self.pending = None;
        if self.believed.is_none_or(|(believed_us, _)| believed_us < wall_us) || !goes_on {
            self.believed = Some((wall_us, monotonic));
        }
        Some(wall_us)
    }

    /// Whether the clock has been as far ahead for long enough.
    fn has_settled(&mut self, wall_us: i64, monotonic: Duration) -> bool {
        let offset_us = wall_us.saturating_sub(micros(monotonic));
        match self.pending {
            Some((before_us, since)) if before_us.abs_diff(offset_us) <= SLEW_US.unsigned_abs() => {
                monotonic.saturating_sub(since) >= self.settle
            }
            _ => {
                self.pending = Some((offset_us, monotonic));
                false
            }
        }
    }

    /// What to keep for the next process.
    #[must_use]
    pub fn believed_us(&self) -> Option<i64> {
        self.believed.map(|(believed_us, _)| believed_us)
    }

    /// Whether a good clock is not believed yet.
    #[must_use]
    pub const fn is_waiting(&self) -> bool {
        self.pending.is_some()
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const DAY_US: i64 = 86_400_000_000;
    const NOW: i64 = 20_000 * DAY_US;
    const AGE: Duration = Duration::from_secs(90 * 86_400);

    fn hours(hours: u64) -> Duration {
        Duration::from_secs(hours * 3600)
    }

    #[test]
    fn clock_that_goes_on_is_believed_at_once() {
        let mut horizon = Horizon::new(Some(NOW), AGE, Duration::ZERO);
        // The box was off over a weekend.
        assert_eq!(horizon.look(NOW + 3 * DAY_US, hours(1), true), Some(NOW + 3 * DAY_US));
        assert_eq!(horizon.look(NOW + 4 * DAY_US, hours(25), true), Some(NOW + 4 * DAY_US));
        assert_eq!(horizon.believed_us(), Some(NOW + 4 * DAY_US));
        // It goes back: ages are judged by it, and what was believed stays so.
        assert_eq!(horizon.look(NOW, hours(26), true), Some(NOW));
        assert_eq!(horizon.look(NOW + 4 * DAY_US, hours(27), true), Some(NOW + 4 * DAY_US));
    }

    #[test]
    fn jump_of_ten_years_has_to_last_a_day() {
        let far = NOW + 3650 * DAY_US;
        let mut horizon = Horizon::new(Some(NOW), AGE, Duration::ZERO);
        assert_eq!(horizon.look(far, hours(0), true), None);
        assert!(horizon.is_waiting());
        assert_eq!(horizon.look(far + DAY_US * 23 / 24, hours(23), true), None);
        // Somebody sets it right: nothing has been judged by it.
        assert_eq!(horizon.look(NOW + DAY_US, hours(24), true), Some(NOW + DAY_US));
        assert!(!horizon.is_waiting());
        // Half a year of darkness: the same, and it lasts.
        let later = NOW + 180 * DAY_US;
        assert_eq!(horizon.look(later, hours(30), true), None);
        assert_eq!(horizon.look(later + DAY_US, hours(54), true), Some(later + DAY_US));
        assert_eq!(horizon.look(later + DAY_US + 1, hours(54), true), Some(later + DAY_US + 1));
    }

    #[test]
    fn clock_that_is_not_good_or_not_steady_does_not_settle() {
        let mut horizon = Horizon::new(None, AGE, Duration::ZERO);
        assert_eq!(horizon.look(NOW, hours(0), true), None, "nothing was believed before");
        assert_eq!(horizon.look(NOW + DAY_US, hours(24), false), None);
        assert_eq!(horizon.look(NOW + DAY_US, hours(24), true), None, "it begins anew");
        assert_eq!(horizon.look(NOW + 9 * DAY_US, hours(47), true), None, "it jumps on");
        assert_eq!(horizon.look(NOW + 9 * DAY_US + DAY_US * 23 / 24, hours(70), true), None);
        assert_eq!(horizon.look(NOW + 10 * DAY_US, hours(71), true), Some(NOW + 10 * DAY_US), "steady for a day");
    }

    #[test]
    fn short_age_waits_no_longer_than_itself() {
        let mut horizon = Horizon::new(None, Duration::from_secs(5), Duration::ZERO);
        assert_eq!(horizon.look(NOW, Duration::from_secs(1), true), None);
        assert_eq!(horizon.look(NOW + 5_000_000, Duration::from_secs(6), true), Some(NOW + 5_000_000));
        let mut day = Horizon::new(Some(NOW), DAY / 2, Duration::ZERO);
        assert_eq!(day.look(NOW + DAY_US, hours(1), true), None, "more ahead than what is kept is old");
    }
}
