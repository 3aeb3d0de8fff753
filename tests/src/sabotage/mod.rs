//! Sabotage: faults put into the code on purpose, each of which a named test must notice.
//!
//! A test that cannot fail proves nothing. `tests/sabotage.toml` lists the promises of the design, for each one line that
//! breaks it, and the test that has to go red. A [`Workshop`] is a scratch copy of the repository in which they are tried
//! one by one; the list itself is held against the code by a test, so that it cannot rot.

mod fault;
mod verdict;
mod workshop;

pub use fault::{Fault, Suite, faults};
pub use verdict::Verdict;
pub use workshop::Workshop;
