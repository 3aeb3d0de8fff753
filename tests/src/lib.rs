//! What the whole-system tests and the house rules stand on.
//!
//! [`source`] and [`tree`] read the repository as the house rules need it. [`school`] invents rosters that sit on every
//! border, [`random`] says by which seed, [`mutate`] spoils good input. [`process`] runs the real programs, [`wait`] awaits what
//! they do.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

pub mod mutate;
pub mod process;
pub mod random;
pub mod school;
pub mod site;
pub mod source;
pub mod tree;
pub mod wait;
