//! The outbox at its bound: what gives way, what waits, and that it recovers.

use std::collections::BTreeMap;
use std::time::Duration;

use kalitka_outbox::Bounds;
use kalitka_protocol::event::{Body, Events, LossCause};
use kalitka_uplink::Request;

use super::rig::{BOUNDS, Rig};

pub(super) const SMALL: Bounds = Bounds { events_max: 600, keep_acknowledged: 0, ..BOUNDS };

/// What the store holds, and what its losses count.
#[derive(Debug, Default)]
struct Held {
    reports: Vec<u64>,
    denials: u64,
    last: u64,
    missing: u64,
    lost: BTreeMap<&'static str, u64>,
}

fn held(rig: &Rig) -> Held {
    let (mut held, mut next) = (Held::default(), 1);
    let epoch = rig.standing().epoch;
    while let Some(run) = rig.read(epoch, next) {
        held.missing += run.first - next;
        for event in Events::new(&run.events) {
            match event.unwrap().event().unwrap().body {
                Body::Report(taken) => held.reports.push(taken.report.number),
                Body::Decision(_) => held.denials += 1,
                Body::Loss(loss) => *held.lost.entry(loss.cause.label()).or_default() += u64::from(loss.count),
                _ => {}
            }
        }
        next = run.last() + 1;
        held.last = run.last();
    }
    held
}

/// Reports one after the other until one is not taken because the bound is reached; gives the last that was receipted.
pub(super) fn report_until_it_waits(rig: &Rig) -> u64 {
    let mut number = 0;
    while let Some(receipted) = report(rig, number + 1, true) {
        number = receipted;
    }
    number
}

/// Reports `number`, as a reader does, until it is receipted; with `gives_up`, or the bound is reached.
fn report(rig: &Rig, number: u64, gives_up: bool) -> Option<u64> {
    loop {
        let is_over = gives_up && rig.is_at_bound();
        rig.reported(number, false);
        let receipt = rig.receipt_within(Duration::from_millis(100));
        if receipt == Some(number) || (receipt.is_none() && is_over) {
            return receipt;
        }
    }
}

#[test]
fn denials_give_way_to_passes_and_each_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::start_within(folder.path(), Vec::new(), SMALL);
    for number in 1..=500 {
        rig.decided(number);
        report(&rig, u64::from(number), false).unwrap();
    }
    let held = held(&rig);
    assert_eq!(held.reports, (1..=500).collect::<Vec<_>>(), "every pass is there");
    let gone = held.lost[LossCause::DenialsGaveWay.label()];
    // While the checkpoint that lets them go is written some are not even taken.
    let not_taken = held.lost.get(LossCause::AtBound.label()).copied().unwrap_or(0);
    assert_eq!(held.denials + gone + not_taken, 500, "{held:?}");
    assert_eq!(held.missing, gone + held.lost[LossCause::HousekeepingGaveWay.label()], "{held:?}");
    assert!(rig.shown(|status| status.bound_percent >= 80).taking);
}

#[test]
fn passes_wait_at_the_bound_and_are_taken_again_when_the_hub_has_taken_some() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::start_within(folder.path(), Vec::new(), SMALL);
    rig.standing();
    let receipted = report_until_it_waits(&rig);
    assert!((590..=602).contains(&receipted), "{receipted}");
    assert!(rig.shown(|status| status.at_bound).taking, "it is well, and full");
    for request in 1..=50 {
        rig.decided(request);
    }
    rig.reported(receipted, false);
    assert_eq!(rig.receipt(), receipted, "what is durable is receipted again");
    let full = held(&rig);
    assert_eq!((full.reports.len() as u64, full.denials), (receipted, 0), "{full:?}");
    // A process that is killed there finds the same, and says the same.
    rig.stop();
    let mut rig = Rig::start_within(folder.path(), Vec::new(), SMALL);
    rig.shown(|status| status.at_bound);
    let hello = rig.standing();
    rig.door.uplink(Request::Acknowledged { epoch: hello.epoch, number: 300 }).unwrap();
    rig.shown(|status| !status.at_bound);
    rig.reported(receipted + 1, false);
    assert_eq!(rig.receipt(), receipted + 1);
    let after = held(&rig);
    assert_eq!(after.reports.last(), Some(&(receipted + 1)));
    assert!(after.lost[LossCause::AtBound.label()] >= 50, "decisions that were not taken are counted: {after:?}");
}
