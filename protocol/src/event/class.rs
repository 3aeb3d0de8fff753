//! How dear an event is to a store that has reached its bound (SPEC 14.14), and why events are lost at all (SPEC 14.8).

use super::{RawEvent, kind};
use crate::reason::{Verdict, codes};

/// Where a decision's body has its verdict (SPEC 14.5).
const VERDICT_AT: usize = 22;

/// What gives way at the bound, the lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// What the gateway says of itself: a start, an adoption.
    Housekeeping,
    /// A decision that denies.
    Denial,
    /// A decision that grants.
    Grant,
    /// Everything else, and what this version does not know: it never gives way.
    Kept,
}

impl RawEvent<'_> {
    /// The event's class, by its kind and verdict alone. Doubt keeps it.
    #[must_use]
    pub fn class(&self) -> Class {
        match self.kind {
            kind::SNAPSHOT_ADOPTED | kind::GATEWAY_STARTED => Class::Housekeeping,
            kind::DECISION => self.verdict().map_or(Class::Kept, |verdict| match verdict {
                Verdict::Deny(_) => Class::Denial,
                Verdict::Grant(_) => Class::Grant,
            }),
            _ => Class::Kept,
        }
    }

    fn verdict(&self) -> Option<Verdict> {
        let bytes = self.body().get(VERDICT_AT..)?.first_chunk()?;
        Verdict::from_bytes(*bytes).ok()
    }
}

codes! {
    /// Why events were lost (SPEC 14.8).
    LossCause, "loss cause" {
        /// The store took nothing.
        NotTaken = 1, "not_taken";
        /// The store was damaged, or not found as it was left.
        Damaged = 2, "damaged";
        /// The hub has lost them, and the gateway's store, which is bounded, had let go of them before.
        Bound = 3, "bound";
        /// The ring to the journal was full.
        RingFull = 4, "ring_full";
        /// The store's bound: what the gateway says of itself gave way (SPEC 14.14).
        HousekeepingGaveWay = 5, "bound_housekeeping";
        /// The store's bound: denials gave way (SPEC 14.14).
        DenialsGaveWay = 6, "bound_denials";
        /// The store's bound: decisions were not taken any more (SPEC 14.14).
        AtBound = 7, "bound_decisions";
    }
}

impl LossCause {
    /// Whether what was lost never had a number, so that the loss tells of its own event's epoch.
    #[must_use]
    pub const fn is_of_own_epoch(self) -> bool {
        matches!(self, Self::NotTaken | Self::RingFull | Self::AtBound)
    }

    /// Whether only some events of the range were lost, those of one class: the loss counts them, and the others are kept.
    #[must_use]
    pub const fn is_of_a_class(self) -> bool {
        matches!(self, Self::HousekeepingGaveWay | Self::DenialsGaveWay)
    }
}
