//! How long a crowd goes without what it waits for.

use std::time::Duration;

/// The longest time for which something awaited did not come, over all and since one last looked.
#[derive(Debug, Default)]
pub(super) struct Drought {
    /// Since when it is awaited in vain; `None` while nobody waits.
    since: Option<Duration>,
    longest: Duration,
    lately: Duration,
}

impl Drought {
    /// It came at `now`.
    pub(super) fn came(&mut self, now: Duration) {
        self.look(now);
        self.since = Some(now);
    }

    /// At `now` it is awaited or nobody waits; then the time that has passed so far is noted.
    pub(super) fn awaited(&mut self, now: Duration, is_awaited: bool) {
        if !is_awaited {
            // What ends because nobody waits any more has lasted until now.
            self.look(now);
            self.since = None;
            return;
        }
        self.since.get_or_insert(now);
        self.look(now);
    }

    /// What has passed at `now` is nobody's fault.
    pub(super) const fn excuse(&mut self) {
        self.since = None;
    }

    fn look(&mut self, now: Duration) {
        let lasted = self.since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        self.longest = self.longest.max(lasted);
        self.lately = self.lately.max(lasted);
    }

    /// The longest so far.
    pub(super) const fn longest(&self) -> Duration {
        self.longest
    }

    /// The longest since this was called before; one that lasts is counted in both.
    pub(super) const fn take_lately(&mut self) -> Duration {
        let lately = self.lately;
        self.lately = Duration::ZERO;
        lately
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn drought_lasts_from_one_coming_to_the_next_while_somebody_waits() {
        let mut drought = Drought::default();
        drought.awaited(ms(10), true);
        drought.came(ms(30));
        drought.came(ms(35));
        assert_eq!(drought.longest(), ms(20));
        drought.awaited(ms(40), false);
        drought.awaited(ms(900), true);
        drought.awaited(ms(905), true);
        assert_eq!(drought.longest(), ms(20), "nobody waited meanwhile");
        drought.awaited(ms(960), true);
        assert_eq!(drought.longest(), ms(60), "it lasts, and counts already");
    }

    #[test]
    fn drought_that_lasts_counts_before_and_after_a_look() {
        let mut drought = Drought::default();
        drought.came(ms(0));
        drought.awaited(ms(100), true);
        assert_eq!((drought.take_lately(), drought.take_lately()), (ms(100), ms(0)));
        drought.came(ms(150));
        assert_eq!((drought.take_lately(), drought.longest()), (ms(150), ms(150)));
    }

    #[test]
    fn excused_time_counts_for_nothing() {
        let mut drought = Drought::default();
        drought.came(ms(0));
        drought.excuse();
        drought.came(ms(900));
        assert_eq!(drought.longest(), ms(0));
    }
}
