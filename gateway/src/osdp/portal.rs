//! What a device's inputs and output mean: a release, a rotation, a door, a button (SPEC 7.7 to 7.9). Time is passed in,
//! effects come out.

use std::collections::VecDeque;
use std::time::Duration;

use kalitka_protocol::credential::CardRead;
use kalitka_protocol::limits::OSDP_ACT_AGE_MAX;
use kalitka_protocol::message::ReportKind;
use kalitka_protocol::reader::Happening;
use kalitka_protocol::reason::Direction;
use kalitka_snapshot::limits::HOLD_OPEN_MS_MAX;

use super::settings::DeviceSettings;
use crate::limits::{OSDP_PASSES_AWAITED_MAX, OSDP_WALK};

/// Beyond the hold-open time, how long a person who has begun to pass may take until the rotation is seen.
const GRACE: Duration = Duration::from_secs(1);
/// How long a button holds the portal open.
const BUTTON_OPEN: Duration = Duration::from_secs(5);
/// How long after it was asked for a release has been told as lost, if it was. Beyond [`OSDP_ACT_AGE_MAX`], what the slots under
/// way take, with room.
const LOSS_TOLD: Duration = OSDP_ACT_AGE_MAX.saturating_add(Duration::from_secs(1));
/// How long after a portal's start somebody may still go through whom the gateway had let pass before it.
const LET_PASS_BEFORE: Duration = Duration::from_millis(HOLD_OPEN_MS_MAX as u64).saturating_add(GRACE);

/// What follows from an input or from time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Let go for so long.
    Release(Duration),
    /// Report it.
    Report(Happening),
}

/// Somebody may pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass {
    /// The request that was granted, unless the person was let pass without asking.
    pub(super) request: Option<u32>,
    pub(super) direction: Direction,
    pub(super) card: Option<CardRead>,
    pub(super) unasked: bool,
    /// Since when whoever it is for has waited: by that their release is known.
    pub(super) asked: Duration,
}

/// A pass of which it is not known yet what came of it.
#[derive(Clone, Copy, Debug)]
struct Awaited {
    pass: Pass,
    since: Duration,
    hold_open: Duration,
    /// Whether an input tells when they go through.
    is_seen: bool,
    /// Whether the door stood open meanwhile: whoever goes through it then is not seen.
    door_was_open: bool,
    /// Whether the device may not have released: whoever goes through is rather somebody else.
    is_doubtful: bool,
}

impl Awaited {
    fn until(&self) -> Duration {
        if self.is_seen { self.since + self.hold_open + GRACE } else { self.pass.asked + LOSS_TOLD }
    }
}

/// A door that stands open.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// For whom; nobody, when it was forced.
    by: Option<Pass>,
    /// When that is reported, until it has been.
    report_at: Option<Duration>,
}

/// One portal, as far as its reader's inputs tell.
#[derive(Debug)]
pub(super) struct Portal {
    settings: DeviceSettings,
    /// The oldest first, [`OSDP_PASSES_AWAITED_MAX`] at most.
    awaited: VecDeque<Awaited>,
    /// Who was last told to have passed, and until when a door that opens is opened by them, where it is not the door that tells.
    passed: Option<(Awaited, Duration)>,
    open: Option<Open>,
    start: Duration,
    /// How many of those whom the gateway may have let pass before its start have not been seen.
    let_pass_before: usize,
}

impl Portal {
    /// The portal of `settings`, looked after from `now` on.
    pub(super) fn new(settings: &DeviceSettings, now: Duration) -> Self {
        Self {
            settings: settings.clone(),
            awaited: VecDeque::new(),
            passed: None,
            open: None,
            start: now,
            let_pass_before: OSDP_PASSES_AWAITED_MAX,
        }
    }

    /// Somebody may pass for `hold_open` from `now` on. Where nobody sees who passes, that is a pass, unless the release is told as
    /// lost. Whoever shows their card again has not passed by it before.
    pub(super) fn grant(&mut self, now: Duration, pass: Pass, hold_open: Duration, effects: &mut Vec<Effect>) {
        effects.push(Effect::Release(hold_open));
        let is_seen = self.sees(pass.direction);
        let Pass { direction, card, .. } = pass;
        let is_theirs = |of: &Pass| card.is_some() && of.card == card && of.direction == direction;
        while let Some(place) = self.awaited.iter().position(|awaited| awaited.is_seen && is_theirs(&awaited.pass)) {
            self.awaited[place].door_was_open = false;
            self.end(place, effects);
        }
        if self.awaited.len() >= OSDP_PASSES_AWAITED_MAX {
            self.end(0, effects);
        }
        let (door_was_open, is_doubtful) = (self.open.is_some(), false);
        self.awaited.push_back(Awaited { pass, since: now, hold_open, is_seen, door_was_open, is_doubtful });
    }

    /// The release of whoever has waited since `asked` has got lost. If it was not done, he has turned back. If it may have been, he
    /// is awaited still, but whoever goes through is taken for somebody else, if anybody else is awaited.
    pub(super) fn release_lost(&mut self, asked: Duration, may_be_done: bool, effects: &mut Vec<Effect>) {
        let is_it = |awaited: &Awaited| awaited.pass.asked == asked && !awaited.is_doubtful;
        let Some(place) = self.awaited.iter().position(is_it) else { return };
        let awaited = &mut self.awaited[place];
        // Where nobody sees who passes, a release that may have been done is a pass.
        awaited.is_doubtful = awaited.is_seen || !may_be_done;
        if !may_be_done {
            self.end(place, effects);
        }
    }

    /// The reader is started: what it asked before is no longer known by its number.
    pub(super) fn forget_requests(&mut self) {
        let by = self.open.iter_mut().filter_map(|open| open.by.as_mut());
        let passed = self.passed.iter_mut().map(|(awaited, _)| &mut awaited.pass);
        let awaited = self.awaited.iter_mut().map(|awaited| &mut awaited.pass);
        by.chain(passed).chain(awaited).for_each(|pass| pass.request = None);
    }

    /// The inputs are `active`, and those in `changed` have changed.
    pub(super) fn inputs(&mut self, now: Duration, active: u32, changed: u32, effects: &mut Vec<Effect>) {
        let meaning = self.settings.inputs;
        // What is told at once has happened one after the other: whoever presses the button opens the door, and turns the arm.
        let first = [meaning.exit_button, meaning.door];
        let others = (0..32_u8).filter(|number| !first.contains(&Some(*number)));
        for number in first.into_iter().flatten().chain(others).filter(|number| changed >> number & 1 != 0) {
            let is_active = active >> number & 1 != 0;
            let is = |input: Option<u8>| input == Some(number);
            match is_active {
                true if is(meaning.rotation_entry) => self.rotated(now, Direction::Entry, effects),
                true if is(meaning.rotation_exit) => self.rotated(now, Direction::Exit, effects),
                true if is(meaning.tamper) => effects.push(report(ReportKind::Tamper, None)),
                true if is(meaning.exit_button) => self.pressed(now, number, effects),
                true if is(meaning.door) => self.opened(now, effects),
                false if is(meaning.door) => self.open = None,
                false if meaning.has(number) => {}
                _ => {
                    let input = number | if is_active { 0x80 } else { 0 };
                    effects.push(Effect::Report(Happening { input, ..happening(ReportKind::InputChange, None) }));
                }
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub(super) fn next_timeout(&self) -> Option<Duration> {
        let held = self.open.and_then(|open| open.report_at);
        self.awaited.iter().map(Awaited::until).chain(held).min()
    }

    /// Does what time asks for.
    pub(super) fn handle_timeout(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        while let Some(place) = self.awaited.iter().position(|awaited| awaited.until() <= now) {
            self.end(place, effects);
        }
        if let Some(open) = &mut self.open
            && open.report_at.take_if(|at| *at <= now).is_some()
        {
            let held_open = |pass: &Pass| followed(ReportKind::HeldOpen, pass);
            effects.push(open.by.as_ref().map_or(report(ReportKind::HeldOpen, None), held_open));
        }
    }

    const fn has_rotation(&self) -> bool {
        self.settings.inputs.has_rotation()
    }

    /// Whether an input tells that somebody has passed in `direction`.
    const fn sees(&self, direction: Direction) -> bool {
        let inputs = &self.settings.inputs;
        inputs.rotation(direction).is_some() || (!self.has_rotation() && inputs.door.is_some())
    }

    /// Takes out the pass that is now seen, in `direction` if that is seen too.
    ///
    /// The next card is often read while the one before is still in the arm: within [`OSDP_WALK`] whoever was let pass first
    /// goes first. After that the one before has turned away, and it is the last: else one who turns back would pass as the
    /// next, the next as the one behind, and so on for as long as people come.
    fn seen(&mut self, now: Duration, direction: Option<Direction>) -> Option<Awaited> {
        let fits = |awaited: &Awaited| direction.is_none_or(|direction| awaited.pass.direction == direction);
        let walks = |awaited: &Awaited| now < awaited.since + OSDP_WALK;
        let awaited = &self.awaited;
        let place = awaited
            .iter()
            .position(|awaited| fits(awaited) && !awaited.is_doubtful && walks(awaited))
            .or_else(|| awaited.iter().rposition(|awaited| fits(awaited) && !awaited.is_doubtful))
            .or_else(|| awaited.iter().rposition(fits))?;
        self.awaited.remove(place)
    }

    fn rotated(&mut self, now: Duration, direction: Direction, effects: &mut Vec<Effect>) {
        let effect = match self.seen(now, Some(direction)) {
            Some(awaited) => {
                self.passed = Some((awaited, now + GRACE));
                followed(ReportKind::Passed, &awaited.pass)
            }
            None => self.unawaited(now, Some(direction)),
        };
        effects.push(effect);
    }

    /// Where nothing turns, whoever opens the door passes.
    fn opened(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let opener = if self.has_rotation() { self.opener(now) } else { self.seen(now, None) };
        match &opener {
            Some(_) if self.has_rotation() => {}
            Some(Awaited { pass, .. }) => effects.push(followed(ReportKind::Passed, pass)),
            None => effects.push(self.unawaited(now, None)),
        }
        let hold_open = opener.map_or(Duration::ZERO, |opener| opener.hold_open);
        let report_at = Some(now + self.settings.held_open_after().max(hold_open));
        self.open = Some(Open { by: opener.map(|opener| opener.pass), report_at });
        self.awaited.iter_mut().for_each(|awaited| awaited.door_was_open = true);
    }

    /// Who opens the door of a portal that turns: whoever may pass, or has just turned the arm that stands before it.
    fn opener(&self, now: Duration) -> Option<Awaited> {
        let passed = self.passed.filter(|(_, until)| now < *until).map(|(awaited, _)| awaited);
        self.awaited.back().copied().or(passed)
    }

    /// Somebody went through whom this portal does not await: forced, unless the gateway may have let them pass before its start.
    fn unawaited(&mut self, now: Duration, direction: Option<Direction>) -> Effect {
        let may_be = direction.is_none_or(|direction| self.settings.serves(direction))
            && self.let_pass_before > 0
            && now < self.start + LET_PASS_BEFORE;
        if may_be {
            self.let_pass_before -= 1;
        }
        report(if may_be { ReportKind::Passed } else { ReportKind::Forced }, direction)
    }

    fn pressed(&mut self, now: Duration, number: u8, effects: &mut Vec<Effect>) {
        effects.push(Effect::Report(Happening { input: number | 0x80, ..happening(ReportKind::InputChange, None) }));
        let pass = Pass { request: None, direction: Direction::Exit, card: None, unasked: true, asked: now };
        self.grant(now, pass, BUTTON_OPEN, effects);
    }

    /// Nobody has been seen to go through for the pass at `place`, and nobody will be. Through a door that stood open, or where
    /// nobody sees it, he may have gone all the same, and is taken to have: who is inside must not count as away.
    fn end(&mut self, place: usize, effects: &mut Vec<Effect>) {
        let Some(awaited) = self.awaited.remove(place) else { return };
        let Awaited { pass, is_seen, door_was_open, is_doubtful, .. } = awaited;
        let may_have = !is_seen || (door_was_open && !self.has_rotation());
        if may_have && !is_doubtful {
            if !is_seen {
                self.passed = Some((awaited, awaited.since + awaited.hold_open + GRACE));
            }
            effects.push(followed(ReportKind::Passed, &pass));
        } else if !pass.unasked || pass.card.is_some() {
            effects.push(followed(ReportKind::TurnedBack, &pass));
        }
    }
}

const fn happening(kind: ReportKind, direction: Option<Direction>) -> Happening {
    Happening { kind, direction, request: None, input: 0, unasked: false, card: None }
}

const fn report(kind: ReportKind, direction: Option<Direction>) -> Effect {
    Effect::Report(happening(kind, direction))
}

const fn followed(kind: ReportKind, pass: &Pass) -> Effect {
    let Pass { request, direction, card, unasked, .. } = *pass;
    Effect::Report(Happening { kind, direction: Some(direction), request, input: 0, unasked, card })
}

#[cfg(test)]
#[path = "portal_tests.rs"]
mod tests;
