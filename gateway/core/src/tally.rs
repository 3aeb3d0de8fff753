//! What a worker counts and measures: plain numbers with one writer, read by whoever shows them.

mod decisions;
mod histogram;

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use kalitka_protocol::message::Ping;

use crate::pulse::Pulse;

pub use decisions::{Counted, DecisionTally, Outcomes};
pub use histogram::Histogram;

/// A number that one thread raises and others read.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// 0.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Raises it. Two plain instructions instead of a locked one, because nobody else writes.
    pub fn add(&self, more: u64) {
        self.set(self.get().wrapping_add(more));
    }

    /// Makes it `value`.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// What it is.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The numbers of one reader, written by the worker that owns it. They fill a cache line of their own, so that a datagram touches
/// one line for them.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct ReaderTally {
    /// Asks that were decided.
    pub asks: Count,
    /// Asks that came again: the reader had no answer when it sent them.
    pub repeats: Count,
    /// When the newest authentic datagram came: milliseconds of monotonic time, and one more; 0 for never.
    heard: Count,
    /// 1 while a session is in use.
    session: Count,
    /// What the newest ping told: reports without a receipt, and above them whether the reader is in fall-back.
    pinged: Count,
    /// How long a second of the reader's takes, in microseconds; 0 until it was measured.
    second_us: Count,
}

/// The bit of [`ReaderTally::pinged`] above the 16 of reports that wait.
const FALLING_BACK: u64 = 1 << 16;

impl ReaderTally {
    /// An authentic datagram of the reader has come at `now`, by the monotonic clock.
    pub fn hear(&self, now: Duration) {
        self.heard.set(u64::try_from(now.as_millis()).unwrap_or(u64::MAX).saturating_add(1));
    }

    /// It has asked about a card that was decided: who asks is not in fall-back (SPEC 11.3), whatever the newest ping said.
    pub fn asked(&self) {
        self.asks.add(1);
        if self.is_falling_back() {
            self.pinged.set(self.reports_waiting().into());
        }
    }

    /// What a ping of it has told.
    pub fn ping(&self, ping: &Ping) {
        let falling_back = if ping.falling_back { FALLING_BACK } else { 0 };
        self.pinged.set(u64::from(ping.reports_waiting) | falling_back);
    }

    pub(crate) fn set_session(&self, is_used: bool) {
        self.session.set(is_used.into());
    }

    pub(crate) fn measured(&self, second: Duration) {
        self.second_us.set(u64::try_from(second.as_micros()).unwrap_or(u64::MAX));
    }

    /// When the reader was heard last, by the monotonic clock.
    #[must_use]
    pub fn heard(&self) -> Option<Duration> {
        self.heard.get().checked_sub(1).map(Duration::from_millis)
    }

    /// Whether it has a session that it has used.
    #[must_use]
    pub fn has_session(&self) -> bool {
        self.session.get() != 0
    }

    /// Reports that wait at the reader, by its newest ping.
    #[must_use]
    pub fn reports_waiting(&self) -> u16 {
        u16::try_from(self.pinged.get() & (FALLING_BACK - 1)).unwrap_or(u16::MAX)
    }

    /// Whether the reader is in fall-back, by its newest ping.
    #[must_use]
    pub fn is_falling_back(&self) -> bool {
        self.pinged.get() & FALLING_BACK != 0
    }

    /// By which part of itself a second of the reader's is longer than one of the gateway's, in millionths; shorter when it is
    /// negative. `None` until it was measured.
    #[must_use]
    pub fn drift_ppm(&self) -> Option<i32> {
        let second = i64::try_from(self.second_us.get()).ok().filter(|second| *second > 0)?;
        i32::try_from(second - Pulse::SECOND_US).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_fills_one_cache_line() {
        assert_eq!((size_of::<ReaderTally>(), align_of::<ReaderTally>()), (64, 64));
    }

    #[test]
    fn what_a_ping_tells_is_read_back() {
        let tally = ReaderTally::default();
        for (reports_waiting, falling_back) in [(0, false), (0, true), (u16::MAX, false), (u16::MAX, true), (7, false)]
        {
            tally.ping(&Ping { token: u32::MAX, reports_waiting, falling_back });
            assert_eq!((tally.reports_waiting(), tally.is_falling_back()), (reports_waiting, falling_back));
        }
    }

    #[test]
    fn reader_heard_in_the_first_millisecond_is_not_one_never_heard() {
        let tally = ReaderTally::default();
        assert_eq!((tally.heard(), tally.drift_ppm(), tally.has_session()), (None, None, false));
        tally.hear(Duration::ZERO);
        assert_eq!(tally.heard(), Some(Duration::ZERO));
        tally.measured(Duration::from_millis(990));
        assert_eq!(tally.drift_ppm(), Some(-10_000));
    }
}
