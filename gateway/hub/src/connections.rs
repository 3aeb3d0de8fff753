//! The living connections: one a building.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kalitka_protocol::upstream::close;
use tokio::sync::Notify;

use crate::limits::CHECKPOINT_INTERVAL;

/// One gateway's connection, from its certificate's check to its end.
#[derive(Debug)]
pub(crate) struct Connection {
    /// By the certificate, never by what is said.
    pub(crate) building: u32,
    /// The certificate's serial number.
    pub(crate) serial: Vec<u8>,
    /// The certificate's Ed25519 key, which signs batches.
    pub(crate) key: [u8; 32],
    pub(crate) quic: quinn::Connection,
    /// Rung when there is something new to hand down to this gateway.
    pub(crate) outbound: Notify,
    /// When it began, microseconds since 1970.
    pub(crate) since_us: i64,
    /// The highest order number of this connection's events that was acknowledged; 0 for none.
    pub(crate) acknowledged: AtomicU64,
}

impl Connection {
    /// Ends the connection with a code of SPEC 15.11 and a reason for the other side's log.
    pub(crate) fn close(&self, code: u32, reason: &str) {
        self.quic.close(code.into(), reason.as_bytes());
    }
}

/// Who is connected.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    living: Mutex<BTreeMap<u32, Arc<Connection>>>,
    /// When, by the monotonic clock, each building's history was countersigned last.
    checkpoints: Mutex<BTreeMap<u32, Duration>>,
}

impl Connections {
    /// Takes `connection` in, unless its building has a living one already, which is given back.
    pub(crate) fn take(&self, connection: &Arc<Connection>) -> Result<(), Arc<Connection>> {
        let mut living = self.living();
        if let Some(other) = living.get(&connection.building)
            && other.quic.close_reason().is_none()
        {
            return Err(Arc::clone(other));
        }
        living.insert(connection.building, Arc::clone(connection));
        Ok(())
    }

    /// Lets go of `connection`; another one of its building stays.
    pub(crate) fn leave(&self, connection: &Arc<Connection>) {
        let mut living = self.living();
        if living.get(&connection.building).is_some_and(|other| Arc::ptr_eq(other, connection)) {
            living.remove(&connection.building);
        }
    }

    /// The living connection of `building`.
    pub(crate) fn of(&self, building: u32) -> Option<Arc<Connection>> {
        self.living().get(&building).cloned()
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

impl Connection {
    /// Notes that everything up to `order` is acknowledged.
    pub(crate) fn note_acknowledged(&self, order: u64) {
        self.acknowledged.fetch_max(order, Ordering::Relaxed);
    }
}
