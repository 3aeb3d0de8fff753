//! When a device has its turn, and how long it is waited for.

use core::time::Duration;

use crate::limits::{
    OSDP_BUSY_PAUSE, OSDP_IN_USE, OSDP_PATIENT_PROBES, OSDP_POLL_INTERVAL, OSDP_PROBE_INTERVAL, OSDP_REPLY_DELAY,
    OSDP_REPLY_DELAY_MIN, OSDP_SECURE_RETRY, OSDP_SLOW_AFTER, OSDP_SLOW_FACTOR,
};
use crate::osdp::device::Heard;

/// How many times its slowest reply a device is waited for.
const PATIENCE_FACTOR: u32 = 4;

/// What is known of a device's time.
#[derive(Clone, Copy, Debug)]
pub(in crate::osdp) struct Pace {
    /// From when on it may have a slot.
    due: Duration,
    /// When somebody last used it.
    used: Option<Duration>,
    /// The longest that it let be waited for, forgotten by and by.
    slowest: Duration,
    /// Slots in a row that it has not answered.
    misses: u32,
    /// Those of them in which it was probed.
    probes: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self { due: Duration::ZERO, used: None, slowest: OSDP_REPLY_DELAY, misses: 0, probes: 0 }
    }
}

impl Pace {
    pub(in crate::osdp) const fn due(&self) -> Duration {
        self.due
    }

    /// It has its turn as soon as the line is free.
    pub(in crate::osdp) const fn hurry(&mut self) {
        self.due = Duration::ZERO;
    }

    /// Its slot begins.
    pub(super) const fn begin(&mut self, now: Duration) {
        self.due = now;
    }

    /// How long the first byte of its reply is waited for: as long as the standard gives it, because a frame that is sent again
    /// while its reply is on the way costs some devices their channel. One that has missed a slot is waited for as it has
    /// answered before, and an absent one shortly, but for every so many probes.
    pub(super) fn patience(&self, is_probed: bool) -> Duration {
        if is_probed {
            let is_patient = self.probes.is_multiple_of(OSDP_PATIENT_PROBES);
            return if is_patient { OSDP_REPLY_DELAY } else { OSDP_REPLY_DELAY_MIN };
        }
        if self.misses == 0 {
            return OSDP_REPLY_DELAY;
        }
        (self.slowest * PATIENCE_FACTOR).clamp(OSDP_REPLY_DELAY_MIN, OSDP_REPLY_DELAY)
    }

    /// It has answered, after `waited` of silence; the slot took `took`. One that is opening its channel has every second slot,
    /// also if it is slow: nobody can use it before.
    pub(super) fn answered(&mut self, now: Duration, took: Duration, waited: Duration, heard: Heard, is_opening: bool) {
        (self.misses, self.probes) = (0, 0);
        self.slowest = waited.max(self.slowest * 7 / 8);
        if heard == Heard::Used {
            self.used = Some(now);
        }
        let is_used = self.used.is_some_and(|used| now.saturating_sub(used) < OSDP_IN_USE);
        let pause = match heard {
            Heard::Refused => OSDP_SECURE_RETRY,
            Heard::Busy => OSDP_BUSY_PAUSE,
            _ if is_opening => Duration::ZERO,
            _ if took > OSDP_SLOW_AFTER => took * OSDP_SLOW_FACTOR,
            _ if is_used => Duration::ZERO,
            _ => OSDP_POLL_INTERVAL,
        };
        self.due = now + pause;
    }

    /// It has answered when it was no longer waited for, so that next time it is for as long as any.
    pub(super) fn answered_late(&mut self, now: Duration, heard: Heard, is_opening: bool) {
        self.answered(now, OSDP_REPLY_DELAY, OSDP_REPLY_DELAY, heard, is_opening);
    }

    /// It has not answered in a slot that took `took`. A reply is lost at times: the first time it is asked again at once.
    pub(super) fn unanswered(&mut self, now: Duration, took: Duration, is_probed: bool) {
        self.misses = self.misses.saturating_add(1);
        if is_probed {
            self.probes = self.probes.wrapping_add(1);
            self.due = (now + OSDP_PROBE_INTERVAL).saturating_sub(took);
        } else if self.misses > 1 {
            self.due = now + took * OSDP_SLOW_FACTOR;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// When a device is due that has answered at 1 s in a slot of `took`.
    fn due(heard: Heard, took: u64, is_opening: bool) -> Duration {
        let mut pace = Pace::default();
        pace.answered(ms(1000), ms(took), ms(0), heard, is_opening);
        pace.due()
    }

    #[test]
    fn pause_after_a_reply_is_by_what_it_was_and_what_it_cost() {
        for (heard, took, is_opening, expected) in [
            (Heard::Refused, 10, true, 6000),
            (Heard::Busy, 10, true, 1050),
            (Heard::Answered, 100, true, 1000),
            (Heard::Answered, 30, false, 1010),
            (Heard::Answered, 31, false, 1124),
            (Heard::Used, 30, false, 1000),
            (Heard::Used, 31, false, 1124),
        ] {
            assert_eq!(due(heard, took, is_opening), ms(expected), "{heard:?} {took}");
        }
    }

    #[test]
    fn device_counts_as_in_use_for_less_than_two_seconds() {
        for (later, pause) in [(1999, 0), (2000, 10)] {
            let mut pace = Pace::default();
            pace.answered(ms(1000), ms(5), ms(0), Heard::Used, false);
            pace.answered(ms(1000 + later), ms(5), ms(0), Heard::Answered, false);
            assert_eq!(pace.due(), ms(1000 + later + pause));
        }
    }

    #[test]
    fn device_is_waited_for_in_full_until_it_has_missed_a_slot_and_then_as_it_has_answered() {
        for (waited, replies, expected) in [(0, 0, 200..=200), (0, 15, 100..=120), (20, 40, 80..=80), (5, 60, 60..=60)]
        {
            let mut pace = Pace::default();
            for _ in 0..replies {
                pace.answered(ms(1000), ms(5), ms(waited), Heard::Answered, false);
            }
            assert_eq!(pace.patience(false), ms(200));
            pace.unanswered(ms(2000), ms(200), false);
            assert!(
                expected.contains(&pace.patience(false).as_millis()),
                "{waited} {replies}: {:?}",
                pace.patience(false)
            );
            pace.answered_late(ms(3000), Heard::Answered, false);
            assert_eq!((pace.due(), pace.patience(false)), (ms(3800), ms(200)));
        }
    }

    #[test]
    fn missed_slot_is_tried_again_at_once_and_the_next_by_what_it_costs() {
        let mut pace = Pace::default();
        pace.begin(ms(1000));
        pace.unanswered(ms(1200), ms(200), false);
        assert_eq!(pace.due(), ms(1000));
        pace.unanswered(ms(1400), ms(60), false);
        assert_eq!(pace.due(), ms(1640));
        pace.hurry();
        assert_eq!(pace.due(), ms(0));
    }

    #[test]
    fn absent_device_is_looked_for_each_second_and_every_eighth_time_with_patience() {
        let mut pace = Pace::default();
        let waited = (0..17).map(|_| {
            let patience = pace.patience(true);
            pace.unanswered(ms(5000), patience, true);
            assert_eq!(pace.due(), ms(6000) - patience);
            patience
        });
        assert!(waited.enumerate().all(|(probe, waited)| waited == ms(if probe % 8 == 0 { 200 } else { 60 })));
    }
}
