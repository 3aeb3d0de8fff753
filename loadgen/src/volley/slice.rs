//! What one slice came to.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;

use crate::limits::WRONG_SHOWN;
use crate::tally::histogram;

/// What was sent in one slice, what came back, how fast, and whether it was right.
#[derive(Clone, Debug)]
pub struct Slice {
    /// Datagrams sent.
    pub datagrams: u64,
    /// Asks in them.
    pub asks: u64,
    /// Datagrams received.
    pub received: u64,
    /// Asks that were answered; of an echo, datagrams that came back times the asks in each.
    pub answers: u64,
    /// Answers that were judged. All are opened and matched with their asks; of more than
    /// [`JUDGED_MAX`](crate::limits::JUDGED_MAX) every so many is judged.
    pub judged: u64,
    /// Judged answers that are not right, second answers to one ask, and datagrams that are no answer to any.
    pub wrong: u64,
    /// The first of them, in words.
    pub wrong_shown: Vec<String>,
    /// Asks never answered.
    pub lost: u64,
    /// From the first send to the last receive.
    pub elapsed: Duration,
    /// From the beginning to the last send.
    pub sending: Duration,
    /// How long the clock ran, the waiting for what was lost included.
    pub ran_for: Duration,
    /// The wall clock when it began to run, since 1970.
    pub wall: Duration,
    /// Nanoseconds from the sending of an ask (in an open loop: from the moment at which it was to be sent) to its answer.
    pub latency: Histogram<u64>,
    /// Nanoseconds by which datagrams of an open loop were sent too late.
    pub lateness: Histogram<u64>,
    /// CPU time of the generator's thread while the clock ran.
    pub generator_cpu: Duration,
    /// Whether the sealed asks were used up before the time was.
    pub ran_out: bool,
}

impl Slice {
    pub(crate) fn new() -> Self {
        Self {
            datagrams: 0,
            asks: 0,
            received: 0,
            answers: 0,
            judged: 0,
            wrong: 0,
            wrong_shown: Vec::new(),
            lost: 0,
            elapsed: Duration::ZERO,
            sending: Duration::ZERO,
            ran_for: Duration::ZERO,
            wall: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            latency: histogram(),
            lateness: histogram(),
            generator_cpu: Duration::ZERO,
            ran_out: false,
        }
    }

    /// Adds what `other` came to.
    ///
    /// The beginning by the wall clock stays that of the first.
    pub fn add(&mut self, other: &Self) {
        self.datagrams += other.datagrams;
        self.asks += other.asks;
        self.received += other.received;
        self.answers += other.answers;
        self.judged += other.judged;
        self.wrong += other.wrong;
        let room = WRONG_SHOWN.saturating_sub(self.wrong_shown.len());
        self.wrong_shown.extend(other.wrong_shown.iter().take(room).cloned());
        self.lost += other.lost;
        self.sending += other.sending;
        self.elapsed += other.elapsed;
        self.ran_for += other.ran_for;
        // Both have the same bounds.
        let _ = self.latency.add(&other.latency);
        let _ = self.lateness.add(&other.lateness);
        self.generator_cpu += other.generator_cpu;
        self.ran_out |= other.ran_out;
    }

    /// Answers a second.
    #[must_use]
    pub fn answers_per_second(&self) -> f64 {
        per_second(self.answers, self.elapsed)
    }

    /// Datagrams received a second.
    #[must_use]
    pub fn datagrams_per_second(&self) -> f64 {
        per_second(self.received, self.elapsed)
    }

    /// Datagrams sent a second.
    #[must_use]
    pub fn sent_per_second(&self) -> f64 {
        per_second(self.datagrams, self.sending)
    }

    /// The generator's share of one core, 0 to 1.
    #[must_use]
    pub fn generator_share(&self) -> f64 {
        self.generator_cpu.as_secs_f64() / self.ran_for.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of one slice, far below 2^53")]
fn per_second(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sum_of_two_slices_is_twice_one() {
        let mut one = Slice::new();
        (one.datagrams, one.asks, one.received, one.answers) = (1, 8, 2, 7);
        (one.judged, one.wrong, one.lost, one.ran_out) = (6, 5, 4, true);
        one.wrong_shown = vec!["this".into(); WRONG_SHOWN - 1];
        [one.sending, one.elapsed, one.ran_for, one.generator_cpu] = [9, 10, 11, 12].map(Duration::from_millis);
        one.latency.saturating_record(1000);
        one.lateness.saturating_record(10);
        let mut sum = Slice::new();
        sum.add(&one);
        sum.add(&one);
        assert_eq!((sum.datagrams, sum.asks, sum.received, sum.answers), (2, 16, 4, 14));
        assert_eq!((sum.judged, sum.wrong, sum.lost, sum.ran_out), (12, 10, 8, true));
        assert_eq!(sum.wrong_shown.len(), WRONG_SHOWN, "no more are shown");
        let took = [sum.sending, sum.elapsed, sum.ran_for, sum.generator_cpu];
        assert_eq!(took, [18, 20, 22, 24].map(Duration::from_millis));
        assert_eq!((sum.latency.len(), sum.lateness.len()), (2, 2));
    }
}
