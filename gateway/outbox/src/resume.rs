//! Where to go on after the hub has said what it keeps (SPEC 15.5).

use kalitka_protocol::event::{Loss, LossCause, LossClosed};
use kalitka_protocol::upstream::{Position, PositionEntry};

use crate::error::StoreError;
use crate::ledger::Epoch;
use crate::outbox::Outbox;
use crate::reading;
use crate::types::{Leg, NewEpochWhy, Resume};

/// How an epoch of the hub's stands to ours.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// What the hub keeps is the beginning of ours, as far as that can be seen.
    Behind,
    /// The hub keeps more than was ever given here.
    Ahead,
    /// The hub keeps other events.
    Other,
}

impl Outbox {
    /// What follows from the hub's position. It rules: what it does not name as kept counts as not acknowledged, whatever was
    /// acknowledged before.
    ///
    /// With [`Resume::begin_epoch`], [`begin_epoch`](Self::begin_epoch) comes first, and the new epoch is one leg more, from
    /// number 1.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn resume(&mut self, position: &Position) -> Result<Resume, StoreError> {
        self.well()?;
        let mut resume = Resume { legs: Vec::new(), begin_epoch: None, closes: Vec::new(), lost: Vec::new() };
        // A hello names the present epoch first and earlier ones behind it, newest first; the oldest are sent first.
        for entry in position.as_slice().iter().rev() {
            let Some(held) = self.ledger.get(entry.epoch).cloned() else { continue };
            let standing = self.standing(&held, entry)?;
            let is_present = held.id() == self.ledger.present.id();
            if is_present {
                resume.begin_epoch = match standing {
                    Standing::Behind => None,
                    Standing::Ahead => Some(NewEpochWhy::HubAhead),
                    Standing::Other => Some(NewEpochWhy::HubOther),
                };
            }
            let open = held.record.loss_open.or((is_present && standing == Standing::Ahead).then_some(held.last + 1));
            resume.closes.extend(open.map(|first| closed(first, entry)));
            if standing == Standing::Behind {
                resume.lost.extend(self.settle(&held, entry)?);
            }
            resume.legs.extend(leg(&held, entry, standing, is_present));
        }
        Ok(resume)
    }

    fn standing(&mut self, held: &Epoch, entry: &PositionEntry) -> Result<Standing, StoreError> {
        if entry.last > held.last {
            return Ok(Standing::Ahead);
        }
        // A hash that is not known here any more cannot differ.
        let ours = self.hash_at(entry.epoch, entry.last)?;
        Ok(if ours.is_none_or(|ours| ours == entry.hash) { Standing::Behind } else { Standing::Other })
    }

    /// The position rules over what was acknowledged. Gives what the hub misses that is not here any more.
    fn settle(&mut self, held: &Epoch, entry: &PositionEntry) -> Result<Option<Loss>, StoreError> {
        let oldest = self.on_store(|store, _| reading::first_block(store, held.record.ordinal, held.oldest))?;
        // What has given way before the oldest was told of then.
        let shed = oldest.map_or(0, |(header, _)| u64::from(header.shed));
        let (first, last) = (entry.last + 1, (held.oldest - 1).saturating_sub(shed));
        let is_told = |told: (u64, u64)| told.0 <= first && last <= told.1;
        let is_lost = first <= last && !is_told(held.record.told) && !held.untold.is_some_and(is_told);
        if held.record.acknowledged == entry.last && !is_lost {
            return Ok(None);
        }
        self.look_again();
        if let Some(held) = self.ledger.get_mut(entry.epoch) {
            held.record.acknowledged = entry.last;
            if is_lost {
                held.untold = Some((first, last));
            }
        }
        self.put_record(entry.epoch)?;
        // The store has it as told when the loss is durable, and not before: nobody else would find it.
        let count = u32::try_from((last + 1).saturating_sub(first)).unwrap_or(u32::MAX);
        Ok(is_lost.then_some(Loss { epoch: entry.epoch, first, last, cause: LossCause::Bound, count }))
    }

    /// After a commit: what `loss` tells of need not be found missing again.
    pub(crate) fn note_told(&mut self, loss: &Loss) -> Result<(), StoreError> {
        let range = (loss.first, loss.last);
        let Some(held) = self.ledger.get_mut(loss.epoch).filter(|held| held.untold == Some(range)) else {
            return Ok(());
        };
        held.untold = None;
        held.record.tell(range);
        self.put_record(loss.epoch)
    }
}

/// The end of a loss that began at `first`, now that the hub has said what it keeps.
fn closed(first: u64, entry: &PositionEntry) -> LossClosed {
    let (held, hash) = if entry.last >= first { (entry.last, entry.hash) } else { (first - 1, [0; 32]) };
    LossClosed { epoch: entry.epoch, first, held, hash }
}

/// What to send of an epoch; nothing of one that has ended and is through.
fn leg(held: &Epoch, entry: &PositionEntry, standing: Standing, is_present: bool) -> Option<Leg> {
    let next = match standing {
        Standing::Behind => entry.last + 1,
        // From the oldest on: the hub finds where the lines part. What it has acknowledged in this form is its own.
        Standing::Ahead => held.oldest.max(held.record.acknowledged + 1),
        Standing::Other => held.oldest,
    };
    let is_worth = is_present || (held.blocks > 0 && next <= held.last);
    is_worth.then_some(Leg { epoch: held.id(), next })
}
