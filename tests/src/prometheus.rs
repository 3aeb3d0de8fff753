//! The real Prometheus of Debian's package: unpacked in the target folder, started on a port of its own, asked by HTTP.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use crate::process::Process;
use crate::provision::once;
use crate::site::{BOUND, text};
use crate::tree::root;
use crate::wait::until;

const PACKAGE: &str = "prometheus";

/// The folder of the rules and their cases.
#[must_use]
pub fn rules_folder() -> PathBuf {
    root().join("deploy/prometheus")
}

/// One of the package's programs, unpacked on first use.
///
/// # Panics
/// When the package cannot be had; so do all functions here when something fails.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let unpack = |folder: &Path| {
            let unpack = root().join("deploy/unpack-debian");
            assert!(Command::new(unpack).arg(PACKAGE).arg(folder).status().unwrap().success());
        };
        once(PACKAGE, PACKAGE, unpack).join("usr/bin")
    });
    folder.join(name)
}

/// What Grafana makes of a panel's `expression` when `instance` is chosen and one scrapes once a second.
#[must_use]
pub fn chosen(expression: &str, instance: &str) -> String {
    expression.replace("$instance", instance).replace("$__rate_interval", "4s")
}

/// A running Prometheus that scrapes once a second, and looks at the rules as often.
#[derive(Debug)]
pub struct Prometheus {
    process: Process,
    address: String,
}

impl Prometheus {
    /// Starts one in `folder` that scrapes `targets`, and waits until it is ready.
    #[must_use]
    pub fn start(folder: &Path, targets: &[&str]) -> Self {
        Self::start_with(folder, targets, &rules_folder().join("rules.yml"))
    }

    /// The same with other `rules`.
    #[must_use]
    pub fn start_with(folder: &Path, targets: &[&str], rules: &Path) -> Self {
        let address = free_address();
        let (config, data) = (folder.join("prometheus.yml"), folder.join("prometheus"));
        let page = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [{:?}]\nscrape_configs:\n  - job_name: \
             kalitka\n    static_configs: [{{ targets: {targets:?} }}]\n",
            text(rules)
        );
        fs::write(&config, page).unwrap();
        let args = [
            format!("--config.file={}", text(&config)),
            format!("--storage.tsdb.path={}", text(&data)),
            format!("--web.listen-address={address}"),
        ];
        let process = Process::start(text(&program("prometheus")), args, &folder.join("prometheus.log"));
        let mut prometheus = Self { process, address };
        until("Prometheus", BOUND, || {
            assert!(prometheus.process.ended().is_none(), "it has ended: {}", prometheus.process.printed());
            prometheus.get("/-/ready").filter(|(code, _)| *code == 200)
        });
        prometheus
    }

    /// What `expression` comes to now.
    #[must_use]
    pub fn query(&self, expression: &str) -> Vec<Value> {
        let said = self.ask(&format!("/api/v1/query?query={}", encode(expression)));
        said["data"]["result"].as_array().unwrap_or_else(|| panic!("{expression}: {said}")).clone()
    }

    /// What `expression` came to from one second since 1970 to another, every so many seconds.
    #[must_use]
    pub fn query_range(&self, expression: &str, from: f64, to: f64, step: f64) -> Vec<Value> {
        let query = encode(expression);
        let said = self.ask(&format!("/api/v1/query_range?query={query}&start={from}&end={to}&step={step}"));
        said["data"]["result"].as_array().unwrap_or_else(|| panic!("{expression}: {said}")).clone()
    }

    /// Every rule, as it stands.
    #[must_use]
    pub fn rules(&self) -> Vec<Value> {
        let said = self.ask("/api/v1/rules");
        let groups = said["data"]["groups"].as_array().unwrap();
        groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).cloned().collect()
    }

    fn ask(&self, path: &str) -> Value {
        serde_json::from_str(&self.get(path).unwrap().1).unwrap()
    }

    /// GETs `path`: status code and body. Nothing while nobody listens.
    fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream.set_read_timeout(Some(BOUND)).unwrap();
        // A reply to this version comes in one piece.
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        let code = reply.split(' ').nth(1)?.parse().ok()?;
        Some((code, reply.split_once("\r\n\r\n")?.1.to_owned()))
    }
}

/// The rules of `page` with every duration `haste` times as short: for how long something must hold, how far back is looked, how
/// long events have waited. Nothing else of them is changed.
#[must_use]
pub fn hastened(page: &str, haste: u32) -> String {
    const MARKS: [&str; 4] = ["for: ", "[", " offset ", "oldest_unacknowledged_seconds > "];
    let mut hastened = String::new();
    let mut rest = page;
    while !rest.is_empty() {
        let next = MARKS.iter().filter_map(|mark| Some(rest.find(mark)? + mark.len())).min().unwrap_or(rest.len());
        let (before, behind) = rest.split_at(next);
        let end = behind.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(behind.len());
        let (word, after) = behind.split_at(end);
        hastened.push_str(before);
        match millis(word) {
            // Of seconds as a plain number less than one is not worth to be told apart.
            Some(ms) if word.ends_with(|c: char| c.is_ascii_digit()) => {
                write!(hastened, "{}", (ms / 1000).div_ceil(haste)).unwrap();
            }
            Some(ms) => write!(hastened, "{}ms", ms.div_ceil(haste)).unwrap(),
            None => hastened.push_str(word),
        }
        rest = after;
    }
    hastened
}

/// How long `word` is, as Prometheus writes durations; a plain number is of seconds.
fn millis(word: &str) -> Option<u32> {
    let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &word[digits.len()..] {
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    digits.parse::<u32>().ok()?.checked_mul(unit)
}

/// An address on which nobody listens by now.
fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn encode(query: &str) -> String {
    let mut encoded = String::new();
    for byte in query.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => encoded.push(byte.into()),
            _ => write!(encoded, "%{byte:02X}").unwrap(),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_hastened_and_nothing_else_is() {
        let page = "expr: rate(a:rate5m[15m]) > 3 * (b offset 1d) and c[x] > 600\n  for: 5m\n - alert: Kalitka\nfor: 0m\n\
                    expr: kalitka_outbox_oldest_unacknowledged_seconds > 600 and d > 30\nfor: 30s\n";
        let expected = "expr: rate(a:rate5m[30000ms]) > 3 * (b offset 2880000ms) and c[x] > 600\n  for: 10000ms\n - alert: \
                        Kalitka\nfor: 0ms\nexpr: kalitka_outbox_oldest_unacknowledged_seconds > 20 and d > 30\nfor: 1000ms\n";
        assert_eq!(hastened(page, 30), expected);
    }

    #[test]
    fn hastened_rules_are_the_shipped_ones_but_for_durations() {
        let page = fs::read_to_string(rules_folder().join("rules.yml")).unwrap();
        let without_numbers = |page: &str| {
            let words = page.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| millis(word).is_none());
            words.filter(|word| !word.ends_with("ms")).map(str::to_owned).collect::<Vec<_>>()
        };
        let hasty = hastened(&page, 30);
        assert_eq!(without_numbers(&hasty), without_numbers(&page));
        assert_eq!(hasty.lines().count(), page.lines().count());
        let changed = hasty.lines().zip(page.lines()).filter(|(hasty, page)| hasty != page).map(|(_, page)| page);
        let is_duration = |line: &&str| {
            ["for: ", "[", " offset ", "oldest_unacknowledged_seconds > "].iter().any(|mark| line.contains(mark))
        };
        assert_eq!(changed.filter(|line| !is_duration(line)).count(), 0);
    }
}
