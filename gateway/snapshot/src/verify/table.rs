//! Checks of the table, in one pass from front to back: where each entry stands, and what it says.

use kalitka_protocol::credential::Shape;

use super::{Found, ensure};
use crate::flaw::Flaw;
use crate::index::{Index, home_of, homes_for, key_hash};
use crate::limits::LONGEST_RUN_MAX;
use crate::model::{ArchivedModel, ArchivedSlot, CredentialState, HolderState, NOBODY};
use crate::view::Snapshot;

pub(super) fn check(snapshot: &Snapshot) -> Result<(), Found> {
    let index = snapshot.index();
    let header = snapshot.header();
    ensure(header.homes == index.homes && homes_for_checked(header.entries) == Some(index.homes), Flaw::TableHomes, 0)?;
    let laid = check_slots(snapshot.model(), &index)?;
    ensure(laid.entries == header.entries, Flaw::Entries, 0)?;
    ensure(laid.longest_run == u64::from(header.longest_run), Flaw::LongestRun, 0)?;
    ensure(header.longest_run <= LONGEST_RUN_MAX, Flaw::LongestRun, 0)?;
    Ok(())
}

fn homes_for_checked(entries: u64) -> Option<u64> {
    (entries <= crate::limits::ENTRIES_MAX as u64).then(|| homes_for(entries))
}

struct Laid {
    entries: u64,
    longest_run: u64,
}

/// Every entry is where the rule of layout puts it, and greater than the one before; so none is there twice, and a probe
/// that starts at an entry's home meets it within `longest_run` slots.
fn check_slots(model: &ArchivedModel, index: &Index<'_>) -> Result<Laid, Found> {
    let mut laid = Laid { entries: 0, longest_run: 0 };
    let mut next = 0;
    let mut before = None;
    for (place, slot) in (0u64..).zip(index.slots) {
        let at = usize::try_from(place).unwrap_or(usize::MAX);
        if slot.is_empty() {
            ensure(is_all_zeros(slot), Flaw::SlotEmpty, at)?;
            continue;
        }
        let rank = (key_hash(index.seeds, &slot.key), slot.key);
        ensure(before.is_none_or(|before| before < rank), Flaw::SlotOrder, at)?;
        let home = home_of(rank.0, index.homes);
        ensure(place == home.max(next), Flaw::SlotPlace, at)?;
        check_slot(model, slot).map_err(|flaw| Found(flaw, at))?;
        before = Some(rank);
        next = place + 1;
        laid.entries += 1;
        laid.longest_run = laid.longest_run.max(place - home + 1);
    }
    ensure(index.slots.len() as u64 == index.homes.max(next), Flaw::TableLength, 0)?;
    Ok(laid)
}

fn is_all_zeros(slot: &ArchivedSlot) -> bool {
    slot.key == [0; 16]
        && slot.holder == 0
        && slot.profile == 0
        && slot.group == 0
        && slot.credential_state | slot.holder_state == 0
        && slot.credential_from | slot.credential_to | slot.holder_from | slot.holder_to | slot.blocked_until == 0
        && reserved_is_zero(slot)
}

fn reserved_is_zero(slot: &ArchivedSlot) -> bool {
    slot.reserved == [0; 2] && slot.reserved_more == [0; 16]
}

fn check_slot(model: &ArchivedModel, slot: &ArchivedSlot) -> Result<(), Flaw> {
    let ensure = |sound: bool, flaw: Flaw| if sound { Ok(()) } else { Err(flaw) };
    ensure(key_is_canonical(&slot.key), Flaw::SlotKey)?;
    ensure(reserved_is_zero(slot), Flaw::SlotReserved)?;
    let profile = model.profiles.get(usize::from(slot.profile.to_native())).ok_or(Flaw::SlotProfile)?;
    ensure(usize::from(slot.group.to_native()) < model.groups.len(), Flaw::SlotGroup)?;
    let credential = CredentialState::from_code(slot.credential_state).ok_or(Flaw::SlotCredentialState)?;
    let holder = HolderState::from_code(slot.holder_state).ok_or(Flaw::SlotHolderState)?;
    if slot.holder == NOBODY {
        let denies = profile.is_empty() && holder == HolderState::Deleted && may_be_nobodys(credential);
        ensure(denies, Flaw::SlotNobody)?;
    } else {
        ensure((slot.holder.to_native() as usize) < model.holders.len(), Flaw::SlotHolder)?;
        ensure(credential != CredentialState::Ambiguous, Flaw::SlotNobody)?;
    }
    ensure(slot.credential_from < slot.credential_to && slot.holder_from < slot.holder_to, Flaw::SlotValidity)?;
    let blocked_for_a_time = credential == CredentialState::BlockedForATime;
    ensure(blocked_for_a_time == (slot.blocked_until != 0), Flaw::SlotBlockedUntil)
}

const fn may_be_nobodys(state: CredentialState) -> bool {
    use CredentialState::{Ambiguous, Destroyed, InStock, Returned};
    matches!(state, InStock | Returned | Destroyed | Ambiguous)
}

/// Shape, its number of bits, so many bits left-aligned, zeros. A reversed UID is turned round and never a key.
fn key_is_canonical(key: &[u8; 16]) -> bool {
    let Ok(shape) = Shape::from_code(key[0]) else { return false };
    let bits = key[1];
    let fits = match shape.cut_bits() {
        Some(cut) => bits == cut,
        None => shape == Shape::Uid && matches!(bits, 32 | 56 | 80),
    };
    fits && u128::from_be_bytes(*key) << 16 << bits == 0
}
