use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use super::*;
use crate::oracle::{Identity, Oracle};

fn written(holders: u32, seed: u64) -> [String; 3] {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), holders, seed).unwrap();
    FILES.map(|file| fs::read_to_string(dir.path().join(file)).unwrap())
}

#[test]
fn committed_roster_is_what_the_defaults_write() {
    let committed = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/demo/roster");
    for (file, text) in FILES.iter().zip(written(DEMO_HOLDERS, DEMO_SEED)) {
        let same = fs::read_to_string(committed.join(file)).unwrap() == text;
        assert!(same, "{file} differs: write it anew with `kalitka-loadgen roster --force --out deploy/demo/roster`");
    }
}

#[test]
fn one_seed_gives_one_school_and_another_seed_another() {
    assert_eq!(written(100, 1), written(100, 1));
    assert_ne!(written(100, 1)[2], written(100, 2)[2]);
}

#[test]
fn every_state_and_kind_occurs_in_the_demo_school() {
    let [_, people, cards] = written(DEMO_HOLDERS, DEMO_SEED);
    let column = |text: &str, place: usize| -> BTreeSet<String> {
        text.lines().skip(1).map(|row| row.split(',').nth(place).unwrap().to_owned()).collect()
    };
    assert_eq!(column(&people, 1).len(), 5);
    assert_eq!(column(&people, 3).len(), 4);
    assert_eq!(column(&cards, 2).len(), 8);
    let shapes: BTreeSet<_> = column(&cards, 0).iter().map(|card| card.split(':').next().unwrap().to_owned()).collect();
    assert_eq!(shapes.into_iter().collect::<Vec<_>>(), ["uid", "w26", "w26-reversed", "w34", "w37"]);
}

#[test]
fn two_cards_and_no_more_look_alike() {
    for (holders, seed) in [(DEMO_HOLDERS, DEMO_SEED), (HOLDERS_MIN, 1), (20_000, 5)] {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), holders, seed).unwrap();
        let lookalikes = Oracle::read(dir.path()).unwrap().lookalikes();
        assert!(matches!(lookalikes[..], [Identity::Number(look, _)] if look.bits == Some(24)), "{lookalikes:?}");
    }
}

#[test]
fn no_card_of_a_city_is_printed_twice() {
    let [_, _, cards] = written(100_000, 1);
    let rows = cards.lines().skip(1).count();
    let names: BTreeSet<&str> = cards.lines().skip(1).map(|row| row.split(',').next().unwrap()).collect();
    assert_eq!(names.len(), rows);
}

#[test]
fn numbers_of_holders_out_of_range_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for holders in [0, HOLDERS_MIN - 1, HOLDERS_MAX + 1] {
        assert_eq!(write(dir.path(), holders, 1).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
