//! Commits: what the batch holds becomes durable, and only then is anybody told.

use std::sync::Arc;
use std::time::Duration;

use kalitka_core::Fold;
use kalitka_outbox::Head;
use kalitka_protocol::event::{Body, Events, Loss, LossCause, kind};
use kalitka_uplink::HeadSeen;

use super::batch::Batch;
use super::checkpoint::{Checkpoint, acknowledged};
use super::writer::Journal;
use crate::limits::{CHECKPOINT_EVENTS, CHECKPOINT_PART, CHECKPOINT_PAUSE, COMMIT_DELAY, CROWDED_LOSS_PAUSE};
use crate::metrics::names;
use crate::udp::Post;

/// What was lost and is not recorded yet.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// What never had a number.
    pub(super) counted: Counted,
    /// What gives way at the bound.
    pub(super) bound: Vec<Loss>,
    /// Of the first, what the present commit tells.
    telling: Counted,
    /// When such was told last.
    told_at: Option<Duration>,
}

/// Events that never had numbers, by cause.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted {
    ring_full: u64,
    pub(super) not_taken: u64,
    pub(super) at_bound: u64,
}

impl Counted {
    fn causes(self) -> impl Iterator<Item = (LossCause, u64)> {
        let Self { ring_full, not_taken, at_bound } = self;
        let all = [(LossCause::RingFull, ring_full), (LossCause::NotTaken, not_taken), (LossCause::AtBound, at_bound)];
        all.into_iter().filter(|(_, count)| *count > 0)
    }
}

impl Losses {
    /// What is told now of what has no number: all of it, and at the bound now and then, because each telling takes room.
    fn to_tell(&self, is_crowded: bool, now: Duration) -> Counted {
        let is_due = self.told_at.is_none_or(|told| told + CROWDED_LOSS_PAUSE <= now);
        if is_crowded && !is_due { Counted::default() } else { self.counted }
    }

    /// What was being told is durable.
    fn told(&mut self, now: Duration) -> (Counted, Vec<Loss>) {
        let telling = std::mem::take(&mut self.telling);
        self.counted.ring_full -= telling.ring_full;
        self.counted.not_taken -= telling.not_taken;
        self.counted.at_bound -= telling.at_bound;
        if telling.causes().next().is_some() {
            self.told_at = Some(now);
        }
        (telling, std::mem::take(&mut self.bound))
    }
}

impl Journal {
    /// Whether a commit should begin now: somebody waits for it, or what is held has waited long enough. Nobody waits for a
    /// decision to be durable, and each commit costs as much as hundreds of events.
    pub(super) fn is_commit_due(&mut self) -> bool {
        if self.judge.receipts().len() > 0 || !self.told_later.is_empty() {
            return true;
        }
        if self.batch.is_empty() || !self.store.is_taking() {
            return false;
        }
        let now = self.clock.monotonic();
        *self.held_since.get_or_insert(now) + COMMIT_DELAY <= now
    }

    /// Makes what the batch holds durable and then tells of it; says whether the store is well.
    pub(super) fn commit(&mut self) -> bool {
        self.held_since = None;
        self.losses.counted.ring_full += self.ring.take_decisions_lost();
        if !self.store.is_taking() {
            // What was judged before the store failed comes again, and must not be in the batch twice then.
            if self.judge.receipts().len() > 0 {
                self.batch.forget_reports();
            }
            self.judge.clear();
            return false;
        }
        let begun = self.clock.monotonic();
        self.push_front(begun);
        if self.front.is_empty() && self.batch.is_empty() {
            self.send_receipts();
            return true;
        }
        let Some(head) = self.store.outbox().map(|outbox| outbox.head()) else { return false };
        let begins_epoch = !self.store.beginning().is_empty();
        let tells = self.front.tells() || self.batch.tells();
        let (count, losses) = (self.front.len() + self.batch.len(), self.front.losses() + self.batch.losses());
        let events = joined(&mut self.front, &mut self.batch, &mut self.both, head);
        let handed = self.clock.monotonic();
        let Some(head) = self.store.append(events, begun) else {
            self.front.clear(None);
            self.batch.forget_reports();
            self.judge.clear();
            return false;
        };
        self.tally.sync.record(self.clock.monotonic().saturating_sub(handed));
        metrics::counter!(names::OUTBOX_LOSS_RECORDS).increment(losses);
        if tells {
            apply(&mut self.fold, events);
        }
        if self.live.receiver_count() > 0 {
            // Somebody listened a moment ago.
            let _ = self.live.send(Arc::from(events));
        }
        self.front.clear(None);
        self.batch.clear(Some((head.epoch, head.number + 1)));
        self.committed(begun, count as u64);
        if begins_epoch {
            // From now on a store that is not there any more is missed.
            self.checkpoint();
        }
        self.checkpoint_if_due(begun);
        true
    }

    /// Commits, or says what is wrong.
    pub(super) fn commit_or_fail(&mut self) -> Result<(), String> {
        if self.commit() { Ok(()) } else { Err(self.store.trouble().unwrap_or("the outbox is not open").into()) }
    }

    /// What comes before the batch: the epoch's beginning, then losses.
    fn push_front(&mut self, now: Duration) {
        self.front.clear(None);
        let at = self.now();
        let epoch = self.store.outbox().map_or(kalitka_protocol::EpochId(1), |outbox| outbox.head().epoch);
        let counted = |(cause, count): (LossCause, u64)| {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            Loss { epoch, first: 0, last: 0, cause, count }
        };
        for body in self.store.beginning() {
            let mut header = self.headers.own(at);
            if body.kind() == kind::EPOCH_BEGUN {
                // It cannot be anywhere else.
                (header.epoch, header.number) = (epoch, 1);
            }
            self.front.push(header, body);
        }
        self.make_room(now);
        self.losses.telling = self.losses.to_tell(self.store.is_crowded(), now);
        for loss in self.losses.bound.iter().copied().chain(self.losses.telling.causes().map(counted)) {
            self.front.push(self.headers.own(at), Body::Loss(loss));
        }
        if let Some(record) = self.purge_record() {
            self.front.push(self.headers.own(at), record);
        }
    }

    /// Lets events give way when the outbox has reached its bound.
    fn make_room(&mut self, now: Duration) {
        self.let_give_way(now);
        let Some(head) = self.store.outbox().filter(|outbox| outbox.is_crowded()).map(|outbox| outbox.head()) else {
            return;
        };
        // Nothing behind the older checkpoint gives way: both are brought to the head before the outbox counts as full.
        if self.checkpoints.older != Some(head) && self.checkpointed_at + CHECKPOINT_PAUSE <= now {
            for _ in 0..2 {
                self.uncheckpointed = self.uncheckpointed.max(1);
                self.checkpoint();
            }
            self.let_give_way(now);
        }
    }

    fn let_give_way(&mut self, now: Duration) {
        while let Some(outbox) = self.store.outbox() {
            match outbox.give_way() {
                Ok(Some(loss)) => self.losses.bound.push(loss),
                Ok(None) => return,
                Err(error) => {
                    self.store.failed(&error, now);
                    return;
                }
            }
        }
    }

    /// All of a commit of `count` events is durable.
    fn committed(&mut self, begun: Duration, count: u64) {
        self.count_losses(begun);
        self.purge_recorded();
        self.uncheckpointed += count;
        self.send_receipts();
        for (number, outcome, replies) in self.told_later.drain(..) {
            for reply in replies {
                // Who asked may be gone.
                let _ = reply.send((number, outcome));
            }
        }
        self.show_head();
        let now = self.clock.monotonic();
        self.tally.committed(now);
        self.tally.commit.record(now.saturating_sub(begun));
        metrics::counter!(names::JOURNAL_EVENTS).increment(count);
    }

    fn count_losses(&mut self, now: Duration) {
        let (counted, gave_way) = self.losses.told(now);
        let gave_way = gave_way.into_iter().map(|loss| (loss.cause, u64::from(loss.count)));
        for (cause, count) in counted.causes().chain(gave_way) {
            metrics::counter!(names::JOURNAL_LOST, "cause" => cause.label()).increment(count);
            tracing::error!(cause = cause.label(), count, "events were lost; the loss is recorded");
        }
    }

    /// Tells readers up to where their reports are durable: one receipt a log.
    fn send_receipts(&mut self) {
        let receipts = self.judge.receipts().map(|(reader, log, number)| Post::Receipt { reader, log, number });
        let (sent, left_out) = self.posts.send_all(receipts);
        metrics::counter!(names::REPORT_RECEIPTED).increment(sent);
        metrics::counter!(names::REPORT_DROPPED, "reason" => "receipt").increment(left_out);
        self.judge.clear();
    }

    pub(super) fn show_head(&mut self) {
        if let Some(outbox) = self.store.outbox() {
            let head = outbox.head();
            self.head.send_replace(Some(HeadSeen { epoch: head.epoch, number: head.number }));
        }
    }

    fn checkpoint_if_due(&mut self, now: Duration) {
        let many = (self.store.bounds.events_max / CHECKPOINT_PART).max(CHECKPOINT_EVENTS);
        let is_rested = self.checkpointed_at + CHECKPOINT_PAUSE <= now;
        if self.uncheckpointed >= if is_rested { CHECKPOINT_EVENTS } else { many } {
            self.checkpoint();
        }
    }

    /// Writes a checkpoint if anything has happened since the last one.
    pub(super) fn checkpoint(&mut self) {
        if self.uncheckpointed > 0 {
            self.checkpoint_anew();
        }
    }

    /// Writes a checkpoint.
    pub(super) fn checkpoint_anew(&mut self) {
        let Some(outbox) = self.store.outbox() else { return };
        let acknowledged = acknowledged(&outbox.epochs(), outbox.head().epoch);
        let checkpoint = Checkpoint { head: outbox.head(), acknowledged, fold: self.fold.clone() };
        self.checkpointed_at = self.clock.monotonic();
        match self.store.with_reserve(|| self.checkpoints.write(&checkpoint)) {
            Ok(()) => self.uncheckpointed = 0,
            Err(error) => {
                // The next one is due after as many events, or as long.
                self.uncheckpointed = 1;
                metrics::counter!(names::JOURNAL_CHECKPOINT_FAILURES).increment(1);
                tracing::error!(%error, "cannot write a checkpoint; trying again");
            }
        }
        if let (Some(outbox), Some(older)) = (self.store.outbox(), self.checkpoints.older) {
            outbox.set_floor(older);
        }
    }
}

/// The events of `front` and then `batch`, numbered behind `head`; in `both` if there are any of each.
fn joined<'a>(front: &'a mut Batch, batch: &'a mut Batch, both: &'a mut Vec<u8>, head: Head) -> &'a [u8] {
    let behind = head.number + 1 + front.len() as u64;
    if front.is_empty() {
        return batch.number(head.epoch, behind);
    }
    both.clear();
    both.extend_from_slice(front.number(head.epoch, head.number + 1));
    both.extend_from_slice(batch.number(head.epoch, behind));
    both
}

/// Applies to `fold` what `events` tell it.
fn apply(fold: &mut Fold, events: &[u8]) {
    for event in Events::new(events).flatten() {
        // Nothing else is known by the fold.
        if matches!(event.kind, kind::REPORT | kind::COMMAND)
            && let Ok(event) = event.event()
        {
            fold.apply(&event);
        }
    }
}
