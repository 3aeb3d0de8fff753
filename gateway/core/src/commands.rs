//! The commands that wait for one reader: one under way, repeated until it is done or given up (SPEC 8.1).

use core::time::Duration;
use std::collections::VecDeque;

use kalitka_protocol::message::Order;

use crate::limits::{COMMAND_REPEAT, COMMANDS_MAX};
use crate::output::CommandRefused;

/// A reader's commands in the order of their ids. The first is under way, the others wait for its end.
#[derive(Default)]
pub(crate) struct Commands {
    queue: VecDeque<Waiting>,
    /// The highest id ever taken.
    highest: u64,
}

struct Waiting {
    id: u64,
    order: Order,
    /// When it is given up.
    until: Duration,
    /// When it is sent next, once it is the first.
    next: Duration,
}

impl Commands {
    /// Takes a command. A reader drops ids that are not above every one before, so they are refused here.
    pub(crate) fn push(&mut self, now: Duration, id: u64, order: Order, until: Duration) -> Result<(), CommandRefused> {
        if id <= self.highest {
            return Err(CommandRefused::NotAbove { highest: self.highest });
        }
        if self.queue.len() >= COMMANDS_MAX {
            return Err(CommandRefused::Full);
        }
        self.highest = id;
        self.queue.push_back(Waiting { id, order, until, next: now });
        Ok(())
    }

    /// Whether none waits.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Ends the command under way if it is `id`; says whether it was.
    pub(crate) fn end(&mut self, id: u64) -> bool {
        self.queue.pop_front_if(|first| first.id == id).is_some()
    }

    /// Gives up every command whose time is over, and tells `ended` of each.
    pub(crate) fn give_up(&mut self, now: Duration, mut ended: impl FnMut(u64)) {
        self.queue.retain(|waiting| {
            let over = waiting.until <= now;
            if over {
                ended(waiting.id);
            }
            !over
        });
    }

    /// Takes out all commands; gives their ids.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = u64> {
        self.queue.drain(..).map(|waiting| waiting.id)
    }

    /// The command to send now, if one is due; it is due again [`COMMAND_REPEAT`] later.
    pub(crate) fn send(&mut self, now: Duration) -> Option<(u64, Order)> {
        let first = self.queue.front_mut().filter(|first| first.next <= now)?;
        first.next = now.saturating_add(COMMAND_REPEAT);
        Some((first.id, first.order))
    }

    /// Lets the command under way go out at once: the reader has a new session.
    pub(crate) fn hurry(&mut self) {
        if let Some(first) = self.queue.front_mut() {
            first.next = Duration::ZERO;
        }
    }

    /// When [`give_up`](Self::give_up), or with `session` [`send`](Self::send), has something to do.
    pub(crate) fn due(&self, session: bool) -> Option<Duration> {
        let end = self.queue.iter().map(|waiting| waiting.until).min()?;
        let next = self.queue.front().filter(|_| session).map_or(end, |first| first.next);
        Some(end.min(next))
    }
}
