//! The roster as it stands in its files, read for the oracle alone.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Why a roster cannot be judged by. The oracle trusts its roster: it is `kalitka-snapshot` that explains mistakes.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// `building.toml` is not what it should be.
    #[error("building.toml: {0}")]
    Building(#[from] toml::de::Error),
    /// A row is not what it should be.
    #[error("{file}: {source}")]
    Row {
        /// The file's name.
        file: &'static str,
        /// Where and why.
        source: csv::Error,
    },
    /// Something is named that is nowhere described, or a value cannot be understood.
    #[error("{what} {value:?} is unknown or cannot be understood")]
    Value {
        /// What it should be.
        what: &'static str,
        /// What it is.
        value: String,
    },
}

impl ReadError {
    pub(super) fn value(what: &'static str, value: &str) -> Self {
        Self::Value { what, value: value.to_owned() }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct BuildingFile {
    pub(super) building: Building,
    #[serde(default)]
    pub(super) portal: Vec<Portal>,
    #[serde(default)]
    pub(super) reader: Vec<Reader>,
    #[serde(default)]
    pub(super) schedule: Vec<Schedule>,
    #[serde(default)]
    pub(super) access_level: Vec<AccessLevel>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Building {
    pub(super) number: u32,
    pub(super) time_zone: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mode {
    #[default]
    Normal,
    Closed,
    Free,
    EntryOnly,
    ExitOnly,
}

#[derive(Debug, Deserialize)]
pub(super) struct Portal {
    pub(super) name: String,
    #[serde(default)]
    pub(super) mode: Mode,
    #[serde(default)]
    pub(super) modes: Vec<ModeRule>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ModeRule {
    pub(super) schedule: String,
    pub(super) mode: Mode,
}

#[derive(Debug, Deserialize)]
pub(super) struct Reader {
    pub(super) number: u32,
    pub(super) portal: String,
    pub(super) shapes: Vec<String>,
    #[serde(default = "both")]
    pub(super) directions: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Schedule {
    pub(super) name: String,
    #[serde(default)]
    pub(super) intervals: Vec<Interval>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Interval {
    pub(super) days: Vec<String>,
    pub(super) from: String,
    pub(super) to: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct AccessLevel {
    pub(super) name: String,
    #[serde(default)]
    pub(super) grants: Vec<LevelGrant>,
}

#[derive(Debug, Deserialize)]
pub(super) struct LevelGrant {
    pub(super) portals: Vec<String>,
    pub(super) schedule: Option<String>,
    #[serde(default = "both")]
    pub(super) directions: Vec<String>,
}

fn both() -> Vec<String> {
    vec!["entry".into(), "exit".into()]
}

#[derive(Debug, Deserialize)]
pub(super) struct PersonRow {
    pub(super) holder: String,
    pub(super) state: String,
    pub(super) access_levels: String,
    pub(super) valid_from: String,
    pub(super) valid_to: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct CardRow {
    pub(super) card: String,
    pub(super) holder: String,
    pub(super) state: String,
    pub(super) valid_from: String,
    pub(super) valid_to: String,
    pub(super) blocked_until: String,
}

pub(super) fn building(dir: &Path) -> Result<BuildingFile, ReadError> {
    let file = dir.join("building.toml");
    let text = fs::read_to_string(&file).map_err(|source| ReadError::File { file, source })?;
    Ok(toml::from_str(&text)?)
}

pub(super) fn rows<T: for<'a> Deserialize<'a>>(dir: &Path, file: &'static str) -> Result<Vec<T>, ReadError> {
    let of_row = |source| ReadError::Row { file, source };
    let mut reader = csv::Reader::from_path(dir.join(file)).map_err(of_row)?;
    reader.deserialize().collect::<Result<_, _>>().map_err(of_row)
}
