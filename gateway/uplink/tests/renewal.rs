//! How a gateway gets its next certificate by the one that it has (SPEC 15.15), against a hub that answers as a test says.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use kalitka_protocol::upstream::{
    ALPN, ALPN_RENEW, Batch, Renew, RenewRefused, Renewed, batch_signed, close, kind, renewal,
};
use kalitka_uplink::Identity;
use quinn::crypto::rustls::HandshakeData;
use quinn::{Connection, SendStream};
use rcgen::{CertificateSigningRequestParams, PublicKeyData};
use ring::signature::{ED25519, UnparsedPublicKey};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use support::hub::{Hub, Link, read, send};
use support::pki::Pki;
use support::rig::{EPOCH, Rig};
use support::within_a_minute;

const SEVEN: &str = "urn:kalitka:building:7";

/// The year 2080: of a certificate from 1975 to 2100, more than two thirds and a twelfth are over.
fn late() -> Duration {
    Duration::from_secs(110 * 365 * 86_400)
}

/// A gateway whose certificate is to be renewed.
fn due() -> Rig {
    let pki = Pki::new();
    let issued = pki.gateway(&[SEVEN]);
    Rig::with(pki, &issued, |options, _| options.wall = late)
}

/// The next renewal on `connection`: its request, and where it is answered.
async fn asked(connection: &Connection) -> (Vec<u8>, SendStream) {
    let (send, mut receive) = connection.accept_bi().await.unwrap();
    let message = read(&mut receive).await.unwrap();
    assert_eq!(message.kind, kind::RENEW);
    let request = Renew::parse(&message.body).unwrap();
    assert_eq!(request.building, 7);
    assert!(read(&mut receive).await.is_none(), "the gateway ends its side");
    (request.csr.to_vec(), send)
}

/// The key that `csr` is for.
fn key_of(csr: &[u8]) -> rcgen::PublicKey {
    CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(csr)).unwrap().public_key
}

async fn answer(stream: &mut SendStream, certificate: &[u8]) {
    send(stream, kind::RENEWED, |out| Renewed { certificate }.emit(out)).await;
    stream.finish().unwrap();
}

fn shown(connection: &Connection) -> Vec<u8> {
    let chain = connection.peer_identity().unwrap().downcast::<Vec<CertificateDer<'static>>>().unwrap();
    chain[0].to_vec()
}

/// Takes a batch, acknowledges it, and says whether `key` has signed it.
async fn is_signed_by(link: &mut Link, key: &[u8]) -> bool {
    let body = link.batch().await;
    let batch = Batch::parse(&body).unwrap();
    link.acknowledge(batch.epoch, batch.last()).await;
    let signed = batch_signed(7, EPOCH, batch.last(), &batch.hash);
    UnparsedPublicKey::new(&ED25519, key).verify(&signed, &batch.signature).is_ok()
}

#[test]
fn certificate_is_renewed_on_the_living_connection_and_used_by_the_next() {
    within_a_minute(async {
        let rig = due();
        let before = Identity::read(&rig.options.identity).unwrap().unwrap();
        let pins = std::fs::read(rig.options.identity.join("pins.toml")).unwrap();
        let mut link = rig.hub.fresh().await;
        let (csr, mut stream) = asked(&link.connection).await;
        let key = key_of(&csr);
        // No event waits for the answer.
        rig.journal.commit_many(3);
        assert!(!is_signed_by(&mut link, key.der_bytes()).await, "the old key signs as long as its connection lives");
        let certificate = rig.pki.certify(&key, &[SEVEN], false).der().to_vec();
        answer(&mut stream, &certificate).await;
        while rig.tally.renewals[0].load(Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        let after = Identity::read(&rig.options.identity).unwrap().unwrap();
        assert_eq!((after.certificate(), after.building(), after.hub()), (&certificate[..], 7, before.hub()));
        assert_ne!(after.certificate(), before.certificate());
        assert_eq!(std::fs::read(rig.options.identity.join("pins.toml")).unwrap(), pins, "who is trusted stays");
        for entry in std::fs::read_dir(&rig.options.identity).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.file_name());
            assert_ne!(entry.file_name(), "request.key");
        }
        let left = std::fs::read_dir(rig.folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let hidden: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with('.')).collect();
        assert!(hidden.is_empty(), "nothing of the old identity is left: {hidden:?}");

        rig.journal.commit_many(3);
        assert!(!is_signed_by(&mut link, key.der_bytes()).await);
        assert!(link.connection.close_reason().is_none(), "the connection goes on");
        link.close(0, "");
        let mut link = rig.hub.fresh().await;
        assert_eq!(shown(&link.connection), certificate);
        assert!(is_signed_by(&mut link, key.der_bytes()).await);
    });
}

#[test]
fn wrong_answer_or_refusal_leaves_the_identity_and_the_connection_as_they_are() {
    within_a_minute(async {
        let other = Pki::new();
        let cases: [(&str, usize); 7] = [
            ("foreign ca", 5),
            ("other key", 5),
            ("other building", 5),
            ("expired", 5),
            ("garbage", 5),
            ("refused", 4),
            ("kind", 5),
        ];
        for (case, place) in cases {
            let rig = due();
            let before = Identity::read(&rig.options.identity).unwrap().unwrap();
            let mut link = rig.hub.fresh().await;
            let (csr, mut stream) = asked(&link.connection).await;
            let key = key_of(&csr);
            let pki = &rig.pki;
            match case {
                "foreign ca" => answer(&mut stream, other.certify(&key, &[SEVEN], false).der()).await,
                "other key" => answer(&mut stream, pki.gateway(&[SEVEN]).certificate.der()).await,
                "other building" => {
                    answer(&mut stream, pki.certify(&key, &["urn:kalitka:building:8"], false).der()).await;
                }
                "expired" => answer(&mut stream, pki.certify(&key, &[SEVEN], true).der()).await,
                "garbage" => answer(&mut stream, &[7; 100]).await,
                "refused" => {
                    let refused = RenewRefused { code: renewal::NOT_NOW };
                    send(&mut stream, kind::RENEW_REFUSED, |out| refused.emit(out)).await;
                }
                _ => send(&mut stream, kind::ACKNOWLEDGEMENT, |out| out.put(&[1; 16])).await,
            }
            while rig.tally.renewals[place].load(Relaxed) == 0 {
                tokio::task::yield_now().await;
            }
            let after = Identity::read(&rig.options.identity).unwrap().unwrap();
            assert_eq!(after.certificate(), before.certificate(), "{case}");
            rig.journal.commit_many(3);
            link.keep_batch().await;
            assert!(link.connection.close_reason().is_none(), "{case}");
        }
    });
}

#[test]
fn lost_answer_is_asked_for_again_with_the_same_request_and_not_at_once() {
    within_a_minute(async {
        let rig = due();
        let link = rig.hub.fresh().await;
        let (first, _) = asked(&link.connection).await;
        link.close(0, "");
        // The next connection does not ask: hours have to pass first.
        let link = rig.hub.fresh().await;
        rig.journal.commit_many(1);
        let quiet = tokio::time::timeout(Duration::from_millis(300), link.connection.accept_bi()).await;
        assert!(quiet.is_err(), "it asks again at once");
        rig.ahead.store(3 * 3600, Relaxed);
        link.close(0, "");
        let link = rig.hub.fresh().await;
        let (again, _) = asked(&link.connection).await;
        assert_eq!(again, first);
    });
}

#[test]
fn expired_certificate_is_renewed_by_itself_and_then_used() {
    within_a_minute(async {
        let pki = Pki::new();
        let issued = pki.gateway(&[SEVEN]);
        let hub = Hub::start(pki.server_of(&[ALPN, ALPN_RENEW], true));
        let rig = Rig::at(pki, hub, &issued, |_, _| {});
        let link = rig.hub.greeted().await;
        link.close(close::EXPIRED, "expired");
        let connection = rig.hub.connection().await;
        let protocol = connection.handshake_data().unwrap().downcast::<HandshakeData>().unwrap().protocol;
        assert_eq!(protocol.as_deref(), Some(ALPN_RENEW));
        let (csr, mut stream) = asked(&connection).await;
        let certificate = rig.pki.certify(&key_of(&csr), &[SEVEN], false).der().to_vec();
        answer(&mut stream, &certificate).await;
        let mut link = rig.hub.fresh().await;
        assert_eq!(shown(&link.connection), certificate);
        assert_eq!(rig.tally.closed[9].load(Relaxed), 1);
        rig.journal.commit_many(3);
        link.keep_batch().await;
    });
}

#[test]
fn revoked_certificate_that_has_expired_waits_for_a_person() {
    within_a_minute(async {
        let pki = Pki::new();
        let issued = pki.gateway(&[SEVEN]);
        let hub = Hub::start(pki.server_of(&[ALPN, ALPN_RENEW], true));
        let mut rig = Rig::at(pki, hub, &issued, |_, _| {});
        rig.hub.greeted().await.close(close::EXPIRED, "expired");
        rig.hub.connection().await.close(close::REVOKED.into(), b"revoked");
        let (code, text) = rig.down().await;
        assert_eq!(code, Some(u64::from(close::REVOKED)), "{text}");
    });
}
