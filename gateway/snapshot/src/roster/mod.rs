//! The roster: `building.toml`, `people.csv` and `cards.csv`, read as strictly as they are documented (FORMAT 8).
//!
//! Reading goes on after an error, so that one run names them all.

mod building;
mod cards;
mod document;
mod fault;
mod people;
mod strict;
mod table;
mod time;
mod week;

use std::collections::HashMap;
use std::path::Path;

use kalitka_protocol::credential::Credential;

pub use fault::{RosterError, RosterErrors};

pub(crate) use building::Building;
pub(crate) use cards::{Card, card_text};
pub(crate) use people::Person;
pub(crate) use time::offsets;

use fault::Faults;

/// A roster without errors.
#[derive(Debug)]
pub struct Roster {
    pub(crate) building: Building,
    /// Ascending by identity.
    pub(crate) people: Vec<Person>,
    /// Ascending by credential, each but once; `holder` is a place in `people`.
    pub(crate) cards: Vec<Card>,
    /// Ascending; the first is the one without a name.
    pub(crate) groups: Vec<String>,
    /// Ascending; the first is empty.
    pub(crate) profiles: Vec<Vec<u16>>,
}

impl Roster {
    /// Reads the roster in the folder `folder`.
    ///
    /// # Errors
    /// [`RosterErrors`]: all that is wrong with the three files.
    pub fn read(folder: &Path) -> Result<Self, RosterErrors> {
        let mut faults = Faults::default();
        let building = building::read(folder, &mut faults);
        // Without a building the tables are still worth reading for their other errors.
        let zone = building.as_ref().map_or(jiff::tz::TimeZone::UTC, |building| building.head.zone.clone());
        let levels = building.as_ref().map(|building| &building.level_places);
        let people = people::read(folder, &zone, levels, &mut faults);
        let places: HashMap<[u8; 16], u32> =
            (0u32..).zip(&people.list).map(|(at, person)| (person.identity, at)).collect();
        let cards = cards::read(folder, &zone, &people, &places, &mut faults);
        let building = faults.finish(building)?;
        Ok(Self { building, people: people.list, cards, groups: people.groups, profiles: people.profiles })
    }

    /// The building's number.
    #[must_use]
    pub const fn building(&self) -> u32 {
        self.building.head.number
    }

    /// People and cards.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.people.len(), self.cards.len())
    }

    /// The cards as rosters write them, with the identities of their holders.
    pub(crate) fn card_and_holder(&self, card: &Card) -> (String, Option<String>) {
        let holder = card.holder.and_then(|at| self.people.get(at as usize)).map(Person::identity_text);
        (card_text(&Credential::from_bytes(card.key)), holder)
    }
}
