//! Why the tool stops, classed by whose fault it is.

use core::fmt::Display;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use kalitka_snapshot::roster::RosterErrors;
use thiserror::Error;

#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// A file says what it must not.
    #[error("{0}")]
    Input(String),
    /// The roster is wrong.
    #[error("the roster is refused and nothing written:\n{0}")]
    Roster(#[from] RosterErrors),
    /// The system refuses.
    #[error("{0}")]
    System(String),
    /// The machine's clock is before 1970 or after 2106.
    #[error("the clock of this machine is wrong; set it, or give --generation")]
    Clock,
}

impl Failure {
    pub(crate) fn input(path: &Path, error: impl Display) -> Self {
        Self::Input(format!("{}: {error}", path.display()))
    }

    /// A file too large to be a snapshot is wrong input; all else that the system says is the system's.
    #[allow(clippy::needless_pass_by_value)] // as `map_err` hands it over
    pub(crate) fn system(path: &Path, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::FileTooLarge => Self::input(path, error),
            _ => Self::System(format!("{}: {error}", path.display())),
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        let of_the_system = match self {
            Self::Input(_) => false,
            Self::Roster(errors) => errors.of_the_system(),
            Self::System(_) | Self::Clock => true,
        };
        ExitCode::from(if of_the_system { 4 } else { 3 })
    }
}
