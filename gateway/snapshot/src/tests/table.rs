//! The table answers as a map would.

use std::collections::HashMap;

use kalitka_protocol::credential::{Credential, Shape};
use proptest::prelude::*;

use super::*;
use crate::limits::LONGEST_RUN_MAX;

fn any_credential() -> impl Strategy<Value = Credential> {
    // Small ranges too, so that misses lie close to hits.
    let uid = prop_oneof![
        (0u32..5_000).prop_map(|number| number.to_be_bytes().to_vec()),
        any::<[u8; 4]>().prop_map(Vec::from),
        any::<[u8; 7]>().prop_map(Vec::from),
        any::<[u8; 10]>().prop_map(Vec::from),
    ];
    let cuts = Shape::ALL.iter().filter(|shape| shape.cut_bits().is_some()).collect::<Vec<_>>();
    let number = (proptest::sample::select(cuts), 0u64..5_000)
        .prop_map(|(shape, number)| Credential::from_number(*shape, number).unwrap());
    prop_oneof![uid.prop_map(|uid| Credential::from_uid(&uid).unwrap()), number]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_probe_finds_what_a_map_finds(
        known in proptest::collection::hash_map(any_credential(), 0u32..1_000_000, 0..2_000),
        asked in proptest::collection::vec(any_credential(), 0..2_000),
    ) {
        let slots = known.iter().map(|(key, until)| Slot { credential_from: *until, ..entry(*key.as_bytes()) }).collect();
        let snapshot = verified(&signed(Model { slots, ..model() })).unwrap();
        prop_assert!(snapshot.header().longest_run <= LONGEST_RUN_MAX);
        for credential in known.keys().chain(&asked) {
            let found = snapshot.probe(credential).map(|slot| slot.credential_from.to_native());
            prop_assert_eq!(found, known.get(credential).copied());
        }
    }
}

/// UIDs and numbers are handed out in rows, not at random.
#[test]
fn rows_of_numbers_keep_runs_short() {
    let rows: [fn(u32) -> Credential; 4] = [
        |n| Credential::from_uid(&n.to_be_bytes()).unwrap(),
        |n| Credential::from_uid(&n.to_le_bytes()).unwrap(),
        |n| Credential::from_uid(&[&[4, 0x9a, 0x31][..], &n.to_be_bytes()].concat()).unwrap(),
        |n| Credential::from_number(Shape::Wiegand26, u64::from(n)).unwrap(),
    ];
    for row in rows {
        let slots: Vec<Slot> = (0..50_000).map(|n| entry(*row(n).as_bytes())).collect();
        let snapshot = verified(&signed(Model { slots, ..model() })).unwrap();
        let answers = (0..50_000).filter(|&n| snapshot.probe(&row(n)).is_some()).count();
        assert_eq!(answers, 50_000);
        assert!((50_000..100_000).all(|n| snapshot.probe(&row(n)).is_none()));
    }
}

#[test]
fn the_order_of_entries_does_not_show() {
    let mut slots: Vec<Slot> =
        (0u32..500).map(|n| entry(*Credential::from_uid(&n.to_be_bytes()).unwrap().as_bytes())).collect();
    let file = signed(Model { slots: slots.clone(), ..model() });
    fastrand::Rng::with_seed(1).shuffle(&mut slots);
    assert!(file == signed(Model { slots, ..model() }));
}

/// Of use to whoever reads a failure: what the model says against what was asked.
#[test]
fn every_entry_stands_once() {
    let slots: Vec<Slot> =
        (0u32..500).map(|n| entry(*Credential::from_uid(&n.to_be_bytes()).unwrap().as_bytes())).collect();
    let snapshot = verified(&signed(Model { slots, ..model() })).unwrap();
    let mut seen: HashMap<[u8; 16], u32> = HashMap::new();
    for slot in snapshot.model().slots.iter().filter(|slot| !slot.is_empty()) {
        *seen.entry(slot.key).or_default() += 1;
    }
    assert!(seen.len() == 500 && seen.values().all(|&count| count == 1));
}
