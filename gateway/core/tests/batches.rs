//! Datagrams of one batch are opened before the first is answered. What comes in between is seen, and never makes an
//! answer wrong.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::ask;
use common::rig::{Rig, Taken, TestReader, keys, laid_out, psk};
use kalitka_core::{DropReason, Effect, Outcome};
use kalitka_protocol::limits::OLD_SESSION_LIFE;
use kalitka_protocol::message::{Answer, Message, Messages, Ping, Pong};
use kalitka_protocol::reason::Direction;

const PING: Message<'static> = Message::Ping(Ping { token: 77, reports_waiting: 0, falling_back: false });

fn connected() -> (Rig, TestReader) {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(101));
    rig.connect(&mut reader);
    (rig, reader)
}

fn ask_of(request: u32) -> Message<'static> {
    Message::Ask(ask(request, 1, Direction::Entry))
}

fn answered(plaintext: &[u8]) -> Vec<Answer<'_>> {
    let messages = Messages::new(plaintext).map(Result::unwrap);
    messages.filter_map(|message| if let Message::Answer(answer) = message { Some(answer) } else { None }).collect()
}

fn dropped(reason: DropReason) -> Taken {
    Taken { outcome: Outcome::Dropped(reason), reply: vec![], effects: vec![] }
}

fn is_decided(effect: &Effect) -> bool {
    matches!(effect, Effect::Decided(_))
}

#[test]
fn all_of_a_batch_are_answered_in_their_order() {
    let (mut rig, mut reader) = connected();
    let datagrams: Vec<_> = (1..=32).map(|request| reader.seal(&[ask_of(request)])).collect();
    let open: Vec<_> = datagrams.iter().map(|datagram| rig.open(reader.address, datagram)).collect();
    for (request, open) in (1..).zip(open) {
        let taken = rig.answer(open);
        assert_eq!(taken.outcome, Outcome::Reply(taken.reply.len()));
        assert!(taken.effects.len() == 1 && is_decided(&taken.effects[0]));
        let plaintext = reader.open(&taken.reply);
        assert_eq!(answered(&plaintext).iter().map(|answer| answer.request).collect::<Vec<_>>(), [request]);
    }
}

#[test]
fn second_of_the_same_datagram_in_a_batch_is_replayed() {
    let (mut rig, mut reader) = connected();
    let datagram = reader.seal(&[ask_of(1)]);
    let (first, second) = (rig.open(reader.address, &datagram), rig.open(reader.address, &datagram));
    assert_eq!(second.over(), Some(Outcome::Dropped(DropReason::Replayed)));
    assert!(matches!(rig.answer(first).outcome, Outcome::Reply(_)));
}

#[test]
fn ask_repeated_in_a_batch_gets_the_same_answer_and_counts_once() {
    let (mut rig, mut reader) = connected();
    let datagrams = [reader.seal(&[ask_of(1)]), reader.seal(&[ask_of(1)])];
    let [first, second] = datagrams.map(|datagram| rig.open(reader.address, &datagram));
    let (first, second) = (rig.answer(first), rig.answer(second));
    assert_eq!(reader.open(&first.reply), reader.open(&second.reply));
    assert!(is_decided(&first.effects[0]));
    assert_eq!(second.effects, [Effect::AskRepeated { reader: reader.id }]);
}

#[test]
fn later_datagram_of_a_batch_proves_the_new_address() {
    let (mut rig, mut reader) = connected();
    let (here, there) = (reader.address, SocketAddr::from(([127, 0, 0, 2], 9)));
    let datagrams = [reader.seal(&[ask_of(1)]), reader.seal(&[ask_of(2)])];
    let (first, second) = (rig.open(here, &datagrams[0]), rig.open(there, &datagrams[1]));
    assert_eq!(rig.answer(first), dropped(DropReason::AddressLeft));
    assert!(matches!(rig.answer(second).outcome, Outcome::Reply(_)));
    // And in the other order the overtaken one proves nothing.
    let datagrams = [reader.seal(&[ask_of(3)]), reader.seal(&[ask_of(4)])];
    let (second, first) = (rig.open(there, &datagrams[1]), rig.open(here, &datagrams[0]));
    assert_eq!(first.over(), Some(Outcome::Dropped(DropReason::AddressLeft)));
    assert!(matches!(rig.answer(second).outcome, Outcome::Reply(_)));
}

#[test]
fn datagram_opened_before_its_session_was_replaced_is_answered_in_the_new_one() {
    let (mut rig, mut reader) = connected();
    let before = reader.seal(&[PING]);
    rig.shake_hands(&mut reader);
    let first_of_the_new = reader.seal(&[]);
    let (before, first_of_the_new) = (rig.open(reader.address, &before), rig.open(reader.address, &first_of_the_new));
    let taken = rig.answer(before);
    assert_eq!(reader.open(&taken.reply), laid_out(&[Message::Pong(Pong { token: 77 })]));
    let taken = rig.answer(first_of_the_new);
    assert_eq!(taken.outcome, Outcome::Silent);
    assert_eq!(taken.effects, [Effect::SessionOpened { reader: reader.id, address: reader.address, firmware: 7 }]);
}

#[test]
fn datagram_opened_before_a_session_of_another_boot_was_taken_into_use_is_dropped() {
    let (mut rig, mut reader) = connected();
    let before = reader.seal(&[ask_of(1)]);
    reader.restart();
    rig.shake_hands(&mut reader);
    let first_of_the_new = reader.seal(&[]);
    let before = rig.open(reader.address, &before);
    rig.open(reader.address, &first_of_the_new);
    assert_eq!(rig.answer(before), dropped(DropReason::UnknownSession));
}

#[test]
fn datagram_is_dropped_when_its_session_has_been_replaced_twice_or_its_time_is_over() {
    let (mut rig, mut reader) = connected();
    let before = reader.seal(&[ask_of(1)]);
    let before = rig.open(reader.address, &before);
    rig.connect(&mut reader);
    rig.connect(&mut reader);
    assert_eq!(rig.answer(before), dropped(DropReason::UnknownSession));
    let before = reader.seal(&[ask_of(1)]);
    let before = rig.open(reader.address, &before);
    rig.connect(&mut reader);
    rig.pass(OLD_SESSION_LIFE);
    assert_eq!(rig.answer(before), dropped(DropReason::UnknownSession));
}

#[test]
fn first_datagram_of_a_session_in_a_batch_takes_it_into_use_for_those_that_follow() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(101));
    rig.shake_hands(&mut reader);
    let datagrams = [reader.seal(&[ask_of(1)]), reader.seal(&[ask_of(2)])];
    let open = datagrams.map(|datagram| rig.open(reader.address, &datagram));
    let [first, second] = open.map(|open| rig.answer(open));
    assert!(matches!(first.effects[..], [Effect::SessionOpened { .. }, Effect::Decided(_)]));
    assert!(matches!(second.effects[..], [Effect::Decided(_)]));
}

#[test]
fn datagram_of_a_reader_that_was_revoked_or_rekeyed_meanwhile_is_dropped() {
    for table in [keys(2, &[(102, 1), (103, 1)]), keys(2, &[(101, 2), (102, 1), (103, 1)])] {
        let (mut rig, mut reader) = connected();
        let before = reader.seal(&[ask_of(1)]);
        let before = rig.open(reader.address, &before);
        rig.keys = table;
        rig.worker.follow(&rig.keys);
        assert_eq!(rig.answer(before), dropped(DropReason::UnknownSession));
    }
}

/// Whose place is given to another reader, with a session at the same address.
#[test]
fn nobody_is_answered_what_the_former_reader_of_its_place_has_asked() {
    let (mut rig, mut former) = connected();
    let before = former.seal(&[ask_of(1)]);
    let before = rig.open(former.address, &before);
    rig.keys = keys(2, &[(102, 1), (103, 1)]);
    rig.worker.follow(&rig.keys);
    rig.keys = keys(3, &[(102, 1), (103, 1), (109, 1)]);
    let mut latter = TestReader::with_key(109, psk(109, 1));
    latter.address = former.address;
    rig.connect(&mut latter);
    assert_eq!(latter.link().id.0 >> 6 & 0xfff, former.link().id.0 >> 6 & 0xfff, "the same place");
    assert_eq!(rig.answer(before), dropped(DropReason::UnknownSession));
}

#[test]
fn initiation_waits_for_the_rest_of_its_batch() {
    let (mut rig, mut reader) = connected();
    rig.pass(Duration::from_millis(100));
    let (initiator, initiation) = reader.initiate();
    let datagram = reader.seal(&[ask_of(1)]);
    let (initiation, datagram) = (rig.open(reader.address, &initiation), rig.open(reader.address, &datagram));
    assert_eq!(initiation.over(), None);
    let taken = rig.answer(datagram);
    assert_eq!(answered(&reader.open(&taken.reply)).len(), 1);
    let taken = rig.answer(initiation);
    reader.finish(&initiator, &taken.reply);
    assert_eq!(rig.take(reader.address, &reader.link.as_mut().unwrap().seal(&[])), Outcome::Silent);
}

#[test]
fn initiation_of_a_reader_without_a_key_is_over_before_its_tag_is_looked_at() {
    let (mut rig, mut stranger) = (Rig::new(), TestReader::new(200));
    let (_, initiation) = stranger.initiate();
    let open = rig.open(stranger.address, &initiation);
    assert_eq!(open.over(), Some(Outcome::Dropped(DropReason::HandshakeUnknownReader)));
}
