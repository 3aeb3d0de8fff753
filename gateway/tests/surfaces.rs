//! Metrics, health and logs.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;

use kalitka_protocol::reason::{Denial, Grant};
use serde_json::Value;
use support::reader::TestReader;
use support::{CARD, READER, Site, snapshot, snapshot_with};

const DOCS: &str = include_str!("../../deploy/RUNBOOK.md");

/// Name → (type, labels) of each row of the gateway's table in the docs.
fn documented() -> BTreeMap<String, (String, String)> {
    let section = DOCS.split("\n## ").find_map(|section| section.strip_prefix("Metrics of the gateway\n")).unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.split('|').map(|cell| cell.trim().replace('`', "")).collect::<Vec<_>>());
    cells.map(|cells| (cells[1].clone(), (cells[2].clone(), cells[3].clone()))).collect()
}

#[test]
fn served_metrics_are_the_documented_ones() {
    let site = Site::with_snapshot(1);
    let serial = "[[serial]]\nport = \"/dev/no-such-port\"\n";
    let osdp = "[[osdp]]\nport = \"/dev/no-such-line\"\n[[osdp.devices]]\naddress = 0\nreader = 900\n";
    site.reconfigure("[snapshots]", &format!("{serial}{osdp}[snapshots]"));
    let running = site.start();
    let mut reader = TestReader::new(running.udp, READER, running.add_reader(READER));
    reader.shake_hands(1);
    reader.ask(&CARD);
    let (_, text) = running.get("/metrics");
    let mut served = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let sample = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('{'));
        served.insert(name.to_owned(), (kind.to_owned(), sample.map_or_else(String::new, labels_of)));
    }
    assert_eq!(served, documented());
    for name in served.keys() {
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help text");
    }
}

/// The names of a sample's labels, with commas between.
fn labels_of(sample: &str) -> String {
    let labels = sample.split('}').next().unwrap().split("\",");
    labels.map(|label| label.split_once('=').unwrap().0).collect::<Vec<_>>().join(", ")
}

/// As many readers and portals as are shown one by one.
const SHOWN: u32 = 128;
/// Of those, readers on serial lines and OSDP devices.
const SERIAL: u32 = 8;
const OSDP: u32 = 8;

/// A site with `count` readers at as many portals, some of them on lines; all have keys.
fn site_of(count: u32) -> Site {
    let site = Site::new();
    let rows = |row: &dyn Fn(u32) -> String| (0..count).map(row).collect::<String>();
    let portals = rows(&|n| format!("[[portal]]\nname = \"p{n}\"\nfrom = \"street\"\nto = \"hall\"\n"));
    let reader = |n| format!("[[reader]]\nnumber = {}\nportal = \"p{n}\"\nshapes = [\"uid\"]\n", 1000 + n);
    site.put("first", &snapshot_with(&format!("{portals}{}", rows(&reader))));
    let serial = (0..SERIAL).map(|n| format!("[[serial]]\nport = \"/dev/no-such-port-{n}\"\n"));
    let device = |n| format!("[[osdp.devices]]\naddress = 0\nreader = {}\n", 1000 + n);
    let osdp = (0..OSDP).map(|n| format!("[[osdp]]\nport = \"/dev/no-such-line-{n}\"\n{}", device(n)));
    site.reconfigure("[snapshots]", &format!("{}[snapshots]", serial.chain(osdp).collect::<String>()));
    let keys = rows(&|n| format!("{} {:064x}\n", 1000 + n, n + 1));
    site.keep_keys(&format!("kalitka reader keys 1\n{keys}"));
    site
}

/// The samples of a page.
fn series(page: &str) -> impl Iterator<Item = &str> {
    page.lines().filter(|line| !line.starts_with('#') && !line.is_empty())
}

#[test]
fn largest_building_that_is_shown_one_by_one_has_fewer_than_2000_series_and_a_larger_one_hardly_more() {
    let count_of = |count: u32| {
        let site = site_of(count);
        let running = site.start();
        running.await_metric("kalitka_snapshot_generation", 1.0);
        let (_, page) = running.get("/metrics");
        let of = |metric: &str| series(&page).filter(|line| line.starts_with(metric)).count();
        (series(&page).count(), of("kalitka_reader_up{"), of("kalitka_portal_asks_total{"))
    };
    // One portal stands in the roster anyway.
    let (largest, readers, portals) = count_of(SHOWN - 1);
    assert_eq!((readers, portals), (127, 2 * 130), "{largest} series");
    assert!(largest < 2000, "{largest} series");
    let (larger, readers, portals) = count_of(4 * SHOWN);
    assert_eq!((readers, portals), (129, 2 * 130));
    assert!(larger < 2000 && larger - largest < 10, "{larger} series and {largest}");
}

#[test]
fn reader_that_is_heard_is_up_and_the_portal_of_its_asks_is_counted() {
    let site = Site::with_snapshot(1);
    let running = site.start();
    let mut reader = TestReader::new(running.udp, READER, running.add_reader(READER));
    running.add_reader(READER + 1);
    reader.shake_hands(1);
    reader.ask(&CARD);
    reader.ask(&[9; 4]);
    // Counted behind the answer.
    running.await_metric("kalitka_reader_asks_total{reader=\"101\"}", 2.0);
    running.await_metric("kalitka_portal_asks_total{portal=\"0\",outcome=\"denied\"}", 1.0);
    let (_, page) = running.get("/metrics");
    for line in [
        "kalitka_reader_up{reader=\"101\"} 1",
        "kalitka_reader_up{reader=\"102\"} 0",
        "kalitka_reader_asks_total{reader=\"101\"} 2",
        "kalitka_sessions 1",
        "kalitka_portal_asks_total{portal=\"0\",outcome=\"granted\"} 1",
        "kalitka_portal_asks_total{portal=\"0\",outcome=\"denied\"} 1",
        "kalitka_portal_asks_total{portal=\"unknown\",outcome=\"denied\"} 0",
    ] {
        assert!(series(&page).any(|shown| shown == line), "{line} is not in\n{page}");
    }
}

#[test]
fn every_reason_is_there_from_the_start() {
    let site = Site::new();
    let running = site.start();
    let (_, text) = running.get("/metrics");
    let denials =
        Denial::ALL.iter().map(|reason| format!("kalitka_ask_denied_total{{reason=\"{}\"}} 0", reason.label()));
    let grants = Grant::ALL.iter().map(|rule| format!("kalitka_ask_granted_total{{rule=\"{}\"}} 0", rule.label()));
    let drops = kalitka_core::DropReason::ALL;
    let drops = drops.iter().map(|reason| format!("kalitka_udp_dropped_total{{reason=\"{}\"}} 0", reason.label()));
    for line in denials.chain(grants).chain(drops) {
        assert!(text.lines().any(|served| served == line), "{line} is missing");
    }
}

#[test]
fn asks_are_counted_by_rule_and_reason_and_timed() {
    let site = Site::with_snapshot(1);
    let running = site.start();
    let mut reader = TestReader::new(running.udp, READER, running.add_reader(READER));
    reader.shake_hands(1);
    for _ in 0..5 {
        reader.ask(&CARD);
    }
    reader.ask(&[9; 7]);
    running.await_metric("kalitka_ask_granted_total{rule=\"access_level\"}", 5.0);
    running.await_metric("kalitka_ask_denied_total{reason=\"unknown_credential\"}", 1.0);
    running.await_metric("kalitka_ask_service_seconds_count", 6.0);
    running.await_metric("kalitka_ask_service_seconds_bucket{le=\"+Inf\"}", 6.0);
    running.await_metric("kalitka_session_opened_total", 1.0);
}

#[test]
fn ready_means_a_snapshot_and_healthy_means_workers() {
    let site = Site::new();
    let running = site.start();
    assert_eq!(running.get("/healthz").0, 200);
    assert_eq!(running.get("/readyz"), (503, "no snapshot is in force\n".into()));
    site.put("first", &snapshot(1));
    running.await_metric("kalitka_snapshot_generation", 1.0);
    assert_eq!(running.get("/readyz").0, 200);
}

#[test]
fn surface_is_get_only_and_knows_no_other_path() {
    let site = Site::new();
    let running = site.start();
    for path in ["/metrics", "/", "/?lang=ru", "/status.json"] {
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            let request =
                format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            assert_eq!(running.http(&request).0, 405, "{method} {path}");
        }
        let head = format!("HEAD {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        assert_eq!(running.http(&head), (200, String::new()), "{path}");
    }
    for path in ["/metrics/", "/../etc/passwd", "/debug", "/index.html", "/status.json/", "/page.js"] {
        assert_eq!(running.get(path).0, 404, "{path}");
    }
}

#[test]
fn page_is_kept_by_nobody_and_may_fetch_run_and_be_framed_by_nothing_else() {
    let site = Site::new();
    let running = site.start();
    let head = |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        running.response(&request).split_once("\r\n\r\n").unwrap().0.to_ascii_lowercase()
    };
    let (page, json) = (head("/"), head("/status.json"));
    for line in ["cache-control: no-store", "x-content-type-options: nosniff"] {
        assert!(page.contains(line) && json.contains(line), "{line}\n{page}\n{json}");
    }
    for line in [
        "content-type: text/html; charset=utf-8",
        "content-security-policy: default-src 'none'; style-src 'sha256-",
        "frame-ancestors 'none'",
        "referrer-policy: no-referrer",
        "vary: accept-language",
        // The surface has few places, and a page that lies open takes none between two looks.
        "connection: close",
    ] {
        assert!(page.contains(line), "{line}\n{page}");
    }
    assert!(json.contains("content-type: application/json"), "{json}");
}

#[test]
fn page_and_json_tell_of_a_reader_its_portal_and_who_was_refused() {
    let site = Site::with_snapshot(1);
    let running = site.start();
    let status = || -> Value { serde_json::from_str(&running.get("/status.json").1).unwrap() };
    assert_eq!(status()["matters"][0]["matter"], "no_readers");
    let mut reader = TestReader::new(running.udp, READER, running.add_reader(READER));
    let listed = status()["readers"]["listed"].as_array().unwrap().clone();
    let state = |number: u32| listed.iter().find(|listed| listed["reader"] == number).unwrap()["state"].clone();
    assert_eq!((state(READER), state(102)), ("away".into(), "no_key".into()));
    reader.shake_hands(1);
    reader.ask(&CARD);
    reader.ask(&[9; 7]);
    running.await_metric("kalitka_ask_denied_total{reason=\"unknown_credential\"}", 1.0);
    let status = status();
    let of = |reader: u64| {
        let listed = status["readers"]["listed"].as_array().unwrap();
        listed.iter().find(|listed| listed["reader"] == reader).unwrap()
    };
    let up = of(READER.into());
    assert_eq!(
        (&up["state"], &up["portal"], &up["way"]),
        (&"up".into(), &"turnstile-1".into(), &"udp".into()),
        "{status:#}"
    );
    assert_eq!((&of(102)["state"], &of(102)["way"]), (&"no_key".into(), &Value::Null), "{status:#}");
    assert_eq!((&status["readers"]["up"], &status["readers"]["known"]), (&1.into(), &2.into()));
    let portal = &status["portals"]["listed"][0];
    assert_eq!((&portal["mode"], &portal["readers"], &portal["readers_up"]), (&"normal".into(), &2.into(), &1.into()));
    let refusal = &status["refusals"][0];
    assert_eq!((&refusal["reason"], &refusal["last_15_minutes"]), (&"unknown_credential".into(), &1.into()));
    assert_eq!((&status["snapshot"]["generation"], &status["building"]), (&1.into(), &17.into()));
    let page = running.get("/?lang=ru").1;
    for words in ["lang=\"ru\"", "turnstile-1", "карта неизвестна", "на связи"] {
        assert!(page.contains(words), "{words}\n{page}");
    }
}

#[test]
fn connections_that_hang_do_not_keep_others_from_asking() {
    let site = Site::new();
    let running = site.start();
    let mut hanging: Vec<_> = (0..40).map(|_| TcpStream::connect(running.http).unwrap()).collect();
    hanging.iter_mut().step_by(2).for_each(|stream| stream.write_all(b"GET /metrics HTT").unwrap());
    assert_eq!(running.get("/healthz").0, 200);
}

#[test]
fn nothing_personal_is_logged_or_served() {
    let site = Site::with_snapshot(1);
    let mut running = site.start();
    let psk = running.add_reader(READER);
    let mut reader = TestReader::new(running.udp, READER, psk);
    reader.shake_hands(1);
    reader.ask(&CARD);
    // A card that nobody has is somebody's, too.
    reader.ask(&[9; 7]);
    let (_, metrics) = running.get("/metrics");
    let shown = running.get("/").1 + &running.get("/?lang=ru").1 + &running.get("/status.json").1;
    running.signal(rustix::process::Signal::TERM);
    let log = running.log_to_the_end().join("\n");
    running.wait();
    for secret in ["p0001", "04a1b2c3", "04A1B2C3", "09090909", "School 17", &hex::encode(psk)] {
        assert!(!log.contains(secret) && !metrics.contains(secret) && !shown.contains(secret), "{secret}");
    }
}
