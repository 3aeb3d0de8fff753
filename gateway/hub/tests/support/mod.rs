//! A hub as a process, in a folder of its own, and what is needed to talk to it.
#![allow(dead_code, clippy::unwrap_used, clippy::panic, reason = "each test file uses its part")]

pub(crate) mod gateway;
pub(crate) mod history;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// How long anything that must happen may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_kalitka-hub");

/// Runs the hub's binary to its end.
pub(crate) fn hub(words: &[&str]) -> Output {
    Command::new(BINARY).args(words).stdin(Stdio::null()).output().unwrap()
}

/// The exit status and what was said on standard error.
pub(crate) fn status_and_error(output: &Output) -> (i32, String) {
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A folder with everything a hub needs.
pub(crate) struct Site {
    folder: TempDir,
    /// Where the state folder is, if not in the site's.
    state: PathBuf,
}

impl Site {
    /// With keys and certificates.
    pub(crate) fn new() -> Self {
        let site = Self::bare();
        let (status, error) = status_and_error(&hub(&["pki", "init", "--config", &site.config()]));
        assert_eq!(status, 0, "{error}");
        site
    }

    /// With a configuration and nothing else.
    pub(crate) fn bare() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        Self::at(folder, state)
    }

    /// With the state folder elsewhere.
    pub(crate) fn at(folder: TempDir, state: PathBuf) -> Self {
        let site = Self { folder, state };
        let config = format!(
            "state = \"{}\"\n[quic]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"\n[control]\n\
             socket = \"{}\"\n[log]\nformat = \"json\"\nlevel = \"debug\"\n",
            site.state.display(),
            site.path("control").display(),
        );
        fs::write(site.path("hub.toml"), config).unwrap();
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file of the state folder.
    pub(crate) fn state(&self, name: &str) -> PathBuf {
        self.state.join(name)
    }

    pub(crate) fn config(&self) -> String {
        self.path("hub.toml").display().to_string()
    }

    /// From the next start on the hub listens for gateways at `quic`.
    pub(crate) fn listen(&self, quic: SocketAddr) {
        let config = fs::read_to_string(self.path("hub.toml")).unwrap();
        let any = "[quic]\nlisten = \"127.0.0.1:0\"";
        assert!(config.contains(any));
        fs::write(self.path("hub.toml"), config.replace(any, &format!("[quic]\nlisten = \"{quic}\""))).unwrap();
    }

    /// Runs the hub until it serves.
    pub(crate) fn start(&self) -> Hub {
        self.start_by(&mut Command::new(BINARY))
    }

    /// Runs the hub by `command`, to which its arguments are added, until it serves.
    pub(crate) fn start_by(&self, command: &mut Command) -> Hub {
        command.args(["run", "--config", &self.config()]).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (send, log) = channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(send.send(line))));
        let unknown = SocketAddr::from(([0; 4], 0));
        let mut hub = Hub { child, log, config: self.config(), quic: unknown, http: unknown };
        let serving = hub.await_log("serving");
        hub.quic = serving["quic"].as_str().unwrap().parse().unwrap();
        hub.http = serving["http"].as_str().unwrap().parse().unwrap();
        hub
    }
}

/// A running hub; killed when dropped.
pub(crate) struct Hub {
    child: Child,
    log: Receiver<String>,
    config: String,
    pub(crate) quic: SocketAddr,
    pub(crate) http: SocketAddr,
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Hub {
    /// The next log line with `message`.
    pub(crate) fn await_log(&self, message: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            let line = self.log.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            let line = line.unwrap_or_else(|_| panic!("no log line `{message}` in:\n{}", seen.join("\n")));
            let value: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}"));
            if value["message"] == message {
                return value;
            }
            seen.push(line);
        }
    }

    /// Every log line up to the end of the process.
    pub(crate) fn log_to_the_end(&self) -> Vec<String> {
        self.log.iter().collect()
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// How many bytes a file of the process may have from now on; `None` for any number. What is beyond is refused as a full
    /// disk refuses it, if the process was started with SIGXFSZ ignored.
    pub(crate) fn limit_files(&self, bytes: Option<u64>) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let limit = rustix::process::Rlimit { current: bytes, maximum: None };
        rustix::process::prlimit(Some(pid), rustix::process::Resource::Fsize, limit).unwrap();
    }

    /// Waits for the process's end, which its closed log shows.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.log_to_the_end();
        self.child.wait().unwrap()
    }

    /// Runs a command of the hub's binary on this hub; exit status, standard output and standard error.
    pub(crate) fn command(&self, words: &[&str]) -> (i32, String, String) {
        let output = hub(&[words, &["--config", &self.config]].concat());
        let (status, error) = status_and_error(&output);
        (status, String::from_utf8(output.stdout).unwrap(), error)
    }

    /// The JSON that a command prints; it has to succeed.
    pub(crate) fn json(&self, words: &[&str]) -> Value {
        let (status, out, error) = self.command(&[words, &["--json"]].concat());
        assert_eq!(status, 0, "{words:?}: {out}{error}");
        serde_json::from_str(&out).unwrap_or_else(|_| panic!("not JSON: {out}"))
    }

    /// The events of `building`, oldest first.
    pub(crate) fn events(&self, building: u32) -> Vec<Value> {
        let (status, out, error) = self.command(&["events", "--building", &building.to_string(), "--json"]);
        assert_eq!(status, 0, "{error}");
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Exit status and what `verify` found.
    pub(crate) fn verify(&self, building: u32) -> (i32, Value) {
        let (status, out, error) = self.command(&["verify", "--building", &building.to_string(), "--json"]);
        (status, serde_json::from_str(&out).unwrap_or_else(|_| panic!("not JSON: {out}{error}")))
    }

    /// The kinds and buildings of the alarms, oldest first.
    pub(crate) fn alarms(&self) -> Vec<(String, Option<u64>)> {
        let alarms = self.json(&["alarms"]);
        let alarms = alarms.as_array().unwrap().iter();
        alarms.map(|alarm| (alarm["kind"].as_str().unwrap().to_owned(), alarm["building"].as_u64())).collect()
    }

    /// Status code and body of `GET path`.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{response}"));
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// Waits until `is_so` of a metric.
    pub(crate) fn await_metric(&self, name: &str, is_so: impl Fn(f64) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self.metric(name)) {
            assert!(Instant::now() < deadline, "{name} stays {}", self.metric(name));
            std::thread::yield_now();
        }
    }

    /// The value of a metric, labels and all; 0 when it is not there.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200);
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }
}
