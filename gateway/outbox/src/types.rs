//! What goes in and out of the outbox.

use std::path::Path;

use kalitka_protocol::EpochId;
use kalitka_protocol::event::{Loss, LossClosed};

/// The newest durable event, or the beginning of an epoch that has none: number 0 and a zero hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its epoch.
    pub epoch: EpochId,
    /// Its number, from 1.
    pub number: u64,
    /// h of it (SPEC 14.3).
    pub hash: [u8; 32],
}

/// How much the outbox keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Events held, acknowledged or not; beyond it [`Outbox::give_way`](crate::Outbox::give_way) makes room.
    pub events_max: u64,
    /// Bytes of blocks held; likewise.
    pub bytes_max: u64,
    /// Acknowledged events that stay for a hub that has lost them; more are removed, oldest first.
    pub keep_acknowledged: u64,
}

/// What an outbox is opened with.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// The outbox's own folder; made when it is not there.
    pub folder: &'a Path,
    /// Whose events these are.
    pub building: u32,
    /// The machine's id: a store made on another machine is not gone on with.
    pub machine: [u8; 16],
    /// The id of the new epoch, should one begin: random, not 0.
    pub fresh_epoch: EpochId,
    /// The newest checkpoint's place: a store that does not reach it has lost something.
    pub known: Option<Head>,
    /// Epochs that the newest checkpoint knows to be held and not wholly acknowledged: of one that the store has never heard
    /// of, all that the hub does not have is lost.
    pub earlier: &'a [EpochId],
    /// How much to keep.
    pub limits: Bounds,
}

/// Whether an outbox goes on where it was left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// The store was found exactly as it was left; the next event follows [`Outbox::head`](crate::Outbox::head).
    AsLeft,
    /// A new epoch has begun and has no event yet. The caller appends, in one call, an *epoch begun* (SPEC 14.7) of
    /// `before` as number 1 and behind it every loss as it stands here. Until that is durable the epoch is told as new again at
    /// each opening.
    NewEpoch {
        /// The highest known event of the epoch before; `None` in a blank store.
        before: Option<Head>,
        /// What was lost, with what may lie beyond the end: `last` is then `u64::MAX` (SPEC 14.8).
        losses: Vec<Loss>,
        /// Why.
        why: NewEpochWhy,
    },
}

/// Why a new epoch began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewEpochWhy {
    /// There was no store and none is known of.
    Blank,
    /// There was no store, but a checkpoint knows of one.
    Missing,
    /// The store ends before the newest checkpoint, or holds other events than that has seen.
    Older,
    /// It was damaged, and what was whole in it has been salvaged.
    Damaged,
    /// It was made on another machine.
    OtherMachine,
    /// The hub holds more of the present epoch than this store (SPEC 15.5).
    HubAhead,
    /// The hub holds other events of the present epoch (SPEC 15.5, 15.13).
    HubOther,
}

impl NewEpochWhy {
    /// The metric's label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Blank => "blank",
            Self::Missing => "missing",
            Self::Older => "older",
            Self::Damaged => "damaged",
            Self::OtherMachine => "other_machine",
            Self::HubAhead => "hub_ahead",
            Self::HubOther => "hub_other",
        }
    }
}

/// Whole events of one epoch, with numbers one after the other: what a batch takes (SPEC 15.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Their epoch.
    pub epoch: EpochId,
    /// The first one's number.
    pub first: u64,
    /// h of the event before the first.
    pub hash_before: [u8; 32],
    /// Their bytes, one behind the other.
    pub events: Vec<u8>,
    /// How many they are, 1 and up.
    pub count: u32,
    /// h of the last.
    pub hash: [u8; 32],
}

/// What is held of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochSummary {
    /// The epoch.
    pub epoch: EpochId,
    /// The oldest event held; one above `last` when none is.
    pub oldest: u64,
    /// The highest number known; 0 for none.
    pub last: u64,
    /// h of that.
    pub hash: [u8; 32],
    /// The hub has said that it keeps all up to this one.
    pub acknowledged: u64,
    /// Where a loss of unknown end begins that the hub's position has not closed yet (SPEC 14.9).
    pub loss_open: Option<u64>,
}

/// What to send of one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leg {
    /// The epoch.
    pub epoch: EpochId,
    /// From this number on.
    pub next: u64,
}

/// What follows from a hub's position (SPEC 15.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// What to send, earlier epochs first, the present one last.
    pub legs: Vec<Leg>,
    /// The present epoch cannot go on: [`Outbox::begin_epoch`](crate::Outbox::begin_epoch) with this comes first.
    pub begin_epoch: Option<NewEpochWhy>,
    /// Losses of unknown end whose end is now known; to be appended, after a new epoch's beginning.
    pub closes: Vec<LossClosed>,
    /// What the hub misses and this store no longer has; to be appended likewise.
    pub lost: Vec<Loss>,
}

/// What the outbox takes up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// How much of the bound is taken by events that the hub does not have, in percent; the dearer of events and bytes.
    pub bound_percent: u8,
    /// Whether the bound is reached and nothing gives way: decisions are not taken, and reports wait at their readers.
    pub is_crowded: bool,
    /// How full the disk is, in percent of what a user may take.
    pub disk_percent: u8,
    /// Whether the reserve is on the disk.
    pub has_reserve: bool,
    /// Blocks held.
    pub blocks: u64,
    /// Events held, acknowledged or not.
    pub events: u64,
    /// Bytes of those blocks.
    pub block_bytes: u64,
    /// Bytes of the store's files.
    pub disk_bytes: u64,
    /// Whether the segment log stands in for sled: restart when convenient.
    pub on_refuge: bool,
    /// Reopenings since the start of the process.
    pub reopens: u32,
    /// Damaged stores that are kept for a look at them.
    pub quarantined: u64,
    /// Bytes of those on the disk.
    pub quarantine_bytes: u64,
}
