//! `kalitka-gateway doctor` before a real box: content while all is well, and each time it names what was broken and nothing else.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use kalitka_tests::city::City;
use kalitka_tests::crowd::Crowd;
use kalitka_tests::process::run;
use kalitka_tests::random::seed;
use kalitka_tests::site::{BOUND, text};
use kalitka_tests::wait::until;
use serde_json::Value;

/// Exit status when something is wrong.
const WRONG: i32 = 6;
/// Of the roster, all of which have keys.
const READERS: f64 = 10.0;

/// All readers, once they are heard.
fn heard(city: &City) -> Crowd {
    let crowd = Crowd::start(city.site.udp(), &city.site.path("keys.json"), Duration::from_millis(100), seed());
    until("all readers to be heard", BOUND * 2, || {
        (city.site.metric("kalitka_reader_up", "") == READERS).then_some(())
    });
    crowd
}

/// A city whose gateway is connected, and all of whose readers are heard.
fn well() -> (City, Crowd) {
    let city = City::new(100);
    city.await_uplink();
    let crowd = heard(&city);
    (city, crowd)
}

/// What is wrong, and all that was said. The machine's own disk is not judged here.
fn examined(city: &City) -> (BTreeSet<String>, String) {
    let output = run("kalitka-gateway", ["doctor", "--json", "--config", text(&city.site.path("gateway.toml"))]);
    let said = String::from_utf8(output.stdout).unwrap();
    let findings: Vec<Value> = serde_json::from_str(&said).unwrap();
    let wrong = findings.iter().filter(|finding| finding["verdict"] == "wrong");
    let wrong: BTreeSet<String> = wrong.map(|finding| finding["check"].as_str().unwrap().to_owned()).collect();
    assert_eq!(output.status.code(), Some(if wrong.is_empty() { 0 } else { WRONG }), "{said}");
    assert!(findings.iter().all(|finding| finding["verdict"] == "good" || finding["remedy"].is_string()), "{said}");
    (wrong.into_iter().filter(|check| check != "disk").collect(), said)
}

#[track_caller]
fn assert_wrong(city: &City, checks: &[&str], words: &[&str]) {
    let (wrong, said) = examined(city);
    assert_eq!(wrong, checks.iter().map(|&check| check.to_owned()).collect(), "{said}");
    assert!(words.iter().all(|word| said.contains(word)), "{words:?} are not all in: {said}");
}

#[test]
fn box_that_is_well_is_told_so_and_neither_the_uplink_nor_the_hub_is_disturbed() {
    let (city, _crowd) = well();
    let connections = city.site.metric("kalitka_uplink_connections_total", "");
    for _ in 0..3 {
        assert_wrong(
            &city,
            &[],
            &["\"hub\"", "answers from", "\"certificates\"", "holds", "\"snapshot\"", "generation 1"],
        );
    }
    assert_eq!(city.site.metric("kalitka_uplink_connections_total", ""), connections);
    assert_eq!(city.metric("kalitka_hub_alarms_total", ""), 0.0);
    let said = run("kalitka-gateway", ["doctor", "--config", text(&city.site.path("gateway.toml"))]);
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.contains("good    gateway ") && said.contains(" wrong, "), "{said}");
}

#[test]
fn what_is_broken_is_named_and_nothing_else() {
    let (mut city, crowd) = well();

    let keys = city.site.path("state/readers.keys");
    fs::set_permissions(&keys, Permissions::from_mode(0o644)).unwrap();
    assert_wrong(&city, &["permissions", "readers"], &["readers.keys", "chmod"]);
    fs::set_permissions(&keys, Permissions::from_mode(0o600)).unwrap();

    city.site.ask(&["reader", "add", "999"]);
    assert_wrong(&city, &["readers"], &["does not know 999"]);
    city.site.ask(&["reader", "revoke", "999"]);

    drop(crowd);
    until("the silence to be noticed", BOUND, || (city.site.metric("kalitka_reader_up", "") == 0.0).then_some(()));
    assert_wrong(&city, &["readers"], &["not heard: 101, 102"]);
    let _crowd = heard(&city);

    city.ask(&["pki", "revoke", "--building", &city.site.building().to_string()]);
    until("the gateway to be told", BOUND, || (city.site.metric("kalitka_uplink_up", "") == 0.0).then_some(()));
    assert_wrong(&city, &["hub"], &["revoked; enrol anew"]);

    city.site.gateway().terminate();
    assert_wrong(&city, &["gateway", "hub"], &["does not run", "revoked; enrol anew"]);

    city.hub().terminate();
    assert_wrong(&city, &["gateway", "hub"], &["let through"]);
    fs::remove_file(city.site.path("state/snapshot.kalitka")).unwrap();
    assert_wrong(&city, &["gateway", "hub", "snapshot"], &["everybody is denied"]);
}
