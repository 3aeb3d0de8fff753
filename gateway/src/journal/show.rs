//! What the journal shows of itself, a few times a second.

use kalitka_outbox::EpochSummary;
use kalitka_protocol::event::Events;
use kalitka_uplink::HeadSeen;

use super::status::JournalStatus;
use super::writer::Journal;
use crate::limits::{FULL_PERCENT, FULL_PERCENT_OVER};
use crate::metrics::names;

impl Journal {
    /// Shows how matters stand.
    pub(super) fn show(&mut self) {
        let oldest = self.look_at_oldest();
        let mut status = JournalStatus {
            taking: self.store.is_taking(),
            trouble: self.store.trouble().map(str::to_owned),
            safety_damaged: self.safety_damaged,
            oldest_unacknowledged: oldest.map_or(0, |wall_us| wall_us.div_euclid(1_000_000)),
            ..JournalStatus::default()
        };
        if let Some(outbox) = self.store.opened() {
            let head = outbox.head();
            self.tally.set_epoch(head.epoch);
            status.epoch = format!("{:016x}", head.epoch.0);
            status.number = head.number;
            status.unacknowledged = outbox.epochs().iter().map(unacknowledged).sum();
            status.show_usage(&outbox.usage());
        }
        self.show_metrics(&status, oldest);
        self.warn(&status);
        self.status.send_if_modified(|shown| {
            let changed = *shown != status;
            *shown = status;
            changed
        });
    }

    #[expect(clippy::cast_precision_loss, reason = "gauges are floats; the numbers stay far below 2^52")]
    fn show_metrics(&mut self, status: &JournalStatus, oldest: Option<i64>) {
        let flag = |set: bool| if set { 1.0 } else { 0.0 };
        let waited_us = oldest.map_or(0, |oldest| self.now().wall_us.saturating_sub(oldest).max(0));
        metrics::gauge!(names::JOURNAL_WAITING).set(self.ring.waiting() as f64);
        metrics::gauge!(names::OUTBOX_DEPTH).set(status.unacknowledged as f64);
        metrics::gauge!(names::OUTBOX_OLDEST).set(waited_us as f64 / 1e6);
        metrics::gauge!(names::OUTBOX_EVENTS).set(status.events as f64);
        metrics::gauge!(names::OUTBOX_BYTES).set(status.disk_bytes as f64);
        metrics::gauge!(names::OUTBOX_BOUND).set(f64::from(status.bound_percent) / 100.0);
        metrics::gauge!(names::OUTBOX_AT_BOUND).set(flag(status.at_bound));
        metrics::gauge!(names::OUTBOX_DISK).set(f64::from(status.disk_percent) / 100.0);
        metrics::gauge!(names::OUTBOX_RESERVE).set(flag(status.reserve));
        metrics::gauge!(names::OUTBOX_POISONED).set(flag(!status.taking));
        metrics::gauge!(names::OUTBOX_ON_REFUGE).set(flag(status.on_refuge));
        metrics::gauge!(names::OUTBOX_QUARANTINED).set(status.quarantined as f64);
        metrics::gauge!(names::OUTBOX_QUARANTINE_BYTES).set(status.quarantine_bytes as f64);
        metrics::gauge!(names::SAFETY_DAMAGED).set(flag(status.safety_damaged));
        metrics::counter!(names::REPORT_DROPPED, "reason" => "ring").increment(self.ring.take_reports_dropped());
    }

    /// Says once when outbox or disk become nearly full, when the bound is reached, and when that is over.
    fn warn(&mut self, status: &JournalStatus) {
        if let Some(is_near) = self.crossings.bound.look(status.bound_percent) {
            let percent = status.bound_percent;
            if is_near {
                tracing::warn!(
                    percent,
                    "the outbox's bound is near; let the hub be reached or raise outbox.events_max"
                );
            } else {
                tracing::info!(percent, "the outbox's bound is far again");
            }
        }
        if let Some(is_near) = self.crossings.disk.look(status.disk_percent) {
            let (percent, folder) = (status.disk_percent, self.state.display());
            if is_near {
                tracing::warn!(percent, %folder, "the state folder's disk is nearly full; make room");
            } else {
                tracing::info!(percent, %folder, "the state folder's disk has room again");
            }
        }
        if std::mem::replace(&mut self.crossings.at_bound, status.at_bound) != status.at_bound {
            if status.at_bound {
                tracing::error!(
                    "the outbox is at its bound and nothing in it gives way: decisions are counted and not recorded, \
                     reports wait at their readers; let the hub be reached"
                );
            } else {
                tracing::warn!("the outbox has room again; readers send their reports");
            }
        }
    }

    /// The wall clock of the oldest event that the hub has not acknowledged.
    fn look_at_oldest(&mut self) -> Option<i64> {
        let outbox = self.store.outbox()?;
        let epochs = outbox.epochs();
        let waiting = epochs.iter().rev().find(|of| unacknowledged(of) > 0);
        let Some(of) = waiting else {
            self.oldest = None;
            return None;
        };
        let seen = HeadSeen { epoch: of.epoch, number: of.oldest.max(of.acknowledged + 1) };
        if let Some((_, wall_us)) = self.oldest.filter(|(before, _)| *before == seen) {
            return Some(wall_us);
        }
        let run = outbox.read(seen.epoch, seen.number, 1).ok()??;
        let wall_us = Events::new(&run.events).next()?.ok()?.header.wall_us;
        self.oldest = Some((seen, wall_us));
        Some(wall_us)
    }
}

/// What has been said of how full things are.
#[derive(Debug, Default)]
pub(super) struct Crossings {
    bound: Crossing,
    disk: Crossing,
    at_bound: bool,
}

/// Whether something is nearly full. It is not told again while it stays about the same.
#[derive(Debug, Default)]
struct Crossing {
    is_near: bool,
}

impl Crossing {
    /// Whether it has become so, or not so, by `percent`; nothing when all is as it was.
    const fn look(&mut self, percent: u8) -> Option<bool> {
        let is_near = percent >= if self.is_near { FULL_PERCENT_OVER } else { FULL_PERCENT };
        if is_near == self.is_near {
            return None;
        }
        self.is_near = is_near;
        Some(is_near)
    }
}

/// Events of an epoch that are held and not acknowledged.
fn unacknowledged(of: &EpochSummary) -> u64 {
    (of.last + 1).saturating_sub(of.oldest.max(of.acknowledged + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crossing_is_told_once_and_again_only_when_it_was_over() {
        let mut crossing = Crossing::default();
        let told: Vec<_> = [0, 79, 80, 99, 79, 76, 80, 75, 74, 79, 80, 10].map(|percent| crossing.look(percent)).into();
        let (near, far) = (Some(true), Some(false));
        assert_eq!(told, [None, None, near, None, None, None, None, None, far, None, near, far]);
    }
}
