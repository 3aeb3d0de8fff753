//! A gateway's request for a certificate (PKCS#10, RFC 2986).

use rcgen::{CertificateSigningRequestParams, PKCS_ED25519, PublicKey, PublicKeyData};
use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

/// A request that is whole, signed by the key that it is for, and that key is an Ed25519 one (SPEC 15.1).
#[derive(Debug)]
pub(crate) struct Csr {
    key: PublicKey,
    hash: [u8; 32],
}

/// Why a request is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CsrFault {
    /// Neither DER nor PEM of a request, or something stands behind it.
    #[error("it is no certificate request (PKCS#10)")]
    Layout,
    /// The signature does not hold: whoever asks does not have the key.
    #[error("it is not signed by the key that it is for")]
    Signature,
    /// Another kind of key.
    #[error("its key is not an Ed25519 one")]
    Key,
}

impl Csr {
    /// Reads DER.
    ///
    /// # Errors
    /// [`CsrFault`].
    pub(crate) fn from_der(der: &[u8]) -> Result<Self, CsrFault> {
        match X509CertificationRequest::from_der(der) {
            Ok(([], _)) => {}
            _ => return Err(CsrFault::Layout),
        }
        let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(der));
        let request = request.map_err(|error| match error {
            rcgen::Error::InvalidCertificationRequestSignature => CsrFault::Signature,
            _ => CsrFault::Layout,
        })?;
        let key = request.public_key;
        if key.algorithm() != &PKCS_ED25519 || key.der_bytes().len() != 32 {
            return Err(CsrFault::Key);
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, der).as_ref());
        Ok(Self { key, hash })
    }

    /// Reads DER or PEM, whichever it is.
    ///
    /// # Errors
    /// [`CsrFault`].
    pub(crate) fn from_file(bytes: &[u8]) -> Result<Self, CsrFault> {
        if !bytes.starts_with(b"-----") {
            return Self::from_der(bytes);
        }
        let der = CertificateSigningRequestDer::from_pem_slice(bytes).map_err(|_| CsrFault::Layout)?;
        Self::from_der(&der)
    }

    /// The key that is to be certified.
    pub(crate) const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// SHA-256 of the request: the same request come again has the same.
    pub(crate) const fn hash(&self) -> &[u8; 32] {
        &self.hash
    }
}
