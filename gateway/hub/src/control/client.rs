//! The command line's end of the control socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::wire::{Reply, Request};
use crate::doors::DoorRequest;
use crate::failure::Failure;
use crate::limits::{CONTROL_PATIENCE, CONTROL_REPLY_MAX};

/// Who takes the lines of a list.
type Take<'a> = dyn FnMut(&str) -> Result<ControlFlow<()>, Failure> + 'a;

/// Asks the hub behind `socket` for `request`.
///
/// # Errors
/// [`Failure::Environment`] when nobody answers there, and whatever the hub says was wrong.
pub(crate) fn ask(socket: &Path, request: &Request) -> Result<Value, Failure> {
    ask_any(socket, request, &mut |_| Ok(ControlFlow::Continue(())))
}

/// As [`ask`], for what stands beside the core.
///
/// # Errors
/// As [`ask`].
pub(crate) fn ask_door(socket: &Path, request: &DoorRequest) -> Result<Value, Failure> {
    ask_any(socket, request, &mut |_| Ok(ControlFlow::Continue(())))
}

/// As [`ask`], for a list: `take` gets its lines one by one, as they come, until it has seen enough.
///
/// # Errors
/// As [`ask`], and what `take` says.
pub(crate) fn list(socket: &Path, request: &Request, take: &mut Take<'_>) -> Result<(), Failure> {
    ask_any(socket, request, take).map(drop)
}

fn ask_any(socket: &Path, request: &impl Serialize, take: &mut Take<'_>) -> Result<Value, Failure> {
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        let hint = "is the hub running, and may you use its socket?";
        Failure::Environment(format!("{}: cannot {what}: {error}; {hint}", socket.display()))
    };
    let mut stream = UnixStream::connect(socket).map_err(|error| failed("reach the hub", &error))?;
    let patience = stream.set_read_timeout(Some(CONTROL_PATIENCE));
    patience.and_then(|()| stream.set_write_timeout(Some(CONTROL_PATIENCE))).map_err(|error| failed("wait", &error))?;
    let mut line = serde_json::to_string(request).map_err(|error| failed("ask", &error))?;
    line.push('\n');
    stream.write_all(line.as_bytes()).map_err(|error| failed("ask", &error))?;
    let mut stream = BufReader::new(stream);
    loop {
        // It may hold a token.
        let mut line = Zeroizing::new(String::new());
        (&mut stream).take(CONTROL_REPLY_MAX).read_line(&mut line).map_err(|error| failed("hear the reply", &error))?;
        if !line.ends_with('\n') {
            return Err(failed("hear the whole reply", &"the hub has ended it"));
        }
        if !line.starts_with(Reply::BEGINNING) {
            if take(&line)?.is_break() {
                return Ok(Value::Null);
            }
            continue;
        }
        match serde_json::from_str(&line).map_err(|error| failed("understand the reply", &error))? {
            Reply::Waiting {} => {}
            // With standard error gone there is nobody to tell.
            Reply::Note { text } => drop(write!(std::io::stderr(), "{text}")),
            Reply::Done { value } => return Ok(value),
            Reply::Refused { error } => return Err(Failure::Input(error)),
            Reply::Failed { error } => return Err(Failure::Environment(error)),
        }
    }
}
