//! From a card as an OSDP reader sends it to a card as this protocol knows it (SPEC 3).

use super::reply::Raw;
use crate::credential::{CardFormat, CardRead};

/// Bytes of the longest card that this protocol knows.
const DATA_MAX: usize = 14;

/// The card that `raw` is, by its number of bits: a Wiegand frame with its parity, or a UID. `None` for any other, which no
/// building can declare. What stands behind the last bit is no part of the card.
#[must_use]
pub fn card(raw: &Raw<'_>) -> Option<CardRead> {
    let bits = u8::try_from(raw.bits).ok()?;
    let format = match (bits, raw.format) {
        (26 | 34 | 37, 0 | 1) => CardFormat::Wiegand,
        (32 | 56 | 80, 0) => CardFormat::Uid,
        _ => return None,
    };
    let mut data = [0; DATA_MAX];
    data.get_mut(..raw.data.len())?.copy_from_slice(raw.data);
    if let Some(last) = raw.data.len().checked_sub(1) {
        let spare = raw.data.len() * 8 - usize::from(bits);
        data[last] = data[last] >> spare << spare;
    }
    CardRead::new(format, bits, data).ok()
}
