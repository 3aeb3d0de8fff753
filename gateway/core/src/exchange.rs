//! The messages of one opened datagram and the replies to them.

use kalitka_protocol::limits::DATAGRAM_MAX;
use kalitka_protocol::message::{
    Answer, Ask, CommandResult, Done, ListAsk, ListEntries, ListPage, ListStatus, Message, Ping, Pong,
};
use kalitka_protocol::upstream::CommandOutcome;
use kalitka_protocol::wire::{NoRoom, Writer};
use kalitka_protocol::{BootId, ReaderId};

use crate::asks::Answers;
use crate::commands::Commands;
use crate::decide::decide;
use crate::limits::ANSWER_LEN_MAX;
use crate::output::{Decided, Effect, Effects};
use crate::pulse::Pulse;
use crate::requests::{Request, Requests};
use crate::tally::ReaderTally;
use crate::texts::Line;
use crate::time::Now;
use crate::worker::World;

/// One datagram's exchange with one reader.
pub(crate) struct Exchange<'a> {
    pub(crate) world: &'a World<'a>,
    pub(crate) now: Now,
    pub(crate) reader: ReaderId,
    pub(crate) boot: BootId,
    pub(crate) answers: &'a mut Answers,
    pub(crate) commands: &'a mut Commands,
    pub(crate) effects: &'a mut Effects,
    pub(crate) tally: &'a ReaderTally,
    pub(crate) pulse: &'a mut Pulse,
}

impl Exchange<'_> {
    /// Takes all of `requests`. Writes the replies; those that do not fit are left out, and an answer among them is kept for
    /// the reader's next try.
    pub(crate) fn take(&mut self, requests: &Requests, replies: &mut Writer<'_>) {
        let mut left_out = 0;
        for request in requests.iter() {
            left_out += u32::from(self.reply(request, replies).is_err());
        }
        if left_out > 0 {
            self.effects.note(Effect::NoRoom { replies: left_out });
        }
        if requests.skipped > 0 {
            self.effects.note(Effect::Skipped { messages: requests.skipped });
        }
    }

    fn reply(&mut self, request: &Request, replies: &mut Writer<'_>) -> Result<(), NoRoom> {
        let reader = self.reader;
        match request {
            Request::Ask(ask) => return self.answer(ask, replies),
            Request::ListAsk(ask) => {
                self.pulse.asked(self.now.monotonic);
                return not_available(ask).emit(replies);
            }
            Request::Ping(ping) => {
                self.note_ping(ping);
                return Message::Pong(Pong { token: ping.token }).emit(replies);
            }
            // Its receipt means durable, and comes when it is.
            Request::Report(report) => {
                let follows = self.answers.followed(report.boot, report.request);
                self.effects.note(Effect::Reported { reader, report: *report, follows });
            }
            Request::Done(done) => self.done(*done),
        }
        Ok(())
    }

    fn note_ping(&mut self, ping: &Ping) {
        self.tally.ping(ping);
        if let Some(second) = self.pulse.pinged(self.now.monotonic) {
            self.tally.measured(second);
        }
    }

    /// Ends the command under way that the reader says is done, or only tells of another.
    fn done(&mut self, Done { id, result }: Done) {
        let (reader, ended) = (self.reader, self.commands.end(id));
        let outcome = match result {
            CommandResult::Done => CommandOutcome::Done,
            CommandResult::NotSupported => CommandOutcome::NotSupported,
        };
        self.effects.note(match ended {
            true => Effect::CommandEnded { reader, id, outcome },
            false => Effect::DoneReceived { reader, id, result },
        });
    }

    /// Answers a new ask by decision and a repeated one from memory.
    fn answer(&mut self, ask: &Ask, replies: &mut Writer<'_>) -> Result<(), NoRoom> {
        self.pulse.asked(self.now.monotonic);
        if let Some(given) = self.answers.find(self.boot, ask) {
            self.tally.repeats.add(1);
            self.effects.note(Effect::AskRepeated { reader: self.reader });
            return replies.put(given);
        }
        let World { view, overlay, .. } = *self.world;
        let decision = decide(view, overlay, self.reader, ask, self.now.time());
        self.tally.asked();
        let (line, tone) = Line::of(decision.verdict);
        let answer = Message::Answer(Answer {
            request: ask.request,
            generation: decision.generation,
            hold_open_ms: decision.hold_open_ms,
            verdict: decision.verdict,
            tone,
            text: self.world.texts.get(line),
        });
        let Ask { request, direction, age_ms, .. } = *ask;
        let (reader, boot) = (self.reader, self.boot);
        self.effects.note(Effect::Decided(Decided { reader, boot, request, direction, age_ms, decision }));
        if let Some((view, holder)) = view.zip(decision.holder) {
            view.snapshot().prefetch_holder(holder);
        }
        replies.put(self.answers.keep(boot, ask, &answer)?)
    }
}

fn not_available(ask: &ListAsk) -> Message<'static> {
    Message::ListPage(ListPage {
        request: ask.request,
        page: ask.page,
        pages: 0,
        status: ListStatus::NotAvailable,
        entries: ListEntries::NONE,
    })
}

const _: () = assert!(ANSWER_LEN_MAX < DATAGRAM_MAX);
