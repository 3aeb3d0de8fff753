//! The configuration: a TOML file, every key checked, unknown keys refused.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::SocketAddr as UnixAddress;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kalitka_core::limits::WORKERS_MAX;
use kalitka_core::{Line, Texts};
use kalitka_snapshot::PublisherKey;
use serde::Deserialize;

use crate::durable;
use crate::failure::Failure;
use crate::limits::{CONFIG_BYTES_MAX, PUBLISHERS_MAX};

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
    pub(crate) snapshots: Snapshots,
    #[serde(default)]
    pub(crate) readers: Readers,
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
}

/// Where snapshots come from and who may have signed them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Snapshots {
    pub(crate) inbox: PathBuf,
    #[serde(default = "poll_ms")]
    pub(crate) poll_ms: u64,
    /// Ed25519 public keys in hex: the present one and, during a change, the next.
    pub(crate) publishers: Vec<String>,
}

/// What readers are told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Readers {
    pub(crate) fall_back_after_ms: u16,
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

/// What is logged, and how.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    pub(crate) format: LogFormat,
    pub(crate) level: LogLevel,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
}

impl LogLevel {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

impl Default for Udp {
    fn default() -> Self {
        Self { listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 4700), workers: 1 }
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
        let bytes = durable::read_if_there(path, CONFIG_BYTES_MAX)
            .map_err(|error| {
                let remedy = "give --config a regular file that the gateway's user may read, of 64 KiB at most";
                Failure::at(path, "read the configuration", &error, remedy)
            })?
            .ok_or_else(|| {
                let path = path.display();
                Failure::Environment(format!(
                    "{path}: there is no such file; correct --config, or begin with a copy of deploy/gateway.example.toml"
                ))
            })?;
        Self::parse(&bytes).map_err(|error| Failure::Input(format!("{}: {}", path.display(), error.trim_end())))
    }

    /// The configuration in `bytes`; the error names the key and says what to do.
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            format!("the configuration is not UTF-8 from byte {} on; save it as UTF-8", error.valid_up_to() + 1)
        })?;
        let config: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        in_range("building", self.building, 1, u32::MAX)?;
        in_range("udp.workers", self.udp.workers, 1, WORKERS_MAX)?;
        in_range("snapshots.poll_ms", self.snapshots.poll_ms, 10, 60_000)?;
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
        if !(1..=PUBLISHERS_MAX).contains(&self.snapshots.publishers.len()) {
            return Err(format!(
                "snapshots.publishers: {} keys are listed; list one, or two while the publisher's key changes",
                self.snapshots.publishers.len()
            ));
        }
        self.publishers()?;
        self.texts().map(|_| ())
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

    /// Every [`Snapshots::poll_ms`] the inbox is looked at.
    pub(crate) const fn poll(&self) -> Duration {
        Duration::from_millis(self.snapshots.poll_ms)
    }
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
