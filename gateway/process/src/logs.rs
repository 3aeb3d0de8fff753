//! Logs on standard error. Nothing personal, nothing per datagram, no key.

use std::io;

use serde::Deserialize;
use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// What is logged, and how.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// How a line is written.
    pub format: LogFormat,
    /// What is left out.
    pub level: LogLevel,
}

/// How a line is written.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines: an object a line.
    Json,
}

/// The least grave of what is logged.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What somebody has to do something about.
    Error,
    /// What was refused or has to be tried again.
    Warn,
    /// What was done.
    #[default]
    Info,
    /// What was looked at.
    Debug,
}

impl LogLevel {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// Starts logging for the life of the process.
///
/// # Errors
/// [`Failure::Defect`] when it has been started before.
pub fn start(log: &Log) -> Result<(), Failure> {
    let filter = EnvFilter::new(log.level.as_str());
    let lines = tracing_subscriber::fmt().with_writer(io::stderr).with_env_filter(filter).with_target(false);
    match log.format {
        LogFormat::Text => lines.with_ansi(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    }
    .map_err(|error| Failure::Defect(format!("logging: {error}")))
}
