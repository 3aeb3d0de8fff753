//! The uplink's place in the gateway: what it is told, and whom it asks.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use kalitka_uplink::{Busy, HeadSeen, Options, Port, Request, State, Tally};
use tokio::sync::{broadcast, watch};

use crate::adoption::{Order, Reply};
use crate::clock::Clock;
use crate::config::Config;
use crate::journal::Door;
use crate::metrics::names;
use crate::trust::identity_folder;

/// Where snapshots lie that are on their way from the hub, in the state folder.
const SNAPSHOTS_FOLDER: &str = "uplink-snapshots";

/// An uplink that has not begun.
pub(crate) struct Uplink {
    pub(crate) options: Options,
    pub(crate) port: Port,
    pub(crate) tally: Arc<Tally>,
    pub(crate) clock: Clock,
}

impl Uplink {
    /// Keeps the connection to the hub. Without one the gateway decides and keeps events all the same.
    pub(crate) async fn run(self, shutdown: watch::Receiver<bool>) {
        let Self { options, port, tally, clock } = self;
        tokio::spawn(show(port.state.subscribe()));
        if let Err(error) = kalitka_uplink::run(options, port, tally, move || clock.monotonic(), shutdown).await {
            tracing::error!(%error, "there is no uplink; events wait here");
        }
    }
}

/// What the uplink is told.
pub(crate) fn options(config: &Config) -> Options {
    Options {
        building: config.building,
        hub: config.uplink.hub.clone(),
        identity: identity_folder(&config.state),
        snapshots: config.state.join(SNAPSHOTS_FOLDER),
        congestion: kalitka_uplink::Congestion::default(),
        wall: || Duration::from_secs(u64::try_from(Clock::wall_seconds()).unwrap_or(0)),
    }
}

/// What joins the uplink to the journal and, for snapshots, to the adopter.
pub(crate) fn port(
    journal: Door,
    orders: SyncSender<Order>,
    (head, live): (watch::Receiver<Option<HeadSeen>>, broadcast::Sender<Arc<[u8]>>),
    state: watch::Sender<State>,
) -> Port {
    let requests = Box::new(move |request| match request {
        Request::Snapshot { file, reply, .. } => {
            orders.try_send(Order { file, reply: Reply::Hub(reply) }).map_err(|_| Busy)
        }
        request => journal.uplink(request),
    });
    Port { requests, head, live, state }
}

async fn show(mut state: watch::Receiver<State>) {
    loop {
        let is_up = matches!(*state.borrow_and_update(), State::Up { .. });
        metrics::gauge!(names::UPLINK_UP).set(if is_up { 1.0 } else { 0.0 });
        if state.changed().await.is_err() {
            return;
        }
    }
}
