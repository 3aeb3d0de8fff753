//! The command line.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use kalitka_process::output::print;
use zeroize::Zeroizing;

use crate::adoption::Standing;
use crate::check;
use crate::config::Config;
use crate::control::client;
use crate::control::{Reply, Request, Status, UplinkStatus};
use crate::doctor;
use crate::enrol;
use crate::failure::Failure;
use crate::journal::JournalStatus;
use crate::keys::enrolment;
use crate::osdp::Shown;
use crate::outbox::{self, Ended, OutboxCommand};
use crate::run;
use crate::serial::cabinet::SerialCommand;

/// Decides who may pass the readers of one building.
///
/// `run` serves readers over UDP and serial lines by the newest signed snapshot; `enrol` joins it to a hub; every other command
/// but `check`, `doctor`, `serial` and `outbox` reaches the running gateway over its control socket.
///
/// Exit status: 0 done; 2 wrong usage; 3 wrong input (configuration, key file, snapshot, reader number); 4 the machine does
/// not allow it (port in use, file or socket missing, permission); 5 `serial probe` has understood nothing; 6 `doctor` has
/// found something wrong; 1 a defect of this program. `outbox` has its own.
#[derive(Debug, Parser)]
#[command(name = "kalitka-gateway", version, max_term_width = 120)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT
    Run(ConfigFile),
    /// Say whether the configuration and the state folder's keys, stamps and snapshot hold; change nothing
    Check(ConfigFile),
    /// Look at the whole box and say what is wrong and what to do; change nothing
    ///
    /// Permissions, disk, clock, ports, kernel buffers, snapshot, readers, outbox, certificates' dates, and whether the hub
    /// is reached; whether the gateway runs or stands. Best as root. Exit status 6 when something is wrong.
    Doctor(Doctor),
    /// Make this box the gateway of its building at a hub: a key is made here, the hub certifies it, both know each other
    Enrol(Enrol),
    /// Give readers their keys and take them away, at once and without a restart
    #[command(subcommand)]
    Reader(ReaderCommand),
    /// Give OSDP devices their keys and see how they stand
    #[command(subcommand)]
    Osdp(OsdpCommand),
    /// Put snapshots into force and see how matters stand
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Serial ports, for the engineer at the cabinet: which there are, what speaks on them, what passes
    #[command(subcommand)]
    Serial(SerialCommand),
    /// Look at, read out or rebuild the outbox of a gateway that stands, or a copy of one
    #[command(subcommand)]
    Outbox(OutboxCommand),
}

#[derive(Debug, Subcommand)]
enum ReaderCommand {
    /// Make the first key of reader N and show it once, in hex and as a QR code
    Add(OneReader),
    /// Replace the key of reader N and show the new one once; sessions under the old one end
    Rekey(OneReader),
    /// Take the key of reader N away; its sessions end
    Revoke(OneReader),
    /// List the readers that have keys
    List(Asking),
}

#[derive(Debug, Subcommand)]
enum SnapshotCommand {
    /// Verify FILE and put it into force, as if it had come into the inbox
    Adopt {
        /// A signed snapshot, readable by the gateway
        file: PathBuf,
        #[command(flatten)]
        asking: Asking,
    },
    /// Show the snapshot in force, the newest refusal, and where the gateway listens
    Status(Asking),
}

#[derive(Debug, Subcommand)]
enum OsdpCommand {
    /// Open an install window: until its end the device of reader N may be given a key of its own, then the window closes
    ///
    /// A device that is new, or was reset, takes a key from whoever speaks to it. Open the window only when the device that is to
    /// have the key hangs on the line and somebody you trust stands beside it; `osdp status` shows what came of it.
    Enrol {
        /// The reader's number, as the configuration gives it to the device
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        reader: u32,
        /// How long the window is open, like 60s or 5m; from 5s to 10m
        #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = seconds)]
        seconds: u64,
        #[command(flatten)]
        asking: Asking,
    },
    /// Show each device: reader, port, address, state, alarm
    Status(Asking),
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration, TOML
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct Doctor {
    #[command(flatten)]
    file: ConfigFile,
    /// Print one JSON array instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Enrol {
    #[command(flatten)]
    file: ConfigFile,
    /// Where the hub is
    #[arg(long, value_name = "HOST:PORT")]
    hub: String,
    #[command(flatten)]
    token: Token,
    /// Replace the identity that the box already has
    #[arg(long)]
    again: bool,
}

/// Where the token comes from. Given neither way it is the credential `enrol-token` of the service manager.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct Token {
    /// A file with what `kalitka-hub pki token` printed for this building, good once; `-` for standard input. Without it the
    /// credential `enrol-token` of the service manager is taken
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The token itself, for a try: everybody on the machine sees it in the list of processes
    #[arg(long)]
    token: Option<String>,
}

#[derive(Debug, Args)]
struct OneReader {
    /// The reader's number
    #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    reader: u32,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Debug, Args)]
struct Asking {
    #[command(flatten)]
    place: Place,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Place {
    /// The running gateway's control socket
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The running gateway's configuration, which names the socket
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Place {
    fn socket(&self) -> Result<PathBuf, Failure> {
        match (&self.socket, &self.config) {
            (Some(socket), _) => Ok(socket.clone()),
            (None, Some(config)) => Ok(Config::read(config)?.control.socket),
            (None, None) => Err(Failure::Defect("neither --socket nor --config".into())),
        }
    }
}

impl Token {
    fn read(self) -> Result<Zeroizing<String>, Failure> {
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let read = || enrol::token(self.token_file.as_deref(), credentials.as_deref());
        self.token.map_or_else(read, |token| Ok(token.into()))
    }
}

impl Cli {
    /// Does what was asked for, and says what failed; gives the exit status.
    pub(crate) fn run(self) -> u8 {
        let not_done = matches!(self.command, Command::Outbox(_)).then_some(outbox::NOT_DONE);
        self.execute().unwrap_or_else(|failure| {
            // With standard error gone there is nobody left to tell.
            let _ = writeln!(io::stderr(), "kalitka-gateway: {failure}");
            not_done.unwrap_or_else(|| failure.exit_status())
        })
    }

    /// Does what was asked for; gives the exit status.
    ///
    /// # Errors
    /// [`Failure`] with the exit status.
    fn execute(self) -> Result<u8, Failure> {
        let done = match self.command {
            Command::Outbox(command) => return command.execute().map(Ended::exit_status),
            Command::Serial(command) => return command.execute(),
            Command::Doctor(Doctor { file, json }) => return examine(&file.config, json),
            Command::Run(file) => run::run(&Config::read(&file.config)?),
            Command::Check(file) => print(&check::check(&Config::read(&file.config)?)?),
            Command::Enrol(Enrol { file: ConfigFile { config }, hub, token, again }) => {
                let token = token.read()?;
                print(&enrol::enrol(&Config::read(&config)?, &config, &hub, &token, again)?)
            }
            Command::Reader(ReaderCommand::Add(one)) => ask(&one.asking, &Request::ReaderAdd { reader: one.reader }),
            Command::Reader(ReaderCommand::Rekey(one)) => {
                ask(&one.asking, &Request::ReaderRekey { reader: one.reader })
            }
            Command::Reader(ReaderCommand::Revoke(one)) => {
                ask(&one.asking, &Request::ReaderRevoke { reader: one.reader })
            }
            Command::Reader(ReaderCommand::List(asking)) => ask(&asking, &Request::ReaderList {}),
            Command::Snapshot(SnapshotCommand::Adopt { file, asking }) => {
                let file = std::path::absolute(&file)
                    .map_err(|error| Failure::at(&file, "find the file", &error, "give its absolute path"))?;
                ask(&asking, &Request::SnapshotAdopt { file })
            }
            Command::Osdp(OsdpCommand::Enrol { reader, seconds, asking }) => {
                ask(&asking, &Request::OsdpEnrol { reader, seconds })
            }
            Command::Osdp(OsdpCommand::Status(asking)) => ask(&asking, &Request::OsdpStatus {}),
            Command::Snapshot(SnapshotCommand::Status(asking)) => ask(&asking, &Request::Status {}),
        };
        done.map(|()| 0)
    }
}

fn examine(config: &Path, in_json: bool) -> Result<u8, Failure> {
    let report = doctor::examine(config);
    let defect = |error: serde_json::Error| Failure::Defect(format!("the report: {error}"));
    let shown = if in_json { serde_json::to_string(&report).map_err(defect)? + "\n" } else { report.to_string() };
    print(&shown)?;
    Ok(report.exit_status())
}

fn ask(asking: &Asking, request: &Request) -> Result<(), Failure> {
    let reply = client::ask(&asking.place.socket()?, request)?;
    let shown = if asking.json { json(&reply) } else { Ok(text(&reply)) };
    print(&shown.map_err(|error| Failure::Defect(format!("the reply: {error}")))?)
}

/// The reply's own fields.
fn json(reply: &Reply) -> serde_json::Result<String> {
    let mut value = serde_json::to_value(reply)?;
    if let Some(fields) = value.as_object_mut() {
        fields.remove("reply");
    }
    Ok(format!("{value}\n"))
}

fn text(reply: &Reply) -> String {
    match reply {
        Reply::Key { reader, psk } => enrolment(*reader, psk.as_str()),
        Reply::Revoked { reader } => format!("reader {reader} has no key any more\n"),
        Reply::Readers { readers } if readers.is_empty() => "no reader has a key\n".into(),
        Reply::Readers { readers } => readers.iter().map(|reader| format!("{reader}\n")).collect(),
        Reply::Adopted(summary) => {
            format!("generation {} is in force, {} entries\n", summary.generation, summary.entries)
        }
        Reply::Status(status) => status_text(status),
        Reply::WindowOpen { reader, seconds } => {
            format!("the device of reader {reader} may take its key for {seconds} s; see `osdp status`\n")
        }
        Reply::Devices { devices } if devices.is_empty() => "there is no OSDP device\n".into(),
        Reply::Devices { devices } => devices.iter().map(device_text).collect(),
        Reply::Refused { error } | Reply::Failed { error } => format!("{error}\n"),
    }
}

fn device_text(device: &Shown) -> String {
    let Shown { reader, port, address, state, alarm, installing } = device;
    let alarm = alarm.as_ref().map(|alarm| format!(", alarm: {alarm}")).unwrap_or_default();
    let window = if *installing { ", install window open" } else { "" };
    format!("{reader}: {state}{alarm}{window}, address {address} at {}\n", port.display())
}

/// Seconds written like 60s, 5m or 60.
fn seconds(text: &str) -> Result<u64, String> {
    let (number, factor) = match text.strip_suffix('m') {
        Some(minutes) => (minutes, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    let wrong = || format!("`{text}` is no time; write it like 60s or 5m");
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(wrong)
}

fn status_text(status: &Status) -> String {
    let in_force = status.snapshot.in_force.as_ref().map_or_else(
        || "none: every ask is denied".to_owned(),
        |s| {
            format!(
                "generation {}, {} entries, built at {} s since 1970 by {}",
                s.generation, s.entries, s.created, s.publisher
            )
        },
    );
    let stale = stale_text(&status.snapshot);
    let refused = status
        .snapshot
        .refused
        .as_ref()
        .map_or_else(|| "none since the start".to_owned(), |refused| format!("{}: {}", refused.file, refused.error));
    let journal = journal_text(&status.journal);
    let uplink = uplink_text(&status.uplink);
    format!(
        "version   {}\nbuilding  {}\nreaders   {} with keys, on udp {}\nmetrics   http://{}/metrics\n\
         snapshot  {in_force}{stale}\nfloor     generation {}\nrefused   {refused}\nevents    {journal}\nhub       {uplink}\n",
        status.version, status.building, status.readers, status.udp, status.http, status.snapshot.floor
    )
}

fn stale_text(snapshot: &Standing) -> String {
    match snapshot.stale_from {
        Some(from) if snapshot.is_stale => {
            format!("; stale since {from} s since 1970: only essential access levels pass")
        }
        Some(from) => format!("; stale from {from} s since 1970 on"),
        None => String::new(),
    }
}

fn journal_text(journal: &JournalStatus) -> String {
    let JournalStatus { epoch, number, unacknowledged, events, .. } = journal;
    let stands = format!("{epoch}/{number}, {events} kept, {unacknowledged} not yet at the hub");
    let trouble = journal.trouble.as_ref().map(|trouble| format!("; not made durable now: {trouble}"));
    let bound = format!(", {} % of the bound, disk {} % full", journal.bound_percent, journal.disk_percent);
    let crowded =
        journal.at_bound.then_some("; at the bound: decisions are not recorded, reports wait at their readers");
    let safety = journal.safety_damaged.then_some("; the blocks and modes in force could not be read");
    format!(
        "{stands}{bound}{}{}{}",
        trouble.unwrap_or_default(),
        crowded.unwrap_or_default(),
        safety.unwrap_or_default()
    )
}

fn uplink_text(uplink: &UplinkStatus) -> String {
    match (&uplink.hub, uplink.up_seconds, &uplink.trouble) {
        (Some(hub), Some(seconds), _) => format!("up for {seconds} s, at {hub}"),
        (_, _, Some(trouble)) => format!("{}: {trouble}", uplink.state),
        _ => uplink.state.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn usage_is_strict() {
        let cases: [(&[&str], bool); 25] = [
            (&["doctor", "--config", "/c", "--json"], true),
            (&["doctor"], false),
            (&["osdp", "enrol", "--reader", "101", "--for", "60s", "--socket", "/s"], true),
            (&["osdp", "enrol", "--reader", "101", "--for", "5x", "--socket", "/s"], false),
            (&["osdp", "enrol", "--for", "60s", "--socket", "/s"], false),
            (&["osdp", "status", "--json", "--socket", "/s"], true),
            (&["serial", "list"], true),
            (&["serial", "probe", "/dev/ttyS0", "--baud", "9600"], true),
            (&["serial", "probe"], false),
            (&["serial", "monitor", "/dev/ttyS0", "--parity", "even", "--seconds", "5"], true),
            (&["serial", "monitor", "/dev/ttyS0", "--baud", "0"], false),
            (&["serial", "monitor", "/dev/ttyS0", "--parity", "mark"], false),
            (&["reader", "add", "101", "--socket", "/s"], true),
            (&["reader", "add", "0", "--socket", "/s"], false),
            (&["reader", "add", "--socket", "/s"], false),
            (&["reader", "list", "--json", "--config", "/c"], true),
            (&["reader", "list"], false),
            (&["reader", "list", "--socket", "/s", "--config", "/c"], false),
            (&["run"], false),
            (&["enrol", "--config", "/c", "--hub", "h:1", "--token", "t"], true),
            (&["enrol", "--hub", "h:1", "--token", "t"], false),
            (&["enrol", "--config", "/c", "--hub", "h:1", "--token-file", "-"], true),
            (&["enrol", "--config", "/c", "--hub", "h:1"], true),
            (&["enrol", "--config", "/c", "--hub", "h:1", "--token-file", "/t", "--token", "t"], false),
            (&[], false),
        ];
        for (words, right) in cases {
            let parsed = Cli::try_parse_from(std::iter::once(&"kalitka-gateway").chain(words));
            assert_eq!(parsed.is_ok(), right, "{words:?}");
        }
    }
}
