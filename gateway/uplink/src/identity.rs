//! What an enrolled box is: its key, its certificate, whom it trusts.
//!
//! The folder holds `gateway.key` (PKCS#8, mode 0600), `gateway.crt`, `ca.crt` (all PEM) and `pins.toml`. It comes into being
//! whole, by [`crate::enrol`], and is never changed in place: a renewal puts another in its place.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use kalitka_protocol::limits::PINNED_KEYS_MAX;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::certificate::{self, Validity};
use crate::key::GatewayKey;
use crate::limits::IDENTITY_FILE_BYTES_MAX;
use crate::pem;

pub(crate) const KEY_FILE: &str = "gateway.key";
pub(crate) const CERTIFICATE_FILE: &str = "gateway.crt";
pub(crate) const CA_FILE: &str = "ca.crt";
pub(crate) const PINS_FILE: &str = "pins.toml";
pub(crate) const KEY_LABEL: &str = "PRIVATE KEY";
pub(crate) const CERTIFICATE_LABEL: &str = "CERTIFICATE";

/// The identity folder, read and checked.
#[derive(Clone, Debug)]
pub struct Identity {
    building: u32,
    hub: String,
    validity: Validity,
    ca_expires: i64,
    hub_key: [u8; 32],
    publishers: Vec<[u8; 32]>,
    operators: Vec<[u8; 32]>,
    key: GatewayKey,
    certificate: CertificateDer<'static>,
    ca: CertificateDer<'static>,
}

/// `pins.toml`. Keys stand in hex.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pins {
    pub(crate) building: u32,
    pub(crate) hub: String,
    pub(crate) hub_key: String,
    pub(crate) publishers: Vec<String>,
    pub(crate) operators: Vec<String>,
}

/// Why the identity folder cannot be used. The text says which file, what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct IdentityError(String);

impl IdentityError {
    fn new(file: &Path, what: impl std::fmt::Display) -> Self {
        let file = file.display();
        Self(format!("{file}: {what}; restore the folder, or enrol the gateway anew with `enrol --again`"))
    }
}

impl Identity {
    /// Reads the identity in `folder`; `None` when there is no such folder: the box has not been enrolled.
    ///
    /// # Errors
    /// [`IdentityError`] when a part is missing, unreadable or does not fit the others.
    pub fn read(folder: &Path) -> Result<Option<Self>, IdentityError> {
        match folder.metadata() {
            Ok(_) => Self::read_parts(folder).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(IdentityError::new(folder, error)),
        }
    }

    fn read_parts(folder: &Path) -> Result<Self, IdentityError> {
        let pins_file = folder.join(PINS_FILE);
        let pins: Pins =
            toml::from_str(&read_text(&pins_file)?).map_err(|error| IdentityError::new(&pins_file, error.message()))?;
        let key_file = folder.join(KEY_FILE);
        let pkcs8 = block(&key_file, KEY_LABEL)?;
        let key = GatewayKey::from_pkcs8(&pkcs8).map_err(|why| IdentityError::new(&key_file, why))?;
        let certificate_file = folder.join(CERTIFICATE_FILE);
        let certificate = CertificateDer::from(block(&certificate_file, CERTIFICATE_LABEL)?.to_vec());
        let ca = CertificateDer::from(block(&folder.join(CA_FILE), CERTIFICATE_LABEL)?.to_vec());
        let seen = certificate::examine(&certificate, &key, pins.building);
        let validity = seen.map_err(|why| IdentityError::new(&certificate_file, why))?;
        let ca_expires = certificate::expires(&ca).map_err(|why| IdentityError::new(&folder.join(CA_FILE), why))?;
        let keys = |texts: &[String]| keys(texts).map_err(|why| IdentityError::new(&pins_file, why));
        let hub_key = keys(std::slice::from_ref(&pins.hub_key))?[0];
        let (publishers, operators) = (keys(&pins.publishers)?, keys(&pins.operators)?);
        let Pins { building, hub, .. } = pins;
        Ok(Self { building, hub, validity, ca_expires, hub_key, publishers, operators, key, certificate, ca })
    }

    /// The building of its certificate.
    #[must_use]
    pub const fn building(&self) -> u32 {
        self.building
    }

    /// `HOST:PORT` of the hub that enrolled it.
    #[must_use]
    pub fn hub(&self) -> &str {
        &self.hub
    }

    pub(crate) const fn key(&self) -> &GatewayKey {
        &self.key
    }

    pub(crate) const fn ca(&self) -> &CertificateDer<'static> {
        &self.ca
    }

    /// When its certificate expires, in seconds since 1970.
    #[must_use]
    pub const fn expires(&self) -> i64 {
        self.validity.expires
    }

    /// When the certificate of its hub's CA expires, in seconds since 1970.
    #[must_use]
    pub const fn ca_expires(&self) -> i64 {
        self.ca_expires
    }

    /// When its certificate is to be renewed, in seconds since 1970.
    pub(crate) fn renewal_due(&self) -> i64 {
        self.validity.renewal_due(&self.certificate)
    }

    /// Its certificate, DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// The hub's Ed25519 key for checkpoints (SPEC 15.7).
    #[must_use]
    pub const fn hub_key(&self) -> &[u8; 32] {
        &self.hub_key
    }

    /// Ed25519 keys of publishers whose snapshots the building takes.
    #[must_use]
    pub fn publishers(&self) -> &[[u8; 32]] {
        &self.publishers
    }

    /// Ed25519 keys of operators whose commands the gateway obeys.
    #[must_use]
    pub fn operators(&self) -> &[[u8; 32]] {
        &self.operators
    }
}

fn keys(texts: &[String]) -> Result<Vec<[u8; 32]>, String> {
    if texts.len() > PINNED_KEYS_MAX {
        return Err(format!("{} keys, more than {PINNED_KEYS_MAX}", texts.len()));
    }
    let key = |text: &String| {
        let mut key = [0; 32];
        hex::decode_to_slice(text, &mut key).map_err(|_| format!("{text:?} is no key of 32 bytes in hex"))?;
        Ok(key)
    };
    texts.iter().map(key).collect()
}

fn block(file: &Path, label: &str) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
    pem::decode(label, &read_text(file)?).ok_or_else(|| IdentityError::new(file, format!("no PEM block of a {label}")))
}

pub(crate) fn read_text(file: &Path) -> Result<Zeroizing<String>, IdentityError> {
    let mut text = Zeroizing::new(String::new());
    let read = File::open(file).and_then(|opened| {
        let len = opened.metadata()?.len().min(IDENTITY_FILE_BYTES_MAX);
        text.reserve_exact(usize::try_from(len).unwrap_or(0) + 1);
        opened.take(IDENTITY_FILE_BYTES_MAX + 1).read_to_string(&mut text)
    });
    match read {
        Ok(len) if len as u64 > IDENTITY_FILE_BYTES_MAX => {
            Err(IdentityError::new(file, format!("more than {IDENTITY_FILE_BYTES_MAX} bytes")))
        }
        Ok(_) => Ok(text),
        Err(error) => Err(IdentityError::new(file, error)),
    }
}
