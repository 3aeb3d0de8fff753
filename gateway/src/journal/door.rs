//! The way into the journal: a ring that nobody waits at.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SendError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use kalitka_core::Decided;
use kalitka_protocol::ReaderId;
use kalitka_protocol::limits::HOLDER_MAX;
use kalitka_protocol::message::Report;
use kalitka_protocol::upstream::CommandOutcome;
use kalitka_uplink::{Busy, Request};

use crate::limits::JOURNAL_WAITING_MAX;

/// When something happened, by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Microseconds since 1970.
    pub(crate) wall_us: i64,
    pub(crate) monotonic: Duration,
}

/// Whose card it was: the opaque identity, or nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Holder {
    bytes: [u8; HOLDER_MAX],
}

impl Holder {
    /// The identity as a snapshot has it, padded with zeros.
    pub(crate) const fn new(bytes: [u8; HOLDER_MAX]) -> Self {
        Self { bytes }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        let len = self.bytes.iter().position(|&byte| byte == 0).unwrap_or(HOLDER_MAX);
        &self.bytes[..len]
    }
}

/// What the journal is given.
pub(crate) enum Work {
    /// An ask was decided.
    Decided { at: Moment, decided: Decided, holder: Holder },
    /// A reader has reported.
    Reported { at: Moment, reader: ReaderId, report: Report },
    /// A command to a reader has come to its end.
    CommandEnded { reader: ReaderId, id: u64, outcome: CommandOutcome },
    /// A snapshot has come into force.
    Adopted { generation: u32, last_command: u64, hash: [u8; 32] },
    /// The uplink asks. In a box: a position is large, and the ring has room for the largest.
    Uplink(Box<Request>),
    /// Everything before this is to be made durable; then the journal ends.
    Stop,
}

/// Where work is handed in.
#[derive(Clone)]
pub(crate) struct Door {
    ring: SyncSender<Work>,
    counts: Arc<Counts>,
}

/// Where work is taken out.
pub(crate) struct Ring {
    ring: Receiver<Work>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    waiting: AtomicUsize,
    decisions_lost: AtomicU64,
    reports_dropped: AtomicU64,
}

/// A ring and its two ends.
pub(crate) fn ring() -> (Door, Ring) {
    let (door, ring) = sync_channel(JOURNAL_WAITING_MAX);
    let counts = Arc::<Counts>::default();
    (Door { ring: door, counts: Arc::clone(&counts) }, Ring { ring, counts })
}

impl Door {
    /// Hands in a decision; one that finds no room is counted, and the count becomes an event (SPEC 14.8).
    pub(crate) fn decided(&self, at: Moment, decided: Decided, holder: Holder) {
        if self.hand_in(Work::Decided { at, decided, holder }).is_err() {
            self.counts.decisions_lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Hands in a report; one that finds no room gets no receipt, so its reader sends it again.
    pub(crate) fn reported(&self, at: Moment, reader: ReaderId, report: Report) {
        if self.hand_in(Work::Reported { at, reader, report }).is_err() {
            self.counts.reports_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Hands in what became of a command. If there is no room, the journal gives the command up by itself.
    pub(crate) fn command_ended(&self, reader: ReaderId, id: u64, outcome: CommandOutcome) {
        let _ = self.hand_in(Work::CommandEnded { reader, id, outcome });
    }

    /// Hands in an adoption; gives it back when there is no room.
    pub(crate) fn adopted(&self, adopted: Work) -> Option<Work> {
        match self.hand_in(adopted) {
            Err(TrySendError::Full(adopted)) => Some(adopted),
            Ok(()) | Err(TrySendError::Disconnected(_)) => None,
        }
    }

    /// Hands in a request of the uplink.
    ///
    /// # Errors
    /// [`Busy`] when there is no room.
    pub(crate) fn uplink(&self, request: Request) -> Result<(), Busy> {
        self.hand_in(Work::Uplink(Box::new(request))).map_err(|_| Busy)
    }

    /// Hands in what must not be left out, and waits for room.
    pub(crate) fn wait_to_hand_in(&self, work: Work) {
        self.counts.waiting.fetch_add(1, Ordering::Relaxed);
        if let Err(SendError(_)) = self.ring.send(work) {
            self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn hand_in(&self, work: Work) -> Result<(), TrySendError<Work>> {
        // Before it can be taken out, so that the count never wraps.
        self.counts.waiting.fetch_add(1, Ordering::Relaxed);
        self.ring.try_send(work).inspect_err(|_| {
            self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
        })
    }
}

impl Ring {
    pub(super) fn next_within(&self, patience: Duration) -> Result<Work, RecvTimeoutError> {
        self.ring.recv_timeout(patience).inspect(|_| self.taken())
    }

    pub(super) fn next(&self) -> Option<Work> {
        self.ring.try_recv().ok().inspect(|_| self.taken())
    }

    /// How much waits.
    pub(super) fn waiting(&self) -> usize {
        self.counts.waiting.load(Ordering::Relaxed)
    }

    /// Decisions that found no room since the last call.
    pub(super) fn take_decisions_lost(&self) -> u64 {
        self.counts.decisions_lost.swap(0, Ordering::Relaxed)
    }

    /// Reports that found no room since the last call.
    pub(super) fn take_reports_dropped(&self) -> u64 {
        self.counts.reports_dropped.swap(0, Ordering::Relaxed)
    }

    fn taken(&self) {
        self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kalitka_core::Decision;
    use kalitka_protocol::BootId;
    use kalitka_protocol::reason::{Denial, Direction, Verdict};

    fn decided() -> Decided {
        let decision = Decision {
            verdict: Verdict::Deny(Denial::NoSnapshot),
            credential: None,
            holder: None,
            profile: None,
            portal: None,
            generation: 0,
            hold_open_ms: 0,
        };
        Decided { reader: ReaderId(1), boot: BootId(1), request: 1, direction: Direction::Entry, age_ms: 0, decision }
    }

    #[test]
    fn full_ring_counts_what_it_does_not_take_and_nobody_waits() {
        let (door, ring) = ring();
        let at = Moment { wall_us: 0, monotonic: Duration::ZERO };
        for _ in 0..JOURNAL_WAITING_MAX + 7 {
            door.decided(at, decided(), Holder::default());
        }
        assert_eq!((ring.waiting(), ring.take_decisions_lost()), (JOURNAL_WAITING_MAX, 7));
        assert_eq!(ring.take_decisions_lost(), 0);
        assert!(ring.next().is_some());
        door.decided(at, decided(), Holder::default());
        assert_eq!((ring.waiting(), ring.take_decisions_lost()), (JOURNAL_WAITING_MAX, 0));
    }

    #[test]
    fn holder_ends_at_its_padding() {
        assert_eq!(Holder::new(*b"p0001\0\0\0\0\0\0\0\0\0\0\0").as_bytes(), b"p0001");
        assert_eq!(Holder::new([b'x'; HOLDER_MAX]).as_bytes().len(), HOLDER_MAX);
        assert!(Holder::default().as_bytes().is_empty());
    }
}
