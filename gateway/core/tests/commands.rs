//! What the worker sends by itself: receipts and commands.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::time::Duration;

use common::rig::{Rig, TestReader, keys, laid_out, psk};
use kalitka_core::limits::{COMMANDS_MAX, EFFECTS_MAX};
use kalitka_core::{CommandRefused, Effect, Output};
use kalitka_protocol::message::{Command, CommandResult, Done, Message, Messages, Order, Ping, Receipt};
use kalitka_protocol::reason::{Direction, FallBack, Tone};
use kalitka_protocol::upstream::CommandOutcome;
use kalitka_protocol::{LogId, ReaderId};

const READER: ReaderId = ReaderId(101);
const OPEN: Order = Order::Open { direction: Direction::Exit, hold_open_ms: 3000 };
const REPEAT: Duration = Duration::from_millis(250);
const MINUTE: Duration = Duration::from_secs(60);

fn connected() -> (Rig, TestReader) {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(READER.0));
    rig.connect(&mut reader);
    (rig, reader)
}

fn command(rig: &mut Rig, reader: ReaderId, id: u64, until: Duration) -> Result<(), CommandRefused> {
    let now = rig.now.monotonic;
    rig.worker.command(now, reader, id, OPEN, now + until)
}

/// The commands that the worker sends now, as `reader` opens them. Nothing else comes of it.
fn sent(rig: &mut Rig, reader: &mut TestReader) -> Vec<Command> {
    let (datagrams, effects) = rig.poll();
    assert_eq!(effects, []);
    let commands = datagrams.iter().map(|(address, datagram)| {
        assert_eq!(*address, reader.address);
        let plaintext = reader.open(datagram);
        let messages: Vec<_> = Messages::new(&plaintext).map(Result::unwrap).collect();
        match messages[..] {
            [Message::Command(command)] => command,
            ref other => panic!("{other:?}"),
        }
    });
    commands.collect()
}

fn done(rig: &mut Rig, reader: &mut TestReader, id: u64, result: CommandResult) -> Vec<Effect> {
    let datagram = reader.seal(&[Message::Done(Done { id, result })]);
    rig.take(reader.address, &datagram);
    rig.effects()
}

const fn ended(reader: ReaderId, id: u64, outcome: CommandOutcome) -> Effect {
    Effect::CommandEnded { reader, id, outcome }
}

// SPEC 7.4 a receipt goes out sealed, to where the reader is
#[test]
fn receipt_goes_to_where_the_reader_is_now() {
    let (mut rig, mut reader) = connected();
    reader.address.set_port(50_000);
    let moved = reader.seal(&[]);
    rig.take(reader.address, &moved);
    let Rig { worker, now, out, .. } = &mut rig;
    let address = worker.receipt(now.monotonic, READER, LogId(7), 12, out);
    assert_eq!(address, Some(reader.address));
    let plaintext = reader.open(rig.out.datagram());
    assert_eq!(plaintext, laid_out(&[Message::Receipt(Receipt { log: LogId(7), number: 12 })]));
    assert_eq!(rig.effects(), []);
}

#[test]
fn receipt_waits_for_the_repeat_when_there_is_no_session() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(READER.0));
    let receipt = |rig: &mut Rig, reader| {
        let Rig { worker, now, out, .. } = rig;
        worker.receipt(now.monotonic, reader, LogId(7), 12, out)
    };
    assert_eq!(receipt(&mut rig, READER), None);
    // Agreed on is not in use: the address is not proved.
    rig.shake_hands(&mut reader);
    assert_eq!(receipt(&mut rig, READER), None);
    let first = reader.seal(&[]);
    rig.take(reader.address, &first);
    assert!(receipt(&mut rig, READER).is_some());
    assert_eq!(receipt(&mut rig, ReaderId(999)), None);
    assert!(rig.out.datagram().is_empty());
    rig.pass(Duration::from_secs(24 * 3600));
    assert_eq!(receipt(&mut rig, READER), None);
}

// SPEC 8.1 repeated until done, one at a time
#[test]
fn command_is_repeated_until_it_is_done_and_the_next_one_follows() {
    let (mut rig, mut reader) = connected();
    assert_eq!(rig.worker.next_timeout(), None);
    command(&mut rig, READER, 5, MINUTE).unwrap();
    command(&mut rig, READER, 9, MINUTE).unwrap();
    assert_eq!(rig.worker.next_timeout(), Some(rig.now.monotonic));
    for _ in 0..3 {
        assert_eq!(sent(&mut rig, &mut reader), [Command { id: 5, seen: 0, order: OPEN }]);
        assert_eq!(rig.worker.next_timeout(), Some(rig.now.monotonic + REPEAT));
        rig.pass(REPEAT - Duration::from_millis(1));
        assert_eq!(sent(&mut rig, &mut reader), []);
        rig.pass(Duration::from_millis(1));
    }
    let effects = done(&mut rig, &mut reader, 5, CommandResult::Done);
    assert_eq!(effects, [ended(READER, 5, CommandOutcome::Done)]);
    assert_eq!(sent(&mut rig, &mut reader), [Command { id: 9, seen: 1, order: OPEN }]);
    let effects = done(&mut rig, &mut reader, 9, CommandResult::NotSupported);
    assert_eq!(effects, [ended(READER, 9, CommandOutcome::NotSupported)]);
    assert_eq!(rig.worker.next_timeout(), None);
    rig.pass(MINUTE);
    assert_eq!(sent(&mut rig, &mut reader), []);
}

#[test]
fn done_of_another_command_than_that_under_way_ends_nothing() {
    let (mut rig, mut reader) = connected();
    command(&mut rig, READER, 5, MINUTE).unwrap();
    command(&mut rig, READER, 9, MINUTE).unwrap();
    for id in [1, 4, 6, 9, u64::MAX] {
        let result = CommandResult::Done;
        let told = Effect::DoneReceived { reader: READER, id, result };
        assert_eq!(done(&mut rig, &mut reader, id, result), [told]);
    }
    assert_eq!(sent(&mut rig, &mut reader), [Command { id: 5, seen: 5, order: OPEN }]);
    assert_eq!(done(&mut rig, &mut reader, 5, CommandResult::Done).len(), 1);
    // Its repeat ends nothing either.
    let again = done(&mut rig, &mut reader, 5, CommandResult::Done);
    assert_eq!(again, [Effect::DoneReceived { reader: READER, id: 5, result: CommandResult::Done }]);
}

// SPEC 8.1 one given up is never sent again
#[test]
fn command_is_given_up_at_its_moment_sent_or_not() {
    let (mut rig, mut reader) = connected();
    let second = Duration::from_secs(1);
    command(&mut rig, READER, 1, second).unwrap();
    command(&mut rig, READER, 2, second).unwrap();
    command(&mut rig, READER, 3, 3 * second).unwrap();
    assert_eq!(sent(&mut rig, &mut reader).len(), 1);
    rig.pass(second - Duration::from_millis(1));
    assert_eq!(sent(&mut rig, &mut reader).len(), 1);
    assert_eq!(rig.worker.next_timeout(), Some(rig.now.monotonic + Duration::from_millis(1)));
    rig.pass(Duration::from_millis(1));
    let (datagrams, effects) = rig.poll();
    let given_up = |id| ended(READER, id, CommandOutcome::GivenUp);
    assert_eq!(effects, [given_up(1), given_up(2)]);
    let [(_, datagram)] = &datagrams[..] else { panic!("the third is sent at once") };
    assert_eq!(reader.open(datagram), laid_out(&[Message::Command(Command { id: 3, seen: 0, order: OPEN })]));
    // A late *done* does not end it a second time.
    let late = done(&mut rig, &mut reader, 1, CommandResult::Done);
    assert!(matches!(late[..], [Effect::DoneReceived { id: 1, .. }]));
}

#[test]
fn end_of_a_waiting_command_does_not_hurry_the_one_under_way() {
    let (mut rig, mut reader) = connected();
    command(&mut rig, READER, 1, MINUTE).unwrap();
    command(&mut rig, READER, 2, REPEAT / 2).unwrap();
    assert_eq!(sent(&mut rig, &mut reader).len(), 1);
    rig.pass(REPEAT / 2);
    assert_eq!(rig.poll(), (vec![], vec![ended(READER, 2, CommandOutcome::GivenUp)]));
    rig.pass(REPEAT / 2);
    assert_eq!(sent(&mut rig, &mut reader).len(), 1);
}

#[test]
fn command_without_a_session_waits_for_one_and_is_given_up_without() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(READER.0));
    rig.worker.follow(&rig.keys);
    command(&mut rig, READER, 5, MINUTE).unwrap();
    assert_eq!(rig.worker.next_timeout(), Some(rig.now.monotonic + MINUTE));
    rig.shake_hands(&mut reader);
    assert_eq!(sent(&mut rig, &mut reader), []);
    // Its first datagram is one that is not even taken; the session is in use all the same.
    let first = reader.link().seal_bytes(&[1]);
    rig.take(reader.address, &first);
    assert_eq!(sent(&mut rig, &mut reader), [Command { id: 5, seen: 0, order: OPEN }]);

    let other = ReaderId(102);
    command(&mut rig, other, 5, MINUTE).unwrap();
    rig.pass(MINUTE);
    let (_, effects) = rig.poll();
    assert!(effects.contains(&ended(other, 5, CommandOutcome::GivenUp)));
}

// SPEC 8.2 the highest counter of the session that was seen
#[test]
fn command_names_the_highest_counter_of_the_session_that_it_travels_in() {
    let (mut rig, mut reader) = connected();
    command(&mut rig, READER, 5, MINUTE).unwrap();
    reader.link().counter = 40;
    let overtaken = reader.seal(&[]);
    reader.link().counter = 77;
    let newest = reader.seal(&[Message::Ping(Ping { token: 1, reports_waiting: 0, falling_back: false })]);
    rig.take(reader.address, &newest);
    rig.take(reader.address, &overtaken);
    assert_eq!(sent(&mut rig, &mut reader)[0].seen, 77);
    // In a new session the counters of the old one mean nothing, and the command goes out at once.
    rig.connect(&mut reader);
    assert_eq!(sent(&mut rig, &mut reader), [Command { id: 5, seen: 0, order: OPEN }]);
}

#[test]
fn commands_that_no_reader_could_take_are_refused() {
    let (mut rig, _) = connected();
    assert_eq!(command(&mut rig, ReaderId(999), 1, MINUTE), Err(CommandRefused::ReaderUnknown));
    for id in 1..=COMMANDS_MAX as u64 {
        command(&mut rig, READER, id, MINUTE).unwrap();
    }
    assert_eq!(command(&mut rig, READER, 9, MINUTE), Err(CommandRefused::Full));
    for id in [1, COMMANDS_MAX as u64] {
        let highest = COMMANDS_MAX as u64;
        assert_eq!(command(&mut rig, READER, id, MINUTE), Err(CommandRefused::NotAbove { highest }));
    }
    // What was refused uses up nothing.
    command(&mut rig, ReaderId(102), 1, MINUTE).unwrap();
    rig.pass(MINUTE);
    assert_eq!(rig.poll().1.len(), COMMANDS_MAX + 1);
    command(&mut rig, READER, 9, MINUTE).unwrap();
}

#[test]
fn commands_end_with_the_key_of_their_reader() {
    let (mut rig, _) = connected();
    command(&mut rig, READER, 5, MINUTE).unwrap();
    command(&mut rig, ReaderId(102), 6, MINUTE).unwrap();
    command(&mut rig, ReaderId(103), 7, MINUTE).unwrap();
    rig.keys = keys(2, &[(101, 2), (103, 1), (104, 1)]);
    rig.worker.follow(&rig.keys);
    assert_eq!(rig.worker.next_timeout(), Some(Duration::ZERO));
    let (datagrams, mut effects) = rig.poll();
    assert_eq!(datagrams, []);
    effects.sort_by_key(|effect| format!("{effect:?}"));
    let given_up = |reader, id| ended(ReaderId(reader), id, CommandOutcome::GivenUp);
    assert_eq!(effects, [given_up(101, 5), given_up(102, 6)]);
    assert_eq!(command(&mut rig, ReaderId(102), 8, MINUTE), Err(CommandRefused::ReaderUnknown));
    // Another device stands there now: it gets what was ordered for it, and may have lower ids.
    command(&mut rig, READER, 1, MINUTE).unwrap();
    let mut reader = TestReader::with_key(101, psk(101, 2));
    rig.connect(&mut reader);
    assert_eq!(sent(&mut rig, &mut reader), [Command { id: 1, seen: 0, order: OPEN }]);
    // The one that sits in the place of the reader that went has nothing of it.
    assert_eq!(command(&mut rig, ReaderId(104), 6, MINUTE / 2), Ok(()));
    rig.pass(MINUTE / 2);
    assert!(rig.poll().1.contains(&given_up(104, 6)));
    // And whoever kept its key kept its command, until that one's own moment.
    rig.pass(MINUTE / 2);
    assert!(rig.poll().1.contains(&given_up(103, 7)));
}

#[test]
fn many_ends_at_once_are_all_told_of() {
    let readers: Vec<_> = (1..=200).map(|reader| (reader, 1)).collect();
    let mut rig = Rig { keys: keys(2, &readers), ..Rig::new() };
    rig.worker.follow(&rig.keys);
    let mut expected = Vec::new();
    for &(reader, _) in &readers {
        for id in 1..=COMMANDS_MAX as u64 {
            command(&mut rig, ReaderId(reader), id, MINUTE).unwrap();
            expected.push(ended(ReaderId(reader), id, CommandOutcome::GivenUp));
        }
    }
    let half = readers.len() / 2;
    rig.keys = keys(3, &readers[..half]);
    rig.worker.follow(&rig.keys);
    rig.pass(MINUTE);
    let (datagrams, mut effects) = rig.poll();
    assert_eq!(datagrams, []);
    assert!(expected.len() > EFFECTS_MAX);
    let key = |effect: &Effect| match *effect {
        Effect::CommandEnded { reader, id, .. } => (reader, id),
        ref other => panic!("{other:?}"),
    };
    effects.sort_by_key(key);
    assert_eq!(effects, expected);
    assert_eq!(rig.worker.next_timeout(), None);
}

#[test]
fn every_order_travels_as_it_was_given() {
    let orders = [OPEN, Order::SetFallBack(FallBack::Free), Order::Play(Tone::Attention)];
    let (mut rig, mut reader) = connected();
    for (id, order) in (1..).zip(orders) {
        let now = rig.now.monotonic;
        rig.worker.command(now, READER, id, order, now + MINUTE).unwrap();
        assert_eq!(sent(&mut rig, &mut reader)[0].order, order);
        done(&mut rig, &mut reader, id, CommandResult::Done);
    }
}

#[test]
fn commands_of_several_readers_go_out_one_datagram_at_a_time() {
    let mut rig = Rig::new();
    let mut readers: Vec<_> = (101..=103).map(TestReader::new).collect();
    for reader in &mut readers {
        rig.connect(reader);
        command(&mut rig, reader.id, 1, MINUTE).unwrap();
    }
    let mut out = Output::new();
    let now = rig.now.monotonic;
    let mut addresses: Vec<_> = core::iter::from_fn(|| rig.worker.poll(now, &mut out)).collect();
    addresses.sort_unstable();
    assert_eq!(addresses, readers.iter().map(|reader| reader.address).collect::<Vec<_>>());
    assert!(out.datagram().is_empty());
}
