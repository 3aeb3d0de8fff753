//! A snapshot as decisions see it: the archive and its rules, compiled for now and for what comes next.

use std::sync::Arc;

use kalitka_protocol::ReaderId;
use kalitka_protocol::reason::{Direction, FallBack};
use kalitka_snapshot::Snapshot;
use kalitka_snapshot::model::ArchivedReader;

use crate::plan::{Plan, ProfileSets};
use crate::time::UnixSeconds;

/// A snapshot with two plans that follow each other without a gap. At the border the second is in force at once, whatever
/// time the shell takes to build the next view.
pub struct View {
    snapshot: Arc<Snapshot>,
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
        Self { ever: ProfileSets::compile(model, |_| true), plans: [first, second], snapshot }
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
    pub fn reader(&self, reader: ReaderId) -> Option<&ArchivedReader> {
        let readers = &self.snapshot.model().readers;
        let place = readers.binary_search_by_key(&reader.0, |known| known.number.to_native()).ok()?;
        readers.get(place)
    }

    /// How long a grant holds `portal` open, in milliseconds.
    #[must_use]
    pub fn hold_open_ms(&self, portal: u16) -> u16 {
        self.snapshot.model().portals.get(usize::from(portal)).map_or(0, |portal| portal.hold_open_ms.to_native())
    }

    /// What `reader` does while the gateway does not answer; [`FallBack::Closed`] for a reader that is not there.
    #[must_use]
    pub fn fall_back(&self, reader: ReaderId) -> FallBack {
        let portal = self.reader(reader).map(|reader| usize::from(reader.portal.to_native()));
        let portal = portal.and_then(|portal| self.snapshot.model().portals.get(portal));
        portal.and_then(|portal| FallBack::from_code(portal.fall_back).ok()).unwrap_or(FallBack::Closed)
    }
}
