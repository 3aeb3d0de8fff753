//! The demo's rosters: they differ in the cards that get blocked.

use std::fs;
use std::io;
use std::path::Path;

use kalitka_protocol::ReaderId;
use kalitka_protocol::reason::Direction;

use crate::deck::Show;
use crate::fleet::wall_seconds;
use crate::oracle::{Identity, Oracle};
use crate::roster::FILES;

/// A card that passes now.
pub(super) struct Passing {
    /// Its row in the roster, from 0.
    pub(super) card: usize,
    /// Its UID, in hex.
    pub(super) uid: String,
    /// The place of a reader that lets it pass, and how it is shown there.
    pub(super) place: usize,
    pub(super) show: Show,
}

/// Two cards with UIDs that pass now, each at the first of `readers` that lets it, and that no reader takes for others.
pub(super) fn passing_cards(oracle: &Oracle, readers: &[ReaderId]) -> Option<[Passing; 2]> {
    let mut passing = oracle.cards().enumerate().filter_map(|(card, identity)| {
        let Identity::Uid(uid) = identity else { return None };
        let (place, show) = passes(oracle, readers, identity).filter(|_| oracle.is_unmistakable(identity))?;
        Some(Passing { card, uid: hex::encode(uid), place, show })
    });
    Some([passing.next()?, passing.next()?])
}

fn passes(oracle: &Oracle, readers: &[ReaderId], identity: &Identity) -> Option<(usize, Show)> {
    let (now, direction) = (wall_seconds(), Direction::Entry);
    readers.iter().enumerate().find_map(|(place, &reader)| {
        let card = oracle.looks(reader).first()?.show(identity)?;
        let is_passing = oracle.judge(reader, &card, direction, 0, now).is_grant();
        is_passing.then_some((place, Show { card, direction }))
    })
}

/// Copies the roster in `from` to `to` with the cards in places `cards` blocked.
pub(super) fn block_cards(from: &Path, to: &Path, cards: &[usize]) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for file in &FILES[..2] {
        fs::copy(from.join(file), to.join(file))?;
    }
    let mut reader = csv::Reader::from_path(from.join(FILES[2]))?;
    let mut writer = csv::Writer::from_path(to.join(FILES[2]))?;
    let headers = reader.headers()?.clone();
    writer.write_record(&headers)?;
    for (place, row) in reader.records().enumerate() {
        let row = row?;
        let field = |(name, value)| match name {
            "state" if cards.contains(&place) => "blocked",
            "blocked_until" if cards.contains(&place) => "",
            _ => value,
        };
        writer.write_record(headers.iter().zip(&row).map(field))?;
    }
    writer.flush()
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
