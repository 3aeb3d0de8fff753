//! Schedules in local time: borders exact to the second, two plans without a gap, jumps of the clock.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{GATE, SUNDAY_NOON, ask, at, building, profile, slot, snapshot};
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use kalitka_core::plan::Plan;
use kalitka_core::{Overlay, Time, UnixSeconds, View, decide};
use kalitka_protocol::ReaderId;
use kalitka_protocol::reason::{Denial, Direction, Grant, Verdict};
use kalitka_snapshot::model::{AccessLevel, Interval, ModeRule, Model, Offset, PortalMode, Schedule};

const DAY: i64 = 24 * 3600;
/// 2025-01-01 00:00 UTC.
const NEW_YEAR: i64 = 1_735_689_600;
const GRANT: Verdict = Verdict::Grant(Grant::AccessLevel);
const OUTSIDE: Verdict = Verdict::Deny(Denial::OutsideSchedule);

/// Cards 1 (always) and 2 (in lessons, Monday to Friday 07:30 to 20:00).
fn model() -> Model {
    let mut model = building();
    model.slots = vec![slot(1, profile::ALWAYS), slot(2, profile::LESSONS)];
    model
}

fn verdict(view: &View, card: u32, now: UnixSeconds) -> Verdict {
    decide(Some(view), &Overlay::default(), ReaderId(GATE), &ask(1, card, Direction::Entry), Time::good(now)).verdict
}

fn moscow(text: &str) -> UnixSeconds {
    UnixSeconds(format!("{text}+03:00").parse::<Timestamp>().unwrap().as_second())
}

#[test]
fn schedule_begins_and_ends_at_its_second() {
    let snapshot = snapshot(model(), 1);
    let table = [
        ("2026-11-23T07:29:59", OUTSIDE),
        ("2026-11-23T07:30:00", GRANT),
        ("2026-11-23T19:59:59", GRANT),
        ("2026-11-23T20:00:00", OUTSIDE),
        ("2026-11-27T19:59:59", GRANT),
        ("2026-11-28T12:00:00", OUTSIDE),
    ];
    for (time, expected) in table {
        let now = moscow(time);
        assert_eq!(verdict(&View::build(snapshot.clone(), now), 2, now), expected, "{time}");
    }
}

#[test]
fn border_is_exact_in_a_view_built_long_before_it() {
    let view = View::build(snapshot(model(), 1), moscow("2026-11-22T12:00:00"));
    // Saturday's schedule ended on Sunday at 00:00; the next edge is Monday 07:30, the one after it Monday 20:00.
    assert_eq!(view.next_border(), moscow("2026-11-23T07:30:00"));
    assert_eq!(verdict(&view, 2, moscow("2026-11-23T07:29:59")), OUTSIDE);
    assert_eq!(verdict(&view, 2, moscow("2026-11-23T07:30:00")), GRANT);
    assert_eq!(verdict(&view, 2, moscow("2026-11-23T19:59:59")), GRANT);
    assert_eq!(verdict(&view, 1, moscow("2026-11-23T19:59:59")), GRANT);
    assert_eq!(verdict(&view, 1, moscow("2026-11-23T20:00:00")), Verdict::Deny(Denial::PlanMissing));
}

#[test]
fn clock_set_back_within_the_plan_changes_nothing_and_beyond_it_is_due() {
    let view = View::build(snapshot(model(), 1), moscow("2026-11-22T12:00:00"));
    assert_eq!(verdict(&view, 1, moscow("2026-11-22T00:00:00")), GRANT);
    assert!(!view.is_due(moscow("2026-11-22T00:00:00")));
    let before = moscow("2026-11-21T23:59:59");
    assert!(view.is_due(before));
    assert_eq!(verdict(&view, 1, before), Verdict::Deny(Denial::PlanMissing));
}

#[test]
fn view_is_due_from_its_border_on() {
    let view = View::build(snapshot(model(), 1), SUNDAY_NOON);
    assert!(!view.is_due(UnixSeconds(view.next_border().0 - 1)));
    assert!(view.is_due(view.next_border()));
}

#[test]
fn without_a_schedule_a_plan_lasts_a_week_to_either_side() {
    let mut model = model();
    model.schedules.iter_mut().for_each(|schedule| schedule.intervals.clear());
    let snapshot = snapshot(model, 1);
    let plan = Plan::compile(snapshot.model(), SUNDAY_NOON);
    assert_eq!((plan.from().0, plan.until().0), (SUNDAY_NOON.0 - 7 * DAY, SUNDAY_NOON.0 + 7 * DAY));
    let view = View::build(snapshot, SUNDAY_NOON);
    assert_eq!(verdict(&view, 1, UnixSeconds(SUNDAY_NOON.0 + 14 * DAY - 1)), GRANT);
    assert_eq!(verdict(&view, 2, SUNDAY_NOON), OUTSIDE);
}

#[test]
fn first_mode_whose_schedule_holds_is_in_force() {
    let mut model = model();
    let early = vec![Interval { from: at(0, 7, 0), to: at(0, 8, 30) }];
    model.schedules.push(Schedule { name: "early".into(), intervals: early });
    let rule = |schedule, mode: PortalMode| ModeRule { schedule, mode: mode as u8 };
    model.portals[0].modes = vec![rule(2, PortalMode::EntryOnly), rule(0, PortalMode::Free)];
    model.portals[0].mode = PortalMode::Closed as u8;
    let snapshot = snapshot(model, 1);
    let table = [
        ("2026-11-23T06:59:59", PortalMode::Closed),
        ("2026-11-23T07:00:00", PortalMode::EntryOnly),
        ("2026-11-23T08:29:59", PortalMode::EntryOnly),
        ("2026-11-23T08:30:00", PortalMode::Free),
        ("2026-11-23T20:00:00", PortalMode::Closed),
        ("2026-11-24T07:30:00", PortalMode::Free),
    ];
    for (time, expected) in table {
        let now = moscow(time);
        assert_eq!(View::build(snapshot.clone(), now).at(now).unwrap().mode(0), expected, "{time}");
    }
}

/// Zones with whole and half hours, jumps of an hour and of half an hour, on either hemisphere, and none.
const ZONES: &[&str] = &[
    "Europe/Moscow",
    "Europe/Berlin",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Africa/Casablanca",
    "America/New_York",
];

fn offsets(zone: &TimeZone) -> Vec<Offset> {
    let start: Timestamp = "2024-01-01T00:00:00Z".parse().unwrap();
    let first = Offset { from: i64::MIN, seconds: zone.to_offset(start).seconds() };
    let end: Timestamp = "2028-01-01T00:00:00Z".parse().unwrap();
    let jumps = zone.following(start).take_while(|jump| jump.timestamp() < end);
    let jumps = jumps.map(|jump| Offset { from: jump.timestamp().as_second(), seconds: jump.offset().seconds() });
    std::iter::once(first).chain(jumps).collect()
}

/// Intervals with edges on the jumps of the zones, and intervals with edges near them only.
fn schedules() -> [Vec<Interval>; 2] {
    let interval = |(from, to)| Interval { from, to };
    let on_jumps = [
        (at(0, 0, 0), at(0, 0, 10)),
        (at(3, 1, 45), at(3, 2, 15)),
        (at(6, 0, 1), at(6, 0, 30)),
        (at(6, 1, 15), at(6, 1, 50)),
        (at(6, 2, 0), at(6, 2, 30)),
        (at(6, 2, 59), at(6, 3, 0)),
        (at(6, 3, 10), at(7, 0, 0)),
    ];
    let near_jumps = [
        (at(6, 1, 5), at(6, 1, 25)),
        (at(6, 1, 35), at(6, 1, 40)),
        (at(6, 2, 5), at(6, 2, 40)),
        (at(6, 3, 35), at(7, 0, 0)),
    ];
    [on_jumps.map(interval).into(), near_jumps.map(interval).into()]
}

/// What the clock on the wall says, by another library.
fn holds(intervals: &[Interval], zone: &TimeZone, now: i64) -> bool {
    let local: Zoned = Timestamp::from_second(now).unwrap().to_zoned(zone.clone());
    let day = u16::try_from(local.weekday().since(Weekday::Monday)).unwrap();
    let minute = at(day, u16::try_from(local.hour()).unwrap(), u16::try_from(local.minute()).unwrap());
    intervals.iter().any(|interval| interval.from <= minute && minute < interval.to)
}

/// The building in each zone with each of the schedules.
fn zones_and_schedules() -> impl Iterator<Item = (&'static str, Vec<Interval>, Model)> {
    let all = ZONES.iter().flat_map(|zone| schedules().map(|intervals| (*zone, intervals)));
    all.map(|(zone, intervals)| {
        let mut model = model();
        model.offsets = offsets(&TimeZone::get(zone).unwrap());
        model.schedules[0].intervals = intervals.clone();
        (zone, intervals, model)
    })
}

#[test]
fn local_time_is_the_wall_clocks_through_gaps_and_folds() {
    for (name, intervals, model) in zones_and_schedules() {
        let zone = TimeZone::get(name).unwrap();
        let jumps: Vec<i64> = model.offsets[1..].iter().map(|offset| offset.from).collect();
        let snapshot = snapshot(model, 1);
        let near_jumps = jumps.iter().flat_map(|jump| (-300..300).map(move |step| jump + step * 30 + step % 2));
        let scattered = (NEW_YEAR..NEW_YEAR + 365 * DAY).step_by(5 * 3600 + 1741);
        for now in near_jumps.chain(scattered) {
            let plan = Plan::compile(snapshot.model(), UnixSeconds(now));
            let expected = holds(&intervals, &zone, now);
            assert_eq!(plan.allows(profile::LESSONS, 0, Direction::Entry), expected, "{name} {now}");
            let (from, until) = (plan.from().0, plan.until().0);
            assert!(from <= now && now < until, "{name} {now}");
            for moment in [from, until - 1] {
                assert_eq!(holds(&intervals, &zone, moment), expected, "{name} {now} at {moment}");
            }
        }
    }
}

#[test]
fn plans_follow_each_other_without_a_gap_or_an_overlap() {
    for (name, _, model) in zones_and_schedules() {
        let snapshot = snapshot(model, 1);
        let mut now = NEW_YEAR;
        for _ in 0..1500 {
            let view = View::build(snapshot.clone(), UnixSeconds(now));
            let first = view.at(UnixSeconds(now)).unwrap();
            let second = view.at(first.until()).unwrap();
            assert_eq!(second.from(), first.until(), "{name} {now}");
            assert_eq!(Plan::compile(snapshot.model(), UnixSeconds(first.until().0 - 1)), *first, "{name} {now}");
            now = first.until().0;
        }
    }
}

#[test]
fn profiles_beyond_the_first_word_of_a_set_have_their_own_rights() {
    let mut model = model();
    // Levels 0, 1 and 4 grant the gate both ways, 2 the way out; the others the side door.
    let side = model.access_levels[3].clone();
    model.access_levels.extend(["5", "6", "7"].map(|name| AccessLevel { name: name.into(), ..side.clone() }));
    let has = |profile: u16, levels: &[u16]| levels.iter().any(|level| profile >> level & 1 != 0);
    model.profiles = (0..200).map(|profile| (0..8).filter(|&level| has(profile, &[level])).collect()).collect();
    let view = View::build(snapshot(model, 1), SUNDAY_NOON);
    for profile in 0..200 {
        let may = |portal, direction| view.ever_allows(profile, portal, direction);
        assert_eq!(may(0, Direction::Entry), has(profile, &[0, 1, 4]), "profile {profile}");
        assert_eq!(may(0, Direction::Exit), has(profile, &[0, 1, 2, 4]), "profile {profile}");
        assert_eq!(may(1, Direction::Entry), has(profile, &[3, 5, 6, 7]), "profile {profile}");
    }
    // None that the snapshot does not have: neither within the last word of a set, nor where the next set begins.
    for profile in [200, 257, u16::MAX] {
        let may = |portal, direction| view.ever_allows(profile, portal, direction);
        assert!(!may(0, Direction::Entry) && !may(0, Direction::Exit) && !may(1, Direction::Exit), "profile {profile}");
    }
}
