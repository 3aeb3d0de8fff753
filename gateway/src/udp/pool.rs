//! The workers together: how they are started and ended.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use kalitka_protocol::{ReaderId, Stamp};

use super::batch::Wire;
use super::lines::Inlet;
use super::post::Posts;
use super::socket::Sockets;
use super::wake::{Bell, Line};
use super::worker::{Desk, Door, Shared, Worker};
use crate::entropy::SystemEntropy;
use crate::failure::Failure;
use crate::journal::Recorder;
use crate::limits::{HAND_OVER_MAX, UNCALLED_PATIENCE, WORKER_HEARTBEAT};
use crate::stamps::Taken;
use crate::thread::{self, Ended};

/// The running workers.
pub(crate) struct Pool {
    posts: Posts,
    doors: Vec<Door>,
    stopping: Arc<AtomicBool>,
    bells: Vec<Bell>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts a worker for each of `sockets`, on the core of `cores` that has its index if there is one. `stamps` are the highest
    /// from before; new ones go to `taken`, and what happens to the worker's own of `recorders`. When a worker ends, asked
    /// or not, `ended` is told.
    ///
    /// # Errors
    /// [`Failure::Environment`] when the system gives no thread or random bytes.
    pub(crate) fn start(
        shared: &Arc<Shared>,
        sockets: Sockets,
        cores: &[u16],
        stamps: &[(ReaderId, Stamp)],
        taken: &SyncSender<Taken>,
        recorders: Vec<Recorder>,
        ended: &Ended,
    ) -> Result<Self, Failure> {
        let Sockets { sockets, address, steered, .. } = sockets;
        let workers = u8::try_from(sockets.len()).unwrap_or(u8::MAX);
        let line = line_to(address, steered);
        let patience = if line.is_some() { WORKER_HEARTBEAT } else { UNCALLED_PATIENCE };
        let bells: Vec<_> = (0..workers).map(|worker| Bell::new(worker, line.clone())).collect();
        let (doors, inboxes): (Vec<_>, Vec<_>) = bells
            .iter()
            .map(|bell| (bell.clone(), sync_channel(HAND_OVER_MAX)))
            .map(|(bell, (door, inbox))| (Door { door, bell }, inbox))
            .unzip();
        let (posts, post_boxes) = Posts::new(&bells);
        let mut pool =
            Self { posts, doors: doors.clone(), stopping: Arc::default(), bells: bells.clone(), threads: Vec::new() };
        let boxes = inboxes.into_iter().zip(post_boxes).zip(recorders);
        for (((index, socket), bell), ((inbox, posts), journal)) in (0..workers).zip(sockets).zip(bells).zip(boxes) {
            socket.set_read_timeout(Some(patience)).map_err(|error| no_worker(&error))?;
            let entropy = Box::new(SystemEntropy::new()?);
            let worker = Worker {
                index,
                core: kalitka_core::Worker::new(index, workers, stamps.iter().copied(), entropy),
                shared: Arc::clone(shared),
                stopping: Arc::clone(&pool.stopping),
                bell,
                patience,
                inbox,
                posts,
                doors: doors.clone(),
                taken: taken.clone(),
                journal,
                desk: Desk::new(),
            };
            let core = cores.get(usize::from(index)).copied();
            let run = move || worker.run(Wire::new(socket, address));
            pool.threads.push(thread::spawn_on(core, &format!("udp-{index}"), ended, run)?);
        }
        Ok(pool)
    }

    /// Where post for their readers is left.
    pub(crate) fn posts(&self) -> Posts {
        self.posts.clone()
    }

    /// Where serial line `number` hands in what has come over it.
    pub(crate) fn inlet(&self, number: u16) -> Inlet {
        Inlet::new(&self.doors, number)
    }

    /// Lets the workers finish the datagrams in their hands and waits for them.
    pub(crate) fn stop(self) {
        self.stopping.store(true, Ordering::Release);
        self.bells.iter().for_each(Bell::ring);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a worker had panicked");
            }
        }
    }
}

/// A line on which each worker at `address` can be called, if there can be one: where datagrams are not `steered`, a call would
/// wake any of them.
fn line_to(address: SocketAddr, steered: bool) -> Option<Arc<Line>> {
    let refused =
        |error: &io::Error| tracing::warn!(%error, "workers cannot be called, and look by themselves every 2 ms");
    if !steered {
        tracing::warn!("the kernel does not steer datagrams: workers hand them over, and look for calls every 2 ms");
        return None;
    }
    Line::to(address).inspect_err(refused).ok().map(Arc::new)
}

fn no_worker(error: &io::Error) -> Failure {
    Failure::Environment(format!("cannot start a worker: {error}"))
}
