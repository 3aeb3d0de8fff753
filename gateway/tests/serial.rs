//! Readers on serial lines: real ptys, and the gateway as a process.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kalitka_protocol::reason::{Denial, Grant, Verdict};
use serde_json::Value;
use support::line::{Line, pty};
use support::reader::TestReader;
use support::{BINARY, CARD, Gateway, PATIENCE, READER, Site, gateway, snapshot, status_and_error};

/// A site with a snapshot and so many workers, whose ports are `line-0` and so on.
fn site(workers: u8, ports: usize) -> Site {
    let site = Site::with_workers(workers);
    site.put("first", &snapshot(1));
    let port = |n: usize| format!("[[serial]]\nport = \"{}\"\n", site.path(&format!("line-{n}")).display());
    let ports: String = (0..ports).map(port).collect();
    site.reconfigure("[snapshots]", &format!("{ports}[snapshots]"));
    site
}

fn metric(site: &Site, name: &str, labels: &str) -> String {
    format!("kalitka_serial_{name}{{port=\"{}\"{labels}}}", site.path("line-0").display())
}

fn started(site: &Site) -> Gateway {
    let running = site.start();
    running.await_metric("kalitka_snapshot_generation", 1.0);
    running
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

const GRANTED: Verdict = Verdict::Grant(Grant::AccessLevel);
const UNKNOWN: Verdict = Verdict::Deny(Denial::UnknownCredential);

#[test]
fn reader_on_a_line_asks_and_reports_as_over_the_network() {
    for workers in [1, 3] {
        let site = site(workers, 2);
        let lines = [0, 1].map(|n| Line::plug(&site.path(&format!("line-{n}"))));
        let running = started(&site);
        for (line, number) in lines.iter().zip([READER, READER + 1]) {
            let mut reader = TestReader::new(line.address, number, running.add_reader(number));
            reader.shake_hands(1);
            assert_eq!((reader.ask(&CARD), reader.ask(&[9; 7])), (GRANTED, UNKNOWN));
            assert!(reader.pong_within(5, PATIENCE));
            for report in 1..=5 {
                reader.reported(report, false);
            }
        }
        running.await_metric("kalitka_report_receipts_total", 10.0);
        assert!(running.metric(&metric(&site, "frames_total", ",direction=\"received\"")) >= 9.0);
        assert!(running.metric(&metric(&site, "frames_total", ",direction=\"sent\"")) >= 9.0);
        assert!(running.metric(&metric(&site, "bytes_total", ",direction=\"received\"")) > 500.0);
        assert_eq!(running.metric("kalitka_udp_datagrams_total"), 0.0, "nothing came over the network");
        assert_eq!(running.metric("kalitka_udp_sent_total"), 0.0, "and nothing went there");
    }
}

#[test]
fn reader_that_moves_between_line_and_network_is_answered_where_it_is() {
    let site = site(1, 1);
    let line = Line::plug(&site.path("line-0"));
    let running = started(&site);
    let mut reader = TestReader::new(line.address, READER, running.add_reader(READER));
    reader.shake_hands(1);
    assert_eq!(reader.ask(&CARD), GRANTED);
    let udp = running.udp;
    let mut reader = reader.moved(udp);
    assert_eq!(reader.ask(&CARD), GRANTED);
    let mut reader = reader.moved(line.address);
    assert_eq!(reader.ask(&CARD), GRANTED);
    running.await_metric("kalitka_udp_sent_total", 1.0);
}

#[test]
fn garbage_between_frames_is_counted_by_reason_and_costs_no_answer() {
    let site = site(1, 1);
    let line = Line::plug(&site.path("line-0"));
    let running = started(&site);
    let mut reader = TestReader::new(line.address, READER, running.add_reader(READER));
    reader.shake_hands(1);
    let mut rng = fastrand::Rng::with_seed(7);
    for round in 0..50 {
        let garbage: Vec<u8> = (0..rng.usize(1..400)).map(|_| rng.u8(..)).collect();
        line.put(&garbage);
        assert_eq!(reader.ask(if round % 2 == 0 { &CARD } else { &[9; 7] }), [GRANTED, UNKNOWN][round % 2]);
    }
    line.put(&[&[0][..], &[7; 3000], &[0]].concat());
    line.put(&[0, 9, 1, 2, 0]);
    assert!(reader.pong_within(1, PATIENCE));
    for reason in ["oversized", "cut_off"] {
        assert!(running.metric(&metric(&site, "dropped_total", &format!(",reason=\"{reason}\""))) >= 1.0, "{reason}");
    }
}

#[test]
fn port_that_is_pulled_out_comes_back_by_itself() {
    let site = site(1, 1);
    let running = started(&site);
    let psk = running.add_reader(READER);
    for stamp in 1..=3 {
        let line = Line::plug(&site.path("line-0"));
        running.await_log("a serial port is open");
        let mut reader = TestReader::new(line.address, READER, psk);
        reader.shake_hands(stamp);
        assert_eq!(reader.ask(&CARD), GRANTED);
        assert_eq!(running.metric(&metric(&site, "up", "")), 1.0);
        drop(line);
        running.await_log("a serial port is gone; the gateway waits for it to come back");
        let refused = running.await_log("a serial port is not open; the gateway goes on trying");
        assert!(refused["error"].as_str().unwrap().contains("no such port"), "{refused}");
        assert_eq!(running.metric(&metric(&site, "up", "")), 0.0);
    }
    running.await_metric(&metric(&site, "opened_total", ""), 3.0);
    assert!(running.metric(&metric(&site, "not_opened_total", ",reason=\"missing\"")) >= 1.0);
}

#[test]
fn port_that_another_has_is_named_with_its_holder_and_taken_when_it_is_free() {
    let site = site(1, 1);
    let line = Line::plug(&site.path("line-0"));
    let first = started(&site);
    first.await_metric(&metric(&site, "up", ""), 1.0);
    let other = self::site(1, 1);
    let second = started(&other);
    // Its own port comes, and is the first's.
    symlink(std::fs::read_link(site.path("line-0")).unwrap(), other.path("line-0")).unwrap();
    let error = loop {
        let refused = second.await_log("a serial port is not open; the gateway goes on trying");
        let error = refused["error"].as_str().unwrap().to_owned();
        if !error.contains("no such port") {
            break error;
        }
    };
    assert!(error.contains(&format!("process {} (kalitka-gateway)", first.id())), "{error}");
    first.kill();
    second.await_log("a serial port is open");
    let mut reader = TestReader::new(line.address, READER, second.add_reader(READER));
    reader.shake_hands(1);
    assert_eq!(reader.ask(&CARD), GRANTED);
}

#[test]
fn line_of_which_nothing_is_understood_is_said_with_its_likely_cause() {
    let site = site(1, 1);
    let port = site.path("line-0");
    let device = pty(&port);
    let running = started(&site);
    running.await_metric(&metric(&site, "up", ""), 1.0);
    // What a reader at another speed looks like: some bytes now and then, none of them right.
    let deadline = Instant::now() + PATIENCE;
    let said = loop {
        rustix::io::write(&device, &[0xf8, 0x1c, 0xe0, 0xfe, 0x00, 0x8c, 0x07]).unwrap();
        let lines = running.log_so_far();
        let said = lines.iter().find(|line| line.contains("bytes come and no frame")).cloned();
        if let Some(said) = said {
            break serde_json::from_str::<Value>(&said).unwrap();
        }
        assert!(Instant::now() < deadline, "nothing is said of it");
        let _ = running.metric(&metric(&site, "up", ""));
    };
    let message = said["message"].as_str().unwrap();
    assert!(message.contains("115200 baud 8N1") && message.contains("serial probe"), "{message}");
    running.await_metric(&metric(&site, "unreadable", ""), 1.0);
    drop(device);
    std::fs::remove_file(&port).unwrap();
    let line = Line::plug(&port);
    running.await_log("a serial port is open");
    let mut reader = TestReader::new(line.address, READER, running.add_reader(READER));
    reader.shake_hands(1);
    assert_eq!(running.metric(&metric(&site, "unreadable", "")), 0.0);
}

#[test]
fn flood_at_line_rate_takes_no_answer_from_others_and_no_memory() {
    let site = site(1, 2);
    let lines = [0, 1].map(|n| Line::plug(&site.path(&format!("line-{n}"))));
    let running = started(&site);
    let mut reader = TestReader::new(lines[1].address, READER, running.add_reader(READER));
    reader.shake_hands(1);
    assert_eq!(reader.ask(&CARD), GRANTED);
    let before = running.resident_kib_max();
    let mut rng = fastrand::Rng::with_seed(9);
    for _ in 0..200 {
        let noise: Vec<u8> = (0..2000).map(|_| rng.u8(..)).collect();
        lines[0].put(&noise);
        assert_eq!(reader.ask(&CARD), GRANTED);
    }
    assert!(running.resident_kib_max() < before + 16 * 1024, "memory grows with noise");
    assert!(running.metric(&metric(&site, "bytes_total", ",direction=\"received\"")) > 300_000.0);
}

#[test]
fn ports_that_make_no_sense_are_refused_before_the_start() {
    let site = Site::with_snapshot(1);
    site.reconfigure("[snapshots]", "[[serial]]\nport = \"ttyS0\"\n[snapshots]");
    let (status, error) = status_and_error(&gateway(&["check", "--config", &site.config()]));
    assert!(status == 3 && error.contains("serial.port") && error.contains("absolute"), "{status} {error}");
}

#[test]
fn port_that_is_not_there_is_said_by_check_and_is_no_error() {
    let site = Site::with_snapshot(1);
    site.start().kill();
    site.reconfigure("[snapshots]", "[[serial]]\nport = \"/dev/no-such-port\"\n[snapshots]");
    let checked = gateway(&["check", "--config", &site.config()]);
    let said = text(&checked);
    assert!(checked.status.success() && said.contains("/dev/no-such-port: there is no such port"), "{said}");
}

#[test]
fn gateway_lets_go_of_its_ports_at_the_end() {
    let site = site(1, 1);
    let _line = Line::plug(&site.path("line-0"));
    let mut running = started(&site);
    running.await_metric(&metric(&site, "up", ""), 1.0);
    running.signal(rustix::process::Signal::TERM);
    assert!(running.wait().success());
    let again = started(&site);
    again.await_metric(&metric(&site, "up", ""), 1.0);
}

#[test]
fn probe_finds_the_reader_and_its_speed_and_nothing_on_a_dead_line() {
    let folder = tempfile::tempdir().unwrap();
    let port = folder.path().join("line");
    let name = port.display().to_string();
    let (status, error) = status_and_error(&gateway(&["serial", "probe", &name]));
    assert!(status == 4 && error.contains("no such port"), "{status} {error}");
    let line = Line::plug(&port);
    let silent = gateway(&["serial", "probe", &name, "--baud", "9600", "--seconds", "1"]);
    assert_eq!((silent.status.code(), text(&silent)), (Some(5), "9600 baud 8N1: silence\n".to_owned()));
    let reader = TestReader::new(line.address, READER, [7; 32]);
    let (_, initiation) = reader.initiation(1 << 32);
    // As a reader without a session does: again and again.
    let is_over = AtomicBool::new(false);
    let found = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = [0; 64];
            while !is_over.load(Ordering::Acquire) {
                reader.socket.send(&initiation).unwrap();
                assert!(
                    reader.receive(&mut buffer, Duration::from_millis(50)).is_none(),
                    "who listens does not answer"
                );
            }
        });
        let found = gateway(&["serial", "probe", &name, "--seconds", "2"]);
        is_over.store(true, Ordering::Release);
        found
    });
    let said = text(&found);
    assert_eq!(found.status.code(), Some(0), "{said}");
    assert!(
        said.contains("115200 baud 8N1: ") && said.contains("initiation of reader 101, boot 1, number 0"),
        "{said}"
    );
}

#[test]
fn monitor_shows_headers_as_they_pass_and_counts_what_is_spoilt() {
    let folder = tempfile::tempdir().unwrap();
    let port = folder.path().join("line");
    let line = Line::plug(&port);
    let mut monitor = Command::new(BINARY);
    monitor.args(["serial", "monitor", &port.display().to_string(), "--seconds", "20"]).stdout(Stdio::piped());
    let mut monitor = monitor.spawn().unwrap();
    let reader = TestReader::new(line.address, READER, [7; 32]);
    let (_, initiation) = reader.initiation(1 << 32);
    let mut lines = BufReader::new(monitor.stdout.take().unwrap()).lines();
    // What is sent before the port is open is lost, so it is sent until it is seen.
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Acquire) {
                reader.socket.send(&initiation).unwrap();
                line.put(&[0, 3, 1, 1, 0]);
                let mut buffer = [0; 64];
                assert!(reader.receive(&mut buffer, Duration::from_millis(20)).is_none());
            }
        });
        let (mut shown, is_spoilt) = (Vec::new(), |line: &String| line.contains("spoilt: short"));
        while shown.len() < 2 || !shown.iter().any(is_spoilt) {
            shown.push(lines.next().unwrap().unwrap());
        }
        is_over.store(true, Ordering::Release);
        assert!(
            shown.iter().any(|line| line.contains("Kalitka  initiation of reader 101, boot 1, number 0")),
            "{shown:?}"
        );
    });
    let pid = rustix::process::Pid::from_child(&monitor);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert!(monitor.wait().unwrap().success());
    let last = lines.map(Result::unwrap).last().unwrap();
    assert!(
        last.contains("frames of Kalitka") && last.contains("spoilt by short") && last.contains("bytes at 115200"),
        "{last}"
    );
}

#[test]
fn port_of_a_running_gateway_is_not_listened_to_and_its_holder_is_named() {
    let site = site(1, 1);
    let _line = Line::plug(&site.path("line-0"));
    let running = started(&site);
    running.await_metric(&metric(&site, "up", ""), 1.0);
    let port = site.path("line-0").display().to_string();
    for verb in ["probe", "monitor"] {
        let (status, error) = status_and_error(&gateway(&["serial", verb, &port]));
        assert!(
            status == 4 && error.contains(&format!("process {} (kalitka-gateway)", running.id())),
            "{verb}: {error}"
        );
    }
    let list = gateway(&["serial", "list"]);
    assert!(list.status.success() && !text(&list).is_empty());
}
