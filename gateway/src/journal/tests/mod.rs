//! The journal alone: work in at its door, receipts and events out.

mod bound;
mod damage;
mod full_disk;
mod hub;
mod orders;
pub(super) mod rig;
mod rings;
mod taking;
