//! The last answers given to a reader, kept to be repeated byte for byte.

use kalitka_protocol::BootId;
use kalitka_protocol::credential::CREDENTIAL_LEN;
use kalitka_protocol::limits::ASKS_KEPT;
use kalitka_protocol::message::Ask;
use kalitka_protocol::reason::Direction;

use crate::limits::ANSWER_LEN_MAX;

/// The answers to the last [`ASKS_KEPT`] asks of one reader, over sessions and boots.
pub(crate) struct Answers {
    /// The requests of `kept`, side by side: nearly every ask is new, and found to be so here.
    requests: [u32; ASKS_KEPT],
    kept: [Kept; ASKS_KEPT],
    /// Where the next one goes: over the oldest.
    next: usize,
}

#[derive(Clone, Copy)]
struct Kept {
    boot: BootId,
    card: [u8; CREDENTIAL_LEN],
    direction: Direction,
    /// Length of the answer message; 0 where none is kept.
    len: u8,
    bytes: [u8; ANSWER_LEN_MAX],
}

impl Answers {
    pub(crate) const fn new() -> Self {
        let none = Kept {
            boot: BootId(0),
            card: [0; CREDENTIAL_LEN],
            direction: Direction::Entry,
            len: 0,
            bytes: [0; ANSWER_LEN_MAX],
        };
        Self { requests: [0; ASKS_KEPT], kept: [none; ASKS_KEPT], next: 0 }
    }

    /// The answer message that was given to `ask` of `boot`, if it is still kept. An ask about another card or direction
    /// is no repeat whatever its number: no card passes on another's grant.
    pub(crate) fn find(&self, boot: BootId, ask: &Ask) -> Option<&[u8]> {
        if !self.requests.contains(&ask.request) {
            return None;
        }
        let card = ask.card.to_bytes();
        let is_of = |of: &Kept| of.boot == boot && of.card == card && of.direction == ask.direction && of.len != 0;
        let mut asks = self.requests.iter().zip(&self.kept);
        let (_, kept) = asks.find(|&(&request, of)| request == ask.request && is_of(of))?;
        kept.bytes.get(..usize::from(kept.len))
    }

    /// Keeps `message`, at most [`ANSWER_LEN_MAX`] bytes, as the answer to `ask`; the oldest is forgotten.
    pub(crate) fn keep(&mut self, boot: BootId, ask: &Ask, message: &[u8]) {
        let (kept, number) = (&mut self.kept[self.next], &mut self.requests[self.next]);
        let (Ok(len), Some(bytes)) = (u8::try_from(message.len()), kept.bytes.get_mut(..message.len())) else { return };
        bytes.copy_from_slice(message);
        (*number, kept.boot, kept.len) = (ask.request, boot, len);
        (kept.card, kept.direction) = (ask.card.to_bytes(), ask.direction);
        self.next = (self.next + 1) % ASKS_KEPT;
    }
}

#[cfg(test)]
mod tests {
    use kalitka_protocol::credential::CardRead;

    use super::*;

    fn ask(request: u32) -> Ask {
        let card = CardRead::from_uid(&[1, 2, 3, 4]).unwrap();
        Ask { request, age_ms: 0, direction: Direction::Entry, card }
    }

    #[test]
    fn the_last_64_are_kept_and_the_65th_is_forgotten() {
        let mut answers = Answers::new();
        for request in 0..100u32 {
            answers.keep(BootId(1), &ask(request), &request.to_le_bytes());
            let oldest = (request + 1).saturating_sub(64);
            assert_eq!(answers.find(BootId(1), &ask(request)), Some(&request.to_le_bytes()[..]));
            assert_eq!(answers.find(BootId(1), &ask(oldest)), Some(&oldest.to_le_bytes()[..]));
            assert!(oldest == 0 || answers.find(BootId(1), &ask(oldest - 1)).is_none());
        }
    }

    #[test]
    fn another_boot_is_another_ask() {
        let mut answers = Answers::new();
        answers.keep(BootId(1), &ask(5), b"first");
        assert_eq!(answers.find(BootId(2), &ask(5)), None);
        answers.keep(BootId(2), &ask(5), b"second");
        assert_eq!(answers.find(BootId(1), &ask(5)), Some(&b"first"[..]));
        assert_eq!(answers.find(BootId(2), &ask(5)), Some(&b"second"[..]));
    }

    #[test]
    fn another_card_or_direction_is_another_ask_and_another_age_is_not() {
        let mut answers = Answers::new();
        answers.keep(BootId(1), &ask(5), b"first");
        let card = CardRead::from_uid(&[1, 2, 3, 5]).unwrap();
        assert_eq!(answers.find(BootId(1), &Ask { card, ..ask(5) }), None);
        assert_eq!(answers.find(BootId(1), &Ask { direction: Direction::Exit, ..ask(5) }), None);
        assert_eq!(answers.find(BootId(1), &Ask { age_ms: 50, ..ask(5) }), Some(&b"first"[..]));
    }

    #[test]
    fn an_empty_memory_knows_no_ask_of_zeros() {
        assert_eq!(Answers::new().find(BootId(0), &ask(0)), None);
    }
}
