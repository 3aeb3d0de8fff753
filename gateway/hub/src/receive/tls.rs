//! What the hub's end of a connection is made of.

use std::sync::Arc;

use kalitka_protocol::upstream::{ALPN, ALPN_ENROL};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{IdleTimeout, ServerConfig, TransportConfig};
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;

use crate::failure::Failure;
use crate::limits::{IDLE_MAX, KEEP_ALIVE, LIVE_BUFFER_BYTES, RECEIVE_WINDOW_BYTES, STREAMS_MAX};
use crate::pki::Pki;

/// TLS 1.3 with the hub's certificate. A client that shows a certificate must show one of ours; who shows none is let in
/// for enrolment alone, which [`admit`](super::admit) sees to, because both are served on one port.
///
/// # Errors
/// [`Failure::Input`] when the hub's own certificates do not serve.
pub(super) fn server(pki: &Pki) -> Result<ServerConfig, Failure> {
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
        .with_client_cert_verifier(clients)
        .with_single_cert(pki.chain(), pki.key())
        .map_err(|error| wrong(&error))?;
    tls.alpn_protocols = vec![ALPN.to_vec(), ALPN_ENROL.to_vec()];
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
        .stream_receive_window(RECEIVE_WINDOW_BYTES.into())
        .receive_window(RECEIVE_WINDOW_BYTES.into())
        .datagram_receive_buffer_size(Some(LIVE_BUFFER_BYTES));
    Ok(transport)
}
