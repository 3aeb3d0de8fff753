//! A gateway whose wall clock is unset, jumps forward and back, and is kept by somebody or by nobody.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kalitka_protocol::event::{Body, ClockQuality, EventHeader};
use kalitka_protocol::reason::{Denial, Grant, Verdict};
use kalitka_snapshot::roster::Roster;
use rustix::process::Signal;
use support::clock::WallClock;
use support::reader::TestReader;
use support::{BUILDING, Gateway, PATIENCE, Site, each_event, outbox_of, publisher};

/// 2026-11-23 10:00 UTC, a Monday, when the snapshot was made.
const CREATED: i64 = 1_795_428_000;
const HOUR: i64 = 3600;
/// Second at which a pupil's card ends: 14:00 on that day.
const END: i64 = CREATED + 4 * HOUR;

const PUPIL: [u8; 4] = [4, 1, 1, 1];
const GUEST: [u8; 4] = [4, 2, 2, 2];
/// A pupil's whose card ends.
const LEAVER: [u8; 4] = [4, 3, 3, 3];
const CARDS: [[u8; 4]; 3] = [PUPIL, GUEST, LEAVER];

const READERS: u32 = 6;

fn building() -> String {
    let readers = (101..101 + READERS)
        .map(|number| format!("[[reader]]\nnumber = {number}\nportal = \"turnstile\"\nshapes = [\"uid\"]\n"));
    let readers: String = readers.collect();
    format!(
        r#"
[building]
number = {BUILDING}
organisation = 3
name = "School"
time_zone = "UTC"
[[area]]
name = "street"
[[area]]
name = "hall"
[[schedule]]
name = "lessons"
intervals = [ {{ days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], from = "08:00", to = "12:00" }} ]
[[portal]]
name = "turnstile"
from = "street"
to = "hall"
{readers}
[[access_level]]
name = "pupil"
grants = [ {{ portals = ["*"], schedule = "lessons" }} ]
[[access_level]]
name = "guest"
grants = [ {{ portals = ["*"], schedule = "lessons" }} ]
"#
    )
}

/// A site that takes the kernel's word, with a snapshot made at [`CREATED`].
fn site() -> Site {
    let folder = tempfile::tempdir().unwrap();
    let people = "holder,kind,group,state,access_levels,valid_from,valid_to\n\
                  p1,pupil,1A,active,pupil,,\ng1,guest,,active,guest,,\np2,pupil,1A,active,pupil,,\n";
    let cards = "card,holder,state,valid_from,valid_to,blocked_until\nuid:04010101,p1,issued,,,\n\
                 uid:04020202,g1,issued,,,\nuid:04030303,p2,issued,,2026-11-23T14:00,\n";
    for (name, text) in [("building.toml", building().as_str()), ("people.csv", people), ("cards.csv", cards)] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let roster = Roster::read(folder.path()).unwrap();
    let (unsigned, _) = kalitka_snapshot::build(&roster, 1, CREATED, 0).unwrap();
    let site = Site::new();
    site.reconfigure("trust = \"always\"", "trust = \"synchronised\"");
    site.put("first", &kalitka_snapshot::sign(unsigned, &publisher()).unwrap());
    site
}

/// What is right, by the time and quality that an event says it was decided by.
fn right(card: [u8; 4], header: &EventHeader) -> Verdict {
    let second = header.wall_us.div_euclid(1_000_000);
    let in_lessons = (8 * HOUR..12 * HOUR).contains(&second.rem_euclid(24 * HOUR));
    let is_essential = card != GUEST && header.quality == ClockQuality::Held;
    match header.quality {
        ClockQuality::None => Verdict::Deny(Denial::TimeUnknown),
        _ if card == LEAVER && second >= END => Verdict::Deny(Denial::CredentialExpired),
        _ if in_lessons || is_essential => Verdict::Grant(Grant::AccessLevel),
        _ => Verdict::Deny(Denial::OutsideSchedule),
    }
}

/// What a stopped gateway has kept.
#[derive(Default)]
struct Kept {
    headers: Vec<EventHeader>,
    /// Of decisions and reports.
    workers: Vec<EventHeader>,
    reports: usize,
    grants: usize,
    denials: usize,
}

impl Kept {
    fn jumps(&self) -> usize {
        self.headers.iter().filter(|header| header.jumped).count()
    }
}

/// Stops the gateway; each decision that it has kept is right by its own header.
fn stop(mut running: Gateway, site: &Site) -> Kept {
    running.signal(Signal::TERM);
    assert!(running.wait().success());
    let mut outbox = outbox_of(site);
    let head = outbox.head();
    let mut kept = Kept::default();
    each_event(&mut outbox, head.epoch, 1, |event| {
        kept.headers.push(event.header);
        match event.body {
            Body::Report(_) => kept.reports += 1,
            Body::Decision(decision) => {
                let card = CARDS
                    .into_iter()
                    .find(|uid| decision.credential == kalitka_protocol::credential::Credential::from_uid(uid));
                assert_eq!(decision.verdict, right(card.unwrap(), &event.header), "{event:?}");
                *(if decision.verdict.is_grant() { &mut kept.grants } else { &mut kept.denials }) += 1;
            }
            _ => return,
        }
        kept.workers.push(event.header);
    });
    kept
}

fn reader(running: &Gateway, number: u32, stamp: u64) -> TestReader {
    let mut reader = TestReader::new(running.udp, number, running.add_reader(number));
    reader.shake_hands(stamp);
    reader
}

/// Asks until the answer is `verdict`, by the time that is meant.
fn ask_until(reader: &mut TestReader, card: [u8; 4], verdict: Verdict) {
    let deadline = Instant::now() + PATIENCE;
    while reader.ask(&card) != verdict {
        assert!(Instant::now() < deadline, "never {verdict:?}");
        breathe(reader);
    }
}

/// A pause after an ask, in which nothing comes to the reader: the journal keeps up, and no decision is without its event.
fn breathe(reader: &TestReader) {
    assert!(reader.receive(&mut [0; 64], Duration::from_millis(1)).is_none());
}

/// Waits until a metric is `value`; the reader, to which nothing comes meanwhile, keeps the pauses.
fn await_metric(running: &Gateway, reader: &TestReader, name: &str, value: f64) {
    let deadline = Instant::now() + PATIENCE;
    while (running.metric(name) - value).abs() > 0.5 {
        assert!(Instant::now() < deadline, "{name} never is {value}");
        assert!(reader.receive(&mut [0; 64], Duration::from_millis(20)).is_none());
    }
}

const GRANT: Verdict = Verdict::Grant(Grant::AccessLevel);
const OUTSIDE: Verdict = Verdict::Deny(Denial::OutsideSchedule);
const QUALITY: &str = "kalitka_clock_quality";
const JUMPS: &str = "kalitka_clock_jumps_total";

const fn us(second: i64) -> i64 {
    second * 1_000_000
}

#[test]
fn clock_that_is_unset_and_jumps_without_a_word_is_not_decided_by() {
    let site = site();
    let clock = WallClock::new(&site, us(10 * HOUR));
    let running = clock.start(&site);
    let mut reader = reader(&running, 101, 1);
    for card in CARDS {
        assert_eq!(reader.ask(&card), GRANT, "by the snapshot's moment, ten o'clock");
    }
    await_metric(&running, &reader, QUALITY, 1.0);
    assert!(running.metric("kalitka_clock_offset_seconds") < -1e9);
    for (jumps, second) in [(1.0, 13 * HOUR), (2.0, 8 * HOUR), (3.0, END + HOUR), (4.0, END + 365 * 24 * HOUR)] {
        clock.set(us(second));
        await_metric(&running, &reader, JUMPS, jumps);
        for card in CARDS {
            assert_eq!(reader.ask(&card), GRANT, "{second}");
        }
    }
    // Somebody keeps it, an hour after lessons.
    clock.set(us(CREATED + 3 * HOUR));
    await_metric(&running, &reader, JUMPS, 5.0);
    clock.keep(true);
    ask_until(&mut reader, PUPIL, OUTSIDE);
    await_metric(&running, &reader, JUMPS, 6.0);
    assert!(running.metric(QUALITY).abs() < 0.5);
    // Nobody keeps it, and it is set: the time goes on, and children pass.
    clock.keep(false);
    clock.set(us(CREATED + 30 * HOUR));
    ask_until(&mut reader, PUPIL, GRANT);
    assert_eq!([reader.ask(&GUEST), reader.ask(&LEAVER)], [OUTSIDE, GRANT]);
    let kept = stop(running, &site);
    assert_eq!(kept.jumps(), 7);
    let wrong = kept.headers.iter().filter(|header| !(us(CREATED)..us(END)).contains(&header.wall_us)).count();
    assert_eq!(wrong, 0, "events whose time is the wrong clock's");
    assert!(kept.headers.iter().all(|header| header.quality != ClockQuality::None));
}

#[test]
fn start_with_an_unset_clock_goes_on_from_the_newest_event() {
    let site = site();
    let clock = WallClock::new(&site, us(END + HOUR));
    clock.keep(true);
    let running = clock.start(&site);
    let mut reader = reader(&running, 101, 1);
    assert_eq!(reader.ask(&LEAVER), Verdict::Deny(Denial::CredentialExpired));
    stop(running, &site);
    clock.keep(false);
    clock.set(0);
    let running = clock.start(&site);
    let mut reader = reader.moved(running.udp);
    reader.shake_hands(2);
    // The newest event is read when the outbox is open; until then the snapshot says what has passed.
    ask_until(&mut reader, LEAVER, Verdict::Deny(Denial::CredentialExpired));
    assert_eq!(reader.ask(&PUPIL), GRANT);
    stop(running, &site);
}

#[test]
fn clock_that_is_kept_ends_a_schedule_at_its_second() {
    let site = site();
    let clock = WallClock::new(&site, us(CREATED + 2 * HOUR) - 4_000_000);
    clock.keep(true);
    let running = clock.start(&site);
    let mut reader = reader(&running, 101, 1);
    ask_until(&mut reader, GUEST, OUTSIDE);
    let kept = stop(running, &site);
    // Each was right by its header; here the header is right by the clock.
    assert!(kept.grants > 0 && kept.denials == 1, "{} granted, {} denied", kept.grants, kept.denials);
    let last = kept.headers.iter().map(|header| header.wall_us).max().unwrap();
    assert!((us(CREATED + 2 * HOUR)..us(CREATED + 2 * HOUR) + 60_000_000).contains(&last), "{last}");
}

/// What reporters were receipted while `happens` happens, and askers ask all the time.
fn while_a_crowd_passes(running: &Gateway, happens: impl FnOnce()) -> usize {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut receipted = Vec::new();
        for number in 102..101 + READERS {
            let (mut reader, over) = (reader(running, number, 1), &over);
            if number % 2 == 0 {
                scope.spawn(move || {
                    for card in CARDS.into_iter().cycle().take_while(|_| !over.load(Ordering::Relaxed)) {
                        reader.ask(&card);
                        breathe(&reader);
                    }
                });
            } else {
                receipted.push(scope.spawn(move || {
                    let mut number = 0;
                    while !over.load(Ordering::Relaxed) {
                        number += 1;
                        reader.reported(number, false);
                    }
                    usize::try_from(number).unwrap()
                }));
            }
        }
        happens();
        over.store(true, Ordering::Relaxed);
        receipted.into_iter().map(|reporter| reporter.join().unwrap()).sum()
    })
}

#[test]
fn nothing_is_lost_and_all_is_answered_rightly_while_the_clock_jumps_forward_and_back() {
    let site = site();
    let clock = WallClock::new(&site, us(CREATED));
    clock.keep(true);
    let running = clock.start(&site);
    let mut reader = reader(&running, 101, 1);
    assert_eq!(CARDS.map(|card| reader.ask(&card)), [GRANT; 3]);
    let receipted = while_a_crowd_passes(&running, || {
        clock.set(us(CREATED + 3 * HOUR));
        ask_until(&mut reader, GUEST, OUTSIDE);
        assert_eq!(reader.ask(&PUPIL), OUTSIDE, "a jump that somebody vouches for is believed");
        clock.set(us(CREATED - 2 * HOUR));
        ask_until(&mut reader, PUPIL, GRANT);
        assert_eq!(reader.ask(&GUEST), OUTSIDE, "the time goes on from where it was");
        await_metric(&running, &reader, JUMPS, 2.0);
        await_metric(&running, &reader, QUALITY, 1.0);
        clock.set(us(END + HOUR));
        ask_until(&mut reader, LEAVER, Verdict::Deny(Denial::CredentialExpired));
        await_metric(&running, &reader, JUMPS, 3.0);
    });
    for reason in ["plan_missing", "time_unknown", "no_snapshot", "stale"] {
        let denied = running.metric(&format!("kalitka_ask_denied_total{{reason=\"{reason}\"}}"));
        assert!(denied.abs() < 0.5, "{denied} were denied as {reason}");
    }
    let kept = stop(running, &site);
    assert!(receipted > 0 && kept.reports == receipted, "{receipted} receipted, {} kept", kept.reports);
    assert_eq!(kept.jumps(), 3);
    assert!(kept.headers.iter().any(|header| header.quality == ClockQuality::Held));
    assert!(kept.headers.iter().any(|header| header.quality == ClockQuality::Good));
    let numbers: Vec<_> = kept.headers.iter().map(|header| header.number).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    assert!(kept.workers.windows(2).all(|two| two[1].wall_us >= two[0].wall_us - us(60)), "time went back");
}

#[test]
fn snapshot_and_clock_from_before_this_software_deny_everybody_until_one_of_them_is_right() {
    let site = site();
    let old = support::snapshot(1);
    fs::remove_file(site.path("inbox/first")).unwrap();
    site.put("old", &old);
    let clock = WallClock::new(&site, us(CREATED));
    let running = clock.start(&site);
    let mut reader = reader(&running, 101, 1);
    assert_eq!(reader.ask(&support::CARD), Verdict::Deny(Denial::TimeUnknown));
    await_metric(&running, &reader, QUALITY, 2.0);
    clock.keep(true);
    let deadline = Instant::now() + PATIENCE;
    while reader.ask(&support::CARD) != GRANT {
        assert!(Instant::now() < deadline + Duration::from_secs(1));
        breathe(&reader);
    }
    await_metric(&running, &reader, QUALITY, 0.0);
}
