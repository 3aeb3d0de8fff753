//! The durable store of events until the hub has them.
#![forbid(unsafe_code)]
