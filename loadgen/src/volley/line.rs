//! One UDP socket at an address of its own, connected to the server: trains and batches.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::getsockopt;
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg, sendmmsg, setsockopt, sockopt};

use crate::limits::{LOST_AFTER, RECEIVE_BUFFER, TRAIN_BYTES_MAX, TRAIN_MAX};

/// Datagrams that one call receives, and that one `sendmmsg` sends.
pub(super) const BATCH: usize = 64;

/// What the kernel reads and writes of a batch; made once a slice, by the thread that plays it.
pub(super) struct Headers {
    incoming: MultiHeaders<()>,
    outgoing: MultiHeaders<()>,
}

impl Headers {
    pub(super) fn new() -> Self {
        let [incoming, outgoing] = [(); 2].map(|()| MultiHeaders::preallocate(BATCH, None));
        Self { incoming, outgoing }
    }
}

/// The socket.
pub(super) struct Line {
    socket: UdpSocket,
    /// Bytes of the datagrams into which the kernel cuts what is sent in one call; `None` when it does not.
    segment: Option<usize>,
}

impl Line {
    /// A socket for `server`, number `place` of its kind.
    pub(super) fn open(server: SocketAddr, place: usize) -> io::Result<Self> {
        let socket = UdpSocket::bind((address(server, place), 0))?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(LOST_AFTER))?;
        setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
        Ok(Self { socket, segment: None })
    }

    /// Bytes of answers that the socket holds, by what the kernel has granted.
    pub(super) fn receive_buffer(&self) -> io::Result<usize> {
        // The kernel doubles what it is asked for, and gives that back.
        Ok(getsockopt(&self.socket, sockopt::RcvBuf)? / 2)
    }

    /// From now on what is sent in one call goes as datagrams of `len` bytes each. A kernel that cannot is not asked again.
    pub(super) fn send_trains_of(&mut self, len: usize) {
        let segment =
            i32::try_from(len).ok().filter(|&len| setsockopt(&self.socket, sockopt::UdpGsoSegment, &len).is_ok());
        self.segment = segment.map(|_| len);
    }

    /// Whether what is sent in one call goes as a train.
    pub(super) const fn has_trains(&self) -> bool {
        self.segment.is_some()
    }

    /// Sends `bytes`, which are datagrams of `len` bytes each, one behind the other.
    pub(super) fn send(&self, headers: &mut Headers, bytes: &[u8], len: usize) -> io::Result<()> {
        if self.segment == Some(len) {
            let train = (TRAIN_BYTES_MAX / len).min(TRAIN_MAX) * len;
            return bytes.chunks(train).try_for_each(|train| self.send_one(train));
        }
        bytes.chunks(BATCH * len).try_for_each(|batch| self.send_batch(headers, batch, len))
    }

    /// Sends one datagram, or what the kernel makes several of. A server that is not there tells so by ICMP in the next
    /// call, which then has sent nothing and is made again.
    pub(super) fn send_one(&self, bytes: &[u8]) -> io::Result<()> {
        loop {
            match self.socket.send(bytes) {
                Ok(_) => return Ok(()),
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn send_batch(&self, headers: &mut Headers, batch: &[u8], len: usize) -> io::Result<()> {
        if batch.len() == len {
            return self.send_one(batch);
        }
        let mut rest = batch;
        while !rest.is_empty() {
            let mut datagrams = rest.chunks(len);
            let slices: [[IoSlice<'_>; 1]; BATCH] =
                std::array::from_fn(|_| [IoSlice::new(datagrams.next().unwrap_or_default())]);
            let count = rest.len() / len;
            let fd = self.socket.as_raw_fd();
            match sendmmsg(fd, &mut headers.outgoing, &slices[..count], [None::<()>; BATCH], [], MsgFlags::empty()) {
                Ok(sent) => rest = &rest[sent.count() * len..],
                Err(error) if is_passing(&error.into()) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Takes what has come into `slots` of `slot` bytes each, a batch at most; gives their lengths.
    pub(super) fn receive<'l>(
        &self,
        headers: &mut Headers,
        slots: &mut [u8],
        slot: usize,
        lens: &'l mut [usize; BATCH],
    ) -> io::Result<&'l [usize]> {
        let count = (slots.len() / slot).min(BATCH);
        let mut places = slots.chunks_exact_mut(slot);
        let mut slices: [[IoSliceMut<'_>; 1]; BATCH] =
            std::array::from_fn(|_| [IoSliceMut::new(places.next().unwrap_or_default())]);
        let fd = self.socket.as_raw_fd();
        match recvmmsg(fd, &mut headers.incoming, &mut slices[..count], MsgFlags::MSG_DONTWAIT, None) {
            Ok(received) => {
                let received = lens.iter_mut().zip(received).map(|(len, message)| *len = message.bytes).count();
                Ok(&lens[..received])
            }
            Err(error) if is_nothing(&error.into()) => Ok(&[]),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes one datagram; with `wait` it sleeps for one, [`LOST_AFTER`] at most. `None` when there was none.
    pub(super) fn receive_one(&self, slot: &mut [u8], wait: bool) -> io::Result<Option<usize>> {
        let flags = if wait { MsgFlags::empty() } else { MsgFlags::MSG_DONTWAIT };
        match nix::sys::socket::recv(self.socket.as_raw_fd(), slot, flags) {
            Ok(len) => Ok(Some(len)),
            Err(error) if is_nothing(&error.into()) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Throws away what has come.
    pub(super) fn drain(&self) -> io::Result<()> {
        while self.receive_one(&mut [0; 1], false)?.is_some() {}
        Ok(())
    }

    /// The socket, to wait on.
    pub(super) const fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// How long [`receive_one`](Self::receive_one) waits.
    pub(super) fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.socket.set_read_timeout(Some(patience))
    }
}

/// Address number `place` of 127.0.0.0/8 for a server that is there too; else any.
pub(crate) fn address(server: SocketAddr, place: usize) -> IpAddr {
    match server {
        SocketAddr::V4(server) if server.ip().is_loopback() => {
            let [row, number] = [place / 250, place % 250 + 2].map(|byte| u8::try_from(byte).unwrap_or(u8::MAX));
            Ipv4Addr::new(127, 0, row, number).into()
        }
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// A server that is not there tells so by ICMP, in the next call; it may be there again in a moment.
pub(crate) fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::Interrupted)
}

fn is_nothing(error: &io::Error) -> bool {
    is_passing(error) || matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
