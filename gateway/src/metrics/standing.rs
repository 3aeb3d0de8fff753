//! How each reader and each portal stands, for whoever shows them one by one: the metrics and the status page.

use std::sync::Arc;
use std::time::Duration;

use kalitka_core::{Keys, ReaderTally, View};
use kalitka_protocol::ReaderId;
use kalitka_protocol::reason::Verdict;

use super::tally::{Count, Tally};
use crate::limits::{PORTALS_SHOWN_MAX, READER_SILENT_AFTER};
use crate::published::Published;

/// How a reader stands that has a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReaderStanding {
    pub(crate) reader: ReaderId,
    /// Whether it was heard within [`READER_SILENT_AFTER`].
    pub(crate) up: bool,
    /// How long ago its newest authentic datagram came; `None` for never since the gateway's start.
    pub(crate) heard_ago: Option<Duration>,
    /// Whether it has a session that it has used.
    pub(crate) has_session: bool,
    /// Asks that were decided.
    pub(crate) asks: u64,
    /// Asks that came again, unanswered.
    pub(crate) repeats: u64,
    /// How much longer its second is than the gateway's, in millionths; `None` until it was measured.
    pub(crate) drift_ppm: Option<i32>,
    /// Reports that wait for their receipts, by its newest ping.
    pub(crate) reports_waiting: u16,
    /// Whether its newest ping said that it was in fall-back.
    pub(crate) falling_back: bool,
}

impl ReaderStanding {
    fn of(reader: ReaderId, tally: &ReaderTally, now: Duration) -> Self {
        let heard_ago = tally.heard().map(|heard| now.saturating_sub(heard));
        Self {
            reader,
            up: heard_ago.is_some_and(|ago| ago < READER_SILENT_AFTER),
            heard_ago,
            has_session: tally.has_session(),
            asks: tally.asks.get(),
            repeats: tally.repeats.get(),
            drift_ppm: tally.drift_ppm(),
            reports_waiting: tally.reports_waiting(),
            falling_back: tally.is_falling_back(),
        }
    }
}

/// Whose decisions are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PortalShown {
    /// Of the portal in this place of the snapshot's list, from 0, below [`PORTALS_SHOWN_MAX`].
    Numbered(u16),
    /// Of all portals beyond.
    Other,
    /// Of asks whose portal nobody looked up: without a snapshot, of a reader that it does not know, stale.
    Unknown,
}

/// What was decided at a portal since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PortalStanding {
    pub(crate) portal: PortalShown,
    pub(crate) granted: u64,
    pub(crate) denied: u64,
}

/// Decisions by portal, of one worker.
#[derive(Debug)]
pub(crate) struct PortalCounts {
    numbered: [[Count; 2]; PORTALS_SHOWN_MAX],
    other: [Count; 2],
    unknown: [Count; 2],
}

impl PortalCounts {
    pub(super) const fn new() -> Self {
        const ZERO: [Count; 2] = [Count::new(), Count::new()];
        Self { numbered: [const { ZERO }; PORTALS_SHOWN_MAX], other: ZERO, unknown: ZERO }
    }

    /// Counts one decision.
    pub(crate) fn count(&self, portal: Option<u16>, verdict: Verdict) {
        let portal = portal.map_or(PortalShown::Unknown, PortalShown::of);
        let [denied, granted] = self.of(portal);
        if verdict.is_grant() { granted.add(1) } else { denied.add(1) }
    }

    /// The denials and grants there.
    fn of(&self, portal: PortalShown) -> &[Count; 2] {
        match portal {
            PortalShown::Numbered(number) => self.numbered.get(usize::from(number)).unwrap_or(&self.other),
            PortalShown::Other => &self.other,
            PortalShown::Unknown => &self.unknown,
        }
    }
}

impl PortalShown {
    fn of(place: u16) -> Self {
        if usize::from(place) < PORTALS_SHOWN_MAX { Self::Numbered(place) } else { Self::Other }
    }
}

/// Where readers and portals are found.
#[derive(Debug)]
pub(crate) struct Standings {
    pub(crate) keys: Arc<Published<Keys>>,
    pub(crate) views: Arc<Published<View>>,
}

impl Default for Standings {
    fn default() -> Self {
        Self { keys: Arc::new(Published::new(None)), views: Arc::new(Published::new(None)) }
    }
}

impl Standings {
    /// The readers that have keys, by number.
    pub(super) fn readers(&self, now: Duration) -> Vec<ReaderStanding> {
        let keys = self.keys.load();
        let readers = keys.iter().flat_map(|keys| keys.iter());
        readers.map(|keys| ReaderStanding::of(keys.reader, &keys.tally, now)).collect()
    }

    /// The portals of the snapshot in force, those beyond the limit together, and what belongs to none.
    pub(super) fn portals(&self, tallies: &[Tally]) -> Vec<PortalStanding> {
        let view = self.views.load();
        let known = view.as_ref().map_or(0, |view| view.snapshot().model().portals.len());
        let numbered = (0..=u16::MAX).take(known.min(PORTALS_SHOWN_MAX)).map(PortalShown::Numbered);
        let shown = numbered.chain([PortalShown::Other, PortalShown::Unknown]);
        let sum = |portal, verdict: usize| tallies.iter().map(|tally| tally.portals.of(portal)[verdict].get()).sum();
        shown.map(|portal| PortalStanding { portal, granted: sum(portal, 1), denied: sum(portal, 0) }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kalitka_protocol::handshake::Psk;
    use kalitka_protocol::reason::{Denial, Grant};

    #[test]
    fn every_decision_is_counted_at_one_portal_and_those_beyond_the_limit_together() {
        let limit = u16::try_from(PORTALS_SHOWN_MAX).unwrap();
        let workers = [Tally::new(), Tally::new()];
        let decide = |worker: usize, portal, verdict| workers[worker].portals.count(portal, verdict);
        let (granted, denied) = (Verdict::Grant(Grant::AccessLevel), Verdict::Deny(Denial::NoAccess));
        decide(0, Some(0), granted);
        decide(1, Some(0), granted);
        decide(1, Some(limit - 1), denied);
        decide(0, Some(limit), denied);
        decide(1, Some(u16::MAX), granted);
        decide(0, None, denied);
        // Without a snapshot no portal is known by number.
        let shown = Standings::default().portals(&workers);
        let of = |portal, granted, denied| PortalStanding { portal, granted, denied };
        assert_eq!(shown, [of(PortalShown::Other, 1, 1), of(PortalShown::Unknown, 0, 1)]);
        let sum =
            |portal| workers.iter().map(|of| of.portals.of(portal).each_ref().map(Count::get)).collect::<Vec<_>>();
        assert_eq!(sum(PortalShown::Numbered(0)), [[0, 1], [0, 1]]);
        assert_eq!(sum(PortalShown::Numbered(limit - 1)), [[0, 0], [1, 0]]);
    }

    #[test]
    fn reader_never_heard_is_not_up_and_nothing_is_known_of_it() {
        let keys = Keys::new(1, [7, 3].map(|reader| (ReaderId(reader), Psk::new([1; 32])))).unwrap();
        let standings = Standings { keys: Arc::new(Published::new(Some(Arc::new(keys)))), ..Standings::default() };
        let shown = standings.readers(Duration::from_secs(100));
        assert_eq!(shown.iter().map(|standing| standing.reader.0).collect::<Vec<_>>(), [3, 7]);
        assert!(shown.iter().all(|standing| !standing.up && standing.heard_ago.is_none() && !standing.has_session));
    }
}
