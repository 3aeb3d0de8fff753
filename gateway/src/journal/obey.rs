//! How the journal obeys: orders to the gateway itself hold at once and are kept before anybody is told; orders to readers
//! go by their workers (SPEC 15.8, 15.9).

use std::time::Duration;

use kalitka_core::safety::ordered;
use kalitka_protocol::ReaderId;
use kalitka_protocol::event::{Body, CommandDone};
use kalitka_protocol::message::Order;
use kalitka_protocol::upstream::{CommandBody, CommandOutcome, Envelope};

use super::commands::{Commands, Reply, Time, UnderWay, Verdict, of_all};
use super::writer::Journal;
use crate::metrics::names;
use crate::udp::Post;

impl Journal {
    /// Judges a command's envelope and does what it says, if it is to be done.
    pub(super) fn command(&mut self, bytes: &[u8], reply: Reply) {
        // A message that does not hold an envelope has no number to answer; its connection ends with the reply.
        let Ok(envelope) = Envelope::parse(bytes) else {
            return self.count_command(CommandOutcome::Malformed);
        };
        let at = self.now();
        let time = Time { wall_us: at.wall_us, monotonic: at.monotonic, quality: at.quality };
        let number = envelope.number;
        match self.commands.judge(self.building, &envelope, self.kept.safety.newest(), time) {
            Verdict::Known(outcome) => self.tell_again(number, outcome, reply),
            Verdict::UnderWay => self.commands.wait(number, reply),
            Verdict::Refused(outcome) => self.refuse(&envelope, outcome, reply),
            Verdict::Do(body) => match (ordered(&body, number), body) {
                (Some(entry), _) => {
                    let full = self.kept.safety.order(entry).is_err() || self.overlay.restore([entry]).is_err();
                    if full {
                        return self.refuse(&envelope, CommandOutcome::NotSupported, reply);
                    }
                    self.obey(&envelope, reply);
                }
                (None, CommandBody::Reader { reader, order }) => {
                    self.pass_on(&envelope, reader, order, Commands::until(&envelope, time), reply);
                }
                (None, _) => self.refuse(&envelope, CommandOutcome::NotSupported, reply),
            },
        }
    }

    /// An order to the gateway holds already; once it is kept, it is recorded and told.
    fn obey(&mut self, envelope: &Envelope<'_>, reply: Reply) {
        let number = envelope.number;
        self.kept.safety.settle(number, CommandOutcome::Done);
        self.kept.newest = Some((envelope.operator, envelope.body.to_vec()));
        self.commands.begin(number, UnderWay::to_gateway(envelope));
        self.commands.wait(number, reply);
        self.unkept.push(number);
        self.keep_safety();
    }

    /// Keeps the orders that are in force, if that is due, and records those that waited for it.
    pub(super) fn keep_safety(&mut self) {
        if self.unkept.is_empty() {
            return;
        }
        if let Err(error) = self.store.with_reserve(|| self.safety_file.write(&self.kept)) {
            metrics::counter!(names::SAFETY_WRITE_FAILURES).increment(1);
            if self.safety_file.is_news() {
                tracing::error!(%error, "orders hold and cannot be kept over a restart; trying again");
            }
            return;
        }
        if self.safety_damaged && !self.overlay.is_in_safe_mode() {
            self.safety_damaged = false;
        }
        for number in std::mem::take(&mut self.unkept) {
            if let Some(command) = self.commands.take(number) {
                self.end(number, command);
            }
        }
    }

    /// Gives an order to the workers of the readers that it is for.
    fn pass_on(
        &mut self,
        envelope: &Envelope<'_>,
        reader: Option<ReaderId>,
        order: Order,
        until: Duration,
        reply: Reply,
    ) {
        let keys = self.keys.load();
        let known = keys.iter().flat_map(|keys| keys.iter()).map(|keys| keys.reader);
        let readers: Vec<_> = known.filter(|known| reader.is_none_or(|reader| reader == *known)).collect();
        drop(keys);
        let number = envelope.number;
        if readers.is_empty() {
            return self.refuse(envelope, CommandOutcome::ReaderUnknown, reply);
        }
        self.commands.begin(number, UnderWay::to_readers(envelope, readers.iter().copied(), until));
        self.commands.wait(number, reply);
        for reader in readers {
            let (sent, _) = self.posts.send_all(std::iter::once(Post::Command { reader, id: number, order, until }));
            if sent == 0 {
                self.command_ended(reader, number, CommandOutcome::GivenUp);
            }
        }
    }

    /// Takes what a worker says became of a command at one reader.
    pub(super) fn command_ended(&mut self, reader: ReaderId, number: u64, outcome: CommandOutcome) {
        if let Some(command) = self.commands.ended(reader, number, outcome) {
            self.end(number, command);
        }
    }

    /// Gives up commands whose time is over and of which a worker has not told.
    pub(super) fn end_overdue(&mut self, now: Duration) {
        while let Some((number, command)) = self.commands.take_overdue(now) {
            self.end(number, command);
        }
    }

    /// A command that uses up its number and is not done.
    fn refuse(&mut self, envelope: &Envelope<'_>, outcome: CommandOutcome, reply: Reply) {
        tracing::warn!(number = envelope.number, outcome = outcome.label(), "a command was not done");
        self.record(envelope.number, envelope.operator, 0, outcome, envelope.body);
        self.count_command(outcome);
        self.kept.safety.settle(envelope.number, outcome);
        self.told_later.push((envelope.number, outcome, vec![reply]));
    }

    /// A command has come to its end: an event for each reader, and the outcome of all once they are durable.
    fn end(&mut self, number: u64, command: UnderWay) {
        let UnderWay { operator, body, readers, replies, .. } = command;
        if readers.is_empty() {
            self.record(number, operator, 0, CommandOutcome::Done, &body);
        }
        let outcomes =
            readers.into_iter().map(|(reader, outcome)| (reader, outcome.unwrap_or(CommandOutcome::GivenUp)));
        let outcomes: Vec<_> = outcomes.collect();
        for &(reader, outcome) in &outcomes {
            self.record(number, operator, reader.0, outcome, &body);
        }
        let outcome = of_all(outcomes.into_iter().map(|(_, outcome)| outcome));
        self.count_command(outcome);
        self.kept.safety.settle(number, outcome);
        tracing::info!(number, outcome = outcome.label(), "a command has ended");
        self.told_later.push((number, outcome, replies));
    }

    fn record(&mut self, number: u64, operator: [u8; 32], reader: u32, outcome: CommandOutcome, body: &[u8]) {
        self.push_now(Body::Command(CommandDone { number, operator, reader, result: outcome.code(), body }));
    }

    /// A command that came before is answered again, but not before its event is durable.
    fn tell_again(&mut self, number: u64, outcome: CommandOutcome, reply: Reply) {
        match self.told_later.iter_mut().find(|(told, ..)| *told == number) {
            Some((_, _, replies)) => replies.push(reply),
            None => {
                self.count_command(outcome);
                // Who asked may be gone.
                let _ = reply.send((number, outcome));
            }
        }
    }

    fn count_command(&self, outcome: CommandOutcome) {
        metrics::counter!(names::COMMANDS, "outcome" => outcome.label()).increment(1);
    }
}
