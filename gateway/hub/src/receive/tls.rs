//! What the hub's end of a connection is made of.

use std::sync::Arc;
use std::time::Duration;

use kalitka_protocol::upstream::{ALPN, ALPN_ENROL, ALPN_RENEW};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{IdleTimeout, ServerConfig, TransportConfig};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};

use crate::failure::Failure;
use crate::limits::{IDLE_MAX, KEEP_ALIVE, LIVE_BUFFER_BYTES, RECEIVE_WINDOW_BYTES, STREAM_WINDOW_BYTES, STREAMS_MAX};
use crate::pki::{GatewayCertificate, Pki};

/// TLS 1.3 with the hub's certificate. A client that shows a certificate must show one of ours; who shows none is let in
/// for enrolment alone, and who shows one that has expired within `grace` for its renewal alone. [`admit`](super::admit) sees
/// to both, because all are served on one port.
///
/// # Errors
/// [`Failure::Input`] when the hub's own certificates do not serve.
pub(super) fn server(pki: &Pki, grace: Duration) -> Result<ServerConfig, Failure> {
    let wrong = |error: &dyn std::fmt::Display| {
        Failure::Input(format!("the hub's certificates do not serve: {error}; restore state/pki, or make it anew"))
    };
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(pki.ca().clone()).map_err(|error| wrong(&error))?;
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .map_err(|error| wrong(&error))?;
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| wrong(&error))?
        .with_client_cert_verifier(Arc::new(Graceful { strict: clients, grace }))
        .with_single_cert(pki.chain(), pki.key())
        .map_err(|error| wrong(&error))?;
    tls.alpn_protocols = vec![ALPN.to_vec(), ALPN_ENROL.to_vec(), ALPN_RENEW.to_vec()];
    // A resumed session would skip the look at the certificate's dates.
    tls.send_tls13_tickets = 0;
    let crypto = QuicServerConfig::try_from(tls).map_err(|error| wrong(&error))?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport()?));
    Ok(config)
}

fn transport() -> Result<TransportConfig, Failure> {
    let idle = IdleTimeout::try_from(IDLE_MAX).map_err(|error| Failure::Defect(format!("idle timeout: {error}")))?;
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_concurrent_bidi_streams(STREAMS_MAX.into())
        .max_concurrent_uni_streams(0_u32.into())
        .stream_receive_window(STREAM_WINDOW_BYTES.into())
        .receive_window(RECEIVE_WINDOW_BYTES.into())
        .datagram_receive_buffer_size(Some(LIVE_BUFFER_BYTES));
    Ok(transport)
}

/// Verifies as usual, but for the end of a gateway's certificate: when that lies no longer back than the grace, all else is
/// looked at as it was in its last second.
#[derive(Debug)]
struct Graceful {
    strict: Arc<dyn ClientCertVerifier>,
    grace: Duration,
}

impl Graceful {
    /// The last second of the certificate, if it lies within the grace before `now`.
    fn last_second(&self, certificate: &CertificateDer<'_>, now: UnixTime) -> Option<UnixTime> {
        let not_after = GatewayCertificate::read(certificate).ok()?.not_after;
        let end = Duration::from_secs(u64::try_from(not_after).ok()?);
        let since = Duration::from_secs(now.as_secs()).saturating_sub(end);
        (since <= self.grace).then(|| UnixTime::since_unix_epoch(end))
    }
}

impl ClientCertVerifier for Graceful {
    fn client_auth_mandatory(&self) -> bool {
        self.strict.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.strict.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.strict.verify_client_cert(end_entity, intermediates, now);
        if let Err(Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. })) =
            &verified
            && let Some(then) = self.last_second(end_entity, now)
        {
            return self.strict.verify_client_cert(end_entity, intermediates, then);
        }
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.strict.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.strict.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.strict.supported_verify_schemes()
    }
}
