//! The journal: what was decided and reported becomes events, events become durable, and only then is anybody told.
//!
//! One thread has it all: the outbox, the fold of what it holds, the commands under way. Workers hand in what happened by
//! bounded rings ([`Recorder`]) and never wait; what comes within one commit shares its sync. A report is receipted when its
//! event would survive the loss of power, and not before.

mod batch;
mod checkpoint;
mod commands;
mod commit;
mod door;
mod header;
mod obey;
mod record;
mod recorder;
mod rest;
mod retention;
mod ring;
mod safety;
mod show;
mod start;
mod status;
mod store;
mod uplink;
mod writer;

pub(crate) use door::{Door, Work};
pub(crate) use record::Holder;
pub(crate) use recorder::Recorder;
pub(crate) use ring::{Ring, rings};
pub(crate) use safety::{Kept, SafetyFile};
pub(crate) use start::{Setup, machine_id};
pub(crate) use status::{JournalStatus, JournalTally};
pub(crate) use writer::Journal;

#[cfg(test)]
mod tests;
