//! `kalitka-loadgen run`: what it is asked for, and what is done then.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::{Args, value_parser};
use kalitka_loadgen::arrivals::Profile;
use kalitka_loadgen::barrage::{self, Load, barrage};
use kalitka_loadgen::cpu::Reading;
use kalitka_loadgen::demo;
use kalitka_loadgen::hub::Hub;
use kalitka_loadgen::keys::{self, ReaderKey};
use kalitka_loadgen::limits::{
    AT_HUB_WITHIN, DURATION_MAX, JUNK_RATE_MAX, RATE_MAX, RECEIPTS_WITHIN, SOCKETS_MAX, WINDOW_MAX,
};
use kalitka_loadgen::oracle::{Oracle, ReadError};
use kalitka_loadgen::output::say;
use kalitka_loadgen::play::{Plan, Stage};
use kalitka_loadgen::roster::DEMO_SEED;
use kalitka_loadgen::run::{Files, Target, run};
use kalitka_loadgen::siege::Siege;
use kalitka_loadgen::stages::{Mishap, Mishaps};
use kalitka_loadgen::summary::Summary;
use kalitka_loadgen::tally::Judges;
use kalitka_loadgen::volley::{self, Cards, Junk, Peer, Volley};
use kalitka_protocol::limits::MESSAGES_MAX;

use crate::Failure;
use crate::cli_line::{self, LineArgs};
use crate::cli_osdp::OsdpArgs;

/// What to do about a key file that cannot be used.
const KEYS_REMEDY: &str = "a key file, mode 600, lists what `kalitka-gateway reader add N --json` prints: \
    [{\"reader\":101,\"psk\":\"<64 hex digits>\"}, …]";

#[derive(Args)]
pub(crate) struct RunArgs {
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
    /// Asks a second, on the average; datagrams a second of the profile rate
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u32).range(1..=i64::from(RATE_MAX)))]
    rate: u32,
    /// Seconds for which cards are shown
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u32).range(1..=i64::from(DURATION_MAX)))]
    duration: u32,
    #[command(flatten)]
    volley: VolleyArgs,
    /// Junk of the profile flood: kinds with commas between, or mixed
    #[arg(long, default_value = "mixed", value_name = "KINDS", value_parser = kinds)]
    junk: Kinds,
    /// Junk datagrams a second of the profile flood
    #[arg(long, default_value_t = 200_000, value_name = "RATE",
        value_parser = value_parser!(u32).range(1..=i64::from(JUNK_RATE_MAX)))]
    junk_rate: u32,
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
    #[command(flatten)]
    line: LineArgs,
    #[command(flatten)]
    osdp: OsdpArgs,
    /// Stand the readers at turnstiles: what follows a grant takes its time, some turn back, hold the wing open, force the arm
    #[arg(long)]
    turnstiles: bool,
    /// The gateway's process, on this machine: tell its CPU time for each answer (in a flood, for each datagram), by thread
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
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
    /// Draw the quantiles of the latency into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// What only the profiles saturate and rate look at.
#[derive(Args)]
#[command(next_help_heading = "Profiles saturate and rate")]
struct VolleyArgs {
    /// Datagrams outstanding in all, of the profile saturate
    #[arg(long, default_value_t = 256, value_parser = value_parser!(u16).range(1..=WINDOW_MAX as i64))]
    window: u16,
    /// Sockets, each at an address of its own in 127.0.0.0/8; no more than readers
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u16).range(1..=SOCKETS_MAX as i64))]
    sockets: u16,
    /// Asks in each datagram
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = value_parser!(u16).range(1..=MESSAGES_MAX as i64))]
    asks_per_datagram: u16,
    /// Which cards are shown
    #[arg(long, value_enum, default_value_t = Cards::School)]
    cards: Cards,
    /// How the profile rate waits for its next moment
    #[arg(long, value_enum, default_value_t = volley::Waiting::Spin, value_name = "HOW")]
    wait: volley::Waiting,
    /// Send datagrams one by one, not in trains that the kernel cuts
    #[arg(long)]
    no_trains: bool,
}

/// Kinds of junk.
#[derive(Clone)]
struct Kinds(Vec<Junk>);

fn kinds(text: &str) -> Result<Kinds, String> {
    if text == "mixed" {
        return Ok(Kinds(Junk::ALL.to_vec()));
    }
    let kind = |label: &str| Junk::ALL.into_iter().find(|kind| kind.label() == label);
    text.split(',').map(kind).collect::<Option<_>>().map(Kinds).ok_or_else(|| {
        let labels: Vec<_> = Junk::ALL.into_iter().map(Junk::label).collect();
        format!("kinds are mixed, or some of {}", labels.join(", "))
    })
}

impl RunArgs {
    /// Plays; says whether all was right.
    pub(crate) fn run(&self, stop: &AtomicBool) -> Result<bool, Failure> {
        let keys = keys::read(&self.keys).map_err(|error| of_keys(&self.keys, &error))?;
        let mut judges = Judges::from(0, oracle(&self.roster)?);
        if let (Some(next), Some(generation)) = (&self.roster_next, self.generation) {
            judges = judges.then(generation, oracle(next)?);
        }
        Ok(match self.profile {
            Profile::Saturate => {
                self.volley(&keys, &judges, Load::Saturate { window: self.volley.window.into() }, stop)?
            }
            Profile::Rate => {
                let load = Load::Rate { per_second: self.rate, waiting: self.volley.wait };
                self.volley(&keys, &judges, load, stop)?
            }
            Profile::Flood => {
                let summary = self.flood(&keys, judges, stop)?;
                is_well(&summary) && summary.unanswered_after_one_resend == 0
            }
            Profile::Morning | Profile::Steady | Profile::Reports => {
                let play = || self.fleet(&keys, judges, &mut self.mishap(), stop);
                let summary = self.watched(play, |summary| summary.answered)?;
                say(&summary.result_line());
                is_well(&summary)
            }
        })
    }

    /// Honest readers beside a flood of junk.
    fn flood(&self, keys: &[ReaderKey], judges: Judges, stop: &AtomicBool) -> io::Result<Summary> {
        let Kinds(kinds) = self.junk.clone();
        let mut siege = Siege::new(self.gateway, kinds, self.junk_rate, self.duration(), self.seed);
        let play = || {
            let summary = self.fleet(keys, judges, &mut siege, stop)?;
            let flood = siege.end()?;
            say(&format!("  {:<26} {}", "flood", siege.row(&flood)));
            Ok((summary, flood))
        };
        let (summary, _) = self.watched(play, |(summary, flood)| summary.answered + flood.datagrams)?;
        say(&summary.result_line());
        Ok(summary)
    }

    fn volley(&self, keys: &[ReaderKey], judges: &Judges, load: Load, stop: &AtomicBool) -> io::Result<bool> {
        let VolleyArgs { sockets, asks_per_datagram, cards, no_trains, .. } = self.volley;
        let options = volley::Options {
            sockets: sockets.into(),
            asks_per_datagram: asks_per_datagram.into(),
            trains: !no_trains,
            seed: self.seed,
        };
        let mut volley = Volley::open(self.gateway, Peer::Gateway { keys, judges, cards }, options)?;
        let plan = barrage::Plan { load, duration: self.duration(), server: self.server_pid };
        let outcome = barrage(&mut volley, plan, &self.files(), stop)?;
        say(&outcome.table());
        say(&outcome.result_line());
        Ok(outcome.is_well())
    }

    /// Plays readers that are true to the protocol; says the table.
    fn fleet(
        &self,
        keys: &[ReaderKey],
        judges: Judges,
        stage: &mut dyn Stage,
        stop: &AtomicBool,
    ) -> io::Result<Summary> {
        let hub = self.hub(judges.first().building())?;
        let plan = Plan {
            profile: self.profile,
            rate: self.rate,
            duration: self.duration(),
            seed: self.seed,
            receipts_within: RECEIPTS_WITHIN,
        };
        let lines = self.line.plug(self.seed)?;
        let mut buses = self.osdp.plug(self.line.noise(), self.seed)?;
        let (ways, turnstiles) = (cli_line::ways(&lines), self.turnstiles);
        let (gateway, hub) = (self.gateway, hub.as_ref());
        let target = Target { gateway, keys, ways: &ways, buses: &mut buses, turnstiles, hub };
        let (summary, _) = run(target, judges, plan, stage, &self.files(), stop)?;
        say(summary.table().trim_end());
        cli_line::rows(&lines).iter().for_each(|row| say(row));
        Ok(summary)
    }

    /// Has `play` play and say its table; says what CPU time the server used for each of the datagrams that `count` counts.
    fn watched<T>(&self, play: impl FnOnce() -> io::Result<T>, count: impl FnOnce(&T) -> u64) -> io::Result<T> {
        let before = self.server_pid.map(Reading::of).transpose()?;
        let played = play()?;
        if let (Some(pid), Some(before)) = (self.server_pid, before) {
            let rows = barrage::server_rows(&Reading::of(pid)?.since(&before), count(&played));
            rows.iter().for_each(|row| say(row));
        }
        Ok(played)
    }

    fn duration(&self) -> Duration {
        Duration::from_secs(self.duration.into())
    }

    fn mishap(&self) -> Mishap {
        let millis = |ms: u32| Duration::from_millis(ms.into());
        let mishaps = Mishaps {
            power_cut_every: millis(self.power_cut_every),
            address_change_every: millis(self.address_change_every),
            junk_every: millis(self.junk_every),
        };
        Mishap::new(mishaps, self.seed)
    }

    fn files(&self) -> Files {
        Files { json: self.json.clone(), hdr: self.hdr.clone(), svg: self.svg.clone() }
    }

    fn hub(&self, building: u32) -> io::Result<Option<Hub>> {
        let Some(socket) = self.hub_socket.clone() else { return Ok(None) };
        let program = demo::programs(self.binaries.as_deref())?.join("kalitka-hub");
        Ok(Some(Hub { program, socket, building, is_alone: false, within: AT_HUB_WITHIN }))
    }
}

fn is_well(summary: &Summary) -> bool {
    summary.wrong == 0 && summary.unanswered == 0 && summary.is_well_at_hub()
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
