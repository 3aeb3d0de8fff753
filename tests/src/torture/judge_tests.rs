//! The judgement can fail: each promise broken on purpose, and each excuse that does not hold.

use kalitka_protocol::message::ReportKind;
use kalitka_protocol::reason::Direction;
use serde_json::json;

use super::*;

const UID: [u8; 7] = [1; 7];

fn receipted(numbers: std::ops::RangeInclusive<u64>) -> BTreeMap<Identified, Reported> {
    let reported = Reported { kind: ReportKind::Passed, direction: Direction::Entry, uid: UID };
    numbers.map(|number| ((101, 7, number), reported)).collect()
}

fn report(number: u64, report: u64) -> Value {
    let card = hex::encode(CardRead::from_uid(&UID).unwrap().to_bytes());
    json!({"epoch": "a", "number": number, "kind": "report", "reader": 101, "log": "7", "report": report,
           "report_kind": "passed", "direction": "entry", "card": card})
}

fn loss(number: u64, epoch: &str, first: u64, last: Option<u64>) -> Value {
    json!({"epoch": "b", "number": number, "kind": "loss", "lost_epoch": epoch, "first": first, "last": last})
}

fn begun(before: Option<&str>, last: u64) -> Value {
    json!({"epoch": "b", "number": 1, "kind": "epoch_begun", "before": before, "last": last})
}

fn closed(number: u64, first: u64, held: u64) -> Value {
    json!({"epoch": "b", "number": number, "kind": "loss_closed", "lost_epoch": "a", "first": first, "held": held})
}

/// Reports 1 to `last` of the one log, seen in epoch a under the numbers 1 to `last`.
fn seen(last: u64) -> Witness {
    let reports = (1..=last).map(|number| ((101, 7, number), BTreeSet::from([(0xa, number)])));
    Witness { reports: reports.collect(), ..Witness::default() }
}

#[test]
fn whole_history_breaks_nothing() {
    let events = [report(1, 1), report(2, 2)];
    let verdict = judge(&receipted(1..=2), &events, &Forks::new(), &seen(2));
    assert_eq!(verdict.broken(), Vec::<String>::new());
    assert_eq!((verdict.receipted, verdict.destroyed, verdict.events), (2, 0, 2));
}

#[test]
fn receipted_report_that_is_absent_is_lost() {
    let verdict = judge(&receipted(1..=2), &[report(1, 1)], &Forks::new(), &Witness::default());
    assert_eq!(verdict.lost, [(101, 7, 2)]);
}

#[test]
fn destroyed_report_is_lost_unless_a_loss_record_names_its_very_place() {
    let absent =
        |loss: Value| judge(&receipted(1..=2), &[report(1, 1), begun(Some("a"), 1), loss], &Forks::new(), &seen(2));
    let recorded = absent(loss(2, "a", 2, Some(2)));
    assert_eq!((recorded.destroyed, recorded.broken()), (1, Vec::new()));
    for elsewhere in [loss(2, "a", 3, Some(9)), loss(2, "c", 2, Some(2)), loss(2, "a", 0, Some(0))] {
        let verdict = absent(elsewhere);
        assert_eq!((verdict.lost.len(), verdict.destroyed, verdict.gaps), (1, 0, vec![(0xa, 2)]));
    }
}

#[test]
fn loss_record_excuses_nothing_that_the_damage_has_spared() {
    let events = [report(1, 1), begun(Some("a"), 1), loss(2, "a", 2, Some(2))];
    let witness = Witness { spared: BTreeSet::from([(101, 7, 2)]), ..seen(2) };
    let verdict = judge(&receipted(1..=2), &events, &Forks::new(), &witness);
    assert_eq!((verdict.lost, verdict.destroyed), (vec![(101, 7, 2)], 0));
}

#[test]
fn loss_record_alone_excuses_nothing_that_nobody_saw_on_the_disk() {
    let events = [report(1, 1), begun(Some("a"), 1), loss(2, "a", 2, Some(2))];
    assert_eq!(judge(&receipted(1..=2), &events, &Forks::new(), &Witness::default()).lost, [(101, 7, 2)]);
}

#[test]
fn loss_of_unknown_end_names_what_lies_behind_its_close_and_nothing_while_it_is_open() {
    let open = [report(1, 1), begun(Some("a"), 1), loss(2, "a", 2, None)];
    let verdict = judge(&receipted(1..=2), &open, &Forks::new(), &seen(2));
    assert_eq!((verdict.lost.len(), verdict.open_losses), (1, 1));
    let at_one = [&open[..], &[closed(3, 2, 1)]].concat();
    assert_eq!(judge(&receipted(1..=2), &at_one, &Forks::new(), &seen(2)).broken(), Vec::<String>::new());
    let at_two = [&open[..], &[closed(3, 2, 2)]].concat();
    assert_eq!(
        judge(&receipted(1..=2), &at_two, &Forks::new(), &seen(2)).lost,
        [(101, 7, 2)],
        "the hub said that it had it"
    );
}

#[test]
fn report_that_is_there_twice_is_doubled() {
    let verdict = judge(&receipted(1..=1), &[report(1, 1), report(2, 1)], &Forks::new(), &Witness::default());
    assert_eq!(verdict.doubled, [(101, 7, 1)]);
}

#[test]
fn report_with_another_card_is_altered() {
    let mut event = report(1, 1);
    event["card"] = json!("00");
    assert_eq!(judge(&receipted(1..=1), &[event], &Forks::new(), &Witness::default()).altered, [(101, 7, 1)]);
}

#[test]
fn hole_between_numbers_and_behind_the_last_is_a_gap_unless_it_is_named() {
    let events = [report(1, 1), report(3, 2), begun(Some("a"), 5)];
    let verdict = judge(&receipted(1..=2), &events, &Forks::new(), &Witness::default());
    assert_eq!(verdict.gaps, [(0xa, 2), (0xa, 4), (0xa, 5)]);
    let named = [&events[..], &[loss(2, "a", 2, Some(2)), loss(3, "a", 4, Some(5))]].concat();
    assert_eq!(judge(&receipted(1..=2), &named, &Forks::new(), &Witness::default()).broken(), Vec::<String>::new());
}

#[test]
fn decision_that_was_on_a_disk_and_is_nowhere_is_a_gap() {
    let ask = (101, 5, 9);
    let decisions = [(ask, BTreeSet::from([(0xa, 2)]))].into();
    let witness = Witness { decisions, ..Witness::default() };
    assert_eq!(judge(&BTreeMap::new(), &[report(1, 1)], &Forks::new(), &witness).gaps, [(0xa, 2)]);
    let decision = json!({"epoch": "a", "number": 2, "kind": "decision", "reader": 101, "boot": "5", "request": 9});
    assert_eq!(
        judge(&BTreeMap::new(), &[report(1, 1), decision], &Forks::new(), &witness).broken(),
        Vec::<String>::new()
    );
}

#[test]
fn numbers_behind_a_fork_are_no_gap_and_those_before_it_are() {
    let events = [report(1, 1), report(2, 2), begun(Some("a"), 5)];
    let gaps = |forks: &[Place]| judge(&receipted(1..=2), &events, &forks.iter().copied().collect(), &seen(2)).gaps;
    assert_eq!(gaps(&[(0xa, 2)]), []);
    for elsewhere in [(0xa, 3), (0xb, 1)] {
        assert_eq!(gaps(&[elsewhere]), [(0xa, 3), (0xa, 4), (0xa, 5)], "{elsewhere:?}");
    }
}
