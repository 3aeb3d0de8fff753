//! Everything durable that the core knows, as a fold of the outbox: which reports have been taken, which commands, and
//! which orders hold.
//!
//! What is kept on disk is a checkpoint, the fold's bytes at one event, and the events behind it: the fold at the start is
//! the checkpoint's with exactly those applied, in their order.

use std::collections::BTreeMap;

use kalitka_protocol::event::{Body, Event};
use kalitka_protocol::message::Report;
use kalitka_protocol::wire::{Cursor, Malformed};
use kalitka_protocol::{LogId, ReaderId};

use crate::limits::{LOGS_OF_A_READER, READERS_REMEMBERED};
use crate::safety::Safety;

/// The layout's version, its first byte.
const VERSION: u8 = 1;

/// What the events so far have made known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fold {
    readers: BTreeMap<ReaderId, Logs>,
    /// Reports taken so far, of all readers.
    taken: u64,
    safety: Safety,
}

/// The logs of one reader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Logs {
    /// How many reports of all readers had been taken when one of these last was.
    at: u64,
    /// Log and highest number taken; that of which a report was taken last comes first.
    logs: Vec<(LogId, u64)>,
}

/// What is to be done with a report (SPEC 7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportVerdict {
    /// It is the next: it becomes an event.
    Take,
    /// It has been taken before: its receipt is due again, for all up to this number.
    Repeat {
        /// The highest number taken of its log.
        taken: u64,
    },
    /// Others come before it: it is dropped, and its reader goes back to them.
    OutOfOrder,
}

impl Fold {
    /// Takes what `event` tells. Numbers only grow, so that an event that comes again under another identity (SPEC 15.6)
    /// tells nothing new.
    pub fn apply(&mut self, event: &Event<'_>) {
        match &event.body {
            Body::Report(taken) => self.take(taken.reader, taken.report.log, taken.report.number),
            Body::Command(done) => self.safety.apply(done),
            _ => {}
        }
    }

    /// The highest number taken of `log` of `reader`.
    #[must_use]
    pub fn taken(&self, reader: ReaderId, log: LogId) -> Option<u64> {
        let logs = &self.readers.get(&reader)?.logs;
        logs.iter().find(|(known, _)| *known == log).map(|&(_, number)| number)
    }

    /// What is to be done with `report`, when all reports before it have been applied. A commit of several judges by a
    /// [`Judge`].
    #[must_use]
    pub fn judge(&self, reader: ReaderId, report: &Report) -> ReportVerdict {
        verdict(self.taken(reader, report.log), report)
    }

    /// The newest command and the orders that hold.
    #[must_use]
    pub const fn safety(&self) -> &Safety {
        &self.safety
    }

    /// The same, to note what no event tells: what the safety file had, and what a snapshot has made superfluous.
    #[must_use]
    pub const fn safety_mut(&mut self) -> &mut Safety {
        &mut self.safety
    }

    fn take(&mut self, reader: ReaderId, log: LogId, number: u64) {
        self.taken += 1;
        if self.readers.len() >= READERS_REMEMBERED && !self.readers.contains_key(&reader) {
            let longest_ago = self.readers.iter().min_by_key(|(_, logs)| logs.at).map(|(&reader, _)| reader);
            longest_ago.and_then(|reader| self.readers.remove(&reader));
        }
        self.readers.entry(reader).or_default().take(log, number, self.taken);
    }

    /// Appends the layout to `out`.
    pub fn to_bytes(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[VERSION, 0, 0, 0]);
        out.extend_from_slice(&u32::try_from(self.readers.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&self.taken.to_le_bytes());
        for (reader, Logs { at, logs }) in &self.readers {
            out.extend_from_slice(&reader.0.to_le_bytes());
            out.extend_from_slice(&u32::try_from(logs.len()).unwrap_or(u32::MAX).to_le_bytes());
            out.extend_from_slice(&at.to_le_bytes());
            for (log, number) in logs {
                out.extend_from_slice(&log.0.to_le_bytes());
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
        self.safety.to_bytes(out);
    }

    /// The fold that [`to_bytes`](Self::to_bytes) laid out.
    ///
    /// # Errors
    /// [`Malformed`] for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(bytes);
        let at = &mut cursor;
        if at.u8("fold version")? != VERSION {
            return Err(Malformed::Version);
        }
        at.reserved(3, "fold reserved")?;
        let (count, taken) = (at.u32("readers")?, at.u64("reports taken")?);
        if usize::try_from(count).map_or(true, |count| count > READERS_REMEMBERED) {
            return Err(Malformed::Value("readers"));
        }
        let mut readers = BTreeMap::new();
        for _ in 0..count {
            let reader = ReaderId(at.u32_from_1("reader")?);
            let after = readers.last_key_value().is_none_or(|(&before, _)| before < reader);
            let logs = Logs::parse(at)?;
            if !after || logs.at > taken {
                return Err(Malformed::Value("reader"));
            }
            readers.insert(reader, logs);
        }
        Ok(Self { readers, taken, safety: Safety::parse(cursor)? })
    }
}

impl Logs {
    fn take(&mut self, log: LogId, number: u64, at: u64) {
        self.at = at;
        let known = self.logs.iter().position(|(known, _)| *known == log);
        let place = known.unwrap_or_else(|| {
            self.logs.truncate(LOGS_OF_A_READER - 1);
            self.logs.push((log, 0));
            self.logs.len() - 1
        });
        self.logs[..=place].rotate_right(1);
        self.logs[0].1 = self.logs[0].1.max(number);
    }

    fn parse(at: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let (count, taken_at) = (at.u32("logs")?, at.u64("reports taken")?);
        let mut logs = Vec::new();
        if !usize::try_from(count).is_ok_and(|count| (1..=LOGS_OF_A_READER).contains(&count)) {
            return Err(Malformed::Value("logs"));
        }
        for _ in 0..count {
            let (log, number) = (LogId(at.u64("log")?), at.u64_from_1("report number")?);
            if logs.iter().any(|&(known, _)| known == log) {
                return Err(Malformed::Value("log"));
            }
            logs.push((log, number));
        }
        Ok(Self { at: taken_at, logs })
    }
}

/// Judges the reports of one commit in their order: each as if those before it that are to be taken were applied already.
/// [`clear`](Self::clear) begins the next commit.
#[derive(Debug, Default)]
pub struct Judge {
    /// By reader and log, the highest number that is taken once the commit is durable.
    taken: BTreeMap<(ReaderId, u64), u64>,
}

impl Judge {
    /// What is to be done with `report`, after `fold` and the reports judged before.
    pub fn judge(&mut self, fold: &Fold, reader: ReaderId, report: &Report) -> ReportVerdict {
        let key = (reader, report.log.0);
        let taken = self.taken.get(&key).copied().or_else(|| fold.taken(reader, report.log));
        let verdict = verdict(taken, report);
        match verdict {
            ReportVerdict::Take => self.taken.insert(key, report.number),
            ReportVerdict::Repeat { taken } => self.taken.insert(key, taken),
            ReportVerdict::OutOfOrder => None,
        };
        verdict
    }

    /// The receipts that are due once the commit is durable, and not before: reader, log, highest number.
    pub fn receipts(&self) -> impl ExactSizeIterator<Item = (ReaderId, LogId, u64)> {
        self.taken.iter().map(|(&(reader, log), &number)| (reader, LogId(log), number))
    }

    /// Forgets the commit.
    pub fn clear(&mut self) {
        self.taken.clear();
    }
}

/// SPEC 7.3, where `taken` is the highest number of the report's log; of a log that is not known it is `None`.
fn verdict(taken: Option<u64>, report: &Report) -> ReportVerdict {
    let taken = taken.unwrap_or(0);
    if report.number <= taken {
        ReportVerdict::Repeat { taken }
    } else if report.number == taken.saturating_add(1) || report.oldest {
        ReportVerdict::Take
    } else {
        ReportVerdict::OutOfOrder
    }
}
