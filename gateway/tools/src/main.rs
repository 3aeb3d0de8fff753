//! `kalitka-snapshot`: makes, signs and looks into the snapshots of buildings.

mod args;
mod failure;
mod info;
mod keyfile;
mod progress;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::{CommandFactory, Parser};
use kalitka_snapshot::roster::Roster;
use kalitka_snapshot::{AlignedBytes, PublisherKey, Snapshot, build, sign, write_atomically};

use args::{Args, Build, Verb};
use failure::Failure;
use progress::Progress;

/// Warnings of a build that are told one by one; the rest is counted.
const WARNINGS_SHOWN_MAX: usize = 100;

fn main() -> ExitCode {
    if let Some(made) = kalitka_manual::made(Args::command) {
        return made;
    }
    let args = Args::parse();
    match run(args.verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&format!("kalitka-snapshot: {failure}"));
            failure.exit_code()
        }
    }
}

fn run(verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Keygen { secret } => {
            let publisher = keyfile::generate(&secret)?;
            print(&publisher.to_string())
        }
        Verb::Build(build) => run_build(&build),
        Verb::Sign { file, key } => {
            let key = keyfile::read(&key)?;
            let unsigned = read(&file)?.to_vec();
            let signed = sign(unsigned, &key).map_err(|error| Failure::input(&file, error))?;
            write(&file, &signed)
        }
        Verb::Verify { file, publishers, building } => {
            verify(&file, &publishers, building)?;
            print("ok")
        }
        Verb::Info { file, json } => {
            let info = info::of(&file, read(&file)?)?;
            print(&if json { info.to_json()? } else { info.to_string() })
        }
    }
}

fn run_build(build_args: &Build) -> Result<(), Failure> {
    let key = build_args.key.as_deref().map(keyfile::read).transpose()?;
    let created = seconds_since_1970()?;
    let generation = match build_args.generation {
        Some(generation) => generation,
        None => u32::try_from(created).map_err(|_| Failure::Clock)?,
    };
    let mut progress = Progress::start();
    let roster = Roster::read(&build_args.roster)?;
    let (people, cards) = roster.size();
    progress.done(&format!("read {people} people and {cards} cards"));
    let (mut file, warnings) = build(&roster, generation, created, build_args.last_command)
        .map_err(|error| Failure::input(&build_args.roster, error))?;
    progress.done(&format!("built {} bytes", file.len()));
    if let Some(key) = key {
        file = sign(file, &key).map_err(|error| Failure::input(&build_args.out, error))?;
    }
    write(&build_args.out, &file)?;
    progress.done("written");
    for warning in warnings.iter().take(WARNINGS_SHOWN_MAX) {
        say(&format!("warning: {warning}"));
    }
    if warnings.len() > WARNINGS_SHOWN_MAX {
        say(&format!("and {} warnings more", warnings.len() - WARNINGS_SHOWN_MAX));
    }
    Ok(())
}

fn verify(file: &Path, publishers: &[PublisherKey], building: Option<u32>) -> Result<Snapshot, Failure> {
    let bytes = read(file)?;
    let building = match building {
        Some(building) => building,
        None => info::header(file, &bytes)?.building,
    };
    Snapshot::verify(bytes, publishers, building).map_err(|refused| Failure::input(file, refused))
}

fn read(path: &Path) -> Result<AlignedBytes, Failure> {
    AlignedBytes::read(path).map_err(|error| Failure::system(path, error))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    write_atomically(path, bytes).map_err(|error| Failure::system(path, error))
}

fn seconds_since_1970() -> Result<i64, Failure> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(|_| Failure::Clock)?;
    i64::try_from(since.as_secs()).map_err(|_| Failure::Clock)
}

/// A line for whoever reads the output.
fn print(text: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{text}") {
        // Who reads has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| Failure::system(Path::new("standard output"), error)),
    }
}

/// A line for whoever watches. A closed stderr is no reason to stop.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
