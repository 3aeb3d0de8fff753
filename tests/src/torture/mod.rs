//! The torture: everything that a box in a cupboard meets, in a random order, and the judgement of what it cost.
//!
//! A run is made of chapters, and each is a pure function of the run's seed and its number: [`plan`] draws the [`fault`]s and
//! their moments. A [`stage`] is a city on disks and networks of its own, under the load of true readers; an [`executor`] does
//! to it what the plan says, [`damage`] spoiling stores and [`witness`] reading beforehand what they hold. At the end
//! [`judge`] compares what readers were receipted with what the hub has, one by one; [`tally`] adds up and tells.

pub mod damage;
pub mod disks;
pub mod executor;
pub mod fault;
pub mod interrupt;
pub mod judge;
pub mod plan;
pub mod run;
pub mod stage;
pub mod tally;
pub mod witness;
