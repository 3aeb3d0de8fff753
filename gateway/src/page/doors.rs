//! The readers and the portals of the building, as they stand.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use kalitka_core::{ClockQuality, View};
use kalitka_protocol::ReaderId;
use kalitka_snapshot::model::PortalMode;

use super::gather::Page;
use super::overview::{Portal, Portals, Reader, Readers, State, Way};
use crate::clock::Moment;
use crate::limits::{PAGE_PORTALS_MAX, PAGE_READERS_MAX};
use crate::metrics::ReaderStanding;

/// What is known of one reader.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) reader: u32,
    /// Its portal's place in the snapshot.
    pub(super) portal: Option<u16>,
    pub(super) state: State,
    pub(super) way: Option<Way>,
    /// How it stands, if it has a key.
    pub(super) keyed: Option<ReaderStanding>,
}

impl Known {
    /// A reader that is a `device` in this state of its channel, if it is one of OSDP.
    pub(super) fn of(reader: u32, portal: Option<u16>, keyed: Option<ReaderStanding>, device: Option<&str>) -> Self {
        let state = match (device, keyed) {
            (Some("refused"), _) => State::Refused,
            (_, None) => State::NoKey,
            (None | Some("online"), Some(ReaderStanding { up: true, .. })) if portal.is_some() => State::Up,
            (None | Some("online"), Some(ReaderStanding { up: true, .. })) => State::NotInSnapshot,
            _ => State::Away,
        };
        Self { reader, portal, state, way: device.map(|_| Way::Osdp), keyed }
    }

    /// The same, by the way that it came if nothing said which: over one of the lines, or the network.
    fn by(self, wired: &[u32]) -> Self {
        let is_heard = self.keyed.is_some_and(|standing| standing.heard_ago.is_some());
        let came = match wired.contains(&self.reader) {
            true => Some(Way::Serial),
            false => is_heard.then_some(Way::Udp),
        };
        Self { way: self.way.or(came), ..self }
    }

    fn shown(&self, portal: Option<String>) -> Reader {
        let heard = self.keyed.and_then(|standing| standing.heard_ago);
        Reader {
            reader: self.reader,
            portal,
            way: self.way,
            state: self.state,
            heard_seconds_ago: heard.map(|ago| ago.as_secs()),
            reports_waiting: self.keyed.map_or(0, |standing| standing.reports_waiting),
            is_in_fall_back: self.keyed.is_some_and(|standing| standing.falling_back),
        }
    }
}

impl Page {
    /// Readers and portals at `now`.
    pub(super) fn doors(&self, now: &Moment) -> (Readers, Portals) {
        let view = self.views.load();
        let known = self.known(view.as_deref(), now);
        let portals = view.as_deref().map(|view| self.portals(view, &known, now)).unwrap_or_default();
        let name = |place: u16| {
            let portal = view.as_deref()?.snapshot().model().portals.get(usize::from(place))?;
            Some(portal.name.as_str().to_owned())
        };
        (readers(known, name), portals)
    }

    /// Everyone who has a key or stands in the snapshot, by number.
    fn known(&self, view: Option<&View>, now: &Moment) -> Vec<Known> {
        let keyed = self.collector.readers(now.monotonic);
        let keyed: BTreeMap<u32, ReaderStanding> = keyed.into_iter().map(|of| (of.reader.0, of)).collect();
        let devices = self.osdp.shown().into_iter().map(|device| (device.reader, device.state));
        let devices: BTreeMap<u32, String> = devices.collect();
        let wired: Vec<u32> = self.lines.iter().filter_map(|(_, lamp)| lamp.reader()).collect();
        let model = view.map(|view| view.snapshot().model());
        let planned = model.iter().flat_map(|model| model.readers.iter()).map(|reader| reader.number.to_native());
        let numbers: BTreeSet<u32> = keyed.keys().copied().chain(planned).collect();
        let of = |reader: u32| {
            let portal = view.and_then(|view| view.reader(ReaderId(reader))).map(|served| served.portal);
            let device = devices.get(&reader).map(String::as_str);
            Known::of(reader, portal, keyed.get(&reader).copied(), device).by(&wired)
        };
        numbers.into_iter().map(of).collect()
    }

    /// The portals of the snapshot, each in the mode that its schedule or an operator gives it.
    fn portals(&self, view: &View, known: &[Known], now: &Moment) -> Portals {
        let plan = view.at(now.seconds());
        let names = view.snapshot().model().portals.iter().map(|portal| portal.name.as_str().to_owned());
        let mut readers: Vec<Vec<&Known>> = vec![Vec::new(); view.snapshot().model().portals.len()];
        for reader in known {
            let place = reader.portal.map(usize::from);
            if let Some(of) = place.and_then(|place| readers.get_mut(place)) {
                of.push(reader);
            }
        }
        let portals = (0..).zip(names).zip(readers).map(|((place, portal), readers)| {
            let followed = plan.and_then(|plan| followed(now.quality, plan.mode(place), view.mode_unscheduled(place)));
            let orders = readers.iter().map(|of| self.overlay.mode(ReaderId(of.reader)));
            let (mode, is_ordered) = together(followed, orders);
            let readers_up = readers.iter().filter(|of| of.state == State::Up).count();
            Portal { portal, mode, is_ordered, readers: readers.len(), readers_up }
        });
        listed(portals.collect())
    }
}

/// What is followed of a portal's schedule while time is of this `quality`: nothing while it is not known, and while it is held
/// no schedule opens a portal to everybody.
fn followed(quality: ClockQuality, scheduled: PortalMode, unscheduled: PortalMode) -> Option<PortalMode> {
    match (quality, scheduled) {
        (ClockQuality::None, _) => None,
        (ClockQuality::Held, PortalMode::Free) => Some(unscheduled),
        _ => Some(scheduled),
    }
}

/// The mode of a portal that is to be in mode `followed`, by what is ordered at each of its readers; and whether it was ordered at
/// all of them. While nothing is followed everybody is denied, whatever was ordered.
fn together(
    followed: Option<PortalMode>,
    orders: impl Iterator<Item = Option<PortalMode>>,
) -> (Option<&'static str>, bool) {
    let Some(followed) = followed else { return (None, false) };
    let orders: Vec<Option<PortalMode>> = orders.collect();
    let mode = orders.first().copied().flatten().unwrap_or(followed);
    if orders.iter().any(|ordered| ordered.unwrap_or(followed) != mode) {
        return (Some(DIFFERS), false);
    }
    (Some(label(mode)), !orders.is_empty() && orders.iter().all(Option::is_some))
}

/// The worst of `portals`: those that have readers and none of them up first.
pub(super) fn listed(mut portals: Vec<Portal>) -> Portals {
    portals.sort_by_key(|portal| {
        let away = portal.readers - portal.readers_up;
        (away == 0 || portal.readers_up > 0, Reverse(away))
    });
    let known = portals.len();
    portals.truncate(PAGE_PORTALS_MAX);
    Portals { known, unlisted: known - portals.len(), listed: portals }
}

/// The worst of `known`, and how many there are of each kind.
pub(super) fn readers(mut known: Vec<Known>, name: impl Fn(u16) -> Option<String>) -> Readers {
    let count = |state| known.iter().filter(|reader| reader.state == state).count();
    let [refused, away, without_key, not_in_snapshot, up] = State::ALL.map(count);
    known.sort_by_key(|reader| (reader.state, reader.reader));
    let shown = known.iter().take(PAGE_READERS_MAX).map(|of| of.shown(of.portal.and_then(&name)));
    let listed: Vec<Reader> = shown.collect();
    Readers {
        known: known.len(),
        keyed: known.iter().filter(|reader| reader.keyed.is_some()).count(),
        // Theirs answer, if only to refuse.
        up: up + not_in_snapshot,
        away,
        refused,
        without_key,
        not_in_snapshot,
        unlisted: known.len() - listed.len(),
        listed,
    }
}

/// Readers of one portal do different things.
const DIFFERS: &str = "differs";

const fn label(mode: PortalMode) -> &'static str {
    match mode {
        PortalMode::Normal => "normal",
        PortalMode::Closed => "closed",
        PortalMode::Free => "free",
        PortalMode::EntryOnly => "entry_only",
        PortalMode::ExitOnly => "exit_only",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODES: [PortalMode; 5] =
        [PortalMode::Normal, PortalMode::Closed, PortalMode::Free, PortalMode::EntryOnly, PortalMode::ExitOnly];

    #[test]
    fn mode_is_the_schedules_unless_time_is_held_and_it_would_be_free_or_time_is_not_known() {
        for (scheduled, unscheduled) in MODES.into_iter().flat_map(|mode| MODES.map(|other| (mode, other))) {
            let of = |quality| followed(quality, scheduled, unscheduled);
            let held = if scheduled == PortalMode::Free { unscheduled } else { scheduled };
            assert_eq!(of(ClockQuality::Good), Some(scheduled));
            assert_eq!(of(ClockQuality::Held), Some(held));
            assert_eq!(of(ClockQuality::None), None);
        }
    }

    #[test]
    fn order_for_one_of_two_readers_is_not_the_portals_mode() {
        let (normal, free, closed) = (Some(PortalMode::Normal), Some(PortalMode::Free), Some(PortalMode::Closed));
        for (followed, orders, mode, is_ordered) in [
            (normal, &[][..], Some("normal"), false),
            (normal, &[None, None], Some("normal"), false),
            (normal, &[free, free], Some("free"), true),
            (normal, &[free, None], Some("differs"), false),
            (normal, &[None, free], Some("differs"), false),
            (normal, &[free, closed], Some("differs"), false),
            (free, &[None, free], Some("free"), false),
            (None, &[free, free], None, false),
        ] {
            assert_eq!(together(followed, orders.iter().copied()), (mode, is_ordered), "{followed:?} {orders:?}");
        }
    }

    #[test]
    fn portal_without_a_reader_up_stands_before_one_with_more_readers_away() {
        let portal = |name: &str, readers, readers_up| {
            let portal = name.to_owned();
            Portal { portal, mode: None, is_ordered: false, readers, readers_up }
        };
        let portals = [("well", 2, 2), ("bare", 0, 0), ("some", 6, 4), ("more", 6, 3), ("dead", 1, 0), ("gone", 2, 0)];
        let Portals { listed, .. } = listed(portals.map(|(name, readers, up)| portal(name, readers, up)).into());
        let order: Vec<&str> = listed.iter().map(|portal| portal.portal.as_str()).collect();
        assert_eq!(order, ["gone", "dead", "more", "some", "well", "bare"]);
    }
}
