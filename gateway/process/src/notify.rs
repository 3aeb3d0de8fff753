//! What the service manager is told (`sd_notify(3)`). Without one nobody is told, and nothing fails; one that does not listen
//! holds nobody up.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// How long the manager may take to have room for what is said once.
const PATIENCE: Duration = Duration::from_secs(1);

/// The process does what it is there for.
pub fn ready() {
    say("READY=1", Some(PATIENCE));
}

/// The process is about to end.
pub fn stopping() {
    say("STOPPING=1", Some(PATIENCE));
}

/// All that has to move moves; said again and again, before the unit's `WatchdogSec=` is over. What finds no room is left out.
pub fn alive() {
    say("WATCHDOG=1", None);
}

fn say(state: &str, patience: Option<Duration>) {
    let Some(manager) = env::var_os("NOTIFY_SOCKET") else { return };
    match tell(&manager, state, patience) {
        Err(error) if patience.is_none() && error.kind() == io::ErrorKind::WouldBlock => {}
        Err(error) => tracing::warn!(%error, state, "cannot tell the service manager"),
        Ok(()) => {}
    }
}

fn tell(manager: &OsStr, state: &str, patience: Option<Duration>) -> io::Result<()> {
    let address = match manager.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(manager)?,
    };
    let socket = UnixDatagram::unbound()?;
    match patience {
        Some(patience) => socket.set_write_timeout(Some(patience))?,
        None => socket.set_nonblocking(true)?,
    }
    socket.send_to_addr(state.as_bytes(), &address).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manager_that_does_not_listen_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let full = (0..100_000).find_map(|_| tell(path.as_os_str(), "WATCHDOG=1", None).err()).unwrap();
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        let mut said = [0; 64];
        let len = manager.recv(&mut said).unwrap();
        assert_eq!(&said[..len], b"WATCHDOG=1");
        tell(path.as_os_str(), "READY=1", Some(PATIENCE)).unwrap();
        drop(manager);
        assert!(tell(path.as_os_str(), "READY=1", Some(PATIENCE)).is_err());
    }

    #[test]
    fn manager_behind_a_name_without_a_file_is_told_too() {
        let name = format!("kalitka-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        tell(OsStr::new(&format!("@{name}")), "READY=1", Some(PATIENCE)).unwrap();
        let mut said = [0; 64];
        assert_eq!(manager.recv(&mut said).unwrap(), 7);
    }
}
