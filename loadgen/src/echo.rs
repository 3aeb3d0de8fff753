//! The bare echo: the least that any server of datagrams can do, to measure others against.
//!
//! One thread, one blocking `recvmmsg` and one `sendmmsg` a batch, and in between nothing, or a burn of so many nanoseconds
//! for each answer. No other system call and no allocation in the steady state.

pub mod burn;

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};
use rustix::net::sockopt;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::limits::{ECHO_BATCH_MAX, ECHO_RECEIVE_BUFFER_BYTES, ECHO_WAKES_EVERY};
use crate::output::{note, say};
use burn::{Burn, Pace};

/// Bytes of a datagram; what is longer comes back cut.
const DATAGRAM_MAX: usize = 2048;

/// What an echo is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Where it listens; port 0 is any.
    pub listen: SocketAddrV4,
    /// Time burnt for each answer.
    pub burn: Duration,
    /// How long it looks for datagrams before it blocks; zero to block at once.
    pub spin: Duration,
    /// Whether it looks at a datagram's first byte and answers nothing.
    pub discards: bool,
    /// The core to stay on.
    pub core: Option<usize>,
}

/// Gives datagrams back until `stop`. Says `listening ADDRESS` on standard output when it is ready.
///
/// # Errors
/// What the sockets say, or the system of the core.
pub fn echo(options: &Options, stop: &AtomicBool) -> io::Result<()> {
    if let Some(core) = options.core {
        stay_on(core)?;
    }
    let pace = Pace::calibrate();
    let burn = pace.burn(options.burn);
    if !options.burn.is_zero() {
        let (least, greatest) = pace.spread_ns;
        note(&format!(
            "burning {} ns an answer: {burn:?}, each {:.4} ns ({least:.4} to {greatest:.4})",
            options.burn.as_nanos(),
            pace.step_ns
        ));
    }
    let socket = open(options.listen)?;
    say(&format!("listening {}", socket.local_addr()?));
    Echo::new(&socket, burn, options).serve(stop)
}

/// Keeps the calling thread on one core.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] when the machine has no such core.
pub fn stay_on(core: usize) -> io::Result<()> {
    let no_such = || io::Error::new(io::ErrorKind::InvalidInput, format!("this machine has no core {core}"));
    if core >= CpuSet::MAX_CPU {
        return Err(no_such());
    }
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).map_err(|_| no_such())
}

fn open(listen: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddr::V4(listen))?;
    // Beyond the system's limit if we may, else up to it.
    if sockopt::set_socket_recv_buffer_size_force(&socket, ECHO_RECEIVE_BUFFER_BYTES).is_err() {
        sockopt::set_socket_recv_buffer_size(&socket, ECHO_RECEIVE_BUFFER_BYTES)?;
    }
    socket.set_read_timeout(Some(ECHO_WAKES_EVERY))?;
    Ok(socket)
}

type Headers = MultiHeaders<SockaddrIn>;

struct Echo<'a> {
    socket: &'a UdpSocket,
    burn: Burn,
    spin: Duration,
    discards: bool,
    buffers: Box<[[u8; DATAGRAM_MAX]]>,
    /// One datagram each: its length and where it came from.
    batch: [(usize, Option<SockaddrIn>); ECHO_BATCH_MAX],
    received: Headers,
    sent: Headers,
    /// Bytes seen, so that a look at them is not left out.
    seen: u64,
}

impl<'a> Echo<'a> {
    fn new(socket: &'a UdpSocket, burn: Burn, options: &Options) -> Self {
        Self {
            socket,
            burn,
            spin: options.spin,
            discards: options.discards,
            buffers: vec![[0; DATAGRAM_MAX]; ECHO_BATCH_MAX].into(),
            batch: [(0, None); ECHO_BATCH_MAX],
            received: Headers::preallocate(ECHO_BATCH_MAX, None),
            sent: Headers::preallocate(ECHO_BATCH_MAX, None),
            seen: 0,
        }
    }

    fn serve(&mut self, stop: &AtomicBool) -> io::Result<()> {
        while !stop.load(Ordering::Relaxed) {
            let count = if self.spin.is_zero() { self.receive(MsgFlags::MSG_WAITFORONE)? } else { self.look()? };
            if self.discards {
                let first = self.buffers.iter().take(count).map(|buffer| u64::from(buffer[0]));
                self.seen = std::hint::black_box(self.seen.wrapping_add(first.sum()));
                continue;
            }
            (0..count).for_each(|_| self.burn.run());
            self.answer(count)?;
        }
        Ok(())
    }

    /// Looks for datagrams for as long as it spins, then blocks.
    fn look(&mut self) -> io::Result<usize> {
        let mut begun = None;
        loop {
            let count = self.receive(MsgFlags::MSG_DONTWAIT)?;
            if count > 0 {
                return Ok(count);
            }
            if begun.get_or_insert_with(Instant::now).elapsed() > self.spin {
                return self.receive(MsgFlags::MSG_WAITFORONE);
            }
        }
    }

    /// Takes what is there; waits for one if `how` says so, but not for ever. Gives how many came.
    fn receive(&mut self, how: MsgFlags) -> io::Result<usize> {
        let fd = self.socket.as_raw_fd();
        let mut slices = slices_of(&mut self.buffers);
        let came = match recvmmsg(fd, &mut self.received, slices.iter_mut(), how, None) {
            Ok(came) => came,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        let mut count = 0;
        for (place, message) in self.batch.iter_mut().zip(came) {
            *place = (message.bytes, message.address);
            count += 1;
        }
        Ok(count)
    }

    /// Sends the first `count` datagrams back. One that the kernel will not send is left out.
    fn answer(&mut self, count: usize) -> io::Result<()> {
        let fd = self.socket.as_raw_fd();
        let addresses: [Option<SockaddrIn>; ECHO_BATCH_MAX] = std::array::from_fn(|place| self.batch[place].1);
        let mut from = 0;
        while from < count {
            let slices: [[IoSlice<'_>; 1]; ECHO_BATCH_MAX] =
                std::array::from_fn(|place| [IoSlice::new(&self.buffers[place][..self.batch[place].0])]);
            let (slices, addresses) = (&slices[from..count], &addresses[from..count]);
            match sendmmsg(fd, &mut self.sent, slices, addresses, [], MsgFlags::empty()) {
                Ok(sent) => from += sent.count().max(1),
                Err(Errno::EINTR) => {}
                Err(Errno::ENOBUFS | Errno::ECONNREFUSED | Errno::EPERM) => from += 1,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// One slice for each buffer, as `recvmmsg` takes them.
fn slices_of(buffers: &mut [[u8; DATAGRAM_MAX]]) -> [[IoSliceMut<'_>; 1]; ECHO_BATCH_MAX] {
    let mut buffers = buffers.iter_mut();
    std::array::from_fn(|_| [IoSliceMut::new(buffers.next().map_or(&mut [], |buffer| &mut buffer[..]))])
}

#[cfg(test)]
mod tests;
