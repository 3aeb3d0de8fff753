//! Snapshots: from a file in the inbox into force, off the workers.

mod adopter;
mod inbox;
mod shelf;
mod staleness;

pub(crate) use adopter::{Adopter, Order, Reply, Standing, Summary};
pub(crate) use shelf::Shelf;
