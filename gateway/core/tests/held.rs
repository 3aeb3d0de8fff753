//! Deciding by a time that is not known well: schedules do not count for essential access levels, and for nothing else.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{GATE, GATE_PORTAL, SUNDAY_NOON, ask, building, profile, slot, snapshot};
use kalitka_core::{ClockQuality, Overlay, Time, UnixSeconds, View, decide};
use kalitka_protocol::ReaderId;
use kalitka_protocol::reason::{Denial, Direction, Grant, Verdict};
use kalitka_snapshot::model::{ENTRY, EXIT, Interval, ModeRule, Model, PortalMode, Schedule, Slot};

const GRANT: Verdict = Verdict::Grant(Grant::AccessLevel);
const FREE: Verdict = Verdict::Grant(Grant::PortalFree);
const OUTSIDE: Verdict = Verdict::Deny(Denial::OutsideSchedule);

/// Cards by number: 1 always, 2 in lessons, 3 out only, 4 elsewhere, 6 on Saturday. Essential: lessons, and out.
fn model() -> Model {
    let mut model = building();
    let profiles = [profile::ALWAYS, profile::LESSONS, profile::EXIT_ONLY, profile::ELSEWHERE, profile::NOTHING];
    model.slots = profiles.into_iter().zip(1..).map(|(profile, card)| slot(card, profile)).collect();
    model.slots.push(slot(6, profile::SATURDAY));
    model
}

fn view(model: Model) -> View {
    let essential = ["gate in lessons", "gate out", "no such level"].map(str::to_owned);
    View::build(snapshot(model, 1), SUNDAY_NOON).with_essential(&essential)
}

fn verdict(view: &View, overlay: &Overlay, card: u32, direction: Direction, quality: ClockQuality) -> Verdict {
    let now = Time { seconds: SUNDAY_NOON, quality };
    decide(Some(view), overlay, ReaderId(GATE), &ask(1, card, direction), now).verdict
}

/// What the gate says to cards 1 to 7 at entry while time is held, with its mode and one that holds by a schedule of always.
fn held_at_entry(mode: PortalMode, scheduled: Option<PortalMode>) -> Vec<Verdict> {
    held_at(Direction::Entry, mode, scheduled)
}

fn held_at(direction: Direction, mode: PortalMode, scheduled: Option<PortalMode>) -> Vec<Verdict> {
    let mut model = model();
    model.schedules.push(Schedule { name: "all week".into(), intervals: vec![Interval { from: 0, to: 10_080 }] });
    model.portals[GATE_PORTAL].mode = mode as u8;
    model.portals[GATE_PORTAL].modes =
        scheduled.map(|mode| ModeRule { schedule: 2, mode: mode as u8 }).into_iter().collect();
    let view = view(model);
    (1..=7).map(|card| verdict(&view, &Overlay::default(), card, direction, ClockQuality::Held)).collect()
}

#[test]
fn held_time_ignores_schedules_for_essential_levels_alone() {
    let deny = Verdict::Deny;
    let expected = [
        GRANT,
        GRANT,
        deny(Denial::WrongDirection),
        deny(Denial::NoAccess),
        deny(Denial::NoAccess),
        OUTSIDE,
        deny(Denial::UnknownCredential),
    ];
    assert_eq!(held_at_entry(PortalMode::Normal, None), expected);
    let view = view(model());
    let good = |card| verdict(&view, &Overlay::default(), card, Direction::Entry, ClockQuality::Good);
    assert_eq!(good(2), OUTSIDE, "on a Sunday, when the time is known");
    assert_eq!((1..=7).filter(|card| good(*card) == GRANT).collect::<Vec<_>>(), [1]);
}

#[test]
fn held_time_grants_nothing_that_is_not_granted_at_some_time() {
    let view = view(model());
    for direction in Direction::ALL {
        for card in 1..=7 {
            let held = verdict(&view, &Overlay::default(), card, *direction, ClockQuality::Held);
            let ever = (0..7).any(|day| {
                (0..24).any(|hour| {
                    let seconds = UnixSeconds(SUNDAY_NOON.0 + day * 24 * 3600 + hour * 3600);
                    let view = View::build(view.snapshot().clone(), seconds);
                    let good = Time::good(seconds);
                    decide(Some(&view), &Overlay::default(), ReaderId(GATE), &ask(1, card, *direction), good).verdict
                        == GRANT
                })
            });
            assert!(held != GRANT || ever, "card {card}, {direction:?}");
        }
    }
}

#[test]
fn no_schedule_opens_or_closes_a_portal_to_whom_it_matters_while_time_is_held() {
    use PortalMode::{Closed, EntryOnly, ExitOnly, Free, Normal};
    let closed = Verdict::Deny(Denial::PortalClosed);
    let other_way = Verdict::Deny(Denial::DirectionClosed);
    let normal = held_at_entry(Normal, None);
    let all = |verdict: Verdict| vec![verdict; 7];
    let only_card_2 = |closed: Verdict| {
        let mut verdicts = vec![closed; 7];
        verdicts[1] = GRANT;
        // Who has no such card is told so, as ever when the portal lets anybody pass.
        verdicts[6] = Verdict::Deny(Denial::UnknownCredential);
        verdicts
    };
    let table = [
        (Normal, Some(Free), normal.clone()),
        (Free, Some(Free), all(FREE)),
        (Free, None, all(FREE)),
        (Closed, Some(Free), all(closed)),
        (ExitOnly, Some(Free), all(other_way)),
        (Normal, Some(Closed), only_card_2(closed)),
        (Normal, Some(ExitOnly), only_card_2(other_way)),
        (EntryOnly, Some(Closed), only_card_2(closed)),
        (ExitOnly, Some(Closed), all(closed)),
        (Closed, Some(Normal), normal.clone()),
        (Closed, None, all(closed)),
        // A portal that is free but for the night lets its holders in at night, and nobody else.
        (Free, Some(Closed), only_card_2(closed)),
        (Normal, Some(EntryOnly), normal),
    ];
    for (mode, scheduled, expected) in table {
        assert_eq!(held_at_entry(mode, scheduled), expected, "{mode:?}, by schedule {scheduled:?}");
    }
    assert_eq!(held_at(Direction::Exit, Normal, Some(EntryOnly))[1..3], [GRANT, GRANT], "children may go home");
}

#[test]
fn orders_hold_whatever_the_time() {
    let view = view(model());
    let overlay = Overlay::default();
    overlay.set_mode(None, Some(PortalMode::Closed), 1).unwrap();
    for quality in [ClockQuality::Good, ClockQuality::Held] {
        for card in 1..=7 {
            let verdict = verdict(&view, &overlay, card, Direction::Entry, quality);
            assert_eq!(verdict, Verdict::Deny(Denial::PortalClosed));
        }
    }
    overlay.set_mode(None, Some(PortalMode::Free), 2).unwrap();
    assert_eq!(verdict(&view, &overlay, 7, Direction::Entry, ClockQuality::Held), FREE);
}

#[test]
fn validity_and_states_count_while_time_is_held() {
    let second = u32::try_from(SUNDAY_NOON.0).unwrap();
    for (change, expected) in [
        ((|slot, now| slot.credential_to = now) as fn(&mut Slot, u32), Denial::CredentialExpired),
        (|slot, now| slot.credential_from = now + 1, Denial::CredentialNotYetValid),
        (|slot, now| slot.holder_to = now, Denial::HolderExpired),
        (|slot, now| slot.holder_from = now + 1, Denial::HolderNotYetValid),
    ] {
        let mut model = model();
        change(&mut model.slots[1], second);
        let verdict = verdict(&view(model), &Overlay::default(), 2, Direction::Entry, ClockQuality::Held);
        assert_eq!(verdict, Verdict::Deny(expected));
    }
}

#[test]
fn others_are_judged_by_their_schedule_at_the_held_second() {
    let view = |now| View::build(snapshot(model(), 1), UnixSeconds(now));
    // Saturday's schedule ends at midnight in Moscow, twelve hours before.
    let midnight = SUNDAY_NOON.0 - 12 * 3600;
    for (now, expected) in [(midnight - 1, GRANT), (midnight, OUTSIDE)] {
        let time = Time { seconds: UnixSeconds(now), quality: ClockQuality::Held };
        let ask = ask(1, 6, Direction::Entry);
        assert_eq!(decide(Some(&view(now)), &Overlay::default(), ReaderId(GATE), &ask, time).verdict, expected);
    }
}

#[test]
fn time_that_is_unknown_denies_everybody_and_a_free_portal_too() {
    let mut model = model();
    model.portals[GATE_PORTAL].mode = PortalMode::Free as u8;
    let view = view(model);
    for card in 1..=7 {
        for direction in Direction::ALL {
            let verdict = verdict(&view, &Overlay::default(), card, *direction, ClockQuality::None);
            assert_eq!(verdict, Verdict::Deny(Denial::TimeUnknown));
        }
    }
}

#[test]
fn view_that_time_is_about_to_leave_by_a_jump_knows_both_moments() {
    let snapshot = snapshot(model(), 1);
    let monday_ten = UnixSeconds(SUNDAY_NOON.0 + 22 * 3600);
    let later = UnixSeconds(monday_ten.0 + 30 * 24 * 3600);
    let view = View::build(snapshot.clone(), later).leaving(monday_ten);
    assert_eq!(view.at(monday_ten), View::build(snapshot.clone(), monday_ten).at(monday_ten));
    assert_eq!(view.at(later), View::build(snapshot.clone(), later).at(later));
    assert!(!view.is_due(later) && view.is_due(monday_ten));
    let without = View::build(snapshot, later);
    assert!(without.at(monday_ten).is_none(), "it would not know it by itself");
    assert_eq!(view.at(later).map(|plan| plan.from()), without.leaving(later).at(later).map(|plan| plan.from()));
}

#[test]
fn essential_is_by_level_so_that_another_level_of_the_same_holder_is_not() {
    let mut model = model();
    // Card 2 has, besides its lessons, the gate's exit on Saturdays.
    model.access_levels[4].grants[0].directions = EXIT;
    model.access_levels[1].grants[0].directions = ENTRY;
    model.profiles[usize::from(profile::LESSONS)] = vec![1, 4];
    let view = view(model);
    let held = |direction| verdict(&view, &Overlay::default(), 2, direction, ClockQuality::Held);
    assert_eq!([held(Direction::Entry), held(Direction::Exit)], [GRANT, OUTSIDE]);
}
