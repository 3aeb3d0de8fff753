//! The table of credentials: open addressing, ordered by home slot (FORMAT 4).
//!
//! Entries stand in ascending order of their hash. The home slot grows with the hash, so entries stand in the order of
//! their homes too, each at its home or, when that is taken, in the first free slot after. Hence one pass from front to
//! back decides whether a table is laid out as it must be, and a probe may stop at an empty slot or a greater hash.

use kalitka_protocol::credential::{CREDENTIAL_LEN, Credential};

use crate::limits::LONGEST_RUN_MAX;
use crate::model::{ArchivedSlot, Slot};
use crate::pack::BuildError;

/// The hash of a credential's sixteen bytes under a table's two seeds.
#[must_use]
pub fn key_hash(seeds: [u64; 2], key: &[u8; CREDENTIAL_LEN]) -> u64 {
    let key = u128::from_le_bytes(*key);
    let (low, high) = halves(key);
    fold(fold(low ^ seeds[0], high ^ seeds[1]) ^ seeds[0], seeds[1])
}

/// The home slot of a hash in a table of `homes` home slots.
#[must_use]
pub const fn home_of(hash: u64, homes: u64) -> u64 {
    halves(hash as u128 * homes as u128).1
}

/// Home slots of a table of `entries`: load 0.75, and never none.
pub(crate) fn homes_for(entries: u64) -> u64 {
    (entries + entries.div_ceil(3)).max(1)
}

/// Both halves of a product, combined.
const fn fold(a: u64, b: u64) -> u64 {
    let (low, high) = halves(a as u128 * b as u128);
    low ^ high
}

#[allow(clippy::cast_possible_truncation)] // the low half is meant
const fn halves(wide: u128) -> (u64, u64) {
    (wide as u64, (wide >> 64) as u64)
}

/// A table laid out.
pub(crate) struct Table {
    pub(crate) seeds: [u64; 2],
    pub(crate) homes: u64,
    pub(crate) longest_run: u32,
    pub(crate) slots: Vec<Slot>,
}

/// Lays `entries` out under the first seeds whose longest run is short enough.
pub(crate) fn lay_out(entries: &[Slot]) -> Result<Table, BuildError> {
    /// At ten million entries two of three pairs of seeds serve; so many in vain mean keys that no seeds part.
    const TRIES: u64 = 64;
    for attempt in 0..TRIES {
        let seeds = seeds_of(attempt);
        let ranked = ranked(entries, seeds);
        if let Some(pair) = ranked.windows(2).find(|pair| key(entries, pair[0]) == key(entries, pair[1])) {
            return Err(BuildError::RepeatedKey { key: hex::encode(key(entries, pair[0])) });
        }
        if let Some(table) = place(entries, &ranked, seeds) {
            return Ok(table);
        }
    }
    Err(BuildError::NoSeeds)
}

/// The seeds of an attempt: two numbers of SplitMix64.
const fn seeds_of(attempt: u64) -> [u64; 2] {
    [split_mix(2 * attempt), split_mix(2 * attempt + 1)]
}

const fn split_mix(place: u64) -> u64 {
    let z = (place + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Hash and place in `entries` of each entry.
type Ranked = (u64, u32);

fn key(entries: &[Slot], (_, at): Ranked) -> &[u8; CREDENTIAL_LEN] {
    &entries[at as usize].key
}

/// The entries in the order in which they stand in the table.
fn ranked(entries: &[Slot], seeds: [u64; 2]) -> Vec<Ranked> {
    let mut ranked: Vec<Ranked> = (0..).zip(entries).map(|(at, entry)| (key_hash(seeds, &entry.key), at)).collect();
    ranked
        .sort_unstable_by(|one, other| one.0.cmp(&other.0).then_with(|| key(entries, *one).cmp(key(entries, *other))));
    ranked
}

/// The table of ranked entries, unless a run in it is too long.
fn place(entries: &[Slot], ranked: &[Ranked], seeds: [u64; 2]) -> Option<Table> {
    let homes = homes_for(entries.len() as u64);
    let mut slots = vec![Slot::EMPTY; usize::try_from(homes).ok()?];
    let mut next = 0;
    let mut longest_run = 0;
    for &(hash, at) in ranked {
        let home = usize::try_from(home_of(hash, homes)).ok()?;
        let place = next.max(home);
        longest_run = longest_run.max(u32::try_from(place - home + 1).ok()?);
        if longest_run > LONGEST_RUN_MAX {
            return None;
        }
        if place == slots.len() {
            slots.push(Slot::EMPTY);
        }
        slots[place] = entries[at as usize];
        next = place + 1;
    }
    Some(Table { seeds, homes, longest_run, slots })
}

/// The table as it lies in an archive, with what a probe needs at hand.
pub(crate) struct Index<'a> {
    pub(crate) seeds: [u64; 2],
    pub(crate) homes: u64,
    pub(crate) longest_run: usize,
    pub(crate) slots: &'a [ArchivedSlot],
}

impl<'a> Index<'a> {
    /// The slots from the home of `credential` on; it stands in the first `longest_run` of them or nowhere.
    #[inline]
    pub(crate) fn run(&self, credential: &Credential) -> &'a [ArchivedSlot] {
        let home = home_of(key_hash(self.seeds, credential.as_bytes()), self.homes);
        usize::try_from(home).ok().and_then(|home| self.slots.get(home..)).unwrap_or_default()
    }

    /// The slot of `credential`. Reads at most `longest_run` slots.
    pub(crate) fn probe(&self, credential: &Credential) -> Option<&'a ArchivedSlot> {
        let key = credential.as_bytes();
        let hash = key_hash(self.seeds, key);
        let home = usize::try_from(home_of(hash, self.homes)).ok()?;
        for slot in self.slots.get(home..)?.iter().take(self.longest_run) {
            if slot.key == *key {
                return Some(slot);
            }
            if slot.is_empty() || key_hash(self.seeds, &slot.key) > hash {
                return None;
            }
        }
        None
    }
}
