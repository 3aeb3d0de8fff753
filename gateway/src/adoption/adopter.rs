//! Adopts: verifies off the workers, keeps a copy, publishes; and builds the plans anew at schedule borders.
//!
//! A refused file changes nothing: what is in force stays. Each refusal raises a metric and writes one log line, once for
//! each file as it is. What is verified was read once, into memory of our own, and is what is used.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use kalitka_core::{Overlay, UnixSeconds, View};
use kalitka_protocol::upstream::snapshot_result;
use kalitka_snapshot::{AlignedBytes, HEADER_LEN, Header, PublisherKey, Refused, Snapshot};
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};

use super::inbox::Inbox;
use super::shelf::Shelf;
use super::staleness::Staleness;
use crate::clock::Clock;
use crate::config::Config;
use crate::failure::Failure;
use crate::journal::{Door, Work};
use crate::limits::{ADOPT_AGAIN_AFTER, ADOPTER_NICENESS, SCHEDULE_TICK};
use crate::metrics::{Histogram, names};
use crate::published::Published;
use crate::thread;
use crate::timekeeping::{Timekeeping, Turn};

/// Take this file, whatever folder it is in.
pub(crate) struct Order {
    pub(crate) file: PathBuf,
    pub(crate) reply: Reply,
}

/// Who hears what became of a file.
pub(crate) enum Reply {
    /// A person, in words.
    Control(oneshot::Sender<Result<Summary, String>>),
    /// The hub, by the codes of SPEC 15.12.
    Hub(oneshot::Sender<u8>),
}

/// A snapshot in few words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) generation: u32,
    /// When it was built, in seconds since 1970.
    pub(crate) created: i64,
    pub(crate) entries: u64,
    /// Who signed it: a public key in hex.
    pub(crate) publisher: String,
}

impl Summary {
    fn of(snapshot: &Snapshot) -> Self {
        let header = snapshot.header();
        Self {
            generation: header.generation,
            created: header.created,
            entries: header.entries,
            publisher: header.publisher.to_string(),
        }
    }
}

/// How matters stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standing {
    /// The snapshot in force.
    pub(crate) in_force: Option<Summary>,
    /// From when on only essential access levels of it count, in seconds since 1970; `None` for never.
    #[serde(default)]
    pub(crate) stale_from: Option<i64>,
    /// Whether that is now.
    #[serde(default)]
    pub(crate) is_stale: bool,
    /// Highest generation ever adopted; an older snapshot is refused.
    pub(crate) floor: u32,
    /// The newest refusal since the start.
    pub(crate) refused: Option<RefusedFile>,
}

impl Standing {
    /// Remembers a file that was refused; without one, that a snapshot has been put into force.
    fn remember(&mut self, refused: Option<RefusedFile>) {
        let before = self.refused.take();
        let (number, was_open) = before.as_ref().map_or((0, false), |before| (before.number, before.is_open));
        self.refused = match refused {
            Some(refused) => {
                let is_open = refused.is_open || was_open;
                Some(RefusedFile { number: number.saturating_add(1), is_open, ..refused })
            }
            None => before.map(|before| RefusedFile { is_open: false, ..before }),
        };
    }
}

/// A file that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RefusedFile {
    /// Its path, made fit for a terminal and a log: who names files must not write lines there.
    pub(crate) file: String,
    /// The metric's label.
    pub(crate) reason: String,
    pub(crate) error: String,
    /// How many had been refused since the start, with this one.
    #[serde(skip)]
    pub(crate) number: u64,
    /// Whether somebody is to look at it, or at one before it: nothing was put into force since, and it was not in force
    /// itself, nor lay there, too old, when the gateway started.
    #[serde(skip)]
    pub(crate) is_open: bool,
}

/// Why a file is not adopted.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Snapshot(Refused),
    #[error(
        "it cannot be read: {0}; check that it exists and that the gateway may read it (of \
             /home and /tmp its unit sees nothing: copy the file into the inbox)"
    )]
    Unreadable(io::Error),
    #[error("its generation {found} is not above {floor}, the highest adopted; publish a newer one")]
    Generation { found: u32, floor: u32 },
    #[error("it is in force already")]
    InForce,
    #[error("the state folder does not take it: {0}; make room or repair the disk")]
    NotKept(io::Error),
}

/// The labels of refusals that are not the snapshot's own.
pub(super) const GENERATION: &str = "generation";
pub(super) const UNREADABLE: &str = "unreadable";
const NOT_KEPT: &str = "not_kept";
const IN_FORCE: &str = "in_force";

impl Refusal {
    /// Whether the file may be good, and only the machine does not allow its adoption now.
    const fn may_pass(&self) -> bool {
        matches!(self, Self::Unreadable(_) | Self::NotKept(_))
    }

    /// What the hub is told (SPEC 15.12).
    fn code(&self) -> u8 {
        match self {
            Self::Snapshot(refused) => {
                let step = Refused::LABELS.iter().position(|label| *label == refused.label());
                step.and_then(|step| u8::try_from(step + 1).ok()).unwrap_or(snapshot_result::NOT_KEPT)
            }
            Self::Generation { .. } => snapshot_result::GENERATION_NOT_ABOVE,
            Self::InForce => snapshot_result::ADOPTED,
            Self::Unreadable(_) | Self::NotKept(_) => snapshot_result::NOT_KEPT,
        }
    }

    const fn label(&self) -> &'static str {
        match self {
            Self::Snapshot(refused) => refused.label(),
            Self::Unreadable(_) => UNREADABLE,
            Self::Generation { .. } => GENERATION,
            Self::InForce => IN_FORCE,
            Self::NotKept(_) => NOT_KEPT,
        }
    }
}

/// The one who publishes views.
pub(crate) struct Adopter {
    building: u32,
    publishers: Vec<PublisherKey>,
    poll: Duration,
    shelf: Shelf,
    inbox: Inbox,
    /// Whether the inbox's folder could be read the last time.
    inbox_readable: bool,
    /// Whether its files have been seen once.
    has_looked: bool,
    /// Files of the inbox that the machine did not let be adopted, and when they are given again.
    again: Option<(Duration, Vec<PathBuf>)>,
    clock: Clock,
    time: Timekeeping,
    staleness: Staleness,
    /// Names of the access levels whose schedules do not count while time is held, and that alone count by a stale snapshot.
    essential: Vec<String>,
    views: Arc<Published<View>>,
    overlay: Arc<Overlay>,
    journal: Door,
    /// How long plans take to build.
    plans: Arc<Histogram>,
    /// An adoption that the journal had no room for yet.
    unrecorded: Option<Work>,
    in_force: Option<Arc<View>>,
    standing: watch::Sender<Standing>,
}

impl Adopter {
    /// An adopter that has put into force what the state folder keeps, or else what the inbox holds, if anything. Of `overlay`
    /// it takes away what a snapshot contains, and it tells `journal` of adoptions.
    ///
    /// # Errors
    /// [`Failure`] when the state folder cannot be used. A damaged copy is none: it is logged and counted, and the inbox
    /// may bring it anew.
    pub(crate) fn start(
        config: &Config,
        publishers: Vec<PublisherKey>,
        (views, overlay): (Arc<Published<View>>, Arc<Overlay>),
        (journal, clock): (Door, Clock),
        plans: Arc<Histogram>,
    ) -> Result<Self, Failure> {
        let mut shelf = Shelf::open(&config.state)?;
        let kept = shelf.load(&publishers, config.building);
        let inbox = Inbox::new(config.snapshots.inbox.clone());
        let standing = watch::Sender::new(Standing { floor: shelf.floor, ..Standing::default() });
        let (building, poll) = (config.building, config.poll());
        let mut adopter = Self {
            building,
            publishers,
            poll,
            shelf,
            inbox,
            inbox_readable: true,
            has_looked: false,
            again: None,
            time: Timekeeping::new(clock.clone(), config.time.trust),
            staleness: Staleness::new(config.snapshots.stale_after_days),
            essential: config.time.essential.clone(),
            clock,
            views,
            overlay,
            journal,
            plans,
            unrecorded: None,
            in_force: None,
            standing,
        };
        adopter.show(None);
        for reason in Refused::LABELS.into_iter().chain([GENERATION, UNREADABLE, NOT_KEPT, IN_FORCE]) {
            metrics::counter!(names::SNAPSHOT_REFUSED, "reason" => reason).absolute(0);
        }
        match kept {
            Some(Ok(snapshot)) => adopter.put_in_force(snapshot),
            Some(Err(error)) => {
                let reason = error.label();
                metrics::counter!(names::SNAPSHOT_REFUSED, "reason" => reason).increment(1);
                tracing::error!(reason, %error, "the kept snapshot cannot be used; waiting for one in the inbox");
                adopter.look_into_inbox();
            }
            None => adopter.look_into_inbox(),
        }
        adopter.follow_time();
        Ok(adopter)
    }

    /// How matters stand, now and later.
    pub(crate) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Watches the inbox and the schedule, and takes orders, until nobody can give any.
    ///
    /// Each time round it also calls `settle`, for what else is to be written until it is.
    pub(crate) fn run(mut self, orders: &Receiver<Order>, settle: &dyn Fn()) {
        // To verify a large file takes a while; where cores are few, who answers goes first.
        thread::give_way(ADOPTER_NICENESS, "adoption");
        let mut next_look = Duration::ZERO;
        loop {
            let until_look = next_look.saturating_sub(self.clock.monotonic());
            match orders.recv_timeout(until_look.min(SCHEDULE_TICK)) {
                Ok(Order { file, reply }) => self.obey(&file, reply),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // Due by the clock: neither orders that keep coming nor a long poll put the rest off.
            if next_look <= self.clock.monotonic() {
                self.look_into_inbox();
                next_look = self.clock.monotonic() + self.poll;
            }
            self.unrecorded = self.unrecorded.take().and_then(|adopted| self.journal.adopted(adopted));
            self.follow_time();
            self.shelf.settle();
            settle();
            self.views.reap();
        }
    }

    fn obey(&mut self, file: &Path, reply: Reply) {
        let done = self.adopt(file);
        let code = done.as_ref().map_or_else(Refusal::code, |_| snapshot_result::ADOPTED);
        let done = done.map_err(|refusal| self.refuse(file, &refusal));
        // Who asked may be gone.
        match reply {
            Reply::Control(reply) => drop(reply.send(done)),
            Reply::Hub(reply) => drop(reply.send(code)),
        }
    }

    fn look_into_inbox(&mut self) {
        if let Some((_, files)) = self.again.take_if(|(due, _)| *due <= self.clock.monotonic()) {
            files.iter().for_each(|file| self.inbox.forget(file));
        }
        let changed = self.inbox.changed();
        if let Err(error) = changed.as_ref()
            && self.inbox_readable
        {
            tracing::error!(folder = %self.inbox.folder().display(), %error, "cannot look into the inbox");
        }
        self.inbox_readable = changed.is_ok();
        for file in changed.unwrap_or_default() {
            match self.adopt(&file) {
                // The file that was adopted stays where it is; so it is seen again after a restart.
                Ok(_) | Err(Refusal::InForce) => {}
                Err(refusal) => {
                    self.refuse(&file, &refusal);
                    if refusal.may_pass() {
                        let due = self.clock.monotonic() + ADOPT_AGAIN_AFTER;
                        self.again.get_or_insert_with(|| (due, Vec::new())).1.push(file);
                    }
                }
            }
        }
        self.has_looked |= self.inbox_readable;
    }

    /// Puts the snapshot in `file` into force.
    fn adopt(&mut self, file: &Path) -> Result<Summary, Refusal> {
        let snapshot = self.verify(file)?;
        self.shelf.keep(&snapshot).map_err(Refusal::NotKept)?;
        let summary = Summary::of(&snapshot);
        let (last_command, hash) = (snapshot.header().last_command, snapshot.header().archive_hash);
        metrics::counter!(names::SNAPSHOT_ADOPTED).increment(1);
        self.put_in_force(snapshot);
        let adopted = Work::Adopted { generation: summary.generation, last_command, hash };
        self.unrecorded = self.journal.adopted(adopted);
        Ok(summary)
    }

    /// What the header alone rules out is not read any further: neither the file that was adopted and lies in the inbox, nor
    /// something huge that is no snapshot of ours, may cost its size in memory.
    fn verify(&self, file: &Path) -> Result<Snapshot, Refusal> {
        let (head, len) = read_head(file).map_err(Refusal::Unreadable)?;
        let in_force = self.in_force.as_ref().map(|view| view.snapshot().bytes());
        if in_force.is_some_and(|bytes| len == bytes.len() as u64 && bytes.starts_with(&head)) {
            return Err(Refusal::InForce);
        }
        let header = Header::parse(&head).map_err(Refusal::Snapshot)?;
        header.check(len, &self.publishers, self.building).map_err(Refusal::Snapshot)?;
        self.check_generation(header.generation)?;
        let bytes = AlignedBytes::read(file).map_err(Refusal::Unreadable)?;
        let snapshot = Snapshot::verify(bytes, &self.publishers, self.building).map_err(Refusal::Snapshot)?;
        // The file may have become another meanwhile; this one is what is used.
        self.check_generation(snapshot.header().generation)?;
        Ok(snapshot)
    }

    fn check_generation(&self, found: u32) -> Result<(), Refusal> {
        let floor = self.shelf.floor;
        // With nothing in force the newest one adopted may come back: its kept copy was damaged.
        // 0 stands for none.
        let refused = found == 0 || if self.in_force.is_some() { found <= floor } else { found < floor };
        if refused { Err(Refusal::Generation { found, floor }) } else { Ok(()) }
    }

    fn put_in_force(&mut self, snapshot: Snapshot) {
        let Summary { generation, entries, .. } = Summary::of(&snapshot);
        let (last_command, created) = (snapshot.header().last_command, snapshot.header().created);
        self.warn_of_missing(&snapshot);
        self.time.adopted(UnixSeconds(created));
        let turn = self.time.look();
        self.publish(Arc::new(snapshot), turn);
        // After the snapshot, so that at no moment neither holds.
        self.overlay.prune(last_command);
        self.show(None);
        tracing::info!(generation, entries, "snapshot in force");
    }

    fn refuse(&self, file: &Path, refusal: &Refusal) -> String {
        let (reason, error) = (refusal.label(), refusal.to_string());
        let file = file.display().to_string().escape_debug().to_string();
        let is_old = matches!(refusal, Refusal::Generation { .. }) && !self.has_looked;
        let is_open = !is_old && !matches!(refusal, Refusal::InForce);
        let shown = RefusedFile { file: file.clone(), reason: reason.into(), error: error.clone(), number: 0, is_open };
        // Shown before it is told: who hears of it may ask at once.
        self.show(Some(shown));
        metrics::counter!(names::SNAPSHOT_REFUSED, "reason" => reason).increment(1);
        tracing::warn!(file, reason, error, "snapshot refused; the one in force stays");
        error
    }

    /// Says which essential access levels the snapshot does not have: nobody passes by them in doubt.
    fn warn_of_missing(&self, snapshot: &Snapshot) {
        let levels = &snapshot.model().access_levels;
        let is_missing = |name: &&String| levels.iter().all(|level| level.name != name.as_str());
        for level in self.essential.iter().filter(is_missing) {
            tracing::warn!(level, "time.essential names an access level that the snapshot does not have");
        }
    }

    /// Reads the clocks. Builds the view anew when its first plan is over, the second one is in force meanwhile, or when time
    /// jumps.
    fn follow_time(&mut self) {
        let turn = self.time.look();
        let due = self.in_force.as_ref().filter(|view| view.is_due(turn.to));
        match due.map(|view| Arc::clone(view.snapshot())) {
            Some(snapshot) => self.publish(snapshot, turn),
            None => self.settle(turn),
        }
    }

    /// The view is there before time is what it was built for, and has a plan for both until then.
    fn publish(&mut self, snapshot: Arc<Snapshot>, turn: Turn) {
        let (stale_from, begun) = (self.staleness.from(snapshot.header().created), self.clock.monotonic());
        let view = View::build(snapshot, turn.to).with_essential(&self.essential).leaving(turn.from);
        let view = Arc::new(match stale_from {
            Some(second) => view.stale_from(second),
            None => view,
        });
        self.plans.record(self.clock.monotonic().saturating_sub(begun));
        metrics::counter!(names::SNAPSHOT_PLANS).increment(2);
        // The last one's Arc goes before it is retired, so that only workers can still hold it.
        self.in_force = Some(Arc::clone(&view));
        self.views.publish(view);
        self.settle(turn);
    }

    /// From now on it is decided by the time that `turn` has found; whether the snapshot is stale then is told.
    fn settle(&mut self, turn: Turn) {
        self.time.settle(turn);
        let Some((view, now)) = self.in_force.as_ref().zip(turn.known()) else { return };
        show_age(view.snapshot(), now);
        let is_stale = view.is_stale(now);
        if self.staleness.tell(is_stale) {
            self.standing.send_modify(|standing| standing.is_stale = is_stale);
        }
    }

    fn show(&self, refused: Option<RefusedFile>) {
        let in_force = self.in_force.as_ref().map(|view| Summary::of(view.snapshot()));
        let summary = in_force.as_ref();
        let stale_from = summary.and_then(|summary| self.staleness.from(summary.created));
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; the numbers stay far below 2^52")]
        {
            metrics::gauge!(names::SNAPSHOT_GENERATION).set(summary.map_or(0.0, |s| f64::from(s.generation)));
            metrics::gauge!(names::SNAPSHOT_CREATED).set(summary.map_or(0.0, |s| s.created as f64));
            metrics::gauge!(names::SNAPSHOT_ENTRIES).set(summary.map_or(0.0, |s| s.entries as f64));
        }
        self.standing.send_modify(|standing| {
            standing.in_force = in_force;
            standing.stale_from = stale_from.map(|second| second.0);
            standing.floor = self.shelf.floor;
            standing.remember(refused);
        });
    }
}

/// Shows how old the permissions of `snapshot` are at `now`.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; a century has far fewer than 2^52 seconds")]
fn show_age(snapshot: &Snapshot, now: UnixSeconds) {
    let age = now.0.saturating_sub(snapshot.header().created).max(0);
    metrics::gauge!(names::PERMISSIONS_AGE).set(age as f64);
}

/// The first [`HEADER_LEN`] bytes of a regular file, or all of a shorter one, and its length.
fn read_head(path: &Path) -> io::Result<(Vec<u8>, u64)> {
    // Opening a pipe would wait for its other end.
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut head = Vec::with_capacity(HEADER_LEN);
    File::open(path)?.take(HEADER_LEN as u64).read_to_end(&mut head)?;
    Ok((head, metadata.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_is_over_with_the_next_adoption_and_each_is_counted() {
        let mut standing = Standing::default();
        let text = String::new;
        let refused = || RefusedFile { file: text(), reason: text(), error: text(), number: 0, is_open: true };
        let told = |standing: &Standing| standing.refused.as_ref().map(|refused| (refused.number, refused.is_open));
        standing.remember(Some(refused()));
        assert_eq!(told(&standing), Some((1, true)));
        standing.remember(None);
        assert_eq!(told(&standing), Some((1, false)));
        // The same file once more.
        standing.remember(Some(refused()));
        assert_eq!(told(&standing), Some((2, true)));
        standing.remember(Some(RefusedFile { is_open: false, ..refused() }));
        assert_eq!(told(&standing), Some((3, true)), "one that nobody waits for hides none");
    }
}
