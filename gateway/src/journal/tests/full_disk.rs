//! A disk that is really full: decisions are taken, reports wait, orders hold and are kept, and all goes on by itself.

#[path = "../../../outbox/tests/support/small_disk.rs"]
pub(super) mod small_disk;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kalitka_protocol::event::{Body, Events};

use super::rig::{BOUNDS, Rig};
use small_disk::SmallDisk;

/// Numbers of the reports in all epochs, in order, and how many decisions are events or counted in losses.
fn held(rig: &Rig) -> (Vec<u64>, u64) {
    let (mut reports, mut decisions) = (Vec::new(), 0);
    let hello = rig.standing();
    let epochs = hello.earlier.as_slice().iter().rev().chain([&hello.epoch]);
    for &epoch in epochs {
        let mut next = 1;
        while let Some(run) = rig.read(epoch, next) {
            for event in Events::new(&run.events) {
                match event.unwrap().event().unwrap().body {
                    Body::Report(taken) => reports.push(taken.report.number),
                    Body::Decision(_) => decisions += 1,
                    Body::Loss(loss) => decisions += u64::from(loss.count),
                    _ => {}
                }
            }
            next = run.last() + 1;
        }
    }
    (reports, decisions)
}

#[test]
fn disk_that_others_fill_loses_no_report_and_recovers_by_itself() {
    for seed in 1..=2 {
        let disk = SmallDisk::mount(112);
        let mut rig = Rig::start_within(&disk.path(), Vec::new(), BOUNDS);
        rig.standing();
        let filler = disk.filler(seed);
        let until = Instant::now() + Duration::from_secs(4);
        let (mut receipted, mut decided) = (0, 0);
        while Instant::now() < until {
            decided += 1;
            rig.decided(decided);
            rig.reported(receipted + 1, false);
            receipted = rig.receipt_within(Duration::from_millis(5)).unwrap_or(receipted).max(receipted);
        }
        drop(filler);
        rig.shown(|status| status.taking && status.reserve);
        // However little came through while there was no room.
        let last = receipted.max(3) + 1;
        while receipted < last {
            rig.reported(receipted + 1, false);
            receipted = rig.receipt_within(Duration::from_millis(100)).unwrap_or(receipted).max(receipted);
        }
        // What was on its way when the disk was full is durable with the next commit.
        rig.decided(decided + 1);
        rig.reported(receipted + 1, false);
        rig.receipt();
        let (reports, told) = held(&rig);
        let once: BTreeSet<u64> = reports.iter().copied().collect();
        assert_eq!(once.len(), reports.len(), "seed {seed}: one is recorded twice");
        assert!((1..=receipted).all(|number| once.contains(&number)), "seed {seed}: one of {receipted} is lost");
        assert_eq!(told, u64::from(decided) + 1, "seed {seed}: each decision is an event or counted");
    }
}
