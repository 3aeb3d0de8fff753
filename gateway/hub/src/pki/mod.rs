//! Certificates: the hub's own authority, what it signs, and the folder that holds its keys.
//!
//! All of it is `state/pki` (0700), made once by `pki init` and never overwritten: the CA, the hub's certificate for TLS,
//! and the key that signs checkpoints. Gateways' certificates are kept in the ledger.

mod authority;
mod certificate;
mod csr;
mod folder;
pub(crate) mod token;

pub(crate) use authority::{Authority, Issued};
pub(crate) use certificate::GatewayCertificate;
pub(crate) use csr::Csr;
pub(crate) use folder::init;

use std::path::Path;

use ring::signature::{Ed25519KeyPair, KeyPair as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::metrics::names;

/// What `pki init` made, opened.
pub(crate) struct Pki {
    authority: Authority,
    certificate: CertificateDer<'static>,
    /// PKCS#8.
    key: Zeroizing<Vec<u8>>,
    checkpoint: Ed25519KeyPair,
}

impl Pki {
    /// Reads `pki` in the state folder.
    ///
    /// # Errors
    /// [`Failure::Environment`] when it is not there or others may read its keys, [`Failure::Input`] when it is not what
    /// `pki init` made.
    pub(crate) fn open(state: &Path) -> Result<Self, Failure> {
        folder::open(state)
    }

    /// The same; but when most of the life of the hub's own certificate is over, it has a new one for the same key first.
    ///
    /// # Errors
    /// As [`Pki::open`].
    pub(crate) fn open_current(state: &Path, now: i64) -> Result<Self, Failure> {
        folder::open_current(state, now)
    }

    /// Shows when the hub's certificate and the CA's expire.
    pub(crate) fn show_expiry(&self) {
        for (label, certificate) in [("hub", &self.certificate), ("ca", self.ca())] {
            let seconds = authority::validity(certificate).map_or(0, |(_, not_after)| not_after);
            #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 stay far below 2^52")]
            metrics::gauge!(names::CERTIFICATE_EXPIRES, "certificate" => label).set(seconds as f64);
        }
    }

    /// What signs gateways' certificates.
    pub(crate) const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The CA's certificate, DER: the root of every gateway's.
    pub(crate) const fn ca(&self) -> &CertificateDer<'static> {
        self.authority.certificate()
    }

    /// What the hub shows: its certificate, and the CA's, which a box that enrols knows by its hash (SPEC 15.14).
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.clone(), self.ca().clone()]
    }

    /// The key of the hub's certificate.
    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.to_vec()).into()
    }

    /// What signs checkpoints (SPEC 15.7).
    pub(crate) const fn checkpoint(&self) -> &Ed25519KeyPair {
        &self.checkpoint
    }

    /// The key by which gateways verify checkpoints.
    pub(crate) fn checkpoint_public(&self) -> [u8; 32] {
        let mut key = [0; 32];
        key.copy_from_slice(self.checkpoint.public_key().as_ref());
        key
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
