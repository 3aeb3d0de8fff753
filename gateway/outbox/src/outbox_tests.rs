//! What the outbox promises when nothing goes wrong.

use kalitka_protocol::EpochId;
use kalitka_protocol::event::{Body, chain_all};

use crate::error::{AppendError, StoreError};
use crate::lab_tests::*;
use crate::limits::BLOCK_EVENTS_MAX;
use crate::types::{Begun, Bounds, Head, NewEpochWhy};

const E1: EpochId = EpochId(1);

#[test]
fn blank_folder_begins_an_epoch_and_goes_on_where_it_was_left() {
    let site = Site::new();
    let (mut outbox, begun) = site.open(1);
    assert_eq!(begun, Begun::NewEpoch { before: None, losses: vec![], why: NewEpochWhy::Blank });
    assert_eq!(outbox.head(), Head { epoch: E1, number: 0, hash: [0; 32] });
    start(&mut outbox, &begun);
    fill(&mut outbox, 50, 7);
    let (head, events) = (outbox.head(), held(&mut outbox));
    drop(outbox);
    let (mut outbox, begun) = site.open(2);
    assert_eq!((begun, outbox.head()), (Begun::AsLeft, head));
    assert_eq!(held(&mut outbox), events);
    assert_eq!(outbox.epochs().len(), 1);
}

#[test]
fn epoch_without_a_durable_event_is_told_as_new_again() {
    let site = Site::new();
    let (outbox, begun) = site.open(1);
    drop(outbox);
    let (outbox, again) = site.open(2);
    assert_eq!(again, begun);
    assert_eq!(outbox.head().epoch, E1, "the epoch is the one that was recorded");
}

/// SPEC 14.1, 14.3: numbers without gaps, hashes in a chain.
#[test]
fn head_is_the_chain_over_all_that_was_appended() {
    let site = Site::new();
    let mut outbox = site.filled(300, 41);
    let all: Vec<u8> = held(&mut outbox).into_iter().flat_map(|(_, _, bytes)| bytes).collect();
    assert_eq!(chain_all(&[0; 32], &all).unwrap(), (outbox.head().hash, 300));
}

#[test]
fn append_takes_only_the_next_numbers_of_the_present_epoch() {
    let site = Site::new();
    let mut outbox = site.filled(3, 3);
    let head = outbox.head();
    let other_building = |mut event: Vec<u8>| {
        event[4] += 1;
        event
    };
    for number in [1, 3, 5] {
        let error = outbox.append(&said(E1, number, b"")).unwrap_err();
        assert!(matches!(error, AppendError::Numbering { expected: 4, found } if found == number), "{error}");
    }
    let two = [said(E1, 4, b""), said(E1, 6, b"")].concat();
    for wrong in [vec![], vec![1; 47], two, said(EpochId(2), 4, b""), other_building(said(E1, 4, b""))] {
        assert!(!matches!(outbox.append(&wrong), Ok(_) | Err(AppendError::Store(_))));
    }
    assert_eq!(outbox.head(), head);
    assert!(!outbox.is_poisoned());
    fill(&mut outbox, 4, 1);
}

#[test]
fn commit_is_cut_into_blocks_that_are_read_as_one() {
    let site = Site::new();
    let mut outbox = site.filled(1, 1);
    let large = vec![9; 3000];
    let events: Vec<u8> = (2..=200).flat_map(|number| said(E1, number, &large)).collect();
    outbox.append(&events).unwrap();
    let least = u64::try_from(events.len() / BLOCK_EVENTS_MAX).unwrap();
    assert!((least + 2..=least + 3).contains(&outbox.usage().blocks));
    assert_eq!(outbox.read(E1, 2, usize::MAX).unwrap().unwrap().events, events);
}

#[test]
fn reading_gives_whole_events_and_at_least_one() {
    let site = Site::new();
    let mut outbox = site.filled(100, 9);
    let one = outbox.read(E1, 5, 0).unwrap().unwrap();
    assert_eq!((one.first, one.count), (5, 1));
    let len = one.events.len();
    assert_eq!(outbox.read(E1, 5, len).unwrap().unwrap().count, 1);
    let two = len + said(E1, 6, &text(6)).len();
    assert_eq!(outbox.read(E1, 5, two - 1).unwrap().unwrap().count, 1);
    assert_eq!(outbox.read(E1, 5, two).unwrap().unwrap().count, 2);
    assert_eq!(outbox.read(E1, 101, 1000).unwrap(), None);
    assert_eq!(outbox.read(EpochId(2), 1, 1000).unwrap(), None);
    let rest = outbox.read(E1, 60, usize::MAX).unwrap().unwrap();
    assert_eq!((rest.first, rest.count, rest.hash), (60, 41, outbox.head().hash));
    assert_eq!(Some(rest.hash_before), outbox.hash_at(E1, 59).unwrap());
}

#[test]
fn hash_is_known_of_everything_held_and_of_the_one_before() {
    let site = Site { limits: Bounds { keep_acknowledged: 0, ..ROOMY }, ..Site::new() };
    let mut outbox = site.filled(40, 10);
    let hashes: Vec<_> = (0..=40).map(|number| outbox.hash_at(E1, number).unwrap().unwrap()).collect();
    assert_eq!(hashes[0], [0; 32]);
    assert_eq!(outbox.hash_at(E1, 41).unwrap(), None);
    outbox.set_floor(outbox.head());
    outbox.acknowledge(E1, 25).unwrap();
    assert_eq!(outbox.epochs()[0].oldest, 21);
    assert_eq!(outbox.hash_at(E1, 20).unwrap(), Some(hashes[20]));
    assert_eq!(outbox.hash_at(E1, 19).unwrap(), None);
    assert_eq!(outbox.read(E1, 1, 0).unwrap().unwrap().hash_before, hashes[20]);
}

#[test]
fn acknowledged_events_stay_while_the_bound_allows() {
    let site = Site { limits: Bounds { keep_acknowledged: 30, ..ROOMY }, ..Site::new() };
    let mut outbox = site.filled(100, 10);
    outbox.set_floor(outbox.head());
    outbox.acknowledge(E1, 30).unwrap();
    assert_eq!(outbox.epochs()[0].oldest, 1);
    outbox.acknowledge(E1, 61).unwrap();
    assert_eq!((outbox.epochs()[0].oldest, outbox.epochs()[0].acknowledged), (31, 61));
    outbox.acknowledge(E1, 50).unwrap();
    assert_eq!(outbox.epochs()[0].acknowledged, 61, "only a position takes back");
    let beyond = outbox.acknowledge(E1, 101);
    assert!(matches!(beyond, Err(StoreError::Beyond { number: 101, last: 100 })));
    assert!(!outbox.is_poisoned());
    outbox.acknowledge(EpochId(9), 1).unwrap();
}

#[test]
fn deletion_never_passes_the_older_checkpoint() {
    let site = Site { limits: Bounds { keep_acknowledged: 0, ..ROOMY }, ..Site::new() };
    let mut outbox = site.filled(100, 10);
    outbox.acknowledge(E1, 100).unwrap();
    assert_eq!(outbox.epochs()[0].oldest, 1, "no checkpoint, no deletion");
    outbox.set_floor(Head { number: 45, ..outbox.head() });
    outbox.acknowledge(E1, 100).unwrap();
    assert_eq!(outbox.epochs()[0].oldest, 1, "nothing new was acknowledged");
    fill(&mut outbox, 101, 1);
    outbox.acknowledge(E1, 101).unwrap();
    assert_eq!(outbox.epochs()[0].oldest, 41);
    outbox.set_floor(outbox.head());
    fill(&mut outbox, 102, 1);
    outbox.acknowledge(E1, 102).unwrap();
    assert_eq!(outbox.epochs()[0].oldest, 102, "the newest block stays: the head is known by it");
}

#[test]
fn drained_outbox_still_knows_its_head() {
    let site = Site { limits: Bounds { keep_acknowledged: 0, ..ROOMY }, ..Site::new() };
    let mut outbox = site.filled(100, 10);
    outbox.set_floor(outbox.head());
    outbox.acknowledge(E1, 100).unwrap();
    let head = outbox.head();
    drop(outbox);
    let (mut outbox, begun) = site.open(2);
    assert_eq!((begun, outbox.head()), (Begun::AsLeft, head));
    assert_eq!(outbox.epochs()[0].acknowledged, 100);
    fill(&mut outbox, 110, 3);
}

#[test]
fn closed_loss_is_remembered() {
    let mut site = Site::new();
    drop(site.filled(10, 5));
    site.machine = [2; 16];
    let (mut outbox, begun) = site.open(2);
    start(&mut outbox, &begun);
    assert_eq!(outbox.epochs()[1].loss_open, Some(11));
    let closed = kalitka_protocol::event::LossClosed { epoch: E1, first: 11, held: 10, hash: [0; 32] };
    let head = outbox.head();
    outbox.append(&event(head.epoch, head.number + 1, Body::LossClosed(closed))).unwrap();
    assert_eq!(outbox.epochs()[1].loss_open, None);
    drop(outbox);
    assert_eq!(site.open(3).0.epochs()[1].loss_open, None);
}
