//! What gives way by its class when the store has reached its bound (SPEC 14.14).
//!
//! A *way* is a range of numbers in which every event of one class gives way. Its loss is made durable first. Then its blocks
//! are put anew without those events, from the last one back to the first: what follows a gap says so before the gap is
//! there, and a block goes only when all that is left of it stands. So a crash between any two steps leaves a store that
//! opens with nothing lost that was not to go; and the opening does the rest, by the newest such loss.

use std::ops::{ControlFlow, Range};

use kalitka_protocol::EpochId;
use kalitka_protocol::event::{Class, Events, Loss, LossCause, RawEvent, chain};

use crate::block::{self, Block, BlockHeader};
use crate::error::StoreError;
use crate::keeping::Fill;
use crate::ledger::{Epoch, Ledger};
use crate::limits::{BLOCK_HEADER_LEN, LOOK_BYTES};
use crate::outbox::Outbox;
use crate::reading::{self, whole};
use crate::store::Key;

/// The classes that give way out of the store, the lowest first, and what is said of them.
const CLASSES: [(Class, LossCause); 2] =
    [(Class::Housekeeping, LossCause::HousekeepingGaveWay), (Class::Denial, LossCause::DenialsGaveWay)];

/// How far the giving way has come.
#[derive(Debug, Default)]
pub(crate) struct Giving {
    /// What leaves with the next append.
    way: Option<Way>,
    /// Of each class, ordinal and number of the place up to which the store has been looked through.
    looked: [(u64, u64); CLASSES.len()],
    /// The bound is reached, and nothing that is held gives way.
    pub(crate) is_crowded: bool,
}

/// Events of a class in a range of numbers.
#[derive(Clone, Copy, Debug)]
struct Way {
    ordinal: u64,
    first: u64,
    last: u64,
    class: Class,
}

impl Way {
    /// Whether `event` of the block with `header` gives way. What was moved here from another epoch stays: its old place is
    /// known by what stands here.
    fn takes(&self, header: &BlockHeader, event: &RawEvent<'_>) -> bool {
        let number = event.header.number;
        header.origin.is_none() && self.first <= number && number <= self.last && event.class() == self.class
    }
}

impl Outbox {
    /// Makes room when more is held than the bounds allow: acknowledged events go without a word; of the others, events of
    /// the lowest class that is there give way and come out as a loss to append. Call it until it gives `None`. They leave
    /// the store only with the next append, so that the loss is durable first. Nothing behind the floor gives way: with
    /// the bound reached, write checkpoints.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn give_way(&mut self) -> Result<Option<Loss>, StoreError> {
        self.well()?;
        if self.giving.way.is_some() {
            return Ok(None);
        }
        // What was full is not full again by the next event.
        let slack = self.giving.is_crowded;
        self.shed_down(slack)?;
        if !self.fill().is_above(slack) {
            self.giving.is_crowded = false;
            return Ok(None);
        }
        for (place, (_, cause)) in CLASSES.into_iter().enumerate() {
            let look = self.look(place)?;
            self.giving.looked[place] = look.next;
            if let Some((way, loss)) = look.way(cause) {
                (self.giving.way, self.giving.is_crowded) = (Some(way), false);
                return Ok(Some(loss));
            }
            if !look.is_through {
                // The rest comes with the next call; until then nothing is said of it.
                return Ok(None);
            }
        }
        self.giving.is_crowded = true;
        Ok(None)
    }

    /// Whether the bound is reached and nothing that is held gives way: then nothing but what must be said may be appended.
    #[must_use]
    pub const fn is_crowded(&self) -> bool {
        self.giving.is_crowded
    }

    /// Looks from the beginning on again: what was acknowledged is not any more, or what was being moved has been.
    pub(crate) const fn look_again(&mut self) {
        self.giving.looked = [(0, 0); CLASSES.len()];
    }

    /// After an append: what gave way leaves the store.
    pub(crate) fn let_go(&mut self) -> Result<(), StoreError> {
        self.giving.way.take().map_or(Ok(()), |way| self.carry_out(way))
    }

    /// After an opening: what the newest loss says to have given way leaves, if it has not.
    pub(crate) fn finish_giving_way(&mut self) -> Result<(), StoreError> {
        let Some(Loss { epoch, first, last, cause, .. }) = self.ledger.gave_way.take() else { return Ok(()) };
        let class = CLASSES.iter().find(|(_, of)| *of == cause);
        let held = self.ledger.get(epoch).filter(|held| held.record.moving.is_none() && held.blocks > 0);
        let (Some(&(class, _)), Some(held)) = (class, held) else { return Ok(()) };
        self.carry_out(Way { ordinal: held.record.ordinal, first, last, class })
    }

    /// Looks for events of the class at `place` in [`CLASSES`], a part of the store at a time.
    fn look(&mut self, place: usize) -> Result<Look, StoreError> {
        let next = self.giving.looked[place];
        let mut look = Look {
            class: CLASSES[place].0,
            floor: self.floor.unwrap_or_default(),
            epochs: self.ledger.iter().map(Scope::of).collect(),
            fill: self.fill(),
            next,
            found: None,
            looked: 0,
            is_through: true,
        };
        let from = Key { ordinal: next.0, number: next.1 };
        self.on_store(|store, _| reading::scan(store, from, |key, value| look.at(key, value)))?;
        Ok(look)
    }

    /// Puts the blocks of `way` anew without what gives way.
    fn carry_out(&mut self, way: Way) -> Result<(), StoreError> {
        (self.oldest_known, self.remnants) = (None, true);
        for (number, missing) in self.plan(&way)?.into_iter().rev() {
            self.thin(Key { ordinal: way.ordinal, number }, missing, &way)?;
        }
        let Some(epoch) = self.ledger.iter().find(|epoch| epoch.record.ordinal == way.ordinal) else { return Ok(()) };
        let (id, oldest) = (epoch.id(), epoch.oldest);
        let first = self.on_store(|store, _| reading::first_block(store, way.ordinal, oldest))?;
        if let (Some(epoch), Some((header, _))) = (self.ledger.get_mut(id), first) {
            epoch.oldest = header.first;
        }
        Ok(())
    }

    /// The blocks that are to be put anew, the one behind the way too, and how many events will be missing before each.
    fn plan(&mut self, way: &Way) -> Result<Vec<(u64, u32)>, StoreError> {
        let (way, ordinal) = (*way, way.ordinal);
        self.on_store(|store, _| {
            let start = reading::block_with(store, ordinal, way.first)?;
            let start = start.and_then(|value| block::parse(&value).map(|block| block.header.first));
            let mut plan = Vec::new();
            // The last number of the block before, and how many events before the next will be missing.
            let mut before: Option<(u64, u32)> = None;
            reading::scan(store, Key { ordinal, number: start.unwrap_or(way.first) }, |key, value| {
                if key.ordinal != ordinal {
                    return Ok(ControlFlow::Break(()));
                }
                let block = whole(key, value)?;
                let (header, (count, trailing)) = (block.header, left(&block, &way)?);
                let missing = match before {
                    Some((last, missing)) if missing > 0 => missing.saturating_add(between(last, header.first)),
                    _ => header.shed,
                };
                if count < header.count || missing != header.shed {
                    plan.push((header.first, missing));
                }
                let trailing = if count == 0 { missing.saturating_add(trailing) } else { trailing };
                before = Some((header.last(), trailing));
                Ok(if header.first > way.last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })?;
            Ok(plan)
        })
    }

    /// Puts what is left of the block under `key`, the last part first, and only then takes it away, unless it was replaced.
    fn thin(&mut self, key: Key, missing: u32, way: &Way) -> Result<(), StoreError> {
        let Some(value) = self.on_store(|store, _| reading::block_with(store, key.ordinal, key.number))? else {
            return Ok(());
        };
        let parts = whole(key, &value).and_then(|block| Ok((block.header, parts(&block, missing, way)?)));
        let (old, parts) = parts.map_err(|error| self.fail(error))?;
        let (mut events, mut bytes) = (0, 0);
        for (header, range) in parts.iter().rev() {
            let part = &value[BLOCK_HEADER_LEN..][range.clone()];
            self.on_store(|store, ledger: &mut Ledger| {
                let header = BlockHeader { sequence: ledger.next_sequence(), ..*header };
                store.put(header.key(), &block::emit(&header, part))
            })?;
            events += u64::from(header.count);
            bytes += (BLOCK_HEADER_LEN + part.len()) as u64;
        }
        if parts.first().is_none_or(|(header, _)| header.first != old.first) {
            self.on_store(|store, _| store.remove(key))?;
        }
        if let Some(held) = self.ledger.get_mut(old.epoch) {
            held.subtract(&old, value.len());
            held.events += events;
            held.blocks += parts.len() as u64;
            held.bytes += bytes;
        }
        Ok(())
    }
}

/// How many events of `block` stay, and how many give way behind the last of those.
fn left(block: &Block<'_>, way: &Way) -> Result<(u32, u32), StoreError> {
    let (mut count, mut trailing) = (0, 0);
    for event in Events::new(block.events) {
        let event = event.map_err(|error| StoreError::Damaged(error.to_string()))?;
        if way.takes(&block.header, &event) {
            trailing += 1;
        } else {
            (count, trailing) = (count + 1, 0);
        }
    }
    Ok((count, trailing))
}

/// What is left of `block`, before which `missing` events are missing: runs of numbers, and where their events lie.
fn parts(block: &Block<'_>, missing: u32, way: &Way) -> Result<Vec<(BlockHeader, Range<usize>)>, StoreError> {
    let mut parts: Vec<(BlockHeader, Range<usize>)> = Vec::new();
    let (mut hash, mut at, mut missing, mut goes_on) = (block.header.hash_before, 0, missing, false);
    for event in Events::new(block.events) {
        let event = event.map_err(|error| StoreError::Damaged(error.to_string()))?;
        let end = at + event.bytes.len();
        if way.takes(&block.header, &event) {
            missing = missing.saturating_add(1);
            goes_on = false;
        } else if let Some((header, range)) = parts.last_mut().filter(|_| goes_on) {
            header.count += 1;
            range.end = end;
        } else {
            let first = event.header.number;
            parts.push((BlockHeader { first, count: 1, hash_before: hash, shed: missing, ..block.header }, at..end));
            (missing, goes_on) = (0, true);
        }
        hash = chain(&hash, event.bytes);
        at = end;
    }
    Ok(parts)
}

/// How many numbers lie between `last` and `first`.
fn between(last: u64, first: u64) -> u32 {
    u32::try_from(first.saturating_sub(last + 1)).unwrap_or(u32::MAX)
}

/// What of an epoch may give way.
struct Scope {
    ordinal: u64,
    epoch: EpochId,
    acknowledged: u64,
    last: u64,
    is_moving: bool,
}

impl Scope {
    const fn of(epoch: &Epoch) -> Self {
        let record = &epoch.record;
        let (ordinal, acknowledged) = (record.ordinal, record.acknowledged);
        Self { ordinal, epoch: epoch.id(), acknowledged, last: epoch.last, is_moving: record.moving.is_some() }
    }

    /// Never the newest block, by which the epoch's end is known, and nothing that leaves otherwise.
    fn lets(&self, header: &BlockHeader) -> bool {
        !self.is_moving && header.origin.is_none() && header.last() < self.last && header.last() > self.acknowledged
    }
}

/// A look through a part of the store.
struct Look {
    class: Class,
    floor: (u64, u64),
    epochs: Vec<Scope>,
    fill: Fill,
    /// Where the next look begins.
    next: (u64, u64),
    found: Option<Found>,
    looked: usize,
    /// Nothing was left out but what may not give way yet.
    is_through: bool,
}

/// Events that may give way.
struct Found {
    ordinal: u64,
    epoch: EpochId,
    first: u64,
    last: u64,
    count: u32,
}

impl Look {
    fn at(&mut self, key: Key, value: &[u8]) -> Result<ControlFlow<()>, StoreError> {
        if key.number == 0 {
            return Ok(ControlFlow::Continue(()));
        }
        let is_enough =
            self.found.as_ref().is_some_and(|found| found.ordinal != key.ordinal || !self.fill.is_above(true));
        if is_enough || self.looked > LOOK_BYTES {
            self.is_through = false;
            return Ok(ControlFlow::Break(()));
        }
        let block = whole(key, value)?;
        if (key.ordinal, block.header.last()) > self.floor {
            return Ok(ControlFlow::Break(()));
        }
        if self.epochs.last().is_some_and(|of| of.ordinal == key.ordinal && of.last <= block.header.last()) {
            // The newest of all stays, and is looked at again when another is behind it.
            return Ok(ControlFlow::Break(()));
        }
        self.looked += value.len();
        self.next = (key.ordinal, block.header.last() + 1);
        let scope = self.epochs.iter().position(|scope| scope.ordinal == key.ordinal && scope.lets(&block.header));
        if let Some(place) = scope {
            self.take(&block, place)?;
        }
        Ok(ControlFlow::Continue(()))
    }

    fn take(&mut self, block: &Block<'_>, place: usize) -> Result<(), StoreError> {
        let Scope { ordinal, epoch, acknowledged, .. } = self.epochs[place];
        for event in Events::new(block.events) {
            let event = event.map_err(|error| StoreError::Damaged(error.to_string()))?;
            let number = event.header.number;
            if number <= acknowledged || event.class() != self.class {
                continue;
            }
            let found = self.found.get_or_insert(Found { ordinal, epoch, first: number, last: number, count: 0 });
            (found.last, found.count) = (number, found.count + 1);
            self.fill.events = self.fill.events.saturating_sub(1);
            self.fill.bytes = self.fill.bytes.saturating_sub(event.bytes.len() as u64);
        }
        Ok(())
    }

    fn way(&self, cause: LossCause) -> Option<(Way, Loss)> {
        let &Found { ordinal, epoch, first, last, count } = self.found.as_ref()?;
        Some((Way { ordinal, first, last, class: self.class }, Loss { epoch, first, last, cause, count }))
    }
}
