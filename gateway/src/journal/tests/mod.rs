//! The journal alone: work in at its door, receipts and events out.

mod damage;
mod hub;
mod orders;
pub(super) mod rig;
mod rings;
mod taking;
