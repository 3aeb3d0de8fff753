//! The journal's thread: takes what has come, commits it together, and then tells.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kalitka_core::{Decided, Fold, Follows, Judge, Keys, Overlay, ReportVerdict, View};
use kalitka_protocol::event::{AdoptionCause, Body, Decision, ReportTaken, SnapshotAdopted};
use kalitka_protocol::message::{Report, ReportKind};
use kalitka_protocol::upstream::CommandOutcome;
use kalitka_protocol::{EpochId, ReaderId};
use kalitka_uplink::HeadSeen;
use tokio::sync::{broadcast, watch};

use super::batch::Batch;
use super::checkpoint::{Checkpoint, Checkpoints};
use super::commands::{Commands, Reply};
use super::commit::Losses;
use super::door::Work;
use super::header::Headers;
use super::record::{Holder, Record};
use super::retention::Retention;
use super::ring::Ring;
use super::safety::{Kept, SafetyFile};
use super::show::Crossings;
use super::status::{JournalStatus, JournalTally};
use super::store::Store;
use crate::clock::{Clock, Moment};
use crate::limits::{CHECKPOINT_INTERVAL, JOURNAL_NICENESS, JOURNAL_TICK};
use crate::metrics::names;
use crate::published::Published;
use crate::thread;
use crate::udp::Posts;

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
    /// Room for the two together.
    pub(super) both: Vec<u8>,
    pub(super) losses: Losses,
    /// Since when the batch has held something that is not committed, and could be.
    pub(super) held_since: Option<Duration>,

    pub(super) checkpoints: Checkpoints,
    /// The checkpoint, if there is one, until the fold has been made of it and the outbox.
    pub(super) to_restore: ToRestore,
    pub(super) uncheckpointed: u64,
    pub(super) checkpointed_at: Duration,
    /// The end is near, and the checkpoint for it is written: what came since is little to read again.
    pub(super) is_settled: bool,

    /// How far the hub has acknowledged on the present connection, by epoch: a store that is opened anew may not know it, and
    /// nobody says it again. No more epochs than a connection may have.
    pub(super) acknowledged: BTreeMap<EpochId, u64>,

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
    pub(super) retention: Retention,
    /// What has been said of how full outbox and disk are.
    pub(super) crossings: Crossings,
}

/// What the fold is to be made of.
pub(super) enum ToRestore {
    /// The checkpoints have not been read yet.
    Unread,
    /// This one, if there is any, and the outbox.
    Checkpoint(Option<Checkpoint>),
    /// It has been made.
    Done,
}

/// What a turn found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Nothing,
    Some,
    /// More than one commit takes: there may be more already.
    Full,
    /// It was the last one.
    Last,
}

impl Journal {
    /// Opens the outbox and serves until it is told to stop.
    pub(crate) fn run(mut self) {
        // The store's own threads inherit it. Where cores are few, a commit does not hold up who answers.
        thread::give_way(JOURNAL_NICENESS, "the journal");
        self.tally.begin_turn(self.clock.monotonic());
        self.open();
        let mut next_tick = self.clock.monotonic() + JOURNAL_TICK;
        loop {
            self.tally.begin_turn(self.clock.monotonic());
            let turn = self.turn();
            if turn == Turn::Last {
                break;
            }
            let now = self.clock.monotonic();
            if next_tick <= now {
                self.tick();
                next_tick = now + JOURNAL_TICK;
            }
            if turn != Turn::Full {
                let is_busy = turn == Turn::Some || self.held_since.is_some();
                self.tally.end_turn();
                self.ring.wait(is_busy, next_tick.saturating_sub(now));
            }
        }
        if !self.is_settled {
            self.checkpoint();
        }
    }

    /// Takes all that has come, and commits it unless it had better wait for more.
    fn turn(&mut self) -> Turn {
        let mut turn = Turn::Nothing;
        loop {
            let work = self.ring.knocked();
            // What workers handed in before this was is before it here too.
            turn = turn.max(self.drain());
            let Some(work) = work else { break };
            turn = turn.max(Turn::Some);
            if !self.take(work) {
                turn = Turn::Last;
                break;
            }
        }
        if turn == Turn::Last || self.is_commit_due() {
            self.commit();
        }
        turn
    }

    /// Takes the records that are there.
    fn drain(&mut self) -> Turn {
        let mut turn = if self.ring.look() { Turn::Some } else { Turn::Nothing };
        while let Some(record) = self.ring.next() {
            self.note(record);
            if self.batch.is_full() {
                turn = Turn::Full;
                self.commit();
            }
        }
        turn
    }

    fn note(&mut self, record: Record) {
        match record {
            Record::Decided { at, decided, holder } => self.decided(at, &decided, &holder),
            Record::Reported { at, reader, report, follows } => self.reported(at, reader, report, follows),
            Record::CommandEnded { reader, id, outcome } => self.command_ended(reader, id, outcome),
        }
    }

    /// Does what was handed in at the door; false when that was all.
    fn take(&mut self, work: Work) -> bool {
        match work {
            Work::Adopted { generation, last_command, hash } => self.adopted(generation, last_command, hash),
            Work::Uplink(request) => self.serve(*request),
            Work::Settle(done) => {
                self.commit();
                self.checkpoint();
                self.is_settled = true;
                // Who asked may have lost patience.
                let _ = done.send(());
            }
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
    fn reported(&mut self, at: Moment, reader: ReaderId, report: Report, follows: Follows) {
        if !self.store.is_taking() {
            metrics::counter!(names::REPORT_DROPPED, "reason" => "store").increment(1);
            return;
        }
        if self.store.is_crowded() && self.fold.judge(reader, &report) == ReportVerdict::Take {
            metrics::counter!(names::REPORT_DROPPED, "reason" => "bound").increment(1);
            return;
        }
        match self.judge.judge(&self.fold, reader, &report) {
            ReportVerdict::Take => {
                let (generation, portal) = self.place_of(reader);
                count_taken(&report, follows);
                self.push(at, Body::Report(ReportTaken { reader, generation, portal, report }));
            }
            ReportVerdict::Repeat { .. } => metrics::counter!(names::REPORT_REPEATED).increment(1),
            ReportVerdict::OutOfOrder => metrics::counter!(names::REPORT_OUT_OF_ORDER).increment(1),
        }
    }

    /// The generation in force, and the place of `reader`'s portal in it.
    fn place_of(&self, reader: ReaderId) -> (u32, Option<u16>) {
        let view = self.views.load();
        view.as_ref().map_or((0, None), |view| (view.generation(), view.reader(reader).map(|served| served.portal)))
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
        self.clock.now()
    }

    /// Puts an event into the batch. At the outbox's bound what may give way is counted instead; while the store takes
    /// nothing, memory has room for so many decisions, and the rest are counted.
    fn push(&mut self, at: Moment, body: Body<'_>) {
        let is_decision = matches!(body, Body::Decision(_));
        let may_give_way = is_decision || matches!(body, Body::GatewayStarted(_) | Body::SnapshotAdopted(_));
        if may_give_way && self.store.is_crowded() {
            self.losses.counted.at_bound += 1;
            return;
        }
        if is_decision && !self.store.is_taking() && self.batch.is_beyond_keeping() {
            self.losses.counted.not_taken += 1;
            return;
        }
        let is_workers = is_decision || matches!(body, Body::Report(_));
        let header = if is_workers { self.headers.next(at) } else { self.headers.own(at) };
        if !self.batch.push(header, body) {
            tracing::error!("a defect: the journal made an event that does not fit its layout");
        }
    }

    /// What is due by the clock.
    fn tick(&mut self) {
        let now = self.clock.monotonic();
        if self.store.is_due(now) {
            self.open();
        }
        self.keep_safety();
        self.end_overdue(now);
        self.commit();
        self.retain(now);
        if self.checkpointed_at + CHECKPOINT_INTERVAL <= now {
            self.checkpoint();
        }
        self.show();
    }
}

/// Counts a report that is taken, once; of passes, what they followed (SPEC 7.7).
fn count_taken(report: &Report, follows: Follows) {
    metrics::counter!(names::REPORT_TAKEN, "kind" => report.kind.label()).increment(1);
    if report.kind == ReportKind::Passed {
        let follows = if report.unasked { names::UNASKED } else { follows.label() };
        metrics::counter!(names::REPORT_PASSED, "follows" => follows).increment(1);
    }
}
