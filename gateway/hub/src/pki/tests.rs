use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SanType};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, Error, RootCertStore};

use super::certificate::NotAGateway;
use super::*;
use crate::limits::{CA_LIFE, GATEWAY_CERTIFICATE_LIFE, HUB_CERTIFICATE_LIFE};

const NOW: i64 = 1_800_000_000;

fn made() -> (tempfile::TempDir, Pki) {
    let state = tempfile::tempdir().unwrap();
    init(state.path(), NOW).unwrap();
    let pki = Pki::open(state.path()).unwrap();
    (state, pki)
}

fn request(params: &CertificateParams, algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
    let key = KeyPair::generate_for(algorithm).unwrap();
    params.serialize_request(&key).unwrap().der().to_vec()
}

fn roots(pki: &Pki) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(pki.ca().clone()).unwrap();
    Arc::new(roots)
}

fn at(seconds: i64) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds.cast_unsigned()))
}

/// What TLS says of `certificate` as a gateway's.
fn as_gateway(pki: &Pki, certificate: &[u8], now: i64) -> Result<(), Error> {
    let provider = Arc::new(default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(pki), provider).build().unwrap();
    verifier.verify_client_cert(&CertificateDer::from(certificate), &[], at(now)).map(|_| ())
}

/// What a gateway's TLS says of `certificate` as the hub's.
fn as_hub(pki: &Pki, certificate: &[u8], now: i64) -> Result<(), Error> {
    let provider = Arc::new(default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(roots(pki), provider).build().unwrap();
    let name = ServerName::try_from("hub.kalitka").unwrap();
    verifier.verify_server_cert(&CertificateDer::from(certificate), &[], &name, &[], at(now)).map(|_| ())
}

fn gateway(pki: &Pki, building: u32) -> Issued {
    let csr = Csr::from_der(&request(&CertificateParams::default(), &PKCS_ED25519)).unwrap();
    pki.authority().issue_gateway(&csr, building, NOW).unwrap()
}

#[test]
fn keys_are_private_and_never_overwritten() {
    let (state, pki) = made();
    let folder = state.path().join("pki");
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.file_name());
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["ca.crt", "ca.key", "checkpoint.key", "hub.crt", "hub.key"]);
    assert!(matches!(init(state.path(), NOW), Err(Failure::Input(_))));
    assert_eq!(Pki::open(state.path()).unwrap().ca(), pki.ca());
    assert_eq!(fs::read_dir(state.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn what_others_may_read_or_was_changed_is_not_opened() {
    let (state, _) = made();
    let (other, _) = made();
    let file = |name: &str| state.path().join("pki").join(name);
    fs::set_permissions(file("ca.key"), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(Pki::open(state.path()), Err(Failure::Environment(text)) if text.contains("chmod 600")));
    fs::set_permissions(file("ca.key"), fs::Permissions::from_mode(0o600)).unwrap();
    for name in ["ca.key", "ca.crt", "hub.key", "hub.crt", "checkpoint.key"] {
        let right = fs::read(file(name)).unwrap();
        fs::write(file(name), "no PEM").unwrap();
        assert!(matches!(Pki::open(state.path()), Err(Failure::Input(_))), "{name}");
        if name != "checkpoint.key" {
            fs::copy(other.path().join("pki").join(name), file(name)).unwrap();
            assert!(matches!(Pki::open(state.path()), Err(Failure::Input(_))), "{name} of another hub");
        }
        fs::remove_file(file(name)).unwrap();
        assert!(Pki::open(state.path()).is_err(), "{name}");
        fs::write(file(name), right).unwrap();
        fs::set_permissions(file(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    Pki::open(state.path()).unwrap();
    let none = tempfile::tempdir().unwrap();
    assert!(matches!(Pki::open(none.path()), Err(Failure::Environment(text)) if text.contains("pki init")));
}

#[test]
fn keys_are_made_whole_or_not_at_all() {
    let parent = tempfile::tempdir().unwrap();
    let state = parent.path().join("file");
    fs::write(&state, "").unwrap();
    assert!(matches!(init(&state, NOW), Err(Failure::Environment(_))));
    let state = parent.path().join("state");
    for wrong in [-1, i64::MAX] {
        assert!(matches!(init(&state, wrong), Err(Failure::Environment(_))), "a clock that says {wrong}");
        assert!(!state.join("pki").exists());
    }
}

/// SPEC 15.1.
#[test]
fn gateways_certificate_names_one_building_and_is_good_for_a_client_for_a_year() {
    let (_state, pki) = made();
    let csr = request(&CertificateParams::default(), &PKCS_ED25519);
    let issued = pki.authority().issue_gateway(&Csr::from_der(&csr).unwrap(), 77, NOW).unwrap();
    let read = GatewayCertificate::read(&issued.certificate).unwrap();
    assert_eq!((read.building, &read.serial), (77, &issued.serial));
    assert_eq!(hex::encode(read.public_key), issued.public_key);
    let life = GATEWAY_CERTIFICATE_LIFE.as_secs().cast_signed();
    assert_eq!((issued.not_before, issued.not_after), (NOW, NOW + life));
    assert_eq!(as_gateway(&pki, &issued.certificate, NOW), Ok(()));
    assert_eq!(as_gateway(&pki, &issued.certificate, NOW + life), Ok(()));
    let expired = as_gateway(&pki, &issued.certificate, NOW + life + 1);
    assert!(matches!(expired, Err(Error::InvalidCertificate(CertificateError::ExpiredContext { .. }))), "{expired:?}");
    let early = as_gateway(&pki, &issued.certificate, NOW - 1);
    assert!(matches!(early, Err(Error::InvalidCertificate(CertificateError::NotValidYetContext { .. }))), "{early:?}");
    assert!(as_hub(&pki, &issued.certificate, NOW).is_err(), "a gateway is no hub");
}

/// SPEC 15.1.
#[test]
fn hubs_certificate_has_the_hubs_name_and_is_no_gateways() {
    let (_state, pki) = made();
    let [hub, ca] = &pki.chain()[..] else { panic!("the hub shows its certificate and the CA's") };
    assert_eq!(ca, pki.ca());
    let life = HUB_CERTIFICATE_LIFE.as_secs().cast_signed();
    assert_eq!(as_hub(&pki, hub, NOW + life), Ok(()));
    assert!(as_hub(&pki, hub, NOW + life + 1).is_err());
    assert!(as_gateway(&pki, hub, NOW).is_err());
    assert_eq!(GatewayCertificate::read(hub), Err(NotAGateway::NoBuilding));
    assert_eq!(GatewayCertificate::read(ca), Err(NotAGateway::NoBuilding));
    assert!(CA_LIFE > HUB_CERTIFICATE_LIFE);
}

#[test]
fn certificate_of_another_ca_is_not_taken() {
    let (_state, pki) = made();
    let (_other_state, other) = made();
    let issued = gateway(&other, 77);
    assert!(as_gateway(&pki, &issued.certificate, NOW).is_err());
    assert!(as_hub(&pki, &other.chain()[0], NOW).is_err());
}

#[test]
fn serial_numbers_are_random_and_of_one_form() {
    let (_state, pki) = made();
    let (one, other) = (gateway(&pki, 1), gateway(&pki, 1));
    assert_ne!(one.serial, other.serial);
    for issued in [one, other] {
        assert_eq!(GatewayCertificate::read(&issued.certificate).unwrap().serial, issued.serial);
        assert_eq!(issued.serial.len(), 16);
    }
}

#[test]
fn nobody_asks_for_a_name() {
    let (_state, pki) = made();
    let mut greedy = CertificateParams::default();
    greedy.distinguished_name.push(DnType::CommonName, "hub.kalitka");
    greedy.subject_alt_names = vec![
        SanType::DnsName("hub.kalitka".try_into().unwrap()),
        SanType::URI("urn:kalitka:building:1".try_into().unwrap()),
    ];
    greedy.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    greedy.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let csr = Csr::from_der(&request(&greedy, &PKCS_ED25519)).unwrap();
    let issued = pki.authority().issue_gateway(&csr, 77, NOW).unwrap();
    assert_eq!(GatewayCertificate::read(&issued.certificate).unwrap().building, 77);
    assert!(as_hub(&pki, &issued.certificate, NOW).is_err());
    let (_, parsed) = x509_parser::parse_x509_certificate(&issued.certificate).unwrap();
    assert!(!parsed.is_ca());
}

#[test]
fn request_is_whole_and_signed_by_its_own_key() {
    let right = request(&CertificateParams::default(), &PKCS_ED25519);
    let csr = Csr::from_der(&right).unwrap();
    assert_eq!(csr.hash(), Csr::from_der(&right).unwrap().hash());
    for end in 0..right.len() {
        assert!(Csr::from_der(&right[..end]).is_err(), "the first {end} bytes");
    }
    for at in 0..right.len() {
        for bit in 0..8 {
            let mut other = right.clone();
            other[at] ^= 1 << bit;
            // Some readers of DER are not strict about a tag's class; the key is never another one.
            let same_key = Csr::from_der(&other).is_ok_and(|other| other.key() == csr.key());
            assert!(same_key || Csr::from_der(&other).is_err(), "bit {bit} of byte {at}");
        }
    }
    let mut longer = right;
    longer.push(0);
    assert_eq!(Csr::from_der(&longer).unwrap_err(), csr::CsrFault::Layout);
    let other_key = request(&CertificateParams::default(), &PKCS_ECDSA_P256_SHA256);
    assert_eq!(Csr::from_der(&other_key).unwrap_err(), csr::CsrFault::Key);
    let mut random = fastrand::Rng::with_seed(15);
    for _ in 0..2_000 {
        let bytes: Vec<u8> = (0..random.usize(..600)).map(|_| random.u8(..)).collect();
        assert!(Csr::from_file(&bytes).is_err());
        let _ = GatewayCertificate::read(&bytes);
    }
}

#[test]
fn request_may_be_der_or_pem() {
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let request = CertificateParams::default().serialize_request(&key).unwrap();
    let (der, pem) =
        (Csr::from_file(request.der()).unwrap(), Csr::from_file(request.pem().unwrap().as_bytes()).unwrap());
    assert_eq!(der.hash(), pem.hash());
}

/// SPEC 15.14: `kalitka1-` ‖ hex(secret ‖ SHA-256 of the CA's certificate).
#[test]
fn token_names_the_ca_and_is_kept_as_a_hash() {
    let (_state, pki) = made();
    let drawn = token::draw(pki.ca()).unwrap();
    let text = token::text(&drawn);
    assert!(text.starts_with("kalitka1-"));
    let parsed = kalitka_protocol::upstream::Token::parse(&text).unwrap();
    assert!(parsed.is_of(pki.ca()));
    assert_eq!(token::hash(&parsed.secret), token::hash(&drawn.secret));
    assert_ne!(token::hash(&drawn.secret), token::hash(&token::draw(pki.ca()).unwrap().secret));
}
