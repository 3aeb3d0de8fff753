//! The arithmetic of a comparison: medians, spreads, and the burn at which an echo is as slow.

/// The middle of several measurements, and how far they lie apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The median; of an even number the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The greatest.
    pub greatest: f64,
}

impl Spread {
    /// The spread of `values`; `None` when there is none, or one that is no number.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Some(Self { median: f64::midpoint(low, high), least: sorted[0], greatest: sorted[sorted.len() - 1] })
    }

    /// One value, which does not spread.
    #[must_use]
    pub const fn exactly(value: f64) -> Self {
        Self { median: value, least: value, greatest: value }
    }
}

/// The spread of what `of` makes of each of `alternations`.
#[must_use]
pub fn spread<T>(alternations: &[T], of: impl FnMut(&T) -> f64) -> Option<Spread> {
    Spread::of(&alternations.iter().map(of).collect::<Vec<_>>())
}

/// A straight line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// Its height at 0.
    pub at_zero: f64,
    /// Its rise for each 1.
    pub slope: f64,
}

impl Line {
    /// The line of least squares through `points`, each (x, y); `None` when they do not tell one.
    #[must_use]
    pub fn through(points: &[(f64, f64)]) -> Option<Self> {
        let count = f64::from(u32::try_from(points.len()).ok().filter(|&count| count >= 2)?);
        let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
        let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
        let covariance: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
        let variance: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
        let slope = covariance / variance;
        slope.is_finite().then_some(Self { at_zero: mean_y - slope * mean_x, slope })
    }

    /// Where it is `y` high; `None` when it does not rise.
    #[must_use]
    pub fn reaches(self, y: f64) -> Option<f64> {
        (self.slope > 0.0).then(|| (y - self.at_zero) / self.slope)
    }
}

/// The burn at which an echo takes `time` for an answer. `echoes` are (burn, time for an answer), in the same unit.
///
/// An echo that is always busy takes a fixed time and its burn, so the points lie on a line; noise is spread over all of
/// them. The burn may lie outside theirs, and may be negative.
#[must_use]
pub fn burn_equal(time: f64, echoes: &[(f64, f64)]) -> Option<f64> {
    Line::through(echoes)?.reaches(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_near(a: Option<f64>, b: f64) -> bool {
        a.is_some_and(|a| (a - b).abs() < 1e-6)
    }

    #[test]
    fn median_is_the_middle_one_and_the_spread_its_neighbours() {
        let odd = Spread::of(&[5.0, 1.0, 9.0]).unwrap();
        assert_eq!((odd.median, odd.least, odd.greatest), (5.0, 1.0, 9.0));
        assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 100.0]).unwrap().median, 3.0);
        assert_eq!(Spread::of(&[7.0]), Some(Spread::exactly(7.0)));
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[1.0, f64::NAN]), None);
        assert_eq!(Spread::of(&[1.0, f64::INFINITY]), None);
    }

    #[test]
    fn ratios_are_taken_within_an_alternation_and_not_of_medians() {
        // The machine is twice as fast in the last: the ratio stays.
        let alternations = [(80.0, 100.0), (81.0, 100.0), (158.0, 200.0)];
        let ratio = spread(&alternations, |(gateway, echo)| gateway / echo).unwrap();
        assert_eq!((ratio.median, ratio.least, ratio.greatest), (0.8, 0.79, 0.81));
    }

    #[test]
    fn burn_is_found_exactly_on_a_line() {
        let echo = |burn: f64| (burn, 3800.0 + burn);
        let echoes = [0.0, 300.0, 600.0, 900.0, 1200.0].map(echo);
        for burn in [0.0, 1.0, 299.0, 650.0, 1200.0] {
            assert!(is_near(burn_equal(3800.0 + burn, &echoes), burn), "{burn}");
        }
        // Beyond the burns that there are, and faster than the bare echo.
        assert!(is_near(burn_equal(5800.0, &echoes), 2000.0));
        assert!(is_near(burn_equal(3700.0, &echoes), -100.0));
        // A burn that costs more than it says is no other unit: what counts is what was asked for.
        let dearer = [0.0, 300.0, 600.0].map(|burn| (burn, 3800.0 + 1.5 * burn));
        assert!(is_near(burn_equal(3800.0 + 900.0, &dearer), 600.0));
    }

    #[test]
    fn one_outlier_moves_the_burn_by_its_share_only() {
        let mut echoes = [0.0, 300.0, 600.0, 900.0, 1200.0].map(|burn| (burn, 3800.0 + burn));
        echoes[2].1 += 100.0;
        assert!(is_near(burn_equal(4400.0, &echoes), 580.0));
    }

    #[test]
    fn points_without_a_rise_tell_no_burn() {
        assert_eq!(burn_equal(10.0, &[(0.0, 5.0)]), None);
        assert_eq!(burn_equal(10.0, &[(300.0, 5.0), (300.0, 6.0)]), None);
        assert_eq!(burn_equal(10.0, &[(0.0, 5.0), (300.0, 5.0)]), None);
        assert_eq!(burn_equal(10.0, &[(0.0, 5.0), (300.0, 4.0)]), None);
    }
}
