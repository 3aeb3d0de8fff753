//! Boxes that enrol, and certificates that are taken back.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kalitka_protocol::upstream::{
    ALPN_ENROL, EnrolRefused, EnrolRequest, Enrolled, HUB_NAME, Head, Token, close, kind, message, refusal,
};
use kalitka_protocol::wire::Writer;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint};
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use support::gateway::{Gateway, Identity, Said, closed};
use support::history::History;
use support::{Hub, PATIENCE, Site, hub as command};
use tokio::time::timeout;

const BUILDING: u32 = 17;

/// What the hub said to a box.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Enrolled { certificate: Vec<u8>, ca: Vec<u8>, publishers: usize, operators: usize },
    Refused(u8),
    Closed(Said),
}

fn token(hub: &Hub, building: u32) -> Token {
    let shown = hub.json(&["pki", "token", "--building", &building.to_string()]);
    assert_eq!(shown["building"], building);
    Token::parse(shown["token"].as_str().unwrap()).unwrap()
}

fn request(key: &KeyPair) -> Vec<u8> {
    CertificateParams::default().serialize_request(key).unwrap().der().to_vec()
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ED25519).unwrap()
}

fn enrolment(token: &Token, building: u32, csr: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 8192];
    let mut out = Writer::new(&mut bytes);
    let request = EnrolRequest { secret: token.secret, building, csr };
    message(kind::ENROL, &mut out, |out| request.emit(out)).unwrap();
    let len = out.len();
    bytes[..len].to_vec()
}

/// Connects as a box without a certificate.
async fn shake(site: &Site, hub: SocketAddr) -> (Endpoint, Connection) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(Identity::authority(site)).unwrap();
    let tls = rustls::ClientConfig::builder_with_provider(provider);
    let tls = tls.with_protocol_versions(&[&rustls::version::TLS13]).unwrap().with_root_certificates(roots);
    let mut tls = tls.with_no_client_auth();
    tls.alpn_protocols = vec![ALPN_ENROL.to_vec()];
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let connecting = endpoint.connect_with(config, hub, HUB_NAME).unwrap();
    let connection = timeout(PATIENCE, connecting).await.unwrap().unwrap();
    let shown = connection.peer_identity().unwrap().downcast::<Vec<CertificateDer<'static>>>().unwrap();
    assert_eq!(shown.last(), Some(&Identity::authority(site)), "the hub shows its CA, which a box knows by its hash");
    (endpoint, connection)
}

/// Says `bytes` as a box without a certificate.
async fn say(site: &Site, hub: SocketAddr, bytes: &[u8]) -> Heard {
    let (_endpoint, connection) = shake(site, hub).await;
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(bytes).await.unwrap();
    send.finish().unwrap();
    let mut head = [0; 8];
    if timeout(PATIENCE, receive.read_exact(&mut head)).await.unwrap().is_err() {
        return Heard::Closed(closed(&connection).await);
    }
    let head = Head::parse(&head).unwrap();
    let mut body = vec![0; head.len as usize];
    receive.read_exact(&mut body).await.unwrap();
    match head.kind {
        kind::ENROLLED => {
            let said = Enrolled::parse(&body).unwrap();
            let (publishers, operators) = (said.publishers.len(), said.operators.len());
            Heard::Enrolled { certificate: said.certificate.to_vec(), ca: said.ca.to_vec(), publishers, operators }
        }
        kind::ENROL_REFUSED => Heard::Refused(EnrolRefused::parse(&body).unwrap().code),
        other => panic!("kind {other}"),
    }
}

fn certificate(heard: Heard) -> Vec<u8> {
    match heard {
        Heard::Enrolled { certificate, .. } => certificate,
        heard => panic!("{heard:?}"),
    }
}

/// SPEC 15.14: the certificate that a token gives is good for the building's record stream.
#[tokio::test(flavor = "multi_thread")]
async fn token_makes_a_box_the_gateway_of_its_building() {
    let site = Site::new();
    let config = std::fs::read_to_string(site.config()).unwrap();
    let keys = format!(
        "[gateways]\npublishers = [\"{}\"]\noperators = [\"{}\", \"{}\"]\n",
        "11".repeat(32),
        "22".repeat(32),
        "33".repeat(32)
    );
    std::fs::write(site.config(), config + &keys).unwrap();
    let hub = site.start();
    let token = token(&hub, BUILDING);
    assert!(token.is_of(&Identity::authority(&site)));
    let (box_key, quic) = (key(), hub.quic);
    let heard = say(&site, quic, &enrolment(&token, BUILDING, &request(&box_key))).await;
    let Heard::Enrolled { certificate, ca, publishers: 1, operators: 2 } = heard else { panic!("{heard:?}") };
    assert_eq!(ca, Identity::authority(&site).as_ref());
    let identity = Identity::of(&site, box_key, vec![certificate.into()]);
    let history = History::of(BUILDING, 7, 3);
    let (mut gateway, position) = Gateway::hello(&identity, quic, &history, &[]).await;
    assert_eq!(position.as_slice()[0].last, 0);
    gateway.batch(&history, (1, 3)).await;
    assert_eq!(gateway.hear().await, Said::Acknowledged(7, 3));
    let listed = hub.json(&["pki", "list"]);
    assert_eq!((&listed["building"], &listed["revoked"]), (&BUILDING.into(), &serde_json::Value::Null));
}

/// SPEC 15.14: a token is good once; only the lost answer to the same request comes again, also from a hub that was killed.
#[tokio::test(flavor = "multi_thread")]
async fn token_used_twice_is_refused_and_alarms() {
    let site = Site::new();
    let hub = site.start();
    let token = token(&hub, BUILDING);
    let right = enrolment(&token, BUILDING, &request(&key()));
    let first = certificate(say(&site, hub.quic, &right).await);
    assert_eq!(certificate(say(&site, hub.quic, &right).await), first);
    let other = enrolment(&token, BUILDING, &request(&key()));
    assert_eq!(say(&site, hub.quic, &other).await, Heard::Refused(refusal::TOKEN_USED));
    assert_eq!(hub.alarms(), [("token".to_owned(), Some(u64::from(BUILDING)))]);
    hub.kill();
    let hub = site.start();
    assert_eq!(certificate(say(&site, hub.quic, &right).await), first);
    assert_eq!(say(&site, hub.quic, &other).await, Heard::Refused(refusal::TOKEN_USED));
    assert_eq!(hub.json(&["pki", "list"])["building"], BUILDING, "one certificate was given, and no more");
    assert_eq!(hub.metric("kalitka_hub_enrolments_total{outcome=\"token_used\"}"), 1.0);
}

/// SPEC 15.14: what is refused costs the token nothing.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_request_is_refused_by_its_reason_and_the_token_stays_good() {
    let site = Site::new();
    let hub = site.start();
    let token = token(&hub, BUILDING);
    let csr = request(&key());
    let unknown = Token::new([1; 16], b"");
    assert_eq!(
        say(&site, hub.quic, &enrolment(&unknown, BUILDING, &csr)).await,
        Heard::Refused(refusal::TOKEN_UNKNOWN)
    );
    let foreign = enrolment(&token, BUILDING + 1, &csr);
    assert_eq!(say(&site, hub.quic, &foreign).await, Heard::Refused(refusal::OTHER_BUILDING));
    assert_eq!(hub.alarms(), [("token".to_owned(), None)]);
    let mut forged = csr.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(say(&site, hub.quic, &enrolment(&token, BUILDING, &forged)).await, Heard::Refused(refusal::MALFORMED));
    let garbage = say(&site, hub.quic, &[0xa5; 64]).await;
    assert!(
        matches!(garbage, Heard::Closed(Said::Closed(code, _)) if code == u64::from(close::MALFORMED)),
        "{garbage:?}"
    );
    let hello = Head { kind: kind::HELLO, len: 0 }.to_bytes();
    let misplaced = say(&site, hub.quic, &hello).await;
    assert!(matches!(misplaced, Heard::Closed(Said::Closed(code, _)) if code == u64::from(close::MALFORMED)));
    certificate(say(&site, hub.quic, &enrolment(&token, BUILDING, &csr)).await);
}

/// SPEC 15.11: code 6.
#[tokio::test(flavor = "multi_thread")]
async fn revoked_certificate_loses_its_connection_and_gets_no_other() {
    let site = Site::new();
    let (identity, neighbour) = (Identity::signed(&site, BUILDING), Identity::signed(&site, 18));
    let hub = site.start();
    let history = History::of(BUILDING, 7, 3);
    let (mut gateway, _) = Gateway::hello(&identity, hub.quic, &history, &[]).await;
    let other = History::of(18, 8, 3);
    let (mut stays, _) = Gateway::hello(&neighbour, hub.quic, &other, &[]).await;
    let (status, _, error) = hub.command(&["pki", "revoke", "--building", "19"]);
    assert_eq!(status, 3, "{error}");
    let (status, out, error) = hub.command(&["pki", "revoke", "--building", &BUILDING.to_string()]);
    assert_eq!(status, 0, "{out}{error}");
    let code = |said: Said| match said {
        Said::Closed(code, _) => code,
        said => panic!("{said:?}"),
    };
    assert_eq!(code(gateway.hear().await), u64::from(close::REVOKED));
    let (_endpoint, again) = identity.connect(hub.quic).await.unwrap();
    assert_eq!(code(closed(&again).await), u64::from(close::REVOKED));
    assert!(hub.alarms().contains(&("revoked".to_owned(), Some(u64::from(BUILDING)))));
    stays.batch(&other, (1, 3)).await;
    assert_eq!(stays.hear().await, Said::Acknowledged(8, 3));
    // A new certificate of the same building is good.
    let renewed = Identity::signed(&site, BUILDING);
    Gateway::hello(&renewed, hub.quic, &history, &[]).await;
    hub.kill();
    let hub = site.start();
    let (_endpoint, again) = identity.connect(hub.quic).await.unwrap();
    assert_eq!(code(closed(&again).await), u64::from(close::REVOKED), "also after the hub was killed");
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_box_is_let_go() {
    let site = Site::new();
    let hub = site.start();
    let token = token(&hub, BUILDING);
    let part = enrolment(&token, BUILDING, &request(&key()));
    let cut = say(&site, hub.quic, &part[..part.len() - 1]).await;
    assert!(matches!(cut, Heard::Closed(Said::Closed(code, _)) if code == u64::from(close::MALFORMED)), "{cut:?}");
    assert!(matches!(timeout(Duration::from_secs(5), say(&site, hub.quic, &part)).await, Ok(Heard::Enrolled { .. })));
}

#[test]
fn wrong_usage_says_what_to_do() {
    let site = Site::new();
    let config = site.config();
    let (status, error) = support::status_and_error(&command(&["pki", "init", "--config", &config]));
    assert_eq!(status, 3);
    assert!(error.contains("not overwritten"), "{error}");
    let hub = site.start();
    for (words, wanted) in [
        (vec!["pki", "token", "--building", "0"], 2),
        (vec!["pki", "token", "--building", "1", "--hours", "0"], 2),
        (vec!["pki", "revoke"], 2),
        (vec!["pki", "revoke", "--serial", "zz"], 3),
    ] {
        let (status, _, error) = hub.command(&words);
        assert_eq!(status, wanted, "{words:?}: {error}");
    }
    std::fs::write(site.path("no.csr"), "no request").unwrap();
    let csr = site.path("no.csr").display().to_string();
    let (status, _, error) = hub.command(&["pki", "sign", "--building", "1", "--csr", &csr, "--out", "/dev/null"]);
    assert_eq!(status, 3);
    assert!(error.contains("PKCS#10"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_without_certificates_keep_no_gateway_out() {
    const ENROLMENTS_MAX: usize = 64;
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let mut silent = Vec::new();
    for _ in 0..ENROLMENTS_MAX {
        silent.push(shake(&site, hub.quic).await);
    }
    let (_endpoint, one_more) = shake(&site, hub.quic).await;
    let Said::Closed(code, _) = closed(&one_more).await else { panic!("it was let in") };
    assert_eq!(code, u64::from(close::NOT_NOW));
    let history = History::of(BUILDING, 7, 3);
    let (mut gateway, _) = Gateway::hello(&identity, hub.quic, &history, &[]).await;
    gateway.batch(&history, (1, 3)).await;
    assert_eq!(gateway.hear().await, Said::Acknowledged(7, 3));
    assert!(silent.iter().all(|(_, waiting)| waiting.close_reason().is_none()));
}
