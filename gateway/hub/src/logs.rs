//! Logs on standard error. Nothing personal, nothing per datagram, no key.

use std::io;

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};
use crate::failure::Failure;

/// Starts logging for the life of the process.
///
/// # Errors
/// [`Failure::Defect`] when it has been started before.
pub(crate) fn start(log: &Log) -> Result<(), Failure> {
    let filter = EnvFilter::new(log.level.as_str());
    let lines = tracing_subscriber::fmt().with_writer(io::stderr).with_env_filter(filter).with_target(false);
    match log.format {
        LogFormat::Text => lines.with_ansi(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    }
    .map_err(|error| Failure::Defect(format!("logging: {error}")))
}
