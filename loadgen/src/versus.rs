//! The gateway against a bare echo, in one call: both on the same core, by turns, in short slices.
//!
//! What a machine can do changes from second to second, and with everything else that runs on it. So nothing here is an
//! absolute figure: each is a ratio or a difference of two slices that follow each other, taken several times, and told as
//! the median with the least and the greatest. Gateways and echoes stay on the first core; this program and the journals on
//! the last.

mod busy;
pub mod figures;
mod junk;
mod metrics;
mod server;
mod shot;
mod stage;
pub mod table;
mod waits;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::ValueEnum;

use crate::echo::stay_on;
use crate::keys::ReaderKey;
use crate::output::{note, say};
use crate::volley::{Cards, Peer};
use busy::Expected;
use server::Serving;
use stage::{School, Stage};
use table::{Report, Result as Told};

/// What can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Setting {
    /// A busy worker with the small index: answers a second, CPU
    Saturate,
    /// The same with the great index
    SaturateLarge,
    /// Several asks in each datagram
    Batch,
    /// One datagram outstanding
    RoundTrip,
    /// A fixed rate
    OpenLoop,
    /// Two workers
    Workers,
    /// Each kind of junk
    Junk,
    /// A flood with honest readers beside it
    Flood,
}

/// What a comparison is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long one server is asked before it is the other's turn.
    pub slice: Duration,
    /// How often each has its turn.
    pub alternations: usize,
    /// Datagrams outstanding when a server is to be always busy.
    pub window: usize,
    /// What is compared; all when empty.
    pub only: Vec<Setting>,
    /// Entries of the small index and of the great one.
    pub entries: [u32; 2],
    /// Where our programs are; `None` for beside this executable.
    pub binaries: Option<PathBuf>,
    /// What is measured, for the table: a commit, a date.
    pub label: Option<String>,
    /// Whether the folder with everything made for it is left.
    pub keep: bool,
}

impl Options {
    fn has(&self, setting: Setting) -> bool {
        self.only.is_empty() || self.only.contains(&setting)
    }
}

const SMALL: Expected = Expected { burns: [0, 300, 600, 900, 1200], must_ns: 900.0, goal_ns: 650.0, is_told: true };
const GREAT: Expected = Expected { burns: [0, 400, 800, 1200, 1600], must_ns: 1200.0, goal_ns: 900.0, is_told: false };

/// Compares. Progress goes to standard error, the table and the line `RESULT` to standard output.
///
/// # Errors
/// What the file system, the sockets or the programs say; [`io::ErrorKind::Interrupted`] when stopped.
pub fn versus(options: &Options, stop: &AtomicBool) -> io::Result<Report> {
    let mut stage = Stage::new(options, stop)?;
    if let Some(core) = stage.own_core() {
        stay_on(core)?;
    }
    let [small, great] = options.entries;
    let mut report = Report::default();
    if Setting::value_variants().iter().any(|&setting| setting != Setting::SaturateLarge && options.has(setting)) {
        with_small(&mut stage, small, &mut report)?;
    }
    if options.has(Setting::SaturateLarge) {
        let school = stage.school(great)?;
        busy::one_ask(&mut stage, &school, &GREAT, &mut report)?;
    }
    stage.check()?;
    say(&format!("Gateway over bare echo: {}", options.label.as_deref().unwrap_or(env!("CARGO_PKG_VERSION"))));
    say(&stage.describe());
    say("");
    say(&report.table());
    say("");
    say(&report.result.line());
    Ok(report)
}

fn with_small(stage: &mut Stage<'_>, entries: u32, report: &mut Report) -> io::Result<()> {
    let school = stage.school(entries)?;
    let options = stage.options;
    if options.has(Setting::Saturate) {
        busy::one_ask(stage, &school, &SMALL, report)?;
    }
    if options.has(Setting::Batch) {
        busy::many_asks(stage, &school, report)?;
    }
    if options.has(Setting::RoundTrip) {
        waits::round_trip(stage, &school, report)?;
    }
    if options.has(Setting::OpenLoop) {
        waits::open_loop(stage, &school, report)?;
    }
    if options.has(Setting::Workers) {
        busy::two_workers(stage, &school, report)?;
    }
    if options.has(Setting::Junk) {
        junk::each_kind(stage, &school, report)?;
    }
    if options.has(Setting::Flood) {
        junk::flood(stage, &school, report)?;
    }
    Ok(())
}

/// Cards of the roster, each as likely as any other, so that the index is probed all over.
fn peer<'a>(keys: &'a [ReaderKey], school: &'a School) -> Peer<'a> {
    Peer::Gateway { keys, judges: &school.judges, cards: Cards::Uniform }
}

/// What the gateway's own counters add to the result, when its setting is over.
fn finish(gateway: &Serving, result: &mut Told) -> io::Result<()> {
    let lost = gateway.metrics()?.lost();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of events, far below 2^53")]
    let lost = lost as u64;
    result.journal_dropped += lost;
    Ok(())
}

fn progress(what: &str, number: usize, stage: &Stage<'_>) {
    note(&format!("{what}: {} of {}", number + 1, stage.options.alternations));
}
