//! How a gateway gets its next certificate by the one that it has, and what one is good for that has expired (SPEC 15.15).
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kalitka_protocol::upstream::{ALPN_RENEW, Head, Renew, RenewRefused, Renewed, close, kind, message, renewal};
use kalitka_protocol::wire::Writer;
use quinn::Connection;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, PKCS_ED25519, SanType, date_time_ymd};
use support::gateway::{Gateway, Identity, Said, closed};
use support::history::History;
use support::{Hub, PATIENCE, Site};
use tokio::time::timeout;

const BUILDING: u32 = 17;
const DAY: Duration = Duration::from_secs(86_400);

/// What the hub said to a gateway.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Renewed(Vec<u8>),
    Refused(u8),
    Nothing,
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ED25519).unwrap()
}

fn csr(key: &KeyPair) -> Vec<u8> {
    CertificateParams::default().serialize_request(key).unwrap().der().to_vec()
}

fn request(building: u32, csr: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 8192];
    let mut out = Writer::new(&mut bytes);
    message(kind::RENEW, &mut out, |out| Renew { building, csr }.emit(out)).unwrap();
    let len = out.len();
    bytes[..len].to_vec()
}

/// Says `bytes` on a stream of its own.
async fn say(connection: &Connection, bytes: &[u8]) -> Heard {
    let (mut send, mut receive) = timeout(PATIENCE, connection.open_bi()).await.unwrap().unwrap();
    send.write_all(bytes).await.unwrap();
    let _ = send.finish();
    let mut head = [0; 8];
    if timeout(PATIENCE, receive.read_exact(&mut head)).await.unwrap().is_err() {
        return Heard::Nothing;
    }
    let head = Head::parse(&head).unwrap();
    let mut body = vec![0; head.len as usize];
    receive.read_exact(&mut body).await.unwrap();
    match head.kind {
        kind::RENEWED => Heard::Renewed(Renewed::parse(&body).unwrap().certificate.to_vec()),
        kind::RENEW_REFUSED => Heard::Refused(RenewRefused::parse(&body).unwrap().code),
        other => panic!("kind {other}"),
    }
}

fn certificate(heard: Heard) -> Vec<u8> {
    match heard {
        Heard::Renewed(certificate) => certificate,
        heard => panic!("{heard:?}"),
    }
}

fn code(said: Said) -> u32 {
    match said {
        Said::Closed(code, _) => u32::try_from(code).unwrap(),
        said => panic!("{said:?}"),
    }
}

/// A certificate by the hub's authority that expired so long ago.
fn expired(site: &Site, ago: Duration) -> Identity {
    let ca = std::fs::read_to_string(site.state("pki/ca.crt")).unwrap();
    let ca_key = KeyPair::from_pem(&std::fs::read_to_string(site.state("pki/ca.key")).unwrap()).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&ca, ca_key).unwrap();
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() - ago;
    let mut params = CertificateParams::default();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = vec![SanType::URI("urn:kalitka:building:17".try_into().unwrap())];
    params.not_before = date_time_ymd(1970, 1, 1) + (since - DAY);
    params.not_after = date_time_ymd(1970, 1, 1) + since;
    Identity::made(site, |key| vec![params.signed_by(key, &issuer).unwrap().der().clone()])
}

/// Connects for a renewal and nothing else.
async fn renewing(identity: &Identity, hub: SocketAddr) -> (quinn::Endpoint, Connection) {
    identity.connect_for(ALPN_RENEW, hub).await.unwrap()
}

fn expired_alarms(hub: &Hub) -> usize {
    hub.alarms().into_iter().filter(|alarm| *alarm == ("expired".to_owned(), Some(u64::from(BUILDING)))).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_is_renewed_beside_the_events_and_both_keys_vouch_for_the_history() {
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let mut history = History::of(BUILDING, 7, 3);
    let (mut gateway, _) = Gateway::hello(&identity, hub.quic, &history, &[]).await;
    gateway.batch(&history, (1, 2)).await;
    assert_eq!(gateway.hear().await, Said::Acknowledged(7, 2));
    let next = key();
    let given = certificate(say(&gateway.connection, &request(BUILDING, &csr(&next))).await);
    gateway.batch(&history, (3, 3)).await;
    assert_eq!(gateway.hear().await, Said::Acknowledged(7, 3), "the old certificate's connection goes on");
    assert_eq!(hub.metric("kalitka_hub_connections"), 1.0);

    gateway.connection.close(0_u32.into(), b"");
    let renewed = Identity::of(&site, next, vec![given.into()]);
    history.grow(5);
    let (mut gateway, position) = Gateway::hello(&renewed, hub.quic, &history, &[]).await;
    assert_eq!(position.as_slice()[0].last, 3);
    gateway.batch(&history, (4, 5)).await;
    assert_eq!(gateway.hear().await, Said::Acknowledged(7, 5));
    let (status, found) = hub.verify(BUILDING);
    assert_eq!((status, &found["complete"]), (0, &true.into()), "{found}");
    assert_eq!(hub.alarms(), []);
    assert_eq!(hub.metric("kalitka_hub_renewals_total{outcome=\"renewed\"}"), 1.0);
    assert!(hub.metric("kalitka_hub_certificate_expires_seconds{certificate=\"ca\"}") > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn same_request_gets_the_same_certificate_and_another_one_has_to_wait() {
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let history = History::of(BUILDING, 7, 1);
    let (gateway, _) = Gateway::hello(&identity, hub.quic, &history, &[]).await;
    let asked = request(BUILDING, &csr(&key()));
    let first = certificate(say(&gateway.connection, &asked).await);
    assert_eq!(certificate(say(&gateway.connection, &asked).await), first);
    let other = request(BUILDING, &csr(&key()));
    assert_eq!(say(&gateway.connection, &other).await, Heard::Refused(renewal::NOT_NOW));
    hub.kill();
    let hub = site.start();
    let (gateway, _) = Gateway::hello(&identity, hub.quic, &history, &[]).await;
    assert_eq!(certificate(say(&gateway.connection, &asked).await), first, "also of a hub that was killed");
    assert_eq!(say(&gateway.connection, &other).await, Heard::Refused(renewal::NOT_NOW));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_renewal_is_refused_by_its_reason_and_the_connection_goes_on() {
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let history = History::of(BUILDING, 7, 2);
    let (mut gateway, _) = Gateway::hello(&identity, hub.quic, &history, &[]).await;
    let right = csr(&key());
    let mut forged = right.clone();
    *forged.last_mut().unwrap() ^= 1;
    for (asked, refusal) in [
        (request(BUILDING + 1, &right), renewal::OTHER_BUILDING),
        (request(BUILDING, &forged), renewal::MALFORMED),
        (request(BUILDING, &right[..right.len() - 1]), renewal::MALFORMED),
        (request(0, &right), renewal::MALFORMED),
    ] {
        assert_eq!(say(&gateway.connection, &asked).await, Heard::Refused(refusal));
    }
    gateway.batch(&history, (1, 2)).await;
    assert_eq!(gateway.hear().await, Said::Acknowledged(7, 2));
    certificate(say(&gateway.connection, &request(BUILDING, &right)).await);

    let misplaced = Head { kind: kind::HELLO, len: 0 }.to_bytes();
    say(&gateway.connection, &misplaced).await;
    assert_eq!(code(gateway.closed().await), close::MALFORMED);
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_certificate_is_good_for_its_renewal_and_for_nothing_else() {
    let site = Site::new();
    let hub = site.start();
    let identity = expired(&site, DAY * 180);
    let (_endpoint, connection) = identity.connect(hub.quic).await.unwrap();
    assert_eq!(code(closed(&connection).await), close::EXPIRED);
    assert_eq!(expired_alarms(&hub), 1, "a person hears of it");
    assert_eq!(hub.metric("kalitka_hub_connections"), 0.0);

    for not_a_renewal in [Head { kind: kind::HELLO, len: 0 }.to_bytes().to_vec(), vec![0xa5; 64]] {
        let (_endpoint, connection) = renewing(&identity, hub.quic).await;
        assert_eq!(say(&connection, &not_a_renewal).await, Heard::Nothing);
        assert_eq!(code(closed(&connection).await), close::MALFORMED);
    }
    let next = key();
    let (_endpoint, connection) = renewing(&identity, hub.quic).await;
    let given = certificate(say(&connection, &request(BUILDING, &csr(&next))).await);
    assert_eq!(code(closed(&connection).await), 0, "one renewal and no more");

    let renewed = Identity::of(&site, next, vec![given.into()]);
    let history = History::of(BUILDING, 7, 3);
    let (mut gateway, _) = Gateway::hello(&renewed, hub.quic, &history, &[]).await;
    gateway.batch(&history, (1, 3)).await;
    assert_eq!(gateway.hear().await, Said::Acknowledged(7, 3));
    let (_endpoint, connection) = identity.connect(hub.quic).await.unwrap();
    assert_eq!(code(closed(&connection).await), close::EXPIRED, "the old one has not come to life again");
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_certificate_that_is_revoked_or_beyond_the_grace_renews_nothing() {
    let site = Site::new();
    let identity = expired(&site, DAY * 180);
    let hub = site.start();
    // The hub knows it from its first appearance on.
    let (_endpoint, connection) = renewing(&identity, hub.quic).await;
    assert_eq!(say(&connection, &request(BUILDING + 1, &csr(&key()))).await, Heard::Refused(renewal::OTHER_BUILDING));
    let (status, _, error) = hub.command(&["pki", "revoke", "--building", "17"]);
    assert_eq!(status, 0, "{error}");
    let (_endpoint, connection) = renewing(&identity, hub.quic).await;
    assert_eq!(code(closed(&connection).await), close::REVOKED);

    let beyond = expired(&site, DAY * 366);
    refused_in_the_handshake(&beyond, hub.quic).await;
    drop(hub);
    let config = std::fs::read_to_string(site.config()).unwrap();
    std::fs::write(site.config(), config + "[gateways]\nrenew_expired_days = 0\n").unwrap();
    let hub = site.start();
    refused_in_the_handshake(&expired(&site, DAY), hub.quic).await;
    assert_eq!(hub.metric("kalitka_hub_renewals_total{outcome=\"renewed\"}"), 0.0);
}

async fn refused_in_the_handshake(identity: &Identity, hub: SocketAddr) {
    if let Ok((_endpoint, connection)) = identity.connect_for(ALPN_RENEW, hub).await {
        let error = timeout(PATIENCE, connection.closed()).await.unwrap();
        assert!(error.to_string().contains("certificate"), "{error}");
    }
}

/// A certificate that holds may be renewed on a connection of its own, too.
#[tokio::test(flavor = "multi_thread")]
async fn renewal_alone_disturbs_no_living_connection() {
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let history = History::of(BUILDING, 7, 1);
    let (mut gateway, _) = Gateway::hello(&identity, hub.quic, &history, &[]).await;
    let (_endpoint, connection) = renewing(&identity, hub.quic).await;
    certificate(say(&connection, &request(BUILDING, &csr(&key()))).await);
    gateway.batch(&history, (1, 1)).await;
    assert_eq!(gateway.hear().await, Said::Acknowledged(7, 1));
    assert_eq!(hub.alarms(), []);
}
