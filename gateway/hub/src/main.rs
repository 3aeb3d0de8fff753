//! The hub: receives what gateways recorded, keeps each event once, and hands it on.
#![forbid(unsafe_code)]

fn main() {}
