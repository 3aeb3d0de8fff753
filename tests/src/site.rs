//! A building of its own for a test: an invented school, a publisher's key, a gateway on free ports, its readers' keys.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kalitka_loadgen::oracle::Oracle;
use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Process, run, run_well};
use crate::wait::until;

/// How long anything on one machine may take before a test gives up.
pub const BOUND: Duration = Duration::from_secs(30);

const ANY_PORT: &str = "127.0.0.1:0";

/// The building. Dropped, its gateway is ended and its folder removed.
#[derive(Debug)]
pub struct Site {
    gateway: Option<Process>,
    publisher: String,
    building: u32,
    udp: String,
    http: String,
    /// Configuration behind the usual one.
    also: String,
    /// More of the environment of what is started.
    pub environment: Vec<(String, String)>,
    folder: TempDir,
}

impl Site {
    /// A school of `holders` holders with a configuration, and nothing running.
    ///
    /// # Panics
    /// When one of the programs fails; so do all functions here.
    #[must_use]
    pub fn new(holders: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let roster = folder.path().join("roster");
        run_well("kalitka-loadgen", ["roster", "--holders", &holders.to_string(), "--out", text(&roster)]);
        let secret = folder.path().join("publisher.key");
        let publisher = run_well("kalitka-snapshot", ["keygen", "--secret", text(&secret)]);
        let building = fs::read_to_string(roster.join("building.toml")).unwrap();
        let number = building.lines().find_map(|line| line.strip_prefix("number = ")).unwrap();
        let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
        let site = Self {
            gateway: None,
            publisher: publisher.trim().to_owned(),
            building: digits.parse().unwrap(),
            udp: ANY_PORT.to_owned(),
            http: ANY_PORT.to_owned(),
            also: String::new(),
            environment: Vec::new(),
            folder,
        };
        fs::DirBuilder::new().mode(0o700).create(site.path("state")).unwrap();
        site
    }

    /// A path in the building's folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The building's number.
    #[must_use]
    pub const fn building(&self) -> u32 {
        self.building
    }

    /// The publisher's public key in hex.
    #[must_use]
    pub fn publisher(&self) -> &str {
        &self.publisher
    }

    /// Takes building and publisher of `other`: a twin of its box, on ports of its own.
    pub fn become_like(&mut self, other: &Self) {
        (self.building, self.publisher) = (other.building, other.publisher.clone());
    }

    /// From the next configuration on the gateway is to be found there.
    pub fn listen_at(&mut self, udp: SocketAddr, http: SocketAddr) {
        (self.udp, self.http) = (udp.to_string(), http.to_string());
    }

    /// Where the running gateway listens to readers.
    #[must_use]
    pub fn udp(&self) -> SocketAddr {
        self.udp.parse().unwrap()
    }

    /// Writes the configuration with `more` behind it; gives its path.
    #[must_use]
    pub fn configured(&self, more: &str) -> PathBuf {
        let (building, publisher, udp, http) = (self.building, &self.publisher, &self.udp, &self.http);
        let (state, socket) = (self.path("state"), self.path("control"));
        let (state, socket) = (state.display(), socket.display());
        // A test's machine need not have a time service, and what is expected is reckoned by its clock.
        let time = if more.contains("[time]") { "" } else { "[time]\ntrust = \"always\"\n" };
        let config = format!(
            "building = {building}\nstate = \"{state}\"\n[udp]\nlisten = \"{udp}\"\n\
             [snapshots]\ninbox = \"{state}/inbox\"\npoll_ms = 20\npublishers = [\"{publisher}\"]\n\
             [http]\nlisten = \"{http}\"\n[control]\nsocket = \"{socket}\"\n{time}{more}"
        );
        let path = self.path("gateway.toml");
        fs::write(&path, config).unwrap();
        path
    }

    /// Builds and signs the roster as it stands; gives the file.
    #[must_use]
    pub fn build(&self, generation: u32) -> PathBuf {
        let (roster, key) = (self.path("roster"), self.path("publisher.key"));
        let out = self.path(&format!("{generation}.snapshot"));
        let generation = generation.to_string();
        let (roster, key, file) = (text(&roster), text(&key), text(&out));
        let args = ["build", "--roster", roster, "--key", key, "--generation", &generation, "--out", file];
        run_well("kalitka-snapshot", args);
        out
    }

    /// From the next start on the gateway is configured with `more` besides.
    pub fn configure_also(&mut self, more: &str) {
        more.clone_into(&mut self.also);
    }

    /// Starts the gateway, and waits for nothing.
    pub fn spawn(&mut self) {
        let config = self.configured(&self.also);
        let log = self.path("gateway.log");
        let args = ["run", "--config", text(&config)];
        self.gateway = Some(Process::start_in(&self.environment, "kalitka-gateway", args, &log));
    }

    /// Starts the gateway, on the ports that it had before if it ran before, and waits until it serves.
    pub fn start(&mut self) {
        self.spawn();
        let config = self.path("gateway.toml");
        let gateway = self.gateway.as_mut().unwrap();
        let status = until("the gateway's control socket", BOUND, || {
            assert!(gateway.ended().is_none(), "the gateway has ended: {}", gateway.printed());
            let output = run("kalitka-gateway", ["snapshot", "status", "--json", "--config", text(&config)]);
            serde_json::from_slice::<Value>(&output.stdout).ok().filter(|_| output.status.success())
        });
        self.udp = status["udp"].as_str().unwrap().to_owned();
        self.http = status["http"].as_str().unwrap().to_owned();
    }

    /// Ends the gateway at once, whatever it was doing.
    pub fn end(&mut self) {
        self.gateway = None;
    }

    /// The running gateway.
    pub fn gateway(&mut self) -> &mut Process {
        self.gateway.as_mut().unwrap()
    }

    /// Runs a command of `kalitka-gateway` against the running one.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> std::process::Output {
        let socket = self.path("control");
        run("kalitka-gateway", words.iter().copied().chain(["--socket", text(&socket)]))
    }

    /// Such a command, which must succeed, and what it says as JSON.
    pub fn ask(&self, words: &[&str]) -> Value {
        let output = self.command(&[words, &["--json"]].concat());
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Gives every reader of the roster a key, and writes them where [`play`](Self::play) finds them.
    pub fn enrol(&self) {
        let oracle = Oracle::read(&self.path("roster")).unwrap_or_else(|error| panic!("{error}"));
        let add = |reader: kalitka_protocol::ReaderId| self.ask(&["reader", "add", &reader.0.to_string()]);
        let keys: Vec<Value> = oracle.readers().map(add).collect();
        self.write_keys("keys.json", &keys);
    }

    /// Puts the keys of `readers` into the file `name` of their own.
    ///
    /// # Panics
    /// When the key file is not there or has others.
    pub fn set_keys_apart(&self, readers: &[u32], name: &str) {
        let all = self.path("keys.json");
        let keys: Vec<Value> = serde_json::from_slice(&fs::read(&all).unwrap()).unwrap();
        fs::remove_file(&all).unwrap();
        let is_apart = |key: &Value| readers.iter().any(|reader| key["reader"] == *reader);
        let (apart, others): (Vec<Value>, Vec<Value>) = keys.into_iter().partition(is_apart);
        assert_eq!(apart.len(), readers.len());
        self.write_keys("keys.json", &others);
        self.write_keys(name, &apart);
    }

    fn write_keys(&self, name: &str, keys: &[Value]) {
        let mut file = fs::OpenOptions::new();
        let mut file = file.write(true).create_new(true).mode(0o600).open(self.path(name)).unwrap();
        file.write_all(&serde_json::to_vec(keys).unwrap()).unwrap();
    }

    /// Offers `file` as publishers do: beside the others under a dotted name, then renamed.
    pub fn offer(&self, file: &Path) {
        let inbox = self.path("state/inbox");
        let name = file.file_name().unwrap().to_str().unwrap();
        let hidden = inbox.join(format!(".{name}"));
        fs::copy(file, &hidden).unwrap();
        fs::rename(hidden, inbox.join(name)).unwrap();
    }

    /// The generation in force; 0 when there is none.
    #[must_use]
    pub fn generation(&self) -> u64 {
        let status = self.ask(&["snapshot", "status"]);
        status["snapshot"]["in_force"]["generation"].as_u64().unwrap_or(0)
    }

    /// Waits until `generation` is in force.
    pub fn await_generation(&self, generation: u32) {
        until("a generation in force", BOUND, || (self.generation() == u64::from(generation)).then_some(()));
    }

    /// Where the gateway serves its metrics.
    #[must_use]
    pub fn http(&self) -> &str {
        &self.http
    }

    /// GETs `path` of the gateway's HTTP surface: status code and body.
    #[must_use]
    pub fn get(&self, path: &str) -> (u16, String) {
        get(&self.http, path)
    }

    /// The sum of the samples of metric `name` whose labels contain `labels`.
    #[must_use]
    pub fn metric(&self, name: &str, labels: &str) -> f64 {
        sum(&self.get("/metrics").1, name, labels)
    }

    /// Plays readers against the gateway by `kalitka-loadgen run`; gives its summary and whether it was content.
    #[must_use]
    pub fn play(&self, args: &[&str]) -> (Value, bool) {
        self.play_at(self.udp(), args)
    }

    /// The same against a gateway that is found at `address`.
    #[must_use]
    pub fn play_at(&self, address: SocketAddr, args: &[&str]) -> (Value, bool) {
        let address = address.to_string();
        let (keys, roster, json) = (self.path("keys.json"), self.path("roster"), self.path("summary.json"));
        let (keys, roster, file) = (text(&keys), text(&roster), text(&json));
        let fixed = ["run", "--gateway", &address, "--keys", keys, "--roster", roster, "--json", file];
        let output = run("kalitka-loadgen", fixed.iter().chain(args));
        let summary = fs::read(&json).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        (serde_json::from_slice(&summary).unwrap(), output.status.success())
    }
}

/// GETs `path` of the HTTP surface at `address`: status code and body.
pub(crate) fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(BOUND)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: kalitka\r\nConnection: close\r\n\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let code = reply.split(' ').nth(1).unwrap().parse().unwrap();
    (code, reply.split_once("\r\n\r\n").unwrap().1.to_owned())
}

/// The sum of the samples of metric `name` on `page` whose labels contain `labels`.
pub(crate) fn sum(page: &str, name: &str, labels: &str) -> f64 {
    let samples = page.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(labels)
    });
    samples.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// A path as an argument.
///
/// # Panics
/// When it is no UTF-8.
#[must_use]
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
