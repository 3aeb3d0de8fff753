//! What the page remembers by itself, looked at once a second: when each reason was last given, how often lately, when a
//! snapshot was refused, since when the hub is there or away.

use std::cmp::Reverse;
use std::time::Duration;

use kalitka_protocol::reason::Denial;

use super::overview::Refusal;
use crate::limits::{PAGE_RECENT, READER_SILENT_AFTER};

const REASONS: usize = Denial::ALL.len();
/// Parts of [`PAGE_RECENT`] that are counted apart.
const PARTS: usize = 15;

/// How often each reason was given since the start.
pub(super) type Counts = [u64; REASONS];

/// The memory. One value a second goes in.
#[derive(Clone, Debug)]
pub(super) struct History {
    /// When it was looked at first.
    begun: Option<Duration>,
    total: Counts,
    newest: [Duration; REASONS],
    /// By part of [`PAGE_RECENT`]: its number since the start, and what was given in it.
    parts: [(u64, Counts); PARTS],
    /// How often a snapshot was refused, and since when it is so often.
    pub(super) refused: Since<u64>,
    /// Whether the hub is there, or `off`.
    pub(super) uplink: Since<&'static str>,
}

/// A thing, and since when it is so.
#[derive(Clone, Debug, Default)]
pub(super) struct Since<T> {
    pub(super) what: T,
    pub(super) since: Duration,
}

impl<T: PartialEq> Since<T> {
    fn see(&mut self, what: T, now: Duration) {
        if self.what != what {
            *self = Self { what, since: now };
        }
    }

    /// For how long it is so at `now`.
    pub(super) fn seconds(&self, now: Duration) -> u64 {
        now.saturating_sub(self.since).as_secs()
    }
}

impl History {
    pub(super) fn new() -> Self {
        Self {
            begun: None,
            total: [0; REASONS],
            newest: [Duration::ZERO; REASONS],
            parts: [(0, [0; REASONS]); PARTS],
            refused: Since::default(),
            uplink: Since::default(),
        }
    }

    /// Takes what is so at `now`: how often each reason was given and a snapshot refused since the start, how the uplink
    /// stands.
    pub(super) fn see(&mut self, now: Duration, counts: Counts, refused: u64, uplink: &'static str) {
        self.begun.get_or_insert(now);
        let number = part_of(now);
        let part = &mut self.parts[place_of(number)];
        if part.0 != number {
            *part = (number, [0; REASONS]);
        }
        for (reason, count) in counts.into_iter().enumerate() {
            let more = count.saturating_sub(self.total[reason]);
            if more > 0 {
                part.1[reason] += more;
                self.newest[reason] = now;
            }
        }
        self.total = counts;
        self.refused.see(refused, now);
        self.uplink.see(reached(uplink), now);
    }

    /// Whether at `now` readers have had no time yet to be heard, and the journal none to open.
    pub(super) fn is_beginning(&self, now: Duration) -> bool {
        self.begun.is_none_or(|begun| now.saturating_sub(begun) < READER_SILENT_AFTER)
    }

    /// The reasons that were given, the most frequent of late first.
    pub(super) fn refusals(&self, now: Duration) -> Vec<Refusal> {
        let number = part_of(now);
        let is_recent = |part: &&(u64, Counts)| part.0 + PARTS as u64 > number;
        let given = Denial::ALL.iter().enumerate().filter(|(place, _)| self.total[*place] > 0);
        let mut refusals: Vec<Refusal> = given
            .map(|(place, reason)| Refusal {
                reason: reason.label(),
                last_15_minutes: self.parts.iter().filter(is_recent).map(|(_, counts)| counts[place]).sum(),
                since_start: self.total[place],
                newest_seconds_ago: now.saturating_sub(self.newest[place]).as_secs(),
            })
            .collect();
        refusals.sort_by_key(|refusal| (Reverse(refusal.last_15_minutes), refusal.newest_seconds_ago));
        refusals
    }
}

/// Attempts and the pauses between them are one time without the hub.
fn reached(uplink: &'static str) -> &'static str {
    match uplink {
        "connecting" | "down" => "away",
        other => other,
    }
}

fn part_of(now: Duration) -> u64 {
    now.as_secs() / (PAGE_RECENT.as_secs() / PARTS as u64)
}

fn place_of(number: u64) -> usize {
    usize::try_from(number % PARTS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn counts(first: u64, second: u64) -> Counts {
        let mut counts = [0; REASONS];
        (counts[0], counts[1]) = (first, second);
        counts
    }

    fn said(history: &History, now: u64) -> Vec<(&'static str, u64, u64, u64)> {
        let refusals = history.refusals(at(now)).into_iter();
        refusals.map(|of| (of.reason, of.last_15_minutes, of.since_start, of.newest_seconds_ago)).collect()
    }

    #[test]
    fn refusals_are_told_most_frequent_first_and_leave_the_last_quarter_of_an_hour_when_it_is_over() {
        let [first, second] = [Denial::ALL[0].label(), Denial::ALL[1].label()];
        let mut history = History::new();
        assert_eq!(said(&history, 0), []);
        history.see(at(10), counts(3, 0), 0, "up");
        history.see(at(70), counts(4, 2), 0, "up");
        history.see(at(80), counts(4, 3), 0, "up");
        assert_eq!(said(&history, 82), [(first, 4, 4, 12), (second, 3, 3, 2)]);
        // Whole minutes: the first minute's three are gone when the sixteenth has begun.
        assert_eq!(said(&history, 899)[0], (first, 4, 4, 829));
        assert_eq!(said(&history, 900)[1], (first, 1, 4, 830));
        assert_eq!(said(&history, 960), [(second, 0, 3, 880), (first, 0, 4, 890)]);
        history.see(at(965), counts(5, 3), 0, "up");
        assert_eq!(said(&history, 966), [(first, 1, 5, 1), (second, 0, 3, 886)]);
    }

    #[test]
    fn what_stands_is_told_since_when() {
        let mut history = History::new();
        history.see(at(1), counts(0, 0), 0, "connecting");
        history.see(at(5), counts(0, 0), 1, "up");
        history.see(at(9), counts(0, 0), 1, "up");
        assert_eq!((history.refused.seconds(at(9)), history.uplink.seconds(at(9))), (4, 4));
        history.see(at(10), counts(0, 0), 2, "up");
        assert_eq!((history.refused.seconds(at(10)), history.uplink.seconds(at(10))), (0, 5));
    }

    #[test]
    fn hub_is_away_from_the_first_attempt_on_however_many_follow() {
        let mut history = History::new();
        history.see(at(1), counts(0, 0), 0, "up");
        for second in 2..=63 {
            let uplink = if second % 5 == 0 { "connecting" } else { "down" };
            history.see(at(second), counts(0, 0), 0, uplink);
        }
        assert_eq!(history.uplink.seconds(at(63)), 61);
        history.see(at(64), counts(0, 0), 0, "up");
        assert_eq!(history.uplink.seconds(at(64)), 0);
    }

    #[test]
    fn readers_have_the_time_to_be_heard_from_the_first_look_on() {
        let mut history = History::new();
        assert!(history.is_beginning(at(100)), "it has not been looked yet");
        history.see(at(100), counts(0, 0), 0, "up");
        history.see(at(104), counts(0, 0), 0, "up");
        assert!(history.is_beginning(at(104)) && !history.is_beginning(at(105)));
    }
}
