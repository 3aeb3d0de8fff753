use kalitka_protocol::credential::{CardRead, Credential};
use kalitka_protocol::event::{
    Body, ClockQuality, Decision, Event, EventHeader, Events, Loss, LossCause, ReportTaken, UNKNOWN_END,
};
use kalitka_protocol::message::{Report, ReportKind};
use kalitka_protocol::reason::{Denial, Direction, Grant, Verdict};
use kalitka_protocol::wire::Writer;
use kalitka_protocol::{BootId, EpochId, LogId, ReaderId};
use serde_json::Value;

use super::*;

fn report(kind: ReportKind, direction: Option<Direction>, card: bool, request: u32) -> ReportTaken {
    let report = Report {
        log: LogId(0xabc),
        number: 12,
        boot: BootId(9),
        request,
        age_ms: 20,
        count: 0,
        kind,
        direction,
        input: 0,
        unasked: false,
        oldest: true,
        card: card.then(|| CardRead::from_uid(&[4, 1, 2, 3]).unwrap()),
    };
    ReportTaken { reader: ReaderId(101), generation: 3, portal: None, report }
}

fn decision(verdict: Verdict, direction: Direction) -> Decision<'static> {
    Decision {
        reader: ReaderId(101),
        boot: BootId(9),
        request: 77,
        generation: 3,
        portal: Some(2),
        verdict,
        direction,
        age_ms: 5,
        credential: Credential::from_uid(&[4, 1, 2, 3]),
        holder: b"p0001",
    }
}

fn shown(body: Body<'_>, format: Format) -> Option<String> {
    let header = EventHeader {
        building: 17,
        epoch: EpochId(0xfe),
        number: 5,
        wall_us: 1_700_000_000_123_456,
        monotonic_us: 8,
        gateway_boot: 0xab,
        quality: ClockQuality::Held,
        jumped: true,
    };
    let mut bytes = [0; 4096];
    let mut out = Writer::new(&mut bytes);
    Event { header, body }.emit(&mut out).unwrap();
    let len = out.len();
    let raw = Events::new(&bytes[..len]).next().unwrap().unwrap();
    Shown { order: Some(900), hash: Some([0x5a; 32]), raw }.line(format)
}

#[test]
fn json_names_every_field() {
    let line = shown(Body::Report(report(ReportKind::Passed, Some(Direction::Exit), true, 77)), Format::Json).unwrap();
    assert!(line.ends_with('\n') && line.matches('\n').count() == 1);
    let value: Value = serde_json::from_str(&line).unwrap();
    let expected = serde_json::json!({
        "order": 900, "building": 17, "epoch": "00000000000000fe", "number": 5, "hash": "5a".repeat(32), "kind": "report",
        "wall_us": 1_700_000_000_123_456_i64, "monotonic_us": 8, "gateway_boot": "000000ab", "clock": "held", "jumped": true,
        "reader": 101, "generation": 3, "portal": null, "log": "0000000000000abc", "report": 12,
        "boot": "0000000000000009", "request": 77, "age_ms": 20, "count": 0, "report_kind": "passed", "direction": "exit",
        "input": 0, "unasked": false, "oldest": true, "card": "01200401020300000000000000000000",
    });
    assert_eq!(value, expected);
    let denied = decision(Verdict::Deny(Denial::CredentialLost), Direction::Entry);
    let value: Value = serde_json::from_str(&shown(Body::Decision(denied), Format::Json).unwrap()).unwrap();
    assert_eq!((&value["kind"], &value["verdict"]), (&"decision".into(), &"deny".into()));
    assert_eq!((&value["reason"], &value["holder"]), (&"credential_lost".into(), &"p0001".into()));
    assert_eq!(value["credential"], "01200401020300000000000000000000");
    let loss = Loss { epoch: EpochId(7), first: 3, last: UNKNOWN_END, cause: LossCause::Damaged, count: 0 };
    let value: Value = serde_json::from_str(&shown(Body::Loss(loss), Format::Json).unwrap()).unwrap();
    assert_eq!((&value["last"], &value["cause"]), (&Value::Null, &"damaged".into()));
    let unknown = Body::Unknown { kind: 200, bytes: &[1, 2] };
    let value: Value = serde_json::from_str(&shown(unknown, Format::Json).unwrap()).unwrap();
    assert_eq!(
        (&value["kind"], &value["kind_code"], &value["bytes"]),
        (&"unknown".into(), &200.into(), &"0102".into())
    );
}

/// The table of docs/events.md.
#[test]
fn existing_systems_codes_are_those_of_the_table() {
    use Direction::{Entry, Exit};
    let reports = [
        (ReportKind::Passed, Some(Entry), true, 7, (0, 0x11)),
        (ReportKind::Passed, Some(Exit), false, 7, (1, 0x11)),
        (ReportKind::Passed, Some(Entry), true, 0, (0, 0x11)),
        (ReportKind::Passed, Some(Entry), false, 0, (112, 100)),
        (ReportKind::Passed, Some(Exit), false, 0, (1, 100)),
        (ReportKind::TurnedBack, Some(Entry), true, 7, (5, 0x10)),
        (ReportKind::Forced, None, false, 0, (3, 0x72)),
        (ReportKind::HeldOpen, None, false, 0, (4, 100)),
        (ReportKind::Tamper, None, false, 0, (4, 100)),
    ];
    for (kind, direction, card, request, codes) in reports {
        assert_eq!(csv::of_report(&report(kind, direction, card, request)), codes, "{kind:?} {direction:?}");
    }
    let decisions = [
        (Verdict::Grant(Grant::AccessLevel), Entry, (8, 5)),
        (Verdict::Grant(Grant::PortalFree), Exit, (9, 5)),
        (Verdict::Deny(Denial::UnknownCredential), Entry, (2, 1)),
        (Verdict::Deny(Denial::NoAccess), Entry, (2, 2)),
        (Verdict::Deny(Denial::CredentialBlocked), Exit, (2, 3)),
        (Verdict::Deny(Denial::HolderExpired), Entry, (2, 4)),
        (Verdict::Deny(Denial::PortalClosed), Entry, (2, 8)),
    ];
    for (verdict, direction, codes) in decisions {
        assert_eq!(csv::of_decision(&decision(verdict, direction)), codes, "{verdict:?}");
    }
}

#[test]
fn csv_has_the_columns_of_its_header() {
    let line =
        shown(Body::Decision(decision(Verdict::Grant(Grant::AccessLevel), Direction::Entry)), Format::Csv).unwrap();
    assert_eq!(line.matches(',').count(), CSV_HEADER.matches(',').count());
    let hash = "5a".repeat(32);
    let card = "01200401020300000000000000000000";
    assert_eq!(line, format!("900,{hash},2023-11-14T22:13:20.123Z,17,2,101,8,5,{card},p0001,,,\n"));
    assert_eq!(shown(Body::Unknown { kind: 200, bytes: &[] }, Format::Csv), None);
}

#[test]
fn text_is_one_line_whatever_the_event() {
    let bodies = [
        Body::Decision(decision(Verdict::Deny(Denial::Stale), Direction::Exit)),
        Body::Report(report(ReportKind::Passed, None, false, 0)),
        Body::Unknown { kind: 200, bytes: b"\n\n" },
    ];
    for body in bodies {
        let line = shown(body, Format::Text).unwrap();
        assert!(line.ends_with('\n') && line.matches('\n').count() == 1, "{line}");
        assert!(line.contains("the clock has jumped"));
    }
}
