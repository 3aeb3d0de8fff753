//! What a turnstile tells after a release, over the network and over a line alike: each report is kept as it was told, with
//! its direction and the ask that it follows.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use kalitka_protocol::event::Body;
use kalitka_protocol::message::{Report, ReportKind};
use kalitka_protocol::reason::{Denial, Direction, Grant, Verdict};
use kalitka_protocol::{BootId, EpochId, LogId};
use support::line::Line;
use support::reader::TestReader;
use support::{CARD, Gateway, READER, Site, each_event, outbox_of};

const BOOT: u64 = 1;
const ENTRY: Option<Direction> = Some(Direction::Entry);
const EXIT: Option<Direction> = Some(Direction::Exit);

/// Report `number` of what happened after `request`, 0 for none.
fn report(number: u64, kind: ReportKind, direction: Option<Direction>, request: u32) -> Report {
    let boot = BootId(if request == 0 { 0 } else { BOOT });
    Report {
        log: LogId(7),
        number,
        boot,
        request,
        age_ms: 0,
        count: 0,
        kind,
        direction,
        input: 0,
        unasked: false,
        oldest: false,
        card: None,
    }
}

/// A morning at a turnstile with direction: one passes, one turns back, one forces the arm, one passes and holds the wing
/// open, one is let out by the reader itself.
fn morning() -> [Report; 6] {
    [
        report(1, ReportKind::Passed, ENTRY, 1),
        report(2, ReportKind::TurnedBack, ENTRY, 2),
        report(3, ReportKind::Forced, EXIT, 0),
        report(4, ReportKind::Passed, ENTRY, 3),
        report(5, ReportKind::HeldOpen, ENTRY, 3),
        Report { unasked: true, ..report(6, ReportKind::Passed, EXIT, 0) },
    ]
}

/// A site with a snapshot and a port `line`.
fn site() -> Site {
    let site = Site::with_snapshot(1);
    let port = site.path("line").display().to_string();
    site.reconfigure("[snapshots]", &format!("[[serial]]\nport = \"{port}\"\n[snapshots]"));
    site
}

/// Reader `number` at the network or at `line`, with a session.
fn reader(running: &Gateway, line: Option<&Line>, number: u32) -> TestReader {
    running.await_metric("kalitka_snapshot_generation", 1.0);
    let way = line.map_or(running.udp, |line| line.address);
    let mut reader = TestReader::new(way, number, running.add_reader(number));
    reader.shake_hands(BOOT);
    reader
}

#[test]
fn what_followed_each_release_is_kept_with_its_direction_and_its_ask() {
    for is_serial in [false, true] {
        let site = site();
        let line = is_serial.then(|| Line::plug(&site.path("line")));
        let mut running = site.start();
        let mut reader = reader(&running, line.as_ref(), READER);
        for _ in 0..3 {
            assert_eq!(reader.ask(&CARD), Verdict::Grant(Grant::AccessLevel));
        }
        for told in morning() {
            reader.told(told);
        }
        let taken = |kind: &str| running.metric(&format!("kalitka_report_taken_total{{kind=\"{kind}\"}}"));
        assert_eq!(["passed", "turned_back", "forced", "held_open"].map(taken), [3.0, 1.0, 1.0, 1.0]);
        let passed = |follows: &str| running.metric(&format!("kalitka_report_passed_total{{follows=\"{follows}\"}}"));
        assert_eq!(["granted", "unasked", "denied", "forgotten", "nothing"].map(passed), [2.0, 1.0, 0.0, 0.0, 0.0]);
        let epoch = EpochId(
            u64::from_str_radix(running.ask(r#"{"verb":"status"}"#)["journal"]["epoch"].as_str().unwrap(), 16).unwrap(),
        );
        running.signal(rustix::process::Signal::TERM);
        assert!(running.wait().success());
        let mut kept = Vec::new();
        each_event(&mut outbox_of(&site), epoch, 1, |event| {
            if let Body::Report(taken) = &event.body {
                kept.push(taken.report);
            }
        });
        // The age is that of the sending; the rest stands as it was told.
        let as_told: Vec<_> = kept.into_iter().map(|report| Report { age_ms: 0, oldest: false, ..report }).collect();
        assert_eq!(as_told, morning(), "serial: {is_serial}");
    }
}

#[test]
fn pass_after_a_denial_and_after_an_ask_of_long_ago_are_counted_apart() {
    for is_serial in [false, true] {
        let site = site();
        let line = is_serial.then(|| Line::plug(&site.path("line")));
        let running = site.start();
        let mut reader = reader(&running, line.as_ref(), READER);
        assert_eq!(reader.ask(&[9; 7]), Verdict::Deny(Denial::UnknownCredential));
        reader.told(report(1, ReportKind::Passed, ENTRY, 1));
        reader.told(report(2, ReportKind::Passed, ENTRY, 77));
        let passed = |follows: &str| running.metric(&format!("kalitka_report_passed_total{{follows=\"{follows}\"}}"));
        assert_eq!(["granted", "denied", "forgotten"].map(passed), [0.0, 1.0, 1.0]);
    }
}

#[test]
fn repeated_report_is_counted_once() {
    let site = site();
    let line = Line::plug(&site.path("line"));
    let running = site.start();
    let mut reader = reader(&running, Some(&line), READER);
    for _ in 0..3 {
        reader.told(report(1, ReportKind::Forced, ENTRY, 0));
    }
    assert_eq!(running.metric("kalitka_report_taken_total{kind=\"forced\"}"), 1.0);
    running.await_metric("kalitka_report_repeated_total", 2.0);
}
