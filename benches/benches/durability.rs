//! Measures what docs/performance.md claims of passes on their way to the hub, from the real programs, and prints the table.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kalitka_benches::table::{Bound, Table};
use kalitka_loadgen::relay::{Line, Relay};
use kalitka_tests::city::City;
use kalitka_tests::crowd::Crowd;
use kalitka_tests::disk::Disk;
use kalitka_tests::process::program;
use kalitka_tests::site::{BOUND, Site, text};
use kalitka_tests::wait::until;
use serde_json::Value;

const HOLDERS: u32 = 300;
const RUNS: usize = 5;
/// Reports of one run of the throughput figure.
const REPORTS: u64 = 400_000;
/// A school's month.
const BACKLOG: u64 = 300_000;
const LONE_REPORTS: usize = 200;
/// How long the journal's disk is stopped.
const STOPPED: Duration = Duration::from_secs(5);
/// Between two fresh passes while the backlog drains.
const FRESH_EVERY: Duration = Duration::from_millis(50);
/// No two happenings of a lone reader meet.
const LONE_EVERY: Duration = Duration::from_millis(40);

fn crowd(site: &Site, every: Duration) -> Crowd {
    Crowd::start(site.udp(), &site.path("keys.json"), every, fastrand::u64(..))
}

/// Seconds of CPU that process `id` has used.
fn cpu_seconds(id: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11..13].iter().map(|field| field.parse::<f64>().unwrap()).sum();
    ticks / 100.0
}

fn await_receipted(crowd: &Crowd, count: u64) {
    until("receipts", BOUND * 4, || (crowd.receipted() >= count).then_some(()));
}

fn rest(crowd: Crowd) {
    crowd.hush();
    until("every report to be receipted", BOUND, || (crowd.waiting() == 0).then_some(()));
    drop(crowd.finish());
}

fn throughput(site: &mut Site, table: &mut Table) {
    let (mut rates, mut costs) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let crowd = crowd(site, Duration::ZERO);
        await_receipted(&crowd, REPORTS / 10);
        let (begun, cpu, since) = (crowd.receipted(), cpu_seconds(site.gateway().id()), Instant::now());
        await_receipted(&crowd, begun + REPORTS);
        let (count, took) = (crowd.receipted() - begun, since.elapsed());
        let used = cpu_seconds(site.gateway().id()) - cpu;
        rest(crowd);
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
        let count = count as f64;
        rates.push(count / took.as_secs_f64());
        costs.push(used / count * 1e6);
    }
    table.row("durable reports a second", Bound::AtLeast(100_000.0), "/s", rates);
    table.row("the gateway process's CPU a durable report", Bound::Below(3.0), "µs", costs);
}

/// How long a write and fdatasync of a block takes on the disk of `site`, alternating with a lone report's receipt.
fn lone(site: &Site, table: &mut Table) {
    let mut file = File::create(site.path("state/probe")).unwrap();
    let crowd = Crowd::start(site.udp(), &site.path("one-key.json"), LONE_EVERY, fastrand::u64(..));
    await_receipted(&crowd, 10);
    let mut syncs: Vec<Duration> = Vec::new();
    let mut waits: Vec<Duration> = Vec::new();
    for _ in 0..LONE_REPORTS {
        let before = crowd.receipted();
        until("a receipt", BOUND, || (crowd.receipted() > before).then_some(()));
        waits.push(crowd.last_wait());
        let since = Instant::now();
        file.write_all(&[0; 4096]).and_then(|()| file.sync_data()).unwrap();
        syncs.push(since.elapsed());
    }
    drop(crowd.finish());
    let millis = |of: &[Duration]| of.iter().map(|one| one.as_secs_f64() * 1e3).collect::<Vec<_>>();
    table.row("one write and sync of that disk", Bound::None, "ms", millis(&syncs));
    table.row(
        "a lone report's wait for its receipt",
        Bound::Below(median(&millis(&syncs)) + 5.0),
        "ms",
        millis(&waits),
    );
    fs::remove_file(site.path("state/probe")).unwrap();
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn freeze(disk: &std::path::Path, on: bool) {
    let flag = if on { "--freeze" } else { "--unfreeze" };
    assert!(Command::new("fsfreeze").args([flag, text(disk)]).status().unwrap().success());
}

/// The longest wait for an answer in a closed loop of asks, with the disk stopped and without.
fn stopped_disk(table: &mut Table) {
    let site = Site::new(HOLDERS);
    let _disk = Disk::mount(&site.path("state"), 256);
    let mut site = site;
    serve(&mut site);
    site.set_keys_apart(&[101], "one-key.json");
    let crowd = Crowd::start(site.udp(), &site.path("one-key.json"), Duration::from_millis(5), fastrand::u64(..));
    await_receipted(&crowd, 100);
    let play = |seconds: u64| {
        let (seconds, window) = (seconds.to_string(), ["--profile", "steady", "--rate", "500"]);
        let (summary, _) = site.play(&[&["--duration", &seconds], &window[..]].concat());
        assert_eq!((summary["wrong"].as_u64(), summary["unanswered"].as_u64()), (Some(0), Some(0)), "{summary:#}");
        #[expect(clippy::cast_precision_loss, reason = "microseconds of a run")]
        let max = summary["latency_us"]["max"].as_u64().unwrap() as f64 / 1e3;
        max
    };
    let mut more = Vec::new();
    for _ in 0..3 {
        let without = play(STOPPED.as_secs());
        freeze(&site.path("state"), true);
        let receipted = crowd.receipted();
        let with = play(STOPPED.as_secs());
        assert!(crowd.receipted() - receipted < 20, "receipts without a disk");
        freeze(&site.path("state"), false);
        await_receipted(&crowd, receipted + 100);
        more.push(with - without);
    }
    table.row("longest wait for an answer, disk stopped for 5 s, more than without", Bound::Below(2.0), "ms", more);
}

fn serve(site: &mut Site) {
    site.start();
    site.enrol();
    site.offer(&site.build(1));
    site.await_generation(1);
}

/// A gateway with a month's events that its hub has not seen, and the hub down.
fn with_backlog(line: Option<Line>) -> (City, Option<Relay>) {
    let mut city = City::new(HOLDERS);
    let relay = line.map(|line| Relay::start(city.quic().parse().unwrap(), line, 1).unwrap());
    if let Some(relay) = &relay {
        city.site.gateway().terminate();
        city.site.configure_also(&format!("[uplink]\nhub = \"{}\"\n", relay.address()));
        city.site.start();
    }
    city.await_drained();
    city.hub().kill();
    let crowd = crowd(&city.site, Duration::ZERO);
    await_receipted(&crowd, BACKLOG);
    rest(crowd);
    (city, relay)
}

fn drain(table: &mut Table) {
    let mut took = Vec::new();
    for _ in 0..3 {
        let (mut city, _) = with_backlog(None);
        let since = Instant::now();
        city.spawn_hub();
        city.await_drained();
        took.push(since.elapsed().as_secs_f64());
        let (said, complete) = city.verify();
        assert!(complete, "{said}");
    }
    table.row("a month's backlog (300,000) over loopback, from the hub's start", Bound::Below(15.0), "s", took);
}

/// The live feed's lines with the moments at which they came.
struct Live {
    child: Child,
    lines: Receiver<(String, SystemTime)>,
}

impl Live {
    fn follow(city: &City) -> Self {
        let (building, socket) = (city.site.building().to_string(), city.site.path("hub-control"));
        let mut command = Command::new(program("kalitka-hub"));
        command.args(["events", "--live", "--json", "--building", &building, "--socket", text(&socket)]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send((line, SystemTime::now())).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn poor_line(table: &mut Table) {
    let (mut city, _relay) = with_backlog(Some(Line::POOR));
    city.site.set_keys_apart(&[101], "one-key.json");
    let since = Instant::now();
    city.start_hub();
    let live = Live::follow(&city);
    // What is committed while nobody is connected does not travel live.
    until("the uplink", BOUND, || (city.site.metric("kalitka_uplink_up", "") > 0.0).then_some(()));
    let fresh = Crowd::start(city.site.udp(), &city.site.path("one-key.json"), FRESH_EVERY, 7);
    // Fresh passes keep coming, so that there is always one on its way.
    city.await_depth(64.0);
    let took = since.elapsed().as_secs_f64();
    let receipted = fresh.receipted();
    drop(fresh.finish());
    // What is still on its way comes within the time that the figure allows, or counts as never come.
    let lines = std::iter::from_fn(|| live.lines.recv_timeout(Duration::from_secs(1)).ok());
    let mut delays: Vec<f64> = lines.filter_map(|(line, at)| delay(&line, at)).collect();
    delays.sort_by(f64::total_cmp);
    let seen = delays.len();
    println!("{receipted} fresh passes, {seen} of them on the live feed while the backlog drained");
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts")]
    let at = ((receipted as f64 * 0.99) as usize).min(seen.saturating_sub(1));
    let p99 = if seen as u64 * 100 >= receipted * 99 { delays[at] } else { f64::INFINITY };
    table.row("the same over 10 Mbit/s, 50 ms, 1 % loss", Bound::Below(45.0), "s", vec![took]);
    table.row("a fresh pass meanwhile to the live feed, 99th percentile", Bound::Below(1.0), "s", vec![p99]);
}

/// Seconds from the commit of a report to the moment at which its line came.
fn delay(line: &str, at: SystemTime) -> Option<f64> {
    let event: Value = serde_json::from_str(line).unwrap();
    if event["kind"] != "report" {
        return None;
    }
    let committed = Duration::from_micros(event["wall_us"].as_u64().unwrap());
    let at = at.duration_since(UNIX_EPOCH).unwrap();
    Some(at.saturating_sub(committed).as_secs_f64())
}

fn main() {
    let mut table = Table::begin("make figures");
    let mut site = Site::new(HOLDERS);
    serve(&mut site);
    site.set_keys_apart(&[101], "one-key.json");
    throughput(&mut site, &mut table);
    lone(&site, &mut table);
    drop(site);
    stopped_disk(&mut table);
    drain(&mut table);
    poor_line(&mut table);
    table.end();
}
