//! Whole runs against a gateway that answers as it is told to.
#![allow(clippy::unwrap_used, reason = "a test that unwraps what is not there fails as it should")]

mod fake;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake::{Decide, FakeGateway, Taken};
use kalitka_loadgen::arrivals::Profile;
use kalitka_loadgen::compare::Comparison;
use kalitka_loadgen::deck::Show;
use kalitka_loadgen::fleet::{Fleet, REPORT_MEMORY, wall_seconds};
use kalitka_loadgen::hub::Hub;
use kalitka_loadgen::keys::{self, ReaderKey};
use kalitka_loadgen::oracle::Oracle;
use kalitka_loadgen::play::{Plan, Stage, warm_up};
use kalitka_loadgen::roster;
use kalitka_loadgen::run::{Files, Target, run};
use kalitka_loadgen::stages::{Mishap, Mishaps};
use kalitka_loadgen::summary::Summary;
use kalitka_loadgen::tally::{Judges, Mark, Tally};
use kalitka_protocol::ReaderId;
use kalitka_protocol::credential::CardRead;
use kalitka_protocol::message::{Report, ReportKind};
use kalitka_protocol::reader::Happening;
use kalitka_protocol::reason::{Denial, Direction, Verdict};

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
    let (duration, receipts_within) = (Duration::from_secs(1), Duration::from_secs(5));
    Plan { profile, rate: 200, duration, seed: 1, receipts_within }
}

/// Writes the roster of a school of 200 holders that has lessons at all times, so that the hour of the test does not matter.
fn school(folder: &Path) {
    roster::write(folder, 200, 1).unwrap();
    let building = folder.join("building.toml");
    let all_week =
        r#"intervals = [{ days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], from = "00:00", to = "24:00" }]"#;
    let mut lines = Vec::new();
    let (mut name, mut skipping) = (String::new(), false);
    for line in fs::read_to_string(&building).unwrap().lines() {
        name = line.strip_prefix("name = ").map_or(name, str::to_owned);
        if line.starts_with("modes = ") {
            continue;
        }
        if name == "\"lessons\"" && line.starts_with("intervals = [") {
            lines.push(all_week.to_owned());
            skipping = !line.ends_with(']');
        } else if skipping {
            skipping = line != "]";
        } else {
            lines.push(line.to_owned());
        }
    }
    fs::write(building, lines.join("\n")).unwrap();
}

/// Runs `profile` for a second against a gateway that decides by what `decide` makes of the roster's oracle.
fn play(
    profile: Profile,
    mishaps: Mishaps,
    files: &Files,
    decide: fn(Oracle) -> Decide,
) -> (Summary, Tally, FakeGateway) {
    let dir = tempfile::tempdir().unwrap();
    school(dir.path());
    let gateway = FakeGateway::start(PSK, decide(oracle(dir.path())));
    let judges = Judges::from(GENERATION, oracle(dir.path()));
    let mut stage = Mishap::new(mishaps, 1);
    let stop = AtomicBool::new(false);
    let keys = reader_keys();
    let (summary, tally) = run(gateway.target(&keys), judges, plan(profile), &mut stage, files, &stop).unwrap();
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
    let path = |name| Some(dir.path().join(name));
    let files = Files { json: path("run.json"), hdr: path("run.hdr"), svg: path("run.svg") };
    for profile in [Profile::Morning, Profile::Steady] {
        let (summary, ..) = play(profile, Mishaps::default(), &files, right);
        assert_eq!((summary.asks, summary.answered, summary.wrong, summary.unanswered), (200, 200, 0, 0));
        assert_eq!((summary.sessions, summary.fall_backs, summary.dropped), (8, 0, 0));
        let line = summary.result_line();
        let receipted = format!("passes_receipted={} passes_at_hub=- lost=- duplicated=-", summary.reports_receipted);
        assert!(line.starts_with(&format!("RESULT asks=200 answered=200 wrong=0 {receipted} p50_us=")), "{line}");
    }
    let log = fs::read_to_string(dir.path().join("run.hdr")).unwrap();
    assert!(log.lines().any(|row| row.starts_with("0.000,1.000,")), "{log}");
    assert!(dir.path().join("run.json").exists());
    assert!(fs::read_to_string(dir.path().join("run.svg")).unwrap().contains("<polyline"));
}

#[test]
fn every_report_is_kept_until_it_is_receipted() {
    let mishaps = Mishaps { power_cut_every: Duration::from_millis(300), ..Mishaps::default() };
    let (summary, _, gateway) = play(Profile::Steady, mishaps, &Files::default(), right);
    let taken = gateway.taken.lock().unwrap().len() as u64;
    assert!(taken > 50, "{taken}");
    assert_eq!((summary.reports, summary.reports_receipted, summary.reports_waiting), (taken, taken, 0));
    assert!(summary.receipt_us.max > 0);
}

#[test]
fn reports_profile_asks_nothing_and_reports_without_a_pause() {
    let (summary, _, gateway) = play(Profile::Reports, Mishaps::default(), &Files::default(), right);
    assert_eq!((summary.asks, summary.reports_waiting, summary.reports_lost), (0, 0, 0));
    assert!(summary.reports > 1000, "{}", summary.reports);
    assert_eq!(summary.reports, gateway.taken.lock().unwrap().len() as u64);
}

#[test]
fn what_finds_no_room_is_told_later_and_on_the_list() {
    let dir = tempfile::tempdir().unwrap();
    school(dir.path());
    let gateway = FakeGateway::start(PSK, right(oracle(dir.path())));
    gateway.takes_nothing.store(true, Ordering::Relaxed);
    let mut fleet = Fleet::open(gateway.address, &reader_keys()[..1], 1, true).unwrap();
    let clock = warm_up(&mut fleet, &AtomicBool::new(false)).unwrap();
    let (kind, direction) = (ReportKind::Forced, None);
    let happening = Happening { kind, direction, request: None, input: 0, unasked: false, card: None };
    let kept = (0..REPORT_MEMORY + 5).filter(|_| fleet.report(clock.elapsed(), 0, happening)).count();
    assert_eq!((kept, fleet.reports()), (REPORT_MEMORY, (REPORT_MEMORY, 5)));
    gateway.takes_nothing.store(false, Ordering::Relaxed);
    while fleet.reports().0 > 0 && clock.elapsed() < Duration::from_secs(20) {
        fleet.turn(clock.elapsed()).unwrap();
        for place in fleet.wait(Duration::from_millis(20)).unwrap() {
            fleet.receive(place, || clock.elapsed()).unwrap();
        }
    }
    assert_eq!((fleet.book().kept(), fleet.book().untold()), (REPORT_MEMORY as u64 + 1, 5));
    let mut comparison = Comparison::new(fleet.book(), true);
    for (place, (reader, report)) in gateway.taken.lock().unwrap().iter().enumerate() {
        comparison.take(&format!("{{\"order\":{},{}", place + 1, record(*reader, report))).unwrap();
    }
    let found = comparison.finish();
    assert!(found.is_good(), "{found:?}");
}

#[test]
fn command_is_done_once_however_often_it_comes_and_whatever_happens_to_the_reader() {
    let mishaps = Mishaps { power_cut_every: Duration::from_millis(200), ..Mishaps::default() };
    let (summary, ..) = play(Profile::Reports, mishaps, &Files::default(), right);
    assert_eq!(summary.commands, 8);
}

/// What becomes of the records of a hub that cannot be trusted.
type Spoil = fn(&mut Vec<String>);

/// Keeps in a file, as a hub does in its store, what a gateway has receipted; `spoil` spoils it.
struct Recorder {
    taken: Arc<Mutex<Taken>>,
    file: PathBuf,
    len: usize,
    spoil: Spoil,
}

impl Stage for Recorder {
    fn turn(&mut self, _: Duration, _: Duration, _: &mut Fleet, _: &mut Tally) -> std::io::Result<()> {
        let taken = self.taken.lock().unwrap();
        if taken.len() == self.len {
            return Ok(());
        }
        self.len = taken.len();
        let mut records: Vec<String> = taken.iter().map(|(reader, report)| record(*reader, report)).collect();
        (self.spoil)(&mut records);
        let lines = records.iter().enumerate().map(|(place, record)| format!("{{\"order\":{},{record}\n", place + 1));
        fs::write(&self.file, lines.collect::<String>())
    }

    fn next(&self) -> Duration {
        Duration::MAX
    }
}

/// A hub's JSON of a report, but for the order before it.
fn record(reader: ReaderId, report: &Report) -> String {
    let json = serde_json::json!({
        "kind": "report", "reader": reader.0, "log": format!("{:016x}", report.log.0), "report": report.number,
        "boot": format!("{:016x}", report.boot.0), "request": report.request, "count": report.count,
        "report_kind": report.kind.label(), "direction": report.direction.map(Direction::label), "input": report.input,
        "unasked": report.unasked, "card": report.card.map(|card| hex::encode(card.to_bytes())),
    });
    json.to_string().replacen('{', "", 1)
}

/// A run against a hub that holds what `spoil` makes of the reports.
fn play_to_hub(spoil: Spoil) -> Summary {
    let dir = tempfile::tempdir().unwrap();
    school(&dir.path().join("roster"));
    let oracle = || oracle(&dir.path().join("roster"));
    let gateway = FakeGateway::start(PSK, right(oracle()));
    let (script, program, file) = (dir.path().join("hub.sh"), dir.path().join("hub"), dir.path().join("lines"));
    let after = "awk -F '[:,]' -v after=\"$5\" '$2 > after'";
    fs::write(&script, format!("#!/bin/sh\n{after} '{}'\n", file.display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
    // Copied by another process: what somebody has open for writing, a test that forks at the wrong moment among them,
    // cannot be run.
    assert!(Command::new("cp").args([&script, &program]).status().unwrap().success());
    let within = Duration::from_millis(500);
    let hub = Hub { program, socket: dir.path().join("control"), building: 17, is_alone: true, within };
    let keys = reader_keys();
    let target = Target { hub: Some(&hub), ..gateway.target(&keys) };
    let mut stage = Recorder { taken: Arc::clone(&gateway.taken), file, len: 0, spoil };
    let (judges, stop) = (Judges::from(GENERATION, oracle()), AtomicBool::new(false));
    run(target, judges, plan(Profile::Steady), &mut stage, &Files::default(), &stop).unwrap().0
}

#[test]
fn hub_that_holds_what_was_receipted_is_well() {
    let summary = play_to_hub(|_| {});
    assert!(summary.is_well_at_hub(), "{}", summary.table());
    let receipted = summary.reports_receipted;
    let says = format!(" passes_receipted={receipted} passes_at_hub={receipted} lost=0 duplicated=0 ");
    assert!(receipted > 50 && summary.result_line().contains(&says), "{}", summary.result_line());
}

#[test]
fn hub_that_lost_doubled_altered_or_made_up_a_report_is_found_out() {
    let faults: [(Spoil, [u64; 4]); 4] = [
        (|records| drop(records.remove(0)), [1, 0, 0, 0]),
        (|records| records.push(records[0].clone()), [0, 1, 0, 0]),
        (
            |records| records[0] = records[0].replace("entry", "exit").replace("\"request\":", "\"request\":9"),
            [1, 0, 1, 0],
        ),
        (|records| records.push(records[0].replace("\"report\":", "\"report\":99")), [0, 0, 0, 1]),
    ];
    for (spoil, expected) in faults {
        let summary = play_to_hub(spoil);
        let found = summary.at_hub.as_ref().unwrap();
        assert_eq!([found.lost, found.duplicated, found.altered, found.foreign], expected, "{}", summary.table());
        assert!(!summary.is_well_at_hub());
    }
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

/// Wants three more cards to be shown.
struct Encore(u32);

impl Stage for Encore {
    fn turn(&mut self, _: Duration, _: Duration, _: &mut Fleet, _: &mut Tally) -> std::io::Result<()> {
        Ok(())
    }

    fn next(&self) -> Duration {
        Duration::MAX
    }

    fn encore(&mut self) -> Option<(usize, Show, Mark)> {
        self.0 = self.0.checked_sub(1)?;
        let card = CardRead::from_uid(&[0xff; 4]).unwrap();
        Some((0, Show { card, direction: Direction::Entry }, Mark::BySnapshot))
    }
}

#[test]
fn run_goes_on_while_its_stage_wants_cards_to_be_shown() {
    let dir = tempfile::tempdir().unwrap();
    school(dir.path());
    let gateway = FakeGateway::start(PSK, right(oracle(dir.path())));
    let judges = Judges::from(GENERATION, oracle(dir.path()));
    let keys = reader_keys();
    let stop = AtomicBool::new(false);
    let (summary, _) =
        run(gateway.target(&keys), judges, plan(Profile::Steady), &mut Encore(3), &Files::default(), &stop).unwrap();
    assert_eq!((summary.asks, summary.answered, summary.wrong), (203, 203, 0));
    assert!(summary.seconds >= 1.2, "{}", summary.seconds);
}

#[test]
fn readers_without_sessions_end_the_run_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    school(dir.path());
    let gateway = FakeGateway::start([8; 32], right(oracle(dir.path())));
    let judges = Judges::from(GENERATION, oracle(dir.path()));
    let (mut stage, stop) = (Mishap::new(Mishaps::default(), 1), AtomicBool::new(false));
    let keys = reader_keys();
    let run = run(gateway.target(&keys), judges, plan(Profile::Steady), &mut stage, &Files::default(), &stop);
    let error = run.err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}

#[test]
fn key_file_is_kept_from_others_and_read_as_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("readers.json");
    keys::write(&path, &reader_keys()).unwrap();
    assert_eq!(keys::read(&path).unwrap().len(), 8);
    assert_eq!(keys::write(&path, &reader_keys()).unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
    for mode in [0o640, 0o604, 0o660] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(keys::read(&path).is_err(), "{mode:o}");
    }
}

#[test]
fn key_files_of_every_wrong_kind_are_refused() {
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
        fs::write(&path, &text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(keys::read(&path).is_err(), "{text}");
    }
}

#[test]
fn every_card_is_answered_or_counted_as_unanswered() {
    let (summary, ..) = play(Profile::Steady, Mishaps::default(), &Files::default(), |_| Box::new(|_, _| None));
    assert_eq!((summary.asks, summary.answered, summary.unanswered), (200, 0, 200));
}
