//! A serial line: a pty for the gateway's port, and at its other end a reader that is true to the protocol over UDP and
//! whose datagrams are put into frames here.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use kalitka_protocol::frame::{Deframer, emit};
use kalitka_protocol::limits::{DATAGRAM_MAX, FRAME_MAX};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

/// A line with something on it; the port is unplugged when this is dropped.
pub(crate) struct Line {
    port: PathBuf,
    /// Where a reader's UDP socket finds its line.
    pub(crate) address: SocketAddr,
    device: Arc<OwnedFd>,
    stop: Arc<AtomicBool>,
    bridge: Option<JoinHandle<()>>,
}

impl Line {
    /// Plugs a line in as `port`.
    pub(crate) fn plug(port: &Path) -> Self {
        let device = Arc::new(pty(port));
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (other, stopped) = (Arc::clone(&device), Arc::clone(&stop));
        let bridge = Some(std::thread::spawn(move || bridge(&other, &socket, &stopped)));
        Self { port: port.to_owned(), address, device, stop, bridge }
    }

    /// Puts `bytes` on the line, towards the gateway.
    pub(crate) fn put(&self, bytes: &[u8]) {
        rustix::io::write(&*self.device, bytes).unwrap();
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let _ = self.bridge.take().map(JoinHandle::join);
        let _ = std::fs::remove_file(&self.port);
    }
}

/// A pty without echo that no child inherits, whose port has the name `port`; gives the device's end.
pub(crate) fn pty(port: &Path) -> OwnedFd {
    let device = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&device).unwrap();
    unlockpt(&device).unwrap();
    let mut termios = tcgetattr(&device).unwrap();
    termios.make_raw();
    tcsetattr(&device, OptionalActions::Now, &termios).unwrap();
    symlink(ptsname(&device, Vec::new()).unwrap().to_str().unwrap(), port).unwrap();
    device
}

fn bridge(device: &OwnedFd, socket: &UdpSocket, stop: &AtomicBool) {
    let (mut deframer, mut reader) = (Deframer::new(), None);
    let patience = Timespec::try_from(Duration::from_millis(5)).unwrap();
    while !stop.load(Ordering::Acquire) {
        let mut polled = [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN), PollFd::new(device, PollFlags::IN)];
        let _ = poll(&mut polled, Some(&patience));
        let (mut datagram, mut frame) = ([0; DATAGRAM_MAX], [0; FRAME_MAX]);
        if let Ok((len, from)) = socket.recv_from(&mut datagram) {
            reader = Some(from);
            let len = emit(&datagram[..len], &mut frame).unwrap();
            // While nobody has the port open nobody hears it.
            let _ = rustix::io::write(device, &frame[..len]);
        }
        if !polled[1].revents().contains(PollFlags::IN) {
            continue;
        }
        match rustix::io::read(device, &mut frame) {
            Ok(len) => deframer.feed(&frame[..len], &mut |result| {
                if let (Ok(datagram), Some(reader)) = (result, reader) {
                    socket.send_to(datagram, reader).unwrap();
                }
            }),
            Err(Errno::IO | Errno::AGAIN) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
