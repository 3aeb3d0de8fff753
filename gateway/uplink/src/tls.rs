//! QUIC as both ends of it are set here: TLS 1.3 only, the provider given explicitly, trust in one CA.

use std::sync::Arc;

use kalitka_protocol::limits::LIVE_LEN_MAX;
use kalitka_protocol::upstream::{ALPN_ENROL, Token};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, IdleTimeout, TransportConfig, VarInt};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, DigitallySignedStruct, Error, PeerIncompatible, RootCertStore, SignatureScheme};

use crate::congestion::Congestion;
use crate::identity::Identity;
use crate::limits::{DATAGRAM_BUFFER_BYTES, IDLE_MAX, KEEP_ALIVE, ROUND_TRIP_FIRST, SEND_WINDOW_BYTES, STREAMS_MAX};

/// A gateway's connection for the application protocol `alpn`: its certificate, and a hub under the pinned CA (SPEC 15.1).
///
/// # Errors
/// What the CA's certificate is not good for.
pub(crate) fn connection(identity: &Identity, alpn: &[u8], congestion: Congestion) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    roots.add(identity.ca().clone()).map_err(|error| format!("the pinned CA certificate: {error}"))?;
    let certificate = CertificateDer::from(identity.certificate().to_vec());
    let certified = CertifiedKey::new(vec![certificate], identity.key().tls());
    let mut config =
        builder()?.with_root_certificates(roots).with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![alpn.to_vec()];
    quic(config, congestion)
}

/// An enrolment: no certificate here, and a hub whose chain ends in the CA certificate that `token` names (SPEC 15.14).
///
/// # Errors
/// Never, unless the provider lacks TLS 1.3.
pub(crate) fn enrolment(token: Token) -> Result<ClientConfig, String> {
    let provider = provider();
    let verifier = ByHash { token, algorithms: provider.signature_verification_algorithms, provider };
    let mut config = builder()?.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth();
    config.alpn_protocols = vec![ALPN_ENROL.to_vec()];
    quic(config, Congestion::default())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn builder() -> Result<rustls::ConfigBuilder<rustls::ClientConfig, rustls::WantsVerifier>, String> {
    let builder = rustls::ClientConfig::builder_with_provider(provider());
    builder.with_protocol_versions(&[&rustls::version::TLS13]).map_err(|error| error.to_string())
}

fn quic(config: rustls::ClientConfig, congestion: Congestion) -> Result<ClientConfig, String> {
    let config = QuicClientConfig::try_from(config).map_err(|error| error.to_string())?;
    let mut config = ClientConfig::new(Arc::new(config));
    config.transport_config(Arc::new(transport(congestion)?));
    Ok(config)
}

fn transport(congestion: Congestion) -> Result<TransportConfig, String> {
    let mut transport = TransportConfig::default();
    transport
        .initial_rtt(ROUND_TRIP_FIRST)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IdleTimeout::try_from(IDLE_MAX).map_err(|error| error.to_string())?))
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .send_window(SEND_WINDOW_BYTES)
        .datagram_send_buffer_size(DATAGRAM_BUFFER_BYTES)
        // The hub sends none, but without a buffer for them quinn sends none either.
        .datagram_receive_buffer_size(Some(LIVE_LEN_MAX))
        .congestion_controller_factory(congestion.factory());
    Ok(transport)
}

/// Trusts the CA certificate of the presented chain that has a known hash, and nothing else.
#[derive(Debug)]
struct ByHash {
    token: Token,
    algorithms: WebPkiSupportedAlgorithms,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for ByHash {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let ca = intermediates.iter().find(|certificate| self.token.is_of(certificate));
        let ca = ca.ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider)).build();
        let verifier = verifier.map_err(|error| Error::General(error.to_string()))?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls13RequiredForQuic))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
