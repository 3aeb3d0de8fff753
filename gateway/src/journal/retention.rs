//! What is older than is kept goes from the outbox: when, by which clock, and behind which record.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kalitka_outbox::two_generations;
use kalitka_outbox::{Old, Purging};
use kalitka_process::age::Age;
use kalitka_process::horizon::Horizon;
use kalitka_protocol::event::{Body, ClockQuality, Purged};

use super::writer::Journal;
use crate::clock::Moment;
use crate::limits::{PURGE_INTERVAL, RENEWAL_INTERVAL};
use crate::metrics::names;

/// The file of the moment that was believed last.
const NAME: &str = "retention";
/// The folder in the outbox's in which damaged stores are kept.
const QUARANTINE: &str = "quarantine";

/// How long events are kept, and what is known of the time.
pub(super) struct Retention {
    age: Age,
    horizon: Horizon,
    sequence: u64,
    kept_us: Option<i64>,
    next: Duration,
    renew: Duration,
    /// What goes with the next commit, and has to be named in it.
    pub(super) record: Option<Purged>,
    /// Whether checkpoints were just written so that more can go.
    pushed: bool,
}

impl Retention {
    /// `state` is where the moment that was believed last is kept.
    pub(super) fn new(age: Age, state: &Path, now: Duration) -> Self {
        let found = two_generations::read(state, NAME);
        let sequence = found.next_sequence();
        let kept_us = found.newest.and_then(|(_, bytes)| bytes.try_into().ok()).map(i64::from_le_bytes);
        let horizon = Horizon::new(kept_us, age.duration(), now);
        let next = now + pace(age);
        let renew = next + pace(age);
        Self { age, horizon, sequence, kept_us, next, renew, record: None, pushed: false }
    }

    /// The moment that is believed is kept for the next start.
    fn keep(&mut self, state: &Path) {
        let Some(believed_us) = self.horizon.believed_us().filter(|_| self.horizon.believed_us() != self.kept_us)
        else {
            return;
        };
        match two_generations::write(state, NAME, self.sequence, &believed_us.to_le_bytes()) {
            Ok(()) => {
                self.kept_us = Some(believed_us);
                self.sequence += 1;
            }
            Err(error) => tracing::warn!(%error, "cannot keep the time that is believed; trying again"),
        }
    }
}

/// How often old events are looked for.
fn pace(age: Age) -> Duration {
    PURGE_INTERVAL.min(age.duration() / 8)
}

impl Journal {
    /// One step of what is due.
    pub(super) fn retain(&mut self, now: Duration) {
        if now < self.retention.next || !self.store.is_taking() {
            return;
        }
        let believed = self.believed_us(now);
        let waits = believed.is_none();
        metrics::gauge!(names::RETENTION_WAITING).set(if waits { 1.0 } else { 0.0 });
        let more = believed.is_some_and(|now_us| self.purge(now_us, now));
        if more {
            return;
        }
        self.retention.next = now + pace(self.retention.age);
        self.retention.pushed = false;
        self.renew_if_due(now);
        if let Some(now_us) = believed {
            self.clear_quarantine(now_us);
        }
        self.show_oldest_event();
    }

    /// The moment by which ages are judged: the wall clock when it is good and goes on from where it was believed before, or
    /// when it is only held, as far as the snapshot's maker vouches for it.
    fn believed_us(&mut self, now: Duration) -> Option<i64> {
        let Moment { wall_us, quality, .. } = self.now();
        let believed = self.retention.horizon.look(wall_us, now, quality == ClockQuality::Good);
        let state = self.state.clone();
        self.retention.keep(&state);
        match quality {
            ClockQuality::Good => believed,
            ClockQuality::Held => {
                let created = self.views.load().as_ref().map(|view| view.snapshot().header().created);
                created.map(|created| created.saturating_mul(1_000_000).min(wall_us))
            }
            ClockQuality::None => None,
        }
    }

    /// One step; says whether there may be more.
    fn purge(&mut self, now_us: i64, now: Duration) -> bool {
        let old = Old { before_us: now_us.saturating_sub(self.retention.age.micros()), now_us };
        let Some(outbox) = self.store.outbox() else { return false };
        match outbox.purge(old) {
            Ok(Purging::Nothing) => self.retention.record.is_some() && self.commit(),
            Ok(Purging::Gone(events)) => {
                metrics::counter!(names::OUTBOX_PURGED, "told" => "acknowledged").increment(events);
                true
            }
            Ok(Purging::Record(purged)) => {
                self.retention.record = Some(purged);
                self.commit()
            }
            Ok(Purging::Floor) => {
                // Twice, so that the older one is there too. If that does not help, the next time may.
                let first = !std::mem::replace(&mut self.retention.pushed, true);
                if first {
                    self.checkpoint_anew();
                    self.checkpoint_anew();
                }
                first
            }
            Err(error) => {
                self.store.failed(&error, now);
                false
            }
        }
    }

    /// The record of what goes with this commit.
    pub(super) fn purge_record(&self) -> Option<Body<'static>> {
        self.retention.record.map(Body::Purged)
    }

    /// The commit with the record is durable.
    pub(super) fn purge_recorded(&mut self) {
        if let Some(Purged { epoch, first, last, count, .. }) = self.retention.record.take() {
            metrics::counter!(names::OUTBOX_PURGED, "told" => "recorded").increment(count);
            let epoch = format!("{:016x}", epoch.0);
            tracing::warn!(epoch, first, last, count, "events that the hub never had were purged by their age");
        }
    }

    /// Takes what was removed out of the store's files, too.
    fn renew_if_due(&mut self, now: Duration) {
        if now < self.retention.renew {
            return;
        }
        let Some(outbox) = self.store.outbox().filter(|outbox| outbox.has_remnants()) else { return };
        self.retention.renew = now + RENEWAL_INTERVAL.min(self.retention.age.duration() / 4);
        match outbox.renew() {
            Ok(()) => metrics::counter!(names::OUTBOX_RENEWALS).increment(1),
            Err(error) if outbox.is_poisoned() => drop(self.store.failed(&error, now)),
            Err(error) => {
                tracing::warn!(%error, "the outbox could not be renewed: removed events' bytes stay on the disk; trying again");
            }
        }
    }

    /// Removes damaged stores that were set aside longer ago than events are kept.
    fn clear_quarantine(&self, now_us: i64) {
        let before_us = now_us.saturating_sub(self.retention.age.micros());
        for entry in fs::read_dir(self.store.folder.join(QUARANTINE)).into_iter().flatten().flatten() {
            let modified = entry.metadata().and_then(|metadata| metadata.modified()).ok();
            let is_old = modified.and_then(micros).is_some_and(|us| us < before_us);
            if is_old && fs::remove_dir_all(entry.path()).is_ok() {
                tracing::info!(folder = %entry.path().display(), "a damaged store was removed by its age");
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; ages stay far below 2^52")]
    fn show_oldest_event(&mut self) {
        let wall_us = self.now().wall_us;
        let Some(outbox) = self.store.outbox() else { return };
        if let Ok(oldest) = outbox.oldest_us() {
            let age_us = oldest.map_or(0, |oldest| wall_us.saturating_sub(oldest).max(0));
            metrics::gauge!(names::OUTBOX_OLDEST_EVENT).set(age_us as f64 / 1e6);
        }
    }
}

fn micros(time: SystemTime) -> Option<i64> {
    i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_micros()).ok()
}
