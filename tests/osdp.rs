//! The gateway against OSDP devices that are not ours: libosdp's, over ptys.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::fs;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::symlink;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kalitka_loadgen::oracle::{Identity, Oracle};
use kalitka_protocol::ReaderId;
use kalitka_protocol::credential::CardRead;
use kalitka_protocol::reason::Direction;
use kalitka_tests::peripheral::{Line, Peripheral};
use kalitka_tests::random::number_from_environment;
use kalitka_tests::site::{BOUND, Site};
use kalitka_tests::wait::until;
use serde_json::Value;

const HOLDERS: u32 = 300;
const CARDS: u64 = 300;
const CARDS_IN_SOAK: u64 = 10_000;
/// How often somebody shows a card before he goes to the guard.
const SHOWS_MAX: u64 = 10;
/// One card of so many may have to be shown again, because the machine had no time for somebody: libosdp, which drops its channel
/// when it has not answered within 200 ms, or the gateway.
const AGAIN_ONE_OF: u64 = 20;
/// How long what a device is to be told waits at most, and a little.
const ACTS_WAIT_AT_MOST: Duration = Duration::from_millis(2500);
/// After how much silence it is looked whether there is anything to wait for.
const SILENCE: Duration = Duration::from_millis(250);
const READER: ReaderId = ReaderId(101);
const STRANGER: [u8; 4] = [0xde, 0xad, 0xbe, 0xef];

/// A building that says what the gateway counted when its test fails.
struct Building(Site);

impl Deref for Building {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.0
    }
}

impl DerefMut for Building {
    fn deref_mut(&mut self) -> &mut Site {
        &mut self.0
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        // The gateway may be what has ended.
        let page = catch_unwind(AssertUnwindSafe(|| self.0.get("/metrics").1)).unwrap_or_default();
        let is_told =
            |line: &&str| ["kalitka_osdp_", "kalitka_ask_", "kalitka_report_"].iter().any(|of| line.starts_with(of));
        let is_news = |line: &&str| !line.ends_with(" 0") && !line.contains("_bucket{");
        page.lines().filter(is_told).filter(is_news).for_each(|line| println!("{line}"));
    }
}

/// A building whose reader 101 is an OSDP device at address 5 of `line`.
fn site(line: &Line) -> Building {
    let mut site = Site::new(HOLDERS);
    plug_in(line, &site);
    let port = site.path("line");
    let port = port.display();
    site.configure_also(&format!(
        "[[osdp]]\nport = \"{port}\"\nbaud = 115200\n[[osdp.devices]]\naddress = 5\nreader = {}\nrelease = 0\n\
         inputs = {{ rotation_entry = 0, tamper = 3 }}\ndisplay = true\n",
        READER.0
    ));
    site.start();
    site.offer(&site.build(10));
    site.await_generation(10);
    Building(site)
}

/// Gives the line's port the name that the gateway knows, as an adapter gets its name back wherever it is plugged in.
fn plug_in(line: &Line, site: &Site) {
    let (name, new) = (site.path("line"), site.path("line.new"));
    symlink(&line.port, &new).unwrap();
    fs::rename(new, name).unwrap();
}

/// A device that has been given its key and is in service.
fn enrolled(line: &Line, site: &Site) -> Peripheral {
    let mut device = Peripheral::start(line, 5, None);
    await_state(site, "refused");
    assert_eq!(status(site)["alarm"], "not_enrolled");
    site.ask(&["osdp", "enrol", "--reader", "101", "--for", "60s"]);
    device.await_said("its key", |said| said["command"] == "keyset");
    await_state(site, "online");
    device
}

fn status(site: &Site) -> Value {
    site.ask(&["osdp", "status"])["devices"][0].clone()
}

fn await_state(site: &Site, state: &str) {
    until(state, BOUND, || (status(site)["state"] == state).then_some(()));
}

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// Waits until the key that the device has shown is on the disk.
fn await_keys(site: &Site) {
    let keys = || fs::read_to_string(site.path("state/osdp.keys")).is_ok_and(|keys| keys.contains(" set "));
    until("the device's key on the disk", BOUND, || keys().then_some(()));
}

/// The green LED of a grant or another of a denial.
fn is_green(led: &Value) -> bool {
    led["on_color"] == 2
}

/// What a device was told about a card, in this order.
enum Answer {
    /// All of it.
    Whole(Vec<Value>),
    /// No more of it: its channel broke, and has been opened anew.
    Broken(Vec<Value>),
    /// That it is refused, because the core did not say so in time.
    NotInTime,
}

/// How often somebody had to show a card, and how often in vain.
#[derive(Default)]
struct Shows {
    all: u64,
    broken: u64,
    not_in_time: u64,
    /// Green lights of answers that were not told whole.
    green: u64,
}

impl Shows {
    const fn in_vain(&self) -> u64 {
        self.broken + self.not_in_time
    }

    /// Shows a card, again when it is not answered whole; gives the commands of the answer.
    fn show(&mut self, device: &mut Peripheral, site: &Site, uid: &[u8]) -> Vec<Value> {
        for _ in 0..SHOWS_MAX {
            self.all += 1;
            let before = unanswered(site);
            device.show(u8::try_from(uid.len() * 8).unwrap(), uid);
            let partly = match answer(device, site, before) {
                Answer::Whole(commands) => return commands,
                Answer::Broken(commands) => {
                    self.broken += 1;
                    commands
                }
                Answer::NotInTime => {
                    self.not_in_time += 1;
                    Vec::new()
                }
            };
            let is_released = partly.iter().any(|said| said["command"] == "output");
            let is_lit = |green| partly.iter().any(|said| said["command"] == "led" && is_green(said) == green);
            assert!(!is_released || !is_lit(false), "released and refused: {partly:?}");
            self.green += u64::from(is_lit(true));
        }
        panic!("a card was shown {SHOWS_MAX} times and not answered once");
    }
}

fn unanswered(site: &Site) -> f64 {
    site.metric("kalitka_osdp_cards_unanswered_total", "")
}

/// What the device is told until the text, which comes last. What the gateway refuses by itself it says without a text, and
/// counts beyond `before`.
fn answer(device: &mut Peripheral, site: &Site, before: f64) -> Answer {
    let (since, mut told) = (Instant::now(), Vec::new());
    loop {
        match device.hear(SILENCE) {
            Some(said) if said["secure"] == false => {
                await_channel(device, site, &mut told);
                return Answer::Broken(told);
            }
            Some(said) if said["command"] == "text" => {
                told.push(said);
                return Answer::Whole(told);
            }
            Some(said) if said["command"].is_string() => told.push(said),
            Some(_) => {}
            None if told.len() >= 2 && unanswered(site) > before => return Answer::NotInTime,
            None => assert!(since.elapsed() < BOUND, "waited {BOUND:?} in vain for the rest of an answer: {told:?}"),
        }
    }
}

/// Waits until the channel is open again and nothing waits for the device any more; what still comes is of the same card.
fn await_channel(device: &mut Peripheral, site: &Site, told: &mut Vec<Value>) {
    loop {
        device.await_said("its channel", |said| said["secure"] == true);
        await_state(site, "online");
        let said = device.let_say(ACTS_WAIT_AT_MOST);
        let is_open = said.iter().rev().find_map(|said| said["secure"].as_bool()).unwrap_or(true);
        told.extend(said.into_iter().filter(|said| said["command"].is_string()));
        if is_open {
            return;
        }
    }
}

/// The commands of a whole answer: whether it is a grant. A grant releases first, and a denial releases nothing.
fn is_grant(commands: &[Value]) -> bool {
    let names: Vec<_> = commands.iter().map(|said| said["command"].as_str().unwrap()).collect();
    let led = commands.iter().find(|said| said["command"] == "led").unwrap();
    let expected: &[&str] =
        if is_green(led) { &["output", "led", "buzzer", "text"] } else { &["led", "buzzer", "text"] };
    assert_eq!(names, expected);
    is_green(led)
}

#[test]
fn foreign_device_is_enrolled_reports_every_card_and_is_told_every_answer() {
    let line = Line::new();
    let site = site(&line);
    let mut device = enrolled(&line, &site);
    let oracle = Oracle::read(&site.path("roster")).unwrap();
    let uids: Vec<_> = oracle
        .cards()
        .filter_map(|card| match card {
            Identity::Uid(uid) => Some(uid.clone()),
            Identity::Number(..) => None,
        })
        .collect();
    let count = number_from_environment("KALITKA_OSDP_CARDS", CARDS, CARDS_IN_SOAK);
    let (mut granted, mut shows, mut wrong) = (0, Shows::default(), Vec::new());
    for number in 0..count {
        let uid = if number % 10 == 9 { &STRANGER[..] } else { &uids[usize::try_from(number).unwrap() % uids.len()] };
        let read = CardRead::from_uid(uid).unwrap();
        let judge = || oracle.judge(READER, &read, Direction::Entry, 0, now()).is_grant();
        let before = judge();
        let is_granted = is_grant(&shows.show(&mut device, &site, uid));
        // A schedule's border may have come in between.
        if is_granted != before && is_granted != judge() {
            wrong.push((hex::encode(uid), is_granted));
        }
        granted += u64::from(is_granted);
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(granted > 0 && granted < count);
    let Shows { all, broken, not_in_time, .. } = shows;
    println!(
        "{count} cards shown {all} times; {broken} times the channel broke, {not_in_time} times no answer came in time"
    );
    assert!(shows.in_vain() * AGAIN_ONE_OF <= count, "too many had to be shown again");
    compare(&site, &shows, granted);
}

/// Compares what the gateway has counted with what was shown, and with the grants that the device was told whole.
fn compare(site: &Site, shows: &Shows, granted: u64) {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let [all, broken, in_vain, green, granted] =
        [shows.all, shows.broken, shows.in_vain(), shows.green, granted].map(|count| count as f64);
    let counted = |name: &str, labels: &str| site.metric(name, labels);
    let cards = counted("kalitka_osdp_cards_total", "");
    assert!(cards <= all && all - cards <= broken, "{cards} of {all} cards came; the channel broke {broken} times");
    assert_eq!(counted("kalitka_osdp_cards_unanswered_total", "no_key"), 0.0, "a reader has its key before its device");
    let unanswered = unanswered(site);
    let late = counted("kalitka_osdp_cards_unanswered_total", "late");
    assert!(unanswered <= in_vain, "{unanswered} {in_vain}");
    let passed = counted("kalitka_ask_granted_total", "");
    let decided = passed + counted("kalitka_ask_denied_total", "");
    assert!(decided <= cards - (unanswered - late) && cards - unanswered <= decided, "each is decided once: {decided}");
    assert!(granted + green <= passed && passed - granted <= in_vain, "{granted} and {green} of {passed}");
    assert_eq!(counted("kalitka_osdp_decision_seconds_count", ""), cards - unanswered);
    assert!(counted("kalitka_osdp_bus_seconds_count", "") > cards);
    assert!(counted("kalitka_osdp_alarms_total", "wrong_key") <= broken);
}

/// A card that is granted now.
fn granted_card(site: &Site) -> Box<[u8]> {
    let oracle = Oracle::read(&site.path("roster")).unwrap();
    let granted = oracle.cards().find_map(|card| match card {
        Identity::Uid(uid)
            if oracle.judge(READER, &CardRead::from_uid(uid)?, Direction::Entry, 0, now()).is_grant() =>
        {
            Some(uid.clone())
        }
        _ => None,
    });
    granted.unwrap()
}

/// Waits until `count` reports of `kind` are taken, and a receipt has gone out, which only durable ones get.
fn await_reports(site: &Site, kind: &str, count: f64) {
    until(kind, BOUND, || (site.metric("kalitka_report_taken_total", kind) >= count).then_some(()));
    until("a receipt", BOUND, || (site.metric("kalitka_report_receipts_total", "") >= 1.0).then_some(()));
}

#[test]
fn release_goes_out_on_a_grant_alone_and_what_follows_is_reported() {
    let line = Line::new();
    let site = site(&line);
    let mut device = enrolled(&line, &site);
    let mut shows = Shows::default();
    assert!(!is_grant(&shows.show(&mut device, &site, &STRANGER)));
    let commands = shows.show(&mut device, &site, &granted_card(&site));
    assert!(is_grant(&commands));
    let release = &commands[0];
    assert_eq!((&release["output_no"], &release["control_code"]), (&Value::from(0), &Value::from(5)));
    device.set_inputs([1, 0, 0, 0]);
    await_reports(&site, "passed", 1.0);
    // Behind a start whoever passes unawaited has not forced the portal either.
    let follows = || site.metric("kalitka_report_passed_total", "granted") >= 1.0;
    until("a pass that follows its grant", BOUND, || follows().then_some(()));
    assert_eq!(site.metric("kalitka_report_taken_total", "forced"), 0.0);
    device.set_inputs([0, 0, 0, 1]);
    await_reports(&site, "tamper", 1.0);
    assert!(site.metric("kalitka_report_received_total", "") >= 2.0);
}

#[test]
fn status_that_a_device_is_asked_for_is_what_it_says() {
    let line = Line::new();
    let mut site = site(&line);
    let mut device = enrolled(&line, &site);
    device.set_inputs([0, 1, 0, 0]);
    await_reports(&site, "input_change", 1.0);
    device.set_local(1, 1);
    await_reports(&site, "tamper", 1.0);
    assert_eq!(site.metric("kalitka_osdp_power_failed", "101"), 1.0);
    await_keys(&site);
    device.said();
    site.gateway().kill();
    site.start();
    await_state(&site, "online");
    for status in ["local", "inputs", "outputs"] {
        device.await_said(status, |said| said["status"] == status);
    }
    assert_eq!(site.metric("kalitka_osdp_power_failed", "101"), 1.0);
    // Of an input of which it had heard nothing it would know of no change.
    device.set_inputs([0, 0, 1, 0]);
    await_reports(&site, "input_change", 2.0);
}

#[test]
fn device_that_loses_its_power_comes_back_by_its_key_and_one_with_another_key_is_refused() {
    let line = Line::new();
    let site = site(&line);
    let mut device = enrolled(&line, &site);
    let key = device.key.clone().unwrap();
    drop(device);
    await_state(&site, "offline");
    device = Peripheral::start(&line, 5, Some(&key));
    await_state(&site, "online");
    Shows::default().show(&mut device, &site, &STRANGER);
    drop(device);
    await_state(&site, "offline");
    for wrong in [Some("00112233445566778899aabbccddeeff"), None] {
        let alarms = site.metric("kalitka_osdp_alarms_total", "wrong_key");
        let mut device = Peripheral::start(&line, 5, wrong);
        await_state(&site, "refused");
        assert_eq!(status(&site)["alarm"], "wrong_key");
        assert_eq!(site.metric("kalitka_osdp_alarms_total", "wrong_key"), alarms + 1.0);
        let cards = site.metric("kalitka_osdp_cards_total", "");
        device.show(32, &STRANGER);
        let polls = site.metric("kalitka_osdp_bus_seconds_count", "");
        until("it to be asked again", BOUND, || {
            (site.metric("kalitka_osdp_bus_seconds_count", "") > polls).then_some(())
        });
        assert_eq!(site.metric("kalitka_osdp_cards_total", ""), cards);
        assert!(device.said().iter().all(|said| said["command"].is_null()), "nothing is said to it");
        drop(device);
        await_state(&site, "offline");
    }
    let _device = Peripheral::start(&line, 5, Some(&key));
    await_state(&site, "online");
}

#[test]
fn gateway_that_is_started_again_knows_its_devices() {
    let line = Line::new();
    let mut site = site(&line);
    let mut device = enrolled(&line, &site);
    await_keys(&site);
    site.gateway().kill();
    site.start();
    await_state(&site, "online");
    assert_eq!(status(&site)["alarm"], Value::Null);
    device.said();
    let mut shows = Shows::default();
    shows.show(&mut device, &site, &STRANGER);
    compare(&site, &shows, 0);
}

#[test]
fn line_that_is_pulled_out_and_plugged_in_again_is_served_again() {
    let line = Line::new();
    let site = site(&line);
    let mut device = enrolled(&line, &site);
    let key = device.key.clone().unwrap();
    device.said();
    drop((device, line));
    until("the port to be gone", BOUND, || (site.metric("kalitka_osdp_port_up", "line") == 0.0).then_some(()));
    let line = Line::new();
    plug_in(&line, &site);
    device = Peripheral::start(&line, 5, Some(&key));
    until("the port to be back", BOUND, || (site.metric("kalitka_osdp_port_up", "line") == 1.0).then_some(()));
    await_state(&site, "online");
    Shows::default().show(&mut device, &site, &STRANGER);
    assert_eq!(site.get("/healthz").0, 200);
}
