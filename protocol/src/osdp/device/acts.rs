//! The acts that wait for a device, and what has become of those that wait no more.

use core::time::Duration;

use super::Notes;
use crate::limits::{OSDP_ACT_AGE_MAX, OSDP_ACTS_MAX};
use crate::osdp::command::Act;
use crate::osdp::fault::Fault;
use crate::wire::NoRoom;

/// An act, and since when whoever it is for has waited.
pub(super) type Aged = (Act, Duration);

/// Whether `act` comes too late.
pub(super) fn is_late(act: Aged, now: Duration) -> bool {
    now.saturating_sub(act.1) >= OSDP_ACT_AGE_MAX
}

/// The acts that wait, oldest first.
#[derive(Default)]
pub(super) struct Acts {
    waiting: [Option<Aged>; OSDP_ACTS_MAX],
    len: usize,
    /// Those that were given up and are not counted yet.
    lost: u32,
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

    /// Gives up those that have waited for too long, wherever they stand.
    pub(super) fn expire(&mut self, now: Duration) {
        for _ in 0..self.len {
            match self.pop() {
                Some(act) if is_late(act, now) => self.lost += 1,
                // Each is taken from the front and put behind the last, so that their order stays.
                Some(act) => self.lost += u32::from(self.push(act).is_err()),
                None => return,
            }
        }
    }

    /// An act that was under way is given up.
    pub(super) const fn lose(&mut self) {
        self.lost += 1;
    }

    /// Counts what was given up.
    pub(super) fn tell(&mut self, notes: &mut dyn Notes) {
        for _ in 0..core::mem::take(&mut self.lost) {
            notes.fault(Fault::ActLost);
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }
}
