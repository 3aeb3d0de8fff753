//! Chooses, of everything whole that was found in a damaged store, what is the history, and says what is missing from it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use kalitka_protocol::event::{Loss, LossCause};

use crate::carve::{self, Carved, Piece};
use crate::error::StoreError;
use crate::limits::{LOSSES_MAX, LOSSES_SPARE};
use crate::record::Record;
use crate::store::{Key, Store};
use crate::survey::EpochFound;
use crate::types::{Head, NewEpochWhy};

/// Losses beyond which an epoch is told with one gap.
const LOSSES_TOLD_MAX: usize = LOSSES_MAX - LOSSES_SPARE;

/// What goes into the new store.
#[derive(Debug, Default)]
pub(crate) struct Choice {
    records: Vec<Record>,
    pieces: Vec<Piece>,
    /// What is missing and was not known to be.
    pub(crate) losses: Vec<Loss>,
}

/// Chooses from `carved`. `head` is the newest durable event, when that is known exactly.
pub(crate) fn choose(carved: &mut Carved, head: Option<Head>) -> Choice {
    let pieces = std::mem::take(&mut carved.pieces);
    let mut by_epoch: BTreeMap<u64, Vec<Piece>> = BTreeMap::new();
    for piece in pieces {
        by_epoch.entry(piece.ordinal).or_default().push(piece);
    }
    let ordinals: BTreeSet<u64> = by_epoch.keys().chain(carved.records.keys()).copied().collect();
    let (mut moved, mut lines) = (Moved::default(), Vec::with_capacity(ordinals.len()));
    // Events move to a later epoch only, so what is gone from one is known when those behind it are through.
    for ordinal in ordinals.into_iter().rev() {
        let found = by_epoch.remove(&ordinal).unwrap_or_default();
        let record = carved.records.remove(&ordinal).or_else(|| made_up(ordinal, &found));
        let Some(record) = record else { continue };
        let copies: Vec<_> = found.iter().filter(|piece| piece.origin.is_some()).copied().collect();
        let (gone, found) = found.into_iter().filter(|piece| piece.epoch == record.epoch).partition(|of| moved.has(of));
        let (line, gone) = (line(valid(found, &record)), line(gone));
        moved.take(&copies, line.iter().chain(&gone), head);
        lines.push((record, line));
    }
    let mut choice = Choice::default();
    for (record, line) in lines.into_iter().rev() {
        choice.add_epoch(record, line);
    }
    choice
}

/// First and last numbers of an epoch whose events have got new identities, and are there under those.
#[derive(Debug, Default)]
struct Moved(BTreeMap<u64, Vec<(u64, u64)>>);

impl Moved {
    /// Whether all events of `piece` have.
    fn has(&self, piece: &Piece) -> bool {
        let ranges = self.0.get(&piece.epoch.0).into_iter().flatten();
        // The beginning of an epoch, number 1, is the one event that never gets another identity.
        ranges.into_iter().any(|range| range.0 <= piece.first.max(2) && piece.last() <= range.1)
    }

    /// Takes what `copies` stand for, as far as they are among `counting`, be it in a newer form. Those behind `head` were
    /// never durable: they leave, and their events are where they were.
    fn take<'a>(&mut self, copies: &[Piece], counting: impl Iterator<Item = &'a Piece>, head: Option<Head>) {
        let identity = |piece: &Piece| Some((piece.first, piece.origin?.0.0, piece.origin?.1));
        let counting: BTreeSet<_> = counting.filter_map(identity).collect();
        let is_behind = |piece: &Piece| head.is_some_and(|head| piece.epoch == head.epoch && piece.first > head.number);
        for piece in copies.iter().filter(|piece| !is_behind(piece)) {
            let counts = identity(piece).is_some_and(|copy| counting.contains(&copy));
            if let Some((epoch, first)) = piece.origin.filter(|_| counts) {
                self.0.entry(epoch.0).or_default().push((first, first + u64::from(piece.count) - 1));
            }
        }
    }
}

/// The record of an epoch of which only blocks were found.
fn made_up(ordinal: u64, pieces: &[Piece]) -> Option<Record> {
    let newest = pieces.iter().max_by_key(|piece| piece.sequence)?;
    Some(Record::new(ordinal, newest.epoch, NewEpochWhy::Damaged, None))
}

/// Those of `found` that are not void by their epoch's `record`.
fn valid(mut found: Vec<Piece>, record: &Record) -> Vec<Piece> {
    let void = record.void;
    found.retain(|piece| piece.last() <= void.number || piece.sequence > void.sequence);
    found
}

/// The pieces that make one line of events: of two that claim the same numbers, or do not fit each other, the newer.
fn line(mut found: Vec<Piece>) -> Vec<Piece> {
    found.sort_by_key(|piece| (piece.first, Reverse(piece.sequence)));
    found.dedup_by_key(|piece| piece.first);
    carve::drop_given_way(&mut found, |piece| (piece.first, piece.shed, piece.sequence));
    let mut line: Vec<Piece> = Vec::new();
    for piece in found {
        loop {
            let Some(before) = line.last() else { break line.push(piece) };
            let fits = before.last() < piece.first && (before.last() + 1 < piece.first || before.end == piece.before);
            if fits {
                break line.push(piece);
            }
            // What is left of a block whose events were giving way lies in the block itself, which still has all of them.
            let is_left_over = piece.shed > 0 && piece.last() <= before.last();
            if before.sequence > piece.sequence || is_left_over {
                break;
            }
            line.pop();
        }
    }
    line
}

impl Choice {
    fn add_epoch(&mut self, mut record: Record, line: Vec<Piece>) {
        let known = std::mem::take(&mut record.gaps);
        let front = record.front();
        let moving = record.moving.map_or(u64::MAX, |moving| moving.first);
        let mut kept: Vec<Piece> = Vec::with_capacity(line.len());
        for piece in line {
            let next = kept.last().map_or(front, Piece::last) + 1;
            if piece.first > next {
                if next <= front {
                    // A hole that only removal explains: before it are leftovers, which the hub has.
                    kept.clear();
                }
                let (first, last) = (next.max(front + 1), piece.first - 1 - u64::from(piece.shed).min(piece.first - 1));
                if first <= last && first < moving {
                    record.gaps.push((first, last));
                }
            }
            kept.push(piece);
        }
        // What ends an epoch otherwise than it ended is another's.
        let ended = carve::beginning(&record.ended.1);
        kept.pop_if(|piece| piece.last() == record.ended.0 && piece.end != ended);
        let last = kept.last().map_or(front, Piece::last).max(front);
        if last < record.ended.0 {
            record.gaps.push((last + 1, record.ended.0));
        }
        self.bound(&mut record, &mut kept);
        let is_known = |gap: &(u64, u64)| known.iter().any(|known| known.0 <= gap.0 && gap.1 <= known.1);
        for &(first, last) in record.gaps.iter().filter(|gap| !is_known(gap)) {
            let count = u32::try_from(last - first + 1).unwrap_or(u32::MAX);
            self.losses.push(Loss { epoch: record.epoch, first, last, cause: LossCause::Damaged, count });
        }
        self.records.push(record);
        self.pieces.append(&mut kept);
    }

    /// Beyond what can be told, the last gap grows over the whole blocks between.
    fn bound(&self, record: &mut Record, kept: &mut Vec<Piece>) {
        let room = LOSSES_TOLD_MAX.saturating_sub(self.losses.len()).max(1);
        let Some(&(_, end)) = record.gaps.last() else { return };
        if record.gaps.len() <= room {
            return;
        }
        record.gaps.truncate(room);
        if let Some(gap) = record.gaps.last_mut() {
            gap.1 = end;
            kept.retain(|piece| piece.last() < gap.0 || gap.1 < piece.first);
        }
    }

    /// Whether nothing was found.
    pub(crate) const fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The chosen blocks, epoch by epoch.
    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// What was found of each epoch, and what is missing in it.
    pub(crate) fn epochs(&self) -> Vec<EpochFound> {
        let found = self.records.iter().map(|record| {
            let pieces = || self.pieces.iter().filter(|piece| piece.ordinal == record.ordinal);
            let is_hole = |gap: &(u64, u64)| {
                self.losses.iter().any(|loss| loss.epoch == record.epoch && (loss.first, loss.last) == *gap)
            };
            let (holes, told) = record.gaps.iter().copied().partition(is_hole);
            let first = pieces().map(|piece| piece.first).min();
            EpochFound {
                epoch: record.epoch,
                span: first.zip(pieces().map(Piece::last).max()),
                events: pieces().map(|piece| u64::from(piece.count)).sum(),
                blocks: pieces().count() as u64,
                acknowledged: record.acknowledged,
                told,
                holes,
            }
        });
        found.collect()
    }

    /// Bytes of the chosen blocks.
    pub(crate) fn bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len as u64).sum()
    }

    /// Writes everything chosen into `store` and makes it durable.
    ///
    /// # Errors
    /// What the store says, or the disk of the old one.
    pub(crate) fn write(&self, carved: &Carved, store: &mut dyn Store) -> Result<(), StoreError> {
        for record in &self.records {
            store.put(record.key(), &record.to_bytes())?;
        }
        let mut open = None;
        for piece in &self.pieces {
            let key = Key { ordinal: piece.ordinal, number: piece.first };
            store.put(key, &carved.load(piece, &mut open)?)?;
        }
        store.sync()
    }
}
