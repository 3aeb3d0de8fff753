//! The way into the journal for everybody but the workers.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use kalitka_uplink::{Busy, Request};

use super::rest::Rest;

/// What the journal is asked and told by others than workers.
pub(crate) enum Work {
    /// A snapshot has come into force.
    Adopted { generation: u32, last_command: u64, hash: [u8; 32] },
    /// The uplink asks. In a box: a position is large, and the door has room for the largest.
    Uplink(Box<Request>),
    /// The end is near: everything before this is to be made durable, with a checkpoint, and then this told.
    Settle(SyncSender<()>),
    /// Everything before this is to be made durable; then the journal ends.
    Stop,
}

/// Where that is handed in.
#[derive(Clone)]
pub(crate) struct Door {
    door: SyncSender<Work>,
    rest: Arc<Rest>,
}

impl Door {
    pub(super) const fn new(door: SyncSender<Work>, rest: Arc<Rest>) -> Self {
        Self { door, rest }
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

    /// Has the journal do at once what it would do at its end, so that its end is quick; waits for no longer than `patience`.
    pub(crate) fn settle(&self, patience: Duration) {
        let (done, settled) = sync_channel(1);
        if self.hand_in(Work::Settle(done)).is_ok() {
            // One that does not answer does it at its end, and no worse than otherwise.
            let _ = settled.recv_timeout(patience);
        }
    }

    /// Hands in what must not be left out, and waits for room.
    pub(crate) fn wait_to_hand_in(&self, work: Work) {
        // A journal that is gone needs nothing more.
        let _ = self.door.send(work);
        self.rest.wake_from_nap();
    }

    fn hand_in(&self, work: Work) -> Result<(), TrySendError<Work>> {
        self.door.try_send(work)?;
        self.rest.wake_from_nap();
        Ok(())
    }
}
