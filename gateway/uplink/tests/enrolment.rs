//! How a box gets its identity (SPEC 15.14), against a hub that answers as a test tells it to.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::cell::Cell;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kalitka_protocol::upstream::{ALPN_ENROL, EnrolRefused, EnrolRequest, Enrolled, Token, kind, refusal};
use kalitka_uplink::{EnrolError, Enrolling, Identity, enrol};
use rcgen::{CertificateSigningRequestParams, PublicKeyData};
use ring::signature::KeyPair;
use rustls::pki_types::CertificateSigningRequestDer;
use support::hub::{Hub, read, send};
use support::pki::Pki;
use support::within_a_minute;
use tempfile::TempDir;

const SECRET: [u8; 16] = [9; 16];
const NAMES: [&str; 1] = ["urn:kalitka:building:7"];

/// How the hub answers.
enum Answer<'a> {
    Certify {
        names: &'a [&'a str],
        by: &'a Pki,
        is_expired: bool,
    },
    /// A certificate for another key.
    Foreign,
    Refuse(u8),
    /// The connection goes instead.
    Hang,
    Say(u8, Vec<u8>),
}

struct Bench {
    pki: Pki,
    hub: Hub,
    state: TempDir,
}

impl Bench {
    fn new() -> Self {
        let pki = Pki::new();
        let hub = Hub::start(pki.server(ALPN_ENROL, false));
        Self { pki, hub, state: tempfile::tempdir().unwrap() }
    }

    fn folder(&self) -> PathBuf {
        self.state.path().join("uplink")
    }

    fn token(&self) -> String {
        String::from_utf8(Token::new(SECRET, &self.pki.ca).to_text().to_vec()).unwrap()
    }

    /// Enrols against the hub, which answers so; gives the request that it got too.
    async fn enrol(&self, answer: Answer<'_>, again: bool) -> (Result<Identity, EnrolError>, Option<Vec<u8>>) {
        let (token, hub, folder) = (self.token(), self.hub.address().to_string(), self.folder());
        LOOKS.set(0);
        let told = Enrolling { building: 7, hub: &hub, token: &token, folder: &folder, again, now: wall };
        let mut enrolling = std::pin::pin!(enrol(told));
        tokio::select! {
            done = &mut enrolling => (done, None),
            csr = self.answer(answer) => (enrolling.await, Some(csr)),
        }
    }

    /// Answers one request; gives its CSR.
    async fn answer(&self, answer: Answer<'_>) -> Vec<u8> {
        let connection = self.hub.connection().await;
        let (mut stream, mut receive) = connection.accept_bi().await.unwrap();
        let message = read(&mut receive).await.unwrap();
        assert_eq!(message.kind, kind::ENROL);
        let request = EnrolRequest::parse(&message.body).unwrap();
        assert_eq!((request.secret, request.building), (SECRET, 7));
        let csr = request.csr.to_vec();
        let der = CertificateSigningRequestDer::from(csr.clone());
        let key = CertificateSigningRequestParams::from_der(&der).unwrap().public_key;
        assert!(read(&mut receive).await.is_none(), "the box ends its side");
        match answer {
            Answer::Certify { names, by, is_expired } => {
                self.enrolled(&mut stream, &by.certify(&key, names, is_expired), by).await;
            }
            Answer::Foreign => self.enrolled(&mut stream, &self.pki.gateway(&NAMES).certificate, &self.pki).await,
            Answer::Refuse(code) => send(&mut stream, kind::ENROL_REFUSED, |out| EnrolRefused { code }.emit(out)).await,
            Answer::Say(code, body) => send(&mut stream, code, |out| out.put(&body)).await,
            Answer::Hang => {
                connection.close(0_u32.into(), b"");
                return csr;
            }
        }
        stream.finish().unwrap();
        let _ = stream.stopped().await;
        assert!(!key.der_bytes().is_empty());
        csr
    }

    async fn enrolled(&self, stream: &mut quinn::SendStream, certificate: &rcgen::Certificate, by: &Pki) {
        let checkpoint_key = self.pki.checkpoint.public_key().as_ref().try_into().unwrap();
        let enrolled = Enrolled {
            certificate: certificate.der(),
            ca: &by.ca,
            checkpoint_key,
            publishers: &[[1; 32], [2; 32]],
            operators: &[[3; 32]],
        };
        // A certificate may be of the very second in which it comes, and so be younger than an earlier look.
        assert_eq!(LOOKS.get(), 0, "the clock is read before the certificate is there");
        send(stream, kind::ENROLLED, |out| enrolled.emit(out)).await;
    }

    fn certify(&self) -> Answer<'_> {
        Answer::Certify { names: &NAMES, by: &self.pki, is_expired: false }
    }
}

thread_local! {
    /// How often the box has looked at the clock. It and the hub take turns on one thread.
    static LOOKS: Cell<u32> = const { Cell::new(0) };
}

fn wall() -> Duration {
    LOOKS.set(LOOKS.get() + 1);
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn box_is_enrolled_with_a_key_of_its_own_and_pins_whom_to_trust() {
    within_a_minute(async {
        let bench = Bench::new();
        let (done, csr) = bench.enrol(bench.certify(), false).await;
        let identity = done.unwrap();
        assert_eq!((identity.building(), identity.hub()), (7, bench.hub.address().to_string().as_str()));
        assert_eq!(identity.hub_key(), bench.pki.checkpoint.public_key().as_ref());
        assert_eq!((identity.publishers(), identity.operators()), (&[[1; 32], [2; 32]][..], &[[3; 32]][..]));
        let folder = bench.folder();
        let mut names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["ca.crt", "gateway.crt", "gateway.key", "pins.toml"]);
        assert_eq!((mode(&folder), mode(&folder.join("gateway.key"))), (0o700, 0o600));
        assert_eq!(std::fs::read_dir(bench.state.path()).unwrap().count(), 1, "nothing beside it");
        // Whoever reads the request learns no key.
        let kept = std::fs::read_to_string(folder.join("gateway.key")).unwrap();
        assert!(kept.contains("PRIVATE KEY") && csr.is_some());
    });
}

#[test]
fn clock_is_read_when_the_certificate_is_there() {
    within_a_minute(async {
        let bench = Bench::new();
        bench.enrol(bench.certify(), false).await.0.unwrap();
        assert_eq!(LOOKS.get(), 1);
    });
}

#[test]
fn enrolled_box_is_left_alone_unless_told_so_and_then_gets_a_new_key() {
    within_a_minute(async {
        let bench = Bench::new();
        bench.enrol(bench.certify(), false).await.0.unwrap();
        let key = std::fs::read(bench.folder().join("gateway.key")).unwrap();
        let (refused, asked) = bench.enrol(bench.certify(), false).await;
        assert!(matches!(refused, Err(EnrolError::Input(text)) if text.contains("--again")));
        assert!(asked.is_none());
        bench.enrol(bench.certify(), true).await.0.unwrap();
        assert_ne!(std::fs::read(bench.folder().join("gateway.key")).unwrap(), key);
        assert_eq!(std::fs::read_dir(bench.state.path()).unwrap().count(), 1, "nothing beside it");
    });
}

#[test]
fn same_request_goes_again_when_the_answer_was_lost() {
    within_a_minute(async {
        let bench = Bench::new();
        let (lost, first) = bench.enrol(Answer::Hang, false).await;
        assert!(matches!(lost, Err(EnrolError::Environment(text)) if text.contains("same command again")));
        assert!(!bench.folder().exists());
        let (done, second) = bench.enrol(bench.certify(), false).await;
        done.unwrap();
        assert_eq!(first, second);
    });
}

#[test]
fn refusal_says_what_to_do_and_leaves_nothing() {
    let cases = [
        (refusal::TOKEN_UNKNOWN, "does not know this token", true),
        (refusal::TOKEN_USED, "has been used", true),
        (refusal::TOKEN_EXPIRED, "make a new one", true),
        (refusal::OTHER_BUILDING, "another building", true),
        (refusal::MALFORMED, "malformed", true),
        (refusal::NOT_NOW, "look after its disk", false),
        (77, "newer version", true),
    ];
    within_a_minute(async move {
        for (code, text, is_input) in cases {
            let bench = Bench::new();
            let error = bench.enrol(Answer::Refuse(code), false).await.0.unwrap_err();
            assert_eq!(matches!(error, EnrolError::Input(_)), is_input, "{code}");
            assert!(error.to_string().contains(text), "{error}");
            assert!(!bench.folder().exists());
            // Only when the same request may still be certified is its key kept.
            assert_eq!(std::fs::read_dir(bench.state.path()).unwrap().count(), usize::from(!is_input), "{code}");
        }
    });
}

#[test]
fn answer_that_does_not_fit_is_not_taken() {
    within_a_minute(async {
        let other = Pki::new();
        let bench = Bench::new();
        let answers = [
            ("the token's", Answer::Certify { names: &NAMES, by: &other, is_expired: false }),
            ("building 8", Answer::Certify { names: &["urn:kalitka:building:8"], by: &bench.pki, is_expired: false }),
            ("does not name one building", Answer::Certify { names: &[], by: &bench.pki, is_expired: false }),
            ("another key", Answer::Foreign),
            ("expired", Answer::Certify { names: &NAMES, by: &bench.pki, is_expired: true }),
            ("bytes end inside", Answer::Say(kind::ENROLLED, vec![1; 30])),
            ("kind 2", Answer::Say(kind::POSITION, vec![0; 30])),
            ("malformed", Answer::Say(kind::ENROL_REFUSED, vec![1, 2, 3, 4])),
        ];
        for (text, answer) in answers {
            let error = bench.enrol(answer, false).await.0.unwrap_err();
            assert!(matches!(error, EnrolError::Environment(_)), "{error}");
            assert!(error.to_string().to_lowercase().contains(text), "{text}: {error}");
            assert!(!bench.folder().exists(), "{text}");
        }
    });
}

#[test]
fn hub_without_the_tokens_ca_hears_no_secret() {
    within_a_minute(async {
        let bench = Bench::new();
        let mut renamed = Pki::new();
        renamed.rename_hub("other.kalitka");
        let own = renamed.ca.clone();
        for (what, pki, named) in [("a foreign CA", Pki::new(), bench.pki.ca.clone()), ("a wrong name", renamed, own)] {
            let hub = Hub::start(pki.server(ALPN_ENROL, false));
            let token = String::from_utf8(Token::new(SECRET, &named).to_text().to_vec()).unwrap();
            let address = hub.address().to_string();
            let folder = bench.folder();
            let now = || Duration::from_secs(1_800_000_000);
            let told = Enrolling { building: 7, hub: &address, token: &token, folder: &folder, again: false, now };
            let listening = async {
                let incoming = hub.endpoint.accept().await.unwrap();
                assert!(incoming.await.is_err(), "{what}: the handshake must fail");
            };
            let (enrolled, ()) = tokio::join!(enrol(told), listening);
            let error = enrolled.unwrap_err().to_string();
            assert!(error.contains("certificate"), "{what}: {error}");
        }
    });
}

#[test]
fn token_and_hub_that_are_none_are_said_to_be() {
    within_a_minute(async {
        let bench = Bench::new();
        let folder = bench.folder();
        let good = bench.token();
        let short = &good[..good.len() - 1];
        let cases = [
            (short, "127.0.0.1:1", "token"),
            ("", "127.0.0.1:1", "token"),
            (good.as_str(), "nowhere", "HOST:PORT"),
            (good.as_str(), "hub.invalid:4710", "HOST:PORT"),
        ];
        for (token, hub, text) in cases {
            let now = || Duration::from_secs(1_800_000_000);
            let told = Enrolling { building: 7, hub, token, folder: &folder, again: false, now };
            let error = enrol(told).await.unwrap_err();
            assert!(matches!(&error, EnrolError::Input(said) if said.contains(text)), "{error}");
            assert!(!error.to_string().contains(&"09".repeat(16)), "the secret is not repeated");
            assert_eq!(std::fs::read_dir(bench.state.path()).unwrap().count(), 0);
        }
    });
}
