//! The uplink's counters, copied into the `metrics` facade.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kalitka_uplink::{CLOSE_CODES, Tally};

use super::names;

/// Labels of the close codes, by code; 0 stands for those that SPEC does not name.
const CODES: [&str; CLOSE_CODES] =
    ["other", "malformed", "version", "building", "second_connection", "history", "revoked", "no_building", "not_now"];

/// The uplink's counters and where they go.
pub(super) struct UplinkCopies {
    tally: Arc<Tally>,
    copies: Vec<(metrics::Counter, Read)>,
    closed: [metrics::Counter; CLOSE_CODES],
}

impl UplinkCopies {
    pub(super) fn of(tally: Arc<Tally>) -> Self {
        let copies = PLAIN.iter().map(|&(name, read)| (metrics::counter!(name), read)).collect();
        Self { tally, copies, closed: CODES.map(|code| metrics::counter!(names::UPLINK_CLOSED, "code" => code)) }
    }

    /// Copies them as they are now.
    pub(super) fn copy(&self) {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        for (to, read) in &self.copies {
            to.absolute(get(read(&self.tally)));
        }
        for (to, from) in self.closed.iter().zip(&self.tally.closed) {
            to.absolute(get(from));
        }
        #[expect(clippy::cast_precision_loss, reason = "gauges are floats; the numbers stay far below 2^52")]
        {
            metrics::gauge!(names::UPLINK_ROUND_TRIP).set(get(&self.tally.round_trip_us) as f64 / 1e6);
            metrics::gauge!(names::UPLINK_IN_FLIGHT).set(get(&self.tally.in_flight) as f64);
        }
    }
}

/// Picks one of the uplink's counters.
type Read = fn(&Tally) -> &AtomicU64;

/// The counters without labels.
const PLAIN: &[(&str, Read)] = &[
    (names::UPLINK_CONNECTIONS, |tally| &tally.connections),
    (names::UPLINK_FAILURES, |tally| &tally.failures),
    (names::UPLINK_BATCHES, |tally| &tally.batches),
    (names::UPLINK_EVENTS, |tally| &tally.events),
    (names::UPLINK_BYTES, |tally| &tally.bytes),
    (names::UPLINK_RESENT, |tally| &tally.resent),
    (names::UPLINK_ACKNOWLEDGEMENTS, |tally| &tally.acknowledgements),
    (names::UPLINK_FORKS, |tally| &tally.forks),
    (names::UPLINK_LIVE, |tally| &tally.live_sent),
    (names::UPLINK_LIVE_LEFT_OUT, |tally| &tally.live_left_out),
    (names::UPLINK_COMMANDS, |tally| &tally.commands),
    (names::UPLINK_SNAPSHOTS, |tally| &tally.snapshots),
    (names::UPLINK_SNAPSHOT_BYTES, |tally| &tally.snapshot_bytes),
    (names::UPLINK_CHECKPOINTS_REFUSED, |tally| &tally.checkpoints_refused),
];
