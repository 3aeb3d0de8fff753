//! The control socket and the command line that speaks over it.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use kalitka_protocol::reason::{Grant, Verdict};
use rustix::process::Signal;
use serde_json::Value;
use support::reader::TestReader;
use support::{CARD, READER, Site, gateway, snapshot, status_and_error};

#[test]
fn readers_are_added_rekeyed_revoked_and_listed() {
    let site = Site::new();
    let running = site.start();
    let config = site.config();
    let reader = |words: &[&str]| gateway(&[&["reader"], words, &["--config", &config, "--json"]].concat());
    let said = |words: &[&str]| -> Value {
        let output = reader(words);
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let first = said(&["add", "101"]);
    assert_eq!((first["reader"].as_u64(), first["psk"].as_str().unwrap().len()), (Some(101), 64));
    let second = said(&["rekey", "101"]);
    assert_ne!(first["psk"], second["psk"]);
    said(&["add", "7"]);
    assert_eq!(said(&["list"])["readers"], serde_json::json!([7, 101]));
    assert_eq!(running.metric("kalitka_reader_keys"), 2.0);
    assert_eq!(said(&["revoke", "101"])["reader"], 101);
    assert_eq!(said(&["list"])["readers"], serde_json::json!([7]));
    for (words, named) in [(["add", "7"], "rekey"), (["rekey", "101"], "no key"), (["revoke", "101"], "no key")] {
        let (status, error) = status_and_error(&reader(&words));
        assert_eq!(status, 3, "{error}");
        assert!(error.contains(named), "{error}");
    }
    let kept = fs::read_to_string(site.path("state/readers.keys")).unwrap();
    assert!(kept.lines().count() == 2 && kept.contains("\n7 "), "keys of others than reader 7 are kept");
}

#[test]
fn added_key_is_shown_once_in_hex_and_as_a_code() {
    let site = Site::new();
    let running = site.start();
    let shown = gateway(&["reader", "add", "101", "--config", &site.config()]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    let kept = fs::read_to_string(site.path("state/readers.keys")).unwrap();
    let psk = kept.lines().nth(1).unwrap().strip_prefix("101 ").unwrap();
    assert!(shown.contains(psk) && shown.contains('█'), "{shown}");
    assert!(running.log_so_far().iter().all(|line| !line.contains(psk)), "a key is in the log");
}

#[test]
fn revoke_cuts_a_reader_off_and_rekey_asks_for_the_new_key() {
    let site = Site::with_snapshot(1);
    let running = site.start();
    let psk = running.add_reader(READER);
    let mut reader = TestReader::new(running.udp, READER, psk);
    reader.shake_hands(1);
    assert_eq!(reader.ask(&CARD), Verdict::Grant(Grant::AccessLevel));
    let psk = running.key(r#"{"verb":"reader_rekey","reader":101}"#);
    let quiet = Duration::from_millis(100);
    assert!(!reader.pong_within(1, quiet), "the session outlived its key");
    assert!(!reader.shake_hands_within(2, quiet), "the old key still opens a session");
    let mut reader = TestReader::new(running.udp, READER, psk);
    reader.shake_hands(1);
    assert_eq!(reader.ask(&CARD), Verdict::Grant(Grant::AccessLevel));
    running.ask(r#"{"verb":"reader_revoke","reader":101}"#);
    assert!(!reader.pong_within(2, quiet), "the session outlived the revocation");
    assert!(!reader.shake_hands_within(2, quiet));
    running.await_metric("kalitka_udp_dropped_total{reason=\"handshake_unknown_reader\"}", 1.0);
    running.await_metric("kalitka_udp_dropped_total{reason=\"unknown_session\"}", 2.0);
}

#[test]
fn snapshot_is_adopted_by_order_and_a_refusal_says_why() {
    let site = Site::new();
    let running = site.start();
    let config = site.config();
    fs::write(site.path("five"), snapshot(5)).unwrap();
    fs::write(site.path("four"), snapshot(4)).unwrap();
    let adopt = |name: &str| {
        let file = site.path(name).display().to_string();
        gateway(&["snapshot", "adopt", &file, "--config", &config, "--json"])
    };
    let adopted = adopt("five");
    let said: Value = serde_json::from_slice(&adopted.stdout).unwrap();
    assert_eq!((said["generation"].as_u64(), said["entries"].as_u64()), (Some(5), Some(1)));
    for (name, named) in
        [("four", "generation 4"), ("five", "already"), ("absent", "cannot be read"), ("inbox", "regular")]
    {
        let (status, error) = status_and_error(&adopt(name));
        assert_eq!(status, 3, "{error}");
        assert!(error.contains(named) && error.contains(name), "{error}");
    }
    let status = gateway(&["snapshot", "status", "--json", "--socket", &site.path("control").display().to_string()]);
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["udp"], running.udp.to_string());
    assert_eq!(status["http"], running.http.to_string());
    assert_eq!(status["snapshot"]["in_force"]["generation"], 5);
    assert_eq!(status["snapshot"]["floor"], 5);
    assert_eq!(status["snapshot"]["refused"]["reason"], "unreadable");
    let text = gateway(&["snapshot", "status", "--config", &config]);
    assert!(String::from_utf8(text.stdout).unwrap().contains("generation 5"));
}

#[test]
fn wrong_requests_are_refused_and_bounded() {
    let site = Site::new();
    let running = site.start();
    let control = site.path("control");
    let wrong = [&b"{}\n"[..], b"\n", b"\xff\n", b"[1]\n", b"{\"verb\":\"reader_add\",\"reader\":0}\n"];
    for line in wrong {
        assert_eq!(support::ask(&control, line)["reply"], "refused", "{line:?}");
    }
    let mut long = vec![b' '; 9000];
    long.push(b'\n');
    assert_eq!(support::ask(&control, &long)["reply"], "refused");
    assert_eq!(running.ask(r#"{"verb":"status"}"#)["reply"], "status");
    running.await_metric("kalitka_control_requests_total{verb=\"status\"}", 1.0);
    running.await_metric("kalitka_control_requests_total{verb=\"malformed\"}", 5.0);
}

#[test]
fn connections_that_hang_do_not_keep_others_from_asking() {
    let site = Site::new();
    let running = site.start();
    let mut hanging: Vec<_> = (0..20).map(|_| UnixStream::connect(site.path("control")).unwrap()).collect();
    hanging.iter_mut().step_by(2).for_each(|stream| stream.write_all(b"{\"verb\":").unwrap());
    assert_eq!(running.ask(r#"{"verb":"status"}"#)["reply"], "status");
    assert_eq!(running.get("/healthz").0, 200);
}

#[test]
fn nobody_behind_the_socket_is_the_environments_fault() {
    let site = Site::new();
    let (status, error) = status_and_error(&gateway(&["reader", "list", "--config", &site.config()]));
    assert_eq!(status, 4);
    assert!(error.contains("control") && error.contains("running"), "{error}");
}

#[test]
fn stale_socket_is_replaced_and_a_living_one_is_not() {
    let site = Site::new();
    let control = site.path("control");
    site.start().kill();
    assert!(fs::metadata(&control).unwrap().file_type().is_socket(), "a killed gateway leaves its socket");
    let mut running = site.start();
    assert_eq!(fs::metadata(&control).unwrap().permissions().mode() & 0o777, 0o660);
    running.signal(Signal::TERM);
    assert!(running.wait().success());
    let _living = UnixListener::bind(&control).unwrap();
    let (status, error) = status_and_error(&gateway(&["run", "--config", &site.config()]));
    assert!(status == 4 && error.contains("another gateway"), "{error}");
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let site = Site::new();
    fs::write(site.path("control"), "precious").unwrap();
    let (status, error) = status_and_error(&gateway(&["run", "--config", &site.config()]));
    assert!(status == 4 && error.contains("no socket"), "{error}");
    assert_eq!(fs::read(site.path("control")).unwrap(), b"precious");
}

#[test]
fn peer_and_verb_are_logged() {
    let site = Site::new();
    let running = site.start();
    running.add_reader(101);
    let line = running.await_log("control request done");
    assert_eq!(line["verb"], "reader_add");
    assert_eq!(line["peer_uid"], rustix::process::getuid().as_raw());
}
