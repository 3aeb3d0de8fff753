//! The short form of `make torture`: some of everything, and each way to damage a store once.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::time::Duration;

use kalitka_tests::random::seed;
use kalitka_tests::torture::fault::Damage;
use kalitka_tests::torture::plan::Mix;
use kalitka_tests::torture::run::{Length, Options, torture};
use kalitka_tests::torture::tally::Score;

/// Slow machines start slowly; `make torture` asks for two seconds.
const START_MAX: Duration = Duration::from_secs(20);

/// Plays chapter `number` of such a `mix`, in which no promise may be broken.
fn play(number: u64, mix: Mix) -> Score {
    let seed = seed();
    let score = torture(&Options { seed, length: Length::Chapter(number, mix), start_max: START_MAX });
    println!("\n{score}\n{}", score.result());
    assert!(score.broken.is_empty(), "broken with seed {seed}:\n{}", score.broken.join("\n"));
    assert!(score.receipted > 1000 && score.answers > 1000, "there was hardly any load");
    score
}

#[test]
fn nothing_receipted_is_lost_or_doubled_whatever_falls_over() {
    let score = play(0, Mix::SHORT);
    assert_eq!(score.damaged, Damage::ALL.len() as u64);
}

#[test]
fn nothing_receipted_is_lost_or_doubled_on_disks_that_are_slow_or_fail() {
    let score = play(1, Mix { kills: 5, power_cuts: 4, damaged: 2, disk: 6, net: 2 });
    assert_eq!(score.disk_faults, 6);
}
