//! What happens to readers during an ordinary run: power cuts, changes of address, junk from their addresses.

use std::io;
use std::time::Duration;

use fastrand::Rng;

use crate::fleet::Fleet;
use crate::play::Stage;
use crate::tally::Tally;

/// Longest junk datagram, longer than any that SPEC allows.
const JUNK_MAX: usize = 1400;

/// How often each of them happens to some reader; zero means never.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mishaps {
    /// A reader loses power and starts again.
    pub power_cut_every: Duration,
    /// A reader gets another address.
    pub address_change_every: Duration,
    /// Random bytes are sent to the gateway.
    pub junk_every: Duration,
}

/// Readers to which [`Mishaps`] happen.
pub struct Mishap {
    due: [(Duration, Duration); 3],
    rng: Rng,
}

impl Mishap {
    /// The first of each happens after its interval.
    #[must_use]
    pub fn new(mishaps: Mishaps, seed: u64) -> Self {
        let every = [mishaps.power_cut_every, mishaps.address_change_every, mishaps.junk_every];
        let due = every.map(|every| if every.is_zero() { (Duration::MAX, every) } else { (every, every) });
        Self { due, rng: Rng::with_seed(seed) }
    }

    /// Whether the mishap in `place` is due at `at`; then it is put off to its next time.
    fn take(&mut self, place: usize, at: Duration) -> bool {
        let (due, every) = &mut self.due[place];
        let is_due = *due <= at;
        if is_due {
            *due += *every;
        }
        is_due
    }

    fn junk(&mut self) -> Vec<u8> {
        let mut junk = vec![0; self.rng.usize(..JUNK_MAX)];
        self.rng.fill(&mut junk);
        // Half of it looks like the protocol's at first sight.
        if let [kind, version, ..] = &mut junk[..]
            && self.rng.bool()
        {
            (*kind, *version) = (self.rng.u8(1..=3), kalitka_protocol::VERSION);
        }
        junk
    }
}

impl Stage for Mishap {
    fn turn(&mut self, at: Duration, now: Duration, fleet: &mut Fleet, _tally: &mut Tally) -> io::Result<()> {
        let readers = fleet.ids().len();
        if self.take(0, at) {
            fleet.cut_power(now, self.rng.usize(..readers))?;
        }
        if self.take(1, at) {
            fleet.change_address(self.rng.usize(..readers))?;
        }
        if self.take(2, at) {
            let junk = self.junk();
            fleet.send_junk(self.rng.usize(..readers), &junk)?;
        }
        Ok(())
    }

    fn next(&self) -> Duration {
        self.due.iter().map(|&(due, _)| due).min().unwrap_or(Duration::MAX)
    }
}
