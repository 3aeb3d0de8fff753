//! Decisions by verdict and by portal, of one worker.

use kalitka_protocol::reason::Verdict;

use super::Count;
use crate::decide::Decision;
use crate::limits::PORTALS_COUNTED_MAX;

/// Whose decisions are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Of the portal in this place of the snapshot's list, from 0, below [`PORTALS_COUNTED_MAX`].
    Portal(u16),
    /// Of all portals beyond.
    Others,
    /// Of asks whose portal nobody looked up: without a snapshot, of a reader that it does not know, stale.
    Unknown,
}

/// Denials and grants of one portal.
#[derive(Debug, Default)]
pub struct Outcomes {
    /// Asks denied.
    pub denied: Count,
    /// Asks granted.
    pub granted: Count,
}

impl Outcomes {
    const fn new() -> Self {
        Self { denied: Count::new(), granted: Count::new() }
    }
}

/// The counts; one worker writes.
#[derive(Debug)]
pub struct DecisionTally {
    /// By the verdict's two bytes.
    verdicts: [[Count; 256]; 2],
    portals: [Outcomes; PORTALS_COUNTED_MAX],
    others: Outcomes,
    unknown: Outcomes,
}

impl Default for DecisionTally {
    fn default() -> Self {
        Self::new()
    }
}

impl DecisionTally {
    /// Nothing counted.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            verdicts: [const { [const { Count::new() }; 256] }; 2],
            portals: [const { Outcomes::new() }; PORTALS_COUNTED_MAX],
            others: Outcomes::new(),
            unknown: Outcomes::new(),
        }
    }

    /// Counts one decision.
    pub fn count(&self, decision: &Decision) {
        self.verdict(decision.verdict).add(1);
        let outcomes = match decision.portal {
            Some(portal) => self.portals.get(usize::from(portal)).unwrap_or(&self.others),
            None => &self.unknown,
        };
        let outcome = if decision.verdict.is_grant() { &outcomes.granted } else { &outcomes.denied };
        outcome.add(1);
    }

    /// How often this verdict was given.
    #[must_use]
    pub fn verdict(&self, verdict: Verdict) -> &Count {
        let [granted, code] = verdict.to_bytes();
        &self.verdicts[usize::from(granted & 1)][usize::from(code)]
    }

    /// What was decided there.
    #[must_use]
    pub fn outcomes(&self, of: Counted) -> &Outcomes {
        match of {
            Counted::Portal(portal) => self.portals.get(usize::from(portal)).unwrap_or(&self.others),
            Counted::Others => &self.others,
            Counted::Unknown => &self.unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use kalitka_protocol::reason::{Denial, Grant};

    use super::*;

    fn decided(verdict: Verdict, portal: Option<u16>) -> Decision {
        let (credential, holder, profile, generation, hold_open_ms) = (None, None, None, 1, 0);
        Decision { verdict, credential, holder, profile, portal, generation, hold_open_ms }
    }

    #[test]
    fn every_verdict_is_counted_by_itself() {
        let grants = Grant::ALL.iter().map(|&grant| Verdict::Grant(grant));
        let all: Vec<Verdict> = grants.chain(Denial::ALL.iter().map(|&denial| Verdict::Deny(denial))).collect();
        let tally = DecisionTally::new();
        for (times, &verdict) in (1..).zip(&all) {
            (0..times).for_each(|_| tally.count(&decided(verdict, None)));
        }
        let counted = all.iter().map(|&verdict| tally.verdict(verdict).get());
        assert!(counted.eq(1..=all.len() as u64));
    }

    #[test]
    fn every_decision_is_counted_at_one_portal_and_those_beyond_the_limit_together() {
        let limit = u16::try_from(PORTALS_COUNTED_MAX).unwrap();
        let (granted, denied) = (Verdict::Grant(Grant::AccessLevel), Verdict::Deny(Denial::NoAccess));
        let tally = DecisionTally::new();
        let cases = [
            (Some(0), granted, Counted::Portal(0)),
            (Some(limit - 1), denied, Counted::Portal(limit - 1)),
            (Some(limit), denied, Counted::Others),
            (Some(u16::MAX), granted, Counted::Others),
            (None, denied, Counted::Unknown),
        ];
        for (portal, verdict, of) in cases {
            let counted = || {
                let outcomes = tally.outcomes(of);
                [outcomes.denied.get(), outcomes.granted.get()].map(|count| count + tally.verdict(verdict).get())
            };
            let before = counted();
            tally.count(&decided(verdict, portal));
            let more = if verdict.is_grant() { [1, 2] } else { [2, 1] };
            assert_eq!(counted(), [before[0] + more[0], before[1] + more[1]], "{portal:?}");
        }
    }
}
