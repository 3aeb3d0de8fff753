//! What a card looks like at a reader, derived here once more and on its own.

use kalitka_protocol::credential::{CardFormat, CardRead};
use kalitka_protocol::reason::Denial;

/// One way in which a reader sends cards: whole or cut to a number, as they are or turned round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Look {
    /// Bits of the number that is left, or `None` when the whole UID is sent.
    pub bits: Option<u8>,
    /// Whether the UID is turned round first.
    pub reversed: bool,
}

/// What identifies a card: its UID, or no more than the number that readers of one look make of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// The UID, first byte first.
    Uid(Box<[u8]>),
    /// The number at readers of this look.
    Number(Look, u64),
}

impl Look {
    /// The look of a label such as `uid`, `w26` or `w37-reversed`.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        let (base, reversed) = match label.strip_suffix("-reversed") {
            Some(base) => (base, true),
            None => (label, false),
        };
        let bits = match base {
            "uid" => None,
            "w26" => Some(24),
            "w34" => Some(32),
            "w37" => Some(35),
            _ => return None,
        };
        Some(Self { bits, reversed })
    }

    /// The number that is left of `uid` by the cut: its last bits, or those of the UID turned round.
    #[must_use]
    pub fn number_of(self, uid: &[u8]) -> Option<u64> {
        let mut bits: Vec<bool> = Vec::new();
        let bytes: Vec<u8> = if self.reversed { uid.iter().rev().copied().collect() } else { uid.to_vec() };
        for byte in bytes {
            bits.extend((0..8).rev().map(|place| byte & (1 << place) != 0));
        }
        let keep = usize::from(self.bits?).min(bits.len());
        Some(number(&bits[bits.len() - keep..]))
    }

    /// What a reader of this look sends when it is shown the card, or `None` when that is not known.
    #[must_use]
    pub fn show(self, card: &Identity) -> Option<CardRead> {
        match (card, self.bits) {
            (Identity::Uid(uid), None) if self.reversed => {
                CardRead::from_uid(&uid.iter().rev().copied().collect::<Vec<u8>>())
            }
            (Identity::Uid(uid), None) => CardRead::from_uid(uid),
            (Identity::Uid(uid), Some(bits)) => CardRead::from_wiegand(bits, self.number_of(uid)?),
            (&Identity::Number(look, number), Some(bits)) if look == self => CardRead::from_wiegand(bits, number),
            (Identity::Number(..), _) => None,
        }
    }
}

/// What a reader that knows `looks` has been shown, judging by what it sends.
///
/// # Errors
/// The denial that such a card gets from such a reader, whoever holds it.
pub(super) fn identify(looks: &[Look], read: &CardRead) -> Result<Identity, Denial> {
    let bytes = read.to_bytes();
    let (len, data) = (usize::from(bytes[1]), &bytes[2..]);
    if bytes[0] == CardFormat::Uid.code() {
        let mut uid = data[..len / 8].to_vec();
        let look = looks.iter().find(|look| look.bits.is_none()).ok_or(Denial::ShapeNotDeclared)?;
        if look.reversed {
            uid.reverse();
        }
        return Ok(Identity::Uid(uid.into()));
    }
    let frame: Vec<bool> = (0..len).map(|place| data[place / 8] & (0x80 >> (place % 8)) != 0).collect();
    // The first bit makes the ones of the first half even, the last bit those of the second half odd. Of 37 bits the
    // one in the middle belongs to both halves.
    let half = len.div_ceil(2);
    let ones = |bits: &[bool]| bits.iter().filter(|&&bit| bit).count();
    if ones(&frame[..half]) % 2 != 0 || ones(&frame[len - half..]) % 2 != 1 {
        return Err(Denial::MalformedCard);
    }
    let look = looks.iter().find(|look| look.bits.is_some_and(|bits| usize::from(bits) + 2 == len));
    Ok(Identity::Number(*look.ok_or(Denial::ShapeNotDeclared)?, number(&frame[1..len - 1])))
}

fn number(bits: &[bool]) -> u64 {
    bits.iter().fold(0, |number, &bit| number * 2 + u64::from(bit))
}
