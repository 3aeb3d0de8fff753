//! The command line.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use kalitka_process::output::{is_read, print, print_part};
use serde_json::Value;

use crate::cli_pki::DoorCommand;
use crate::config::Config;
use crate::control::{Request, client};
use crate::failure::Failure;
use crate::show::{CSV_HEADER, Format, words};
use crate::verify::Verified;
use crate::{check, run};

/// Keeps what the gateways of many buildings recorded, each event once, and hands it on.
///
/// `run` serves gateways over QUIC. Commands with `--socket` reach the running hub over its control socket; those that take
/// only `--config` work on the state folder or on files, and need no running hub.
///
/// Exit status: 0 done; 2 wrong usage; 3 wrong input (configuration, file, number) or a history that does not hold; 4 the
/// machine does not allow it (port in use, file or socket missing, permission); 1 a defect of this program.
#[derive(Debug, Parser)]
#[command(name = "kalitka-hub", version, max_term_width = 120)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT
    Run(ConfigFile),
    /// Say whether the configuration, the certificates and the store hold; change nothing
    Check(ConfigFile),
    /// Show who is connected, what is kept, and where the hub listens
    Status(Asking),
    /// Show what somebody has to look at: forks, second boxes, wrong certificates, a full disk
    Alarms(Asking),
    /// Show the events of a building
    Events(Events),
    /// Say whether a building's history is complete, or name each gap, fork and forged record (exit status 3)
    Verify(OneBuilding),
    /// Show what has been removed by its age, or remove it now
    #[command(subcommand)]
    Purge(PurgeCommand),
    #[command(flatten)]
    Door(DoorCommand),
}

#[derive(Debug, Subcommand)]
enum PurgeCommand {
    /// Show the signed records of what was purged
    List(PurgeList),
    /// Purge what happened before a day, for good, without waiting for the daily purge
    Now(PurgeNow),
}

#[derive(Debug, Args)]
struct PurgeList {
    /// Only this building
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    building: Option<u32>,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Debug, Args)]
struct PurgeNow {
    /// What happened before this moment goes: a day (UTC), like 2026-09-01, or a moment, like 2026-09-01T12:00:00Z
    #[arg(long, value_name = "DATE", value_parser = moment)]
    before: i64,
    #[command(flatten)]
    list: PurgeList,
}

impl PurgeCommand {
    fn execute(&self) -> Result<(), Failure> {
        match self {
            Self::List(PurgeList { building, asking }) => {
                ask(asking, &Request::PurgeList { building: *building }, words::purges)
            }
            Self::Now(PurgeNow { before, list: PurgeList { building, asking } }) => {
                let request = Request::PurgeNow { building: *building, before_us: *before };
                ask(asking, &request, words::purged_now)
            }
        }
    }
}

/// Microseconds since 1970 of a day's beginning or of a moment.
fn moment(text: &str) -> Result<i64, String> {
    let moment = if text.contains('T') { text.to_owned() } else { format!("{text}T00:00:00Z") };
    let moment: jiff::Timestamp = moment.parse().map_err(|error| format!("{error}; write it like 2026-09-01"))?;
    Ok(moment.as_microsecond())
}

#[derive(Debug, Args)]
struct OneBuilding {
    /// The building's number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    building: u32,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Debug, Args)]
struct Events {
    /// The building's number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    building: u32,
    #[command(flatten)]
    place: Place,
    /// Begin behind this order number
    #[arg(long, value_name = "ORDER", default_value_t = 0, conflicts_with = "live")]
    after: u64,
    /// Go on with what comes, until interrupted
    #[arg(long)]
    follow: bool,
    /// Show what comes over the live lane, before it is kept: at once, and perhaps not all of it
    #[arg(long)]
    live: bool,
    /// Print a JSON object a line
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print the columns and codes of the existing system; what it has no place for is left out
    #[arg(long)]
    csv: bool,
}

impl Events {
    fn show(&self) -> Result<(), Failure> {
        let format = match (self.json, self.csv) {
            (true, _) => Format::Json,
            (_, true) => Format::Csv,
            _ => Format::Text,
        };
        let request = if self.live {
            Request::Live { building: self.building, format }
        } else {
            Request::Events { building: self.building, after: self.after, follow: self.follow, format }
        };
        if format == Format::Csv && !print_part(CSV_HEADER)? {
            return Ok(());
        }
        let mut out = io::BufWriter::new(io::stdout());
        let hasty = self.live || self.follow;
        let shown = client::list(&self.place.socket()?, &request, &mut |line| {
            let written = out.write_all(line.as_bytes()).and_then(|()| if hasty { out.flush() } else { Ok(()) });
            Ok(if is_read(written)? { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        });
        shown.and_then(|()| is_read(out.flush()).map(drop))
    }
}

/// The configuration, for what needs no running hub.
#[derive(Debug, Args)]
pub(crate) struct ConfigFile {
    /// The configuration, TOML
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
}

/// What is asked of a running hub.
#[derive(Debug, Args)]
pub(crate) struct Asking {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where the running hub is reached.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Place {
    /// The running hub's control socket
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The running hub's configuration, which names the socket
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Place {
    /// The control socket's path.
    pub(crate) fn socket(&self) -> Result<PathBuf, Failure> {
        match (&self.socket, &self.config) {
            (Some(socket), _) => Ok(socket.clone()),
            (None, Some(config)) => Ok(Config::read(config)?.control.socket),
            (None, None) => Err(Failure::Defect("neither --socket nor --config".into())),
        }
    }
}

impl Cli {
    /// Does what was asked for.
    ///
    /// # Errors
    /// [`Failure`] with the exit status.
    pub(crate) fn execute(self) -> Result<(), Failure> {
        match self.command {
            Command::Run(file) => run::run(Config::read(&file.config)?),
            Command::Check(file) => print(&check::check(&Config::read(&file.config)?)?),
            Command::Status(asking) => ask(&asking, &Request::Status {}, words::status),
            Command::Alarms(asking) => ask(&asking, &Request::Alarms {}, words::alarms),
            Command::Events(events) => events.show(),
            Command::Verify(one) => verify(&one),
            Command::Purge(purge) => purge.execute(),
            Command::Door(door) => door.execute(),
        }
    }
}

fn ask(asking: &Asking, request: &Request, words: impl FnOnce(&Value) -> String) -> Result<(), Failure> {
    let value = client::ask(&asking.place.socket()?, request)?;
    print(&if asking.json { format!("{value}\n") } else { words(&value) })
}

fn verify(one: &OneBuilding) -> Result<(), Failure> {
    let request = Request::Verify { building: one.building };
    let value = client::ask(&one.asking.place.socket()?, &request)?;
    let verified: Verified =
        serde_json::from_value(value.clone()).map_err(|error| Failure::Defect(format!("the reply: {error}")))?;
    print(&if one.asking.json { format!("{value}\n") } else { words::verified(&verified) })?;
    if verified.complete {
        return Ok(());
    }
    Err(Failure::Input(format!("building {}: its history is not complete; see above", one.building)))
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
        let cases: [(&[&str], bool); 14] = [
            (&["status", "--socket", "/s"], true),
            (&["status"], false),
            (&["status", "--socket", "/s", "--config", "/c"], false),
            (&["events", "--building", "7", "--socket", "/s", "--json", "--follow"], true),
            (&["events", "--building", "7", "--socket", "/s", "--json", "--csv"], false),
            (&["events", "--building", "7", "--socket", "/s", "--live", "--after", "3"], false),
            (&["events", "--building", "0", "--socket", "/s"], false),
            (&["verify", "--building", "7", "--config", "/c"], true),
            (&["verify", "--config", "/c"], false),
            (&["purge", "list", "--socket", "/s"], true),
            (&["purge", "now", "--before", "2026-09-01", "--building", "7", "--socket", "/s"], true),
            (&["purge", "now", "--before", "yesterday", "--socket", "/s"], false),
            (&["purge", "now", "--socket", "/s"], false),
            (&[], false),
        ];
        for (words, right) in cases {
            let parsed = Cli::try_parse_from(std::iter::once(&"kalitka-hub").chain(words));
            assert_eq!(parsed.is_ok(), right, "{words:?}");
        }
    }
}
