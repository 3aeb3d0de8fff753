//! Which card is shown at which reader: mostly the roster's own, some unknown, ill-read or not for this reader.

use fastrand::Rng;
use kalitka_protocol::ReaderId;
use kalitka_protocol::credential::{CardFormat, CardRead};
use kalitka_protocol::reason::Direction;

use crate::oracle::{Identity, Look, Oracle};
use crate::roster::weighted;

/// What is the matter with a card that is shown.
#[derive(Clone, Copy)]
enum Lot {
    /// Nothing that the roster would not know of.
    Known,
    /// It is no card of the roster.
    Strange,
    /// It is sent in a shape that the reader need not declare.
    OtherShape,
    /// It has lost a parity bit on the way.
    IllRead,
    /// It looks like another one, when the roster has such and the reader is one that mistakes them.
    Lookalike,
}

/// Of a thousand cards shown, how many are of which lot.
const LOTS: [(Lot, u32); 5] =
    [(Lot::Known, 900), (Lot::Strange, 30), (Lot::OtherShape, 30), (Lot::IllRead, 10), (Lot::Lookalike, 30)];

/// What cuts a reader may make of a card.
const LABELS: [&str; 8] = ["uid", "uid-reversed", "w26", "w26-reversed", "w34", "w34-reversed", "w37", "w37-reversed"];

/// Cards drawn until one can be shown; then the roster has hardly any.
const KNOWN_TRIES: usize = 32;

/// A card, as the reader's electronics read it, and the way its holder wants to go.
#[derive(Clone, Copy, Debug)]
pub struct Show {
    /// The card.
    pub card: CardRead,
    /// The way.
    pub direction: Direction,
}

/// The cards of a roster, to be drawn from.
pub struct Deck {
    cards: Vec<Identity>,
    lookalikes: Vec<Identity>,
    looks: Vec<Look>,
    exits: u32,
    rng: Rng,
}

impl Deck {
    /// A deck of the cards that `oracle` knows, of which `exits` in a thousand are shown on the way out.
    #[must_use]
    pub fn new(oracle: &Oracle, exits: u32, seed: u64) -> Self {
        let cards = oracle.cards().cloned().collect();
        let lookalikes = oracle.lookalikes();
        let looks = LABELS.into_iter().filter_map(Look::from_label).collect();
        Self { cards, lookalikes, looks, exits, rng: Rng::with_seed(seed) }
    }

    /// Draws a card and shows it at a reader of `looks`.
    pub fn draw(&mut self, looks: &[Look]) -> Show {
        let direction = if self.rng.u32(..1000) < self.exits { Direction::Exit } else { Direction::Entry };
        let any = self.looks[self.rng.usize(..self.looks.len())];
        let look = if looks.is_empty() { any } else { looks[self.rng.usize(..looks.len())] };
        let card = match weighted(&LOTS, &mut self.rng) {
            Lot::Known => self.known(look),
            Lot::Strange => None,
            Lot::OtherShape => self.known(any),
            Lot::IllRead => self.known(any).map(without_parity),
            Lot::Lookalike => self.lookalike(look),
        };
        Show { card: card.unwrap_or_else(|| self.strange(look)), direction }
    }

    /// Draws one of the roster's own cards, each that a reader of `looks` can be shown as likely as any other.
    pub fn draw_known(&mut self, looks: &[Look]) -> Show {
        let direction = if self.rng.u32(..1000) < self.exits { Direction::Exit } else { Direction::Entry };
        let look = *self.rng.choice(looks).unwrap_or(&self.looks[0]);
        // Of some cards no more is known than their number at readers of another look.
        let card = (0..KNOWN_TRIES).find_map(|_| self.known(look));
        Show { card: card.unwrap_or_else(|| self.strange(look)), direction }
    }

    /// The reader at whose place in `readers` the next card is shown.
    pub fn place(&mut self, readers: usize) -> usize {
        self.rng.usize(..readers)
    }

    fn known(&mut self, look: Look) -> Option<CardRead> {
        look.show(self.rng.choice(&self.cards)?)
    }

    fn lookalike(&mut self, look: Look) -> Option<CardRead> {
        let of_look = |card: &&Identity| matches!(card, Identity::Number(other, _) if *other == look);
        let fitting: Vec<&Identity> = self.lookalikes.iter().filter(of_look).collect();
        match self.rng.choice(fitting) {
            Some(card) => look.show(card),
            None => self.known(look),
        }
    }

    fn strange(&mut self, look: Look) -> CardRead {
        let mut uid = [0; 7];
        self.rng.fill(&mut uid);
        // A UID of seven bytes can be shown in every look.
        look.show(&Identity::Uid(uid.into())).unwrap_or_else(|| self.strange(look))
    }
}

/// The read with its first bit turned: of a Wiegand frame, the even parity. A UID has no parity and is left alone.
fn without_parity(card: CardRead) -> CardRead {
    let mut bytes = card.to_bytes();
    bytes[2] ^= 0x80;
    let [format, bits, data @ ..] = bytes;
    if format != CardFormat::Wiegand.code() {
        return card;
    }
    CardRead::new(CardFormat::Wiegand, bits, data).unwrap_or(card)
}

/// How each of `readers` sends cards, by `oracle`'s roster.
#[must_use]
pub fn looks_of(oracle: &Oracle, readers: &[ReaderId]) -> Vec<Vec<Look>> {
    readers.iter().map(|&reader| oracle.looks(reader).to_vec()).collect()
}

#[cfg(test)]
mod tests;
