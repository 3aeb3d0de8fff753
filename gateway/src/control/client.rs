//! The command line's end of the control socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use zeroize::Zeroizing;

use super::wire::{Reply, Request};
use crate::failure::Failure;
use crate::limits::{CONTROL_PATIENCE, CONTROL_REPLY_MAX};

/// Asks the gateway behind `socket` for `request`.
///
/// # Errors
/// [`Failure::Environment`] when nobody answers there, and whatever the gateway says was wrong.
pub(crate) fn ask(socket: &Path, request: &Request) -> Result<Reply, Failure> {
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        let hint = "is the gateway running, and may you use its socket?";
        Failure::Environment(format!("{}: cannot {what}: {error}; {hint}", socket.display()))
    };
    let mut stream = UnixStream::connect(socket).map_err(|error| failed("reach the gateway", &error))?;
    let patience = stream.set_read_timeout(Some(CONTROL_PATIENCE));
    patience.and_then(|()| stream.set_write_timeout(Some(CONTROL_PATIENCE))).map_err(|error| failed("wait", &error))?;
    let mut line = serde_json::to_string(request).map_err(|error| failed("ask", &error))?;
    line.push('\n');
    stream.write_all(line.as_bytes()).map_err(|error| failed("ask", &error))?;
    // It may hold a key.
    let mut reply = Zeroizing::new(String::new());
    let mut stream = BufReader::new(stream.take(CONTROL_REPLY_MAX));
    stream.read_line(&mut reply).map_err(|error| failed("hear the reply", &error))?;
    match serde_json::from_str(&reply).map_err(|error| failed("understand the reply", &error))? {
        Reply::Refused { error } => Err(Failure::Input(error)),
        Reply::Failed { error } => Err(Failure::Environment(error)),
        done => Ok(done),
    }
}
