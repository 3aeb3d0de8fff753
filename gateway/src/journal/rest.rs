//! How the journal rests, and who may wake it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering, fence};
use std::thread::{self, Thread};
use std::time::Duration;

const AWAKE: u8 = 0;
/// Resting for a moment so that more comes together. Workers let it.
const NAPPING: u8 = 1;
/// Resting until somebody has something.
const ASLEEP: u8 = 2;

/// The journal's rest. What is handed in before a wake is seen after it: nothing waits for the next one.
#[derive(Debug, Default)]
pub(super) struct Rest {
    state: AtomicU8,
    sleeper: OnceLock<Thread>,
}

impl Rest {
    /// Rests the calling thread, always the same one, until it is woken or `patience` is over; does not when there `is_work`
    /// already.
    fn rest(&self, how: u8, patience: Duration, is_work: impl FnOnce() -> bool) {
        self.sleeper.get_or_init(thread::current);
        self.state.store(how, Ordering::SeqCst);
        // Whoever hands in looks at the state behind its own fence: one of the two sees what the other wrote.
        fence(Ordering::SeqCst);
        if !is_work() {
            thread::park_timeout(patience);
        }
        self.state.store(AWAKE, Ordering::SeqCst);
    }

    /// Rests for `patience`, so that more comes together; only [`wake_from_nap`](Self::wake_from_nap) ends it.
    pub(super) fn nap(&self, patience: Duration, is_work: impl FnOnce() -> bool) {
        self.rest(NAPPING, patience, is_work);
    }

    /// Rests until somebody wakes, but not longer than `patience`.
    pub(super) fn sleep(&self, patience: Duration, is_work: impl FnOnce() -> bool) {
        self.rest(ASLEEP, patience, is_work);
    }

    /// Ends a sleep and lets a nap be: one fence and one look when there is none.
    pub(super) fn wake_from_sleep(&self) {
        self.wake(ASLEEP);
    }

    /// Ends a nap or a sleep.
    pub(super) fn wake_from_nap(&self) {
        self.wake(NAPPING);
    }

    fn wake(&self, least: u8) {
        fence(Ordering::SeqCst);
        // The first one to find it so wakes, and the others need not.
        if self.state.load(Ordering::SeqCst) >= least
            && self.state.swap(AWAKE, Ordering::SeqCst) != AWAKE
            && let Some(sleeper) = self.sleeper.get()
        {
            sleeper.unpark();
        }
    }
}

#[cfg(test)]
#[path = "rest_tests.rs"]
mod tests;
