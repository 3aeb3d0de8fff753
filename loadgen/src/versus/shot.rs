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
fn not_busy<'a>(who: &str, shots: impl Iterator<Item = &'a Shot>) -> Option<String> {
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

/// The same of a gateway and the echo beside it: an echo that was kept waiting flatters the gateway.
pub(super) fn either_not_busy<'a>(
    gateway: impl Iterator<Item = &'a Shot>,
    echo: impl Iterator<Item = &'a Shot>,
) -> Option<String> {
    let both = [not_busy("the gateway's worker", gateway), not_busy("the echo", echo)];
    let told: Vec<String> = both.into_iter().flatten().collect();
    (!told.is_empty()).then(|| told.join("; "))
}

/// What there is to say of echoes that left datagrams out or bent them: these are slower than an echo need be.
pub(super) fn left_out_by_echo<'a>(shots: impl Iterator<Item = &'a Shot>) -> Option<String> {
    let (lost, wrong) =
        shots.fold((0, 0), |(lost, wrong), Shot { slice, .. }| (lost + slice.lost, wrong + slice.wrong));
    (lost + wrong > 0).then(|| format!("of the echoes' datagrams {lost} were LOST and {wrong} WRONG"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A slice of a second of which the server was busy for so many milliseconds.
    fn shot(busy: u64) -> Shot {
        let mut slice = Slice::new();
        [slice.elapsed, slice.ran_for] = [Duration::from_secs(1); 2];
        Shot { slice, used: Used { workers: Duration::from_millis(busy), ..Used::default() } }
    }

    #[test]
    fn echo_that_was_kept_waiting_is_told_of_and_not_only_a_gateway() {
        let (idle, busy) = ([shot(600)], [shot(990)]);
        assert_eq!(either_not_busy(busy.iter(), busy.iter()), None);
        let told = either_not_busy(busy.iter(), idle.iter()).unwrap();
        assert!(told.starts_with("the echo was busy 60 %") && told.ends_with("the generator was the limit"), "{told}");
        let told = either_not_busy(idle.iter(), idle.iter()).unwrap();
        assert!(told.contains("the gateway's worker was busy 60 %") && told.contains("; the echo was"), "{told}");
    }

    #[test]
    fn echo_that_loses_or_bends_datagrams_is_told_of() {
        let mut short = shot(990);
        assert_eq!(left_out_by_echo([&short].into_iter()), None);
        (short.slice.lost, short.slice.wrong) = (3, 1);
        let told = left_out_by_echo([&shot(990), &short].into_iter()).unwrap();
        assert_eq!(told, "of the echoes' datagrams 3 were LOST and 1 WRONG");
    }
}
