//! What a worker counts of an answer.

use std::time::Duration;

use fastrand::Rng;
use kalitka_core::{Decision, DecisionTally, Histogram, ReaderTally};
use kalitka_protocol::reason::{Denial, Grant, Verdict};

use crate::step::Step;

const READERS: usize = 64;
const PORTALS: u16 = 64;

pub(super) fn steps() -> Vec<Step> {
    vec![record()]
}

/// The counts of a worker.
struct Counts {
    readers: Vec<ReaderTally>,
    decisions: Box<DecisionTally>,
    service: Histogram,
    rng: Rng,
}

/// An answer by what is counted of it.
struct Answered {
    reader: usize,
    decision: Decision,
    at: Duration,
    took: Duration,
}

impl Counts {
    fn new() -> Self {
        Self {
            readers: (0..READERS).map(|_| ReaderTally::default()).collect(),
            decisions: Box::default(),
            service: Histogram::new(),
            rng: Rng::with_seed(1),
        }
    }

    /// Anybody's, at any reader.
    fn anybody(&mut self) -> Answered {
        let granted = self.rng.u8(..10) > 0;
        let verdict = if granted { Verdict::Grant(Grant::AccessLevel) } else { Verdict::Deny(Denial::NoAccess) };
        let portal = Some(self.rng.u16(..PORTALS));
        let (credential, holder, profile, generation, hold_open_ms) = (None, None, None, 1, 5000);
        Answered {
            reader: self.rng.usize(..READERS),
            decision: Decision { verdict, credential, holder, profile, portal, generation, hold_open_ms },
            at: Duration::from_nanos(self.rng.u64(..1 << 40)),
            took: Duration::from_nanos(self.rng.u64(..1 << 16)),
        }
    }
}

/// All of it for a datagram with one ask, in a batch of its own: in a larger one the time taken is counted once.
fn record() -> Step {
    Step::new(
        "record an answer's metrics, of 64 readers",
        |_| Counts::new(),
        Counts::anybody,
        |counts, answered| {
            let reader = &counts.readers[answered.reader];
            reader.hear(answered.at);
            reader.asks.add(1);
            counts.decisions.count(&answered.decision);
            counts.service.record_times(answered.took, 1);
            reader.asks.get()
        },
        |asks| *asks > 0,
    )
}
