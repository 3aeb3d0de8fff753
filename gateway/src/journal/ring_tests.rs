//! The ways into the journal, without a journal.

use kalitka_protocol::ReaderId;
use kalitka_protocol::event::ClockQuality;

use super::*;
use crate::clock::Moment;
use crate::journal::Holder;
use crate::journal::tests::rig::{decided, report};

const CAPACITY: usize = 64;
const AT: Moment = Moment { wall_us: 0, monotonic: Duration::ZERO, quality: ClockQuality::Good, jumps: 0 };

#[test]
fn full_ring_counts_what_it_does_not_take_and_nobody_waits() {
    let (mut recorders, _door, mut ring) = rings(1, CAPACITY);
    for request in 0..u32::try_from(CAPACITY).unwrap() + 7 {
        recorders[0].decided(AT, decided(ReaderId(1), request), Holder::default());
    }
    assert_eq!((ring.waiting(), ring.take_decisions_lost()), (CAPACITY, 7));
    assert_eq!(ring.take_decisions_lost(), 0);
    assert!(ring.look() && ring.next().is_some());
    recorders[0].decided(AT, decided(ReaderId(1), 0), Holder::default());
    assert_eq!((ring.waiting(), ring.take_decisions_lost()), (CAPACITY, 0));
}

#[test]
fn two_workers_losses_are_added_up_and_their_reports_are_counted_apart() {
    let (mut recorders, _door, mut ring) = rings(2, CAPACITY);
    for recorder in &mut recorders {
        for number in 0..CAPACITY as u64 + 5 {
            recorder.reported(AT, ReaderId(1), report(number, false), kalitka_core::Follows::Nothing);
        }
        recorder.decided(AT, decided(ReaderId(1), 1), Holder::default());
    }
    assert_eq!((ring.waiting(), ring.take_decisions_lost(), ring.take_reports_dropped()), (CAPACITY * 2, 2, 10));
    assert_eq!((ring.take_decisions_lost(), ring.take_reports_dropped()), (0, 0));
}

/// What comes while the journal works does not keep it from its other duties.
#[test]
fn only_what_was_there_at_the_look_is_due() {
    let (mut recorders, _door, mut ring) = rings(2, CAPACITY);
    assert!(!ring.look() && ring.next().is_none());
    recorders[1].decided(AT, decided(ReaderId(1), 1), Holder::default());
    assert!(ring.look());
    recorders[1].decided(AT, decided(ReaderId(1), 2), Holder::default());
    assert!(ring.next().is_some() && ring.next().is_none());
    assert!(ring.look() && ring.next().is_some());
}

#[test]
fn records_come_by_turns_and_each_workers_in_their_order() {
    let (mut recorders, _door, mut ring) = rings(3, JOURNAL_TURN * 4);
    for (reader, count) in [(1, JOURNAL_TURN * 2 + 5), (2, 3), (3, JOURNAL_TURN)] {
        for request in 1..=u32::try_from(count).unwrap() {
            recorders[reader as usize - 1].decided(AT, decided(ReaderId(reader), request), Holder::default());
        }
    }
    ring.look();
    let mut order: Vec<(u32, u32)> = Vec::new();
    while let Some(Record::Decided { decided, .. }) = ring.next() {
        match order.iter().rev().find(|(reader, _)| *reader == decided.reader.0) {
            Some((_, before)) => assert_eq!(decided.request, before + 1),
            None => assert_eq!(decided.request, 1),
        }
        order.push((decided.reader.0, decided.request));
    }
    order.dedup_by_key(|(reader, _)| *reader);
    let turns: Vec<u32> = order.into_iter().map(|(reader, _)| reader).collect();
    assert_eq!(turns, [1, 2, 3, 1]);
}

/// The journal goes from naps to sleep and back thousands of times while workers and the door hand in at random moments.
#[test]
fn nothing_that_is_published_waits_for_a_sleep_to_end() {
    const ROUNDS: u32 = 3000;
    let (recorders, door, mut ring) = rings(2, CAPACITY);
    (ring.nap, ring.naps) = (Duration::from_micros(20), 1);
    let (told, tell) = std::sync::mpsc::channel();
    let journal = std::thread::spawn(move || {
        loop {
            let work = ring.knocked();
            let mut came = ring.look();
            while let Some(record) = ring.next() {
                let Record::Decided { decided, .. } = record else { panic!("not a decision") };
                told.send((decided.reader.0, decided.request)).unwrap();
            }
            match work {
                Some(Work::Stop) => return,
                Some(_) => {
                    told.send((0, 0)).unwrap();
                    came = true;
                }
                None => {}
            }
            ring.wait(came, Duration::from_secs(600));
        }
    });
    let mut random = fastrand::Rng::with_seed(3);
    let mut recorders = recorders;
    for request in 1..=ROUNDS {
        // A nap is some tens of microseconds.
        (0..random.u32(0..20_000)).for_each(|_| std::hint::spin_loop());
        let who = random.u32(0..3);
        let expected = if who == 0 {
            door.wait_to_hand_in(Work::Adopted { generation: 1, last_command: 0, hash: [0; 32] });
            (0, 0)
        } else {
            let recorder = &mut recorders[who as usize - 1];
            recorder.decided(AT, decided(ReaderId(who), request), Holder::default());
            recorder.publish();
            (who, request)
        };
        let told = tell.recv_timeout(Duration::from_secs(20)).expect("it sleeps on");
        assert_eq!(told, expected);
    }
    door.wait_to_hand_in(Work::Stop);
    journal.join().unwrap();
}
