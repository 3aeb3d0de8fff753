//! The journal's thread: takes what has come, commits it together, and then tells.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use kalitka_core::{Decided, Fold, Judge, Keys, Overlay, ReportVerdict, View};
use kalitka_protocol::ReaderId;
use kalitka_protocol::event::{
    AdoptionCause, Body, Decision, Events, Loss, LossCause, ReportTaken, SnapshotAdopted, kind,
};
use kalitka_protocol::message::Report;
use kalitka_protocol::upstream::CommandOutcome;
use kalitka_uplink::HeadSeen;
use tokio::sync::{broadcast, watch};

use super::batch::Batch;
use super::checkpoint::{Checkpoint, Checkpoints};
use super::commands::{Commands, Reply};
use super::door::{Holder, Moment, Ring, Work};
use super::header::Headers;
use super::safety::{Kept, SafetyFile};
use super::status::{JournalStatus, JournalTally};
use super::store::Store;
use crate::clock::Clock;
use crate::limits::{CHECKPOINT_EVENTS, CHECKPOINT_INTERVAL, JOURNAL_TICK};
use crate::metrics::names;
use crate::published::Published;
use crate::udp::{Post, Posts};

/// The one writer of everything that is to be kept of what happens.
pub(crate) struct Journal {
    pub(super) building: u32,
    pub(super) state: PathBuf,
    pub(super) clock: Clock,
    pub(super) ring: Ring,
    pub(super) posts: Posts,
    pub(super) views: Arc<Published<View>>,
    pub(super) keys: Arc<Published<Keys>>,
    pub(super) overlay: Arc<Overlay>,
    pub(super) head: watch::Sender<Option<HeadSeen>>,
    pub(super) live: broadcast::Sender<Arc<[u8]>>,
    pub(super) status: watch::Sender<JournalStatus>,
    pub(super) tally: Arc<JournalTally>,

    pub(super) store: Store,
    pub(super) fold: Fold,
    pub(super) judge: Judge,
    pub(super) headers: Headers,
    pub(super) batch: Batch,
    /// What goes before the batch: an epoch's beginning, and losses.
    pub(super) front: Batch,
    pub(super) commit_bytes: Vec<u8>,
    pub(super) losses: Losses,

    pub(super) checkpoints: Checkpoints,
    /// The checkpoint, if there is one, until the fold has been made of it and the outbox.
    pub(super) to_restore: Option<Option<Checkpoint>>,
    pub(super) uncheckpointed: u64,
    pub(super) checkpointed_at: Duration,

    pub(super) commands: Commands,
    pub(super) safety_file: SafetyFile,
    pub(super) kept: Kept,
    /// Orders that hold already and whose file is not written yet.
    pub(super) unkept: Vec<u64>,
    pub(super) safety_damaged: bool,
    /// Commands whose events are to be durable before anybody is told.
    pub(super) told_later: Vec<(u64, CommandOutcome, Vec<Reply>)>,
    /// The oldest event that waits for the hub: its number and wall clock, so that it is read once.
    pub(super) oldest: Option<(HeadSeen, i64)>,
}

/// What was lost and is not recorded yet.
#[derive(Debug, Default)]
pub(super) struct Losses {
    ring_full: u64,
    pub(super) not_taken: u64,
    pub(super) bound: Vec<Loss>,
}

impl Journal {
    /// Opens the outbox and serves until it is told to stop.
    pub(crate) fn run(mut self) {
        self.open();
        let mut next_tick = self.clock.monotonic() + JOURNAL_TICK;
        loop {
            let patience = next_tick.saturating_sub(self.clock.monotonic());
            match self.ring.next_within(patience) {
                Ok(first) => {
                    if !self.turn(first) {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if next_tick <= self.clock.monotonic() {
                self.tick();
                next_tick = self.clock.monotonic() + JOURNAL_TICK;
            }
        }
        self.commit();
        self.checkpoint();
    }

    /// Takes `first` and what has come with it, up to a full commit, and commits; false when that was all.
    fn turn(&mut self, first: Work) -> bool {
        let mut next = Some(first);
        while let Some(work) = next {
            if !self.take(work) {
                return false;
            }
            if self.batch.is_full() {
                break;
            }
            next = self.ring.next();
        }
        self.commit();
        if self.uncheckpointed >= CHECKPOINT_EVENTS {
            self.checkpoint();
        }
        true
    }

    fn take(&mut self, work: Work) -> bool {
        match work {
            Work::Decided { at, decided, holder } => self.decided(at, &decided, &holder),
            Work::Reported { at, reader, report } => self.reported(at, reader, report),
            Work::CommandEnded { reader, id, outcome } => self.command_ended(reader, id, outcome),
            Work::Adopted { generation, last_command, hash } => self.adopted(generation, last_command, hash),
            Work::Uplink(request) => self.serve(*request),
            Work::Stop => return false,
        }
        true
    }

    fn decided(&mut self, at: Moment, decided: &Decided, holder: &Holder) {
        let Decided { reader, boot, request, direction, age_ms, decision } = *decided;
        let kalitka_core::Decision { verdict, credential, portal, generation, .. } = decision;
        let holder = holder.as_bytes();
        let body =
            Decision { reader, boot, request, generation, portal, verdict, direction, age_ms, credential, holder };
        self.push(at, Body::Decision(body));
    }

    /// Judges a report in its place (SPEC 7.3). One that is not taken gets its receipt when it has one already, and none else.
    fn reported(&mut self, at: Moment, reader: ReaderId, report: Report) {
        if !self.store.is_taking() {
            metrics::counter!(names::REPORT_DROPPED, "reason" => "store").increment(1);
            return;
        }
        match self.judge.judge(&self.fold, reader, &report) {
            ReportVerdict::Take => {
                let (generation, portal) = self.place_of(reader);
                self.push(at, Body::Report(ReportTaken { reader, generation, portal, report }));
            }
            ReportVerdict::Repeat { .. } => metrics::counter!(names::REPORT_REPEATED).increment(1),
            ReportVerdict::OutOfOrder => metrics::counter!(names::REPORT_OUT_OF_ORDER).increment(1),
        }
    }

    /// The generation in force, and the place of `reader`'s portal in it.
    fn place_of(&self, reader: ReaderId) -> (u32, Option<u16>) {
        let view = self.views.load();
        view.as_ref()
            .map_or((0, None), |view| (view.generation(), view.reader(reader).map(|reader| reader.portal.to_native())))
    }

    /// The generation in force; 0 for none.
    pub(super) fn generation(&self) -> u32 {
        self.views.load().as_ref().map_or(0, |view| view.generation())
    }

    fn adopted(&mut self, generation: u32, last_command: u64, hash: [u8; 32]) {
        let cause = AdoptionCause::Newer;
        self.push_now(Body::SnapshotAdopted(SnapshotAdopted { generation, cause, hash }));
        self.fold.safety_mut().prune(last_command);
        self.kept.safety.prune(last_command);
    }

    /// Puts an event of now into the batch.
    pub(super) fn push_now(&mut self, body: Body<'_>) {
        self.push(self.now(), body);
    }

    pub(super) fn now(&self) -> Moment {
        Moment { wall_us: Clock::wall_us(), monotonic: self.clock.monotonic() }
    }

    /// Puts an event into the batch. While the store takes nothing, memory has room for so many decisions; the rest are
    /// counted.
    fn push(&mut self, at: Moment, body: Body<'_>) {
        let may_be_lost = matches!(body, Body::Decision(_));
        if may_be_lost && !self.store.is_taking() && self.batch.is_beyond_keeping() {
            self.losses.not_taken += 1;
            return;
        }
        let header = self.headers.next(at);
        if !self.batch.push(header, body) {
            tracing::error!("a defect: the journal made an event that does not fit its layout");
        }
    }

    /// Makes what the batch holds durable and then tells of it; says whether the store is well.
    pub(super) fn commit(&mut self) -> bool {
        self.losses.ring_full += self.ring.take_decisions_lost();
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
        self.commit_bytes.clear();
        self.commit_bytes.extend_from_slice(self.front.number(head.epoch, head.number + 1));
        let behind = head.number + 1 + self.front.len() as u64;
        self.commit_bytes.extend_from_slice(self.batch.number(head.epoch, behind));
        let begins_epoch = !self.store.beginning().is_empty();
        if self.store.append(&self.commit_bytes, begun).is_none() {
            self.front.clear();
            self.batch.forget_reports();
            self.judge.clear();
            return false;
        }
        self.committed(begun);
        if begins_epoch {
            // From now on a store that is not there any more is missed.
            self.checkpoint();
        }
        true
    }

    /// Commits, or says what is wrong.
    pub(super) fn commit_or_fail(&mut self) -> Result<(), String> {
        if self.commit() { Ok(()) } else { Err(self.store.trouble().unwrap_or("the outbox is not open").into()) }
    }

    /// What comes before the batch: the epoch's beginning, then losses.
    fn push_front(&mut self, now: Duration) {
        self.front.clear();
        let at = self.now();
        let epoch = self.store.outbox().map_or(kalitka_protocol::EpochId(1), |outbox| outbox.head().epoch);
        let counted = |cause, count: u64| Loss {
            epoch,
            first: 0,
            last: 0,
            cause,
            count: u32::try_from(count).unwrap_or(u32::MAX),
        };
        for body in self.store.beginning() {
            let mut header = self.headers.next(at);
            if body.kind() == kind::EPOCH_BEGUN {
                // It cannot be anywhere else.
                (header.epoch, header.number) = (epoch, 1);
            }
            self.front.push(header, body);
        }
        self.make_room(now);
        let Losses { ring_full, not_taken, bound } = &self.losses;
        let unnumbered = [(LossCause::RingFull, *ring_full), (LossCause::NotTaken, *not_taken)];
        let unnumbered =
            unnumbered.into_iter().filter(|(_, count)| *count > 0).map(|(cause, count)| counted(cause, count));
        for loss in bound.iter().copied().chain(unnumbered) {
            self.front.push(self.headers.next(at), Body::Loss(loss));
        }
    }

    /// Lets the oldest give way when the outbox has reached its bound.
    fn make_room(&mut self, now: Duration) {
        while let Some(outbox) = self.store.outbox() {
            match outbox.drop_oldest() {
                Ok(Some(loss)) => self.losses.bound.push(loss),
                Ok(None) => return,
                Err(error) => {
                    self.store.failed(&error, now);
                    return;
                }
            }
        }
    }

    /// All of the commit is durable.
    fn committed(&mut self, begun: Duration) {
        let events = self.front.len() + self.batch.len();
        self.count_losses();
        for event in Events::new(&self.commit_bytes).flatten() {
            // Nothing else is known by the fold.
            if matches!(event.kind, kind::REPORT | kind::COMMAND)
                && let Ok(event) = event.event()
            {
                self.fold.apply(&event);
            }
        }
        self.front.clear();
        self.batch.clear();
        self.uncheckpointed += events as u64;
        self.send_receipts();
        for (number, outcome, replies) in self.told_later.drain(..) {
            for reply in replies {
                // Who asked may be gone.
                let _ = reply.send((number, outcome));
            }
        }
        self.show_head();
        if self.live.receiver_count() > 0 {
            // Somebody listened a moment ago.
            let _ = self.live.send(Arc::from(&self.commit_bytes[..]));
        }
        self.tally.commit.record(self.clock.monotonic().saturating_sub(begun));
        metrics::counter!(names::JOURNAL_EVENTS).increment(events as u64);
    }

    fn count_losses(&mut self) {
        let Losses { ring_full, not_taken, bound } = std::mem::take(&mut self.losses);
        let bound = bound.iter().map(|loss| u64::from(loss.count)).sum();
        for (cause, count) in
            [(LossCause::RingFull, ring_full), (LossCause::NotTaken, not_taken), (LossCause::Bound, bound)]
        {
            if count > 0 {
                metrics::counter!(names::JOURNAL_LOST, "cause" => cause.label()).increment(count);
                tracing::error!(cause = cause.label(), count, "events were lost; the loss is recorded");
            }
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

    /// What is due by the clock.
    fn tick(&mut self) {
        self.headers.look_at_clock();
        let now = self.clock.monotonic();
        if self.store.is_due(now) {
            self.open();
        }
        self.keep_safety();
        self.end_overdue(now);
        self.commit();
        if self.checkpointed_at + CHECKPOINT_INTERVAL <= now {
            self.checkpoint();
        }
        self.show();
    }

    /// Writes a checkpoint if anything has happened since the last one.
    fn checkpoint(&mut self) {
        let Some(outbox) = self.store.outbox().filter(|_| self.uncheckpointed > 0) else { return };
        let acknowledged = outbox.epochs().iter().map(|of| (of.epoch, of.acknowledged)).collect();
        let checkpoint = Checkpoint { head: outbox.head(), acknowledged, fold: self.fold.clone() };
        self.checkpointed_at = self.clock.monotonic();
        match self.checkpoints.write(&checkpoint) {
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
