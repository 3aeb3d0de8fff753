//! The configuration: a TOML file, every key checked, unknown keys refused.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::SocketAddr as UnixAddress;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kalitka_core::limits::WORKERS_MAX;
use kalitka_core::{Line, Texts};
use kalitka_process::age::Age;
use kalitka_process::logs::Log;
use kalitka_process::settings;
use kalitka_snapshot::PublisherKey;
use serde::Deserialize;

use crate::failure::Failure;
use crate::limits::{
    CORE_MAX, ESSENTIAL_LEVELS_MAX, JOURNAL_RING, JOURNAL_RING_MAX, JOURNAL_RING_MIN, OPERATORS_MAX, PUBLISHERS_MAX,
    RECEIVE_BUFFER_BYTES, RECEIVE_BUFFER_BYTES_MAX, RECEIVE_BUFFER_BYTES_MIN, SPIN_US_MAX, STALE_AFTER_DAYS_MAX,
};
use crate::osdp::settings as osdp;
use crate::serial;

/// What a gateway is told once, at its start.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The building's number: a snapshot of another one is refused.
    pub(crate) building: u32,
    /// Folder of what the gateway keeps: keys, stamps, the adopted snapshot.
    pub(crate) state: PathBuf,
    #[serde(default)]
    pub(crate) udp: Udp,
    /// Readers on serial lines.
    #[serde(default)]
    pub(crate) serial: Vec<serial::settings::Port>,
    pub(crate) snapshots: Snapshots,
    #[serde(default)]
    pub(crate) readers: Readers,
    /// Lines with OSDP devices.
    #[serde(default)]
    pub(crate) osdp: Vec<osdp::Settings>,
    #[serde(default)]
    pub(crate) uplink: Uplink,
    #[serde(default)]
    pub(crate) time: Time,
    #[serde(default)]
    pub(crate) journal: Journal,
    #[serde(default)]
    pub(crate) outbox: Outbox,
    #[serde(default)]
    pub(crate) retention: Retention,
    #[serde(default)]
    pub(crate) commands: Commands,
    #[serde(default)]
    pub(crate) safety: Safety,
    #[serde(default)]
    pub(crate) http: Http,
    #[serde(default)]
    pub(crate) control: Control,
    /// What persons are shown, by the labels of [`Line`].
    #[serde(default)]
    pub(crate) texts: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) log: Log,
}

/// Where readers are listened to.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Udp {
    pub(crate) listen: SocketAddr,
    pub(crate) workers: u8,
    /// The core of each worker; none when they run where the system puts them.
    pub(crate) cores: Vec<u16>,
    /// How long a worker looks for the next datagram before it sleeps.
    pub(crate) spin_us: u32,
    /// Of each worker's socket.
    pub(crate) receive_buffer_bytes: usize,
}

/// How events are taken from the workers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Journal {
    /// The core of the journal's thread.
    pub(crate) core: Option<u16>,
    /// Records of each worker that may wait.
    pub(crate) ring: usize,
}

/// Where snapshots come from and who may have signed them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Snapshots {
    pub(crate) inbox: PathBuf,
    #[serde(default = "poll_ms")]
    pub(crate) poll_ms: u64,
    /// Ed25519 public keys in hex: the present one and, during a change, the next. May be empty on an enrolled box.
    #[serde(default)]
    pub(crate) publishers: Vec<String>,
    /// Days after its making for which all permissions of a snapshot count; 0 for always.
    #[serde(default)]
    pub(crate) stale_after_days: u16,
}

/// What readers are told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Readers {
    pub(crate) fall_back_after_ms: u16,
}

/// Where events go to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Uplink {
    /// `HOST:PORT`, in the place of the hub that enrolled the box.
    pub(crate) hub: Option<String>,
}

/// How much is kept until the hub has it, and after.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Outbox {
    pub(crate) events_max: u64,
    pub(crate) bytes_max: u64,
    pub(crate) keep_acknowledged: u64,
}

/// How long what happened is kept, whether the hub has it or not.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Retention {
    /// Events that are older are purged.
    pub(crate) events: Age,
}

/// Whose commands are obeyed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Commands {
    /// Ed25519 public keys in hex, besides those that the enrolment has pinned.
    pub(crate) operators: Vec<String>,
}

/// What is done when the blocks and modes in force cannot be read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Safety {
    pub(crate) mode: SafeMode,
}

/// How portals stand when it is not known what was ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SafeMode {
    /// All portals are closed until an operator orders a mode.
    #[default]
    Closed,
    /// As if nothing had been ordered.
    AsScheduled,
}

/// When the wall clock is believed, and whom the building cannot do without in doubt.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Time {
    pub(crate) trust: Trust,
    /// Names of access levels whose schedules do not count while time is held, and that alone count by a stale snapshot.
    pub(crate) essential: Vec<String>,
}

/// Whose word is taken for the wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Trust {
    /// The kernel's, which knows whether a time service keeps its clock.
    #[default]
    Synchronised,
    /// This configuration's: the clock is kept by something of which the kernel does not know.
    Always,
}

/// Where metrics and health are served.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Http {
    pub(crate) listen: SocketAddr,
}

/// Where the command line reaches the running gateway.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Control {
    pub(crate) socket: PathBuf,
}

impl Default for Udp {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 4700),
            workers: 1,
            cores: Vec::new(),
            spin_us: 0,
            receive_buffer_bytes: RECEIVE_BUFFER_BYTES,
        }
    }
}

impl Default for Journal {
    fn default() -> Self {
        Self { core: None, ring: JOURNAL_RING }
    }
}

impl Default for Outbox {
    fn default() -> Self {
        Self { events_max: 2_000_000, bytes_max: 1 << 30, keep_acknowledged: 100_000 }
    }
}

impl Default for Time {
    fn default() -> Self {
        Self { trust: Trust::default(), essential: vec!["pupil".into(), "staff".into()] }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self { events: Age::days(90) }
    }
}

impl Default for Readers {
    fn default() -> Self {
        Self { fall_back_after_ms: 1000 }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9470) }
    }
}

impl Default for Control {
    fn default() -> Self {
        Self { socket: PathBuf::from("/run/kalitka/control") }
    }
}

const fn poll_ms() -> u64 {
    250
}

impl Config {
    /// Reads and checks `path`.
    ///
    /// # Errors
    /// [`Failure::Environment`] when it cannot be read, [`Failure::Input`] naming the key that is wrong.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        settings::read(path, "gateway", Self::check)
    }

    fn check(&self) -> Result<(), String> {
        in_range("building", self.building, 1, u32::MAX)?;
        self.check_threads()?;
        serial::settings::check(&self.serial)?;
        in_range("snapshots.poll_ms", self.snapshots.poll_ms, 10, 60_000)?;
        in_range("snapshots.stale_after_days", self.snapshots.stale_after_days, 0, STALE_AFTER_DAYS_MAX)?;
        in_range("readers.fall_back_after_ms", self.readers.fall_back_after_ms, 200, 60_000)?;
        for (key, path) in [
            ("state", &self.state),
            ("snapshots.inbox", &self.snapshots.inbox),
            ("control.socket", &self.control.socket),
        ] {
            if !path.is_absolute() {
                return Err(format!(
                    "{key}: `{}` is not an absolute path; write the whole of it, from `/` on",
                    path.display()
                ));
            }
        }
        UnixAddress::from_pathname(&self.control.socket).map_err(|error| {
            format!("control.socket: `{}`: {error}; give a shorter path", self.control.socket.display())
        })?;
        self.check_amounts()?;
        osdp::check(&self.osdp)?;
        self.check_ports()?;
        self.publishers()?;
        self.operators()?;
        self.texts().map(|_| ())
    }

    /// No port is both a reader's and a line of OSDP devices: one of the two would wait for the other for ever.
    fn check_ports(&self) -> Result<(), String> {
        let is_serial = |line: &&osdp::Settings| self.serial.iter().any(|port| port.port == line.port);
        self.osdp.iter().find(is_serial).map_or(Ok(()), |line| {
            let port = line.port.display();
            Err(format!("osdp.port: `{port}` is in [[serial]] too; leave it where what hangs on it belongs"))
        })
    }

    fn check_threads(&self) -> Result<(), String> {
        let Udp { workers, cores, spin_us, receive_buffer_bytes, .. } = &self.udp;
        in_range("udp.workers", *workers, 1, WORKERS_MAX)?;
        in_range("udp.spin_us", *spin_us, 0, SPIN_US_MAX)?;
        let (min, max) = (RECEIVE_BUFFER_BYTES_MIN, RECEIVE_BUFFER_BYTES_MAX);
        in_range("udp.receive_buffer_bytes", *receive_buffer_bytes, min, max)?;
        in_range("journal.ring", self.journal.ring, JOURNAL_RING_MIN, JOURNAL_RING_MAX)?;
        for (place, core) in cores.iter().enumerate() {
            in_range("udp.cores", *core, 0, CORE_MAX)?;
            if cores[..place].contains(core) {
                return Err(format!("udp.cores: core {core} is listed twice; give each worker a core of its own"));
            }
        }
        if !cores.is_empty() && cores.len() != usize::from(*workers) {
            let listed = cores.len();
            return Err(format!("udp.cores: {listed} cores for {workers} workers; list one for each, or none"));
        }
        self.journal.core.map_or(Ok(()), |core| in_range("journal.core", core, 0, CORE_MAX))
    }

    /// The cores that threads are to run on, by the keys that say so.
    pub(crate) fn cores(&self) -> impl Iterator<Item = (&'static str, u16)> {
        let workers = self.udp.cores.iter().map(|&core| ("udp.cores", core));
        workers.chain(self.journal.core.map(|core| ("journal.core", core)))
    }

    fn check_amounts(&self) -> Result<(), String> {
        let Outbox { events_max, bytes_max, keep_acknowledged } = self.outbox;
        in_range("outbox.events_max", events_max, 10_000, 1_000_000_000)?;
        in_range("outbox.bytes_max", bytes_max, 64 << 20, 1 << 40)?;
        in_range("outbox.keep_acknowledged", keep_acknowledged, 0, events_max)?;
        if self.snapshots.publishers.len() > PUBLISHERS_MAX {
            return Err(format!(
                "snapshots.publishers: {} keys are listed; list one, or two while the publisher's key changes",
                self.snapshots.publishers.len()
            ));
        }
        if self.commands.operators.len() > OPERATORS_MAX {
            let listed = self.commands.operators.len();
            return Err(format!("commands.operators: {listed} keys are listed; list {OPERATORS_MAX} at most"));
        }
        if self.time.essential.len() > ESSENTIAL_LEVELS_MAX {
            let listed = self.time.essential.len();
            return Err(format!(
                "time.essential: {listed} access levels are listed; list {ESSENTIAL_LEVELS_MAX} at most"
            ));
        }
        match &self.uplink.hub {
            Some(hub) if !is_host_and_port(hub) => {
                Err(format!("uplink.hub: `{hub}` is not HOST:PORT; write it like hub.example.org:4710"))
            }
            _ => Ok(()),
        }
    }

    /// The building's texts: the configured ones, the others as they stand by default.
    pub(crate) fn texts(&self) -> Result<Texts, String> {
        let mut texts = Texts::default();
        for (key, text) in &self.texts {
            let line = Line::ALL.into_iter().find(|line| line.label() == key).ok_or_else(|| {
                format!("texts.{key}: there is no such text; there are {}", Line::ALL.map(Line::label).join(", "))
            })?;
            texts.set(line, text).map_err(|error| format!("texts.{key}: {error}"))?;
        }
        Ok(texts)
    }

    /// The keys of `snapshots.publishers`.
    pub(crate) fn publishers(&self) -> Result<Vec<PublisherKey>, String> {
        let keys = self.snapshots.publishers.iter();
        keys.map(|hex| {
            PublisherKey::from_hex(hex).map_err(|error| {
                format!("snapshots.publishers: `{hex}`: {error}; paste the line that `kalitka-snapshot keygen` printed")
            })
        })
        .collect()
    }

    /// The keys of `commands.operators`.
    pub(crate) fn operators(&self) -> Result<Vec<[u8; 32]>, String> {
        let keys = self.commands.operators.iter();
        keys.map(|text| {
            let mut key = [0; 32];
            hex::decode_to_slice(text, &mut key).map(|()| key).map_err(|_| {
                format!(
                    "commands.operators: `{text}` is no key; paste the line that `kalitka-hub operator keygen` printed"
                )
            })
        })
        .collect()
    }

    /// How long a worker looks for the next datagram before it sleeps.
    pub(crate) const fn spin(&self) -> Duration {
        Duration::from_micros(self.udp.spin_us as u64)
    }

    /// Every [`Snapshots::poll_ms`] the inbox is looked at.
    pub(crate) const fn poll(&self) -> Duration {
        Duration::from_millis(self.snapshots.poll_ms)
    }
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains(char::is_whitespace) && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

fn in_range<T: Copy + PartialOrd + std::fmt::Display>(key: &str, value: T, min: T, max: T) -> Result<(), String> {
    if value < min || value > max {
        return Err(format!("{key}: {value} is out of range; give one from {min} to {max}"));
    }
    Ok(())
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
