//! The one that writes: batches of all connections that wait are made durable by one commit, and answered then.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kalitka_protocol::EpochId;
use rustix::fs::statvfs;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;

use super::append::{Taken, append};
use super::tables::Tables;
use super::{Checked, Store, StoreError};
use crate::alarms::AlarmKind;
use crate::hub::Hub;
use crate::limits::{
    DISK_RESERVE_BYTES, GROUP_BYTES_MAX, REOPEN_PAUSE_MAX, REOPEN_PAUSE_MIN, STORE_LOOK, STORE_STUCK_AFTER,
    WRITER_WAITING_MAX,
};
use crate::metrics::names;

/// The hub takes nothing now, by no fault of who sent it: a full disk, a store that has failed. Nothing is kept of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the hub takes nothing now; try again later")]
pub(crate) struct NotNow;

/// The epochs that have forked on one connection: the hub takes no more of them there (SPEC 15.13).
#[derive(Clone, Debug, Default)]
pub(crate) struct Forked(Arc<Mutex<BTreeSet<EpochId>>>);

impl Forked {
    fn has(&self, epoch: EpochId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&epoch)
    }

    fn note(&self, epoch: EpochId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(epoch);
    }
}

/// A batch to be kept, and where to say what became of it.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) batch: Checked,
    pub(crate) forked: Forked,
    pub(crate) reply: oneshot::Sender<Result<Taken, NotNow>>,
    /// Its room among what is read and not yet durable.
    #[expect(dead_code, reason = "it is given back when the work is dropped")]
    pub(crate) place: OwnedSemaphorePermit,
}

/// Writes batches to the store, one group after the other.
pub(crate) struct Writer {
    works: mpsc::Receiver<Work>,
    stored: watch::Sender<u64>,
}

impl Writer {
    /// A writer behind the newest event `newest`; where works are given to it, and where it says what is durable.
    pub(crate) fn new(newest: u64) -> (Self, mpsc::Sender<Work>, watch::Receiver<u64>) {
        let (send, works) = mpsc::channel(WRITER_WAITING_MAX);
        let (stored, seen) = watch::channel(newest);
        (Self { works, stored }, send, seen)
    }

    /// Writes until nobody is left to give works. Opens the store again when it fails.
    pub(crate) async fn run(mut self, hub: Arc<Hub>) {
        let mut held = None;
        loop {
            let first = match held.take() {
                Some(work) => Some(work),
                None => tokio::select! {
                    work = self.works.recv() => work,
                    () = hub.store.bell.notified() => {
                        self.reopen(&hub).await;
                        continue;
                    }
                },
            };
            let Some(first) = first else { return };
            let group;
            (group, held) = self.gather(first);
            if !self.write(&hub, group).await {
                self.reopen(&hub).await;
            }
        }
    }

    /// `first` and what else waits, up to [`GROUP_BYTES_MAX`]; and the one for which there was no room.
    fn gather(&mut self, first: Work) -> (Vec<Work>, Option<Work>) {
        let mut bytes = first.batch.len();
        let mut group = vec![first];
        while let Ok(work) = self.works.try_recv() {
            bytes += work.batch.len();
            if bytes > GROUP_BYTES_MAX {
                return (group, Some(work));
            }
            group.push(work);
        }
        (group, None)
    }

    /// Writes and answers; false when the store has failed.
    async fn write(&self, hub: &Arc<Hub>, group: Vec<Work>) -> bool {
        let begun = hub.clock.monotonic();
        let shared = Arc::clone(hub);
        let done = tokio::task::spawn_blocking(move || {
            let done = commit(&shared.store, &group);
            (done, group)
        });
        let Ok((done, group)) = watched(hub, done).await else {
            tracing::error!("the writing of a group has panicked");
            return false;
        };
        match done {
            Ok(taken) => {
                note_commit(&taken, hub.clock.monotonic().saturating_sub(begun));
                let newest = taken.iter().filter_map(|taken| match taken {
                    Taken::Kept { order, .. } => Some(*order),
                    Taken::Fork { .. } | Taken::Dropped => None,
                });
                if let Some(newest) = newest.max() {
                    self.stored.send_if_modified(|stored| std::mem::replace(stored, newest) != newest);
                }
                for (work, taken) in group.into_iter().zip(taken) {
                    // Whoever is gone sends it again.
                    let _ = work.reply.send(Ok(taken));
                }
                true
            }
            Err(error) => {
                hub.alarms.raise(AlarmKind::Store, None, format!("nothing is taken: {error}"));
                for work in group {
                    let _ = work.reply.send(Err(NotNow));
                }
                !hub.store.is_failed()
            }
        }
    }

    /// Opens the store again, however long that takes; whatever comes meanwhile is told so.
    async fn reopen(&mut self, hub: &Arc<Hub>) {
        let mut pause = REOPEN_PAUSE_MIN;
        while hub.store.is_failed() {
            metrics::gauge!(names::STORE_FAILED).set(1.0);
            let until = tokio::time::sleep(pause);
            tokio::pin!(until);
            loop {
                tokio::select! {
                    () = &mut until => break,
                    Some(work) = self.works.recv() => drop(work.reply.send(Err(NotNow))),
                    else => break,
                }
            }
            pause = (pause * 2).min(REOPEN_PAUSE_MAX);
            let shared = Arc::clone(hub);
            let opened = tokio::task::spawn_blocking(move || {
                has_room(&shared.store)?;
                shared.store.reopen()?;
                shared.store.newest()
            });
            match watched(hub, opened).await {
                Ok(Ok(newest)) => {
                    metrics::counter!(names::STORE_REOPENED).increment(1);
                    tracing::warn!(newest, "the store is open again");
                    // A commit that failed may yet have been made.
                    self.stored.send_replace(newest);
                }
                Ok(Err(error)) => hub.alarms.raise(AlarmKind::Store, None, format!("cannot open again: {error}")),
                Err(error) => hub.alarms.raise(AlarmKind::Store, None, format!("opening again has panicked: {error}")),
            }
        }
        metrics::gauge!(names::STORE_FAILED).set(0.0);
    }
}

/// Waits for a step that writes, and says so when the disk keeps it waiting.
async fn watched<T>(hub: &Hub, mut step: JoinHandle<T>) -> Result<T, JoinError> {
    let begun = hub.clock.monotonic();
    let mut is_told = false;
    let done = loop {
        if let Ok(done) = timeout(STORE_LOOK, &mut step).await {
            break done;
        }
        let waited = hub.clock.monotonic().saturating_sub(begun);
        metrics::gauge!(names::STORE_HELD_UP).set(waited.as_secs_f64());
        if waited >= STORE_STUCK_AFTER {
            hub.store.held_up.store(waited.as_secs(), Ordering::Relaxed);
            if !std::mem::replace(&mut is_told, true) {
                let seconds = waited.as_secs();
                let text = format!("the disk has not answered for {seconds} s; nothing is taken until it does");
                hub.alarms.raise(AlarmKind::Store, None, text);
            }
        }
    };
    hub.store.held_up.store(0, Ordering::Relaxed);
    metrics::gauge!(names::STORE_HELD_UP).set(0.0);
    done
}

/// Keeps a group by one commit: all of it, or nothing.
fn commit(store: &Store, group: &[Work]) -> Result<Vec<Taken>, StoreError> {
    has_room(store)?;
    store.write(|transaction| {
        let mut tables = Tables::open(transaction)?;
        group.iter().map(|work| take(&mut tables, work)).collect()
    })
}

/// Batches of one connection are taken in their order, so that what comes behind a fork is known as such.
fn take(tables: &mut Tables<'_>, work: &Work) -> Result<Taken, StoreError> {
    if work.forked.has(work.batch.epoch()) {
        return Ok(Taken::Dropped);
    }
    let taken = append(tables, &work.batch)?;
    if matches!(taken, Taken::Fork { .. }) {
        work.forked.note(work.batch.epoch());
    }
    Ok(taken)
}

/// Whether the file system has more than the reserve: a full disk is met before the store is.
pub(super) fn has_room(store: &Store) -> Result<(), StoreError> {
    let folder = store.path.parent().unwrap_or(&store.path);
    match statvfs(folder) {
        Ok(system) if system.f_bavail.saturating_mul(system.f_frsize) < DISK_RESERVE_BYTES => Err(StoreError::NoRoom),
        _ => Ok(()),
    }
}

fn note_commit(taken: &[Taken], took: Duration) {
    metrics::counter!(names::COMMITS).increment(1);
    metrics::histogram!(names::COMMIT_SECONDS).record(took.as_secs_f64());
    for taken in taken {
        let outcome = match taken {
            Taken::Kept { new: 0, .. } => "repeated",
            Taken::Kept { .. } => "kept",
            Taken::Fork { .. } => "fork",
            Taken::Dropped => "dropped",
        };
        metrics::counter!(names::BATCHES, "outcome" => outcome).increment(1);
        if let Taken::Kept { new, .. } = taken {
            metrics::counter!(names::EVENTS_KEPT).increment(*new);
        }
    }
}
