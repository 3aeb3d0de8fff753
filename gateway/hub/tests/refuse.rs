//! What is wrong is not kept: who is not let in, which code ends the connection, and what a person is told (SPEC 15.1,
//! 15.2, 15.3, 15.11).
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;

use kalitka_protocol::upstream::{Head, close, kind};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, PKCS_ED25519, SanType,
    date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use support::gateway::{Gateway, Identity, Said, closed};
use support::history::History;
use support::{Hub, Site};

const BUILDING: u32 = 17;

fn code(said: &Said) -> u32 {
    match said {
        Said::Closed(code, reason) => {
            assert!(*code == 0 || !reason.is_empty(), "a close without a word");
            u32::try_from(*code).unwrap()
        }
        said => panic!("{said:?} instead of an end"),
    }
}

/// A certificate of the hub's own authority, as `change` makes it.
fn by_the_authority(site: &Site, change: impl Fn(&mut CertificateParams)) -> Identity {
    let ca = fs::read_to_string(site.state("pki/ca.crt")).unwrap();
    let key = KeyPair::from_pem(&fs::read_to_string(site.state("pki/ca.key")).unwrap()).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&ca, key).unwrap();
    Identity::made(site, |key| vec![certificate(key, &issuer, &change)])
}

fn certificate(
    key: &KeyPair,
    issuer: &Issuer<'_, KeyPair>,
    change: &dyn Fn(&mut CertificateParams),
) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = vec![name("urn:kalitka:building:17")];
    change(&mut params);
    params.signed_by(key, issuer).unwrap().der().clone()
}

fn name(uri: &str) -> SanType {
    SanType::URI(uri.try_into().unwrap())
}

/// A certificate for the building by somebody else's authority.
fn foreign(site: &Site) -> Identity {
    let ca_key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = Issuer::new(ca, ca_key);
    Identity::made(site, |key| vec![certificate(key, &issuer, &|_| {})])
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_that_is_foreign_or_expired_is_refused_in_the_handshake() {
    let site = Site::new();
    let hub = site.start();
    let expired = by_the_authority(&site, |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    let early = by_the_authority(&site, |params| params.not_before = date_time_ymd(2200, 1, 1));
    let server = by_the_authority(&site, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    for (what, identity) in [("foreign", foreign(&site)), ("expired", expired), ("early", early), ("server", server)] {
        // The client's handshake is done before the hub has looked at its certificate.
        if let Ok((_endpoint, connection)) = identity.connect(hub.quic).await {
            let error = connection.closed().await;
            assert!(error.to_string().contains("certificate"), "{what}: {error}");
        }
    }
    assert_eq!(hub.alarms(), [("certificate".to_owned(), None)]);
    assert!(hub.metric("kalitka_hub_connections_refused_total{reason=\"certificate\"}") >= 4.0);
    assert_eq!(hub.metric("kalitka_hub_connections"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_has_to_name_one_building() {
    let site = Site::new();
    let hub = site.start();
    let two = || vec![name("urn:kalitka:building:17"), name("urn:kalitka:building:18")];
    let cases: [(&str, Identity); 5] = [
        ("none", Identity::made(&site, |_| Vec::new())),
        ("no name", by_the_authority(&site, |params| params.subject_alt_names = Vec::new())),
        ("two", by_the_authority(&site, move |params| params.subject_alt_names = two())),
        ("another", by_the_authority(&site, |params| params.subject_alt_names = vec![name("urn:kalitka:hub:17")])),
        ("zero", by_the_authority(&site, |params| params.subject_alt_names = vec![name("urn:kalitka:building:017")])),
    ];
    for (what, identity) in cases {
        let (_endpoint, connection) = identity.connect(hub.quic).await.unwrap();
        assert_eq!(code(&closed(&connection).await), close::NO_BUILDING, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_certificate_ends_the_connection_and_opens_no_other() {
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let mut history = History::of(BUILDING, 7, 3);
    let (mut gateway, _) = Gateway::hello(&identity, hub.quic, &history, &[]).await;
    gateway.batch(&history, (1, 3)).await;
    assert_eq!(gateway.hear().await, Said::Acknowledged(7, 3));
    let (status, _, error) = hub.command(&["pki", "revoke", "--building", "17"]);
    assert_eq!(status, 0, "{error}");
    assert_eq!(code(&gateway.hear().await), close::REVOKED);
    let (_endpoint, connection) = identity.connect(hub.quic).await.unwrap();
    assert_eq!(code(&closed(&connection).await), close::REVOKED);
    assert!(hub.alarms().contains(&("revoked".to_owned(), Some(17))));

    // A new certificate is let in, over a restart too.
    drop(hub);
    let hub = site.start();
    let (_endpoint, connection) = identity.connect(hub.quic).await.unwrap();
    assert_eq!(code(&closed(&connection).await), close::REVOKED);
    drop(hub);
    let renewed = Identity::signed(&site, BUILDING);
    let hub = site.start();
    history.grow(4);
    let (mut gateway, position) = Gateway::hello(&renewed, hub.quic, &history, &[]).await;
    assert_eq!(position.as_slice()[0].last, 3);
    gateway.batch(&history, (4, 4)).await;
    assert_eq!(gateway.hear().await, Said::Acknowledged(7, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn second_living_connection_is_refused_with_an_alarm_and_the_first_goes_on() {
    let site = Site::new();
    let (one, two) = (Identity::signed(&site, BUILDING), Identity::signed(&site, BUILDING));
    let hub = site.start();
    let mut history = History::of(BUILDING, 7, 3);
    let (mut first, _) = Gateway::hello(&one, hub.quic, &history, &[]).await;
    for identity in [&one, &two] {
        let (_endpoint, connection) = identity.connect(hub.quic).await.unwrap();
        assert_eq!(code(&closed(&connection).await), close::SECOND_CONNECTION);
    }
    assert_eq!(hub.alarms(), [("second_connection".to_owned(), Some(17))]);
    history.grow(5);
    first.batch(&history, (1, 5)).await;
    assert_eq!(first.hear().await, Said::Acknowledged(7, 5));
}

#[test]
fn gateway_that_was_started_again_does_not_wait_for_the_old_connection_to_time_out() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let history = History::of(BUILDING, 7, 3);
    let (dead, living) = (runtime(), runtime());
    // Nothing moves in this runtime once it is not waited for: the box has lost its power.
    let (gateway, _) = dead.block_on(Gateway::hello(&identity, hub.quic, &history, &[]));
    let (mut again, _) = living.block_on(Gateway::hello(&identity, hub.quic, &history, &[]));
    living.block_on(async {
        again.batch(&history, (1, 3)).await;
        assert_eq!(again.hear().await, Said::Acknowledged(7, 3));
    });
    assert_eq!(hub.alarms(), []);
    drop(gateway);
}

/// What is said on a fresh connection, and how the hub ends it.
async fn says(hub: &Hub, identity: &Identity, hello: bool, bytes: &[u8]) -> u32 {
    let history = History::of(BUILDING, 7, 3);
    let mut gateway = Gateway::connect(identity, hub.quic).await;
    if hello {
        gateway.say_hello(&history, &[]).await;
        assert!(matches!(gateway.hear().await, Said::Position(_)));
    }
    gateway.say(bytes).await;
    let _ = gateway.send.finish();
    code(&gateway.hear().await)
}

fn head(kind: u8, len: u32) -> Vec<u8> {
    Head { kind, len }.to_bytes().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_in_its_place_ends_the_connection() {
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let signer = identity.signer();
    let good = History::of(BUILDING, 7, 3).batch((1, 3), &signer);
    let changed = |at: usize, to: u8| {
        let mut bytes = good.clone();
        bytes[at] = to;
        bytes
    };
    let cases: [(&str, bool, Vec<u8>, u32); 11] = [
        ("a batch before the hello", false, good.clone(), close::MALFORMED),
        ("nothing, and the end", false, Vec::new(), 0),
        ("another version", true, changed(5, 2), close::VERSION),
        ("reserved bytes", true, changed(6, 1), close::MALFORMED),
        ("a body beyond the limit", true, head(kind::BATCH, 1_048_577), close::MALFORMED),
        ("an acknowledgement", true, head(kind::ACKNOWLEDGEMENT, 16), close::MALFORMED),
        ("a second hello", true, head(kind::HELLO, 65), close::MALFORMED),
        ("a batch that is cut off", true, good[..good.len() - 1].to_vec(), close::MALFORMED),
        ("an empty batch", true, head(kind::BATCH, 0), close::MALFORMED),
        ("another layout of an event", true, changed(8 + 56 + 2, 9), close::MALFORMED),
        ("another first number", true, changed(8 + 8, 2), close::MALFORMED),
    ];
    for (what, hello, bytes, expected) in cases {
        assert_eq!(says(&hub, &identity, hello, &bytes).await, expected, "{what}");
        assert_eq!(hub.events(BUILDING).len(), 0, "{what}");
    }
    assert!(hub.alarms().contains(&("malformed".to_owned(), Some(17))));
    // An unknown kind is skipped by its length, however long.
    let unknown = [head(200, 1_048_576), vec![0xa5; 1_048_576], head(201, 0), good].concat();
    let history = History::of(BUILDING, 7, 3);
    let (mut gateway, _) = Gateway::hello(&identity, hub.quic, &history, &[]).await;
    gateway.say(&unknown).await;
    assert_eq!(gateway.hear().await, Said::Acknowledged(7, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn hello_of_another_building_or_none_is_refused() {
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let mut gateway = Gateway::connect(&identity, hub.quic).await;
    gateway.say_hello(&History::of(18, 7, 3), &[]).await;
    assert_eq!(code(&gateway.hear().await), close::BUILDING);
    assert_eq!(hub.alarms(), [("building".to_owned(), Some(17))]);
    // Whoever says nothing does not stay.
    let gateway = Gateway::connect(&identity, hub.quic).await;
    assert_eq!(code(&gateway.closed().await), close::MALFORMED);
}

#[tokio::test(flavor = "multi_thread")]
async fn batch_that_is_not_sound_is_not_kept() {
    let site = Site::new();
    let (identity, other) = (Identity::signed(&site, BUILDING), Identity::signed(&site, BUILDING));
    let hub = site.start();
    let (signer, stranger) = (identity.signer(), other.signer());
    let history = History::of(BUILDING, 7, 10);
    let signed_for_18 = History::of(18, 7, 10);
    let cases: [(&str, Vec<u8>, u32); 7] = [
        ("unsigned", history.batch_with((1, 10), &signer, |batch| batch.signature = [0; 64]), close::HISTORY),
        ("signed by another key of the building", history.batch((1, 10), &stranger), close::HISTORY),
        (
            "signed for fewer",
            history.batch_with((1, 10), &signer, |batch| {
                let less = kalitka_protocol::upstream::batch_signed(BUILDING, history.epoch, 9, &history.hash(9));
                batch.signature = signer.sign(&less).as_ref().try_into().unwrap();
            }),
            close::HISTORY,
        ),
        (
            "another hash, rightly signed",
            history.batch_with((1, 10), &signer, |batch| {
                batch.hash = [7; 32];
                let signed = kalitka_protocol::upstream::batch_signed(BUILDING, history.epoch, 10, &[7; 32]);
                batch.signature = signer.sign(&signed).as_ref().try_into().unwrap();
            }),
            close::HISTORY,
        ),
        (
            "another hash before",
            history.batch_with((1, 10), &signer, |batch| batch.hash_before = [7; 32]),
            close::HISTORY,
        ),
        (
            "a changed byte of an event",
            {
                let mut bytes = history.batch((1, 10), &signer);
                bytes[8 + 56 + 60] ^= 1;
                bytes
            },
            close::HISTORY,
        ),
        ("of another building", signed_for_18.batch((1, 10), &signer), close::BUILDING),
    ];
    for (what, bytes, expected) in cases {
        assert_eq!(says(&hub, &identity, true, &bytes).await, expected, "{what}");
        assert_eq!(hub.events(BUILDING).len() + hub.events(18).len(), 0, "{what}");
    }
    let alarms = hub.alarms();
    assert!(alarms.contains(&("history".to_owned(), Some(17))) && alarms.contains(&("building".to_owned(), Some(17))));
    assert_eq!(hub.metric("kalitka_hub_events_kept_total"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_before_a_bad_batch_is_kept() {
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let history = History::of(BUILDING, 7, 10);
    let (mut gateway, _) = Gateway::hello(&identity, hub.quic, &history, &[]).await;
    let good = history.batch((1, 5), &gateway.signer);
    let bad = history.batch_with((6, 10), &gateway.signer, |batch| batch.signature = [0; 64]);
    gateway.say(&[good, bad].concat()).await;
    // The end may overtake the acknowledgement; then the next position says it.
    assert_eq!(code(&gateway.closed().await), close::HISTORY);
    assert_eq!(hub.events(BUILDING).len(), 5);
}
