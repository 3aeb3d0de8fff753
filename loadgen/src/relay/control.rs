//! Orders by lines: from standard input, or over a control socket.

use std::fs;
use std::io::{self, BufRead, BufReader, Read as _, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use super::{Order, Relay};
use crate::limits::RELAY_ORDER_BYTES_MAX;

/// Obeys the orders of `lines`, one a line, until they end; answers each by a line on `out`: `ok`, `error: …`, or what was
/// asked for. Empty lines and those that begin with `#` are no orders.
///
/// # Errors
/// What reading says, or that a line is too long.
pub fn obey_lines(relay: &Relay, lines: impl io::Read, mut out: impl Write) -> io::Result<()> {
    let mut lines = BufReader::new(lines);
    loop {
        let mut line = Vec::new();
        let limit = u64::try_from(RELAY_ORDER_BYTES_MAX + 1).unwrap_or(u64::MAX);
        if lines.by_ref().take(limit).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line.len() > RELAY_ORDER_BYTES_MAX {
            let what = format!("an order has more than {RELAY_ORDER_BYTES_MAX} bytes");
            writeln!(out, "error: {what}")?;
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let line = String::from_utf8_lossy(&line);
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.parse::<Order>() {
            Ok(order) => writeln!(out, "{}", relay.obey(order).unwrap_or_else(|| "ok".into()))?,
            Err(error) => writeln!(out, "error: {error}")?,
        }
        out.flush()?;
    }
}

/// Serves orders at the Unix socket `path`, for its owner only, one connection at a time, in a thread of its own that ends
/// with the process.
///
/// # Errors
/// What the file system says; [`io::ErrorKind::AddrInUse`] when something is there already.
pub fn serve_control(relay: Arc<Relay>, path: &Path) -> io::Result<()> {
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    let serve = move || {
        for stream in listener.incoming().flatten() {
            // Who goes away in the middle of an order has given none.
            let _ = stream.try_clone().and_then(|out| obey_lines(&relay, stream, out));
        }
    };
    std::thread::Builder::new().name("relay-control".into()).spawn(serve).map(drop)
}
