//! Counters of the uplink, for whoever shows metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Close codes that are counted one by one (SPEC 15.11); all others share the place of 0.
pub const CLOSE_CODES: usize = 9;

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
}
