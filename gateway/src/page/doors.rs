//! The readers and the portals of the building, as they stand.

use std::collections::{BTreeMap, BTreeSet};

use kalitka_core::View;
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
        let mut portals: Vec<Portal> = Vec::new();
        for (place, portal) in (0..).zip(view.snapshot().model().portals.iter()) {
            let (portal, mode) = (portal.name.as_str().to_owned(), plan.map(|plan| label(plan.mode(place))));
            portals.push(Portal { portal, mode, is_ordered: false, readers: 0, readers_up: 0 });
        }
        for reader in known {
            let place = reader.portal.map(usize::from);
            let Some(portal) = place.and_then(|place| portals.get_mut(place)) else { continue };
            portal.readers += 1;
            portal.readers_up += usize::from(reader.state == State::Up);
            if let Some(mode) = self.overlay.mode(ReaderId(reader.reader)) {
                (portal.mode, portal.is_ordered) = (Some(label(mode)), true);
            }
        }
        listed(portals)
    }
}

/// The worst of `portals`.
pub(super) fn listed(mut portals: Vec<Portal>) -> Portals {
    portals.sort_by_key(|portal| std::cmp::Reverse(portal.readers - portal.readers_up));
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

const fn label(mode: PortalMode) -> &'static str {
    match mode {
        PortalMode::Normal => "normal",
        PortalMode::Closed => "closed",
        PortalMode::Free => "free",
        PortalMode::EntryOnly => "entry_only",
        PortalMode::ExitOnly => "exit_only",
    }
}
