//! Deciding by a snapshot that is too old: only essential access levels count, by their schedules as ever.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{GATE, GATE_PORTAL, SUNDAY_NOON, ask, building, profile, slot, snapshot, uid};
use kalitka_core::{ClockQuality, Overlay, Time, UnixSeconds, View, decide};
use kalitka_protocol::ReaderId;
use kalitka_protocol::credential::Credential;
use kalitka_protocol::reason::{Denial, Direction, Grant, Verdict};
use kalitka_snapshot::model::{CredentialState, Model, PortalMode};

const GRANT: Verdict = Verdict::Grant(Grant::AccessLevel);
const FREE: Verdict = Verdict::Grant(Grant::PortalFree);
const STALE: Verdict = Verdict::Deny(Denial::PermissionsStale);
const OUTSIDE: Verdict = Verdict::Deny(Denial::OutsideSchedule);

/// A Monday at ten, in lessons.
const MONDAY_TEN: UnixSeconds = UnixSeconds(SUNDAY_NOON.0 + 22 * 3600);
const YEAR: i64 = 365 * 24 * 3600;

/// Cards by number: 1 always, 2 in lessons, 3 out only, 4 elsewhere, 5 nowhere, 6 always and in lessons.
fn model() -> Model {
    let mut model = building();
    let profiles = [profile::ALWAYS, profile::LESSONS, profile::EXIT_ONLY, profile::ELSEWHERE, profile::NOTHING];
    model.profiles.push(vec![0, 1]);
    model.slots = profiles.into_iter().chain([6]).zip(1..).map(|(profile, card)| slot(card, profile)).collect();
    model
}

/// Built for `now`; lessons are essential.
fn view(model: Model, now: UnixSeconds) -> View {
    View::build(snapshot(model, 1), now).with_essential(&["gate in lessons".to_owned()])
}

fn held(seconds: UnixSeconds) -> Time {
    Time { seconds, quality: ClockQuality::Held }
}

fn at_entry(view: &View, overlay: &Overlay, card: u32, now: Time) -> Verdict {
    decide(Some(view), overlay, ReaderId(GATE), &ask(1, card, Direction::Entry), now).verdict
}

/// What the gate says to cards 1 to 7 at entry.
fn all_at_entry(view: &View, now: Time) -> [Verdict; 7] {
    [1, 2, 3, 4, 5, 6, 7].map(|card| at_entry(view, &Overlay::default(), card, now))
}

#[test]
fn permissions_are_stale_from_their_second_on() {
    let border = MONDAY_TEN;
    let view = view(model(), border).stale_from(border);
    for (second, expected) in [(border.0 - YEAR, false), (border.0 - 1, false), (border.0, true), (border.0 + 1, true)]
    {
        assert_eq!(view.is_stale(UnixSeconds(second)), expected, "{second}");
    }
    for (second, expected) in [(border.0 - 1, GRANT), (border.0, STALE), (border.0 + 1, STALE)] {
        for now in [Time::good(UnixSeconds(second)), held(UnixSeconds(second))] {
            assert_eq!(at_entry(&view, &Overlay::default(), 1, now), expected, "{now:?}");
        }
    }
}

#[test]
fn essential_levels_pass_by_their_schedules_and_the_others_are_denied_for_the_age() {
    let deny = Verdict::Deny;
    let others =
        [deny(Denial::WrongDirection), deny(Denial::NoAccess), deny(Denial::NoAccess), deny(Denial::UnknownCredential)];
    let with = |first: Verdict, second: Verdict, both: Verdict| {
        [first, second, others[0], others[1], others[2], both, others[3]]
    };
    let in_lessons = view(model(), MONDAY_TEN);
    assert_eq!(all_at_entry(&in_lessons, Time::good(MONDAY_TEN)), with(GRANT, GRANT, GRANT));
    let in_lessons = in_lessons.stale_from(MONDAY_TEN);
    assert_eq!(all_at_entry(&in_lessons, Time::good(MONDAY_TEN)), with(STALE, GRANT, GRANT));
    // On a Sunday the essential level does not count, and who has another one is denied for the age, not for the hour.
    let on_sunday = view(model(), SUNDAY_NOON).stale_from(SUNDAY_NOON);
    assert_eq!(all_at_entry(&on_sunday, Time::good(SUNDAY_NOON)), with(STALE, OUTSIDE, STALE));
}

#[test]
fn held_time_widens_essential_levels_of_a_stale_snapshot_as_of_any() {
    let view = view(model(), SUNDAY_NOON).stale_from(SUNDAY_NOON);
    let verdicts = all_at_entry(&view, held(SUNDAY_NOON));
    assert_eq!([verdicts[0], verdicts[1], verdicts[5]], [STALE, GRANT, GRANT]);
    let unknown = Time { seconds: SUNDAY_NOON, quality: ClockQuality::None };
    assert_eq!(all_at_entry(&view, unknown), [Verdict::Deny(Denial::TimeUnknown); 7]);
}

#[test]
fn both_plans_and_the_one_that_is_left_know_the_essential_levels() {
    let view = view(model(), SUNDAY_NOON).stale_from(UnixSeconds(0));
    let border = view.next_border();
    for (second, expected) in [(border.0 - 1, OUTSIDE), (border.0, GRANT), (MONDAY_TEN.0, GRANT)] {
        assert_eq!(at_entry(&view, &Overlay::default(), 2, Time::good(UnixSeconds(second))), expected, "{second}");
    }
    let later = UnixSeconds(MONDAY_TEN.0 + 28 * 24 * 3600);
    for essential_first in [true, false] {
        let essential = ["gate in lessons".to_owned()];
        let view = View::build(snapshot(model(), 1), later).stale_from(UnixSeconds(0));
        let view = if essential_first {
            view.with_essential(&essential).leaving(MONDAY_TEN)
        } else {
            view.leaving(MONDAY_TEN).with_essential(&essential)
        };
        for now in [MONDAY_TEN, later] {
            assert_eq!(all_at_entry(&view, Time::good(now))[..2], [STALE, GRANT], "{now:?}");
        }
    }
}

#[test]
fn free_portals_and_ordered_modes_hold_whatever_the_age() {
    let mut free = model();
    free.portals[GATE_PORTAL].mode = PortalMode::Free as u8;
    let free = view(free, MONDAY_TEN).stale_from(UnixSeconds(0));
    assert_eq!(all_at_entry(&free, Time::good(MONDAY_TEN)), [FREE; 7]);
    let normal = view(model(), MONDAY_TEN).stale_from(UnixSeconds(0));
    let closed = Verdict::Deny(Denial::PortalClosed);
    for (number, mode, expected) in [(1, PortalMode::Free, FREE), (2, PortalMode::Closed, closed)] {
        let overlay = Overlay::default();
        overlay.set_mode(None, Some(mode), number).unwrap();
        for card in 1..=7 {
            assert_eq!(at_entry(&normal, &overlay, card, Time::good(MONDAY_TEN)), expected, "{mode:?}, card {card}");
        }
    }
}

#[test]
fn blocks_states_and_validity_go_before_the_age() {
    let second = u32::try_from(MONDAY_TEN.0).unwrap();
    let mut model = model();
    model.slots[0].credential_to = second;
    model.slots[1].credential_state = CredentialState::Lost as u8;
    let view = view(model, MONDAY_TEN).stale_from(UnixSeconds(0));
    let verdicts = all_at_entry(&view, Time::good(MONDAY_TEN));
    assert_eq!(verdicts[..2], [Denial::CredentialExpired, Denial::CredentialLost].map(Verdict::Deny));
    let overlay = Overlay::default();
    overlay.block(Credential::from_uid(&uid(6)).unwrap(), 1).unwrap();
    assert_eq!(at_entry(&view, &overlay, 6, Time::good(MONDAY_TEN)), Verdict::Deny(Denial::CredentialBlocked));
}

#[test]
fn view_that_nobody_has_made_stale_never_is() {
    let centuries = UnixSeconds(MONDAY_TEN.0 + 300 * YEAR);
    let view = view(model(), centuries);
    assert!(!view.is_stale(centuries));
    assert_eq!(at_entry(&view, &Overlay::default(), 1, Time::good(centuries)), GRANT);
}

#[test]
fn fresh_snapshot_ends_it_at_once() {
    let (overlay, now) = (Overlay::default(), Time::good(MONDAY_TEN));
    let old = view(model(), MONDAY_TEN).stale_from(MONDAY_TEN);
    let fresh = view(model(), MONDAY_TEN).stale_from(UnixSeconds(MONDAY_TEN.0 + 1));
    assert_eq!([&old, &fresh].map(|view| at_entry(view, &overlay, 1, now)), [STALE, GRANT]);
}
