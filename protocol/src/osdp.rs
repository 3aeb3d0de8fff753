//! OSDP v2 (IEC 60839-11-5), as far as docs/osdp.md says that it is spoken: a control panel's half, and a device's.
//!
//! Sans-IO like the rest of this crate: time and random bytes are passed in, frames and events come out. From the bottom up:
//! [`frame`] lays out what travels, [`deframer`] finds frames in a stream of bytes, [`command`] and [`reply`] say what they
//! mean, [`secure`] protects them, [`device`] is one device as its control panel sees it, and [`bus`] shares one line among
//! several. [`peripheral`] is the other side: what a device answers.

pub mod bus;
pub mod card;
pub mod command;
pub mod deframer;
pub mod device;
pub mod fault;
pub mod frame;
pub mod peripheral;
pub mod reply;
pub mod secure;

pub use bus::{Bus, Event, Line, Step};
pub use command::{Act, Command};
pub use deframer::Deframer;
pub use device::{Device, State, What};
pub use fault::{Alarm, Fault};
pub use frame::{Address, Block, Check, Frame, Sequence};
pub use peripheral::Peripheral;
pub use reply::Reply;
pub use secure::Scbk;
