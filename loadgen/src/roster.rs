//! Invents a school: a roster folder as `kalitka-snapshot build` reads it.
//!
//! The same number of holders and the same seed give the same bytes. Holders are opaque numbers; every state that a
//! card or a holder can be in occurs; exactly one pair of cards looks alike at a reader that cuts to Wiegand 26.

mod cards;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use fastrand::Rng;

use crate::limits::{HOLDERS_MAX, HOLDERS_MIN};

/// Holders of the committed demo roster.
pub const DEMO_HOLDERS: u32 = 1_200;
/// Seed of the committed demo roster.
pub const DEMO_SEED: u64 = 17;

/// Files of a roster.
pub(crate) const FILES: [&str; 3] = ["building.toml", "people.csv", "cards.csv"];

const BUILDING: &str = include_str!("roster/building.toml");
const GRADES: u32 = 11;
const LETTERS: [char; 2] = ['a', 'b'];

/// What a holder is to the building.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pupil,
    Staff,
    Guardian,
    Visitor,
    Guest,
}

/// Of a thousand holders, how many are of which kind.
const KINDS: [(Kind, u32); 5] =
    [(Kind::Pupil, 700), (Kind::Staff, 100), (Kind::Guardian, 150), (Kind::Visitor, 20), (Kind::Guest, 30)];

/// Makes sure that [`write`] would replace nothing in `dir`.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] when `dir` has a file of a roster.
pub fn refuse_to_replace(dir: &Path) -> io::Result<()> {
    let Some(there) = FILES.iter().map(|file| dir.join(file)).find(|path| path.symlink_metadata().is_ok()) else {
        return Ok(());
    };
    let what = format!("{} is there already; name another folder, or replace it with --force", there.display());
    Err(io::Error::new(io::ErrorKind::AlreadyExists, what))
}

/// Writes `building.toml`, `people.csv` and `cards.csv` of an invented school of `holders` holders into `dir`, which is
/// made if it is missing. Files of these names are replaced.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] when `holders` is out of its range, else what the file system says.
pub fn write(dir: &Path, holders: u32, seed: u64) -> io::Result<()> {
    if !(HOLDERS_MIN..=HOLDERS_MAX).contains(&holders) {
        let what = format!("a school has {HOLDERS_MIN} to {HOLDERS_MAX} holders, not {holders}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    let mut rng = Rng::with_seed(seed);
    std::fs::create_dir_all(dir)?;
    std::fs::write(dir.join(FILES[0]), BUILDING)?;
    let mut people = BufWriter::new(File::create(dir.join(FILES[1]))?);
    let kinds = write_people(&mut people, holders, &mut rng)?;
    people.flush()?;
    let mut rows = BufWriter::new(File::create(dir.join(FILES[2]))?);
    cards::write(&mut rows, &kinds, &mut rng)?;
    rows.flush()
}

/// The holder in place `place`, from 0.
fn holder(place: usize) -> String {
    format!("p{:04}", place + 1)
}

fn write_people(out: &mut impl Write, holders: u32, rng: &mut Rng) -> io::Result<Vec<Kind>> {
    writeln!(out, "holder,kind,group,state,access_levels,valid_from,valid_to")?;
    let mut kinds = Vec::new();
    for place in 0..holders as usize {
        let kind = weighted(&KINDS, rng);
        let (label, group, levels) = describe(kind, rng);
        // The first fifty have nothing the matter with them, so that every school has somebody to let in.
        let (state, from, to) = if place < HOLDERS_MIN as usize { ("active", "", "") } else { condition(kind, rng) };
        writeln!(out, "{},{label},{group},{state},{levels},{from},{to}", holder(place))?;
        kinds.push(kind);
    }
    Ok(kinds)
}

fn describe(kind: Kind, rng: &mut Rng) -> (&'static str, String, &'static str) {
    match kind {
        Kind::Pupil => {
            let letter = LETTERS[rng.usize(..LETTERS.len())];
            ("pupil", format!("{}{letter}", rng.u32(1..=GRADES)), "pupil")
        }
        Kind::Staff => match rng.u32(..10) {
            0 => ("staff", "administration".into(), "staff;service"),
            1 | 2 => ("staff", "technical staff".into(), "service"),
            _ => ("staff", "teachers".into(), "staff"),
        },
        Kind::Guardian => ("guardian", "parents".into(), "guardian"),
        Kind::Visitor => ("visitor", "visitors".into(), if rng.u32(..8) == 0 { "" } else { "visitor" }),
        Kind::Guest => ("guest", "building 18".into(), "guest"),
    }
}

/// A holder's state and validity. The years lie far off, so that the roster means the same for decades.
fn condition(kind: Kind, rng: &mut Rng) -> (&'static str, &'static str, &'static str) {
    match (rng.u32(..1000), kind) {
        (0..12, _) => ("blocked", "", ""),
        (12..30, _) => ("left", "", "2024-06-30"),
        (30..38, _) => ("deleted", "", ""),
        (38..46, _) => ("active", "2089-09-01", ""),
        (46..60, _) => ("active", "", "2025-05-31"),
        (60..110, _) | (_, Kind::Guest) => ("active", "2020-09-01", "2090-08-31"),
        (110..150, _) => ("active", "2020-09-01T07:30", "2090-06-01T18:00:30"),
        _ => ("active", "", ""),
    }
}

/// One of `choices`, each as often as its weight says.
pub(crate) fn weighted<T: Copy>(choices: &[(T, u32)], rng: &mut Rng) -> T {
    let total: u32 = choices.iter().map(|&(_, weight)| weight).sum();
    let mut left = rng.u32(..total);
    for &(choice, weight) in choices {
        if left < weight {
            return choice;
        }
        left -= weight;
    }
    choices[0].0
}

#[cfg(test)]
mod tests;
