//! How the journal begins: the newest checkpoint, the outbox, and the fold of what lies behind the one in the other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kalitka_core::{Fold, Keys, Overlay, View};
use kalitka_outbox::{Bounds, EpochSummary, Head, Outbox};
use kalitka_process::age::Age;
use kalitka_protocol::event::{Body, ClockQuality, CommandDone, Events, GatewayStarted};
use kalitka_uplink::HeadSeen;
use tokio::sync::{broadcast, watch};

use super::batch::Batch;
use super::checkpoint::{Checkpoint, Checkpoints};
use super::commands::Commands;
use super::header::{Headers, gateway_boot};
use super::retention::Retention;
use super::ring::Ring;
use super::safety::{Kept, SafetyFile};
use super::status::{JournalStatus, JournalTally};
use super::store::Store;
use super::writer::{Journal, ToRestore};
use crate::clock::Clock;
use crate::limits::REPLAY_BYTES;
use crate::published::Published;
use crate::udp::Posts;

/// The outbox's folder in the state folder.
const OUTBOX_FOLDER: &str = "outbox";

/// What the journal is made of.
pub(crate) struct Setup {
    pub(crate) building: u32,
    pub(crate) state: PathBuf,
    pub(crate) bounds: Bounds,
    /// How long events are kept.
    pub(crate) retention: Age,
    pub(crate) operators: Vec<[u8; 32]>,
    pub(crate) clock: Clock,
    pub(crate) ring: Ring,
    pub(crate) posts: Posts,
    pub(crate) views: Arc<Published<View>>,
    pub(crate) keys: Arc<Published<Keys>>,
    pub(crate) overlay: Arc<Overlay>,
    /// What was read of the safety file; `None` when it is damaged.
    pub(crate) kept: Option<Kept>,
    pub(crate) safety_file: SafetyFile,
    pub(crate) head: watch::Sender<Option<HeadSeen>>,
    pub(crate) live: broadcast::Sender<Arc<[u8]>>,
    pub(crate) status: watch::Sender<JournalStatus>,
    pub(crate) tally: Arc<JournalTally>,
}

impl Journal {
    /// A journal that has not opened anything yet.
    pub(crate) fn new(setup: Setup) -> Self {
        let Setup { building, state, bounds, operators, clock, ring, posts, views, keys, overlay, .. } = setup;
        let safety_damaged = setup.kept.is_none();
        let retention = Retention::new(setup.retention, &state, clock.monotonic());
        Self {
            building,
            clock,
            ring,
            posts,
            views,
            keys,
            overlay,
            head: setup.head,
            live: setup.live,
            status: setup.status,
            tally: setup.tally,
            store: Store::new(state.join(OUTBOX_FOLDER), building, machine_id(), bounds),
            fold: Fold::default(),
            judge: kalitka_core::Judge::default(),
            headers: Headers::new(building, gateway_boot()),
            batch: Batch::default(),
            front: Batch::default(),
            both: Vec::new(),
            losses: super::commit::Losses::default(),
            held_since: None,
            checkpoints: Checkpoints::new(&state),
            to_restore: ToRestore::Unread,
            uncheckpointed: 0,
            is_settled: false,
            checkpointed_at: Duration::ZERO,
            acknowledged: BTreeMap::new(),
            commands: Commands::new(operators),
            safety_file: setup.safety_file,
            kept: setup.kept.unwrap_or_default(),
            unkept: Vec::new(),
            safety_damaged,
            told_later: Vec::new(),
            oldest: None,
            retention,
            crossings: super::show::Crossings::default(),
            state,
        }
    }

    /// Opens the outbox, for the first time or after a failure.
    pub(super) fn open(&mut self) {
        let now = self.clock.monotonic();
        if matches!(self.to_restore, ToRestore::Unread) {
            match self.checkpoints.read(self.store.has_been_patient()) {
                Ok(checkpoint) => self.to_restore = ToRestore::Checkpoint(checkpoint),
                Err(error) => return self.store.unreadable(&error, now),
            }
        }
        let checkpoint = match &self.to_restore {
            ToRestore::Checkpoint(checkpoint) => checkpoint.as_ref(),
            ToRestore::Unread | ToRestore::Done => None,
        };
        let known = checkpoint.map(|checkpoint| checkpoint.head);
        let earlier = checkpoint.map(Checkpoint::earlier).unwrap_or_default();
        let was_poisoned = self.store.opened().is_some_and(Outbox::is_poisoned);
        if !self.store.open(known, &earlier, now) {
            return;
        }
        if was_poisoned {
            // What was to give way is there again.
            self.losses.bound.clear();
            self.retention.record = None;
        }
        if let ToRestore::Checkpoint(checkpoint) = &self.to_restore {
            if let Err(error) = self.restore(checkpoint.clone()) {
                self.store.failed(&error, now);
                return;
            }
            self.to_restore = ToRestore::Done;
            self.tell_the_clock();
            self.begin_run();
        }
        self.acknowledge_again();
        self.commit();
        if self.checkpoints.is_damaged {
            // Whatever else falls over now, something still knows what there was.
            self.checkpoint();
        }
        self.show_head();
        self.show();
    }

    /// Makes the fold: the checkpoint's, with every event behind it applied.
    fn restore(&mut self, checkpoint: Option<Checkpoint>) -> Result<(), kalitka_outbox::StoreError> {
        let is_complete = checkpoint.is_some() && self.store.beginning().is_empty();
        let Some(outbox) = self.store.outbox() else { return Ok(()) };
        let from = checkpoint.as_ref().map(|checkpoint| checkpoint.head);
        // What the checkpoint has as acknowledged may be more than the hub had at its last position, which the outbox knows: a
        // hub that was set back lacks it, and it must not leave before the next position says how it stands.
        let mut fold = checkpoint.map(|checkpoint| checkpoint.fold).unwrap_or_default();
        replay(outbox, from, &mut fold)?;
        if let Some(older) = self.checkpoints.older {
            outbox.set_floor(older);
        }
        self.fold = fold;
        self.take_over_orders(is_complete);
        Ok(())
    }

    /// The orders of the safety file and those of the fold become one, the newest of each.
    fn take_over_orders(&mut self, is_complete: bool) {
        let last_command = self.views.load().as_ref().map_or(0, |view| view.snapshot().header().last_command);
        self.fold.safety_mut().prune(last_command);
        let folded = self.fold.safety().clone();
        self.record_unrecorded(folded.newest().map(|(number, _)| number));
        let full = self.kept.safety.merge(&folded).is_err() | self.overlay.restore(folded.orders().entries()).is_err();
        if full {
            tracing::error!("the overlay is full; publish a snapshot that contains the commands given so far");
        }
        if self.safety_damaged && is_complete {
            self.overlay.lift_safe_mode();
            self.safety_damaged = false;
            tracing::warn!("the orders in force were read from the outbox; the safety file is written anew");
            if let Err(error) = self.safety_file.write(&self.kept) {
                tracing::error!(%error, "cannot write the safety file");
            }
        }
    }

    /// An order that was kept but whose event is not durable: the power went in between. Nobody was told of it yet.
    fn record_unrecorded(&mut self, recorded: Option<u64>) {
        let Some((number, outcome)) = self.kept.safety.newest() else { return };
        let Some((operator, body)) = self.kept.newest.clone().filter(|_| recorded < Some(number)) else { return };
        let result = outcome.code();
        self.push_now(Body::Command(CommandDone { number, operator, reader: 0, result, body: &body }));
    }

    /// The newest event's time has passed, if it was known.
    fn tell_the_clock(&mut self) {
        let Some(outbox) = self.store.outbox() else { return };
        let Head { epoch, number, .. } = outbox.head();
        let Ok(Some(run)) = outbox.read(epoch, number, 1) else { return };
        let newest = Events::new(&run.events).flatten().last().map(|event| event.header);
        if let Some(header) = newest.filter(|header| header.quality != ClockQuality::None) {
            self.clock.committed(header.wall_us);
        }
    }

    /// The first event of a run of the process.
    fn begin_run(&mut self) {
        let readers = self.keys.load().as_ref().map_or(0, |keys| keys.iter().count());
        let readers = u32::try_from(readers).unwrap_or(u32::MAX);
        let version = env!("CARGO_PKG_VERSION").as_bytes();
        self.push_now(Body::GatewayStarted(GatewayStarted { readers, version }));
    }
}

/// Applies to `fold` every event behind `from`, epoch by epoch in their order; all when there is no `from`.
fn replay(outbox: &mut Outbox, from: Option<Head>, fold: &mut Fold) -> Result<(), kalitka_outbox::StoreError> {
    let mut epochs: Vec<EpochSummary> = outbox.epochs();
    epochs.reverse();
    // Events that are applied again change nothing, so an epoch that is not held any more means all of them.
    let begun = from.and_then(|from| epochs.iter().position(|of| of.epoch == from.epoch)).unwrap_or(0);
    for of in &epochs[begun..] {
        let behind = from.filter(|from| from.epoch == of.epoch).map_or(0, |from| from.number);
        let mut next = of.oldest.max(behind + 1);
        while next <= of.last
            && let Some(run) = outbox.read(of.epoch, next, REPLAY_BYTES)?
        {
            for event in Events::new(&run.events).flatten() {
                // An event of a kind or with codes of a later version tells this one nothing.
                if let Ok(event) = event.event() {
                    fold.apply(&event);
                }
            }
            next = run.first + u64::from(run.count);
        }
    }
    Ok(())
}

/// The machine's id; zeros when it has none.
pub(crate) fn machine_id() -> [u8; 16] {
    let text = std::fs::read_to_string(Path::new("/etc/machine-id")).unwrap_or_default();
    let mut id = [0; 16];
    if hex::decode_to_slice(text.trim(), &mut id).is_err() {
        return [0; 16];
    }
    id
}
