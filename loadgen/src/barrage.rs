//! A whole run of a volley: slice after slice, told like the runs of the fleet.

mod outcome;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use outcome::{Outcome, server_rows};

use crate::cpu::{Reading, Thread};
use crate::limits::{RECEIVE_BUFFER, SLICE_MAX};
use crate::output::note;
use crate::run::{Files, WriteInterval, log_intervals};
use crate::summary::Quantiles;
use crate::svg;
use crate::volley::{Slice, Volley, Waiting};

/// How a volley loads a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// As many datagrams outstanding, always.
    Saturate {
        /// Datagrams.
        window: usize,
    },
    /// So many datagrams a second, whether answers come or not.
    Rate {
        /// Datagrams.
        per_second: u32,
        /// How the generator waits for the next moment.
        waiting: Waiting,
    },
}

/// What a run is to be.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How the server is loaded.
    pub load: Load,
    /// For how long; slices of at most [`SLICE_MAX`] with pauses for sealing and judging between.
    pub duration: Duration,
    /// The server's process, when its CPU time is to be told.
    pub server: Option<u32>,
}

impl Plan {
    fn slice(&self, volley: &mut Volley<'_>, duration: Duration) -> io::Result<Slice> {
        match self.load {
            Load::Saturate { window } => volley.saturate(window, duration),
            Load::Rate { per_second, waiting } => volley.rate(per_second, waiting, duration),
        }
    }
}

/// Plays `plan` with `volley`, until it is over or `stop` is raised. A line each slice goes to standard error.
///
/// # Errors
/// What the sockets, the files or `/proc` say.
pub fn barrage(volley: &mut Volley<'_>, plan: Plan, files: &Files, stop: &AtomicBool) -> io::Result<Outcome> {
    tell_of(volley)?;
    let (sum, threads) = log_intervals(files.hdr.as_deref(), |write| slices(volley, plan, write, stop))?;
    let outcome = Outcome::new(plan.load, &sum, &threads);
    if let Some(path) = &files.json {
        outcome.write_json(path)?;
    }
    if let Some(path) = &files.svg {
        std::fs::write(path, svg::picture(&outcome.title(), &pictured(plan.load, &sum)))?;
    }
    Ok(outcome)
}

/// The slices of `plan`, summed up, and what the server's threads used for them.
fn slices(
    volley: &mut Volley<'_>,
    plan: Plan,
    write: &mut WriteInterval<'_>,
    stop: &AtomicBool,
) -> io::Result<(Slice, Vec<Thread>)> {
    let (mut sum, mut threads, mut planned) = (Slice::new(), Vec::new(), Duration::ZERO);
    while planned < plan.duration && !stop.load(Ordering::Relaxed) {
        let duration = (plan.duration - planned).min(SLICE_MAX);
        let before = plan.server.map(Reading::of).transpose()?;
        let slice = plan.slice(volley, duration)?;
        if let (Some(pid), Some(before)) = (plan.server, before) {
            add(&mut threads, Reading::of(pid)?.since(&before));
        }
        write(&slice.latency, planned, duration)?;
        planned += duration;
        sum.add(&slice);
        note(&progress(planned, &sum, &slice));
    }
    Ok((sum, threads))
}

/// Says what the system does not give.
fn tell_of(volley: &Volley<'_>) -> io::Result<()> {
    let buffer = volley.receive_buffer()?;
    if buffer < RECEIVE_BUFFER {
        note(&format!(
            "the system gives each socket room for {buffer} bytes of answers, not {RECEIVE_BUFFER} (net.core.rmem_max): \
             answers may be lost here"
        ));
    }
    Ok(())
}

fn pictured<'a>(load: Load, sum: &'a Slice) -> Vec<svg::Series<'a>> {
    let mut series = vec![("ask to answer", &sum.latency)];
    if matches!(load, Load::Rate { .. }) {
        series.push(("generator's lateness", &sum.lateness));
    }
    series
}

/// Adds what threads used in one slice to what they used before, by their names.
fn add(threads: &mut Vec<Thread>, used: Vec<Thread>) {
    for thread in used {
        match threads.iter_mut().find(|known| known.name == thread.name) {
            Some(known) => known.cpu += thread.cpu,
            None => threads.push(thread),
        }
    }
}

fn progress(planned: Duration, sum: &Slice, slice: &Slice) -> String {
    let Quantiles { p50, p99, .. } = Quantiles::of(&slice.latency);
    format!(
        "{:>5.1} s  asked {:>9}  answered {:>9} ({:>7.0}/s)  wrong {}  lost {}  p50 {p50} µs  p99 {p99} µs",
        planned.as_secs_f64(),
        sum.asks,
        sum.answers,
        slice.answers_per_second(),
        sum.wrong,
        sum.lost,
    )
}
