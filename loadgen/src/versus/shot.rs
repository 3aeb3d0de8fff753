//! One slice against one server, with what the server used for it.

use std::io;
use std::time::Duration;

use super::figures::Spread;
use super::server::{Server, Used, measured};
use super::table::Result;
use crate::limits::SATURATED_FROM;
use crate::output::note;
use crate::volley::{Slice, Volley};

/// A slice and what it cost the server.
pub(super) struct Shot {
    pub(super) slice: Slice,
    pub(super) used: Used,
}

impl Shot {
    /// Has `volley` play a slice against `server`.
    pub(super) fn of<'a>(
        server: &mut dyn Server,
        volley: &mut Volley<'a>,
        play: impl FnOnce(&mut Volley<'a>) -> io::Result<Slice>,
    ) -> io::Result<Self> {
        let (slice, used) = measured(server, || play(volley))?;
        Ok(Self { slice, used })
    }

    /// Nanoseconds from one answer to the next.
    pub(super) fn time_ns(&self) -> f64 {
        1e9 / self.slice.answers_per_second()
    }

    /// Microseconds that the threads that answer were on a CPU, for each answer.
    pub(super) fn worker_us(&self) -> f64 {
        each(self.used.workers, self.slice.answers)
    }

    /// The same of the whole process.
    pub(super) fn process_us(&self) -> f64 {
        each(self.used.process, self.slice.answers)
    }

    /// The same of the threads that answer, for each datagram that was sent.
    pub(super) fn worker_us_each_sent(&self) -> f64 {
        each(self.used.workers, self.slice.datagrams)
    }

    /// Share of the slice for which the threads that answer were on a CPU.
    pub(super) fn share(&self) -> f64 {
        self.used.workers.as_secs_f64() / self.slice.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Share of the slice for which they could have been while others had their core.
    pub(super) fn share_of_others(&self) -> f64 {
        self.used.kept_waiting.as_secs_f64() / self.slice.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// A quantile of its latencies, in microseconds.
    pub(super) fn latency_us(&self, quantile: f64) -> f64 {
        microseconds(self.slice.latency.value_at_quantile(quantile))
    }
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of one round trip")]
fn microseconds(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}

#[expect(clippy::cast_precision_loss, reason = "counts of one slice, far below 2^53")]
fn each(time: Duration, count: u64) -> f64 {
    time.as_secs_f64() * 1e6 / count as f64
}

/// Counts what a gateway's slice got wrong or left out.
pub(super) fn keep_score(result: &mut Result, shot: &Shot) {
    result.wrong += shot.slice.wrong;
    result.lost += shot.slice.lost;
    for wrong in &shot.slice.wrong_shown {
        note(&format!("WRONG {wrong}"));
    }
    if shot.slice.lost > 0 {
        note(&format!("{} of {} asks got no answer", shot.slice.lost, shot.slice.asks));
    }
}

/// What there is to say when the servers were not always busy: whether others had their core, or this program was too slow.
pub(super) fn not_busy<'a>(who: &str, shots: impl Iterator<Item = &'a Shot>) -> Option<String> {
    let (mut busy, mut others, mut generator) = (Vec::new(), Vec::new(), Vec::new());
    for shot in shots {
        busy.push(shot.share());
        others.push(shot.share_of_others());
        generator.push(shot.slice.generator_share());
    }
    let (busy, others, generator) = (Spread::of(&busy)?, Spread::of(&others)?, Spread::of(&generator)?);
    let limit =
        if others.median > 1.0 - busy.median - others.median { "this machine's other work" } else { "the generator" };
    (busy.median < SATURATED_FROM).then(|| {
        format!(
            "{who} was busy {:.0} % of the time (least {:.0} %) and {:.0} % kept waiting, the generator busy {:.0} %: {limit} was the limit",
            busy.median * 100.0,
            busy.least * 100.0,
            others.median * 100.0,
            generator.median * 100.0
        )
    })
}
