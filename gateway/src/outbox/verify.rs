//! `outbox verify`: whether everything is whole, and what is not.

use kalitka_outbox::EpochFound;
use kalitka_process::output::print;
use serde::Serialize;

use super::{Ended, Verify, failed, survey};
use crate::failure::Failure;

/// What is said of an outbox.
#[derive(Debug, Serialize)]
struct Verdict {
    whole: bool,
    building: u32,
    stores: Vec<String>,
    epochs: Vec<Epoch>,
    /// Why the gateway would not go on with the store in use.
    damage: Option<String>,
}

#[derive(Debug, Serialize)]
struct Epoch {
    epoch: String,
    /// The first whole event, and the last.
    first: Option<u64>,
    last: Option<u64>,
    events: u64,
    blocks: u64,
    acknowledged: u64,
    /// First and last numbers that are missing, and stand in a loss record.
    told: Vec<(u64, u64)>,
    /// First and last numbers that are missing, and stand in none.
    holes: Vec<(u64, u64)>,
}

impl Epoch {
    fn of(found: EpochFound) -> Self {
        let EpochFound { epoch, span, events, blocks, acknowledged, told, holes } = found;
        let (first, last) = (span.map(|span| span.0), span.map(|span| span.1));
        Self { epoch: format!("{:016x}", epoch.0), first, last, events, blocks, acknowledged, told, holes }
    }
}

/// Prints what is found in the folder.
///
/// # Errors
/// [`Failure`] when it cannot be looked at.
pub(super) fn verify(asked: &Verify) -> Result<Ended, Failure> {
    let survey = survey(&asked.folder)?;
    let epochs: Vec<Epoch> = survey.epochs().into_iter().map(Epoch::of).collect();
    let damage = if asked.no_copy {
        None
    } else {
        survey.try_opening(&asked.temporary).map_err(|error| {
            let Failure::Input(text) = failed(&error) else { return failed(&error) };
            Failure::Environment(format!("{text}; name another folder with --temporary, or go without by --no-copy"))
        })?
    };
    let whole = damage.is_none() && epochs.iter().all(|epoch| epoch.holes.is_empty());
    let stores = survey.stores().iter().map(|store| store.display().to_string()).collect();
    let verdict = Verdict { whole, building: survey.building(), stores, epochs, damage };
    let shown = if asked.json {
        serde_json::to_string(&verdict).map(|line| line + "\n").map_err(|error| Failure::Defect(error.to_string()))?
    } else {
        text(&verdict)
    };
    print(&shown)?;
    Ok(if verdict.whole { Ended::Whole } else { Ended::Damaged })
}

fn text(verdict: &Verdict) -> String {
    let mut text = format!("building  {}\n", verdict.building);
    for store in &verdict.stores {
        text += &format!("store     {store}\n");
    }
    for of in &verdict.epochs {
        let span = match (of.first, of.last) {
            (Some(first), Some(last)) => format!("{first} to {last}, {} events in {} blocks", of.events, of.blocks),
            _ => "no event".into(),
        };
        text += &format!("epoch     {}: {span}; the hub has all up to {}\n", of.epoch, of.acknowledged);
        for (first, last) in &of.told {
            text += &format!("  lost    {first} to {last}: in a loss record\n");
        }
        for (first, last) in &of.holes {
            text += &format!("  HOLE    {first} to {last}: missing, and in no loss record\n");
        }
    }
    if let Some(damage) = &verdict.damage {
        text += &format!("damaged   the gateway would not go on with it: {damage}\n");
    }
    text += if verdict.whole {
        "whole\n"
    } else {
        "not whole: a gateway that opens it copies what is whole, goes on in a new epoch and records what is missing\n"
    };
    text
}
