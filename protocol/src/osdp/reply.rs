//! What a device says (IEC 60839-11-5, 7).

use super::secure::DeviceCryptogram;
use crate::limits::{OSDP_CAPABILITIES_MAX, OSDP_DIGITS_MAX, OSDP_POINTS_MAX};
use crate::wire::{Cursor, Malformed};

/// Codes of replies.
pub mod code {
    /// Done, or nothing new.
    pub const ACK: u8 = 0x40;
    /// Not done.
    pub const NAK: u8 = 0x41;
    /// Who the device is.
    pub const IDENTITY: u8 = 0x45;
    /// What it can do.
    pub const CAPABILITIES: u8 = 0x46;
    /// Tamper and power.
    pub const LOCAL_STATUS: u8 = 0x48;
    /// The inputs.
    pub const INPUT_STATUS: u8 = 0x49;
    /// The outputs.
    pub const OUTPUT_STATUS: u8 = 0x4a;
    /// The readers attached.
    pub const READER_STATUS: u8 = 0x4b;
    /// A card, as bits.
    pub const RAW: u8 = 0x50;
    /// A card, as text; no longer used.
    pub const FORMATTED: u8 = 0x51;
    /// Keys that were pressed.
    pub const KEYPAD: u8 = 0x53;
    /// Address and speed.
    pub const COMMUNICATION: u8 = 0x54;
    /// The device's cryptogram.
    pub const DEVICE_CRYPTOGRAM: u8 = 0x76;
    /// The first MAC.
    pub const FIRST_MAC: u8 = 0x78;
    /// Not now.
    pub const BUSY: u8 = 0x79;
}

/// Why a device has not done what it was told (IEC 60839-11-5, table 47).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The frame's check was wrong.
    Check,
    /// The command's length was wrong.
    Length,
    /// The command is not known.
    Unknown,
    /// The sequence number was wrong.
    Sequence,
    /// It has no secure channel.
    NoSecureChannel,
    /// The command needs a secure channel.
    NotSecured,
    /// Something else.
    Other(u8),
}

impl Refusal {
    const fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Check,
            2 => Self::Length,
            3 => Self::Unknown,
            4 => Self::Sequence,
            5 => Self::NoSecureChannel,
            6 => Self::NotSecured,
            other => Self::Other(other),
        }
    }
}

/// Who a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The vendor, as the IEEE numbers it.
    pub vendor: [u8; 3],
    /// The vendor's model.
    pub model: u8,
    /// The model's version.
    pub version: u8,
    /// The device's own number.
    pub serial: u32,
    /// The firmware's version: major, minor, build.
    pub firmware: [u8; 3],
}

/// What a device can do: function, level, count of each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    entries: [[u8; 3]; OSDP_CAPABILITIES_MAX],
    len: u8,
}

impl core::fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.entries()).finish()
    }
}

impl Capabilities {
    /// The function *communication security*.
    pub const SECURE_CHANNEL: u8 = 9;

    /// The capabilities of `data` as they travel.
    ///
    /// # Errors
    /// [`Malformed`] when they are no triples, none, or more than are looked at.
    pub fn parse(data: &[u8]) -> Result<Self, Malformed> {
        let (triples, rest) = data.as_chunks::<3>();
        if !rest.is_empty() || triples.is_empty() {
            return Err(Malformed::Value("capabilities"));
        }
        let mut entries = [[0; 3]; OSDP_CAPABILITIES_MAX];
        entries.get_mut(..triples.len()).ok_or(Malformed::Trailing("capabilities"))?.copy_from_slice(triples);
        let len = u8::try_from(triples.len()).map_err(|_| Malformed::Trailing("capabilities"))?;
        Ok(Self { entries, len })
    }

    /// Function, level and count of each.
    #[must_use]
    pub fn entries(&self) -> &[[u8; 3]] {
        &self.entries[..usize::from(self.len)]
    }

    /// Level and count of `function`, if the device has it.
    #[must_use]
    pub fn of(&self, function: u8) -> Option<(u8, u8)> {
        self.entries().iter().find(|[of, ..]| *of == function).map(|&[_, level, count]| (level, count))
    }
}

/// The states of inputs or outputs, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Points {
    /// Bit *n* for number *n*: 1 is active.
    pub active: u32,
    /// How many there are.
    pub count: u8,
}

impl Points {
    fn parse(data: &[u8]) -> Result<Self, Malformed> {
        if data.len() > OSDP_POINTS_MAX {
            return Err(Malformed::Trailing("points"));
        }
        let mut active = 0;
        for (number, &state) in data.iter().enumerate() {
            match state {
                0 => {}
                1 => active |= 1 << number,
                _ => return Err(Malformed::Value("point")),
            }
        }
        let count = u8::try_from(data.len()).map_err(|_| Malformed::Trailing("points"))?;
        Ok(Self { active, count })
    }
}

/// A card as bits, as its reader read it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Raw<'a> {
    /// Which of the device's readers.
    pub reader: u8,
    /// 0: nothing is said of the bits; 1: they begin and end with parity.
    pub format: u8,
    /// How many.
    pub bits: u16,
    /// The bits, most significant first, left-aligned.
    pub data: &'a [u8],
}

impl core::fmt::Debug for Raw<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Raw({} bits)", self.bits)
    }
}

/// Keys that were pressed; a star comes as 0x7F, a hash as 0x0D. Never shown: they may be a person's secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Keypad {
    reader: u8,
    digits: [u8; OSDP_DIGITS_MAX],
    len: u8,
}

impl core::fmt::Debug for Keypad {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Keypad({} digits)", self.len)
    }
}

impl Keypad {
    /// Which of the device's readers.
    #[must_use]
    pub const fn reader(&self) -> u8 {
        self.reader
    }

    /// The keys.
    #[must_use]
    pub fn digits(&self) -> &[u8] {
        &self.digits[..usize::from(self.len)]
    }
}

/// A reply, borrowing from the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// Done, or nothing new.
    Ack,
    /// Not done.
    Nak(Refusal),
    /// Who the device is.
    Identity(Identity),
    /// What it can do.
    Capabilities(Capabilities),
    /// Tamper and power.
    LocalStatus {
        /// Somebody tampers with it.
        tamper: bool,
        /// Its power has failed, or has been away.
        power: bool,
    },
    /// The inputs.
    Inputs(Points),
    /// The outputs.
    Outputs(Points),
    /// The readers attached.
    Readers(Points),
    /// A card.
    Raw(Raw<'a>),
    /// Keys that were pressed.
    Keypad(Keypad),
    /// Address and speed.
    Communication {
        /// The address.
        address: u8,
        /// Bits a second.
        baud: u32,
    },
    /// The answer to a challenge.
    DeviceCryptogram(DeviceCryptogram),
    /// The first MAC of a channel.
    FirstMac([u8; 16]),
    /// Not now; ask again.
    Busy,
    /// Something that is not spoken here.
    Other(u8),
}

impl<'a> Reply<'a> {
    /// The reply of `code` with `data`.
    ///
    /// # Errors
    /// [`Malformed`] names the field that is wrong.
    pub fn parse(code: u8, data: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(data);
        let at = &mut cursor;
        let reply = match code {
            code::ACK => Self::Ack,
            code::NAK => {
                let refusal = Refusal::from_code(at.u8("refusal")?);
                // Some add what they have refused.
                at.rest();
                Self::Nak(refusal)
            }
            code::IDENTITY => Self::Identity(identity(at)?),
            code::CAPABILITIES => Self::Capabilities(Capabilities::parse(at.rest())?),
            code::LOCAL_STATUS => Self::LocalStatus { tamper: flag(at, "tamper")?, power: flag(at, "power")? },
            code::INPUT_STATUS => Self::Inputs(Points::parse(at.rest())?),
            code::OUTPUT_STATUS => Self::Outputs(Points::parse(at.rest())?),
            // Each is 0, 1 not connected, or 2 tampered with: what is not 0 wants a look.
            code::READER_STATUS => Self::Readers(readers(at.rest())?),
            code::RAW => Self::Raw(raw(at)?),
            code::KEYPAD => Self::Keypad(keypad(at)?),
            code::COMMUNICATION => Self::Communication { address: at.u8("address")?, baud: at.u32("baud")? },
            code::DEVICE_CRYPTOGRAM => Self::DeviceCryptogram(DeviceCryptogram {
                client: at.array("client number")?,
                random: at.array("device's random bytes")?,
                cryptogram: at.array("device's cryptogram")?,
            }),
            code::FIRST_MAC => Self::FirstMac(at.array("first MAC")?),
            code::BUSY => Self::Busy,
            other => {
                at.rest();
                Self::Other(other)
            }
        };
        cursor.finish("reply")?;
        Ok(reply)
    }
}

fn identity(at: &mut Cursor<'_>) -> Result<Identity, Malformed> {
    Ok(Identity {
        vendor: at.array("vendor")?,
        model: at.u8("model")?,
        version: at.u8("version")?,
        serial: at.u32("serial number")?,
        firmware: at.array("firmware")?,
    })
}

fn flag(at: &mut Cursor<'_>, field: &'static str) -> Result<bool, Malformed> {
    match at.u8(field)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed::Value(field)),
    }
}

fn readers(data: &[u8]) -> Result<Points, Malformed> {
    let mut states = [0; OSDP_POINTS_MAX];
    let known = states.get_mut(..data.len()).ok_or(Malformed::Trailing("readers"))?;
    for (known, &state) in known.iter_mut().zip(data) {
        if state > 2 {
            return Err(Malformed::Value("reader state"));
        }
        *known = u8::from(state != 0);
    }
    Points::parse(known)
}

fn raw<'a>(at: &mut Cursor<'a>) -> Result<Raw<'a>, Malformed> {
    let (reader, format, bits) = (at.u8("reader")?, at.u8("card format")?, at.u16("card bits")?);
    let data = at.bytes(usize::from(bits).div_ceil(8), "card data")?;
    if bits == 0 { Err(Malformed::Value("card bits")) } else { Ok(Raw { reader, format, bits, data }) }
}

fn keypad(at: &mut Cursor<'_>) -> Result<Keypad, Malformed> {
    let (reader, len) = (at.u8("reader")?, at.u8("digits")?);
    let mut digits = [0; OSDP_DIGITS_MAX];
    let room = digits.get_mut(..usize::from(len)).ok_or(Malformed::Value("digits"))?;
    room.copy_from_slice(at.bytes(usize::from(len), "digits")?);
    Ok(Keypad { reader, digits, len })
}
