//! What became of the datagrams.

use std::fmt;

/// Why a datagram was not handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// At random, as the line says.
    Lost,
    /// Too much waited for the line already.
    QueueFull,
    /// The line was cut when it came, or when it would have arrived.
    Cut,
    /// More was under way than a relay holds.
    RelayFull,
    /// There are too many clients for one more, or no socket for it; or the client is forgotten.
    NoClient,
    /// The system did not take it.
    Unsent,
    /// It came and the kernel had no room for it. These never were among those that came.
    Kernel,
}

impl Dropped {
    /// All of them, each in the place of its number.
    pub const ALL: [Self; 7] =
        [Self::Lost, Self::QueueFull, Self::Cut, Self::RelayFull, Self::NoClient, Self::Unsent, Self::Kernel];

    /// Its name in tables.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::QueueFull => "queue_full",
            Self::Cut => "cut",
            Self::RelayFull => "relay_full",
            Self::NoClient => "no_client",
            Self::Unsent => "unsent",
            Self::Kernel => "kernel",
        }
    }
}

/// Of one direction. Every datagram that came, and every second copy, is handed on, dropped for one reason, or under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Datagrams that came.
    pub came: u64,
    /// Second copies that were made.
    pub copied: u64,
    /// Datagrams that were held back.
    pub held_back: u64,
    /// Datagrams handed on, copies among them.
    pub passed: u64,
    /// Their bytes, without headers.
    pub bytes: u64,
    dropped: [u64; Dropped::ALL.len()],
}

impl Counts {
    /// Datagrams dropped for this reason.
    #[must_use]
    pub const fn dropped(&self, why: Dropped) -> u64 {
        self.dropped[why as usize]
    }

    /// Datagrams dropped, but those that never came.
    #[must_use]
    pub fn dropped_in_all(&self) -> u64 {
        self.dropped.iter().sum::<u64>() - self.dropped(Dropped::Kernel)
    }

    pub(super) fn drop(&mut self, why: Dropped, count: u64) {
        self.dropped[why as usize] += count;
    }

    pub(super) fn pass(&mut self, len: usize) {
        self.passed += 1;
        self.bytes += len as u64;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { came, copied, held_back, passed, bytes, .. } = self;
        write!(out, "came={came} copied={copied} held_back={held_back} passed={passed} bytes={bytes}")?;
        Dropped::ALL.iter().try_for_each(|&why| write!(out, " {}={}", why.label(), self.dropped(why)))
    }
}

/// Of a relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Towards the server.
    pub up: Counts,
    /// Towards the clients.
    pub down: Counts,
    /// Clients that it knows.
    pub clients: usize,
    /// Clients that it has known; one that was forgotten and came again counts twice.
    pub clients_seen: u64,
    /// Clients forgotten because nothing came from or for them for too long.
    pub clients_forgotten: u64,
    /// Times that a client got another source address.
    pub moves: u64,
}

impl fmt::Display for Totals {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { up, down, clients, clients_seen, clients_forgotten, moves } = self;
        write!(out, "up: {up}; down: {down}; ")?;
        write!(out, "clients={clients} clients_seen={clients_seen} clients_forgotten={clients_forgotten} moves={moves}")
    }
}
