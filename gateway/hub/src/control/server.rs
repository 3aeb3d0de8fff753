//! The hub's end of the control socket.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::desk::Desk;
use super::wire::{Asked, Reply};
use crate::failure::Failure;
use crate::limits::{
    CONTROL_ACCEPT_AGAIN, CONTROL_CONNECTIONS_MAX, CONTROL_IDLE_MAX, CONTROL_LINE_MAX, CONTROL_PATIENCE,
};
use crate::state;

const REMEDY: &str = "let its folder belong to the hub's user, or configure another path";

/// The bound socket; its file goes when this is dropped.
pub(crate) struct Listener {
    path: PathBuf,
    socket: std::os::unix::net::UnixListener,
}

impl Listener {
    /// Binds `path`, mode 0660, in a folder that is made (0750) if it is missing. The file of a process that is gone is replaced.
    ///
    /// # Errors
    /// [`Failure::Environment`] when a living process answers there, something else than a socket is there, or the folder
    /// does not allow it.
    pub(crate) fn bind(path: &Path) -> Result<Self, Failure> {
        path.parent().map_or(Ok(()), state::make_for_group)?;
        remove_stale(path)?;
        let failed = |error: io::Error| Failure::at(path, "listen for control (control.socket)", &error, REMEDY);
        let socket = std::os::unix::net::UnixListener::bind(path).map_err(failed)?;
        let listener = Self { path: path.into(), socket };
        // The process's umask keeps everybody else out until here.
        fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(failed)?;
        listener.socket.set_nonblocking(true).map_err(failed)?;
        Ok(listener)
    }

    /// Serves until it is dropped.
    ///
    /// # Errors
    /// What the system says when the socket cannot be served at all.
    pub(crate) async fn serve(&self, desk: Arc<Desk>) -> io::Result<()> {
        let listener = UnixListener::from_std(self.socket.try_clone()?)?;
        let places = Arc::new(Semaphore::new(CONTROL_CONNECTIONS_MAX));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return Ok(()) };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                // The process or the machine has too many files open, for example: no reason to leave the gateways.
                Err(error) => {
                    tracing::error!(%error, "cannot accept on the control socket; trying again");
                    tokio::time::sleep(CONTROL_ACCEPT_AGAIN).await;
                    continue;
                }
            };
            let desk = Arc::clone(&desk);
            tokio::spawn(async move {
                let _place = place;
                // Whoever does not ask or hear in time is let go; there is nobody left to tell.
                let _ = serve(&desk, stream).await;
            });
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(socket = %self.path.display(), %error, "cannot remove the control socket");
        }
    }
}

fn remove_stale(path: &Path) -> Result<(), Failure> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Failure::at(path, "look at the control socket", &error, REMEDY)),
        Ok(metadata) if metadata.file_type().is_socket() => {}
        Ok(_) => {
            return Err(Failure::Environment(format!(
                "{}: control.socket is there and is no socket; move it away or configure another path",
                path.display()
            )));
        }
    }
    match BlockingStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| Failure::at(path, "remove the stale control socket", &error, REMEDY))
        }
        Ok(_) => Err(Failure::Environment(format!(
            "{}: another hub answers on this control socket; stop it, or configure another path",
            path.display()
        ))),
        Err(error) => Err(Failure::at(path, "tell whether a hub answers on the control socket", &error, REMEDY)),
    }
}

/// Takes requests, one after the other.
async fn serve(desk: &Desk, stream: UnixStream) -> io::Result<()> {
    let peer = stream.peer_cred()?.uid();
    let (receive, send) = stream.into_split();
    let mut receive = BufReader::new(receive);
    let mut replies = Replies { send };
    loop {
        let mut line = Vec::new();
        let mut request = (&mut receive).take(CONTROL_LINE_MAX);
        // Who does not ask in time does not keep others from asking.
        timeout(CONTROL_IDLE_MAX, request.read_until(b'\n', &mut line)).await??;
        if line.is_empty() {
            return Ok(());
        }
        let whole = line.ends_with(b"\n");
        match Asked::parse(&line) {
            Ok(asked) if whole => desk.take(peer, asked, &mut replies).await?,
            Ok(_) => replies.send(&super::desk::malformed("the request does not end in a newline".into())).await?,
            Err(error) => {
                replies.send(&super::desk::malformed(format!("no request that the hub knows: {error}"))).await?;
            }
        }
        if !whole {
            return Ok(());
        }
    }
}

/// Where replies go.
pub(super) struct Replies {
    send: OwnedWriteHalf,
}

impl Replies {
    /// Sends one line.
    ///
    /// # Errors
    /// When nobody hears it in time.
    pub(super) async fn send(&mut self, reply: &Reply) -> io::Result<()> {
        // It may hold a token.
        let mut line = Zeroizing::new(serde_json::to_vec(reply)?);
        line.push(b'\n');
        self.send_lines(&line).await
    }

    /// Sends whole lines.
    ///
    /// # Errors
    /// When nobody hears them in time.
    pub(super) async fn send_lines(&mut self, lines: &[u8]) -> io::Result<()> {
        timeout(CONTROL_PATIENCE, self.send.write_all(lines)).await?
    }
}
