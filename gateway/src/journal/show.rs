//! What the journal shows of itself, a few times a second.

use kalitka_outbox::EpochSummary;
use kalitka_protocol::event::Events;
use kalitka_uplink::HeadSeen;

use super::status::JournalStatus;
use super::writer::Journal;
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
            status.epoch = format!("{:016x}", head.epoch.0);
            status.number = head.number;
            status.unacknowledged = outbox.epochs().iter().map(unacknowledged).sum();
            status.show_usage(&outbox.usage());
        }
        self.show_metrics(&status, oldest);
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
        metrics::gauge!(names::OUTBOX_POISONED).set(flag(!status.taking));
        metrics::gauge!(names::OUTBOX_ON_REFUGE).set(flag(status.on_refuge));
        metrics::gauge!(names::OUTBOX_QUARANTINED).set(status.quarantined as f64);
        metrics::gauge!(names::OUTBOX_QUARANTINE_BYTES).set(status.quarantine_bytes as f64);
        metrics::gauge!(names::SAFETY_DAMAGED).set(flag(status.safety_damaged));
        metrics::counter!(names::REPORT_DROPPED, "reason" => "ring").increment(self.ring.take_reports_dropped());
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

/// Events of an epoch that are held and not acknowledged.
fn unacknowledged(of: &EpochSummary) -> u64 {
    (of.last + 1).saturating_sub(of.oldest.max(of.acknowledged + 1))
}
