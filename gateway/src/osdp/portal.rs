//! What a device's inputs and output mean: a release, a rotation, a door, a button. Time is passed in, effects come out.

use std::time::Duration;

use kalitka_protocol::credential::CardRead;
use kalitka_protocol::message::ReportKind;
use kalitka_protocol::reader::Happening;
use kalitka_protocol::reason::Direction;

use super::settings::Inputs;

/// Beyond the hold-open time, how long a person who has begun to pass may take until the rotation is seen.
const GRACE: Duration = Duration::from_secs(1);
/// How long a button holds the portal open.
const BUTTON_OPEN: Duration = Duration::from_secs(5);

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
}

/// One portal, as far as its reader's inputs tell.
#[derive(Debug)]
pub(super) struct Portal {
    inputs: Inputs,
    held_open_after: Duration,
    awaited: Option<(Pass, Duration)>,
    /// Since when the door stands open, until it has been reported.
    open_since: Option<Duration>,
}

impl Portal {
    pub(super) const fn new(inputs: Inputs, held_open_after: Duration) -> Self {
        Self { inputs, held_open_after, awaited: None, open_since: None }
    }

    /// Somebody may pass for `hold_open` from `now` on. One who was let pass before and did not has turned back.
    pub(super) fn grant(&mut self, now: Duration, pass: Pass, hold_open: Duration, effects: &mut Vec<Effect>) {
        self.turned_back(effects);
        effects.push(Effect::Release(hold_open));
        if self.sees_passes() {
            self.awaited = Some((pass, now + hold_open + GRACE));
        }
    }

    /// Whoever was let pass last was not: the portal stayed locked.
    pub(super) fn not_released(&mut self, effects: &mut Vec<Effect>) {
        self.turned_back(effects);
    }

    /// The inputs are `active`, and those in `changed` have changed.
    pub(super) fn inputs(&mut self, now: Duration, active: u32, changed: u32, effects: &mut Vec<Effect>) {
        for number in (0..32_u8).filter(|number| changed >> number & 1 != 0) {
            let is_active = active >> number & 1 != 0;
            let is = |input: Option<u8>| input == Some(number);
            match is_active {
                true if is(self.inputs.rotation_entry) => self.rotated(Direction::Entry, effects),
                true if is(self.inputs.rotation_exit) => self.rotated(Direction::Exit, effects),
                true if is(self.inputs.tamper) => effects.push(report(ReportKind::Tamper, None)),
                true if is(self.inputs.exit_button) => self.pressed(now, number, effects),
                _ if is(self.inputs.door) => self.door(now, is_active, effects),
                false if self.inputs.has(number) => {}
                _ => {
                    let input = number | if is_active { 0x80 } else { 0 };
                    effects.push(Effect::Report(Happening { input, ..happening(ReportKind::InputChange, None) }));
                }
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub(super) fn next_timeout(&self) -> Option<Duration> {
        let held = self.open_since.map(|since| since + self.held_open_after);
        [self.awaited.map(|(_, until)| until), held].into_iter().flatten().min()
    }

    /// Does what time asks for.
    pub(super) fn handle_timeout(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        if self.awaited.is_some_and(|(_, until)| until <= now) {
            self.turned_back(effects);
        }
        if self.open_since.take_if(|since| *since + self.held_open_after <= now).is_some() {
            effects.push(report(ReportKind::HeldOpen, None));
        }
    }

    const fn has_rotation(&self) -> bool {
        self.inputs.rotation_entry.is_some() || self.inputs.rotation_exit.is_some()
    }

    const fn sees_passes(&self) -> bool {
        self.has_rotation() || self.inputs.door.is_some()
    }

    fn rotated(&mut self, direction: Direction, effects: &mut Vec<Effect>) {
        match self.awaited.take_if(|(pass, _)| pass.direction == direction) {
            Some((pass, _)) => effects.push(followed(ReportKind::Passed, &pass)),
            None => effects.push(report(ReportKind::Forced, Some(direction))),
        }
    }

    /// Where nothing turns, whoever opens the door passes.
    fn door(&mut self, now: Duration, is_open: bool, effects: &mut Vec<Effect>) {
        self.open_since = is_open.then_some(now);
        if !is_open {
            return;
        }
        match self.awaited {
            Some(_) if self.has_rotation() => {}
            Some((pass, _)) => {
                self.awaited = None;
                effects.push(followed(ReportKind::Passed, &pass));
            }
            None => effects.push(report(ReportKind::Forced, None)),
        }
    }

    fn pressed(&mut self, now: Duration, number: u8, effects: &mut Vec<Effect>) {
        effects.push(Effect::Report(Happening { input: number | 0x80, ..happening(ReportKind::InputChange, None) }));
        let pass = Pass { request: None, direction: Direction::Exit, card: None, unasked: true };
        self.grant(now, pass, BUTTON_OPEN, effects);
    }

    fn turned_back(&mut self, effects: &mut Vec<Effect>) {
        if let Some((pass, _)) = self.awaited.take()
            && pass.card.is_some()
        {
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
    let Pass { request, direction, card, unasked } = *pass;
    Effect::Report(Happening { kind, direction: Some(direction), request, input: 0, unasked, card })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURNSTILE: Inputs =
        Inputs { rotation_entry: Some(0), rotation_exit: Some(1), door: None, exit_button: None, tamper: Some(2) };
    const DOOR: Inputs =
        Inputs { rotation_entry: None, rotation_exit: None, door: Some(3), exit_button: Some(4), tamper: None };
    const HOLD: Duration = Duration::from_secs(5);

    fn portal(inputs: Inputs) -> Portal {
        Portal::new(inputs, Duration::from_secs(15))
    }

    fn pass(request: u32, direction: Direction) -> Pass {
        Pass { request: Some(request), direction, card: CardRead::from_uid(&[1, 2, 3, 4]), unasked: false }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// What was reported: kind, direction, request, input.
    fn reported(effects: &mut Vec<Effect>) -> Vec<(ReportKind, Option<Direction>, Option<u32>, u8)> {
        let reports = effects.drain(..).filter_map(|effect| match effect {
            Effect::Report(of) => Some((of.kind, of.direction, of.request, of.input)),
            Effect::Release(_) => None,
        });
        reports.collect()
    }

    #[test]
    fn rotation_after_a_grant_is_a_pass_and_any_other_is_forced() {
        let (mut portal, mut effects) = (portal(TURNSTILE), Vec::new());
        portal.grant(seconds(1), pass(7, Direction::Entry), HOLD, &mut effects);
        assert_eq!(effects, [Effect::Release(HOLD)]);
        portal.inputs(seconds(2), 0b10, 0b10, &mut effects);
        assert_eq!(reported(&mut effects), [(ReportKind::Forced, Some(Direction::Exit), None, 0)], "the other way");
        portal.inputs(seconds(3), 0b01, 0b11, &mut effects);
        assert_eq!(reported(&mut effects), [(ReportKind::Passed, Some(Direction::Entry), Some(7), 0)]);
        portal.inputs(seconds(3), 0b00, 0b01, &mut effects);
        portal.inputs(seconds(4), 0b01, 0b01, &mut effects);
        assert_eq!(reported(&mut effects), [(ReportKind::Forced, Some(Direction::Entry), None, 0)], "one pass a grant");
    }

    #[test]
    fn whoever_does_not_pass_in_time_or_before_the_next_has_turned_back() {
        let (mut portal, mut effects) = (portal(TURNSTILE), Vec::new());
        portal.grant(seconds(1), pass(1, Direction::Entry), HOLD, &mut effects);
        portal.grant(seconds(2), pass(2, Direction::Entry), HOLD, &mut effects);
        assert_eq!(reported(&mut effects), [(ReportKind::TurnedBack, Some(Direction::Entry), Some(1), 0)]);
        assert_eq!(portal.next_timeout(), Some(seconds(8)));
        portal.handle_timeout(seconds(7), &mut effects);
        assert!(effects.is_empty());
        portal.handle_timeout(seconds(8), &mut effects);
        assert_eq!(reported(&mut effects), [(ReportKind::TurnedBack, Some(Direction::Entry), Some(2), 0)]);
        assert_eq!(portal.next_timeout(), None);
    }

    #[test]
    fn door_is_passed_forced_and_held_open() {
        let (mut portal, mut effects) = (portal(DOOR), Vec::new());
        portal.grant(seconds(1), pass(3, Direction::Entry), HOLD, &mut effects);
        portal.inputs(seconds(2), 0b1000, 0b1000, &mut effects);
        assert_eq!(reported(&mut effects), [(ReportKind::Passed, Some(Direction::Entry), Some(3), 0)]);
        portal.handle_timeout(seconds(16), &mut effects);
        assert!(effects.is_empty());
        portal.handle_timeout(seconds(17), &mut effects);
        portal.handle_timeout(seconds(40), &mut effects);
        assert_eq!(reported(&mut effects), [(ReportKind::HeldOpen, None, None, 0)], "told once");
        portal.inputs(seconds(50), 0, 0b1000, &mut effects);
        portal.inputs(seconds(51), 0b1000, 0b1000, &mut effects);
        assert_eq!(reported(&mut effects), [(ReportKind::Forced, None, None, 0)]);
    }

    #[test]
    fn button_lets_out_and_is_not_called_forced() {
        let (mut portal, mut effects) = (portal(DOOR), Vec::new());
        portal.inputs(seconds(1), 0b1_0000, 0b1_0000, &mut effects);
        assert!(effects.contains(&Effect::Release(BUTTON_OPEN)));
        assert_eq!(reported(&mut effects), [(ReportKind::InputChange, None, None, 0x84)]);
        portal.inputs(seconds(2), 0b1_1000, 0b1000, &mut effects);
        let Some(Effect::Report(passed)) = effects.pop() else { panic!("{effects:?}") };
        assert!(passed.kind == ReportKind::Passed && passed.unasked && passed.direction == Some(Direction::Exit));
    }

    #[test]
    fn tamper_and_inputs_without_meaning_are_reported() {
        let (mut portal, mut effects) = (portal(TURNSTILE), Vec::new());
        portal.inputs(seconds(1), 0b1_0100, 0b1_0100, &mut effects);
        portal.inputs(seconds(2), 0, 0b1_0100, &mut effects);
        let expected = [
            (ReportKind::Tamper, None, None, 0),
            (ReportKind::InputChange, None, None, 0x84),
            (ReportKind::InputChange, None, None, 4),
        ];
        assert_eq!(reported(&mut effects), expected);
    }
}
