//! Pauses between attempts.

use std::time::Duration;

use crate::limits::{BACKOFF_FIRST, BACKOFF_MAX};

/// Grows with each failure in a row, to a bound. Each pause is random below what it has grown to, so that the gateways of a
/// city do not come back to a hub at the same moment; at the bound it is random in the upper half, so that none of them comes
/// back much later than the others.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
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

    /// The pause after one more failure; `chance` is random, from 0 to 1.
    pub(crate) fn pause(&mut self, chance: f64) -> Duration {
        let grown = BACKOFF_FIRST.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        let chance = chance.clamp(0.0, 1.0);
        if grown < BACKOFF_MAX { grown.mul_f64(chance) } else { BACKOFF_MAX.mul_f64(f64::midpoint(1.0, chance)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_the_bound_and_begin_anew() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u128> = (0..40).map(|_| backoff.pause(1.0).as_millis()).collect();
        assert_eq!(pauses[..8], [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        assert!(pauses[8..].iter().all(|&pause| pause == 30_000));
        backoff.reset();
        assert_eq!(backoff.pause(1.0), BACKOFF_FIRST);
    }

    #[test]
    fn pause_is_anywhere_below_what_it_has_grown_to() {
        for (chance, pause) in [(0.0, 0), (0.5, 250), (1.0, 500)] {
            assert_eq!(Backoff::default().pause(chance), Duration::from_millis(pause));
        }
    }

    #[test]
    fn pause_at_the_bound_is_in_its_upper_half() {
        for (chance, pause) in [(0.0, 15_000), (0.5, 22_500), (1.0, 30_000)] {
            let mut backoff = Backoff { failures: 6 };
            assert_eq!(backoff.pause(chance), Duration::from_millis(pause));
        }
    }
}
