//! The next certificate, by the one that is held (SPEC 15.15).
//!
//! It is asked for on the living connection while the old certificate still holds, and used from the next connection on: no
//! event waits for it. What fails is logged, counted, and tried again hours later; there are months.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kalitka_protocol::limits::CERTIFICATE_LEN_MAX;
use kalitka_protocol::upstream::{Renew, RenewRefused, Renewed, kind, renewal};
use quinn::Connection;
use rustls::pki_types::CertificateDer;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use crate::certificate;
use crate::connection::Context;
use crate::end::End;
use crate::identity::{Identity, PINS_FILE, read_text};
use crate::limits::{RENEW_AGAIN, RENEW_LOOK, RENEW_PATIENCE};
use crate::tally::RENEWAL_OUTCOMES;
use crate::waiting::{self, Waiting};
use crate::wire;

/// Bytes of the longest request (SPEC 15.15).
const REQUEST_LEN_MAX: usize = 6 + CERTIFICATE_LEN_MAX;
/// What the waiting key's folder is named by.
const DOING: &str = "renewing";
/// What a failure without a code is counted as.
const FAILED: u8 = 5;
const _: () = assert!(FAILED as usize + 1 == RENEWAL_OUTCOMES);

/// When, by the monotonic clock, the next attempt may be made. It outlives connections: a line that comes and goes does not
/// make the box ask more often.
#[derive(Debug, Default)]
pub(crate) struct NextTry(Mutex<Duration>);

impl NextTry {
    fn is_over(&self, now: Duration) -> bool {
        now >= *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_off(&self, now: Duration) {
        let pause = RENEW_AGAIN.mul_f64(f64::midpoint(1.0, fastrand::f64()));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now + pause;
    }
}

/// Why there is no new certificate.
struct NotRenewed {
    /// The hub's refusal, or [`FAILED`].
    code: u8,
    text: String,
}

impl NotRenewed {
    fn failed(why: impl std::fmt::Display) -> Self {
        Self { code: FAILED, text: why.to_string() }
    }
}

impl From<End> for NotRenewed {
    fn from(end: End) -> Self {
        Self::failed(end.text())
    }
}

/// Renews the certificate on `connection` whenever that is due.
pub(crate) async fn keep_up(context: &Context, connection: &Connection) -> Infallible {
    let mut held = Arc::clone(&context.identity);
    loop {
        let wall = i64::try_from((context.options.wall)().as_secs()).unwrap_or(i64::MAX);
        let now = (context.clock)();
        if wall >= held.renewal_due() && context.next_renewal.is_over(now) {
            context.next_renewal.put_off(now);
            if let Ok(identity) = renew(context, connection).await {
                held = Arc::new(identity);
            }
        }
        sleep(RENEW_LOOK).await;
    }
}

/// Renews the certificate on `connection`, which the hub keeps for nothing else because the certificate has expired.
pub(crate) async fn once(context: &Context, connection: &Connection) -> End {
    match renew(context, connection).await {
        Ok(_) => End::Renewed,
        // The hub's close says more than the stream that went with it.
        Err(why) => match connection.close_reason() {
            Some(reason) => reason.into(),
            None => End::Lost(why.text),
        },
    }
}

/// One renewal, counted and logged.
async fn renew(context: &Context, connection: &Connection) -> Result<Identity, NotRenewed> {
    let done = timeout(RENEW_PATIENCE, exchange(context, connection)).await;
    let done = done.unwrap_or_else(|_| Err(NotRenewed::failed("the hub does not answer in time")));
    match &done {
        Ok(identity) => {
            context.tally.renewed_with(0);
            context.tally.show_expiry(identity);
            tracing::info!(expires = identity.expires(), "the certificate is renewed; the next connection uses it");
        }
        Err(why) => {
            context.tally.renewed_with(why.code);
            tracing::warn!(code = why.code, "the certificate is not renewed: {}", why.text);
        }
    }
    done
}

async fn exchange(context: &Context, connection: &Connection) -> Result<Identity, NotRenewed> {
    let folder = context.options.identity.clone();
    let waiting = spawn_blocking(move || Waiting::open(&folder, DOING)).await;
    let waiting = waiting.map_err(io::Error::other).flatten();
    let waiting =
        waiting.map_err(|error| NotRenewed::failed(format!("cannot keep a key: {error}; look at the disk")))?;
    let csr = waiting::request(&waiting.key).map_err(NotRenewed::failed)?;
    let (mut send, mut receive) = connection.open_bi().await.map_err(End::from)?;
    let request = Renew { building: context.identity.building(), csr: &csr };
    wire::send(&mut send, kind::RENEW, REQUEST_LEN_MAX, |out| request.emit(out)).await?;
    // The connection's loss shows when the answer is read.
    let _ = send.finish();
    let answer = wire::read(&mut receive).await?.ok_or_else(|| NotRenewed::failed("the hub ended it unanswered"))?;
    match answer.kind {
        kind::RENEWED => settle(context, waiting, answer.body).await,
        kind::RENEW_REFUSED => {
            let refused = refused(&answer.body);
            if refused.code == renewal::MALFORMED {
                waiting.discard();
            }
            Err(refused)
        }
        other => Err(NotRenewed::failed(format!("the hub answered with a message of kind {other}"))),
    }
}

fn refused(body: &[u8]) -> NotRenewed {
    let code = match RenewRefused::parse(body) {
        Ok(RenewRefused { code }) => code,
        Err(why) => return NotRenewed::failed(format!("the hub's refusal is malformed: {why}; update the older")),
    };
    let text = match code {
        renewal::REVOKED => "the certificate is revoked; enrol anew with a new token",
        renewal::OTHER_BUILDING => "the hub knows the certificate as another building's; enrol anew",
        renewal::MALFORMED => "the hub calls the request malformed; update the older of the two",
        renewal::NOT_NOW => "the hub gives none now",
        _ => "the hub refuses for a reason of a newer version; update the gateway",
    };
    NotRenewed { code, text: text.into() }
}

/// Checks what the hub gave, and makes it with its key the identity.
async fn settle(context: &Context, waiting: Waiting, body: Vec<u8>) -> Result<Identity, NotRenewed> {
    let (folder, held, now) =
        (context.options.identity.clone(), Arc::clone(&context.identity), (context.options.wall)());
    let kept = spawn_blocking(move || {
        let wrong = |why: String| NotRenewed::failed(format!("the hub's answer cannot be taken: {why}"));
        let renewed = Renewed::parse(&body).map_err(|why| wrong(why.to_string()))?;
        let certificate = CertificateDer::from(renewed.certificate);
        certificate::examine(&certificate, &waiting.key, held.building()).map_err(wrong)?;
        certificate::verify(&certificate, held.ca(), now).map_err(wrong)?;
        let pins = read_text(&folder.join(PINS_FILE)).map_err(NotRenewed::failed)?;
        let kept = waiting.keep(&folder, &pins, renewed.certificate, held.ca());
        kept.map_err(|error| NotRenewed::failed(format!("{}: cannot keep it: {error}", folder.display())))?;
        let read = Identity::read(&folder).map_err(NotRenewed::failed)?;
        read.ok_or_else(|| NotRenewed::failed("the identity is gone"))
    });
    kept.await.map_err(NotRenewed::failed)?
}
