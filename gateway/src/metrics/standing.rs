//! How each reader and each portal stands, for whoever shows them one by one: the metrics and the status page.

use std::sync::Arc;
use std::time::Duration;

use kalitka_core::limits::PORTALS_COUNTED_MAX;
use kalitka_core::tally::Outcomes;
use kalitka_core::{Count, Counted, Keys, ReaderTally, View};
use kalitka_protocol::ReaderId;

use super::tally::Tally;
use crate::limits::READER_SILENT_AFTER;
use crate::published::Published;

/// How a reader stands that has a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReaderStanding {
    pub(crate) reader: ReaderId,
    /// Whether people are answered there: it was heard within [`READER_SILENT_AFTER`], and does not say that it is in fall-back.
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
        let falling_back = tally.is_falling_back();
        let up = !falling_back && heard_ago.is_some_and(|ago| ago < READER_SILENT_AFTER);
        Self {
            reader,
            up,
            heard_ago,
            has_session: tally.has_session(),
            asks: tally.asks.get(),
            repeats: tally.repeats.get(),
            // Of one that is gone it says nothing any more.
            drift_ppm: tally.drift_ppm().filter(|_| up),
            reports_waiting: tally.reports_waiting(),
            falling_back,
        }
    }
}

/// What was decided at a portal since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PortalStanding {
    pub(crate) portal: Counted,
    pub(crate) granted: u64,
    pub(crate) denied: u64,
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
        let numbered = (0..=u16::MAX).take(known.min(PORTALS_COUNTED_MAX)).map(Counted::Portal);
        let sum = |of, pick: fn(&Outcomes) -> &Count| {
            tallies.iter().map(|tally| pick(tally.decisions.outcomes(of)).get()).sum()
        };
        let standing = |portal| PortalStanding {
            portal,
            granted: sum(portal, |outcomes| &outcomes.granted),
            denied: sum(portal, |outcomes| &outcomes.denied),
        };
        numbered.chain([Counted::Others, Counted::Unknown]).map(standing).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kalitka_protocol::handshake::Psk;
    use kalitka_protocol::message::Ping;

    #[test]
    fn without_a_snapshot_no_portal_is_known_by_its_place() {
        let shown = Standings::default().portals(&[Tally::new(), Tally::new()]);
        assert_eq!(shown.iter().map(|of| of.portal).collect::<Vec<_>>(), [Counted::Others, Counted::Unknown]);
    }

    #[test]
    fn reader_is_up_for_five_seconds_after_it_was_heard() {
        let tally = ReaderTally::default();
        let heard = Duration::from_secs(100);
        tally.hear(heard);
        for (silent, up) in [(Duration::ZERO, true), (Duration::from_millis(4999), true), (READER_SILENT_AFTER, false)]
        {
            let standing = ReaderStanding::of(ReaderId(1), &tally, heard + silent);
            assert_eq!((standing.up, standing.heard_ago), (up, Some(silent)));
        }
    }

    #[test]
    fn reader_that_says_it_is_in_fall_back_is_not_up_whatever_is_heard_of_it() {
        let (tally, now) = (ReaderTally::default(), Duration::from_secs(100));
        tally.hear(now);
        tally.ping(&Ping { token: 1, reports_waiting: 0, falling_back: true });
        assert!(!ReaderStanding::of(ReaderId(1), &tally, now).up);
        tally.asked();
        assert!(ReaderStanding::of(ReaderId(1), &tally, now).up, "who asks is answered");
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
