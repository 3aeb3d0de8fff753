//! A receipted pass is at the hub, once, whatever falls over in between: real kills, cut power, replaced stores.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use fastrand::Rng;
use kalitka_tests::city::City;
use kalitka_tests::crowd::Crowd;
use kalitka_tests::disk::Disk;
use kalitka_tests::random::{number_from_environment, seed};
use kalitka_tests::site::{BOUND, Site, text};
use kalitka_tests::wait::until;
use rustix::process::{Pid, Signal, kill_process};

const HOLDERS: u32 = 300;
/// Between two happenings at one reader.
const EVERY: Duration = Duration::from_millis(5);
/// The longest time between two blows: long enough for the way to be whole now and then.
const BLOW_BOUND: Duration = Duration::from_millis(1200);

fn crowd(city: &City, seed: u64) -> Crowd {
    Crowd::start(city.site.udp(), &city.site.path("keys.json"), EVERY, seed)
}

/// Waits for a random moment: so and so many receipts more, or a random time when none come.
fn random_moment(crowd: &Crowd, rng: &mut Rng) {
    let target = crowd.receipted() + rng.u64(1..400);
    let (since, bound) = (Instant::now(), BLOW_BOUND.mul_f64(rng.f64()));
    until("a random moment", BOUND, || (crowd.receipted() >= target || since.elapsed() >= bound).then_some(()));
}

fn await_receipts(crowd: &Crowd, more: u64) {
    crowd.await_receipts(more, BOUND);
}

#[test]
fn kills_of_gateway_and_hub_lose_and_double_nothing() {
    let mut rng = Rng::with_seed(seed());
    let mut city = City::new(HOLDERS);
    let crowd = crowd(&city, rng.u64(..));
    await_receipts(&crowd, 100);
    for _ in 0..number_from_environment("KALITKA_KILLS", 50, 1000) {
        random_moment(&crowd, &mut rng);
        let (gateway, hub) = [(true, false), (false, true), (true, true)][rng.usize(..3)];
        if gateway {
            city.site.gateway().kill();
            city.site.spawn();
        }
        if hub {
            city.hub().kill();
            city.spawn_hub();
        }
    }
    await_receipts(&crowd, 100);
    city.settle_and_judge(crowd);
}

/// Stops the process, keeps what its disk holds at that moment, and goes on from there in a new process.
fn cut_power(id: u32, disk: &mut Disk, kill_and_restart: impl FnOnce(&mut Disk)) {
    let pid = Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    disk.freeze_frame();
    kill_and_restart(disk);
}

#[test]
fn power_cuts_of_gateway_and_hub_lose_and_double_nothing() {
    let mut rng = Rng::with_seed(seed());
    let site = Site::new(HOLDERS);
    let mut gateways = Disk::mount(&site.path("state"), 256);
    let mut hubs = Disk::mount(&site.path("hub"), 256);
    let mut city = City::of(site);
    city.start_hub();
    city.enrol();
    city.site.start();
    city.site.enrol();
    city.site.offer(&city.site.build(1));
    city.site.await_generation(1);
    let crowd = crowd(&city, rng.u64(..));
    await_receipts(&crowd, 100);
    for _ in 0..number_from_environment("KALITKA_POWER_CUTS", 20, 200) {
        random_moment(&crowd, &mut rng);
        if rng.bool() {
            cut_power(city.site.gateway().id(), &mut gateways, |disk| {
                city.site.gateway().kill();
                disk.cut_power();
                city.site.spawn();
            });
        } else {
            cut_power(city.hub().id(), &mut hubs, |disk| {
                city.hub().kill();
                disk.cut_power();
                city.spawn_hub();
            });
        }
    }
    await_receipts(&crowd, 100);
    city.settle_and_judge(crowd);
}

#[test]
fn blank_store_begins_an_epoch_and_the_hub_closes_what_might_be_lost() {
    let mut city = City::new(HOLDERS);
    let crowd = crowd(&city, 1);
    await_receipts(&crowd, 500);
    let before = city.settle(crowd, BOUND);
    city.site.gateway().kill();
    fs::remove_dir_all(city.site.path("state/outbox")).unwrap();
    city.site.start();
    let crowd = self::crowd(&city, 2);
    await_receipts(&crowd, 500);
    let mut receipted = city.settle(crowd, BOUND);
    receipted.extend(before);
    city.judge(&receipted);
    let mut kinds: Vec<String> = city.events().iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect();
    kinds.retain(|kind| kind != "report");
    let count = |kind: &str| kinds.iter().filter(|&of| of == kind).count();
    assert_eq!((count("epoch_begun"), count("loss"), count("loss_closed")), (2, 1, 1), "{kinds:?}");
    city.assert_complete();
}

/// `what` of the state folder as it was is put back in the place of what it has become.
fn restore_an_older(what: &str) {
    let mut city = City::new(HOLDERS);
    let crowd = crowd(&city, 3);
    await_receipts(&crowd, 300);
    city.site.gateway().kill();
    let (folder, older) = (city.site.path(what), city.site.path("older"));
    copy(&folder, &older);
    city.site.start();
    await_receipts(&crowd, 300);
    let before = city.settle(crowd, BOUND);
    city.site.gateway().kill();
    fs::remove_dir_all(&folder).unwrap();
    copy(&older, &folder);
    city.site.start();
    let crowd = self::crowd(&city, 4);
    await_receipts(&crowd, 300);
    let mut receipted = city.settle(crowd, BOUND);
    receipted.extend(before);
    city.judge(&receipted);
    let begun = city.events().iter().filter(|event| event["kind"] == "epoch_begun").count();
    assert!(begun >= 2, "an older {what} went on as if nothing had been");
}

#[test]
fn restored_store_begins_an_epoch_and_overwrites_nothing() {
    restore_an_older("state/outbox");
}

#[test]
fn restored_state_folder_begins_an_epoch_and_overwrites_nothing() {
    restore_an_older("state");
}

#[test]
fn second_box_with_the_same_identity_is_refused_with_an_alarm() {
    let mut city = City::new(HOLDERS);
    let crowd = crowd(&city, 5);
    await_receipts(&crowd, 300);
    city.site.gateway().kill();
    let mut twin = Site::new(HOLDERS);
    fs::remove_dir_all(twin.path("state")).unwrap();
    copy(&city.site.path("state"), &twin.path("state"));
    city.site.start();
    await_receipts(&crowd, 100);
    city.await_drained();
    twin.become_like(&city.site);
    twin.start();
    let alarmed = until("the alarm of a second connection", BOUND, || {
        let alarms = city.ask(&["alarms", "--json"]);
        alarms.contains("second_connection").then_some(alarms)
    });
    assert!(alarmed.contains(&city.site.building().to_string()), "{alarmed}");
    // The twin comes to the hub only when the box is gone; what it did meanwhile gets an identity of its own.
    let receipted = city.settle(crowd, BOUND * 2);
    city.judge(&receipted);
    city.site.gateway().kill();
    until("the twin's own epoch at the hub", BOUND * 2, || {
        (city.events().iter().filter(|event| event["kind"] == "epoch_begun").count() == 2).then_some(())
    });
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").args(["-a", text(from), text(to)]).status().unwrap();
    assert!(copied.success());
}
