//! Counters of the uplink, for whoever shows metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::identity::Identity;

/// Close codes that are counted one by one (SPEC 15.11); all others share the place of 0.
pub const CLOSE_CODES: usize = 10;
/// What may become of a renewal: 0 renewed, 1 to 4 refused with this code (SPEC 15.15), 5 anything else.
pub const RENEWAL_OUTCOMES: usize = 6;

/// What has happened since the start. Counters only grow; gauges say so.
#[derive(Debug, Default)]
pub struct Tally {
    /// Connections on which the hub said its position.
    pub connections: AtomicU64,
    /// Attempts and connections that ended without being asked to.
    pub failures: AtomicU64,
    /// Connections that the hub closed, by code; 0: any that SPEC does not name.
    pub closed: [AtomicU64; CLOSE_CODES],
    /// Batches sent.
    pub batches: AtomicU64,
    /// Events in them.
    pub events: AtomicU64,
    /// Bytes of those events.
    pub bytes: AtomicU64,
    /// Events of these that an earlier batch of this process held already.
    pub resent: AtomicU64,
    /// Acknowledgements received.
    pub acknowledgements: AtomicU64,
    /// Forks that the hub named (SPEC 15.13).
    pub forks: AtomicU64,
    /// Events sent on the live lane; the repeat is not counted.
    pub live_sent: AtomicU64,
    /// Events left out of it: too large, too many at once, or the lane full.
    pub live_left_out: AtomicU64,
    /// Commands received.
    pub commands: AtomicU64,
    /// Snapshots received whole.
    pub snapshots: AtomicU64,
    /// Bytes of snapshots received.
    pub snapshot_bytes: AtomicU64,
    /// Checkpoints of the hub that were not of its key or not of this building.
    pub checkpoints_refused: AtomicU64,
    /// Renewals of the certificate, by what became of them.
    pub renewals: [AtomicU64; RENEWAL_OUTCOMES],
    /// Gauge: when the certificate expires, in seconds since 1970; 0 while it is not known.
    pub certificate_expires: AtomicU64,
    /// Gauge: the same of the pinned CA's certificate.
    pub ca_expires: AtomicU64,
    /// Gauge: bytes that the hub lets be on their way; 0 when it has not said.
    pub pace: AtomicU64,
    /// Gauge: the path's round trip in microseconds; 0 while there is none.
    pub round_trip_us: AtomicU64,
    /// Gauge: bytes of events sent and not acknowledged.
    pub in_flight: AtomicU64,
}

impl Tally {
    /// Adds `count` to a counter of a tally.
    pub(crate) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Relaxed);
    }

    /// Counts a connection that the hub closed with `code`.
    pub(crate) fn closed_with(&self, code: u64) {
        let place = usize::try_from(code).ok().filter(|&place| place < CLOSE_CODES).unwrap_or(0);
        Self::add(&self.closed[place], 1);
    }

    /// Counts what became of a renewal; `code` is the hub's refusal, 0 for none.
    pub(crate) fn renewed_with(&self, code: u8) {
        let place = usize::from(code).min(RENEWAL_OUTCOMES - 1);
        Self::add(&self.renewals[place], 1);
    }

    /// Shows when the certificates of `identity` expire.
    pub(crate) fn show_expiry(&self, identity: &Identity) {
        let seconds = |time: i64| u64::try_from(time).unwrap_or(0);
        self.certificate_expires.store(seconds(identity.expires()), Relaxed);
        self.ca_expires.store(seconds(identity.ca_expires()), Relaxed);
    }
}
