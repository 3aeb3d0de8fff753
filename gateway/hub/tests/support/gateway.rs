//! A gateway's end of the upstream connection, for tests that say what they want to.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kalitka_protocol::upstream::{
    ALPN, Acknowledgement, Checkpoint, Earlier, Fork, HUB_NAME, Head, Hello, Pace, Position, kind, message,
};
use kalitka_protocol::wire::Writer;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream, TransportConfig};
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use ring::signature::Ed25519KeyPair;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::time::timeout;

use super::history::History;
use super::{PATIENCE, Site, hub, status_and_error};

/// How often a gateway with nothing to say asks for a sign of life.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// A key with a certificate for it, and the authority that the hub's certificate is verified by.
pub(crate) struct Identity {
    key: KeyPair,
    chain: Vec<CertificateDer<'static>>,
    authority: CertificateDer<'static>,
}

impl Identity {
    /// What the hub at `site` gives the gateway of `building`.
    pub(crate) fn signed(site: &Site, building: u32) -> Self {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let request = CertificateParams::default().serialize_request(&key).unwrap();
        let name = format!("gateway-{}", fastrand::u64(..));
        let (csr, certificate) = (site.path(&format!("{name}.csr")), site.path(&format!("{name}.crt")));
        fs::write(&csr, request.der()).unwrap();
        let (csr, out) = (csr.display().to_string(), certificate.display().to_string());
        let words = [
            "pki",
            "sign",
            "--config",
            &site.config(),
            "--building",
            &building.to_string(),
            "--csr",
            &csr,
            "--out",
            &out,
        ];
        let (status, error) = status_and_error(&hub(&words));
        assert_eq!(status, 0, "{error}");
        let certificate = CertificateDer::from_pem_slice(&fs::read(certificate).unwrap()).unwrap();
        Self { key, chain: vec![certificate], authority: Self::authority(site) }
    }

    /// A certificate made by `make`, which gets the key.
    pub(crate) fn made(site: &Site, make: impl FnOnce(&KeyPair) -> Vec<CertificateDer<'static>>) -> Self {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let chain = make(&key);
        Self { key, chain, authority: Self::authority(site) }
    }

    /// A key with a certificate for it that came by another way.
    pub(crate) fn of(site: &Site, key: KeyPair, chain: Vec<CertificateDer<'static>>) -> Self {
        Self { key, chain, authority: Self::authority(site) }
    }

    pub(crate) fn authority(site: &Site) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(&fs::read(site.state("pki/ca.crt")).unwrap()).unwrap()
    }

    /// What signs batches.
    pub(crate) fn signer(&self) -> Ed25519KeyPair {
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(&self.key.serialize_der()).unwrap()
    }

    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }

    fn config(&self, alpn: &[u8]) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone()).unwrap();
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let mut tls = match self.chain.is_empty() {
            true => tls.with_no_client_auth(),
            false => tls.with_client_auth_cert(self.chain.clone(), key).unwrap(),
        };
        tls.alpn_protocols = vec![alpn.to_vec()];
        let mut transport = TransportConfig::default();
        transport.keep_alive_interval(Some(KEEP_ALIVE));
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
        config.transport_config(Arc::new(transport));
        config
    }

    /// Shakes hands with the hub.
    pub(crate) async fn connect(&self, hub: SocketAddr) -> Result<(Endpoint, Connection), ConnectionError> {
        self.connect_for(ALPN, hub).await
    }

    /// Shakes hands with the hub for another application protocol.
    pub(crate) async fn connect_for(
        &self,
        alpn: &[u8],
        hub: SocketAddr,
    ) -> Result<(Endpoint, Connection), ConnectionError> {
        let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let connecting = endpoint.connect_with(self.config(alpn), hub, HUB_NAME).unwrap();
        let connection = timeout(PATIENCE, connecting).await.expect("a handshake in time")?;
        Ok((endpoint, connection))
    }
}

/// What the hub says on the record stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Position(Box<Position>),
    Acknowledged(u64, u64),
    Fork(u64, u64),
    Checkpoint(Checkpoint),
    Pace(u32),
    Closed(u64, String),
}

/// A connected gateway.
pub(crate) struct Gateway {
    _endpoint: Endpoint,
    pub(crate) connection: Connection,
    pub(crate) send: SendStream,
    receive: RecvStream,
    pub(crate) signer: Ed25519KeyPair,
}

impl Gateway {
    /// Connects, and opens the record stream without a word.
    pub(crate) async fn connect(identity: &Identity, hub: SocketAddr) -> Self {
        let (endpoint, connection) = identity.connect(hub).await.unwrap();
        let (send, receive) = connection.open_bi().await.unwrap();
        Self { _endpoint: endpoint, connection, send, receive, signer: identity.signer() }
    }

    /// Connects, and says hello for `history`; with the position that the hub answers.
    pub(crate) async fn hello(
        identity: &Identity,
        hub: SocketAddr,
        history: &History,
        earlier: &[&History],
    ) -> (Self, Position) {
        let mut gateway = Self::connect(identity, hub).await;
        gateway.say_hello(history, earlier).await;
        match gateway.hear().await {
            Said::Position(position) => (gateway, *position),
            said => panic!("{said:?} instead of a position"),
        }
    }

    pub(crate) async fn say_hello(&mut self, history: &History, earlier: &[&History]) {
        let mut epochs = Earlier::new();
        for history in earlier {
            epochs.push(history.epoch).unwrap();
        }
        let hello = Hello {
            building: history.building,
            epoch: history.epoch,
            last: history.last(),
            hash: history.hash(history.last()),
            oldest: 1,
            generation: 0,
            earlier: epochs,
        };
        let mut bytes = [0; 1024];
        let mut out = Writer::new(&mut bytes);
        message(kind::HELLO, &mut out, |out| hello.emit(out)).unwrap();
        let len = out.len();
        self.say(&bytes[..len]).await;
    }

    /// Sends bytes on the record stream, if the connection still takes them.
    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        let _ = self.send.write_all(bytes).await;
    }

    /// Sends a batch of `history`.
    pub(crate) async fn batch(&mut self, history: &History, numbers: (u64, u64)) {
        let bytes = history.batch(numbers, &self.signer);
        self.say(&bytes).await;
    }

    /// The next thing that the hub says, checkpoints and paces aside.
    pub(crate) async fn hear(&mut self) -> Said {
        loop {
            match self.hear_all().await {
                Said::Checkpoint(_) | Said::Pace(_) => {}
                said => return said,
            }
        }
    }

    /// The next thing that the hub says.
    pub(crate) async fn hear_all(&mut self) -> Said {
        timeout(PATIENCE, self.next()).await.expect("a word of the hub in time")
    }

    async fn next(&mut self) -> Said {
        let mut head = [0; 8];
        if self.receive.read_exact(&mut head).await.is_err() {
            return self.closed().await;
        }
        let head = Head::parse(&head).unwrap();
        let mut body = vec![0; head.len as usize];
        self.receive.read_exact(&mut body).await.unwrap();
        match head.kind {
            kind::POSITION => Said::Position(Box::new(Position::parse(&body).unwrap())),
            kind::ACKNOWLEDGEMENT => {
                let said = Acknowledgement::parse(&body).unwrap();
                Said::Acknowledged(said.epoch.0, said.number)
            }
            kind::FORK => {
                let said = Fork::parse(&body).unwrap();
                Said::Fork(said.epoch.0, said.number)
            }
            kind::CHECKPOINT => Said::Checkpoint(Checkpoint::parse(&body).unwrap()),
            kind::PACE => Said::Pace(Pace::parse(&body).unwrap().bytes),
            other => panic!("kind {other}"),
        }
    }

    /// Waits for the connection's end, and gives the hub's code and reason.
    pub(crate) async fn closed(&self) -> Said {
        closed(&self.connection).await
    }
}

/// Waits for the connection's end, and gives the hub's code and reason.
pub(crate) async fn closed(connection: &Connection) -> Said {
    match timeout(PATIENCE, connection.closed()).await.expect("an end in time") {
        ConnectionError::ApplicationClosed(close) => {
            Said::Closed(close.error_code.into_inner(), String::from_utf8_lossy(&close.reason).into_owned())
        }
        other => panic!("{other}"),
    }
}
