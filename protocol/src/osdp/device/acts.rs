//! The acts that wait for a device, and what has become of those that wait no more.

use core::time::Duration;

use super::{Notes, What};
use crate::limits::{OSDP_ACT_AGE_MAX, OSDP_ACTS_MAX};
use crate::osdp::command::Act;
use crate::osdp::fault::Fault;
use crate::wire::NoRoom;

/// Acts that can be given up before it is told: those that wait, and the one under way.
const LOST_MAX: usize = OSDP_ACTS_MAX + 1;

/// An act, and since when whoever it is for has waited.
pub(super) type Aged = (Act, Duration);

/// Whether `act` comes too late.
pub(super) fn is_late(act: Aged, now: Duration) -> bool {
    now.saturating_sub(act.1) >= OSDP_ACT_AGE_MAX
}

/// Whether `act` lets somebody pass, and is not only for show.
pub(in crate::osdp) const fn is_release(act: Act) -> bool {
    matches!(act, Act::Output { .. })
}

/// The acts that wait, oldest first.
#[derive(Default)]
pub(super) struct Acts {
    waiting: [Option<Aged>; OSDP_ACTS_MAX],
    len: usize,
    /// Those that were given up and are not counted yet.
    lost: u32,
    /// The releases among them, oldest first: since when, and whether it may have been done.
    releases: [Option<(Duration, bool)>; LOST_MAX],
}

impl Acts {
    pub(super) fn push(&mut self, act: Aged) -> Result<(), NoRoom> {
        *self.waiting.get_mut(self.len).ok_or(NoRoom)? = Some(act);
        self.len += 1;
        Ok(())
    }

    /// Puts `act` before all others; if there is no room, it is lost.
    pub(super) fn put_back(&mut self, act: Aged) {
        if self.len < OSDP_ACTS_MAX {
            self.waiting.rotate_right(1);
            self.waiting[0] = Some(act);
            self.len += 1;
        } else {
            self.lost += 1;
        }
    }

    /// The oldest.
    pub(super) fn pop(&mut self) -> Option<Aged> {
        let first = self.waiting[0].take()?;
        self.waiting.rotate_left(1);
        self.len -= 1;
        Some(first)
    }

    /// Gives up those that have waited for too long, wherever they stand. What belongs to a release is as old as it is.
    pub(super) fn expire(&mut self, now: Duration) {
        for _ in 0..self.len {
            match self.pop() {
                Some(act) if is_late(act, now) => self.count(act, false),
                // Each is taken from the front and put behind the last, so that their order stays.
                Some(act) => self.lost += u32::from(self.push(act).is_err()),
                None => return,
            }
        }
    }

    /// A release that was under way is given up, and what waits behind it for the same person.
    pub(super) fn lose(&mut self, release: Aged, may_be_done: bool) {
        self.count(release, may_be_done);
        while self.waiting[0].is_some_and(|next| next.1 == release.1 && !is_release(next.0)) {
            self.lost += u32::from(self.pop().is_some());
        }
    }

    /// Tells what was given up.
    pub(super) fn tell(&mut self, notes: &mut dyn Notes) {
        for _ in 0..core::mem::take(&mut self.lost) {
            notes.fault(Fault::ActLost);
        }
        for (since, may_be_done) in self.releases.iter_mut().filter_map(Option::take) {
            notes.what(What::ReleaseLost { since, may_be_done });
        }
    }

    fn count(&mut self, (act, since): Aged, may_be_done: bool) {
        self.lost += 1;
        let place = self.releases.iter_mut().find(|place| place.is_none()).filter(|_| is_release(act));
        if let Some(place) = place {
            *place = Some((since, may_be_done));
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }
}
