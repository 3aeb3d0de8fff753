//! What came of a run at OSDP devices: every light judged, every pass looked for at the hub.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kalitka_protocol::ReaderId;
use kalitka_protocol::message::ReportKind;
use serde::{Deserialize, Serialize};

use super::{Answer, Log};
use crate::hub::Hub;
use crate::limits::{LOOK_AGAIN, WRONG_SHOWN};
use crate::summary::Quantiles;
use crate::tally::{Judges, histogram, record};

/// The score of the OSDP devices of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Score {
    /// Devices.
    pub devices: usize,
    /// Cards shown.
    pub asks: u64,
    /// Cards that a light answered.
    pub answered: u64,
    /// Lights and releases that the oracle does not agree with, and releases for nobody.
    pub wrong: u64,
    /// Cards that got no light.
    pub unanswered: u64,
    /// Cards before whose light the control panel fell silent or began anew.
    pub in_silence: u64,
    /// Microseconds from showing to the light.
    pub latency_us: Quantiles,
    /// Who went through, surely seen by the gateway.
    pub passes: u64,
    /// Who turned back, surely missed by it.
    pub turned_back: u64,
    /// Both, so shortly before the gateway was gone that it may not have been written down.
    pub unsure: u64,
    /// Channels that were opened, the first ones included.
    pub channels: u64,
    /// What the hub holds of the passes, if it was asked.
    pub at_hub: Option<AtHub>,
    /// The first of what is wrong, in words.
    pub wrong_shown: Vec<String>,
}

/// What a hub holds of those who passed and turned back at OSDP devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AtHub {
    /// Of them, each counted once.
    pub held: u64,
    /// Sure ones that it does not hold.
    pub lost: u64,
    /// Those that there were not, or that it holds twice; and whoever is said to have forced a portal, as nobody does.
    pub doubled: u64,
}

impl Score {
    /// What `logs` come to by the rosters of `judges`.
    #[must_use]
    pub fn new(logs: &[Log], judges: &Judges) -> Self {
        let mut score = Self { devices: logs.len(), ..Self::default() };
        let mut latency = histogram();
        for log in logs {
            score.asks += log.shown;
            score.answered += log.answers.len() as u64;
            score.unanswered += log.unanswered;
            score.in_silence += log.in_silence;
            score.channels += log.channels;
            for pass in &log.passes {
                let count = match (pass.is_sure, pass.kind) {
                    (false, _) => &mut score.unsure,
                    (true, ReportKind::TurnedBack) => &mut score.turned_back,
                    (true, _) => &mut score.passes,
                };
                *count += 1;
            }
            if log.unasked > 0 {
                score.wrong += log.unasked;
                score.show(format!("device of reader {}: {} releases for nobody", log.reader.0, log.unasked));
            }
            for answer in &log.answers {
                record(&mut latency, answer.took);
                score.judge(log.reader, answer, judges);
            }
        }
        score.latency_us = Quantiles::of(&latency);
        score
    }

    fn judge(&mut self, reader: ReaderId, answer: &Answer, judges: &Judges) {
        let Answer { show, seconds: (from, to), is_green, is_released, .. } = answer;
        let is_right = is_green == is_released && judges.may_say(*is_green, reader, show, *from..=*to.max(from));
        if !is_right {
            self.wrong += 1;
            self.show(format!(
                "device of reader {}, card {}, second {from}: the light was {}, the output {}",
                reader.0,
                hex::encode(show.card.to_bytes()),
                if *is_green { "green" } else { "not green" },
                if *is_released { "released" } else { "did not release" },
            ));
        }
    }

    fn show(&mut self, what: String) {
        if self.wrong_shown.len() < WRONG_SHOWN {
            self.wrong_shown.push(what);
        }
    }

    /// The row of the table.
    #[must_use]
    pub fn row(&self) -> String {
        let Self {
            devices, asks, answered, wrong, unanswered, in_silence, passes, turned_back, unsure, channels, ..
        } = self;
        let at_hub = self.at_hub.map_or_else(String::new, |AtHub { held, lost, doubled }| {
            format!("; at the hub {held}, {lost} lost, {doubled} doubled")
        });
        format!(
            "{devices} on {channels} channels: {asks} cards, {answered} answered, {wrong} wrong, {unanswered} unanswered, \
             {in_silence} in silence; {}; {passes} passes, {turned_back} turned back, {unsure} unsure{at_hub}",
            self.latency_us.row()
        )
    }
}

/// A line of `kalitka-hub events --json`, as far as it matters here.
#[derive(Deserialize)]
struct Line<'a> {
    order: u64,
    kind: &'a str,
    reader: Option<u32>,
    report_kind: Option<&'a str>,
    card: Option<&'a str>,
}

fn parse(line: &str) -> io::Result<Line<'_>> {
    serde_json::from_str(line).map_err(io::Error::other)
}

/// The number of the newest record that `hub` holds.
///
/// # Errors
/// As [`Hub::lines`].
pub(crate) fn newest(hub: &Hub) -> io::Result<u64> {
    let mut newest = 0;
    hub.lines(0, &mut |line| {
        newest = parse(line)?.order;
        Ok(())
    })?;
    Ok(newest)
}

/// Waits until `hub` holds every sure pass of `logs` behind the record `after`, or for as long as it may take, and says what it
/// holds then.
///
/// # Errors
/// As [`Hub::lines`].
pub(crate) fn at_hub(hub: &Hub, after: u64, logs: &[Log], stop: &AtomicBool) -> io::Result<AtHub> {
    let begun = Instant::now();
    loop {
        let found = compare(&held(hub, after)?, logs);
        if found.lost == 0 || begun.elapsed() > hub.within || stop.load(Ordering::Relaxed) {
            return Ok(found);
        }
        thread::sleep(LOOK_AGAIN.max(Duration::from_millis(50)));
    }
}

/// Whose card did what where; nobody's, when a portal was forced.
type Key = (u32, &'static str, String);
/// How often.
type Passes = HashMap<Key, u64>;

/// What the gateway makes of those who come to an OSDP device.
const KINDS: [ReportKind; 3] = [ReportKind::Passed, ReportKind::TurnedBack, ReportKind::Forced];

fn held(hub: &Hub, after: u64) -> io::Result<Passes> {
    let mut held = Passes::new();
    hub.lines(after, &mut |line| {
        if let Some(key) = key(&parse(line)?) {
            *held.entry(key).or_default() += 1;
        }
        Ok(())
    })?;
    Ok(held)
}

/// Whoever passes without a card was let pass by a gateway that has been started anew since.
fn key(line: &Line<'_>) -> Option<Key> {
    let kind = KINDS.into_iter().find(|kind| line.kind == "report" && line.report_kind == Some(kind.label()))?;
    let card = line.card.or((kind == ReportKind::Forced).then_some(""))?;
    Some((line.reader?, kind.label(), card.to_owned()))
}

fn compare(held: &Passes, logs: &[Log]) -> AtHub {
    let mut made = HashMap::<Key, (u64, u64)>::new();
    for log in logs {
        for pass in &log.passes {
            let key = (log.reader.0, pass.kind.label(), hex::encode(pass.card.to_bytes()));
            let (sure, all) = made.entry(key).or_default();
            *sure += u64::from(pass.is_sure);
            *all += 1;
        }
    }
    let mut found = AtHub::default();
    for (key, &(sure, all)) in &made {
        let held = held.get(key).copied().unwrap_or_default();
        found.held += held.min(all);
        found.lost += sure.saturating_sub(held);
    }
    let ours = |reader: u32| logs.iter().any(|log| log.reader.0 == reader);
    for (key, &held) in held.iter().filter(|((reader, ..), _)| ours(*reader)) {
        found.doubled += held.saturating_sub(made.get(key).map_or(0, |&(_, all)| all));
    }
    found
}

#[cfg(test)]
#[path = "score_tests.rs"]
mod tests;
