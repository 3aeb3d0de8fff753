//! Which counters have been seen: a window of [`REPLAY_WINDOW`] behind the highest (SPEC 5.4, after RFC 6479).

use crate::limits::REPLAY_WINDOW;

const WORDS: usize = (REPLAY_WINDOW / 64) as usize;

/// Why a counter is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// It has been seen.
    Seen,
    /// It lies behind the window, so whether it has been seen is not known.
    TooOld,
}

/// The window. Look with [`check`](Self::check) before opening a datagram, [`mark`](Self::mark) once it has opened, so
/// that a forged counter moves nothing.
#[derive(Clone, Debug, Default)]
pub struct ReplayWindow {
    /// One more than the highest counter seen; 0 when none has been.
    next: u64,
    /// Bit `c % REPLAY_WINDOW` tells of counter `c`, for the `REPLAY_WINDOW` counters below `next`.
    seen: [u64; WORDS],
}

impl ReplayWindow {
    /// Whether `counter` may be taken.
    ///
    /// # Errors
    /// [`Replayed`] with the reason when not.
    pub const fn check(&self, counter: u64) -> Result<(), Replayed> {
        if counter >= self.next {
            return Ok(());
        }
        if self.next - counter > REPLAY_WINDOW {
            return Err(Replayed::TooOld);
        }
        let (word, bit) = Self::place(counter);
        if self.seen[word] & bit == 0 { Ok(()) } else { Err(Replayed::Seen) }
    }

    /// Remembers an authentic `counter` that [`check`](Self::check) has let through.
    pub fn mark(&mut self, counter: u64) {
        if counter >= self.next {
            let fresh = (counter - self.next).min(REPLAY_WINDOW - 1);
            for skipped in counter - fresh..counter {
                let (word, bit) = Self::place(skipped);
                self.seen[word] &= !bit;
            }
            self.next = counter.saturating_add(1);
        }
        let (word, bit) = Self::place(counter);
        self.seen[word] |= bit;
    }

    /// The highest counter seen, if any.
    #[must_use]
    pub const fn highest(&self) -> Option<u64> {
        self.next.checked_sub(1)
    }

    const fn place(counter: u64) -> (usize, u64) {
        (((counter / 64) % WORDS as u64) as usize, 1 << (counter % 64))
    }
}
