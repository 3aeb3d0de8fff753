//! The connection of a gateway to its hub.
#![forbid(unsafe_code)]
