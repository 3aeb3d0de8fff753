//! A gateway whose snapshot has become too old by the operator's word.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::fs;
use std::time::{Duration, Instant};

use kalitka_protocol::reason::{Denial, Grant, Verdict};
use kalitka_snapshot::roster::Roster;
use rustix::process::Signal;
use support::clock::WallClock;
use support::reader::TestReader;
use support::{BUILDING, Gateway, PATIENCE, READER, Site, gateway, publisher};

/// 2026-11-23 10:00 UTC, when the first snapshot was made.
const CREATED: i64 = 1_795_428_000;
const DAY: i64 = 24 * 3600;
/// The first second at which it is stale.
const BORDER: i64 = CREATED + 30 * DAY;
const HALF_A_YEAR: i64 = 183 * DAY;

const PUPIL: [u8; 4] = [4, 1, 1, 1];
const GUEST: [u8; 4] = [4, 2, 2, 2];

const GRANT: Verdict = Verdict::Grant(Grant::AccessLevel);
const STALE: Verdict = Verdict::Deny(Denial::PermissionsStale);
const GAUGE: &str = "kalitka_snapshot_stale";
const DENIED: &str = "kalitka_ask_denied_total{reason=\"permissions_stale\"}";
const JUMPS: &str = "kalitka_clock_jumps_total";
const BECOMES: &str = "the snapshot is stale: it is older than snapshots.stale_after_days, and only access levels of time.essential \
     count; publish a new one, and see why none has come";
const IS_OVER: &str = "the snapshot is not stale any more, and all its permissions count";

/// A signed snapshot of a pupil and a guest, who may always pass.
fn snapshot(generation: u32, created: i64) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let building = format!(
        "[building]\nnumber = {BUILDING}\norganisation = 3\nname = \"School\"\ntime_zone = \"UTC\"\n[[area]]\nname = \"street\"\n\
         [[area]]\nname = \"hall\"\n[[portal]]\nname = \"turnstile\"\nfrom = \"street\"\nto = \"hall\"\n[[reader]]\n\
         number = {READER}\nportal = \"turnstile\"\nshapes = [\"uid\"]\n[[access_level]]\nname = \"pupil\"\n\
         grants = [ {{ portals = [\"*\"] }} ]\n[[access_level]]\nname = \"guest\"\ngrants = [ {{ portals = [\"*\"] }} ]\n"
    );
    let people = "holder,kind,group,state,access_levels,valid_from,valid_to\n\
                  p1,pupil,1A,active,pupil,,\ng1,guest,,active,guest,,\n";
    let cards = "card,holder,state,valid_from,valid_to,blocked_until\nuid:04010101,p1,issued,,,\n\
                 uid:04020202,g1,issued,,,\n";
    for (name, text) in [("building.toml", building.as_str()), ("people.csv", people), ("cards.csv", cards)] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let roster = Roster::read(folder.path()).unwrap();
    let (unsigned, _) = kalitka_snapshot::build(&roster, generation, created, 0).unwrap();
    kalitka_snapshot::sign(unsigned, &publisher()).unwrap()
}

/// A site with the first snapshot, whose permissions count for thirty days, and its clock, which somebody keeps.
fn site(wall: i64) -> (Site, WallClock) {
    let site = Site::new();
    site.reconfigure("trust = \"always\"", "trust = \"synchronised\"");
    site.reconfigure("poll_ms = 10\n", "poll_ms = 10\nstale_after_days = 30\n");
    site.put("first", &snapshot(1, CREATED));
    let clock = WallClock::new(&site, us(wall));
    clock.keep(true);
    (site, clock)
}

const fn us(second: i64) -> i64 {
    second * 1_000_000
}

fn ask_until(reader: &mut TestReader, card: [u8; 4], verdict: Verdict) {
    let deadline = Instant::now() + PATIENCE;
    while reader.ask(&card) != verdict {
        assert!(Instant::now() < deadline, "never {verdict:?}");
        assert!(reader.receive(&mut [0; 64], Duration::from_millis(1)).is_none());
    }
}

/// Waits until the gauge says whether the snapshot is stale, and status says the same.
fn await_told(running: &Gateway, site: &Site, is_stale: bool) {
    let deadline = Instant::now() + PATIENCE;
    while (running.metric(GAUGE) > 0.5) != is_stale {
        assert!(Instant::now() < deadline, "the gauge never says {is_stale}");
    }
    while running.ask(r#"{"verb":"status"}"#)["snapshot"]["is_stale"] != is_stale {
        assert!(Instant::now() < deadline, "status never says {is_stale}");
    }
    let text = gateway(&["snapshot", "status", "--config", &site.config()]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert_eq!(text.contains("only essential access levels pass"), is_stale, "{text}");
}

fn reader(running: &Gateway) -> TestReader {
    let mut reader = TestReader::new(running.udp, READER, running.add_reader(READER));
    reader.shake_hands(1);
    reader
}

#[test]
fn box_that_was_off_for_half_a_year_lets_essential_levels_pass_and_a_fresh_snapshot_everybody() {
    let (site, clock) = site(CREATED + DAY);
    let mut running = clock.start(&site);
    let mut reader = reader(&running);
    assert_eq!([reader.ask(&GUEST), reader.ask(&PUPIL)], [GRANT; 2]);
    running.signal(Signal::TERM);
    assert!(running.wait().success());
    clock.set(us(CREATED + HALF_A_YEAR));
    let running = clock.start(&site);
    let mut reader = reader.moved(running.udp);
    reader.shake_hands(2);
    assert_eq!([reader.ask(&GUEST), reader.ask(&PUPIL)], [STALE, GRANT]);
    await_told(&running, &site, true);
    let denied = running.metric(DENIED);
    assert!(denied >= 1.0, "{denied} counted");
    assert_eq!(running.ask(r#"{"verb":"status"}"#)["snapshot"]["stale_from"], BORDER);
    site.put("second", &snapshot(2, CREATED + HALF_A_YEAR - DAY));
    ask_until(&mut reader, GUEST, GRANT);
    assert_eq!(reader.ask(&PUPIL), GRANT);
    running.await_log(IS_OVER);
    await_told(&running, &site, false);
}

#[test]
fn snapshot_becomes_stale_while_the_gateway_runs_and_that_is_said_once() {
    let (site, clock) = site(BORDER - 3600);
    let mut running = clock.start(&site);
    let mut reader = reader(&running);
    assert_eq!([reader.ask(&GUEST), reader.ask(&PUPIL)], [GRANT; 2]);
    await_told(&running, &site, false);
    clock.set(us(BORDER));
    ask_until(&mut reader, GUEST, STALE);
    assert_eq!(reader.ask(&PUPIL), GRANT);
    let line = running.await_log(BECOMES);
    assert_eq!(line["level"], "WARN");
    await_told(&running, &site, true);
    // A clock that is set back makes it no younger: time goes on from where it was.
    let jumps = running.metric(JUMPS);
    clock.set(us(CREATED));
    running.await_metric(JUMPS, jumps + 1.0);
    assert_eq!([reader.ask(&GUEST), reader.ask(&PUPIL)], [STALE, GRANT]);
    running.signal(Signal::TERM);
    let again = running.log_to_the_end();
    assert!(running.wait().success());
    assert!(
        !again.is_empty() && again.iter().all(|line| !line.contains(BECOMES) && !line.contains(IS_OVER)),
        "{again:?}"
    );
}

#[test]
fn without_the_operators_word_no_snapshot_is_ever_stale() {
    let (site, clock) = site(CREATED + 10 * 365 * DAY);
    site.reconfigure("stale_after_days = 30\n", "");
    let running = clock.start(&site);
    let mut reader = reader(&running);
    assert_eq!([reader.ask(&GUEST), reader.ask(&PUPIL)], [GRANT; 2]);
    await_told(&running, &site, false);
    assert!(running.metric(DENIED).abs() < 0.5);
}
