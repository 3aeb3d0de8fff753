//! An act as a device reads it.

use super::{Act, Blink, Colour, Switch, Text, code};
use crate::limits::OSDP_TEXT_MAX;
use crate::wire::{Cursor, Malformed};

/// Of an LED's setting: set it, and leave it alone.
const FOR_A_TIME: u8 = 2;
const FOR_GOOD: u8 = 1;

impl Act {
    /// The act of a command's `code` and `data`; `None` when the command is none. What an act cannot say (a second reader, a
    /// second record, an LED's two settings at once) is refused.
    ///
    /// # Errors
    /// [`Malformed`] names the field that is wrong.
    pub fn parse(code: u8, data: &[u8]) -> Result<Option<Self>, Malformed> {
        let mut cursor = Cursor::new(data);
        let at = &mut cursor;
        let act = match code {
            code::OUTPUT => Self::Output { number: at.u8("output")?, switch: switch(at)?, tenths: at.u16("timer")? },
            code::LED => led(at)?,
            code::BUZZER => {
                reader(at)?;
                // Which tone is the device's affair.
                at.u8("tone")?;
                Self::Buzzer { on: at.u8("on time")?, off: at.u8("off time")?, count: at.u8("count")? }
            }
            code::TEXT => text(at)?,
            _ => return Ok(None),
        };
        cursor.finish("act")?;
        Ok(Some(act))
    }
}

fn reader(at: &mut Cursor<'_>) -> Result<(), Malformed> {
    if at.u8("reader")? == 0 { Ok(()) } else { Err(Malformed::Value("reader")) }
}

fn switch(at: &mut Cursor<'_>) -> Result<Switch, Malformed> {
    let all = [Switch::Off, Switch::On, Switch::OnForATime, Switch::OffForATime];
    let code = at.u8("switch")?;
    all.into_iter().find(|switch| *switch as u8 == code).ok_or(Malformed::Value("switch"))
}

fn colour(at: &mut Cursor<'_>) -> Result<Colour, Malformed> {
    let all = [Colour::None, Colour::Red, Colour::Green, Colour::Amber, Colour::Blue];
    let code = at.u8("colour")?;
    all.into_iter().find(|colour| *colour as u8 == code).ok_or(Malformed::Value("colour"))
}

fn blink(at: &mut Cursor<'_>) -> Result<Blink, Malformed> {
    Ok(Blink { on: at.u8("on time")?, off: at.u8("off time")?, on_colour: colour(at)?, off_colour: colour(at)? })
}

fn led(at: &mut Cursor<'_>) -> Result<Act, Malformed> {
    reader(at)?;
    let number = at.u8("LED")?;
    let (temporary, for_a_time) = (at.u8("temporary code")?, blink(at)?);
    let tenths = at.u16("timer")?;
    let (permanent, for_good) = (at.u8("permanent code")?, blink(at)?);
    match (temporary, permanent) {
        (FOR_A_TIME, 0) => Ok(Act::Led { number, blink: for_a_time, tenths: Some(tenths) }),
        (0, FOR_GOOD) => Ok(Act::Led { number, blink: for_good, tenths: None }),
        _ => Err(Malformed::Value("LED code")),
    }
}

fn text(at: &mut Cursor<'_>) -> Result<Act, Malformed> {
    reader(at)?;
    at.u8("text code")?;
    let seconds = at.u8("text time")?;
    at.u16("place of the text")?;
    let len = at.u8("text length")?;
    let mut bytes = [0; OSDP_TEXT_MAX];
    let room = bytes.get_mut(..usize::from(len)).ok_or(Malformed::Value("text length"))?;
    room.copy_from_slice(at.bytes(usize::from(len), "text")?);
    Ok(Act::Text { seconds, text: Text { bytes, len } })
}
