//! How a box becomes a gateway of its building (SPEC 15.14).
//!
//! The key is made here and never leaves the box. It waits in a folder beside the identity's until the hub has answered: when
//! the answer is lost, the same command sends the same request once more, and the hub gives the same certificate. The identity
//! folder appears whole, or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kalitka_protocol::limits::{CERTIFICATE_LEN_MAX, PINNED_KEYS_MAX};
use kalitka_protocol::upstream::{EnrolRefused, EnrolRequest, Enrolled, HUB_NAME, Token, kind, refusal};
use quinn::VarInt;
use ring::rand::SystemRandom;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustls::pki_types::CertificateDer;
use tokio::net::lookup_host;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::certificate;
use crate::end::End;
use crate::identity::{
    CA_FILE, CERTIFICATE_FILE, CERTIFICATE_LABEL, Identity, KEY_FILE, KEY_LABEL, PINS_FILE, Pins, read_text,
};
use crate::key::GatewayKey;
use crate::limits::{ENROL_PATIENCE, SHUTDOWN_PATIENCE};
use crate::run::endpoint_for;
use crate::{pem, tls, wire};

/// Bytes of the longest request (SPEC 15.14).
const REQUEST_LEN_MAX: usize = 22 + CERTIFICATE_LEN_MAX;
/// The key as it waits. An identity has none of this name, so that one which was replaced is never taken for a waiting key.
const WAITING_KEY_FILE: &str = "request.key";

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
    let waiting = Waiting::open(told.folder)?;
    let body = match exchange(&told, token.clone(), &waiting.key).await {
        Ok(body) => body,
        Err(refused) => {
            if refused.is_final {
                waiting.discard();
            }
            return Err(refused.why);
        }
    };
    waiting.settle(&told, &token, &body)
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
    let csr = request(key).map_err(Refused::environment)?;
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

/// The request for a certificate: always the same for one key, so that it can be repeated.
fn request(key: &GatewayKey) -> Result<Vec<u8>, String> {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let request = params.serialize_request(key).map_err(|error| format!("no request for a certificate: {error}"))?;
    Ok(request.der().to_vec())
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

/// The folder in which a key waits for its certificate.
struct Waiting {
    folder: PathBuf,
    key: GatewayKey,
    /// The key's PEM.
    text: Zeroizing<String>,
}

impl Waiting {
    /// The folder, with the key that waits there or a new one.
    fn open(identity: &Path) -> Result<Self, EnrolError> {
        let name = identity.file_name().unwrap_or_default().to_string_lossy();
        let folder = identity.with_file_name(format!(".{name}.enrolling"));
        if let Ok(text) = read_text(&folder.join(WAITING_KEY_FILE))
            && let Some(pkcs8) = pem::decode(KEY_LABEL, &text)
            && let Ok(key) = GatewayKey::from_pkcs8(&pkcs8)
        {
            return Ok(Self { folder, key, text });
        }
        let made = Self::make(&folder);
        made.map_err(|error| EnrolError::Environment(format!("{}: cannot keep a key: {error}", folder.display())))
    }

    fn make(folder: &Path) -> io::Result<Self> {
        remove(folder)?;
        fs::DirBuilder::new().mode(0o700).create(folder)?;
        let (key, pkcs8) = GatewayKey::generate(&SystemRandom::new()).map_err(io::Error::other)?;
        let text = pem::encode(KEY_LABEL, &pkcs8);
        write(&folder.join(WAITING_KEY_FILE), text.as_bytes())?;
        sync(folder)?;
        Ok(Self { folder: folder.to_path_buf(), key, text })
    }

    /// Removes the key: the hub will not certify it.
    fn discard(self) {
        // What stays is used by the next attempt.
        let _ = remove(&self.folder);
    }

    /// Checks the hub's answer and makes it, with the key, the identity.
    fn settle(self, told: &Enrolling<'_>, token: &Token, body: &[u8]) -> Result<Identity, EnrolError> {
        let enrolled = Enrolled::parse(body).map_err(|why| wrong(&why))?;
        self.check(told, token, &enrolled).map_err(|why| wrong(&why))?;
        let io = |error: io::Error| {
            EnrolError::Environment(format!(
                "{}: cannot keep the identity: {error}; mend that and give the same command again within 10 minutes",
                told.folder.display()
            ))
        };
        self.keep(told, &enrolled).map_err(io)?;
        let read = Identity::read(told.folder).map_err(|error| EnrolError::Environment(error.to_string()))?;
        read.ok_or_else(|| io(io::ErrorKind::NotFound.into()))
    }

    /// Whether the answer is what SPEC 15.14 says.
    fn check(&self, told: &Enrolling<'_>, token: &Token, enrolled: &Enrolled<'_>) -> Result<(), String> {
        if !token.is_of(enrolled.ca) {
            return Err("its CA certificate is not the token's".into());
        }
        let certificate = CertificateDer::from(enrolled.certificate);
        certificate::examine(&certificate, &self.key, told.building)?;
        certificate::verify(&certificate, &CertificateDer::from(enrolled.ca), (told.now)())
    }

    fn keep(&self, told: &Enrolling<'_>, enrolled: &Enrolled<'_>) -> io::Result<()> {
        let hex = |keys: &[[u8; 32]]| keys.iter().take(PINNED_KEYS_MAX).map(hex::encode).collect();
        let pins = Pins {
            building: told.building,
            hub: told.hub.to_owned(),
            hub_key: hex::encode(enrolled.checkpoint_key),
            publishers: hex(enrolled.publishers),
            operators: hex(enrolled.operators),
        };
        let pins = toml::to_string(&pins).map_err(io::Error::other)?;
        write(&self.folder.join(KEY_FILE), self.text.as_bytes())?;
        write(&self.folder.join(PINS_FILE), pins.as_bytes())?;
        for (file, der) in [(CERTIFICATE_FILE, enrolled.certificate), (CA_FILE, enrolled.ca)] {
            write(&self.folder.join(file), pem::encode(CERTIFICATE_LABEL, der).as_bytes())?;
        }
        sync(&self.folder)?;
        let parent = told.folder.parent().unwrap_or(Path::new("."));
        if told.folder.exists() {
            renameat_with(CWD, &self.folder, CWD, told.folder, RenameFlags::EXCHANGE)?;
        } else {
            fs::rename(&self.folder, told.folder)?;
        }
        sync(parent)?;
        fs::remove_file(told.folder.join(WAITING_KEY_FILE))?;
        // The identity that was replaced.
        remove(&self.folder)
    }
}

fn wrong(why: &dyn std::fmt::Display) -> EnrolError {
    EnrolError::Environment(format!("the hub's answer cannot be taken: {why}; nothing is kept of it"))
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)?.sync_all()
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_of_a_key_is_always_the_same() {
        let (key, _) = GatewayKey::generate(&SystemRandom::new()).unwrap();
        assert_eq!(request(&key).unwrap(), request(&key).unwrap());
        let (other, _) = GatewayKey::generate(&SystemRandom::new()).unwrap();
        assert_ne!(request(&key).unwrap(), request(&other).unwrap());
    }

    #[test]
    fn key_waits_for_its_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let identity = folder.path().join("uplink");
        let first = Waiting::open(&identity).unwrap();
        let again = Waiting::open(&identity).unwrap();
        assert_eq!(first.key.public(), again.key.public());
        again.discard();
        assert_ne!(first.key.public(), Waiting::open(&identity).unwrap().key.public());
        assert!(!identity.exists());
    }
}
