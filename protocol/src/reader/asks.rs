//! What the reader has asked and not been answered.

use core::time::Duration;

use crate::credential::CardRead;
use crate::limits::{ASK_AGE_MAX, ASK_RESENDS, ASKS_OUTSTANDING};
use crate::message::{Ask, ListAsk, ListKind, Message};
use crate::reason::Direction;

/// What is asked about a card.
#[derive(Clone, Copy, Debug)]
pub(super) enum Question {
    Pass(Direction),
    List(ListKind, u16),
}

#[derive(Clone, Copy, Debug)]
struct Outstanding {
    request: u32,
    question: Question,
    card: CardRead,
    shown_at: Duration,
    /// When it was first sent in this session, and how often since.
    first_sent: Duration,
    sends: usize,
}

impl Outstanding {
    /// When it is to be sent next, if ever.
    fn due_at(&self) -> Option<Duration> {
        match self.sends {
            0 => Some(Duration::ZERO),
            sends => ASK_RESENDS.get(sends - 1).map(|&wait| self.first_sent + wait),
        }
    }

    fn expires_at(&self) -> Duration {
        self.shown_at + ASK_AGE_MAX
    }

    fn message(&self, now: Duration) -> Message<'static> {
        let (request, card) = (self.request, self.card);
        match self.question {
            Question::Pass(direction) => {
                // Rounded up, so that no ask looks younger than it is.
                let age = (now.saturating_sub(self.shown_at) + Duration::from_nanos(999_999)).as_millis();
                Message::Ask(Ask { request, age_ms: u16::try_from(age).unwrap_or(u16::MAX), direction, card })
            }
            Question::List(list, page) => Message::ListAsk(ListAsk { request, page, list, card }),
        }
    }
}

/// The table of outstanding asks.
#[derive(Debug)]
pub(super) struct Asks {
    slots: [Option<Outstanding>; ASKS_OUTSTANDING],
    last_request: u32,
}

impl Asks {
    pub(super) const fn new() -> Self {
        Self { slots: [None; ASKS_OUTSTANDING], last_request: 0 }
    }

    /// Takes a question in; gives its request number, or `None` when the table or the numbers of this boot are used up.
    pub(super) fn add(&mut self, question: Question, card: CardRead, shown_at: Duration) -> Option<u32> {
        let slot = self.slots.iter_mut().find(|slot| slot.is_none())?;
        let request = self.last_request.checked_add(1)?;
        self.last_request = request;
        *slot = Some(Outstanding { request, question, card, shown_at, first_sent: Duration::ZERO, sends: 0 });
        Some(request)
    }

    /// Ends the asking of `request` and says so, if it is outstanding, of this kind, and young enough to act on. One that is
    /// too old stays, to be given up.
    pub(super) fn answered(&mut self, now: Duration, request: u32, is_wanted: impl Fn(Question) -> bool) -> bool {
        let wanted =
            |ask: &mut Outstanding| ask.request == request && now < ask.expires_at() && is_wanted(ask.question);
        self.slots.iter_mut().any(|slot| slot.take_if(wanted).is_some())
    }

    /// Gives up asks that are too old at `now`, telling each; all of them when `now` is `None`.
    pub(super) fn give_up(&mut self, now: Option<Duration>, mut tell: impl FnMut(u32)) {
        for slot in &mut self.slots {
            if let Some(ask) = slot.take_if(|ask| now.is_none_or(|now| now >= ask.expires_at())) {
                tell(ask.request);
            }
        }
    }

    /// A new session begins: every ask is sent again, and its resends are counted anew.
    pub(super) fn begin_session(&mut self) {
        for ask in self.slots.iter_mut().flatten() {
            ask.sends = 0;
        }
    }

    /// Puts what is due, oldest slot first, for as long as `put` takes it. Says whether anything was put and whether
    /// something went out for the last time.
    pub(super) fn send_due(&mut self, now: Duration, mut put: impl FnMut(&Message<'_>) -> bool) -> Sent {
        let mut sent = Sent::default();
        let is_due = |ask: &&mut Outstanding| now < ask.expires_at() && ask.due_at().is_some_and(|at| at <= now);
        for ask in self.slots.iter_mut().flatten().filter(is_due) {
            if !put(&ask.message(now)) {
                break;
            }
            if ask.sends == 0 {
                ask.first_sent = now;
            }
            ask.sends += 1;
            sent.any = true;
            sent.last_time |= ask.sends > ASK_RESENDS.len();
        }
        sent
    }

    /// When something is next to be sent (only if `can_send`) or given up.
    pub(super) fn next_timeout(&self, can_send: bool) -> Option<Duration> {
        let of = |ask: &Outstanding| match ask.due_at() {
            Some(due) if can_send => due.min(ask.expires_at()),
            _ => ask.expires_at(),
        };
        self.slots.iter().flatten().map(of).min()
    }
}

/// What [`Asks::send_due`] did.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) any: bool,
    pub(super) last_time: bool,
}
