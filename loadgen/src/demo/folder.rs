//! The demo's working folder: two rosters that differ in one card, and what is made of them.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use kalitka_protocol::ReaderId;
use kalitka_protocol::reason::Direction;

use super::child::{finish, finish_keygen};
use crate::deck::Show;
use crate::fleet::wall_seconds;
use crate::oracle::{Identity, Oracle};
use crate::roster::FILES;

/// Makes a folder of its own, which nobody else can read, and gives its path.
pub(super) fn make() -> io::Result<PathBuf> {
    let name = format!("kalitka-demo-{}-{}", wall_seconds(), std::process::id());
    let folder = std::env::temp_dir().join(name);
    DirBuilder::new().mode(0o700).create(&folder)?;
    Ok(folder)
}

/// Copies the roster in `from` to `to`, in the time zone `zone`.
pub(super) fn copy_roster(from: &Path, to: &Path, zone: &str) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for file in FILES {
        fs::copy(from.join(file), to.join(file))?;
    }
    let building = fs::read_to_string(to.join(FILES[0]))?;
    let with_zone = |line: &str| {
        if line.starts_with("time_zone =") { format!("time_zone = \"{zone}\"\n") } else { format!("{line}\n") }
    };
    fs::write(to.join(FILES[0]), building.lines().map(with_zone).collect::<String>())
}

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

/// Makes the publisher's key pair; gives the public key in hex.
pub(super) fn make_key(tool: &Path, secret: &Path) -> io::Result<String> {
    finish_keygen(Command::new(tool).args(["keygen", "--secret"]).arg(secret))
}

/// Builds and signs the snapshot `generation` of the roster in `roster`.
pub(super) fn build(tool: &Path, roster: &Path, out: &Path, generation: u32, secret: &Path) -> io::Result<()> {
    let mut command = Command::new(tool);
    command.arg("build").arg("--roster").arg(roster).arg("--out").arg(out);
    command.arg("--generation").arg(generation.to_string()).arg("--key").arg(secret);
    finish(&mut command).map(drop)
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
