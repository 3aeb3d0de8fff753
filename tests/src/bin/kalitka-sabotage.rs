//! Puts each fault of `tests/sabotage.toml` into a scratch copy and requires its named test to fail.
//!
//! `kalitka-sabotage FOLDER [PART OF A NAME]`: the scratch copy and its target folder lie in FOLDER and are kept, so that the
//! next run builds less. Exit status 0 when every fault was caught, 1 when one was not, 2 when it cannot be said.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use kalitka_tests::sabotage::{Fault, Verdict, Workshop, faults};
use kalitka_tests::tree::root;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (folder, part) = (args.next(), args.next().unwrap_or_default());
    let Some(folder) = folder.filter(|folder| !folder.starts_with('-')) else {
        eprintln!("usage: kalitka-sabotage FOLDER [PART OF A FAULT'S NAME]");
        return ExitCode::from(2);
    };
    match sabotage(Path::new(&folder), &part) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("sabotage: {error}");
            ExitCode::from(2)
        }
    }
}

/// Tries the faults whose names contain `part`; says whether all were caught.
fn sabotage(folder: &Path, part: &str) -> Result<bool, String> {
    let faults: Vec<Fault> = faults(&root())?.into_iter().filter(|fault| fault.name.contains(part)).collect();
    if faults.is_empty() {
        return Err(format!("no fault has `{part}` in its name"));
    }
    let workshop = Workshop::open(&root(), folder)?;
    println!("| fault | test that must fail | verdict | s |\n|---|---|---|--:|");
    let mut caught = 0;
    for fault in &faults {
        let begun = Instant::now();
        let verdict = judge(&workshop, fault)?;
        caught += usize::from(verdict == Ok(Verdict::Caught));
        let word = verdict.map_or("FAILS WITHOUT THE FAULT", Verdict::word);
        let seconds = begun.elapsed().as_secs();
        println!("| {} | {} `{}` | {word} | {seconds} |", fault.name, fault.package, fault.test);
    }
    println!("RESULT sabotages={} caught={caught} missed={}", faults.len(), faults.len() - caught);
    Ok(caught == faults.len())
}

/// Tries `fault`; a test that fails without it proves nothing.
fn judge(workshop: &Workshop, fault: &Fault) -> Result<Result<Verdict, Verdict>, String> {
    let verdict = workshop.try_out(fault)?;
    if verdict != Verdict::Caught {
        eprintln!("{}: not caught; the run's last lines:", fault.name);
        let printed = workshop.printed();
        let lines: Vec<&str> = printed.lines().collect();
        lines[lines.len().saturating_sub(25)..].iter().for_each(|line| eprintln!("    {line}"));
        return Ok(Ok(verdict));
    }
    match workshop.run(fault)? {
        Verdict::Missed => Ok(Ok(verdict)),
        other => Ok(Err(other)),
    }
}
