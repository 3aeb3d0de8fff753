//! What waits for the journal: a ring of each worker, and a door for everybody else.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use rtrb::{Consumer, RingBuffer};

use super::door::{Door, Work};
use super::record::Record;
use super::recorder::{Left, Recorder};
use super::rest::Rest;
use crate::limits::{JOURNAL_DOOR_MAX, JOURNAL_NAP, JOURNAL_NAPS, JOURNAL_TURN};

/// Where the journal takes everything out.
pub(crate) struct Ring {
    lanes: Vec<Lane>,
    /// The lane whose turn it is, and what it may still give in it.
    turn: usize,
    left_of_turn: usize,
    door: Receiver<Work>,
    knocked: Option<Work>,
    rest: Arc<Rest>,
    nap: Duration,
    /// Quiet naps before it sleeps.
    naps: u32,
    /// Naps since something came.
    quiet_naps: u32,
}

/// One worker's ring.
struct Lane {
    ring: Consumer<Record>,
    /// Records that are to be taken before anything else is done.
    due: usize,
    left: Arc<Left>,
    decisions_told: u64,
    reports_told: u64,
}

/// A recorder for each of `workers`, each with room for `capacity` records; the door for everybody else; and the other end of
/// all of them.
pub(crate) fn rings(workers: usize, capacity: usize) -> (Vec<Recorder>, Door, Ring) {
    let rest = Arc::<Rest>::default();
    let (door, knocks) = sync_channel(JOURNAL_DOOR_MAX);
    let (recorders, lanes) = (0..workers)
        .map(|_| {
            let (producer, ring) = RingBuffer::new(capacity);
            let left = Arc::<Left>::default();
            let recorder = Recorder::new(producer, Arc::clone(&left), Arc::clone(&rest));
            (recorder, Lane { ring, due: 0, left, decisions_told: 0, reports_told: 0 })
        })
        .unzip();
    let door = Door::new(door, Arc::clone(&rest));
    let ring = Ring {
        lanes,
        turn: 0,
        left_of_turn: JOURNAL_TURN,
        door: knocks,
        knocked: None,
        rest,
        nap: JOURNAL_NAP,
        naps: JOURNAL_NAPS,
        quiet_naps: 0,
    };
    (recorders, door, ring)
}

impl Ring {
    /// What has come to the door first.
    pub(super) fn knocked(&mut self) -> Option<Work> {
        self.knocked.take().or_else(|| self.door.try_recv().ok())
    }

    /// All records that are there now become due; says whether there are any.
    pub(super) fn look(&mut self) -> bool {
        self.lanes.iter_mut().for_each(|lane| lane.due = lane.ring.slots());
        self.lanes.iter().any(|lane| lane.due > 0)
    }

    /// The next record that is due, a few of each worker by turns and each worker's in their order.
    pub(super) fn next(&mut self) -> Option<Record> {
        for _ in 0..=self.lanes.len() {
            let lane = self.lanes.get_mut(self.turn)?;
            if lane.due > 0 && self.left_of_turn > 0 {
                lane.due -= 1;
                self.left_of_turn -= 1;
                return lane.ring.pop().ok();
            }
            self.turn = (self.turn + 1) % self.lanes.len();
            self.left_of_turn = JOURNAL_TURN;
        }
        None
    }

    /// Waits for more, but not longer than `patience`; `came` says whether there was something since the last wait. While things
    /// keep coming this only lets more of them come together, which costs workers nothing; then it sleeps until it is woken.
    pub(super) fn wait(&mut self, came: bool, patience: Duration) {
        self.quiet_naps = if came { 0 } else { self.quiet_naps.saturating_add(1) };
        let Self { lanes, door, knocked, rest, nap, naps, .. } = self;
        let mut has_knocked = || {
            *knocked = door.try_recv().ok();
            knocked.is_some()
        };
        if self.quiet_naps <= *naps {
            rest.nap(patience.min(*nap), has_knocked);
        } else {
            rest.sleep(patience, || lanes.iter().any(|lane| lane.ring.slots() > 0) || has_knocked());
        }
    }

    /// How many records wait.
    pub(crate) fn waiting(&self) -> usize {
        self.lanes.iter().map(|lane| lane.ring.slots()).sum()
    }

    /// Decisions that found no room since the last call.
    pub(super) fn take_decisions_lost(&mut self) -> u64 {
        let of = |lane: &mut Lane| news(lane.left.decisions.get(), &mut lane.decisions_told);
        self.lanes.iter_mut().map(of).sum()
    }

    /// Reports that found no room since the last call.
    pub(super) fn take_reports_dropped(&mut self) -> u64 {
        let of = |lane: &mut Lane| news(lane.left.reports.get(), &mut lane.reports_told);
        self.lanes.iter_mut().map(of).sum()
    }
}

/// What a count has grown since it was last told.
fn news(count: u64, told: &mut u64) -> u64 {
    count.wrapping_sub(std::mem::replace(told, count))
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
