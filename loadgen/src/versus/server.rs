//! The servers that are compared: gateways and echoes, as processes, with what they use of the CPU.

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child as Process, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use super::metrics::Metrics;
use crate::cpu::{Reading, total};
use crate::keys::ReaderKey;
use crate::limits::{CHILD_PATIENCE, RESTLESS, SETTLE_LOOK, SETTLED_AFTER};
use crate::site::child::{Child, says_ok};
use crate::site::gateway::Gateway;

/// What the names of a gateway's threads begin with: of those that answer, and of the one that writes.
const WORKERS: &str = "udp-";
const JOURNAL: &str = "journal";

/// A process that answers datagrams.
pub(super) trait Server {
    /// Where it listens.
    fn address(&self) -> SocketAddr;
    /// Its process.
    fn pid(&self) -> io::Result<u32>;
    /// What the names of the threads that answer begin with.
    fn workers(&self) -> &'static str;
    /// Waits until it rests.
    fn settle(&mut self) -> io::Result<()>;
    /// Whether all that its answers left to do is done. To ask costs it CPU time.
    fn is_done(&mut self) -> io::Result<bool>;
}

/// CPU time that a server has used.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Used {
    /// Of the threads that answer.
    pub(super) workers: Duration,
    /// Of the whole process.
    pub(super) process: Duration,
    /// How long the threads that answer could have run while others had their core.
    pub(super) kept_waiting: Duration,
}

/// Does `what`, and gives what it gave and the CPU time that `server` used for it, all that comes after counted.
pub(super) fn measured<T>(server: &mut dyn Server, what: impl FnOnce() -> io::Result<T>) -> io::Result<(T, Used)> {
    let pid = server.pid()?;
    let before = Reading::of(pid)?;
    let done = what()?;
    let begun = Instant::now();
    loop {
        server.settle()?;
        let threads = Reading::of(pid)?.since(&before);
        if server.is_done()? {
            let workers = threads.iter().filter(|thread| thread.name.starts_with(server.workers()));
            let kept_waiting = workers.map(|thread| thread.kept_waiting).sum();
            let (workers, process) = (total(&threads, server.workers()), total(&threads, ""));
            return Ok((done, Used { workers, process, kept_waiting }));
        }
        if begun.elapsed() > CHILD_PATIENCE {
            return Err(io::Error::other("the journal does not commit what was decided; see the gateway's log"));
        }
    }
}

/// A bare echo.
pub(super) struct Echo {
    process: Process,
    address: SocketAddr,
}

impl Echo {
    /// Starts `program` as an echo with `args`.
    pub(super) fn start(program: &Path, args: &[String]) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.args(["echo", "--listen", "127.0.0.1:0"]).args(args);
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut said = String::new();
        if let Some(stdout) = process.stdout.take() {
            BufReader::new(stdout).read_line(&mut said)?;
        }
        match said.trim().strip_prefix("listening ").and_then(|address| address.parse().ok()) {
            Some(address) => Ok(Self { process, address }),
            None => {
                drop(Self { process, address: SocketAddr::from(([127, 0, 0, 1], 0)) });
                Err(io::Error::other(format!("the echo does not say where it listens, but {said:?}")))
            }
        }
    }
}

impl Server for Echo {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn pid(&self) -> io::Result<u32> {
        Ok(self.process.id())
    }

    fn workers(&self) -> &'static str {
        ""
    }

    fn settle(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn is_done(&mut self) -> io::Result<bool> {
        Ok(true)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // Both fail only when it has ended already. It keeps nothing that an end in order would save.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A gateway that decides by a snapshot, and its readers' keys.
pub(super) struct Serving {
    gateway: Gateway,
    child: Child,
    pub(super) keys: Vec<ReaderKey>,
}

impl Serving {
    /// Starts `gateway`, gives it `snapshot`, and a key to each of `readers`.
    pub(super) fn start(gateway: Gateway, snapshot: &Path, readers: &[u32], stop: &AtomicBool) -> io::Result<Self> {
        let mut child = gateway.start(stop)?;
        gateway.offer(snapshot)?;
        child.wait_until(stop, "does not decide by its snapshot", || says_ok(gateway.http, "/readyz"))?;
        let keys = readers.iter().map(|&reader| gateway.add_reader(reader)).collect::<io::Result<_>>()?;
        Ok(Self { gateway, child, keys })
    }

    /// What it counts.
    pub(super) fn metrics(&self) -> io::Result<Metrics> {
        Metrics::of(self.gateway.http)
    }
}

impl Server for Serving {
    fn address(&self) -> SocketAddr {
        self.gateway.udp
    }

    fn pid(&self) -> io::Result<u32> {
        self.child.id().ok_or_else(|| io::Error::other("the gateway is gone"))
    }

    fn workers(&self) -> &'static str {
        WORKERS
    }

    /// Waits until the journal has rested for a while. It is watched from outside, because a question would cost the gateway
    /// what is measured here.
    fn settle(&mut self) -> io::Result<()> {
        let pid = self.pid()?;
        let journal = || Reading::of(pid).map(|reading| total(&reading.since(&Reading::default()), JOURNAL));
        let (mut used, mut since) = (journal()?, Instant::now());
        while since.elapsed() < SETTLED_AFTER {
            thread::sleep(SETTLE_LOOK);
            let now = journal()?;
            if now.saturating_sub(used) > RESTLESS {
                since = Instant::now();
            }
            used = now;
            self.child.check_alive()?;
        }
        Ok(())
    }

    fn is_done(&mut self) -> io::Result<bool> {
        Ok(self.metrics()?.is_committed())
    }
}
