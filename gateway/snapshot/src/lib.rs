//! The signed snapshot.
pub mod model;
