//! What one worker counts: plain numbers with one writer, read by the collector once a second.

use std::time::Duration;

pub(crate) use kalitka_core::Count;
use kalitka_core::{DecisionTally, DropReason, Histogram};

use crate::udp::Sent;

/// The counters of one worker, on cache lines of its own (pairs of them: the prefetcher takes two at a time).
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Tally {
    /// When the worker last showed that it lives: milliseconds of monotonic time.
    pub(crate) heartbeat_ms: Count,
    pub(crate) received: Count,
    pub(crate) sent: Count,
    pub(crate) send_failures: Count,
    pub(crate) receive_failures: Count,
    pub(crate) handed_over: Count,
    pub(crate) hand_over_lost: Count,
    pub(crate) initiations: Count,
    pub(crate) sessions_opened: Count,
    pub(crate) stamps_lost: Count,
    pub(crate) asks_repeated: Count,
    pub(crate) reports: Count,
    pub(crate) commands_done: Count,
    pub(crate) commands_done_again: Count,
    pub(crate) messages_skipped: Count,
    pub(crate) messages_no_room: Count,
    dropped: [Count; DropReason::ALL.len()],
    pub(crate) decisions: DecisionTally,
    /// From a datagram's receipt to its reply's sending, for datagrams that ask.
    pub(crate) service: Histogram,
}

impl Tally {
    pub(crate) const fn new() -> Self {
        Self {
            heartbeat_ms: Count::new(),
            received: Count::new(),
            sent: Count::new(),
            send_failures: Count::new(),
            receive_failures: Count::new(),
            handed_over: Count::new(),
            hand_over_lost: Count::new(),
            initiations: Count::new(),
            sessions_opened: Count::new(),
            stamps_lost: Count::new(),
            asks_repeated: Count::new(),
            reports: Count::new(),
            commands_done: Count::new(),
            commands_done_again: Count::new(),
            messages_skipped: Count::new(),
            messages_no_room: Count::new(),
            dropped: [const { Count::new() }; DropReason::ALL.len()],
            decisions: DecisionTally::new(),
            service: Histogram::new(),
        }
    }

    pub(crate) const fn dropped(&self, reason: DropReason) -> &Count {
        &self.dropped[reason as usize]
    }

    /// Counts what became of datagrams to be sent.
    pub(crate) fn sent(&self, Sent { sent, failed }: Sent) {
        self.sent.add(sent);
        self.send_failures.add(failed);
    }

    /// Shows at `now` that the worker lives.
    pub(crate) fn beat(&self, now: Duration) {
        self.heartbeat_ms.set(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
    }

    /// How long the worker has not shown that it lives.
    pub(crate) fn silent_for(&self, now: Duration) -> Duration {
        now.saturating_sub(Duration::from_millis(self.heartbeat_ms.get()))
    }
}
