//! How dear an event is to a store that has reached its bound (SPEC 14.14).

use super::{RawEvent, kind};
use crate::reason::Verdict;

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
