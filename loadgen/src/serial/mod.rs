//! Serial lines with readers on them: the device's side of a pty, frames, line time and noise.
//!
//! The reader itself speaks as over UDP, to the socket of its line, which puts its datagrams into frames and takes the
//! gateway's out of theirs. What one end puts on the line comes out at the other when its last bit would have.

mod line;
mod noise;
mod pty;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use crate::limits::LINE_LOOK;
pub(crate) use line::Way;
use line::Wire;
pub use noise::Noise;
pub(crate) use pty::Pty;

/// What a line is to be.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The name under which the gateway finds the port: a link that the line makes, and takes away when it is unplugged.
    pub port: PathBuf,
    /// Bits a second. Whoever opens the port at another speed understands nothing, and is not understood.
    pub baud: u32,
    /// What happens to bytes on the way.
    pub noise: Noise,
    /// Of all that is left to chance.
    pub seed: u64,
}

/// Something that is done to a line while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Unplug,
    Plug,
}

/// What has passed over a line.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Frames to the gateway, and whole ones from it.
    sent: AtomicU64,
    received: AtomicU64,
    /// What was no frame when it came from the gateway.
    faults: AtomicU64,
    /// Bytes that noise has hit or put in, both ways.
    spoilt: AtomicU64,
}

/// What has passed over a line so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Frames put on the line towards the gateway.
    pub sent: u64,
    /// Whole frames from it.
    pub received: u64,
    /// What came from it and was no frame.
    pub faults: u64,
    /// Bytes that noise has hit or put in, both ways.
    pub spoilt: u64,
}

/// A line that runs; unplugged when it is dropped.
#[derive(Debug)]
pub struct Line {
    /// Where its reader's datagrams go.
    pub address: SocketAddr,
    deeds: Sender<Deed>,
    counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Line {
    /// Plugs a line in.
    ///
    /// # Errors
    /// What the system says.
    pub fn plug(setup: Setup) -> io::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let (deeds, done) = channel();
        let (counts, stop) = (Arc::<Counts>::default(), Arc::<AtomicBool>::default());
        let mut pty = Some(Pty::plug(&setup.port)?);
        let (shared, stopped) = (Arc::clone(&counts), Arc::clone(&stop));
        let mut wire = Wire::new(socket, &setup, shared);
        let thread = std::thread::Builder::new().name("line".into()).spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                for deed in done.try_iter() {
                    pty = match deed {
                        Deed::Unplug => None,
                        Deed::Plug => Some(Pty::plug(&setup.port)?),
                    };
                }
                wire.turn(pty.as_ref(), LINE_LOOK)?;
            }
            Ok(())
        })?;
        Ok(Self { address, deeds, counts, stop, thread: Some(thread) })
    }

    /// Pulls the port out: whoever has it open finds it hung up, and its name is gone.
    pub fn unplug(&self) {
        let _ = self.deeds.send(Deed::Unplug);
    }

    /// Plugs it in again.
    pub fn replug(&self) {
        let _ = self.deeds.send(Deed::Plug);
    }

    /// What has passed so far.
    #[must_use]
    pub fn passed(&self) -> Passed {
        let Counts { sent, received, faults, spoilt } = &*self.counts;
        let [sent, received, faults, spoilt] =
            [sent, received, faults, spoilt].map(|count| count.load(Ordering::Relaxed));
        Passed { sent, received, faults, spoilt }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
