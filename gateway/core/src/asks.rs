//! The last answers given to a reader, kept to be repeated byte for byte.

use kalitka_protocol::BootId;
use kalitka_protocol::credential::CREDENTIAL_LEN;
use kalitka_protocol::limits::ASKS_KEPT;
use kalitka_protocol::message::{Ask, Message, Messages};
use kalitka_protocol::reason::Direction;
use kalitka_protocol::wire::{NoRoom, Writer};

use crate::limits::ANSWER_LEN_MAX;
use crate::output::Follows;

/// The answers to the last [`ASKS_KEPT`] asks of one reader, over sessions and boots.
pub(crate) struct Answers {
    /// A boot, and a request that none of its asks in `kept` is above: nearly every ask is new, and found to be so here.
    newest: (BootId, u32),
    /// The requests of `kept`, side by side.
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

impl Kept {
    /// Whether it is a grant, if it is anything.
    fn verdict(&self) -> Option<bool> {
        let message = Messages::new(self.bytes.get(..usize::from(self.len))?).next()?;
        if let Ok(Message::Answer(answer)) = message { Some(answer.verdict.is_grant()) } else { None }
    }
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
        Self { newest: (BootId(0), 0), requests: [0; ASKS_KEPT], kept: [none; ASKS_KEPT], next: 0 }
    }

    /// The answer message that was given to `ask` of `boot`, if it is still kept. An ask about another card or direction
    /// is no repeat whatever its number: no card passes on another's grant.
    pub(crate) fn find(&self, boot: BootId, ask: &Ask) -> Option<&[u8]> {
        let (newest, highest) = self.newest;
        if boot == newest && ask.request > highest || !self.requests.contains(&ask.request) {
            return None;
        }
        let card = ask.card.to_bytes();
        let is_of = |of: &Kept| of.boot == boot && of.card == card && of.direction == ask.direction && of.len != 0;
        let mut asks = self.requests.iter().zip(&self.kept);
        let (_, kept) = asks.find(|&(&request, of)| request == ask.request && is_of(of))?;
        kept.bytes.get(..usize::from(kept.len))
    }

    /// What a report follows that names `request` of `boot`. Of two asks with one number, which no honest reader has, the
    /// granted one counts.
    pub(crate) fn followed(&self, boot: BootId, request: u32) -> Follows {
        if request == 0 {
            return Follows::Nothing;
        }
        let asks = self.requests.iter().zip(&self.kept);
        let mut verdicts =
            asks.filter(|&(&of, kept)| of == request && kept.boot == boot).filter_map(|(_, kept)| kept.verdict());
        match verdicts.try_fold(false, |_, is_grant| if is_grant { Err(()) } else { Ok(true) }) {
            Err(()) => Follows::Granted,
            Ok(true) => Follows::Denied,
            Ok(false) => Follows::Forgotten,
        }
    }

    /// Keeps `answer` as the one to `ask`, and gives its bytes; the oldest is forgotten.
    pub(crate) fn keep(&mut self, boot: BootId, ask: &Ask, answer: &Message<'_>) -> Result<&[u8], NoRoom> {
        let highest = self.highest(boot).max(ask.request);
        let (kept, number) = (&mut self.kept[self.next], &mut self.requests[self.next]);
        // Forgotten first: an answer that did not fit must not leave half of itself in another's place.
        kept.len = 0;
        let mut message = Writer::new(&mut kept.bytes);
        answer.emit(&mut message)?;
        let len = message.len();
        (*number, kept.boot, kept.len) = (ask.request, boot, u8::try_from(len).map_err(|_| NoRoom)?);
        (kept.card, kept.direction) = (ask.card.to_bytes(), ask.direction);
        (self.newest, self.next) = ((boot, highest), (self.next + 1) % ASKS_KEPT);
        kept.bytes.get(..len).ok_or(NoRoom)
    }

    /// A request that none kept of `boot` is above.
    fn highest(&self, boot: BootId) -> u32 {
        let (newest, highest) = self.newest;
        if boot == newest {
            return highest;
        }
        let asks = self.requests.iter().zip(&self.kept);
        asks.filter(|(_, kept)| kept.boot == boot).map(|(&request, _)| request).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use kalitka_protocol::credential::CardRead;
    use kalitka_protocol::message::Answer;
    use kalitka_protocol::reason::{Denial, Grant, Tone, Verdict};

    use super::*;

    fn ask(request: u32) -> Ask {
        let card = CardRead::from_uid(&[1, 2, 3, 4]).unwrap();
        Ask { request, age_ms: 0, direction: Direction::Entry, card }
    }

    /// Keeps an answer that shows `text`; gives its bytes.
    fn keep(answers: &mut Answers, boot: u64, ask: &Ask, text: &str) -> Vec<u8> {
        let (verdict, tone) = (Verdict::Deny(Denial::NoAccess), Tone::Refused);
        let answer = Answer { request: ask.request, generation: 1, hold_open_ms: 0, verdict, tone, text };
        answers.keep(BootId(boot), ask, &Message::Answer(answer)).unwrap().to_vec()
    }

    #[test]
    fn the_last_64_are_kept_and_the_65th_is_forgotten() {
        let mut answers = Answers::new();
        let mut given = Vec::new();
        for request in 0..100u32 {
            given.push(keep(&mut answers, 1, &ask(request), &request.to_string()));
            let oldest = (request + 1).saturating_sub(64);
            assert_eq!(answers.find(BootId(1), &ask(request)), given.last().map(Vec::as_slice));
            assert_eq!(answers.find(BootId(1), &ask(oldest)), Some(&given[oldest as usize][..]));
            assert!(oldest == 0 || answers.find(BootId(1), &ask(oldest - 1)).is_none());
        }
    }

    #[test]
    fn another_boot_is_another_ask() {
        let mut answers = Answers::new();
        let first = keep(&mut answers, 1, &ask(5), "first");
        assert_eq!(answers.find(BootId(2), &ask(5)), None);
        let second = keep(&mut answers, 2, &ask(5), "second");
        assert_eq!(answers.find(BootId(1), &ask(5)), Some(&first[..]));
        assert_eq!(answers.find(BootId(2), &ask(5)), Some(&second[..]));
    }

    #[test]
    fn another_card_or_direction_is_another_ask_and_another_age_is_not() {
        let mut answers = Answers::new();
        let first = keep(&mut answers, 1, &ask(5), "first");
        let card = CardRead::from_uid(&[1, 2, 3, 5]).unwrap();
        assert_eq!(answers.find(BootId(1), &Ask { card, ..ask(5) }), None);
        assert_eq!(answers.find(BootId(1), &Ask { direction: Direction::Exit, ..ask(5) }), None);
        assert_eq!(answers.find(BootId(1), &Ask { age_ms: 50, ..ask(5) }), Some(&first[..]));
    }

    #[test]
    fn report_follows_what_was_answered_and_a_forgotten_ask_is_no_denied_one() {
        let mut answers = Answers::new();
        keep(&mut answers, 1, &ask(5), "denied");
        let grant = Answer {
            request: 6,
            generation: 1,
            hold_open_ms: 5000,
            verdict: Verdict::Grant(Grant::AccessLevel),
            tone: Tone::Welcome,
            text: "",
        };
        answers.keep(BootId(1), &ask(6), &Message::Answer(grant)).unwrap();
        let cases = [
            (1, 0, Follows::Nothing),
            (1, 5, Follows::Denied),
            (1, 6, Follows::Granted),
            (1, 7, Follows::Forgotten),
            (2, 5, Follows::Forgotten),
            (2, 6, Follows::Forgotten),
        ];
        for (boot, request, follows) in cases {
            assert_eq!(answers.followed(BootId(boot), request), follows, "request {request} of boot {boot}");
        }
        for request in 100..164 {
            keep(&mut answers, 1, &ask(request), "others");
        }
        assert_eq!(answers.followed(BootId(1), 6), Follows::Forgotten);
    }

    #[test]
    fn an_empty_memory_knows_no_ask_of_zeros() {
        assert_eq!(Answers::new().find(BootId(0), &ask(0)), None);
    }

    /// The short way, for a request above all of its boot, against a memory without one.
    #[test]
    fn what_is_kept_is_found_whatever_the_order_of_requests_and_boots() {
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..50 {
            let mut answers = Answers::new();
            let mut kept: Vec<(u64, u32, Vec<u8>)> = Vec::new();
            for round in 0..300 {
                let (boot, request) = (rng.u64(0..3), rng.u32(0..100));
                let known = kept.iter().rev().take(ASKS_KEPT).find(|(b, r, _)| (*b, *r) == (boot, request));
                assert_eq!(answers.find(BootId(boot), &ask(request)), known.map(|(.., bytes)| &bytes[..]));
                if known.is_none() {
                    let bytes = keep(&mut answers, boot, &ask(request), &round.to_string());
                    kept.push((boot, request, bytes));
                }
            }
        }
    }
}
