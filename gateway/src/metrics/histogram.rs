//! A log-linear histogram of nanoseconds with one writer: four buckets to a doubling, so a quantile errs by at most 25 %.

use std::fmt::Write as _;
use std::time::Duration;

use super::tally::Count;

/// Everything up to 2^8 ns is in the first bucket.
const FIRST_OCTAVE: u32 = 8;
/// Everything above 2^30 ns (1.07 s) is in the last.
const LAST_OCTAVE: u32 = 30;
const BUCKETS: usize = 1 + ((LAST_OCTAVE - FIRST_OCTAVE) * 4) as usize + 1;

/// The buckets, and the sum of all samples.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: [Count; BUCKETS],
    sum_ns: Count,
}

impl Histogram {
    pub(crate) const fn new() -> Self {
        Self { buckets: [const { Count::new() }; BUCKETS], sum_ns: Count::new() }
    }

    /// Counts one sample.
    pub(crate) fn record(&self, sample: Duration) {
        self.record_times(sample, 1);
    }

    /// Counts `times` samples of one size.
    pub(crate) fn record_times(&self, sample: Duration, times: u64) {
        let ns = u64::try_from(sample.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket_of(ns)].add(times);
        self.sum_ns.add(ns.wrapping_mul(times));
    }
}

#[cfg(test)]
impl Histogram {
    /// Samples so far.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().map(Count::get).sum()
    }
}

/// The bucket whose upper bound is the least that is not below `ns`.
fn bucket_of(ns: u64) -> usize {
    let below = ns.saturating_sub(1);
    let octave = u64::BITS - below.leading_zeros();
    if octave <= FIRST_OCTAVE {
        return 0;
    }
    if octave > LAST_OCTAVE {
        return BUCKETS - 1;
    }
    let quarter = (below >> (octave - 3)) & 3;
    1 + ((octave - 1 - FIRST_OCTAVE) * 4) as usize + usize::try_from(quarter).unwrap_or(0)
}

/// The upper bound of a bucket in nanoseconds, included; the last has none.
fn upper_bound_ns(bucket: usize) -> Option<u64> {
    match bucket.checked_sub(1) {
        None => Some(1 << FIRST_OCTAVE),
        Some(_) if bucket == BUCKETS - 1 => None,
        Some(above) => Some((above as u64 % 4 + 5) << (u64::from(FIRST_OCTAVE) + above as u64 / 4 - 2)),
    }
}

/// How many of the buckets are rendered: each is a series for whoever watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grain {
    /// All: a quantile errs by at most 25 %.
    Fine,
    /// One for each doubling: a quantile errs by at most 100 %.
    Coarse,
}

impl Grain {
    const fn shows(self, bucket: usize) -> bool {
        match self {
            Self::Fine => true,
            Self::Coarse => bucket.is_multiple_of(4) || bucket == BUCKETS - 1,
        }
    }
}

/// Appends the sum of `histograms` to `text` as a Prometheus histogram `name` in seconds.
pub(crate) fn render<'a>(
    text: &mut String,
    (name, help): (&str, &str),
    grain: Grain,
    histograms: impl Iterator<Item = &'a Histogram> + Clone,
) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} histogram");
    let mut cumulated = 0;
    for bucket in 0..BUCKETS {
        cumulated += histograms.clone().map(|histogram| histogram.buckets[bucket].get()).sum::<u64>();
        if !grain.shows(bucket) {
            continue;
        }
        let bound = upper_bound_ns(bucket).map_or_else(|| "+Inf".to_owned(), seconds);
        let _ = writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {cumulated}");
    }
    let sum = seconds(histograms.map(|histogram| histogram.sum_ns.get()).sum());
    let _ = writeln!(text, "{name}_sum {sum}\n{name}_count {cumulated}\n");
}

/// Nanoseconds written as seconds, exactly.
fn seconds(ns: u64) -> String {
    format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_lies_between_the_bounds_of_its_bucket() {
        let mut samples: Vec<u64> = (0..=64)
            .flat_map(|bit| [-1, 0, 1].map(|d| (1i128 << bit) + d))
            .filter_map(|ns| u64::try_from(ns).ok())
            .collect();
        let mut random = fastrand::Rng::with_seed(3);
        samples.extend((0..10_000).map(|_| random.u64(..) >> random.u32(0..64)));
        for ns in samples {
            let bucket = bucket_of(ns);
            assert!(upper_bound_ns(bucket).is_none_or(|upper| ns <= upper), "{ns} in {bucket}");
            assert!(bucket == 0 || upper_bound_ns(bucket - 1).is_some_and(|lower| ns > lower), "{ns} in {bucket}");
        }
    }

    #[test]
    fn bounds_rise_by_a_quarter_at_most() {
        let bounds: Vec<u64> = (0..BUCKETS).map_while(upper_bound_ns).collect();
        assert_eq!((bounds.len(), bounds[0], bounds[BUCKETS - 2]), (BUCKETS - 1, 256, 1 << 30));
        assert!(bounds.windows(2).all(|pair| pair[0] < pair[1] && pair[1] * 4 <= pair[0] * 5));
    }

    #[test]
    fn rendering_cumulates_over_workers() {
        let (one, two) = (Histogram::new(), Histogram::new());
        one.record(Duration::from_nanos(200));
        two.record_times(Duration::from_nanos(300), 2);
        two.record_times(Duration::from_nanos(300), 0);
        two.record(Duration::from_secs(9));
        let mut text = String::new();
        render(&mut text, ("name", "help"), Grain::Fine, [&one, &two].into_iter());
        for line in [
            "name_bucket{le=\"0.000000256\"} 1",
            "name_bucket{le=\"0.000000320\"} 3",
            "name_bucket{le=\"+Inf\"} 4",
            "name_sum 9.000000800",
            "name_count 4",
        ] {
            assert!(text.lines().any(|rendered| rendered == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn coarse_buckets_double_and_hold_what_the_fine_ones_between_them_hold() {
        let histogram = Histogram::new();
        [200, 300, 400, 600].iter().for_each(|&ns| histogram.record(Duration::from_nanos(ns)));
        let mut text = String::new();
        render(&mut text, ("name", "help"), Grain::Coarse, std::iter::once(&histogram));
        let buckets: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("name_bucket{le=\"")).collect();
        assert_eq!(buckets[..4], ["0.000000256\"} 1", "0.000000512\"} 3", "0.000001024\"} 4", "0.000002048\"} 4"]);
        assert_eq!((buckets.len(), buckets[22], buckets[23]), (24, "1.073741824\"} 4", "+Inf\"} 4"));
    }
}
