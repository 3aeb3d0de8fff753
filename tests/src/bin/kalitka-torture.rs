//! `kalitka-torture`: does to the real programs everything that a box in a cupboard meets, and judges what it cost.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout)]

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use kalitka_tests::torture::interrupt::clear_when_stopped;
use kalitka_tests::torture::plan::Mix;
use kalitka_tests::torture::run::{Length, Options, torture};

const EXAMPLES: &str = "\
Examples:
  kalitka-torture --minutes 10
  kalitka-torture --kills 1000 --power-cuts 200 --damaged 100
  kalitka-torture --seed 42 --chapter 7        the eighth chapter of such a run, alone";

/// Tortures gateway and hub: kills them, cuts their power, damages their stores, fills their disks and spoils their
/// networks, under the load of readers that report and ask. Then compares what readers were receipted with what the hub has.
///
/// A run is made of chapters of some 60 faults, each on a new stage; what happens in one follows from the seed and the
/// chapter's number alone. It needs root, loop devices and e2fsprogs, and writes to the folder for temporary files; what a
/// broken promise left is kept there.
///
/// Exit status: 0 every promise held; 1 some did not, each is named; 2 the command line is wrong; 130 stopped by
/// ctrl-C, with nothing left behind.
#[derive(Parser)]
#[command(name = "kalitka-torture", max_term_width = 120, after_help = EXAMPLES)]
struct Line {
    /// Everything follows from it; drawn and printed when it is not given
    #[arg(long)]
    seed: Option<u64>,
    /// Begin new chapters for so many minutes
    #[arg(long, default_value_t = 10, conflicts_with_all = ["kills", "power_cuts", "damaged", "chapter"])]
    minutes: u64,
    /// Instead, so many SIGKILLs, and of the others so many as are told
    #[arg(long)]
    kills: Option<u64>,
    /// Power cuts
    #[arg(long)]
    power_cuts: Option<u64>,
    /// Damaged stores
    #[arg(long)]
    damaged: Option<u64>,
    /// Faults of disks; one for twenty of the others when it is not told
    #[arg(long)]
    disk_faults: Option<u64>,
    /// Faults of networks; one for six of the others when it is not told
    #[arg(long)]
    net_faults: Option<u64>,
    /// Only this chapter, from 0, of the run that the other options describe
    #[arg(long)]
    chapter: Option<u64>,
    /// Milliseconds that a gateway may take from its start to its first answer
    #[arg(long, default_value_t = 2000)]
    start_ms: u64,
}

impl Line {
    fn mix(&self) -> Option<Mix> {
        let asked = [self.kills, self.power_cuts, self.damaged, self.disk_faults, self.net_faults];
        asked.iter().any(Option::is_some).then(|| {
            let [kills, power_cuts, damaged] =
                [self.kills, self.power_cuts, self.damaged].map(Option::unwrap_or_default);
            let others = kills + power_cuts + damaged;
            let (disk, net) = (self.disk_faults.unwrap_or(others / 20), self.net_faults.unwrap_or(others / 6));
            Mix { kills, power_cuts, damaged, disk, net }
        })
    }

    fn length(&self) -> Length {
        match (self.mix(), self.chapter) {
            (Some(mix), chapter) => Length::Faults(mix, chapter),
            (None, Some(chapter)) => Length::Chapter(chapter, Mix::CHAPTER),
            (None, None) => Length::Time(Duration::from_secs(self.minutes * 60), Mix::CHAPTER),
        }
    }
}

fn main() -> ExitCode {
    let line = Line::parse();
    clear_when_stopped();
    let seed = line.seed.unwrap_or_else(|| fastrand::u64(1..1_000_000_000));
    println!("seed {seed}; --seed {seed} does the same again");
    let start_max = Duration::from_millis(line.start_ms);
    let score = torture(&Options { seed, length: line.length(), start_max });
    println!("\n{score}");
    for broken in &score.broken {
        println!("broken: {broken}");
    }
    println!("{}", score.result());
    if score.broken.is_empty() && score.receipted > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
