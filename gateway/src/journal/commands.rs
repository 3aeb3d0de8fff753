//! Commands of operators: who may give them, which are under way, and what became of them (SPEC 15.8, 15.9).

use std::collections::BTreeMap;
use std::time::Duration;

use kalitka_protocol::ReaderId;
use kalitka_protocol::event::ClockQuality;
use kalitka_protocol::upstream::{CommandBody, CommandOutcome, Envelope};
use kalitka_protocol::wire::Writer;
use ring::signature::{ED25519, UnparsedPublicKey};
use tokio::sync::oneshot;

use crate::limits::{COMMAND_PATIENCE, COMMAND_RESULT_PATIENCE, COMMAND_SIGNED_MAX, COMMANDS_UNDER_WAY_MAX};

/// Gets a command's number and outcome once its events are durable.
pub(super) type Reply = oneshot::Sender<(u64, CommandOutcome)>;

/// When it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time {
    pub(super) wall_us: i64,
    pub(super) monotonic: Duration,
    pub(super) quality: ClockQuality,
}

/// What is to be done about an envelope.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It came before, or was nobody's to give: the outcome goes back, and nothing is recorded.
    Known(CommandOutcome),
    /// It is under way; its outcome is told when there is one.
    UnderWay,
    /// It uses up its number and is not done.
    Refused(CommandOutcome),
    /// It is to be done.
    Do(CommandBody),
}

/// Commands that have not ended.
#[derive(Debug, Default)]
pub(super) struct Commands {
    operators: Vec<[u8; 32]>,
    under_way: BTreeMap<u64, UnderWay>,
}

/// A command that has not ended.
#[derive(Debug)]
pub(super) struct UnderWay {
    pub(super) operator: [u8; 32],
    pub(super) body: Vec<u8>,
    /// What became of it at each reader that it is for; none for an order to the gateway itself.
    pub(super) readers: BTreeMap<ReaderId, Option<CommandOutcome>>,
    /// When what has not ended counts as given up. `None` for an order to the gateway itself, which waits for the disk.
    until: Option<Duration>,
    pub(super) replies: Vec<Reply>,
}

impl UnderWay {
    /// A command to `readers`, which ends by itself at `until`.
    pub(super) fn to_readers(
        envelope: &Envelope<'_>,
        readers: impl Iterator<Item = ReaderId>,
        until: Duration,
    ) -> Self {
        let readers = readers.map(|reader| (reader, None)).collect();
        Self { readers, until: Some(until + COMMAND_RESULT_PATIENCE), ..Self::to_gateway(envelope) }
    }

    /// An order to the gateway itself.
    pub(super) fn to_gateway(envelope: &Envelope<'_>) -> Self {
        let (operator, body) = (envelope.operator, envelope.body.to_vec());
        Self { operator, body, readers: BTreeMap::new(), until: None, replies: Vec::new() }
    }
}

impl Commands {
    pub(super) fn new(operators: Vec<[u8; 32]>) -> Self {
        Self { operators, under_way: BTreeMap::new() }
    }

    /// What is to be done about `envelope`, when `newest` is the highest number used up. In this order: whose it is, whether
    /// its number is used, its time, its meaning.
    pub(super) fn judge(
        &self,
        building: u32,
        envelope: &Envelope<'_>,
        newest: Option<(u64, CommandOutcome)>,
        time: Time,
    ) -> Verdict {
        if !self.operators.contains(&envelope.operator) {
            return Verdict::Known(CommandOutcome::OperatorUnknown);
        }
        if !is_signed(envelope) {
            return Verdict::Known(CommandOutcome::SignatureWrong);
        }
        if envelope.building != building {
            return Verdict::Known(CommandOutcome::Malformed);
        }
        if self.under_way.contains_key(&envelope.number) {
            return Verdict::UnderWay;
        }
        match newest {
            Some((number, outcome)) if number == envelope.number => return Verdict::Known(outcome),
            Some((number, _)) if number > envelope.number => return Verdict::Known(CommandOutcome::NumberNotAbove),
            _ => {}
        }
        // One that has not ended has no outcome yet, and its number is used all the same.
        if self.under_way.last_key_value().is_some_and(|(&number, _)| number > envelope.number) {
            return Verdict::Known(CommandOutcome::NumberNotAbove);
        }
        if time.quality == ClockQuality::None || time.wall_us > envelope.not_after_us {
            return Verdict::Refused(CommandOutcome::TooLate);
        }
        match CommandBody::parse(envelope.body) {
            Err(_) => Verdict::Refused(CommandOutcome::Malformed),
            Ok(None) => Verdict::Refused(CommandOutcome::NotSupported),
            Ok(Some(_)) if self.under_way.len() >= COMMANDS_UNDER_WAY_MAX => Verdict::Refused(CommandOutcome::GivenUp),
            Ok(Some(body)) => Verdict::Do(body),
        }
    }

    /// Until when readers are told of `envelope`: its *not after*, but not longer than [`COMMAND_PATIENCE`].
    pub(super) fn until(envelope: &Envelope<'_>, time: Time) -> Duration {
        let left_us = u64::try_from(envelope.not_after_us.saturating_sub(time.wall_us)).unwrap_or(0);
        time.monotonic + Duration::from_micros(left_us).min(COMMAND_PATIENCE)
    }

    /// Command `number` has begun.
    pub(super) fn begin(&mut self, number: u64, command: UnderWay) {
        self.under_way.insert(number, command);
    }

    /// Somebody more waits for command `number`. When it is not under way, the reply is dropped, and who waits asks again.
    pub(super) fn wait(&mut self, number: u64, reply: Reply) {
        if let Some(command) = self.under_way.get_mut(&number) {
            // Each new connection asks again, and who asked over the one before is gone.
            command.replies.retain(|waiting| !waiting.is_closed());
            command.replies.push(reply);
        }
    }

    /// Takes what became of command `number` at `reader`; the command itself when that was the last reader.
    pub(super) fn ended(&mut self, reader: ReaderId, number: u64, outcome: CommandOutcome) -> Option<UnderWay> {
        let command = self.under_way.get_mut(&number)?;
        let place = command.readers.get_mut(&reader)?;
        *place = place.or(Some(outcome));
        let is_over = command.readers.values().all(Option::is_some);
        if is_over { self.under_way.remove(&number) } else { None }
    }

    /// Takes an order to the gateway itself out, which has been done.
    pub(super) fn take(&mut self, number: u64) -> Option<UnderWay> {
        self.under_way.remove(&number)
    }

    /// A command whose time has been over for a while, with the outcomes that have come.
    pub(super) fn take_overdue(&mut self, now: Duration) -> Option<(u64, UnderWay)> {
        let overdue = self.under_way.iter().find(|(_, command)| command.until.is_some_and(|until| until <= now));
        let number = *overdue?.0;
        self.under_way.remove(&number).map(|command| (number, command))
    }
}

/// The lowest outcome that is not *done*, and *done* when there is none (SPEC 15.9).
pub(super) fn of_all(outcomes: impl Iterator<Item = CommandOutcome>) -> CommandOutcome {
    let others = outcomes.filter(|outcome| *outcome != CommandOutcome::Done);
    others.min_by_key(|outcome| outcome.code()).unwrap_or(CommandOutcome::Done)
}

fn is_signed(envelope: &Envelope<'_>) -> bool {
    let mut signed = [0; COMMAND_SIGNED_MAX];
    let mut writer = Writer::new(&mut signed);
    if envelope.signed(&mut writer).is_err() {
        return false;
    }
    let len = writer.len();
    UnparsedPublicKey::new(&ED25519, &envelope.operator).verify(&signed[..len], &envelope.signature).is_ok()
}

#[cfg(test)]
#[path = "commands_tests.rs"]
mod tests;
