//! Sleeping until a datagram comes or somebody calls.

use std::io;
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// A bell that a worker hears in its sleep.
#[derive(Clone, Debug)]
pub(super) struct Bell(Arc<OwnedFd>);

impl Bell {
    /// # Errors
    /// What the system says.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    /// Wakes the worker, or keeps it from falling asleep.
    pub(super) fn ring(&self) {
        // It fails only when it has been rung 2^64 times without being heard.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }

    /// Sleeps until `socket` has something, the bell is rung or `patience` is over.
    pub(super) fn sleep(&self, socket: &UdpSocket, patience: Duration) {
        let mut waiting = [PollFd::new(socket, PollFlags::IN), PollFd::new(&*self.0, PollFlags::IN)];
        let patience = Timespec::try_from(patience).ok();
        // An interrupted sleep is a short one.
        let _ = poll(&mut waiting, patience.as_ref());
        if waiting[1].revents().contains(PollFlags::IN) {
            let _ = rustix::io::read(&*self.0, &mut [0; 8]);
        }
    }
}
