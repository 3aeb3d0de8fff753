//! The command line about certificates, snapshots and feeds; [`cli_command`](crate::cli_command) is about commands.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use kalitka_process::output::{print, print_part};
use serde_json::Value;

use crate::cli::{Asking, ConfigFile};
use crate::cli_command::{CommandCommand, OperatorCommand};
use crate::clock::Clock;
use crate::config::Config;
use crate::control::client;
use crate::doors::{self, DoorRequest};
use crate::durable;
use crate::failure::Failure;
use crate::ledger::Ledger;
use crate::limits::{PKI_FILE_BYTES_MAX, TOKEN_HOURS_MAX};
use crate::pki::{self, Pki};
use crate::state::StateFolder;
use crate::store::Store;

/// Commands beside those of the hub's core; flattened into its command line.
#[derive(Debug, Subcommand)]
pub(crate) enum DoorCommand {
    /// Make the hub's keys; give gateways certificates and take them back
    #[command(subcommand)]
    Pki(PkiCommand),
    /// Hand signed snapshots down
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Operators' keys
    #[command(subcommand)]
    Operator(OperatorCommand),
    /// Sign commands, and hand signed ones down
    #[command(subcommand)]
    Command(CommandCommand),
    /// Who may read the feeds
    #[command(subcommand)]
    Feed(FeedCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum PkiCommand {
    /// Make CA, the hub's certificate and the checkpoint key in the state folder, once; needs no running hub
    Init(ConfigFile),
    /// Show a token with which the box of building N enrols, once
    Token {
        /// The building
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        building: u32,
        /// For how many hours it is good
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=i64::from(TOKEN_HOURS_MAX)))]
        hours: u32,
        #[command(flatten)]
        asking: Asking,
    },
    /// Sign a certificate request (PKCS#10, DER or PEM) for the gateway of building N, with or without a running hub
    Sign {
        #[command(flatten)]
        config: ConfigFile,
        /// The building
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        building: u32,
        /// The request
        #[arg(long, value_name = "FILE")]
        csr: PathBuf,
        /// Where the certificate goes (PEM)
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Take back the certificates of building N, or one by its serial number, and end the connection that uses it
    Revoke {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        asking: Asking,
    },
    /// List every certificate that was given
    List(Asking),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Which {
    /// All certificates of this building
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    building: Option<u32>,
    /// The certificate with this serial number
    #[arg(long, value_name = "HEX")]
    serial: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Verify FILE, keep it, and hand it down to the gateway of its building
    Publish {
        /// A signed snapshot, readable by the hub
        file: PathBuf,
        #[command(flatten)]
        asking: Asking,
    },
    /// List the snapshots that are held, and what the gateways said of them
    List(Asking),
}

#[derive(Debug, Subcommand)]
pub(crate) enum FeedCommand {
    /// Show a token with which subscriber NAME reads the feeds
    Token {
        /// The subscriber's name: 1 to 32 of a-z, 0-9, `-`, `_`, `.`
        name: String,
        /// Only this building's events; may be given again. All buildings without it
        #[arg(long = "building", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        buildings: Vec<u32>,
        #[command(flatten)]
        asking: Asking,
    },
    /// Take the token of subscriber NAME back, and end its feeds
    Revoke {
        /// The subscriber's name
        name: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// List the subscribers
    List(Asking),
}

impl DoorCommand {
    /// Does what was asked for.
    ///
    /// # Errors
    /// [`Failure`] with the exit status.
    pub(crate) fn execute(self) -> Result<(), Failure> {
        match self {
            Self::Pki(command) => command.execute(),
            Self::Snapshot(command) => command.execute(),
            Self::Operator(command) => command.execute(),
            Self::Command(command) => command.execute(),
            Self::Feed(command) => command.execute(),
        }
    }
}

impl PkiCommand {
    fn execute(self) -> Result<(), Failure> {
        match self {
            Self::Init(file) => {
                let config = Config::read(&file.config)?;
                let folder = pki::init(&config.state, Clock::wall_seconds())?;
                print(&format!("{}: made; keep a copy of it in a safe place, and start the hub\n", folder.display()))
            }
            Self::Token { building, hours, asking } => {
                ask(&asking, &DoorRequest::PkiToken { building, hours }, |value| {
                    format!(
                        "{}\n\nGood once, for the box of building {building}, until {}. On the box:\n\n  \
                         kalitka-gateway enrol --config FILE --hub HOST:PORT --token-file -\n\n\
                         and paste it there.\n",
                        text(&value["token"]),
                        time(&value["expires"])
                    )
                })
            }
            Self::Sign { config, building, csr, out } => sign(&config.config, building, &csr, &out),
            Self::Revoke { which: Which { building, serial }, asking } => {
                ask(&asking, &DoorRequest::PkiRevoke { building, serial }, |value| {
                    let revoked = lines(&value["revoked"], certificate_line);
                    if revoked.is_empty() { "revoked already\n".into() } else { format!("revoked:\n{revoked}") }
                })
            }
            Self::List(asking) => {
                let page = |after: Option<&Value>| DoorRequest::PkiList {
                    after: after.map(|last| text(&last["serial"]).to_owned()),
                };
                list(&asking, page, "no certificate has been given\n", certificate_line)
            }
        }
    }
}

/// With no hub running, by this process; else by the hub, which has the store.
fn sign(config: &Path, building: u32, csr: &Path, out: &Path) -> Result<(), Failure> {
    let config = Config::read(config)?;
    let failed = |error: &std::io::Error| Failure::at(csr, "read the request", error, "give a request of the box");
    let request = durable::read_if_there(csr, PKI_FILE_BYTES_MAX).map_err(|error| failed(&error))?;
    let request = hex::encode(request.ok_or_else(|| failed(&std::io::ErrorKind::NotFound.into()))?);
    let signed = match StateFolder::take(&config.state, crate::PROGRAM) {
        Ok(_alone) => {
            let (pki, store) = (Pki::open(&config.state)?, Store::open(&config.state)?);
            doors::pki_sign(&pki, Ledger::of(&store), building, &request, Clock::wall_seconds())?
        }
        Err(_) => client::ask_door(&config.control.socket, &DoorRequest::PkiSign { building, request })?,
    };
    fs::write(out, text(&signed["certificate"]))
        .map_err(|error| Failure::at(out, "write the certificate", &error, "give a place where you may write"))?;
    print(&format!("building {building}: serial {}, until {}\n", text(&signed["serial"]), time(&signed["not_after"])))
}

impl SnapshotCommand {
    fn execute(self) -> Result<(), Failure> {
        match self {
            Self::Publish { file, asking } => {
                let file = std::path::absolute(&file)
                    .map_err(|error| Failure::at(&file, "find the file", &error, "give its absolute path"))?;
                ask(&asking, &DoorRequest::SnapshotPublish { file }, |value| {
                    let when = if value["connected"] == true { "goes down now" } else { "waits for its gateway" };
                    format!("building {}: generation {} {when}\n", value["building"], value["generation"])
                })
            }
            Self::List(asking) => {
                let page = |after: Option<&Value>| DoorRequest::SnapshotList {
                    after: after.and_then(|last| u32::try_from(last["building"].as_u64()?).ok()),
                };
                list(&asking, page, "no snapshot has been published\n", snapshot_line)
            }
        }
    }
}

impl FeedCommand {
    fn execute(self) -> Result<(), Failure> {
        match self {
            Self::Token { name, buildings, asking } => {
                ask(&asking, &DoorRequest::FeedToken { name, buildings }, |value| {
                    format!("{}\n\nShown once. Send it as `Authorization: Bearer TOKEN`.\n", text(&value["token"]))
                })
            }
            Self::Revoke { name, asking } => ask(&asking, &DoorRequest::FeedRevoke { name: name.clone() }, |_| {
                format!("{name} reads no feed any more\n")
            }),
            Self::List(asking) => ask(&asking, &DoorRequest::FeedList {}, |value| {
                let subscribers = lines(value, |entry| {
                    let buildings = lines(&entry["buildings"], |building| format!(" {building}"));
                    let buildings = if buildings.is_empty() { " all" } else { &buildings };
                    format!("{}  since {}  buildings{buildings}\n", text(&entry["name"]), time(&entry["made"]))
                });
                if subscribers.is_empty() { "no subscriber has a token\n".into() } else { subscribers }
            }),
        }
    }
}

/// Asks the running hub and prints its reply, as JSON or as `shown` puts it.
pub(crate) fn ask(asking: &Asking, request: &DoorRequest, shown: impl FnOnce(&Value) -> String) -> Result<(), Failure> {
    let value = client::ask_door(&asking.place.socket()?, request)?;
    print(&if asking.json { format!("{value}\n") } else { shown(&value) })
}

/// Asks for a list page by page and prints it: one JSON object a line, or as `shown` puts each.
pub(crate) fn list(
    asking: &Asking,
    request: impl Fn(Option<&Value>) -> DoorRequest,
    none: &str,
    shown: impl Fn(&Value) -> String,
) -> Result<(), Failure> {
    let socket = asking.place.socket()?;
    let mut last: Option<Value> = None;
    loop {
        let page = client::ask_door(&socket, &request(last.as_ref()))?;
        let entries = page.as_array().map(Vec::as_slice).unwrap_or_default();
        let Some(newest) = entries.last() else {
            return if last.is_none() && !asking.json { print(none) } else { Ok(()) };
        };
        let line = |entry: &Value| if asking.json { format!("{entry}\n") } else { shown(entry) };
        if !print_part(&entries.iter().map(line).collect::<String>())? {
            return Ok(());
        }
        last = Some(newest.clone());
    }
}

fn lines(list: &Value, line: impl Fn(&Value) -> String) -> String {
    list.as_array().map(|list| list.iter().map(line).collect()).unwrap_or_default()
}

fn certificate_line(entry: &Value) -> String {
    let state = match entry["revoked"].as_i64() {
        Some(_) => format!("revoked {}", time(&entry["revoked"])),
        None => format!("until {}", time(&entry["not_after"])),
    };
    format!("building {}  serial {}  {state}\n", entry["building"], text(&entry["serial"]))
}

fn snapshot_line(entry: &Value) -> String {
    let result = match entry["result"].as_u64() {
        None => "no result yet".to_owned(),
        Some(0) => format!("in force since {}", time(&entry["result_at"])),
        Some(code) => format!("refused with {code} at {}", time(&entry["result_at"])),
    };
    format!(
        "building {}  generation {}  {} bytes  published {}  {result}\n",
        entry["building"],
        entry["generation"],
        entry["bytes"],
        time(&entry["published"])
    )
}

/// A string of a reply.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Seconds since 1970 of a reply, for people.
pub(crate) fn time(value: &Value) -> String {
    let time = value.as_i64().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "?".to_owned(), |time| time.to_string())
}
