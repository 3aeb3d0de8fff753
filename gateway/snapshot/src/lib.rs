//! The signed snapshot of one building: everything that a decision needs, in one immutable file.
//!
//! A publisher reads a [`roster`], [`build`]s a snapshot of it and [`sign`]s it; a gateway reads the file once into
//! [`AlignedBytes`], [`Snapshot::verify`]s those bytes and looks credentials up in them as they lie. `FORMAT.md` beside
//! this crate is normative for every byte.
//!
//! From the bottom up: [`model`] says what the archive holds, `index` lays out and probes the table of credentials,
//! `header` is the file's first 256 bytes, `pack` and `sign` make a file, `view` and `verify` accept one.

mod build;
mod file;
mod flaw;
mod header;
mod index;
mod keys;
pub mod limits;
pub mod model;
mod pack;
mod refused;
pub mod roster;
mod verify;
mod view;

pub use build::{Warning, build};
pub use file::{AlignedBytes, write_atomically};
pub use flaw::Flaw;
pub use header::{FORMAT, HEADER_LEN, Header, SIGNATURE_LEN};
pub use index::{home_of, key_hash};
pub use keys::{KeyError, PublisherKey};
pub use pack::{BuildError, Edition, SignError, build_model, sign};
pub use refused::Refused;
pub use view::Snapshot;

#[cfg(test)]
mod tests;
