//! What operators have ordered and still holds: cards blocked and unblocked, modes of portals. The newest command of a
//! credential or reader rules.

use std::collections::BTreeMap;

use kalitka_protocol::ReaderId;
use kalitka_protocol::credential::Credential;
use kalitka_snapshot::model::PortalMode;

use crate::limits::{OVERLAY_MAX, OVERLAY_MODES_MAX};

/// What an operator has ordered of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is denied.
    Blocked,
    /// It counts as issued where the snapshot calls it blocked, for a time or for good.
    Unblocked,
}

/// One order that holds, with the number of its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverlayEntry {
    /// Of a credential.
    Credential {
        /// The credential, in canonical form.
        credential: Credential,
        /// What is ordered of it.
        standing: Standing,
        /// The command.
        number: u64,
    },
    /// Of a reader's portal.
    Mode {
        /// The reader at which it holds; `None` for all.
        reader: Option<ReaderId>,
        /// The mode; `None` for the snapshot's, by its schedules.
        mode: Option<PortalMode>,
        /// The command; 0 for the safe mode, which no command has ordered.
        number: u64,
    },
}

/// There is no place for another order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the overlay is full ({OVERLAY_MAX} credentials, {OVERLAY_MODES_MAX} readers' modes): adopt a snapshot that contains \
     the commands given so far"
)]
pub struct OverlayFull;

/// The orders that hold. The same ones are kept whatever the sequence in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StandingOrders {
    credentials: BTreeMap<Credential, (u64, Standing)>,
    modes: BTreeMap<Option<ReaderId>, (u64, Option<PortalMode>)>,
}

impl StandingOrders {
    /// Takes `entry`, unless something as new or newer holds of the same credential or reader; says whether it did.
    ///
    /// # Errors
    /// [`OverlayFull`]; nothing has changed then.
    pub fn apply(&mut self, entry: OverlayEntry) -> Result<bool, OverlayFull> {
        match entry {
            OverlayEntry::Credential { credential, standing, number } => {
                let full = self.credentials.len() >= OVERLAY_MAX;
                newer(&mut self.credentials, credential, number, standing, full)
            }
            OverlayEntry::Mode { reader, mode, number } => self.apply_mode(reader, mode, number),
        }
    }

    /// A mode for all ends every older one.
    fn apply_mode(
        &mut self,
        reader: Option<ReaderId>,
        mode: Option<PortalMode>,
        number: u64,
    ) -> Result<bool, OverlayFull> {
        let all = self.modes.get(&None).map(|&(number, _)| number);
        if all.is_some_and(|all| number <= all) {
            return Ok(false);
        }
        let full = reader.is_some() && self.modes.len() - usize::from(all.is_some()) >= OVERLAY_MODES_MAX;
        let taken = newer(&mut self.modes, reader, number, mode, full)?;
        if reader.is_none() {
            self.modes.retain(|of, (older, _)| of.is_none() || *older > number);
        }
        Ok(taken)
    }

    /// Forgets the credentials of all commands up to `last_command`.
    pub fn prune(&mut self, last_command: u64) {
        self.credentials.retain(|_, (number, _)| *number > last_command);
    }

    /// Forgets the credential of the lowest command.
    pub(crate) fn forget_oldest(&mut self) {
        let oldest = self.credentials.iter().min_by_key(|(_, (number, _))| *number).map(|(&credential, _)| credential);
        oldest.and_then(|credential| self.credentials.remove(&credential));
    }

    /// Whether a mode holds that no command has ordered.
    #[must_use]
    pub fn is_in_safe_mode(&self) -> bool {
        self.modes.get(&None).is_some_and(|&(number, _)| number == 0)
    }

    /// Ends the safe mode; says whether it held.
    pub fn lift_safe_mode(&mut self) -> bool {
        let held = self.is_in_safe_mode();
        if held {
            self.modes.remove(&None);
        }
        held
    }

    /// All of them: credentials ascending, then the mode of all, then modes by reader.
    pub fn entries(&self) -> impl Iterator<Item = OverlayEntry> {
        let credential = |(&credential, &(number, standing)): (&Credential, &(u64, Standing))| {
            OverlayEntry::Credential { credential, standing, number }
        };
        let mode = |(&reader, &(number, mode)): (&Option<ReaderId>, &(u64, Option<PortalMode>))| OverlayEntry::Mode {
            reader,
            mode,
            number,
        };
        self.credentials.iter().map(credential).chain(self.modes.iter().map(mode))
    }
}

/// Puts `value` at `key` if it is newer than what stands there; says whether it did. With `full` no key is added.
fn newer<K: Ord, V>(
    map: &mut BTreeMap<K, (u64, V)>,
    key: K,
    number: u64,
    value: V,
    full: bool,
) -> Result<bool, OverlayFull> {
    match map.get_mut(&key) {
        Some((known, _)) if *known >= number => return Ok(false),
        Some(known) => *known = (number, value),
        None if full => return Err(OverlayFull),
        None => {
            map.insert(key, (number, value));
        }
    }
    Ok(true)
}
