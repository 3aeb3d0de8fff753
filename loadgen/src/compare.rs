//! What a hub shows, held against the generator's own list of reports, one by one: what is lost, doubled, altered or
//! nobody's.

use std::collections::HashMap;
use std::fmt;

use kalitka_protocol::message::ReportKind;
use kalitka_protocol::{LogId, ReaderId};
use serde::{Deserialize, Serialize};

use crate::book::{Book, ReportId, Words};
use crate::limits::WRONG_SHOWN;

/// A line of `kalitka-hub events --json`, as far as all kinds have it.
#[derive(Deserialize)]
struct Head<'a> {
    order: u64,
    kind: &'a str,
}

/// The rest of such a line when it is a report.
#[derive(Deserialize)]
struct Line<'a> {
    reader: u32,
    log: &'a str,
    report: u64,
    boot: &'a str,
    request: u32,
    count: u32,
    report_kind: &'a str,
    direction: Option<&'a str>,
    input: u8,
    unasked: bool,
    card: Option<&'a str>,
}

/// A line that is no record of a hub.
#[derive(Debug, thiserror::Error)]
#[error("line {number} of the hub's events cannot be understood: {why}")]
pub struct BadLine {
    number: u64,
    why: String,
}

/// What became of one report of the list.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Nowhere,
    Right,
    Altered,
}

/// What a hub holds of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Reports of the list that readers have a receipt for.
    pub receipted: u64,
    /// Reports of the list that the hub holds, each counted once, and those that are nobody's.
    pub at_hub: u64,
    /// Receipted ones that the hub does not hold as they were told.
    pub lost: u64,
    /// Records of a report that the hub holds already.
    pub duplicated: u64,
    /// Reports that say something else than their readers did.
    pub altered: u64,
    /// Reports that no reader has made.
    pub foreign: u64,
    /// Reports of memories that are not on the list.
    pub others: u64,
    /// The first of what is wrong, in words.
    pub shown: Vec<String>,
}

impl Found {
    /// Whether every receipted report is there, once and as it was told, and nothing else.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        self.lost == 0
            && self.duplicated == 0
            && self.altered == 0
            && self.foreign == 0
            && self.receipted == self.at_hub
    }
}

/// A comparison under way.
pub struct Comparison<'a> {
    book: &'a Book,
    places: HashMap<(ReaderId, LogId), usize>,
    /// By place and number.
    seen: Vec<Vec<Seen>>,
    /// Whether the hub holds this run's reports and no others.
    is_alone: bool,
    /// Readers whose reports are not on the list, because their gateways make them: OSDP devices.
    apart: Vec<ReaderId>,
    lines: u64,
    order: u64,
    found: Found,
}

impl<'a> Comparison<'a> {
    /// A comparison with `book`. When it `is_alone` at the hub, a report of a memory that it does not know is nobody's;
    /// else it is of another run.
    #[must_use]
    pub fn new(book: &'a Book, is_alone: bool) -> Self {
        let places = book.places();
        let len = |place| usize::try_from(book.last(place)).unwrap_or_default();
        let seen = (0..places.len()).map(|place| vec![Seen::Nowhere; len(place)]).collect();
        Self { book, places, seen, is_alone, apart: Vec::new(), lines: 0, order: 0, found: Found::default() }
    }

    /// The same without what the hub holds of the readers `apart`.
    #[must_use]
    pub fn without(mut self, apart: &[ReaderId]) -> Self {
        self.apart = apart.to_vec();
        self
    }

    /// The hub's number of the newest record taken; 0 before the first.
    #[must_use]
    pub const fn order(&self) -> u64 {
        self.order
    }

    /// Takes one line of the hub's events.
    ///
    /// # Errors
    /// [`BadLine`] when it is none.
    pub fn take(&mut self, line: &str) -> Result<(), BadLine> {
        self.lines += 1;
        let Head { order, kind } = serde_json::from_str(line).map_err(|error| self.bad(&error))?;
        if order <= self.order {
            return Err(self.bad(&format_args!("order {order} follows order {}", self.order)));
        }
        self.order = order;
        if kind == "report" {
            let report: Line<'_> = serde_json::from_str(line).map_err(|error| self.bad(&error))?;
            if self.apart.contains(&ReaderId(report.reader)) {
                return Ok(());
            }
            let log = u64::from_str_radix(report.log, 16).map_err(|error| self.bad(&error))?;
            let id = ReportId { reader: ReaderId(report.reader), log: LogId(log), number: report.report };
            self.hold(id, &report);
        }
        Ok(())
    }

    fn hold(&mut self, id: ReportId, report: &Line<'_>) {
        let place = self.places.get(&(id.reader, id.log)).copied();
        let Some((place, words)) = place.and_then(|place| Some((place, self.book.words(place, id.number)?))) else {
            if place.is_none() && !self.is_alone {
                self.found.others += 1;
            } else {
                self.found.foreign += 1;
                self.found.at_hub += 1;
                self.show(id, "no reader has made it");
            }
            return;
        };
        // Its words are on the list, so its number is at least 1.
        let index = usize::try_from(id.number - 1).unwrap_or_default();
        let said = told(words);
        let is_right = is_as_told(report, words);
        match self.seen[place][index] {
            Seen::Nowhere if is_right => self.seen[place][index] = Seen::Right,
            Seen::Nowhere => self.seen[place][index] = Seen::Altered,
            Seen::Right | Seen::Altered => {
                self.found.duplicated += 1;
                return self.show(id, "the hub holds it twice");
            }
        }
        self.found.at_hub += 1;
        if !is_right {
            self.found.altered += 1;
            self.show(id, &format!("its reader said {said}, the hub holds {}", held(report)));
        }
    }

    /// Receipted reports that the hub has not been seen to hold as they were told.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.book.all_receipted().filter(|&(place, id)| !self.is_right(place, id.number)).count() as u64
    }

    /// What has come of it.
    #[must_use]
    pub fn finish(mut self) -> Found {
        let lost: Vec<_> = self.book.all_receipted().filter(|&(place, id)| !self.is_right(place, id.number)).collect();
        self.found.receipted = self.book.receipted();
        self.found.lost = lost.len() as u64;
        for (place, id) in lost {
            if self.at(place, id.number) == Some(Seen::Nowhere) {
                self.show(id, "it is receipted, and the hub does not hold it");
            }
        }
        self.found
    }

    fn is_right(&self, place: usize, number: u64) -> bool {
        self.at(place, number) == Some(Seen::Right)
    }

    fn at(&self, place: usize, number: u64) -> Option<Seen> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        self.seen[place].get(index).copied()
    }

    fn show(&mut self, id: ReportId, what: &str) {
        if self.found.shown.len() < WRONG_SHOWN {
            let ReportId { reader, log, number } = id;
            self.found.shown.push(format!("report {number} of reader {}, log {:016x}: {what}", reader.0, log.0));
        }
    }

    fn bad(&self, why: &dyn fmt::Display) -> BadLine {
        BadLine { number: self.lines, why: why.to_string() }
    }
}

/// Whether the hub's line says what the reader said. How old a report was, and whether it was the oldest, are of each
/// sending and not compared.
fn is_as_told(line: &Line<'_>, words: &Words) -> bool {
    let card = words.card.map(|card| hex::encode(card.to_bytes()));
    line.report_kind == words.kind.label()
        && line.direction == words.direction.map(|direction| direction.label())
        && u64::from_str_radix(line.boot, 16) == Ok(words.boot.0)
        && line.request == words.request
        && line.count == words.count
        && line.input == words.input
        && line.unasked == words.unasked
        && line.card == card.as_deref()
}

fn told(words: &Words) -> String {
    let Words { kind, direction, boot, request, count, input, unasked, card } = words;
    let card = card.map(|card| hex::encode(card.to_bytes()));
    let direction = direction.map(|direction| direction.label());
    in_words(
        kind.label(),
        (direction, card.as_deref()),
        &format!("{:016x}", boot.0),
        [*request, *count, (*input).into()],
        *unasked,
    )
}

fn held(line: &Line<'_>) -> String {
    let numbers = [line.request, line.count, line.input.into()];
    in_words(line.report_kind, (line.direction, line.card), line.boot, numbers, line.unasked)
}

fn in_words(
    kind: &str,
    (direction, card): (Option<&str>, Option<&str>),
    boot: &str,
    [request, count, input]: [u32; 3],
    unasked: bool,
) -> String {
    let lost = if kind == ReportKind::ReportsLost.label() { format!(" ({count})") } else { String::new() };
    format!(
        "{kind}{lost}, {}, card {}, boot {boot}, request {request}, input {input}{}",
        direction.unwrap_or("no direction"),
        card.unwrap_or("none"),
        if unasked { ", unasked" } else { "" }
    )
}

#[cfg(test)]
mod tests;
