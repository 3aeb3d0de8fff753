//! What is older than is configured leaves the gateway's disk, named where the hub has not had it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use kalitka_protocol::event::Body;
use kalitka_protocol::reason::{Grant, Verdict};
use support::reader::TestReader;
use support::{BUILDING, CARD, Gateway, READER, Site, each_event, outbox_of, publisher, snapshot_made};

const PATIENCE: Duration = Duration::from_secs(60);
const RECORDED: &str = "kalitka_outbox_purged_total{told=\"recorded\"}";
const RENEWALS: &str = "kalitka_outbox_renewals_total";
/// As the roster of the tests has it.
const HOLDER: &[u8] = b"p0001";

fn site(age: &str) -> Site {
    let site = Site::with_snapshot(1);
    site.reconfigure("[log]", &format!("[retention]\nevents = \"{age}\"\n[log]"));
    site
}

fn reader(running: &Gateway) -> TestReader {
    let mut reader = TestReader::new(running.udp, READER, running.add_reader(READER));
    reader.shake_hands(1);
    reader
}

/// Publishes a snapshot that is made now, and waits until it is in force: where nobody vouches for the clock, it says how
/// late it is at least.
fn publish(site: &Site, running: &Gateway, generation: u32) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let bytes = snapshot_made(BUILDING, generation, &publisher(), i64::try_from(now).unwrap());
    site.put(&format!("generation-{generation}"), &bytes);
    running.await_metric("kalitka_snapshot_generation", f64::from(generation));
}

/// Publishes snapshots until `is_done`.
fn publish_until(site: &Site, running: &Gateway, generation: &mut u32, what: &str, is_done: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_done() {
        assert!(Instant::now() < deadline, "{what} within {PATIENCE:?}");
        *generation += 1;
        publish(site, running, *generation);
    }
}

/// Whether `needle` is in any file of the folder but the snapshot in force, which is not of the past.
fn is_in(folder: &Path, needle: &[u8]) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return is_in(&path, needle);
        }
        let bytes = fs::read(&path).unwrap_or_default();
        path.file_name().unwrap() != "snapshot.kalitka" && bytes.windows(needle.len()).any(|window| window == needle)
    })
}

/// Of a stopped gateway's outbox: the numbers held, those that records of purges name, and how many tell of a person.
fn held(site: &Site) -> (Vec<u64>, Vec<(u64, u64)>, usize) {
    let mut outbox = outbox_of(site);
    let (mut numbers, mut purged, mut persons) = (Vec::new(), Vec::new(), 0);
    let epoch = outbox.head().epoch;
    each_event(&mut outbox, epoch, 1, |event| {
        numbers.push(event.header.number);
        match event.body {
            Body::Purged(record) => purged.push((record.first, record.last)),
            Body::Report(_) | Body::Decision(_) => persons += 1,
            _ => {}
        }
    });
    (numbers, purged, persons)
}

#[test]
fn old_events_leave_the_disk_named_and_their_reports_stay_taken() {
    let site = site("3s");
    let running = site.start();
    let mut reader = reader(&running);
    assert_eq!(reader.ask(&CARD), Verdict::Grant(Grant::AccessLevel));
    (1..=5).for_each(|number| reader.reported(number, number == 1));
    assert!(is_in(&site.path("state/outbox"), HOLDER) && is_in(&site.path("state/outbox"), &CARD));
    let mut generation = 1;
    publish_until(&site, &running, &mut generation, "events are purged", || running.metric(RECORDED) >= 7.0);
    let before = running.metric(RENEWALS);
    publish_until(&site, &running, &mut generation, "the store is renewed", || running.metric(RENEWALS) > before);
    assert!(!is_in(&site.path("state"), HOLDER), "a holder that was purged is on the disk");
    assert!(!is_in(&site.path("state"), &CARD), "a card that was purged is on the disk");
    running.kill();
    let (numbers, purged, persons) = held(&site);
    assert_eq!(persons, 0);
    // The newest record names what is missing right before what is held.
    assert!(purged.iter().any(|(_, last)| last + 1 == numbers[0]), "{purged:?} {numbers:?}");
    let running = site.start();
    let mut reader = reader.moved(running.udp);
    reader.shake_hands(2);
    reader.reported(5, false);
    running.kill();
    assert_eq!(held(&site).2, 0, "a report whose event was purged is not taken again");
}

#[test]
fn kills_in_the_middle_of_purges_leave_no_number_unexplained() {
    let site = site("2s");
    let mut running = site.start();
    let mut reader = reader(&running);
    let mut generation = 1;
    for round in 0..6_u64 {
        let begun = Instant::now();
        for number in round * 20 + 1..=round * 20 + 20 {
            reader.reported(number, number == 1);
        }
        let pause = Duration::from_millis(1500 + 370 * round);
        while begun.elapsed() < pause {
            generation += 1;
            publish(&site, &running, generation);
        }
        running.kill();
        running = site.start();
        reader = reader.moved(running.udp);
        reader.shake_hands(round + 2);
    }
    publish_until(&site, &running, &mut generation, "events are purged", || running.metric(RECORDED) > 0.0);
    running.kill();
    let (numbers, purged, _) = held(&site);
    assert_eq!(numbers, (numbers[0]..=*numbers.last().unwrap()).collect::<Vec<_>>());
    assert!(numbers[0] > 1 && purged.iter().any(|(_, last)| last + 1 == numbers[0]), "{purged:?} {numbers:?}");
}
