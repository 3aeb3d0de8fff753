//! `kalitka-gateway serial`: for the engineer at the cabinet. Which ports there are, what speaks at which speed, and what
//! passes on a line. It only listens, but for the question who is there, and shows what stands in the clear.

mod devices;
mod list;
mod listen;
mod tongues;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, value_parser};
use kalitka_process::output::print;

use super::port::{Parity, Speed};
use crate::failure::Failure;
use crate::limits::{BAUD_MAX, BAUD_MIN, MONITOR_SECONDS_MAX, OSDP_BAUDS};

/// The exit status of a probe that has understood nothing.
const NOTHING_UNDERSTOOD: u8 = 5;

#[derive(Debug, Subcommand)]
pub(crate) enum SerialCommand {
    /// List the ports of this machine, by names that stay
    List,
    /// Listen on PORT at one speed after the other, and say what is understood (exit status 5: nothing)
    Probe(Probe),
    /// Show what passes on PORT as it passes, in the clear, and count what is spoilt; ctrl-C ends it
    Monitor(Monitor),
}

#[derive(Debug, Args)]
pub(crate) struct Probe {
    /// A port that nobody else has open
    port: PathBuf,
    /// Listen at this speed only
    #[arg(long, value_parser = value_parser!(u32).range(i64::from(BAUD_MIN)..=i64::from(BAUD_MAX)))]
    baud: Option<u32>,
    /// Ask at every address which OSDP devices there are, instead of listening; nothing else is said to them
    #[arg(long)]
    osdp: bool,
    /// Seconds at each speed; a reader without a session speaks every 2.5 s
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u32).range(1..=60))]
    seconds: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Monitor {
    /// A port that nobody else has open
    port: PathBuf,
    /// Its speed
    #[arg(long, default_value_t = 115_200, value_parser = value_parser!(u32).range(i64::from(BAUD_MIN)..=i64::from(BAUD_MAX)))]
    baud: u32,
    /// Its parity
    #[arg(long, value_enum, default_value_t)]
    parity: Parity,
    /// End after so many seconds, and not only by ctrl-C
    #[arg(long, value_parser = value_parser!(u32).range(1..=MONITOR_SECONDS_MAX))]
    seconds: Option<u32>,
}

impl SerialCommand {
    /// Does it; gives the exit status.
    ///
    /// # Errors
    /// [`Failure`] with the exit status.
    pub(crate) fn execute(&self) -> Result<u8, Failure> {
        match self {
            Self::List => print(&list::text(&list::ports())).map(|()| 0),
            Self::Probe(Probe { port, baud, osdp: true, .. }) => {
                let bauds = baud.map_or_else(|| OSDP_BAUDS.to_vec(), |baud| vec![baud]);
                Ok(if devices::probe(port, &bauds)? { 0 } else { NOTHING_UNDERSTOOD })
            }
            Self::Probe(Probe { port, baud, seconds, .. }) => {
                let bauds = baud.map_or_else(|| listen::BAUDS.to_vec(), |baud| vec![baud]);
                let is_understood = listen::probe(port, &bauds, Duration::from_secs((*seconds).into()))?;
                Ok(if is_understood { 0 } else { NOTHING_UNDERSTOOD })
            }
            Self::Monitor(Monitor { port, baud, parity, seconds }) => {
                let speed = Speed { baud: *baud, parity: *parity };
                listen::monitor(port, speed, seconds.map(|seconds| Duration::from_secs(seconds.into()))).map(|()| 0)
            }
        }
    }
}
