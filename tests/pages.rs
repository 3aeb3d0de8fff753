//! The pages are true: links lead somewhere, names that they give exist, alerts watch metrics that there are.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;

use kalitka_tests::source::Source;
use kalitka_tests::tree::{files, is_test, root};

/// Names that begin as our metrics do, and are crates.
const CRATES: [&str; 7] = [
    "kalitka_core",
    "kalitka_gateway",
    "kalitka_hub",
    "kalitka_outbox",
    "kalitka_protocol",
    "kalitka_snapshot",
    "kalitka_uplink",
];

const RULES: &str = "deploy/prometheus/rules.yml";
const RUNBOOK: &str = "deploy/RUNBOOK.md";
/// Pages that are kept in English and in Russian.
const TRANSLATED: [[&str; 2]; 2] = [["README.md", "README.ru.md"], [RUNBOOK, "deploy/RUNBOOK.ru.md"]];
const DASHBOARDS: [&str; 2] = ["building", "fleet"];
/// Where an installation puts the runbook.
const INSTALLED_RUNBOOK: &str = "/usr/share/doc/kalitka/RUNBOOK.md";

/// Fails with every breach at once.
fn none(rule: &str, breaches: &[String]) {
    assert!(breaches.is_empty(), "{rule}:\n  {}", breaches.join("\n  "));
}

/// The words of `text` that could be names of metrics: ours, and what Prometheus' own clients say of a process.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'));
    let is_name = |word: &&str| {
        (word.starts_with("kalitka_") && word.len() > 8 && !CRATES.contains(word)) || word.starts_with("process_")
    };
    let names = words.filter(is_name);
    names.map(str::to_owned).collect()
}

/// The names of metrics in the shipped strings of the sources in `folders`.
fn emitted_in(folders: &[&str]) -> BTreeSet<String> {
    let mut emitted = BTreeSet::new();
    for file in files(&[".rs"]).into_iter().filter(|file| folders.iter().any(|folder| file.path.starts_with(folder))) {
        if !is_test(&file.path) {
            let source = Source::new(&file.text);
            let until = source.tests_from.unwrap_or(usize::MAX);
            let strings = source.strings.iter().filter(|(line, _)| *line < until);
            emitted.extend(strings.flat_map(|(_, string)| metrics_in(string)));
        }
    }
    emitted
}

#[test]
fn the_metrics_are_those_that_the_runbook_documents() {
    let documented = metrics_in(&fs::read_to_string(root().join(RUNBOOK)).unwrap());
    let emitted = emitted_in(&["gateway/src/", "gateway/hub/src/", "gateway/process/src/"]);
    assert!(!emitted.is_empty());
    assert_eq!(emitted, documented, "left: names in the source; right: names in the runbook");
    let rules = fs::read_to_string(root().join(RULES)).unwrap();
    let family = |name: String| name.strip_suffix("_bucket").map_or(name.clone(), str::to_owned);
    let watched: BTreeSet<String> = metrics_in(&rules).into_iter().map(family).collect();
    let unknown: Vec<String> = watched.difference(&documented).cloned().collect();
    none("an alert on a metric that does not exist", &unknown);
}

fn page(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The first cells of the rows of tables that begin with `mark`.
fn rows(page: &str, mark: &str) -> Vec<String> {
    let rows = page.lines().filter_map(|line| line.strip_prefix(mark));
    rows.filter_map(|row| row.split(" |").next()).map(|cell| cell.trim_matches('`').to_owned()).collect()
}

/// The titles of the panels of a dashboard, in their order.
fn panels(dashboard: &str) -> Vec<String> {
    let dashboard = page(&format!("deploy/grafana/{dashboard}.json"));
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row");
    panels.map(|panel| panel["title"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_metric_alert_and_panel_stands_in_the_runbook_in_both_languages() {
    let rules = page(RULES);
    let alerts: Vec<String> =
        rules.split("- alert: ").skip(1).map(|alert| alert.lines().next().unwrap().into()).collect();
    let metrics = metrics_in(&page(RUNBOOK));
    for runbook in TRANSLATED[1] {
        let text = page(runbook);
        assert_eq!(metrics_in(&text), metrics, "metrics in {runbook}");
        assert_eq!(rows(&text, "| `Kalitka").len(), alerts.len());
        let listed: Vec<String> = rows(&text, "| `Kalitka").iter().map(|rest| format!("Kalitka{rest}")).collect();
        assert_eq!(listed, alerts, "alerts in {runbook}");
        for dashboard in DASHBOARDS {
            assert_eq!(
                rows(&text, &format!("| {dashboard} | ")),
                panels(dashboard),
                "panels of {dashboard} in {runbook}"
            );
        }
    }
}

/// The blocks of code of a page, without comments, which are in the page's language.
fn code(page: &str) -> Vec<String> {
    let blocks = page.split("```").skip(1).step_by(2);
    let bare = |line: &str| line.split(" #").next().unwrap_or_default().trim().to_owned();
    blocks.map(|block| block.lines().map(bare).collect::<Vec<_>>().join("\n")).collect()
}

#[test]
fn pages_in_two_languages_have_the_same_headings_and_the_same_commands() {
    for pair in TRANSLATED {
        let [english, russian] = pair.map(page);
        let levels = |page: &str| -> Vec<usize> {
            let headings = page.lines().filter(|line| line.starts_with("# ") || line.starts_with("##"));
            headings.map(|line| line.chars().take_while(|&c| c == '#').count()).collect()
        };
        assert_eq!(levels(&english), levels(&russian), "levels of the headings of {pair:?}");
        let rows = |page: &str| page.lines().filter(|line| line.starts_with('|')).count();
        assert_eq!(rows(&english), rows(&russian), "rows of the tables of {pair:?}");
        for (english, russian) in code(&english).iter().zip(&code(&russian)) {
            assert_eq!(english, russian, "a block of code of {pair:?}");
        }
        assert_eq!(code(&english).len(), code(&russian).len(), "blocks of code of {pair:?}");
    }
}

#[test]
fn every_link_on_every_page_leads_somewhere() {
    let mut breaches = Vec::new();
    for page in files(&[".md"]) {
        let folder = root().join(&page.path).parent().unwrap().to_path_buf();
        for link in page.text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let target = if path.is_empty() { root().join(&page.path) } else { folder.join(path) };
            let Ok(kind) = fs::metadata(&target) else {
                breaches.push(format!("{} → {link}", page.path));
                continue;
            };
            if !anchor.is_empty() && kind.is_file() && !anchors(&fs::read_to_string(&target).unwrap()).contains(anchor)
            {
                breaches.push(format!("{} → {link}: no such heading", page.path));
            }
        }
    }
    none("a link to nowhere", &breaches);
}

/// The anchors of a page's headings, as the usual renderers name them.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let kept =
        |heading: &str| heading.to_lowercase().replace(|c: char| !(c.is_alphanumeric() || " -_".contains(c)), "");
    headings.map(|heading| kept(heading).replace(' ', "-")).collect()
}

#[test]
fn the_code_map_names_files_that_exist() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let quoted = page.split('`').skip(1).step_by(2);
    let paths = quoted.filter(|word| word.contains('/') && !word.contains([' ', '<', ':']));
    let paths = paths.filter(|word| [".rs", ".md", ".toml", "/"].iter().any(|ending| word.ends_with(ending)));
    let breaches: Vec<String> = paths.filter(|path| !root().join(path).exists()).map(str::to_owned).collect();
    none("ARCHITECTURE.md names a file that is not there", &breaches);
}

#[test]
fn every_clause_that_the_source_cites_stands_in_the_spec() {
    let spec = fs::read_to_string(root().join("protocol/SPEC.md")).unwrap();
    let is_clause = |word: &str| word.contains('.') && word.split('.').all(|part| part.parse::<u8>().is_ok());
    let clean = |word: &str| word.trim_matches(|c: char| !c.is_ascii_digit()).to_owned();
    // What begins a line in bold: a number that the page merely mentions is no clause.
    let numbered = spec.lines().filter_map(|line| line.strip_prefix("**")?.split_once("** "));
    let clauses: BTreeSet<&str> = numbered.map(|(number, _)| number).filter(|number| is_clause(number)).collect();
    let mut breaches = Vec::new();
    for file in files(&[".rs"]).into_iter().filter(|file| !file.path.starts_with("tests/")) {
        for rest in file.text.split("SPEC ").skip(1) {
            let cited = clean(rest.split_whitespace().next().unwrap_or_default());
            if is_clause(&cited) && !clauses.contains(cited.as_str()) {
                breaches.push(format!("{} cites SPEC {cited}", file.path));
            }
        }
    }
    none("a clause that SPEC.md does not have", &breaches);
}

#[test]
fn the_alert_rules_are_whole() {
    let rules = fs::read_to_string(root().join(RULES)).unwrap();
    let mut breaches = Vec::new();
    for alert in rules.split("- alert: ").skip(1) {
        let name = alert.lines().next().unwrap();
        for part in ["expr: ", "for: ", "severity: ", "summary: ", "runbook: ", "action: "] {
            if alert.lines().filter(|line| line.trim_start().starts_with(part)).count() != 1 {
                breaches.push(format!("{name} has not exactly one `{part}`"));
            }
        }
        let expression = alert.lines().find_map(|line| line.trim_start().strip_prefix("expr: ")).unwrap_or_default();
        for (open, close) in [('(', ')'), ('[', ']'), ('{', '}')] {
            if expression.matches(open).count() != expression.matches(close).count() {
                breaches.push(format!("{name}: {open} and {close} do not match in {expression}"));
            }
        }
    }
    let runbook = anchors(&fs::read_to_string(root().join(RUNBOOK)).unwrap());
    let links =
        rules.lines().filter_map(|line| line.trim_start().strip_prefix("runbook: ")?.trim_matches('"').split_once('#'));
    let lost = links.filter(|(page, anchor)| *page != INSTALLED_RUNBOOK || !runbook.contains(*anchor));
    breaches.extend(lost.map(|(page, anchor)| format!("{page}#{anchor} is not in the runbook")));
    breaches.extend(rules.lines().filter(|line| line.contains('\t')).map(|line| format!("a tab in {line:?}")));
    none("an alert that Prometheus or its reader could not use", &breaches);
    assert!(rules.starts_with('#') && rules.contains("\ngroups:\n"));
}
