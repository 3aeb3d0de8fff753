//! Decides who may pass, and speaks the reader protocol's gateway half. Sans-IO and deterministic.
//!
//! The core has no socket, clock, log or randomness: datagrams, time, keys and random bytes are passed in, one datagram
//! and a bounded list of effects come out. In the steady state of asks it allocates nothing.
//!
//! - [`View`] is a snapshot with its rules compiled for now ([`plan`]); [`decide()`] is the pure decision over it.
//! - [`Worker`] owns the sessions, replay windows and answers kept of the readers that are its own. Reader `r` belongs to
//!   worker `r % workers`, and a session's number names its worker, so that all state of a reader has one writer.
//! - [`World`] is what one batch of datagrams sees: it changes between batches, never within one.
#![forbid(unsafe_code)]

mod asks;
pub mod decide;
mod exchange;
mod handshake;
pub mod keys;
pub mod limits;
pub mod output;
pub mod plan;
mod reader;
mod session;
pub mod texts;
pub mod time;
pub mod view;
pub mod worker;

pub use decide::{Decision, decide};
pub use keys::Keys;
pub use output::{Decided, DropReason, Effect, Outcome, Output};
pub use texts::{Line, Texts};
pub use time::{Now, UnixSeconds};
pub use view::View;
pub use worker::{Entropy, ReaderStatus, Worker, World};
