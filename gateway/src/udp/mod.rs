//! Readers over UDP: sockets, and the threads that serve them.

mod socket;
mod wake;
mod worker;

pub(crate) use socket::bind;
pub(crate) use worker::{Pool, Shared};
