//! Plays readers against a gateway and checks every answer.
//!
//! [`roster`] invents a school, [`oracle`] says what is right by it, [`deck`] draws cards to show, [`arrivals`] says when,
//! [`fleet`] plays the readers on sockets, [`play`] moves it all, [`tally`] keeps the score and [`summary`] tells it. [`run`]
//! is the whole of that, [`siege`] adds a flood of junk to it, [`demo`] sets up a gateway of its own first. Where the gateway is
//! to be the limit a [`volley`] asks instead, [`barrage`] by barrage, and [`versus`] holds what it shows against a bare
//! [`echo`]. A [`relay`] is a bad network between any two, and a
//! [`serial`] line stands between a reader and the gateway's port; on another, devices speak [`osdp`]. It shares the protocol with what it measures and nothing else.
#![forbid(unsafe_code)]

pub mod arrivals;
pub mod barrage;
pub mod book;
pub mod compare;
pub mod cpu;
pub mod deck;
pub mod demo;
pub mod echo;
pub mod fleet;
pub mod hub;
pub mod keys;
pub mod limits;
pub mod oracle;
pub mod osdp;
pub mod output;
pub mod play;
pub mod relay;
pub mod roster;
pub mod run;
pub mod serial;
pub mod siege;
pub mod site;
pub mod stages;
pub mod summary;
pub mod svg;
pub mod tally;
mod turnstile;
pub mod versus;
pub mod volley;
