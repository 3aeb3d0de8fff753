//! Whole runs against a gateway that answers as it is told to.
#![allow(clippy::unwrap_used, reason = "a test that unwraps what is not there fails as it should")]

mod fake;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fake::{Decide, FakeGateway};
use kalitka_loadgen::arrivals::Profile;
use kalitka_loadgen::fleet::wall_seconds;
use kalitka_loadgen::keys::{self, ReaderKey};
use kalitka_loadgen::oracle::Oracle;
use kalitka_loadgen::play::Plan;
use kalitka_loadgen::roster;
use kalitka_loadgen::run::{Files, run};
use kalitka_loadgen::stages::{Mishap, Mishaps};
use kalitka_loadgen::summary::Summary;
use kalitka_loadgen::tally::{Judges, Tally};
use kalitka_protocol::reason::{Denial, Verdict};

const PSK: [u8; 32] = [7; 32];
const GENERATION: u32 = 3;

fn oracle(dir: &Path) -> Oracle {
    Oracle::read(dir).unwrap()
}

fn reader_keys() -> Vec<ReaderKey> {
    let key = |number| format!(r#"{{"reader":{number},"psk":"{}"}}"#, hex::encode(PSK));
    let list: Vec<String> = (101..=108).map(key).collect();
    serde_json::from_str(&format!("[{}]", list.join(","))).unwrap()
}

fn plan(profile: Profile) -> Plan {
    Plan { profile, rate: 200, duration: Duration::from_secs(1), window: 4, seed: 1 }
}

/// Runs `profile` for a second against a gateway that decides by what `decide` makes of the roster's oracle.
fn play(
    profile: Profile,
    mishaps: Mishaps,
    files: &Files,
    decide: fn(Oracle) -> Decide,
) -> (Summary, Tally, FakeGateway) {
    let dir = tempfile::tempdir().unwrap();
    roster::write(dir.path(), 200, 1).unwrap();
    let gateway = FakeGateway::start(PSK, decide(oracle(dir.path())));
    let judges = Judges::from(GENERATION, oracle(dir.path()));
    let mut stage = Mishap::new(mishaps, 1);
    let stop = AtomicBool::new(false);
    let (summary, tally) =
        run(gateway.address, &reader_keys(), judges, plan(profile), &mut stage, files, &stop).unwrap();
    (summary, tally, gateway)
}

fn right(oracle: Oracle) -> Decide {
    Box::new(move |reader, ask| {
        Some((oracle.judge(reader, &ask.card, ask.direction, ask.age_ms, wall_seconds()), GENERATION))
    })
}

#[test]
fn every_ask_to_a_right_gateway_is_answered_and_right() {
    let dir = tempfile::tempdir().unwrap();
    let files = Files { json: Some(dir.path().join("run.json")), hdr: Some(dir.path().join("run.hdr")) };
    for profile in [Profile::Morning, Profile::Steady] {
        let (summary, ..) = play(profile, Mishaps::default(), &files, right);
        assert_eq!((summary.asks, summary.answered, summary.wrong, summary.unanswered), (200, 200, 0, 0));
        assert_eq!((summary.sessions, summary.fall_backs, summary.dropped), (8, 0, 0));
        let line = summary.result_line();
        assert!(line.starts_with("RESULT asks=200 answered=200 wrong=0 p50_us="), "{line}");
    }
    let log = std::fs::read_to_string(dir.path().join("run.hdr")).unwrap();
    assert!(log.lines().any(|row| row.starts_with("0.000,1.000,")), "{log}");
    assert!(dir.path().join("run.json").exists());
}

#[test]
fn closed_loop_keeps_its_windows_full_and_loses_nothing() {
    let (summary, ..) = play(Profile::Saturate, Mishaps::default(), &Files::default(), right);
    assert!(summary.asks > 1000, "{}", summary.asks);
    assert_eq!((summary.answered, summary.wrong), (summary.asks, 0));
}

#[test]
fn wrong_answer_makes_the_result_line_say_so() {
    let (summary, tally, _) = play(Profile::Steady, Mishaps::default(), &Files::default(), |oracle| {
        Box::new(move |reader, ask| {
            let right = oracle.judge(reader, &ask.card, ask.direction, ask.age_ms, wall_seconds());
            let wrong = Verdict::Deny(Denial::CredentialLost);
            Some((if ask.request == 3 && reader.0 == 102 { wrong } else { right }, GENERATION))
        })
    });
    assert_eq!(summary.wrong, 1, "{:?}", tally.wrong_shown);
    assert!(summary.result_line().contains(" wrong=1 "));
}

#[test]
fn answer_by_another_generation_is_wrong() {
    let (summary, ..) = play(Profile::Steady, Mishaps::default(), &Files::default(), |oracle| {
        Box::new(move |reader, ask| {
            Some((oracle.judge(reader, &ask.card, ask.direction, ask.age_ms, wall_seconds()), GENERATION - 1))
        })
    });
    assert_eq!(summary.wrong, summary.answered);
}

#[test]
fn unanswered_asks_are_counted_and_fail_nothing_else() {
    let (summary, ..) = play(Profile::Steady, Mishaps::default(), &Files::default(), |oracle| {
        Box::new(move |reader, ask| {
            let right = oracle.judge(reader, &ask.card, ask.direction, ask.age_ms, wall_seconds());
            (ask.request != 2).then_some((right, GENERATION))
        })
    });
    assert_eq!((summary.unanswered, summary.wrong), (8, 0));
    assert_eq!(summary.answered, 192);
}

#[test]
fn readers_live_through_power_cuts_new_addresses_and_junk() {
    let mishaps = Mishaps {
        power_cut_every: Duration::from_millis(300),
        address_change_every: Duration::from_millis(200),
        junk_every: Duration::from_millis(10),
    };
    let (summary, _, gateway) = play(Profile::Steady, mishaps, &Files::default(), right);
    assert_eq!(summary.wrong, 0);
    assert_eq!(summary.answered + summary.unanswered + summary.abandoned, summary.asks);
    assert_eq!(summary.unanswered, 0);
    assert!(summary.sessions >= 8 + 3, "{}", summary.sessions);
    assert_eq!(gateway.handshakes.load(Ordering::Relaxed), summary.sessions);
    assert!(gateway.junk.load(Ordering::Relaxed) > 20);
}

#[test]
fn readers_without_sessions_end_the_run_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    roster::write(dir.path(), 200, 1).unwrap();
    let gateway = FakeGateway::start([8; 32], right(oracle(dir.path())));
    let judges = Judges::from(GENERATION, oracle(dir.path()));
    let (mut stage, stop) = (Mishap::new(Mishaps::default(), 1), AtomicBool::new(false));
    let keys = reader_keys();
    let run = run(gateway.address, &keys, judges, plan(Profile::Steady), &mut stage, &Files::default(), &stop);
    let error = run.err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}

#[test]
fn key_file_is_kept_from_others_and_read_as_written() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("readers.json");
    keys::write(&path, &reader_keys()).unwrap();
    assert_eq!(keys::read(&path).unwrap().len(), 8);
    assert_eq!(keys::write(&path, &reader_keys()).unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
    for mode in [0o640, 0o604, 0o660] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        assert!(keys::read(&path).is_err(), "{mode:o}");
    }
}

#[test]
fn key_files_of_every_wrong_kind_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let key = |number: &str, psk: &str| format!(r#"{{"reader":{number},"psk":"{psk}"}}"#);
    let good = hex::encode(PSK);
    let wrong = [
        String::new(),
        "[]".into(),
        key("101", &good),
        format!("[{},{}]", key("101", &good), key("101", &good)),
        format!("[{}]", key("-1", &good)),
        format!("[{}]", key("101", &good).replace("psk", "key")),
        format!("[{}", key("101", &good)),
        format!("[{}]", key("101", &good[1..])),
    ];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("readers.json");
    for text in wrong {
        std::fs::write(&path, &text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(keys::read(&path).is_err(), "{text}");
    }
}

#[test]
fn every_card_is_answered_or_counted_as_unanswered() {
    let (summary, ..) = play(Profile::Steady, Mishaps::default(), &Files::default(), |_| Box::new(|_, _| None));
    assert_eq!((summary.asks, summary.answered, summary.unanswered), (200, 0, 200));
}
