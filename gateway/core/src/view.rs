//! A snapshot as decisions see it: the archive and its rules, compiled for now and for what comes next.

use std::sync::Arc;

use kalitka_protocol::ReaderId;
use kalitka_protocol::credential::CardRead;
use kalitka_protocol::reason::Direction;
use kalitka_snapshot::Snapshot;

use crate::plan::{Plan, ProfileSets};
use crate::served::{Readers, Served};
use crate::time::UnixSeconds;

/// A snapshot with two plans that follow each other without a gap. At the border the second is in force at once, whatever
/// time the shell takes to build the next view.
pub struct View {
    snapshot: Arc<Snapshot>,
    readers: Readers,
    /// Who may pass at some time.
    ever: ProfileSets,
    plans: [Plan; 2],
}

impl core::fmt::Debug for View {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "View(generation {}, until {})", self.generation(), self.plans[1].until().0)
    }
}

impl View {
    /// The view of `snapshot` from the last schedule border before `now` on.
    #[must_use]
    pub fn build(snapshot: Arc<Snapshot>, now: UnixSeconds) -> Self {
        let model = snapshot.model();
        let first = Plan::compile(model, now);
        let second = Plan::compile(model, first.until());
        let (readers, ever) = (Readers::compile(model), ProfileSets::compile(model, |_| true));
        Self { readers, ever, plans: [first, second], snapshot }
    }

    /// First second of the second plan. From then on the shell builds the view anew, before the second plan ends.
    #[must_use]
    pub const fn next_border(&self) -> UnixSeconds {
        self.plans[0].until()
    }

    /// Whether the view should be built anew at `now`: its first plan is not in force, because a border has passed or
    /// the clock was set.
    #[must_use]
    pub fn is_due(&self, now: UnixSeconds) -> bool {
        !self.plans[0].covers(now)
    }

    /// The plan in force at `now`, if the view holds it.
    #[must_use]
    pub fn at(&self, now: UnixSeconds) -> Option<&Plan> {
        self.plans.iter().find(|plan| plan.covers(now))
    }

    /// The snapshot.
    #[must_use]
    pub const fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The snapshot's generation.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.snapshot.header().generation
    }

    /// Whether holders of `profile` may ever pass `portal` in `direction`.
    #[must_use]
    pub fn ever_allows(&self, profile: u16, portal: u16, direction: Direction) -> bool {
        self.ever.contains(profile, portal, direction)
    }

    /// What the snapshot says of `reader`.
    #[must_use]
    pub fn reader(&self, reader: ReaderId) -> Option<&Served> {
        self.readers.get(reader)
    }

    /// Lets the processor fetch what decisions on `cards` at `reader` will look at, without waiting for it.
    pub(crate) fn prefetch<'a>(&self, reader: ReaderId, cards: impl Iterator<Item = &'a CardRead>) {
        let Some(served) = self.reader(reader) else { return };
        for credential in cards.filter_map(|card| served.shapes.interpret(card).ok()) {
            self.snapshot.prefetch(&credential);
        }
    }
}
