//! The layout of a frame (IEC 60839-11-5, 5.9): start, address, length, control, block, code, data, MAC, check.

use crc::{CRC_16_SPI_FUJITSU, Crc, Table};

use crate::limits::{OSDP_FRAME_MAX, OSDP_HEADER_LEN};
use crate::wire::{Cursor, Malformed, NoRoom, Writer};

/// The byte with which every frame begins.
pub const START: u8 = 0x53;
/// Bytes of a MAC as they travel: the first of sixteen.
pub const MAC_LEN: usize = 4;

const REPLY: u8 = 0x80;
const CONTROL_CRC: u8 = 0x04;
const CONTROL_BLOCK: u8 = 0x08;
const SEQUENCE: u8 = 0x03;

/// Polynomial 0x1021, initial value 0x1D0F, nothing reflected.
static CRC: Crc<u16, Table<1>> = Crc::<u16, Table<1>>::new(&CRC_16_SPI_FUJITSU);

/// A device's address, 0 to 126, or everybody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(u8);

impl Address {
    /// To every device; what each would answer to.
    pub const BROADCAST: Self = Self(0x7f);

    /// The address `number`; `None` over 126.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if number < Self::BROADCAST.0 { Some(Self(number)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// A sequence number: 0 begins a conversation anew, then 1, 2, 3, 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sequence(u8);

impl Sequence {
    /// The first of a conversation.
    pub const FIRST: Self = Self(0);

    /// The number of the next frame.
    #[must_use]
    pub const fn next(self) -> Self {
        if self.0 >= SEQUENCE { Self(1) } else { Self(self.0 + 1) }
    }

    /// The number, 0 to 3.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// How a frame shows that it has come whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Check {
    /// CRC-16.
    #[default]
    Crc,
    /// One byte that makes the sum of all bytes zero.
    Sum,
}

impl Check {
    /// Bytes of it.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::Crc => 2,
            Self::Sum => 1,
        }
    }

    fn holds(self, frame: &[u8]) -> bool {
        let (body, check) = frame.split_at(frame.len().saturating_sub(self.size()));
        match self {
            Self::Crc => check == CRC.checksum(body).to_le_bytes(),
            Self::Sum => check == [sum(body)],
        }
    }

    /// Writes it over all that `writer` holds.
    fn put(self, writer: &mut Writer<'_>) -> Result<(), NoRoom> {
        match self {
            Self::Crc => {
                let crc = CRC.checksum(writer.written());
                writer.put(&crc.to_le_bytes())
            }
            Self::Sum => {
                let sum = sum(writer.written());
                writer.put(&[sum])
            }
        }
    }
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, &byte| sum.wrapping_add(byte)).wrapping_neg()
}

/// A frame's security block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// Of the handshake: 0x11 to 0x14 by turns, and a byte with it: which key, or whether all is well.
    Handshake {
        /// 0x11 to 0x14.
        step: u8,
        /// What the step says.
        value: u8,
    },
    /// Of a secured frame with a MAC alone. It has no data but in a refusal.
    Authentic,
    /// Of a secured frame whose data are encrypted.
    Encrypted,
}

impl Block {
    /// The control panel's challenge.
    pub const CHALLENGE: u8 = 0x11;
    /// The device's cryptogram.
    pub const DEVICE_CRYPTOGRAM: u8 = 0x12;
    /// The control panel's cryptogram.
    pub const PANEL_CRYPTOGRAM: u8 = 0x13;
    /// The device's first MAC.
    pub const FIRST_MAC: u8 = 0x14;
    const AUTHENTIC: u8 = 0x15;
    const ENCRYPTED: u8 = 0x17;

    fn parse(cursor: &mut Cursor<'_>, is_reply: bool) -> Result<Self, Malformed> {
        let len = cursor.u8("security block length")?;
        let kind = cursor.u8("security block type")?;
        // A reply's secured blocks have the next number.
        let secured = u8::from(is_reply);
        match (len, kind) {
            (3, Self::CHALLENGE | Self::PANEL_CRYPTOGRAM) if !is_reply => {}
            (3, Self::DEVICE_CRYPTOGRAM | Self::FIRST_MAC) if is_reply => {}
            (2, kind) if kind == Self::AUTHENTIC + secured => return Ok(Self::Authentic),
            (2, kind) if kind == Self::ENCRYPTED + secured => return Ok(Self::Encrypted),
            (2 | 3, _) => return Err(Malformed::Value("security block type")),
            _ => return Err(Malformed::Value("security block length")),
        }
        Ok(Self::Handshake { step: kind, value: cursor.u8("security block")? })
    }

    fn put(self, writer: &mut Writer<'_>, is_reply: bool) -> Result<(), NoRoom> {
        match self {
            Self::Handshake { step, value } => writer.put(&[3, step, value]),
            Self::Authentic => writer.put(&[2, Self::AUTHENTIC + u8::from(is_reply)]),
            Self::Encrypted => writer.put(&[2, Self::ENCRYPTED + u8::from(is_reply)]),
        }
    }

    /// Whether the frame has a MAC.
    #[must_use]
    pub const fn has_mac(self) -> bool {
        matches!(self, Self::Authentic | Self::Encrypted)
    }
}

/// All of a frame but what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// To whom, or from whom.
    pub address: Address,
    /// Whether it comes from a device.
    pub is_reply: bool,
    /// Its number in the conversation.
    pub sequence: Sequence,
    /// How it is checked.
    pub check: Check,
}

/// A frame, as it was found in a stream of bytes. Its check holds; nothing says yet that it is authentic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// To or from whom, and which.
    pub header: Header,
    /// Its security block.
    pub block: Option<Block>,
    /// Command or reply.
    pub code: u8,
    /// What goes with the code; encrypted in a secured frame.
    pub data: &'a [u8],
    /// What the MAC is made of; empty when there is none.
    pub covered: &'a [u8],
    /// The MAC; zeros when there is none.
    pub mac: [u8; MAC_LEN],
}

impl<'a> Frame<'a> {
    /// The frame that `bytes` are, from its start to its check.
    ///
    /// # Errors
    /// [`Malformed`] names the field that is wrong.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, has_block) = parse_header(bytes)?;
        if declared(bytes) != Some(bytes.len()) {
            return Err(Malformed::Value("frame length"));
        }
        if !header.check.holds(bytes) {
            return Err(Malformed::Value("frame check"));
        }
        let body = bytes.get(OSDP_HEADER_LEN..bytes.len() - header.check.size()).unwrap_or_default();
        let mut cursor = Cursor::new(body);
        let block = if has_block { Some(Block::parse(&mut cursor, header.is_reply)?) } else { None };
        let code = cursor.u8("code")?;
        let (mut mac, mut covered) = ([0; MAC_LEN], &bytes[..0]);
        let mut data = cursor.rest();
        if block.is_some_and(Block::has_mac) {
            let (rest, last) = data.split_last_chunk::<MAC_LEN>().ok_or(Malformed::Truncated("MAC"))?;
            (data, mac) = (rest, *last);
            covered = &bytes[..bytes.len() - header.check.size() - MAC_LEN];
        }
        let is_whole = match block {
            Some(Block::Encrypted) => !data.is_empty() && data.len().is_multiple_of(16),
            Some(Block::Authentic | Block::Handshake { .. }) | None => true,
        };
        if is_whole {
            Ok(Self { header, block, code, data, covered, mac })
        } else {
            Err(Malformed::Value("data length"))
        }
    }
}

/// The header of a frame, and whether a block follows.
fn parse_header(bytes: &[u8]) -> Result<(Header, bool), Malformed> {
    let mut cursor = Cursor::new(bytes);
    if cursor.u8("start")? != START {
        return Err(Malformed::Value("start"));
    }
    let address = cursor.u8("address")?;
    let len = usize::from(cursor.u16("frame length")?);
    let control = cursor.u8("control")?;
    if control & !(SEQUENCE | CONTROL_CRC | CONTROL_BLOCK) != 0 {
        return Err(Malformed::Value("control"));
    }
    let check = if control & CONTROL_CRC != 0 { Check::Crc } else { Check::Sum };
    let has_block = control & CONTROL_BLOCK != 0;
    if !(OSDP_HEADER_LEN + 1 + check.size() + usize::from(has_block) * 2..=OSDP_FRAME_MAX).contains(&len) {
        return Err(Malformed::Value("frame length"));
    }
    let sequence = Sequence(control & SEQUENCE);
    let header = Header { address: Address(address & !REPLY), is_reply: address & REPLY != 0, sequence, check };
    Ok((header, has_block))
}

/// The length that the frame at the front of `bytes` says it has, if that much of it is there.
fn declared(bytes: &[u8]) -> Option<usize> {
    Some(usize::from(u16::from_le_bytes([*bytes.get(2)?, *bytes.get(3)?])))
}

/// What may stand at the front of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// No frame begins here.
    Nothing,
    /// Perhaps a frame, if more comes.
    Partial,
    /// A frame of this length, if its check holds.
    Whole(usize),
}

/// Whether a frame stands at the front of `bytes`.
#[must_use]
pub fn front(bytes: &[u8]) -> Front {
    match (bytes, parse_header(bytes)) {
        ([], _) => Front::Partial,
        (_, Err(Malformed::Truncated(_))) => Front::Partial,
        (_, Err(_)) => Front::Nothing,
        (_, Ok(_)) => match declared(bytes) {
            Some(len) if len <= bytes.len() => Front::Whole(len),
            _ => Front::Partial,
        },
    }
}

/// Writes a frame without MAC; gives its length.
///
/// # Errors
/// [`NoRoom`] when it does not fit in `out`.
pub fn emit(header: Header, block: Option<Block>, code: u8, data: &[u8], out: &mut [u8]) -> Result<usize, NoRoom> {
    let mut writer = Writer::new(out);
    let block_len = match block {
        Some(Block::Handshake { .. }) => 3,
        Some(_) => 2,
        None => 0,
    };
    let len = OSDP_HEADER_LEN + block_len + 1 + data.len() + header.check.size();
    emit_covered(&mut writer, header, block, code, data, len)?;
    header.check.put(&mut writer)?;
    Ok(writer.len())
}

/// Writes what a MAC covers; `len` is what the whole frame will have.
pub(super) fn emit_covered(
    writer: &mut Writer<'_>,
    header: Header,
    block: Option<Block>,
    code: u8,
    data: &[u8],
    len: usize,
) -> Result<(), NoRoom> {
    let [low, high] = u16::try_from(len).map_err(|_| NoRoom)?.to_le_bytes();
    let address = header.address.0 | if header.is_reply { REPLY } else { 0 };
    let check = if header.check == Check::Crc { CONTROL_CRC } else { 0 };
    let control = header.sequence.0 | check | if block.is_some() { CONTROL_BLOCK } else { 0 };
    writer.put(&[START, address, low, high, control])?;
    if let Some(block) = block {
        block.put(writer, header.is_reply)?;
    }
    writer.put(&[code])?;
    writer.put(data)
}

/// Writes MAC and check behind what they cover.
pub(super) fn emit_end(writer: &mut Writer<'_>, check: Check, mac: &[u8; 16]) -> Result<(), NoRoom> {
    writer.put(&mac[..MAC_LEN])?;
    check.put(writer)
}
