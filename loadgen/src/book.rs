//! The generator's own list of reports: each one that a reader has kept, what it said, and whether it was receipted. What
//! a hub shows is held against it.

use std::collections::HashMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use kalitka_protocol::credential::CardRead;
use kalitka_protocol::message::ReportKind;
use kalitka_protocol::reader::Happening;
use kalitka_protocol::reason::Direction;
use kalitka_protocol::{BootId, LogId, ReaderId};

use crate::tally::{histogram, record};

/// What identifies a report (SPEC 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReportId {
    /// Whose it is.
    pub reader: ReaderId,
    /// The memory that numbered it.
    pub log: LogId,
    /// Its number there.
    pub number: u64,
}

/// What a report says, however often and late it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    /// What happened.
    pub kind: ReportKind,
    /// Which way, if it has one.
    pub direction: Option<Direction>,
    /// The boot of the ask that it follows; 0 when it follows none.
    pub boot: BootId,
    /// The request that it follows; 0 when it follows none.
    pub request: u32,
    /// Reports that were lost.
    pub count: u32,
    /// The input that changed, and its state.
    pub input: u8,
    /// Whether the reader let the person pass by itself.
    pub unasked: bool,
    /// The card, if one was shown.
    pub card: Option<CardRead>,
}

impl Words {
    /// What a reader in `boot` says of `happening`.
    #[must_use]
    pub fn of(happening: &Happening, boot: BootId) -> Self {
        let &Happening { kind, direction, request, input, unasked, card } = happening;
        let boot = if request.is_some() { boot } else { BootId(0) };
        Self { kind, direction, boot, request: request.unwrap_or(0), count: 0, input, unasked, card }
    }

    /// `count` happenings found the memory full.
    #[must_use]
    pub const fn lost(count: u32) -> Self {
        let (kind, boot) = (ReportKind::ReportsLost, BootId(0));
        Self { kind, direction: None, boot, request: 0, count, input: 0, unasked: false, card: None }
    }
}

/// The reports of one memory: numbers 1 and up, in their places.
#[derive(Debug)]
struct Log {
    reader: ReaderId,
    id: LogId,
    receipted: u64,
    kept: Vec<(Words, Duration)>,
}

/// Every report of a run.
#[derive(Debug)]
pub struct Book {
    logs: Vec<Log>,
    /// Nanoseconds from keeping a report to its receipt.
    pub waited: Histogram<u64>,
}

impl Default for Book {
    fn default() -> Self {
        Self { logs: Vec::new(), waited: histogram() }
    }
}

impl Book {
    /// Opens the page of a memory; gives its place.
    pub fn open(&mut self, reader: ReaderId, log: LogId) -> usize {
        self.logs.push(Log { reader, id: log, receipted: 0, kept: Vec::new() });
        self.logs.len() - 1
    }

    /// The memory in `place` has kept its next report, at `now`.
    pub fn keep(&mut self, place: usize, words: Words, now: Duration) {
        self.logs[place].kept.push((words, now));
    }

    /// The memory in `place` has got a receipt for everything up to `number`, at `now`.
    pub fn receipt(&mut self, place: usize, number: u64, now: Duration) {
        let log = &mut self.logs[place];
        let range = index(log.receipted)..index(number).min(log.kept.len());
        for (_, kept) in log.kept.get(range).unwrap_or_default() {
            record(&mut self.waited, now.saturating_sub(*kept));
        }
        log.receipted = log.receipted.max(number);
    }

    /// The highest number that the memory in `place` has given.
    #[must_use]
    pub fn last(&self, place: usize) -> u64 {
        self.logs[place].kept.len() as u64
    }

    /// Reports kept by readers.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.logs.iter().map(|log| log.kept.len() as u64).sum()
    }

    /// Reports of which their readers have a receipt.
    #[must_use]
    pub fn receipted(&self) -> u64 {
        self.logs.iter().map(|log| log.receipted).sum()
    }

    /// What happened and found no room in a memory, as far as readers have told of it.
    #[must_use]
    pub fn untold(&self) -> u64 {
        let words = self.logs.iter().flat_map(|log| &log.kept);
        words.map(|(words, _)| u64::from(words.count)).sum()
    }

    /// Where each memory's page is.
    #[must_use]
    pub fn places(&self) -> HashMap<(ReaderId, LogId), usize> {
        self.logs.iter().enumerate().map(|(place, log)| ((log.reader, log.id), place)).collect()
    }

    /// What report `number` of the memory in `place` says, when there is such a report.
    #[must_use]
    pub fn words(&self, place: usize, number: u64) -> Option<&Words> {
        let index = index(number.checked_sub(1)?);
        self.logs.get(place)?.kept.get(index).map(|(words, _)| words)
    }

    /// Every report of which its reader has a receipt, with its memory's place.
    pub fn all_receipted(&self) -> impl Iterator<Item = (usize, ReportId)> {
        self.logs.iter().enumerate().flat_map(|(place, log)| {
            (1..=log.receipted).map(move |number| (place, ReportId { reader: log.reader, log: log.id, number }))
        })
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
