//! A worker's way into the journal: a ring of its own, at which it never waits.

use std::sync::Arc;

use kalitka_core::{Decided, Follows};
use kalitka_protocol::ReaderId;
use kalitka_protocol::message::Report;
use kalitka_protocol::upstream::CommandOutcome;
use rtrb::Producer;

use super::record::{Holder, Record};
use super::rest::Rest;
use crate::clock::Moment;
use crate::metrics::Count;

/// What one worker could not hand in, from the start on.
#[derive(Debug, Default)]
pub(super) struct Left {
    pub(super) decisions: Count,
    pub(super) reports: Count,
}

/// Where one worker hands in what happens. Whatever it does takes a few dozen nanoseconds; [`publish`](Self::publish) after
/// each batch makes sure that it is looked at.
pub(crate) struct Recorder {
    ring: Producer<Record>,
    left: Arc<Left>,
    rest: Arc<Rest>,
    is_unpublished: bool,
}

impl Recorder {
    pub(super) const fn new(ring: Producer<Record>, left: Arc<Left>, rest: Arc<Rest>) -> Self {
        Self { ring, left, rest, is_unpublished: false }
    }

    /// Hands in a decision; one that finds no room is counted, and the count becomes an event (SPEC 14.8).
    pub(crate) fn decided(&mut self, at: Moment, decided: Decided, holder: Holder) {
        if !self.hand_in(Record::Decided { at, decided, holder }) {
            self.left.decisions.add(1);
        }
    }

    /// Hands in a report; one that finds no room gets no receipt, so its reader sends it again.
    pub(crate) fn reported(&mut self, at: Moment, reader: ReaderId, report: Report, follows: Follows) {
        if !self.hand_in(Record::Reported { at, reader, report, follows }) {
            self.left.reports.add(1);
        }
    }

    /// Hands in what became of a command. If there is no room, the journal gives the command up by itself.
    pub(crate) fn command_ended(&mut self, reader: ReaderId, id: u64, outcome: CommandOutcome) {
        self.hand_in(Record::CommandEnded { reader, id, outcome });
    }

    /// Wakes the journal if it sleeps. To be called once after what was handed in together; until then it may wait.
    pub(crate) fn publish(&mut self) {
        if std::mem::take(&mut self.is_unpublished) {
            self.rest.wake_from_sleep();
        }
    }

    fn hand_in(&mut self, record: Record) -> bool {
        self.is_unpublished = true;
        self.ring.push(record).is_ok()
    }
}
