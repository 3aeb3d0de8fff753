//! The control socket: how the command line reaches the running gateway. One JSON object a line, each way.

pub(crate) mod client;
mod server;
mod wire;

pub(crate) use server::Desk;
pub(crate) use wire::{Reply, Request, Status, UplinkStatus};
