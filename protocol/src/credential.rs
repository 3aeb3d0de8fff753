//! What a card is: as a reader reads it ([`CardRead`]), and the one canonical form it is looked up by ([`Credential`]).
//!
//! One card shows itself in several shapes: its full UID in either byte order, or a cut of it as a Wiegand number. A
//! building declares for each reader the [`Shape`]s that it sends; a card is interpreted by them and by nothing else.

use crate::reason::codes;
use crate::wire::{Cursor, Malformed, NoRoom, Writer};

/// Bytes of card data, enough for a UID of ten.
const DATA_LEN: usize = 14;

/// Bytes of a credential and of a card as read (SPEC 3.1).
pub const CREDENTIAL_LEN: usize = 16;

codes! {
    /// How the reader's electronics got the card (SPEC 3.2).
    CardFormat, "card format" {
        /// An ISO 14443 UID of 4, 7 or 10 bytes, in the order in which the reader has them.
        Uid = 1, "uid";
        /// A Wiegand frame of 26, 34 or 37 bits with its parity bits.
        Wiegand = 2, "wiegand";
    }
}

codes! {
    /// What a reader makes of a card (SPEC 3.4). The code is the first byte of the canonical credential.
    Shape, "credential shape" {
        /// The full UID, first byte first. The canonical form of a card that has one.
        Uid = 1, "uid";
        /// The full UID, last byte first. Turned round, never a key.
        UidReversed = 2, "uid-reversed";
        /// The UID's low 24 bits as Wiegand 26: facility of 8 bits, number of 16.
        Wiegand26 = 3, "w26";
        /// The same of the reversed UID.
        Wiegand26Reversed = 4, "w26-reversed";
        /// The UID's low 32 bits as Wiegand 34.
        Wiegand34 = 5, "w34";
        /// The same of the reversed UID.
        Wiegand34Reversed = 6, "w34-reversed";
        /// The UID's low 35 bits as Wiegand 37.
        Wiegand37 = 7, "w37";
        /// The same of the reversed UID.
        Wiegand37Reversed = 8, "w37-reversed";
    }
}

impl Shape {
    /// The shape of a [`label`](Self::label), as rosters write it.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|shape| shape.label() == label)
    }

    /// Data bits of a cut (parity not counted), or `None` for a full UID.
    #[must_use]
    pub const fn cut_bits(self) -> Option<u8> {
        match self {
            Self::Uid | Self::UidReversed => None,
            Self::Wiegand26 | Self::Wiegand26Reversed => Some(24),
            Self::Wiegand34 | Self::Wiegand34Reversed => Some(32),
            Self::Wiegand37 | Self::Wiegand37Reversed => Some(35),
        }
    }

    /// Whether the reader turns the UID round before it cuts.
    #[must_use]
    pub const fn is_reversed(self) -> bool {
        matches!(self, Self::UidReversed | Self::Wiegand26Reversed | Self::Wiegand34Reversed | Self::Wiegand37Reversed)
    }

    /// What the full UID `uid` (4, 7 or 10 bytes, first byte first) is known as at a reader of this shape.
    #[must_use]
    pub fn credential_of_uid(self, uid: &[u8]) -> Option<Credential> {
        let full = Credential::from_uid(uid)?;
        let Some(bits) = self.cut_bits() else { return Some(full) };
        let low = uid.len().saturating_sub(8);
        let number = if self.is_reversed() {
            uid.iter().take(8).rev().fold(0u64, |number, &byte| number << 8 | u64::from(byte))
        } else {
            uid.iter().skip(low).fold(0u64, |number, &byte| number << 8 | u64::from(byte))
        };
        Credential::from_number(self, number & ((1 << bits) - 1))
    }
}

/// The shapes that one reader sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ShapeSet(u16);

impl ShapeSet {
    /// The set of a bit mask: bit `code` for each shape.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// The bit mask.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// This set with `shape` in it.
    #[must_use]
    pub const fn with(self, shape: Shape) -> Self {
        Self(self.0 | 1 << shape.code())
    }

    /// Whether `shape` is in it.
    #[must_use]
    pub const fn contains(self, shape: Shape) -> bool {
        self.0 & (1 << shape.code()) != 0
    }

    /// The credential that `read` is at a reader of these shapes.
    ///
    /// # Errors
    /// [`ReadError`] when the bits are no card, or no shape of the set explains them.
    pub fn interpret(self, read: &CardRead) -> Result<Credential, ReadError> {
        match read.format {
            CardFormat::Uid if self.contains(Shape::Uid) => {
                Ok(Credential::from_parts(Shape::Uid, read.bits, read.data))
            }
            CardFormat::Uid if self.contains(Shape::UidReversed) => Ok(read.reversed_uid()),
            CardFormat::Uid => Err(ReadError::ShapeNotDeclared),
            CardFormat::Wiegand => {
                let [plain, reversed] = wiegand_shapes(read.bits);
                let shape = [plain, reversed].into_iter().find(|&shape| self.contains(shape));
                let number = read.wiegand_number()?;
                Credential::from_number(shape.ok_or(ReadError::ShapeNotDeclared)?, number).ok_or(ReadError::Malformed)
            }
        }
    }
}

const fn wiegand_shapes(frame_bits: u8) -> [Shape; 2] {
    match frame_bits {
        26 => [Shape::Wiegand26, Shape::Wiegand26Reversed],
        34 => [Shape::Wiegand34, Shape::Wiegand34Reversed],
        _ => [Shape::Wiegand37, Shape::Wiegand37Reversed],
    }
}

/// Why a card as read is no credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// Parity is wrong.
    Malformed,
    /// The reader does not declare a shape that sends such cards.
    ShapeNotDeclared,
}

/// A card as a reader's electronics read it, well-formed in length and padding.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CardRead {
    format: CardFormat,
    bits: u8,
    data: [u8; DATA_LEN],
}

impl core::fmt::Debug for CardRead {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "CardRead({}, {} bits)", self.format.label(), self.bits)
    }
}

impl CardRead {
    /// A read of `bits` bits of `data`, most significant first, left-aligned; bytes and bits beyond are zero.
    ///
    /// # Errors
    /// [`Malformed::Value`] when the format never has so many bits, or something stands beyond them.
    pub fn new(format: CardFormat, bits: u8, data: [u8; DATA_LEN]) -> Result<Self, Malformed> {
        let known = match format {
            CardFormat::Uid => matches!(bits, 32 | 56 | 80),
            CardFormat::Wiegand => matches!(bits, 26 | 34 | 37),
        };
        if !known {
            return Err(Malformed::Value("card bits"));
        }
        let beyond = u128::from_be_bytes(widened(&data)) << 16 << bits;
        if beyond == 0 { Ok(Self { format, bits, data }) } else { Err(Malformed::Value("card padding")) }
    }

    /// The read of a UID of 4, 7 or 10 bytes in the reader's order.
    #[must_use]
    pub fn from_uid(uid: &[u8]) -> Option<Self> {
        let data = uid_data(uid)?;
        Some(Self { format: CardFormat::Uid, bits: u8::try_from(uid.len() * 8).ok()?, data })
    }

    /// The Wiegand frame, parity and all, of a `number` of 24, 32 or 35 bits.
    #[must_use]
    pub fn from_wiegand(data_bits: u8, number: u64) -> Option<Self> {
        if !matches!(data_bits, 24 | 32 | 35) || number >> data_bits != 0 {
            return None;
        }
        let half = data_bits.div_ceil(2);
        let even = (number >> (data_bits - half)).count_ones() % 2;
        let odd = 1 - (number & ((1 << half) - 1)).count_ones() % 2;
        let frame = u64::from(even) << (data_bits + 1) | number << 1 | u64::from(odd);
        Some(Self { format: CardFormat::Wiegand, bits: data_bits + 2, data: left_aligned(frame, data_bits + 2) })
    }

    /// The 16 bytes on the wire.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; CREDENTIAL_LEN] {
        joined(self.format.code(), self.bits, &self.data)
    }

    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let format = CardFormat::from_code(cursor.u8("card format")?)?;
        let bits = cursor.u8("card bits")?;
        Self::new(format, bits, cursor.array("card data")?)
    }

    pub(crate) fn emit(&self, writer: &mut Writer<'_>) -> Result<(), NoRoom> {
        writer.put(&self.to_bytes())
    }

    fn reversed_uid(&self) -> Credential {
        let len = usize::from(self.bits / 8).min(DATA_LEN);
        let mut data = self.data;
        data[..len].reverse();
        Credential::from_parts(Shape::Uid, self.bits, data)
    }

    /// The number inside a Wiegand frame whose two parity bits hold.
    fn wiegand_number(&self) -> Result<u64, ReadError> {
        let data_bits = self.bits.saturating_sub(2);
        let frame = u128::from_be_bytes(widened(&self.data)) << 16 >> (128 - u32::from(self.bits));
        let number = u64::try_from(frame >> 1 & ((1 << data_bits) - 1)).map_err(|_| ReadError::Malformed)?;
        if Self::from_wiegand(data_bits, number) == Some(*self) { Ok(number) } else { Err(ReadError::Malformed) }
    }
}

/// A credential in canonical form: shape, bit length, bits. The key of the index.
///
/// Sixteen bytes: the shape's code, the number of bits, the bits most significant first and left-aligned, zeros.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Credential([u8; CREDENTIAL_LEN]);

impl core::fmt::Debug for Credential {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Credential(shape {}, {} bits)", self.0[0], self.0[1])
    }
}

impl Credential {
    /// The credential of a full UID of 4, 7 or 10 bytes, first byte first.
    #[must_use]
    pub fn from_uid(uid: &[u8]) -> Option<Self> {
        Some(Self::from_parts(Shape::Uid, u8::try_from(uid.len() * 8).ok()?, uid_data(uid)?))
    }

    /// The credential of a Wiegand `number` (parity stripped) at readers of `shape`.
    #[must_use]
    pub fn from_number(shape: Shape, number: u64) -> Option<Self> {
        let bits = shape.cut_bits()?;
        (number >> bits == 0).then(|| Self::from_parts(shape, bits, left_aligned(number, bits)))
    }

    /// The sixteen bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; CREDENTIAL_LEN] {
        &self.0
    }

    /// The credential of sixteen bytes that [`as_bytes`](Self::as_bytes) gave.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; CREDENTIAL_LEN]) -> Self {
        Self(bytes)
    }

    /// The credential of sixteen bytes that somebody else sent, if they are a canonical form (SPEC 3.5).
    ///
    /// # Errors
    /// [`Malformed::Value`] when they are none.
    pub fn from_canonical(bytes: [u8; CREDENTIAL_LEN]) -> Result<Self, Malformed> {
        let [code, bits, ..] = bytes;
        let shape = Shape::from_code(code)?;
        let known = match shape.cut_bits() {
            Some(cut) => bits == cut,
            None => shape == Shape::Uid && matches!(bits, 32 | 56 | 80),
        };
        if !known {
            return Err(Malformed::Value("credential bits"));
        }
        let beyond = u128::from_be_bytes(bytes) << 16 << bits;
        if beyond == 0 { Ok(Self(bytes)) } else { Err(Malformed::Value("credential padding")) }
    }

    fn from_parts(shape: Shape, bits: u8, data: [u8; DATA_LEN]) -> Self {
        Self(joined(shape.code(), bits, &data))
    }
}

fn uid_data(uid: &[u8]) -> Option<[u8; DATA_LEN]> {
    if !matches!(uid.len(), 4 | 7 | 10) {
        return None;
    }
    let mut data = [0; DATA_LEN];
    data[..uid.len()].copy_from_slice(uid);
    Some(data)
}

fn left_aligned(number: u64, bits: u8) -> [u8; DATA_LEN] {
    let mut data = [0; DATA_LEN];
    data[..8].copy_from_slice(&(number << (64 - u32::from(bits))).to_be_bytes());
    data
}

fn widened(data: &[u8; DATA_LEN]) -> [u8; CREDENTIAL_LEN] {
    joined(0, 0, data)
}

fn joined(first: u8, second: u8, data: &[u8; DATA_LEN]) -> [u8; CREDENTIAL_LEN] {
    let mut bytes = [0; CREDENTIAL_LEN];
    bytes[0] = first;
    bytes[1] = second;
    bytes[2..].copy_from_slice(data);
    bytes
}
