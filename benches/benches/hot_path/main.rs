//! Every hot step in process: by wall time for the truth, by instructions for what two runs can be compared by.
//!
//! `make bench` runs it: the steps' table, compared with benches/baseline.toml. `cargo test` runs each step once on tiny
//! tables and sees whether it does what it is named after. docs/performance.md says how to read it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr, missing_docs)]

mod counting;
mod report;
mod stage;
mod step;
mod steps;
mod timing;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::stage::Stage;
use crate::step::Step;

const USAGE: &str = "\
cargo bench --package kalitka-benches --bench hot_path -- [--long] [--update] [PART OF A NAME]...
  --long    with the steps on 10,000,000 entries: 4 GB of memory for a moment, a minute more
  --update  write the instruction counts into benches/baseline.toml";

/// What is asked for.
struct Wanted {
    long: bool,
    update: bool,
    parts: Vec<String>,
}

impl Wanted {
    /// The arguments behind the mode; `None` when one is not known.
    fn read(arguments: &[String]) -> Option<Self> {
        let (flags, parts): (Vec<&String>, Vec<&String>) = arguments.iter().partition(|word| word.starts_with('-'));
        let known = flags.iter().all(|flag| ["--bench", "--long", "--update", counting::FLAG].contains(&flag.as_str()));
        let has = |name: &str| flags.iter().any(|flag| *flag == name);
        known.then(|| Self {
            long: has("--long"),
            update: has("--update"),
            parts: parts.into_iter().cloned().collect(),
        })
    }

    fn takes(&self, step: &Step) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|part| step.name.contains(part.as_str()))
    }

    /// The arguments that make another process take the same steps.
    fn arguments(&self) -> Vec<String> {
        self.long.then(|| "--long".to_owned()).into_iter().chain(self.parts.iter().cloned()).collect()
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let steps = steps::steps();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if !has("--bench") && !has(counting::FLAG) {
        return try_out(&steps, &arguments);
    }
    let Some(wanted) = Wanted::read(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let (taken, left_out): (Vec<&Step>, Vec<&Step>) =
        steps.iter().filter(|step| wanted.takes(step)).partition(|step| wanted.long || !step.long);
    if has(counting::FLAG) {
        counting::be_counted(&taken, &Stage::new(false));
        return ExitCode::SUCCESS;
    }
    match bench(&taken, &wanted) {
        Ok(()) => {
            left_out.iter().for_each(|step| println!("left out, for `make bench LONG=1`: {}", step.name));
            ExitCode::SUCCESS
        }
        Err(fault) => {
            eprintln!("{fault}");
            ExitCode::FAILURE
        }
    }
}

/// Measures, prints the table, and compares or writes the baseline.
fn bench(steps: &[&Step], wanted: &Wanted) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let built: PathBuf = program.ancestors().nth(3).unwrap().to_path_buf();
    let times = timing::time(steps, &Stage::new(false), &built.join("criterion"));
    let Some(valgrind) = counting::version("valgrind") else {
        report::print(steps, &times, &BTreeMap::new(), None);
        let what =
            "without valgrind no instructions are counted and nothing is compared; `deploy/setup-debian valgrind`";
        println!("\n{what} installs it");
        return if wanted.update { Err(format!("bench: {what}")) } else { Ok(()) };
    };
    eprintln!("bench: counting instructions under valgrind");
    let counts = counting::count(steps, &wanted.arguments()).map_err(|fault| format!("bench: {fault}"))?;
    let (maker, baseline) = (report::maker(valgrind), report::baseline()?);
    let beyond = report::print(steps, &times, &counts, baseline.as_ref());
    println!(
        "\n{}, {}, {}; - in place of instructions: those of the step with fewer entries",
        maker.rustc, maker.valgrind, maker.machine
    );
    if wanted.update {
        return report::update(baseline, maker, counts, wanted.parts.is_empty());
    }
    match baseline {
        None => println!("there is no baseline yet: `make bench UPDATE=1` writes it"),
        Some(baseline) if baseline.maker != maker => {
            let of = &baseline.maker;
            println!(
                "the baseline is of {}, {}, {}: differences are shown, not judged",
                of.rustc, of.valgrind, of.machine
            );
            println!("(`make bench UPDATE=1` on a tree without changes writes one to compare with)");
        }
        Some(_) if !beyond.is_empty() => return Err(report::remedy(&beyond)),
        Some(_) => {}
    }
    Ok(())
}

/// Runs each step twice on tiny tables, as a test: `cargo test` passes the part of a name, or flags that mean nothing here.
fn try_out(steps: &[Step], arguments: &[String]) -> ExitCode {
    if arguments.iter().any(|argument| argument == "--list") {
        // To whoever asks for tests by name this is none.
        return ExitCode::SUCCESS;
    }
    let parts: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let names: BTreeSet<&str> = steps.iter().map(|step| step.name).collect();
    assert_eq!(names.len(), steps.len(), "two steps of one name");
    let unfit = |name: &&&str| name.len() > 64 || name.contains(['?', '"', '/', '\\', '*', '<', '>', ':', '|', '^']);
    assert_eq!(names.iter().find(unfit), None, "criterion names a folder after the step");
    let stage = Stage::new(true);
    let mut wrong = Vec::new();
    for step in
        steps.iter().filter(|step| parts.is_empty() || parts.iter().any(|part| step.name.contains(part.as_str())))
    {
        let mut work = step.make(&stage);
        work.ready(2);
        if !work.is_right() {
            wrong.push(step.name);
        }
    }
    wrong.iter().for_each(|name| eprintln!("{name}: the step does not do what it is named after"));
    println!("{} hot steps tried out, {} wrong", steps.len(), wrong.len());
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
