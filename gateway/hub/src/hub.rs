//! What every part of the running hub shares.

use std::sync::Arc;

use tokio::sync::{Semaphore, broadcast, watch};

use crate::alarms::Alarms;
use crate::clock::Clock;
use crate::config::Config;
use crate::connections::Connections;
use crate::metrics::Collector;
use crate::pki::Pki;
use crate::store::Store;

/// The running hub.
pub(crate) struct Hub {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    /// The order number of the newest event that is durable; 0 while there is none.
    pub(crate) stored: watch::Receiver<u64>,
    /// Events as gateways sent them ahead, at best effort.
    pub(crate) live: broadcast::Sender<LiveEvent>,
    pub(crate) alarms: Alarms,
    pub(crate) connections: Connections,
    /// Room for batches that are read and not yet durable, in bytes. Who waits for some is served in the order of coming.
    pub(crate) room: Arc<Semaphore>,
    pub(crate) pki: Pki,
    pub(crate) collector: Arc<Collector>,
    /// True once the hub stops.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// An event of the live lane (SPEC 15.10): committed at its gateway, not yet kept here.
#[derive(Clone, Debug)]
pub(crate) struct LiveEvent {
    pub(crate) building: u32,
    /// One whole event (SPEC 14.2).
    pub(crate) bytes: Arc<[u8]>,
}
