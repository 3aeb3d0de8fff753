//! The uplink's counters, copied into the `metrics` facade.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kalitka_uplink::{CLOSE_CODES, RENEWAL_OUTCOMES, Tally};

use super::names;

/// Labels of the close codes, by code; 0 stands for those that SPEC does not name.
const CODES: [&str; CLOSE_CODES] = [
    "other",
    "malformed",
    "version",
    "building",
    "second_connection",
    "history",
    "revoked",
    "no_building",
    "not_now",
    "expired",
];

/// Labels of what became of renewals.
const RENEWALS: [&str; RENEWAL_OUTCOMES] = ["renewed", "revoked", "other_building", "malformed", "not_now", "failed"];

/// The uplink's counters and where they go.
pub(super) struct UplinkCopies {
    tally: Arc<Tally>,
    copies: Vec<(metrics::Counter, Read)>,
    closed: [metrics::Counter; CLOSE_CODES],
    renewals: [metrics::Counter; RENEWAL_OUTCOMES],
}

impl UplinkCopies {
    pub(super) fn of(tally: Arc<Tally>) -> Self {
        let copies = PLAIN.iter().map(|&(name, read)| (metrics::counter!(name), read)).collect();
        let closed = CODES.map(|code| metrics::counter!(names::UPLINK_CLOSED, "code" => code));
        let renewals = RENEWALS.map(|outcome| metrics::counter!(names::UPLINK_RENEWALS, "outcome" => outcome));
        Self { tally, copies, closed, renewals }
    }

    /// Copies them as they are now.
    pub(super) fn copy(&self) {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        for (to, read) in &self.copies {
            to.absolute(get(read(&self.tally)));
        }
        let (closed, renewals) = (self.closed.iter().zip(&self.tally.closed), self.renewals.iter());
        for (to, from) in closed.chain(renewals.zip(&self.tally.renewals)) {
            to.absolute(get(from));
        }
        #[expect(clippy::cast_precision_loss, reason = "gauges are floats; the numbers stay far below 2^52")]
        {
            metrics::gauge!(names::UPLINK_ROUND_TRIP).set(get(&self.tally.round_trip_us) as f64 / 1e6);
            metrics::gauge!(names::UPLINK_IN_FLIGHT).set(get(&self.tally.in_flight) as f64);
            metrics::gauge!(names::UPLINK_PACE).set(get(&self.tally.pace) as f64);
            let expires = [("gateway", &self.tally.certificate_expires), ("ca", &self.tally.ca_expires)];
            for (certificate, seconds) in expires {
                metrics::gauge!(names::CERTIFICATE_EXPIRES, "certificate" => certificate).set(get(seconds) as f64);
            }
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
