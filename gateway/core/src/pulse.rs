//! How fast a reader's clock runs, by its pings: an idle reader sends one each second of its own (SPEC 10.4).

use core::time::Duration;

use kalitka_protocol::limits::PING_INTERVAL;

use crate::limits::{PULSE_MAX, PULSE_MIN, PULSES};

/// Measures the second of one reader. Nothing tells its time of day: times are never exchanged (SPEC 1).
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    /// When the reader last asked or pinged.
    before: Option<Duration>,
    /// The pauses between that and a ping, of so many.
    sum: Duration,
    count: u32,
}

impl Pulse {
    /// Microseconds between two pings by a clock that is right.
    pub(crate) const SECOND_US: i64 = PING_INTERVAL.as_secs().cast_signed() * 1_000_000;

    /// The reader has asked something at `now`; what follows of its pings begins there.
    pub(crate) const fn asked(&mut self, now: Duration) {
        self.before = Some(now);
    }

    /// The reader has pinged at `now`. Gives the mean of [`PULSES`] pauses once there are so many: a datagram that was late
    /// makes one longer and the next shorter, and one that was lost makes one that does not count.
    pub(crate) fn pinged(&mut self, now: Duration) -> Option<Duration> {
        let pause = now.saturating_sub(self.before.replace(now)?);
        if !(PULSE_MIN..=PULSE_MAX).contains(&pause) {
            return None;
        }
        (self.sum, self.count) = (self.sum + pause, self.count + 1);
        if self.count < PULSES {
            return None;
        }
        let mean = self.sum / self.count;
        (self.sum, self.count) = (Duration::ZERO, 0);
        Some(mean)
    }

    /// The reader has begun anew, or has another session: the pause before says nothing.
    pub(crate) const fn interrupted(&mut self) {
        self.before = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// What is measured of pings at these milliseconds, each once.
    fn measured(at: impl IntoIterator<Item = u64>) -> Vec<Duration> {
        let mut pulse = Pulse::default();
        at.into_iter().filter_map(|ms| pulse.pinged(Duration::from_millis(ms))).collect()
    }

    #[test]
    fn pings_of_a_right_clock_make_a_second_and_of_a_slow_one_more() {
        for ms in [900, 1000, 1100] {
            let pings = (0..=u64::from(PULSES)).map(|number| 5 + number * ms);
            assert_eq!(measured(pings), [Duration::from_millis(ms)]);
        }
    }

    #[test]
    fn what_is_late_lengthens_no_second_and_what_is_lost_is_left_out() {
        let late = |number: u64| number * 1000 + number % 3 * 80;
        let mean = measured((0..=u64::from(PULSES)).map(late))[0];
        assert!(mean.abs_diff(SECOND) < Duration::from_millis(6), "{mean:?}");
        let lossy = (0..).filter(|number| number % 3 > 0).map(|number| number * 1000);
        assert_eq!(measured(lossy.take(2 * PULSES as usize + 2)), [SECOND]);
    }

    #[test]
    fn an_ask_begins_the_second_anew() {
        let mut pulse = Pulse::default();
        let mut seconds = Vec::new();
        for number in 0..u64::from(PULSES) {
            let at = Duration::from_millis(number * 1900);
            pulse.asked(at);
            seconds.extend(pulse.pinged(at + SECOND));
        }
        assert_eq!(seconds, [SECOND]);
    }

    #[test]
    fn nothing_is_measured_over_an_interruption() {
        let mut pulse = Pulse::default();
        for number in 0..u64::from(PULSES) {
            assert_eq!(pulse.pinged(Duration::from_millis(number * 700)), None);
            pulse.interrupted();
        }
        assert_eq!(pulse.count, 0);
    }
}
