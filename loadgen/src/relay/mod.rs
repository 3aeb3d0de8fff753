//! A bad network between UDP ends: a relay in user space, which needs no privileges.
//!
//! Who would talk to a server talks to [`Relay::address`] instead; each client has a socket of its own towards the server,
//! which so sees as many addresses as there are clients. What becomes of a datagram is decided by a [`Way`] for each
//! direction, which knows no clock and no socket: loss, delay, duplication, reordering, a rate with a finite queue, and cuts,
//! all by a seed. One thread moves the bytes. The network can be changed while it runs, by calls or by [`Order`]s in words.
//!
//! A run is repeated by its seed as far as the same datagrams come in the same order at the same times.

mod clients;
mod control;
mod counts;
mod line;
mod order;
mod shell;
mod way;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use control::{obey_lines, serve_control};
pub use counts::{Counts, Dropped, Totals};
pub use line::{Cuts, Line};
pub use order::{BadOrder, Change, Deed, ORDERS, Order, time};
use shell::Shell;
pub use way::Way;

use crate::limits::{RELAY_CLIENTS, RELAY_IDLE};

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heading {
    /// Towards the server.
    Up,
    /// Towards the clients.
    Down,
}

/// Both directions.
pub const BOTH: [Heading; 2] = [Heading::Up, Heading::Down];

/// What a relay is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Where clients find it; port 0 for any.
    pub listen: SocketAddr,
    /// The server.
    pub to: SocketAddr,
    /// What both directions are like at first.
    pub line: Line,
    /// Of all that is left to chance.
    pub seed: u64,
    /// Clients that are known at a time. One more is dropped.
    pub clients_max: usize,
    /// A client from and for which nothing has come so long is forgotten.
    pub idle: Duration,
}

impl Setup {
    /// Between the server at `to` and clients on this machine.
    #[must_use]
    pub fn new(to: SocketAddr, line: Line, seed: u64) -> Self {
        let listen = (Ipv4Addr::LOCALHOST, 0).into();
        Self { listen, to, line, seed, clients_max: RELAY_CLIENTS, idle: RELAY_IDLE }
    }
}

/// A running relay. Dropped, it ends.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<Shared>,
    address: SocketAddr,
    seed: u64,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    started: Instant,
    network: Mutex<Network>,
    ended: AtomicBool,
    /// Why the thread has ended by itself.
    fault: Mutex<Option<io::Error>>,
}

/// What the thread and the callers share.
#[derive(Debug)]
struct Network {
    up: Way<Datagram>,
    down: Way<Datagram>,
    /// Clients are to get other addresses.
    is_moved: bool,
    clients: usize,
    clients_seen: u64,
    clients_forgotten: u64,
    moves: u64,
}

/// Bytes of the client that they are from or for.
#[derive(Clone, Debug)]
struct Datagram {
    client: u64,
    bytes: Vec<u8>,
}

impl Network {
    const fn way(&mut self, heading: Heading) -> &mut Way<Datagram> {
        match heading {
            Heading::Up => &mut self.up,
            Heading::Down => &mut self.down,
        }
    }
}

impl Shared {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn network(&self) -> MutexGuard<'_, Network> {
        self.network.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault(&self) -> MutexGuard<'_, Option<io::Error>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Relay {
    /// A relay to the server at `to` on this machine, with both directions like `line`.
    ///
    /// # Errors
    /// What the system says when it gives no socket or thread.
    pub fn start(to: SocketAddr, line: Line, seed: u64) -> io::Result<Self> {
        Self::set_up(Setup::new(to, line, seed))
    }

    /// A relay as `setup` wants it.
    ///
    /// # Errors
    /// What the system says when it gives no socket or thread.
    pub fn set_up(setup: Setup) -> io::Result<Self> {
        let Setup { line, seed, .. } = setup;
        let network = Network {
            up: Way::new(line, seed),
            down: Way::new(line, !seed),
            is_moved: false,
            clients: 0,
            clients_seen: 0,
            clients_forgotten: 0,
            moves: 0,
        };
        let shared = Arc::new(Shared {
            started: Instant::now(),
            network: Mutex::new(network),
            ended: AtomicBool::new(false),
            fault: Mutex::new(None),
        });
        let mut shell = Shell::open(&setup, Arc::clone(&shared))?;
        let address = shell.address()?;
        let theirs = Arc::clone(&shared);
        let run = move || {
            if let Err(error) = shell.run() {
                *theirs.fault() = Some(error);
            }
        };
        let thread = std::thread::Builder::new().name("relay".into()).spawn(run)?;
        Ok(Self { shared, address, seed, thread: Some(thread) })
    }

    /// Where to talk to instead of the server.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Of all that is left to chance.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// Makes both directions another line from now on. What is under way stays so.
    pub fn become_like(&self, line: Line) {
        self.change(&BOTH, |known| *known = line);
    }

    /// Changes the line of `ways` from now on.
    pub fn change(&self, ways: &[Heading], change: impl Fn(&mut Line)) {
        let mut network = self.shared.network();
        let now = self.shared.now();
        ways.iter().for_each(|&heading| network.way(heading).change(now, &change));
    }

    /// Cuts `ways`, for a time or until mended: what comes meanwhile is dropped, and what arrives meanwhile too.
    pub fn cut(&self, ways: &[Heading], time: Option<Duration>) {
        let mut network = self.shared.network();
        let now = self.shared.now();
        ways.iter().for_each(|&heading| network.way(heading).cut(now, time));
    }

    /// Mends what was cut by [`cut`](Self::cut).
    pub fn mend(&self, ways: &[Heading]) {
        let mut network = self.shared.network();
        ways.iter().for_each(|&heading| network.way(heading).mend());
    }

    /// Gives every client another source address towards the server, as a NAT that has lost its memory does. What the
    /// server still sends to the old ones finds nobody.
    pub fn move_clients(&self) {
        self.shared.network().is_moved = true;
    }

    /// Does what `order` says; gives what there is to say.
    pub fn obey(&self, order: Order) -> Option<String> {
        match order.deed {
            Deed::Change(change) => self.change(order.ways, |line| change.apply(line)),
            Deed::Cut(time) => self.cut(order.ways, time),
            Deed::Mend => self.mend(order.ways),
            Deed::Move => self.move_clients(),
            Deed::Show => return Some(self.totals().to_string()),
        }
        None
    }

    /// What became of the datagrams.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let network = self.shared.network();
        Totals {
            up: *network.up.counts(),
            down: *network.down.counts(),
            clients: network.clients,
            clients_seen: network.clients_seen,
            clients_forgotten: network.clients_forgotten,
            moves: network.moves,
        }
    }

    /// Why it has ended by itself, if it has: told once.
    #[must_use]
    pub fn fault(&self) -> Option<io::Error> {
        self.shared.fault().take()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.ended.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            // It takes no longer than one look.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod order_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod way_tests;
