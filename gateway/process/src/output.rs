//! What a command prints on standard output.

use std::io::{self, Write as _};
use std::path::Path;

use crate::failure::Failure;

/// Prints `text`. That whoever reads it has seen enough is no failure; a key or token that nobody took is asked for anew.
///
/// # Errors
/// [`Failure::Environment`] when standard output takes nothing.
pub fn print(text: &str) -> Result<(), Failure> {
    print_part(text).map(drop)
}

/// Prints a part of something longer; says whether somebody reads on.
///
/// # Errors
/// As [`print`].
pub fn print_part(text: &str) -> Result<bool, Failure> {
    is_read(io::stdout().write_all(text.as_bytes()))
}

/// Whether somebody still reads standard output, after what a write to it came to.
///
/// # Errors
/// As [`print`].
pub fn is_read(written: io::Result<()>) -> Result<bool, Failure> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true).map_err(|error| {
            Failure::at(Path::new("standard output"), "write", &error, "give it a place that takes what is printed")
        }),
    }
}
