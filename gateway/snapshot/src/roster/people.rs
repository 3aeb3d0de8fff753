//! `people.csv`: who the holders are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use jiff::tz::TimeZone;

use super::fault::Faults;
use super::table::{self, Row};
use super::time::DateMeans;
use crate::limits::{GROUPS_MAX, HOLDER_BYTES_MAX, HOLDERS_MAX, LEVELS_OF_PROFILE_MAX, NAME_BYTES_MAX, PROFILES_MAX};
use crate::model::{HolderState, NO_END};
use crate::verify::is_holder_byte;

const FILE: &str = "people.csv";
const NAMES: [&str; 7] = ["holder", "kind", "group", "state", "access_levels", "valid_from", "valid_to"];
const HOLDER: usize = 0;
const KIND: usize = 1;
const GROUP: usize = 2;
const STATE: usize = 3;
const LEVELS: usize = 4;
const FROM: usize = 5;
const TO: usize = 6;

const KINDS: &[(&str, ())] = &[("pupil", ()), ("staff", ()), ("guardian", ()), ("visitor", ()), ("guest", ())];
const STATES: &[(&str, HolderState)] = &[
    ("active", HolderState::Active),
    ("blocked", HolderState::Blocked),
    ("left", HolderState::Left),
    ("deleted", HolderState::Deleted),
];

/// One person.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Person {
    pub(crate) identity: [u8; HOLDER_BYTES_MAX],
    pub(crate) state: HolderState,
    pub(crate) group: u16,
    pub(crate) profile: u16,
    pub(crate) from: u32,
    pub(crate) to: u32,
}

impl Person {
    pub(crate) fn identity_text(&self) -> String {
        self.identity.iter().take_while(|&&byte| byte != 0).map(|&byte| char::from(byte)).collect()
    }
}

/// All that `people.csv` says.
pub(super) struct People {
    pub(super) list: Vec<Person>,
    pub(super) groups: Vec<String>,
    pub(super) profiles: Vec<Vec<u16>>,
    /// Identities of rows that are wrong in something else: their cards are not wrong for that.
    pub(super) unsound: BTreeSet<[u8; HOLDER_BYTES_MAX]>,
    /// Whether every row was reached and none ran into another; if not, nobody can be said to be missing.
    pub(super) is_whole: bool,
}

struct Reading<'a> {
    zone: &'a TimeZone,
    levels: Option<&'a HashMap<String, u16>>,
    list: Vec<Person>,
    lines: HashMap<[u8; HOLDER_BYTES_MAX], u64>,
    groups: BTreeMap<String, u16>,
    profiles: BTreeMap<Vec<u16>, u16>,
    unsound: BTreeSet<[u8; HOLDER_BYTES_MAX]>,
}

/// Reads the file; without `levels` the names of access levels are not looked up.
pub(super) fn read(
    folder: &Path,
    zone: &TimeZone,
    levels: Option<&HashMap<String, u16>>,
    faults: &mut Faults,
) -> People {
    let mut reading = Reading {
        zone,
        levels,
        list: Vec::new(),
        lines: HashMap::new(),
        groups: BTreeMap::from([(String::new(), 0)]),
        profiles: BTreeMap::from([(Vec::new(), 0)]),
        unsound: BTreeSet::new(),
    };
    let places = table::read(folder, FILE, &NAMES, faults, |row| match row {
        Ok(row) => reading.take(row),
        Err(holder) => reading.unsound.extend(identity(holder)),
    });
    reading.finish(places.is_some())
}

impl Reading<'_> {
    fn take(&mut self, row: &mut Row<'_, 7>) {
        let identity = self.identity(row);
        let person = self.person(row, identity.unwrap_or_default());
        match (identity, person) {
            (Some(_), Some(person)) => self.list.push(person),
            (Some(identity), None) => {
                self.unsound.insert(identity);
            }
            (None, _) => {}
        }
    }

    fn identity(&mut self, row: &mut Row<'_, 7>) -> Option<[u8; HOLDER_BYTES_MAX]> {
        let Some(identity) = identity(row.text(HOLDER)) else {
            row.fault(HOLDER, "no holder's identity", "write 1 to 16 characters of A-Z, a-z, 0-9, `.`, `_`, `-`");
            return None;
        };
        if let Some(before) = self.lines.insert(identity, row.line) {
            row.fault(HOLDER, format!("line {before} has this holder already"), "keep one of the rows");
            self.lines.insert(identity, before);
            return None;
        }
        if self.lines.len() == HOLDERS_MAX + 1 {
            row.fault(HOLDER, format!("more than {HOLDERS_MAX} holders"), "split the building");
            return None;
        }
        Some(identity)
    }

    /// Every field is looked at, so that all errors of a row are named.
    fn person(&mut self, row: &mut Row<'_, 7>, identity: [u8; HOLDER_BYTES_MAX]) -> Option<Person> {
        let kind = row.one_of(KIND, KINDS);
        let state = row.one_of(STATE, STATES);
        let group = self.group(row);
        let profile = self.profile(row);
        let from = row.moment(FROM, self.zone, DateMeans::Beginning, 0);
        let to = row.moment(TO, self.zone, DateMeans::End, NO_END);
        let (Some(from), Some(to)) = (from, to) else { return None };
        if to <= from {
            row.fault(TO, "valid_to is not after valid_from", "correct one of the two");
            return None;
        }
        kind?;
        Some(Person { identity, state: state?, group: group?, profile: profile?, from, to })
    }

    fn group(&mut self, row: &mut Row<'_, 7>) -> Option<u16> {
        let name = row.text(GROUP);
        if name.len() > NAME_BYTES_MAX {
            row.fault(GROUP, format!("more than {NAME_BYTES_MAX} bytes"), "shorten it");
            return None;
        }
        let place = interned(&mut self.groups, name, GROUPS_MAX);
        if place.is_none() {
            row.fault(GROUP, format!("more than {GROUPS_MAX} different groups"), "use fewer");
        }
        place
    }

    fn profile(&mut self, row: &mut Row<'_, 7>) -> Option<u16> {
        let text = row.text(LEVELS);
        let mut set = BTreeSet::new();
        let mut sound = true;
        for name in text.split(';').filter(|_| !text.is_empty()) {
            let Some(levels) = self.levels else { continue };
            let Some(&level) = levels.get(name) else {
                row.fault(LEVELS, format!("no access level `{name}`"), "name one of building.toml, joined by `;`");
                sound = false;
                continue;
            };
            if !set.insert(level) {
                row.fault(LEVELS, format!("the access level `{name}` is there twice"), "name it once");
                sound = false;
            }
        }
        if set.len() > LEVELS_OF_PROFILE_MAX {
            row.fault(LEVELS, format!("more than {LEVELS_OF_PROFILE_MAX} access levels"), "combine some into one");
            sound = false;
        }
        let set: Vec<u16> = set.into_iter().collect();
        let place = sound.then(|| interned(&mut self.profiles, &set[..], PROFILES_MAX))?;
        if place.is_none() {
            row.fault(LEVELS, format!("more than {PROFILES_MAX} different sets of access levels"), "use fewer");
        }
        place
    }

    /// Sorts people, groups and profiles, so that the order of the rows does not show in the snapshot.
    fn finish(mut self, is_whole: bool) -> People {
        let (groups, group_places) = ascending(self.groups);
        let (profiles, profile_places) = ascending(self.profiles);
        for person in &mut self.list {
            person.group = group_places[usize::from(person.group)];
            person.profile = profile_places[usize::from(person.profile)];
        }
        self.list.sort_unstable_by_key(|person| person.identity);
        People { list: self.list, groups, profiles, unsound: self.unsound, is_whole }
    }
}

/// The sixteen bytes of a holder's identity.
pub(super) fn identity(text: &str) -> Option<[u8; HOLDER_BYTES_MAX]> {
    let mut identity = [0; HOLDER_BYTES_MAX];
    let bytes = text.as_bytes();
    if bytes.is_empty() || bytes.len() > HOLDER_BYTES_MAX || !bytes.iter().all(|&byte| is_holder_byte(byte)) {
        return None;
    }
    identity[..bytes.len()].copy_from_slice(bytes);
    Some(identity)
}

/// The number of `value`: its own, or the next; `None` when there are `max` others.
fn interned<B: Ord + ToOwned<Owned = K> + ?Sized, K: Ord + core::borrow::Borrow<B>>(
    known: &mut BTreeMap<K, u16>,
    value: &B,
    max: usize,
) -> Option<u16> {
    if let Some(&place) = known.get(value) {
        return Some(place);
    }
    let place = u16::try_from(known.len()).ok().filter(|_| known.len() < max)?;
    known.insert(value.to_owned(), place);
    Some(place)
}

/// The values ascending, and the new place of each old one.
fn ascending<K>(known: BTreeMap<K, u16>) -> (Vec<K>, Vec<u16>) {
    let mut places = vec![0; known.len()];
    for (new, &old) in (0u16..).zip(known.values()) {
        places[usize::from(old)] = new;
    }
    (known.into_keys().collect(), places)
}
