//! Certificates over months: the real programs with their wall clocks moved. What passes meanwhile is at the hub, once.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::fs;
use std::process::Command;
use std::time::Duration;

use kalitka_tests::city::City;
use kalitka_tests::crowd::Crowd;
use kalitka_tests::site::BOUND;
use kalitka_tests::wait::until;

const HOLDERS: u32 = 100;
const EVERY: Duration = Duration::from_millis(10);

/// What moves the wall clock of a program, installed when it is missing.
fn library() -> String {
    let find = || {
        let listed = Command::new("dpkg").args(["-L", "libfaketime"]).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        listed.lines().find(|line| line.ends_with("libfaketimeMT.so.1")).map(str::to_owned)
    };
    find().unwrap_or_else(|| {
        let installed = Command::new("apt-get").args(["install", "-y", "-q", "faketime"]).output().unwrap();
        assert!(installed.status.success(), "faketime: {}", String::from_utf8_lossy(&installed.stderr));
        find().expect("libfaketime is installed")
    })
}

/// From the next start on, hub and gateway live so many days from now.
fn move_clocks(city: &mut City, days: u32) {
    let set = [
        ("LD_PRELOAD", library()),
        ("FAKETIME", format!("+{days}d")),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("NO_FAKE_STAT", "1".to_owned()),
    ];
    city.site.environment = set.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
}

fn stop(city: &mut City) {
    city.site.gateway().terminate();
    city.hub().terminate();
}

fn certificate(city: &City) -> Vec<u8> {
    fs::read(city.site.path("state/uplink/gateway.crt")).unwrap()
}

fn expires(city: &City, label: &str) -> f64 {
    city.site.metric("kalitka_certificate_expires_seconds", &format!("{{certificate=\"{label}\"}}"))
}

fn renewed(city: &City) {
    until("a renewed certificate", BOUND * 2, || {
        (city.site.metric("kalitka_uplink_renewals_total", "{outcome=\"renewed\"}") >= 1.0).then_some(())
    });
}

/// SPEC 15.15.
#[test]
fn certificate_is_renewed_in_its_time_and_a_box_that_was_off_for_long_comes_back_by_itself() {
    let mut city = City::new(HOLDERS);
    let crowd = Crowd::start(city.site.udp(), &city.site.path("keys.json"), EVERY, 1);
    let await_receipts = |more: u64| crowd.await_receipts(more, BOUND * 2);
    await_receipts(50);
    city.await_depth(1000.0);
    let first = certificate(&city);
    let until_first = until("the certificate's end to be shown", BOUND, || {
        Some(expires(&city, "gateway")).filter(|&seconds| seconds > 0.0)
    });
    assert!(expires(&city, "ca") > until_first);

    // Nine months later: over two thirds of the year, whatever the spread.
    stop(&mut city);
    move_clocks(&mut city, 275);
    city.start_hub();
    city.site.start();
    renewed(&city);
    until("the new end to be shown", BOUND, || (expires(&city, "gateway") > until_first).then_some(()));
    let second = certificate(&city);
    assert_ne!(first, second);
    await_receipts(50);
    city.await_depth(1000.0);
    assert_eq!(city.site.metric("kalitka_uplink_connections_total", ""), 1.0, "the connection lives on");

    // The box is off until half a year after the end of its certificate.
    stop(&mut city);
    move_clocks(&mut city, 275 + 365 + 180);
    city.start_hub();
    city.site.start();
    renewed(&city);
    until("the uplink", BOUND, || (city.site.metric("kalitka_uplink_up", "") == 1.0).then_some(()));
    assert_ne!(second, certificate(&city));
    await_receipts(50);
    let alarms = city.ask(&["alarms", "--json"]);
    assert!(alarms.contains("\"expired\""), "a person hears of it: {alarms}");

    let receipted = city.settle(crowd, BOUND * 2);
    println!("{} reports receipted under three certificates", receipted.len());
    city.judge(&receipted);
    let (said, complete) = city.verify();
    assert!(complete, "the keys of all three certificates vouch for the history: {said}");
    let listed = city.ask(&["pki", "list"]);
    assert_eq!(listed.lines().count(), 3, "{listed}");
}
