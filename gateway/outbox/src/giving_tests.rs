//! What gives way at the bound, against a slow reading of SPEC 14.14; and a crash between any two steps of it.

use std::collections::BTreeMap;

use kalitka_protocol::event::{
    AdoptionCause, Body, Class, Decision, Events, GatewayStarted, Loss, LossCause, SnapshotAdopted, chain_all,
};
use kalitka_protocol::reason::{Denial, Direction, Grant, Verdict};
use kalitka_protocol::upstream::{Position, PositionEntry};
use kalitka_protocol::{BootId, EpochId, ReaderId};

use crate::Outbox;
use crate::error::{AppendError, StoreError};
use crate::lab_tests::*;
use crate::types::{Begun, Bounds};

const E1: EpochId = EpochId(1);
const BOUNDS: Bounds = Bounds { events_max: 128, keep_acknowledged: 0, ..ROOMY };

fn of_class(number: u64, class: Class) -> Vec<u8> {
    let decided = |verdict| {
        let (reader, boot, request) = (ReaderId(101), BootId(9), 5);
        let (direction, age_ms, credential, holder) = (Direction::Entry, 3, None, &b"p0421"[..]);
        let (generation, portal) = (3, None);
        let decision =
            Decision { reader, boot, request, generation, portal, verdict, direction, age_ms, credential, holder };
        event(E1, number, Body::Decision(decision))
    };
    match class {
        Class::Housekeeping if number.is_multiple_of(2) => {
            event(E1, number, Body::GatewayStarted(GatewayStarted { readers: 3, version: b"1" }))
        }
        Class::Housekeeping => {
            let adopted = SnapshotAdopted { generation: 4, cause: AdoptionCause::Newer, hash: [1; 32] };
            event(E1, number, Body::SnapshotAdopted(adopted))
        }
        Class::Denial => decided(Verdict::Deny(Denial::NoAccess)),
        Class::Grant => decided(Verdict::Grant(Grant::AccessLevel)),
        Class::Kept => said(E1, number, &text(number)),
    }
}

/// Appends one commit of these classes.
fn add(outbox: &mut Outbox, classes: &[Class]) {
    let first = outbox.head().number + 1;
    let events: Vec<u8> = (first..).zip(classes).flat_map(|(number, class)| of_class(number, *class)).collect();
    outbox.append(&events).unwrap();
}

/// Lets all give way that the bound asks for, as the journal does; gives the losses.
fn give_way(outbox: &mut Outbox) -> Vec<Loss> {
    let mut losses = Vec::new();
    while let Some(loss) = outbox.give_way().unwrap() {
        assert_eq!(outbox.give_way().unwrap(), None, "one at a time");
        tell(outbox, loss);
        losses.push(loss);
    }
    losses
}

/// What is held of the epoch: number and bytes.
fn all(outbox: &mut Outbox) -> BTreeMap<u64, Vec<u8>> {
    held(outbox).into_iter().map(|(_, number, bytes)| (number, bytes)).collect()
}

fn class_of(bytes: &[u8]) -> Class {
    Events::new(bytes).next().unwrap().unwrap().class()
}

use Class::{Denial as D, Grant as G, Housekeeping as H, Kept as K};

#[test]
fn lowest_class_gives_way_first_told_before_it_leaves() {
    let site = Site { limits: Bounds { events_max: 12, ..BOUNDS }, ..Site::new() };
    let mut outbox = site.filled(1, 1);
    for classes in [&[D, K, H][..], &[G, D, D, K], &[H], &[D], &[K, K, D]] {
        add(&mut outbox, classes);
    }
    assert_eq!(outbox.give_way().unwrap(), None, "nothing before the first checkpoint");
    outbox.set_floor(outbox.head());
    let loss = outbox.give_way().unwrap().unwrap();
    assert_eq!(loss, Loss { epoch: E1, first: 4, last: 4, cause: LossCause::HousekeepingGaveWay, count: 1 });
    assert_eq!(all(&mut outbox).len(), 13, "it leaves only with the loss durable");
    site.shared.steps();
    tell(&mut outbox, loss);
    let steps = site.shared.steps();
    let synced = steps.iter().position(|step| *step == Step::SyncData).unwrap();
    assert_eq!(steps.iter().filter(|step| **step == Step::Put).count(), 3, "the loss, the cut block, the one behind");
    assert!(steps[..synced].iter().filter(|step| **step == Step::Put).count() == 1, "{steps:?}");
    let losses = give_way(&mut outbox);
    let told: Vec<_> = losses.iter().map(|loss| (loss.first, loss.last, loss.cause, loss.count)).collect();
    assert_eq!(told[0], (9, 9, LossCause::HousekeepingGaveWay, 1));
    assert!(told[1..].iter().all(|loss| loss.2 == LossCause::DenialsGaveWay), "{told:?}");
    let kept: Vec<u64> = all(&mut outbox).into_keys().collect();
    assert!(kept.starts_with(&[1, 3, 5]), "{kept:?}");
    assert!(kept.contains(&8) && kept.contains(&11) && kept.contains(&12), "{kept:?}");
    drop(outbox);
    let (mut outbox, begun) = site.open(2);
    assert_eq!(begun, Begun::AsLeft, "a gap by policy is no damage");
    assert_eq!(all(&mut outbox).into_keys().collect::<Vec<_>>(), kept);
}

#[test]
fn acknowledged_events_go_first_and_without_a_word() {
    let site = Site { limits: Bounds { keep_acknowledged: 1 << 40, ..BOUNDS }, ..Site::new() };
    let mut outbox = site.filled(1, 1);
    (0..40).for_each(|_| add(&mut outbox, &[D, K, D, K]));
    outbox.set_floor(outbox.head());
    outbox.acknowledge(E1, 34).unwrap();
    let losses = give_way(&mut outbox);
    assert_eq!(losses, [], "what the hub has makes room enough");
    assert!(outbox.usage().events <= 128);
    add(&mut outbox, &[D, K, D, K]);
    let losses = give_way(&mut outbox);
    assert!(losses.iter().all(|loss| loss.first > 34), "{losses:?}");
}

#[test]
fn grants_and_what_is_kept_stay_and_the_store_says_that_it_is_crowded() {
    let site = Site { limits: BOUNDS, ..Site::new() };
    let mut outbox = site.filled(1, 1);
    (0..100).for_each(|_| add(&mut outbox, &[G, K]));
    outbox.set_floor(outbox.head());
    assert_eq!(give_way(&mut outbox), []);
    assert!(outbox.is_crowded());
    let before = all(&mut outbox);
    assert_eq!(before.len(), 201);
    let head = outbox.head();
    let refused = outbox.append(&of_class(head.number + 1, K));
    assert!(matches!(refused, Err(AppendError::AtBound { held: 201, max: 128 })), "{refused:?}");
    assert!(!outbox.is_poisoned());
    // Only when there is some room, and not one event's, it takes again.
    outbox.acknowledge(E1, 73).unwrap();
    outbox.give_way().unwrap();
    assert!(outbox.is_crowded(), "{}", outbox.usage().events);
    outbox.acknowledge(E1, 75).unwrap();
    outbox.give_way().unwrap();
    assert!(!outbox.is_crowded(), "{}", outbox.usage().events);
    add(&mut outbox, &[K]);
}

/// By the newest block the head is known: it is spared while it is that, and no longer.
#[test]
fn block_that_was_spared_as_the_newest_gives_way_when_another_is_behind_it() {
    let site = Site { limits: BOUNDS, ..Site::new() };
    let mut outbox = site.filled(1, 1);
    (0..54).for_each(|_| add(&mut outbox, &[G, K]));
    let first = outbox.head().number + 1;
    add(&mut outbox, &[D; 20]);
    outbox.set_floor(outbox.head());
    assert_eq!(give_way(&mut outbox), []);
    assert!(outbox.is_crowded());
    add(&mut outbox, &[K]);
    outbox.set_floor(outbox.head());
    let losses = give_way(&mut outbox);
    assert_eq!(losses, [Loss { epoch: E1, first, last: first + 19, cause: LossCause::DenialsGaveWay, count: 20 }]);
}

#[test]
fn margin_beyond_the_bound_takes_what_must_be_said() {
    let site = Site { limits: BOUNDS, ..Site::new() };
    let mut outbox = site.filled(1, 1);
    (0..64).for_each(|_| add(&mut outbox, &[K, K]));
    outbox.set_floor(outbox.head());
    outbox.give_way().unwrap();
    assert!(outbox.is_crowded());
    add(&mut outbox, &[K]);
    add(&mut outbox, &[K]);
    assert!(outbox.append(&of_class(outbox.head().number + 1, K)).is_err(), "two of 128 are the margin");
}

/// SPEC 14.14 read slowly: which of `events` may be gone when those up to `floor` may, and the newest block stays.
#[test]
fn what_is_left_is_what_a_slow_reading_leaves() {
    for seed in 0..24 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let site = Site { limits: Bounds { events_max: 150, ..BOUNDS }, ..Site::new() };
        let mut outbox = site.filled(1, 1);
        let mut given: BTreeMap<u64, Vec<u8>> = all(&mut outbox);
        let (mut losses, mut acknowledged) = (Vec::new(), 0);
        for _ in 0..rng.usize(20..60) {
            let (first, together) = (outbox.head().number + 1, rng.usize(1..20));
            let weights = [H, D, D, D, G, K];
            let classes: Vec<_> = (0..together).map(|_| weights[rng.usize(..weights.len())]).collect();
            if matches!(outbox.append(&of_class(first, classes[0])), Err(AppendError::AtBound { .. })) {
                break;
            }
            given.insert(first, of_class(first, classes[0]));
            if classes.len() > 1 && !outbox.is_crowded() {
                add(&mut outbox, &classes[1..]);
                given
                    .extend((first + 1..).zip(&classes[1..]).map(|(number, class)| (number, of_class(number, *class))));
            }
            if rng.u8(..3) == 0 {
                outbox.set_floor(outbox.head());
            }
            if rng.u8(..8) == 0 {
                acknowledged = rng.u64(acknowledged..=outbox.head().number);
                outbox.acknowledge(E1, acknowledged).unwrap();
            }
            while let Some(loss) = outbox.give_way().unwrap() {
                let next = outbox.head().number + 1;
                tell(&mut outbox, loss);
                given.insert(next, event(E1, next, Body::Loss(loss)));
                losses.push(loss);
            }
            if rng.u8(..6) == 0 {
                drop(outbox);
                let (again, begun) = site.open(2);
                assert_eq!(begun, Begun::AsLeft, "seed {seed}");
                outbox = again;
            }
        }
        outbox.set_floor(outbox.head());
        for loss in give_way(&mut outbox) {
            given.insert(outbox.head().number, event(E1, outbox.head().number, Body::Loss(loss)));
            losses.push(loss);
        }
        judge(seed, &mut outbox, &given, &losses, acknowledged);
    }
}

fn judge(seed: u64, outbox: &mut Outbox, given: &BTreeMap<u64, Vec<u8>>, losses: &[Loss], acknowledged: u64) {
    let left = all(outbox);
    let gone = |number: &u64| !left.contains_key(number);
    for (number, bytes) in given.range(acknowledged + 1..) {
        match left.get(number) {
            // The last loss of the end is told of under a number of its own.
            Some(found) if class_of(bytes) != K => assert_eq!(found, bytes, "seed {seed}, {number}"),
            Some(_) => {}
            None => assert!(class_of(bytes) < G, "seed {seed}: {number} of {:?} is gone", class_of(bytes)),
        }
    }
    // Every gap is counted in a loss of its class, and each loss has all of its class in its range.
    for (class, cause) in [(H, LossCause::HousekeepingGaveWay), (D, LossCause::DenialsGaveWay)] {
        let of_class: Vec<_> = losses.iter().filter(|loss| loss.cause == cause).collect();
        let in_range = |number: u64| of_class.iter().any(|loss| loss.first <= number && number <= loss.last);
        let given = || given.iter().filter(|(_, bytes)| class_of(bytes) == class).map(|(number, _)| *number);
        assert!(given().filter(|&number| in_range(number)).all(|number| gone(&number)), "seed {seed}: {class:?}");
        let outside = given().filter(|number| *number > acknowledged && !in_range(*number));
        assert_eq!(outside.filter(gone).collect::<Vec<_>>(), [] as [u64; 0], "seed {seed}: {class:?}");
        let counted: u64 = of_class.iter().map(|loss| u64::from(loss.count)).sum();
        assert_eq!(given().filter(|&number| in_range(number)).count() as u64, counted, "seed {seed}: {class:?}");
    }
    // No denial has gone while housekeeping older than the floor of that moment was there; at the end all has its order.
    if outbox.is_crowded() {
        let newest = outbox.read(E1, outbox.head().number, 1).unwrap().unwrap().first;
        let left_low = left.range(acknowledged + 1..newest).filter(|(_, bytes)| class_of(bytes) < G);
        let low: Vec<_> = left_low.map(|(number, _)| *number).collect();
        assert!(low.iter().all(|number| in_newest_block(outbox, *number)), "seed {seed}: {low:?} could give way");
    }
    // The chain holds over every run.
    let mut from = 1;
    while let Some(run) = outbox.read(E1, from, usize::MAX).unwrap() {
        assert_eq!(chain_all(&run.hash_before, &run.events).unwrap(), (run.hash, u64::from(run.count)));
        from = run.first + u64::from(run.count);
    }
}

fn in_newest_block(outbox: &mut Outbox, number: u64) -> bool {
    let ordinal = outbox.ledger.present.record.ordinal;
    let store = outbox.store.as_deref_mut().unwrap();
    let value = crate::reading::block_with(store, ordinal, u64::MAX).unwrap().unwrap();
    crate::block::parse(&value).unwrap().header.first <= number
}

#[test]
fn position_behind_a_gap_tells_of_no_second_loss() {
    let site = Site { limits: BOUNDS, ..Site::new() };
    let mut outbox = site.filled(1, 1);
    (0..100).for_each(|_| add(&mut outbox, &[D, D, K]));
    outbox.set_floor(outbox.head());
    let losses = give_way(&mut outbox);
    assert_eq!(losses[0].first, 2);
    let first = outbox.read(E1, 1, usize::MAX).unwrap().unwrap();
    assert_eq!((first.first, first.count), (1, 1), "a run ends before a gap");
    assert_eq!(outbox.read(E1, 2, usize::MAX).unwrap().unwrap().first, 4, "and the next begins behind it");
    // The hub has the first, and then also the second run.
    let second = outbox.read(E1, 2, usize::MAX).unwrap().unwrap();
    outbox.acknowledge(E1, 1).unwrap();
    for (number, hash) in [(1, first.hash), (4, second.hash)] {
        let resumed = outbox.resume(&Position::new(PositionEntry { epoch: E1, last: number, hash })).unwrap();
        assert_eq!((resumed.lost, resumed.legs[0].next, resumed.begin_epoch), (vec![], number + 1, None));
        outbox.acknowledge(E1, 4).unwrap();
    }
    drop(outbox);
    let (mut outbox, begun) = site.open(2);
    assert_eq!(begun, Begun::AsLeft);
    let position = Position::new(PositionEntry { epoch: E1, last: 4, hash: second.hash });
    assert_eq!(outbox.resume(&position).unwrap().lost, []);
}

/// A store of blocks of every make, about to give way.
fn about_to_give_way(site: &Site) -> (Outbox, Loss) {
    let mut outbox = site.filled(1, 1);
    for classes in [&[D, D, K, D, K, D][..], &[D], &[D, D], &[K, D, K], &[D, G, D], &[H, D]] {
        add(&mut outbox, classes);
    }
    (0..5).for_each(|_| add(&mut outbox, &[K, K]));
    outbox.set_floor(outbox.head());
    assert_eq!(outbox.give_way().unwrap().map(|loss| loss.cause), Some(LossCause::HousekeepingGaveWay));
    let loss = Loss { epoch: E1, first: 17, last: 17, cause: LossCause::HousekeepingGaveWay, count: 1 };
    tell(&mut outbox, loss);
    let loss = outbox.give_way().unwrap().unwrap();
    assert_eq!(loss.cause, LossCause::DenialsGaveWay);
    (outbox, loss)
}

/// Every step of the rewriting, as a killed process leaves it, on the store that writes each at once.
#[test]
fn crash_between_any_two_steps_loses_nothing_else_and_is_gone_on_with() {
    let site = Site { limits: Bounds { events_max: 4, ..BOUNDS }, ..Site::new() };
    // Sled does not open: the segment log stands in.
    site.shared.with(|faults| faults.opens.push_back(Some(StoreError::Panicked("for the test".into()))));
    let (mut outbox, loss) = about_to_give_way(&site);
    let before = all(&mut outbox);
    site.shared.with(|faults| (faults.copied, faults.copies_steps) = (Some(site.path()), true));
    tell(&mut outbox, loss);
    site.shared.with(|faults| (faults.copied, faults.copies_steps) = (None, false));
    let after = all(&mut outbox);
    let copies = site.shared.with(|faults| std::mem::take(&mut faults.copies));
    assert!(copies.len() > 12, "{}", copies.len());
    let mut done = 0;
    for (step, copy) in copies.iter().enumerate() {
        let (mut outbox, begun) = site.try_open_at(copy.path(), 3).unwrap();
        assert_eq!(begun, Begun::AsLeft, "step {step}");
        let found = all(&mut outbox);
        let is_told = found.contains_key(&(before.len() as u64 + 2));
        let expected = if is_told { &after } else { &before };
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "step {step}");
        assert_eq!(&found, expected, "step {step}");
        assert_eq!(outbox.usage().events, found.len() as u64, "step {step}: the books");
        done += u32::from(is_told);
        fill(&mut outbox, outbox_head(&found) + 3, 1);
        drop(outbox);
        assert_eq!(site.try_open_at(copy.path(), 4).unwrap().1, Begun::AsLeft, "step {step}");
    }
    assert!(done > 10, "{done}");
}

fn outbox_head(found: &BTreeMap<u64, Vec<u8>>) -> u64 {
    *found.last_key_value().unwrap().0
}

/// The same with a disk that fails, on sled, which is then opened anew.
#[test]
fn failure_at_any_step_is_gone_on_with_when_the_store_is_opened_anew() {
    for step in 0..14 {
        let site = Site { limits: Bounds { events_max: 4, ..BOUNDS }, ..Site::new() };
        let (mut outbox, loss) = about_to_give_way(&site);
        let before = all(&mut outbox);
        let faults = (0..step).map(|_| None).chain([Some(std::io::ErrorKind::StorageFull)]);
        site.shared.with(|of| of.puts.extend(faults));
        let head = outbox.head();
        let told = outbox.append(&event(E1, head.number + 1, Body::Loss(loss))).is_ok();
        assert_eq!(told, step > 0);
        if outbox.is_poisoned() {
            assert_eq!(outbox.reopen(EpochId(2)).unwrap(), Begun::AsLeft, "step {step}");
        }
        site.shared.with(|of| of.puts.clear());
        let left = all(&mut outbox);
        let denials = left.values().filter(|bytes| class_of(bytes) == D).count();
        if told {
            let gone = before.len() + 1 - left.len();
            assert_eq!((gone, denials), (usize::try_from(loss.count).unwrap(), 0), "step {step}");
        } else {
            assert_eq!(left, before, "step {step}");
            assert_eq!(outbox.give_way().unwrap(), Some(loss), "it is found again");
        }
    }
}

/// A store that was damaged besides: what gave way is no damage, and what is damaged is told.
#[test]
fn salvage_knows_what_gave_way_from_what_is_damaged() {
    let site = Site { limits: Bounds { events_max: 4, ..BOUNDS }, ..Site::new() };
    let (mut outbox, loss) = about_to_give_way(&site);
    tell(&mut outbox, loss);
    let before = all(&mut outbox);
    // Distrusted, it is copied block by block.
    site.shared.with(|faults| faults.syncs.push_back(Some(std::io::ErrorKind::Other)));
    let head = outbox.head();
    outbox.append(&of_class(head.number + 1, K)).unwrap_err();
    let Begun::NewEpoch { losses, .. } = outbox.reopen(EpochId(2)).unwrap() else { panic!() };
    assert_eq!(losses, [], "nothing is lost");
    let after = all(&mut outbox);
    assert!(before.iter().all(|(number, bytes)| after.get(number) == Some(bytes)), "what was kept is there");
}
