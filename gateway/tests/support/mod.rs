//! A gateway as a process, in a folder of its own, and what is needed to talk to it.
#![allow(dead_code, clippy::unwrap_used, clippy::panic, reason = "each test file uses its part")]

pub(crate) mod clock;
pub(crate) mod line;
pub(crate) mod reader;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use ed25519_dalek::SigningKey;
use kalitka_outbox::{Begun, Bounds, Opening, Outbox};
use kalitka_protocol::EpochId;
use kalitka_protocol::event::{Event, Events};
use kalitka_snapshot::roster::Roster;
use serde_json::Value;
use tempfile::TempDir;

/// How long anything that must happen may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const BUILDING: u32 = 17;
pub(crate) const READER: u32 = 101;
pub(crate) const CARD: [u8; 4] = [0x04, 0xa1, 0xb2, 0xc3];

const ROSTER: [(&str, &str); 3] = [
    (
        "building.toml",
        r#"
[building]
number = 17
organisation = 3
name = "School 17"
time_zone = "Europe/Moscow"
[[area]]
name = "street"
[[area]]
name = "hall"
[[portal]]
name = "turnstile-1"
from = "street"
to = "hall"
[[reader]]
number = 101
portal = "turnstile-1"
shapes = ["uid"]
[[reader]]
number = 102
portal = "turnstile-1"
shapes = ["uid"]
[[access_level]]
name = "pupil"
grants = [ { portals = ["*"] } ]
"#,
    ),
    ("people.csv", "holder,kind,group,state,access_levels,valid_from,valid_to\np0001,pupil,1A,active,pupil,,\n"),
    ("cards.csv", "card,holder,state,valid_from,valid_to,blocked_until\nuid:04A1B2C3,p0001,issued,,,\n"),
];

/// The publisher whose key is configured.
pub(crate) fn publisher() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

/// A signed snapshot of the small roster, with the building's number and the publisher as given.
pub(crate) fn snapshot_of(building: u32, generation: u32, publisher: &SigningKey) -> Vec<u8> {
    snapshot_made(building, generation, publisher, 1_700_000_000)
}

/// The same, made at `created`, in seconds since 1970.
pub(crate) fn snapshot_made(building: u32, generation: u32, publisher: &SigningKey, created: i64) -> Vec<u8> {
    let as_building = |text: &str| text.replacen("number = 17", &format!("number = {building}"), 1);
    made(generation, publisher, created, as_building)
}

/// A good snapshot for this building, with `more` in its `building.toml`.
pub(crate) fn snapshot_with(more: &str) -> Vec<u8> {
    let more = |text: &str| if text.contains("[building]") { format!("{text}{more}") } else { text.to_owned() };
    made(1, &publisher(), 1_700_000_000, more)
}

fn made(generation: u32, publisher: &SigningKey, created: i64, change: impl Fn(&str) -> String) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in ROSTER {
        fs::write(folder.path().join(name), change(text)).unwrap();
    }
    let roster = Roster::read(folder.path()).unwrap();
    let (unsigned, _) = kalitka_snapshot::build(&roster, generation, created, 0).unwrap();
    kalitka_snapshot::sign(unsigned, publisher).unwrap()
}

/// A good snapshot for this building.
pub(crate) fn snapshot(generation: u32) -> Vec<u8> {
    snapshot_of(BUILDING, generation, &publisher())
}

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_kalitka-gateway");

/// Runs the gateway's binary to its end.
pub(crate) fn gateway(words: &[&str]) -> Output {
    Command::new(BINARY).args(words).stdin(Stdio::null()).output().unwrap()
}

/// The exit status and what was said on standard error.
pub(crate) fn status_and_error(output: &Output) -> (i32, String) {
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A folder with everything a gateway needs.
pub(crate) struct Site {
    folder: TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::with_workers(1)
    }

    pub(crate) fn with_workers(workers: u8) -> Self {
        let site = Self { folder: tempfile::tempdir().unwrap() };
        let at = |name: &str| site.path(name).display().to_string();
        let config = format!(
            "building = {BUILDING}\nstate = \"{}\"\n[udp]\nlisten = \"127.0.0.1:0\"\nworkers = {workers}\n[snapshots]\n\
             inbox = \"{}\"\npoll_ms = 10\npublishers = [\"{}\"]\n[http]\nlisten = \"127.0.0.1:0\"\n[control]\n\
             socket = \"{}\"\n[time]\ntrust = \"always\"\n[log]\nformat = \"json\"\nlevel = \"debug\"\n",
            at("state"),
            at("inbox"),
            hex::encode(publisher().verifying_key().as_bytes()),
            at("control"),
        );
        fs::write(site.path("config.toml"), config).unwrap();
        fs::create_dir(site.path("inbox")).unwrap();
        site
    }

    /// A site whose inbox holds snapshot `generation`.
    pub(crate) fn with_snapshot(generation: u32) -> Self {
        let site = Self::new();
        site.put("first", &snapshot(generation));
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn config(&self) -> String {
        self.path("config.toml").display().to_string()
    }

    /// Changes the configuration's text.
    pub(crate) fn reconfigure(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.path("config.toml")).unwrap();
        assert!(text.contains(from));
        fs::write(self.path("config.toml"), text.replacen(from, to, 1)).unwrap();
    }

    /// Puts `bytes` into the inbox under `name`, at once.
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) {
        let hidden = self.path("inbox").join(format!(".{name}"));
        fs::write(&hidden, bytes).unwrap();
        fs::rename(hidden, self.path("inbox").join(name)).unwrap();
    }

    /// Puts `text` into the state folder as the key file.
    pub(crate) fn keep_keys(&self, text: &str) {
        fs::DirBuilder::new().mode(0o700).create(self.path("state")).unwrap();
        let file = self.path("state/readers.keys");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Runs the gateway until it serves.
    pub(crate) fn start(&self) -> Gateway {
        self.start_by(&mut Command::new(BINARY))
    }

    /// Runs the gateway by `command`, to which its arguments are added, until it serves.
    pub(crate) fn start_by(&self, command: &mut Command) -> Gateway {
        command.args(["run", "--config", &self.config()]).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (send, log) = channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(send.send(line))));
        let unknown = SocketAddr::from(([0; 4], 0));
        let mut gateway = Gateway { child, log, control: self.path("control"), udp: unknown, http: unknown };
        let serving = gateway.await_log("serving");
        gateway.udp = serving["udp"].as_str().unwrap().parse().unwrap();
        gateway.http = serving["http"].as_str().unwrap().parse().unwrap();
        gateway
    }
}

/// The outbox of a stopped gateway, which is found exactly as it was left.
pub(crate) fn outbox_of(site: &Site) -> Outbox {
    let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let mut id = [0; 16];
    let _ = hex::decode_to_slice(machine.trim(), &mut id);
    let limits = Bounds { events_max: 1 << 30, bytes_max: 1 << 40, keep_acknowledged: 1 << 30 };
    let folder = site.path("state/outbox");
    let opening = Opening {
        folder: &folder,
        building: BUILDING,
        machine: id,
        fresh_epoch: EpochId(9),
        known: None,
        earlier: &[],
        limits,
    };
    let (outbox, begun) = Outbox::open(opening).unwrap();
    assert_eq!(begun, Begun::AsLeft);
    outbox
}

/// Visits the events of `epoch` that the outbox holds, from number `next` on.
pub(crate) fn each_event(outbox: &mut Outbox, epoch: EpochId, mut next: u64, mut visit: impl FnMut(&Event<'_>)) {
    while let Some(run) = outbox.read(epoch, next, 1 << 20).unwrap() {
        for event in Events::new(&run.events) {
            visit(&event.unwrap().event().unwrap());
        }
        next = run.first + u64::from(run.count);
    }
}

/// A running gateway; killed when dropped.
pub(crate) struct Gateway {
    child: Child,
    log: Receiver<String>,
    control: PathBuf,
    pub(crate) udp: SocketAddr,
    pub(crate) http: SocketAddr,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Gateway {
    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next log line with `message`.
    pub(crate) fn await_log(&self, message: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let line = self.log.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            let line = line.unwrap_or_else(|_| panic!("no log line `{message}`"));
            let value: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}"));
            if value["message"] == message {
                return value;
            }
        }
    }

    /// All log lines that have come and not been looked at.
    pub(crate) fn log_so_far(&self) -> Vec<String> {
        self.log.try_iter().collect()
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

    /// The most memory that the process has had resident so far.
    pub(crate) fn resident_kib_max(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// How many bytes a file of the process may have from now on; `None` for any number. What is beyond is refused as a full
    /// disk refuses it, if the process was started with SIGXFSZ ignored.
    pub(crate) fn limit_files(&self, bytes: Option<u64>) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let limit = rustix::process::Rlimit { current: bytes, maximum: None };
        rustix::process::prlimit(Some(pid), rustix::process::Resource::Fsize, limit).unwrap();
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for the process's end, which its closed log shows.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.log_to_the_end();
        self.child.wait().unwrap()
    }

    /// One request over the control socket.
    pub(crate) fn ask(&self, request: &str) -> Value {
        ask(&self.control, format!("{request}\n").as_bytes())
    }

    /// Gives reader `number` a key; its bytes.
    pub(crate) fn add_reader(&self, number: u32) -> [u8; 32] {
        self.key(&format!(r#"{{"verb":"reader_add","reader":{number}}}"#))
    }

    /// The key in the reply to `request`.
    pub(crate) fn key(&self, request: &str) -> [u8; 32] {
        let reply = self.ask(request);
        let mut psk = [0; 32];
        hex::decode_to_slice(reply["psk"].as_str().unwrap_or_else(|| panic!("{reply}")), &mut psk).unwrap();
        psk
    }

    /// Status code and body of `GET path`.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        self.http(&format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))
    }

    pub(crate) fn http(&self, request: &str) -> (u16, String) {
        let response = self.response(request);
        let (head, body) = response.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{response}"));
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// All of what is replied to `request`.
    pub(crate) fn response(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    }

    /// The value of a metric, labels and all; 0 when it is not there.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200);
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Waits until a metric has reached `value`.
    pub(crate) fn await_metric(&self, name: &str, value: f64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.metric(name);
            if found >= value {
                assert!((found - value).abs() < 0.5, "{name} is {found}, not {value}");
                return;
            }
            assert!(Instant::now() < deadline, "{name} is {found}, not {value}");
        }
    }
}

/// One line to a control socket, one line back.
pub(crate) fn ask(socket: &Path, line: &[u8]) -> Value {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(line).unwrap();
    let mut reply = String::new();
    BufReader::new(stream).read_line(&mut reply).unwrap();
    serde_json::from_str(&reply).unwrap_or_else(|_| panic!("not JSON: {reply}"))
}
