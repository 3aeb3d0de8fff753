//! Commands, from the envelope to the event, and what holds after a restart.

use ed25519_dalek::{Signer, SigningKey};
use kalitka_core::{OverlayEntry, Standing};
use kalitka_protocol::ReaderId;
use kalitka_protocol::credential::{Credential, Shape};
use kalitka_protocol::event::{Body, Event};
use kalitka_protocol::message::Order;
use kalitka_protocol::upstream::{CommandBody, CommandOutcome, Envelope, PortalModeCode};
use kalitka_protocol::wire::Writer;
use kalitka_snapshot::model::PortalMode;
use kalitka_uplink::Request;
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::full_disk::small_disk::SmallDisk;
use super::rig::{BUILDING, READERS, Rig};
use crate::clock::Clock;
use crate::journal::SafetyFile;
use crate::udp::Post;

fn operator() -> SigningKey {
    SigningKey::from_bytes(&[3; 32])
}

fn operators() -> Vec<[u8; 32]> {
    vec![*operator().verifying_key().as_bytes()]
}

fn card() -> Credential {
    Shape::Uid.credential_of_uid(&[1, 2, 3, 4]).unwrap()
}

/// A signed envelope that holds for a minute.
fn envelope(number: u64, body: &CommandBody) -> Vec<u8> {
    let mut bytes = [0; 2048];
    let mut writer = Writer::new(&mut bytes);
    body.emit(&mut writer).unwrap();
    let len = writer.len();
    let body = bytes[..len].to_vec();
    let not_after_us = Clock::wall_seconds() * 1_000_000 + 60_000_000;
    let operator_key = *operator().verifying_key().as_bytes();
    let mut envelope =
        Envelope { building: BUILDING, number, not_after_us, operator: operator_key, body: &body, signature: [0; 64] };
    let mut writer = Writer::new(&mut bytes);
    envelope.signed(&mut writer).unwrap();
    let len = writer.len();
    envelope.signature = operator().sign(&bytes[..len]).to_bytes();
    let mut writer = Writer::new(&mut bytes);
    envelope.emit(&mut writer).unwrap();
    let len = writer.len();
    bytes[..len].to_vec()
}

fn commanded(rig: &Rig, number: u64, body: &CommandBody) -> CommandOutcome {
    let envelope = envelope(number, body);
    let (told, outcome) = rig.asked(|reply| Request::Command { envelope, reply }).expect("no outcome");
    assert_eq!(told, number);
    outcome
}

/// Number, reader and result of each command's event.
fn recorded(rig: &Rig) -> Vec<(u64, u32, u8)> {
    let of = |event: &Vec<u8>| match Event::parse(event).unwrap().body {
        Body::Command(done) => {
            assert_eq!(done.operator, operators()[0]);
            Some((done.number, done.reader, done.result))
        }
        _ => None,
    };
    rig.events().iter().filter_map(of).collect()
}

const BLOCK: fn() -> CommandBody = || CommandBody::Block { credential: card() };

fn blocked(rig: &Rig) -> bool {
    let is_block = |entry: &OverlayEntry| matches!(entry, OverlayEntry::Credential { credential, standing: Standing::Blocked, .. } if *credential == card());
    rig.overlay.entries().iter().any(is_block)
}

/// SPEC 14.14: what must be said has room beyond the bound.
#[test]
fn order_is_done_and_recorded_at_the_bound() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::start_within(folder.path(), operators(), super::bound::SMALL);
    super::bound::report_until_it_waits(&rig);
    assert_eq!(commanded(&rig, 5, &BLOCK()), CommandOutcome::Done);
    assert!(blocked(&rig));
    let hello = rig.standing();
    let newest = rig.read(hello.epoch, hello.last).unwrap();
    assert!(matches!(Event::parse(&newest.events).unwrap().body, Body::Command(done) if done.number == 5));
}

/// SPEC 15.8: on a disk that is full to the last block an order holds and is kept, on the room of the outbox's reserve; it is
/// told done when it is recorded.
#[test]
fn order_is_kept_on_a_full_disk() {
    let disk = SmallDisk::mount(112);
    let mut rig = Rig::start_within(&disk.path(), operators(), super::rig::BOUNDS);
    rig.standing();
    rig.shown(|status| status.reserve);
    disk.fill();
    let (reply, told) = oneshot::channel();
    rig.door.uplink(Request::Command { envelope: envelope(5, &BLOCK()), reply }).unwrap();
    let shown = rig.shown(|status| !status.reserve);
    assert!(shown.disk_percent >= 80, "{shown:?}");
    rig.standing();
    assert!(blocked(&rig));
    let kept = SafetyFile::open(&disk.path()).1.unwrap();
    assert_eq!(kept.safety.newest(), Some((5, CommandOutcome::Done)), "it is kept");
    disk.free();
    assert_eq!(told.blocking_recv().unwrap(), (5, CommandOutcome::Done));
    assert_eq!(recorded(&rig), [(5, 0, 0)]);
    rig.shown(|status| status.reserve);
}

/// SPEC 15.8, 15.9.
#[test]
fn block_holds_is_recorded_once_and_told_again() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::start(&folder, operators());
    assert_eq!(commanded(&rig, 5, &BLOCK()), CommandOutcome::Done);
    assert!(blocked(&rig));
    assert_eq!(commanded(&rig, 5, &BLOCK()), CommandOutcome::Done, "come again");
    assert_eq!(commanded(&rig, 4, &CommandBody::Unblock { credential: card() }), CommandOutcome::NumberNotAbove);
    assert!(blocked(&rig));
    assert_eq!(recorded(&rig), [(5, 0, 0)]);
    assert_eq!(commanded(&rig, 6, &CommandBody::Unblock { credential: card() }), CommandOutcome::Done);
    assert!(!blocked(&rig));
}

#[test]
fn order_that_was_told_done_holds_before_the_outbox_is_open_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::start(&folder, operators());
    assert_eq!(commanded(&rig, 5, &BLOCK()), CommandOutcome::Done);
    let left = rig.copy();
    // The outbox does not open: what holds can only have come from the safety file.
    std::fs::remove_dir_all(left.path().join("outbox")).unwrap();
    std::fs::write(left.path().join("outbox"), "no folder").unwrap();
    let after = Rig::start(&left, operators());
    assert!(blocked(&after));
}

#[test]
fn order_whose_event_the_kill_has_prevented_is_recorded_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::start(&folder, operators());
    rig.standing();
    let before = rig.copy();
    assert_eq!(commanded(&rig, 5, &BLOCK()), CommandOutcome::Done);
    // The safety file with the order, the outbox without its event.
    let with_order = rig.copy();
    for name in ["safety.a", "safety.b"] {
        if let Ok(bytes) = std::fs::read(with_order.path().join(name)) {
            std::fs::write(before.path().join(name), bytes).unwrap();
        }
    }
    let after = Rig::start(&before, operators());
    after.standing();
    assert_eq!(recorded(&after), [(5, 0, 0)]);
    assert_eq!(commanded(&after, 5, &BLOCK()), CommandOutcome::Done);
    assert_eq!(recorded(&after), [(5, 0, 0)], "recorded once");
}

fn without_safety(folder: &TempDir, damage: bool) {
    for name in ["safety.a", "safety.b"] {
        let path = folder.path().join(name);
        if damage && path.exists() {
            std::fs::write(path, "damaged").unwrap();
        } else {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[test]
fn lost_safety_file_is_made_up_for_by_the_outbox() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::start(&folder, operators());
    assert_eq!(commanded(&rig, 5, &BLOCK()), CommandOutcome::Done);
    rig.stop();
    without_safety(&folder, false);
    let rig = Rig::start(&folder, operators());
    rig.standing();
    assert!(blocked(&rig));
    assert_eq!(commanded(&rig, 4, &BLOCK()), CommandOutcome::NumberNotAbove);
}

#[test]
fn damaged_safety_file_means_the_safe_mode_until_the_orders_are_known_again() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::start(&folder, operators());
    assert_eq!(commanded(&rig, 5, &BLOCK()), CommandOutcome::Done);
    rig.stop();
    without_safety(&folder, true);
    // With an outbox and a checkpoint that hold, the orders are known again as soon as they are read.
    let copy = tempfile::tempdir().unwrap();
    super::rig::copy_folder(folder.path(), copy.path());
    let rig = Rig::start(&copy, operators());
    rig.standing();
    assert!(blocked(&rig) && !rig.overlay.is_in_safe_mode());
    rig.stop();
    let again = Rig::start(&copy, operators());
    assert!(blocked(&again) && !again.overlay.is_in_safe_mode(), "the file was not written anew");
    // Without them they are not known, and only an operator ends it.
    std::fs::remove_dir_all(folder.path().join("outbox")).unwrap();
    let mut rig = Rig::start(&folder, operators());
    rig.standing();
    assert_eq!(rig.overlay.mode(READERS[0]), Some(PortalMode::Closed));
    rig.shown(|status| status.safety_damaged);
    let as_scheduled = CommandBody::Mode { reader: None, mode: None };
    assert_eq!(commanded(&rig, 9, &as_scheduled), CommandOutcome::Done);
    assert!(!rig.overlay.is_in_safe_mode());
    rig.shown(|status| !status.safety_damaged);
}

#[test]
fn mode_is_set_for_one_reader_and_for_all() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::start(&folder, operators());
    let mode = |reader, mode| CommandBody::Mode { reader, mode };
    assert_eq!(commanded(&rig, 1, &mode(Some(READERS[0]), Some(PortalModeCode::Free))), CommandOutcome::Done);
    assert_eq!((rig.overlay.mode(READERS[0]), rig.overlay.mode(READERS[1])), (Some(PortalMode::Free), None));
    assert_eq!(commanded(&rig, 2, &mode(None, Some(PortalModeCode::Closed))), CommandOutcome::Done);
    assert!(READERS.iter().all(|reader| rig.overlay.mode(*reader) == Some(PortalMode::Closed)));
}

/// SPEC 15.9, 14.10: an event for each reader, told when all have ended.
#[test]
fn command_to_every_reader_ends_with_the_last_and_is_recorded_for_each() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::start(&folder, operators());
    rig.standing();
    let order = Order::Open { direction: kalitka_protocol::reason::Direction::Entry, hold_open_ms: 3000 };
    let envelope = envelope(7, &CommandBody::Reader { reader: None, order });
    let (reply, mut replied) = oneshot::channel();
    rig.door.uplink(Request::Command { envelope: envelope.clone(), reply }).unwrap();
    let mut readers = Vec::new();
    for _ in READERS {
        let Post::Command { reader, id: 7, order: given, .. } = rig.post() else { panic!("no command") };
        assert_eq!(given, order);
        readers.push(reader);
    }
    assert_eq!(readers, READERS);
    rig.command_ended(READERS[1], 7, CommandOutcome::GivenUp);
    rig.standing();
    assert!(replied.try_recv().is_err() && recorded(&rig).is_empty(), "told before the last reader");
    // Come again meanwhile it is not begun again, and hears of the same end.
    let (reply, again) = oneshot::channel();
    rig.door.uplink(Request::Command { envelope, reply }).unwrap();
    rig.command_ended(READERS[0], 7, CommandOutcome::Done);
    assert_eq!(replied.blocking_recv().unwrap(), (7, CommandOutcome::GivenUp));
    assert_eq!(again.blocking_recv().unwrap(), (7, CommandOutcome::GivenUp));
    assert!(rig.is_silent(), "it was begun again");
    assert_eq!(recorded(&rig), [(7, 101, 0), (7, 102, 2)]);
}

#[test]
fn command_to_a_reader_without_a_key_is_refused_and_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::start(&folder, operators());
    let order = Order::Open { direction: kalitka_protocol::reason::Direction::Entry, hold_open_ms: 3000 };
    let body = CommandBody::Reader { reader: Some(ReaderId(999)), order };
    assert_eq!(commanded(&rig, 7, &body), CommandOutcome::ReaderUnknown);
    assert_eq!(recorded(&rig), [(7, 0, 3)]);
}

#[test]
fn nobody_elses_command_is_done_or_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::start(&folder, vec![[9; 32]]);
    assert_eq!(commanded(&rig, 7, &BLOCK()), CommandOutcome::OperatorUnknown);
    rig.stop();
    let rig = Rig::start(&folder, operators());
    let mut forged = envelope(7, &BLOCK());
    *forged.last_mut().unwrap() ^= 1;
    let outcome = rig.asked(|reply| Request::Command { envelope: forged, reply }).unwrap();
    assert_eq!(outcome, (7, CommandOutcome::SignatureWrong));
    assert!(rig.asked(|reply| Request::Command { envelope: vec![1; 50], reply }).is_none());
    assert!(!blocked(&rig) && recorded(&rig).is_empty());
    // The number is still free for its operator.
    assert_eq!(commanded(&rig, 7, &BLOCK()), CommandOutcome::Done);
}
