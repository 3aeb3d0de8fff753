//! The alerting rules: each fires by what it is for and by nothing else, and a real Prometheus finds what they ask for.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Duration;

use kalitka_tests::city::City;
use kalitka_tests::crowd::{Asking, Crowd};
use kalitka_tests::prometheus::{Prometheus, program, rules_folder};
use kalitka_tests::random::seed;
use kalitka_tests::site::{BOUND, Site};
use kalitka_tests::wait::until;

const CASES: [&str; 2] = ["rules_test.yml", "rules_days_test.yml"];
const HOLDERS: u32 = 300;
const EVERY: Duration = Duration::from_millis(20);

fn page(name: &str) -> String {
    fs::read_to_string(rules_folder().join(name)).unwrap()
}

/// What stands behind `mark` on the lines of `page`.
fn behind<'a>(page: &'a str, mark: &str) -> Vec<&'a str> {
    page.lines().filter_map(|line| line.trim_start().strip_prefix(mark)).collect()
}

#[test]
fn each_alert_fires_by_its_own_series_alone_and_stays_silent_by_others() {
    let output = Command::new(program("promtool"))
        .args(["test", "rules"])
        .args(CASES)
        .current_dir(rules_folder())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap());
    assert!(output.status.success(), "{}{}", said[0], said[1]);
}

#[test]
fn each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() {
    let alerts: BTreeSet<String> = behind(&page("rules.yml"), "- alert: ").into_iter().map(str::to_owned).collect();
    for outcome in ["fires", "is silent"] {
        let cases = CASES.map(page).concat();
        let named = behind(&cases, "- name: ");
        let named: BTreeSet<String> = named
            .into_iter()
            .filter_map(|name| name.strip_suffix(outcome))
            .map(|name| name.trim().to_owned())
            .collect();
        assert_eq!(named, alerts, "left: alerts with a case `{outcome}`; right: alerts");
    }
}

/// The names of metrics in `expression`.
fn metrics_in(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    words
        .filter(|word| word.starts_with("kalitka_") || word.starts_with("kalitka:") || *word == "up")
        .map(str::to_owned)
        .collect()
}

#[test]
fn real_prometheus_finds_what_every_rule_asks_for_and_no_alert_fires_on_a_good_day() {
    let mut city = City::of(Site::new(HOLDERS));
    city.start_hub();
    city.enrol();
    let (serial, osdp) = ("[[serial]]\nport = \"/dev/no-such-port\"\n", "[[osdp]]\nport = \"/dev/no-such-line\"\n");
    let device = "[[osdp.devices]]\naddress = 0\nreader = 900\n";
    city.site.configure_also(&format!("{serial}{osdp}{device}"));
    city.site.start();
    city.site.enrol();
    city.site.offer(&city.site.build(1));
    city.site.await_generation(1);
    city.await_uplink();
    let asking = Asking::new(&city.site.path("roster"), EVERY, seed());
    let crowd = Crowd::start_asking(city.site.udp(), &city.site.path("keys.json"), EVERY, asking, seed());
    let prometheus = Prometheus::start(&city.site.path(""), &[city.site.http(), city.http()]);
    let rules = until("every rule to be looked at", BOUND * 2, || {
        let rules = prometheus.rules();
        let all = !rules.is_empty() && rules.iter().all(|rule| rule["health"] != "unknown");
        (all && !prometheus.query("kalitka:denied:ratio5m > 0").is_empty()).then_some(rules)
    });
    let mut missing = BTreeSet::new();
    for rule in &rules {
        assert_eq!(rule["health"], "ok", "{rule:#}");
        let metrics = metrics_in(rule["query"].as_str().unwrap());
        missing.extend(metrics.into_iter().filter(|metric| prometheus.query(metric).is_empty()));
    }
    assert!(missing.is_empty(), "rules ask for what nobody says: {missing:?}");
    assert!(crowd.receipted() > 0 && crowd.fares().wrong == 0);
    // The ports that were made up are the only thing amiss.
    let amiss = ["KalitkaSerialPortGone", "KalitkaOsdpDeviceAway"];
    let firing = prometheus.query("ALERTS{alertstate=\"firing\"}");
    let firing = firing.iter().map(|alert| alert["metric"]["alertname"].as_str().unwrap());
    let unexpected: Vec<&str> = firing.filter(|name| !amiss.contains(name)).collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
}
