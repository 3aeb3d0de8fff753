//! How much may be on its way, by what the line carries.

use quinn::Connection;

use crate::limits::{
    BATCH_EVENTS_BYTES, BATCH_EVENTS_BYTES_MIN, LIVE_SAVED_BYTES, LIVE_SAVED_MAX, LIVE_SHARE, WINDOW_BYTES,
};
use std::time::Duration;

/// Sizes for the record stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Bytes of events in a batch.
    pub(crate) batch: usize,
    /// Bytes of events on their way.
    pub(crate) window: usize,
}

/// The sizes for the line as it is now.
pub(crate) fn pace(connection: &Connection) -> Pace {
    pace_at(bytes_a_second(connection))
}

/// What a second carries: a batch is a quarter of that and the window two, within bounds. So an acknowledgement is never far,
/// whatever the line, and a fast one never waits for it.
fn pace_at(bytes_a_second: u64) -> Pace {
    let second = usize::try_from(bytes_a_second).unwrap_or(usize::MAX);
    let batch = (second / 4).clamp(BATCH_EVENTS_BYTES_MIN, BATCH_EVENTS_BYTES);
    Pace { batch, window: second.saturating_mul(2).clamp(batch * 2, WINDOW_BYTES) }
}

/// What congestion control lets through in a second, at most.
pub(crate) fn bytes_a_second(connection: &Connection) -> u64 {
    let path = connection.stats().path;
    let round_trip = path.rtt.max(Duration::from_micros(100)).as_micros();
    u64::try_from(u128::from(path.cwnd) * 1_000_000 / round_trip).unwrap_or(u64::MAX)
}

/// What the live lane may send: its share of the line's rate, and a little saved up.
#[derive(Debug)]
pub(crate) struct Allowance {
    saved: u64,
    at: Duration,
}

impl Allowance {
    /// As much as may be saved up at any rate.
    pub(crate) const fn new(now: Duration) -> Self {
        Self { saved: LIVE_SAVED_BYTES, at: now }
    }

    /// Takes `bytes` of it, or nothing when it does not suffice.
    pub(crate) fn take(&mut self, now: Duration, bytes_a_second: u64, bytes: usize) -> bool {
        let share = u128::from(bytes_a_second / LIVE_SHARE);
        let during = |time: Duration| u64::try_from(share * time.as_micros() / 1_000_000).unwrap_or(u64::MAX);
        let most = during(LIVE_SAVED_MAX).max(LIVE_SAVED_BYTES);
        let gained = during(now.saturating_sub(self.at));
        if gained > 0 {
            self.at = now;
        }
        self.saved = self.saved.saturating_add(gained).min(most);
        let rest = self.saved.checked_sub(bytes as u64);
        self.saved = rest.unwrap_or(self.saved);
        rest.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_the_line_within_bounds() {
        for (rate, batch, window) in [
            (0, BATCH_EVENTS_BYTES_MIN, BATCH_EVENTS_BYTES_MIN * 2),
            (200_000, 50_000, 400_000),
            (u64::MAX, BATCH_EVENTS_BYTES, WINDOW_BYTES),
        ] {
            assert_eq!(pace_at(rate), Pace { batch, window }, "{rate}");
        }
    }

    #[test]
    fn live_lane_takes_its_share_and_no_more() {
        let mut allowance = Allowance::new(Duration::ZERO);
        let mut taken = 0;
        for millisecond in 0..10_000 {
            while allowance.take(Duration::from_millis(millisecond), 1_000_000, 1000) {
                taken += 1000;
            }
        }
        let share = 10 * 1_000_000 / LIVE_SHARE;
        assert!(taken <= share + LIVE_SAVED_BYTES && taken >= share - 2000, "{taken}");
    }

    #[test]
    fn what_is_saved_up_is_bounded() {
        let mut allowance = Allowance::new(Duration::ZERO);
        assert!(!allowance.take(Duration::from_secs(1_000_000), 1000, usize::try_from(LIVE_SAVED_BYTES).unwrap() + 1));
        assert!(allowance.take(Duration::from_secs(1_000_000), 1000, usize::try_from(LIVE_SAVED_BYTES).unwrap()));
    }
}
