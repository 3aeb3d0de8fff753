//! Sockets that the service manager has bound and hands over at the start, and keeps over restarts (`sd_listen_fds(3)`).
//! What comes for them while no process is there waits for the next one.
//!
//! Readers are answered where they are configured to ask, or not at all: UDP sockets that do not fit are refused. Of all others the
//! configuration is followed, with an error in the log: no door stays closed for a page of figures.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixListener;
use std::path::Path;

use listenfd::ListenFd;

use crate::failure::Failure;

/// What to do about sockets that do not fit.
const REMEDY: &str = "let the socket unit and the configuration say the same (`systemctl edit` of the socket unit, then \
                      `systemctl stop` the socket unit and the service, and start both), or disable the socket unit";

/// The sockets, by their kind. Whatever is not taken is one that the configuration does not know.
#[derive(Debug, Default)]
pub struct Handed {
    udp: Vec<UdpSocket>,
    tcp: Vec<TcpListener>,
    unix: Vec<UnixListener>,
}

impl Handed {
    /// Takes what the environment names; nothing, when this process was not started so. To be called once, before the first
    /// thread: it takes the names out of the environment, so that no child believes them.
    ///
    /// # Errors
    /// [`Failure::Environment`] for a descriptor that is no socket of these kinds.
    pub fn take() -> Result<Self, Failure> {
        let mut given = ListenFd::from_env();
        let mut handed = Self::default();
        for place in 0..given.len() {
            handed.sort(&mut given, place).map_err(|error| {
                Failure::Environment(format!("socket {place} of those handed over cannot be used: {error}; {REMEDY}"))
            })?;
        }
        Ok(handed)
    }

    /// Puts what is at `place` where its kind belongs.
    fn sort(&mut self, given: &mut ListenFd, place: usize) -> io::Result<()> {
        if let Ok(Some(socket)) = given.take_udp_socket(place) {
            self.udp.push(socket);
        } else if let Ok(Some(socket)) = given.take_tcp_listener(place) {
            self.tcp.push(socket);
        } else if let Some(socket) = given.take_unix_listener(place)? {
            self.unix.push(socket);
        }
        Ok(())
    }

    /// The UDP sockets for `key`, in the order in which they were bound; none if none was handed over.
    ///
    /// # Errors
    /// [`Failure::Environment`] when they are not at `listen`, or not as `many`.
    pub fn take_udp(&mut self, key: &str, listen: SocketAddr, many: usize) -> Result<Vec<UdpSocket>, Failure> {
        let sockets = std::mem::take(&mut self.udp);
        for socket in &sockets {
            is_at(key, listen, socket.local_addr())?;
        }
        if sockets.is_empty() || sockets.len() == many {
            return Ok(sockets);
        }
        let handed = sockets.len();
        Err(Failure::Environment(format!(
            "{key}: {handed} sockets were handed over for {many} workers; write ListenDatagram= once for each worker, with \
             ReusePort=yes if there are several: {REMEDY}"
        )))
    }

    /// The listener for `key`, if one was handed over that is at `listen`. Others are closed.
    pub fn take_tcp(&mut self, key: &str, listen: SocketAddr) -> Option<TcpListener> {
        let given = std::mem::take(&mut self.tcp).into_iter();
        given.filter(|listener| fits(&is_at(key, listen, listener.local_addr()))).reduce(|first, _| first)
    }

    /// The listener for `key`, if one was handed over that is at `path`. Others are closed.
    pub fn take_unix(&mut self, key: &str, path: &Path) -> Option<UnixListener> {
        let given = std::mem::take(&mut self.unix).into_iter();
        given.filter(|listener| fits(&is_at_path(key, path, listener))).reduce(|first, _| first)
    }
}

/// Whether a socket can be taken; if not, the log says why it is not.
fn fits(looked: &Result<(), Failure>) -> bool {
    if let Err(failure) = looked {
        tracing::error!("{failure}; it goes by the configuration until then");
    }
    looked.is_ok()
}

fn is_at_path(key: &str, path: &Path, listener: &UnixListener) -> Result<(), Failure> {
    let address = listener.local_addr().map_err(|error| unusable(key, &error))?;
    if address.as_pathname() == Some(path) {
        return Ok(());
    }
    let at = address.as_pathname().map_or_else(|| "nowhere".into(), |path| path.display().to_string());
    Err(Failure::Environment(format!(
        "{key}: the socket that was handed over is at {at}, and {} is configured; {REMEDY}",
        path.display()
    )))
}

fn is_at(key: &str, listen: SocketAddr, bound: io::Result<SocketAddr>) -> Result<(), Failure> {
    let bound = bound.map_err(|error| unusable(key, &error))?;
    if bound == listen {
        return Ok(());
    }
    Err(Failure::Environment(format!(
        "{key}: the socket that was handed over is at {bound}, and {listen} is configured; {REMEDY}"
    )))
}

fn unusable(key: &str, error: &io::Error) -> Failure {
    Failure::Environment(format!("{key}: the socket that was handed over cannot be used: {error}; {REMEDY}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp() -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    #[test]
    fn socket_elsewhere_than_configured_is_refused_and_both_places_are_named() {
        let ((socket, at), (_other, elsewhere)) = (udp(), udp());
        let mut handed = Handed { udp: vec![socket], ..Handed::default() };
        let text = handed.take_udp("udp.listen", elsewhere, 1).unwrap_err().to_string();
        assert!(text.contains("udp.listen") && text.contains(&at.to_string()), "{text}");
        assert!(text.contains(&elsewhere.to_string()), "{text}");
    }

    #[test]
    fn whatever_is_not_for_readers_goes_by_the_configuration() {
        let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [_, at, _] = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
        let mut handed = Handed { tcp: listeners.into(), ..Handed::default() };
        assert_eq!(handed.take_tcp("http.listen", at).unwrap().local_addr().unwrap(), at);
        assert!(handed.tcp.is_empty(), "whoever connects there would wait for ever");
        let mut handed = Handed { tcp: vec![TcpListener::bind("127.0.0.1:0").unwrap()], ..Handed::default() };
        assert!(handed.take_tcp("http.listen", at).is_none());
        let folder = tempfile::tempdir().unwrap();
        let (here, there) = (folder.path().join("here"), folder.path().join("there"));
        let elsewhere = UnixListener::bind(&here).unwrap();
        assert!(
            is_at_path("control.socket", &there, &elsewhere).unwrap_err().to_string().contains("there is configured")
        );
        let mut handed = Handed { unix: vec![elsewhere], ..Handed::default() };
        assert!(handed.take_unix("control.socket", &there).is_none());
    }

    #[test]
    fn as_many_sockets_as_workers_or_none() {
        let (socket, at) = udp();
        let mut handed = Handed { udp: vec![socket], ..Handed::default() };
        let text = handed.take_udp("udp.listen", at, 2).unwrap_err().to_string();
        assert!(text.contains("1 sockets") && text.contains("2 workers") && text.contains("ReusePort"), "{text}");
        assert!(Handed::default().take_udp("udp.listen", at, 2).unwrap().is_empty());
        let mut handed = Handed { udp: vec![udp().0], ..Handed::default() };
        let at = handed.udp[0].local_addr().unwrap();
        assert_eq!(handed.take_udp("udp.listen", at, 1).unwrap().len(), 1);
    }
}
