//! Workers and their journal: what is lost at a full ring, who wakes whom, and what a stop leaves.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use kalitka_protocol::event::{Body, Event, LossCause};

use super::rig::{BOUNDS, LOG, PATIENCE, READERS, Rig};
use crate::udp::Post;

const CAPACITY: u32 = 512;

/// Requests of each worker's decisions that are events, and counts of losses by their causes.
#[derive(Debug, Default, PartialEq)]
struct Kept {
    requests: [Vec<u32>; 2],
    ring_full: u32,
    elsewhere: u32,
}

fn kept(rig: &Rig) -> Kept {
    let mut kept = Kept::default();
    for event in rig.events() {
        match Event::parse(&event).unwrap().body {
            Body::Decision(decision) => {
                let worker = READERS.iter().position(|reader| *reader == decision.reader).unwrap();
                kept.requests[worker].push(decision.request);
            }
            Body::Loss(loss) if loss.cause == LossCause::RingFull => kept.ring_full += loss.count,
            Body::Loss(loss) => kept.elsewhere += loss.count,
            _ => {}
        }
    }
    kept
}

/// SPEC 14.8.
#[test]
fn journal_that_stalls_loses_exactly_what_its_rings_have_no_room_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::stalled(folder.path(), Vec::new(), BOUNDS, CAPACITY as usize);
    for request in 1..=CAPACITY + 7 {
        rig.decided_at(0, request);
    }
    for request in 1..=CAPACITY + 30 {
        rig.decided_at(1, request);
    }
    rig.begin();
    rig.standing();
    rig.reported(1, true);
    rig.receipt();
    let fitting = || (1..=CAPACITY).collect();
    assert_eq!(kept(&rig), Kept { requests: [fitting(), fitting()], ring_full: 37, elsewhere: 0 });
}

#[test]
fn report_that_its_ring_has_no_room_for_is_not_receipted_and_comes_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::stalled(folder.path(), Vec::new(), BOUNDS, CAPACITY as usize);
    for number in 1..=u64::from(CAPACITY) + 3 {
        rig.reported(number, false);
    }
    rig.begin();
    rig.standing();
    assert_eq!(rig.receipt(), u64::from(CAPACITY));
    rig.reported(u64::from(CAPACITY) + 2, false);
    assert!(rig.is_silent(), "one came before its predecessor");
    rig.reported(u64::from(CAPACITY) + 1, false);
    assert_eq!(rig.receipt(), u64::from(CAPACITY) + 1);
    assert_eq!(kept(&rig).ring_full, 0, "a report is no loss: its reader has it");
}

#[test]
fn workers_are_taken_by_turns_and_each_in_its_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::stalled(folder.path(), Vec::new(), BOUNDS, CAPACITY as usize);
    for request in 1..CAPACITY {
        rig.decided_at(0, request);
    }
    rig.decided_at(1, 1);
    for worker in 0..2 {
        rig.reported_at(worker, 1, true);
    }
    rig.begin();
    let receipts = [rig.post(), rig.post()];
    for reader in READERS {
        assert!(receipts.contains(&Post::Receipt { reader, log: LOG, number: 1 }), "{receipts:?}");
    }
    let events = rig.events();
    let place = |reader| {
        let of_reader = |event: &Vec<u8>| matches!(Event::parse(event).unwrap().body, Body::Decision(decision) if decision.reader == reader);
        events.iter().position(of_reader).unwrap()
    };
    assert!(place(READERS[1]) < place(READERS[0]) + CAPACITY as usize / 2, "the second waited for all of the first");
    assert_eq!(kept(&rig).requests, [(1..CAPACITY).collect(), vec![1]]);
}

/// A decision shares its commit, but does not wait for another to come.
#[test]
fn decision_becomes_durable_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::start(&folder, Vec::new());
    rig.standing();
    let mut live = rig.live.subscribe();
    for request in 1..=20 {
        rig.decided(request);
        let told = live.blocking_recv().unwrap();
        let Body::Decision(decision) = Event::parse(&told).unwrap().body else { panic!("no decision") };
        assert_eq!(decision.request, request);
    }
}

#[test]
fn decisions_of_a_burst_share_commits() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::stalled(folder.path(), Vec::new(), BOUNDS, CAPACITY as usize);
    let mut live = rig.live.subscribe();
    for request in 1..=CAPACITY {
        rig.decided(request);
    }
    rig.begin();
    rig.standing();
    rig.reported(1, true);
    rig.receipt();
    let commits = std::iter::from_fn(|| live.try_recv().ok()).count();
    assert!(commits <= 4, "{commits} commits");
}

#[test]
fn all_that_came_before_a_stop_is_durable_and_nothing_comes_twice() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::start(&folder, Vec::new());
    rig.standing();
    for round in 0..4 {
        for request in 1..=100 {
            rig.decided_at(0, round * 100 + request);
            rig.decided_at(1, round * 100 + request);
        }
        rig.reported(u64::from(round) + 1, false);
    }
    rig.stop();
    let rig = Rig::start(&folder, Vec::new());
    rig.standing();
    let all = || (1..=400).collect();
    assert_eq!(kept(&rig), Kept { requests: [all(), all()], ring_full: 0, elsewhere: 0 });
    assert_eq!(rig.reports(), [1, 2, 3, 4]);
}

/// Random moments meet the journal at work, in a nap, on its way to sleep and asleep.
#[test]
fn whatever_is_published_at_a_random_moment_is_soon_durable() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::start(&folder, Vec::new());
    rig.standing();
    let mut random = fastrand::Rng::with_seed(11);
    let (_silent, never) = channel::<()>();
    for number in 1..=100 {
        rig.reported(number, false);
        let since = Instant::now();
        assert_eq!(rig.receipt(), number);
        assert!(since.elapsed() < PATIENCE / 4, "a receipt came after {:?}", since.elapsed());
        let _ = never.recv_timeout(Duration::from_micros(random.u64(0..40_000)));
    }
}
