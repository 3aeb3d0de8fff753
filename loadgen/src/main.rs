//! `kalitka-loadgen`: plays readers against a gateway, invents schools, and does the demo.
#![forbid(unsafe_code)]

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, value_parser};
use kalitka_loadgen::arrivals::Profile;
use kalitka_loadgen::demo::{self, demo};
use kalitka_loadgen::hub::Hub;
use kalitka_loadgen::keys;
use kalitka_loadgen::limits::{
    AT_HUB_WITHIN, DURATION_MAX, HOLDERS_MAX, HOLDERS_MIN, RATE_MAX, RECEIPTS_WITHIN, WINDOW_MAX,
};
use kalitka_loadgen::oracle::{Oracle, ReadError};
use kalitka_loadgen::output::{note, say};
use kalitka_loadgen::play::Plan;
use kalitka_loadgen::roster::{self, DEMO_HOLDERS, DEMO_SEED};
use kalitka_loadgen::run::{Files, Target, run};
use kalitka_loadgen::stages::{Mishap, Mishaps};
use kalitka_loadgen::tally::Judges;
use signal_hook::consts::{SIGINT, SIGTERM};

const EXAMPLE: &str = "\
Example:
  kalitka-loadgen run --gateway 127.0.0.1:4700 --keys readers.json --roster my-school --profile steady --rate 200";
/// What to do about a key file that cannot be used.
const KEYS_REMEDY: &str = "a key file, mode 600, lists what `kalitka-gateway reader add N --json` prints: \
    [{\"reader\":101,\"psk\":\"<64 hex digits>\"}, …]";

/// Plays readers against a Kalitka gateway and checks every answer.
///
/// `run` needs a gateway that is up, the readers' keys and the roster behind the gateway's snapshot; docs/loadgen.md says
/// where they come from. `demo` makes all that by itself.
///
/// Exit status: 0 all right; 1 wrong or missing answers, or reports that the hub does not hold as it should; 2 the command
/// line is wrong; 3 the input is wrong (roster, key file); 4 the system refuses (no gateway or hub, file missing or in the
/// way, permission, disk); 130 stopped by ctrl-C.
#[derive(Parser)]
#[command(name = "kalitka-loadgen", version, max_term_width = 120, after_help = EXAMPLE)]
struct Line {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Play readers against a running gateway
    Run(RunArgs),
    /// Set up a school, a gateway and a hub of its own, and play a morning against them
    Demo(DemoArgs),
    /// Invent a school and write its roster
    Roster(RosterArgs),
}

#[derive(Args)]
struct RunArgs {
    /// Where the gateway listens to readers
    #[arg(long, value_name = "ADDRESS")]
    gateway: SocketAddr,
    /// The readers' keys: [{"reader":101,"psk":"<64 hex>"}, …], readable by their owner only
    #[arg(long, value_name = "FILE")]
    keys: PathBuf,
    /// The roster that the gateway's snapshot was built from
    #[arg(long, value_name = "DIR")]
    roster: PathBuf,
    /// Another roster, right from --generation on
    #[arg(long, value_name = "DIR", requires = "generation")]
    roster_next: Option<PathBuf>,
    /// First generation of the snapshot that --roster-next is right for
    #[arg(long, requires = "roster_next")]
    generation: Option<u32>,
    /// Who comes when
    #[arg(long, value_enum, default_value_t = Profile::Morning)]
    profile: Profile,
    /// Asks a second, on the average
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u32).range(1..=i64::from(RATE_MAX)))]
    rate: u32,
    /// Seconds for which cards are shown
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u32).range(1..=i64::from(DURATION_MAX)))]
    duration: u32,
    /// Asks outstanding at each reader of the profile saturate
    #[arg(long, default_value_t = 8, value_parser = value_parser!(u16).range(1..=WINDOW_MAX as i64))]
    window: u16,
    /// Seed of which card is shown where and when
    #[arg(long, default_value_t = DEMO_SEED)]
    seed: u64,
    /// Milliseconds from one reader's power cut to the next; 0 for none
    #[arg(long, default_value_t = 0, value_name = "MS")]
    power_cut_every: u32,
    /// Milliseconds from one reader's change of address to the next; 0 for none
    #[arg(long, default_value_t = 0, value_name = "MS")]
    address_change_every: u32,
    /// Milliseconds from one junk datagram to the next; 0 for none
    #[arg(long, default_value_t = 0, value_name = "MS")]
    junk_every: u32,
    /// Compare what readers reported with what the hub behind this control socket holds
    #[arg(long, value_name = "PATH")]
    hub_socket: Option<PathBuf>,
    /// Where kalitka-hub is, if not beside this program
    #[arg(long, value_name = "DIR", requires = "hub_socket")]
    binaries: Option<PathBuf>,
    /// Write the summary to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write latencies to this file as an HDR histogram interval log
    #[arg(long, value_name = "FILE")]
    hdr: Option<PathBuf>,
}

#[derive(Args)]
struct DemoArgs {
    /// Seconds for which cards are shown
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u32).range(4..=i64::from(DURATION_MAX)))]
    duration: u32,
    /// Leave gateway and hub running
    #[arg(long)]
    keep: bool,
    /// The roster; without it the default school is invented
    #[arg(long, value_name = "DIR")]
    roster: Option<PathBuf>,
    /// Where kalitka-gateway, kalitka-hub and kalitka-snapshot are, if not beside this program
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
}

#[derive(Args)]
struct RosterArgs {
    /// How many holders
    #[arg(long, default_value_t = DEMO_HOLDERS, value_parser = value_parser!(u32).range(i64::from(HOLDERS_MIN)..=i64::from(HOLDERS_MAX)))]
    holders: u32,
    /// The same seed gives the same bytes
    #[arg(long, default_value_t = DEMO_SEED)]
    seed: u64,
    /// Folder to write to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Replace a roster that is there
    #[arg(long)]
    force: bool,
}

/// Why nothing came of it, by whose fault it is.
enum Failure {
    Input(String),
    Environment(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Environment(error)
    }
}

fn main() -> ExitCode {
    let line = Line::parse();
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&stop)) {
            note(&format!("kalitka-loadgen: cannot handle signal {signal}: {error}"));
            return ExitCode::from(4);
        }
    }
    let done = match line.verb {
        Verb::Run(args) => play(&args, &stop),
        Verb::Demo(args) => {
            let DemoArgs { duration, keep, roster, binaries } = args;
            let duration = Duration::from_secs(duration.into());
            demo(&demo::Options { duration, keep, roster, binaries }, &stop).map_err(Failure::from)
        }
        Verb::Roster(args) => invent(&args).map(|()| true).map_err(Failure::from),
    };
    if stop.load(Ordering::Relaxed) {
        note("kalitka-loadgen: stopped");
        return ExitCode::from(130);
    }
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(Failure::Input(what)) => complain(&what, 3),
        Err(Failure::Environment(error)) => complain(&error.to_string(), 4),
    }
}

fn complain(what: &str, status: u8) -> ExitCode {
    note(&format!("kalitka-loadgen: {what}"));
    ExitCode::from(status)
}

fn play(args: &RunArgs, stop: &AtomicBool) -> Result<bool, Failure> {
    let keys = keys::read(&args.keys).map_err(|error| of_keys(&args.keys, &error))?;
    let first = oracle(&args.roster)?;
    let hub = hub(args, first.building())?;
    let mut judges = Judges::from(0, first);
    if let (Some(next), Some(generation)) = (&args.roster_next, args.generation) {
        judges = judges.then(generation, oracle(next)?);
    }
    let plan = Plan {
        profile: args.profile,
        rate: args.rate,
        duration: Duration::from_secs(args.duration.into()),
        window: args.window.into(),
        seed: args.seed,
        receipts_within: RECEIPTS_WITHIN,
    };
    let millis = |ms: u32| Duration::from_millis(ms.into());
    let mishaps = Mishaps {
        power_cut_every: millis(args.power_cut_every),
        address_change_every: millis(args.address_change_every),
        junk_every: millis(args.junk_every),
    };
    let files = Files { json: args.json.clone(), hdr: args.hdr.clone() };
    let target = Target { gateway: args.gateway, keys: &keys, hub: hub.as_ref() };
    let (summary, _) = run(target, judges, plan, &mut Mishap::new(mishaps, args.seed), &files, stop)?;
    say(&summary.table());
    say(&summary.result_line());
    Ok(summary.wrong == 0 && summary.unanswered == 0 && summary.is_well_at_hub())
}

fn hub(args: &RunArgs, building: u32) -> io::Result<Option<Hub>> {
    let Some(socket) = args.hub_socket.clone() else { return Ok(None) };
    let program = demo::programs(args.binaries.as_deref())?.join("kalitka-hub");
    Ok(Some(Hub { program, socket, building, is_alone: false, within: AT_HUB_WITHIN }))
}

fn invent(args: &RosterArgs) -> io::Result<()> {
    let RosterArgs { holders, seed, out, force } = args;
    if !force {
        roster::refuse_to_replace(out)?;
    }
    roster::write(out, *holders, *seed)?;
    say(&format!(
        "a school of {holders} holders is written to {}: building.toml, people.csv, cards.csv",
        out.display()
    ));
    Ok(())
}

fn oracle(dir: &Path) -> Result<Oracle, Failure> {
    Oracle::read(dir).map_err(|error| match error {
        ReadError::File { ref source, .. } => Failure::Environment(io::Error::new(source.kind(), error.to_string())),
        _ => Failure::Input(format!("{}: {error}; `kalitka-snapshot build` names every error", dir.display())),
    })
}

fn of_keys(path: &Path, error: &io::Error) -> Failure {
    let what = format!("{}: {error}; {KEYS_REMEDY}", path.display());
    match error.kind() {
        io::ErrorKind::InvalidData => Failure::Input(what),
        kind => Failure::Environment(io::Error::new(kind, what)),
    }
}
