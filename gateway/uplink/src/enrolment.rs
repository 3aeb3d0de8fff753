//! How a box becomes a gateway of its building (SPEC 15.14).
//!
//! The key is made here and never leaves the box. It waits in a folder beside the identity's until the hub has answered: when
//! the answer is lost, the same command sends the same request once more, and the hub gives the same certificate. The identity
//! folder appears whole, or not at all.

use std::io;
use std::path::Path;
use std::time::Duration;

use kalitka_protocol::limits::{CERTIFICATE_LEN_MAX, PINNED_KEYS_MAX};
use kalitka_protocol::upstream::{EnrolRefused, EnrolRequest, Enrolled, HUB_NAME, Token, kind, refusal};
use quinn::VarInt;
use rustls::pki_types::CertificateDer;
use tokio::net::lookup_host;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::certificate;
use crate::end::End;
use crate::identity::{Identity, Pins};
use crate::key::GatewayKey;
use crate::limits::{ENROL_PATIENCE, SHUTDOWN_PATIENCE};
use crate::run::endpoint_for;
use crate::waiting::{self, Waiting};
use crate::{tls, wire};

/// Bytes of the longest request (SPEC 15.14).
const REQUEST_LEN_MAX: usize = 22 + CERTIFICATE_LEN_MAX;

/// What an enrolment is told.
#[derive(Clone, Copy, Debug)]
pub struct Enrolling<'a> {
    /// The building that the gateway is to serve, from 1.
    pub building: u32,
    /// `HOST:PORT` of the hub.
    pub hub: &'a str,
    /// The token's text, as `kalitka-hub pki token` printed it.
    pub token: &'a str,
    /// The identity folder. Its parent is there already.
    pub folder: &'a Path,
    /// Whether an identity that is there already is replaced.
    pub again: bool,
    /// Reads the wall clock, since 1970; asked when the certificate is there, which may be of that very second.
    pub now: fn() -> Duration,
}

/// Why there is no identity, by whose fault it is. The text says what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// What was given is wrong: the token, the hub, an identity that is there already.
    #[error("{0}")]
    Input(String),
    /// The machine or the network does not give what is needed.
    #[error("{0}")]
    Environment(String),
}

/// Makes a key, has it certified by the hub with a token that is good once, and pins whom the gateway is to trust.
///
/// # Errors
/// [`EnrolError`]; the identity that was there before, or none, is then still there.
pub async fn enrol(told: Enrolling<'_>) -> Result<Identity, EnrolError> {
    let token = Token::parse(told.token).map_err(|_| {
        EnrolError::Input("the token is not one; give it whole, as `kalitka-hub pki token` printed it".into())
    })?;
    if !told.again && told.folder.exists() {
        let folder = told.folder.display();
        return Err(EnrolError::Input(format!(
            "{folder}: the gateway is enrolled already; give --again to replace it"
        )));
    }
    let waiting = Waiting::open(told.folder, "enrolling")
        .map_err(|error| EnrolError::Environment(format!("{}: cannot keep a key: {error}", told.folder.display())))?;
    let body = match exchange(&told, token.clone(), &waiting.key).await {
        Ok(body) => body,
        Err(refused) => {
            if refused.is_final {
                waiting.discard();
            }
            return Err(refused.why);
        }
    };
    settle(&told, &waiting, &token, &body)
}

/// Why the hub gave no certificate.
struct Refused {
    why: EnrolError,
    /// Whether the hub has certainly not certified the key.
    is_final: bool,
}

impl Refused {
    fn environment(text: String) -> Self {
        Self { why: EnrolError::Environment(text), is_final: false }
    }
}

impl From<End> for Refused {
    fn from(end: End) -> Self {
        Self::environment(format!("the hub did not answer: {}; then give the same command again", end.text()))
    }
}

/// Sends the request; gives the body of the hub's answer.
async fn exchange(told: &Enrolling<'_>, token: Token, key: &GatewayKey) -> Result<Vec<u8>, Refused> {
    let csr = waiting::request(key).map_err(Refused::environment)?;
    let secret = token.secret;
    let config = tls::enrolment(token).map_err(Refused::environment)?;
    let unknown = |why: &dyn std::fmt::Display| Refused {
        why: EnrolError::Input(format!("{}: no address of the hub: {why}; give HOST:PORT", told.hub)),
        is_final: true,
    };
    let mut addresses = lookup_host(told.hub).await.map_err(|error| unknown(&error))?;
    let address = addresses.next().ok_or_else(|| unknown(&"the name has none"))?;
    let endpoint = endpoint_for(address)?;
    let connecting = endpoint.connect_with(config, address, HUB_NAME).map_err(|error| unknown(&error))?;
    let asked = timeout(ENROL_PATIENCE, async {
        let connection = connecting.await.map_err(End::from)?;
        let (mut send, mut receive) = connection.open_bi().await.map_err(End::from)?;
        let request = EnrolRequest { secret, building: told.building, csr: &csr };
        let message = Zeroizing::new(wire::compose(kind::ENROL, REQUEST_LEN_MAX, |out| request.emit(out))?);
        send.write_all(&message).await.map_err(End::from)?;
        // The connection's loss shows when the answer is read.
        let _ = send.finish();
        wire::read(&mut receive).await?.ok_or_else(|| End::malformed("the enrolment", "the hub ended it unanswered"))
    });
    let answer = asked.await.unwrap_or_else(|_| Err(End::Lost("it takes too long".into())));
    endpoint.close(VarInt::from_u32(0), b"");
    // The hub notices later, by itself.
    let _ = timeout(SHUTDOWN_PATIENCE, endpoint.wait_idle()).await;
    let answer = answer?;
    match answer.kind {
        kind::ENROLLED => Ok(answer.body),
        kind::ENROL_REFUSED => Err(refused(&answer.body)),
        other => {
            Err(Refused::environment(format!("the hub answered with a message of kind {other}; update the older")))
        }
    }
}

fn refused(body: &[u8]) -> Refused {
    let code = match EnrolRefused::parse(body) {
        Ok(EnrolRefused { code }) => code,
        Err(why) => return Refused::environment(format!("the hub's refusal is malformed: {why}; update the older")),
    };
    let text = match code {
        refusal::TOKEN_UNKNOWN => "the hub does not know this token; see that it is the hub that printed it",
        refusal::TOKEN_USED => {
            "the token has been used; if not by this box, find out by whom, revoke that certificate, and make a new token"
        }
        refusal::TOKEN_EXPIRED => "the token has expired; make a new one",
        refusal::OTHER_BUILDING => {
            "the token is for another building than the configuration names; make one for this one"
        }
        refusal::MALFORMED => "the hub calls the request malformed; update the older of the two",
        refusal::NOT_NOW => {
            let text = "the hub takes nothing now; look after its disk, then give the same command again";
            return Refused::environment(text.into());
        }
        _ => "the hub refuses for a reason of a newer version; update the gateway",
    };
    Refused { why: EnrolError::Input(text.into()), is_final: true }
}

/// Checks the hub's answer and makes it, with the key, the identity.
fn settle(told: &Enrolling<'_>, waiting: &Waiting, token: &Token, body: &[u8]) -> Result<Identity, EnrolError> {
    let enrolled = Enrolled::parse(body).map_err(|why| wrong(&why))?;
    check(told, &waiting.key, token, &enrolled).map_err(|why| wrong(&why))?;
    let io = |error: io::Error| {
        EnrolError::Environment(format!(
            "{}: cannot keep the identity: {error}; mend that and give the same command again within 10 minutes",
            told.folder.display()
        ))
    };
    let pins = pins(told, &enrolled).map_err(io)?;
    waiting.keep(told.folder, &pins, enrolled.certificate, enrolled.ca).map_err(io)?;
    let read = Identity::read(told.folder).map_err(|error| EnrolError::Environment(error.to_string()))?;
    read.ok_or_else(|| io(io::ErrorKind::NotFound.into()))
}

/// Whether the answer is what SPEC 15.14 says.
fn check(told: &Enrolling<'_>, key: &GatewayKey, token: &Token, enrolled: &Enrolled<'_>) -> Result<(), String> {
    if !token.is_of(enrolled.ca) {
        return Err("its CA certificate is not the token's".into());
    }
    let certificate = CertificateDer::from(enrolled.certificate);
    certificate::examine(&certificate, key, told.building)?;
    certificate::verify(&certificate, &CertificateDer::from(enrolled.ca), (told.now)())
}

/// The text of the pins.
fn pins(told: &Enrolling<'_>, enrolled: &Enrolled<'_>) -> io::Result<String> {
    let hex = |keys: &[[u8; 32]]| keys.iter().take(PINNED_KEYS_MAX).map(hex::encode).collect();
    let pins = Pins {
        building: told.building,
        hub: told.hub.to_owned(),
        hub_key: hex::encode(enrolled.checkpoint_key),
        publishers: hex(enrolled.publishers),
        operators: hex(enrolled.operators),
    };
    toml::to_string(&pins).map_err(io::Error::other)
}

fn wrong(why: &dyn std::fmt::Display) -> EnrolError {
    EnrolError::Environment(format!("the hub's answer cannot be taken: {why}; nothing is kept of it"))
}
