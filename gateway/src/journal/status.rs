//! How the journal fares, for people and for machines that watch.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kalitka_outbox::Usage;
use kalitka_protocol::EpochId;
use serde::{Deserialize, Serialize};

use crate::metrics::Histogram;

/// How matters stand with what is to be kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JournalStatus {
    /// Whether events are being made durable; while not, decisions go on and reports get no receipt.
    pub(crate) taking: bool,
    /// What is wrong, and what to do, while they are not.
    #[serde(default)]
    pub(crate) trouble: Option<String>,
    /// The present epoch, in hex; empty until the outbox is open.
    pub(crate) epoch: String,
    /// The newest durable event's number in it.
    pub(crate) number: u64,
    /// Events held that the hub has not acknowledged, of all epochs.
    pub(crate) unacknowledged: u64,
    /// Since when the oldest of them waits, in seconds since 1970; 0 for none.
    pub(crate) oldest_unacknowledged: i64,
    /// Events held in all.
    pub(crate) events: u64,
    /// Bytes of the outbox's files.
    pub(crate) disk_bytes: u64,
    /// Whether the plain log stands in for the store: restart the gateway when convenient.
    pub(crate) on_refuge: bool,
    /// How much of the outbox's bound is taken by events that the hub does not have, in percent.
    pub(crate) bound_percent: u8,
    /// Whether the bound is reached and nothing gives way.
    pub(crate) at_bound: bool,
    /// How full the disk is, in percent.
    pub(crate) disk_percent: u8,
    /// Whether the reserve is on the disk.
    pub(crate) reserve: bool,
    /// Reopenings of the store since the start.
    pub(crate) reopens: u32,
    /// Damaged stores that are kept for a look at them.
    #[serde(default)]
    pub(crate) quarantined: u64,
    /// Bytes of those.
    #[serde(default)]
    pub(crate) quarantine_bytes: u64,
    /// Whether the blocks and modes in force could not be read at the start and have not been ordered anew.
    pub(crate) safety_damaged: bool,
}

impl JournalStatus {
    pub(super) fn show_usage(&mut self, usage: &Usage) {
        self.events = usage.events;
        self.disk_bytes = usage.disk_bytes;
        self.on_refuge = usage.on_refuge;
        self.reopens = usage.reopens;
        self.quarantined = usage.quarantined;
        self.quarantine_bytes = usage.quarantine_bytes;
        self.bound_percent = usage.bound_percent;
        self.at_bound = usage.is_crowded;
        self.disk_percent = usage.disk_percent;
        self.reserve = usage.has_reserve;
    }
}

/// What the journal measures; one writer, read for metrics while the journal itself may be waiting for the disk.
#[derive(Debug)]
pub(crate) struct JournalTally {
    /// From a commit's beginning until it is durable.
    pub(crate) commit: Histogram,
    /// From handing a block to the store until its disk has confirmed it.
    pub(crate) sync: Histogram,
    /// The present epoch; 0 until the outbox is open.
    epoch: AtomicU64,
    /// Since when the present turn goes on, in milliseconds of monotonic time and one more; 0 while it rests.
    turn: AtomicU64,
    /// When the newest commit was durable, in milliseconds of monotonic time.
    committed: AtomicU64,
}

impl JournalTally {
    pub(crate) const fn new() -> Self {
        let [epoch, turn, committed] = [const { AtomicU64::new(0) }; 3];
        Self { commit: Histogram::new(), sync: Histogram::new(), epoch, turn, committed }
    }

    pub(super) fn begin_turn(&self, now: Duration) {
        self.turn.store(millis(now) + 1, Ordering::Relaxed);
    }

    pub(super) fn end_turn(&self) {
        self.turn.store(0, Ordering::Relaxed);
    }

    pub(super) fn committed(&self, now: Duration) {
        self.committed.store(millis(now), Ordering::Relaxed);
    }

    pub(super) fn set_epoch(&self, epoch: EpochId) {
        self.epoch.store(epoch.0, Ordering::Relaxed);
    }

    /// The present epoch, once the outbox is open.
    pub(crate) fn epoch(&self) -> Option<EpochId> {
        Some(EpochId(self.epoch.load(Ordering::Relaxed))).filter(|epoch| epoch.0 != 0)
    }

    /// How long the present turn has taken: a disk that hangs makes it long.
    pub(crate) fn busy_for(&self, now: Duration) -> Duration {
        match self.turn.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => now.saturating_sub(Duration::from_millis(since - 1)),
        }
    }

    /// How long ago the newest commit was durable; since the start while there was none.
    pub(crate) fn since_commit(&self, now: Duration) -> Duration {
        now.saturating_sub(Duration::from_millis(self.committed.load(Ordering::Relaxed)))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turn_that_goes_on_is_seen_and_one_that_has_ended_is_not() {
        let at = Duration::from_millis;
        let tally = JournalTally::new();
        assert_eq!((tally.busy_for(at(5)), tally.since_commit(at(5))), (at(0), at(5)));
        tally.begin_turn(at(0));
        assert_eq!(tally.busy_for(at(7)), at(7));
        tally.committed(at(8));
        tally.end_turn();
        assert_eq!((tally.busy_for(at(9)), tally.since_commit(at(9))), (at(0), at(1)));
    }
}
