//! Messages and their replies.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::rig::{Rig, TestReader, keys, laid_out, psk, view};
use common::{GENERATION, ask, uid};
use kalitka_core::limits::EFFECTS_MAX;
use kalitka_core::{Decided, DropReason, Effect, Follows, Line, Outcome};
use kalitka_protocol::credential::Credential;
use kalitka_protocol::limits::{DATAGRAM_MAX, TEXT_MAX};
use kalitka_protocol::message::{
    Answer, Ask, Command, CommandResult, Done, ListAsk, ListEntries, ListKind, ListPage, ListStatus, Message, Messages,
    Order, Ping, Pong, Receipt, Report,
};
use kalitka_protocol::reason::{Denial, Direction, Grant, Tone, Verdict};
use kalitka_protocol::{LogId, ReaderId};

const ENTRY: Direction = Direction::Entry;

fn connected() -> (Rig, TestReader) {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(101));
    rig.connect(&mut reader);
    (rig, reader)
}

/// Sends `messages` and gives the reply's plaintext.
fn exchange(rig: &mut Rig, reader: &mut TestReader, messages: &[Message<'_>]) -> Vec<u8> {
    let datagram = reader.seal(messages);
    let reply = rig.reply(reader.address, &datagram);
    reader.open(&reply)
}

fn answers(plaintext: &[u8]) -> Vec<Answer<'_>> {
    Messages::new(plaintext)
        .map(|message| match message {
            Ok(Message::Answer(answer)) => answer,
            other => panic!("{other:?}"),
        })
        .collect()
}

fn requests(plaintext: &[u8]) -> Vec<u32> {
    answers(plaintext).iter().map(|answer| answer.request).collect()
}

fn report(number: u64) -> Report {
    Report { log: LogId(5), direction: Some(ENTRY), oldest: number == 1, ..common::report(number) }
}

#[test]
fn denial_says_why_and_holds_nothing_open() {
    let (mut rig, mut reader) = connected();
    let reply = exchange(&mut rig, &mut reader, &[Message::Ask(ask(1, 3, ENTRY))]);
    let expected = Answer {
        request: 1,
        generation: GENERATION,
        hold_open_ms: 0,
        verdict: Verdict::Deny(Denial::NoAccess),
        tone: Tone::Refused,
        text: "Проход запрещён",
    };
    assert_eq!(answers(&reply), [expected]);
}

#[test]
fn decision_is_told_with_the_identity_of_its_ask() {
    let (mut rig, mut reader) = connected();
    exchange(&mut rig, &mut reader, &[Message::Ask(Ask { age_ms: 1234, ..ask(9, 1, Direction::Exit) })]);
    let [Effect::Decided(Decided { reader: asked, boot, request, direction, age_ms, decision })] = rig.effects()[..]
    else {
        panic!("{:?}", rig.effects())
    };
    assert_eq!((asked, boot, request, direction), (ReaderId(101), reader.boot, 9, Direction::Exit));
    assert_eq!((decision.verdict, decision.holder, age_ms), (Verdict::Grant(Grant::AccessLevel), Some(1), 1234));
    assert_eq!(decision.credential, Credential::from_uid(&uid(1)));
}

#[test]
fn repeated_ask_gets_the_same_bytes_and_is_decided_once() {
    let (mut rig, mut reader) = connected();
    let message = Message::Ask(ask(1, 1, ENTRY));
    let first = exchange(&mut rig, &mut reader, std::slice::from_ref(&message));
    for _ in 0..3 {
        assert_eq!(exchange(&mut rig, &mut reader, std::slice::from_ref(&message)), first);
        assert_eq!(rig.effects(), [Effect::AskRepeated { reader: ReaderId(101) }]);
    }
}

#[test]
fn repeated_ask_gets_the_same_bytes_in_a_new_session_and_under_a_new_snapshot() {
    let (mut rig, mut reader) = connected();
    let message = Message::Ask(ask(1, 1, ENTRY));
    let first = exchange(&mut rig, &mut reader, std::slice::from_ref(&message));
    rig.view = Some(view(GENERATION + 1));
    rig.connect(&mut reader);
    assert_eq!(exchange(&mut rig, &mut reader, std::slice::from_ref(&message)), first);
    let other = exchange(&mut rig, &mut reader, &[Message::Ask(ask(2, 1, ENTRY))]);
    assert_eq!(answers(&other)[0].generation, GENERATION + 1);
    rig.view = None;
    assert_eq!(exchange(&mut rig, &mut reader, std::slice::from_ref(&message)), first);
}

#[test]
fn answer_given_under_a_former_key_is_not_given_again() {
    let (mut rig, mut reader) = connected();
    let message = Message::Ask(ask(1, 1, ENTRY));
    exchange(&mut rig, &mut reader, std::slice::from_ref(&message));
    rig.keys = keys(2, &[(101, 2)]);
    let boot = reader.boot;
    let mut reader = TestReader::with_key(101, psk(101, 2));
    reader.boot = boot;
    rig.connect(&mut reader);
    exchange(&mut rig, &mut reader, &[message]);
    assert!(matches!(rig.effects()[..], [Effect::Decided(_)]));
}

#[test]
fn same_request_of_another_boot_is_another_ask() {
    let (mut rig, mut reader) = connected();
    exchange(&mut rig, &mut reader, &[Message::Ask(ask(1, 1, ENTRY))]);
    reader.restart();
    rig.connect(&mut reader);
    let reply = exchange(&mut rig, &mut reader, &[Message::Ask(ask(1, 3, ENTRY))]);
    assert_eq!(answers(&reply)[0].verdict, Verdict::Deny(Denial::NoAccess));
}

// An answer names no boot: were this ask answered, the person now at the reader would pass on another's card.
#[test]
fn ask_held_back_from_the_boot_before_is_not_answered_in_the_next() {
    let (mut rig, mut reader) = connected();
    let held_back = reader.seal(&[Message::Ask(ask(1, 1, ENTRY))]);
    reader.restart();
    rig.connect(&mut reader);
    assert_eq!(rig.take(reader.address, &held_back), Outcome::Dropped(DropReason::UnknownSession));
    assert_eq!(rig.effects(), []);
}

#[test]
fn same_request_about_another_card_or_direction_is_decided_for_itself() {
    let (mut rig, mut reader) = connected();
    let granted = exchange(&mut rig, &mut reader, &[Message::Ask(ask(1, 1, ENTRY))]);
    let other = exchange(&mut rig, &mut reader, &[Message::Ask(ask(1, 3, ENTRY))]);
    assert_eq!(answers(&other)[0].verdict, Verdict::Deny(Denial::NoAccess));
    exchange(&mut rig, &mut reader, &[Message::Ask(ask(1, 1, Direction::Exit))]);
    assert!(matches!(rig.effects()[..], [Effect::Decided(Decided { direction: Direction::Exit, .. })]));
    assert_eq!(exchange(&mut rig, &mut reader, &[Message::Ask(ask(1, 1, ENTRY))]), granted);
}

#[test]
fn same_request_of_another_reader_is_another_ask() {
    let (mut rig, mut reader) = connected();
    let mut other = TestReader::new(102);
    other.boot = reader.boot;
    rig.connect(&mut other);
    exchange(&mut rig, &mut reader, &[Message::Ask(ask(1, 1, ENTRY))]);
    exchange(&mut rig, &mut other, &[Message::Ask(ask(1, 1, ENTRY))]);
    assert!(matches!(rig.effects()[..], [Effect::Decided(_)]));
}

#[test]
fn the_64_last_asks_are_remembered_and_no_more() {
    let (mut rig, mut reader) = connected();
    for request in 1..=65 {
        exchange(&mut rig, &mut reader, &[Message::Ask(ask(request, 1, ENTRY))]);
    }
    exchange(&mut rig, &mut reader, &[Message::Ask(ask(2, 1, ENTRY))]);
    assert!(matches!(rig.effects()[..], [Effect::AskRepeated { .. }]));
    exchange(&mut rig, &mut reader, &[Message::Ask(ask(1, 1, ENTRY))]);
    assert!(matches!(rig.effects()[..], [Effect::Decided(_)]));
}

#[test]
fn messages_of_one_datagram_are_answered_in_one_in_their_order() {
    let (mut rig, mut reader) = connected();
    let messages = [
        Message::Ask(ask(1, 1, ENTRY)),
        Message::Ping(Ping { token: 5, reports_waiting: 1, falling_back: false }),
        Message::Report(report(1)),
        Message::Ask(ask(1, 1, ENTRY)),
    ];
    let reply = exchange(&mut rig, &mut reader, &messages);
    let replies: Vec<_> = Messages::new(&reply).map(Result::unwrap).collect();
    assert!(matches!(replies[..], [Message::Answer(_), Message::Pong(Pong { token: 5 }), Message::Answer(_)]));
    assert_eq!(replies[0], replies[2]);
    let reader = ReaderId(101);
    let effects = &rig.effects()[1..];
    assert_eq!(
        effects,
        [Effect::Reported { reader, report: report(1), follows: Follows::Nothing }, Effect::AskRepeated { reader }]
    );
}

#[test]
fn answers_without_room_are_left_out_and_given_to_the_repeated_ask() {
    let (mut rig, mut reader) = connected();
    rig.texts.set(Line::Granted, &"x".repeat(TEXT_MAX)).unwrap();
    let asks: Vec<_> = (1..=32).map(|request| Message::Ask(ask(request, 1, ENTRY))).collect();
    let reply = exchange(&mut rig, &mut reader, &asks);
    assert!(rig.out.datagram().len() <= DATAGRAM_MAX);
    let answered = requests(&reply);
    assert_eq!(answered, (1..=13).collect::<Vec<u32>>());
    assert_eq!(rig.effects().last(), Some(&Effect::NoRoom { replies: 19 }));
    assert_eq!(rig.effects().len(), 32 + 1);
    let reply = exchange(&mut rig, &mut reader, &asks[13..26]);
    assert_eq!(requests(&reply), (14..=26).collect::<Vec<u32>>());
    assert_eq!(rig.effects(), [Effect::AskRepeated { reader: ReaderId(101) }; 13]);
}

#[test]
fn most_effects_that_a_datagram_can_have_fit() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(101));
    rig.shake_hands(&mut reader);
    rig.texts.set(Line::Granted, &"x".repeat(TEXT_MAX)).unwrap();
    let asks: Vec<_> = (1..=31).map(|request| Message::Ask(ask(request, 1, ENTRY))).collect();
    let unknown = [0x7f, 0, 0, 0];
    let datagram = reader.link().seal_bytes(&[&laid_out(&asks)[..], &unknown].concat());
    rig.reply(reader.address, &datagram);
    assert_eq!(rig.effects().len(), 1 + 31 + 2);
    assert!(rig.effects().len() <= EFFECTS_MAX);
}

#[test]
fn reports_are_told_whole_in_their_order_and_get_no_receipt_by_themselves() {
    let (mut rig, mut reader) = connected();
    let reports = [report(1), Report { request: 9, card: Some(ask(1, 1, ENTRY).card), ..report(2) }, report(7)];
    let datagram = reader.seal(&reports.map(Message::Report));
    assert_eq!(rig.take(reader.address, &datagram), Outcome::Silent);
    let follows = |request| if request == 0 { Follows::Nothing } else { Follows::Forgotten };
    let told =
        reports.map(|report| Effect::Reported { reader: ReaderId(101), report, follows: follows(report.request) });
    assert_eq!(rig.effects(), told);
}

// SPEC 7.7: a pass is linked to the ask that it says it follows.
#[test]
fn report_is_told_with_what_became_of_its_ask() {
    let (mut rig, mut reader) = connected();
    let (granted, denied) = (ask(1, 1, ENTRY), ask(2, 9999, ENTRY));
    for asked in [granted, denied] {
        let datagram = reader.seal(&[Message::Ask(asked)]);
        rig.reply(reader.address, &datagram);
    }
    let boot = reader.boot;
    let reports = [(1, 0), (2, 1), (3, 2), (4, 3)].map(|(number, request)| Report { request, boot, ..report(number) });
    let datagram = reader.seal(&reports.map(Message::Report));
    assert_eq!(rig.take(reader.address, &datagram), Outcome::Silent);
    let follows: Vec<_> = rig
        .effects()
        .iter()
        .filter_map(|effect| match effect {
            Effect::Reported { follows, .. } => Some(*follows),
            _ => None,
        })
        .collect();
    assert_eq!(follows, [Follows::Nothing, Follows::Granted, Follows::Denied, Follows::Forgotten]);
}

#[test]
fn done_of_no_command_under_way_is_told_and_not_answered() {
    let (mut rig, mut reader) = connected();
    let datagram = reader.seal(&[Message::Done(Done { id: 3, result: CommandResult::NotSupported })]);
    assert_eq!(rig.take(reader.address, &datagram), Outcome::Silent);
    let expected = Effect::DoneReceived { reader: ReaderId(101), id: 3, result: CommandResult::NotSupported };
    assert_eq!(rig.effects(), [expected]);
}

#[test]
fn list_is_not_available() {
    let (mut rig, mut reader) = connected();
    let card = ask(0, 1, ENTRY).card;
    let asked = Message::ListAsk(ListAsk { request: 4, page: 2, list: ListKind::Children, card });
    let reply = exchange(&mut rig, &mut reader, &[asked]);
    let (status, entries) = (ListStatus::NotAvailable, ListEntries::NONE);
    let page = Message::ListPage(ListPage { request: 4, page: 2, pages: 0, status, entries });
    assert_eq!(reply, laid_out(&[page]));
    assert_eq!(rig.effects(), []);
}

#[test]
fn a_malformed_message_takes_its_whole_datagram_with_it() {
    let (mut rig, mut reader) = connected();
    let whole = laid_out(&[Message::Ask(ask(1, 1, ENTRY)), Message::Ask(ask(2, 1, ENTRY))]);
    for cut in 1..whole.len() {
        let datagram = reader.link().seal_bytes(&whole[..cut]);
        let outcome = rig.take(reader.address, &datagram);
        if cut == whole.len() / 2 {
            assert!(matches!(outcome, Outcome::Reply(_)), "one whole message");
        } else {
            let dropped = Outcome::Dropped(DropReason::MalformedMessage);
            assert_eq!((outcome, rig.effects()), (dropped, vec![]), "cut at {cut}");
        }
    }
}

#[test]
fn a_gateways_own_message_is_dropped_with_its_datagram() {
    let (mut rig, mut reader) = connected();
    let command = Command { id: 1, seen: 0, order: Order::Play(Tone::Welcome) };
    let receipt = Receipt { log: LogId(1), number: 1 };
    let pong = Message::Pong(Pong { token: 1 });
    for message in [Message::Command(command), Message::Receipt(receipt), pong, Message::Leave] {
        let datagram = reader.seal(&[Message::Ask(ask(1, 1, ENTRY)), message]);
        let outcome = rig.take(reader.address, &datagram);
        assert_eq!((outcome, rig.effects()), (Outcome::Dropped(DropReason::WrongDirectionMessage), vec![]));
    }
}

#[test]
fn messages_of_unknown_kinds_are_skipped_and_counted() {
    let (mut rig, mut reader) = connected();
    let unknown = [0x33, 0, 2, 0, 0xaa, 0xbb];
    let known = laid_out(&[Message::Ask(ask(1, 1, ENTRY))]);
    let datagram = reader.link().seal_bytes(&[&unknown[..], &known, &unknown].concat());
    let reply = rig.reply(reader.address, &datagram);
    assert_eq!(requests(&reader.open(&reply)), [1]);
    assert_eq!(rig.effects().last(), Some(&Effect::Skipped { messages: 2 }));
    let reply = exchange(&mut rig, &mut reader, &[Message::Ask(ask(2, 1, ENTRY))]);
    assert_eq!(requests(&reply), [2]);
    assert!(matches!(rig.effects()[..], [Effect::Decided(_)]));
}

#[test]
fn without_a_snapshot_every_ask_is_denied() {
    let (mut rig, mut reader) = connected();
    rig.view = None;
    let reply = exchange(&mut rig, &mut reader, &[Message::Ask(ask(1, 1, ENTRY))]);
    let answer = answers(&reply)[0];
    assert_eq!((answer.verdict, answer.generation), (Verdict::Deny(Denial::NoSnapshot), 0));
}
