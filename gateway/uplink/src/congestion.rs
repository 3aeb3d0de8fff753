//! How fast may be sent: by what arrives, not by what is lost (docs/decisions/0007).
//!
//! quinn's BBR finds the rate of a lossy line in a few round trips. But it takes the rate from the time between two
//! acknowledgements, and believes the highest: when acknowledgements come close together it sends far more than the line
//! carries, and whoever shares the line loses as much. Here its window is held to what has really arrived.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::congestion::{BbrConfig, Controller, ControllerFactory, CubicConfig};
use quinn_proto::RttEstimator;

use crate::limits::{ACK_DELAY_MAX, ARRIVED_EVERY, ARRIVED_KEPT, CONGESTION_WINDOW_MIN};

/// What decides how fast may be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Congestion {
    /// By the measured rate and round trip: loss alone does not slow it. Held to what arrives.
    #[default]
    Bbr,
    /// By loss.
    Cubic,
}

impl Congestion {
    /// What makes a controller for each path.
    pub(crate) fn factory(self) -> Arc<dyn ControllerFactory + Send + Sync> {
        match self {
            Self::Bbr => Arc::new(HeldFactory),
            Self::Cubic => Arc::new(CubicConfig::default()),
        }
    }
}

struct HeldFactory;

impl ControllerFactory for HeldFactory {
    fn build(self: Arc<Self>, now: Instant, mtu: u16) -> Box<dyn Controller> {
        let inner = Arc::new(BbrConfig::default()).build(now, mtu);
        Box::new(Held { inner, arrived: Arrived::new(now), window_max: CONGESTION_WINDOW_MIN })
    }
}

/// A controller whose window is held to what has arrived.
struct Held {
    inner: Box<dyn Controller>,
    arrived: Arrived,
    window_max: u64,
}

impl Controller for Held {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.inner.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.inner.on_ack(now, sent, bytes, app_limited, rtt);
        if let Some(rate) = self.arrived.take(now, bytes, rtt.min()) {
            self.window_max = window_max(rate, rtt.min());
        }
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest: Option<u64>) {
        self.inner.on_end_acks(now, in_flight, app_limited, largest);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent: bool, lost_bytes: u64) {
        self.inner.on_congestion_event(now, sent, is_persistent, lost_bytes);
    }

    fn on_mtu_update(&mut self, mtu: u16) {
        self.inner.on_mtu_update(mtu);
    }

    fn window(&self) -> u64 {
        self.inner.window().min(self.window_max)
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self { inner: self.inner.clone_box(), ..*self })
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// What may be under way at `rate`, bytes a second: twice what a round trip carries, as BBR means it, and what arrives while
/// an acknowledgement is held back.
fn window_max(rate: u64, round_trip: Duration) -> u64 {
    let time = round_trip.saturating_mul(2) + ACK_DELAY_MAX;
    let bytes = u128::from(rate) * time.as_micros() / 1_000_000;
    u64::try_from(bytes).unwrap_or(u64::MAX).max(CONGESTION_WINDOW_MIN)
}

/// The rate at which bytes arrive: the highest of the last spans of time, each long enough that the grouping of
/// acknowledgements does not show in it.
#[derive(Clone, Copy, Debug)]
struct Arrived {
    since: Instant,
    bytes: u64,
    rates: [u64; ARRIVED_KEPT],
    next: usize,
}

impl Arrived {
    const fn new(now: Instant) -> Self {
        Self { since: now, bytes: 0, rates: [0; ARRIVED_KEPT], next: 0 }
    }

    /// `bytes` have arrived; gives the rate when a span has ended.
    fn take(&mut self, now: Instant, bytes: u64, round_trip: Duration) -> Option<u64> {
        self.bytes += bytes;
        let span = now.saturating_duration_since(self.since);
        if span < ARRIVED_EVERY.max(round_trip) {
            return None;
        }
        let rate = u128::from(self.bytes) * 1_000_000 / span.as_micros().max(1);
        self.rates[self.next] = u64::try_from(rate).unwrap_or(u64::MAX);
        self.next = (self.next + 1) % ARRIVED_KEPT;
        (self.since, self.bytes) = (now, 0);
        self.rates.iter().max().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(50);

    #[test]
    fn grouped_acknowledgements_do_not_raise_the_rate() {
        let start = Instant::now();
        let mut arrived = Arrived::new(start);
        let mut rates = Vec::new();
        // 1,250 bytes a millisecond, and all the acknowledgements of 20 ms within one microsecond.
        for group in 1..=100 {
            for place in 0..20 {
                let now = start + Duration::from_millis(20 * group) + Duration::from_nanos(50 * place);
                rates.extend(arrived.take(now, 1250, ROUND_TRIP));
            }
        }
        assert!(rates.len() > 20);
        assert!(rates.iter().all(|&rate| (800_000..=1_700_000).contains(&rate)), "{rates:?}");
    }

    #[test]
    fn slower_line_is_believed_after_a_while_and_the_window_never_closes() {
        let start = Instant::now();
        let mut arrived = Arrived::new(start);
        let mut last = 0;
        for (from, bytes) in [(0, 1250), (5000, 125), (10_000, 0)] {
            for at in 1..=5000 {
                let rate = arrived.take(start + Duration::from_millis(from + at), bytes, ROUND_TRIP);
                last = rate.unwrap_or(last);
            }
            assert!((bytes * 1000).abs_diff(last) <= 50_000, "{bytes}: {last}");
        }
        assert_eq!(window_max(last, ROUND_TRIP), CONGESTION_WINDOW_MIN);
        assert_eq!(window_max(1_250_000, ROUND_TRIP), 156_250);
    }
}
