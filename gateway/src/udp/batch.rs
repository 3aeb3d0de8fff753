//! Up to [`BATCH_MAX`] datagrams by one system call, in and out.
//!
//! Nothing is allocated by a call: the kernel's headers live as long as the [`Wire`], and what points from them to the
//! buffers of one call is made on the stack for that call.

use std::array;
use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use kalitka_protocol::limits::DATAGRAM_MAX;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, SockaddrLike, recvmmsg, sendmmsg};

use crate::limits::BATCH_MAX;

/// One byte more than a datagram may have, so that a longer one shows.
pub(super) const BUFFER_LEN: usize = DATAGRAM_MAX + 1;

/// A datagram and where it came from. Aligned, so that neighbours in a batch share no cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) struct Datagram {
    buffer: [u8; BUFFER_LEN],
    len: usize,
    pub(super) from: SocketAddr,
}

impl Datagram {
    pub(super) const EMPTY: Self =
        Self { buffer: [0; BUFFER_LEN], len: 0, from: SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0) };

    /// One that came from elsewhere than a socket; cut off behind what a datagram may have.
    pub(super) fn of(bytes: &[u8], from: SocketAddr) -> Self {
        let len = bytes.len().min(BUFFER_LEN);
        let mut datagram = Self { len, from, ..Self::EMPTY };
        datagram.buffer[..len].copy_from_slice(&bytes[..len]);
        datagram
    }

    /// Its bytes, [`BUFFER_LEN`] of them when it was too long.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    /// Its bytes, to be opened in place.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[..self.len]
    }
}

/// Whether a call may wait for the first datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// As long as the socket's receive time-out lasts.
    ForOne,
    /// Not at all.
    No,
}

/// What became of datagrams to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) sent: u64,
    pub(crate) failed: u64,
}

/// A socket with the kernel's headers for both directions. Stays in the thread that made it.
pub(super) struct Wire {
    socket: UdpSocket,
    headers: Headers,
}

/// The headers by the socket's family, whose addresses are small; those of any family are eight times as large.
enum Headers {
    V4(Both<SockaddrIn>),
    V6(Both<SockaddrIn6>),
}

/// Sending overwrites what receiving needs, so each direction has its own.
struct Both<S> {
    receive: MultiHeaders<S>,
    send: MultiHeaders<S>,
}

/// A socket's family of addresses.
trait Family: SockaddrLike + Copy + Into<SocketAddr> {
    /// `address` in this family; nothing when it is of the other.
    fn of(address: SocketAddr) -> Option<Self>;
}

impl Family for SockaddrIn {
    fn of(address: SocketAddr) -> Option<Self> {
        if let SocketAddr::V4(address) = address { Some(address.into()) } else { None }
    }
}

impl Family for SockaddrIn6 {
    fn of(address: SocketAddr) -> Option<Self> {
        if let SocketAddr::V6(address) = address { Some(address.into()) } else { None }
    }
}

impl Wire {
    /// `socket`, which is bound to an address of the family of `address`.
    pub(super) fn new(socket: UdpSocket, address: SocketAddr) -> Self {
        let headers = if address.is_ipv4() { Headers::V4(Both::new()) } else { Headers::V6(Both::new()) };
        Self { socket, headers }
    }

    /// The socket.
    pub(super) const fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// Fills `datagrams` from the front with what has come, by one call; gives how many. At most [`BATCH_MAX`] are filled.
    ///
    /// # Errors
    /// What the system says; [`Errno::EAGAIN`] when nothing has come in time, [`Errno::EINTR`] when a signal has.
    pub(super) fn receive(&mut self, datagrams: &mut [Datagram], wait: Wait) -> Result<usize, Errno> {
        match &mut self.headers {
            Headers::V4(both) => both.receive(&self.socket, datagrams, wait),
            Headers::V6(both) => both.receive(&self.socket, datagrams, wait),
        }
    }

    /// Sends `letters`, at most [`BATCH_MAX`]: by one call, unless the kernel refuses one of them. That one is passed over,
    /// so that nobody's address keeps the answers of others. Never waits.
    pub(super) fn send<'a>(&mut self, letters: impl Iterator<Item = (&'a [u8], SocketAddr)>) -> Sent {
        match &mut self.headers {
            Headers::V4(both) => both.send(&self.socket, letters),
            Headers::V6(both) => both.send(&self.socket, letters),
        }
    }
}

impl<S: Family> Both<S> {
    fn new() -> Self {
        Self { receive: MultiHeaders::preallocate(BATCH_MAX, None), send: MultiHeaders::preallocate(BATCH_MAX, None) }
    }

    fn receive(&mut self, socket: &UdpSocket, datagrams: &mut [Datagram], wait: Wait) -> Result<usize, Errno> {
        let flags = match wait {
            Wait::ForOne => MsgFlags::MSG_WAITFORONE,
            Wait::No => MsgFlags::MSG_DONTWAIT,
        };
        let room = datagrams.len().min(BATCH_MAX);
        let mut arrived: [(usize, Option<S>); BATCH_MAX] = [(0, None); BATCH_MAX];
        let count = {
            let mut buffers = datagrams.iter_mut().map(|datagram| &mut datagram.buffer[..]);
            let mut slices: [[IoSliceMut<'_>; 1]; BATCH_MAX] =
                array::from_fn(|_| [IoSliceMut::new(buffers.next().unwrap_or_default())]);
            let received = recvmmsg(socket.as_raw_fd(), &mut self.receive, slices[..room].iter_mut(), flags, None)?;
            let arrivals = arrived.iter_mut().zip(received);
            arrivals.map(|(arrived, message)| *arrived = (message.bytes, message.address)).count()
        };
        for (datagram, (len, from)) in datagrams.iter_mut().zip(&arrived[..count]) {
            datagram.len = (*len).min(BUFFER_LEN);
            datagram.from = from.map_or(Datagram::EMPTY.from, S::into);
        }
        Ok(count)
    }

    fn send<'a>(&mut self, socket: &UdpSocket, letters: impl Iterator<Item = (&'a [u8], SocketAddr)>) -> Sent {
        let mut slices = [[IoSlice::new(&[])]; BATCH_MAX];
        let mut addresses: [Option<S>; BATCH_MAX] = [None; BATCH_MAX];
        let mut count = 0;
        let mut sent = Sent::default();
        for ((slice, address), (bytes, to)) in slices.iter_mut().zip(&mut addresses).zip(letters) {
            // An address of the other family cannot have written to this socket.
            (*slice, *address) = ([IoSlice::new(bytes)], S::of(to));
            count += 1;
        }
        let mut from = 0;
        while from < count {
            let rest = from..count;
            let (slices, addresses) = (&slices[rest.clone()], &addresses[rest]);
            let done = sendmmsg(socket.as_raw_fd(), &mut self.send, slices, addresses, [], MsgFlags::MSG_DONTWAIT);
            match done.map(Iterator::count) {
                Ok(done) if done > 0 => {
                    sent.sent += done as u64;
                    from += done;
                }
                Err(Errno::EINTR) => {}
                // Nothing leaves now, whatever its address.
                Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM) => {
                    sent.failed += (count - from) as u64;
                    break;
                }
                Ok(_) | Err(_) => {
                    sent.failed += 1;
                    from += 1;
                }
            }
        }
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn wire(listen: &str) -> (Wire, SocketAddr) {
        let socket = UdpSocket::bind(listen).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let address = socket.local_addr().unwrap();
        (Wire::new(socket, address), address)
    }

    fn batch() -> Vec<Datagram> {
        vec![Datagram::EMPTY; BATCH_MAX]
    }

    #[test]
    fn batch_comes_whole_in_order_and_goes_back_by_one_call_each() {
        for listen in ["127.0.0.1:0", "[::1]:0"] {
            let (mut server, address) = wire(listen);
            let (mut client, here) = wire(listen);
            let letters: Vec<Vec<u8>> = (0..BATCH_MAX).map(|i| vec![u8::try_from(i).unwrap(); i * 38]).collect();
            let sent = client.send(letters.iter().map(|bytes| (&bytes[..], address)));
            assert_eq!(sent, Sent { sent: BATCH_MAX as u64, failed: 0 });
            let mut datagrams = batch();
            assert_eq!(server.receive(&mut datagrams, Wait::ForOne), Ok(BATCH_MAX));
            assert!(datagrams.iter().zip(&letters).all(|(got, sent)| got.bytes() == sent && got.from == here));
            let back = server.send(datagrams.iter().map(|datagram| (datagram.bytes(), datagram.from)));
            assert_eq!(back, sent);
            let mut echoed = batch();
            assert_eq!(client.receive(&mut echoed[..5], Wait::ForOne), Ok(5));
            assert_eq!(client.receive(&mut echoed[5..], Wait::ForOne), Ok(BATCH_MAX - 5));
            assert!(echoed.iter().zip(&letters).all(|(got, sent)| got.bytes() == sent && got.from == address));
            assert_eq!(server.receive(&mut datagrams, Wait::No), Err(Errno::EAGAIN));
        }
    }

    #[test]
    fn datagram_that_is_too_long_shows_as_one() {
        let (mut server, address) = wire("127.0.0.1:0");
        let (mut client, _) = wire("127.0.0.1:0");
        let lengths = [DATAGRAM_MAX - 1, DATAGRAM_MAX, DATAGRAM_MAX + 1, DATAGRAM_MAX + 2, 60_000, 0];
        let longest = vec![7; 60_000];
        client.send(lengths.iter().map(|&len| (&longest[..len], address)));
        let mut datagrams = batch();
        assert_eq!(server.receive(&mut datagrams, Wait::ForOne), Ok(lengths.len()));
        for (datagram, len) in datagrams.iter().zip(lengths) {
            assert_eq!(datagram.bytes().len(), len.min(DATAGRAM_MAX + 1));
        }
    }

    #[test]
    fn datagram_that_cannot_be_sent_keeps_none_behind_it() {
        let (mut server, _) = wire("127.0.0.1:0");
        let (mut client, here) = wire("127.0.0.1:0");
        // Nobody can be written to at port 0, and an IPv4 socket reaches no IPv6 address.
        let (nowhere, other) = (SocketAddr::from(([127, 0, 0, 1], 0)), "[::1]:9".parse().unwrap());
        let to = [nowhere, here, nowhere, nowhere, here, other, here, nowhere];
        let sent = server.send(to.iter().map(|&to| (&b"answer"[..], to)));
        assert_eq!(sent, Sent { sent: 3, failed: 5 });
        let mut datagrams = batch();
        assert_eq!(client.receive(&mut datagrams, Wait::ForOne), Ok(3));
    }

    #[test]
    fn peer_that_is_gone_does_not_disturb_receiving() {
        let (mut server, address) = wire("127.0.0.1:0");
        let (gone, nobody) = wire("127.0.0.1:0");
        drop(gone);
        for _ in 0..3 {
            server.send([(&b"answer"[..], nobody)].into_iter());
            let (mut client, _) = wire("127.0.0.1:0");
            client.send([(&b"ask"[..], address)].into_iter());
            let mut datagrams = batch();
            assert_eq!(server.receive(&mut datagrams, Wait::ForOne), Ok(1));
        }
    }
}
