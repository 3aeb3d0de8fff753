//! What goes down to gateways: snapshots (SPEC 15.12) and commands (SPEC 15.8).
//!
//! Both wait in the ledger, so that a connection which breaks, or a hub that is killed, loses nothing: the next connection
//! looks there first. What is published or handed in while a gateway is connected rings its connection.

mod commands;
mod snapshots;
pub(crate) mod stream;

use std::sync::Arc;

use kalitka_protocol::upstream::close;
use tokio::sync::Notify;

use crate::alarms::AlarmKind;
use crate::connections::Connection;
use crate::failure::Failure;
use crate::hub::Hub;
use crate::limits::STORE_AGAIN;
use stream::NoMessage;

/// Why handing down has come to an end on this connection.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error("the connection is gone")]
    Gone,
    /// The gateway breaks SPEC: its connection ends.
    #[error("{0}")]
    Malformed(String),
}

impl From<NoMessage> for Stopped {
    fn from(error: NoMessage) -> Self {
        match error {
            NoMessage::Malformed(error) => Self::Malformed(error.to_string()),
            NoMessage::Gone(_) | NoMessage::Ended => Self::Gone,
        }
    }
}

impl From<quinn::WriteError> for Stopped {
    fn from(_: quinn::WriteError) -> Self {
        Self::Gone
    }
}

impl From<quinn::ConnectionError> for Stopped {
    fn from(_: quinn::ConnectionError) -> Self {
        Self::Gone
    }
}

/// Hands down to `connection` what its building shall have, until the connection ends. Begun after the position was sent;
/// `generation` is what the gateway's hello said is in force.
pub(crate) async fn run(hub: Arc<Hub>, connection: Arc<Connection>, generation: u32) {
    let (snapshots, commands) = (Notify::new(), Notify::new());
    let ring = async {
        loop {
            connection.outbound.notified().await;
            snapshots.notify_one();
            commands.notify_one();
        }
    };
    tokio::select! {
        () = ring => {}
        () = snapshots::hand_down(&hub, &connection, generation, &snapshots) => {}
        () = commands::hand_down(&hub, &connection, &commands) => {}
        _ = connection.quic.closed() => {}
    }
}

/// Ends what cannot go on. A gateway that breaks SPEC loses its connection; else the other lane goes on alone.
async fn end(hub: &Hub, connection: &Connection, what: &str, stopped: &Stopped) {
    if let Stopped::Malformed(text) = stopped {
        let text = format!("{what}: {text}");
        connection.close(close::MALFORMED, &text);
        hub.alarms.raise(AlarmKind::Malformed, Some(connection.building), text);
    }
    connection.quic.closed().await;
}

/// After a failure of the machine: waits until it is worth another try.
async fn pause(connection: &Connection, error: &Failure, bell: &Notify) {
    tracing::error!(building = connection.building, %error, "cannot hand down; trying again");
    // Rung or not, it is tried again after a while.
    let _ = tokio::time::timeout(STORE_AGAIN, bell.notified()).await;
}
