//! How a run is told: the progress line, the table, the result line, JSON.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::arrivals::Profile;
use crate::fleet::{Fleet, REPORT_MEMORY};
use crate::play::Second;
use crate::tally::{Count, Tally};

/// Microseconds, rounded to the nearest.
const fn micros(nanoseconds: u64) -> u64 {
    (nanoseconds + 500) / 1000
}

/// What a run came to.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// Who came when.
    pub profile: &'static str,
    /// Seconds that it took.
    pub seconds: f64,
    /// Cards shown.
    pub asks: u64,
    /// Answers that readers acted on.
    pub answered: u64,
    /// Cards shown outside the outage that got no answer.
    pub unanswered: u64,
    /// The same during the outage.
    pub unanswered_in_outage: u64,
    /// Asks lost by the readers' own power cuts.
    pub abandoned: u64,
    /// Answers that the oracle does not agree with.
    pub wrong: u64,
    /// Microseconds from the intended moment to the answer, over asks shown outside the outage.
    pub latency_us: Quantiles,
    /// The same during the outage.
    pub latency_in_outage_us: Quantiles,
    /// Microseconds by which the generator itself was late.
    pub lateness_us: Quantiles,
    /// Milliseconds from the kill to the first right answer after it; 0 when there was no kill.
    pub outage_ms: u64,
    /// Sessions that readers got, the first ones included.
    pub sessions: u64,
    /// How often a reader fell back.
    pub fall_backs: u64,
    /// Datagrams that readers dropped.
    pub dropped: u64,
    /// Reports that each reader can keep.
    pub report_memory: usize,
    /// Reports that wait for a receipt.
    pub reports_waiting: usize,
    /// Reports that found the memory full.
    pub reports_lost: u64,
    /// Answers by their reason or rule.
    pub verdicts: Vec<(&'static str, u64)>,
    /// The first wrong answers, in words.
    pub wrong_shown: Vec<String>,
    #[serde(skip)]
    asked: Count,
    #[serde(skip)]
    answers: Count,
}

/// Quantiles of a histogram, in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Quantiles {
    /// Half are below.
    pub p50: u64,
    /// 99 of 100 are below.
    pub p99: u64,
    /// 999 of 1,000 are below.
    pub p999: u64,
    /// The highest.
    pub max: u64,
}

impl Quantiles {
    fn of(nanoseconds: &Histogram<u64>) -> Self {
        let at = |quantile| micros(nanoseconds.value_at_quantile(quantile));
        Self { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: micros(nanoseconds.max()) }
    }
}

impl Summary {
    /// What `tally` and `fleet` say after a run of `profile` that took `took`.
    #[must_use]
    pub fn new(profile: Profile, took: Duration, tally: &Tally, fleet: &Fleet) -> Self {
        let (reports_waiting, reports_lost) = fleet.reports();
        let mut verdicts: Vec<_> = tally.verdicts.iter().map(|(&label, &count)| (label, count)).collect();
        verdicts.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        Self {
            profile: profile.label(),
            seconds: took.as_secs_f64(),
            asks: tally.asked.total(),
            answered: tally.answered.total(),
            unanswered: tally.unanswered.outside,
            unanswered_in_outage: tally.unanswered.during,
            abandoned: tally.abandoned,
            wrong: tally.wrong,
            latency_us: Quantiles::of(&tally.latency),
            latency_in_outage_us: Quantiles::of(&tally.latency_in_outage),
            lateness_us: Quantiles::of(&tally.lateness),
            outage_ms: tally.outage_len().map_or(0, |len| u64::try_from(len.as_millis()).unwrap_or(u64::MAX)),
            sessions: fleet.sessions,
            fall_backs: fleet.fall_backs,
            dropped: fleet.dropped,
            report_memory: REPORT_MEMORY,
            reports_waiting,
            reports_lost,
            verdicts,
            wrong_shown: tally.wrong_shown.clone(),
            asked: tally.asked,
            answers: tally.answered,
        }
    }

    /// The table, several lines.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = String::new();
        let mut row = |name: &str, value: String| {
            // Writing into a string does not fail.
            let _ = writeln!(table, "  {name:<26} {value}");
        };
        row("profile", format!("{}, {:.1} s", self.profile, self.seconds));
        row("asks", format!("{} ({:.0} a second)", self.asks, per_second(self.asks, self.seconds)));
        row("answered", self.answered.to_string());
        row("wrong", self.wrong.to_string());
        row("unanswered", format!("{} (and {} in the outage)", self.unanswered, self.unanswered_in_outage));
        row("from showing to answer", latency_row(self.latency_us, self.answers.outside));
        if self.asked.during > 0 {
            row("  shown in the outage", latency_row(self.latency_in_outage_us, self.answers.during));
            row("outage", format!("{} ms from the kill to the first right answer after it", self.outage_ms));
        }
        row("generator's own lateness", latency_row(self.lateness_us, self.asks));
        row("sessions", format!("{}; fallen back {} times", self.sessions, self.fall_backs));
        row("dropped by readers", format!("{} datagrams", self.dropped));
        row(
            "reports",
            format!(
                "{} wait for a receipt, {} found no room; each reader keeps {}",
                self.reports_waiting, self.reports_lost, self.report_memory
            ),
        );
        if self.abandoned > 0 {
            row("asks lost in power cuts", self.abandoned.to_string());
        }
        for (label, count) in &self.verdicts {
            row(&format!("  {label}"), count.to_string());
        }
        for wrong in &self.wrong_shown {
            row("  WRONG", wrong.clone());
        }
        table
    }

    /// The one line that scripts read. Quantiles are over asks shown outside the outage.
    #[must_use]
    pub fn result_line(&self) -> String {
        let Quantiles { p50, p99, .. } = self.latency_us;
        format!(
            "RESULT asks={} answered={} wrong={} p50_us={p50} p99_us={p99} outage_ms={}",
            self.asks, self.answered, self.wrong, self.outage_ms
        )
    }

    /// Writes the summary as JSON.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write_json(&self, path: &Path) -> io::Result<()> {
        std::fs::write(path, serde_json::to_string_pretty(self)? + "\n")
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of asks, shown rounded")]
fn per_second(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds.max(f64::MIN_POSITIVE)
}

fn latency_row(us: Quantiles, count: u64) -> String {
    format!("p50 {} µs, p99 {} µs, p99.9 {} µs, max {} µs (of {count})", us.p50, us.p99, us.p999, us.max)
}

/// The line of one second.
#[must_use]
pub fn progress(second: &Second<'_>) -> String {
    let Second { number, tally, latency, waiting } = second;
    let Quantiles { p50, p99, .. } = Quantiles::of(latency);
    format!(
        "{number:>5} s  asked {:>7}  answered {:>7}  waiting {waiting:>3}  wrong {}  unanswered {}  p50 {p50} µs  p99 {p99} µs{}",
        tally.asked.total(),
        tally.answered.total(),
        tally.wrong,
        tally.unanswered.total(),
        if tally.is_in_outage() { "  (outage)" } else { "" },
    )
}

#[cfg(test)]
mod tests;
