//! The outbox as the journal has it: open or not yet, well or to be opened anew; and what it must be told first.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use kalitka_outbox::{AppendError, Begun, Bounds, Head, NewEpochWhy, OpenError, Opening, Outbox, StoreError};
use kalitka_protocol::EpochId;
use kalitka_protocol::event::{Body, EpochBegun, Loss};

use crate::entropy;
use crate::limits::{STORE_AGAIN_MAX, STORE_AGAIN_MIN, UNREADABLE_OPENINGS_MAX};
use crate::metrics::names;

/// The store, and when to try again what has failed.
pub(super) struct Store {
    pub(super) folder: PathBuf,
    pub(super) building: u32,
    pub(super) machine: [u8; 16],
    pub(super) bounds: Bounds,
    outbox: Option<Outbox>,
    /// What a new epoch begins with, until that is durable.
    beginning: Option<Beginning>,
    /// Nothing is asked of the store before this moment: it has failed.
    again: Option<Duration>,
    pause: Duration,
    trouble: Option<String>,
    /// Openings that have failed one after the other.
    failed_openings: u32,
}

#[derive(Clone, Debug)]
struct Beginning {
    before: Option<Head>,
    losses: Vec<Loss>,
}

impl Store {
    pub(super) const fn new(folder: PathBuf, building: u32, machine: [u8; 16], bounds: Bounds) -> Self {
        let (outbox, beginning, again, trouble) = (None, None, None, None);
        let (pause, failed_openings) = (STORE_AGAIN_MIN, 0);
        Self { folder, building, machine, bounds, outbox, beginning, again, pause, trouble, failed_openings }
    }

    /// The outbox, while it is well.
    pub(super) fn outbox(&mut self) -> Option<&mut Outbox> {
        if self.again.is_some() { None } else { self.outbox.as_mut() }
    }

    /// The outbox, while it can be read: also when the disk is too full for more. What the hub then takes makes room.
    pub(super) fn readable(&mut self) -> Option<&mut Outbox> {
        self.outbox.as_mut().filter(|outbox| !outbox.is_poisoned())
    }

    /// The outbox, well or not, once it has been opened.
    pub(super) const fn opened(&self) -> Option<&Outbox> {
        self.outbox.as_ref()
    }

    /// Whether events are being taken.
    pub(super) const fn is_taking(&self) -> bool {
        self.outbox.is_some() && self.again.is_none()
    }

    /// Whether the outbox is at its bound and nothing in it gives way: only what must be said is taken.
    pub(super) fn is_crowded(&self) -> bool {
        self.outbox.as_ref().is_some_and(Outbox::is_crowded)
    }

    /// Gives the outbox's reserve back to a disk that is full; says whether that made room.
    pub(super) fn give_reserve_back(&mut self) -> bool {
        let gave = self.outbox.as_mut().is_some_and(Outbox::give_reserve_back);
        if gave {
            tracing::error!("the disk is full; the outbox's reserve is given back to it");
        }
        gave
    }

    /// Writes what must be kept on the disk; when that is full, with the room of the reserve.
    pub(super) fn with_reserve(&mut self, mut write: impl FnMut() -> io::Result<()>) -> io::Result<()> {
        match write() {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
                    && self.give_reserve_back() =>
            {
                write()
            }
            written => written,
        }
    }

    /// What is wrong, while events are not taken.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Whether it is time to try again what has failed.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        self.again.map_or(self.outbox.is_none(), |again| again <= now)
    }

    /// Opens the outbox, or opens it anew after a failure. `known` is the newest checkpoint's place, `earlier`
    /// are the epochs of which it knows that the hub did not have all. Says whether it is well now.
    pub(super) fn open(&mut self, known: Option<Head>, earlier: &[EpochId], now: Duration) -> bool {
        match self.try_open(known, earlier) {
            Ok(begun) => {
                self.begin(begun);
                // The pause begins anew only when events are taken: a full disk lets the store be opened each time.
                (self.again, self.trouble, self.failed_openings) = (None, None, 0);
                true
            }
            Err(trouble) => {
                self.failed_openings += 1;
                self.fail(trouble, false, now);
                false
            }
        }
    }

    /// Whether what the disk does not give has been awaited for long enough: from now on it is taken for lost.
    pub(super) const fn has_been_patient(&self) -> bool {
        self.failed_openings >= UNREADABLE_OPENINGS_MAX
    }

    /// Notes that the disk does not give what an opening needs.
    pub(super) fn unreadable(&mut self, error: &io::Error, now: Duration) {
        count("io");
        tracing::error!(%error, "cannot open the outbox; trying again");
        self.failed_openings += 1;
        self.fail(error.to_string(), false, now);
    }

    fn try_open(&mut self, known: Option<Head>, earlier: &[EpochId]) -> Result<Begun, String> {
        let (fresh, is_given_up) = (fresh_epoch()?, self.has_been_patient());
        match &mut self.outbox {
            // A full disk left it well.
            Some(outbox) if !outbox.is_poisoned() => Ok(Begun::AsLeft),
            Some(outbox) => {
                let begun = if is_given_up { outbox.reopen(fresh) } else { outbox.reopen_if_readable(fresh) };
                let begun = begun.map_err(|error| self.of_opening(&error))?;
                metrics::counter!(names::OUTBOX_REOPENS).increment(1);
                Ok(begun)
            }
            None => {
                let Self { folder, building, machine, bounds, .. } = self;
                let (building, machine, limits) = (*building, *machine, *bounds);
                let opening = Opening { folder, building, machine, fresh_epoch: fresh, known, earlier, limits };
                let opened = if is_given_up { Outbox::open(opening) } else { Outbox::open_if_readable(opening) };
                let (outbox, begun) = opened.map_err(|error| self.of_opening(&error))?;
                self.outbox = Some(outbox);
                Ok(begun)
            }
        }
    }

    fn of_opening(&self, error: &OpenError) -> String {
        count(error.label());
        tracing::error!(folder = %self.folder.display(), %error, "cannot open the outbox; trying again");
        error.to_string()
    }

    fn begin(&mut self, begun: Begun) {
        let Begun::NewEpoch { before, losses, why } = begun else { return };
        metrics::counter!(names::OUTBOX_EPOCHS, "reason" => why.label()).increment(1);
        if why == NewEpochWhy::Blank {
            tracing::info!("a new outbox begins");
        } else {
            tracing::error!(
                reason = why.label(),
                losses = losses.len(),
                "a new epoch begins; what is whole of the old one is kept"
            );
        }
        self.beginning = Some(Beginning { before, losses });
    }

    /// Ends the present epoch; the next commit begins another.
    ///
    /// # Errors
    /// What the store says.
    pub(super) fn begin_epoch(&mut self, why: NewEpochWhy) -> Result<(), String> {
        let fresh = fresh_epoch()?;
        let outbox = self.outbox().ok_or("the outbox is not open")?;
        let begun = outbox.begin_epoch(fresh, why).map_err(|error| error.to_string())?;
        self.begin(begun);
        Ok(())
    }

    /// The bodies with which the present epoch must begin; none once it has.
    pub(super) fn beginning(&self) -> Vec<Body<'static>> {
        let Some(Beginning { before, losses }) = &self.beginning else { return Vec::new() };
        let begun = EpochBegun {
            before: before.map(|head| head.epoch),
            last: before.map_or(0, |head| head.number),
            hash: before.map_or([0; 32], |head| head.hash),
        };
        std::iter::once(Body::EpochBegun(begun)).chain(losses.iter().copied().map(Body::Loss)).collect()
    }

    /// Makes `events` durable. After a failure the store is left alone for a while, and nothing of them counts as taken.
    pub(super) fn append(&mut self, events: &[u8], now: Duration) -> Option<Head> {
        match self.outbox()?.append(events) {
            Ok(head) => {
                self.beginning = None;
                self.pause = STORE_AGAIN_MIN;
                Some(head)
            }
            Err(error) => {
                self.not_taken(&error, now);
                None
            }
        }
    }

    /// Notes why events are not taken; gives its text.
    pub(super) fn not_taken(&mut self, error: &AppendError, now: Duration) -> String {
        if matches!(error, AppendError::Malformed(_) | AppendError::Numbering { .. }) {
            tracing::error!(%error, "a defect: the journal made events that the outbox does not take");
        } else {
            tracing::error!(%error, "events are not taken; decisions go on, and reports wait at their readers");
        }
        metrics::counter!(names::JOURNAL_COMMIT_FAILURES).increment(1);
        count(error.label());
        self.fail(error.to_string(), matches!(error, AppendError::Store(error) if error.is_damage()), now);
        error.to_string()
    }

    /// Notes what a reading or forgetting came to; gives its text.
    pub(super) fn failed(&mut self, error: &StoreError, now: Duration) -> String {
        let text = error.to_string();
        if !matches!(error, StoreError::Beyond { .. }) {
            count(error.label());
            tracing::error!(%error, "the outbox has failed; it is opened anew");
            self.fail(text.clone(), error.is_damage(), now);
        }
        text
    }

    /// A disk that fails is left alone for a while. What is damaged is cured by opening it anew, the first time at once.
    fn fail(&mut self, trouble: String, is_damage: bool, now: Duration) {
        let at_once = is_damage && self.pause == STORE_AGAIN_MIN;
        self.again = Some(if at_once { now } else { now + self.pause });
        self.pause = (self.pause * 2).min(STORE_AGAIN_MAX);
        self.trouble = Some(trouble);
    }
}

/// Counts an error of the store.
fn count(kind: &'static str) {
    metrics::counter!(names::OUTBOX_ERRORS, "kind" => kind).increment(1);
}

/// A new epoch's id: random, not 0.
fn fresh_epoch() -> Result<EpochId, String> {
    let mut bytes = [0; 8];
    entropy::fill(&mut bytes).map_err(|failure| failure.to_string())?;
    Ok(EpochId(u64::from_le_bytes(bytes).max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_disk_stops_the_taking_with_growing_pauses_and_not_the_reading() {
        let folder = tempfile::tempdir().unwrap();
        let bounds = Bounds { events_max: 1000, bytes_max: 1 << 20, keep_acknowledged: 10 };
        let mut store = Store::new(folder.path().join("outbox"), 17, [0; 16], bounds);
        let mut now = Duration::ZERO;
        assert!(store.open(None, &[], now));
        for pause in [1, 2, 4, 8, 10, 10].map(|halves| STORE_AGAIN_MIN * halves) {
            store.not_taken(&AppendError::DiskFull { free: 1, needed: 2 }, now);
            assert!(!store.is_taking() && store.outbox().is_none() && store.readable().is_some());
            assert!(!store.is_due(now + pause - Duration::from_millis(1)) && store.is_due(now + pause), "{pause:?}");
            now += pause;
            assert!(store.open(None, &[], now));
        }
    }
}
