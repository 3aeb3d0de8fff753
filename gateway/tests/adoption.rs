//! Snapshots through the inbox: good ones come into force at once, all others leave the old one there.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::os::unix::ffi::OsStrExt;

use ed25519_dalek::SigningKey;
use kalitka_protocol::reason::{Denial, Grant, Verdict};
use support::reader::TestReader;
use support::{BUILDING, CARD, READER, Site, publisher, snapshot, snapshot_of};

const GENERATION: &str = "kalitka_snapshot_generation";

#[test]
fn newer_snapshot_comes_into_force_under_living_sessions() {
    let site = Site::new();
    let running = site.start();
    let mut reader = TestReader::new(running.udp, READER, running.add_reader(READER));
    reader.shake_hands(1);
    assert_eq!(reader.ask(&CARD), Verdict::Deny(Denial::NoSnapshot));
    site.put("a", &snapshot(5));
    running.await_metric(GENERATION, 5.0);
    assert_eq!(reader.ask(&CARD), Verdict::Grant(Grant::AccessLevel));
    assert_eq!(reader.ask(&[1, 2, 3, 4]), Verdict::Deny(Denial::UnknownCredential));
    site.put("a", &snapshot(6));
    running.await_metric(GENERATION, 6.0);
    assert_eq!(running.metric("kalitka_snapshot_adopted_total"), 2.0);
    assert_eq!(reader.ask(&CARD), Verdict::Grant(Grant::AccessLevel));
}

#[test]
fn refused_files_are_named_by_reason_once_and_the_old_one_stays() {
    let site = Site::with_snapshot(5);
    let running = site.start();
    let good = snapshot(6);
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let cases: [(&str, Vec<u8>, &str); 10] = [
        ("none", snapshot(0), "generation"),
        ("older", snapshot(4), "generation"),
        ("foreign-building", snapshot_of(BUILDING + 1, 6, &publisher()), "building"),
        ("foreign-publisher", snapshot_of(BUILDING, 6, &SigningKey::from_bytes(&[8; 32])), "publisher_unknown"),
        ("truncated", good[..good.len() - 1].to_vec(), "length"),
        ("cut-to-nothing", Vec::new(), "too_short"),
        ("archive-flipped", flipped(300), "checksum_wrong"),
        ("signature-flipped", flipped(good.len() - 1), "signature_wrong"),
        ("generation-raised", flipped(23), "signature_wrong"),
        ("no-snapshot", vec![0x55; 4096], "not_a_snapshot"),
    ];
    let mut counts = std::collections::BTreeMap::new();
    for (name, bytes, reason) in cases {
        site.put(name, &bytes);
        let count = counts.entry(reason).or_insert(0.0);
        *count += 1.0;
        running.await_metric(&format!("kalitka_snapshot_refused_total{{reason=\"{reason}\"}}"), *count);
        let line = running.await_log("snapshot refused; the one in force stays");
        assert_eq!((line["reason"].as_str(), line["file"].as_str().unwrap().ends_with(name)), (Some(reason), true));
        assert_eq!(running.metric(GENERATION), 5.0, "{name}");
    }
    // What comes after them shows that many polls have passed over them without a further word.
    site.put("newer", &snapshot(7));
    running.await_metric(GENERATION, 7.0);
    for (reason, count) in counts {
        assert_eq!(running.metric(&format!("kalitka_snapshot_refused_total{{reason=\"{reason}\"}}")), count);
    }
    assert!(running.log_so_far().iter().all(|line| !line.contains("refused")));
}

#[test]
fn every_truncation_and_flipped_byte_leaves_the_old_one_in_force() {
    let site = Site::with_snapshot(5);
    let running = site.start();
    let good = snapshot(6);
    let file = site.path("candidate");
    let request = format!(r#"{{"verb":"snapshot_adopt","file":"{}"}}"#, file.display());
    let mut damaged: Vec<Vec<u8>> = (0..good.len()).step_by(97).map(|end| good[..end].to_vec()).collect();
    damaged.extend((0..good.len()).step_by(53).map(|at| {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        bytes
    }));
    for bytes in damaged {
        std::fs::write(&file, bytes).unwrap();
        assert_eq!(running.ask(&request)["reply"], "refused");
    }
    assert_eq!(running.metric(GENERATION), 5.0);
    std::fs::write(&file, good).unwrap();
    assert_eq!(running.ask(&request)["generation"], 6);
}

#[test]
fn adopted_file_may_go_from_the_inbox_and_its_generation_stays_the_floor() {
    let site = Site::with_snapshot(5);
    site.start().kill();
    std::fs::remove_file(site.path("inbox/first")).unwrap();
    site.put("older", &snapshot(4));
    let running = site.start();
    assert_eq!(running.metric(GENERATION), 5.0);
    running.await_metric("kalitka_snapshot_refused_total{reason=\"generation\"}", 1.0);
    assert_eq!(running.metric(GENERATION), 5.0);
}

#[test]
fn orders_that_keep_coming_do_not_starve_the_inbox() {
    let site = Site::with_snapshot(5);
    let running = site.start();
    let control = site.path("control");
    let enough = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !enough.load(std::sync::atomic::Ordering::Relaxed) {
                    support::ask(&control, b"{\"verb\":\"snapshot_adopt\",\"file\":\"/absent\"}\n");
                }
            });
        }
        site.put("newer", &snapshot(6));
        running.await_metric(GENERATION, 6.0);
        enough.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn newest_file_is_adopted_from_an_inbox_that_nobody_clears() {
    let site = Site::with_snapshot(5);
    let running = site.start();
    for number in 0..2000 {
        std::fs::write(site.path("inbox").join(format!("old-{number}")), "old").unwrap();
    }
    running.await_log("the inbox holds too many files; only the newest are looked at");
    site.put("newer", &snapshot(6));
    running.await_metric(GENERATION, 6.0);
}

#[test]
fn huge_file_costs_no_memory_and_what_is_no_file_is_passed_over() {
    let site = Site::with_snapshot(5);
    let running = site.start();
    let inbox = site.path("inbox");
    let mut huge = snapshot(6);
    huge.truncate(kalitka_snapshot::HEADER_LEN);
    std::fs::write(inbox.join(".huge"), &huge).unwrap();
    std::fs::OpenOptions::new().write(true).open(inbox.join(".huge")).unwrap().set_len(1 << 30).unwrap();
    std::fs::rename(inbox.join(".huge"), inbox.join("huge")).unwrap();
    std::os::unix::fs::symlink("/absent", inbox.join("dangling")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", inbox.join("device")).unwrap();
    std::fs::create_dir(inbox.join("folder")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, inbox.join("pipe"), rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    running.await_metric("kalitka_snapshot_refused_total{reason=\"length\"}", 1.0);
    assert!(running.resident_kib_max() < 256 << 10, "{} KiB", running.resident_kib_max());
    std::fs::write(site.path("good"), snapshot(7)).unwrap();
    std::os::unix::fs::symlink(site.path("good"), inbox.join("linked")).unwrap();
    running.await_metric(GENERATION, 7.0);
}

#[test]
fn name_of_a_refused_file_writes_no_lines_of_its_own() {
    let site = Site::with_snapshot(5);
    let running = site.start();
    let name = std::ffi::OsStr::from_bytes(b"evil\n\xff\x1b[31m");
    std::fs::write(site.path("inbox").join(name), "x").unwrap();
    let file = running.await_log("snapshot refused; the one in force stays")["file"].clone();
    assert!(file.as_str().unwrap().chars().all(|c| !c.is_control()), "{file}");
    assert_eq!(running.ask(r#"{"verb":"status"}"#)["snapshot"]["refused"]["file"], file);
    let shown = support::gateway(&["snapshot", "status", "--config", &site.config()]);
    assert!(shown.stdout.iter().all(|&byte| byte == b'\n' || !byte.is_ascii_control()), "{shown:?}");
    assert_eq!(String::from_utf8(shown.stdout).unwrap().lines().count(), 9);
}

#[test]
fn older_copy_in_the_state_folder_does_not_come_into_force() {
    let site = Site::with_snapshot(5);
    site.start().kill();
    std::fs::remove_file(site.path("inbox/first")).unwrap();
    std::fs::write(site.path("state/snapshot.kalitka"), snapshot(4)).unwrap();
    let running = site.start();
    assert_eq!(running.metric(GENERATION), 0.0);
    assert_eq!(running.metric("kalitka_snapshot_refused_total{reason=\"generation\"}"), 1.0);
    site.put("same", &snapshot(5));
    running.await_metric(GENERATION, 5.0);
}

#[test]
fn every_reason_of_refusal_is_there_from_the_start() {
    let site = Site::new();
    let running = site.start();
    let (_, metrics) = running.get("/metrics");
    for reason in kalitka_snapshot::Refused::LABELS {
        assert!(metrics.contains(&format!("kalitka_snapshot_refused_total{{reason=\"{reason}\"}} 0")), "{reason}");
    }
}

#[test]
fn file_that_is_in_force_is_no_refusal_after_a_restart() {
    let site = Site::with_snapshot(5);
    site.start().kill();
    let running = site.start();
    site.put("bad", b"x");
    running.await_log("snapshot refused; the one in force stays");
    assert_eq!(running.metric("kalitka_snapshot_refused_total{reason=\"generation\"}"), 0.0);
    assert_eq!(running.metric("kalitka_snapshot_refused_total{reason=\"too_short\"}"), 1.0);
}
