//! `kalitka-loadgen`: plays readers against a gateway, invents schools, and does the demo.
#![forbid(unsafe_code)]

mod cli_compare;
mod cli_line;
mod cli_osdp;
mod cli_relay;
mod cli_run;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand, value_parser};
use cli_compare::{CompareArgs, EchoArgs};
use cli_relay::RelayArgs;
use cli_run::RunArgs;
use kalitka_loadgen::demo::{self, demo};
use kalitka_loadgen::limits::{DURATION_MAX, HOLDERS_MAX, HOLDERS_MIN};
use kalitka_loadgen::output::{note, say};
use kalitka_loadgen::roster::{self, DEMO_HOLDERS, DEMO_SEED};
use signal_hook::consts::{SIGINT, SIGTERM};

const EXAMPLE: &str = "\
Example:
  kalitka-loadgen run --gateway 127.0.0.1:4700 --keys readers.json --roster my-school --profile steady --rate 200";
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
    Run(Box<RunArgs>),
    /// Set up a school, a gateway and a hub of its own, and play a morning against them
    Demo(DemoArgs),
    /// Invent a school and write its roster
    Roster(RosterArgs),
    /// Be the bare echo: give every datagram back
    Echo(EchoArgs),
    /// Be a bad network between two UDP ends
    Relay(RelayArgs),
    /// Set up gateways and echoes, and compare them by turns
    Compare(CompareArgs),
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
    if let Some(made) = kalitka_manual::made(Line::command) {
        return made;
    }
    let line = Line::parse();
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&stop)) {
            note(&format!("kalitka-loadgen: cannot handle signal {signal}: {error}"));
            return ExitCode::from(4);
        }
    }
    let done = match line.verb {
        Verb::Run(args) => args.run(&stop),
        Verb::Demo(args) => {
            let DemoArgs { duration, keep, roster, binaries } = args;
            let duration = Duration::from_secs(duration.into());
            demo(&demo::Options { duration, keep, roster, binaries }, &stop).map_err(Failure::from)
        }
        Verb::Roster(args) => invent(&args).map(|()| true).map_err(Failure::from),
        Verb::Echo(args) => cli_compare::serve(&args, &stop).map_err(Failure::from),
        Verb::Relay(args) => cli_relay::serve(&args, &stop).map_err(Failure::from),
        Verb::Compare(args) => cli_compare::compare(args, &stop).map_err(Failure::from),
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
