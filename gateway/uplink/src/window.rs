//! What of the record stream is on its way: sent, and not acknowledged.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kalitka_protocol::EpochId;
use tokio::sync::Notify;

use crate::limits::{EPOCHS_MAX, WINDOW_BATCHES};
use crate::port::{Leg, Run};
use crate::rate::Pace;

/// The batches on their way, of one connection. One end sends, the other acknowledges.
#[derive(Debug, Default)]
pub(crate) struct Window {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    batches: VecDeque<Sent>,
    bytes: usize,
    epochs: Vec<Epoch>,
    is_good: bool,
    /// What the hub lets be on its way (SPEC 15.16); `None` while it has not said.
    limit: Option<usize>,
}

#[derive(Debug)]
struct Sent {
    epoch: EpochId,
    last: u64,
    bytes: usize,
    at: Duration,
}

#[derive(Debug)]
struct Epoch {
    id: EpochId,
    /// The highest number sent, or that the hub had before.
    sent: u64,
    is_forked: bool,
}

/// What the hub may not say about an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it names what was not sent")]
pub(crate) struct NotSent;

/// The connection has sent of as many epochs as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManyEpochs;

impl Window {
    /// Begins the sending of an epoch.
    pub(crate) fn begin(&self, leg: Leg) -> Result<(), TooManyEpochs> {
        let mut inner = self.lock();
        if inner.epochs.iter().all(|epoch| epoch.id != leg.epoch) {
            if inner.epochs.len() >= EPOCHS_MAX {
                return Err(TooManyEpochs);
            }
            inner.epochs.push(Epoch { id: leg.epoch, sent: leg.next.saturating_sub(1), is_forked: false });
        }
        Ok(())
    }

    /// `run` is being sent.
    pub(crate) fn sent(&self, run: &Run, now: Duration) {
        let mut inner = self.lock();
        let (epoch, last, bytes) = (run.epoch, run.last(), run.events.len());
        inner.batches.push_back(Sent { epoch, last, bytes, at: now });
        inner.bytes += bytes;
        if let Some(known) = inner.epochs.iter_mut().find(|known| known.id == epoch) {
            known.sent = known.sent.max(last);
        }
    }

    /// All of `epoch` up to `number` is at the hub.
    pub(crate) fn acknowledge(&self, epoch: EpochId, number: u64) -> Result<(), NotSent> {
        let mut inner = self.lock();
        inner.find(epoch, number)?;
        inner.is_good = true;
        inner.leave(|batch| batch.epoch == epoch && batch.last <= number);
        drop(inner);
        self.changed.notify_waiters();
        Ok(())
    }

    /// The hub keeps another event as `number` of `epoch`: what is on the way of it comes to nothing.
    pub(crate) fn fork(&self, epoch: EpochId, number: u64) -> Result<(), NotSent> {
        let mut inner = self.lock();
        inner.find(epoch, number)?.is_forked = true;
        inner.leave(|batch| batch.epoch == epoch);
        drop(inner);
        self.changed.notify_waiters();
        Ok(())
    }

    /// Whether nothing more of `epoch` is to be sent.
    pub(crate) fn is_forked(&self, epoch: EpochId) -> bool {
        self.lock().epochs.iter().any(|known| known.id == epoch && known.is_forked)
    }

    /// The hub lets so many bytes be on their way.
    pub(crate) fn limit(&self, bytes: usize) {
        self.lock().limit = Some(bytes);
        self.changed.notify_waiters();
    }

    /// Waits until there is room on the line and at the hub; gives how many bytes the next batch may have.
    pub(crate) async fn room(&self, pace: Pace) -> usize {
        loop {
            let changed = self.changed.notified();
            if let Some(batch) = self.lock().room(pace) {
                return batch;
            }
            changed.await;
        }
    }

    /// When the oldest batch on its way was sent.
    pub(crate) fn oldest(&self) -> Option<Duration> {
        self.lock().batches.front().map(|batch| batch.at)
    }

    /// Bytes of events on their way.
    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Whether anything was acknowledged.
    pub(crate) fn is_good(&self) -> bool {
        self.lock().is_good
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Bytes of the next batch, if there is room for it.
    fn room(&self, pace: Pace) -> Option<usize> {
        let limit = self.limit.unwrap_or(usize::MAX);
        let batch = pace.batch.min(limit / 2);
        let fits = self.bytes < pace.window && self.bytes.saturating_add(batch) <= limit;
        (fits && self.batches.len() < WINDOW_BATCHES).then_some(batch)
    }

    fn find(&mut self, epoch: EpochId, number: u64) -> Result<&mut Epoch, NotSent> {
        self.epochs.iter_mut().find(|known| known.id == epoch && number <= known.sent).ok_or(NotSent)
    }

    fn leave(&mut self, is_gone: impl Fn(&Sent) -> bool) {
        self.batches.retain(|batch| !is_gone(batch));
        self.bytes = self.batches.iter().map(|batch| batch.bytes).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: EpochId = EpochId(0xa);
    const B: EpochId = EpochId(0xb);

    fn run(epoch: EpochId, first: u64, count: u32) -> Run {
        Run { epoch, first, hash_before: [0; 32], events: vec![0; 100], count, hash: [0; 32] }
    }

    fn window() -> Window {
        let window = Window::default();
        for (epoch, next) in [(A, 5), (B, 1)] {
            window.begin(Leg { epoch, next }).unwrap();
        }
        for run in [run(A, 5, 10), run(A, 15, 10), run(B, 1, 3)] {
            window.sent(&run, Duration::ZERO);
        }
        window
    }

    #[test]
    fn acknowledgement_frees_what_is_at_the_hub_and_no_more() {
        let window = window();
        for (number, left) in [(4, 300), (13, 300), (14, 200), (14, 200), (24, 100)] {
            window.acknowledge(A, number).unwrap();
            assert_eq!(window.bytes(), left, "{number}");
        }
        window.acknowledge(B, 3).unwrap();
        assert_eq!((window.bytes(), window.oldest()), (0, None));
    }

    #[test]
    fn what_was_not_sent_cannot_be_acknowledged_or_forked() {
        let window = window();
        for (epoch, number) in [(A, 25), (B, 4), (EpochId(1), 0), (A, u64::MAX)] {
            assert_eq!(window.acknowledge(epoch, number), Err(NotSent));
            assert_eq!(window.fork(epoch, number), Err(NotSent));
        }
        assert!(!window.is_good());
        assert_eq!(window.bytes(), 300);
    }

    #[test]
    fn forked_epoch_is_no_longer_on_its_way() {
        let window = window();
        window.fork(A, 7).unwrap();
        assert!(window.is_forked(A) && !window.is_forked(B));
        assert_eq!(window.bytes(), 100);
    }

    #[test]
    fn epochs_of_a_connection_are_bounded() {
        let window = Window::default();
        for id in 1..=EPOCHS_MAX as u64 {
            window.begin(Leg { epoch: EpochId(id), next: 1 }).unwrap();
        }
        assert_eq!(window.begin(Leg { epoch: EpochId(0), next: 1 }), Err(TooManyEpochs));
        window.begin(Leg { epoch: EpochId(1), next: 1 }).unwrap();
    }

    #[tokio::test]
    async fn room_comes_with_an_acknowledgement() {
        let window = window();
        let room = window.room(Pace { batch: 100, window: 250 });
        tokio::pin!(room);
        let waits = tokio::select! { biased; _ = &mut room => false, () = std::future::ready(()) => true };
        assert!(waits);
        window.acknowledge(A, 14).unwrap();
        assert_eq!(room.await, 100);
    }

    #[test]
    fn hubs_limit_holds_for_what_is_on_its_way_and_the_next_batch_together() {
        let window = window();
        let fast = Pace { batch: 1000, window: 10_000 };
        assert_eq!(window.lock().room(fast), Some(1000), "without a word the line alone counts");
        for (limit, batch) in [(10_000, Some(1000)), (1300, Some(650)), (600, Some(300)), (599, Some(299)), (500, None)]
        {
            window.limit(limit);
            assert_eq!(window.lock().room(fast), batch, "{limit}");
        }
    }
}
