//! Puts each fault of `tests/sabotage.toml` into a scratch copy and requires its named test to fail.
//!
//! `kalitka-sabotage FOLDER [PART OF A NAME]`: the scratch copy and its target folder lie in FOLDER and are kept, so that the
//! next run builds less. Exit status 0 when every fault was caught, 1 when one was not, 2 when it cannot be said.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use kalitka_tests::sabotage::{Fault, Suite, Verdict, Workshop, faults};
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

/// Tries the faults whose names contain `part`, those of one suite after another; says whether all were caught.
fn sabotage(folder: &Path, part: &str) -> Result<bool, String> {
    let mut suites: BTreeMap<Suite, Vec<Fault>> = BTreeMap::new();
    for fault in faults(&root())?.into_iter().filter(|fault| fault.name.contains(part)) {
        suites.entry(Suite::of(&fault)).or_default().push(fault);
    }
    if suites.is_empty() {
        return Err(format!("no fault has `{part}` in its name"));
    }
    let workshop = Workshop::open(&root(), folder)?;
    suites.values().flatten().try_for_each(|fault| workshop.fits(fault))?;
    println!("| fault | test that must fail | verdict | s |\n|---|---|---|--:|");
    let (mut tried, mut caught) = (0, 0);
    for (suite, faults) in &suites {
        // A test that fails without the fault proves nothing.
        let passes = workshop.passes(suite, &faults.iter().map(|fault| fault.test.as_str()).collect())?;
        if !passes {
            show_last_lines(&workshop, &format!("{suite}: does not pass as the code stands"));
        }
        for fault in faults {
            let begun = Instant::now();
            let verdict = if passes { judge(&workshop, fault)? } else { Verdict::FailsAnyway };
            (tried, caught) = (tried + 1, caught + usize::from(verdict == Verdict::Caught));
            let (word, seconds) = (verdict.word(), begun.elapsed().as_secs());
            println!("| {} | {suite} `{}` | {word} | {seconds} |", fault.name, fault.test);
        }
    }
    println!("RESULT sabotages={tried} caught={caught} missed={}", tried - caught);
    Ok(caught == tried)
}

/// Tries `fault` and shows what was run if it was not caught.
fn judge(workshop: &Workshop, fault: &Fault) -> Result<Verdict, String> {
    let verdict = workshop.try_out(fault)?;
    if verdict != Verdict::Caught {
        show_last_lines(workshop, &format!("{}: not caught", fault.name));
    }
    Ok(verdict)
}

/// Says on standard error what is wrong, and what the last run printed at its end.
fn show_last_lines(workshop: &Workshop, wrong: &str) {
    eprintln!("{wrong}; the run's last lines:");
    let printed = workshop.printed();
    let lines: Vec<&str> = printed.lines().collect();
    lines[lines.len().saturating_sub(25)..].iter().for_each(|line| eprintln!("    {line}"));
}
