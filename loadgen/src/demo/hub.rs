//! The hub of the demo, and the operator who signs commands.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use crate::limits::HAND_DOWN_WITHIN;
use crate::site::child::{Child, Service, finish, finish_keygen, says_ok};

/// How often the hub is asked what became of what it hands down.
const LOOK: Duration = Duration::from_millis(100);
/// How long a command of the demo is good for.
const NOT_AFTER: &str = "10m";

/// How to start the hub, and where it then is.
#[derive(Clone, Debug)]
pub(super) struct Hub {
    pub(super) service: Service,
    pub(super) quic: SocketAddr,
    pub(super) http: SocketAddr,
    pub(super) socket: PathBuf,
    building: u32,
    operator_key: PathBuf,
    command: PathBuf,
}

impl Hub {
    /// A hub in `folder`, with ports that are free now and its keys made. It hands snapshots of `publisher` down.
    pub(super) fn new(program: PathBuf, folder: &Path, building: u32, publisher: &str) -> io::Result<Self> {
        let loopback = (Ipv4Addr::LOCALHOST, 0);
        let (config, log) = (folder.join("hub.toml"), folder.join("hub.log"));
        let hub = Self {
            service: Service { name: "hub", program, config, log },
            quic: UdpSocket::bind(loopback)?.local_addr()?,
            http: TcpListener::bind(loopback)?.local_addr()?,
            socket: folder.join("hub-control"),
            building,
            operator_key: folder.join("operator.key"),
            command: folder.join("block.command"),
        };
        let mut keygen = Command::new(&hub.service.program);
        let operator = finish_keygen(keygen.args(["operator", "keygen", "--secret"]).arg(&hub.operator_key))?;
        let config = format!(
            "state = {:?}\n\n[quic]\nlisten = \"{}\"\n\n[http]\nlisten = \"{}\"\n\n[control]\nsocket = {:?}\n\n\
             [gateways]\npublishers = [\"{publisher}\"]\noperators = [\"{operator}\"]\n",
            folder.join("hub"),
            hub.quic,
            hub.http,
            hub.socket
        );
        fs::write(&hub.service.config, config)?;
        finish(&mut hub.service.command(&["pki", "init"]))?;
        Ok(hub)
    }

    /// Starts it and waits until it can be spoken to.
    pub(super) fn start(&self, stop: &AtomicBool) -> io::Result<Child> {
        let mut child = Child::start(self.service.clone())?;
        child.wait_until(stop, "does not serve", || says_ok(self.http, "/healthz") && self.socket.exists())?;
        Ok(child)
    }

    /// A token with which the box of the building enrols, once.
    pub(super) fn token(&self) -> io::Result<String> {
        #[derive(Deserialize)]
        struct Token {
            token: String,
        }
        let output = finish(self.service.command(&["pki", "token", "--json"]).args(["--building", &self.building()]))?;
        let Token { token } = serde_json::from_slice(&output.stdout)?;
        Ok(token)
    }

    /// Has the hub hand `snapshot` down, and waits until the gateway says that it is in force. A hub that is just starting
    /// is asked again.
    pub(super) fn publish(&self, snapshot: &Path) -> io::Result<()> {
        let begun = Instant::now();
        let mut generation = Value::Null;
        self.retry(begun, || {
            let output = finish(self.service.command(&["snapshot", "publish", "--json"]).arg(snapshot))?;
            generation = serde_json::from_slice::<Value>(&output.stdout)?["generation"].clone();
            Ok(true)
        })?;
        self.retry(begun, || {
            let list = lines(&finish(&mut self.service.command(&["snapshot", "list", "--json"]))?.stdout)?;
            let entry = list.iter().find(|entry| entry["generation"] == generation);
            result(entry.map_or(&Value::Null, |entry| &entry["result"]), &Value::from(0), "the snapshot")
        })
    }

    /// Has the operator sign a block of the card with `uid`, the hub hand it down, and waits until the gateway says that it
    /// is done.
    pub(super) fn block(&self, number: u64, uid: &str) -> io::Result<()> {
        let begun = Instant::now();
        let number_text = number.to_string();
        let mut sign = Command::new(&self.service.program);
        sign.args(["command", "sign", "--building", &self.building(), "--number", &number_text]);
        sign.args(["--not-after", NOT_AFTER, "--key"]).arg(&self.operator_key);
        finish(sign.arg("--out").arg(&self.command).args(["block", "--uid", uid]))?;
        self.retry(begun, || finish(self.service.command(&["command", "send"]).arg(&self.command)).map(|_| true))?;
        self.retry(begun, || {
            let mut list = self.service.command(&["command", "list", "--json"]);
            let list = lines(&finish(list.args(["--building", &self.building()]))?.stdout)?;
            let entry = list.iter().find(|entry| entry["number"] == number);
            result(entry.map_or(&Value::Null, |entry| &entry["outcome"]), &Value::from("done"), "the command")
        })
    }

    /// What `kalitka-hub verify` says, and whether it is content.
    pub(super) fn verify(&self) -> io::Result<(String, bool)> {
        let mut command = self.service.command(&["verify"]);
        let output = command.args(["--building", &self.building()]).output()?;
        let said = if output.stdout.is_empty() { output.stderr } else { output.stdout };
        Ok((String::from_utf8_lossy(&said).trim_end().to_owned(), output.status.success()))
    }

    fn building(&self) -> String {
        self.building.to_string()
    }

    /// Does `what` again and again until it is done. While there is time a failure counts as not yet done.
    fn retry(&self, begun: Instant, mut what: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
        loop {
            match what() {
                Ok(true) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(error),
                Err(error) if begun.elapsed() > HAND_DOWN_WITHIN => return Err(error),
                Ok(false) if begun.elapsed() > HAND_DOWN_WITHIN => {
                    let log = self.service.log.display();
                    let what = format!("the gateway has not said what became of what was handed down; see {log}");
                    return Err(io::Error::new(io::ErrorKind::TimedOut, what));
                }
                _ => thread::sleep(LOOK),
            }
        }
    }
}

/// Whether `said` is what was hoped for; not yet when nothing is said.
fn result(said: &Value, hoped: &Value, what: &str) -> io::Result<bool> {
    match said {
        Value::Null => Ok(false),
        said if said == hoped => Ok(true),
        said => Err(io::Error::new(io::ErrorKind::InvalidData, format!("{what} came to this: {said}"))),
    }
}

fn lines(stdout: &[u8]) -> io::Result<Vec<Value>> {
    let values = serde_json::Deserializer::from_slice(stdout).into_iter();
    values.collect::<Result<_, _>>().map_err(io::Error::from)
}
