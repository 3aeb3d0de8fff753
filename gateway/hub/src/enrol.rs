//! Enrolment: a box with a token becomes the gateway of a building (SPEC 15.14).

use std::sync::Arc;

use kalitka_protocol::limits::CERTIFICATE_LEN_MAX;
use kalitka_protocol::upstream::{EnrolRefused, EnrolRequest, Enrolled, close, kind, refusal};
use kalitka_protocol::wire::{NoRoom, Writer};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::alarms::AlarmKind;
use crate::clock::Clock;
use crate::failure::Failure;
use crate::handdown::stream::{self, NoMessage};
use crate::hub::Hub;
use crate::ledger::{Ledger, Redeemed, with};
use crate::limits::{ENROL_PATIENCE, ENROLMENTS_MAX};
use crate::metrics::names;
use crate::pki::{Csr, token};

/// Bytes of a request's body: secret, building, length, request.
const REQUEST_LEN_MAX: usize = 22 + CERTIFICATE_LEN_MAX;
/// Room for the longest answer: two certificates, and keys.
const ANSWER_ROOM: usize = 2 * CERTIFICATE_LEN_MAX + 8192;

/// Serves one enrolment on a connection without a client's certificate, to its end.
pub(crate) async fn serve(hub: Arc<Hub>, connection: quinn::Connection) {
    static PLACES: Semaphore = Semaphore::const_new(ENROLMENTS_MAX);
    let Ok(_place) = PLACES.try_acquire() else {
        metrics::counter!(names::ENROLMENTS, "outcome" => "crowded").increment(1);
        return connection.close(close::NOT_NOW.into(), b"too many enrol now; try again later");
    };
    let outcome = timeout(ENROL_PATIENCE, answer(&hub, &connection)).await.unwrap_or("too_slow");
    metrics::counter!(names::ENROLMENTS, "outcome" => outcome).increment(1);
    let code = if outcome == "malformed" { close::MALFORMED } else { 0 };
    connection.close(code.into(), outcome.as_bytes());
}

/// One request and its answer; gives what became of it, as the metric names it.
async fn answer(hub: &Arc<Hub>, connection: &quinn::Connection) -> &'static str {
    let Ok((mut send, mut receive)) = connection.accept_bi().await else { return "gone" };
    let body = match stream::read(&mut receive, kind::ENROL, REQUEST_LEN_MAX).await {
        Ok(body) => zeroize::Zeroizing::new(body),
        Err(NoMessage::Malformed(_)) => return "malformed",
        Err(_) => return "gone",
    };
    let peer = connection.remote_address().ip();
    let decided = with(hub, move |hub, ledger| Ok(decide(hub, ledger, &body))).await;
    let decided = decided.unwrap_or_else(Decided::NotNow);
    decided.tell(hub, peer);
    let written = match &decided {
        Decided::Enrolled { certificate, .. } => {
            let (publishers, operators) = (hub.config.publishers(), hub.config.operators());
            let enrolled = Enrolled {
                certificate,
                ca: hub.pki.ca(),
                checkpoint_key: hub.pki.checkpoint_public(),
                publishers: &publishers.unwrap_or_default(),
                operators: &operators.unwrap_or_default(),
            };
            write(&mut send, kind::ENROLLED, |out| enrolled.emit(out)).await
        }
        refused => {
            let refused = EnrolRefused { code: refused.code() };
            write(&mut send, kind::ENROL_REFUSED, |out| refused.emit(out)).await
        }
    };
    // Closed only when the box has it all: what is closed at once may never arrive.
    if written.is_err() || send.finish().is_err() || send.stopped().await.is_err() {
        tracing::warn!(%peer, "the answer to an enrolment may be lost; the same request gets it again for a while");
    }
    decided.label()
}

async fn write(
    send: &mut quinn::SendStream,
    kind: u8,
    body: impl FnOnce(&mut Writer<'_>) -> Result<(), NoRoom>,
) -> Result<(), quinn::WriteError> {
    stream::write::<ANSWER_ROOM>(send, kind, body).await
}

/// What becomes of a request.
#[derive(Debug)]
enum Decided {
    Enrolled { building: u32, certificate: Vec<u8>, again: bool },
    Unknown,
    Used { building: u32 },
    Expired { building: u32 },
    OtherBuilding { asked: u32 },
    Malformed(String),
    NotNow(Failure),
}

/// Looks at the token before anything that costs, and at the request before the token is used.
fn decide(hub: &Hub, ledger: Ledger<'_>, body: &[u8]) -> Decided {
    let request = match EnrolRequest::parse(body) {
        Ok(request) => request,
        Err(error) => return Decided::Malformed(error.to_string()),
    };
    let (hash, building) = (token::hash(&request.secret), request.building);
    match ledger.token(&hash) {
        Ok(Some(_)) => {}
        Ok(None) => return Decided::Unknown,
        Err(error) => return Decided::NotNow(error.into()),
    }
    let csr = match Csr::from_der(request.csr) {
        Ok(csr) => csr,
        Err(error) => return Decided::Malformed(error.to_string()),
    };
    let now = Clock::wall_seconds();
    let issue = || hub.pki.authority().issue_gateway(&csr, building, now);
    match ledger.redeem((&hash, building), csr.hash(), now, issue) {
        Ok(Redeemed::New(certificate)) => Decided::Enrolled { building, certificate, again: false },
        Ok(Redeemed::Again(certificate)) => Decided::Enrolled { building, certificate, again: true },
        Ok(Redeemed::Unknown) => Decided::Unknown,
        Ok(Redeemed::Used) => Decided::Used { building },
        Ok(Redeemed::Expired) => Decided::Expired { building },
        Ok(Redeemed::OtherBuilding) => Decided::OtherBuilding { asked: building },
        Err(error) => Decided::NotNow(error.into()),
    }
}

impl Decided {
    /// SPEC 15.14.
    const fn code(&self) -> u8 {
        match self {
            Self::Enrolled { .. } => 0,
            Self::Unknown => refusal::TOKEN_UNKNOWN,
            Self::Used { .. } => refusal::TOKEN_USED,
            Self::Expired { .. } => refusal::TOKEN_EXPIRED,
            Self::OtherBuilding { .. } => refusal::OTHER_BUILDING,
            Self::Malformed(_) => refusal::MALFORMED,
            Self::NotNow(_) => refusal::NOT_NOW,
        }
    }

    const fn label(&self) -> &'static str {
        match self {
            Self::Enrolled { again: false, .. } => "enrolled",
            Self::Enrolled { again: true, .. } => "enrolled_again",
            Self::Unknown => "token_unknown",
            Self::Used { .. } => "token_used",
            Self::Expired { .. } => "token_expired",
            Self::OtherBuilding { .. } => "other_building",
            Self::Malformed(_) => "malformed_request",
            Self::NotNow(_) => "not_now",
        }
    }

    /// Log, and an alarm where a person has to look: a token that somebody else has used is a token that was seen.
    fn tell(&self, hub: &Hub, peer: std::net::IpAddr) {
        let outcome = self.label();
        match self {
            Self::Enrolled { building, .. } => tracing::info!(%peer, building, outcome, "enrolment"),
            Self::Used { building } => {
                let text = format!(
                    "a used token came again from {peer}, with another request; revoke the certificate if nobody knows why"
                );
                hub.alarms.raise(AlarmKind::Token, Some(*building), text);
            }
            Self::OtherBuilding { asked } => {
                let text = format!("a token for another building came from {peer}, which asked for building {asked}");
                hub.alarms.raise(AlarmKind::Token, None, text);
            }
            Self::Expired { building } => tracing::warn!(%peer, building, outcome, "enrolment refused"),
            Self::Malformed(error) => tracing::warn!(%peer, outcome, error, "enrolment refused"),
            Self::Unknown => tracing::warn!(%peer, outcome, "enrolment refused"),
            Self::NotNow(error) => tracing::error!(%peer, outcome, %error, "enrolment refused"),
        }
    }
}
