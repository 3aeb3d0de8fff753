//! Reports and decisions on the gateway's disk: what is receipted is there, whatever ends the process or fills the disk.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use kalitka_protocol::event::Body;
use kalitka_protocol::reason::{Grant, Verdict};
use rustix::process::Signal;
use support::reader::TestReader;
use support::{BINARY, CARD, Gateway, PATIENCE, READER, Site, each_event, outbox_of};

const QUIET: Duration = Duration::from_millis(200);

fn reader(running: &Gateway) -> TestReader {
    let mut reader = TestReader::new(running.udp, READER, running.add_reader(READER));
    reader.shake_hands(1);
    reader
}

/// What a stopped gateway's outbox holds: the numbers of reports, and how many decisions.
fn held(site: &Site) -> (Vec<u64>, usize) {
    let mut outbox = outbox_of(site);
    let (mut reports, mut decisions) = (Vec::new(), 0);
    for of in outbox.epochs().iter().rev() {
        each_event(&mut outbox, of.epoch, of.oldest, |event| match event.body {
            Body::Report(taken) => reports.push(taken.report.number),
            Body::Decision(_) => decisions += 1,
            _ => {}
        });
    }
    (reports, decisions)
}

#[test]
fn receipted_reports_and_decisions_are_there_after_kills_and_once() {
    let site = Site::with_snapshot(1);
    let mut running = site.start();
    let mut reader = reader(&running);
    for round in 0..5_u64 {
        assert_eq!(reader.ask(&CARD), Verdict::Grant(Grant::AccessLevel));
        for number in round * 4 + 1..=round * 4 + 4 {
            reader.reported(number, false);
        }
        running.kill();
        running = site.start();
        reader = reader.moved(running.udp);
        reader.shake_hands(round + 2);
        // The receipt may have been lost with the process: the reader sends again.
        reader.reported(round * 4 + 4, false);
    }
    running.signal(Signal::TERM);
    assert!(running.wait().success());
    let (reports, decisions) = held(&site);
    assert_eq!(reports, (1..=20).collect::<Vec<_>>());
    assert_eq!(decisions, 5);
}

#[test]
fn lone_receipt_waits_for_one_sync_and_little_more() {
    let site = Site::with_snapshot(1);
    let running = site.start();
    let mut reader = reader(&running);
    reader.reported(1, true);
    let mut fastest = Duration::MAX;
    for number in 2..30 {
        let begun = Instant::now();
        reader.reported(number, false);
        fastest = fastest.min(begun.elapsed());
    }
    assert!(fastest < Duration::from_millis(50), "{fastest:?}");
}

/// A gateway whose writes can be made to fail: a file beyond its limit is an error to it and not a signal.
fn start_limited(site: &Site) -> Gateway {
    site.start_by(Command::new("sh").args(["-c", "trap '' XFSZ; exec \"$@\"", "sh", BINARY]))
}

#[test]
fn disk_that_takes_nothing_leaves_reports_with_their_readers_and_recovers_by_itself() {
    let site = Site::with_snapshot(1);
    let running = start_limited(&site);
    let mut reader = reader(&running);
    reader.reported(1, true);
    running.limit_files(Some(0));
    reader.report(2, false);
    assert!(reader.receipt_within(QUIET).is_none(), "a receipt for what is on no disk");
    assert_eq!(reader.ask(&CARD), Verdict::Grant(Grant::AccessLevel), "deciding has stopped");
    running.await_metric("kalitka_outbox_poisoned", 1.0);
    let (status, body) = running.get("/healthz");
    assert!(status == 200 && body.contains("degraded"), "{body}");
    assert!(running.ask(r#"{"verb":"status"}"#)["journal"]["trouble"].is_string());
    running.limit_files(None);
    reader.reported(2, false);
    let deadline = Instant::now() + PATIENCE;
    while running.metric("kalitka_outbox_poisoned") > 0.0 {
        assert!(Instant::now() < deadline, "it does not recover");
    }
    assert_eq!(running.get("/healthz"), (200, "ok\n".into()));
    running.kill();
    let (reports, decisions) = held(&site);
    assert_eq!((reports, decisions), (vec![1, 2], 1), "the decision of the full disk is there, and nothing twice");
}

/// A small file system of its own in the place of a site's state folder; thawed and unmounted when dropped.
struct SmallDisk {
    state: PathBuf,
}

impl SmallDisk {
    /// `None` where nothing can be mounted.
    fn at(site: &Site) -> Option<Self> {
        let (image, state) = (site.path("image").display().to_string(), site.path("state"));
        fs::create_dir(&state).unwrap();
        let done = |program: &str, words: &[&str]| {
            let output = Command::new(program).args(words).output().unwrap();
            let done = output.status.success();
            if !done {
                println!("{program}: {}", String::from_utf8_lossy(&output.stderr));
            }
            done
        };
        let mounted = done("truncate", &["-s", "64M", &image])
            && done("mkfs.ext4", &["-q", &image])
            && done("mount", &["-o", "loop", &image, &state.display().to_string()]);
        if mounted {
            fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
        }
        mounted.then_some(Self { state })
    }

    /// Lets nothing be written until the guard is dropped. It goes before the gateway: a process that hangs at a frozen disk
    /// cannot be killed.
    fn freeze(&self) -> Frozen<'_> {
        assert!(Command::new("fsfreeze").arg("--freeze").arg(&self.state).status().unwrap().success());
        Frozen(self)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.state).output();
    }
}

struct Frozen<'a>(&'a SmallDisk);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let _ = Command::new("fsfreeze").arg("--unfreeze").arg(&self.0.state).output();
    }
}

#[test]
fn full_disk_keeps_deciding_and_is_gone_on_with_once_there_is_room() {
    let site = Site::with_snapshot(1);
    let Some(disk) = SmallDisk::at(&site) else { return };
    let running = site.start();
    let mut reader = reader(&running);
    reader.reported(1, true);
    let filler = disk.state.join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[1; 8 * 1024]).is_ok() {}
    reader.report(2, false);
    assert!(reader.receipt_within(QUIET).is_none(), "a receipt for what is on no disk");
    assert_eq!(reader.ask(&CARD), Verdict::Grant(Grant::AccessLevel));
    running.await_metric("kalitka_outbox_poisoned", 1.0);
    drop(file);
    fs::remove_file(filler).unwrap();
    reader.reported(2, false);
    running.kill();
    assert_eq!(held(&site).0, [1, 2]);
}

#[test]
fn answers_do_not_wait_for_a_disk_that_hangs_and_receipts_do() {
    let site = Site::with_snapshot(1);
    let Some(disk) = SmallDisk::at(&site) else { return };
    let running = site.start();
    let mut reader = reader(&running);
    reader.reported(1, true);
    running.await_metric("kalitka_stamps_writes_total", 1.0);
    let frozen = disk.freeze();
    reader.report(2, false);
    assert!(reader.receipt_within(QUIET).is_none(), "a receipt for what is on no disk");
    let mut longest = Duration::ZERO;
    for _ in 0..500 {
        let begun = Instant::now();
        assert_eq!(reader.ask(&CARD), Verdict::Grant(Grant::AccessLevel));
        longest = longest.max(begun.elapsed());
    }
    assert!(longest < Duration::from_millis(250), "an answer took {longest:?}");
    assert_eq!(running.get("/healthz").0, 200);
    drop(frozen);
    reader.reported(2, false);
    // Behind everything that was decided meanwhile.
    reader.reported(3, false);
    running.kill();
    assert_eq!(held(&site), (vec![1, 2, 3], 500), "what was decided meanwhile is there");
}
