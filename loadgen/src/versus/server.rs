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

/// What the names of a gateway's threads that answer begin with.
const WORKERS: &str = "udp-";

/// A process that answers datagrams.
pub(super) trait Server {
    /// Where it listens.
    fn address(&self) -> SocketAddr;
    /// Its process, if it lives.
    fn pid(&mut self) -> io::Result<u32>;
    /// What the names of the threads that answer begin with.
    fn workers(&self) -> &'static str;
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
        // Watched from outside, because a question would cost the server what is measured here. Nobody else waits for an echo
        // that discards, and a gateway's journal goes on when its answers have left.
        until_rest(CHILD_PATIENCE, || used_by(server.pid()?))?;
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

    fn pid(&mut self) -> io::Result<u32> {
        Ok(self.process.id())
    }

    fn workers(&self) -> &'static str {
        ""
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

    fn pid(&mut self) -> io::Result<u32> {
        self.child.check_alive()?;
        self.child.id().ok_or_else(|| io::Error::other("the gateway is gone"))
    }

    fn workers(&self) -> &'static str {
        WORKERS
    }

    fn is_done(&mut self) -> io::Result<bool> {
        Ok(self.metrics()?.is_committed())
    }
}

/// CPU time of process `pid` since its start.
fn used_by(pid: u32) -> io::Result<Duration> {
    Ok(total(&Reading::of(pid)?.since(&Reading::default()), ""))
}

/// Waits until what `used` gives, a server's CPU time, has hardly grown for [`SETTLED_AFTER`]; `patience` at most.
fn until_rest(patience: Duration, mut used: impl FnMut() -> io::Result<Duration>) -> io::Result<()> {
    let begun = Instant::now();
    let (mut before, mut since) = (used()?, Instant::now());
    while since.elapsed() < SETTLED_AFTER {
        thread::sleep(SETTLE_LOOK);
        let now = used()?;
        if now.saturating_sub(before) > RESTLESS {
            since = Instant::now();
        }
        before = now;
        if begun.elapsed() > patience {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "a server never rests"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_that_never_rests_is_not_waited_for_without_end() {
        let (patience, mut used) = (2 * SETTLED_AFTER, Duration::ZERO);
        let busy = || {
            used += 2 * RESTLESS;
            // Without a bound this test would not end either.
            if used < RESTLESS * 1000 { Ok(used) } else { Err(io::ErrorKind::Other.into()) }
        };
        assert_eq!(until_rest(patience, busy).unwrap_err().kind(), io::ErrorKind::TimedOut);
        let begun = Instant::now();
        until_rest(CHILD_PATIENCE, || Ok(Duration::from_secs(1))).unwrap();
        assert!(begun.elapsed() >= SETTLED_AFTER);
    }

    #[test]
    fn what_an_echo_does_once_a_slice_is_over_is_counted() {
        let work = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; exec sleep 60";
        let process = Command::new("sh").args(["-c", work]).spawn().unwrap();
        let mut echo = Echo { process, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let ((), used) = measured(&mut echo, || Ok(())).unwrap();
        assert!(used.workers > 10 * RESTLESS && used.workers == used.process, "{used:?}");
    }
}
