//! A log-linear histogram of nanoseconds with one writer: four buckets to a doubling, so a quantile errs by at most 25 %.

use core::time::Duration;

use super::Count;

/// Everything up to 2^8 ns is in the first bucket.
const FIRST_OCTAVE: u32 = 8;
/// Everything above 2^30 ns (1.07 s) is in the last.
const LAST_OCTAVE: u32 = 30;

/// The buckets, and the sum of all samples.
#[derive(Debug)]
pub struct Histogram {
    buckets: [Count; Histogram::BUCKETS],
    sum_ns: Count,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl Histogram {
    /// How many buckets there are.
    pub const BUCKETS: usize = 1 + ((LAST_OCTAVE - FIRST_OCTAVE) * 4) as usize + 1;

    /// One without samples.
    #[must_use]
    pub const fn new() -> Self {
        Self { buckets: [const { Count::new() }; Self::BUCKETS], sum_ns: Count::new() }
    }

    /// Counts one sample.
    pub fn record(&self, sample: Duration) {
        self.record_times(sample, 1);
    }

    /// Counts `times` samples of one size.
    pub fn record_times(&self, sample: Duration, times: u64) {
        let ns = u64::try_from(sample.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket_of(ns)].add(times);
        self.sum_ns.add(ns.wrapping_mul(times));
    }

    /// Samples in `bucket`.
    #[must_use]
    pub fn bucket(&self, bucket: usize) -> u64 {
        self.buckets.get(bucket).map_or(0, Count::get)
    }

    /// All samples together, in nanoseconds.
    #[must_use]
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns.get()
    }

    /// Samples so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(Count::get).sum()
    }

    /// The upper bound of a bucket in nanoseconds, included; the last has none.
    #[must_use]
    pub const fn upper_bound_ns(bucket: usize) -> Option<u64> {
        match bucket.checked_sub(1) {
            None => Some(1 << FIRST_OCTAVE),
            Some(_) if bucket >= Self::BUCKETS - 1 => None,
            Some(above) => Some((above as u64 % 4 + 5) << (FIRST_OCTAVE as u64 + above as u64 / 4 - 2)),
        }
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
        return Histogram::BUCKETS - 1;
    }
    let quarter = (below >> (octave - 3)) & 3;
    1 + ((octave - 1 - FIRST_OCTAVE) * 4) as usize + usize::try_from(quarter).unwrap_or(0)
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
            assert!(Histogram::upper_bound_ns(bucket).is_none_or(|upper| ns <= upper), "{ns} in {bucket}");
            let lower = bucket.checked_sub(1).and_then(Histogram::upper_bound_ns);
            assert!(bucket == 0 || lower.is_some_and(|lower| ns > lower), "{ns} in {bucket}");
        }
    }

    #[test]
    fn every_sample_is_counted_in_its_bucket_and_in_the_sum() {
        let histogram = Histogram::new();
        histogram.record(Duration::from_nanos(256));
        histogram.record(Duration::from_nanos(257));
        histogram.record_times(Duration::from_secs(2), 3);
        let held: Vec<u64> = (0..Histogram::BUCKETS).map(|bucket| histogram.bucket(bucket)).collect();
        assert_eq!((held[0], held[1], held[Histogram::BUCKETS - 1]), (1, 1, 3));
        assert_eq!((histogram.count(), held.iter().sum()), (5, 5));
        assert_eq!((histogram.sum_ns(), histogram.bucket(Histogram::BUCKETS)), (6_000_000_513, 0));
    }

    #[test]
    fn bounds_rise_by_a_quarter_at_most() {
        let bounds: Vec<u64> = (0..Histogram::BUCKETS).map_while(Histogram::upper_bound_ns).collect();
        let (len, last) = (bounds.len(), bounds[Histogram::BUCKETS - 2]);
        assert_eq!((len, bounds[0], last), (Histogram::BUCKETS - 1, 256, 1 << 30));
        assert!(bounds.windows(2).all(|pair| pair[0] < pair[1] && pair[1] * 4 <= pair[0] * 5));
    }
}
