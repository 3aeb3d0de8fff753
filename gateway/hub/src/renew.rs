//! Renewal: a gateway gets its next certificate by the one that it has (SPEC 15.15).

use std::sync::Arc;

use kalitka_protocol::limits::CERTIFICATE_LEN_MAX;
use kalitka_protocol::upstream::{Renew, RenewRefused, Renewed, close, kind, renewal};
use quinn::{RecvStream, SendStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::alarms::AlarmKind;
use crate::clock::Clock;
use crate::failure::Failure;
use crate::handdown::stream::{self, NoMessage};
use crate::hub::Hub;
use crate::ledger::{Ledger, Renewal, with};
use crate::limits::{EXPIRY_LOOK, RENEW_PATIENCE, RENEWALS_MAX};
use crate::metrics::names;
use crate::pki::{Csr, GatewayCertificate};

/// Bytes of a request's body: building, length, request.
const REQUEST_LEN_MAX: usize = 6 + CERTIFICATE_LEN_MAX;
/// Room for the longest answer.
const ANSWER_ROOM: usize = CERTIFICATE_LEN_MAX + 16;

/// A stream that holds no renewal: the connection ends.
#[derive(Debug, thiserror::Error)]
#[error("a renewal stream: {0}")]
pub(crate) struct Malformed(String);

/// Serves the renewal streams of a gateway that was let in, one after the other, until the connection ends.
///
/// # Errors
/// [`Malformed`].
pub(crate) async fn serve(
    hub: &Arc<Hub>,
    quic: &quinn::Connection,
    shown: &GatewayCertificate,
) -> Result<(), Malformed> {
    while let Ok((send, receive)) = quic.accept_bi().await {
        // A stream that takes too long is given up; events go on.
        let outcome = timeout(RENEW_PATIENCE, answer(hub, shown, send, receive)).await.unwrap_or(Ok("too_slow"))?;
        metrics::counter!(names::RENEWALS, "outcome" => outcome).increment(1);
    }
    Ok(())
}

/// Serves a connection that is good for a renewal and for nothing else, to its end.
pub(crate) async fn alone(hub: &Arc<Hub>, quic: &quinn::Connection, shown: &GatewayCertificate) {
    static PLACES: Semaphore = Semaphore::const_new(RENEWALS_MAX);
    let Ok(_place) = PLACES.try_acquire() else {
        metrics::counter!(names::RENEWALS, "outcome" => "crowded").increment(1);
        return quic.close(close::NOT_NOW.into(), b"too many renew now; try again later");
    };
    let only = async {
        let (send, receive) = quic.accept_bi().await.map_err(|_| "gone")?;
        answer(hub, shown, send, receive).await.map_err(|_| "malformed")
    };
    let outcome = timeout(RENEW_PATIENCE, only).await.unwrap_or(Err("too_slow"));
    let code = if outcome == Err("malformed") { close::MALFORMED } else { 0 };
    let outcome = outcome.unwrap_or_else(|why| why);
    metrics::counter!(names::RENEWALS, "outcome" => outcome).increment(1);
    quic.close(code.into(), outcome.as_bytes());
}

/// One request and its answer; gives what became of it, as the metric names it.
async fn answer(
    hub: &Arc<Hub>,
    shown: &GatewayCertificate,
    mut send: SendStream,
    mut receive: RecvStream,
) -> Result<&'static str, Malformed> {
    let body = match stream::read(&mut receive, kind::RENEW, REQUEST_LEN_MAX).await {
        Ok(body) => body,
        Err(NoMessage::Malformed(error)) => return Err(Malformed(error.to_string())),
        Err(_) => return Ok("gone"),
    };
    let by = shown.clone();
    let decided = with(hub, move |hub, ledger| Ok(decide(hub, ledger, &by, &body))).await;
    let decided = decided.unwrap_or_else(Decided::Failed);
    decided.tell(shown);
    let written = match &decided {
        Decided::Renewed { certificate, .. } => {
            let renewed = Renewed { certificate };
            stream::write::<ANSWER_ROOM>(&mut send, kind::RENEWED, |out| renewed.emit(out)).await
        }
        refused => {
            let refused = RenewRefused { code: refused.code() };
            stream::write::<ANSWER_ROOM>(&mut send, kind::RENEW_REFUSED, |out| refused.emit(out)).await
        }
    };
    // Over only when the gateway has it all: what is closed at once may never arrive.
    if written.is_err() || send.finish().is_err() || send.stopped().await.is_err() {
        tracing::warn!(
            building = shown.building,
            "the answer to a renewal may be lost; the same request gets it again"
        );
    }
    Ok(decided.label())
}

/// What becomes of a request.
#[derive(Debug)]
enum Decided {
    Renewed { certificate: Vec<u8>, again: bool },
    Revoked,
    OtherBuilding { asked: u32 },
    Malformed(String),
    NotNow,
    Failed(Failure),
}

fn decide(hub: &Hub, ledger: Ledger<'_>, shown: &GatewayCertificate, body: &[u8]) -> Decided {
    let request = match Renew::parse(body) {
        Ok(request) => request,
        Err(error) => return Decided::Malformed(error.to_string()),
    };
    if request.building != shown.building {
        return Decided::OtherBuilding { asked: request.building };
    }
    let csr = match Csr::from_der(request.csr) {
        Ok(csr) => csr,
        Err(error) => return Decided::Malformed(error.to_string()),
    };
    let now = Clock::wall_seconds();
    let issue = || hub.pki.authority().issue_gateway(&csr, shown.building, now);
    match ledger.renew(shown, csr.hash(), now, issue) {
        Ok(Renewal::New(certificate)) => Decided::Renewed { certificate, again: false },
        Ok(Renewal::Again(certificate)) => Decided::Renewed { certificate, again: true },
        Ok(Renewal::Revoked) => Decided::Revoked,
        Ok(Renewal::NotNow) => Decided::NotNow,
        Err(error) => Decided::Failed(error.into()),
    }
}

impl Decided {
    /// SPEC 15.15.
    const fn code(&self) -> u8 {
        match self {
            Self::Renewed { .. } => 0,
            Self::Revoked => renewal::REVOKED,
            Self::OtherBuilding { .. } => renewal::OTHER_BUILDING,
            Self::Malformed(_) => renewal::MALFORMED,
            Self::NotNow | Self::Failed(_) => renewal::NOT_NOW,
        }
    }

    const fn label(&self) -> &'static str {
        match self {
            Self::Renewed { again: false, .. } => "renewed",
            Self::Renewed { again: true, .. } => "renewed_again",
            Self::Revoked => "revoked",
            Self::OtherBuilding { .. } => "other_building",
            Self::Malformed(_) => "malformed_request",
            Self::NotNow => "not_now",
            Self::Failed(_) => "failed",
        }
    }

    fn tell(&self, shown: &GatewayCertificate) {
        let (building, outcome) = (shown.building, self.label());
        match self {
            Self::Renewed { .. } => tracing::info!(building, outcome, old = hex::encode(&shown.serial), "renewal"),
            Self::Revoked | Self::NotNow => tracing::warn!(building, outcome, "renewal refused"),
            Self::OtherBuilding { asked } => tracing::warn!(building, outcome, asked, "renewal refused"),
            Self::Malformed(error) => tracing::warn!(building, outcome, error, "renewal refused"),
            Self::Failed(error) => tracing::error!(building, outcome, %error, "renewal refused"),
        }
    }
}

/// Notes that a gateway has come from `peer` with a certificate that has expired.
pub(crate) fn note_expired(hub: &Hub, shown: &GatewayCertificate, peer: std::net::SocketAddr) {
    let days = Clock::wall_seconds().saturating_sub(shown.not_after) / 86_400;
    let text = format!(
        "the gateway came from {peer} with a certificate that expired {days} days ago; it may renew it, and nothing else"
    );
    hub.alarms.raise(AlarmKind::Expired, Some(shown.building), text);
}

/// Shows again and again when the first of the gateways' certificates expires.
pub(crate) async fn watch_expiry(hub: Arc<Hub>) {
    let mut ticks = tokio::time::interval(EXPIRY_LOOK);
    loop {
        ticks.tick().await;
        if let Ok(first) = with(&hub, |_, ledger| Ok(ledger.expires_first()?)).await {
            #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 stay far below 2^52")]
            metrics::gauge!(names::GATEWAY_EXPIRES).set(first.unwrap_or(0) as f64);
        }
    }
}
