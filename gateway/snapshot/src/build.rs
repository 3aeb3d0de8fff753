//! From a roster to a snapshot.

use core::fmt;

use kalitka_protocol::credential::{Credential, Shape, ShapeSet};

use crate::model::{CredentialState, HolderState, Model, NO_END, NOBODY, Slot};
use crate::pack::{BuildError, Edition, build_model};
use crate::roster::{Card, Roster, card_text, offsets};
use crate::verify::plan_is_small;

/// Something that a publisher should know of a snapshot, though it is sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// Several cards look alike at readers of one shape, and nobody passes there with any of them.
    Ambiguous {
        /// What they look like, as rosters write it.
        alias: String,
        /// The cards, with the identities of their holders.
        cards: Vec<(String, Option<String>)>,
    },
    /// A card is known only by a number that no reader sends.
    Unreadable {
        /// The card, as rosters write it.
        card: String,
        /// Its holder's identity.
        holder: Option<String>,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ambiguous { alias, cards } => {
                let cards: Vec<String> =
                    cards.iter().map(|(card, holder)| format!("{card} of {}", named(holder))).collect();
                write!(
                    f,
                    "{alias} is ambiguous at readers of that shape, where these are refused: {}; ",
                    cards.join(", ")
                )?;
                f.write_str("give one of them another card, or those readers another shape")
            }
            Self::Unreadable { card, holder } => {
                write!(f, "{card} of {} is of a shape that no reader sends; ", named(holder))?;
                f.write_str("declare it at a reader, or give the card's UID")
            }
        }
    }
}

fn named(holder: &Option<String>) -> &str {
    holder.as_deref().unwrap_or("nobody")
}

/// The unsigned snapshot of `roster`, and what its publisher should know. `last_command` is the last command that the
/// roster already contains, 0 for none. The same arguments give the same bytes.
///
/// # Errors
/// [`BuildError`] when the building is too large for one snapshot.
pub fn build(
    roster: &Roster,
    generation: u32,
    created: i64,
    last_command: u64,
) -> Result<(Vec<u8>, Vec<Warning>), BuildError> {
    let building = &roster.building;
    let head = &building.head;
    let grants = roster.profiles.iter().map(|levels| {
        let levels = levels.iter().filter_map(|&level| building.access_levels.get(usize::from(level)));
        levels.map(|level| level.grants.len()).sum()
    });
    if !plan_is_small(building.portals.len(), grants) {
        return Err(BuildError::TooManyRules);
    }
    let mut warnings = Vec::new();
    let (building_number, organisation) = (head.number, head.organisation);
    let edition = Edition { building: building_number, organisation, generation, created, last_command };
    let model = Model {
        name: head.name.clone(),
        time_zone: head.zone_name.clone(),
        offsets: offsets(&head.zone, created),
        areas: building.areas.clone(),
        portals: building.portals.clone(),
        readers: building.readers.clone(),
        schedules: building.schedules.clone(),
        access_levels: building.access_levels.clone(),
        profiles: roster.profiles.clone(),
        groups: roster.groups.clone(),
        holders: roster.people.iter().map(|person| person.identity).collect(),
        hash_seeds: [0; 2],
        homes: 0,
        slots: entries(roster, &mut warnings),
    };
    Ok((build_model(&edition, model)?, warnings))
}

/// Every card under its own key and under the aliases that readers send, those that are not unique made ambiguous.
fn entries(roster: &Roster, warnings: &mut Vec<Warning>) -> Vec<Slot> {
    let declared = declared_shapes(roster);
    let mut cut = Vec::new();
    let mut entries = Vec::with_capacity(roster.cards.len());
    for card in &roster.cards {
        if card.key[0] == Shape::Uid.code() {
            entries.push(slot(roster, card, card.key));
            cut.extend(aliases(card, declared).map(|alias| (alias, card)));
        } else {
            cut.push((card.key, card));
            if !is_declared(card, declared) {
                let (card, holder) = roster.card_and_holder(card);
                warnings.push(Warning::Unreadable { card, holder });
            }
        }
    }
    cut.sort_unstable_by_key(|(alias, card)| (*alias, card.key));
    for alike in cut.chunk_by(|(one, _), (other, _)| one == other) {
        match alike {
            [(alias, card)] => entries.push(slot(roster, card, *alias)),
            _ => {
                entries.push(ambiguous(alike[0].0));
                warnings.push(Warning::Ambiguous {
                    alias: card_text(&Credential::from_bytes(alike[0].0)),
                    cards: alike.iter().map(|(_, card)| roster.card_and_holder(card)).collect(),
                });
            }
        }
    }
    entries
}

fn declared_shapes(roster: &Roster) -> ShapeSet {
    ShapeSet::from_bits(roster.building.readers.iter().fold(0, |bits, reader| bits | reader.shapes))
}

fn is_declared(card: &Card, declared: ShapeSet) -> bool {
    Shape::from_code(card.key[0]).is_ok_and(|shape| declared.contains(shape))
}

/// What a card known by its UID looks like at readers that cut.
fn aliases(card: &Card, declared: ShapeSet) -> impl Iterator<Item = [u8; 16]> {
    let uid = &card.key[2..2 + usize::from(card.key[1] / 8)];
    let cuts = Shape::ALL.iter().filter(move |shape| shape.cut_bits().is_some() && declared.contains(**shape));
    cuts.filter_map(|shape| shape.credential_of_uid(uid)).map(|credential| *credential.as_bytes())
}

fn slot(roster: &Roster, card: &Card, key: [u8; 16]) -> Slot {
    let slot = Slot {
        credential_state: card.state as u8,
        credential_from: card.from,
        credential_to: card.to,
        blocked_until: card.blocked_until,
        ..nobodys(key)
    };
    let holder = card.holder.and_then(|at| Some((at, roster.people.get(at as usize)?)));
    match holder {
        None => slot,
        Some((at, person)) => Slot {
            holder: at,
            profile: person.profile,
            group: person.group,
            holder_state: person.state as u8,
            holder_from: person.from,
            holder_to: person.to,
            ..slot
        },
    }
}

fn ambiguous(key: [u8; 16]) -> Slot {
    Slot { credential_state: CredentialState::Ambiguous as u8, ..nobodys(key) }
}

/// A slot that names nobody and never grants. The first profile is empty and the first group has no name.
const fn nobodys(key: [u8; 16]) -> Slot {
    Slot {
        key,
        holder: NOBODY,
        holder_state: HolderState::Deleted as u8,
        credential_to: NO_END,
        holder_to: NO_END,
        ..Slot::EMPTY
    }
}
