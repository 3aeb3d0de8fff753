//! A month and a year through one process, and a month's backlog at a start: what disk and memory they take.
//!
//! Each run is a process of its own, so that its memory is its own: this program starts itself. Ordinary runs are small;
//! with `KALITKA_SOAK=1` they have their whole length. `KALITKA_ENDURANCE` is a part of the names of those wanted, and
//! `KALITKA_ENDURANCE_IN` a folder for their stores: in `/dev/shm` three million syncs cost nothing. Judged is:
//!
//! - disk: bytes of the store's files, the largest seen;
//! - memory: the resident set, the largest seen;
//! - no growth: in the last quarter neither is more than [`GROWTH`] above the largest of the quarter before.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, missing_docs)]

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use kalitka_outbox::{Begun, Bounds, Opening, Outbox};
use kalitka_protocol::event::{Body, ClockQuality, EpochBegun, Event, EventHeader, ReportTaken, renumber};
use kalitka_protocol::message::{Report, ReportKind};
use kalitka_protocol::reason::Direction;
use kalitka_protocol::wire::Writer;
use kalitka_protocol::{BootId, EpochId, LogId, ReaderId};

const MIB: u64 = 1 << 20;
/// The gateway's own bounds, as they are when nothing is configured, with fewer acknowledged events kept.
const BOUNDS: Bounds = Bounds { events_max: 2_000_000, bytes_max: 1 << 30, keep_acknowledged: 100 };
/// Events that wait for the hub in the long runs.
const PENDING: u64 = 100;
/// Events of a full commit.
const FULL: u64 = 1024;
/// What the last quarter of a run may have above the one before: a segment and what the allocator holds back.
const GROWTH: u64 = 12 * MIB;
const BUILDING: u32 = 7;

/// One run.
struct Case {
    name: &'static str,
    /// Events in an ordinary run and in soak.
    events: (u64, u64),
    together: u64,
    kind: Kind,
}

/// What a run does, and what it may take.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Events go in, are acknowledged, and leave.
    Through { disk_max: u64, memory_max: u64 },
    /// Events stay, and the store is opened with them by another process.
    Backlog { memory_max: u64 },
}

const THROUGH: Kind = Kind::Through { disk_max: 128_000_000, memory_max: 96 * MIB };
/// A backlog opens in so many milliseconds; ordinary runs are not judged by that.
const OPENS_IN_MS: u128 = 2000;

const CASES: [Case; 4] = [
    Case { name: "single-event commits", events: (5_000, 3_000_000), together: 1, kind: THROUGH },
    Case { name: "full blocks", events: (500_000, 50_000_000), together: FULL, kind: THROUGH },
    Case {
        name: "backlog of full blocks",
        events: (100_000, 1_000_000),
        together: FULL,
        kind: Kind::Backlog { memory_max: 192 * MIB },
    },
    Case {
        name: "backlog of single events",
        events: (10_000, 1_000_000),
        together: 1,
        kind: Kind::Backlog { memory_max: 256 * MIB },
    },
];

fn main() {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() != Some("--run") {
        // What the test runner is told is for other tests: here all is done, or what is named by a part of it.
        let wanted = std::env::var("KALITKA_ENDURANCE").unwrap_or_default();
        return CASES.iter().filter(|case| case.name.contains(&wanted)).for_each(judge);
    }
    let (place, step, folder) = (args.next().unwrap(), args.next().unwrap(), args.next().unwrap());
    let case = &CASES[place.parse::<usize>().unwrap()];
    match step.as_str() {
        "through" => through(case, Path::new(&folder)),
        "fill" => fill(case, Path::new(&folder)),
        "open" => open_backlog(case, Path::new(&folder)),
        _ => panic!("{step}"),
    }
}

fn is_soak() -> bool {
    std::env::var("KALITKA_SOAK").is_ok_and(|value| value != "0" && !value.is_empty())
}

fn events(case: &Case) -> u64 {
    if is_soak() { case.events.1 } else { case.events.0 }
}

/// Runs the case in processes of its own; each panics when something is not as it must be.
fn judge(case: &Case) {
    let place = std::env::var("KALITKA_ENDURANCE_IN").unwrap_or_else(|_| env!("CARGO_TARGET_TMPDIR").into());
    let folder = tempfile::tempdir_in(place).unwrap();
    let place = CASES.iter().position(|other| other.name == case.name).unwrap();
    let steps: &[&str] = if matches!(case.kind, Kind::Backlog { .. }) { &["fill", "open"] } else { &["through"] };
    for step in steps {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let status = command.args(["--run", &place.to_string(), step]).arg(folder.path()).status().unwrap();
        assert!(status.success(), "{}: {step} failed", case.name);
    }
}

fn open(folder: &Path) -> (Outbox, Begun) {
    let (machine, fresh_epoch) = ([1; 16], EpochId(1));
    let opening =
        Opening { folder, building: BUILDING, machine, fresh_epoch, known: None, earlier: &[], limits: BOUNDS };
    Outbox::open(opening).unwrap()
}

fn begin(folder: &Path) -> Outbox {
    let (mut outbox, begun) = open(folder);
    assert!(matches!(begun, Begun::NewEpoch { .. }));
    outbox.append(&event(1, Body::EpochBegun(EpochBegun { before: None, last: 0, hash: [0; 32] }))).unwrap();
    outbox
}

/// Events go through one process and are acknowledged as they go, but for those that wait.
fn through(case: &Case, folder: &Path) {
    let Kind::Through { disk_max, memory_max } = case.kind else { panic!("{}", case.name) };
    let mut outbox = begin(folder);
    let mut source = Source::new(case.together);
    let total = events(case);
    let mut samples = Vec::new();
    let begun = Instant::now();
    while outbox.head().number < total {
        let head = outbox.append(source.next(outbox.head().number + 1)).unwrap();
        // As the journal does behind a checkpoint.
        outbox.set_floor(head);
        if head.number > PENDING {
            outbox.acknowledge(head.epoch, head.number - PENDING).unwrap();
        }
        if head.number * 400 / total > samples.len() as u64 {
            samples.push((outbox.usage().disk_bytes, resident("VmRSS:")));
        }
    }
    let took = begun.elapsed();
    let disk: Vec<u64> = samples.iter().map(|sample| sample.0).collect();
    let memory: Vec<u64> = samples.iter().map(|sample| sample.1).collect();
    println!(
        "{}: {total} in {:.0} s; disk {} MB, memory {:.1} MiB; by quarters: disk {}, memory {}",
        case.name,
        took.as_secs_f64(),
        largest(&disk) / 1_000_000,
        mib(resident("VmHWM:")),
        quarters(&disk),
        quarters(&memory),
    );
    assert!(largest(&disk) < disk_max, "{}: the disk takes too much", case.name);
    assert!(resident("VmHWM:") < memory_max, "{}: memory takes too much", case.name);
    for (what, samples) in [("the disk", &disk), ("memory", &memory)] {
        let [.., before, last] = by_quarter(samples);
        assert!(last <= before + GROWTH, "{}: {what} has grown from {before} to {last} bytes", case.name);
    }
}

/// A backlog, of which nothing is acknowledged.
fn fill(case: &Case, folder: &Path) {
    let mut outbox = begin(folder);
    let mut source = Source::new(case.together);
    while outbox.head().number < events(case) {
        outbox.append(source.next(outbox.head().number + 1)).unwrap();
    }
    // As a killed process leaves it.
    std::process::exit(0);
}

fn open_backlog(case: &Case, folder: &Path) {
    let Kind::Backlog { memory_max } = case.kind else { panic!("{}", case.name) };
    let begun = Instant::now();
    let (outbox, left) = open(folder);
    let took = begun.elapsed();
    assert_eq!(left, Begun::AsLeft);
    assert!(outbox.usage().events >= events(case));
    let memory = resident("VmHWM:");
    let cpu = cpu_ms();
    println!(
        "{}: {} open in {} ms, of them {cpu} at work; memory {:.1} MiB",
        case.name,
        events(case),
        took.as_millis(),
        mib(memory)
    );
    assert!(memory < memory_max, "{}: memory takes too much", case.name);
    if is_soak() {
        // On a machine that others use too, by the time that it got.
        let took = took.as_millis().min(cpu.into());
        assert!(took < OPENS_IN_MS, "{}: it opens too slowly", case.name);
    }
}

/// Makes the events of commits.
struct Source {
    events: Vec<u8>,
    len: usize,
}

impl Source {
    fn new(together: u64) -> Self {
        let one = event(2, pass(2));
        Self { len: one.len(), events: one.repeat(usize::try_from(together).unwrap()) }
    }

    /// The next commit's events, from number `first` on.
    fn next(&mut self, first: u64) -> &[u8] {
        for (number, event) in (first..).zip(self.events.chunks_exact_mut(self.len)) {
            renumber(event, EpochId(1), number).unwrap();
        }
        &self.events
    }
}

fn pass(number: u64) -> Body<'static> {
    let report = Report {
        log: LogId(7),
        number,
        boot: BootId(9),
        request: 5,
        age_ms: 0,
        count: 0,
        kind: ReportKind::Passed,
        direction: Some(Direction::Entry),
        input: 0,
        unasked: false,
        oldest: false,
        card: None,
    };
    Body::Report(ReportTaken { reader: ReaderId(101), generation: 3, portal: Some(0), report })
}

fn event(number: u64, body: Body<'_>) -> Vec<u8> {
    let header = EventHeader {
        building: BUILDING,
        epoch: EpochId(1),
        number,
        wall_us: 1_700_000_000_000_000,
        monotonic_us: number,
        gateway_boot: 1,
        quality: ClockQuality::Good,
        jumped: false,
    };
    let mut bytes = [0; 512];
    let mut out = Writer::new(&mut bytes);
    Event { header, body }.emit(&mut out).unwrap();
    let len = out.len();
    bytes[..len].to_vec()
}

/// A line of this process's own account, in bytes.
fn resident(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let kib = status.lines().find_map(|of| of.strip_prefix(line)).unwrap();
    kib.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// What all threads of this process have worked, in milliseconds.
fn cpu_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // In hundredths of a second, user's and system's: fields 14 and 15, counted from field 3.
    [fields[11], fields[12]].iter().map(|field| field.parse::<u64>().unwrap() * 10).sum()
}

fn largest(samples: &[u64]) -> u64 {
    samples.iter().copied().max().unwrap_or(0)
}

/// The largest of each quarter.
fn by_quarter(samples: &[u64]) -> [u64; 4] {
    let quarter = samples.len() / 4;
    [0, 1, 2, 3].map(|place| largest(&samples[place * quarter..][..quarter]))
}

fn quarters(samples: &[u64]) -> String {
    by_quarter(samples).map(|largest| format!("{:.1}", mib(largest))).join(" ") + " MiB"
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB as f64
}
