//! Moves datagrams and frames between a reader's socket and a pty, in the time that a line would take.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kalitka_protocol::frame::{Deframer, emit};
use kalitka_protocol::limits::{DATAGRAM_MAX, FRAME_MAX};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::noise::Spoiler;
use super::pty::Pty;
use super::{Counts, Setup};
use crate::limits::LINE_BACKLOG_MAX;
use crate::volley::is_passing;

/// Bits of each byte: start, eight, stop.
const BITS: u64 = 10;

/// One direction of a line: what is on it, and when its last bit is over.
pub(crate) struct Way {
    baud: u64,
    free_at: Duration,
    under_way: VecDeque<(Duration, Vec<u8>)>,
    pub(super) spoiler: Spoiler,
}

impl Way {
    pub(crate) fn new(setup: &Setup, direction: u64) -> Self {
        let spoiler = Spoiler::new(setup.noise, setup.seed.wrapping_mul(2).wrapping_add(direction));
        Self { baud: u64::from(setup.baud), free_at: Duration::ZERO, under_way: VecDeque::new(), spoiler }
    }

    /// Puts `bytes` on the line at `now`. A line that is far behind loses them, as a port's buffer would.
    pub(crate) fn put(&mut self, now: Duration, bytes: Vec<u8>) {
        if bytes.is_empty() || self.free_at > now + LINE_BACKLOG_MAX {
            return;
        }
        let took = Duration::from_micros(bytes.len() as u64 * BITS * 1_000_000 / self.baud);
        self.free_at = self.free_at.max(now) + took;
        self.under_way.push_back((self.free_at, bytes));
    }

    /// When something arrives next.
    pub(crate) fn next(&self) -> Duration {
        self.under_way.front().map_or(Duration::MAX, |&(at, _)| at)
    }

    pub(crate) fn arrived(&mut self, now: Duration) -> Option<Vec<u8>> {
        self.under_way.pop_front_if(|(at, _)| *at <= now).map(|(_, bytes)| bytes)
    }

    /// What becomes of `bytes` on the way: noise, and garbage when the other end has another speed.
    pub(crate) fn spoil(&mut self, bytes: &[u8], is_understood: bool) -> Vec<u8> {
        if is_understood { self.spoiler.pass(bytes) } else { self.spoiler.misread(bytes) }
    }
}

/// A line between its reader's socket and whatever pty is plugged in.
pub(super) struct Wire {
    socket: UdpSocket,
    /// The reader, once it has said something.
    reader: Option<SocketAddr>,
    baud: u32,
    start: Instant,
    up: Way,
    down: Way,
    deframer: Deframer,
    counts: Arc<Counts>,
}

impl Wire {
    pub(super) fn new(socket: UdpSocket, setup: &Setup, counts: Arc<Counts>) -> Self {
        Self {
            socket,
            reader: None,
            baud: setup.baud,
            start: Instant::now(),
            up: Way::new(setup, 0),
            down: Way::new(setup, 1),
            deframer: Deframer::new(),
            counts,
        }
    }

    /// Waits at most `patience` for something to do, and does it.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn turn(&mut self, pty: Option<&Pty>, patience: Duration) -> io::Result<()> {
        self.wait(pty, patience)?;
        let now = self.start.elapsed();
        self.take_datagrams(now)?;
        if let Some(crackle) = self.up.spoiler.crackle(now) {
            self.up.put(now, crackle);
        }
        let is_understood = pty.and_then(Pty::baud).is_none_or(|baud| baud == self.baud);
        if let Some(pty) = pty {
            self.take_bytes(now, pty, is_understood)?;
        }
        while let Some(bytes) = self.up.arrived(now) {
            // Without a port it is said into the air.
            if let Some(pty) = pty {
                pty.write(&if is_understood { bytes } else { self.up.spoiler.misread(&bytes) })?;
            }
        }
        self.hand_on(now)?;
        self.counts.spoilt.store(self.up.spoiler.spoilt + self.down.spoiler.spoilt, Ordering::Relaxed);
        Ok(())
    }

    fn wait(&self, pty: Option<&Pty>, patience: Duration) -> io::Result<()> {
        let due = self.up.next().min(self.down.next()).min(self.up.spoiler.crackle_at());
        let patience = due.saturating_sub(self.start.elapsed()).min(patience);
        let timeout = Timespec::try_from(patience).map_err(io::Error::other)?;
        let mut polled = vec![PollFd::new(&self.socket, PollFlags::IN)];
        polled.extend(pty.map(|pty| PollFd::new(&pty.device, PollFlags::IN)));
        match poll(&mut polled, Some(&timeout)) {
            Err(error) if error != rustix::io::Errno::INTR => return Err(error.into()),
            _ => {}
        }
        // A port that nobody has open is always ready; the wait is then the socket's.
        if polled.get(1).is_some_and(|port| port.revents() == PollFlags::HUP) && polled[0].revents().is_empty() {
            let mut socket = [PollFd::new(&self.socket, PollFlags::IN)];
            let _ = poll(&mut socket, Some(&timeout));
        }
        Ok(())
    }

    /// Puts what the reader has said on the line.
    fn take_datagrams(&mut self, now: Duration) -> io::Result<()> {
        let (mut datagram, mut frame) = ([0; DATAGRAM_MAX + 1], [0; FRAME_MAX]);
        loop {
            match self.socket.recv_from(&mut datagram) {
                Ok((len, from)) => {
                    self.reader = Some(from);
                    if let Some(len) = emit(&datagram[..len], &mut frame) {
                        add(&self.counts.sent, 1);
                        let spoilt = self.up.spoiler.pass(&frame[..len]);
                        self.up.put(now, spoilt);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Puts what the gateway has written on the line.
    fn take_bytes(&mut self, now: Duration, pty: &Pty, is_understood: bool) -> io::Result<()> {
        let mut bytes = [0; 1024];
        while let Some(len @ 1..) = pty.read(&mut bytes)? {
            let read = if is_understood { bytes[..len].to_vec() } else { self.down.spoiler.misread(&bytes[..len]) };
            let spoilt = self.down.spoiler.pass(&read);
            self.down.put(now, spoilt);
        }
        Ok(())
    }

    /// Gives the reader the datagrams that have come over the line.
    fn hand_on(&mut self, now: Duration) -> io::Result<()> {
        let Self { down, deframer, socket, reader, counts, .. } = self;
        let mut failed = None;
        while let Some(bytes) = down.arrived(now) {
            deframer.feed(&bytes, &mut |result| match (result, *reader) {
                (Ok(datagram), Some(reader)) => {
                    add(&counts.received, 1);
                    let sent = socket.send_to(datagram, reader);
                    failed = failed.take().or(sent.err().filter(|error| !is_passing(error)));
                }
                (Ok(_), None) => {}
                (Err(_), _) => add(&counts.faults, 1),
            });
        }
        failed.map_or(Ok(()), Err)
    }
}

fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}
