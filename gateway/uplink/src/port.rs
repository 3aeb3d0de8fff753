//! What the uplink asks of the journal, and what it shows of itself.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kalitka_protocol::EpochId;
use kalitka_protocol::upstream::{CommandOutcome, Hello, Position};
use tokio::sync::{broadcast, oneshot, watch};
use tokio::time::sleep;

use crate::end::End;
use crate::limits::BUSY_AGAIN;

/// Where an epoch's sending begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leg {
    /// The epoch.
    pub epoch: EpochId,
    /// The first number to send of it.
    pub next: u64,
}

/// Whole events of one epoch, with numbers one after the other, as they were committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Their epoch.
    pub epoch: EpochId,
    /// The first one's number.
    pub first: u64,
    /// The chain's hash before the first (SPEC 14.3).
    pub hash_before: [u8; 32],
    /// Their bytes, one behind the other.
    pub events: Vec<u8>,
    /// How many they are, 1 and up.
    pub count: u32,
    /// The chain's hash of the last.
    pub hash: [u8; 32],
}

impl Run {
    /// The last event's number.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.first.saturating_add(u64::from(self.count)).saturating_sub(1)
    }
}

/// What the uplink asks of the journal, or tells it. A reply that is dropped unsent ends the connection; the next one asks
/// again.
#[derive(Debug)]
pub enum Request {
    /// The hello of a new connection (SPEC 15.4).
    Standing {
        /// Gets it, and whether it names every epoch of which something waits for the hub: when not, another connection
        /// follows as soon as what it names is through.
        reply: oneshot::Sender<(Hello, bool)>,
    },
    /// The hub's position (SPEC 15.5). It has been checked to answer the hello.
    Position {
        /// As the hub sent it.
        position: Box<Position>,
        /// Gets where to go on, epoch by epoch, in the order of sending; or why not.
        reply: oneshot::Sender<Result<Vec<Leg>, String>>,
    },
    /// The next events of an epoch.
    Read {
        /// The epoch.
        epoch: EpochId,
        /// The first number that is wanted. The run may begin above it, where a loss names what is left out (SPEC 15.6).
        from: u64,
        /// Bytes of events at most, unless the first alone has more.
        bytes_max: usize,
        /// Gets them; `None` when the epoch holds none from there on.
        reply: oneshot::Sender<Result<Option<Run>, String>>,
    },
    /// The hub has made all of the epoch up to the number durable.
    Acknowledged {
        /// The epoch.
        epoch: EpochId,
        /// The number.
        number: u64,
    },
    /// The hub keeps another event under this identity, the first such one: from it on the epoch's events need new
    /// identities (SPEC 15.13). The uplink sends nothing more of that epoch.
    Forked {
        /// The epoch.
        epoch: EpochId,
        /// The number.
        number: u64,
    },
    /// A command's envelope, as it came: nothing of it is checked but its length.
    Command {
        /// Its bytes (SPEC 15.8).
        envelope: Vec<u8>,
        /// Gets the result, when its event is durable; dropped, the hub gets none and sends it again.
        reply: oneshot::Sender<(u64, CommandOutcome)>,
    },
    /// A snapshot's file, whole and with the hash that the hub named; its signature is not checked.
    Snapshot {
        /// Where it lies.
        file: PathBuf,
        /// As the hub named it.
        generation: u32,
        /// Gets the result of SPEC 15.12.
        reply: oneshot::Sender<u8>,
    },
    /// A checkpoint of the hub (SPEC 15.7): of this building, and signed by the pinned key.
    Checkpoint {
        /// The message's body.
        bytes: Vec<u8>,
    },
}

/// The journal takes nothing now; ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the journal takes nothing now")]
pub struct Busy;

/// The newest event that is durable here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadSeen {
    /// The present epoch.
    pub epoch: EpochId,
    /// Its last number; 0 when it has none.
    pub number: u64,
}

/// What joins the uplink to the process that it serves.
pub struct Port {
    /// Hands a request to the journal without waiting.
    pub requests: Box<dyn Fn(Request) -> Result<(), Busy> + Send + Sync>,
    /// Changes after each commit; `None` until the outbox is open. Nothing is connected before.
    pub head: watch::Receiver<Option<HeadSeen>>,
    /// The events of each commit, whole, one behind the other, for the live lane (SPEC 15.10). Listened to while connected.
    pub live: broadcast::Sender<Arc<[u8]>>,
    /// Where the uplink shows how it stands.
    pub state: watch::Sender<State>,
}

/// How the uplink stands. Times are those of the clock passed to [`crate::run`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It has not begun, or has ended.
    #[default]
    Off,
    /// A connection is being made.
    Connecting {
        /// Attempts since the last connection that carried something, this one counted.
        attempt: u32,
    },
    /// The hub has said its position, and takes events.
    Up {
        /// Since when.
        since: Duration,
        /// Where it is.
        hub: SocketAddr,
    },
    /// There is no connection.
    Down {
        /// The application's code, when the hub closed it (SPEC 15.11).
        code: Option<u64>,
        /// What is wrong, and what to do.
        text: String,
        /// When the next attempt is due.
        retry_at: Duration,
    },
}

impl Port {
    /// Hands over a request, as often as it takes, and awaits the reply.
    ///
    /// # Errors
    /// [`End::Journal`] when the reply is dropped unsent.
    pub(crate) async fn ask<T>(&self, what: &str, request: impl Fn(oneshot::Sender<T>) -> Request) -> Result<T, End> {
        loop {
            let (reply, answer) = oneshot::channel();
            if (self.requests)(request(reply)).is_ok() {
                return answer.await.map_err(|_| End::Journal(format!("the journal gave no reply about {what}")));
            }
            sleep(BUSY_AGAIN).await;
        }
    }

    /// Hands over what needs no reply, as often as it takes.
    pub(crate) async fn tell(&self, request: impl Fn() -> Request) {
        while (self.requests)(request()).is_err() {
            sleep(BUSY_AGAIN).await;
        }
    }
}
