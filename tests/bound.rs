//! A store at its bound: what is cheap gives way, told; passes wait at their readers; answers go on.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::time::Duration;

use kalitka_tests::city::City;
use kalitka_tests::crowd::{Asking, Crowd, Fares};
use kalitka_tests::random::seed;
use kalitka_tests::site::{BOUND, Site};
use kalitka_tests::wait::until;

const HOLDERS: u32 = 300;
/// The fewest that may be configured.
const EVENTS_MAX: u32 = 10_000;
/// What is held beyond them at most: the commit that reaches the bound, and a margin for what must be said.
const BEYOND: u32 = 1024 + EVENTS_MAX / 64;
/// Readers report as much as they have room for.
const AT_ONCE: Duration = Duration::ZERO;
/// Between two asks of one reader.
const ASK_EVERY: Duration = Duration::from_millis(3);

/// A city whose gateway keeps few events and has lost its hub.
fn city_without_its_hub() -> City {
    let mut city = City::of(Site::new(HOLDERS));
    city.start_hub();
    city.enrol();
    city.site.configure_also(&format!("[outbox]\nevents_max = {EVENTS_MAX}\nkeep_acknowledged = 0\n"));
    city.site.start();
    city.site.enrol();
    city.site.offer(&city.site.build(1));
    city.site.await_generation(1);
    city.await_uplink();
    assert!(city.hub().terminate().success());
    city
}

fn await_bound(city: &City) {
    until("the bound", BOUND * 4, || (city.site.metric("kalitka_outbox_at_bound", "") > 0.0).then_some(()));
}

/// Every reader's asks go on to be answered, and rightly.
fn assert_answered(crowd: &Crowd) -> Fares {
    let target = crowd.fares().answers + 500;
    until("answers", BOUND, || (crowd.fares().answers >= target).then_some(()));
    let fares = crowd.fares();
    assert_eq!(fares.wrong, 0, "{:?}", fares.wrong_first);
    fares
}

/// How many events were lost to the bound, by cause, as the hub is told.
fn losses(city: &City) -> BTreeMap<String, u64> {
    let mut losses = BTreeMap::new();
    for event in city.events().iter().filter(|event| event["kind"] == "loss") {
        let cause = event["cause"].as_str().unwrap().to_owned();
        *losses.entry(cause).or_default() += event["count"].as_u64().unwrap();
    }
    losses
}

#[test]
fn at_the_bound_decisions_give_way_told_and_every_pass_waits_for_the_hub() {
    let mut city = city_without_its_hub();
    let asking = Asking::new(&city.site.path("roster"), ASK_EVERY, seed());
    let crowd = Crowd::start_asking(city.site.udp(), &city.site.path("keys.json"), AT_ONCE, asking, seed());
    await_bound(&city);
    let receipted = crowd.receipted();
    assert_answered(&crowd);
    assert!(crowd.waiting() > 0, "passes wait at their readers");
    // One that is killed there is no better off, and no worse.
    city.site.gateway().kill();
    city.site.start();
    await_bound(&city);
    assert_answered(&crowd);
    let held = city.site.metric("kalitka_outbox_events", "");
    assert!(held <= f64::from(EVENTS_MAX + BEYOND), "{held}");
    city.start_hub();
    crowd.await_receipts(receipted, BOUND * 4);
    crowd.hush_asks(true);
    city.settle_and_judge(crowd);
    let losses = losses(&city);
    let of = |cause: &str| losses.get(cause).copied().unwrap_or(0);
    assert!(of("bound_denials") > 0 && of("bound_decisions") > 0, "{losses:?}");
    let told = ["bound_denials", "bound_decisions", "bound_housekeeping", "ring_full"].map(of).iter().sum::<u64>();
    assert_eq!(told, losses.values().sum::<u64>(), "nothing else was lost: {losses:?}");
}
