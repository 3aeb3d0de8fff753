//! The durable store of events until the hub has them.
//!
//! An [`Outbox`] keeps events as *blocks*, one or a few per group commit, and says [`Outbox::append`] is done only when
//! they would survive the loss of power. A block is a detail of storage and never an identity: events are named by epoch
//! and number (SPEC 14.1), chained by their hashes (SPEC 14.3), and their bytes never change. `FORMAT.md` beside this
//! crate says what lies on the disk.
//!
//! A store that is new, or not found exactly as it was left, is never gone on with: what is whole in it is kept and sent
//! on under its old identities, and a new epoch begins ([`Begun::NewEpoch`]). The first thing behind it is sled, used by
//! rules that were learnt by experiment; when that has failed too often, a plain segment log takes its place.
//!
//! Everything here blocks and belongs to one thread. Nothing reads a clock or draws randomness: new epochs' ids are passed
//! in.
#![forbid(unsafe_code)]

mod block;
mod carve;
mod check;
mod checksum;
mod error;
mod giving;
mod ground;
mod keeping;
mod ledger;
pub mod limits;
mod mark;
mod opening;
mod outbox;
mod place;
mod quarantine;
mod reading;
mod record;
mod reissue;
mod reserve;
mod resume;
mod retention;
mod salvage;
mod segment_log;
mod sled_store;
mod store;
mod survey;
pub mod two_generations;
mod types;
mod yard;

pub use error::{AppendError, OpenError, StoreError};
pub use outbox::Outbox;
pub use retention::{Old, Purging};
pub use survey::{EpochFound, Salvaged, Survey, SurveyError};
pub use types::{Begun, Bounds, EpochSummary, Head, Leg, NewEpochWhy, Opening, Resume, Run, Usage};

#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod full_disk_tests;
#[cfg(test)]
mod giving_tests;
#[cfg(test)]
mod history_tests;
#[cfg(test)]
mod lab_tests;
#[cfg(test)]
mod model_acts_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod opening_tests;
#[cfg(test)]
mod outbox_tests;
#[cfg(test)]
mod retention_tests;
#[cfg(test)]
mod rules_tests;
#[cfg(test)]
mod segment_log_tests;
#[cfg(test)]
mod unread_tests;
