//! What readers ask, and whether they were answered rightly: by the load generator's own reading of the roster.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kalitka_loadgen::deck::{Deck, Show};
use kalitka_loadgen::oracle::Oracle;
use kalitka_protocol::ReaderId;
use kalitka_protocol::message::Answer;
use kalitka_protocol::reason::{Denial, Verdict};

/// Of a thousand cards, how many are shown on the way out.
const EXITS: u32 = 500;

/// The cards of one roster, and what is right about them.
pub struct Asking {
    oracle: Oracle,
    deck: Deck,
    /// Between two asks of one reader.
    pub(super) every: Duration,
}

/// The asks of one reader that wait for an answer.
#[derive(Default)]
pub(super) struct Asked(HashMap<u32, (Show, i64)>);

/// What an answer was like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    Right,
    /// The portal was closed though nothing in the roster closes it: the safe mode.
    Closed,
    Wrong(String),
    /// Nobody waited for it.
    Late,
}

impl Asking {
    /// Asks of cards drawn by `seed` from the roster in `folder`, one every `every` at each reader.
    ///
    /// # Panics
    /// When the roster cannot be read.
    #[must_use]
    pub fn new(folder: &Path, every: Duration, seed: u64) -> Self {
        let oracle = Oracle::read(folder).unwrap_or_else(|error| panic!("{error}"));
        let deck = Deck::new(&oracle, EXITS, seed);
        Self { oracle, deck, every }
    }

    /// The next card at `reader`.
    pub(super) fn show(&mut self, reader: ReaderId) -> Show {
        self.deck.draw(self.oracle.looks(reader))
    }
}

impl Asked {
    pub(super) fn add(&mut self, request: u32, show: Show) {
        self.0.insert(request, (show, wall_seconds()));
    }

    pub(super) fn waiting(&self) -> usize {
        self.0.len()
    }

    pub(super) fn forget(&mut self, request: u32) {
        self.0.remove(&request);
    }

    /// Judges `answer`. It was decided at some second between the ask's and the present one.
    pub(super) fn judge(&mut self, asking: &Asking, reader: ReaderId, answer: &Answer<'_>) -> Answered {
        let Some((show, asked)) = self.0.remove(&answer.request) else { return Answered::Late };
        let right = |second| asking.oracle.judge(reader, &show.card, show.direction, 0, second);
        if (asked..=wall_seconds()).any(|second| right(second) == answer.verdict) {
            return Answered::Right;
        }
        if answer.verdict == Verdict::Deny(Denial::PortalClosed) {
            return Answered::Closed;
        }
        let (said, right) = (answer.verdict, right(asked));
        Answered::Wrong(format!("reader {} was told {said:?}; right is {right:?}, {show:?}", reader.0))
    }
}

fn wall_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
