//! The command line about operators' keys and commands.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use kalitka_process::output::print;
use kalitka_protocol::ReaderId;
use kalitka_protocol::credential::Credential;
use kalitka_protocol::message::Order;
use kalitka_protocol::reason::Direction;
use kalitka_protocol::upstream::{CommandBody, PortalModeCode};
use serde_json::Value;

use crate::cli::Asking;
use crate::cli_pki::{ask, list, text, time};
use crate::clock::Clock;
use crate::doors::DoorRequest;
use crate::failure::Failure;
use crate::limits::COMMAND_LIFE_MAX;
use crate::operator::{self, Terms};

#[derive(Debug, Subcommand)]
pub(crate) enum OperatorCommand {
    /// Make an operator's key, write the secret one to FILE and show the public one; needs no hub
    Keygen {
        /// Where the secret key goes; must not be there yet
        #[arg(long, value_name = "FILE")]
        secret: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum CommandCommand {
    /// Sign a command; needs no hub
    Sign(Sign),
    /// Hand a signed command down to the gateway of its building
    Send {
        /// What `command sign` wrote
        file: PathBuf,
        #[command(flatten)]
        asking: Asking,
    },
    /// List the commands of building N and what became of them
    List {
        /// The building
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        building: u32,
        #[command(flatten)]
        asking: Asking,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// The operator's secret key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The building
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    building: u32,
    /// The command's number: above every one before of the building
    #[arg(long, value_name = "M", value_parser = clap::value_parser!(u64).range(1..))]
    number: u64,
    /// For how long from now it may be done, as `90s`, `10m` or `2h`; at most a day
    #[arg(long, value_name = "TIME", value_parser = life)]
    not_after: Duration,
    /// Where it goes; to standard output without it
    #[arg(long, value_name = "FILE", global = true)]
    out: Option<PathBuf>,
    #[command(subcommand)]
    order: OrderCommand,
}

#[derive(Debug, Subcommand)]
enum OrderCommand {
    /// A card opens nothing from now on
    Block(Card),
    /// Take a block away
    Unblock(Card),
    /// Portals are in a mode, whatever the schedule says
    Mode {
        mode: ModeName,
        /// Only the portal of this reader; every one without it
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        reader: Option<u32>,
    },
    /// Let one person through
    Open {
        /// At this reader's portal
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        reader: u32,
        /// Which way
        #[arg(long, default_value = "entry")]
        direction: Way,
        /// How long the portal is held open
        #[arg(long, value_name = "MS", default_value_t = 5000, value_parser = clap::value_parser!(u16).range(200..=60_000))]
        hold_open_ms: u16,
    },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Card {
    /// The card's UID: 4, 7 or 10 bytes, first byte first
    #[arg(long, value_name = "HEX")]
    uid: Option<String>,
    /// The credential as events name it: 32 digits
    #[arg(long, value_name = "HEX")]
    credential: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeName {
    AsScheduled,
    Normal,
    Closed,
    Free,
    EntryOnly,
    ExitOnly,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Way {
    Entry,
    Exit,
}

impl OperatorCommand {
    pub(crate) fn execute(self) -> Result<(), Failure> {
        let Self::Keygen { secret } = self;
        print(&format!("{}\n", operator::keygen(&secret)?))
    }
}

impl CommandCommand {
    pub(crate) fn execute(self) -> Result<(), Failure> {
        match self {
            Self::Sign(sign) => sign.execute(),
            Self::Send { file, asking } => {
                let envelope = hex::encode(operator::read_envelope(&file)?);
                ask(&asking, &DoorRequest::CommandSend { envelope }, |value| {
                    let when = if value["connected"] == true { "goes down now" } else { "waits for its gateway" };
                    format!("building {}: command {} {when}\n", value["building"], value["number"])
                })
            }
            Self::List { building, asking } => {
                let page = |after: Option<&Value>| DoorRequest::CommandList {
                    building,
                    after: after.and_then(|last| last["number"].as_u64()).unwrap_or(0),
                };
                list(&asking, page, "no command has been handed in\n", line)
            }
        }
    }
}

fn line(entry: &Value) -> String {
    let outcome = match (entry["outcome"].as_str(), entry["sent"].as_u64()) {
        (None, Some(0)) => "waits for its gateway".to_owned(),
        (None, _) => "is under way".to_owned(),
        // Done before on a connection that broke before its result came.
        (Some("number_not_above"), Some(sent)) if sent > 1 => "was done or refused before; see its event".to_owned(),
        (Some(outcome), _) => format!("{outcome} at {}", time(&entry["outcome_at"])),
    };
    format!("{}  {}  {outcome}\n", entry["number"], text(&entry["order"]))
}

impl Sign {
    fn execute(self) -> Result<(), Failure> {
        let key = operator::read_key(&self.key)?;
        let life = i64::try_from(self.not_after.as_micros()).unwrap_or(i64::MAX);
        let not_after_us = Clock::wall_us().saturating_add(life);
        let terms = Terms { building: self.building, number: self.number, not_after_us };
        let envelope = operator::sign(&key, &terms, &self.order.body()?)?;
        let text = operator::text(&envelope);
        match self.out {
            None => print(&text),
            Some(out) => write(&out, &text),
        }
    }
}

fn write(out: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(out, text)
        .map_err(|error| Failure::at(out, "write the command", &error, "give a place where you may write"))
}

impl OrderCommand {
    fn body(&self) -> Result<CommandBody, Failure> {
        Ok(match self {
            Self::Block(card) => CommandBody::Block { credential: card.credential()? },
            Self::Unblock(card) => CommandBody::Unblock { credential: card.credential()? },
            Self::Mode { mode, reader } => {
                let mode = match mode {
                    ModeName::AsScheduled => None,
                    ModeName::Normal => Some(PortalModeCode::Normal),
                    ModeName::Closed => Some(PortalModeCode::Closed),
                    ModeName::Free => Some(PortalModeCode::Free),
                    ModeName::EntryOnly => Some(PortalModeCode::EntryOnly),
                    ModeName::ExitOnly => Some(PortalModeCode::ExitOnly),
                };
                CommandBody::Mode { reader: reader.map(ReaderId), mode }
            }
            Self::Open { reader, direction, hold_open_ms } => {
                let direction = match direction {
                    Way::Entry => Direction::Entry,
                    Way::Exit => Direction::Exit,
                };
                let order = Order::Open { direction, hold_open_ms: *hold_open_ms };
                CommandBody::Reader { reader: Some(ReaderId(*reader)), order }
            }
        })
    }
}

impl Card {
    fn credential(&self) -> Result<Credential, Failure> {
        let hex = self.uid.as_ref().or(self.credential.as_ref());
        let bytes = hex::decode(hex.map(String::as_str).unwrap_or_default());
        let bytes = bytes.map_err(|error| Failure::Input(format!("the card: {error}")))?;
        if self.uid.is_some() {
            return Credential::from_uid(&bytes)
                .ok_or_else(|| Failure::Input("the card: a UID has 4, 7 or 10 bytes".into()));
        }
        let bytes = bytes.try_into().map_err(|_| Failure::Input("the card: a credential has 32 digits".into()))?;
        Credential::from_canonical(bytes).map_err(|error| Failure::Input(format!("the card: {error}")))
    }
}

/// `90s`, `10m`, `2h`.
fn life(text: &str) -> Result<Duration, String> {
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        _ => return Err("write it as `90s`, `10m` or `2h`".into()),
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| "write it as `90s`, `10m` or `2h`".to_owned())?;
    let life = Duration::from_secs(count.saturating_mul(unit));
    if life.is_zero() || life > COMMAND_LIFE_MAX {
        return Err("a command is good for a second to a day".into());
    }
    Ok(life)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn life_is_a_count_and_a_unit() {
        for (text, seconds) in [("90s", Some(90)), ("10m", Some(600)), ("24h", Some(86_400)), ("1s", Some(1))] {
            assert_eq!(life(text).ok().map(|life| life.as_secs()), seconds, "{text}");
        }
        for text in ["", "m", "0s", "25h", "-1m", "10", "10 m", "1d", "é", "18446744073709551615h"] {
            assert!(life(text).is_err(), "{text}");
        }
    }
}
