//! Going on after the hub has spoken: positions, new epochs, new identities.

use std::io::ErrorKind;

use kalitka_protocol::EpochId;
use kalitka_protocol::event::{Events, Loss, LossCause, LossClosed, UNKNOWN_END, kind};
use kalitka_protocol::upstream::{Position, PositionEntry};

use crate::Outbox;
use crate::error::AppendError;
use crate::lab_tests::*;
use crate::limits::DISK_RESERVE;
use crate::types::{Begun, Bounds, Leg, NewEpochWhy, Resume};

const E1: EpochId = EpochId(1);
const E2: EpochId = EpochId(2);

fn position(entries: &[(u64, u64, [u8; 32])]) -> Position {
    let mut entries = entries.iter().map(|&(epoch, last, hash)| PositionEntry { epoch: EpochId(epoch), last, hash });
    let mut position = Position::new(entries.next().unwrap());
    entries.for_each(|entry| position.push(entry).unwrap());
    position
}

fn resume(outbox: &mut Outbox, entries: &[(u64, u64, [u8; 32])]) -> Resume {
    outbox.resume(&position(entries)).unwrap()
}

fn hash(outbox: &mut Outbox, epoch: u64, number: u64) -> [u8; 32] {
    outbox.hash_at(EpochId(epoch), number).unwrap().unwrap()
}

const fn leg(epoch: u64, next: u64) -> Leg {
    Leg { epoch: EpochId(epoch), next }
}

fn begin(outbox: &mut Outbox, fresh: u64, why: NewEpochWhy) -> Begun {
    let begun = outbox.begin_epoch(EpochId(fresh), why).unwrap();
    start(outbox, &begun);
    begun
}

/// SPEC 15.5: the position rules.
#[test]
fn position_says_where_to_go_on_also_when_lower_than_acknowledged() {
    let site = Site::new();
    let mut outbox = site.filled(30, 10);
    outbox.acknowledge(E1, 25).unwrap();
    let here = hash(&mut outbox, 1, 12);
    let found = resume(&mut outbox, &[(1, 12, here)]);
    assert_eq!(found, Resume { legs: vec![leg(1, 13)], begin_epoch: None, closes: vec![], lost: vec![] });
    assert_eq!(outbox.epochs()[0].acknowledged, 12);
    assert_eq!(resume(&mut outbox, &[(1, 0, [0; 32])]).legs, [leg(1, 1)]);
    let head = outbox.head();
    assert_eq!(resume(&mut outbox, &[(1, 30, head.hash)]).legs, [leg(1, 31)], "new events follow");
}

/// SPEC 15.5: a last number above the gateway's.
#[test]
fn hub_that_is_ahead_ends_the_epoch_and_its_hold_closes_the_loss() {
    let site = Site::new();
    let mut outbox = site.filled(30, 10);
    let found = resume(&mut outbox, &[(1, 40, [4; 32])]);
    assert_eq!((found.begin_epoch, &found.legs[..]), (Some(NewEpochWhy::HubAhead), &[leg(1, 1)][..]));
    assert_eq!(found.closes, [LossClosed { epoch: E1, first: 31, held: 40, hash: [4; 32] }]);
    let head = outbox.head();
    let begun = begin(&mut outbox, 2, NewEpochWhy::HubAhead);
    let loss = Loss { epoch: E1, first: 31, last: UNKNOWN_END, cause: LossCause::Damaged, count: 0 };
    assert_eq!(begun, Begun::NewEpoch { before: Some(head), losses: vec![loss], why: NewEpochWhy::HubAhead });
    assert_eq!(outbox.epochs()[1].loss_open, Some(31));
    let found = resume(&mut outbox, &[(2, 0, [0; 32]), (1, 40, [4; 32])]);
    assert_eq!(found.legs, [leg(1, 1), leg(2, 1)], "earlier epochs first, from the oldest on");
    assert_eq!(found.closes.len(), 1, "until it is recorded");
    outbox.acknowledge(E1, 40).unwrap();
    assert_eq!(outbox.epochs()[1].acknowledged, 30);
    assert_eq!(resume(&mut outbox, &[(2, 0, [0; 32]), (1, 40, [4; 32])]).legs, [leg(2, 1)]);
}

/// SPEC 15.5: a hash that is not the gateway's own.
#[test]
fn hub_with_other_events_ends_the_epoch() {
    let site = Site::new();
    let mut outbox = site.filled(30, 10);
    let found = resume(&mut outbox, &[(1, 20, [4; 32])]);
    assert_eq!((found.begin_epoch, &found.legs[..]), (Some(NewEpochWhy::HubOther), &[leg(1, 1)][..]));
    assert_eq!((found.closes, found.lost), (vec![], vec![]));
    let Begun::NewEpoch { losses, .. } = begin(&mut outbox, 2, NewEpochWhy::HubOther) else { panic!() };
    assert_eq!(losses, []);
}

/// SPEC 14.9: a loss of unknown end is closed with what the hub holds.
#[test]
fn loss_of_unknown_end_is_closed_by_the_position() {
    for (held, closed) in [(10, 10), (4, 10), (17, 17)] {
        let mut site = Site::new();
        drop(site.filled(10, 5));
        site.machine = [2; 16];
        let (mut outbox, begun) = site.open(2);
        start(&mut outbox, &begun);
        let theirs = if held <= 10 { hash(&mut outbox, 1, held) } else { [7; 32] };
        let found = resume(&mut outbox, &[(2, 0, [0; 32]), (1, held, theirs)]);
        let expected = if closed > 10 { theirs } else { [0; 32] };
        assert_eq!(found.closes, [LossClosed { epoch: E1, first: 11, held: closed, hash: expected }]);
        assert_eq!(found.begin_epoch, None, "an epoch that has ended does not end again");
    }
}

#[test]
fn what_the_hub_has_lost_and_the_outbox_no_longer_has_is_told_once() {
    let site = Site { limits: Bounds { keep_acknowledged: 0, ..ROOMY }, ..Site::new() };
    let mut outbox = site.filled(30, 10);
    let early = hash(&mut outbox, 1, 5);
    outbox.set_floor(outbox.head());
    outbox.acknowledge(E1, 25).unwrap();
    let found = resume(&mut outbox, &[(1, 5, early)]);
    assert_eq!(found.legs, [leg(1, 6)]);
    assert_eq!(found.lost, [Loss { epoch: E1, first: 6, last: 20, cause: LossCause::Bound, count: 15 }]);
    assert_eq!(outbox.read(E1, 6, usize::MAX).unwrap().unwrap().first, 21);
    assert_eq!(resume(&mut outbox, &[(1, 5, early)]).lost, []);
    tell(&mut outbox, found.lost[0]);
    drop(outbox);
    let (mut outbox, begun) = site.open(2);
    assert_eq!(begun, Begun::AsLeft);
    assert_eq!(resume(&mut outbox, &[(1, 5, early)]).lost, []);
}

/// Between the finding and the record the process may end: somebody must find it then.
#[test]
fn loss_found_at_a_position_is_found_again_after_a_crash_until_it_is_recorded() {
    let site = Site { limits: Bounds { keep_acknowledged: 0, ..ROOMY }, ..Site::new() };
    let mut outbox = site.filled(100, 10);
    outbox.set_floor(outbox.head());
    outbox.acknowledge(E1, 50).unwrap();
    // The hub was set back to nothing.
    let nothing = [(1, 0, [0; 32])];
    let lost = [Loss { epoch: E1, first: 1, last: 50, cause: LossCause::Bound, count: 50 }];
    assert_eq!(resume(&mut outbox, &nothing).lost, lost);
    // Nothing more is said of it in this process, for whom the disk is full or fails; other events may be durable before.
    site.shared.with(|faults| faults.commits = [Some((true, ErrorKind::StorageFull))].into());
    outbox.append(&next_events(outbox.head(), 101)).unwrap_err();
    assert_eq!(outbox.reopen(EpochId(2)).unwrap(), Begun::AsLeft);
    assert_eq!(resume(&mut outbox, &nothing).lost, []);
    fill(&mut outbox, 102, 1);
    drop(outbox);
    for is_recorded in [false, true] {
        let (mut outbox, begun) = site.open(2);
        assert_eq!(begun, Begun::AsLeft);
        let found = resume(&mut outbox, &nothing).lost;
        assert_eq!(found, lost);
        if is_recorded {
            tell(&mut outbox, found[0]);
        }
        drop(outbox);
    }
    let (mut outbox, begun) = site.open(2);
    assert_eq!(begun, Begun::AsLeft);
    assert_eq!(resume(&mut outbox, &nothing).lost, []);
}

#[test]
fn epoch_that_has_not_begun_is_not_succeeded() {
    let site = Site::new();
    let (mut outbox, begun) = site.open(1);
    assert_eq!(outbox.begin_epoch(E2, NewEpochWhy::HubAhead).unwrap(), begun);
    assert_eq!(outbox.head().epoch, E1);
}

#[test]
fn ended_epochs_leave_when_the_hub_has_them() {
    let site = Site { limits: Bounds { keep_acknowledged: 0, ..ROOMY }, ..Site::new() };
    let mut outbox = site.filled(10, 5);
    begin(&mut outbox, 2, NewEpochWhy::HubOther);
    fill(&mut outbox, 10, 5);
    outbox.set_floor(outbox.head());
    outbox.acknowledge(E1, 10).unwrap();
    assert_eq!(outbox.epochs().len(), 1);
    drop(outbox);
    let (mut outbox, begun) = site.open(3);
    assert_eq!((begun, outbox.epochs().len()), (Begun::AsLeft, 1));
    assert_eq!(numbers(&mut outbox, 1), [] as [u64; 0]);
}

/// SPEC 15.13: after a fork the events from there on are sent under new identities.
#[test]
fn reissued_events_have_new_identities_and_their_old_bytes() {
    let site = Site::new();
    let mut outbox = site.filled(30, 7);
    let before = texts(&mut outbox);
    let fork = hash(&mut outbox, 1, 16);
    assert!(matches!(outbox.reissue(E1, 17), Err(AppendError::Present)));
    begin(&mut outbox, 2, NewEpochWhy::HubOther);
    assert_eq!(outbox.reissue(E1, 17).unwrap(), 14);
    assert_eq!(numbers(&mut outbox, 1), (1..=16).collect::<Vec<_>>());
    assert_eq!(numbers(&mut outbox, 2), (1..=15).collect::<Vec<_>>());
    assert_eq!(texts(&mut outbox), before, "each once, in their order");
    let old = outbox.epochs()[1];
    assert_eq!((old.last, old.hash), (16, fork));
    assert_eq!(outbox.reissue(E1, 17).unwrap(), 0);
    fill(&mut outbox, 20, 3);
    let events = held(&mut outbox);
    drop(outbox);
    let (mut outbox, begun) = site.open(3);
    assert_eq!((begun, held(&mut outbox)), (Begun::AsLeft, events));
}

/// What was known of it before is not what leaves.
#[test]
fn block_that_was_shortened_leaves_with_what_it_still_holds() {
    let site = Site { limits: Bounds { keep_acknowledged: 0, ..ROOMY }, ..Site::new() };
    let mut outbox = site.filled(20, 10);
    outbox.set_floor(outbox.head());
    outbox.acknowledge(E1, 12).unwrap();
    assert_eq!(numbers(&mut outbox, 1), (11..=20).collect::<Vec<_>>());
    begin(&mut outbox, 2, NewEpochWhy::HubOther);
    outbox.reissue(E1, 15).unwrap();
    outbox.set_floor(outbox.head());
    outbox.acknowledge(E1, 14).unwrap();
    assert_eq!(numbers(&mut outbox, 1), [] as [u64; 0]);
    assert_eq!(outbox.usage().events, numbers(&mut outbox, 2).len() as u64);
}

#[test]
fn epochs_beginning_keeps_its_identity_or_goes() {
    let site = Site::new();
    let mut outbox = site.filled(10, 4);
    begin(&mut outbox, 2, NewEpochWhy::HubOther);
    assert_eq!(outbox.reissue(E1, 1).unwrap(), 9);
    let moved = held(&mut outbox);
    let begun = moved.iter().filter(|(_, _, bytes)| bytes[3] == kind::EPOCH_BEGUN).count();
    assert_eq!((begun, moved.len()), (1, 10), "the second epoch's own");
    for (_, _, bytes) in &moved {
        Events::new(bytes).next().unwrap().unwrap().event().unwrap();
    }
    drop(outbox);
    assert_eq!(site.open(3).1, Begun::AsLeft);
}

#[test]
fn loss_without_numbers_tells_of_its_new_epoch() {
    let site = Site::new();
    let mut outbox = site.filled(5, 5);
    tell(&mut outbox, Loss { epoch: E1, first: 0, last: 0, cause: LossCause::RingFull, count: 3 });
    begin(&mut outbox, 2, NewEpochWhy::HubOther);
    outbox.reissue(E1, 3).unwrap();
    for (_, _, bytes) in held(&mut outbox) {
        Events::new(&bytes).next().unwrap().unwrap().event().unwrap();
    }
}

/// The folder copied before and after every sync, and opened in place of the original: nothing lost, nothing doubled.
#[test]
fn reissue_that_is_cut_off_anywhere_doubles_and_loses_nothing() {
    let site = Site::new();
    let mut outbox = site.filled(1, 1);
    let large = [b'z'; 3000];
    for first in (2..200).step_by(33) {
        let events: Vec<u8> = (first..first + 33)
            .flat_map(|number| {
                let mut text = number.to_string().into_bytes();
                text.extend(large);
                said(E1, number, &text)
            })
            .collect();
        outbox.append(&events).unwrap();
    }
    let before = texts(&mut outbox);
    begin(&mut outbox, 2, NewEpochWhy::HubOther);
    site.shared.with(|faults| faults.copied = Some(site.path()));
    outbox.reissue(E1, 50).unwrap();
    site.shared.with(|faults| faults.copied = None);
    assert_eq!(texts(&mut outbox), before);
    let copies = site.shared.with(|faults| std::mem::take(&mut faults.copies));
    assert!(copies.len() >= 8, "{}", copies.len());
    for copy in copies {
        let (mut outbox, begun) = site.try_open_at(copy.path(), 3).unwrap();
        assert_eq!(begun, Begun::AsLeft);
        assert_eq!(texts(&mut outbox), before);
        let told = outbox.epochs()[1].last;
        assert!(told == 49 || numbers(&mut outbox, 2).len() == 1, "all was moved, or nothing");
    }
}

/// What a crash finds at any sync of an ordinary life: every acknowledged event, and a store that goes on.
#[test]
fn folder_copied_at_each_sync_point_holds_all_that_was_acknowledged() {
    let site = Site { limits: Bounds { keep_acknowledged: 20, ..ROOMY }, ..Site::new() };
    let mut outbox = site.filled(5, 5);
    site.shared.with(|faults| faults.copied = Some(site.path()));
    let mut durable = vec![];
    for round in 0..6 {
        let last = outbox.head().number + 9;
        durable.push(outbox.head());
        fill(&mut outbox, last, 100);
        outbox.set_floor(outbox.head());
        let epoch = outbox.head().epoch;
        outbox.acknowledge(epoch, last - 2).unwrap();
        if round == 3 {
            begin(&mut outbox, 2, NewEpochWhy::HubOther);
        }
    }
    site.shared.with(|faults| faults.copied = None);
    let copies = site.shared.with(|faults| std::mem::take(&mut faults.copies));
    let mut reached = 0;
    for copy in copies {
        let (mut outbox, begun) = site.try_open_at(copy.path(), 3).unwrap();
        if begun != Begun::AsLeft {
            assert!(matches!(begun, Begun::NewEpoch { why: NewEpochWhy::HubOther, .. }), "{begun:?}");
            start(&mut outbox, &begun);
        }
        let head = outbox.head();
        let place = durable.iter().rposition(|known| (known.epoch, known.number) <= (head.epoch, head.number)).unwrap();
        assert!(place >= reached, "a later copy holds no less");
        reached = place;
        assert_eq!(outbox.hash_at(durable[place].epoch, durable[place].number).unwrap(), Some(durable[place].hash));
        fill(&mut outbox, head.number + 3, 1);
    }
    assert_eq!(reached, durable.len() - 1);
}

/// Epoch 1 with 30 events whose identities the hub has given to others, and epoch 2 with 5 that are ours.
fn about_to_move(site: &Site) -> (Outbox, Vec<Vec<u8>>) {
    let mut outbox = site.filled(30, 10);
    begin(&mut outbox, 2, NewEpochWhy::HubOther);
    fill(&mut outbox, 5, 10);
    let texts = sorted(texts(&mut outbox));
    (outbox, texts)
}

fn sorted(mut texts: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    texts.sort();
    texts
}

#[test]
fn moving_whose_copies_are_not_confirmed_loses_and_doubles_nothing() {
    for (without_sled, is_restarted) in [(false, false), (true, false), (false, true), (true, true)] {
        let site = Site::new();
        site.shared.with(|faults| faults.without_sled = without_sled);
        let (mut outbox, before) = about_to_move(&site);
        // The first commit is that of the moving's record, the second that of the copies.
        site.shared.with(|faults| faults.commits.extend([None, Some((false, ErrorKind::Other))]));
        outbox.reissue(EpochId(1), 2).unwrap_err();
        assert!(outbox.is_poisoned());
        let begun = if is_restarted {
            drop(outbox);
            let (opened, begun) = site.open(3);
            outbox = opened;
            begun
        } else {
            outbox.reopen(EpochId(3)).unwrap()
        };
        start(&mut outbox, &begun);
        assert_eq!(sorted(texts(&mut outbox)), before, "without sled: {without_sled}, restarted: {is_restarted}");
    }
}

#[test]
fn copies_that_do_not_count_stand_for_no_events_in_a_later_salvage() {
    for without_sled in [false, true] {
        let site = Site::new();
        site.shared.with(|faults| faults.without_sled = without_sled);
        let (mut outbox, before) = about_to_move(&site);
        site.shared.with(|faults| faults.commits.extend([None, Some((true, ErrorKind::StorageFull))]));
        outbox.reissue(EpochId(1), 2).unwrap_err();
        // There is no room to move them yet, and the copies that failed are void.
        site.shared.with(|faults| faults.free = Some(DISK_RESERVE + 1));
        assert_eq!(outbox.reopen(EpochId(3)).unwrap(), Begun::AsLeft);
        drop(outbox);
        site.shared.with(|faults| faults.free = None);
        std::fs::write(site.path().join("unconfirmed"), b"").unwrap();
        let (mut outbox, begun) = site.open(4);
        start(&mut outbox, &begun);
        assert_eq!(sorted(texts(&mut outbox)), before, "without sled: {without_sled}");
    }
}
