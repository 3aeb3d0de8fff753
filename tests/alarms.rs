//! What the city's people look at: each alert fires by what it is for and by nothing else, and a real Prometheus finds what the
//! rules and the panels of the dashboards ask for.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Duration;

use kalitka_tests::city::City;
use kalitka_tests::crowd::{Asking, Crowd};
use kalitka_tests::prometheus::{Prometheus, chosen, program, rules_folder};
use kalitka_tests::random::seed;
use kalitka_tests::site::{BOUND, Site};
use kalitka_tests::tree::root;
use kalitka_tests::wait::{until, until_or};
use serde_json::Value;

const CASES: [&str; 3] = ["rules_test.yml", "rules_hours_test.yml", "rules_days_test.yml"];
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
        // It makes a store for each case, and syncs it: in memory nobody beside it waits for the disk.
        .env("TMPDIR", "/dev/shm")
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

const DASHBOARDS: [&str; 2] = ["building.json", "fleet.json"];
/// Columns of a dashboard.
const WIDTH: u64 = 24;

fn dashboard(name: &str) -> Value {
    serde_json::from_slice(&fs::read(root().join("deploy/grafana").join(name)).unwrap()).unwrap()
}

/// The panels of a dashboard that show something.
fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row")
}

/// What a panel asks for.
fn expressions(panel: &Value) -> impl Iterator<Item = &str> {
    panel["targets"].as_array().unwrap().iter().map(|target| target["expr"].as_str().unwrap())
}

#[test]
fn dashboards_say_what_each_panel_means_ask_the_source_that_is_chosen_and_cover_no_panel() {
    for name in DASHBOARDS {
        let dashboard = dashboard(name);
        let (mut ids, mut covered) = (BTreeSet::new(), BTreeSet::new());
        for panel in dashboard["panels"].as_array().unwrap() {
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel:#}");
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
            assert!(w > 0 && h > 0 && x + w <= WIDTH, "{panel:#}");
            let fields = (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y)));
            fields.for_each(|field| assert!(covered.insert(field), "{field:?} is covered twice: {panel:#}"));
        }
        for panel in panels(&dashboard) {
            let says = |key: &str| panel[key].as_str().is_some_and(|text| !text.is_empty());
            assert!(says("title") && says("description"), "{panel:#}");
            let sources = panel["targets"].as_array().unwrap().iter().chain([panel]).map(|of| &of["datasource"]["uid"]);
            sources.for_each(|source| assert_eq!(source, "${datasource}", "{panel:#}"));
            assert!(expressions(panel).count() > 0, "{panel:#}");
        }
    }
}

/// What `expression` selects, with its labels: each alternative of a value by itself, so that none of them can be misspelt.
fn selectors(expression: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut selectors = BTreeSet::new();
    for (at, word) in
        expression.split(|c| !is_name(c)).map(|word| (word.as_ptr().addr() - expression.as_ptr().addr(), word))
    {
        if !(word.starts_with("kalitka_") || word.starts_with("kalitka:") || word == "up") {
            continue;
        }
        let labels = expression[at + word.len()..].strip_prefix('{').and_then(|rest| rest.split('}').next());
        match labels.and_then(|labels| labels.split_once("=~\"")) {
            Some((label, values)) => {
                let values = values.trim_end_matches('"').split('|');
                selectors.extend(values.map(|value| format!("{word}{{{label}=\"{value}\"}}")));
            }
            None => drop(selectors.insert(labels.map_or(word.to_owned(), |labels| format!("{word}{{{labels}}}")))),
        }
    }
    selectors
}

#[test]
fn selectors_are_found_with_each_of_their_values() {
    let found = selectors("rate(kalitka_a{x=~\"b|c\"}[5m]) / kalitka:d > 3 and on (up) kalitka_e{y!=\"z\"} offset 1d");
    let expected = ["kalitka:d", "kalitka_a{x=\"b\"}", "kalitka_a{x=\"c\"}", "kalitka_e{y!=\"z\"}", "up"];
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

/// Those of `asked` to which nothing is said however long one waits: a rate is there from its target's second scrape on.
fn unanswered(prometheus: &Prometheus, mut asked: BTreeSet<String>) -> BTreeSet<String> {
    until_or(BOUND, || {
        asked.retain(|expression| prometheus.query(expression).is_empty());
        asked.is_empty().then_some(())
    });
    asked
}

#[test]
fn real_prometheus_finds_what_every_rule_and_panel_asks_for_and_no_alert_fires_on_a_good_day() {
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
    rules.iter().for_each(|rule| assert_eq!(rule["health"], "ok", "{rule:#}"));
    let asked = rules.iter().flat_map(|rule| selectors(rule["query"].as_str().unwrap()));
    let missing = unanswered(&prometheus, asked.collect());
    assert!(missing.is_empty(), "rules ask for what nobody says: {missing:#?}");
    let dashboards = DASHBOARDS.map(dashboard);
    let asked = dashboards.iter().flat_map(panels).flat_map(expressions).map(|asked| chosen(asked, city.site.http()));
    let empty = unanswered(&prometheus, asked.collect());
    assert!(empty.is_empty(), "panels that show nothing: {empty:#?}");
    assert!(crowd.receipted() > 0 && crowd.fares().wrong == 0);
    // The ports that were made up are the only thing amiss.
    let amiss = ["KalitkaSerialPortGone", "KalitkaOsdpDeviceAway"];
    let firing = prometheus.query("ALERTS{alertstate=\"firing\"}");
    let firing = firing.iter().map(|alert| alert["metric"]["alertname"].as_str().unwrap());
    let unexpected: Vec<&str> = firing.filter(|name| !amiss.contains(name)).collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
}
