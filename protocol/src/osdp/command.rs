//! What a control panel says (IEC 60839-11-5, 6), and which of it may be asked of a [`Device`](super::Device): [`Act`].

mod parse;

use super::secure::Scbk;
use crate::limits::OSDP_TEXT_MAX;
use crate::wire::{NoRoom, Writer};

/// Codes of commands.
pub mod code {
    /// Anything new?
    pub const POLL: u8 = 0x60;
    /// Who are you?
    pub const IDENTITY: u8 = 0x61;
    /// What can you do?
    pub const CAPABILITIES: u8 = 0x62;
    /// Tamper and power?
    pub const LOCAL_STATUS: u8 = 0x64;
    /// The inputs?
    pub const INPUT_STATUS: u8 = 0x65;
    /// The outputs?
    pub const OUTPUT_STATUS: u8 = 0x66;
    /// The readers attached?
    pub const READER_STATUS: u8 = 0x67;
    /// Switch an output.
    pub const OUTPUT: u8 = 0x68;
    /// Light an LED.
    pub const LED: u8 = 0x69;
    /// Sound the buzzer.
    pub const BUZZER: u8 = 0x6a;
    /// Show a text.
    pub const TEXT: u8 = 0x6b;
    /// Take another address and speed.
    pub const COMMUNICATION: u8 = 0x6e;
    /// Take this key.
    pub const KEY_SET: u8 = 0x75;
    /// Show that you have the key.
    pub const CHALLENGE: u8 = 0x76;
    /// See that I have it.
    pub const PANEL_CRYPTOGRAM: u8 = 0x77;
}

/// A colour of an LED.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Colour {
    /// Off.
    #[default]
    None = 0,
    /// Red.
    Red = 1,
    /// Green.
    Green = 2,
    /// Amber.
    Amber = 3,
    /// Blue.
    Blue = 4,
}

/// What an output is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Switch {
    /// Off for good, whatever timer runs.
    Off = 1,
    /// On for good, whatever timer runs.
    On = 2,
    /// On, and off again when the timer has run.
    OnForATime = 5,
    /// Off, and on again when the timer has run.
    OffForATime = 6,
}

/// An LED's two colours by turns, each for some tenths of a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Blink {
    /// Tenths of a second in the first colour.
    pub on: u8,
    /// Tenths of a second in the second.
    pub off: u8,
    /// The first colour.
    pub on_colour: Colour,
    /// The second.
    pub off_colour: Colour,
}

/// What a device may be asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Switch an output.
    Output {
        /// Which, from 0.
        number: u8,
        /// How.
        switch: Switch,
        /// The timer, in tenths of a second.
        tenths: u16,
    },
    /// Light an LED of its reader 0, for a time or for good.
    Led {
        /// Which, from 0.
        number: u8,
        /// How.
        blink: Blink,
        /// For so many tenths of a second, and then as before; `None`: for good.
        tenths: Option<u16>,
    },
    /// Sound the buzzer of its reader 0.
    Buzzer {
        /// Tenths of a second that it sounds.
        on: u8,
        /// Tenths of a second of silence behind each.
        off: u8,
        /// How often.
        count: u8,
    },
    /// Show a text on the display of its reader 0.
    Text {
        /// For so many seconds.
        seconds: u8,
        /// The text.
        text: Text,
    },
}

/// A text of at most [`OSDP_TEXT_MAX`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    bytes: [u8; OSDP_TEXT_MAX],
    len: u8,
}

impl Text {
    /// As much of `text` as a display is sent.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let end = text.floor_char_boundary(OSDP_TEXT_MAX);
        let mut bytes = [0; OSDP_TEXT_MAX];
        bytes[..end].copy_from_slice(&text.as_bytes()[..end]);
        #[expect(clippy::cast_possible_truncation, reason = "at most OSDP_TEXT_MAX, which fits a byte")]
        let len = end as u8;
        Self { bytes, len }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// A command, all of the least set of a control panel.
#[derive(Clone, Copy, Debug)]
pub enum Command<'a> {
    /// Anything new?
    Poll,
    /// Who are you?
    Identity,
    /// What can you do?
    Capabilities,
    /// Tamper and power?
    LocalStatus,
    /// The inputs?
    InputStatus,
    /// The outputs?
    OutputStatus,
    /// The readers attached?
    ReaderStatus,
    /// Do something.
    Act(Act),
    /// Take another address and speed. A [`Device`](super::Device) is never told so.
    Communication {
        /// The address.
        address: u8,
        /// Bits a second.
        baud: u32,
    },
    /// Take this key.
    KeySet(&'a Scbk),
    /// Show that you have the key.
    Challenge(&'a [u8; 8]),
    /// See that I have it.
    PanelCryptogram(&'a [u8; 16]),
}

impl Command<'_> {
    /// Its code.
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Self::Poll => code::POLL,
            Self::Identity => code::IDENTITY,
            Self::Capabilities => code::CAPABILITIES,
            Self::LocalStatus => code::LOCAL_STATUS,
            Self::InputStatus => code::INPUT_STATUS,
            Self::OutputStatus => code::OUTPUT_STATUS,
            Self::ReaderStatus => code::READER_STATUS,
            Self::Act(Act::Output { .. }) => code::OUTPUT,
            Self::Act(Act::Led { .. }) => code::LED,
            Self::Act(Act::Buzzer { .. }) => code::BUZZER,
            Self::Act(Act::Text { .. }) => code::TEXT,
            Self::Communication { .. } => code::COMMUNICATION,
            Self::KeySet(_) => code::KEY_SET,
            Self::Challenge(_) => code::CHALLENGE,
            Self::PanelCryptogram(_) => code::PANEL_CRYPTOGRAM,
        }
    }

    /// Writes its data.
    ///
    /// # Errors
    /// [`NoRoom`] when they do not fit.
    pub fn emit(&self, writer: &mut Writer<'_>) -> Result<(), NoRoom> {
        match self {
            Self::Poll | Self::LocalStatus | Self::InputStatus | Self::OutputStatus | Self::ReaderStatus => Ok(()),
            Self::Identity | Self::Capabilities => writer.put(&[0]),
            Self::Act(act) => act.emit(writer),
            Self::Communication { address, baud } => {
                writer.put(&[*address])?;
                writer.put(&baud.to_le_bytes())
            }
            Self::KeySet(key) => {
                writer.put(&[1, 16])?;
                writer.put(key.as_bytes())
            }
            Self::Challenge(random) => writer.put(*random),
            Self::PanelCryptogram(cryptogram) => writer.put(*cryptogram),
        }
    }
}

impl Act {
    fn emit(&self, writer: &mut Writer<'_>) -> Result<(), NoRoom> {
        match self {
            Self::Output { number, switch, tenths } => {
                writer.put(&[*number, *switch as u8])?;
                writer.put(&tenths.to_le_bytes())
            }
            Self::Led { number, blink, tenths } => {
                let Blink { on, off, on_colour, off_colour } = *blink;
                let colours = [on, off, on_colour as u8, off_colour as u8];
                // Two settings, for a time and for good, each with a code before it: set, or leave alone.
                writer.put(&[0, *number, if tenths.is_some() { 2 } else { 0 }])?;
                writer.put(if tenths.is_some() { &colours } else { &[0; 4] })?;
                writer.put(&tenths.unwrap_or(0).to_le_bytes())?;
                writer.put(&[u8::from(tenths.is_none())])?;
                writer.put(if tenths.is_none() { &colours } else { &[0; 4] })
            }
            // Tone 2 is the device's own.
            Self::Buzzer { on, off, count } => writer.put(&[0, 2, *on, *off, *count]),
            Self::Text { seconds, text } => {
                // For a time, without wrapping, from the first place of the first row.
                writer.put(&[0, 3, *seconds, 1, 1, text.len])?;
                writer.put(text.as_bytes())
            }
        }
    }
}
