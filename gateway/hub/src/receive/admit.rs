//! Who is let in: a gateway by its certificate, one connection a building; a box without one for enrolment.

use std::sync::Arc;

use kalitka_protocol::upstream::{ALPN_ENROL, ALPN_RENEW, close};
use quinn::crypto::rustls::HandshakeData;
use quinn::{ConnectionError, Incoming};
use rustls::pki_types::CertificateDer;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use super::places::Place;
use super::record;
use crate::alarms::AlarmKind;
use crate::clock::Clock;
use crate::connections::Connection;
use crate::enrol;
use crate::hub::Hub;
use crate::ledger::{self, Standing};
use crate::limits::{HANDSHAKE_PATIENCE, LIFE_LOOK, LIFE_PATIENCE};
use crate::metrics::names;
use crate::pki::GatewayCertificate;
use crate::renew;
use crate::store::Work;

/// Shakes hands with `incoming` and serves the connection to its end. `place` is given back with the handshake.
pub(super) async fn admit(hub: Arc<Hub>, incoming: Incoming, works: mpsc::Sender<Work>, place: Place) {
    let peer = incoming.remote_address();
    let shaken = match incoming.accept() {
        Ok(connecting) => timeout(HANDSHAKE_PATIENCE, connecting).await,
        Err(error) => Ok(Err(error)),
    };
    let quic = match shaken {
        Ok(Ok(quic)) => quic,
        Ok(Err(error)) => return note_failed(&hub, peer, &error),
        Err(_) => return count_refused("slow"),
    };
    drop(place);
    if protocol(&quic).as_deref() == Some(ALPN_ENROL) {
        enrol::serve(hub, quic).await;
        return;
    }
    let certificate = match certificate(&quic) {
        Ok(certificate) => certificate,
        Err(error) => {
            count_refused("certificate");
            hub.alarms.raise(AlarmKind::Certificate, None, format!("{peer}: {error}"));
            return quic.close(close::NO_BUILDING.into(), error.as_bytes());
        }
    };
    let is_expired = Clock::wall_seconds() > certificate.not_after;
    if is_expired {
        renew::note_expired(&hub, &certificate, peer);
    }
    if protocol(&quic).as_deref() == Some(ALPN_RENEW) {
        if !is_refused(&hub, &quic, &certificate).await {
            renew::alone(&hub, &quic, &certificate).await;
        }
        return;
    }
    if is_expired {
        count_refused("expired");
        return quic.close(close::EXPIRED.into(), b"the certificate has expired; it may only be renewed");
    }
    if let Some(connection) = take_in(&hub, quic, certificate).await {
        metrics::gauge!(names::CONNECTIONS).increment(1);
        tracing::info!(building = connection.building, %peer, "a gateway has connected");
        record::serve(&hub, &connection, &works).await;
        hub.connections.leave(&connection);
        metrics::gauge!(names::CONNECTIONS).decrement(1);
        let reason = connection.quic.close_reason().map(|reason| reason.to_string());
        tracing::info!(building = connection.building, %peer, reason, "a gateway's connection has ended");
    }
}

fn protocol(quic: &quinn::Connection) -> Option<Vec<u8>> {
    quic.handshake_data()?.downcast::<HandshakeData>().ok()?.protocol
}

/// What the client's certificate says; that it is of our authority and in time TLS has seen to.
fn certificate(quic: &quinn::Connection) -> Result<GatewayCertificate, String> {
    let none = || "no certificate was shown; enrol first".to_owned();
    let chain = quic.peer_identity().ok_or_else(none)?;
    let chain = chain.downcast::<Vec<CertificateDer<'static>>>().map_err(|_| none())?;
    GatewayCertificate::read(chain.first().ok_or_else(none)?).map_err(|error| error.to_string())
}

/// Makes it the building's connection, unless its certificate is revoked or the building has another living one.
async fn take_in(hub: &Arc<Hub>, quic: quinn::Connection, certificate: GatewayCertificate) -> Option<Arc<Connection>> {
    let connection = Arc::new(Connection {
        building: certificate.building,
        certificate: certificate.clone(),
        quic,
        outbound: Notify::new(),
        since_us: Clock::wall_us(),
        acknowledged: 0.into(),
        lag_us: 0.into(),
        lag_noted_us: 0.into(),
    });
    if is_refused(hub, &connection.quic, &certificate).await {
        return None;
    }
    while let Err(other) = hub.connections.take(&connection) {
        if lives(&other).await {
            count_refused("second_connection");
            let (one, two) = (other.quic.remote_address(), connection.quic.remote_address());
            let text = format!("a second box came from {two} while the one from {one} lives; one of them must go");
            hub.alarms.raise(AlarmKind::SecondConnection, Some(connection.building), text);
            connection.close(close::SECOND_CONNECTION, "the building has another living connection");
            return None;
        }
        // Its gateway has been started again, or has lost its address for good.
        other.quic.close(0_u32.into(), b"replaced");
        hub.connections.leave(&other);
    }
    // Looked at again: whoever revokes now finds the connection.
    if is_refused(hub, &connection.quic, &certificate).await {
        hub.connections.leave(&connection);
        return None;
    }
    Some(connection)
}

/// Whether the certificate that a connection shows is revoked, or nobody can tell: then it is closed.
async fn is_refused(hub: &Arc<Hub>, quic: &quinn::Connection, certificate: &GatewayCertificate) -> bool {
    let shown = certificate.clone();
    let standing = ledger::with(hub, move |_, ledger| Ok(ledger.standing(&shown)?)).await;
    let (peer, building) = (quic.remote_address(), certificate.building);
    let close = |code: u32, text: &str| quic.close(code.into(), text.as_bytes());
    match standing {
        Ok(Standing::Good) => false,
        Ok(Standing::Unknown) => {
            let text = format!(
                "a certificate of ours that this store has never seen came from {peer}; if the store is a new one or was \
                 restored, revoke again what was revoked since"
            );
            hub.alarms.raise(AlarmKind::Certificate, Some(building), text);
            false
        }
        Ok(Standing::Revoked) => {
            count_refused("revoked");
            let text = format!("a revoked certificate was used from {peer}");
            hub.alarms.raise(AlarmKind::Revoked, Some(building), text);
            close(close::REVOKED, "the certificate is revoked; enrol again");
            true
        }
        Err(error) => {
            count_refused("store");
            tracing::error!(building, %error, "cannot tell whether a certificate is revoked");
            close(close::NOT_NOW, "the hub takes nothing now; try again later");
            true
        }
    }
}

/// Whether something comes from the other side within [`LIFE_PATIENCE`]: it is asked for a sign of life every
/// [`KEEP_ALIVE`](crate::limits::KEEP_ALIVE).
async fn lives(connection: &Connection) -> bool {
    let heard = || connection.quic.stats().udp_rx.datagrams;
    let before = heard();
    let answer = async {
        loop {
            tokio::time::sleep(LIFE_LOOK).await;
            if connection.quic.close_reason().is_some() {
                return false;
            }
            if heard() != before {
                return true;
            }
        }
    };
    timeout(LIFE_PATIENCE, answer).await.unwrap_or(false)
}

/// A handshake that failed: by a certificate that is wrong, an alarm; else nothing but a count, because anyone can do it.
fn note_failed(hub: &Hub, peer: std::net::SocketAddr, error: &ConnectionError) {
    let text = error.to_string();
    if text.contains("certificate") {
        count_refused("certificate");
        hub.alarms.raise(AlarmKind::Certificate, None, format!("{peer}: {text}"));
    } else {
        count_refused("handshake");
        tracing::debug!(%peer, text, "a handshake failed");
    }
}

fn count_refused(reason: &'static str) {
    metrics::counter!(names::CONNECTIONS_REFUSED, "reason" => reason).increment(1);
}
