use kalitka_protocol::credential::CardRead;
use kalitka_protocol::reason::{Denial, Direction, Grant};

use super::*;
use crate::limits::HOLDERS_MIN;
use crate::roster;

/// 09:10 on a Monday in Moscow.
const MONDAY: i64 = 1_795_414_200;
const UNKNOWN: Verdict = Verdict::Deny(Denial::UnknownCredential);

fn oracle() -> Oracle {
    let dir = tempfile::tempdir().unwrap();
    roster::write(dir.path(), HOLDERS_MIN, 1).unwrap();
    Oracle::read(dir.path()).unwrap()
}

fn tally() -> Tally {
    Tally::new(Judges::from(5, oracle()))
}

/// An unknown card at reader 101, shown at millisecond `shown`.
fn ask(shown: u64) -> Asked {
    let card = CardRead::from_uid(&[0xff; 4]).unwrap();
    Asked {
        reader: ReaderId(101),
        show: Show { card, direction: Direction::Entry },
        shown: Duration::from_millis(shown),
        sent: MONDAY,
        in_outage: false,
        mark: None,
    }
}

fn answer(verdict: Verdict, generation: u32, at: u64) -> Answered {
    Answered { verdict, generation, at: Duration::from_millis(at), wall: MONDAY }
}

#[test]
fn right_answer_counts_from_the_intended_moment() {
    let mut tally = tally();
    tally.ask(false, Duration::from_millis(3));
    tally.answer(&ask(100), &answer(UNKNOWN, 5, 107));
    assert_eq!((tally.answered.outside, tally.wrong), (1, 0));
    assert_eq!(tally.latency.max() / 100_000, 70);
    assert_eq!(tally.lateness.max() / 100_000, 30);
}

#[test]
fn wrong_answer_is_counted_and_told() {
    let mut tally = tally();
    tally.answer(&ask(0), &answer(Verdict::Grant(Grant::AccessLevel), 5, 1));
    tally.answer(&ask(0), &answer(Verdict::Deny(Denial::CredentialLost), 5, 1));
    assert_eq!((tally.answered.total(), tally.wrong), (2, 2));
    assert!(
        tally.wrong_shown[0].contains("answered access_level, right is unknown_credential"),
        "{:?}",
        tally.wrong_shown
    );
}

#[test]
fn wrong_answers_are_told_up_to_a_limit() {
    let mut tally = tally();
    for _ in 0..=WRONG_SHOWN {
        tally.answer(&ask(0), &answer(Verdict::Deny(Denial::CredentialLost), 5, 1));
    }
    assert_eq!((tally.wrong, tally.wrong_shown.len()), (WRONG_SHOWN as u64 + 1, WRONG_SHOWN));
}

#[test]
fn answer_by_a_snapshot_of_no_roster_is_wrong() {
    let mut tally = tally();
    tally.answer(&ask(0), &answer(UNKNOWN, 4, 1));
    tally.answer(&ask(0), &answer(UNKNOWN, 0, 1));
    assert_eq!(tally.wrong, 2);
}

#[test]
fn either_side_of_a_border_is_right_when_it_lay_between_sending_and_receiving() {
    // 08:30: from now on turnstile 1 lets people out.
    let border = MONDAY - 40 * 60;
    let out = |sent| Asked { sent, show: Show { direction: Direction::Exit, ..ask(0).show }, ..ask(0) };
    let wrong = |sent, wall, verdict| {
        let mut tally = tally();
        tally.answer(&out(sent), &Answered { wall, ..answer(verdict, 5, 1) });
        tally.wrong
    };
    let closed = Verdict::Deny(Denial::DirectionClosed);
    assert_eq!(wrong(border - 1, border, closed), 0);
    assert_eq!(wrong(border - 1, border, UNKNOWN), 0);
    assert_eq!(wrong(border - 1, border - 1, UNKNOWN), 1);
    assert_eq!(wrong(border, border, closed), 1);
}

#[test]
fn outage_lasts_from_the_kill_to_the_first_right_answer_to_a_card_shown_after_it() {
    let mut tally = tally();
    tally.ask(false, Duration::ZERO);
    tally.begin_outage(Duration::from_millis(1000), 1);
    assert_eq!((tally.asked.outside, tally.asked.during), (0, 1));
    let during = |shown| Asked { in_outage: true, ..ask(shown) };
    tally.answer(&during(990), &answer(UNKNOWN, 5, 1100));
    tally.answer(&during(1010), &answer(Verdict::Deny(Denial::NoSnapshot), 5, 1120));
    assert!(tally.is_in_outage() && tally.outage_len().is_none());
    tally.answer(&during(1020), &answer(UNKNOWN, 5, 1150));
    tally.answer(&during(1030), &answer(UNKNOWN, 5, 1190));
    assert_eq!(tally.outage_len(), Some(Duration::from_millis(150)));
    assert_eq!((tally.latency.len(), tally.latency_in_outage.len()), (0, 4));
}

#[test]
fn answer_by_an_older_snapshot_than_one_seen_before_the_card_was_shown_is_wrong() {
    let mut tally = Tally::new(Judges::from(5, oracle()).then(6, oracle()));
    tally.answer(&ask(0), &answer(UNKNOWN, 5, 1));
    tally.answer(&ask(10), &answer(UNKNOWN, 6, 12));
    tally.answer(&ask(11), &answer(UNKNOWN, 5, 13));
    assert_eq!(tally.wrong, 0, "it was on its way when the snapshots changed");
    tally.answer(&ask(13), &answer(UNKNOWN, 5, 14));
    assert_eq!(tally.wrong, 1);
}

#[test]
fn answer_by_the_old_snapshot_after_the_new_one_is_known_to_be_in_force_is_wrong() {
    let mut tally = Tally::new(Judges::from(5, oracle()).then(6, oracle()));
    tally.promise_last(Duration::from_millis(100));
    tally.answer(&ask(100), &answer(UNKNOWN, 5, 105));
    assert_eq!(tally.wrong, 0);
    tally.answer(&ask(101), &answer(UNKNOWN, 5, 105));
    assert_eq!(tally.wrong, 1);
}

#[test]
fn late_generator_moves_no_card_into_the_outage() {
    let mut tally = tally();
    tally.begin_outage(Duration::from_secs(1), 0);
    assert!(tally.is_lost_time(Duration::from_secs(1)));
    assert!(!tally.is_lost_time(Duration::from_secs(1) - IN_FLIGHT));
}

#[test]
fn outage_that_never_ends_lasts_to_the_end_of_the_run() {
    let mut tally = tally();
    tally.begin_outage(Duration::from_secs(1), 0);
    tally.end(Duration::from_secs(9));
    assert_eq!((tally.came_back(), tally.outage_len()), (false, Some(Duration::from_secs(8))));
}

#[test]
fn marked_card_is_counted_by_the_snapshot_that_judged_it() {
    let mut tally = Tally::new(Judges::from(5, oracle()).then(6, oracle()));
    let marked = Asked { mark: Some(Mark::BySnapshot), ..ask(0) };
    tally.answer(&marked, &answer(Verdict::Grant(Grant::AccessLevel), 5, 1));
    tally.answer(&marked, &answer(Verdict::Deny(Denial::CredentialBlocked), 6, 2));
    tally.answer(&marked, &answer(Verdict::Grant(Grant::AccessLevel), 6, 3));
    let Marked { granted_before, refused_after, granted_after } = tally.by_snapshot;
    assert_eq!((granted_before, refused_after, granted_after), (1, 1, 1));
    assert_eq!(tally.last_snapshot_seen, Some(Duration::from_millis(2)));
}

/// Judges of one roster in which a command makes every portal refuse, and the verdict that it then gives.
fn ordered() -> (Judges, Verdict) {
    let dir = tempfile::tempdir().unwrap();
    roster::write(dir.path(), HOLDERS_MIN, 1).unwrap();
    let building = std::fs::read_to_string(dir.path().join("building.toml")).unwrap();
    std::fs::write(dir.path().join("building.toml"), building.replace("[[portal]]", "[[portal]]\nmode = \"closed\""))
        .unwrap();
    let closed = Oracle::read(dir.path()).unwrap();
    let verdict = closed.judge(ReaderId(101), &ask(0).show.card, Direction::Entry, 0, MONDAY);
    assert_ne!(verdict, UNKNOWN);
    (Judges::from(5, oracle()).ordered(closed), verdict)
}

#[test]
fn command_is_right_from_its_giving_on_and_alone_right_when_it_is_done() {
    let wrong = |shown, at, verdict_is_ordered| {
        let (judges, closed) = ordered();
        let mut tally = Tally::new(judges);
        tally.order(Duration::from_millis(100));
        tally.order_done(Duration::from_millis(200));
        tally.answer(&ask(shown), &answer(if verdict_is_ordered { closed } else { UNKNOWN }, 5, at));
        tally.wrong
    };
    assert_eq!((wrong(50, 99, false), wrong(50, 99, true)), (0, 1), "before it was given");
    assert_eq!((wrong(50, 150, false), wrong(50, 150, true)), (0, 0), "on the way");
    assert_eq!((wrong(200, 250, false), wrong(200, 250, true)), (0, 0), "shown before it was known to be done");
    assert_eq!((wrong(201, 250, false), wrong(201, 250, true)), (1, 0), "after");
}

#[test]
fn command_that_is_never_given_changes_nothing() {
    let (judges, closed) = ordered();
    let mut tally = Tally::new(judges);
    tally.answer(&ask(50), &answer(UNKNOWN, 5, 60));
    assert_eq!(tally.wrong, 0);
    tally.answer(&ask(50), &answer(closed, 5, 60));
    assert_eq!(tally.wrong, 1);
}

#[test]
fn card_of_the_command_is_counted_from_when_it_is_done() {
    let (judges, closed) = ordered();
    let mut tally = Tally::new(judges);
    tally.order(Duration::ZERO);
    let marked = |shown| Asked { mark: Some(Mark::ByCommand), ..ask(shown) };
    tally.answer(&marked(1), &answer(Verdict::Grant(Grant::AccessLevel), 5, 2));
    tally.answer(&marked(3), &answer(closed, 5, 4));
    tally.order_done(Duration::from_millis(5));
    tally.answer(&marked(6), &answer(closed, 5, 7));
    tally.answer(&marked(6), &answer(Verdict::Grant(Grant::AccessLevel), 5, 7));
    let Marked { granted_before, refused_after, granted_after } = tally.by_command;
    assert_eq!((granted_before, refused_after, granted_after), (1, 1, 1));
}
