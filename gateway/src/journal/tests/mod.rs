//! The journal alone: work in at its door, receipts and events out.

mod hub;
mod orders;
mod rig;
mod rings;
mod taking;
