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
        let address = free_address();
        let (config, data) = (folder.join("prometheus.yml"), folder.join("prometheus"));
        let rules = rules_folder().join("rules.yml");
        let page = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [{:?}]\nscrape_configs:\n  - job_name: \
             kalitka\n    static_configs: [{{ targets: {targets:?} }}]\n",
            text(&rules)
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
