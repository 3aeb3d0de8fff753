//! Handshakes, sessions and their ends.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::rig::{Rig, TestReader, keys, laid_out, psk};
use common::{GENERATION, ask};
use kalitka_core::{DropReason, Effect, Entropy, Outcome, Worker};
use kalitka_protocol::datagram::{NOISE_LEN, PAYLOAD_LEN, emit_initiation};
use kalitka_protocol::handshake::{NOISE_NAME, Welcome, prologue};
use kalitka_protocol::limits::{DATAGRAM_MAX, HANDSHAKE_LEN, OLD_SESSION_LIFE, SESSION_AGE_MAX, SESSION_DATAGRAMS_MAX};
use kalitka_protocol::message::{Answer, Message, Messages, Ping, Pong};
use kalitka_protocol::reason::{Direction, FallBack, Grant, Tone, Verdict};
use kalitka_protocol::{ReaderId, Stamp};

const PING: Message<'static> = Message::Ping(Ping { token: 77, reports_waiting: 0, falling_back: false });

fn pong() -> Vec<u8> {
    laid_out(&[Message::Pong(Pong { token: 77 })])
}

fn elsewhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 2], 9))
}

fn dropped(reason: DropReason) -> Outcome {
    Outcome::Dropped(reason)
}

#[test]
fn handshake_gives_a_session_in_which_an_ask_is_answered() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(101));
    let welcome = rig.shake_hands(&mut reader);
    assert_eq!(rig.effects(), [Effect::StampTaken { reader: ReaderId(101), stamp: Stamp::new(1, 0) }]);
    assert_eq!((welcome.fall_back_after_ms, welcome.fall_back), (1000, FallBack::ExitFree));
    let datagram = reader.seal(&[Message::Ask(ask(1, 1, Direction::Entry))]);
    let reply = rig.reply(reader.address, &datagram);
    let opened = Effect::SessionOpened { reader: ReaderId(101), address: reader.address, firmware: 7 };
    assert_eq!(rig.effects()[0], opened);
    let plaintext = reader.open(&reply);
    let messages: Vec<_> = Messages::new(&plaintext).map(Result::unwrap).collect();
    let answer = Answer {
        request: 1,
        generation: GENERATION,
        hold_open_ms: 5000,
        verdict: Verdict::Grant(Grant::AccessLevel),
        tone: Tone::Welcome,
        text: "Проходите",
    };
    assert_eq!(messages, [Message::Answer(answer)]);
}

#[test]
fn response_is_no_longer_than_the_initiation() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(101));
    let (_, initiation) = reader.initiate();
    assert_eq!(rig.take(reader.address, &initiation), Outcome::Reply(initiation.len()));
    assert_eq!(initiation.len(), HANDSHAKE_LEN);
}

#[test]
fn without_a_snapshot_the_welcome_says_closed() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(101));
    rig.view = None;
    assert_eq!(rig.shake_hands(&mut reader).fall_back, FallBack::Closed);
}

#[test]
fn reader_that_the_snapshot_does_not_have_is_told_closed() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(200));
    rig.keys = keys(2, &[(200, 1)]);
    assert_eq!(rig.shake_hands(&mut reader).fall_back, FallBack::Closed);
}

/// Chance that is always the same.
struct Constant;

impl Entropy for Constant {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill(0xa5);
    }
}

#[test]
fn living_sessions_of_a_reader_have_numbers_of_their_own() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(101));
    rig.worker = Worker::new(0, 1, [], Box::new(Constant));
    rig.connect(&mut reader);
    let old = reader.link().id;
    rig.connect(&mut reader);
    let current = reader.link().id;
    let pending = rig.shake_hands(&mut reader).session;
    assert!(old != current && current != pending && pending != old);
}

#[test]
fn initiation_of_a_reader_without_a_key_is_dropped() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(999));
    let (_, initiation) = reader.initiate();
    assert_eq!(rig.take(reader.address, &initiation), dropped(DropReason::HandshakeUnknownReader));
}

#[test]
fn initiation_under_another_key_is_forged() {
    let (mut rig, mut thief) = (Rig::new(), TestReader::with_key(101, psk(101, 9)));
    let (_, initiation) = thief.initiate();
    assert_eq!(rig.take(thief.address, &initiation), dropped(DropReason::HandshakeForged));
    assert_eq!(rig.effects(), []);
}

#[test]
fn noise_that_does_not_open_under_a_true_tag_is_dropped_and_its_stamp_used_up() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(101));
    let (_, initiation) = reader.initiate();
    let mut initiation: [u8; HANDSHAKE_LEN] = initiation.try_into().unwrap();
    initiation[50] ^= 1;
    reader.tags.tag_initiation(&mut initiation);
    assert_eq!(rig.take(reader.address, &initiation), dropped(DropReason::HandshakeForged));
    assert_eq!(rig.take(reader.address, &initiation), dropped(DropReason::HandshakeStampRepeated));
}

#[test]
fn authentic_initiation_that_says_what_is_not_allowed_is_malformed() {
    let (mut rig, reader) = (Rig::new(), TestReader::new(101));
    let prologue = prologue(reader.id);
    let builder = snow::Builder::new(NOISE_NAME.parse().unwrap()).prologue(&prologue).unwrap();
    let mut state = builder.psk(0, reader.psk.as_bytes()).unwrap().build_initiator().unwrap();
    let mut noise = [0; NOISE_LEN];
    // The last four bytes of a hello are reserved.
    assert_eq!(state.write_message(&[1; PAYLOAD_LEN], &mut noise).unwrap(), NOISE_LEN);
    let mut initiation = emit_initiation(reader.id, reader.stamp, &noise);
    reader.tags.tag_initiation(&mut initiation);
    assert_eq!(rig.take(reader.address, &initiation), dropped(DropReason::HandshakeMalformed));
}

#[test]
fn repeated_initiation_is_dropped() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(101));
    let (_, initiation) = reader.initiate();
    rig.reply(reader.address, &initiation);
    rig.pass(Duration::from_secs(60));
    assert_eq!(rig.take(reader.address, &initiation), dropped(DropReason::HandshakeStampRepeated));
}

#[test]
fn second_initiation_within_100_ms_is_too_soon_and_loses_no_stamp() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(101));
    let (_, first) = reader.initiate();
    let (initiator, second) = reader.initiate();
    rig.reply(reader.address, &first);
    rig.pass(Duration::from_millis(99));
    assert_eq!(rig.take(reader.address, &second), dropped(DropReason::HandshakeTooSoon));
    rig.pass(Duration::from_millis(1));
    let response = rig.reply(reader.address, &second);
    reader.finish(&initiator, &response);
}

#[test]
fn readers_do_not_slow_each_other() {
    let mut rig = Rig::new();
    for id in [101, 102, 103] {
        let mut reader = TestReader::new(id);
        let (_, initiation) = reader.initiate();
        rig.reply(reader.address, &initiation);
    }
}

#[test]
fn highest_stamp_outlives_a_restart_of_the_gateway() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(101));
    let (_, before) = reader.initiate();
    rig.reply(reader.address, &before);
    let [Effect::StampTaken { stamp, .. }] = rig.effects()[..] else { unreachable!("one effect") };
    let mut restarted = Rig::with_stamps(&[(101, stamp)]);
    assert_eq!(restarted.take(reader.address, &before), dropped(DropReason::HandshakeStampRepeated));
    restarted.connect(&mut reader);
}

#[test]
fn kept_stamp_of_a_reader_without_a_key_says_nothing_of_the_key_that_it_gets() {
    let (mut rig, mut reader) = (Rig::with_stamps(&[(200, Stamp::new(9, 0))]), TestReader::new(200));
    rig.take(reader.address, &[]);
    rig.keys = keys(2, &[(200, 1)]);
    rig.connect(&mut reader);
}

#[test]
fn response_to_the_gateway_is_dropped() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(101));
    let (_, initiation) = reader.initiate();
    let response = rig.reply(reader.address, &initiation);
    assert_eq!(rig.take(reader.address, &response), dropped(DropReason::NotForGateway));
}

#[test]
fn pending_session_leaves_the_current_one_alone_until_it_is_used() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(101));
    rig.connect(&mut reader);
    let mut first = reader.link.take().unwrap();
    rig.shake_hands(&mut reader);
    rig.pass(OLD_SESSION_LIFE * 2);
    let reply = rig.reply(reader.address, &first.seal(&[PING]));
    assert_eq!(first.open(&reply), Some(pong()));
    assert_eq!(rig.effects(), []);
    // The first datagram of the second session replaces the first.
    let used = reader.seal(&[PING]);
    let reply = rig.reply(reader.address, &used);
    assert_eq!(reader.open(&reply), pong());
    assert!(matches!(rig.effects()[..], [Effect::SessionOpened { .. }]));
}

#[test]
fn pending_session_is_not_used_by_a_forgery() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(101));
    rig.connect(&mut reader);
    let mut first = reader.link.take().unwrap();
    rig.shake_hands(&mut reader);
    let mut forged = reader.seal(&[PING]);
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(rig.take(reader.address, &forged), dropped(DropReason::Forged));
    rig.pass(OLD_SESSION_LIFE * 2);
    let reply = rig.reply(reader.address, &first.seal(&[PING]));
    assert_eq!(first.open(&reply), Some(pong()));
}

#[test]
fn old_session_is_opened_for_10_s_and_answered_in_the_new_one() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(101));
    rig.connect(&mut reader);
    let mut old = reader.link.take().unwrap();
    rig.connect(&mut reader);
    rig.pass(OLD_SESSION_LIFE - Duration::from_millis(1));
    let reply = rig.reply(reader.address, &old.seal(&[PING]));
    assert_eq!(old.open(&reply), None);
    assert_eq!(reader.open(&reply), pong());
    rig.pass(Duration::from_millis(1));
    assert_eq!(rig.take(reader.address, &old.seal(&[PING])), dropped(DropReason::UnknownSession));
}

#[test]
fn number_that_no_session_of_the_reader_has_is_unknown_whichever_it_has() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(101));
    let assert_unknown = |rig: &mut Rig, reader: &mut TestReader| {
        // Of the same place at the same worker: the random bits alone tell it from its neighbour.
        let mut datagram = reader.seal(&[PING]);
        datagram[7] ^= 0x80;
        assert_eq!(rig.take(reader.address, &datagram), dropped(DropReason::UnknownSession));
    };
    rig.shake_hands(&mut reader);
    assert_unknown(&mut rig, &mut reader);
    rig.connect(&mut reader);
    assert_unknown(&mut rig, &mut reader);
    rig.connect(&mut reader);
    assert_unknown(&mut rig, &mut reader);
    rig.pass(OLD_SESSION_LIFE);
    rig.shake_hands(&mut reader);
    assert_unknown(&mut rig, &mut reader);
}

#[test]
fn replayed_counter_is_dropped() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(101));
    rig.connect(&mut reader);
    let datagram = reader.seal(&[PING]);
    rig.reply(reader.address, &datagram);
    for from in [reader.address, elsewhere()] {
        assert_eq!(rig.take(from, &datagram), dropped(DropReason::Replayed));
    }
}

#[test]
fn counter_behind_the_window_is_too_old() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(101));
    rig.connect(&mut reader);
    let late = [reader.seal(&[PING]), reader.seal(&[PING])];
    reader.link().counter = 1 + 1024;
    let far = reader.seal(&[PING]);
    rig.reply(reader.address, &far);
    assert_eq!(rig.take(reader.address, &late[0]), dropped(DropReason::TooOld));
    rig.reply(reader.address, &late[1]);
}

#[test]
fn a_forged_datagram_marks_no_counter_and_moves_no_address() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(101));
    rig.connect(&mut reader);
    let before: Vec<_> = rig.worker.status().collect();
    let datagram = reader.seal(&[PING]);
    let mut forged = datagram.clone();
    forged[20] ^= 1;
    assert_eq!(rig.take(elsewhere(), &forged), dropped(DropReason::Forged));
    // A counter far ahead, which would push the window away if it were believed.
    let mut ahead = datagram.clone();
    ahead[11] = 0xff;
    assert_eq!(rig.take(elsewhere(), &ahead), dropped(DropReason::Forged));
    assert_eq!(rig.worker.status().collect::<Vec<_>>(), before);
    rig.reply(reader.address, &datagram);
}

#[test]
fn address_moves_with_a_newer_datagram_and_an_overtaken_one_gets_no_reply() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(101));
    rig.connect(&mut reader);
    let [overtaken, newer] = [reader.seal(&[PING]), reader.seal(&[PING])];
    rig.reply(elsewhere(), &newer);
    assert_eq!(rig.worker.status().next().unwrap().address, elsewhere());
    assert_eq!(rig.take(reader.address, &overtaken), dropped(DropReason::AddressLeft));
    assert_eq!(rig.worker.status().next().unwrap().address, elsewhere());
}

#[test]
fn a_datagram_of_the_old_session_moves_no_address() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(101));
    rig.connect(&mut reader);
    let mut old = reader.link.take().unwrap();
    rig.connect(&mut reader);
    assert_eq!(rig.take(elsewhere(), &old.seal(&[PING])), dropped(DropReason::AddressLeft));
    assert_eq!(rig.worker.status().next().unwrap().address, reader.address);
}

#[test]
fn session_expires_by_age_and_by_count() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(101));
    rig.connect(&mut reader);
    reader.link().counter = SESSION_DATAGRAMS_MAX - 1;
    let [last, beyond] = [reader.seal(&[PING]), reader.seal(&[PING])];
    rig.reply(reader.address, &last);
    assert_eq!(rig.take(reader.address, &beyond), dropped(DropReason::SessionExpired));

    let (mut rig, mut reader) = (Rig::new(), TestReader::new(101));
    rig.connect(&mut reader);
    rig.pass(SESSION_AGE_MAX - Duration::from_millis(1));
    let datagram = reader.seal(&[PING]);
    rig.reply(reader.address, &datagram);
    rig.pass(Duration::from_millis(1));
    let datagram = reader.seal(&[Message::Ask(ask(1, 1, Direction::Entry))]);
    assert_eq!(rig.take(reader.address, &datagram), dropped(DropReason::SessionExpired));
    assert_eq!(rig.effects(), [], "it is not even opened");
    rig.pass(OLD_SESSION_LIFE);
    assert_eq!(rig.take(reader.address, &datagram), dropped(DropReason::UnknownSession));
    rig.connect(&mut reader);
}

#[test]
fn session_that_can_be_sealed_no_more_keeps_no_other_from_being_left() {
    let (mut rig, mut first, mut second) = (Rig::new(), TestReader::new(101), TestReader::new(102));
    rig.connect(&mut first);
    rig.pass(SESSION_AGE_MAX);
    rig.connect(&mut second);
    let Rig { worker, now, out, .. } = &mut rig;
    assert_eq!(worker.leave(now.monotonic, out), Some(second.address));
    assert_eq!(second.open(out.datagram()), laid_out(&[Message::Leave]));
    assert_eq!(worker.leave(now.monotonic, out), None);
}

#[test]
fn revoked_reader_is_gone_at_once() {
    let (mut rig, mut reader, mut other) = (Rig::new(), TestReader::new(101), TestReader::new(102));
    rig.connect(&mut reader);
    rig.connect(&mut other);
    rig.keys = keys(2, &[(102, 1), (103, 1)]);
    let datagram = reader.seal(&[PING]);
    assert_eq!(rig.take(reader.address, &datagram), dropped(DropReason::UnknownSession));
    let (_, initiation) = reader.initiate();
    assert_eq!(rig.take(reader.address, &initiation), dropped(DropReason::HandshakeUnknownReader));
    let datagram = other.seal(&[PING]);
    rig.reply(other.address, &datagram);
}

#[test]
fn rekeyed_reader_needs_its_new_key_and_may_begin_its_stamps_anew() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(101));
    reader.stamp = Stamp::new(9, 0);
    rig.connect(&mut reader);
    rig.keys = keys(2, &[(101, 2), (102, 1), (103, 1)]);
    rig.pass(Duration::from_secs(1));
    let datagram = reader.seal(&[PING]);
    assert_eq!(rig.take(reader.address, &datagram), dropped(DropReason::UnknownSession));
    let (_, initiation) = reader.initiate();
    assert_eq!(rig.take(reader.address, &initiation), dropped(DropReason::HandshakeForged));
    let mut replacement = TestReader::with_key(101, psk(101, 2));
    rig.connect(&mut replacement);
}

#[test]
fn a_new_table_with_the_same_key_keeps_the_session() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(101));
    rig.connect(&mut reader);
    rig.keys = keys(2, &[(101, 1), (200, 1)]);
    let datagram = reader.seal(&[PING]);
    rig.reply(reader.address, &datagram);
}

#[test]
fn a_place_that_is_free_again_is_given_to_another_reader() {
    let mut rig = Rig::new();
    for version in 2..40 {
        let id = 100 + u32::try_from(version).unwrap();
        rig.keys = keys(version, &[(id, 1)]);
        let mut reader = TestReader::new(id);
        let welcome: Welcome = rig.shake_hands(&mut reader);
        assert_eq!(welcome.session.0 >> 6 & 0xfff, 0, "one reader at a time needs one place");
    }
}

#[test]
fn oversized_and_foreign_datagrams_are_dropped_by_name() {
    let mut rig = Rig::new();
    let table: [(&[u8], DropReason); 7] = [
        (&[3; DATAGRAM_MAX + 1], DropReason::Oversized),
        (&[], DropReason::Malformed),
        (&[3, 1, 0, 0], DropReason::Malformed),
        (&[3, 2, 0, 0, 0, 0, 0, 0], DropReason::Version),
        (&[9, 1, 0, 0, 0, 0, 0, 0], DropReason::UnknownType),
        (&[3, 1, 0, 1, 0, 0, 0, 0], DropReason::Malformed),
        (&[1, 1, 0, 0, 0, 0, 0, 0], DropReason::Malformed),
    ];
    for (datagram, reason) in table {
        assert_eq!(rig.take(elsewhere(), datagram), dropped(reason), "{datagram:02x?}");
    }
    let mut longest = [0; DATAGRAM_MAX];
    longest[..2].copy_from_slice(&[3, 1]);
    assert_eq!(rig.take(elsewhere(), &longest), dropped(DropReason::UnknownSession), "not too long");
}
