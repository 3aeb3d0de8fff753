//! How a box gets its certificate (SPEC 15.14).

use sha2::{Digest, Sha256};
use zeroize::Zeroize;

use super::whole;
use crate::limits::{CERTIFICATE_LEN_MAX, PINNED_KEYS_MAX};
use crate::wire::{Cursor, Malformed, NoRoom, Writer};

/// What a token's text begins with.
const TOKEN_PREFIX: &[u8] = b"kalitka1-";
/// Bytes of a token's secret.
const SECRET_LEN: usize = 16;
/// Characters of a token's text.
pub const TOKEN_TEXT_LEN: usize = TOKEN_PREFIX.len() + 2 * (SECRET_LEN + 32);

/// Codes of a refused enrolment (SPEC 15.14).
pub mod refusal {
    /// The hub has given out no such token.
    pub const TOKEN_UNKNOWN: u8 = 1;
    /// It has been used.
    pub const TOKEN_USED: u8 = 2;
    /// It has expired.
    pub const TOKEN_EXPIRED: u8 = 3;
    /// It is another building's.
    pub const OTHER_BUILDING: u8 = 4;
    /// The request is malformed.
    pub const MALFORMED: u8 = 5;
    /// The hub takes nothing now.
    pub const NOT_NOW: u8 = 6;
}

/// What an operator carries from the hub to a box: a secret that is good once, and by what the box knows the hub.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// The secret.
    pub secret: [u8; SECRET_LEN],
    /// SHA-256 of the hub's CA certificate.
    pub ca: [u8; 32],
}

impl core::fmt::Debug for Token {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl Token {
    /// The token of `secret` for whoever trusts the CA certificate `ca` (DER).
    #[must_use]
    pub fn new(secret: [u8; SECRET_LEN], ca: &[u8]) -> Self {
        Self { secret, ca: Sha256::digest(ca).into() }
    }

    /// The token that `text` is.
    ///
    /// # Errors
    /// [`Malformed`] when it is none; what was wrong, and never what it said.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let hex = text.as_bytes().strip_prefix(TOKEN_PREFIX).ok_or(Malformed::Value("token"))?;
        if text.len() != TOKEN_TEXT_LEN {
            return Err(Malformed::Value("token length"));
        }
        let mut token = Self { secret: [0; SECRET_LEN], ca: [0; 32] };
        let bytes = token.secret.iter_mut().chain(&mut token.ca);
        for (byte, digits) in bytes.zip(hex.chunks_exact(2)) {
            let [high, low] = [digits.first(), digits.last()].map(|digit| digit.copied().and_then(value_of));
            *byte = high.zip(low).map(|(high, low)| high << 4 | low).ok_or(Malformed::Value("token"))?;
        }
        Ok(token)
    }

    /// Its text: ASCII, lower case.
    #[must_use]
    pub fn to_text(&self) -> [u8; TOKEN_TEXT_LEN] {
        let mut text = [0; TOKEN_TEXT_LEN];
        let (prefix, hex) = text.split_at_mut(TOKEN_PREFIX.len());
        prefix.copy_from_slice(TOKEN_PREFIX);
        for (digits, byte) in hex.chunks_exact_mut(2).zip(self.secret.iter().chain(&self.ca)) {
            digits.copy_from_slice(&[digit_of(byte >> 4), digit_of(byte & 15)]);
        }
        text
    }

    /// Whether `certificate` (DER) is the CA certificate that it names.
    #[must_use]
    pub fn is_of(&self, certificate: &[u8]) -> bool {
        self.ca == <[u8; 32]>::from(Sha256::digest(certificate))
    }
}

const fn value_of(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

const fn digit_of(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + value - 10 }
}

/// A certificate, please. 22 bytes and the request (SPEC 15.14).
#[derive(Clone, PartialEq, Eq)]
pub struct EnrolRequest<'a> {
    /// The token's secret.
    pub secret: [u8; SECRET_LEN],
    /// The building that the box is to serve.
    pub building: u32,
    /// The request for a certificate, PKCS#10 in DER.
    pub csr: &'a [u8],
}

impl core::fmt::Debug for EnrolRequest<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "EnrolRequest(building {}, {} bytes)", self.building, self.csr.len())
    }
}

impl Drop for EnrolRequest<'_> {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl<'a> EnrolRequest<'a> {
    /// The request that `body` is.
    ///
    /// # Errors
    /// [`Malformed`] names the first field that is cut off or out of its range.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        whole(body, "enrol", |cursor| {
            let secret = cursor.array("token secret")?;
            let building = cursor.u32_from_1("building")?;
            Ok(Self { secret, building, csr: der(cursor, "certificate request")? })
        })
    }

    /// Writes the body behind what `out` holds.
    ///
    /// # Errors
    /// [`NoRoom`] when it does not fit, or the request is empty or longer than [`CERTIFICATE_LEN_MAX`].
    pub fn emit(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        out.put(&self.secret)?;
        out.put(&self.building.to_le_bytes())?;
        put_der(self.csr, out)
    }
}

/// What a box gets: its certificate, and whom it trusts from now on (SPEC 15.14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enrolled<'a> {
    /// Its certificate, DER.
    pub certificate: &'a [u8],
    /// The CA's certificate, DER.
    pub ca: &'a [u8],
    /// The key by which the hub signs checkpoints.
    pub checkpoint_key: [u8; 32],
    /// The keys of the publishers of snapshots, at most [`PINNED_KEYS_MAX`].
    pub publishers: &'a [[u8; 32]],
    /// The keys of the operators, at most [`PINNED_KEYS_MAX`].
    pub operators: &'a [[u8; 32]],
}

impl<'a> Enrolled<'a> {
    /// The answer that `body` is.
    ///
    /// # Errors
    /// [`Malformed`] names the first field that is cut off or out of its range.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        whole(body, "enrolled", |cursor| {
            let certificate = der(cursor, "certificate")?;
            let ca = der(cursor, "CA certificate")?;
            let checkpoint_key = cursor.array("checkpoint key")?;
            let publishers = keys(cursor, "publishers")?;
            Ok(Self { certificate, ca, checkpoint_key, publishers, operators: keys(cursor, "operators")? })
        })
    }

    /// Writes the body behind what `out` holds.
    ///
    /// # Errors
    /// [`NoRoom`] when it does not fit, or one of its parts is empty or longer than allowed.
    pub fn emit(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        put_der(self.certificate, out)?;
        put_der(self.ca, out)?;
        out.put(&self.checkpoint_key)?;
        put_keys(self.publishers, out)?;
        put_keys(self.operators, out)
    }
}

/// None for you. 4 bytes (SPEC 15.14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnrolRefused {
    /// Why: one of [`refusal`], or of a later version.
    pub code: u8,
}

impl EnrolRefused {
    /// The refusal that `body` is.
    ///
    /// # Errors
    /// [`Malformed`] names the first field that is cut off or out of its range.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        whole(body, "enrol refused", |cursor| {
            let code = cursor.u8("refusal")?;
            cursor.reserved(3, "refusal reserved")?;
            if code == 0 { Err(Malformed::Value("refusal")) } else { Ok(Self { code }) }
        })
    }

    /// Writes the body behind what `out` holds.
    ///
    /// # Errors
    /// [`NoRoom`] when it does not fit.
    pub fn emit(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        out.put(&[self.code, 0, 0, 0])
    }
}

pub(super) fn der<'a>(cursor: &mut Cursor<'a>, field: &'static str) -> Result<&'a [u8], Malformed> {
    let len = usize::from(cursor.u16(field)?);
    if !(1..=CERTIFICATE_LEN_MAX).contains(&len) {
        return Err(Malformed::Value(field));
    }
    cursor.bytes(len, field)
}

pub(super) fn put_der(bytes: &[u8], out: &mut Writer<'_>) -> Result<(), NoRoom> {
    if !(1..=CERTIFICATE_LEN_MAX).contains(&bytes.len()) {
        return Err(NoRoom);
    }
    out.put(&u16::try_from(bytes.len()).map_err(|_| NoRoom)?.to_le_bytes())?;
    out.put(bytes)
}

fn keys<'a>(cursor: &mut Cursor<'a>, field: &'static str) -> Result<&'a [[u8; 32]], Malformed> {
    let count = usize::from(cursor.u8(field)?);
    if count > PINNED_KEYS_MAX {
        return Err(Malformed::Value(field));
    }
    Ok(cursor.bytes(32 * count, field)?.as_chunks().0)
}

fn put_keys(keys: &[[u8; 32]], out: &mut Writer<'_>) -> Result<(), NoRoom> {
    if keys.len() > PINNED_KEYS_MAX {
        return Err(NoRoom);
    }
    out.put(&[u8::try_from(keys.len()).map_err(|_| NoRoom)?])?;
    out.put(keys.as_flattened())
}
