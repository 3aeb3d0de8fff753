//! The whole system by its real programs: from a roster to right answers, through kills, new snapshots and bad input.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use fastrand::Rng;
use kalitka_protocol::datagram::{emit_initiation, sealed_header};
use kalitka_protocol::{ReaderId, SessionId, Stamp};
use kalitka_tests::process::{self, Process};
use kalitka_tests::random::{is_soak, seed};
use kalitka_tests::site::{BOUND, Site, text};
use kalitka_tests::wait::until;
use serde_json::Value;

const HOLDERS: u32 = 300;

/// A building whose first snapshot is in force and whose readers have keys.
fn serving_site() -> Site {
    let mut site = Site::new(HOLDERS);
    site.start();
    site.enrol();
    site.offer(&site.build(10));
    site.await_generation(10);
    site
}

fn play(site: &Site, args: &[&str]) -> Value {
    let duration = if is_soak() { "120" } else { "3" };
    let (summary, content) = site.play(&[&["--duration", duration], args].concat());
    assert_eq!(summary["wrong"], 0, "{summary:#}");
    assert!(content && summary["answered"].as_u64() > Some(100), "{summary:#}");
    summary
}

#[test]
fn every_answer_is_right_before_and_after_a_power_cut() {
    let mut site = serving_site();
    assert_eq!(site.get("/readyz").0, 200);
    play(&site, &["--profile", "steady", "--rate", "200"]);
    site.gateway().kill();
    site.start();
    assert_eq!(site.generation(), 10, "the snapshot is back without anybody's doing");
    assert_eq!(site.get("/readyz").0, 200);
    play(
        &site,
        &["--profile", "morning", "--rate", "200", "--power-cut-every", "400", "--address-change-every", "300"],
    );
    play(&site, &["--profile", "saturate"]);
    assert!(site.metric("kalitka_ask_granted_total", "") > 0.0);
    assert!(site.metric("kalitka_ask_denied_total", "") > 0.0);
}

#[test]
fn junk_between_honest_datagrams_spoils_no_answer() {
    let site = serving_site();
    play(&site, &["--profile", "steady", "--rate", "200", "--junk-every", "1"]);
    assert!(site.metric("kalitka_udp_dropped_total", "") > 100.0);
}

#[test]
fn a_new_snapshot_takes_over_and_a_bad_one_leaves_all_as_it_was() {
    let mut site = serving_site();
    site.offer(&site.build(11));
    site.await_generation(11);
    let good = fs::read(site.build(12)).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    let mut resigned = good.clone();
    *resigned.last_mut().unwrap() ^= 1;
    let mut foreign = good.clone();
    foreign[12] ^= 1;
    let stranger = Site::new(HOLDERS);
    let strangers = fs::read(stranger.build(12)).unwrap();
    let older = fs::read(site.path("10.snapshot")).unwrap();
    let cases: [(&str, &[u8]); 9] = [
        ("empty", b""),
        ("text", b"this is no snapshot, and long enough to be looked at: ......................................"),
        ("header", &good[..256]),
        ("truncated", &good[..good.len() - 1]),
        ("flipped", &flipped),
        ("resigned", &resigned),
        ("foreign", &foreign),
        ("strangers", &strangers),
        ("older", &older),
    ];
    for (name, bytes) in cases {
        let refused = site.metric("kalitka_snapshot_refused_total", "");
        let file = site.path(name);
        fs::write(&file, bytes).unwrap();
        site.offer(&file);
        until(name, BOUND, || (site.metric("kalitka_snapshot_refused_total", "") > refused).then_some(()));
        assert_eq!(site.generation(), 11, "{name}");
        let adopt = site.command(&["snapshot", "adopt", text(&file)]);
        assert_eq!(adopt.status.code(), Some(3), "{name}");
        assert!(!adopt.stderr.is_empty(), "{name} was refused without a word");
    }
    play(&site, &["--profile", "steady"]);
    site.gateway().kill();
    site.start();
    assert_eq!(site.generation(), 11);
    site.offer(&site.build(13));
    site.await_generation(13);
}

#[test]
fn a_blocked_card_is_denied_from_the_next_snapshot_on() {
    let site = serving_site();
    play(&site, &["--profile", "steady"]);
    let cards = fs::read_to_string(site.path("roster/cards.csv")).unwrap();
    fs::write(site.path("roster/cards.csv"), cards.replace(",issued,", ",blocked,")).unwrap();
    site.offer(&site.build(11));
    site.await_generation(11);
    let summary = play(&site, &["--profile", "steady"]);
    let verdicts = summary["verdicts"].to_string();
    assert!(verdicts.contains("credential_blocked"), "{verdicts}");
}

#[test]
fn datagrams_of_every_wrong_kind_are_counted_and_never_answered() {
    let site = serving_site();
    let mut rng = Rng::with_seed(seed());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(site.udp()).unwrap();
    let mut noise = [0; 64];
    rng.fill(&mut noise);
    let noise: [u8; kalitka_protocol::datagram::NOISE_LEN] = noise;
    let forged = |reader| emit_initiation(ReaderId(reader), Stamp::new(u32::MAX, 0), &noise).to_vec();
    let unsealed = [&sealed_header(SessionId(rng.u32(..) << 6), 0)[..], &[0; 40]].concat();
    let mut version = forged(101);
    version[1] = 2;
    let mut kind = forged(101);
    kind[0] = 9;
    let mut response = forged(101);
    response[0] = 2;
    let cases = [
        ("malformed", vec![1, 1, 0, 0]),
        ("malformed", Vec::new()),
        ("version", version),
        ("unknown_type", kind),
        ("not_for_gateway", response),
        ("oversized", vec![3; 1201]),
        ("oversized", vec![3; 9000]),
        ("handshake_forged", forged(101)),
        ("handshake_unknown_reader", forged(999_999)),
        ("unknown_session", unsealed),
    ];
    for (reason, datagram) in cases {
        let label = format!("reason=\"{reason}\"");
        let before = site.metric("kalitka_udp_dropped_total", &label);
        socket.send(&datagram).unwrap();
        until(reason, BOUND, || (site.metric("kalitka_udp_dropped_total", &label) > before).then_some(()));
    }
    socket.set_nonblocking(true).unwrap();
    let answer = socket.recv(&mut [0; 1500]);
    assert_eq!(answer.unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "something was answered");
    let log = fs::read_to_string(site.path("gateway.log")).unwrap();
    assert!(log.lines().count() < 100, "datagrams are logged one by one:\n{log}");
}

#[test]
fn keys_are_given_changed_and_taken_without_a_restart() {
    let site = serving_site();
    assert_eq!(site.command(&["reader", "add", "101"]).status.code(), Some(3), "it has a key");
    let key = |value: &Value| value["psk"].as_str().unwrap().to_owned();
    let added = key(&site.ask(&["reader", "add", "7777"]));
    let changed = key(&site.ask(&["reader", "rekey", "7777"]));
    assert!(added != changed && changed.len() == 64);
    let listed = |site: &Site| site.ask(&["reader", "list"])["readers"].as_array().unwrap().contains(&7777.into());
    assert!(listed(&site));
    assert!(site.command(&["reader", "revoke", "7777"]).status.success());
    assert!(!listed(&site));
    assert_eq!(site.command(&["reader", "revoke", "7777"]).status.code(), Some(3));
    let mode = fs::metadata(site.path("state/readers.keys")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    play(&site, &["--profile", "steady"]);
    let log = fs::read_to_string(site.path("gateway.log")).unwrap();
    assert!(!log.contains(&added) && !log.contains(&changed), "a key stands in the log");
}

#[test]
fn the_gateway_ends_in_order_and_leaves_nothing_behind() {
    let mut site = serving_site();
    let pid = site.gateway().id();
    let status = site.gateway().terminate();
    assert!(status.success(), "{status}: {}", site.gateway().printed());
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    assert!(!site.path("control").exists(), "the control socket is left");
    UdpSocket::bind(site.udp()).expect("the port is free again");
    site.start();
    assert_eq!(site.generation(), 10);
}

#[test]
fn no_personal_data_reaches_the_log_or_the_metrics() {
    let mut site = serving_site();
    play(&site, &["--profile", "steady"]);
    let (_, metrics) = site.get("/metrics");
    let log = site.gateway().printed();
    let cards = fs::read_to_string(site.path("roster/cards.csv")).unwrap();
    let people = fs::read_to_string(site.path("roster/people.csv")).unwrap();
    let uids = cards.lines().filter_map(|line| line.split(',').find_map(|field| field.strip_prefix("uid:")));
    let holders = people.lines().skip(1).filter_map(|line| line.split(',').next());
    for secret in uids.chain(holders).filter(|secret| secret.len() > 3) {
        assert!(!metrics.contains(secret) && !log.contains(secret), "{secret} is shown");
    }
}

fn starts_and_ends_with(site: &Site, config: &Path, code: i32, words: &str) {
    let mut gateway = Process::start("kalitka-gateway", ["run", "--config", text(config)], &site.path("bad.log"));
    let status = until("the end of a gateway that cannot start", BOUND, || gateway.ended());
    let printed = gateway.printed();
    assert_eq!(status.code(), Some(code), "{printed}");
    assert!(printed.contains(words), "`{words}` is not said: {printed}");
}

#[test]
fn what_keeps_the_gateway_from_starting_is_said_with_its_own_exit_code() {
    let site = Site::new(HOLDERS);
    let config = site.configured("[texts]\nunknown_text = \"x\"\n");
    starts_and_ends_with(&site, &config, 3, "unknown_text");
    let config = site.configured("surprise = 1\n");
    starts_and_ends_with(&site, &config, 3, "surprise");
    assert_eq!(process::run("kalitka-gateway", ["check", "--config", text(&config)]).status.code(), Some(3));
    starts_and_ends_with(&site, &site.path("absent.toml"), 4, "absent.toml");

    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = taken.local_addr().unwrap();
    let config = site.configured("");
    let free = fs::read_to_string(&config).unwrap();
    let busy = free.replacen("127.0.0.1:0", &address.to_string(), 1);
    fs::write(&config, busy).unwrap();
    starts_and_ends_with(&site, &config, 4, &address.to_string());

    fs::write(&config, free).unwrap();
    let keys = site.path("state/readers.keys");
    fs::write(&keys, "").unwrap();
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o644)).unwrap();
    starts_and_ends_with(&site, &config, 4, "readers.keys");
}

#[test]
fn every_error_of_a_roster_is_named_and_nothing_is_written() {
    let site = Site::new(HOLDERS);
    let roster = site.path("roster");
    let people = fs::read_to_string(roster.join("people.csv")).unwrap();
    fs::write(roster.join("people.csv"), people.replace(",pupil,", ",pupill,")).unwrap();
    let cards = fs::read_to_string(roster.join("cards.csv")).unwrap();
    fs::write(roster.join("cards.csv"), cards.replacen("uid:", "uid:zz", 1)).unwrap();
    let out = site.path("never.snapshot");
    let args = ["build", "--roster", text(&roster), "--out", text(&out)];
    let output = process::run("kalitka-snapshot", args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("people.csv:") && said.contains("cards.csv:2:") && said.contains("pupill"), "{said}");
    assert!(!out.exists());
}

#[test]
fn the_same_roster_gives_the_same_bytes_and_a_whole_file_or_none() {
    let site = Site::new(HOLDERS);
    let file = site.build(5);
    let verified = process::run_well(
        "kalitka-snapshot",
        ["verify", text(&file), "--publisher", site.publisher(), "--building", &site.building().to_string()],
    );
    assert!(verified.contains("ok"), "{verified}");
    let info = process::run_well("kalitka-snapshot", ["info", text(&file), "--json"]);
    let info: Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["generation"], 5, "{info:#}");
    let foreign = process::run("kalitka-snapshot", ["verify", text(&file), "--publisher", &"11".repeat(32)]);
    assert_eq!(foreign.status.code(), Some(3));
    let keygen = process::run("kalitka-snapshot", ["keygen", "--secret", text(&site.path("publisher.key"))]);
    assert!(!keygen.status.success(), "a secret key was overwritten");
}

#[test]
fn a_gateway_that_hears_nothing_waits_without_work() {
    let site = serving_site();
    let before = site.metric("kalitka_udp_datagrams_total", "");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(socket.recv(&mut [0; 16]).is_err());
    assert!((site.metric("kalitka_udp_datagrams_total", "") - before).abs() < f64::EPSILON);
    assert_eq!(site.get("/healthz").0, 200);
    assert_eq!(site.get("/nothing").0, 404);
}
