//! What ails the disk, and whom it strikes.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::pages::Pages;

/// How long any operation waits at most.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

/// What somebody does to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Opens it for reading.
    Open,
    /// Opens it for writing.
    OpenToWrite,
    /// Reads from it.
    Read,
    /// Writes to it, cuts it, or takes room for it.
    Write,
    /// Syncs it: `fsync` or `fdatasync`.
    Sync,
    /// Syncs a folder.
    SyncFolder,
    /// Makes a file or a folder.
    Create,
    /// Puts it in the place of another; its new name counts.
    Rename,
    /// Removes it.
    Remove,
}

/// What a disk that takes nothing refuses.
pub const CHANGES: &[Op] = &[Op::OpenToWrite, Op::Write, Op::Create, Op::Rename, Op::Remove];

/// What becomes of an operation that is struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ill {
    /// It fails with EIO.
    Io,
    /// It fails with ENOSPC.
    NoSpace,
    /// It fails with EROFS.
    ReadOnly,
    /// Of more than one byte the first half is written or read.
    Short,
    /// It is done so much later.
    Slow(Duration),
    /// It is done when the fault is lifted.
    Hangs,
}

/// A fault of the disk.
#[derive(Clone, Debug)]
pub struct Fault {
    ops: Vec<Op>,
    ill: Ill,
    /// Part of the paths that it strikes, from the disk's root on: `/outbox/store.a`.
    of: String,
    every: u64,
    times: u64,
}

impl Fault {
    /// Strikes each of `ops`, on every file.
    #[must_use]
    pub fn new(ops: &[Op], ill: Ill) -> Self {
        Self { ops: ops.to_vec(), ill, of: String::new(), every: 1, times: u64::MAX }
    }

    /// Only on paths that contain `part`. Paths begin at the disk's root, which is `/`.
    #[must_use]
    pub fn of(mut self, part: &str) -> Self {
        part.clone_into(&mut self.of);
        self
    }

    /// Only each `n`th time, the first `n`th one first.
    #[must_use]
    pub const fn every(mut self, n: u64) -> Self {
        self.every = n;
        self
    }

    /// Only the next `k` times.
    #[must_use]
    pub const fn next(mut self, k: u64) -> Self {
        self.times = k;
        self
    }
}

/// Names a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultId(usize);

/// What becomes of one operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// For how long it waits first, and for which fault to be lifted.
    pub(super) wait: Duration,
    pub(super) hangs: Option<FaultId>,
    pub(super) error: Option<Errno>,
    pub(super) is_short: bool,
}

impl Verdict {
    pub(super) const fn is_at_once(&self) -> bool {
        self.wait.is_zero() && self.hangs.is_none()
    }

    fn take(&mut self, id: FaultId, ill: Ill) {
        match ill {
            Ill::Io => self.error = self.error.or(Some(Errno::IO)),
            Ill::NoSpace => self.error = self.error.or(Some(Errno::NOSPC)),
            Ill::ReadOnly => self.error = self.error.or(Some(Errno::ROFS)),
            Ill::Short => self.is_short = true,
            Ill::Slow(by) => self.wait = (self.wait + by).min(WAIT_MAX),
            Ill::Hangs => self.hangs = Some(id),
        }
    }
}

#[derive(Debug)]
struct Active {
    fault: Fault,
    met: u64,
    struck: u64,
    is_over: bool,
}

#[derive(Debug, Default)]
struct State {
    faults: Vec<Active>,
    free: Option<u64>,
    waiting: usize,
    /// The disk is gone: nothing strikes any more.
    is_closed: bool,
}

/// The faults of one disk, and who waits for them.
#[derive(Debug, Default)]
pub(super) struct Ward {
    state: Mutex<State>,
    lifted: Condvar,
    pages: Mutex<Pages>,
}

impl Ward {
    pub(super) fn add(&self, fault: Fault) -> FaultId {
        let mut state = self.state();
        state.faults.push(Active { fault, met: 0, struck: 0, is_over: false });
        FaultId(state.faults.len() - 1)
    }

    pub(super) fn lift(&self, id: FaultId) {
        self.state().faults[id.0].is_over = true;
        self.lifted.notify_all();
    }

    pub(super) fn heal(&self) {
        let mut state = self.state();
        state.faults.iter_mut().for_each(|active| active.is_over = true);
        state.free = None;
        drop(state);
        self.lifted.notify_all();
    }

    pub(super) fn close(&self) {
        self.state().is_closed = true;
        self.heal();
    }

    pub(super) fn struck(&self, id: FaultId) -> u64 {
        self.state().faults[id.0].struck
    }

    pub(super) fn waiting(&self) -> usize {
        self.state().waiting
    }

    pub(super) fn say_free(&self, bytes: Option<u64>) {
        self.state().free = bytes;
    }

    pub(super) fn free(&self) -> Option<u64> {
        self.state().free
    }

    pub(super) fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What becomes of `op` on the file at `path`, which is asked for only if some fault may strike.
    pub(super) fn verdict(&self, op: Op, path: impl FnOnce() -> String) -> Verdict {
        let mut state = self.state();
        let mut verdict = Verdict::default();
        let may_strike = |active: &&mut Active| !active.is_over && active.fault.ops.contains(&op);
        if state.is_closed || state.faults.iter_mut().find(may_strike).is_none() {
            return verdict;
        }
        let path = path();
        for (place, active) in state.faults.iter_mut().enumerate() {
            if !may_strike(&active) || !path.contains(&active.fault.of) {
                continue;
            }
            active.met += 1;
            if !active.met.is_multiple_of(active.fault.every) {
                continue;
            }
            active.struck += 1;
            active.is_over = active.struck >= active.fault.times && active.fault.ill != Ill::Hangs;
            if active.struck <= active.fault.times {
                verdict.take(FaultId(place), active.fault.ill);
            }
        }
        verdict
    }

    /// Waits as `verdict` says; the calling thread is one of its own.
    pub(super) fn wait(&self, verdict: &Verdict) {
        let since = Instant::now();
        let bound = if verdict.hangs.is_some() { WAIT_MAX } else { verdict.wait };
        let mut state = self.state();
        state.waiting += 1;
        let goes_on = |state: &State| {
            let is_lifted = verdict.hangs.is_none_or(|id| state.faults[id.0].is_over);
            state.is_closed || (is_lifted && since.elapsed() >= verdict.wait)
        };
        while !goes_on(&state) && since.elapsed() < bound {
            let patience = bound.saturating_sub(since.elapsed()).min(Duration::from_millis(50));
            state = self.lifted.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.waiting -= 1;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
