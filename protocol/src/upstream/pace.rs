//! How much a hub will have under way (SPEC 15.16).

use super::whole;
use crate::limits::PACE_BYTES_MIN;
use crate::wire::{Malformed, NoRoom, Writer};

/// So much may be on its way. 8 bytes (SPEC 15.16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Bytes of events that may be sent and not acknowledged, at least [`PACE_BYTES_MIN`].
    pub bytes: u32,
}

impl Pace {
    /// The pace that `body` is.
    ///
    /// # Errors
    /// [`Malformed`] names the first field that is cut off or out of its range.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        whole(body, "pace", |cursor| {
            let bytes = cursor.u32("pace")?;
            cursor.reserved(4, "pace reserved")?;
            if bytes < PACE_BYTES_MIN { Err(Malformed::Value("pace")) } else { Ok(Self { bytes }) }
        })
    }

    /// Writes the body behind what `out` holds.
    ///
    /// # Errors
    /// [`NoRoom`] when it does not fit.
    pub fn emit(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        out.put(&self.bytes.to_le_bytes())?;
        out.put(&[0; 4])
    }
}
