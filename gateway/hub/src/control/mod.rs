//! The control socket: how the command line reaches the running hub. One JSON object a line, each way; a list is a line
//! for each of its members and one that ends it.

pub(crate) mod client;
mod desk;
mod server;
mod wire;

pub(crate) use desk::Desk;
pub(crate) use server::attend;
pub(crate) use wire::Request;
