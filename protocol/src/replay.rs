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
    highest: Option<u64>,
    /// Bit `c % REPLAY_WINDOW` tells of counter `c`, for the `REPLAY_WINDOW` counters up to the highest.
    seen: [u64; WORDS],
}

impl ReplayWindow {
    /// Whether `counter` may be taken.
    ///
    /// # Errors
    /// [`Replayed`] with the reason when not.
    pub const fn check(&self, counter: u64) -> Result<(), Replayed> {
        let Some(highest) = self.highest else { return Ok(()) };
        if counter > highest {
            return Ok(());
        }
        if highest - counter >= REPLAY_WINDOW {
            return Err(Replayed::TooOld);
        }
        let (word, bit) = Self::place(counter);
        if self.seen[word] & bit == 0 { Ok(()) } else { Err(Replayed::Seen) }
    }

    /// Remembers an authentic `counter` that [`check`](Self::check) has let through.
    pub fn mark(&mut self, counter: u64) {
        if let Some(highest) = self.highest {
            // Counters that enter the window unseen; more than a window of them would only clear the same bits again.
            let skipped = highest.saturating_add(1).max(counter.saturating_sub(REPLAY_WINDOW - 1))..counter;
            for (word, bit) in skipped.map(Self::place) {
                self.seen[word] &= !bit;
            }
        }
        let (word, bit) = Self::place(counter);
        self.seen[word] |= bit;
        self.highest = self.highest.max(Some(counter));
    }

    /// The highest counter seen, if any.
    #[must_use]
    pub const fn highest(&self) -> Option<u64> {
        self.highest
    }

    const fn place(counter: u64) -> (usize, u64) {
        (((counter / 64) % WORDS as u64) as usize, 1 << (counter % 64))
    }
}
