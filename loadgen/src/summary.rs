//! How a run is told: the progress line, the table, the result line, JSON.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::arrivals::Profile;
use crate::compare::Found;
use crate::fleet::{Fleet, REPORT_MEMORY};
use crate::limits::LATENESS_SHARE_MAX;
use crate::osdp::{AtHub, Score};
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
    /// Cards shown outside the outage that were not answered when they were asked about for the third time.
    pub unanswered_after_one_resend: u64,
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
    /// The generator's share of one core.
    pub generator_share: f64,
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
    /// Happenings that found the memory full.
    pub reports_lost: u64,
    /// Reports that readers have made.
    pub reports: u64,
    /// Of those, the ones that were receipted.
    pub reports_receipted: u64,
    /// Receipts for so many reports came in each second of the run, on the average.
    pub reports_per_second: f64,
    /// Microseconds from making a report to its receipt.
    pub receipt_us: Quantiles,
    /// Commands that readers have done.
    pub commands: u64,
    /// What the hub holds of the reports, if it was asked.
    pub at_hub: Option<Found>,
    /// The part of OSDP devices in all this, if there were any.
    pub osdp: Option<Score>,
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
    /// The quantiles of so many nanoseconds.
    #[must_use]
    pub fn of(nanoseconds: &Histogram<u64>) -> Self {
        let at = |quantile| micros(nanoseconds.value_at_quantile(quantile));
        Self { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: micros(nanoseconds.max()) }
    }

    /// A row of a table.
    #[must_use]
    pub fn row(&self) -> String {
        let Self { p50, p99, p999, max } = self;
        format!("p50 {p50} µs, p99 {p99} µs, p99.9 {p999} µs, max {max} µs")
    }
}

impl Summary {
    /// What `tally` and `fleet` say after a run of `profile` that took `took` and used `cpu`.
    #[must_use]
    pub fn new(profile: Profile, (took, cpu): (Duration, Duration), tally: &Tally, fleet: &Fleet) -> Self {
        let (reports_waiting, reports_lost) = fleet.reports();
        let book = fleet.book();
        let mut verdicts: Vec<_> = tally.verdicts.iter().map(|(&label, &count)| (label, count)).collect();
        verdicts.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        Self {
            profile: profile.label(),
            seconds: took.as_secs_f64(),
            asks: tally.asked.total(),
            answered: tally.answered.total(),
            unanswered: tally.unanswered.outside,
            unanswered_in_outage: tally.unanswered.during,
            unanswered_after_one_resend: tally.unanswered_after_one_resend(),
            abandoned: tally.abandoned,
            wrong: tally.wrong,
            latency_us: Quantiles::of(&tally.latency),
            latency_in_outage_us: Quantiles::of(&tally.latency_in_outage),
            lateness_us: Quantiles::of(&tally.lateness),
            generator_share: cpu.as_secs_f64() / took.as_secs_f64().max(f64::MIN_POSITIVE),
            outage_ms: tally.outage_len().map_or(0, |len| u64::try_from(len.as_millis()).unwrap_or(u64::MAX)),
            sessions: fleet.sessions,
            fall_backs: fleet.fall_backs,
            dropped: fleet.dropped,
            report_memory: REPORT_MEMORY,
            reports_waiting,
            reports_lost: reports_lost + book.untold(),
            reports: book.kept(),
            reports_receipted: book.receipted(),
            reports_per_second: per_second(book.receipted(), took.as_secs_f64()),
            receipt_us: Quantiles::of(&book.waited),
            commands: fleet.commands,
            at_hub: None,
            osdp: None,
            verdicts,
            wrong_shown: tally.wrong_shown.clone(),
            asked: tally.asked,
            answers: tally.answered,
        }
    }

    /// Adds what OSDP devices came to: cards, answers and passes, of which a gateway keeps its word as of reports that are
    /// receipted. Latencies stay apart.
    pub fn add(&mut self, score: Score) {
        self.asks += score.asks;
        self.answered += score.answered;
        self.wrong += score.wrong;
        self.unanswered += score.unanswered;
        self.unanswered_in_outage += score.in_silence;
        self.wrong_shown.extend(score.wrong_shown.iter().cloned());
        if let (Some(found), Some(AtHub { held, lost, doubled })) = (&mut self.at_hub, score.at_hub) {
            let receipted = held + lost;
            self.reports += receipted;
            self.reports_receipted += receipted;
            found.receipted += receipted;
            found.at_hub += held;
            found.lost += lost;
            found.duplicated += doubled;
        }
        self.osdp = Some(score);
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
        row("  after one resend", self.unanswered_after_one_resend.to_string());
        row("from showing to answer", latency_row(self.latency_us, self.answers.outside));
        if self.asked.during > 0 {
            row("  shown in the outage", latency_row(self.latency_in_outage_us, self.answers.during));
            row("outage", format!("{} ms from the kill to the first right answer after it", self.outage_ms));
        }
        row("generator's own lateness", latency_row(self.lateness_us, self.asks));
        row("generator's CPU", format!("{:.0} % of a core", self.generator_share * 100.0));
        if self.is_generator_short() {
            row("  THE GENERATOR IS SHORT", "its own lateness is a large part of the latency".into());
        }
        row("sessions", format!("{}; fallen back {} times", self.sessions, self.fall_backs));
        row("dropped by readers", format!("{} datagrams", self.dropped));
        row("reports", self.reports_row());
        if self.reports_receipted > 0 {
            row("from report to receipt", latency_row(self.receipt_us, self.reports_receipted));
        }
        if let Some(found) = &self.at_hub {
            row("at the hub", hub_row(found));
        }
        if let Some(score) = &self.osdp {
            row("of that, OSDP devices", score.row());
        }
        if self.commands > 0 {
            row("commands done by readers", self.commands.to_string());
        }
        if self.abandoned > 0 {
            row("asks lost in power cuts", self.abandoned.to_string());
        }
        for (label, count) in &self.verdicts {
            row(&format!("  {label}"), count.to_string());
        }
        for wrong in &self.wrong_shown {
            row("  WRONG", wrong.clone());
        }
        for wrong in self.at_hub.iter().flat_map(|found| &found.shown) {
            row("  AT THE HUB", wrong.clone());
        }
        table
    }

    /// Whether the latency is the generator's rather than the gateway's.
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a quantile")]
    fn is_generator_short(&self) -> bool {
        self.lateness_us.p99 as f64 > self.latency_us.p99 as f64 * LATENESS_SHARE_MAX
    }

    fn reports_row(&self) -> String {
        format!(
            "{}, of them {} receipted ({:.0} a second); {} found no room; each reader keeps {}",
            self.reports, self.reports_receipted, self.reports_per_second, self.reports_lost, self.report_memory
        )
    }

    /// Whether the hub, if it was asked, holds every receipted report once and as it was told, and nothing else.
    #[must_use]
    pub fn is_well_at_hub(&self) -> bool {
        self.at_hub.as_ref().is_none_or(Found::is_good)
    }

    /// The one line that scripts read. Quantiles are over asks shown outside the outage; what only a hub can say is `-` when
    /// none was asked.
    #[must_use]
    pub fn result_line(&self) -> String {
        let Quantiles { p50, p99, .. } = self.latency_us;
        let at_hub =
            |of: fn(&Found) -> u64| self.at_hub.as_ref().map_or_else(|| "-".into(), |found| of(found).to_string());
        format!(
            "RESULT asks={} answered={} wrong={} passes_receipted={} passes_at_hub={} lost={} duplicated={} \
             p50_us={p50} p99_us={p99} outage_ms={}",
            self.asks,
            self.answered,
            self.wrong,
            self.reports_receipted,
            at_hub(|found| found.at_hub),
            at_hub(|found| found.lost),
            at_hub(|found| found.duplicated),
            self.outage_ms
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
    format!("{} (of {count})", us.row())
}

fn hub_row(found: &Found) -> String {
    let Found { at_hub, lost, duplicated, altered, foreign, others, .. } = found;
    let others = if *others > 0 { format!("; {others} of other runs") } else { String::new() };
    format!("{at_hub}; {lost} lost, {duplicated} doubled, {altered} altered, {foreign} that no reader made{others}")
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
