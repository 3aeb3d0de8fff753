//! What is wrong with a roster, where, and what to do.

use core::fmt;
use std::io;
use std::path::Path;

use crate::limits::ERRORS_LISTED_MAX;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RosterError {
    /// The file's name.
    pub file: &'static str,
    /// The line, from 1; 0 when it is the whole file.
    pub line: u64,
    /// From 1: the field in a CSV file, the character in `building.toml`; 0 when it is the whole line.
    pub column: u64,
    /// The column's name or the key's path; may be empty.
    pub field: String,
    /// What stands there; may be empty.
    pub value: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for RosterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if self.column > 0 {
            write!(f, ":{}", self.column)?;
        }
        if !self.field.is_empty() {
            write!(f, " ({})", self.field)?;
        }
        if !self.value.is_empty() {
            write!(f, " `{}`", self.value)?;
        }
        write!(f, ": {}; {}", self.what, self.remedy)
    }
}

/// All that is wrong with a roster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RosterErrors {
    errors: Vec<RosterError>,
    unlisted: usize,
    of_the_system: bool,
}

impl RosterErrors {
    /// The errors: `building.toml` first, then `people.csv`, then `cards.csv`; at most [`ERRORS_LISTED_MAX`].
    #[must_use]
    pub fn listed(&self) -> &[RosterError] {
        &self.errors
    }

    /// How many there are beyond those listed.
    #[must_use]
    pub const fn unlisted(&self) -> usize {
        self.unlisted
    }

    /// Whether a file could not be read at all: missing, not permitted, or the disk fails.
    #[must_use]
    pub const fn of_the_system(&self) -> bool {
        self.of_the_system
    }
}

impl fmt::Display for RosterErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in &self.errors {
            writeln!(f, "{error}")?;
        }
        if self.unlisted > 0 {
            writeln!(f, "and {} more", self.unlisted)?;
        }
        let all = self.errors.len() + self.unlisted;
        write!(f, "{all} error{} in the roster", if all == 1 { "" } else { "s" })
    }
}

impl std::error::Error for RosterErrors {}

/// The errors met so far.
#[derive(Debug, Default)]
pub(super) struct Faults {
    errors: Vec<RosterError>,
    unlisted: usize,
    of_the_system: bool,
}

impl Faults {
    pub(super) fn add(&mut self, mut error: RosterError) {
        if self.errors.len() < ERRORS_LISTED_MAX {
            error.value = shown(&error.value);
            self.errors.push(error);
        } else {
            self.unlisted += 1;
        }
    }

    /// Counts an error when no more are listed; finding out where it stands would be in vain.
    pub(super) const fn skip(&mut self) -> bool {
        let full = self.errors.len() >= ERRORS_LISTED_MAX;
        self.unlisted += full as usize;
        full
    }

    /// An error of a whole file.
    pub(super) fn of_file(&mut self, file: &'static str, what: impl Into<String>, remedy: &str) {
        self.add(RosterError {
            file,
            line: 0,
            column: 0,
            field: String::new(),
            value: String::new(),
            what: what.into(),
            remedy: remedy.into(),
        });
    }

    /// What the system says of a file.
    pub(super) fn of_system(&mut self, folder: &Path, file: &'static str, error: &io::Error) {
        self.of_the_system = true;
        let what = format!("cannot be read from {}: {error}", folder.display());
        self.of_file(file, what, "put a regular, readable file there");
    }

    /// `good` when there were no errors.
    pub(super) fn finish<T>(self, good: Option<T>) -> Result<T, RosterErrors> {
        match good {
            Some(good) if self.errors.is_empty() => Ok(good),
            _ => Err(RosterErrors { errors: self.errors, unlisted: self.unlisted, of_the_system: self.of_the_system }),
        }
    }
}

/// A value short enough for a line, its control characters made visible.
fn shown(value: &str) -> String {
    const SHOWN_MAX: usize = 60;
    let mut text: String = value.chars().take(SHOWN_MAX).flat_map(visible).collect();
    if value.chars().nth(SHOWN_MAX).is_some() {
        text.push('…');
    }
    text
}

fn visible(character: char) -> impl Iterator<Item = char> {
    let escaped = character.is_control();
    let plain = (!escaped).then_some(character);
    plain.into_iter().chain(escaped.then(|| character.escape_default()).into_iter().flatten())
}
