//! Readers over UDP: sockets, and the threads that serve them and what comes over serial lines.

mod batch;
mod deliver;
mod effects;
mod lines;
mod places;
mod pool;
mod post;
mod socket;
mod steering;
mod wake;
mod worker;

pub(crate) use batch::Sent;
pub(crate) use lines::{Inlet, Letter, Lines};
pub(crate) use pool::Pool;
pub(crate) use post::{Post, Posts};
pub(crate) use socket::{Sockets, open};
pub(crate) use worker::Shared;

#[cfg(test)]
mod tests;
