//! The clients of a relay, each with a socket of its own towards the server.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
use rustix::event::epoll;
use rustix::net::sockopt as buffer;

use crate::limits::RELAY_RECEIVE_BUFFER;

/// The mark of the socket that clients talk to; those of clients count from 1.
pub(super) const FRONT: u64 = 0;

/// A socket that counts what the kernel had no room for.
#[derive(Debug)]
pub(super) struct Socket {
    udp: UdpSocket,
    kernel_dropped: u32,
}

/// What came.
pub(super) struct Came {
    pub(super) len: usize,
    pub(super) from: Option<SocketAddr>,
    /// Datagrams that the kernel had no room for before it.
    pub(super) kernel_dropped: u32,
}

impl Socket {
    /// A socket at `address` that tells `epoll` of what comes, by `mark`.
    pub(super) fn open(address: SocketAddr, epoll: &OwnedFd, mark: u64) -> io::Result<Self> {
        let udp = UdpSocket::bind(address)?;
        udp.set_nonblocking(true)?;
        if buffer::set_socket_recv_buffer_size_force(&udp, RELAY_RECEIVE_BUFFER).is_err() {
            buffer::set_socket_recv_buffer_size(&udp, RELAY_RECEIVE_BUFFER)?;
        }
        setsockopt(&udp, sockopt::RxqOvfl, &1)?;
        epoll::add(epoll, &udp, epoll::EventData::new_u64(mark), epoll::EventFlags::IN)?;
        Ok(Self { udp, kernel_dropped: 0 })
    }

    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    /// The next datagram; `None` when there is none.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Option<Came>> {
        let mut space = cmsg_space!(u32);
        let mut parts = [IoSliceMut::new(buffer)];
        loop {
            let received =
                recvmsg::<SockaddrStorage>(self.udp.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty());
            let message = match received {
                Ok(message) => message,
                Err(nix::errno::Errno::EAGAIN) => return Ok(None),
                Err(error) if is_passing(error) => continue,
                Err(error) => return Err(error.into()),
            };
            let dropped = message.cmsgs().ok().and_then(|mut all| {
                all.find_map(|one| if let ControlMessageOwned::RxqOvfl(count) = one { Some(count) } else { None })
            });
            let (len, from) = (message.bytes, message.address.as_ref().and_then(socket_address));
            let dropped = dropped.unwrap_or(self.kernel_dropped);
            let kernel_dropped = dropped.wrapping_sub(self.kernel_dropped);
            self.kernel_dropped = dropped;
            return Ok(Some(Came { len, from, kernel_dropped }));
        }
    }

    /// Sends to where it is connected, or to `end`; whether the system took it.
    pub(super) fn send(&self, bytes: &[u8], end: Option<SocketAddr>) -> bool {
        let send = || end.map_or_else(|| self.udp.send(bytes), |end| self.udp.send_to(bytes, end));
        match send() {
            // That an earlier one found nobody is told here, and this one is not sent.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => send().is_ok(),
            sent => sent.is_ok(),
        }
    }
}

/// Whether an earlier datagram found nobody or no way, or a signal came between.
fn is_passing(error: nix::errno::Errno) -> bool {
    use nix::errno::Errno::{ECONNREFUSED, EHOSTUNREACH, EINTR, ENETUNREACH};
    [ECONNREFUSED, EHOSTUNREACH, EINTR, ENETUNREACH].contains(&error)
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|&v4| SocketAddr::V4(v4.into()));
    v4.or_else(|| address.as_sockaddr_in6().map(|&v6| SocketAddr::V6(v6.into())))
}

/// The clients.
#[derive(Debug)]
pub(super) struct Clients {
    to: SocketAddr,
    known_max: usize,
    idle: Duration,
    by_mark: BTreeMap<u64, Client>,
    by_end: HashMap<SocketAddr, u64>,
    next: u64,
}

/// One client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) end: SocketAddr,
    pub(super) socket: Socket,
    /// When something came from or for it.
    pub(super) seen: Duration,
}

impl Clients {
    pub(super) fn new(to: SocketAddr, known_max: usize, idle: Duration) -> Self {
        Self { to, known_max, idle, by_mark: BTreeMap::new(), by_end: HashMap::new(), next: FRONT + 1 }
    }

    /// The mark of the client at `end`, and whether it is new; `None` when there is no room or no socket for one more.
    pub(super) fn of(&mut self, end: SocketAddr, now: Duration, epoll: &OwnedFd) -> Option<(u64, bool)> {
        if let Some(&mark) = self.by_end.get(&end) {
            return Some((mark, false));
        }
        if self.by_mark.len() >= self.known_max {
            return None;
        }
        let mark = self.next;
        let socket = self.open(mark, epoll).ok()?;
        self.next += 1;
        self.by_end.insert(end, mark);
        self.by_mark.insert(mark, Client { end, socket, seen: now });
        Some((mark, true))
    }

    fn open(&self, mark: u64, epoll: &OwnedFd) -> io::Result<Socket> {
        let any: SocketAddr = match self.to {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = Socket::open(any, epoll, mark)?;
        socket.udp.connect(self.to)?;
        Ok(socket)
    }

    pub(super) fn get(&mut self, mark: u64) -> Option<&mut Client> {
        self.by_mark.get_mut(&mark)
    }

    /// Gives each another socket; gives how many were given one.
    pub(super) fn shift(&mut self, epoll: &OwnedFd) -> io::Result<u64> {
        let marks: Vec<u64> = self.by_mark.keys().copied().collect();
        for &mark in &marks {
            let socket = self.open(mark, epoll)?;
            if let Some(client) = self.by_mark.get_mut(&mark) {
                client.socket = socket;
            }
        }
        Ok(marks.len() as u64)
    }

    /// Forgets those from and for which nothing has come for too long; gives how many.
    pub(super) fn forget(&mut self, now: Duration) -> u64 {
        let before = self.by_mark.len();
        let idle = self.idle;
        self.by_mark.retain(|_, client| now.saturating_sub(client.seen) < idle);
        if self.by_mark.len() < before {
            let known = &self.by_mark;
            self.by_end.retain(|_, mark| known.contains_key(mark));
        }
        (before - self.by_mark.len()) as u64
    }

    pub(super) fn len(&self) -> usize {
        self.by_mark.len()
    }
}
