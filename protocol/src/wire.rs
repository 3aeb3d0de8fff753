//! Reading and writing of little-endian fields, with errors that name the field.

/// What was wrong with bytes that came from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The bytes end inside the named field.
    Truncated(&'static str),
    /// The named field holds a value that SPEC does not allow.
    Value(&'static str),
    /// Bytes are left over after the named structure.
    Trailing(&'static str),
    /// The datagram or message is of another version.
    Version,
    /// The datagram is of no known type.
    UnknownType,
}

impl core::fmt::Display for Malformed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Truncated(field) => write!(f, "the bytes end inside {field}"),
            Self::Value(field) => write!(f, "{field} holds a value that is not allowed"),
            Self::Trailing(what) => write!(f, "bytes are left over after {what}"),
            Self::Version => f.write_str("this is of another version"),
            Self::UnknownType => f.write_str("the datagram is of no known type"),
        }
    }
}

impl core::error::Error for Malformed {}

/// A place in received bytes; every read names the field that it reads.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// A cursor at the first of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] when fewer are left.
    pub fn bytes(&mut self, len: usize, field: &'static str) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(Malformed::Truncated(field))?;
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes as an array.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] when fewer are left.
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed::Truncated(field))?;
        self.rest = rest;
        Ok(*head)
    }

    /// The next byte.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] at the end.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, Malformed> {
        Ok(self.array::<1>(field)?[0])
    }

    /// The next two bytes, little-endian.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] at the end.
    pub fn u16(&mut self, field: &'static str) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array(field)?))
    }

    /// The next four bytes, little-endian.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] at the end.
    pub fn u32(&mut self, field: &'static str) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    /// The next eight bytes, little-endian.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] at the end.
    pub fn u64(&mut self, field: &'static str) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    /// The next eight bytes, little-endian and signed.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] at the end.
    pub fn i64(&mut self, field: &'static str) -> Result<i64, Malformed> {
        Ok(i64::from_le_bytes(self.array(field)?))
    }

    /// The next four bytes as a number from 1 up.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] at the end, [`Malformed::Value`] for 0.
    pub fn u32_from_1(&mut self, field: &'static str) -> Result<u32, Malformed> {
        self.u32(field).and_then(|number| if number == 0 { Err(Malformed::Value(field)) } else { Ok(number) })
    }

    /// The next eight bytes as a number from 1 up.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] at the end, [`Malformed::Value`] for 0.
    pub fn u64_from_1(&mut self, field: &'static str) -> Result<u64, Malformed> {
        self.u64(field).and_then(|number| if number == 0 { Err(Malformed::Value(field)) } else { Ok(number) })
    }

    /// Bytes that SPEC keeps for later: they must be zero.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] at the end, [`Malformed::Value`] when one is not zero.
    pub fn reserved(&mut self, len: usize, field: &'static str) -> Result<(), Malformed> {
        if self.bytes(len, field)?.iter().all(|&byte| byte == 0) { Ok(()) } else { Err(Malformed::Value(field)) }
    }

    /// All bytes that are left.
    pub fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.rest)
    }

    /// Whether every byte has been read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Ends the reading of `what`.
    ///
    /// # Errors
    /// [`Malformed::Trailing`] when bytes are left.
    pub const fn finish(self, what: &'static str) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed::Trailing(what)) }
    }
}

/// The buffer is too short for what is to be written; nothing was written of the field that did not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

impl core::fmt::Display for NoRoom {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the buffer is too short")
    }
}

impl core::error::Error for NoRoom {}

/// A place in a buffer that is being filled.
#[derive(Debug)]
pub struct Writer<'a> {
    buffer: &'a mut [u8],
    len: usize,
}

impl<'a> Writer<'a> {
    /// A writer at the first byte of `buffer`.
    #[must_use]
    pub const fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, len: 0 }
    }

    /// Bytes written so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing has been written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that still fit.
    #[must_use]
    pub const fn room(&self) -> usize {
        self.buffer.len() - self.len
    }

    /// Writes `bytes` as they stand. Integers go through their `to_le_bytes`.
    ///
    /// # Errors
    /// [`NoRoom`] when they do not fit.
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        let place = self.buffer.get_mut(self.len..).and_then(|rest| rest.get_mut(..bytes.len())).ok_or(NoRoom)?;
        place.copy_from_slice(bytes);
        self.len += bytes.len();
        Ok(())
    }

    /// Forgets what was written behind the first `len` bytes.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// What has been written, to set right what could not be known before.
    pub(crate) fn written(&mut self) -> &mut [u8] {
        self.buffer.get_mut(..self.len).unwrap_or_default()
    }
}
