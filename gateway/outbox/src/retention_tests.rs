//! What is old goes, named where the hub has not had it, and never more than that; and none of its bytes stay.

use kalitka_protocol::EpochId;
use kalitka_protocol::event::{Body, Purged};
use kalitka_protocol::upstream::{Position, PositionEntry};

use crate::Outbox;
use crate::lab_tests::*;
use crate::retention::{Old, Purging};
use crate::types::{Begun, Head, NewEpochWhy};

const E1: EpochId = EpochId(1);
const DAY_US: i64 = 86_400_000_000;
const NOW: i64 = 1_800_000_000_000_000;
const OLD: Old = Old { before_us: NOW - 90 * DAY_US, now_us: NOW };
const LONG_AGO: i64 = NOW - 100 * DAY_US;
const LATELY: i64 = NOW - 10 * DAY_US;

/// Changes when an event happened.
fn at(mut event: Vec<u8>, wall_us: i64) -> Vec<u8> {
    event[24..32].copy_from_slice(&wall_us.to_le_bytes());
    event
}

/// Appends `count` filler events of one moment as one block.
fn happened(outbox: &mut Outbox, count: u64, wall_us: i64) {
    let Head { epoch, number, .. } = outbox.head();
    let events = (number + 1..=number + count).flat_map(|number| at(said(epoch, number, &text(number)), wall_us));
    outbox.append(&events.collect::<Vec<_>>()).unwrap();
}

/// Epoch 1: a block of 1, three of 10 of long ago, two of lately. The floor is behind all of it.
fn filled(site: &Site) -> Outbox {
    let (mut outbox, begun) = site.open(1);
    start(&mut outbox, &begun);
    for wall_us in [LONG_AGO, LONG_AGO, LONG_AGO, LATELY, LATELY] {
        happened(&mut outbox, 10, wall_us);
    }
    outbox.set_floor(outbox.head());
    outbox
}

/// Appends the record of a purge as the journal does.
fn record(outbox: &mut Outbox, purged: Purged) {
    let Head { epoch, number, .. } = outbox.head();
    outbox.append(&at(event(epoch, number + 1, Body::Purged(purged)), NOW)).unwrap();
}

/// Purges until nothing more is old; gives what was recorded, and how many went without a word.
fn purge_all(outbox: &mut Outbox, old: Old) -> (Vec<(u64, u64, u64)>, u64) {
    let (mut recorded, mut gone) = (Vec::new(), 0);
    loop {
        match outbox.purge(old).unwrap() {
            Purging::Record(purged) => {
                record(outbox, purged);
                recorded.push((purged.first, purged.last, purged.count));
                outbox.set_floor(outbox.head());
            }
            Purging::Gone(events) => gone += events,
            Purging::Nothing => return (recorded, gone),
            Purging::Floor => panic!("the floor is at the head"),
        }
    }
}

#[test]
fn old_events_that_the_hub_has_not_had_go_behind_a_record_of_them() {
    let site = Site::new();
    let mut outbox = filled(&site);
    let hash = outbox.hash_at(E1, 31).unwrap().unwrap();
    let Purging::Record(purged) = outbox.purge(OLD).unwrap() else { panic!() };
    let expected = Purged { epoch: E1, first: 1, last: 31, hash, before_us: OLD.before_us, count: 31 };
    assert_eq!(purged, expected);
    assert_eq!(numbers(&mut outbox, 1), (1..=51).collect::<Vec<_>>(), "not before the record is durable");
    record(&mut outbox, purged);
    assert_eq!(numbers(&mut outbox, 1), (32..=52).collect::<Vec<_>>());
    assert_eq!(outbox.hash_at(E1, 31).unwrap(), Some(hash), "the chain goes on from it");
    assert_eq!(outbox.purge(OLD).unwrap(), Purging::Nothing);
    drop(outbox);
    let (mut outbox, begun) = site.open(2);
    assert_eq!((begun, numbers(&mut outbox, 1)), (Begun::AsLeft, (32..=52).collect()));
    // A hub that never had them is not told of a loss: the record has said what they were.
    let position = Position::new(PositionEntry { epoch: E1, last: 0, hash: [0; 32] });
    assert_eq!(outbox.resume(&position).unwrap().lost, []);
}

#[test]
fn acknowledged_events_go_without_a_word_and_of_the_others_only_the_rest_is_named() {
    let site = Site::new();
    let mut outbox = filled(&site);
    outbox.acknowledge(E1, 15).unwrap();
    assert_eq!(purge_all(&mut outbox, OLD), (vec![(16, 31, 16)], 11));
    let site = Site::new();
    let mut outbox = filled(&site);
    outbox.acknowledge(E1, 51).unwrap();
    assert_eq!(purge_all(&mut outbox, OLD), (vec![], 31));
    assert_eq!(numbers(&mut outbox, 1), (32..=51).collect::<Vec<_>>());
}

/// A building in which nothing happens any more keeps no card of the last one who left.
#[test]
fn newest_block_goes_too_behind_a_record_unless_nobody_is_in_it() {
    let site = Site::new();
    let mut outbox = filled(&site);
    outbox.acknowledge(E1, 51).unwrap();
    let later = Old { before_us: NOW, now_us: NOW };
    assert_eq!(purge_all(&mut outbox, later), (vec![(42, 51, 10)], 41));
    assert_eq!(numbers(&mut outbox, 1), [52]);
    let much_later = Old { before_us: NOW + 200 * DAY_US, now_us: NOW + 300 * DAY_US };
    assert_eq!(outbox.purge(much_later).unwrap(), Purging::Nothing, "records do not purge records for ever");
}

#[test]
fn nothing_behind_the_floor_goes() {
    let site = Site::new();
    let (mut outbox, begun) = site.open(1);
    start(&mut outbox, &begun);
    (0..3).for_each(|_| happened(&mut outbox, 10, LONG_AGO));
    assert_eq!(outbox.purge(OLD).unwrap(), Purging::Floor, "no checkpoint is known");
    outbox.set_floor(Head { epoch: E1, number: 21, hash: [0; 32] });
    assert!(matches!(outbox.purge(OLD).unwrap(), Purging::Record(Purged { last: 21, .. })));
    let Purging::Nothing = outbox.purge(OLD).unwrap() else { panic!("one is under way") };
}

#[test]
fn event_whose_clock_cannot_be_right_is_as_old_as_what_follows_it() {
    let future = NOW + 3650 * DAY_US;
    // What each block says, and how many blocks behind the epoch's first event go.
    for (walls, expected) in [
        (vec![LONG_AGO, 5, LONG_AGO, LATELY], 3),
        (vec![LONG_AGO, future, LONG_AGO, LATELY], 3),
        (vec![LONG_AGO, future, LATELY, LATELY], 1),
        (vec![future, future, 5, LATELY], 0),
        // Never by a clock that went back: what is behind a young event is younger.
        (vec![LONG_AGO, LATELY, LONG_AGO, LONG_AGO], 1),
    ] {
        let site = Site::new();
        let (mut outbox, begun) = site.open(1);
        start(&mut outbox, &begun);
        walls.iter().for_each(|&wall_us| happened(&mut outbox, 1, wall_us));
        happened(&mut outbox, 1, LATELY);
        outbox.set_floor(outbox.head());
        let last = match outbox.purge(OLD).unwrap() {
            Purging::Record(purged) => purged.last - 1,
            other => {
                assert_eq!(other, Purging::Nothing);
                0
            }
        };
        assert_eq!(last, expected, "{walls:?}");
    }
}

#[test]
fn epochs_that_have_ended_go_first_and_whole() {
    let site = Site::new();
    let mut outbox = filled(&site);
    let begun = outbox.begin_epoch(EpochId(2), NewEpochWhy::HubOther).unwrap();
    start(&mut outbox, &begun);
    (0..2).for_each(|_| happened(&mut outbox, 10, LONG_AGO));
    happened(&mut outbox, 10, NOW);
    outbox.set_floor(outbox.head());
    let (recorded, _) = purge_all(&mut outbox, OLD);
    assert_eq!(recorded, [(1, 31, 31)], "what is young in the ended one keeps what came after it");
    let later = Old { before_us: NOW - DAY_US, now_us: NOW };
    assert_eq!(purge_all(&mut outbox, later).0, [(32, 51, 20), (1, 21, 21)]);
    assert!(numbers(&mut outbox, 1).is_empty());
    drop(outbox);
    assert_eq!(site.open(3).1, Begun::AsLeft);
}

/// The power goes at any moment of a purge: each event is there or has gone, and what went is named.
#[test]
fn purge_that_is_cut_off_anywhere_leaves_a_whole_store_and_names_what_went() {
    let site = Site::new();
    let mut outbox = filled(&site);
    site.shared.with(|faults| faults.copied = Some(site.path()));
    purge_all(&mut outbox, OLD);
    happened(&mut outbox, 1, NOW);
    happened(&mut outbox, 1, NOW);
    site.shared.with(|faults| faults.copied = None);
    let copies = site.shared.with(|faults| std::mem::take(&mut faults.copies));
    assert!(copies.len() >= 6);
    for copy in &copies {
        let (mut outbox, begun) = site.try_open_at(copy.path(), 9).unwrap();
        assert_eq!(begun, Begun::AsLeft);
        let kept = numbers(&mut outbox, 1);
        assert_eq!(kept, (kept[0]..=*kept.last().unwrap()).collect::<Vec<_>>());
        assert!(kept[0] == 1 || (kept[0] <= 32 && kept.contains(&52)), "{kept:?}");
        outbox.set_floor(outbox.head());
        purge_all(&mut outbox, OLD);
        assert_eq!(numbers(&mut outbox, 1)[0], 32);
    }
}

#[test]
fn record_that_is_not_taken_lets_nothing_go() {
    let site = Site::new();
    let mut outbox = filled(&site);
    let Purging::Record(purged) = outbox.purge(OLD).unwrap() else { panic!() };
    site.shared.with(|faults| faults.syncs.push_back(Some(std::io::ErrorKind::Other)));
    let Head { epoch, number, .. } = outbox.head();
    outbox.append(&event(epoch, number + 1, Body::Purged(purged))).unwrap_err();
    outbox.reopen(EpochId(2)).unwrap();
    assert_eq!(numbers(&mut outbox, 1), (1..=51).collect::<Vec<_>>());
    happened(&mut outbox, 1, NOW);
    let head = outbox.head();
    assert_eq!(numbers(&mut outbox, head.epoch.0).last(), Some(&head.number));
    assert_eq!(numbers(&mut outbox, 1)[0], 1, "what was marked before the failure is not marked any more");
}

/// Which numbers' texts stand anywhere in the folder, in whatever file.
fn on_disk(folder: &std::path::Path, numbers: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut bytes = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { bytes.extend(std::fs::read(path).unwrap()) }
        }
    }
    let found = |number: &u64| {
        let text = format!("event {number} x");
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    };
    numbers.filter(found).collect()
}

#[test]
fn purged_bytes_are_on_the_disk_until_the_store_is_renewed_and_not_after() {
    let site = Site::new();
    let mut outbox = filled(&site);
    purge_all(&mut outbox, OLD);
    happened(&mut outbox, 1, NOW);
    assert!(!on_disk(&site.path(), 2..=31).is_empty(), "this is why there is a renewal");
    let before = held(&mut outbox);
    assert!(outbox.has_remnants());
    outbox.renew().unwrap();
    assert_eq!((outbox.has_remnants(), held(&mut outbox)), (false, before));
    assert_eq!(on_disk(&site.path(), 2..=31), []);
    assert_eq!(on_disk(&site.path(), 33..=51), (33..=51).collect::<Vec<_>>());
    site.store();
    happened(&mut outbox, 3, NOW);
    let before = held(&mut outbox);
    drop(outbox);
    let (mut outbox, begun) = site.open(2);
    assert_eq!((begun, held(&mut outbox)), (Begun::AsLeft, before));
}

#[test]
fn renewal_that_fails_leaves_the_store_that_was_there() {
    let site = Site::new();
    let mut outbox = filled(&site);
    let before = held(&mut outbox);
    site.shared.with(|faults| faults.puts.extend([None, None, Some(std::io::ErrorKind::Other)]));
    outbox.renew().unwrap_err();
    assert!(!outbox.is_poisoned());
    site.shared.with(|faults| faults.free = Some(1));
    outbox.renew().unwrap_err();
    site.shared.with(|faults| faults.free = None);
    site.store();
    assert_eq!(held(&mut outbox), before);
    outbox.renew().unwrap();
    assert_eq!(held(&mut outbox), before);
}
