//! A fresh store in the place of one whose files still hold what was removed from it.

use std::io;
use std::ops::ControlFlow;

use super::Yard;
use crate::check::check;
use crate::error::StoreError;
use crate::limits::{DISK_RESERVE, RENEWAL_FACTOR};
use crate::place::Named;
use crate::reading;
use crate::store::{Key, Store};

impl Yard {
    /// Copies everything in `old`, `blocks` blocks, into a new store of the same kind, makes it durable and checks it. It is not
    /// named yet; of what fails nothing stays.
    pub(crate) fn copy_afresh(
        &mut self,
        old: &mut dyn Store,
        blocks: u64,
    ) -> Result<(Box<dyn Store>, Named), StoreError> {
        let used = self.current.ok_or(StoreError::Poisoned)?;
        let free = self.free()?;
        if free < DISK_RESERVE * RENEWAL_FACTOR + old.disk_bytes() {
            return Err(StoreError::Io(io::ErrorKind::StorageFull.into()));
        }
        let number = self.place.next_number()?;
        let named = Named { number, machine: self.machine, ..used };
        let copied =
            self.ground.open(named.kind, &self.place.store_folder(named.kind, number)).and_then(|mut store| {
                copy(old, store.as_mut())?;
                let checked = check(store.as_mut(), self.building)?;
                let found: u64 = checked.epochs.iter().map(|epoch| epoch.blocks).sum();
                if found == blocks {
                    Ok(store)
                } else {
                    Err(StoreError::Damaged(format!("{found} blocks were copied and not {blocks}")))
                }
            });
        match copied {
            Ok(store) => Ok((store, named)),
            Err(error) => {
                self.place.discard(named.kind, number)?;
                Err(error)
            }
        }
    }

    /// Names the copy and removes the store that it was made of, which is closed.
    pub(crate) fn replace(&mut self, named: Named) -> io::Result<()> {
        let used = self.current.replace(named);
        self.place.name(named)?;
        used.map_or(Ok(()), |used| self.place.discard(used.kind, used.number))
    }
}

/// Copies everything in `old` and makes it durable.
pub(super) fn copy(old: &mut dyn Store, store: &mut dyn Store) -> Result<(), StoreError> {
    reading::scan(old, Key::FIRST, |key, value| {
        store.put(key, value)?;
        Ok(ControlFlow::Continue(()))
    })?;
    store.sync()
}
