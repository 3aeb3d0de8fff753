//! The cards of an invented school.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{self, Write};

use fastrand::Rng;

use super::{Kind, holder, weighted};

/// Low bits of a UID that a Wiegand 26 keeps.
const CUT: u64 = (1 << 24) - 1;

/// Holders up to which cards can be kept apart at readers that turn them round. Most UIDs of seven bytes begin alike, so
/// only 2^16 of their reversed cuts are different; a greater school has lookalikes there, as in life.
const CAREFUL_MAX: usize = 20_000;

/// One card in so many lies in stock.
const STOCK_SHARE: usize = 40;

/// State, `valid_from`, `valid_to`, `blocked_until` of an issued card, and how often of a thousand.
type Condition = (&'static str, &'static str, &'static str, &'static str);
const CONDITIONS: [(Condition, u32); 14] = [
    (("issued", "", "", ""), 868),
    (("issued", "2020-09-01", "2090-08-31", ""), 30),
    (("issued", "", "2025-05-31", ""), 12),
    (("issued", "2089-09-01", "", ""), 6),
    (("issued_temporarily", "2020-01-15T08:00", "2090-01-15T08:00", ""), 12),
    (("issued_temporarily", "2025-01-15T08:00", "", ""), 8),
    (("issued_temporarily", "2089-01-15", "", ""), 2),
    (("blocked_for_a_time", "", "", "2089-01-01"), 8),
    (("blocked_for_a_time", "", "", "2025-02-01T12:00"), 8),
    (("blocked", "", "", ""), 16),
    (("blocked", "", "2025-05-31", ""), 2),
    (("lost", "", "", ""), 18),
    (("returned", "", "", ""), 6),
    (("destroyed", "", "", ""), 4),
];

/// Writes the cards of holders of `kinds`, and those that nobody holds.
pub(super) fn write(out: &mut impl Write, kinds: &[Kind], rng: &mut Rng) -> io::Result<()> {
    writeln!(out, "card,holder,state,valid_from,valid_to,blocked_until")?;
    let mut printer = Printer { is_careful: kinds.len() <= CAREFUL_MAX, ..Printer::default() };
    for (place, &kind) in kinds.iter().enumerate() {
        for _ in 0..count(kind, rng) {
            let card = printer.card(rng);
            let (state, from, to, until) = weighted(&CONDITIONS, rng);
            writeln!(out, "{card},{},{state},{from},{to},{until}", holder(place))?;
        }
    }
    for unheld in 0..kinds.len().div_ceil(STOCK_SHARE) {
        let state = ["in_stock", "in_stock", "returned", "destroyed"][unheld % 4];
        writeln!(out, "{},,{state},,,", printer.card(rng))?;
    }
    for (place, card) in [10, 20].into_iter().zip(printer.twins(rng)) {
        writeln!(out, "{card},{},issued,,,", holder(place))?;
    }
    Ok(())
}

fn count(kind: Kind, rng: &mut Rng) -> u32 {
    match (kind, rng.u32(..100)) {
        (_, 0..3) => 0,
        (_, 3..13) | (Kind::Staff, 13..50) => 2,
        (Kind::Staff, 50..60) => 3,
        _ => 1,
    }
}

/// Prints cards of which no two but the twins share the low 24 bits; when it is careful, neither turned round.
#[derive(Default)]
struct Printer {
    is_careful: bool,
    cuts: HashSet<u64>,
    reversed_cuts: HashSet<u64>,
}

impl Printer {
    /// A new card as rosters write it.
    fn card(&mut self, rng: &mut Rng) -> String {
        match rng.u32(..100) {
            0 => self.number("w26", 24, false, rng),
            1 => self.number("w26-reversed", 24, true, rng),
            2 => self.number("w34", 32, false, rng),
            3 => self.number("w37", 35, false, rng),
            4..44 => self.uid(4, rng),
            44 => self.uid(10, rng),
            _ => self.uid(7, rng),
        }
    }

    fn uid(&mut self, len: usize, rng: &mut Rng) -> String {
        loop {
            let mut uid = vec![0; len];
            rng.fill(&mut uid);
            if len > 4 {
                uid[0] = 0x04;
            }
            let [.., c, b, a] = uid[..] else { continue };
            let plain = u64::from(u32::from_be_bytes([0, c, b, a]));
            let reversed = u64::from(u32::from_be_bytes([0, uid[2], uid[1], uid[0]]));
            let is_apart = !self.is_careful || !self.reversed_cuts.contains(&reversed);
            if is_apart && self.cuts.insert(plain) {
                self.reversed_cuts.insert(reversed);
                return written(&uid);
            }
        }
    }

    /// A card of which only the number at readers of `shape` is known.
    fn number(&mut self, shape: &str, bits: u32, reversed: bool, rng: &mut Rng) -> String {
        let cuts = if reversed { &mut self.reversed_cuts } else { &mut self.cuts };
        let number = loop {
            let number = rng.u64(..1 << bits);
            if cuts.insert(number & CUT) {
                break number;
            }
        };
        match bits {
            24 => format!("{shape}:{}-{}", number >> 16, number & 0xffff),
            _ => format!("{shape}:{number}"),
        }
    }

    /// Two cards that differ, and are the same Wiegand 26.
    fn twins(&mut self, rng: &mut Rng) -> [String; 2] {
        loop {
            let [a, b, c] = [rng.u8(..), rng.u8(..), rng.u8(..)];
            let (first, second) = ([0x3a, a, b, c], [0xb5, a, b, c]);
            let reversed = |uid: [u8; 4]| u64::from(u32::from_be_bytes([0, uid[2], uid[1], uid[0]]));
            let fresh = [first, second].iter().all(|&uid| !self.reversed_cuts.contains(&reversed(uid)));
            if fresh && self.cuts.insert(u64::from(u32::from_be_bytes([0, a, b, c]))) {
                return [written(&first), written(&second)];
            }
        }
    }
}

fn written(uid: &[u8]) -> String {
    uid.iter().fold("uid:".to_owned(), |mut card, byte| {
        // Writing into a string does not fail.
        let _ = write!(card, "{byte:02x}");
        card
    })
}
