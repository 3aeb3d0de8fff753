//! Decides who may pass, and speaks the reader protocol's gateway half. Sans-IO and deterministic.
//!
//! The core has no socket, clock, log or randomness: datagrams, time, keys and random bytes are passed in, one datagram
//! and a bounded list of effects come out. In the steady state of asks it allocates nothing.
//!
//! - [`View`] is a snapshot with its rules compiled for now ([`plan`]); [`decide()`] is the pure decision over it.
//! - [`Worker`] owns the sessions, replay windows and answers kept of the readers that are its own. Reader `r` belongs to
//!   worker `r % workers`, and a session's number names its worker, so that all state of a reader has one writer.
//! - A batch is opened first ([`Worker::open`]) and answered then ([`Worker::answer`]), so that what the decisions look at
//!   is fetched meanwhile; who wants a session ([`Worker::shake_hands`]) costs the most and comes last.
//! - [`World`] is what one batch of datagrams sees: it changes between batches, never within one, but for the
//!   [`Overlay`]: what operators order holds from the moment of the order.
//! - [`Fold`] is everything durable that the core knows, made of events; [`Safety`] is the part of it that must be known
//!   before the first answer. Neither is the worker's: they belong to who commits.
#![forbid(unsafe_code)]

mod asks;
mod commands;
pub mod decide;
mod exchange;
pub mod fold;
mod handshake;
pub mod keys;
pub mod limits;
pub mod orders;
pub mod output;
pub mod overlay;
pub mod plan;
mod pulse;
mod reader;
mod requests;
pub mod safety;
mod served;
mod session;
pub mod tally;
pub mod texts;
pub mod time;
pub mod timekeeper;
pub mod view;
pub mod worker;

pub use decide::{Decision, decide};
pub use fold::{Fold, Judge, ReportVerdict};
pub use keys::Keys;
pub use orders::{OverlayEntry, OverlayFull, Standing, StandingOrders};
pub use output::{CommandRefused, Decided, DropReason, Effect, Follows, Outcome, Output};
pub use overlay::Overlay;
pub use safety::Safety;
pub use tally::{Count, Counted, DecisionTally, Histogram, ReaderTally};
pub use texts::{Line, Texts};
pub use time::{ClockQuality, Now, Time, UnixSeconds};
pub use timekeeper::{Reading, Reckoned, Timekeeper, Word};
pub use view::View;
pub use worker::{Entropy, Opened, Opening, ReaderStatus, Worker, World};
