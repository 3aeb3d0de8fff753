//! An OSDP device that is not ours: libosdp's, in a process of its own, on a pty.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::{Value, json};

use crate::provision::once;
use crate::site::{BOUND, text};
use crate::tree::root;

/// The release of libosdp that is tested against.
const LIBOSDP: &str = "libosdp==3.2.9";

/// A line: its device end, which the test holds open, and the name of the port at its other end.
#[derive(Debug)]
pub struct Line {
    device: OwnedFd,
    /// The port.
    pub port: PathBuf,
}

impl Line {
    /// A line of its own.
    ///
    /// # Panics
    /// When the system gives no pty; so do all functions here when something fails.
    #[must_use]
    pub fn new() -> Self {
        let device = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&device).unwrap();
        unlockpt(&device).unwrap();
        // Programs that are started by others do not get it.
        fcntl_setfd(&device, FdFlags::CLOEXEC).unwrap();
        let port = ptsname(&device, Vec::new()).unwrap().into_string().unwrap().into();
        Self { device, port }
    }
}

impl Default for Line {
    fn default() -> Self {
        Self::new()
    }
}

/// A running device. Dropped, it has lost its power.
#[derive(Debug)]
pub struct Peripheral {
    child: Child,
    input: ChildStdin,
    said: Receiver<Value>,
    /// The key that it was given last, in hex.
    pub key: Option<String>,
}

impl Peripheral {
    /// Starts a device at `address` of `line`; without `key` it has the one that everybody knows.
    #[must_use]
    pub fn start(line: &Line, address: u8, key: Option<&str>) -> Self {
        let descriptor = rustix::io::dup(&line.device).unwrap();
        fcntl_setfd(&descriptor, FdFlags::empty()).unwrap();
        let script = root().join("tests/peripheral/peripheral.py");
        let mut child = Command::new(python())
            .arg(script)
            .args([&descriptor.as_raw_fd().to_string(), &address.to_string(), key.unwrap_or("-")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        drop(descriptor);
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (say, said) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let Ok(value) = serde_json::from_str(&line) else { continue };
                if say.send(value).is_err() {
                    break;
                }
            }
        });
        Self { child, input, said, key: None }
    }

    /// Shows a card.
    pub fn show(&mut self, bits: u8, data: &[u8]) {
        self.tell(&json!({ "bits": bits, "card": hex::encode(data) }));
    }

    /// Sets the inputs.
    pub fn set_inputs(&mut self, inputs: [u8; 4]) {
        self.tell(&json!({ "inputs": inputs }));
    }

    /// Sets whether somebody tampers with it, and whether its power has failed.
    pub fn set_local(&mut self, tamper: u8, power: u8) {
        self.tell(&json!({ "local": [tamper, power] }));
    }

    fn tell(&mut self, what: &Value) {
        writeln!(self.input, "{what}").unwrap();
    }

    /// The next thing that the device says, if it says anything within `patience`.
    pub fn hear(&mut self, patience: Duration) -> Option<Value> {
        let said = match self.said.recv_timeout(patience) {
            Ok(said) => said,
            Err(RecvTimeoutError::Timeout) => return None,
            Err(RecvTimeoutError::Disconnected) => {
                panic!("the device's program has ended: {:?}", self.child.try_wait())
            }
        };
        assert!(said["lost"].is_null(), "libosdp does not take an event: {said}");
        if said["command"] == "keyset" {
            self.key = said["data"].as_str().map(ToOwned::to_owned);
        }
        Some(said)
    }

    /// The next thing that the device says for which `is_wanted` holds; others go by.
    pub fn await_said(&mut self, what: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let said = self.hear(BOUND).unwrap_or_else(|| panic!("waited {BOUND:?} in vain for: {what}"));
            if is_wanted(&said) {
                return said;
            }
        }
    }

    /// What it says until it has been silent for `quiet`.
    pub fn let_say(&mut self, quiet: Duration) -> Vec<Value> {
        std::iter::from_fn(|| self.hear(quiet)).collect()
    }

    /// What it has said and nobody has heard.
    pub fn said(&mut self) -> Vec<Value> {
        self.let_say(Duration::ZERO)
    }
}

impl Drop for Peripheral {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The Python that has libosdp: made on first use, in the target folder.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| once("libosdp", LIBOSDP, install).join("bin/python"))
}

fn install(folder: &Path) {
    let setup = root().join("deploy/setup-debian");
    let run = |program: &Path, args: &[&str]| {
        let output = Command::new(program).args(args).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} {args:?}: {error}", program.display());
    };
    run(&setup, &["--python"]);
    run(Path::new("python3"), &["-m", "venv", "--clear", text(folder)]);
    run(&folder.join("bin/pip"), &["install", "--quiet", "--disable-pip-version-check", LIBOSDP]);
}
