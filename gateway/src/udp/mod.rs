//! Readers over UDP: sockets, and the threads that serve them.

mod effects;
mod post;
mod socket;
mod wake;
mod worker;

pub(crate) use post::{Post, Posts};
pub(crate) use socket::{Sockets, bind};
pub(crate) use worker::{Pool, Shared};
