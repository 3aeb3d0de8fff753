//! Readers on serial lines by the real programs: noise, ports that are pulled out, kill -9, another speed. What readers were
//! receipted is at the hub, once and as it was told, and every answer is right.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use kalitka_loadgen::keys;
use kalitka_loadgen::serial::{Line, Noise, Setup};
use kalitka_tests::city::City;
use kalitka_tests::crowd::{Asking, Crowd};
use kalitka_tests::process::{run, run_well};
use kalitka_tests::random::{is_soak, seed};
use kalitka_tests::site::{BOUND, Site, text};
use kalitka_tests::wait::until;
use serde_json::Value;

const HOLDERS: u32 = 300;
const BAUD: u32 = 115_200;
/// Of a million bytes 500 are hit: of frames of a hundred bytes, every twentieth; and the line crackles four times a second.
const NOISE: Noise = Noise { hits: 500, crackle_every: Duration::from_millis(250) };
/// How often each reader reports, and how often it asks.
const REPORT_EVERY: Duration = Duration::from_millis(200);
const ASK_EVERY: Duration = Duration::from_millis(300);

/// A building with a hub, whose gateway has ports `line-0` and so on, and lines on them.
struct Wired {
    city: City,
    lines: Vec<Line>,
    /// Who hangs on the lines.
    readers: Vec<u32>,
}

fn port(site: &Site, number: usize) -> PathBuf {
    site.path(&format!("line-{number}"))
}

fn ports(site: &Site, lines: usize, baud: u32) -> String {
    let port = |number| format!("[[serial]]\nport = {:?}\nbaud = {baud}\n", port(site, number));
    (0..lines).map(port).collect()
}

fn plugged(site: &Site, number: usize, baud: u32, noise: Noise) -> Line {
    let seed = seed().wrapping_add(number as u64);
    Line::plug(Setup { port: port(site, number), baud, noise, seed }).unwrap()
}

impl Wired {
    fn new(lines: usize, noise: Noise) -> Self {
        let mut city = City::new(HOLDERS);
        city.site.configure_also(&ports(&city.site, lines, BAUD));
        city.site.end();
        city.site.start();
        let lines: Vec<_> = (0..lines).map(|number| plugged(&city.site, number, BAUD, noise)).collect();
        let readers = keys::read(&city.site.path("keys.json")).unwrap();
        let readers = readers.iter().map(|key| key.reader().0).take(lines.len()).collect();
        let wired = Self { city, lines, readers };
        wired.await_up();
        wired
    }

    /// Waits until every port is open.
    fn await_up(&self) {
        let all = self.lines.len() as f64;
        until("every port to be open", BOUND, || (self.city.site.metric("kalitka_serial_up", "") >= all).then_some(()));
    }

    /// All readers of the building, those at the front on the lines and the others on the network.
    fn crowd(&self) -> Crowd {
        let (site, seed) = (&self.city.site, seed());
        let asking = Asking::new(&site.path("roster"), ASK_EVERY, seed);
        let crowd = Crowd::start_asking(site.udp(), &site.path("keys.json"), REPORT_EVERY, asking, seed);
        self.readers.iter().zip(&self.lines).for_each(|(&reader, line)| crowd.put_on(reader, line.address));
        crowd
    }

    /// Lets the crowd come to rest and compares what it was receipted with what is at the hub.
    fn judge(&self, crowd: Crowd) {
        let fares = crowd.fares();
        assert_eq!(fares.wrong, 0, "{:?}", fares.wrong_first);
        let receipted = self.city.settle(crowd, BOUND * 2);
        for &reader in &self.readers {
            let of_it = receipted.keys().filter(|(of, ..)| *of == reader).count();
            assert!(of_it > 10, "reader {reader} on a line was receipted {of_it} reports");
        }
        self.city.judge(&receipted);
        let (verified, is_complete) = self.city.verify();
        assert!(is_complete, "{verified}");
    }
}

/// Waits until so much time has gone by or something is wrong.
fn play_on(crowd: &Crowd, time: Duration) {
    let start = Instant::now();
    until("the end of the play", time + BOUND, || (start.elapsed() >= time || crowd.fares().wrong > 0).then_some(()));
}

#[test]
fn four_noisy_lines_lose_double_and_alter_no_pass() {
    let wired = Wired::new(4, NOISE);
    let crowd = wired.crowd();
    play_on(&crowd, Duration::from_secs(if is_soak() { 600 } else { 60 }));
    let fares = crowd.fares();
    let spoilt: u64 = wired.lines.iter().map(|line| line.passed().spoilt).sum();
    let dropped = wired.city.site.metric("kalitka_serial_dropped_total", "");
    wired.judge(crowd);
    assert!(spoilt > 1000 && dropped > 100.0, "{spoilt} bytes were hit, {dropped} frames dropped: no noise at all?");
    let passed: Vec<_> = wired.lines.iter().map(Line::passed).collect();
    println!("{} answers, none wrong; {dropped} frames dropped; {passed:?}", fares.answers);
}

#[test]
fn pulled_ports_and_a_killed_gateway_lose_double_and_alter_no_pass() {
    let mut wired = Wired::new(2, NOISE);
    let crowd = wired.crowd();
    for round in 0..if is_soak() { 20 } else { 3 } {
        crowd.await_receipts(40, BOUND);
        let line = &wired.lines[round % 2];
        line.unplug();
        let site = &wired.city.site;
        until("the port to be gone", BOUND, || (site.metric("kalitka_serial_up", "") < 2.0).then_some(()));
        line.replug();
        wired.await_up();
        crowd.await_receipts(40, BOUND);
        crowd.forget_sessions();
        wired.city.site.gateway().kill();
        wired.city.site.start();
        wired.await_up();
        until("right answers after the kill", BOUND, || (crowd.fares().fresh_right > 20).then_some(()));
    }
    wired.judge(crowd);
}

#[test]
fn line_at_another_speed_is_said_probed_and_set_right() {
    let mut city = City::new(HOLDERS);
    city.site.configure_also(&ports(&city.site, 1, BAUD));
    city.site.end();
    city.site.start();
    let line = plugged(&city.site, 0, 9600, Noise::default());
    let readers = keys::read(&city.site.path("keys.json")).unwrap();
    let reader = readers[0].reader().0;
    let wired = Wired { city, lines: vec![line], readers: vec![reader] };
    wired.await_up();
    let crowd = wired.crowd();
    let site = &wired.city.site;
    until("the line to be said not to be understood", BOUND, || {
        (site.metric("kalitka_serial_unreadable", "") > 0.0).then_some(())
    });
    let log = std::fs::read_to_string(site.path("gateway.log")).unwrap();
    assert!(log.contains("bytes come and no frame") && log.contains("115200 baud 8N1"), "{log}");
    let Wired { mut city, lines, readers } = wired;
    city.site.end();
    let probe = run("kalitka-gateway", ["serial", "probe", text(&port(&city.site, 0))]);
    let said = String::from_utf8(probe.stdout).unwrap();
    assert!(
        said.lines().last().unwrap().starts_with("9600 baud 8N1: ") && said.contains(&format!("reader {reader}")),
        "{said}"
    );
    city.site.configure_also(&ports(&city.site, 1, 9600));
    city.site.start();
    let wired = Wired { city, lines, readers };
    wired.await_up();
    until("reports over the line", BOUND * 2, || {
        let standings = crowd.fares().standings;
        (standings[0].1 > 20).then_some(())
    });
    wired.judge(crowd);
}

#[test]
fn played_turnstiles_on_a_line_do_commands_and_all_that_they_tell_is_at_the_hub() {
    let mut city = City::new(HOLDERS);
    let key = city.site.path("operator.key");
    let operator = run_well("kalitka-hub", ["operator", "keygen", "--secret", text(&key)]);
    let operators = format!("[commands]\noperators = [\"{}\"]\n", operator.trim());
    city.site.configure_also(&format!("{}{operators}", ports(&city.site, 1, BAUD)));
    city.site.end();
    city.site.start();
    city.await_uplink();
    // Whatever hour the test runs at, people pass.
    let building = city.site.path("roster/building.toml");
    let text_of = std::fs::read_to_string(&building).unwrap();
    std::fs::write(&building, text_of.replace("\nmodes = [", "\nmode = \"free\"\n# [")).unwrap();
    city.site.offer(&city.site.build(2));
    city.site.await_generation(2);
    let reader = keys::read(&city.site.path("keys.json")).unwrap()[0].reader().0;
    let (line, hub) = (format!("{reader}={}", port(&city.site, 0).display()), city.site.path("hub-control"));
    let (building, number, file) = (city.site.building().to_string(), reader.to_string(), city.site.path("open"));
    let sign = ["command", "sign", "--key", text(&key), "--building", &building, "--number", "1", "--not-after", "10m"];
    let open = ["--out", text(&file), "open", "--reader", &number];
    run_well("kalitka-hub", sign.iter().chain(&open));
    let play = [
        &["--duration", "10", "--rate", "40", "--turnstiles", "--line", &line, "--hub-socket", text(&hub)][..],
        &["--line-hits", "100", "--line-crackle-every", "300"],
    ];
    let (summary, is_content) = std::thread::scope(|scope| {
        let playing = scope.spawn(|| city.site.play(&play.concat()));
        until("the line's port to be open", BOUND, || {
            (city.site.metric("kalitka_serial_frames_total", "sent") > 5.0).then_some(())
        });
        city.ask(&["command", "send", text(&file)]);
        playing.join().unwrap()
    });
    assert!(is_content && summary["wrong"] == 0, "{summary:#}");
    assert_eq!(summary["commands"], 1, "{summary:#}");
    let events = city.events();
    let reports: Vec<_> = events.iter().filter(|event| event["kind"] == "report").collect();
    let of_kind = |kind: &str| reports.iter().filter(|report| report["report_kind"] == kind).count();
    assert!(of_kind("passed") > 100 && of_kind("turned_back") > 0, "{} reports", reports.len());
    assert!(reports.iter().any(|report| report["reader"] == reader), "nothing was told over the line");
    // Every pass names an ask that was granted, the same way, at the same reader.
    let ask_of = |event: &Value| (event["reader"].clone(), event["boot"].clone(), event["request"].clone());
    let granted: Vec<_> =
        events.iter().filter(|event| event["kind"] == "decision" && event["verdict"] == "grant").collect();
    let is_asked = |report: &&&Value| report["report_kind"] == "passed" && report["request"] != 0;
    let asked = reports.iter().filter(is_asked).count();
    for pass in reports.iter().filter(is_asked) {
        let grant = granted.iter().find(|grant| ask_of(grant) == ask_of(pass)).unwrap_or_else(|| panic!("{pass}"));
        assert_eq!(grant["direction"], pass["direction"], "{pass}");
    }
    // And one person was let through by the command, or did not go.
    let unasked = |report: &&&Value| report["request"] == 0 && report["report_kind"] != "forced";
    let by_command: Vec<_> = reports.iter().filter(unasked).collect();
    assert!(
        by_command.iter().all(|report| report["reader"] == reader && report["direction"] == "entry"),
        "{by_command:?}"
    );
    assert!((1..=2).contains(&by_command.len()), "{by_command:?}");
    assert_eq!(city.site.metric("kalitka_report_passed_total", "granted"), asked as f64);
}
