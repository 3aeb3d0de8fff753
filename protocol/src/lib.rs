//! Every byte that a reader, the gateway and the hub must agree on.
//!
//! `SPEC.md` beside this crate is normative; each clause of it has a test here. All layouts are written by hand,
//! little-endian and versioned. The crate is `no_std` and allocation-free, and has no clock, socket or source of
//! randomness of its own: time, keys and random bytes are passed in, bytes come out. Firmware of a reader links it as it
//! stands.
//!
//! From the bottom up: [`wire`] reads and writes fields, [`credential`] says what a card is, [`message`] and [`datagram`]
//! lay out what travels, [`frame`] carries it over serial lines, [`handshake`] and [`seal`] protect it, [`replay`] remembers what has been seen, and [`reader`]
//! is the reader's whole half of the protocol. Above them, [`event`] is the record of what happened and [`upstream`] how
//! it travels from gateway to hub. Beside them, [`osdp`] speaks to readers that speak OSDP v2.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod credential;
pub mod datagram;
pub mod event;
pub mod frame;
pub mod handshake;
pub mod limits;
pub mod message;
pub mod osdp;
pub mod reader;
pub mod reason;
pub mod replay;
pub mod seal;
pub mod upstream;
pub mod wire;

/// The protocol's version, the second byte of every datagram (SPEC 2.2).
///
/// A change that an older peer would misread raises it. Adding a message kind does not: unknown kinds are skipped.
pub const VERSION: u8 = 1;

/// A reader's number in its building, 1 to 2^32 - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReaderId(pub u32);

/// The random number that a reader draws at each start; with the request's number it identifies an ask (SPEC 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BootId(pub u64);

/// The random number born with a reader's report memory; with the report's number it identifies a report (SPEC 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogId(pub u64);

/// The random number of a gateway's store, never 0; with building and number it identifies an event (SPEC 14.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EpochId(pub u64);

/// A session's number, chosen by the gateway; opaque to the reader (SPEC 4.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(pub u32);

/// The strictly growing stamp of an initiation: boot counter in the high half, count since boot in the low (SPEC 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(pub u64);

impl Stamp {
    /// The stamp of initiation `count` (from 0) in boot `boot` (kept in the reader's flash).
    #[must_use]
    pub const fn new(boot: u32, count: u32) -> Self {
        Self(((boot as u64) << 32) | count as u64)
    }
}
