//! A disk that takes nothing: what is in force stays, nothing half is left, and all goes on once there is room again.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;
use std::process::Command;

use kalitka_protocol::reason::{Grant, Verdict};
use support::reader::TestReader;
use support::{BINARY, CARD, Gateway, READER, Site, snapshot};

const GENERATION: &str = "kalitka_snapshot_generation";

/// A gateway whose writes can be made to fail: a file beyond its limit is an error to it and not a signal.
fn start(site: &Site) -> Gateway {
    site.start_by(Command::new("sh").args(["-c", "trap '' XFSZ; exec \"$@\"", "sh", BINARY]))
}

fn names(site: &Site) -> Vec<String> {
    let entries = fs::read_dir(site.path("state")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn full_disk_changes_nothing_and_needs_no_restart() {
    let site = Site::with_snapshot(5);
    let running = start(&site);
    let mut reader = TestReader::new(running.udp, READER, running.add_reader(READER));
    reader.shake_hands(1);
    running.await_metric("kalitka_stamps_writes_total", 1.0);
    let before = names(&site);
    let keys = fs::read(site.path("state/readers.keys")).unwrap();

    running.limit_files(Some(0));
    site.put("newer", &snapshot(6));
    running.await_metric("kalitka_snapshot_refused_total{reason=\"not_kept\"}", 1.0);
    assert_eq!(running.metric(GENERATION), 5.0);
    for request in [r#"{"verb":"reader_add","reader":7}"#, r#"{"verb":"reader_rekey","reader":101}"#] {
        assert_eq!(running.ask(request)["reply"], "failed", "{request}");
    }
    assert_eq!(running.ask(r#"{"verb":"reader_list"}"#)["readers"], serde_json::json!([READER]));
    reader.shake_hands(2);
    running.await_metric("kalitka_stamps_write_failures_total", 1.0);
    assert_eq!(reader.ask(&CARD), Verdict::Grant(Grant::AccessLevel), "the old key or the old snapshot is gone");
    assert_eq!(fs::read(site.path("state/readers.keys")).unwrap(), keys);
    // The keys in force are written again and again until that succeeds: each attempt's own file is there for a moment.
    let deadline = std::time::Instant::now() + support::PATIENCE;
    while names(&site) != before {
        assert!(std::time::Instant::now() < deadline, "something half was left: {:?}", names(&site));
        assert_eq!(running.metric(GENERATION), 5.0);
    }

    running.limit_files(None);
    running.await_metric(GENERATION, 6.0);
    running.add_reader(7);
    running.await_metric("kalitka_stamps_writes_total", 2.0);
    assert!(fs::read_to_string(site.path("state/readers.stamps")).unwrap().contains("\n101 2 "));
}

#[test]
fn floor_that_cannot_be_written_is_written_later_and_the_copy_stands_for_it() {
    let site = Site::with_snapshot(5);
    let running = start(&site);
    // A folder in the floor's place stands for whatever lets the copy be written and not the floor.
    let floor = site.path("state/snapshot.floor");
    fs::remove_file(&floor).unwrap();
    fs::create_dir(&floor).unwrap();
    site.put("newer", &snapshot(6));
    running.await_metric(GENERATION, 6.0);
    running.await_log("cannot keep the highest generation; trying again");
    fs::remove_dir(&floor).unwrap();
    let deadline = std::time::Instant::now() + support::PATIENCE;
    while fs::read(&floor).ok().as_deref() != Some(b"6\n") {
        assert!(std::time::Instant::now() < deadline, "the floor was not written");
        assert_eq!(running.metric(GENERATION), 6.0);
    }
}
