//! Datagrams that a gateway must refuse, made from what an eavesdropper has.

use std::io;

use fastrand::Rng;
use kalitka_protocol::datagram::{NOISE_LEN, emit_initiation, sealed_header};
use kalitka_protocol::limits::{DATAGRAM_MAX, HANDSHAKE_LEN, SEALED_HEADER_LEN, TAG_LEN};
use kalitka_protocol::{ReaderId, SessionId, Stamp, VERSION};

use crate::limits::FLOOD_TRAIN_MAX;

/// Kinds of datagrams that a gateway must refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Junk {
    /// Sealed in a session that there is not.
    UnknownSession,
    /// Too short for a seal or an initiation, or too long for the protocol.
    WrongLength,
    /// For a living session, with a new counter and a tag that does not fit.
    WrongTag,
    /// A datagram of a living session once more.
    Replayed,
    /// An initiation in the name of a reader, with a new stamp and a tag that does not fit.
    ForgedInitiation,
    /// The initiation of a living session once more.
    RepeatedInitiation,
    /// Another version of the protocol, or no known type.
    WrongVersion,
    /// Random bytes.
    Random,
}

impl Junk {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::UnknownSession,
        Self::WrongLength,
        Self::WrongTag,
        Self::Replayed,
        Self::ForgedInitiation,
        Self::RepeatedInitiation,
        Self::WrongVersion,
        Self::Random,
    ];

    /// The name on the command line and in reports.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::UnknownSession => "unknown-session",
            Self::WrongLength => "wrong-length",
            Self::WrongTag => "wrong-tag",
            Self::Replayed => "replayed",
            Self::ForgedInitiation => "forged-initiation",
            Self::RepeatedInitiation => "repeated-initiation",
            Self::WrongVersion => "wrong-version",
            Self::Random => "random",
        }
    }
}

/// What an eavesdropper knows of one reader's session.
#[derive(Clone, Debug)]
pub struct Prey {
    /// The reader.
    pub reader: ReaderId,
    /// Its session.
    pub session: SessionId,
    /// The datagram that began the session.
    pub initiation: [u8; HANDSHAKE_LEN],
    /// Sealed datagrams that the reader has sent in it.
    pub sealed: Vec<Vec<u8>>,
}

impl Prey {
    /// Whether there is a datagram with an ask to send again.
    #[must_use]
    pub fn has_asked(&self) -> bool {
        self.sealed.iter().any(|datagram| datagram.len() == LEN)
    }
}

/// Bytes of an ask's datagram, which most junk is as long as.
const LEN: usize = super::lane::datagram_len(1);
/// Different datagrams of each kind; a flood sends them again and again.
const KEPT: usize = 512;
/// Counters of junk begin so far beyond the ones that readers will use meanwhile.
const AHEAD: u64 = 1 << 24;
/// Stamps of forged initiations lie so far beyond the reader's own: 256 starts of it.
const STAMPS_AHEAD: u64 = 1 << 40;

/// Datagrams of one length, to go out in trains.
pub(super) struct Lot {
    pub(super) len: usize,
    pub(super) bytes: Vec<u8>,
}

/// The lots of `kind`, made of `prey`.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] when the kind needs what nobody has sent.
pub(super) fn lots(kind: Junk, prey: &[Prey], rng: &mut Rng) -> io::Result<Vec<Lot>> {
    let nobody = || io::Error::new(io::ErrorKind::InvalidInput, format!("{}: no reader has sent such", kind.label()));
    let lot = |&len: &usize| {
        let datagrams = (0..KEPT).map(|place| datagram(kind, len, place, prey, rng)).collect::<Option<Vec<_>>>();
        Ok(Lot { len, bytes: datagrams.ok_or_else(nobody)?.concat() })
    };
    lens(kind).iter().map(lot).collect()
}

/// The lengths of a kind's datagrams.
const fn lens(kind: Junk) -> &'static [usize] {
    match kind {
        Junk::WrongLength => &[SEALED_HEADER_LEN + TAG_LEN - 1, HANDSHAKE_LEN - 1, DATAGRAM_MAX + 1],
        Junk::ForgedInitiation | Junk::RepeatedInitiation => &[HANDSHAKE_LEN],
        Junk::UnknownSession | Junk::WrongTag | Junk::Replayed | Junk::WrongVersion | Junk::Random => &[LEN],
    }
}

/// Datagram `place` of the lot of `kind` and `len`; `None` when it needs what nobody has sent.
fn datagram(kind: Junk, len: usize, place: usize, prey: &[Prey], rng: &mut Rng) -> Option<Vec<u8>> {
    // A train is of one reader: the kernel gives all of it to the worker that the first of it belongs to.
    let any = || prey.get(place / FLOOD_TRAIN_MAX % prey.len().max(1));
    Some(match kind {
        Junk::UnknownSession => {
            let is_strange = |session: &SessionId| prey.iter().all(|prey| prey.session != *session);
            let session = std::iter::repeat_with(|| SessionId(rng.u32(..))).find(is_strange)?;
            sealed(session, rng.u64(..AHEAD), len, rng)
        }
        Junk::WrongLength if len == HANDSHAKE_LEN - 1 => any()?.initiation[..len].to_vec(),
        Junk::WrongLength => sealed(SessionId(rng.u32(..)), rng.u64(..AHEAD), len, rng),
        Junk::WrongTag => sealed(any()?.session, AHEAD + place as u64, len, rng),
        Junk::Replayed => {
            let heard = || prey.iter().flat_map(|prey| &prey.sealed).filter(|datagram| datagram.len() == len);
            heard().nth(place % heard().count().max(1))?.clone()
        }
        Junk::ForgedInitiation => forged(any()?, place as u64, rng),
        Junk::RepeatedInitiation => any()?.initiation.to_vec(),
        Junk::WrongVersion => {
            let mut bytes = sealed(SessionId(rng.u32(..)), rng.u64(..AHEAD), len, rng);
            // No known type and no known version, in turn.
            bytes[place % 2] = if place.is_multiple_of(2) { rng.u8(4..) } else { rng.u8(VERSION + 1..) };
            bytes
        }
        Junk::Random => random(len, rng),
    })
}

/// An initiation in the name of `prey` with a stamp that its reader has not come to.
fn forged(prey: &Prey, ahead: u64, rng: &mut Rng) -> Vec<u8> {
    let (mut noise, mut stamp) = ([0; NOISE_LEN], [0; 8]);
    rng.fill(&mut noise);
    stamp.copy_from_slice(&prey.initiation[8..16]);
    let stamp = Stamp(u64::from_le_bytes(stamp) + STAMPS_AHEAD + ahead);
    let mut bytes = emit_initiation(prey.reader, stamp, &noise).to_vec();
    rng.fill(&mut bytes[HANDSHAKE_LEN - TAG_LEN..]);
    bytes
}

/// A sealed datagram's header and random bytes behind it, `len` in all.
fn sealed(session: SessionId, counter: u64, len: usize, rng: &mut Rng) -> Vec<u8> {
    let mut bytes = random(len, rng);
    let header = sealed_header(session, counter);
    let head = header.len().min(len);
    bytes[..head].copy_from_slice(&header[..head]);
    bytes
}

fn random(len: usize, rng: &mut Rng) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rng.fill(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests;
