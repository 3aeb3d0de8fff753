//! Where the page has it from: what the gateway shows anyway.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kalitka_core::{ClockQuality, Overlay, View};
use kalitka_protocol::reason::{Denial, Verdict};
use kalitka_uplink::{State as UplinkState, Tally as UplinkTally};
use tokio::sync::watch;

use super::history::History;
use super::matter::{Level, Matter};
use super::overview::{Line, Outbox, Overview, Snapshot, Uplink, Way};
use crate::adoption::Standing;
use crate::clock::{Clock, Moment};
use crate::journal::JournalStatus;
use crate::limits::WORKER_STUCK_AFTER;
use crate::metrics::{Collector, LineLamp};
use crate::osdp::Counter;
use crate::published::Published;

/// What the page looks at.
pub(crate) struct Page {
    pub(crate) building: u32,
    pub(crate) clock: Clock,
    pub(crate) collector: Arc<Collector>,
    pub(crate) views: Arc<Published<View>>,
    pub(crate) overlay: Arc<Overlay>,
    pub(crate) standing: watch::Receiver<Standing>,
    pub(crate) journal: watch::Receiver<JournalStatus>,
    pub(crate) uplink: watch::Receiver<UplinkState>,
    pub(crate) uplink_tally: Arc<UplinkTally>,
    pub(crate) osdp: Arc<Counter>,
    pub(crate) lines: Vec<(PathBuf, Arc<LineLamp>)>,
    pub(crate) memory: Memory,
}

/// What it remembers.
pub(crate) struct Memory(Mutex<History>);

impl Memory {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(History::new()))
    }
}

impl Page {
    /// Remembers what will not be there any more; to be called about once a second.
    pub(crate) fn look(&self) {
        let now = self.clock.monotonic();
        let mut counts = [0; Denial::ALL.len()];
        for (count, reason) in counts.iter_mut().zip(Denial::ALL) {
            let tallies = self.collector.tallies().iter();
            *count = tallies.map(|tally| tally.decisions.verdict(Verdict::Deny(*reason)).get()).sum();
        }
        let refused = self.standing.borrow().refused.as_ref().map_or(0, |refused| refused.number);
        let uplink = name_of(&self.uplink.borrow());
        self.history().see(now, counts, refused, uplink);
    }

    fn history(&self) -> std::sync::MutexGuard<'_, History> {
        self.memory.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the building stands now.
    pub(crate) fn overview(&self) -> Overview {
        self.look();
        let now = self.clock.now();
        let history = self.history().clone();
        let (readers, portals) = self.doors(&now);
        let mut overview = Overview {
            version: env!("CARGO_PKG_VERSION"),
            building: self.building,
            running_seconds: now.monotonic.as_secs(),
            is_beginning: history.is_beginning(now.monotonic),
            level: Level::Well,
            matters: Vec::new(),
            workers_stuck: self.stuck(now.monotonic),
            clock: now.quality.label(),
            readers,
            lines: self.lines(),
            portals,
            snapshot: self.snapshot(&now, &history),
            outbox: self.outbox(&now),
            uplink: self.uplink(now.monotonic, &history),
            refusals: history.refusals(now.monotonic),
        };
        overview.matters = Matter::of(&overview);
        overview.level = overview.matters.iter().map(|matter| matter.level()).max().unwrap_or_default();
        overview
    }

    fn stuck(&self, now: Duration) -> usize {
        let tallies = self.collector.tallies().iter();
        tallies.filter(|tally| tally.silent_for(now) >= WORKER_STUCK_AFTER).count()
    }

    fn lines(&self) -> Vec<Line> {
        let serial = self.lines.iter().map(|(port, lamp)| Line {
            port: port.display().to_string(),
            way: Way::Serial,
            is_up: lamp.is_up(),
            is_unreadable: lamp.is_unreadable(),
        });
        let osdp = self.osdp.ports().map(|(port, is_up)| Line {
            port: port.display().to_string(),
            way: Way::Osdp,
            is_up,
            is_unreadable: false,
        });
        serial.chain(osdp).collect()
    }

    fn snapshot(&self, now: &Moment, history: &History) -> Snapshot {
        let standing = self.standing.borrow();
        let in_force = standing.in_force.as_ref();
        let is_timed = now.quality != ClockQuality::None;
        Snapshot {
            generation: in_force.map_or(0, |of| of.generation),
            age_seconds: in_force.filter(|_| is_timed).map(|of| (now.seconds().0 - of.created).max(0)),
            entries: in_force.map_or(0, |of| of.entries),
            is_stale: standing.is_stale,
            refused: standing.refused.as_ref().map(|refused| refused.reason.clone()),
            is_refusal_open: standing.refused.as_ref().is_some_and(|refused| refused.is_open),
            refused_seconds_ago: standing.refused.as_ref().map(|_| history.refused.seconds(now.monotonic)),
        }
    }

    fn outbox(&self, now: &Moment) -> Outbox {
        let journal = self.journal.borrow();
        let waits =
            journal.unacknowledged > 0 && journal.oldest_unacknowledged > 0 && now.quality != ClockQuality::None;
        Outbox {
            is_taking: journal.taking,
            busy_seconds: self.collector.journal().busy_for(now.monotonic).as_secs(),
            waiting_events: journal.unacknowledged,
            oldest_seconds: waits.then(|| (now.seconds().0 - journal.oldest_unacknowledged).max(0)),
            held_events: journal.events,
            held_bytes: journal.disk_bytes,
            bound_percent: journal.bound_percent,
            is_at_bound: journal.at_bound,
            disk_percent: journal.disk_percent,
            is_on_refuge: journal.on_refuge,
            quarantined_stores: journal.quarantined,
            is_safety_state_damaged: journal.safety_damaged,
        }
    }

    fn uplink(&self, now: Duration, history: &History) -> Uplink {
        let state = self.uplink.borrow();
        let round_trip = self.uplink_tally.round_trip_us.load(Ordering::Relaxed);
        let is_up = matches!(*state, UplinkState::Up { .. });
        Uplink {
            state: name_of(&state),
            since_seconds: match *state {
                UplinkState::Up { since, .. } => now.saturating_sub(since).as_secs(),
                _ => history.uplink.seconds(now),
            },
            round_trip_us: (is_up && round_trip > 0).then_some(round_trip),
            code: match *state {
                UplinkState::Down { code, .. } => code,
                _ => None,
            },
        }
    }
}

const fn name_of(state: &UplinkState) -> &'static str {
    match state {
        UplinkState::Off => "off",
        UplinkState::Connecting { .. } => "connecting",
        UplinkState::Up { .. } => "up",
        UplinkState::Down { .. } => "down",
    }
}
