//! Waiting for what is to come, by looking; the one place that pauses between two looks.

use std::thread;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(5);

/// Looks until `look` sees something, and fails after `bound`, naming `what` was awaited.
///
/// # Panics
/// When the bound has passed.
pub fn until<T>(what: &str, bound: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(since.elapsed() < bound, "waited {bound:?} in vain for: {what}");
        thread::sleep(PAUSE);
    }
}
