//! Adds up what a run did and found, and tells it.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::fault::{Fault, Kind};
use super::judge::Verdict;
use crate::crowd::Fares;

/// The score of a run, as its parts share it.
pub type Shared = Arc<Mutex<Score>>;

/// The score of a run.
#[derive(Clone, Debug, Default)]
pub struct Score {
    /// SIGKILLs, counted by the moment.
    pub kills: u64,
    /// Power cuts, counted by the moment.
    pub power_cuts: u64,
    /// Damaged stores.
    pub damaged: u64,
    /// Faults of disks.
    pub disk_faults: u64,
    /// Faults of networks.
    pub net_faults: u64,
    /// How often each fault was done, and the longest time without decisions from it to the next.
    pub faults: BTreeMap<(Kind, &'static str), u64>,
    undecided: BTreeMap<&'static str, Duration>,
    /// Starts of the gateway that were waited for.
    pub starts: u64,
    /// The longest time from a start to its first answer.
    pub longest_start: Duration,
    /// The longest time without decisions.
    pub longest_undecided: Duration,
    /// The longest time without receipts while the disk was well.
    pub longest_unreceipted: Duration,
    /// Reports receipted.
    pub receipted: u64,
    /// Reports lost.
    pub lost: u64,
    /// Reports destroyed by the harness and recorded as lost.
    pub destroyed: u64,
    /// Reports doubled.
    pub duplicated: u64,
    /// Places missing without a record.
    pub unrecorded_gaps: u64,
    /// Loss records at the hub.
    pub loss_records: u64,
    /// Epochs at the hub.
    pub epochs: u64,
    /// Events at the hub.
    pub events: u64,
    /// Answers that readers got.
    pub answers: u64,
    /// Wrong answers.
    pub wrong: u64,
    /// Answers of the safe mode.
    pub closed: u64,
    /// Broken promises, each in words.
    pub broken: Vec<String>,
    /// What damage was done in the present chapter, in words.
    pub log: Vec<String>,
    start_max: Duration,
}

impl Score {
    /// An empty score; a gateway may take `start_max` from its start to its first answer.
    #[must_use]
    pub fn new(start_max: Duration) -> Self {
        Self { start_max, ..Self::default() }
    }

    /// Counts a fault that was done.
    pub fn count(&mut self, fault: Fault) {
        let kind = fault.kind();
        *self.faults.entry((kind, fault.label())).or_default() += 1;
        match kind {
            Kind::Kill => self.kills += fault.kills(),
            Kind::PowerCut => self.power_cuts += 1,
            Kind::Damage => self.damaged += 1,
            Kind::Disk => self.disk_faults += 1,
            Kind::Net => self.net_faults += 1,
        }
    }

    /// From the fault `since` to the next readers went so long without decisions.
    pub fn undecided(&mut self, since: &'static str, longest: Duration) {
        let of = self.undecided.entry(since).or_default();
        *of = (*of).max(longest);
    }

    /// A gateway's start took so long to its first answer.
    pub fn start(&mut self, took: Duration) {
        self.starts += 1;
        self.longest_start = self.longest_start.max(took);
        if took > self.start_max {
            self.broken.push(format!("a gateway took {took:?} from its start to its first answer"));
        }
    }

    /// Notes what was done, in words.
    pub fn log(&mut self, what: &str) {
        self.log.push(what.to_owned());
    }

    /// Adds a chapter's end.
    pub fn chapter(&mut self, verdict: &Verdict, fares: &Fares, broken: Vec<String>) {
        self.receipted += verdict.receipted;
        self.lost += verdict.lost.len() as u64;
        self.destroyed += verdict.destroyed;
        self.duplicated += verdict.doubled.len() as u64;
        self.unrecorded_gaps += verdict.gaps.len() as u64 + verdict.open_losses;
        self.loss_records += verdict.loss_records;
        self.epochs += verdict.epochs;
        self.events += verdict.events;
        self.answers += fares.answers;
        self.wrong += fares.wrong;
        self.closed += fares.closed;
        self.longest_undecided = self.longest_undecided.max(fares.longest_undecided);
        self.longest_unreceipted = self.longest_unreceipted.max(fares.longest_unreceipted);
        self.broken.extend(broken);
        self.broken.extend(fares.wrong_first.iter().cloned());
    }

    /// The one line that tells all.
    #[must_use]
    pub fn result(&self) -> String {
        format!(
            "RESULT kills={} power_cuts={} damaged={} disk_faults={} net_faults={} receipted={} lost={} duplicated={} \
             unrecorded_gaps={} longest_undecided_ms={}",
            self.kills,
            self.power_cuts,
            self.damaged,
            self.disk_faults,
            self.net_faults,
            self.receipted,
            self.lost,
            self.duplicated,
            self.unrecorded_gaps,
            self.longest_undecided.as_millis()
        )
    }
}

impl Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| fault | times | longest without decisions, ms |")?;
        writeln!(f, "|---|---|---|")?;
        for ((_, label), times) in &self.faults {
            let undecided = self.undecided.get(label).copied().unwrap_or_default();
            writeln!(f, "| {label} | {times} | {} |", undecided.as_millis())?;
        }
        writeln!(f)?;
        writeln!(f, "| of the whole run | |")?;
        writeln!(f, "|---|---|")?;
        let rows = [
            ("reports receipted", self.receipted),
            ("of these lost", self.lost),
            ("of these destroyed before the hub had them, and recorded as lost", self.destroyed),
            ("reports doubled at the hub", self.duplicated),
            ("places missing at the hub without a record", self.unrecorded_gaps),
            ("loss records at the hub", self.loss_records),
            ("epochs at the hub", self.epochs),
            ("events at the hub", self.events),
            ("answers", self.answers),
            ("of these wrong", self.wrong),
            ("of these of the safe mode", self.closed),
            ("starts of the gateway", self.starts),
            ("longest from a start to its first answer, ms", ms(self.longest_start)),
            ("longest without decisions, ms", ms(self.longest_undecided)),
            ("longest without receipts while the disk was well, ms", ms(self.longest_unreceipted)),
        ];
        rows.iter().try_for_each(|(what, number)| writeln!(f, "| {what} | {number} |"))
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torture::fault::Who;

    #[test]
    fn broken_promises_stand_in_the_result_line() {
        let mut score = Score::default();
        score.count(Fault::Kill(Who::Both, Some(3)));
        score.count(Fault::PowerCut(Who::Hub));
        let verdict = Verdict { receipted: 9, lost: vec![(1, 2, 3)], gaps: vec![(4, 5)], ..Verdict::default() };
        let fares = Fares { longest_undecided: Duration::from_millis(321), ..Fares::default() };
        score.chapter(&verdict, &fares, verdict.broken());
        assert_eq!(
            score.result(),
            "RESULT kills=2 power_cuts=1 damaged=0 disk_faults=0 net_faults=0 receipted=9 lost=1 duplicated=0 \
             unrecorded_gaps=1 longest_undecided_ms=321"
        );
        assert_eq!(score.broken.len(), 2, "{:?}", score.broken);
    }
}
