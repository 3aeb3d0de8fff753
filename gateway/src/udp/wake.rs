//! Waking a worker that waits for datagrams: the bell is itself a datagram, sent to the worker's socket by the process.
//!
//! It is rung only while the worker may be asleep; one that is awake looks at its boxes after each batch anyway. A bell can
//! be lost, and anybody can forge its source: it is late by the receive time-out then, or the worker wakes for nothing.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// First byte of a bell; no reader's datagram begins so (SPEC 2).
pub(super) const CALL: u8 = 0;
/// Where a bell names the worker that is meant.
pub(super) const CALLED: usize = 1;
/// Bytes of a bell: as many as the steering program wants to see of any datagram.
pub(super) const CALL_LEN: usize = 8;

const AWAKE: u8 = 0;
/// Blocks in its receiving call, or is about to.
const ASLEEP: u8 = 1;
/// Has been called since it was last awake.
const CALLED_FOR: u8 = 2;

/// The socket by which this process calls its own workers.
#[derive(Debug)]
pub(super) struct Line {
    socket: UdpSocket,
    from: SocketAddr,
    to: SocketAddr,
}

impl Line {
    /// A line to the sockets that are bound to `address`.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn to(address: SocketAddr) -> io::Result<Self> {
        let mut to = address;
        match address {
            SocketAddr::V4(v4) if v4.ip().is_unspecified() => to.set_ip(Ipv4Addr::LOCALHOST.into()),
            SocketAddr::V6(v6) if v6.ip().is_unspecified() => to.set_ip(Ipv6Addr::LOCALHOST.into()),
            SocketAddr::V4(_) | SocketAddr::V6(_) => {}
        }
        let mut from = to;
        from.set_port(0);
        let socket = UdpSocket::bind(from)?;
        socket.set_nonblocking(true)?;
        Ok(Self { from: socket.local_addr()?, socket, to })
    }
}

/// A worker's bell.
#[derive(Clone, Debug)]
pub(super) struct Bell {
    worker: u8,
    state: Arc<AtomicU8>,
    /// None when the system gives none: the worker then looks by itself, often.
    line: Option<Arc<Line>>,
}

impl Bell {
    pub(super) fn new(worker: u8, line: Option<Arc<Line>>) -> Self {
        Self { worker, state: Arc::new(AtomicU8::new(AWAKE)), line }
    }

    /// Wakes the worker, or keeps it from falling asleep. What it shall see must be where it looks before.
    pub(super) fn ring(&self) {
        if self.state.swap(CALLED_FOR, Ordering::AcqRel) != ASLEEP {
            return;
        }
        if let Some(Line { socket, to, .. }) = self.line.as_deref() {
            let mut call = [0; CALL_LEN];
            (call[0], call[CALLED]) = (CALL, self.worker);
            // It fails only when the worker has much to receive, and then it is not asleep for long.
            let _ = socket.send_to(&call, to);
        }
    }

    /// Whether the worker may fall asleep: nobody has called since it was last awake. Followed by [`awake`](Self::awake).
    pub(super) fn may_sleep(&self) -> bool {
        self.state.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Whether somebody has called since the worker was last awake.
    pub(super) fn is_called(&self) -> bool {
        self.state.load(Ordering::Acquire) == CALLED_FOR
    }

    /// Whether the worker sleeps or is about to.
    #[cfg(test)]
    pub(super) fn is_asleep(&self) -> bool {
        self.state.load(Ordering::Acquire) == ASLEEP
    }

    /// The worker is awake, and looks into its boxes next.
    pub(super) fn awake(&self) {
        self.state.swap(AWAKE, Ordering::AcqRel);
    }

    /// Whether this datagram is a bell of ours.
    pub(super) fn is_call(&self, datagram: &[u8], from: SocketAddr) -> bool {
        datagram.first() == Some(&CALL) && self.line.as_ref().is_some_and(|line| line.from == from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn heard(socket: &UdpSocket) -> bool {
        socket.recv(&mut [0; CALL_LEN]).is_ok()
    }

    #[test]
    fn bell_is_sent_only_to_a_worker_that_may_be_asleep_and_once() {
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
            let socket = UdpSocket::bind(address).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            let line = Line::to(socket.local_addr().unwrap()).unwrap();
            let bell = Bell::new(0, Some(Arc::new(line)));
            bell.ring();
            assert!(!heard(&socket) && bell.is_called() && !bell.may_sleep());
            bell.awake();
            assert!(!bell.is_called() && bell.may_sleep());
            bell.ring();
            bell.ring();
            assert!(heard(&socket) && !heard(&socket));
            bell.awake();
            assert!(bell.may_sleep());
        }
    }

    #[test]
    fn bell_of_another_process_is_none() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let line = Arc::new(Line::to(socket.local_addr().unwrap()).unwrap());
        let bell = Bell::new(1, Some(Arc::clone(&line)));
        assert!(bell.may_sleep());
        bell.ring();
        let mut call = [0xa5; 64];
        let (len, from) = socket.recv_from(&mut call).unwrap();
        assert_eq!((len, call[CALLED]), (CALL_LEN, 1));
        assert!(bell.is_call(&call[..len], from));
        assert!(!bell.is_call(&call[..len], socket.local_addr().unwrap()));
        assert!(!bell.is_call(&[3], from) && !bell.is_call(&[], from));
        assert!(!Bell::new(1, None).is_call(&call[..len], from));
    }
}
