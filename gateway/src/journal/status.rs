//! How the journal fares, for people and for machines that watch.

use kalitka_outbox::Usage;
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
    }
}

/// What the journal measures at each commit; one writer, read for metrics.
#[derive(Debug)]
pub(crate) struct JournalTally {
    /// From a commit's beginning until it is durable.
    pub(crate) commit: Histogram,
}

impl JournalTally {
    pub(crate) const fn new() -> Self {
        Self { commit: Histogram::new() }
    }
}
