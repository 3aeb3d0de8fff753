//! The gateway's one key: it signs batches, and proves the certificate.

use std::sync::Arc;

use ring::rand::SecureRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use zeroize::Zeroizing;

/// PKCS#8, version 1, around an Ed25519 seed (RFC 8410, section 7).
const PKCS8_HEAD: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
const PKCS8_LEN: usize = PKCS8_HEAD.len() + 32;

/// An Ed25519 key, ready for both of its uses.
#[derive(Clone)]
pub(crate) struct GatewayKey {
    pair: Arc<Ed25519KeyPair>,
    tls: Arc<dyn rustls::sign::SigningKey>,
}

impl GatewayKey {
    /// A new key, and its PKCS#8 form to keep.
    ///
    /// # Errors
    /// What the system's randomness or the key itself refused.
    pub(crate) fn generate(random: &dyn SecureRandom) -> Result<(Self, Zeroizing<Vec<u8>>), String> {
        let mut pkcs8 = Zeroizing::new(vec![0; PKCS8_LEN]);
        pkcs8[..PKCS8_HEAD.len()].copy_from_slice(&PKCS8_HEAD);
        random.fill(&mut pkcs8[PKCS8_HEAD.len()..]).map_err(|_| "the system gives no random bytes".to_owned())?;
        Ok((Self::from_pkcs8(&pkcs8)?, pkcs8))
    }

    /// The key in `pkcs8`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, String> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).map_err(|why| why.to_string())?;
        let tls = rustls::crypto::ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8));
        Ok(Self { pair: Arc::new(pair), tls: tls.map_err(|why| why.to_string())? })
    }

    /// Its public half.
    pub(crate) fn public(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// Its signature over `message`.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.pair.sign(message).as_ref());
        signature
    }

    /// As TLS takes it.
    pub(crate) fn tls(&self) -> Arc<dyn rustls::sign::SigningKey> {
        Arc::clone(&self.tls)
    }
}

impl std::fmt::Debug for GatewayKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("GatewayKey").field(&hex::encode(self.public())).finish()
    }
}

impl rcgen::PublicKeyData for GatewayKey {
    fn der_bytes(&self) -> &[u8] {
        self.public()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

impl rcgen::SigningKey for GatewayKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(Self::sign(self, message).to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;
    use ring::signature::{ED25519, UnparsedPublicKey};

    #[test]
    fn kept_form_gives_the_same_key() {
        let (key, pkcs8) = GatewayKey::generate(&SystemRandom::new()).unwrap();
        let again = GatewayKey::from_pkcs8(&pkcs8).unwrap();
        assert_eq!(key.public(), again.public());
        let signature = again.sign(b"batch");
        UnparsedPublicKey::new(&ED25519, key.public()).verify(b"batch", &signature).unwrap();
        assert!(!format!("{key:?}").contains(&hex::encode(&pkcs8[16..])));
    }

    #[test]
    fn damaged_key_is_an_error() {
        let (_, pkcs8) = GatewayKey::generate(&SystemRandom::new()).unwrap();
        for len in 0..PKCS8_LEN {
            assert!(GatewayKey::from_pkcs8(&pkcs8[..len]).is_err(), "{len}");
        }
    }
}
