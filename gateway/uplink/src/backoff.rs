//! Pauses between attempts, and how long each of these waits.

use std::time::Duration;

use crate::limits::{BACKOFF_FIRST, BACKOFF_MAX, SILENCE_MAX, SILENCE_MIN, SILENCE_PART};

/// Doubles with each failure in a row, to a bound. The first pause is random, from half of its bound up to it, and evenly so
/// by its logarithm; the others follow from it. So the next attempts of a city's gateways, which lost their hub at one moment,
/// lie evenly over the time that the outage has lasted, whenever it ends, and none comes back much later than the others.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
    /// The part of each bound that this outage's pauses take.
    share: f64,
}

impl Backoff {
    /// Failures since the last good connection.
    pub(crate) const fn failures(&self) -> u32 {
        self.failures
    }

    /// A connection was good.
    pub(crate) const fn reset(&mut self) {
        self.failures = 0;
    }

    fn grown(&self) -> Duration {
        BACKOFF_FIRST.saturating_mul(1 << self.failures.min(16))
    }

    /// The pause after one more failure; `chance` is random, from 0 to 1.
    pub(crate) fn pause(&mut self, chance: f64) -> Duration {
        if self.failures == 0 {
            self.share = (-chance.clamp(0.0, 1.0)).exp2();
        }
        let pause = self.grown().mul_f64(self.share).min(BACKOFF_MAX);
        self.failures = self.failures.saturating_add(1);
        pause
    }

    /// How long the hub may be silent before the next attempt counts as failed. Short beside the pauses, or else half of a
    /// city is in an attempt when its hub comes back, and finds it long before those that pause; the first attempt and late
    /// ones have time for a slow line.
    pub(crate) fn patience(&self) -> Duration {
        if self.failures == 0 { SILENCE_MAX } else { (self.grown() / SILENCE_PART).clamp(SILENCE_MIN, SILENCE_MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::ROUND_TRIP_FIRST;

    #[test]
    fn pauses_double_to_the_bound_and_begin_anew() {
        for (chance, first) in [(0.0, 1000), (1.0, 500)] {
            let mut backoff = Backoff::default();
            // Only the first one is drawn.
            let pauses: Vec<u128> =
                (0..40).map(|place| backoff.pause(if place == 0 { chance } else { 0.3 }).as_millis()).collect();
            let expected: Vec<u128> = (0..40).map(|place| (first << place.min(16)).min(30_000)).collect();
            assert_eq!(pauses, expected);
            backoff.reset();
            assert_eq!(backoff.pause(0.0), BACKOFF_FIRST);
        }
    }

    #[test]
    fn patience_is_long_at_first_and_then_a_part_of_the_pause() {
        let expected = [4000, 600, 600, 600, 800, 1600, 3200, 4000, 4000];
        for (failures, patience) in (0..).zip(expected) {
            assert_eq!(Backoff { failures, share: 1.0 }.patience(), Duration::from_millis(patience), "{failures}");
        }
    }

    /// Seconds that a hub may take to greet them all.
    const GREETING: f64 = 1.0;

    /// A hub may come back at any moment of an outage: none of its gateways is to be starved.
    #[test]
    fn slowest_of_a_city_is_back_within_three_times_the_median() {
        let mut rng = fastrand::Rng::with_seed(7);
        for returned in (1..=60).chain([300, 3600]).map(f64::from) {
            let mut waits: Vec<f64> = (0..1000).map(|_| wait(&mut rng, returned)).collect();
            waits.sort_by(f64::total_cmp);
            let (median, slowest) = (waits[500] + GREETING, waits[999] + GREETING);
            assert!(slowest < 3.0 * median, "away for {returned} s: {median} {slowest}");
        }
    }

    /// How long after its return at `returned` a hub is heard by a gateway that lost it at 0.
    fn wait(rng: &mut fastrand::Rng, returned: f64) -> f64 {
        let mut backoff = Backoff::default();
        let mut now = 0.0;
        loop {
            now += backoff.pause(rng.f64()).as_secs_f64();
            let ends = now + backoff.patience().as_secs_f64();
            // Packets go out at the beginning and at gaps that double.
            let mut gap = 3.0 * ROUND_TRIP_FIRST.as_secs_f64();
            while now < ends {
                if now >= returned {
                    return now - returned;
                }
                now += gap;
                gap *= 2.0;
            }
            now = ends;
        }
    }
}
