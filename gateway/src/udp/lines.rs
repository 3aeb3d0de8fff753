//! Serial lines as the workers see them: each is an address, and behind it a box for what goes there.
//!
//! The address is one that no socket's datagram can bear, so nothing that comes over the network is ever taken for a
//! line's. What comes from a line is handed to the worker that owns its reader as other workers hand over what strays; a
//! worker looks at addresses for lines only where datagrams were handed to it.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;

use kalitka_core::limits::WORKERS_MAX;
use kalitka_protocol::datagram::{Clear, clear};
use kalitka_protocol::limits::DATAGRAM_MAX;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::batch::Datagram;
use super::worker::Door;
use crate::limits::LINE_WAITING_MAX;

/// The kernel gives a scope to link-local addresses alone, and then it is an interface's number, which is far smaller.
const SCOPE: u32 = u32::MAX;
/// Of RFC 6666, which routes nowhere. The line's number stands in the lowest bits.
const DISCARD: u128 = 0x0100 << 112;

/// The address of line `number`.
const fn address(number: u16) -> SocketAddr {
    SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from_bits(DISCARD | number as u128), 0, 0, SCOPE))
}

/// The line whose address this is.
fn number(address: SocketAddr) -> Option<usize> {
    match address {
        SocketAddr::V6(address) if address.scope_id() == SCOPE => {
            usize::try_from(address.ip().to_bits() & u128::from(u16::MAX)).ok()
        }
        SocketAddr::V4(_) | SocketAddr::V6(_) => None,
    }
}

/// A datagram on its way to a line.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    bytes: [u8; DATAGRAM_MAX],
    len: usize,
}

impl Letter {
    /// Its bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Where workers leave what goes to lines; it never waits.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<[(Sender<Letter>, metrics::Counter)]>);

impl Lines {
    /// A box for each line, with the counter of what found it full; the other ends come in the lines' order.
    pub(crate) fn new(lines: impl IntoIterator<Item = metrics::Counter>) -> (Self, Vec<Receiver<Letter>>) {
        let boxes = lines.into_iter().map(|full| (channel(LINE_WAITING_MAX), full));
        let (doors, outlets): (Vec<_>, _) = boxes.map(|((door, outlet), full)| ((door, full), outlet)).unzip();
        (Self(doors.into()), outlets)
    }

    /// Leaves `datagram` for the line at `to`; says whether that is a line. A reader whose datagram found no room asks
    /// again.
    pub(super) fn take(&self, to: SocketAddr, datagram: &[u8]) -> bool {
        let Some(number) = number(to) else { return false };
        let len = datagram.len().min(DATAGRAM_MAX);
        let mut letter = Letter { bytes: [0; DATAGRAM_MAX], len };
        letter.bytes[..len].copy_from_slice(&datagram[..len]);
        if let Some((door, full)) = self.0.get(number)
            && door.try_send(letter).is_err()
        {
            full.increment(1);
        }
        true
    }
}

/// Where a line hands in what has come over it.
#[derive(Clone)]
pub(crate) struct Inlet {
    doors: Vec<Door>,
    from: SocketAddr,
}

impl Inlet {
    /// Of line `number`, to the workers with these doors.
    pub(super) fn new(doors: &[Door], number: u16) -> Self {
        Self { doors: doors.to_vec(), from: address(number) }
    }

    /// Hands `datagram` to the worker that owns its reader; says whether there was room.
    pub(crate) fn hand_in(&self, datagram: &[u8]) -> bool {
        let door = self.doors.get(self.owner(datagram));
        door.is_some_and(|Door { door, bell }| {
            let is_taken = door.try_send(Datagram::of(datagram, self.from)).is_ok();
            bell.ring();
            is_taken
        })
    }

    /// The worker that owns the datagram's reader, by what stands in the clear; a lie brings it to one that drops it.
    fn owner(&self, datagram: &[u8]) -> usize {
        let workers = self.doors.len().max(1);
        match clear(datagram) {
            Some(Clear::Initiation { reader, .. }) => reader.0 as usize % workers,
            Some(Clear::Sealed { session, .. }) => session.0 as usize % usize::from(WORKERS_MAX) % workers,
            Some(Clear::Response { .. }) | None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_names_its_line_and_no_socket_has_it() {
        for line in [0, 1, 7, u16::MAX] {
            assert_eq!(number(address(line)), Some(usize::from(line)));
            // As the kernel would tell of it: no scope but a link-local address's.
            let SocketAddr::V6(mut forged) = address(line) else { panic!("a line's address is none of IPv4") };
            forged.set_scope_id(0);
            assert_eq!(number(forged.into()), None);
        }
        for address in ["127.0.0.1:4700", "[::1]:0", "[100::1]:0", "[fe80::1%4294967294]:9"] {
            assert_eq!(number(address.parse().unwrap()), None, "{address}");
        }
    }

    #[test]
    fn what_goes_to_a_line_waits_there_and_beyond_its_room_is_counted() {
        let (lines, mut outlets) = Lines::new((0..2).map(|_| metrics::Counter::noop()));
        assert!(!lines.take("127.0.0.1:9".parse().unwrap(), b"datagram"));
        for _ in 0..LINE_WAITING_MAX + 3 {
            assert!(lines.take(address(1), b"datagram"));
        }
        assert!(lines.take(address(2), b"to a line that is none"));
        let waiting: Vec<_> = std::iter::from_fn(|| outlets[1].try_recv().ok()).collect();
        assert_eq!(waiting.len(), LINE_WAITING_MAX);
        assert!(waiting.iter().all(|letter| letter.bytes() == b"datagram") && outlets[0].try_recv().is_err());
    }
}
