//! What people and other systems see of events and of the hub.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::io::{self, BufRead, BufReader, Lines};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use kalitka_protocol::upstream::{Head, close, kind};
use rustix::process::Signal;
use serde_json::Value;
use support::gateway::{Gateway, Identity, Said};
use support::history::History;
use support::{BINARY, PATIENCE, Site, hub, status_and_error};

const BUILDING: u32 = 17;

/// A command that goes on printing; killed when dropped.
struct Tail {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Tail {
    fn start(site: &Site, words: &[&str]) -> Self {
        let mut command = Command::new(BINARY);
        command.args(words).args(["--config", &site.config()]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn next(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }

    fn number(&mut self) -> u64 {
        serde_json::from_str::<Value>(&self.next()).unwrap()["number"].as_u64().unwrap()
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn live(history: &History, numbers: (usize, usize)) -> Vec<u8> {
    let events = history.events[numbers.0 - 1..numbers.1].concat();
    [Head { kind: kind::LIVE, len: u32::try_from(events.len()).unwrap() }.to_bytes().to_vec(), events].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_followed_as_they_are_kept() {
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let mut history = History::of(BUILDING, 7, 5);
    let (mut gateway, _) = Gateway::hello(&identity, hub.quic, &history, &[]).await;
    gateway.batch(&history, (1, 5)).await;
    assert_eq!(gateway.hear().await, Said::Acknowledged(7, 5));
    let mut tail = Tail::start(&site, &["events", "--building", "17", "--after", "3", "--follow", "--json"]);
    assert_eq!((tail.number(), tail.number()), (4, 5));
    history.grow(7);
    gateway.batch(&history, (6, 7)).await;
    assert_eq!((tail.number(), tail.number()), (6, 7));
    let (_, text, _) = hub.command(&["events", "--building", "17"]);
    assert!(text.lines().count() == 7 && text.contains("reader 101 passed entry"), "{text}");
    let (_, csv, _) = hub.command(&["events", "--building", "17", "--csv"]);
    assert!(csv.starts_with("order,hash,") && csv.lines().count() == 7, "{csv}");
    assert_eq!(hub.events(18).len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn that_nobody_reads_on_ends_a_command_and_is_no_failure() {
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let history = History::of(BUILDING, 7, 5);
    let (mut gateway, _) = Gateway::hello(&identity, hub.quic, &history, &[]).await;
    gateway.batch(&history, (1, 5)).await;
    assert_eq!(gateway.hear().await, Said::Acknowledged(7, 5));
    let events = ["events", "--building", "17"];
    for more in [&["--follow"][..], &[], &["--csv", "--live"]] {
        let words = [&events, more].concat();
        let (_, gone) = io::pipe().unwrap();
        let output =
            Command::new(BINARY).args(&words).args(["--config", &site.config()]).stdout(gone).output().unwrap();
        assert_eq!(status_and_error(&output), (0, String::new()), "{words:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn live_events_are_shown_once_and_never_kept() {
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let history = History::of(BUILDING, 7, 9);
    let (mut gateway, _) = Gateway::hello(&identity, hub.quic, &history, &[]).await;
    let mut tail = Tail::start(&site, &["events", "--building", "17", "--live", "--json"]);
    // Whoever listens is there once the first event comes through; a repeat is dropped (SPEC 15.10).
    let mut first = 1;
    let connection = gateway.connection.clone();
    let sent = history.clone();
    let mut listens = tokio::task::spawn_blocking(move || (tail.number(), tail));
    let (seen, mut tail) = loop {
        assert!(first < 9, "nobody listens");
        connection.send_datagram(live(&sent, (first, first)).into()).unwrap();
        first += 1;
        if let Ok(listening) = tokio::time::timeout(Duration::from_secs(2), &mut listens).await {
            break listening.unwrap();
        }
    };
    assert!(seen < 9);
    for _ in 0..3 {
        connection.send_datagram(live(&history, (9, 9)).into()).unwrap();
    }
    while tail.number() != 9 {}
    assert_eq!(hub.events(BUILDING).len(), 0);
    let shown = hub.metric("kalitka_hub_live_events_total{outcome=\"repeated\"}");
    assert!(shown >= 1.0);
    gateway.batch(&history, (1, 9)).await;
    assert_eq!(gateway.hear().await, Said::Acknowledged(7, 9));

    connection.send_datagram(live(&History::of(18, 7, 2), (1, 2)).into()).unwrap();
    assert!(matches!(gateway.hear().await, Said::Closed(code, _) if code == u64::from(close::BUILDING)));
    let (gateway, _) = Gateway::hello(&identity, hub.quic, &history, &[]).await;
    gateway.connection.send_datagram(vec![1, 2, 3].into()).unwrap();
    assert!(matches!(gateway.closed().await, Said::Closed(code, _) if code == u64::from(close::MALFORMED)));
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_countersigned() {
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let history = History::of(BUILDING, 7, 9);
    let (mut gateway, _) = Gateway::hello(&identity, hub.quic, &history, &[]).await;
    gateway.batch(&history, (1, 9)).await;
    let mut said = Vec::new();
    while said.len() < 2 {
        // What it may have on its way is told in between.
        said.extend(Some(gateway.hear_all().await).filter(|said| !matches!(said, Said::Pace(_))));
    }
    assert_eq!(said[0], Said::Acknowledged(7, 9));
    let Said::Checkpoint(checkpoint) = &said[1] else { panic!("no checkpoint: {said:?}") };
    assert_eq!((checkpoint.building, checkpoint.epoch.0, checkpoint.number), (17, 7, 9));
    assert_eq!(checkpoint.hash, history.hash(9));
    assert_ne!(checkpoint.signature, [0; 64]);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_says_who_is_connected_and_the_hub_stops_when_told() {
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let mut running = site.start();
    let history = History::of(BUILDING, 7, 4);
    let (mut gateway, _) = Gateway::hello(&identity, running.quic, &history, &[]).await;
    gateway.batch(&history, (1, 4)).await;
    assert_eq!(gateway.hear().await, Said::Acknowledged(7, 4));
    let status = running.json(&["status"]);
    assert_eq!((&status["newest"], &status["buildings"][0]["events"]), (&4.into(), &4.into()));
    assert!(status["buildings"][0]["connection"]["peer"].is_string());
    let (_, text, _) = running.command(&["status"]);
    assert!(text.contains("building   17: 4 events, connected from 127.0.0.1"), "{text}");
    assert_eq!(running.get("/healthz").0, 200);

    let (status, error) = status_and_error(&hub(&["run", "--config", &site.config()]));
    assert!(status == 4 && error.contains("another hub"), "{error}");
    running.signal(Signal::TERM);
    assert!(running.wait().success());
    assert!(matches!(gateway.hear().await, Said::Closed(0, _)));
    assert!(!site.path("control").exists());
    let (status, error) = status_and_error(&hub(&["status", "--config", &site.config()]));
    assert!(status == 4 && error.contains("is the hub running"), "{error}");
}

#[test]
fn start_without_keys_or_with_wrong_input_says_what_to_do() {
    let site = Site::bare();
    for verb in ["run", "check"] {
        let (status, error) = status_and_error(&hub(&[verb, "--config", &site.config()]));
        assert!(status == 4 && error.contains("pki init"), "{verb}: {status} {error}");
    }
    let site = Site::new();
    let (status, error) = status_and_error(&hub(&["check", "--config", &site.config()]));
    assert_eq!(status, 0, "{error}");
    std::fs::write(site.path("hub.toml"), "state = \"/s\"\nmore = 1\n").unwrap();
    let (status, error) = status_and_error(&hub(&["check", "--config", &site.config()]));
    assert!(status == 3 && error.contains("more"), "{error}");
}

#[test]
fn control_socket_takes_no_nonsense() {
    use std::io::Write;
    let site = Site::new();
    let running = site.start();
    let long = vec![0xff; 40_000];
    let cases: [&[u8]; 4] = [b"{}\n", b"status\n", b"{\"verb\":\"open\"}\n", &long];
    for bytes in cases {
        let mut stream = UnixStream::connect(site.path("control")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // The hub may have enough before all is said.
        let _ = stream.write_all(bytes);
        let mut reply = String::new();
        BufReader::new(stream).read_line(&mut reply).unwrap();
        assert!(reply.starts_with("{\"reply\":\"refused\""), "{reply}");
    }
    assert!(running.metric("kalitka_hub_control_requests_total{verb=\"malformed\"}") >= 4.0);
}
