//! Why a command ends with another status than 0, by whose fault it is.

use std::fmt::Display;
use std::io;
use std::path::Path;

/// A command's failure. The text says what is wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// What the user gave is wrong: configuration, key file, snapshot, reader number.
    #[error("{0}")]
    Input(String),
    /// The machine does not give what is needed: a port, a file, a permission.
    #[error("{0}")]
    Environment(String),
    /// The program broke its own promise.
    #[error("{0}")]
    Defect(String),
}

impl Failure {
    /// The process's exit status. Wrong usage is 2, by `clap`.
    #[must_use]
    pub const fn exit_status(&self) -> u8 {
        match self {
            Self::Defect(_) => 1,
            Self::Input(_) => 3,
            Self::Environment(_) => 4,
        }
    }

    /// The machine refused to do `what` with `path`; `remedy` says what to do about it.
    #[must_use]
    pub fn at(path: &Path, what: impl Display, error: &io::Error, remedy: impl Display) -> Self {
        Self::Environment(format!("{}: cannot {what}: {error}; {remedy}", path.display()))
    }
}
