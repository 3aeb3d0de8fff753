//! What the uplink is told, and what follows from what the hub says.

use kalitka_protocol::EpochId;
use kalitka_protocol::event::{Body, Event, Events, chain_all, kind};
use kalitka_protocol::upstream::{Position, PositionEntry};
use kalitka_uplink::{Leg, Request};

use super::rig::Rig;

fn resume(rig: &Rig, position: Position) -> Vec<Leg> {
    let position = Box::new(position);
    rig.asked(|reply| Request::Position { position, reply }).unwrap().unwrap()
}

/// A journal with reports 1 to 5.
fn with_reports(folder: &tempfile::TempDir) -> Rig {
    let rig = Rig::start(folder, Vec::new());
    for number in 1..=5 {
        rig.reported(number, false);
        rig.receipt();
    }
    rig
}

/// SPEC 15.4, 14.3.
#[test]
fn hello_and_runs_agree_with_the_chain() {
    let folder = tempfile::tempdir().unwrap();
    let rig = with_reports(&folder);
    let hello = rig.standing();
    let run = rig.read(hello.epoch, 1).unwrap();
    assert_eq!((run.first, run.last(), run.hash_before), (1, hello.last, [0; 32]));
    assert_eq!(chain_all(&[0; 32], &run.events).unwrap(), (hello.hash, hello.last));
    assert_eq!((rig.head().epoch, rig.head().number), (hello.epoch, hello.last));
    assert!(rig.read(hello.epoch, hello.last + 1).is_none());
    assert!(rig.read(EpochId(99), 1).is_none());
}

/// SPEC 15.5: a hub that has nothing gets everything, one that has some the rest.
#[test]
fn position_says_where_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let rig = with_reports(&folder);
    let hello = rig.standing();
    assert_eq!(resume(&rig, Position::new(PositionEntry::nothing(hello.epoch))), [Leg { epoch: hello.epoch, next: 1 }]);
    let run = rig.read(hello.epoch, 1).unwrap();
    let three: Vec<_> = Events::new(&run.events).take(3).map(|event| event.unwrap().bytes).collect();
    let (hash, last) = chain_all(&[0; 32], &three.concat()).unwrap();
    let legs = resume(&rig, Position::new(PositionEntry { epoch: hello.epoch, last, hash }));
    assert_eq!(legs, [Leg { epoch: hello.epoch, next: 4 }]);
    assert_eq!(rig.standing().epoch, hello.epoch, "no epoch begins");
}

/// SPEC 15.5: the hub knows more, or otherwise: the old epoch is sent from its oldest on, and a new one begins.
#[test]
fn position_that_is_not_ours_begins_an_epoch_at_once() {
    for (above, hash) in [(100, [7; 32]), (0, [7; 32])] {
        let folder = tempfile::tempdir().unwrap();
        let rig = with_reports(&folder);
        let hello = rig.standing();
        let entry = PositionEntry { epoch: hello.epoch, last: hello.last + above, hash };
        let legs = resume(&rig, Position::new(entry));
        let now = rig.standing();
        assert_ne!(now.epoch, hello.epoch);
        assert_eq!(legs, [Leg { epoch: hello.epoch, next: 1 }, Leg { epoch: now.epoch, next: 1 }]);
        let begun = rig.events();
        let Body::EpochBegun(begun) = Event::parse(&begun[0]).unwrap().body else { panic!("{:?}", rig.kinds()) };
        assert_eq!(begun.before, Some(hello.epoch));
        rig.reported(6, false);
        assert_eq!(rig.receipt(), 6);
        assert_eq!(rig.reports(), [6]);
    }
}

/// SPEC 15.13: what the hub has otherwise gets new identities, and comes to it once.
#[test]
fn forked_events_get_new_identities_and_keep_their_bodies() {
    let folder = tempfile::tempdir().unwrap();
    let rig = with_reports(&folder);
    let hello = rig.standing();
    rig.door.uplink(Request::Forked { epoch: hello.epoch, number: 4 }).unwrap();
    let now = rig.standing();
    assert_ne!(now.epoch, hello.epoch);
    assert_eq!(rig.kinds()[0], kind::EPOCH_BEGUN);
    assert_eq!(rig.reports(), [2, 3, 4, 5], "events 4 to 7 of the old epoch");
    assert_eq!(rig.events_of(hello.epoch).len(), 3);
    assert_eq!(rig.head().epoch, now.epoch);
    rig.stop();
    let rig = Rig::start(&folder, Vec::new());
    rig.reported(5, false);
    assert_eq!(rig.receipt(), 5);
    assert_eq!(rig.reports(), [2, 3, 4, 5], "nothing is doubled over a restart");
}

#[test]
fn acknowledged_events_are_remembered_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let rig = with_reports(&folder);
    let hello = rig.standing();
    rig.door.uplink(Request::Acknowledged { epoch: hello.epoch, number: hello.last }).unwrap();
    rig.standing();
    rig.stop();
    let mut rig = Rig::start(&folder, Vec::new());
    rig.standing();
    let shown = rig.shown(|status| status.number > hello.last);
    assert_eq!(shown.unacknowledged, shown.number - hello.last);
}

/// The hub was set back, and its position rules: an older checkpoint does not know that.
#[test]
fn checkpoint_does_not_take_for_acknowledged_what_the_hub_no_longer_has() {
    let folder = tempfile::tempdir().unwrap();
    let rig = with_reports(&folder);
    let hello = rig.standing();
    rig.door.uplink(Request::Acknowledged { epoch: hello.epoch, number: hello.last }).unwrap();
    rig.standing();
    rig.stop();
    let rig = Rig::start(&folder, Vec::new());
    resume(&rig, Position::new(PositionEntry::nothing(hello.epoch)));
    rig.reported(6, false);
    rig.receipt();
    let last = rig.standing().last;
    let killed = rig.copy();
    let mut rig = Rig::start(&killed, Vec::new());
    let shown = rig.shown(|status| status.number > last);
    assert_eq!(shown.unacknowledged, shown.number);
}

#[test]
fn committed_events_go_to_the_live_lane_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::start(&folder, Vec::new());
    rig.standing();
    let mut live = rig.live.subscribe();
    rig.reported(1, true);
    rig.receipt();
    let told = live.blocking_recv().unwrap();
    assert_eq!(told.to_vec(), *rig.events().last().unwrap());
}

#[test]
fn checkpoint_of_the_hub_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::start(&folder, Vec::new());
    rig.door.uplink(Request::Checkpoint { bytes: vec![1, 2, 3] }).unwrap();
    rig.standing();
    assert_eq!(std::fs::read(folder.path().join("hub.checkpoint")).unwrap(), [1, 2, 3]);
}
