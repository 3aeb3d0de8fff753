use std::collections::BTreeMap;

use super::*;

/// A device with these lines of configuration, of which nobody had been let pass before its start.
fn portal(settings: &str) -> Portal {
    Portal { let_pass_before: 0, ..started(settings) }
}

/// One that starts at 0.
fn started(settings: &str) -> Portal {
    let settings = toml::from_str(&format!("address = 0\nreader = 101\n{settings}")).unwrap();
    Portal::new(&settings, Duration::ZERO)
}

const TURNSTILE: &str = "inputs = { rotation_entry = 0, rotation_exit = 1, tamper = 2 }";
const DOOR: &str = "inputs = { door = 3, exit_button = 4 }";
const HOLD: Duration = Duration::from_secs(5);
const ENTRY: Option<Direction> = Some(Direction::Entry);
const EXIT: Option<Direction> = Some(Direction::Exit);

/// Of a card of its own.
fn pass(request: u32, direction: Direction) -> Pass {
    let card = CardRead::from_uid(&request.to_be_bytes());
    Pass { request: Some(request), direction, card, unasked: false, asked: Duration::ZERO }
}

fn command(asked: Duration) -> Pass {
    Pass { request: None, direction: Direction::Entry, card: None, unasked: false, asked }
}

fn at(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn entered(portal: &mut Portal, request: u32, seconds: f64, effects: &mut Vec<Effect>) {
    portal.grant(at(seconds), Pass { asked: at(seconds), ..pass(request, Direction::Entry) }, HOLD, effects);
}

/// As [`entered`], with the same card each time.
fn entered_again(portal: &mut Portal, request: u32, seconds: f64, effects: &mut Vec<Effect>) {
    let pass = Pass { request: Some(request), asked: at(seconds), ..pass(0, Direction::Entry) };
    portal.grant(at(seconds), pass, HOLD, effects);
}

/// Input `number` closes for a moment.
fn closed(portal: &mut Portal, number: u8, seconds: f64, effects: &mut Vec<Effect>) {
    portal.inputs(at(seconds), 1 << number, 1 << number, effects);
    portal.inputs(at(seconds), 0, 1 << number, effects);
}

/// What was reported: kind, direction, request, input.
fn reported(effects: &mut Vec<Effect>) -> Vec<(ReportKind, Option<Direction>, Option<u32>, u8)> {
    let reports = effects.drain(..).filter_map(|effect| match effect {
        Effect::Report(of) => Some((of.kind, of.direction, of.request, of.input)),
        Effect::Release(_) => None,
    });
    reports.collect()
}

/// What was reported of requests.
fn followed_by(effects: &mut Vec<Effect>) -> Vec<(ReportKind, u32)> {
    reported(effects).into_iter().map(|(kind, _, request, _)| (kind, request.unwrap_or(0))).collect()
}

#[test]
fn rotation_after_a_grant_is_a_pass_and_any_other_is_forced() {
    let (mut portal, mut effects) = (portal(TURNSTILE), Vec::new());
    entered(&mut portal, 7, 1.0, &mut effects);
    assert_eq!(effects, [Effect::Release(HOLD)]);
    portal.inputs(at(2.0), 0b10, 0b10, &mut effects);
    assert_eq!(reported(&mut effects), [(ReportKind::Forced, EXIT, None, 0)], "the other way");
    portal.inputs(at(3.0), 0b01, 0b11, &mut effects);
    assert_eq!(reported(&mut effects), [(ReportKind::Passed, ENTRY, Some(7), 0)]);
    portal.inputs(at(3.0), 0b00, 0b01, &mut effects);
    portal.inputs(at(4.0), 0b01, 0b01, &mut effects);
    assert_eq!(reported(&mut effects), [(ReportKind::Forced, ENTRY, None, 0)], "one pass a grant");
}

#[test]
fn cards_that_are_read_while_the_one_before_is_in_the_arm_are_not_taken_for_one_another() {
    let (mut portal, mut effects) = (portal(TURNSTILE), Vec::new());
    entered(&mut portal, 1, 1.0, &mut effects);
    entered(&mut portal, 2, 1.8, &mut effects);
    closed(&mut portal, 0, 2.0, &mut effects);
    entered(&mut portal, 3, 2.6, &mut effects);
    closed(&mut portal, 0, 2.8, &mut effects);
    closed(&mut portal, 0, 3.6, &mut effects);
    assert_eq!(followed_by(&mut effects), [1, 2, 3].map(|request| (ReportKind::Passed, request)));
}

#[test]
fn whoever_turns_back_is_not_taken_for_those_behind() {
    let (mut portal, mut effects) = (portal(TURNSTILE), Vec::new());
    entered(&mut portal, 1, 1.0, &mut effects);
    for (request, seconds) in [(2, 2.5), (3, 4.0), (4, 5.5)] {
        entered(&mut portal, request, seconds, &mut effects);
        closed(&mut portal, 0, seconds + 0.8, &mut effects);
    }
    // Slower than others, and nobody else is there.
    assert_eq!(portal.next_timeout(), Some(at(7.0)));
    portal.handle_timeout(at(7.0), &mut effects);
    entered(&mut portal, 5, 8.0, &mut effects);
    closed(&mut portal, 0, 13.9, &mut effects);
    let passed = |request| (ReportKind::Passed, request);
    let expected = [passed(2), passed(3), passed(4), (ReportKind::TurnedBack, 1), passed(5)];
    assert_eq!(followed_by(&mut effects), expected);
}

#[test]
fn whoever_does_not_pass_in_time_has_turned_back_and_so_has_the_oldest_of_too_many() {
    let (mut portal, mut effects) = (portal(TURNSTILE), Vec::new());
    for request in 1..=5 {
        entered(&mut portal, request, f64::from(request), &mut effects);
    }
    let turned_back = |request| (ReportKind::TurnedBack, request);
    assert_eq!(followed_by(&mut effects), [turned_back(1)]);
    assert_eq!(portal.next_timeout(), Some(at(8.0)));
    portal.handle_timeout(at(7.9), &mut effects);
    assert!(effects.is_empty());
    portal.handle_timeout(at(9.0), &mut effects);
    assert_eq!(followed_by(&mut effects), [turned_back(2), turned_back(3)]);
    portal.handle_timeout(at(30.0), &mut effects);
    assert_eq!(followed_by(&mut effects), [turned_back(4), turned_back(5)]);
    assert_eq!(portal.next_timeout(), None);
}

#[test]
fn each_release_is_followed_by_exactly_one_report_whatever_happens() {
    for settings in [TURNSTILE, DOOR, "inputs = { rotation_entry = 0, door = 3 }", "inputs = {}"] {
        let (mut portal, mut random) = (portal(settings), fastrand::Rng::with_seed(1));
        let (mut now, mut requests, mut effects) = (Duration::ZERO, 0, Vec::new());
        let mut granted = VecDeque::new();
        for _ in 0..20_000 {
            now += Duration::from_millis(random.u64(..1500));
            match random.u32(..6) {
                0..3 => {
                    requests += 1;
                    let asked = now.saturating_sub(Duration::from_millis(random.u64(..2000)));
                    let pass = Pass { asked, ..pass(requests % 5, Direction::Entry) };
                    portal.grant(now, Pass { request: Some(requests), ..pass }, HOLD, &mut effects);
                    granted.push_back(asked);
                }
                3 => {
                    let asked = granted.pop_front().unwrap_or_default();
                    portal.release_lost(asked, random.bool(), &mut effects);
                }
                4 => portal.handle_timeout(now, &mut effects),
                _ => portal.inputs(now, random.u32(..), random.u32(..), &mut effects),
            }
        }
        portal.handle_timeout(now + HOLD * 2, &mut effects);
        let mut follows = BTreeMap::<u32, u32>::new();
        for (kind, _, request, _) in reported(&mut effects) {
            if let (Some(request), true) = (request, kind != ReportKind::HeldOpen) {
                assert!(matches!(kind, ReportKind::Passed | ReportKind::TurnedBack));
                *follows.entry(request).or_default() += 1;
            }
        }
        assert!(follows.len() == requests as usize && follows.values().all(|times| *times == 1), "{settings}");
    }
}

#[test]
fn where_nobody_sees_who_passes_a_release_is_a_pass() {
    for (settings, direction) in [("", ENTRY), ("inputs = { tamper = 1 }", ENTRY)] {
        let (mut portal, mut effects) = (portal(settings), Vec::new());
        entered(&mut portal, 1, 1.0, &mut effects);
        assert_eq!(effects[0], Effect::Release(HOLD));
        assert_eq!((reported(&mut effects), portal.next_timeout()), (vec![], Some(at(4.0))), "it may be told as lost");
        portal.handle_timeout(at(4.0), &mut effects);
        assert_eq!(reported(&mut effects), [(ReportKind::Passed, direction, Some(1), 0)]);
        assert_eq!(portal.next_timeout(), None, "nothing is awaited");
    }
    let (mut portal, mut effects) = (portal("inputs = { rotation_entry = 0, exit_button = 4 }"), Vec::new());
    entered(&mut portal, 1, 1.0, &mut effects);
    assert_eq!(followed_by(&mut effects), [], "that way it is seen");
    portal.inputs(at(2.0), 0b1_0000, 0b1_0000, &mut effects);
    portal.handle_timeout(at(5.0), &mut effects);
    let expected = [(ReportKind::InputChange, None, None, 0x84), (ReportKind::Passed, EXIT, None, 0)];
    assert_eq!(reported(&mut effects), expected);
}

#[test]
fn where_nobody_sees_who_passes_a_release_that_was_not_done_is_no_pass() {
    let (mut portal, mut effects) = (portal(""), Vec::new());
    entered(&mut portal, 1, 1.0, &mut effects);
    entered(&mut portal, 2, 1.5, &mut effects);
    entered(&mut portal, 3, 2.0, &mut effects);
    portal.release_lost(at(1.0), false, &mut effects);
    portal.release_lost(at(1.5), true, &mut effects);
    portal.handle_timeout(at(5.0), &mut effects);
    let expected = [(ReportKind::TurnedBack, 1), (ReportKind::Passed, 2), (ReportKind::Passed, 3)];
    assert_eq!(followed_by(&mut effects), expected);
    // Shown again after it: one pass, and the last that is told.
    entered_again(&mut portal, 4, 10.0, &mut effects);
    portal.release_lost(at(10.0), false, &mut effects);
    entered_again(&mut portal, 5, 12.0, &mut effects);
    portal.handle_timeout(at(20.0), &mut effects);
    assert_eq!(followed_by(&mut effects), [(ReportKind::TurnedBack, 4), (ReportKind::Passed, 5)]);
}

#[test]
fn last_that_is_told_of_a_card_that_is_shown_again_is_that_it_has_passed() {
    for is_lost in [false, true] {
        for settings in [TURNSTILE, DOOR] {
            let (mut portal, mut effects) = (portal(settings), Vec::new());
            entered_again(&mut portal, 1, 1.0, &mut effects);
            if is_lost {
                portal.release_lost(at(1.0), true, &mut effects);
            }
            entered_again(&mut portal, 2, 3.0, &mut effects);
            closed(&mut portal, if settings == DOOR { 3 } else { 0 }, 3.5, &mut effects);
            portal.handle_timeout(at(20.0), &mut effects);
            let expected = [(ReportKind::TurnedBack, 1), (ReportKind::Passed, 2)];
            assert_eq!(followed_by(&mut effects), expected, "{settings} {is_lost}");
        }
    }
    // Of others nothing is ended, and whoever is behind has no pass of theirs.
    let (mut portal, mut effects) = (portal(TURNSTILE), Vec::new());
    entered(&mut portal, 3, 1.0, &mut effects);
    entered_again(&mut portal, 4, 1.1, &mut effects);
    entered_again(&mut portal, 5, 1.2, &mut effects);
    (0..3).for_each(|_| closed(&mut portal, 0, 1.8, &mut effects));
    let kinds: Vec<_> = followed_by(&mut effects);
    let passed = |request| (ReportKind::Passed, request);
    assert_eq!(kinds, [(ReportKind::TurnedBack, 4), passed(3), passed(5), (ReportKind::Forced, 0)]);
}

#[test]
fn lost_release_is_that_of_whoever_waited_for_it_and_of_nobody_else() {
    for may_be_done in [false, true] {
        let (mut portal, mut effects) = (portal(TURNSTILE), Vec::new());
        entered(&mut portal, 1, 1.0, &mut effects);
        portal.grant(at(2.0), command(at(2.0)), HOLD, &mut effects);
        portal.release_lost(at(1.0), may_be_done, &mut effects);
        // Of somebody of whom all has been told.
        portal.release_lost(at(0.5), false, &mut effects);
        closed(&mut portal, 0, 4.0, &mut effects);
        portal.handle_timeout(at(20.0), &mut effects);
        let mut told = reported(&mut effects);
        told.sort_by_key(|(_, _, request, _)| *request);
        let expected = [(ReportKind::Passed, ENTRY, None, 0), (ReportKind::TurnedBack, ENTRY, Some(1), 0)];
        assert_eq!(told, expected, "{may_be_done}");
    }
}

#[test]
fn door_that_opens_as_the_arm_turns_is_opened_by_who_turns_it() {
    let settings = "inputs = { rotation_entry = 0, door = 3, exit_button = 4 }";
    for is_at_once in [true, false] {
        let (mut portal, mut effects) = (portal(settings), Vec::new());
        entered(&mut portal, 1, 1.0, &mut effects);
        if is_at_once {
            portal.inputs(at(2.0), 0b1001, 0b1001, &mut effects);
        } else {
            portal.inputs(at(2.0), 0b0001, 0b0001, &mut effects);
            portal.inputs(at(2.9), 0b1001, 0b1000, &mut effects);
        }
        portal.handle_timeout(at(18.0), &mut effects);
        let expected = [(ReportKind::Passed, 1), (ReportKind::HeldOpen, 1)];
        assert_eq!(followed_by(&mut effects), expected, "{is_at_once}");
        portal.inputs(at(19.0), 0, 0b1001, &mut effects);
        portal.inputs(at(20.0), 0b1000, 0b1000, &mut effects);
        assert_eq!(followed_by(&mut effects), [(ReportKind::Forced, 0)], "long after it");
    }
    for opened in [None, Some(2.0), Some(6.9)] {
        let (mut portal, mut effects) = (portal(settings), Vec::new());
        let at_once = if opened.is_none() { 0b1_1000 } else { 0b1_0000 };
        portal.inputs(at(1.0), at_once, at_once, &mut effects);
        portal.handle_timeout(opened.map_or(at(1.0), at), &mut effects);
        opened.into_iter().for_each(|seconds| portal.inputs(at(seconds), 0b1_1000, 0b1000, &mut effects));
        portal.handle_timeout(at(7.0), &mut effects);
        assert!(reported(&mut effects).iter().all(|(kind, ..)| *kind != ReportKind::Forced), "{opened:?}");
    }
}

#[test]
fn door_is_passed_forced_and_held_open() {
    let (mut portal, mut effects) = (portal(DOOR), Vec::new());
    entered(&mut portal, 3, 1.0, &mut effects);
    portal.inputs(at(2.0), 0b1000, 0b1000, &mut effects);
    assert_eq!(reported(&mut effects), [(ReportKind::Passed, ENTRY, Some(3), 0)]);
    assert_eq!(portal.next_timeout(), Some(at(17.0)));
    portal.handle_timeout(at(16.9), &mut effects);
    assert!(effects.is_empty());
    portal.handle_timeout(at(17.0), &mut effects);
    portal.handle_timeout(at(40.0), &mut effects);
    assert_eq!(reported(&mut effects), [(ReportKind::HeldOpen, ENTRY, Some(3), 0)], "told once, and after whom");
    portal.inputs(at(50.0), 0, 0b1000, &mut effects);
    portal.inputs(at(51.0), 0b1000, 0b1000, &mut effects);
    assert_eq!(reported(&mut effects), [(ReportKind::Forced, None, None, 0)]);
    portal.handle_timeout(at(66.0), &mut effects);
    assert_eq!(reported(&mut effects), [(ReportKind::HeldOpen, None, None, 0)]);
    portal.inputs(at(70.0), 0, 0b1000, &mut effects);
    portal.grant(at(71.0), pass(4, Direction::Entry), HOLD * 6, &mut effects);
    portal.inputs(at(72.0), 0b1000, 0b1000, &mut effects);
    assert_eq!(portal.next_timeout(), Some(at(102.0)), "for as long as it may be open nobody holds it open");
}

#[test]
fn whoever_is_let_through_a_door_that_is_open_has_passed() {
    let (mut portal, mut effects) = (portal(DOOR), Vec::new());
    entered(&mut portal, 1, 1.0, &mut effects);
    entered(&mut portal, 2, 1.5, &mut effects);
    portal.inputs(at(2.0), 0b1000, 0b1000, &mut effects);
    entered(&mut portal, 3, 3.0, &mut effects);
    entered(&mut portal, 4, 4.0, &mut effects);
    portal.inputs(at(5.0), 0, 0b1000, &mut effects);
    entered(&mut portal, 5, 6.0, &mut effects);
    // The door had closed before the third came to it.
    portal.inputs(at(6.5), 0b1000, 0b1000, &mut effects);
    portal.inputs(at(6.6), 0, 0b1000, &mut effects);
    entered(&mut portal, 6, 7.0, &mut effects);
    for tenths in 66..140 {
        portal.handle_timeout(Duration::from_millis(tenths * 100), &mut effects);
    }
    let passed = |request| (ReportKind::Passed, request);
    let expected = [passed(1), passed(5), passed(2), passed(3), passed(4), (ReportKind::TurnedBack, 6)];
    assert_eq!(followed_by(&mut effects), expected);
}

#[test]
fn button_lets_out_and_is_not_called_forced() {
    let (mut portal, mut effects) = (portal(DOOR), Vec::new());
    portal.inputs(at(1.0), 0b1_0000, 0b1_0000, &mut effects);
    assert!(effects.contains(&Effect::Release(BUTTON_OPEN)));
    assert_eq!(reported(&mut effects), [(ReportKind::InputChange, None, None, 0x84)]);
    portal.inputs(at(2.0), 0b1_1000, 0b1000, &mut effects);
    let Some(Effect::Report(passed)) = effects.pop() else { panic!("{effects:?}") };
    assert!(passed.kind == ReportKind::Passed && passed.unasked && passed.direction == EXIT);
    portal.inputs(at(3.0), 0, 0b1_1000, &mut effects);
    portal.inputs(at(4.0), 0b1_0000, 0b1_0000, &mut effects);
    effects.clear();
    portal.handle_timeout(at(20.0), &mut effects);
    assert!(effects.is_empty() && portal.next_timeout().is_none(), "nobody was let pass by name");
}

#[test]
fn command_that_nobody_uses_is_followed_by_a_turning_back() {
    let (mut portal, mut effects) = (portal(TURNSTILE), Vec::new());
    portal.grant(at(1.0), command(at(1.0)), HOLD, &mut effects);
    portal.handle_timeout(at(7.0), &mut effects);
    assert_eq!(reported(&mut effects), [(ReportKind::TurnedBack, ENTRY, None, 0)]);
}

#[test]
fn whoever_goes_through_shortly_after_a_start_may_have_been_let_pass_before_it() {
    let (mut portal, mut effects) = (started("inputs = { rotation_entry = 0, rotation_exit = 1 }"), Vec::new());
    closed(&mut portal, 1, 1.0, &mut effects);
    assert_eq!(reported(&mut effects), [(ReportKind::Forced, EXIT, None, 0)], "nobody is ever let pass that way");
    for _ in 0..OSDP_PASSES_AWAITED_MAX {
        closed(&mut portal, 0, 60.9, &mut effects);
        assert_eq!(reported(&mut effects), [(ReportKind::Passed, ENTRY, None, 0)]);
    }
    closed(&mut portal, 0, 60.9, &mut effects);
    assert_eq!(reported(&mut effects), [(ReportKind::Forced, ENTRY, None, 0)], "more than can have been awaited");
    let mut portal = started(DOOR);
    portal.inputs(at(60.9), 0b1000, 0b1000, &mut effects);
    assert_eq!(reported(&mut effects), [(ReportKind::Passed, None, None, 0)]);
    closed(&mut portal, 3, 61.0, &mut effects);
    assert_eq!(reported(&mut effects), [(ReportKind::Forced, None, None, 0)]);
}

#[test]
fn started_reader_knows_whom_it_awaits_but_not_by_what_number() {
    let (mut portal, mut effects) = (portal(DOOR), Vec::new());
    entered(&mut portal, 1, 1.0, &mut effects);
    entered(&mut portal, 2, 1.1, &mut effects);
    portal.inputs(at(1.2), 0b1000, 0b1000, &mut effects);
    effects.clear();
    portal.forget_requests();
    portal.inputs(at(1.3), 0, 0b1000, &mut effects);
    portal.inputs(at(1.4), 0b1000, 0b1000, &mut effects);
    let Some(Effect::Report(passed)) = effects.pop() else { panic!("{effects:?}") };
    assert_eq!((passed.kind, passed.request, passed.card.is_some()), (ReportKind::Passed, None, true));
    portal.handle_timeout(at(20.0), &mut effects);
    assert_eq!(reported(&mut effects), [(ReportKind::HeldOpen, ENTRY, None, 0)]);
}

#[test]
fn whose_release_may_not_have_reached_the_device_passes_after_all_others_or_has_turned_back() {
    let (mut portal, mut effects) = (portal(TURNSTILE), Vec::new());
    entered(&mut portal, 1, 1.0, &mut effects);
    portal.release_lost(at(1.0), true, &mut effects);
    entered(&mut portal, 2, 1.5, &mut effects);
    closed(&mut portal, 0, 2.0, &mut effects);
    assert_eq!(followed_by(&mut effects), [(ReportKind::Passed, 2)]);
    closed(&mut portal, 0, 2.4, &mut effects);
    assert_eq!(followed_by(&mut effects), [(ReportKind::Passed, 1)], "it had reached it after all");
    entered(&mut portal, 3, 3.0, &mut effects);
    portal.release_lost(at(3.0), true, &mut effects);
    portal.release_lost(at(3.0), true, &mut effects);
    portal.handle_timeout(at(9.0), &mut effects);
    assert_eq!(followed_by(&mut effects), [(ReportKind::TurnedBack, 3)]);
    entered(&mut portal, 4, 10.0, &mut effects);
    portal.release_lost(at(10.0), false, &mut effects);
    assert_eq!(followed_by(&mut effects), [(ReportKind::TurnedBack, 4)], "it was not done");
    closed(&mut portal, 0, 10.1, &mut effects);
    assert_eq!(portal.next_timeout(), None);
}

#[test]
fn tamper_and_inputs_without_meaning_are_reported() {
    let (mut portal, mut effects) = (portal(TURNSTILE), Vec::new());
    portal.inputs(at(1.0), 0b1_0100, 0b1_0100, &mut effects);
    portal.inputs(at(2.0), 0, 0b1_0100, &mut effects);
    let expected = [
        (ReportKind::Tamper, None, None, 0),
        (ReportKind::InputChange, None, None, 0x84),
        (ReportKind::InputChange, None, None, 4),
    ];
    assert_eq!(reported(&mut effects), expected);
}
