//! The listening end of a control socket: how the command line reaches a running process.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener as BlockingListener, UnixStream as BlockingStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use crate::failure::Failure;
use crate::handed::Handed;
use crate::state;

/// Connections to a control socket at a time.
pub const CONNECTIONS_MAX: usize = 16;
/// How long a control socket waits after the system gave it no connection.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

fn remedy(program: &str) -> String {
    format!("let its folder belong to the {program}'s user, or configure another path")
}

/// The bound socket; its file goes when this is dropped, unless somebody else made it.
#[derive(Debug)]
pub struct Listener {
    /// Of the file that this process has made.
    made: Option<PathBuf>,
    socket: BlockingListener,
}

impl Listener {
    /// Binds `path`, mode 0660, in a folder that is made (0750) if it is missing. The file of a process that is gone is replaced.
    ///
    /// # Errors
    /// [`Failure::Environment`] when a living process answers there, something else than a socket is there, or the folder
    /// does not allow it.
    pub fn bind(path: &Path, program: &str) -> Result<Self, Failure> {
        path.parent().map_or(Ok(()), |folder| state::make_for_group(folder, program))?;
        remove_stale(path, program)?;
        let failed =
            |error: io::Error| Failure::at(path, "listen for control (control.socket)", &error, remedy(program));
        let socket = BlockingListener::bind(path).map_err(failed)?;
        let listener = Self { made: Some(path.into()), socket };
        // The process's umask keeps everybody else out until here.
        fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(failed)?;
        listener.socket.set_nonblocking(true).map_err(failed)?;
        Ok(listener)
    }

    /// The socket at `path` that was handed over, if it was; one that is bound otherwise. Whoever has made the file of the
    /// former says who may use it.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn open(path: &Path, handed: &mut Handed, program: &str) -> Result<Self, Failure> {
        let Some(socket) = handed.take_unix("control.socket", path) else { return Self::bind(path, program) };
        let failed =
            |error: io::Error| Failure::at(path, "listen for control (control.socket)", &error, remedy(program));
        socket.set_nonblocking(true).map_err(failed)?;
        Ok(Self { made: None, socket })
    }

    /// Gives each connection to `take`, at most [`CONNECTIONS_MAX`] at a time, until it is dropped.
    ///
    /// # Errors
    /// What the system says when the socket cannot be served at all.
    pub async fn serve<T>(&self, take: impl Fn(UnixStream) -> T) -> io::Result<()>
    where
        T: Future<Output = ()> + Send + 'static,
    {
        let listener = UnixListener::from_std(self.socket.try_clone()?)?;
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return Ok(()) };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                // The process or the machine has too many files open, for example: no reason to leave everybody else.
                Err(error) => {
                    tracing::error!(%error, "cannot accept on the control socket; trying again");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                    continue;
                }
            };
            let taken = take(stream);
            tokio::spawn(async move {
                let _place = place;
                taken.await;
            });
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let Some(path) = &self.made else { return };
        if let Err(error) = fs::remove_file(path) {
            tracing::warn!(socket = %path.display(), %error, "cannot remove the control socket");
        }
    }
}

fn remove_stale(path: &Path, program: &str) -> Result<(), Failure> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Failure::at(path, "look at the control socket", &error, remedy(program))),
        Ok(metadata) if metadata.file_type().is_socket() => {}
        Ok(_) => {
            return Err(Failure::Environment(format!(
                "{}: control.socket is there and is no socket; move it away or configure another path",
                path.display()
            )));
        }
    }
    match BlockingStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)
            .map_err(|error| Failure::at(path, "remove the stale control socket", &error, remedy(program))),
        Ok(_) => Err(Failure::Environment(format!(
            "{}: another {program} answers on this control socket; stop it, or configure another path",
            path.display()
        ))),
        Err(error) => Err(Failure::at(
            path,
            format!("tell whether a {program} answers on the control socket"),
            &error,
            remedy(program),
        )),
    }
}
