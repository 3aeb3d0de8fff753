//! The configuration: a TOML file, every key checked, unknown keys refused.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::SocketAddr as UnixAddress;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kalitka_process::age::Age;
use kalitka_process::logs::Log;
use kalitka_process::settings;
use serde::Deserialize;

use crate::failure::Failure;
use crate::limits::{OPERATORS_MAX, PUBLISHERS_MAX, RENEW_EXPIRED_DAYS_MAX};

/// What a hub is told once, at its start.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Folder of what the hub keeps: events, certificates, snapshots.
    pub(crate) state: PathBuf,
    #[serde(default)]
    pub(crate) quic: Quic,
    #[serde(default)]
    pub(crate) http: Http,
    #[serde(default)]
    pub(crate) control: Control,
    #[serde(default)]
    pub(crate) gateways: Gateways,
    #[serde(default)]
    pub(crate) retention: Retention,
    #[serde(default)]
    pub(crate) log: Log,
}

/// Where gateways are listened to.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Quic {
    pub(crate) listen: SocketAddr,
}

/// Where feeds, metrics and health are served.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Http {
    pub(crate) listen: SocketAddr,
}

/// Where the command line reaches the running hub.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Control {
    pub(crate) socket: PathBuf,
}

/// What gateways are given when they enrol, Ed25519 public keys in hex, and how long one may have been away.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Gateways {
    /// Who may sign snapshots.
    pub(crate) publishers: Vec<String>,
    /// Who may sign commands.
    pub(crate) operators: Vec<String>,
    /// For how many days an expired certificate is good for its renewal.
    pub(crate) renew_expired_days: u32,
}

impl Default for Gateways {
    fn default() -> Self {
        Self { publishers: Vec::new(), operators: Vec::new(), renew_expired_days: 365 }
    }
}

/// How long what happened is kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Retention {
    /// Events that are older are purged.
    pub(crate) events: Age,
}

impl Default for Retention {
    /// Three years, after which claims are out of time.
    fn default() -> Self {
        Self { events: Age::days(1095) }
    }
}

impl Default for Quic {
    fn default() -> Self {
        Self { listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 4710) }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9471) }
    }
}

impl Default for Control {
    fn default() -> Self {
        Self { socket: PathBuf::from("/run/kalitka-hub/control") }
    }
}

impl Config {
    /// Reads and checks `path`.
    ///
    /// # Errors
    /// [`Failure::Environment`] when it cannot be read, [`Failure::Input`] naming the key that is wrong.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        settings::read(path, "hub", Self::check)
    }

    fn check(&self) -> Result<(), String> {
        for (key, path) in [("state", &self.state), ("control.socket", &self.control.socket)] {
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
        self.publishers()?;
        self.operators()?;
        let days = self.gateways.renew_expired_days;
        if days > RENEW_EXPIRED_DAYS_MAX {
            return Err(format!(
                "gateways.renew_expired_days: {days} is too many; give {RENEW_EXPIRED_DAYS_MAX} at most, or 0 for never"
            ));
        }
        Ok(())
    }

    /// How long an expired certificate is good for its renewal.
    pub(crate) fn renew_expired(&self) -> Duration {
        Duration::from_secs(u64::from(self.gateways.renew_expired_days) * 86_400)
    }

    /// The keys of `gateways.publishers`.
    pub(crate) fn publishers(&self) -> Result<Vec<[u8; 32]>, String> {
        keys("gateways.publishers", &self.gateways.publishers, PUBLISHERS_MAX)
    }

    /// The keys of `gateways.operators`.
    pub(crate) fn operators(&self) -> Result<Vec<[u8; 32]>, String> {
        keys("gateways.operators", &self.gateways.operators, OPERATORS_MAX)
    }
}

fn keys(name: &str, listed: &[String], max: usize) -> Result<Vec<[u8; 32]>, String> {
    if listed.len() > max {
        return Err(format!("{name}: {} keys are listed; list {max} at most", listed.len()));
    }
    let key = |hex: &String| {
        let mut key = [0; 32];
        hex::decode_to_slice(hex, &mut key)
            .map_err(|error| format!("{name}: `{hex}`: {error}; paste the 64 hex digits that keygen printed"))?;
        Ok(key)
    };
    listed.iter().map(key).collect()
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
