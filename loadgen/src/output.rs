//! The only place that prints: results to standard output, progress and errors to standard error.

use std::io::{self, Write};

/// Writes a line of the result. A reader that has gone away (`| head`) is no error.
pub fn say(line: &str) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// Writes a line of progress, or of an error.
pub fn note(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
