//! Waiting for what is to come, by looking; the one place that pauses between two looks.

use std::thread;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(5);

/// Looks until `look` sees something, and fails after `bound`, naming `what` was awaited.
///
/// # Panics
/// When the bound has passed.
pub fn until<T>(what: &str, bound: Duration, look: impl FnMut() -> Option<T>) -> T {
    until_or(bound, look).unwrap_or_else(|| panic!("waited {bound:?} in vain for: {what}"))
}

/// Looks until `look` sees something; `None` after `bound`.
pub fn until_or<T>(bound: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let since = Instant::now();
    loop {
        let seen = look();
        if seen.is_some() || since.elapsed() >= bound {
            return seen;
        }
        thread::sleep(PAUSE);
    }
}
