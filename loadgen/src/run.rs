//! One run from key file to summary.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2Serializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;
use kalitka_protocol::ReaderId;

use crate::cpu::of_this_thread;
use crate::fleet::{Fleet, wall_seconds};
use crate::hub::Hub;
use crate::keys::ReaderKey;
use crate::osdp::{self, Bus, Log, Score};
use crate::output;
use crate::play::{Plan, Second, Stage, play, warm_up};
use crate::summary::{Summary, progress};
use crate::svg;
use crate::tally::{Judges, Tally};

/// Where a run's numbers are kept besides the screen.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// The summary as JSON.
    pub json: Option<PathBuf>,
    /// An HDR histogram interval log: nanoseconds to the answers of each second.
    pub hdr: Option<PathBuf>,
    /// A picture of the quantiles, SVG.
    pub svg: Option<PathBuf>,
}

/// What a run is played against.
pub struct Target<'a> {
    /// Where the gateway listens to readers.
    pub gateway: SocketAddr,
    /// The readers that are played.
    pub keys: &'a [ReaderKey],
    /// Readers that are on another way to it than the network, and where that is for them.
    pub ways: &'a [(ReaderId, SocketAddr)],
    /// OSDP devices that are played beside them.
    pub buses: &'a mut [Bus],
    /// Whether what follows a grant takes its time, as at turnstiles.
    pub turnstiles: bool,
    /// The hub that gets the gateway's events, if what it holds is to be compared.
    pub hub: Option<&'a Hub>,
}

/// Plays `plan` against `target`. Progress goes to standard error once a second.
///
/// # Errors
/// What the sockets, the stage, the hub or the files say; [`io::ErrorKind::TimedOut`] when readers get no sessions.
pub fn run(
    target: Target<'_>,
    judges: Judges,
    plan: Plan,
    stage: &mut dyn Stage,
    files: &Files,
    stop: &AtomicBool,
) -> io::Result<(Summary, Tally)> {
    target.buses.iter().try_for_each(|bus| bus.await_open(stop))?;
    let apart: Vec<_> = target.buses.iter().flat_map(Bus::readers).copied().collect();
    let before_it = target.hub.filter(|_| !apart.is_empty()).map(osdp::newest).transpose()?;
    let reports = plan.profile.is_scheduled();
    let mut fleet = Fleet::open(target.gateway, target.keys, boot_counter(), reports)?;
    for &(reader, way) in target.ways {
        fleet.put_on(reader, way)?;
    }
    if target.turnstiles {
        fleet = fleet.at_turnstiles(plan.seed);
    }
    let mut tally = Tally::new(judges);
    let clock = warm_up(&mut fleet, stop)?;
    target.buses.iter().for_each(|bus| bus.come(tally.judges().first()));
    let before = of_this_thread();
    let took = log_intervals(files.hdr.as_deref(), |write| {
        let mut each_second = |second: &Second<'_>| {
            output::note(&progress(second));
            write(second.latency, Duration::from_secs(second.number - 1), Duration::from_secs(1))
        };
        play((&mut fleet, clock), &mut tally, stage, plan, &mut each_second, stop)
    })?;
    let mut summary = Summary::new(plan.profile, (took, of_this_thread().saturating_sub(before)), &tally, &fleet);
    let mut logs: Vec<Log> = Vec::new();
    for bus in target.buses {
        logs.extend(bus.close()?);
    }
    let mut score = (!apart.is_empty()).then(|| Score::new(&logs, tally.judges()));
    if let Some(hub) = target.hub {
        output::note("comparing with the hub");
        summary.at_hub = Some(hub.compare(fleet.book(), &apart, stop)?);
        if let Some(score) = &mut score {
            score.at_hub = Some(osdp::at_hub(hub, before_it.unwrap_or_default(), &logs, stop)?);
        }
    }
    if let Some(score) = score {
        summary.add(score);
    }
    if let Some(path) = &files.json {
        summary.write_json(path)?;
    }
    if let Some(path) = &files.svg {
        let series = [("showing to answer", &tally.latency), ("generator's lateness", &tally.lateness)];
        let title = format!("{}: {} asks, {} answered", summary.profile, summary.asks, summary.answered);
        std::fs::write(path, svg::picture(&title, &series))?;
    }
    Ok((summary, tally))
}

/// Writes an interval: nanoseconds, the interval's beginning since that of the run, its length.
pub(crate) type WriteInterval<'a> = dyn FnMut(&Histogram<u64>, Duration, Duration) -> io::Result<()> + 'a;

/// Does `body`, which is given what writes intervals to the HDR histogram log at `path`, or nowhere when there is none.
pub(crate) fn log_intervals<T>(
    path: Option<&Path>,
    body: impl FnOnce(&mut WriteInterval<'_>) -> io::Result<T>,
) -> io::Result<T> {
    let mut log: Box<dyn Write> = match path {
        Some(path) => Box::new(BufWriter::new(File::create(path)?)),
        None => Box::new(io::sink()),
    };
    let mut serializer = V2Serializer::new();
    let mut intervals =
        IntervalLogWriterBuilder::new().with_base_time(SystemTime::now()).begin_log_with(&mut log, &mut serializer)?;
    let done = body(&mut |histogram, from, len| {
        intervals.write_histogram(histogram, from, len, None).map_err(|error| io::Error::other(error.to_string()))
    })?;
    log.flush()?;
    Ok(done)
}

/// A boot counter for readers that have no flash: the seconds since 1970. It grows from run to run, and by one with each
/// power cut, so that no reader may lose power oftener than once a second.
pub(crate) fn boot_counter() -> u32 {
    u32::try_from(wall_seconds()).unwrap_or(u32::MAX)
}
