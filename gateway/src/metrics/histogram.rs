//! Histograms as Prometheus text.

use std::fmt::Write as _;

pub(crate) use kalitka_core::Histogram;

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
            Self::Coarse => bucket.is_multiple_of(4) || bucket == Histogram::BUCKETS - 1,
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
    for bucket in 0..Histogram::BUCKETS {
        cumulated += histograms.clone().map(|histogram| histogram.bucket(bucket)).sum::<u64>();
        if !grain.shows(bucket) {
            continue;
        }
        let bound = Histogram::upper_bound_ns(bucket).map_or_else(|| "+Inf".to_owned(), seconds);
        let _ = writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {cumulated}");
    }
    let sum = seconds(histograms.map(Histogram::sum_ns).sum());
    let _ = writeln!(text, "{name}_sum {sum}\n{name}_count {cumulated}\n");
}

/// Nanoseconds written as seconds, exactly.
fn seconds(ns: u64) -> String {
    format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

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
