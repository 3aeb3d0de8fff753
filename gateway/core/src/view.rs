//! A snapshot as decisions see it: the archive and its rules, compiled for now and for what comes next.

use std::sync::Arc;

use kalitka_protocol::ReaderId;
use kalitka_protocol::credential::CardRead;
use kalitka_protocol::reason::Direction;
use kalitka_snapshot::Snapshot;
use kalitka_snapshot::model::PortalMode;

use crate::plan::{Plan, ProfileSets};
use crate::served::{Readers, Served};
use crate::time::UnixSeconds;

/// A snapshot with two plans that follow each other without a gap. At the border the second is in force at once, whatever
/// time the shell takes to build the next view. A third is there when time jumps.
pub struct View {
    snapshot: Arc<Snapshot>,
    readers: Readers,
    /// Who may pass at some time.
    ever: ProfileSets,
    /// Who may pass by an essential access level, whatever its schedule.
    essential: ProfileSets,
    /// Whether the access level of each place is essential.
    essential_levels: Vec<bool>,
    /// The second from which only essential access levels count.
    stale_from: UnixSeconds,
    plans: [Plan; 2],
    /// The plan of the time that is being left.
    leaving: Option<Plan>,
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
        let (readers, ever) = (Readers::compile(model), ProfileSets::compile(model, |_, _| true));
        let essential = ProfileSets::compile(model, |_, _| false);
        let (essential_levels, plans) = (Vec::new(), [first, second]);
        let stale_from = UnixSeconds(i64::MAX);
        Self { readers, ever, essential, essential_levels, stale_from, plans, leaving: None, snapshot }
    }

    /// The same view, in which access levels of the names `essential` count whatever their schedules while time is held, and
    /// by their schedules when the view is stale.
    #[must_use]
    pub fn with_essential(self, essential: &[String]) -> Self {
        let model = self.snapshot.model();
        let levels = model.access_levels.iter();
        let essential_levels: Vec<bool> =
            levels.map(|level| essential.iter().any(|name| level.name == name.as_str())).collect();
        let is_essential = |place| is_set(&essential_levels, place);
        let essential = ProfileSets::compile(model, |level, _| is_essential(level));
        let plans = self.plans.map(|plan| plan.with_essential(model, is_essential));
        let leaving = self.leaving.map(|plan| plan.with_essential(model, is_essential));
        Self { essential, essential_levels, plans, leaving, ..self }
    }

    /// The same view, stale from `second` on: from then on only essential access levels count.
    #[must_use]
    pub fn stale_from(self, second: UnixSeconds) -> Self {
        Self { stale_from: second, ..self }
    }

    /// The same view, in force at `now` too: time is about to jump from there to where the view was built for, and who
    /// decides sees the one or the other.
    #[must_use]
    pub fn leaving(self, now: UnixSeconds) -> Self {
        let model = self.snapshot.model();
        let is_essential = |place| is_set(&self.essential_levels, place);
        let compile = || Plan::compile(model, now).with_essential(model, is_essential);
        let leaving = self.at(now).is_none().then(compile);
        Self { leaving, ..self }
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

    /// Whether at `now` only essential access levels count, because the snapshot is too old for the others.
    #[must_use]
    pub fn is_stale(&self, now: UnixSeconds) -> bool {
        now >= self.stale_from
    }

    /// The plan in force at `now`, if the view holds it.
    #[must_use]
    pub fn at(&self, now: UnixSeconds) -> Option<&Plan> {
        self.plans.iter().chain(&self.leaving).find(|plan| plan.covers(now))
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

    /// Whether holders of `profile` may pass `portal` in `direction` by an essential access level, whatever its schedule.
    #[must_use]
    pub fn is_essential(&self, profile: u16, portal: u16, direction: Direction) -> bool {
        self.essential.contains(profile, portal, direction)
    }

    /// The mode of `portal` when no schedule says otherwise.
    #[must_use]
    pub fn mode_unscheduled(&self, portal: u16) -> PortalMode {
        let portal = self.snapshot.model().portals.get(usize::from(portal));
        portal.and_then(|portal| PortalMode::from_code(portal.mode)).unwrap_or(PortalMode::Closed)
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

fn is_set(flags: &[bool], place: u16) -> bool {
    flags.get(usize::from(place)).is_some_and(|flag| *flag)
}
