//! What operators have ordered since the snapshot was made, as the workers look it up: one relaxed load when there is
//! nothing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;
use kalitka_protocol::ReaderId;
use kalitka_protocol::credential::{Credential, Shape};
use kalitka_snapshot::Snapshot;
use kalitka_snapshot::model::PortalMode;

use crate::orders::{OverlayEntry, OverlayFull, Standing, StandingOrders};

/// Blocks and modes that operators have ordered. Changed by one thread at a time, looked up by every worker.
#[derive(Debug, Default)]
pub struct Overlay {
    /// What has been ordered; what follows is made from it.
    orders: Mutex<StandingOrders>,
    /// By every form in which a reader may send a credential: what is ordered of each that looks so.
    forms: DashMap<Credential, Vec<Form>>,
    modes: DashMap<Option<ReaderId>, (u64, Option<PortalMode>)>,
    /// How many stand in each: as a rule there is nothing to look up.
    forms_len: AtomicUsize,
    modes_len: AtomicUsize,
}

/// What is ordered of one of the credentials that have the same form.
#[derive(Clone, Copy, Debug)]
struct Form {
    /// The credential that the operator named.
    named: Credential,
    standing: Standing,
    number: u64,
}

impl Overlay {
    /// Denies `credential` from now on, by command `number`.
    ///
    /// # Errors
    /// [`OverlayFull`]; nothing has changed then.
    pub fn block(&self, credential: Credential, number: u64) -> Result<(), OverlayFull> {
        self.apply(OverlayEntry::Credential { credential, standing: Standing::Blocked, number })
    }

    /// Takes blocks of `credential` away, the snapshot's among them, by command `number`.
    ///
    /// # Errors
    /// [`OverlayFull`]; nothing has changed then.
    pub fn unblock(&self, credential: Credential, number: u64) -> Result<(), OverlayFull> {
        self.apply(OverlayEntry::Credential { credential, standing: Standing::Unblocked, number })
    }

    /// Sets the mode of `reader`'s portal as asks at it see it, of every reader's for `None`, by command `number`. A mode of
    /// `None` is the snapshot's, by its schedules.
    ///
    /// # Errors
    /// [`OverlayFull`]; nothing has changed then.
    pub fn set_mode(&self, reader: Option<ReaderId>, mode: Option<PortalMode>, number: u64) -> Result<(), OverlayFull> {
        self.apply(OverlayEntry::Mode { reader, mode, number })
    }

    /// Holds every portal in `mode`, because what had been ordered cannot be read, until an operator orders a mode or
    /// [`lift_safe_mode`](Self::lift_safe_mode).
    pub fn safe_mode(&self, mode: PortalMode) {
        // The mode of every reader always has its place.
        let _ = self.apply(OverlayEntry::Mode { reader: None, mode: Some(mode), number: 0 });
    }

    /// Whether [`safe_mode`](Self::safe_mode) holds at some portal.
    #[must_use]
    pub fn is_in_safe_mode(&self) -> bool {
        self.orders().is_in_safe_mode()
    }

    /// Ends what [`safe_mode`](Self::safe_mode) began: what had been ordered is known again.
    pub fn lift_safe_mode(&self) {
        let mut orders = self.orders();
        if orders.lift_safe_mode() {
            self.modes.remove(&None);
            self.count();
        }
    }

    /// Takes over all of `entries`, each unless it has something newer of the same credential or reader.
    ///
    /// # Errors
    /// [`OverlayFull`] when not all have a place; all others have been taken.
    pub fn restore(&self, entries: impl IntoIterator<Item = OverlayEntry>) -> Result<(), OverlayFull> {
        let without_place = entries.into_iter().filter(|&entry| self.apply(entry).is_err()).count();
        if without_place == 0 { Ok(()) } else { Err(OverlayFull) }
    }

    /// Forgets the credentials of all commands up to `last_command`, which every snapshot that could come into force
    /// contains. Modes stay until they are ordered anew: no snapshot contains them.
    pub fn prune(&self, last_command: u64) {
        // Held to the end: a count made beside an order would hide that order.
        let mut orders = self.orders();
        orders.prune(last_command);
        self.forms.retain(|_, alike| {
            alike.retain(|form| form.number > last_command);
            !alike.is_empty()
        });
        self.count();
    }

    /// Whether nothing is ordered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.forms_len.load(Ordering::Relaxed) == 0 && self.modes_len.load(Ordering::Relaxed) == 0
    }

    /// Everything that is ordered, to be kept over restarts; in an order that depends on nothing else.
    #[must_use]
    pub fn entries(&self) -> Vec<OverlayEntry> {
        self.orders().entries().collect()
    }

    /// The mode of `reader`'s portal, if one is ordered: the reader's own or that of all, whichever is newer.
    #[must_use]
    #[inline]
    pub fn mode(&self, reader: ReaderId) -> Option<PortalMode> {
        if self.modes_len.load(Ordering::Relaxed) == 0 { None } else { self.ordered_mode(reader) }
    }

    fn ordered_mode(&self, reader: ReaderId) -> Option<PortalMode> {
        let of = |reader: Option<ReaderId>| self.modes.get(&reader).map(|mode| *mode);
        match (of(Some(reader)), of(None)) {
            (Some((own, mode)), Some((all, _))) if own > all => mode,
            (own, all) => all.or(own)?.1,
        }
    }

    /// What is ordered of `credential`, as a reader sent it, by commands that `snapshot` does not contain.
    #[must_use]
    #[inline]
    pub fn credential(&self, snapshot: &Snapshot, credential: &Credential) -> Option<Standing> {
        if self.forms_len.load(Ordering::Relaxed) == 0 { None } else { self.ordered_credential(snapshot, credential) }
    }

    fn ordered_credential(&self, snapshot: &Snapshot, credential: &Credential) -> Option<Standing> {
        let alike = self.forms.get(credential)?;
        let is_newer = |form: &&Form| form.number > snapshot.header().last_command;
        let is_known = |form: &Form| form.standing == Standing::Unblocked && snapshot.probe(&form.named).is_some();
        // Of cards that look alike here one that is blocked is denied whatever is ordered of the other, and what is
        // ordered of one that the snapshot does not have gives nothing to the other.
        if alike.iter().filter(is_newer).any(|form| form.standing == Standing::Blocked) {
            return Some(Standing::Blocked);
        }
        alike.iter().filter(is_newer).any(is_known).then_some(Standing::Unblocked)
    }

    fn apply(&self, entry: OverlayEntry) -> Result<(), OverlayFull> {
        let mut orders = self.orders();
        if !orders.apply(entry)? {
            return Ok(());
        }
        match entry {
            OverlayEntry::Credential { credential: named, standing, number } => {
                for form in forms(named) {
                    self.order(form, Form { named, standing, number });
                }
            }
            OverlayEntry::Mode { reader, mode, number } => {
                self.modes.insert(reader, (number, mode));
                // The older ones go after the newer one has come: at no moment does neither hold.
                if reader.is_none() {
                    self.modes.retain(|of, (older, _)| of.is_none() || *older > number);
                }
            }
        }
        self.count();
        Ok(())
    }

    fn order(&self, credential: Credential, form: Form) {
        let mut alike = self.forms.entry(credential).or_default();
        match alike.iter_mut().find(|known| known.named == form.named) {
            Some(known) => *known = form,
            None => alike.push(form),
        }
    }

    fn orders(&self) -> MutexGuard<'_, StandingOrders> {
        // Nothing that is done under the lock leaves it half done.
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self) {
        self.forms_len.store(self.forms.len(), Ordering::Relaxed);
        self.modes_len.store(self.modes.len(), Ordering::Relaxed);
    }
}

/// Everything that `credential` may look like at a reader.
fn forms(credential: Credential) -> impl Iterator<Item = Credential> {
    let [shape, bits, uid @ ..] = *credential.as_bytes();
    let uid_len = if shape == Shape::Uid.code() { usize::from(bits / 8) } else { 0 };
    let cut = move |shape: &Shape| shape.credential_of_uid(uid.get(..uid_len)?);
    core::iter::once(credential).chain(Shape::ALL.iter().filter_map(cut).filter(move |form| *form != credential))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A count that is made beside an order hides that order.
    #[test]
    fn order_waits_until_others_are_forgotten_and_counted() {
        let (overlay, card) = (Overlay::default(), Credential::from_uid(&[4, 1, 2, 3]).unwrap());
        overlay.block(card, 1).unwrap();
        std::thread::scope(|scope| {
            let halfway = overlay.forms.get_mut(&card);
            scope.spawn(|| overlay.prune(1));
            let is_held = || (0..1000).all(|_| overlay.orders.try_lock().is_err());
            let mut looks = std::iter::repeat_with(std::thread::yield_now).take(5_000_000);
            assert!(looks.any(|()| is_held()), "an order could come in between");
            drop(halfway);
        });
        assert!(overlay.is_empty());
    }
}
