//! What came of a datagram: counted, kept, handed to the journal.

use kalitka_core::{CommandRefused, Effect, Keys, View};
use kalitka_protocol::upstream::CommandOutcome;

use super::post::Post;
use super::worker::{Batch, Worker};
use crate::journal::{Holder, Moment};
use crate::limits::BATCH_MAX;
use crate::metrics::Tally;
use crate::stamps::{KeyCheck, Taken};

impl Worker {
    /// Deals with the effects of the last step; says whether an ask was among them.
    pub(super) fn note_effects(&mut self, at: Moment, view: Option<&View>, keys: &Keys, tally: &Tally) -> bool {
        let mut asked = false;
        for effect in self.out.effects() {
            match *effect {
                Effect::Decided(decided) => {
                    asked = true;
                    tally.verdict(decided.decision.verdict).add(1);
                    let holder = decided.decision.holder.and_then(|holder| holder_of(view?, holder));
                    self.journal.decided(at, decided, holder.unwrap_or_default());
                }
                Effect::AskRepeated { .. } => {
                    asked = true;
                    tally.asks_repeated.add(1);
                }
                Effect::StampTaken { reader, stamp } => {
                    tally.initiations.add(1);
                    // The key goes with the stamp, because it may be another by the time that the keeper looks.
                    let key = keys.get(reader).map(|known| KeyCheck::of(&known.psk));
                    if key.is_some_and(|key| self.taken.try_send(Taken { reader, stamp, key }).is_err()) {
                        tally.stamps_lost.add(1);
                    }
                }
                Effect::SessionOpened { .. } => tally.sessions_opened.add(1),
                Effect::Reported { reader, report } => {
                    tally.reports.add(1);
                    self.journal.reported(at, reader, report);
                }
                Effect::CommandEnded { reader, id, outcome } => {
                    tally.commands_done.add(u64::from(outcome == CommandOutcome::Done));
                    self.journal.command_ended(reader, id, outcome);
                }
                Effect::DoneReceived { .. } => tally.commands_done_again.add(1),
                Effect::NoRoom { replies } => tally.messages_no_room.add(u64::from(replies)),
                Effect::Skipped { messages } => tally.messages_skipped.add(u64::from(messages)),
            }
        }
        asked
    }

    /// Takes up to [`BATCH_MAX`] of what the journal has left for this worker's readers, and sends what is due.
    pub(super) fn deliver(&mut self, keys: &Keys, tally: &Tally) -> Batch {
        let mut followed = false;
        let mut delivered = Batch::Full;
        for _ in 0..BATCH_MAX {
            let Ok(post) = self.posts.try_recv() else {
                delivered = Batch::Drained;
                break;
            };
            let now = self.shared.clock.monotonic();
            match post {
                Post::Receipt { reader, log, number } => {
                    if let Some(to) = self.core.receipt(now, reader, log, number, &mut self.out) {
                        self.send(to, tally);
                    }
                }
                Post::Command { reader, id, order, until } => {
                    // A reader that has a key and has not been heard of yet is known only from the table.
                    if !std::mem::replace(&mut followed, true) {
                        self.core.follow(keys);
                    }
                    if let Err(refused) = self.core.command(now, reader, id, order, until) {
                        self.journal.command_ended(reader, id, outcome_of(refused));
                    }
                }
            }
        }
        self.send_due(keys, tally);
        delivered
    }

    fn send_due(&mut self, keys: &Keys, tally: &Tally) {
        while self.core.next_timeout().is_some_and(|due| due <= self.shared.clock.monotonic()) {
            let now = self.shared.clock.monotonic();
            let to = self.core.poll(now, &mut self.out);
            if let Some(to) = to {
                self.send(to, tally);
            }
            self.note_effects(self.shared.moment(now), None, keys, tally);
            if to.is_none() {
                return;
            }
        }
    }
}

/// The opaque identity of dense number `holder`.
fn holder_of(view: &View, holder: u32) -> Option<Holder> {
    let holders = &view.snapshot().model().holders;
    holders.get(usize::try_from(holder).ok()?).map(|bytes| Holder::new(*bytes))
}

const fn outcome_of(refused: CommandRefused) -> CommandOutcome {
    match refused {
        CommandRefused::ReaderUnknown => CommandOutcome::ReaderUnknown,
        CommandRefused::Full | CommandRefused::NotAbove { .. } => CommandOutcome::GivenUp,
    }
}
