//! When cards are shown: an open-loop schedule, fixed before the run, that does not wait for answers.

use std::f64::consts::TAU;
use std::time::Duration;

use fastrand::Rng;

/// Who comes when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    /// Before the first lesson: arrivals swell to 1.6 times the rate and ebb again, nearly all of them going in.
    Morning,
    /// Evenly spaced arrivals, as many out as in.
    Steady,
    /// No schedule: as many datagrams outstanding as the window allows, always (a volley).
    Saturate,
    /// Datagrams evenly spaced, up to as many a second as one core can send (a volley).
    Rate,
    /// As steady, and after a calm second a flood of junk beside it.
    Flood,
    /// No schedule and no asks: each reader reports passes as fast as receipts make room.
    Reports,
}

impl Profile {
    /// The name on the command line and in reports.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Morning => "morning",
            Self::Steady => "steady",
            Self::Saturate => "saturate",
            Self::Rate => "rate",
            Self::Flood => "flood",
            Self::Reports => "reports",
        }
    }

    /// Whether readers that are true to the protocol show cards at moments fixed before the run.
    #[must_use]
    pub const fn is_scheduled(self) -> bool {
        matches!(self, Self::Morning | Self::Steady | Self::Flood)
    }

    /// Of a thousand cards, how many are shown on the way out.
    #[must_use]
    pub const fn exits(self) -> u32 {
        match self {
            Self::Morning => 30,
            Self::Steady | Self::Saturate | Self::Rate | Self::Flood | Self::Reports => 500,
        }
    }
}

/// The moments at which cards are shown, counted from the start of the run; `rate × duration` of them, ascending.
pub struct Arrivals {
    profile: Profile,
    duration: f64,
    total: u64,
    next: u64,
    rng: Rng,
}

impl Arrivals {
    /// The schedule of a run of `duration` with `rate` asks a second on the average; none when closed-loop.
    #[must_use]
    pub fn new(profile: Profile, rate: u32, duration: Duration, seed: u64) -> Self {
        let total = if profile.is_scheduled() { u64::from(rate) * duration.as_secs() } else { 0 };
        Self { profile, duration: duration.as_secs_f64(), total, next: 0, rng: Rng::with_seed(seed) }
    }

    #[expect(clippy::cast_precision_loss, reason = "below 2^53 by RATE_MAX and DURATION_MAX")]
    fn moment(&mut self) -> f64 {
        let (place, total) = (self.next as f64, self.total as f64);
        match self.profile {
            Profile::Morning => self.duration * swell((place + self.rng.f64()) / total),
            _ => self.duration * place / total,
        }
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if self.next == self.total {
            return None;
        }
        let moment = Duration::from_secs_f64(self.moment());
        self.next += 1;
        Some(moment)
    }
}

/// Which part of the morning is over when `share` of the people have come.
///
/// They come at 1 - 0.6·cos(2πx) times the mean rate, so x - 0.6·sin(2πx)/2π of them have come at x.
fn swell(share: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..40 {
        let middle: f64 = f64::midpoint(low, high);
        let come = middle - 0.6 * (TAU * middle).sin() / TAU;
        if come < share {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Duration = Duration::from_secs(10);

    #[test]
    fn every_open_loop_profile_shows_rate_times_duration_cards_in_order() {
        for profile in [Profile::Morning, Profile::Steady, Profile::Flood] {
            let moments: Vec<_> = Arrivals::new(profile, 100, TEN, 1).collect();
            assert_eq!(moments.len(), 1000, "{}", profile.label());
            assert!(moments.is_sorted() && moments[999] < TEN);
        }
        for profile in [Profile::Saturate, Profile::Rate, Profile::Reports] {
            assert_eq!(Arrivals::new(profile, 100, TEN, 1).count(), 0);
        }
    }

    #[test]
    fn steady_arrivals_are_evenly_spaced() {
        let moments: Vec<_> = Arrivals::new(Profile::Steady, 4, TEN, 1).take(3).collect();
        assert_eq!(moments, [0, 250, 500].map(Duration::from_millis));
    }

    #[test]
    fn morning_swells_in_the_middle_to_1_6_times_the_rate() {
        let moments: Vec<_> = Arrivals::new(Profile::Morning, 1000, TEN, 1).collect();
        let within = |from: u64, to: u64| {
            moments.iter().filter(|at| (Duration::from_secs(from)..Duration::from_secs(to)).contains(at)).count()
        };
        assert!((1450..=1610).contains(&within(5, 6)), "{}", within(5, 6));
        assert!((400..=500).contains(&within(0, 1)), "{}", within(0, 1));
        assert!((400..=500).contains(&within(9, 10)), "{}", within(9, 10));
    }

    #[test]
    fn one_seed_gives_one_schedule() {
        let moments = |seed| Arrivals::new(Profile::Morning, 50, TEN, seed).collect::<Vec<_>>();
        assert_eq!(moments(3), moments(3));
        assert_ne!(moments(3), moments(4));
    }
}
