//! The process's threads: none ends unnoticed.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

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
    let tell = Tell(Arc::clone(ended));
    let spawned = Builder::new().name(name.into()).spawn(move || {
        let _tell = tell;
        body();
    });
    spawned.map_err(|error| Failure::Environment(format!("cannot start the thread {name}: {error}")))
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
}
