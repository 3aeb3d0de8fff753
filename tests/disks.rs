//! Disks that are slow, that fail and that take nothing: the gateway decides on, receipts nothing that is not durable, and
//! comes back by itself; the hub acknowledges nothing that is not durable, and comes back by itself.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::fs;
use std::time::{Duration, Instant};

use fastrand::Rng;
use kalitka_tests::city::City;
use kalitka_tests::crowd::Crowd;
use kalitka_tests::disk::Disk;
use kalitka_tests::random::seed;
use kalitka_tests::sick_disk::{CHANGES, Fault, Ill, Op, SickDisk};
use kalitka_tests::site::{BOUND, Site};
use kalitka_tests::wait::until;

const HOLDERS: u32 = 300;
/// Between two happenings at the reader that reports.
const EVERY: Duration = Duration::from_millis(5);
/// The file with the key of that reader; the others ask.
const REPORTER: &str = "reporter.json";
/// Everything that one can do to a file.
const ALL: &[Op] =
    &[Op::Open, Op::OpenToWrite, Op::Read, Op::Write, Op::Sync, Op::SyncFolder, Op::Create, Op::Rename, Op::Remove];

/// A city on two sick disks. Dropped, the disks let go before the programs are ended.
struct Sick {
    gateways: SickDisk,
    hubs: SickDisk,
    city: City,
}

impl Sick {
    /// A city that serves, on disks that are well so far.
    fn new() -> Self {
        let site = Site::new(HOLDERS);
        let gateways = SickDisk::mount(&site.path("state"));
        let hubs = SickDisk::mount(&site.path("hub"));
        let mut city = City::of(site);
        serve(&mut city);
        Self { gateways, hubs, city }
    }

    fn crowd(&self, seed: u64) -> Crowd {
        Crowd::start(self.city.site.udp(), &self.city.site.path(REPORTER), EVERY, seed)
    }
}

fn serve(city: &mut City) {
    city.start_hub();
    city.enrol();
    city.site.start();
    city.site.enrol();
    city.site.set_keys_apart(&[101], REPORTER);
    city.site.offer(&city.site.build(1));
    city.site.await_generation(1);
}

fn await_receipts(crowd: &Crowd, more: u64) {
    crowd.await_receipts(more, BOUND * 2);
}

/// Every answer to many asks is there and right.
fn assert_decides(site: &Site) {
    let (summary, content) = site.play(&["--profile", "saturate", "--duration", "1"]);
    assert!(content && summary["wrong"] == 0, "{summary:#}");
    assert!(summary["answered"].as_u64() > Some(500), "{summary:#}");
}

fn epochs(city: &City) -> usize {
    city.events().iter().filter(|event| event["kind"] == "epoch_begun").count()
}

#[test]
fn while_syncs_hang_decisions_go_on_and_no_report_is_receipted() {
    let sick = Sick::new();
    let site = &sick.city.site;
    let crowd = sick.crowd(seed());
    await_receipts(&crowd, 100);
    let hang = sick.gateways.fault(Fault::new(&[Op::Sync], Ill::Hangs).of("/outbox"));
    until("a commit that hangs", BOUND, || {
        let (code, said) = site.get("/healthz");
        assert_eq!(code, 200, "{said}");
        said.contains("degraded: the disk").then_some(())
    });
    let receipted = crowd.receipted();
    assert_decides(site);
    assert!(sick.gateways.struck(hang) > 0 && site.generation() == 1);
    assert!(site.metric("kalitka_journal_commit_age_seconds", "") >= 1.0);
    assert_eq!(crowd.receipted(), receipted, "receipted while nothing was durable");
    sick.gateways.heal();
    await_receipts(&crowd, 100);
    until("healthz to be content", BOUND, || (site.get("/healthz").1 == "ok\n").then_some(()));
    assert_eq!(site.metric("kalitka_outbox_reopens_total", ""), 0.0, "slow is not failed");
    sick.city.settle_and_judge(crowd);
    assert_eq!(epochs(&sick.city), 1);
}

#[test]
fn store_that_cannot_even_be_closed_ends_nothing() {
    let mut sick = Sick::new();
    let crowd = sick.crowd(seed());
    let panicked = "sled panicked when it was closed";
    // Which sync fails decides where sled is then; at some it panics when it is let go of.
    for every in (2..=8).chain(2..=8) {
        if sick.city.site.gateway().printed().contains(panicked) {
            break;
        }
        let site = &sick.city.site;
        let before = site.metric("kalitka_outbox_errors_total", "");
        sick.gateways.fault(Fault::new(&[Op::Sync], Ill::Io).of("/outbox").every(every));
        until("openings that fail", BOUND, || {
            (site.metric("kalitka_outbox_errors_total", "") >= before + 4.0).then_some(())
        });
        sick.gateways.heal();
        await_receipts(&crowd, 50);
    }
    assert!(sick.city.site.gateway().printed().contains(panicked), "no such panic was met");
    sick.city.settle_and_judge(crowd);
}

#[test]
fn every_passing_fault_is_lived_through_and_no_receipted_report_is_lost() {
    let mut rng = Rng::with_seed(seed());
    let mut sick = Sick::new();
    let crowd = sick.crowd(rng.u64(..));
    let cases: [(&str, Fault); 12] = [
        ("slow syncs", Fault::new(&[Op::Sync], Ill::Slow(Duration::from_millis(300)))),
        ("syncs that fail", Fault::new(&[Op::Sync], Ill::Io).of("/outbox").next(3)),
        ("each seventh sync fails", Fault::new(&[Op::Sync], Ill::Io).every(7)),
        ("writes that fail", Fault::new(&[Op::Write], Ill::Io).of("/outbox").next(3)),
        ("half of each write", Fault::new(&[Op::Write], Ill::Short).every(2)),
        ("reads that fail", Fault::new(&[Op::Read], Ill::Io).of("/outbox").next(50)),
        ("folders that cannot be synced", Fault::new(&[Op::SyncFolder], Ill::Io)),
        ("names that cannot be given", Fault::new(&[Op::Rename, Op::Create], Ill::Io).every(2)),
        ("a full disk", Fault::new(&[Op::Write, Op::Create], Ill::NoSpace)),
        ("a disk that takes nothing", Fault::new(CHANGES, Ill::ReadOnly)),
        ("writes and syncs that fail", Fault::new(&[Op::Write, Op::Sync], Ill::Io)),
        ("a disk that is gone", Fault::new(ALL, Ill::Io)),
    ];
    for (name, fault) in cases {
        await_receipts(&crowd, 50);
        let fault = sick.gateways.fault(fault);
        assert_decides(&sick.city.site);
        println!("{name}: struck {} times", sick.gateways.struck(fault));
        sick.gateways.heal();
        let since = Instant::now();
        await_receipts(&crowd, 50);
        println!("{name}: receipts {:?} after", since.elapsed());
        if rng.bool() {
            // Whatever was believed and is not on the disk shows itself now.
            sick.city.site.gateway().kill();
            sick.gateways.cut_power();
            sick.city.site.start();
        }
    }
    sick.city.settle_and_judge(crowd);
}

#[test]
fn what_no_sync_confirmed_is_not_believed_after_a_power_cut() {
    let mut rng = Rng::with_seed(seed());
    let mut sick = Sick::new();
    let crowd = sick.crowd(rng.u64(..));
    for round in 0..6 {
        await_receipts(&crowd, 50);
        let fault = Fault::new(&[Op::Sync, Op::SyncFolder], Ill::Io).every(rng.u64(2..9));
        let fault = sick.gateways.fault(fault);
        let since = Instant::now();
        let target = crowd.receipted() + rng.u64(1..100);
        until("a random moment", BOUND, || {
            (crowd.receipted() >= target || since.elapsed() > Duration::from_secs(3)).then_some(())
        });
        println!("round {round}: struck {} times", sick.gateways.struck(fault));
        sick.city.site.gateway().kill();
        sick.gateways.cut_power();
        sick.gateways.heal();
        sick.city.site.start();
    }
    sick.city.settle_and_judge(crowd);
}

#[test]
fn what_the_plain_log_has_receipted_outlives_a_power_cut() {
    let mut sick = Sick::new();
    let crowd = sick.crowd(seed());
    await_receipts(&crowd, 50);
    let on_refuge = |site: &Site| site.metric("kalitka_outbox_on_refuge", "") > 0.0;
    for _ in 0..6 {
        if on_refuge(&sick.city.site) {
            break;
        }
        sick.gateways.fault(Fault::new(&[Op::Sync], Ill::Io).of("/outbox").next(1));
        let before = sick.city.site.metric("kalitka_outbox_reopens_total", "");
        until("a reopening", BOUND, || {
            (sick.city.site.metric("kalitka_outbox_reopens_total", "") > before).then_some(())
        });
        sick.gateways.heal();
        await_receipts(&crowd, 50);
    }
    assert!(on_refuge(&sick.city.site), "sled was opened too often and is still in use");
    // What is receipted from now on is on this disk and nowhere else.
    sick.city.hub().terminate();
    await_receipts(&crowd, 200);
    sick.city.site.gateway().kill();
    sick.gateways.cut_power();
    sick.city.start_hub();
    sick.city.site.start();
    sick.city.settle_and_judge(crowd);
}

/// Starts the gateway with `fault` on its disk: it decides, receipts nothing, and is whole again when the disk is.
fn start_with(name: &str, fault: Fault) {
    let mut sick = Sick::new();
    let crowd = sick.crowd(seed());
    await_receipts(&crowd, 100);
    sick.city.site.gateway().kill();
    let (gateways, site) = (&sick.gateways, &mut sick.city.site);
    gateways.fault(fault);
    let receipted = crowd.receipted();
    let since = Instant::now();
    site.start();
    println!("{name}: serves after {:?}", since.elapsed());
    assert_decides(site);
    assert!(site.get("/healthz").1.contains("degraded"), "{name}");
    assert_eq!(crowd.receipted(), receipted, "{name}: receipted by a disk that takes nothing");
    gateways.heal();
    await_receipts(&crowd, 100);
    sick.city.settle_and_judge(crowd);
    assert_eq!(epochs(&sick.city), 1, "{name}: what could not be read for a while was taken for lost");
}

#[test]
fn start_on_a_disk_that_takes_nothing_decides() {
    start_with("read-only", Fault::new(CHANGES, Ill::ReadOnly));
}

#[test]
fn start_with_an_outbox_that_hangs_decides() {
    start_with("hanging", Fault::new(ALL, Ill::Hangs).of("/outbox"));
}

#[test]
fn start_with_a_checkpoint_that_hangs_decides() {
    start_with("hanging checkpoint", Fault::new(ALL, Ill::Hangs).of("/checkpoint"));
}

#[test]
fn start_with_an_outbox_that_cannot_be_read_decides_and_loses_nothing() {
    start_with("unreadable", Fault::new(&[Op::Read], Ill::Io).of("/outbox"));
}

#[test]
fn start_with_a_checkpoint_that_cannot_be_read_for_a_while_waits_for_it() {
    start_with("unreadable checkpoint", Fault::new(&[Op::Open, Op::Read], Ill::Io).of("/checkpoint"));
}

#[test]
fn file_system_that_turns_read_only_stops_receipts_and_no_decision() {
    let site = Site::new(HOLDERS);
    let disk = Disk::mount(&site.path("state"), 256);
    let mut city = City::of(site);
    serve(&mut city);
    let crowd = Crowd::start(city.site.udp(), &city.site.path(REPORTER), EVERY, seed());
    await_receipts(&crowd, 100);
    disk.turn_read_only();
    until("the gateway to notice", BOUND, || city.site.get("/healthz").1.contains("degraded").then_some(()));
    let receipted = crowd.receipted();
    assert_decides(&city.site);
    assert_eq!(crowd.receipted(), receipted);
    // It also starts there, because nothing that a start needs is written.
    city.site.gateway().kill();
    city.site.start();
    assert_decides(&city.site);
    assert_eq!(crowd.receipted(), receipted);
    assert!(city.site.gateway().terminate().success());
    disk.repair();
    city.site.start();
    await_receipts(&crowd, 100);
    city.settle_and_judge(crowd);
}

#[test]
fn key_that_could_not_be_kept_is_not_in_force_before_or_after_a_restart() {
    let mut sick = Sick::new();
    let file = sick.city.site.path("state/readers.keys");
    let before = fs::read(&file).unwrap();
    let cases: [(&str, &[Op], &str); 3] = [
        ("sync", &[Op::Sync], "/.readers.keys"),
        ("rename", &[Op::Rename], "/readers.keys"),
        ("folder", &[Op::SyncFolder], "/"),
    ];
    for (name, ops, of) in cases {
        sick.gateways.fault(Fault::new(ops, Ill::Io).of(of).next(1));
        let output = sick.city.site.command(&["reader", "rekey", "101"]);
        assert_eq!(output.status.code(), Some(4), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        sick.gateways.heal();
        until("the old keys on the disk", BOUND, || (fs::read(&file).unwrap() == before).then_some(()));
        assert_decides(&sick.city.site);
    }
    sick.city.site.gateway().kill();
    sick.gateways.cut_power();
    sick.city.site.start();
    assert_decides(&sick.city.site);
}

#[test]
fn hub_acknowledges_nothing_that_its_disk_has_not_and_comes_back_by_itself() {
    let mut rng = Rng::with_seed(seed());
    let mut sick = Sick::new();
    let crowd = sick.crowd(rng.u64(..));
    let cases: [(&str, Fault); 8] = [
        ("slow syncs", Fault::new(&[Op::Sync], Ill::Slow(Duration::from_millis(300)))),
        ("syncs that fail", Fault::new(&[Op::Sync], Ill::Io).next(2)),
        ("each fifth sync fails", Fault::new(&[Op::Sync], Ill::Io).every(5)),
        ("writes that fail", Fault::new(&[Op::Write], Ill::Io)),
        ("half of each write", Fault::new(&[Op::Write], Ill::Short).every(2)),
        ("reads that fail", Fault::new(&[Op::Read], Ill::Io)),
        ("a disk that takes nothing", Fault::new(CHANGES, Ill::ReadOnly)),
        ("a disk that is gone", Fault::new(ALL, Ill::Io)),
    ];
    for (name, fault) in cases {
        await_receipts(&crowd, 50);
        let fault = sick.hubs.fault(fault);
        let since = Instant::now();
        await_receipts(&crowd, 100);
        until("the fault to strike", BOUND, || (since.elapsed() > Duration::from_secs(1)).then_some(()));
        println!("{name}: struck {} times", sick.hubs.struck(fault));
        assert!(sick.city.hub().ended().is_none(), "{name}: {}", sick.city.hub().printed());
        sick.city.ask(&["alarms"]);
        sick.hubs.heal();
        let since = Instant::now();
        sick.city.await_depth(100.0);
        println!("{name}: the hub has nearly everything {:?} after", since.elapsed());
        if rng.bool() {
            sick.city.hub().kill();
            sick.hubs.cut_power();
            sick.city.start_hub();
        }
    }
    sick.city.settle_and_judge(crowd);
    assert!(sick.city.ask(&["alarms"]).contains("store"));
}

#[test]
fn while_the_hubs_syncs_hang_it_acknowledges_nothing_and_answers_everybody_else() {
    let sick = Sick::new();
    let city = &sick.city;
    let crowd = sick.crowd(seed());
    await_receipts(&crowd, 100);
    city.await_depth(100.0);
    sick.hubs.fault(Fault::new(&[Op::Sync], Ill::Hangs));
    until("a commit that hangs", BOUND, || (sick.hubs.waiting() > 0).then_some(()));
    await_receipts(&crowd, 300);
    assert!(city.site.metric("kalitka_outbox_depth_events", "") > 100.0, "acknowledged what is not durable");
    let since = Instant::now();
    city.ask(&["status"]);
    city.ask(&["alarms"]);
    println!("the hub's control socket answered after {:?}", since.elapsed());
    until("the alarm of a store that hangs", BOUND, || city.ask(&["alarms"]).contains("store").then_some(()));
    sick.hubs.heal();
    city.settle_and_judge(crowd);
}
