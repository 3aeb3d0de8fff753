//! What is taken, when it is receipted, and what is left after a stop, a kill or a failure.

use kalitka_protocol::event::{Body, Event, LossCause, kind};

use super::rig::{RING, Rig};

/// SPEC 7.3, 7.4: in order, each once, the receipt cumulative.
#[test]
fn reports_are_taken_in_order_once_and_receipted() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::start(&folder, Vec::new());
    rig.reported(1, true);
    assert_eq!(rig.receipt(), 1);
    rig.reported(3, false);
    assert!(rig.is_silent(), "a report that is not the next got a receipt");
    rig.reported(2, false);
    assert_eq!(rig.receipt(), 2);
    rig.reported(1, false);
    assert_eq!(rig.receipt(), 2, "a repeat is receipted again");
    rig.reported(3, false);
    assert_eq!(rig.receipt(), 3);
    assert_eq!(rig.reports(), [1, 2, 3]);
}

/// SPEC 7.3: a store that was replaced does not stop a reader for ever.
#[test]
fn oldest_report_of_an_unknown_log_is_taken_and_another_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::start(&folder, Vec::new());
    rig.reported(41, false);
    assert!(rig.is_silent());
    rig.reported(41, true);
    assert_eq!(rig.receipt(), 41);
    rig.reported(42, false);
    assert_eq!(rig.receipt(), 42);
}

#[test]
fn report_that_is_receipted_is_in_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::start(&folder, Vec::new());
    for number in 1..=20 {
        rig.reported(number, false);
        assert_eq!(rig.receipt(), number);
        // What a process killed at this moment leaves.
        if number % 5 == 0 {
            let copy = rig.copy();
            let left = Rig::start(&copy, Vec::new());
            assert_eq!(left.reports(), (1..=number).collect::<Vec<_>>());
            left.reported(number, false);
            assert_eq!(left.receipt(), number, "a repeat over the kill");
            assert_eq!(left.reports().len() as u64, number, "recorded once");
        }
    }
}

#[test]
fn what_is_known_outlives_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::start(&folder, Vec::new());
    for number in 1..=3 {
        rig.reported(number, false);
    }
    while rig.receipt() < 3 {}
    let before = rig.standing();
    rig.stop();
    let rig = Rig::start(&folder, Vec::new());
    assert_eq!(rig.standing().epoch, before.epoch, "an orderly stop begins no epoch");
    rig.reported(5, false);
    assert!(rig.is_silent());
    rig.reported(4, false);
    assert_eq!(rig.receipt(), 4);
    let starts = rig.kinds().iter().filter(|&&of| of == kind::GATEWAY_STARTED).count();
    assert_eq!((starts, rig.kinds()[0]), (2, kind::EPOCH_BEGUN));
}

/// DESIGN's blank store, SPEC 14.7 and 14.8: the checkpoint knows of what is gone.
#[test]
fn blank_store_in_the_place_of_the_old_one_begins_an_epoch_and_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::start(&folder, Vec::new());
    rig.reported(1, true);
    rig.receipt();
    let before = rig.standing();
    rig.stop();
    std::fs::remove_dir_all(folder.path().join("outbox")).unwrap();
    let rig = Rig::start(&folder, Vec::new());
    assert_ne!(rig.standing().epoch, before.epoch);
    let events = rig.events();
    let Body::EpochBegun(begun) = Event::parse(&events[0]).unwrap().body else { panic!("{:?}", rig.kinds()) };
    assert_eq!((begun.before, begun.last, begun.hash), (Some(before.epoch), before.last, before.hash));
    assert!(matches!(Event::parse(&events[1]).unwrap().body, Body::Loss(loss) if loss.cause == LossCause::Damaged));
    // What was taken is still known, by the checkpoint.
    rig.reported(1, true);
    assert_eq!(rig.receipt(), 1);
    assert!(rig.reports().is_empty());
}

#[test]
fn store_restored_from_before_begins_an_epoch_and_no_identity_comes_twice() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::start(&folder, Vec::new());
    rig.reported(1, true);
    rig.receipt();
    let old = rig.copy();
    rig.reported(2, false);
    rig.receipt();
    let before = rig.standing();
    rig.stop();
    std::fs::remove_dir_all(folder.path().join("outbox")).unwrap();
    super::rig::copy_folder(&old.path().join("outbox"), &folder.path().join("outbox"));
    let rig = Rig::start(&folder, Vec::new());
    assert_ne!(rig.standing().epoch, before.epoch);
    rig.reported(3, false);
    assert_eq!(rig.receipt(), 3, "the reader goes on where the checkpoint has it");
}

#[test]
fn store_that_cannot_be_opened_keeps_decisions_and_leaves_reports_to_their_readers() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("outbox");
    std::fs::write(&place, "no folder").unwrap();
    let mut rig = Rig::start(&folder, Vec::new());
    for request in 1..=5 {
        rig.decided(request);
    }
    rig.reported(1, true);
    assert!(!rig.shown(|status| status.trouble.is_some()).taking);
    std::fs::remove_file(&place).unwrap();
    rig.standing();
    rig.reported(1, true);
    assert_eq!(rig.receipt(), 1);
    let kinds = rig.kinds();
    assert_eq!(kinds.iter().filter(|&&of| of == kind::DECISION).count(), 5, "{kinds:?}");
    assert_eq!(rig.reports(), [1]);
    assert!(rig.shown(|status| status.taking).trouble.is_none());
}

#[test]
fn decisions_that_the_ring_has_no_room_for_are_a_counted_loss() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("outbox");
    std::fs::write(&place, "no folder").unwrap();
    let rig = Rig::start(&folder, Vec::new());
    let many = u32::try_from(RING * 16).unwrap();
    for request in 1..=many {
        rig.decided(request);
    }
    std::fs::remove_file(&place).unwrap();
    rig.standing();
    rig.reported(1, true);
    rig.receipt();
    let mut told = 0;
    for event in rig.events() {
        match Event::parse(&event).unwrap().body {
            Body::Decision(_) => told += 1,
            Body::Loss(loss) => {
                assert!(matches!(loss.cause, LossCause::RingFull | LossCause::NotTaken), "{loss:?}");
                assert_eq!((loss.epoch, loss.first, loss.last), (rig.standing().epoch, 0, 0));
                told += loss.count;
            }
            _ => {}
        }
    }
    assert_eq!(told, many, "every decision is an event or counted in one");
}
