//! A CA, and what it issues.

use std::path::Path;
use std::sync::Arc;

use kalitka_protocol::upstream::HUB_NAME;
use quinn::ServerConfig;
use quinn::crypto::rustls::QuicServerConfig;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ED25519, SanType, date_time_ymd,
};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;

/// A hub's CA, and the hub's own certificate and checkpoint key.
pub(crate) struct Pki {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) ca: CertificateDer<'static>,
    hub: CertificateDer<'static>,
    hub_key: Vec<u8>,
    pub(crate) checkpoint: Ed25519KeyPair,
}

/// A key and a certificate for it.
pub(crate) struct Issued {
    pub(crate) key: KeyPair,
    pub(crate) certificate: rcgen::Certificate,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "a test's CA");
        let ca = params.self_signed(&key).unwrap().der().clone();
        let issuer = Issuer::new(params, key);
        let mut pki =
            Self { issuer, ca, hub: CertificateDer::from(Vec::new()), hub_key: Vec::new(), checkpoint: signing_key() };
        pki.rename_hub(HUB_NAME);
        pki
    }

    /// Gives the hub a certificate for `name`.
    pub(crate) fn rename_hub(&mut self, name: &str) {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.hub = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        self.hub_key = key.serialize_der();
    }

    /// A gateway's certificate with these URI names.
    pub(crate) fn gateway(&self, names: &[&str]) -> Issued {
        self.issue(KeyPair::generate_for(&PKCS_ED25519).unwrap(), names, false)
    }

    pub(crate) fn expired_gateway(&self, names: &[&str]) -> Issued {
        self.issue(KeyPair::generate_for(&PKCS_ED25519).unwrap(), names, true)
    }

    fn issue(&self, key: KeyPair, names: &[&str], is_expired: bool) -> Issued {
        let certificate = self.certify(&key, names, is_expired);
        Issued { key, certificate }
    }

    /// A certificate for any public key.
    pub(crate) fn certify(
        &self,
        key: &impl rcgen::PublicKeyData,
        names: &[&str],
        is_expired: bool,
    ) -> rcgen::Certificate {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.iter().map(|name| SanType::URI((*name).try_into().unwrap())).collect();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_after = if is_expired { date_time_ymd(2020, 1, 1) } else { date_time_ymd(2100, 1, 1) };
        params.signed_by(key, &self.issuer).unwrap()
    }

    /// The identity folder of a gateway that `self` has enrolled.
    pub(crate) fn write_identity(&self, folder: &Path, issued: &Issued, building: u32, hub: &str) {
        std::fs::create_dir(folder).unwrap();
        std::fs::write(folder.join("gateway.key"), issued.key.serialize_pem()).unwrap();
        std::fs::write(folder.join("gateway.crt"), issued.certificate.pem()).unwrap();
        let ca = pem("CERTIFICATE", &self.ca);
        std::fs::write(folder.join("ca.crt"), ca).unwrap();
        let hub_key = hex::encode(self.checkpoint.public_key());
        let pins = format!(
            "building = {building}\nhub = \"{hub}\"\nhub_key = \"{hub_key}\"\npublishers = [\"{0}\"]\noperators = []\n",
            "11".repeat(32)
        );
        std::fs::write(folder.join("pins.toml"), pins).unwrap();
    }

    /// A server's configuration; with `clients`, those need a certificate of this CA.
    pub(crate) fn server(&self, alpn: &[u8], clients: bool) -> ServerConfig {
        self.server_of(&[alpn], clients)
    }

    /// The same, of several application protocols.
    pub(crate) fn server_of(&self, alpns: &[&[u8]], clients: bool) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.clone()).unwrap();
        let builder = if clients {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.hub_key.clone()));
        let mut config = builder.with_single_cert(vec![self.hub.clone(), self.ca.clone()], key).unwrap();
        config.alpn_protocols = alpns.iter().map(|alpn| alpn.to_vec()).collect();
        ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(config).unwrap()))
    }
}

fn signing_key() -> Ed25519KeyPair {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).unwrap();
    Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap()
}

fn pem(label: &str, der: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in der.chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, at| bits << 8 | u32::from(*three.get(at).unwrap_or(&0)));
        for at in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= three.len() { char::from(digit) } else { '=' });
        }
    }
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}
