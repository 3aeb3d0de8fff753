//! Checks of everything but the table: names, references, ranges, orders.

use std::collections::HashSet;

use kalitka_protocol::credential::{Shape, ShapeSet};
use kalitka_protocol::reason::FallBack;
use rkyv::string::ArchivedString;

use super::{Found, ensure};
use crate::flaw::Flaw;
use crate::limits::*;
use crate::model::{ALWAYS, ArchivedAccessLevel, ArchivedModel, ArchivedPortal, ArchivedReader, ArchivedSchedule};
use crate::model::{ENTRY, EXIT, PortalMode};

pub(super) fn check(model: &ArchivedModel) -> Result<(), Found> {
    check_lengths(model)?;
    check_names(model)?;
    check_offsets(model)?;
    for (at, portal) in model.portals.iter().enumerate() {
        check_portal(model, portal).map_err(|flaw| Found(flaw, at))?;
    }
    let mut above = 0;
    for (at, reader) in model.readers.iter().enumerate() {
        ensure(reader.number > above, Flaw::ReaderNumber, at)?;
        above = reader.number.to_native();
        check_reader(model, reader).map_err(|flaw| Found(flaw, at))?;
    }
    for (at, schedule) in model.schedules.iter().enumerate() {
        ensure(intervals_are_sound(schedule), Flaw::ScheduleInterval, at)?;
    }
    for (at, level) in model.access_levels.iter().enumerate() {
        check_access_level(model, level).map_err(|flaw| Found(flaw, at))?;
    }
    check_profiles(model)?;
    let grants = model.profiles.iter().map(|levels| {
        let levels = levels.iter().filter_map(|level| model.access_levels.get(usize::from(level.to_native())));
        levels.map(|level| level.grants.len()).sum()
    });
    ensure(plan_is_small(model.portals.len(), grants), Flaw::PlanSize, 0)?;
    check_holders(model)
}

fn check_lengths(model: &ArchivedModel) -> Result<(), Found> {
    let lists = [
        (model.offsets.len(), OFFSETS_MAX),
        (model.areas.len(), AREAS_MAX),
        (model.portals.len(), PORTALS_MAX),
        (model.readers.len(), READERS_MAX),
        (model.schedules.len(), SCHEDULES_MAX),
        (model.access_levels.len(), ACCESS_LEVELS_MAX),
        (model.profiles.len(), PROFILES_MAX),
        (model.groups.len(), GROUPS_MAX),
        (model.holders.len(), HOLDERS_MAX),
    ];
    for (at, (len, max)) in lists.into_iter().enumerate() {
        ensure(len <= max, Flaw::ListLength, at)?;
    }
    let nested = (model.portals.iter().map(|portal| (portal.modes.len(), MODE_RULES_MAX)))
        .chain(model.schedules.iter().map(|schedule| (schedule.intervals.len(), INTERVALS_MAX)))
        .chain(model.access_levels.iter().map(|level| (level.grants.len(), GRANTS_MAX)))
        .chain(model.profiles.iter().map(|profile| (profile.len(), LEVELS_OF_PROFILE_MAX)));
    for (at, (len, max)) in nested.enumerate() {
        ensure(len <= max, Flaw::ListLength, at)?;
    }
    Ok(())
}

fn check_names(model: &ArchivedModel) -> Result<(), Found> {
    let names = [&model.name, &model.time_zone]
        .into_iter()
        .chain(model.areas.iter())
        .chain(model.portals.iter().map(|portal| &portal.name))
        .chain(model.schedules.iter().map(|schedule| &schedule.name))
        .chain(model.access_levels.iter().map(|level| &level.name));
    for (at, name) in names.enumerate() {
        ensure(!name.is_empty() && name_is_sound(name), Flaw::Name, at)?;
    }
    for (at, group) in model.groups.iter().enumerate() {
        ensure(name_is_sound(group), Flaw::Name, at)?;
    }
    Ok(())
}

fn name_is_sound(name: &ArchivedString) -> bool {
    name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control)
}

fn check_offsets(model: &ArchivedModel) -> Result<(), Found> {
    let offsets = &model.offsets;
    ensure(offsets.first().is_some_and(|first| first.from == i64::MIN), Flaw::Offsets, 0)?;
    for (at, offset) in offsets.iter().enumerate() {
        let ascends = at == 0 || offsets[at - 1].from < offset.from;
        let within = (-OFFSET_SECONDS_MAX..=OFFSET_SECONDS_MAX).contains(&offset.seconds.to_native());
        ensure(ascends && within, Flaw::Offsets, at)?;
    }
    Ok(())
}

fn check_portal(model: &ArchivedModel, portal: &ArchivedPortal) -> Result<(), Flaw> {
    let areas = model.areas.len();
    if usize::from(portal.from.to_native()) >= areas || usize::from(portal.to.to_native()) >= areas {
        return Err(Flaw::PortalArea);
    }
    if core::iter::once(portal.mode)
        .chain(portal.modes.iter().map(|rule| rule.mode))
        .any(|mode| PortalMode::from_code(mode).is_none())
    {
        return Err(Flaw::PortalMode);
    }
    if portal.modes.iter().any(|rule| usize::from(rule.schedule.to_native()) >= model.schedules.len()) {
        return Err(Flaw::PortalSchedule);
    }
    if !(HOLD_OPEN_MS_MIN..=HOLD_OPEN_MS_MAX).contains(&portal.hold_open_ms.to_native()) {
        return Err(Flaw::PortalHoldOpen);
    }
    FallBack::from_code(portal.fall_back).map(|_| ()).map_err(|_| Flaw::PortalFallBack)
}

fn check_reader(model: &ArchivedModel, reader: &ArchivedReader) -> Result<(), Flaw> {
    if usize::from(reader.portal.to_native()) >= model.portals.len() {
        return Err(Flaw::ReaderPortal);
    }
    if !shapes_are_sound(ShapeSet::from_bits(reader.shapes.to_native())) {
        return Err(Flaw::ReaderShapes);
    }
    if directions_are_sound(reader.directions) { Ok(()) } else { Err(Flaw::ReaderDirections) }
}

/// At least one shape, no unknown one, and never both byte orders of one, which nobody could tell apart.
fn shapes_are_sound(shapes: ShapeSet) -> bool {
    let all = Shape::ALL.iter().fold(ShapeSet::default(), |set, &shape| set.with(shape));
    let both = Shape::ALL.chunks(2).any(|pair| pair.iter().all(|&shape| shapes.contains(shape)));
    shapes.bits() != 0 && shapes.bits() & !all.bits() == 0 && !both
}

const fn directions_are_sound(directions: u8) -> bool {
    directions != 0 && directions & !(ENTRY | EXIT) == 0
}

fn intervals_are_sound(schedule: &ArchivedSchedule) -> bool {
    let mut after: Option<u16> = None;
    schedule.intervals.iter().all(|interval| {
        let (from, to) = (interval.from.to_native(), interval.to.to_native());
        let apart = after.is_none_or(|after| after < from);
        after = Some(to);
        apart && from < to && to <= WEEK_MINUTES
    })
}

fn check_access_level(model: &ArchivedModel, level: &ArchivedAccessLevel) -> Result<(), Flaw> {
    for grant in level.grants.iter() {
        let schedule = grant.schedule.to_native();
        if usize::from(grant.portal.to_native()) >= model.portals.len() {
            return Err(Flaw::GrantPortal);
        }
        if schedule != ALWAYS && usize::from(schedule) >= model.schedules.len() {
            return Err(Flaw::GrantSchedule);
        }
        if !directions_are_sound(grant.directions) {
            return Err(Flaw::GrantDirections);
        }
    }
    Ok(())
}

fn check_profiles(model: &ArchivedModel) -> Result<(), Found> {
    let mut known = HashSet::with_capacity(model.profiles.len());
    for (at, profile) in model.profiles.iter().enumerate() {
        let ascend = profile.windows(2).all(|pair| pair[0] < pair[1]);
        let there = profile.last().is_none_or(|&last| usize::from(last.to_native()) < model.access_levels.len());
        ensure(ascend && there, Flaw::ProfileLevel, at)?;
        ensure(known.insert(profile.as_slice()), Flaw::ProfileRepeated, at)?;
    }
    Ok(())
}

/// Whether the rules of so many portals, and of profiles with so many grants each, are compiled in a moment.
pub(crate) fn plan_is_small(portals: usize, grants_of_profiles: impl ExactSizeIterator<Item = usize>) -> bool {
    let cells = portals.saturating_mul(grants_of_profiles.len());
    cells <= PLAN_SIZE_MAX && grants_of_profiles.fold(0, usize::saturating_add) <= PLAN_SIZE_MAX
}

fn check_holders(model: &ArchivedModel) -> Result<(), Found> {
    let mut above = [0; HOLDER_BYTES_MAX];
    for (at, &holder) in model.holders.iter().enumerate() {
        ensure(holder_is_sound(&holder), Flaw::HolderIdentity, at)?;
        ensure(holder > above, Flaw::HolderOrder, at)?;
        above = holder;
    }
    Ok(())
}

/// One to sixteen allowed characters, then zeros.
fn holder_is_sound(holder: &[u8; HOLDER_BYTES_MAX]) -> bool {
    let len = holder.iter().position(|&byte| byte == 0).unwrap_or(HOLDER_BYTES_MAX);
    let (text, padding) = holder.split_at(len);
    len > 0 && text.iter().all(|&byte| is_holder_byte(byte)) && padding.iter().all(|&byte| byte == 0)
}

pub(crate) const fn is_holder_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}
