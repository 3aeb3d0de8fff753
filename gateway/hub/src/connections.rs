//! The living connections: one a building.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kalitka_protocol::limits::PACE_BYTES_MIN;
use kalitka_protocol::upstream::close;
use tokio::sync::{Notify, watch};

use crate::limits::{CHECKPOINT_INTERVAL, LAG_LIFE, PACE_BYTES_MAX, PACED_BYTES};
use crate::pki::GatewayCertificate;

/// One gateway's connection, from its certificate's check to its end.
#[derive(Debug)]
pub(crate) struct Connection {
    /// By the certificate, never by what is said.
    pub(crate) building: u32,
    /// What it has shown; its key signs batches.
    pub(crate) certificate: GatewayCertificate,
    pub(crate) quic: quinn::Connection,
    /// Rung when there is something new to hand down to this gateway.
    pub(crate) outbound: Notify,
    /// When it began, microseconds since 1970.
    pub(crate) since_us: i64,
    /// The highest order number of this connection's events that was acknowledged; 0 for none.
    pub(crate) acknowledged: AtomicU64,
    /// How long the first event of the newest batch that was acknowledged had waited, in microseconds.
    pub(crate) lag_us: AtomicU64,
    /// When that was, microseconds since 1970.
    pub(crate) lag_noted_us: AtomicI64,
}

impl Connection {
    /// Ends the connection with a code of SPEC 15.11 and a reason for the other side's log.
    pub(crate) fn close(&self, code: u32, reason: &str) {
        self.quic.close(code.into(), reason.as_bytes());
    }
}

/// Who is connected.
#[derive(Debug)]
pub(crate) struct Connections {
    living: Mutex<BTreeMap<u32, Arc<Connection>>>,
    /// Bytes that each gateway may have on their way.
    pace: watch::Sender<u32>,
    /// When, by the monotonic clock, each building's history was countersigned last.
    checkpoints: Mutex<BTreeMap<u32, Duration>>,
}

impl Default for Connections {
    fn default() -> Self {
        let pace = watch::Sender::new(PACE_BYTES_MAX);
        Self { living: Mutex::default(), pace, checkpoints: Mutex::default() }
    }
}

/// What each of so many gateways may have on its way when it was `current` before: its part of what all may have, as a power
/// of two, so that it seldom changes. It falls at once, and rises when there is clearly more, so that one gateway that comes
/// and goes changes nothing for the others.
fn pace_of(current: u32, connections: usize) -> u32 {
    let part = PACED_BYTES / u32::try_from(connections.max(1)).unwrap_or(u32::MAX);
    let is_clearly_more = part / 5 * 2 >= current;
    if part >= current && !is_clearly_more {
        return current;
    }
    1 << part.clamp(PACE_BYTES_MIN, PACE_BYTES_MAX).ilog2()
}

impl Connections {
    /// What each gateway may have on its way (SPEC 15.16), and when that changes.
    pub(crate) fn pace(&self) -> watch::Receiver<u32> {
        self.pace.subscribe()
    }

    fn set_pace(&self, connections: usize) {
        self.pace.send_if_modified(|pace| {
            let before = std::mem::replace(pace, pace_of(*pace, connections));
            *pace != before
        });
    }

    /// Takes `connection` in, unless its building has a living one already, which is given back.
    pub(crate) fn take(&self, connection: &Arc<Connection>) -> Result<(), Arc<Connection>> {
        let mut living = self.living();
        if let Some(other) = living.get(&connection.building)
            && other.quic.close_reason().is_none()
        {
            return Err(Arc::clone(other));
        }
        living.insert(connection.building, Arc::clone(connection));
        self.set_pace(living.len());
        Ok(())
    }

    /// Lets go of `connection`; another one of its building stays.
    pub(crate) fn leave(&self, connection: &Arc<Connection>) {
        let mut living = self.living();
        if living.get(&connection.building).is_some_and(|other| Arc::ptr_eq(other, connection)) {
            living.remove(&connection.building);
            self.set_pace(living.len());
        }
    }

    /// The living connection of `building`.
    pub(crate) fn of(&self, building: u32) -> Option<Arc<Connection>> {
        self.living().get(&building).cloned()
    }

    /// How long events wait of the gateway that is furthest behind, at `now_us` microseconds since 1970.
    pub(crate) fn worst_lag(&self, now_us: i64) -> Duration {
        let of = |connection: &Arc<Connection>| {
            let noted = connection.lag_noted_us.load(Ordering::Relaxed);
            still_true(connection.lag_us.load(Ordering::Relaxed), noted, now_us)
        };
        self.living().values().map(of).max().unwrap_or_default()
    }

    /// Every living connection, by building.
    pub(crate) fn all(&self) -> Vec<Arc<Connection>> {
        self.living().values().cloned().collect()
    }

    /// Rings `building`'s connection: there is something new to hand down. Nothing is lost when it has none: a new
    /// connection looks by itself.
    pub(crate) fn wake(&self, building: u32) {
        if let Some(connection) = self.of(building) {
            connection.outbound.notify_one();
        }
    }

    /// Closes `building`'s connection because its certificate is revoked; says whether there was one.
    pub(crate) fn revoke(&self, building: u32) -> bool {
        let connection = self.of(building);
        if let Some(connection) = &connection {
            connection.close(close::REVOKED, "the certificate is revoked; enrol again");
        }
        connection.is_some()
    }

    /// Whether `building`'s history is to be countersigned at `now`; then it counts as done.
    pub(crate) fn is_checkpoint_due(&self, building: u32, now: Duration) -> bool {
        let mut checkpoints = self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner);
        let due = checkpoints.get(&building).is_none_or(|last| now.saturating_sub(*last) >= CHECKPOINT_INTERVAL);
        if due {
            checkpoints.insert(building, now);
        }
        due
    }

    fn living(&self) -> MutexGuard<'_, BTreeMap<u32, Arc<Connection>>> {
        // Nothing panics while it holds the map, and a map is whole at every step.
        self.living.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A wait of `lag_us` that was seen at `noted_us`. Later, when nothing has come any more, nothing waits.
fn still_true(lag_us: u64, noted_us: i64, now_us: i64) -> Duration {
    let since = Duration::from_micros(now_us.abs_diff(noted_us));
    if since > LAG_LIFE { Duration::ZERO } else { Duration::from_micros(lag_us) }
}

impl Connection {
    /// Notes that everything up to `order` is acknowledged.
    pub(crate) fn note_acknowledged(&self, order: u64) {
        self.acknowledged.fetch_max(order, Ordering::Relaxed);
    }

    /// Notes that an event which happened at `wall_us` is durable at `now_us`, both in microseconds since 1970. Where the gateway's
    /// clock is ahead it has not waited.
    pub(crate) fn note_lag(&self, wall_us: i64, now_us: i64) {
        let waited = now_us.saturating_sub(wall_us);
        self.lag_us.store(u64::try_from(waited).unwrap_or(0), Ordering::Relaxed);
        self.lag_noted_us.store(now_us, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_forgotten_a_minute_after_the_batch_that_showed_it() {
        const NIGHT_US: u64 = 8 * 3600 * 1_000_000;
        let minute_us = i64::try_from(LAG_LIFE.as_micros()).unwrap();
        for (later, lag_us) in [(0, NIGHT_US), (minute_us, NIGHT_US), (minute_us + 1, 0), (-minute_us - 1, 0)] {
            assert_eq!(still_true(NIGHT_US, 1_700_000_000, 1_700_000_000 + later), Duration::from_micros(lag_us));
        }
    }

    #[test]
    fn pace_is_a_part_of_what_all_may_have_and_never_less_than_the_least() {
        let mut pace = PACE_BYTES_MAX;
        for (connections, expected) in [
            (0, 2 << 20),
            (1, 2 << 20),
            (32, 2 << 20),
            (33, 1 << 20),
            (500, 128 << 10),
            (3000, PACE_BYTES_MIN),
            (10_000, PACE_BYTES_MIN),
            (usize::MAX, PACE_BYTES_MIN),
            (1, 2 << 20),
        ] {
            pace = pace_of(pace, connections);
            assert_eq!(pace, expected, "{connections}");
        }
    }

    #[test]
    fn one_gateway_that_comes_and_goes_changes_the_pace_once() {
        let mut pace = PACE_BYTES_MAX;
        let mut changes = 0;
        for turn in 0..100 {
            let next = pace_of(pace, 32 + turn % 2);
            changes += u32::from(next != pace);
            pace = next;
        }
        assert_eq!((pace, changes), (1 << 20, 1));
        assert_eq!(pace_of(pace, 25), 2 << 20, "fewer by a fifth: there is clearly more");
    }
}
