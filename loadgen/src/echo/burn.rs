//! Burning a known time of one core.
//!
//! The loop is a chain of multiplications, each waiting for the one before, so its pace follows the core's clock and little
//! else: neither memory nor a busy neighbour on the same core's units changes it. No clock is read while it burns.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Steps of one round of calibration: some 200 µs, well under a scheduler's tick.
const ROUND_STEPS: u64 = 150_000;
/// Rounds of a calibration.
const ROUNDS: usize = 101;

/// How long a step of the loop takes.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Nanoseconds of one step, the median of all rounds.
    pub step_ns: f64,
    /// The same of the fastest and the slowest tenth of rounds.
    pub spread_ns: (f64, f64),
}

/// So many steps of the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burn {
    steps: u64,
}

impl Pace {
    /// Times the loop against the clock, several rounds long.
    #[must_use]
    pub fn calibrate() -> Self {
        burn(ROUND_STEPS);
        let mut rounds = [0.0; ROUNDS];
        for round in &mut rounds {
            let begun = Instant::now();
            burn(ROUND_STEPS);
            *round = nanos(begun.elapsed()) / steps_as_f64(ROUND_STEPS);
        }
        rounds.sort_by(f64::total_cmp);
        Self { step_ns: rounds[ROUNDS / 2], spread_ns: (rounds[ROUNDS / 10], rounds[ROUNDS - 1 - ROUNDS / 10]) }
    }

    /// What takes `duration` at this pace.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of steps, positive and small")]
    pub fn burn(&self, duration: Duration) -> Burn {
        Burn { steps: (nanos(duration) / self.step_ns).round() as u64 }
    }
}

impl Burn {
    /// Burns.
    #[inline]
    pub fn run(self) {
        burn(self.steps);
    }
}

#[inline]
fn burn(steps: u64) {
    let mut state = black_box(1_u64);
    for _ in 0..steps {
        // No closed form, or the compiler would jump ahead in the sequence.
        state = (state ^ (state >> 31)).wrapping_mul(0x5851_f42d_4c95_7f2d);
    }
    black_box(state);
}

fn nanos(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e9
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
const fn steps_as_f64(steps: u64) -> f64 {
    steps as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burn_takes_about_the_time_asked_for_and_twice_it_twice_as_long() {
        let pace = Pace::calibrate();
        assert!(pace.spread_ns.0 <= pace.step_ns && pace.step_ns <= pace.spread_ns.1, "{pace:?}");
        // The fastest of many: what else the machine does can only make a burn longer.
        let fastest = |duration| {
            let burn = pace.burn(duration);
            let time = || {
                let begun = Instant::now();
                burn.run();
                begun.elapsed()
            };
            (0..200).map(|_| time()).min().unwrap()
        };
        let (one, two) = (fastest(Duration::from_micros(50)), fastest(Duration::from_micros(100)));
        assert!((Duration::from_micros(20)..Duration::from_micros(125)).contains(&one), "{one:?}, {pace:?}");
        let ratio = two.as_secs_f64() / one.as_secs_f64();
        assert!((1.6..2.5).contains(&ratio), "{one:?}, {two:?}");
    }

    #[test]
    fn no_time_is_no_step() {
        let pace = Pace { step_ns: 1.5, spread_ns: (1.4, 1.6) };
        assert_eq!(pace.burn(Duration::ZERO), Burn { steps: 0 });
        assert_eq!(pace.burn(Duration::from_nanos(900)), Burn { steps: 600 });
    }
}
