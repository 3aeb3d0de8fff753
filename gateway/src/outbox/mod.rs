//! `outbox`: looks at, reads out and rebuilds the store of a gateway that stands, or a copy of one.

mod event;
mod export;
mod progress;
mod verify;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use kalitka_outbox::{Bounds, Opening, Survey, SurveyError};
use kalitka_process::output::print;
use kalitka_protocol::EpochId;

use crate::entropy;
use crate::failure::Failure;
use crate::journal::machine_id;
use progress::Progress;

/// How a command about an outbox ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Everything is whole.
    Whole,
    /// It is done, and something is damaged or missing.
    Damaged,
}

impl Ended {
    pub(crate) const fn exit_status(self) -> u8 {
        match self {
            Self::Whole => 0,
            Self::Damaged => 1,
        }
    }
}

/// The exit status when a command about an outbox cannot be done.
pub(crate) const NOT_DONE: u8 = 2;

const AFTER_HELP: &str = "FOLDER is the folder `outbox` of a state folder, the `quarantine` in it, one store (`sled-3`, `log-4`) or a copy \
    of any of them. It must not be open: stop the gateway, or copy the folder while it stands; what lies in quarantine may be looked at \
    at any time. Nothing in FOLDER is ever changed.\n\n\
    Exit status: 0 everything is whole; 1 done, and something is damaged or missing, which is named; 2 wrong usage, or it cannot \
    be done.";

#[derive(Debug, Subcommand)]
pub(crate) enum OutboxCommand {
    /// Say whether everything is whole: epochs, numbers, hashes, recorded losses; name each hole with its exact numbers
    #[command(after_help = AFTER_HELP)]
    Verify(Verify),
    /// Write out every whole event, oldest first, also of a damaged store
    #[command(after_help = AFTER_HELP)]
    Export(Export),
    /// Build a fresh, whole outbox of everything whole in a damaged one; a gateway that is given it sends what is in it, goes on
    /// in a new epoch and tells its hub what is missing
    #[command(after_help = AFTER_HELP)]
    Salvage(Salvage),
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// What to look at
    folder: PathBuf,
    /// Where a private copy of the store in use is made, to be opened as the gateway would
    #[arg(long, value_name = "FOLDER", default_value_os_t = std::env::temp_dir())]
    temporary: PathBuf,
    /// Only look for whole blocks; open no copy
    #[arg(long)]
    no_copy: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// An object a line: identity, times, kind, what it is about, and all its bytes in hex
    Jsonl,
    /// The events' bytes, one behind the other (SPEC 14); each begins with its length
    Raw,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// What to read
    folder: PathBuf,
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    /// A new file, readable by its owner only; standard output when not given
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Only this epoch, 16 hex digits
    #[arg(long, value_name = "EPOCH", value_parser = epoch_of)]
    epoch: Option<EpochId>,
}

#[derive(Debug, Args)]
pub(crate) struct Salvage {
    /// What to take from
    from: PathBuf,
    /// The new outbox's folder; not there yet, or empty
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

impl OutboxCommand {
    /// Does what was asked for.
    ///
    /// # Errors
    /// [`Failure`]: it could not be done.
    pub(crate) fn execute(&self) -> Result<Ended, Failure> {
        match self {
            Self::Verify(verify) => verify::verify(verify),
            Self::Export(export) => export::export(export),
            Self::Salvage(Salvage { from, out }) => salvage(from, out),
        }
    }
}

fn epoch_of(text: &str) -> Result<EpochId, String> {
    let epoch = u64::from_str_radix(text, 16).map_err(|error| error.to_string())?;
    if epoch == 0 { Err("no epoch is 0".into()) } else { Ok(EpochId(epoch)) }
}

/// Looks through `folder`, and shows how far it has got.
fn survey(folder: &std::path::Path) -> Result<Survey, Failure> {
    let mut progress = Progress::start("looked through");
    Survey::take(folder, &mut |done, of| progress.at(done, of)).map_err(|error| failed(&error))
}

fn failed(error: &SurveyError) -> Failure {
    Failure::Input(error.to_string())
}

fn salvage(from: &std::path::Path, out: &std::path::Path) -> Result<Ended, Failure> {
    let survey = survey(from)?;
    let mut fresh = [0; 8];
    entropy::fill(&mut fresh)?;
    let opening = Opening {
        folder: out,
        building: survey.building(),
        machine: machine_id(),
        fresh_epoch: EpochId(u64::from_le_bytes(fresh).max(1)),
        known: None,
        earlier: &[],
        // What is bounded is bounded by the gateway that opens it.
        limits: Bounds { events_max: u64::MAX, bytes_max: u64::MAX, keep_acknowledged: u64::MAX },
    };
    let salvaged = survey.salvage(&opening).map_err(|error| failed(&error))?;
    let mut text = format!("{}: {} events of building {}\n", out.display(), salvaged.events, survey.building());
    for found in survey.epochs() {
        for (first, last) in &found.holes {
            text += &format!("epoch {:016x}: {first} to {last} are missing\n", found.epoch.0);
        }
    }
    text += &format!(
        "the gateway goes on in epoch {:016x} and tells its hub what is missing: stop it, put this folder in the place of its `outbox`, start it\n",
        salvaged.epoch.0
    );
    print(&text)?;
    let is_whole = survey.epochs().iter().all(|found| found.holes.is_empty());
    Ok(if is_whole { Ended::Whole } else { Ended::Damaged })
}
