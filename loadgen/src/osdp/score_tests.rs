use std::time::Duration;

use kalitka_protocol::credential::CardRead;

use super::*;
use crate::osdp::Pass;

const READER: u32 = 105;
const PASSED: ReportKind = ReportKind::Passed;
const TURNED_BACK: ReportKind = ReportKind::TurnedBack;
const FORCED: ReportKind = ReportKind::Forced;

fn card(byte: u8) -> CardRead {
    CardRead::from_uid(&[byte; 4]).unwrap()
}

fn log(passes: &[(u8, ReportKind, bool)]) -> Log {
    let pass = |&(byte, kind, is_sure): &(u8, _, bool)| Pass::new(card(byte), kind, Duration::ZERO, is_sure);
    Log { passes: passes.iter().map(pass).collect(), ..Log::new(ReaderId(READER)) }
}

fn held(lines: &[(u32, u8, ReportKind, u64)]) -> Passes {
    let one = |&(reader, byte, kind, count): &(u32, u8, ReportKind, u64)| {
        let card = hex::encode(card(byte).to_bytes());
        let (kind, card) = (Some(kind.label()), (kind != FORCED).then_some(&*card));
        let line = Line { order: 1, kind: "report", reader: Some(reader), report_kind: kind, card };
        (key(&line).unwrap(), count)
    };
    lines.iter().map(one).collect()
}

#[test]
fn whoever_passed_or_turned_back_is_held_once_and_an_unsure_one_once_at_most() {
    let logs =
        [log(&[(1, PASSED, true), (1, PASSED, true), (2, PASSED, true), (3, PASSED, false), (4, TURNED_BACK, true)])];
    let whole = [(READER, 1, PASSED, 2), (READER, 2, PASSED, 1), (READER, 4, TURNED_BACK, 1)];
    let with = |more: &[_]| [&whole[..], more].concat();
    for (at_hub, expected) in [
        (with(&[]), AtHub { held: 4, lost: 0, doubled: 0 }),
        (with(&[(READER, 3, PASSED, 1)]), AtHub { held: 5, lost: 0, doubled: 0 }),
        (with(&[(READER, 3, PASSED, 2), (READER, 5, PASSED, 1)]), AtHub { held: 5, lost: 0, doubled: 2 }),
        (with(&[(READER, 2, TURNED_BACK, 1)]), AtHub { held: 4, lost: 0, doubled: 1 }),
        (with(&[(READER, 0, FORCED, 1)]), AtHub { held: 4, lost: 0, doubled: 1 }),
        // Another reader's are none of ours.
        (with(&[(READER + 1, 1, PASSED, 2), (READER + 1, 0, FORCED, 1)]), AtHub { held: 4, lost: 0, doubled: 0 }),
        (vec![(READER, 1, PASSED, 1), (READER, 2, PASSED, 1)], AtHub { held: 2, lost: 2, doubled: 0 }),
        (vec![(READER, 1, PASSED, 3), (READER, 4, PASSED, 1)], AtHub { held: 2, lost: 2, doubled: 2 }),
        (vec![], AtHub { held: 0, lost: 4, doubled: 0 }),
    ] {
        assert_eq!(compare(&held(&at_hub), &logs), expected, "{at_hub:?}");
    }
}

#[test]
fn pass_without_a_card_and_what_is_no_report_count_for_nobody() {
    let line = Line { order: 1, kind: "report", reader: Some(READER), report_kind: Some("passed"), card: None };
    assert_eq!(key(&line), None);
    let decision = Line { kind: "decision", card: Some("00"), ..line };
    assert_eq!(key(&decision), None);
}
