//! What came of a datagram: counted, kept, handed to the journal.

use kalitka_core::{Effect, Keys, View};
use kalitka_protocol::upstream::CommandOutcome;
use kalitka_protocol::{ReaderId, Stamp};

use super::worker::{Turn, Worker};
use crate::journal::Holder;
use crate::metrics::Tally;
use crate::stamps::{KeyCheck, Taken};

impl Worker {
    /// Deals with the effects at `place`; says whether an ask was among them.
    pub(super) fn note_effects(&mut self, turn: &Turn<'_>, place: usize) -> bool {
        let Turn { world, at, tally } = turn;
        let mut asked = false;
        for effect in self.desk.outs[place].effects() {
            match *effect {
                Effect::Decided(decided) => {
                    asked = true;
                    let decision = &decided.decision;
                    tally.decisions.count(decision);
                    let holder = decision.holder.and_then(|holder| holder_of(world.view?, holder));
                    self.journal.decided(*at, decided, holder.unwrap_or_default());
                }
                Effect::AskRepeated { .. } => {
                    asked = true;
                    tally.asks_repeated.add(1);
                }
                Effect::StampTaken { reader, stamp } => self.keep_stamp(world.keys, reader, stamp, tally),
                Effect::SessionOpened { .. } => tally.sessions_opened.add(1),
                Effect::Reported { reader, report, follows } => {
                    tally.reports.add(1);
                    self.journal.reported(*at, reader, report, follows);
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

    fn keep_stamp(&self, keys: &Keys, reader: ReaderId, stamp: Stamp, tally: &Tally) {
        tally.initiations.add(1);
        // The key goes with the stamp, because it may be another by the time that the keeper looks.
        let key = keys.get(reader).map(|known| KeyCheck::of(&known.psk));
        if key.is_some_and(|key| self.taken.try_send(Taken { reader, stamp, key }).is_err()) {
            tally.stamps_lost.add(1);
        }
    }
}

/// The opaque identity of dense number `holder`.
fn holder_of(view: &View, holder: u32) -> Option<Holder> {
    let holders = &view.snapshot().model().holders;
    holders.get(usize::try_from(holder).ok()?).map(|bytes| Holder::new(*bytes))
}
