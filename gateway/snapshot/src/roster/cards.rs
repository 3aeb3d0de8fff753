//! `cards.csv`: what the holders carry.

use std::collections::HashMap;
use std::path::Path;

use jiff::tz::TimeZone;
use kalitka_protocol::credential::{Credential, Shape};

use super::fault::{Faults, RosterError};
use super::people::{People, identity};
use super::table::{self, Row};
use super::time::DateMeans;
use crate::limits::ENTRIES_MAX;
use crate::model::{CredentialState, NO_END};

const FILE: &str = "cards.csv";
const NAMES: [&str; 6] = ["card", "holder", "state", "valid_from", "valid_to", "blocked_until"];
const CARD: usize = 0;
const HOLDER: usize = 1;
const STATE: usize = 2;
const FROM: usize = 3;
const TO: usize = 4;
const BLOCKED_UNTIL: usize = 5;

/// How long a card from the reserve pool is valid unless said otherwise.
const TEMPORARY_S: u32 = 24 * 3_600;

const STATES: &[(&str, CredentialState)] = &[
    ("in_stock", CredentialState::InStock),
    ("issued", CredentialState::Issued),
    ("issued_temporarily", CredentialState::IssuedTemporarily),
    ("blocked_for_a_time", CredentialState::BlockedForATime),
    ("blocked", CredentialState::Blocked),
    ("lost", CredentialState::Lost),
    ("returned", CredentialState::Returned),
    ("destroyed", CredentialState::Destroyed),
];

/// One card.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Card {
    pub(crate) key: [u8; 16],
    /// Place in the people.
    pub(crate) holder: Option<u32>,
    pub(crate) state: CredentialState,
    pub(crate) from: u32,
    pub(crate) to: u32,
    /// 0 unless blocked for a time.
    pub(crate) blocked_until: u32,
    line: u32,
}

struct Reading<'a> {
    zone: &'a TimeZone,
    people: &'a People,
    places: &'a HashMap<[u8; 16], u32>,
    list: Vec<Card>,
}

/// Reads the file. The cards ascend by credential.
pub(super) fn read(
    folder: &Path,
    zone: &TimeZone,
    people: &People,
    places: &HashMap<[u8; 16], u32>,
    faults: &mut Faults,
) -> Vec<Card> {
    let mut reading = Reading { zone, people, places, list: Vec::new() };
    let columns = table::read(folder, FILE, &NAMES, faults, |row| {
        let card = row.ok().and_then(|row| reading.card(row));
        reading.list.extend(card);
    });
    let mut list = reading.list;
    if list.len() > ENTRIES_MAX {
        faults.of_file(
            FILE,
            format!("{} cards, but at most {ENTRIES_MAX} are allowed", list.len()),
            "split the building",
        );
    }
    list.sort_unstable_by_key(|card| (card.key, card.line));
    if let Some(columns) = columns {
        note_repeated(&list, people, columns[CARD] as u64 + 1, faults);
    }
    list
}

impl Reading<'_> {
    /// Every field is looked at, so that all errors of a row are named.
    fn card(&mut self, row: &mut Row<'_, 6>) -> Option<Card> {
        let key = parse_card(row.text(CARD));
        if key.is_none() {
            let remedy = "write uid: and 8, 14 or 20 hex digits, w26:FACILITY-NUMBER, w34:NUMBER or w37:NUMBER";
            row.fault(CARD, "no card's identifier", remedy);
        }
        let state = row.one_of(STATE, STATES);
        let holder = self.holder(row, state);
        let validity = self.validity(row, state);
        let blocked_until = self.blocked_until(row, state);
        let (from, to) = validity?;
        Some(Card {
            key: *key?.as_bytes(),
            holder: holder?,
            state: state?,
            from,
            to,
            blocked_until: blocked_until?,
            line: u32::try_from(row.line).unwrap_or(u32::MAX),
        })
    }

    fn holder(&self, row: &mut Row<'_, 6>, state: Option<CredentialState>) -> Option<Option<u32>> {
        use CredentialState::{Destroyed, InStock, Returned};
        let text = row.text(HOLDER);
        if text.is_empty() {
            let may_be_nobodys = matches!(state, None | Some(InStock | Returned | Destroyed));
            if !may_be_nobodys {
                row.fault(HOLDER, "a card in this state needs a holder", "name the holder, or correct the state");
            }
            return may_be_nobodys.then_some(None);
        }
        let identity = identity(text);
        let place = identity.and_then(|identity| self.places.get(&identity).copied());
        let may_be_there = !self.people.is_whole || identity.is_some_and(|it| self.people.unsound.contains(&it));
        if place.is_none() && !may_be_there {
            row.fault(HOLDER, "no such holder", "add the person to people.csv, or correct the holder");
        }
        place.map(Some)
    }

    fn validity(&self, row: &mut Row<'_, 6>, state: Option<CredentialState>) -> Option<(u32, u32)> {
        let temporary = state == Some(CredentialState::IssuedTemporarily);
        if temporary && row.text(FROM).is_empty() {
            row.fault(FROM, "a card issued temporarily needs valid_from", "say from when it is issued");
            return None;
        }
        let from = row.moment(FROM, self.zone, DateMeans::Beginning, 0);
        let unsaid = from.filter(|_| temporary).map_or(NO_END, |from| from.saturating_add(TEMPORARY_S));
        let to = row.moment(TO, self.zone, DateMeans::End, unsaid);
        let (from, to) = (from?, to?);
        if to <= from {
            row.fault(TO, "valid_to is not after valid_from", "correct one of the two");
        }
        (from < to).then_some((from, to))
    }

    fn blocked_until(&self, row: &mut Row<'_, 6>, state: Option<CredentialState>) -> Option<u32> {
        let wanted = state? == CredentialState::BlockedForATime;
        if wanted == row.text(BLOCKED_UNTIL).is_empty() {
            let (what, remedy) = match wanted {
                true => ("a card blocked for a time needs blocked_until", "say until when it is blocked"),
                false => ("only a card blocked for a time has blocked_until", "leave it empty, or correct the state"),
            };
            row.fault(BLOCKED_UNTIL, what, remedy);
            return None;
        }
        let until = row.moment(BLOCKED_UNTIL, self.zone, DateMeans::Beginning, 0)?;
        if wanted && until == 0 {
            row.fault(BLOCKED_UNTIL, "out of range", "write a moment after 1970 began");
            return None;
        }
        Some(until)
    }
}

/// The credential of a card as rosters write it.
fn parse_card(text: &str) -> Option<Credential> {
    let (label, identifier) = text.split_once(':')?;
    let shape = Shape::from_label(label)?;
    match shape {
        Shape::Uid => Credential::from_uid(&hex::decode(identifier).ok()?),
        Shape::UidReversed => None,
        Shape::Wiegand26 | Shape::Wiegand26Reversed => {
            let (facility, number) = identifier.split_once('-')?;
            let facility = decimal(facility).filter(|&facility| facility <= 0xff)?;
            let number = decimal(number).filter(|&number| number <= 0xffff)?;
            Credential::from_number(shape, facility << 16 | number)
        }
        Shape::Wiegand34 | Shape::Wiegand34Reversed | Shape::Wiegand37 | Shape::Wiegand37Reversed => {
            Credential::from_number(shape, decimal(identifier)?)
        }
    }
}

/// A number of digits alone: `parse` would take a sign.
fn decimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

/// A card's identifier as rosters write it.
pub(crate) fn card_text(credential: &Credential) -> String {
    let bytes = credential.as_bytes();
    let Ok(shape) = Shape::from_code(bytes[0]) else { return hex::encode(bytes) };
    let Some(bits) = shape.cut_bits() else {
        return format!("uid:{}", hex::encode(&bytes[2..2 + usize::from(bytes[1] / 8).min(14)]));
    };
    let number = u128::from_be_bytes(*bytes) << 16 >> (128 - u32::from(bits));
    match bits {
        24 => format!("{}:{}-{}", shape.label(), number >> 16, number & 0xffff),
        _ => format!("{}:{number}", shape.label()),
    }
}

/// Notes cards that are there more than once, each with both holders and both lines.
fn note_repeated(list: &[Card], people: &People, column: u64, faults: &mut Faults) {
    let holder = |card: &Card| match card.holder.and_then(|at| people.list.get(at as usize)) {
        Some(person) => format!("holder {}", person.identity_text()),
        None => "nobody".to_owned(),
    };
    for pair in list.windows(2).filter(|pair| pair[0].key == pair[1].key) {
        let [first, second] = [&pair[0], &pair[1]];
        let (what, remedy) = if first.holder == second.holder {
            let what =
                format!("{} has the same card twice, in lines {} and {}", holder(first), first.line, second.line);
            (what, "delete one row")
        } else {
            let [one, other] = [holder(first), holder(second)];
            let what = format!("{one} has this card in line {}, {other} in line {}", first.line, second.line);
            (what, "leave the card to one of them")
        };
        faults.add(RosterError {
            file: FILE,
            line: second.line.into(),
            column,
            field: NAMES[CARD].into(),
            value: card_text(&Credential::from_bytes(second.key)),
            what,
            remedy: remedy.into(),
        });
    }
}
