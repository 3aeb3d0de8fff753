//! Plays readers against a gateway and checks every answer.
//!
//! [`roster`] invents a school, [`oracle`] says what is right by it, [`deck`] draws cards to show, [`arrivals`] says when,
//! [`fleet`] plays the readers on sockets, [`play`] moves it all, [`tally`] keeps the score and [`summary`] tells it. [`run`]
//! is the whole of that, [`demo`] sets up a gateway of its own first. It shares the protocol with what it measures and nothing else.
#![forbid(unsafe_code)]

pub mod arrivals;
pub mod book;
pub mod compare;
pub mod deck;
pub mod demo;
pub mod fleet;
pub mod hub;
pub mod keys;
pub mod limits;
pub mod oracle;
pub mod output;
pub mod play;
pub mod roster;
pub mod run;
pub mod stages;
pub mod summary;
pub mod tally;
