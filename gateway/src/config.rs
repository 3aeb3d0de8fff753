//! The configuration: a TOML file, every key checked, unknown keys refused.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kalitka_core::limits::WORKERS_MAX;
use kalitka_core::{Line, Texts};
use kalitka_snapshot::PublisherKey;
use serde::Deserialize;

use crate::durable;
use crate::failure::Failure;
use crate::limits::CONFIG_BYTES_MAX;

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
            .map_err(|error| Failure::at(path, "read the configuration", &error))?
            .ok_or_else(|| Failure::Environment(format!("{}: there is no such file", path.display())))?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Failure::Input(format!("{}: the configuration is not UTF-8", path.display())))?;
        Self::parse(&text).map_err(|error| Failure::Input(format!("{}: {}", path.display(), error.trim_end())))
    }

    /// The configuration in `text`; the error names the key.
    fn parse(text: &str) -> Result<Self, String> {
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
                return Err(format!("{key}: `{}` is not an absolute path", path.display()));
            }
        }
        in_range("snapshots.publishers (how many)", self.snapshots.publishers.len(), 1, 2)?;
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
            PublisherKey::from_hex(hex)
                .map_err(|error| format!("snapshots.publishers: `{hex}` is no public key: {error}"))
        })
        .collect()
    }

    /// Every [`Snapshots::poll_ms`] the inbox is looked at.
    pub(crate) const fn poll(&self) -> Duration {
        Duration::from_millis(self.snapshots.poll_ms)
    }
}

fn in_range<T: Copy + PartialOrd + std::fmt::Display>(key: &str, value: T, min: T, max: T) -> Result<(), String> {
    if value < min || value > max { Err(format!("{key}: {value} is not within {min} to {max}")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../deploy/gateway.example.toml");

    #[test]
    fn example_is_a_valid_configuration() {
        let config = Config::parse(EXAMPLE).unwrap();
        assert_eq!((config.udp.listen.port(), config.udp.workers, config.snapshots.poll_ms), (4700, 1, 250));
    }

    #[test]
    fn wrong_values_are_refused_by_name() {
        let cases = [
            ("building = 17", "building = 0", "building"),
            ("building = 17", "bilding = 17", "bilding"),
            ("workers = 1", "workers = 0", "udp.workers"),
            ("workers = 1", "workers = 65", "udp.workers"),
            ("workers = 1", "threads = 1", "threads"),
            ("poll_ms = 250", "poll_ms = 9", "snapshots.poll_ms"),
            ("fall_back_after_ms = 1000", "fall_back_after_ms = 199", "readers.fall_back_after_ms"),
            ("state = \"/", "state = \"", "state"),
            ("listen = \"127.0.0.1:9470\"", "listen = \"localhost\"", "listen"),
            ("format = \"text\"", "format = \"xml\"", "format"),
            ("granted = ", "allowed = ", "texts.allowed"),
            (
                "granted = \"",
                "granted = \"очень-очень длинный текст для табло, которое его не вместит",
                "texts.granted",
            ),
        ];
        for (right, wrong, named) in cases {
            assert!(EXAMPLE.contains(right), "the example lacks `{right}`");
            let error = Config::parse(&EXAMPLE.replacen(right, wrong, 1)).unwrap_err();
            assert!(error.contains(named), "`{wrong}` gave: {error}");
        }
    }

    #[test]
    fn publishers_are_one_or_two_keys() {
        let with = |list: &str| {
            Config::parse(&format!("building = 1\nstate = \"/s\"\n[snapshots]\ninbox = \"/i\"\npublishers = {list}\n"))
        };
        let key = hex::encode(ed25519_dalek::SigningKey::from_bytes(&[7; 32]).verifying_key().as_bytes());
        assert!(with(&format!("[\"{key}\"]")).is_ok());
        assert!(with(&format!("[\"{key}\", \"{key}\"]")).is_ok());
        for wrong in ["[]".into(), format!("[\"{key}\", \"{key}\", \"{key}\"]"), "[\"12\"]".into()] {
            assert!(with(&wrong).unwrap_err().contains("snapshots.publishers"), "{wrong}");
        }
    }

    #[test]
    fn truncated_or_damaged_configuration_never_panics() {
        for end in (0..EXAMPLE.len()).filter(|&end| EXAMPLE.is_char_boundary(end)) {
            let _ = Config::parse(&EXAMPLE[..end]);
        }
        for at in 0..EXAMPLE.len() {
            let mut bytes = EXAMPLE.as_bytes().to_vec();
            bytes[at] ^= 1;
            if let Ok(text) = String::from_utf8(bytes) {
                let _ = Config::parse(&text);
            }
        }
    }
}
