//! Opening and reopening: is the store exactly as it was left, and if not, how does a new epoch begin?

use kalitka_protocol::EpochId;
use kalitka_protocol::event::{Loss, LossCause, UNKNOWN_END};

use crate::carve::Unreadable;
use crate::check::{Checked, check};
use crate::error::{AppendError, OpenError, StoreError};
use crate::giving::Giving;
use crate::ground::{Ground, Machine};
use crate::ledger::{Epoch, Ledger};
use crate::limits::{DISK_RESERVE, LOSSES_SPARE};
use crate::mark::Mark;
use crate::outbox::{Outbox, Poison};
use crate::reading;
use crate::record::{Record, Void};
use crate::reissue::begun;
use crate::store::Store;
use crate::types::{Begun, Head, NewEpochWhy, Opening};
use crate::yard::{Found, Yard};

/// What is known of the store from elsewhere.
#[derive(Clone, Copy)]
enum Known<'a> {
    /// What the mark and the newest checkpoint say, as far as they are there: the store may go further. And the epochs of
    /// which the checkpoint knows that the hub did not have all.
    AtLeast([Option<Head>; 2], &'a [EpochId]),
    /// The newest event that this process has made durable: the store goes no further.
    Exactly(Head),
}

/// How a new epoch begins.
struct Beginning {
    before: Option<Head>,
    losses: Vec<Loss>,
    why: NewEpochWhy,
}

impl Outbox {
    /// Opens the store in `opening.folder`, checks every block of it and begins a new epoch when it is not exactly as it was
    /// left. Blocks for as long as that takes.
    ///
    /// # Errors
    /// [`OpenError`]: nothing was changed, or what was changed is found again at the next opening.
    pub fn open(opening: Opening<'_>) -> Result<(Self, Begun), OpenError> {
        Self::open_on(Box::new(Machine), opening)
    }

    /// As [`open`](Self::open), but what the disk does not give now is not taken for lost: the opening fails instead. Try
    /// again for as long as the disk may come back, and then `open`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_if_readable(opening: Opening<'_>) -> Result<(Self, Begun), OpenError> {
        Self::open_by(Box::new(Machine), opening, Unreadable::Awaited)
    }

    pub(crate) fn open_on(ground: Box<dyn Ground>, opening: Opening<'_>) -> Result<(Self, Begun), OpenError> {
        Self::open_by(ground, opening, Unreadable::GivenUp)
    }

    fn open_by(
        ground: Box<dyn Ground>,
        opening: Opening<'_>,
        unreadable: Unreadable,
    ) -> Result<(Self, Begun), OpenError> {
        let mut yard = Yard::take(ground, &opening, unreadable)?;
        let found = match yard.open(None) {
            Err(error) if yard.makes_room_after(&error) => yard.open(None)?,
            found => found?,
        };
        let found = if found.salvaged.is_none() { yard.leave_refuge(found) } else { found };
        let (mark, marked) = Mark::open(yard.folder());
        let known = Known::AtLeast([marked, opening.known], opening.earlier);
        let established = establish(&mut yard, found, known, opening.fresh_epoch);
        let (store, ledger) = established.inspect_err(|error| {
            // For the next attempt: this one has let go of the store.
            yard.makes_room_after(error);
        })?;
        let mut outbox = Self {
            yard,
            store: Some(store),
            ledger,
            bounds: opening.limits,
            poison: None,
            floor: None,
            giving: Giving::default(),
            purging: None,
            remnants: true,
            reopens: 0,
            oldest_known: None,
            value: Vec::new(),
            mark,
        };
        let begun = outbox.begin()?;
        Ok((outbox, begun))
    }

    /// Opens the store anew after a failure; `fresh` is for a new epoch, should one begin. What an append that failed had
    /// written is gone afterwards. The segment log takes over when sled has been reopened too often.
    ///
    /// # Errors
    /// [`OpenError`]; try again later. [`OpenError::StillFull`] costs no reopening.
    pub fn reopen(&mut self, fresh: EpochId) -> Result<Begun, OpenError> {
        self.reopen_by(fresh, Unreadable::GivenUp)
    }

    /// As [`reopen`](Self::reopen), but what the disk does not give now is not taken for lost: see
    /// [`open_if_readable`](Self::open_if_readable).
    ///
    /// # Errors
    /// As [`reopen`](Self::reopen).
    pub fn reopen_if_readable(&mut self, fresh: EpochId) -> Result<Begun, OpenError> {
        self.reopen_by(fresh, Unreadable::Awaited)
    }

    fn reopen_by(&mut self, fresh: EpochId, unreadable: Unreadable) -> Result<Begun, OpenError> {
        let Some(poison) = self.poison else { return Ok(Begun::AsLeft) };
        if self.room().is_ok_and(|room| room < DISK_RESERVE) {
            self.yard.give_reserve_back();
        }
        let room = self.room().map_err(|error| self.yard.io("look at the disk", error))?;
        self.yard.need(DISK_RESERVE, room)?;
        self.yard.probe()?;
        drop(self.store.take());
        self.reopens += 1;
        let found = self.yard.reopen(poison == Poison::Distrusted, self.head(), unreadable)?;
        let known = Known::Exactly(self.head());
        let (store, mut ledger) = establish(&mut self.yard, found, known, fresh)?;
        for (epoch, untold) in self.ledger.iter().filter_map(|epoch| Some((epoch.id(), epoch.untold?))) {
            // Whoever was told of it still is to record it.
            if let Some(held) = ledger.get_mut(epoch) {
                held.untold = Some(untold);
            }
        }
        let floor = self.floor.and_then(|(ordinal, number)| {
            let same = ledger.iter().any(|epoch| epoch.record.ordinal == ordinal);
            same.then_some((ordinal, number))
        });
        (self.store, self.ledger, self.floor) = (Some(store), ledger, floor);
        (self.poison, self.giving, self.purging, self.oldest_known) = (None, Giving::default(), None, None);
        self.begin()
    }

    /// The last step of an opening: goes on with what was interrupted, and says whether the epoch is new.
    fn begin(&mut self) -> Result<Begun, OpenError> {
        self.drop_copied().map_err(|error| self.yard.broken(error))?;
        self.finish_giving_way().map_err(|error| self.yard.broken(error))?;
        if self.head().number == 0 {
            return Ok(begun(&self.ledger.present.record));
        }
        match self.finish_moves() {
            // Later, when there is room: until then the events stay where they are.
            Ok(()) | Err(AppendError::DiskFull { .. }) => Ok(Begun::AsLeft),
            Err(AppendError::Store(error)) => Err(self.yard.broken(error)),
            Err(other) => Err(self.yard.broken(StoreError::Damaged(other.to_string()))),
        }
    }
}

/// Makes a salvaged store the one in use, in a new epoch that has no event yet; gives the epoch, how many events are held in all,
/// and how it begins.
pub(crate) fn establish_salvaged(
    yard: &mut Yard,
    found: Found,
    mark: Option<Head>,
    opening: &Opening<'_>,
) -> Result<(EpochId, u64, Begun), OpenError> {
    let known = Known::AtLeast([mark, opening.known], opening.earlier);
    let (_, ledger) = establish(yard, found, known, opening.fresh_epoch)?;
    Ok((ledger.present.id(), ledger.events(), begun(&ledger.present.record)))
}

/// Makes a found store the one in use, with a new epoch when it needs one.
fn establish(
    yard: &mut Yard,
    found: Found,
    known: Known<'_>,
    fresh: EpochId,
) -> Result<(Box<dyn Store>, Ledger), OpenError> {
    let Found { mut store, checked, salvaged } = found;
    let ours = yard.is_ours();
    let building = yard.building();
    let ledger = settle(store.as_mut(), checked, salvaged, known, ours, fresh, building);
    let ledger = ledger.map_err(|error| {
        if matches!(error, StoreError::NotSynced(_)) {
            yard.note_unconfirmed();
        }
        yard.broken(error)
    })?;
    yard.settle().map_err(|error| yard.io("name the store", error))?;
    Ok((store, ledger))
}

fn settle(
    store: &mut dyn Store,
    mut checked: Checked,
    salvaged: Option<Vec<Loss>>,
    known: Known<'_>,
    ours: bool,
    fresh: EpochId,
    building: u32,
) -> Result<Ledger, StoreError> {
    for key in std::mem::take(&mut checked.void) {
        store.remove(key)?;
    }
    if let Known::Exactly(head) = known
        && cut_back(store, &mut checked, head)?
    {
        checked = check(store, building)?;
    }
    let beginning = judge(store, &mut checked, salvaged, known, ours)?;
    let Checked { mut epochs, mut sequence, gave_way, .. } = checked;
    if let Some(Beginning { before, losses, why }) = beginning {
        let ordinal = epochs.last().map_or(0, |epoch| epoch.record.ordinal) + 1;
        for epoch in &mut epochs {
            let open = losses.iter().find(|loss| loss.epoch == epoch.id() && loss.last == UNKNOWN_END);
            epoch.record.loss_open = epoch.record.loss_open.or(open.map(|loss| loss.first));
        }
        if let Some(ended) = epochs.last_mut() {
            ended.record.ended = (ended.last, ended.hash);
            ended.record.losses.clear();
        }
        epochs.push(Epoch::new(Record { losses, ..Record::new(ordinal, fresh, why, before) }));
        for epoch in &mut epochs {
            sequence += 1;
            epoch.record.sequence = sequence;
            store.put(epoch.record.key(), &epoch.record.to_bytes())?;
        }
        store.sync()?;
    }
    let ledger = Ledger::new(epochs, sequence).ok_or_else(|| StoreError::Damaged("there is no epoch".into()))?;
    Ok(Ledger { gave_way, ..ledger })
}

/// Removes from the present epoch what an append that failed has left behind its `head`, for good.
///
/// Such blocks were never durable to anybody, and their numbers will be given again.
fn cut_back(store: &mut dyn Store, checked: &mut Checked, head: Head) -> Result<bool, StoreError> {
    let Some(present) = checked.epochs.iter_mut().find(|epoch| epoch.id() == head.epoch && epoch.last > head.number)
    else {
        return Ok(false);
    };
    let sequence = checked.sequence + 1;
    present.record.void = Void { number: head.number, sequence };
    present.record.sequence = sequence;
    store.put(present.record.key(), &present.record.to_bytes())?;
    let ordinal = present.record.ordinal;
    while let Some((header, _)) = reading::first_block(store, ordinal, head.number + 1)? {
        store.remove(header.key())?;
    }
    store.sync()?;
    Ok(true)
}

/// Whether the store is not exactly as it was left, and what follows.
fn judge(
    store: &mut dyn Store,
    checked: &mut Checked,
    salvaged: Option<Vec<Loss>>,
    known: Known<'_>,
    ours: bool,
) -> Result<Option<Beginning>, StoreError> {
    let newest = match known {
        Known::AtLeast(known, _) => decisive(store, &checked.epochs, known)?,
        Known::Exactly(head) => Some(head).filter(|head| head.number > 0),
    };
    let earlier = match known {
        Known::AtLeast(_, earlier) => earlier,
        Known::Exactly(_) => &[],
    };
    let Some(present) = checked.epochs.last() else {
        let why = if newest.is_some() || salvaged.is_some() { NewEpochWhy::Missing } else { NewEpochWhy::Blank };
        let losses = unheard_of(checked, earlier, newest);
        return Ok(Some(Beginning { before: newest, losses, why }));
    };
    let reach = reach(store, &checked.epochs, newest)?;
    if salvaged.is_none() && ours && reach == Reach::Whole {
        return Ok(None);
    }
    let why = match (&salvaged, ours) {
        (Some(_), _) => NewEpochWhy::Damaged,
        (None, false) => NewEpochWhy::OtherMachine,
        (None, true) => NewEpochWhy::Older,
    };
    let head = present.head();
    // An epoch that has not begun has told nothing yet of what came before it.
    let has_begun = head.number > 0;
    let (untold, link) = (present.record.losses.clone(), present.record.before);
    let mut losses = if has_begun { Vec::new() } else { untold };
    losses.extend(salvaged.unwrap_or_default());
    losses.extend(tail(head, known));
    losses.extend(unheard_of(checked, earlier, newest));
    let before = match newest {
        Some(newest) if newest.epoch == head.epoch && newest.number > head.number => newest,
        Some(newest) if reach == Reach::Elsewhere => newest,
        _ if !has_begun => return Ok(Some(Beginning { before: link, losses, why })),
        _ => head,
    };
    Ok(Some(Beginning { before: Some(before), losses, why }))
}

/// Of what is known, what the store does not hold, and of that what is furthest on.
fn decisive(store: &mut dyn Store, epochs: &[Epoch], known: [Option<Head>; 2]) -> Result<Option<Head>, StoreError> {
    let mut decisive: Option<(bool, usize, Head)> = None;
    for head in known.into_iter().flatten() {
        let is_missed = is_missing(store, epochs, Some(head))?;
        // An epoch that the store has never heard of began behind all that it knows.
        let place = epochs.iter().position(|epoch| epoch.id() == head.epoch).unwrap_or(usize::MAX);
        let goes_before = |(missed, at, other): (bool, usize, Head)| {
            (is_missed, place) > (missed, at)
                || (is_missed, place) == (missed, at) && (head.epoch != other.epoch || head.number >= other.number)
        };
        if decisive.is_none_or(goes_before) {
            decisive = Some((is_missed, place, head));
        }
    }
    Ok(decisive.map(|(_, _, head)| head))
}

/// How far a store reaches.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// It holds what is known of it.
    Whole,
    /// It ends before, or holds other events.
    Short,
    /// It has never heard of that epoch.
    Elsewhere,
}

/// Whether the store does not hold what is `known` of it.
pub(crate) fn is_missing(store: &mut dyn Store, epochs: &[Epoch], known: Option<Head>) -> Result<bool, StoreError> {
    Ok(reach(store, epochs, known)? != Reach::Whole)
}

fn reach(store: &mut dyn Store, epochs: &[Epoch], newest: Option<Head>) -> Result<Reach, StoreError> {
    let Some(newest) = newest else { return Ok(Reach::Whole) };
    let Some(place) = epochs.iter().position(|epoch| epoch.id() == newest.epoch) else { return Ok(Reach::Elsewhere) };
    let epoch = &epochs[place];
    if place + 1 < epochs.len() {
        // The store has gone on since; events of an ended epoch may have got new identities.
        return Ok(Reach::Whole);
    }
    if newest.number > epoch.last {
        return Ok(Reach::Short);
    }
    let ours = reading::hash_at(store, epoch, newest.number)?;
    Ok(if ours.is_none_or(|ours| ours == newest.hash) { Reach::Whole } else { Reach::Short })
}

/// What may be lost, or is, behind the last event found of the present epoch.
fn tail(head: Head, known: Known<'_>) -> Option<Loss> {
    match known {
        Known::AtLeast(..) => Some(unknown_end(head.epoch, head.number + 1)),
        Known::Exactly(newest) if newest.epoch == head.epoch && newest.number > head.number => {
            let (first, last) = (head.number + 1, newest.number);
            let count = u32::try_from(last - head.number).unwrap_or(u32::MAX);
            Some(Loss { epoch: head.epoch, first, last, cause: LossCause::Damaged, count })
        }
        Known::Exactly(_) => None,
    }
}

/// Enters the epochs of `earlier` and that of `newest`, as far as the store has never heard of them, and says that they are lost.
fn unheard_of(checked: &mut Checked, earlier: &[EpochId], newest: Option<Head>) -> Vec<Loss> {
    let nothing_known = |&epoch: &EpochId| Head { epoch, number: 0, hash: [0; 32] };
    let is_newest = |epoch: &EpochId| newest.is_some_and(|newest| newest.epoch == *epoch);
    let heads =
        earlier.iter().filter(|epoch| !is_newest(epoch)).take(LOSSES_SPARE / 2).map(nothing_known).chain(newest);
    let mut losses = Vec::new();
    for head in heads {
        if checked.epochs.iter().any(|epoch| epoch.id() == head.epoch) {
            continue;
        }
        losses.push(unknown_end(head.epoch, 1));
        let mut epoch = missing(head);
        epoch.record.ordinal = checked.epochs.last().map_or(0, |last| last.record.ordinal) + 1;
        checked.epochs.push(epoch);
    }
    losses
}

const fn unknown_end(epoch: EpochId, first: u64) -> Loss {
    Loss { epoch, first, last: UNKNOWN_END, cause: LossCause::Damaged, count: 0 }
}

/// An epoch of which only a checkpoint knows.
fn missing(newest: Head) -> Epoch {
    let mut record = Record::new(1, newest.epoch, NewEpochWhy::Missing, None);
    record.ended = (newest.number, newest.hash);
    record.told = (1, newest.number);
    Epoch::new(record)
}
