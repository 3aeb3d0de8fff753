//! What one direction of a network is like.

use std::time::Duration;

use crate::limits::{MILLION, RELAY_HELD, RELAY_QUEUE_BYTES};

/// One direction. Shares are millionths of the datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Bits a second, the 28 bytes of IP and UDP included; `None` for no limit, and then no queue.
    pub rate: Option<u64>,
    /// Bytes that wait for the line at most; what comes then is dropped.
    pub queue: u64,
    /// One way. Half of the round trip.
    pub delay: Duration,
    /// Up to so much later, at random. Order is kept.
    pub jitter: Duration,
    /// Dropped at random.
    pub loss_millionths: u32,
    /// Handed on twice.
    pub duplicate_millionths: u32,
    /// Held back, so that what comes later overtakes it.
    pub reorder_millionths: u32,
    /// How long what is held back, or a second copy, waits at most beside the delay.
    pub held: Duration,
    /// Cuts by the clock.
    pub cuts: Option<Cuts>,
}

/// Cuts by the clock, counted from when they were ordered: whole for a time, then cut for a time, and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cuts {
    /// How long it is whole.
    pub whole: Duration,
    /// How long it is cut.
    pub cut: Duration,
}

impl Line {
    /// Nothing is lost, nothing takes time.
    pub const PERFECT: Self = Self {
        rate: None,
        queue: RELAY_QUEUE_BYTES,
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        loss_millionths: 0,
        duplicate_millionths: 0,
        reorder_millionths: 0,
        held: RELAY_HELD,
        cuts: None,
    };
    /// A school's bad line: 10 Mbit/s, 50 ms there and back, 1 % lost, a queue of 100 ms.
    pub const POOR: Self = Self {
        rate: Some(10_000_000),
        queue: 125_000,
        delay: Duration::from_millis(25),
        loss_millionths: 10_000,
        ..Self::PERFECT
    };
    /// A line on which nothing is as it should be: 2 Mbit/s, 60 to 100 ms there and back, one datagram in ten lost, one in
    /// twenty twice, one in ten late.
    pub const AWFUL: Self = Self {
        rate: Some(2_000_000),
        queue: 50_000,
        delay: Duration::from_millis(30),
        jitter: Duration::from_millis(20),
        loss_millionths: MILLION / 10,
        duplicate_millionths: MILLION / 20,
        reorder_millionths: MILLION / 10,
        ..Self::PERFECT
    };

    /// How long `bytes` take on the line.
    pub(super) fn time(&self, bytes: u64) -> Duration {
        let Some(rate) = self.rate else { return Duration::ZERO };
        let nanos = u128::from(bytes) * 8 * 1_000_000_000 / u128::from(rate.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl Cuts {
    /// Whether it is cut `since` so long.
    pub(super) fn is_cut(&self, since: Duration) -> bool {
        let round = (self.whole + self.cut).as_nanos();
        round > 0 && since.as_nanos() % round >= self.whole.as_nanos()
    }
}
