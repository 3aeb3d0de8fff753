//! Sockets that the service manager has bound and hands over at the start, and keeps over restarts (`sd_listen_fds(3)`).
//! What comes for them while no process is there waits for the next one.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixListener;
use std::path::Path;

use listenfd::ListenFd;

use crate::failure::Failure;

/// What to do about sockets that do not fit.
const REMEDY: &str = "let the socket unit and the configuration say the same (`systemctl edit` of the socket unit, then \
                      `systemctl restart` of it), or disable the socket unit";

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

    /// The listener for `key`, if one was handed over.
    ///
    /// # Errors
    /// [`Failure::Environment`] when it is not at `listen`.
    pub fn take_tcp(&mut self, key: &str, listen: SocketAddr) -> Result<Option<TcpListener>, Failure> {
        let Some(listener) = self.tcp.pop() else { return Ok(None) };
        is_at(key, listen, listener.local_addr())?;
        Ok(Some(listener))
    }

    /// The listener at `path` for `key`, if one was handed over.
    ///
    /// # Errors
    /// [`Failure::Environment`] when it is elsewhere.
    pub fn take_unix(&mut self, key: &str, path: &Path) -> Result<Option<UnixListener>, Failure> {
        let Some(listener) = self.unix.pop() else { return Ok(None) };
        let address = listener.local_addr().map_err(|error| unusable(key, &error))?;
        if address.as_pathname() == Some(path) {
            return Ok(Some(listener));
        }
        let at = address.as_pathname().map_or_else(|| "nowhere".into(), |path| path.display().to_string());
        Err(Failure::Environment(format!(
            "{key}: the socket that was handed over is at {at}, and {} is configured; {REMEDY}",
            path.display()
        )))
    }

    /// Nothing was handed over that nobody has taken.
    ///
    /// # Errors
    /// [`Failure::Environment`] otherwise: whoever sent there would wait for ever.
    pub fn is_all_taken(&self) -> Result<(), Failure> {
        let left = self.udp.len() + self.tcp.len() + self.unix.len();
        if left == 0 {
            return Ok(());
        }
        Err(Failure::Environment(format!("{left} sockets more were handed over than are configured; {REMEDY}")))
    }
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
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut handed = Handed { tcp: vec![listener], ..Handed::default() };
        assert!(handed.take_tcp("http.listen", at).unwrap_err().to_string().contains("http.listen"));
        let folder = tempfile::tempdir().unwrap();
        let (here, there) = (folder.path().join("here"), folder.path().join("there"));
        let mut handed = Handed { unix: vec![UnixListener::bind(&here).unwrap()], ..Handed::default() };
        let text = handed.take_unix("control.socket", &there).unwrap_err().to_string();
        assert!(text.contains("here") && text.contains("there"), "{text}");
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
        assert!(handed.is_all_taken().is_ok());
    }

    #[test]
    fn socket_that_nobody_takes_is_no_secret() {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let mut handed = Handed { tcp: listeners.into(), ..Handed::default() };
        let at = handed.tcp[1].local_addr().unwrap();
        assert!(handed.take_tcp("http.listen", at).unwrap().is_some());
        assert!(handed.is_all_taken().unwrap_err().to_string().contains("1 sockets more"));
    }
}
