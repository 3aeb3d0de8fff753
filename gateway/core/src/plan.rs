//! The rules compiled for a stretch of time in which no schedule changes.
//!
//! A plan holds, for each portal and direction, the set of profiles that may pass now, the set of those that may by an
//! essential access level, and for each portal its mode now.
//! It is in force from the last schedule border to the next, both exact to the second. Borders are the edges of the
//! weekly intervals in local time, and the moments at which local time itself jumps: at such a moment everything is
//! compiled anew, so that an hour that is left out or comes twice is judged by what the clock on the wall shows.

use kalitka_protocol::reason::Direction;
use kalitka_snapshot::model::{ALWAYS, ArchivedModel, ArchivedPortal, ENTRY, EXIT, PortalMode};

use crate::limits::{PLAN_SECONDS_MAX, WEEK_SECONDS};
use crate::time::UnixSeconds;

/// Seconds between the Monday of the week of 1970-01-01, a Thursday, and that day.
const EPOCH_IN_WEEK: i64 = 3 * 24 * 3600;

/// What may pass now.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    from: UnixSeconds,
    until: UnixSeconds,
    modes: Vec<PortalMode>,
    allowed: ProfileSets,
    essential: ProfileSets,
}

impl Plan {
    /// The plan of `model` that is in force at `now`, in which no access level is essential.
    #[must_use]
    pub fn compile(model: &ArchivedModel, now: UnixSeconds) -> Self {
        let (from, until) = borders(model, now);
        let holds = holding(model, now);
        Self {
            from,
            until,
            modes: model.portals.iter().map(|portal| mode_now(portal, &holds)).collect(),
            allowed: ProfileSets::compile(model, |_, schedule| holds(schedule)),
            essential: ProfileSets::compile(model, |_, _| false),
        }
    }

    /// The same plan of `model`, in which the access levels are essential of whose places `is_essential` says so.
    pub(crate) fn with_essential(self, model: &ArchivedModel, is_essential: impl Fn(u16) -> bool) -> Self {
        // Between its borders the same schedules hold.
        let holds = holding(model, self.from);
        let essential = ProfileSets::compile(model, |level, schedule| is_essential(level) && holds(schedule));
        Self { essential, ..self }
    }

    /// First second at which the plan is in force.
    #[must_use]
    pub const fn from(&self) -> UnixSeconds {
        self.from
    }

    /// First second at which it is not any more.
    #[must_use]
    pub const fn until(&self) -> UnixSeconds {
        self.until
    }

    /// Whether it is in force at `now`.
    #[must_use]
    pub fn covers(&self, now: UnixSeconds) -> bool {
        self.from <= now && now < self.until
    }

    /// The mode of `portal`; [`PortalMode::Closed`] for a portal that is not there.
    #[must_use]
    pub fn mode(&self, portal: u16) -> PortalMode {
        self.modes.get(usize::from(portal)).copied().unwrap_or(PortalMode::Closed)
    }

    /// Whether holders of `profile` may pass `portal` in `direction`.
    #[must_use]
    pub fn allows(&self, profile: u16, portal: u16, direction: Direction) -> bool {
        self.allowed.contains(profile, portal, direction)
    }

    /// Whether holders of `profile` may pass `portal` in `direction` by an essential access level.
    #[must_use]
    pub fn allows_by_essential(&self, profile: u16, portal: u16, direction: Direction) -> bool {
        self.essential.contains(profile, portal, direction)
    }
}

/// For each portal and direction, a set of profiles.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ProfileSets {
    words_of_a_set: usize,
    words: Vec<u64>,
}

impl ProfileSets {
    /// The profiles with a level that grants the portal and direction, where `counts` says of the level's place and the
    /// grant's schedule that it does.
    pub(crate) fn compile(model: &ArchivedModel, counts: impl Fn(u16, u16) -> bool) -> Self {
        let words_of_a_set = model.profiles.len().div_ceil(64);
        let mut sets = Self { words_of_a_set, words: vec![0; model.portals.len() * 2 * words_of_a_set] };
        for (profile, levels) in model.profiles.iter().enumerate() {
            for place in levels.iter().map(|level| level.to_native()) {
                let Some(level) = model.access_levels.get(usize::from(place)) else { continue };
                for grant in level.grants.iter().filter(|grant| counts(place, grant.schedule.to_native())) {
                    sets.insert(profile, grant.portal.to_native(), grant.directions);
                }
            }
        }
        sets
    }

    fn insert(&mut self, profile: usize, portal: u16, directions: u8) {
        for direction in [Direction::Entry, Direction::Exit] {
            let word = self.set(portal, direction) + profile / 64;
            if directions & direction_bit(direction) != 0
                && let Some(word) = self.words.get_mut(word)
            {
                *word |= 1 << (profile % 64);
            }
        }
    }

    pub(crate) fn contains(&self, profile: u16, portal: u16, direction: Direction) -> bool {
        let profile = usize::from(profile);
        let word = profile / 64;
        word < self.words_of_a_set
            && self.words.get(self.set(portal, direction) + word).is_some_and(|set| set >> (profile % 64) & 1 != 0)
    }

    /// Where the set of `portal` and `direction` begins.
    fn set(&self, portal: u16, direction: Direction) -> usize {
        let row = usize::from(portal) * 2 + usize::from(direction == Direction::Exit);
        row * self.words_of_a_set
    }
}

/// The bit of `direction` in a reader's or grant's set of directions.
#[must_use]
pub(crate) const fn direction_bit(direction: Direction) -> u8 {
    match direction {
        Direction::Entry => ENTRY,
        Direction::Exit => EXIT,
    }
}

/// Which schedules of `model` hold at `now`.
fn holding(model: &ArchivedModel, now: UnixSeconds) -> impl Fn(u16) -> bool {
    let week = WeekSecond::at(model, now);
    let holding: Vec<bool> = model.schedules.iter().map(|schedule| week.is_in(schedule)).collect();
    move |schedule| schedule == ALWAYS || holding.get(usize::from(schedule)).is_some_and(|&holds| holds)
}

fn mode_now(portal: &ArchivedPortal, holds: impl Fn(u16) -> bool) -> PortalMode {
    let rule = portal.modes.iter().find(|rule| holds(rule.schedule.to_native()));
    let code = rule.map_or(portal.mode, |rule| rule.mode);
    // Adoption refuses unknown codes; if one came through, nobody would pass.
    PortalMode::from_code(code).unwrap_or(PortalMode::Closed)
}

/// A second of the local week, from Monday 00:00.
#[derive(Clone, Copy)]
struct WeekSecond(i64);

impl WeekSecond {
    fn at(model: &ArchivedModel, now: UnixSeconds) -> Self {
        let (_, offset, _) = offset_around(model, now);
        Self((now.0 + offset + EPOCH_IN_WEEK).rem_euclid(WEEK_SECONDS))
    }

    fn is_in(self, schedule: &kalitka_snapshot::model::ArchivedSchedule) -> bool {
        let minute = self.0 / 60;
        let mut intervals = schedule.intervals.iter();
        intervals.any(|i| i64::from(i.from.to_native()) <= minute && minute < i64::from(i.to.to_native()))
    }
}

/// The offset in force at `now`, in seconds, with the moments at which it began and at which it ends.
fn offset_around(model: &ArchivedModel, now: UnixSeconds) -> (i64, i64, i64) {
    let next = model.offsets.partition_point(|offset| offset.from.to_native() <= now.0);
    let current = next.checked_sub(1).and_then(|place| model.offsets.get(place));
    let began = current.map_or(i64::MIN, |offset| offset.from.to_native());
    let seconds = current.map_or(0, |offset| i64::from(offset.seconds.to_native()));
    (began, seconds, model.offsets.get(next).map_or(i64::MAX, |offset| offset.from.to_native()))
}

/// The last border not after `now` and the next one after it.
fn borders(model: &ArchivedModel, now: UnixSeconds) -> (UnixSeconds, UnixSeconds) {
    let WeekSecond(second) = WeekSecond::at(model, now);
    let edges = model.schedules.iter().flat_map(|schedule| schedule.intervals.iter());
    let edges = edges.flat_map(|interval| [interval.from.to_native(), interval.to.to_native()]);
    let (mut back, mut ahead) = (PLAN_SECONDS_MAX, PLAN_SECONDS_MAX);
    for edge in edges {
        let since = (second - i64::from(edge) * 60).rem_euclid(WEEK_SECONDS);
        back = back.min(since);
        ahead = ahead.min(WEEK_SECONDS - since);
    }
    let (began, _, ends) = offset_around(model, now);
    let from = now.0.saturating_sub(back).max(began);
    let until = now.0.saturating_add(ahead).min(ends);
    (UnixSeconds(from), UnixSeconds(until))
}
