//! Whom the uplink connects to, and as whom (SPEC 15.1).
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use kalitka_protocol::upstream::ALPN;
use kalitka_uplink::{Broken, Identity};
use support::hub::Hub;
use support::pki::Pki;
use support::rig::Rig;
use support::within_a_minute;

const SEVEN: &str = "urn:kalitka:building:7";

/// What the uplink shows when it cannot connect; the journal must have been asked nothing beyond its standing.
async fn refusal(mut rig: Rig) -> String {
    let endpoint = rig.hub.endpoint.clone();
    let accepting = tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            // A handshake that fails is what is looked for.
            let _ = incoming.await;
        }
    });
    let (code, text) = rig.down().await;
    assert_eq!(code, None);
    assert!(rig.journal.book().positions.is_empty());
    accepting.abort();
    text
}

#[test]
fn hub_refuses_a_foreign_and_an_expired_certificate_and_the_gateway_says_what_to_look_at() {
    within_a_minute(async {
        let (ours, other) = (Pki::new(), Pki::new());
        let foreign = other.gateway(&[SEVEN]);
        let expired = ours.expired_gateway(&[SEVEN]);
        for issued in [foreign, expired] {
            let hub = Hub::start(ours.server(ALPN, true));
            // The box trusts the hub; the hub does not know the box.
            let folder = tempfile::tempdir().unwrap();
            ours.write_identity(&folder.path().join("uplink"), &issued, 7, "h:1");
            let address = hub.address().to_string();
            let rig = Rig::at(Pki::new(), hub, &issued, |options, _| {
                options.identity = folder.path().join("uplink");
                options.hub = Some(address);
            });
            let text = refusal(rig).await;
            assert!(text.contains("certificate") && text.contains("clock"), "{text}");
        }
    });
}

#[test]
fn gateway_refuses_a_hub_of_another_ca_or_name() {
    within_a_minute(async {
        let ours = Pki::new();
        let issued = ours.gateway(&[SEVEN]);
        let foreign = Hub::start(Pki::new().server(ALPN, false));
        let text = refusal(Rig::at(ours, foreign, &issued, |_, _| {})).await;
        assert!(text.contains("the hub which enrolled the gateway"), "{text}");

        let mut ours = Pki::new();
        ours.rename_hub("other.kalitka");
        let issued = ours.gateway(&[SEVEN]);
        let text = refusal(Rig::with(ours, &issued, |_, _| {})).await;
        assert!(text.contains("certificate"), "{text}");
    });
}

#[test]
fn hub_that_speaks_another_protocol_is_refused() {
    within_a_minute(async {
        let ours = Pki::new();
        let issued = ours.gateway(&[SEVEN]);
        let hub = Hub::start(ours.server(b"other/1", true));
        refusal(Rig::at(ours, hub, &issued, |_, _| {})).await;
    });
}

#[test]
fn address_that_is_none_is_said_and_tried_again() {
    within_a_minute(async {
        let ours = Pki::new();
        let issued = ours.gateway(&[SEVEN]);
        let mut rig = Rig::with(ours, &issued, |options, _| options.hub = Some("hub.invalid:4710".into()));
        let (_, text) = rig.down().await;
        assert!(text.contains("hub.invalid:4710"), "{text}");
    });
}

#[test]
fn there_is_no_uplink_without_an_identity_or_for_another_building() {
    within_a_minute(async {
        let (ours, issued) = (Pki::new(), Pki::new().gateway(&[SEVEN]));
        let rig = Rig::with(ours, &issued, |options, _| options.identity.push("nowhere"));
        let broken = rig.uplink.await.unwrap().unwrap_err();
        assert!(matches!(broken, Broken::NotEnrolled(_)) && broken.to_string().contains("kalitka-gateway enrol"));

        let rig = Rig::with(Pki::new(), &issued, |options, _| options.building = 8);
        let broken = rig.uplink.await.unwrap().unwrap_err();
        assert!(matches!(broken, Broken::OtherBuilding { enrolled: 7, configured: 8 }), "{broken}");
    });
}

#[test]
fn damaged_identity_is_named_by_its_file() {
    let pki = Pki::new();
    let issued = pki.gateway(&[SEVEN]);
    let other = pki.gateway(&[SEVEN]);
    let no_building = pki.certify(&issued.key, &[], false).pem();
    let two_buildings = pki.certify(&issued.key, &[SEVEN, "urn:kalitka:building:8"], false).pem();
    let eight = pki.certify(&issued.key, &["urn:kalitka:building:8"], false).pem();
    let padded = pki.certify(&issued.key, &["urn:kalitka:building:07"], false).pem();
    let cases: [(&str, Option<&str>); 12] = [
        ("gateway.key", None),
        ("gateway.crt", None),
        ("ca.crt", None),
        ("pins.toml", None),
        ("gateway.key", Some("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")),
        ("gateway.key", Some(&other.key.serialize_pem())),
        ("gateway.crt", Some(&no_building)),
        ("gateway.crt", Some(&two_buildings)),
        ("gateway.crt", Some(&eight)),
        ("gateway.crt", Some(&padded)),
        ("pins.toml", Some("building = 7\n")),
        ("pins.toml", Some("building = 7\nhub = \"h:1\"\nhub_key = \"12\"\npublishers = []\noperators = []\n")),
    ];
    for (file, text) in cases {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("uplink");
        pki.write_identity(&folder, &issued, 7, "h:1");
        let identity = Identity::read(&folder).unwrap().unwrap();
        assert_eq!((identity.building(), identity.hub(), identity.publishers().len()), (7, "h:1", 1));
        match text {
            Some(text) => std::fs::write(folder.join(file), text).unwrap(),
            None => std::fs::remove_file(folder.join(file)).unwrap(),
        }
        let error = Identity::read(&folder).unwrap_err().to_string();
        // A key that does not fit shows at the certificate.
        let named = if text == Some(&other.key.serialize_pem()) { "gateway.crt" } else { file };
        assert!(error.contains(named) && error.contains("enrol --again"), "{file}: {error}");
        assert!(!error.contains("PRIVATE KEY-----"), "{error}");
    }
    assert!(Identity::read(std::path::Path::new("/nonexistent/uplink")).unwrap().is_none());
}
