//! The thread that moves the bytes.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};

use super::clients::{Clients, FRONT, Socket};
use super::counts::Dropped;
use super::{BOTH, Datagram, Heading, Setup, Shared};
use crate::limits::{RELAY_BATCH, RELAY_FORGETS_EVERY, RELAY_LOOK};

/// Bytes of the longest datagram.
const DATAGRAM_MAX: usize = 65_536;
/// Sockets of which the kernel tells at a time.
const READY_MAX: usize = 64;

pub(super) struct Shell {
    shared: Arc<Shared>,
    epoll: OwnedFd,
    front: Socket,
    clients: Clients,
    buffer: Vec<u8>,
    forgets_at: Duration,
}

impl Shell {
    pub(super) fn open(setup: &Setup, shared: Arc<Shared>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let front = Socket::open(setup.listen, &epoll, FRONT)?;
        let clients = Clients::new(setup.to, setup.clients_max, setup.idle);
        let forgets_at = shared.now() + RELAY_FORGETS_EVERY;
        Ok(Self { shared, epoll, front, clients, buffer: vec![0; DATAGRAM_MAX], forgets_at })
    }

    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.front.address()
    }

    /// Moves bytes until the relay is to end.
    pub(super) fn run(&mut self) -> io::Result<()> {
        while !self.shared.ended.load(Relaxed) {
            let ready = self.wait()?;
            self.shift()?;
            for mark in ready {
                if mark == FRONT { self.take_from_clients()? } else { self.take_from_server(mark)? }
            }
            BOTH.iter().for_each(|&heading| self.hand_on(heading));
            self.forget();
        }
        Ok(())
    }

    /// Waits until something has come or arrives; gives the marks of the sockets at which something came.
    fn wait(&self) -> io::Result<Vec<u64>> {
        let due = {
            let network = self.shared.network();
            network.up.due().into_iter().chain(network.down.due()).min()
        };
        let time = due.map_or(RELAY_LOOK, |due| due.saturating_sub(self.shared.now()).min(RELAY_LOOK));
        // An epoll waits whole milliseconds only; who polls it can wait for less.
        let time = Timespec { tv_sec: 0, tv_nsec: time.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&self.epoll, PollFlags::IN)], Some(&time)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let mut events = Vec::with_capacity(READY_MAX);
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&now))?;
        Ok(events.iter().map(|event| event.data.u64()).collect())
    }

    /// Gives the clients other sockets, when that is asked for.
    fn shift(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.shared.network().is_moved) {
            return Ok(());
        }
        let moves = self.clients.shift(&self.epoll)?;
        self.shared.network().moves += moves;
        Ok(())
    }

    fn take_from_clients(&mut self) -> io::Result<()> {
        for _ in 0..RELAY_BATCH {
            let Some(came) = self.front.receive(&mut self.buffer)? else { return Ok(()) };
            let now = self.shared.now();
            let client = came.from.and_then(|end| self.clients.of(end, now, &self.epoll));
            let mut network = self.shared.network();
            network.up.dropped(Dropped::Kernel, came.kernel_dropped.into());
            let Some((mark, is_new)) = client else {
                network.up.dropped(Dropped::NoClient, 1);
                continue;
            };
            network.clients_seen += u64::from(is_new);
            network.clients = self.clients.len();
            let bytes = self.buffer[..came.len].to_vec();
            network.up.put(now, came.len, Datagram { client: mark, bytes });
            drop(network);
            if let Some(client) = self.clients.get(mark) {
                client.seen = now;
            }
        }
        Ok(())
    }

    fn take_from_server(&mut self, mark: u64) -> io::Result<()> {
        for _ in 0..RELAY_BATCH {
            // It may have been forgotten since the kernel told of it.
            let Some(client) = self.clients.get(mark) else { return Ok(()) };
            let Some(came) = client.socket.receive(&mut self.buffer)? else { return Ok(()) };
            let now = self.shared.now();
            client.seen = now;
            let mut network = self.shared.network();
            network.down.dropped(Dropped::Kernel, came.kernel_dropped.into());
            let bytes = self.buffer[..came.len].to_vec();
            network.down.put(now, came.len, Datagram { client: mark, bytes });
        }
        Ok(())
    }

    /// Hands on what has arrived.
    fn hand_on(&mut self, heading: Heading) {
        let now = self.shared.now();
        loop {
            let Some(Datagram { client, bytes }) = self.shared.network().way(heading).arrived(now) else { return };
            let sent = self.clients.get(client).ok_or(Dropped::NoClient).and_then(|client| {
                let is_sent = match heading {
                    Heading::Up => client.socket.send(&bytes, None),
                    Heading::Down => self.front.send(&bytes, Some(client.end)),
                };
                if is_sent { Ok(()) } else { Err(Dropped::Unsent) }
            });
            if let Err(why) = sent {
                self.shared.network().way(heading).take_back(bytes.len(), why);
            }
        }
    }

    fn forget(&mut self) {
        let now = self.shared.now();
        if now < self.forgets_at {
            return;
        }
        self.forgets_at = now + RELAY_FORGETS_EVERY;
        let forgotten = self.clients.forget(now);
        let mut network = self.shared.network();
        network.clients_forgotten += forgotten;
        network.clients = self.clients.len();
    }
}
