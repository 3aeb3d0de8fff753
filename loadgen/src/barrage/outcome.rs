//! How a volley's run is told.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::Load;
use crate::cpu::Thread;
use crate::limits::{GENERATOR_SHARE_MAX, LATENESS_SHARE_MAX};
use crate::summary::Quantiles;
use crate::volley::Slice;

/// What a run came to.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// `saturate` or `rate`.
    pub profile: &'static str,
    /// Seconds for which the clock ran.
    pub seconds: f64,
    /// Datagrams sent.
    pub datagrams: u64,
    /// Asks in them.
    pub asks: u64,
    /// Asks answered.
    pub answered: u64,
    /// Answers a second.
    pub per_second: f64,
    /// Answers that were judged; all were opened and matched with their asks.
    pub judged: u64,
    /// Wrong ones, second ones, and datagrams that are no answer to anything.
    pub wrong: u64,
    /// Asks never answered.
    pub lost: u64,
    /// Microseconds to the answer.
    pub latency_us: Quantiles,
    /// Microseconds by which the generator sent too late; of an open loop only.
    pub lateness_us: Quantiles,
    /// Microseconds of CPU time that the generator used for each datagram, there and back.
    pub generator_us: f64,
    /// The generator's share of one core.
    pub generator_share: f64,
    /// Why these figures are of the generator rather than of the server, if they are.
    pub generator_limit: Option<String>,
    /// Microseconds of CPU time for each answer, by the server's threads.
    pub server_us: Vec<(String, f64)>,
    /// The first wrong answers, in words.
    pub wrong_shown: Vec<String>,
    /// The load.
    pub load: String,
}

impl Outcome {
    pub(super) fn new(load: Load, sum: &Slice, threads: &[Thread]) -> Self {
        let (latency_us, lateness_us) = (Quantiles::of(&sum.latency), Quantiles::of(&sum.lateness));
        let server_us = by_thread(threads, sum.answers);
        Self {
            profile: match load {
                Load::Saturate { .. } => "saturate",
                Load::Rate { .. } => "rate",
            },
            seconds: sum.ran_for.as_secs_f64(),
            datagrams: sum.datagrams,
            asks: sum.asks,
            answered: sum.answers,
            per_second: sum.answers_per_second(),
            judged: sum.judged,
            wrong: sum.wrong,
            lost: sum.lost,
            latency_us,
            lateness_us,
            generator_us: each(sum.generator_cpu, sum.datagrams),
            generator_share: sum.generator_share(),
            generator_limit: limit(load, sum),
            server_us,
            wrong_shown: sum.wrong_shown.clone(),
            load: match load {
                Load::Saturate { window } => format!("{window} datagrams outstanding"),
                Load::Rate { per_second, .. } => format!("{per_second} datagrams a second"),
            },
        }
    }

    /// What a picture of it is called.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{}: {}, {:.0} answers a second", self.profile, self.load, self.per_second)
    }

    /// Whether every ask was answered, and rightly.
    #[must_use]
    pub const fn is_well(&self) -> bool {
        self.wrong == 0 && self.lost == 0
    }

    /// The table, several lines.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = String::new();
        let mut row = |name: &str, value: String| {
            // Writing into a string does not fail.
            let _ = writeln!(table, "  {name:<26} {value}");
        };
        row("profile", format!("{}, {}, {:.1} s", self.profile, self.load, self.seconds));
        row("asks", format!("{} in {} datagrams", self.asks, self.datagrams));
        row("answered", format!("{} ({:.0} a second)", self.answered, self.per_second));
        row("wrong", format!("{}; judged were {}, all opened and matched", self.wrong, self.judged));
        row("lost", self.lost.to_string());
        row("from ask to answer", self.latency_us.row());
        if self.profile == "rate" {
            row("generator's own lateness", self.lateness_us.row());
        }
        let share = self.generator_share * 100.0;
        row("generator's CPU", format!("{:.2} µs a datagram, {share:.0} % of a core", self.generator_us));
        if let Some(limit) = &self.generator_limit {
            row("  THE GENERATOR IS SHORT", limit.clone());
        }
        for wrong in &self.wrong_shown {
            row("  WRONG", wrong.clone());
        }
        let server = rows(&self.server_us);
        server.iter().for_each(|row| {
            let _ = writeln!(table, "{row}");
        });
        table
    }

    /// The one line that scripts read.
    #[must_use]
    pub fn result_line(&self) -> String {
        let Quantiles { p50, p99, p999, .. } = self.latency_us;
        format!(
            "RESULT asks={} answered={} wrong={} lost={} per_second={:.0} p50_us={p50} p99_us={p99} p999_us={p999} \
             generator_us={:.2} generator_share={:.2} late_p99_us={}",
            self.asks,
            self.answered,
            self.wrong,
            self.lost,
            self.per_second,
            self.generator_us,
            self.generator_share,
            self.lateness_us.p99,
        )
    }

    /// Writes it as JSON.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write_json(&self, path: &Path) -> io::Result<()> {
        std::fs::write(path, serde_json::to_string_pretty(self)? + "\n")
    }
}

/// Rows of a table: the CPU time that a server's `threads` used for each of so many answers.
#[must_use]
pub fn server_rows(threads: &[Thread], answers: u64) -> Vec<String> {
    rows(&by_thread(threads, answers))
}

fn by_thread(threads: &[Thread], answers: u64) -> Vec<(String, f64)> {
    threads.iter().map(|thread| (thread.name.clone(), each(thread.cpu, answers))).collect()
}

fn rows(server_us: &[(String, f64)]) -> Vec<String> {
    if server_us.is_empty() {
        return Vec::new();
    }
    let all: f64 = server_us.iter().map(|(_, us)| us).sum();
    // What rounds to nothing is left out.
    let named = server_us.iter().filter(|(_, us)| *us >= 0.005);
    let rows = named.map(|(name, us)| format!("  {:<26} {us:.2} µs", format!("  {name}")));
    std::iter::once(format!("  {:<26} {all:.2} µs each", "server's CPU")).chain(rows).collect()
}

/// Microseconds of `cpu` for each of `count`.
#[expect(clippy::cast_precision_loss, reason = "a count of answers, shown rounded")]
fn each(cpu: Duration, count: u64) -> f64 {
    cpu.as_secs_f64() * 1e6 / count.max(1) as f64
}

/// Why the generator is the limit and not the server, if it is.
fn limit(load: Load, sum: &Slice) -> Option<String> {
    let share = sum.generator_share();
    match load {
        Load::Saturate { .. } if share > GENERATOR_SHARE_MAX => {
            Some(format!("it used {:.0} % of a core: the server may be able to do more than this", share * 100.0))
        }
        Load::Rate { per_second, .. } if is_behind(per_second, sum) => Some(format!(
            "it sent {:.0} datagrams a second, not {per_second}: this core cannot send faster",
            sum.sent_per_second()
        )),
        Load::Rate { .. } if is_late(sum) => Some(format!(
            "its own lateness (p99 {} µs) is a large part of the latency (p99 {} µs)",
            Quantiles::of(&sum.lateness).p99,
            Quantiles::of(&sum.latency).p99
        )),
        _ => None,
    }
}

/// Whether it took clearly longer to send than was planned.
fn is_behind(per_second: u32, sum: &Slice) -> bool {
    sum.sent_per_second() < f64::from(per_second) * 0.99
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of a quantile")]
fn is_late(sum: &Slice) -> bool {
    let [late, whole] = [&sum.lateness, &sum.latency].map(|histogram| histogram.value_at_quantile(0.99) as f64);
    late > whole * LATENESS_SHARE_MAX
}

#[cfg(test)]
#[path = "outcome_tests.rs"]
mod tests;
