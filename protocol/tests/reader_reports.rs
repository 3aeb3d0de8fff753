//! The reader half with virtual time: reports, receipts, power loss, commands.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]

mod support;

use kalitka_protocol::LogId;
use kalitka_protocol::limits::{HANDSHAKE_LEN, REPORTS_OUTSTANDING};
use kalitka_protocol::message::{Command, CommandResult, Message, Order, Receipt, Report, ReportKind};
use kalitka_protocol::reader::{Happening, ReportMemory};
use kalitka_protocol::reason::{Direction, FallBack, Tone};
use support::{BOOT, LOG, Told, World, card, identity, ms, passed};

fn reports(sent: &[Message<'_>]) -> Vec<Report> {
    let report = |message: &Message<'_>| if let Message::Report(report) = message { Some(*report) } else { None };
    sent.iter().filter_map(report).collect()
}

fn numbers(sent: &[Message<'_>]) -> Vec<u64> {
    reports(sent).iter().map(|report| report.number).collect()
}

const fn receipt(number: u64) -> Message<'static> {
    Message::Receipt(Receipt { log: LOG, number })
}

// SPEC 7.1 identity of a report
// SPEC 7.2 what it says
#[test]
fn report_names_log_number_request_and_age() {
    let mut world = World::<8>::connected();
    world.reader.report(ms(0), passed(Some(5)));
    world.now = ms(40);
    world.reader.report(ms(40), passed(None));
    let sent = reports(&world.sent_messages());
    let of = |report: &Report| (report.log, report.number, report.boot, report.request, report.age_ms, report.unasked);
    assert_eq!(of(&sent[0]), (LOG, 1, BOOT, 5, 40, false));
    assert_eq!(of(&sent[1]), (LOG, 2, kalitka_protocol::BootId(0), 0, 0, true));
}

// SPEC 5.6 what a reader sends is in its range
#[test]
fn input_is_told_of_an_input_change_only() {
    let mut world = World::<8>::connected();
    for (kind, input) in [(ReportKind::InputChange, 0x83), (ReportKind::Tamper, 0)] {
        world.reader.report(ms(0), Happening { kind, input: 0x83, ..passed(None) });
        assert_eq!(reports(&world.sent_messages())[0].input, input);
    }
}

// SPEC 11.4 passes in fall-back
#[test]
fn unasked_passes_are_reported_when_the_gateway_answers_again() {
    let mut world = World::<8>::connected();
    world.pass_unheard(ms(2_500));
    assert_eq!(world.reader.fall_back(), Some(FallBack::ExitFree));
    world.reader.report(world.now, passed(None));
    let sent = world.pass_unheard(ms(6_000));
    let (_, initiation) = sent.iter().rfind(|(_, datagram)| datagram.len() == HANDSHAKE_LEN).unwrap();
    let response = world.gateway.shake(&mut initiation.clone());
    world.deliver(response).unwrap();
    let sent = reports(&world.sent_messages());
    let of = |report: &Report| (report.number, report.unasked, report.card, report.age_ms);
    assert_eq!(sent.iter().map(of).collect::<Vec<_>>(), [(1, true, Some(card()), 3_500)]);
}

// SPEC 7.3 go-back-N
// SPEC 10.3 when
#[test]
fn unreceipted_reports_are_sent_again_from_the_oldest_with_doubling_waits() {
    let mut world = World::<8>::connected();
    for _ in 0..3 {
        world.reader.report(ms(0), passed(None));
    }
    assert_eq!(numbers(&world.sent_messages()), [1, 2, 3]);
    world.say(&receipt(1));
    assert_eq!(world.told(), [Told::Receipted(1)]);
    let mut times = Vec::new();
    while times.len() < 6 {
        world.jump(world.now + ms(10));
        let sent = world.sent_messages();
        if !reports(&sent).is_empty() {
            assert_eq!(numbers(&sent), [2, 3]);
            times.push(world.now.as_millis());
        }
        world.pong();
    }
    let waits: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!((times[0], waits), (500, vec![1_000, 2_000, 4_000, 4_000, 4_000]));
}

// SPEC 10.3 a receipt that covers something new begins again
#[test]
fn receipt_gives_what_is_outstanding_its_full_time_and_the_last_one_ends_the_waiting() {
    let mut world = World::<8>::connected();
    for _ in 0..2 {
        world.reader.report(ms(0), passed(None));
    }
    assert_eq!(numbers(&world.sent_messages()), [1, 2]);
    assert_eq!(world.reader.next_timeout(), ms(500));
    world.jump(ms(400));
    world.say(&receipt(1));
    assert_eq!(world.reader.next_timeout(), ms(900));
    world.jump(ms(900));
    assert_eq!(numbers(&world.sent_messages()), [2]);
    world.jump(ms(1_000));
    assert!(matches!(world.sent_messages()[..], [Message::Ping(_)]));
    world.pong();
    world.say(&receipt(2));
    assert_eq!(world.reader.next_timeout(), ms(2_000), "the next ping");
}

// SPEC 7.3 oldest
#[test]
fn the_first_report_without_a_receipt_is_oldest_and_no_other() {
    let mut world = World::<8>::connected();
    let of = |report: &Report| (report.number, report.oldest);
    let oldest = |sent: &[Message<'_>]| reports(sent).iter().map(of).collect::<Vec<_>>();
    for _ in 0..4 {
        world.reader.report(world.now, passed(None));
    }
    assert_eq!(oldest(&world.sent_messages()), [(1, true), (2, false), (3, false), (4, false)]);
    world.say(&receipt(2));
    world.jump(ms(500));
    assert_eq!(oldest(&world.sent_messages()), [(3, true), (4, false)], "said of the memory as it is when it is sent");
    let memory = world.reader.into_memory();
    let mut world = World::boot(identity(2), memory);
    let mut initiation = world.transmit().unwrap();
    let response = world.gateway.shake(&mut initiation);
    world.deliver(response).unwrap();
    assert_eq!(oldest(&world.sent_messages()), [(3, true), (4, false)], "and after a loss of power");
}

#[test]
fn sixty_four_reports_are_outstanding_and_a_receipt_lets_more_go() {
    let mut world = World::<100>::connected();
    for number in 1..=100 {
        assert_eq!(world.reader.report(ms(0), passed(None)), Some(number));
    }
    let window = REPORTS_OUTSTANDING as u64;
    assert_eq!(numbers(&world.sent_messages()), (1..=window).collect::<Vec<_>>());
    world.say(&receipt(10));
    assert_eq!(numbers(&world.sent_messages()), (window + 1..=window + 10).collect::<Vec<_>>());
}

// SPEC 7.4 receipts are cumulative
#[test]
fn receipts_are_cumulative_and_bad_ones_change_nothing() {
    let mut world = World::<8>::connected();
    for _ in 0..4 {
        world.reader.report(ms(0), passed(None));
    }
    world.sent_messages();
    world.say(&receipt(3));
    world.say(&receipt(2));
    world.say(&receipt(5));
    world.say(&Message::Receipt(Receipt { log: LogId(1), number: 4 }));
    assert_eq!(world.told(), [Told::Receipted(3)]);
    assert_eq!(world.reader.memory().waiting(), 1);
}

// SPEC 7.6 overflow
#[test]
fn overflow_is_a_report_with_the_count() {
    let mut world = World::<3>::connected();
    for number in 1..=3 {
        assert_eq!(world.reader.report(ms(0), passed(None)), Some(number));
    }
    world.now = ms(70);
    assert_eq!(world.reader.report(ms(70), passed(None)), None);
    assert_eq!(world.reader.report(ms(80), passed(None)), None);
    world.sent_messages();
    world.now = ms(100);
    world.say(&receipt(1));
    let sent = reports(&world.sent_messages());
    let of = |report: &Report| (report.number, report.kind, report.count, report.age_ms);
    assert_eq!(sent.iter().map(of).collect::<Vec<_>>(), [(4, ReportKind::ReportsLost, 2, 30)]);
    assert_eq!(world.reader.report(ms(100), passed(None)), None, "full again");
    world.say(&receipt(4));
    assert_eq!(numbers(&world.sent_messages()), [5]);
    assert_eq!(world.reader.report(ms(100), passed(None)), Some(6));
}

#[test]
fn nothing_is_kept_between_a_loss_and_its_report() {
    let mut world = World::<1>::connected();
    for _ in 0..5 {
        world.reader.report(ms(0), passed(None));
    }
    assert_eq!((world.reader.memory().waiting(), world.reader.memory().lost()), (1, 4));
}

// SPEC 7.5 the memory survives the power
#[test]
fn reports_survive_power_loss_with_ages_unknown() {
    let mut world = World::<4>::connected();
    world.reader.report(ms(0), passed(Some(9)));
    world.reader.report(ms(0), passed(None));
    world.sent_messages();
    world.say(&receipt(1));
    world.reader.report(ms(0), passed(Some(10)));
    let memory = world.reader.into_memory();
    let mut world = World::boot(identity(2), memory);
    world.reader.report(ms(0), passed(Some(1)));
    let mut initiation = world.transmit().unwrap();
    let response = world.gateway.shake(&mut initiation);
    world.deliver(response).unwrap();
    let second = kalitka_protocol::BootId(BOOT.0 + 1);
    let sent = reports(&world.sent_messages());
    let of = |report: &Report| (report.number, report.boot, report.request, report.age_ms);
    let expected = [(2, kalitka_protocol::BootId(0), 0, u32::MAX), (3, BOOT, 10, u32::MAX), (4, second, 1, 0)];
    assert_eq!(sent.iter().map(of).collect::<Vec<_>>(), expected);
    assert_eq!(world.gateway.hello.unwrap().boot, second);
    world.say(&receipt(4));
    assert_eq!(world.reader.memory().waiting(), 0);
}

#[test]
fn memory_of_any_size_numbers_without_gaps() {
    let mut world = World::<5>::connected();
    let mut taken = 0;
    for round in 1..200u64 {
        for _ in 0..round % 4 {
            world.reader.report(world.now, passed(None));
        }
        for report in reports(&world.sent_messages()) {
            assert_eq!(report.number, taken + 1, "in order, without gaps");
            taken = report.number;
        }
        world.say(&receipt(taken));
    }
    assert_eq!(ReportMemory::<5>::new(LOG).last(), 0);
    assert_eq!(world.reader.memory().last(), taken);
}

fn command(id: u64, seen: u64, order: Order) -> Message<'static> {
    Message::Command(Command { id, seen, order })
}

const OPEN: Order = Order::Open { direction: Direction::Exit, hold_open_ms: 5_000 };

// SPEC 8.1 done once
// SPEC 8.4 done is repeated for repeats
#[test]
fn command_is_done_once_and_done_is_repeated() {
    let mut world = World::<4>::connected();
    let seen = world.gateway.seen;
    world.say(&command(5, seen, OPEN));
    assert_eq!(world.told(), [Told::Command(5)]);
    world.say(&command(5, seen, OPEN));
    assert!(world.sent_messages().is_empty(), "not done yet");
    world.reader.done(5, CommandResult::NotSupported);
    for _ in 0..2 {
        let [Message::Done(done)] = world.sent_messages()[..] else { panic!() };
        assert_eq!((done.id, done.result), (5, CommandResult::NotSupported));
        world.say(&command(5, seen, OPEN));
    }
    world.say(&command(4, seen, OPEN));
    world.reader.done(4, CommandResult::Done);
    world.sent_messages();
    world.say(&command(4, seen, Order::Play(Tone::Attention)));
    assert_eq!((world.told(), world.sent_messages()), (vec![], vec![]), "an older command is dropped");
}

// SPEC 8.2 freshness of a command
#[test]
fn command_is_dropped_when_its_datagram_was_sent_over_three_seconds_ago() {
    for (wait, done) in [(2_900, true), (3_001, false)] {
        let mut world = World::<4>::connected();
        world.now = ms(450);
        world.reader.ask(card(), Direction::Entry, ms(450)).unwrap();
        world.sent_messages();
        let seen = world.gateway.seen;
        for step in 1..=wait / 50 {
            world.jump(ms(450 + step * 50));
            world.lose();
        }
        world.jump(ms(450 + wait));
        world.say(&command(1, seen, OPEN));
        assert_eq!(world.told().contains(&Told::Command(1)), done, "after {wait} ms");
    }
}

#[test]
fn command_that_names_a_datagram_never_sent_is_dropped() {
    let mut world = World::<4>::connected();
    world.say(&command(1, world.gateway.seen + 1, OPEN));
    assert_eq!(world.told(), []);
}

#[test]
fn command_of_the_session_before_is_dropped() {
    let mut world = World::<4>::connected();
    let late = world.gateway.seal(&[command(1, 0, OPEN)]);
    world.reader.ask(card(), Direction::Entry, ms(0)).unwrap();
    let sent = world.pass_unheard(ms(140));
    let response = world.gateway.shake(&mut sent.last().unwrap().1.clone());
    world.deliver(response).unwrap();
    world.lose();
    world.told();
    assert_eq!(world.deliver(late), Ok(()));
    assert_eq!(world.told(), []);
    // In its own session the same command is done: counter 0 has just been sent there too.
    world.say(&command(1, 0, OPEN));
    assert_eq!(world.told(), [Told::Command(1)]);
}

#[test]
fn command_done_before_the_power_was_lost_is_not_done_again() {
    let mut kept = identity(2);
    kept.last_command = 7;
    let mut world = World::boot(kept, ReportMemory::<4>::new(LOG));
    world.connect();
    world.told();
    world.reader.done(7, CommandResult::NotSupported);
    assert_eq!(world.sent_messages(), [], "nothing was to be done");
    world.say(&command(7, 0, OPEN));
    assert_eq!(world.told(), []);
    let [Message::Done(done)] = world.sent_messages()[..] else { panic!() };
    assert_eq!((done.id, done.result), (7, CommandResult::Done));
    world.say(&command(8, 0, OPEN));
    assert_eq!(world.told(), [Told::Command(8)]);
}

// SPEC 8.3 the order that sets the fall-back mode
#[test]
fn ordered_fall_back_mode_is_entered_later() {
    let mut world = World::<4>::connected();
    world.say(&command(1, 0, Order::SetFallBack(FallBack::Free)));
    world.reader.done(1, CommandResult::Done);
    world.told();
    world.pass_unheard(ms(5_000));
    assert_eq!(world.told(), [Told::FallBackEntered(FallBack::Free)]);
}
