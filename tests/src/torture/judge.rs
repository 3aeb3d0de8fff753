//! The judgement: what readers were receipted, and what stores held before they were damaged, against what the hub has.
//!
//! A receipted report has to be at the hub, once, as it was sent. One that is not there is *lost*, unless the harness
//! destroyed it on the gateway's disk before the hub had it, which it knows from the [`Witness`] (whole before, and not after),
//! and a loss record at the hub names exactly the place where it stood: then it is *destroyed*. A number that is missing at the hub, or an event seen on a
//! disk that has not come there, is an *unrecorded gap* unless a loss record names it.

use std::collections::{BTreeMap, BTreeSet};

use kalitka_protocol::credential::CardRead;
use serde_json::Value;

use super::witness::{Ask, Place, Witness};
use crate::crowd::{Identified, Reported};

/// Descriptions that are kept of each kind of breach.
const NAMED_MAX: usize = 8;

/// Identities that the hub refused because it has others under them: from there on the gateway's own history of that epoch
/// got new ones.
pub type Forks = BTreeSet<Place>;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Reports that readers were receipted.
    pub receipted: u64,
    /// Of these, absent at the hub without a record.
    pub lost: Vec<Identified>,
    /// Of these, destroyed by the harness and named by a loss record.
    pub destroyed: u64,
    /// Reports that the hub has more than once.
    pub doubled: Vec<Identified>,
    /// Reports that the hub has otherwise than they were sent.
    pub altered: Vec<Identified>,
    /// Places of events that are missing, and that no loss record names.
    pub gaps: Vec<Place>,
    /// Losses of unknown end that were never closed.
    pub open_losses: u64,
    /// Loss records at the hub.
    pub loss_records: u64,
    /// Epochs at the hub.
    pub epochs: u64,
    /// Events at the hub.
    pub events: u64,
}

impl Verdict {
    /// Every broken promise, in words.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        let some = |what: &str, of: String, count: usize| (count > 0).then(|| format!("{count} {what}: {of}"));
        let ids = |of: &[Identified]| format!("{:x?}", &of[..of.len().min(NAMED_MAX)]);
        let gaps = format!("{:x?}", &self.gaps[..self.gaps.len().min(NAMED_MAX)]);
        let open = usize::try_from(self.open_losses).unwrap_or(usize::MAX);
        [
            some("receipted reports are lost (reader, log, number)", ids(&self.lost), self.lost.len()),
            some("reports are at the hub more than once", ids(&self.doubled), self.doubled.len()),
            some("reports are at the hub otherwise than they were sent", ids(&self.altered), self.altered.len()),
            some("gaps are not recorded (epoch, number)", gaps, self.gaps.len()),
            some("losses of unknown end", "never closed".into(), open),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// What the hub has of the building.
#[derive(Debug, Default)]
struct Held<'a> {
    reports: BTreeMap<Identified, Vec<&'a Value>>,
    decisions: BTreeSet<Ask>,
    numbers: BTreeMap<u64, BTreeSet<u64>>,
    /// Of an epoch that another one names as the one before, up to which number it went.
    named: BTreeMap<u64, u64>,
    losses: Vec<&'a Value>,
    /// By epoch and first number, the number that the hub held.
    closed: BTreeMap<Place, u64>,
}

/// The numbers that losses name, by epoch.
#[derive(Debug, Default)]
struct Named {
    spans: BTreeMap<u64, Vec<(u64, u64)>>,
    open: u64,
}

/// Judges.
///
/// # Panics
/// When the hub's events have not the form of docs/events.md.
#[must_use]
pub fn judge(
    receipted: &BTreeMap<Identified, Reported>,
    events: &[Value],
    forks: &Forks,
    witness: &Witness,
) -> Verdict {
    let held = Held::of(events);
    let named = held.named_losses();
    let mut verdict = Verdict {
        receipted: receipted.len() as u64,
        open_losses: named.open,
        loss_records: held.losses.len() as u64,
        epochs: held.numbers.len() as u64,
        events: events.len() as u64,
        ..Verdict::default()
    };
    for (identity, reported) in receipted {
        match held.reports.get(identity).map(Vec::as_slice) {
            Some([event, ..]) if !is_as_sent(event, reported) => verdict.altered.push(*identity),
            Some([_, ..]) => {}
            _ if !witness.spared.contains(identity)
                && witness.reports.get(identity).is_some_and(|places| named.covers_one_of(places)) =>
            {
                verdict.destroyed += 1;
            }
            _ => verdict.lost.push(*identity),
        }
    }
    let doubled = held.reports.iter().filter(|(_, events)| events.len() > 1);
    verdict.doubled = doubled.map(|(identity, _)| *identity).collect();
    let mut gaps = held.holes(&named, forks);
    let unseen = witness.reports.iter().filter(|(identity, _)| !held.reports.contains_key(identity));
    let undecided = witness.decisions.iter().filter(|(ask, _)| !held.decisions.contains(ask));
    for places in unseen.map(|(_, places)| places).chain(undecided.map(|(_, places)| places)) {
        if !named.covers_one_of(places) {
            gaps.extend(places.iter().copied());
        }
    }
    verdict.gaps = gaps.into_iter().collect();
    verdict
}

impl<'a> Held<'a> {
    fn of(events: &'a [Value]) -> Self {
        let mut held = Self::default();
        for event in events {
            let (epoch, number) = (hex(&event["epoch"]), whole(&event["number"]));
            held.numbers.entry(epoch).or_default().insert(number);
            let reader = || u32::try_from(whole(&event["reader"])).unwrap();
            match event["kind"].as_str().unwrap() {
                "report" => {
                    let identity = (reader(), hex(&event["log"]), whole(&event["report"]));
                    held.reports.entry(identity).or_default().push(event);
                }
                "decision" => {
                    let request = u32::try_from(whole(&event["request"])).unwrap();
                    held.decisions.insert((reader(), hex(&event["boot"]), request));
                }
                "epoch_begun" if !event["before"].is_null() => {
                    let last = held.named.entry(hex(&event["before"])).or_default();
                    *last = (*last).max(whole(&event["last"]));
                }
                "loss" => held.losses.push(event),
                "loss_closed" => {
                    let place = (hex(&event["lost_epoch"]), whole(&event["first"]));
                    held.closed.insert(place, whole(&event["held"]));
                }
                _ => {}
            }
        }
        held
    }

    /// What losses name. One of unknown end names what lies behind the number at which it was closed.
    fn named_losses(&self) -> Named {
        let mut named = Named::default();
        for loss in &self.losses {
            let (epoch, first) = (hex(&loss["lost_epoch"]), whole(&loss["first"]));
            let span = match (loss["last"].as_u64(), self.closed.get(&(epoch, first))) {
                _ if first == 0 => continue,
                (Some(last), _) => (first, last),
                (None, Some(held)) => (held.saturating_add(1), u64::MAX),
                (None, None) => {
                    named.open += 1;
                    continue;
                }
            };
            named.spans.entry(epoch).or_default().push(span);
        }
        named
    }

    /// Numbers that are missing between the first and the last of an epoch, and are not named.
    fn holes(&self, named: &Named, forks: &Forks) -> BTreeSet<Place> {
        let mut holes = BTreeSet::new();
        let none = BTreeSet::new();
        let epochs: BTreeSet<u64> = self.numbers.keys().chain(self.named.keys()).copied().collect();
        for epoch in epochs {
            let numbers = self.numbers.get(&epoch).unwrap_or(&none);
            let kept = numbers.last().copied().unwrap_or(0);
            // What another epoch says of a history that was refused is not said of the one that is kept.
            let is_forked = forks.range((epoch, 0)..=(epoch, kept)).next().is_some();
            let named_last = self.named.get(&epoch).copied().filter(|_| !is_forked);
            let last = kept.max(named_last.unwrap_or(0));
            let missing = (1..=last).filter(|number| !numbers.contains(number));
            holes.extend(missing.map(|number| (epoch, number)).filter(|&place| !named.covers(place)));
        }
        holes
    }
}

impl Named {
    fn covers(&self, (epoch, number): Place) -> bool {
        let spans = self.spans.get(&epoch).map_or(&[][..], Vec::as_slice);
        spans.iter().any(|&(first, last)| first <= number && number <= last)
    }

    fn covers_one_of(&self, places: &BTreeSet<Place>) -> bool {
        places.iter().any(|&place| self.covers(place))
    }
}

fn is_as_sent(event: &Value, reported: &Reported) -> bool {
    let card = CardRead::from_uid(&reported.uid).unwrap();
    event["report_kind"] == reported.kind.label()
        && event["direction"] == reported.direction.label()
        && event["card"] == hex::encode(card.to_bytes())
}

fn hex(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap(), 16).unwrap()
}

fn whole(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
