//! The clear outsides of datagrams: initiation, response and sealed datagram (SPEC 2, 4, 5).

use crate::limits::{DATAGRAM_MAX, DATAGRAM_MIN, HANDSHAKE_LEN, SEALED_HEADER_LEN, TAG_LEN};
use crate::wire::{Cursor, Malformed};
use crate::{ReaderId, SessionId, Stamp, VERSION};

const INITIATION: u8 = 1;
const RESPONSE: u8 = 2;
const SEALED: u8 = 3;

/// Bytes of a Noise message inside a handshake datagram: an ephemeral key, a sealed payload of 16 bytes, its tag.
pub const NOISE_LEN: usize = 32 + PAYLOAD_LEN + TAG_LEN;
/// Bytes of a handshake payload.
pub const PAYLOAD_LEN: usize = 16;
/// Bytes of a handshake datagram that its last sixteen, the tag, cover.
pub const TAGGED_LEN: usize = HANDSHAKE_LEN - TAG_LEN;

const _: () = assert!(16 + NOISE_LEN + TAG_LEN == HANDSHAKE_LEN);

/// A received datagram by its first byte, cut where its fields are; nothing in it is authentic yet.
#[derive(Debug)]
pub enum Datagram<'a> {
    /// A reader wants a session.
    Initiation(Handshake<'a>),
    /// The gateway gives one.
    Response(Handshake<'a>),
    /// Messages under the seal.
    Sealed(Sealed<'a>),
}

impl<'a> Datagram<'a> {
    /// Cuts `bytes`.
    ///
    /// # Errors
    /// [`Malformed`] when the length, type, version or a reserved field is wrong (SPEC 2.1 to 2.4).
    pub fn parse(bytes: &'a mut [u8]) -> Result<Self, Malformed> {
        if bytes.len() > DATAGRAM_MAX {
            return Err(Malformed::Trailing("datagram"));
        }
        let mut cursor = Cursor::new(bytes);
        let kind = cursor.u8("datagram type")?;
        if cursor.u8("version")? != VERSION {
            return Err(Malformed::Version);
        }
        cursor.reserved(2, "reserved")?;
        match kind {
            INITIATION => Handshake::parse(bytes).map(Self::Initiation),
            RESPONSE => Handshake::parse(bytes).map(Self::Response),
            SEALED => Sealed::parse(bytes).map(Self::Sealed),
            _ => Err(Malformed::UnknownType),
        }
    }
}

/// What anybody can read of a datagram; nothing of it is authentic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clear {
    /// A reader wants a session.
    Initiation {
        /// The reader.
        reader: ReaderId,
        /// Its stamp.
        stamp: Stamp,
    },
    /// The gateway gives one.
    Response {
        /// The reader.
        reader: ReaderId,
        /// The initiation's stamp.
        stamp: Stamp,
    },
    /// Messages under the seal.
    Sealed {
        /// The session.
        session: SessionId,
        /// The datagram's number in it.
        counter: u64,
    },
}

/// What stands in the clear of a datagram, or `None` when it is no datagram of this version (SPEC 2). It changes nothing, for
/// those who carry datagrams and cannot open them.
#[must_use]
pub fn clear(bytes: &[u8]) -> Option<Clear> {
    let mut cursor = Cursor::new(bytes);
    let kind = cursor.u8("datagram type").ok()?;
    let version = cursor.u8("version").ok()?;
    cursor.reserved(2, "reserved").ok()?;
    let (number, count) = (cursor.u32("number").ok()?, cursor.u64("count").ok()?);
    let is_handshake = bytes.len() == HANDSHAKE_LEN;
    match kind {
        _ if version != VERSION => None,
        INITIATION if is_handshake => Some(Clear::Initiation { reader: ReaderId(number), stamp: Stamp(count) }),
        RESPONSE if is_handshake => Some(Clear::Response { reader: ReaderId(number), stamp: Stamp(count) }),
        SEALED if (DATAGRAM_MIN..=DATAGRAM_MAX).contains(&bytes.len()) => {
            Some(Clear::Sealed { session: SessionId(number), counter: count })
        }
        _ => None,
    }
}

/// An initiation or a response: they are laid out alike.
#[derive(Debug)]
pub struct Handshake<'a> {
    bytes: &'a [u8; HANDSHAKE_LEN],
    /// The reader that wants the session.
    pub reader: ReaderId,
    /// The initiation's stamp, repeated in the response.
    pub stamp: Stamp,
}

impl<'a> Handshake<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let bytes: &[u8; HANDSHAKE_LEN] = bytes.try_into().map_err(|_| Malformed::Value("handshake length"))?;
        let mut cursor = Cursor::new(&bytes[4..16]);
        let reader = ReaderId(cursor.u32("reader")?);
        Ok(Self { bytes, reader, stamp: Stamp(cursor.u64("stamp")?) })
    }

    /// The Noise message.
    #[must_use]
    pub fn noise(&self) -> &'a [u8] {
        &self.bytes[16..TAGGED_LEN]
    }

    /// What the tag covers.
    #[must_use]
    pub fn tagged(&self) -> &'a [u8] {
        &self.bytes[..TAGGED_LEN]
    }

    /// The tag.
    #[must_use]
    pub fn tag(&self) -> &'a [u8] {
        &self.bytes[TAGGED_LEN..]
    }
}

/// Lays out an initiation around `noise`, its tag still zero.
#[must_use]
pub fn emit_initiation(reader: ReaderId, stamp: Stamp, noise: &[u8; NOISE_LEN]) -> [u8; HANDSHAKE_LEN] {
    emit_handshake(INITIATION, reader, stamp, noise)
}

/// Lays out a response around `noise`, its tag still zero.
#[must_use]
pub fn emit_response(reader: ReaderId, stamp: Stamp, noise: &[u8; NOISE_LEN]) -> [u8; HANDSHAKE_LEN] {
    emit_handshake(RESPONSE, reader, stamp, noise)
}

fn emit_handshake(kind: u8, reader: ReaderId, stamp: Stamp, noise: &[u8; NOISE_LEN]) -> [u8; HANDSHAKE_LEN] {
    let mut bytes = [0; HANDSHAKE_LEN];
    bytes[..4].copy_from_slice(&[kind, VERSION, 0, 0]);
    bytes[4..8].copy_from_slice(&reader.0.to_le_bytes());
    bytes[8..16].copy_from_slice(&stamp.0.to_le_bytes());
    bytes[16..TAGGED_LEN].copy_from_slice(noise);
    bytes
}

/// A sealed datagram.
#[derive(Debug)]
pub struct Sealed<'a> {
    /// The session under whose keys it is sealed.
    pub session: SessionId,
    /// Its number in its session and direction, from 0.
    pub counter: u64,
    /// The clear header, which the seal covers.
    pub header: &'a [u8; SEALED_HEADER_LEN],
    /// Ciphertext and tag, to be opened in place.
    pub body: &'a mut [u8],
}

impl<'a> Sealed<'a> {
    fn parse(bytes: &'a mut [u8]) -> Result<Self, Malformed> {
        let (header, body) =
            bytes.split_first_chunk_mut::<SEALED_HEADER_LEN>().ok_or(Malformed::Truncated("sealed header"))?;
        if body.len() < TAG_LEN {
            return Err(Malformed::Truncated("seal"));
        }
        let header = &*header;
        let mut cursor = Cursor::new(&header[4..]);
        let session = SessionId(cursor.u32("session")?);
        Ok(Self { session, counter: cursor.u64("counter")?, header, body })
    }
}

/// The clear header of sealed datagram `counter` of `session`.
#[must_use]
pub fn sealed_header(session: SessionId, counter: u64) -> [u8; SEALED_HEADER_LEN] {
    let mut header = [0; SEALED_HEADER_LEN];
    header[..4].copy_from_slice(&[SEALED, VERSION, 0, 0]);
    header[4..8].copy_from_slice(&session.0.to_le_bytes());
    header[8..].copy_from_slice(&counter.to_le_bytes());
    header
}

/// The AES-GCM nonce of a sealed datagram: four zero bytes, then the counter as it stands in the header (SPEC 5.3).
#[must_use]
pub fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce
}
