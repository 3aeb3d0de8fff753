//! The process's threads: none ends unnoticed.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::sync::Notify;

use crate::failure::Failure;

/// Told when a thread ends, asked or not, also by a panic.
pub(crate) type Ended = Arc<Notify>;

/// Starts a thread that tells `ended` at its end.
///
/// # Errors
/// [`Failure::Environment`] when the system gives no thread.
pub(crate) fn spawn(
    name: &str,
    ended: &Ended,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, Failure> {
    spawn_on(None, name, ended, body)
}

/// [`spawn`], and the thread runs on `core` alone if one is given. On a machine that has no such core, or does not let this
/// process use it, it says so and runs where it can: doors open all the same.
///
/// # Errors
/// As [`spawn`].
pub(crate) fn spawn_on(
    core: Option<u16>,
    name: &str,
    ended: &Ended,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, Failure> {
    let tell = Tell(Arc::clone(ended));
    let named = name.to_owned();
    let spawned = Builder::new().name(name.into()).spawn(move || {
        let _tell = tell;
        if let Some(core) = core
            && let Err(error) = run_on(core)
        {
            tracing::error!(thread = named, core, %error, "this core cannot be used; the thread runs on any");
        }
        body();
    });
    spawned.map_err(|error| Failure::Environment(format!("cannot start the thread {name}: {error}")))
}

/// From now on the calling thread, and those that it starts, give way to others by `niceness`. If the system forbids it, `what`
/// goes on at the workers' priority.
pub(crate) fn give_way(niceness: i32, what: &str) {
    if let Err(error) = rustix::process::setpriority_process(None, niceness) {
        tracing::warn!(%error, "{what} runs at the workers' priority");
    }
}

/// Whether threads of this process may run on `core`: there is one, and nobody has taken it away.
pub(crate) fn is_usable(core: u16) -> bool {
    // Tried on a thread of its own, because it sticks.
    let tried = Builder::new().spawn(move || run_on(core).is_ok());
    tried.is_ok_and(|thread| thread.join().unwrap_or(false))
}

/// From now on the calling thread runs on `core` alone.
fn run_on(core: u16) -> rustix::io::Result<()> {
    let mut set = CpuSet::new();
    if usize::from(core) >= CpuSet::MAX_CPU {
        return Err(rustix::io::Errno::INVAL);
    }
    set.set(usize::from(core));
    sched_setaffinity(None, &set)
}

struct Tell(Ended);

impl Drop for Tell {
    fn drop(&mut self) {
        // Kept until somebody waits.
        self.0.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panic_of_a_thread_is_told() {
        let ended = Ended::default();
        #[allow(clippy::panic, reason = "the test's point")]
        let thread = spawn("test", &ended, || panic!("on purpose")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(ended.notified());
        assert!(thread.join().is_err());
    }

    /// The cores on which the calling thread may run, as the kernel says it.
    fn allowed() -> String {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim().to_owned()
    }

    #[test]
    fn thread_runs_on_the_core_that_it_is_given_and_on_any_when_that_is_not_there() {
        let usable: Vec<u16> = (0..64).filter(|&core| is_usable(core)).collect();
        let before = allowed();
        for core in usable.iter().copied().take(2) {
            let (tell, told) = std::sync::mpsc::channel();
            let thread = spawn_on(Some(core), "test", &Ended::default(), move || tell.send(allowed()).unwrap());
            thread.unwrap().join().unwrap();
            assert_eq!(told.recv().unwrap(), core.to_string());
        }
        let none = 1023;
        assert!(!usable.is_empty() && !is_usable(none) && !is_usable(u16::MAX));
        let (tell, told) = std::sync::mpsc::channel();
        spawn_on(Some(none), "test", &Ended::default(), move || tell.send(allowed()).unwrap()).unwrap().join().unwrap();
        assert_eq!((told.recv().unwrap(), allowed()), (before.clone(), before));
    }
}
