//! What happens at a turnstile after a grant, in its time: most people go through, some turn back, a few hold the wing open,
//! and now and then one whom nobody let through forces the arm (SPEC 7.7, 7.8).

use std::time::Duration;

use fastrand::Rng;
use kalitka_protocol::credential::CardRead;
use kalitka_protocol::message::ReportKind;
use kalitka_protocol::reader::Happening;
use kalitka_protocol::reason::Direction;

use crate::limits::{MOVING_MAX, ROTATION, ROTATION_TIMEOUT};

/// Of a thousand releases, so many are followed by nobody, and so many by somebody who holds the wing open.
const TURNED_BACK: u32 = 50;
const HELD_OPEN: u32 = 10;
/// Of a thousand who are denied, so many force the arm.
const FORCED: u32 = 10;

/// Somebody who is let through: after an ask, or by a command, of whom no ask and no card is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Person {
    pub(crate) request: Option<u32>,
    pub(crate) direction: Direction,
    pub(crate) card: Option<CardRead>,
}

/// A turnstile: what is still to happen at it, the next first.
#[derive(Debug)]
pub(crate) struct Turnstile {
    rng: Rng,
    moving: Vec<(Duration, Happening)>,
}

impl Turnstile {
    pub(crate) const fn new(rng: Rng) -> Self {
        Self { rng, moving: Vec::new() }
    }

    /// Somebody is let through at `now`, for `hold_open`.
    pub(crate) fn release(&mut self, now: Duration, person: Person, hold_open: Duration) {
        // The time runs out sooner than a school's would, so that a run does not wait for it.
        let (timeout, turn) = (hold_open.min(ROTATION_TIMEOUT), self.time(ROTATION));
        match self.rng.u32(..1000) {
            lot if lot < TURNED_BACK => self.will(now + timeout, ReportKind::TurnedBack, person),
            lot if lot < TURNED_BACK + HELD_OPEN => {
                self.will(now + turn.min(timeout), ReportKind::Passed, person);
                self.will(now + turn.min(timeout) + timeout, ReportKind::HeldOpen, person);
            }
            _ => self.will(now + turn.min(timeout), ReportKind::Passed, person),
        }
    }

    /// Somebody is not.
    pub(crate) fn refuse(&mut self, now: Duration, direction: Direction) {
        if self.rng.u32(..1000) < FORCED {
            let after = self.time(ROTATION);
            self.add(now + after, happening(ReportKind::Forced, direction, None, None));
        }
    }

    /// The reader has lost its power: who was released and has not gone through will not any more, and what is told of it is
    /// told by a reader that knows no request any more.
    pub(crate) fn lose_power(&mut self, now: Duration) {
        for (at, happening) in &mut self.moving {
            *at = now;
            happening.request = None;
            if happening.kind == ReportKind::Passed {
                happening.kind = ReportKind::TurnedBack;
            }
        }
        // Nobody holds open what is not open.
        self.moving.retain(|(_, happening)| happening.kind != ReportKind::HeldOpen);
    }

    /// What has happened by `now`, one after the other.
    pub(crate) fn happened(&mut self, now: Duration) -> Option<Happening> {
        self.moving.first().filter(|(at, _)| *at <= now)?;
        Some(self.moving.remove(0).1)
    }

    /// When something happens next.
    pub(crate) fn next(&self) -> Duration {
        self.moving.first().map_or(Duration::MAX, |&(at, _)| at)
    }

    /// What is still to happen.
    pub(crate) const fn waiting(&self) -> usize {
        self.moving.len()
    }

    fn will(&mut self, at: Duration, kind: ReportKind, Person { request, direction, card }: Person) {
        self.add(at, happening(kind, direction, request, card));
    }

    fn add(&mut self, at: Duration, happening: Happening) {
        // A turnstile that is so far behind is no turnstile any more.
        if self.moving.len() < MOVING_MAX {
            let place = self.moving.partition_point(|&(other, _)| other <= at);
            self.moving.insert(place, (at, happening));
        }
    }

    /// Half of `mean` to half more.
    fn time(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(0.5 + self.rng.f64())
    }
}

const fn happening(kind: ReportKind, direction: Direction, request: Option<u32>, card: Option<CardRead>) -> Happening {
    Happening { kind, direction: Some(direction), request, input: 0, unasked: false, card }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const ENTRY: Direction = Direction::Entry;
    const HOLD_OPEN: Duration = Duration::from_secs(5);

    fn person(request: u32) -> Person {
        Person { request: Some(request), direction: ENTRY, card: CardRead::from_uid(&[1, 2, 3, 4]) }
    }

    /// All that happens, in its order.
    fn all(turnstile: &mut Turnstile) -> Vec<Happening> {
        let mut happened = Vec::new();
        while turnstile.waiting() > 0 {
            let next = turnstile.next();
            assert!(turnstile.happened(next - Duration::from_nanos(1)).is_none(), "nothing before its time");
            happened.extend(turnstile.happened(next));
        }
        happened
    }

    #[test]
    fn each_release_is_followed_by_one_pass_or_one_turning_back() {
        let mut turnstile = Turnstile::new(Rng::with_seed(1));
        let mut followed = BTreeMap::<u32, Vec<ReportKind>>::new();
        for request in 1..=5000 {
            turnstile.release(Duration::from_secs(request.into()), person(request), HOLD_OPEN);
            for happening in all(&mut turnstile) {
                assert_eq!(happening.direction, Some(ENTRY));
                followed.entry(happening.request.unwrap()).or_default().push(happening.kind);
            }
        }
        assert_eq!(followed.len(), 5000);
        let mut kinds = BTreeMap::<Vec<u8>, u32>::new();
        followed
            .values()
            .for_each(|kinds_of| *kinds.entry(kinds_of.iter().map(|kind| kind.code()).collect()).or_default() += 1);
        let [passed, held_open, turned_back] =
            [&[1][..], &[1, 4], &[2]].map(|kinds_of| kinds.remove(kinds_of).unwrap());
        assert!(
            kinds.is_empty() && passed > 4500 && held_open > 20 && turned_back > 150,
            "{passed} {held_open} {turned_back}"
        );
    }

    #[test]
    fn some_who_are_denied_force_the_arm_and_nobody_asks_for_them() {
        let mut turnstile = Turnstile::new(Rng::with_seed(2));
        (0..10_000).for_each(|second| turnstile.refuse(Duration::from_secs(second), ENTRY));
        let forced = all(&mut turnstile);
        assert!((50..200).contains(&forced.len()), "{}", forced.len());
        assert!(forced.iter().all(|h| h.kind == ReportKind::Forced && h.request.is_none() && h.card.is_none()));
    }

    #[test]
    fn lost_power_turns_everybody_back_who_is_under_way() {
        let mut turnstile = Turnstile::new(Rng::with_seed(3));
        (1..=50).for_each(|request| turnstile.release(Duration::ZERO, person(request), HOLD_OPEN));
        turnstile.lose_power(Duration::from_millis(1));
        assert_eq!(turnstile.next(), Duration::from_millis(1));
        let told = all(&mut turnstile);
        assert_eq!(told.len(), 50);
        assert!(told.iter().all(|h| h.kind == ReportKind::TurnedBack && h.request.is_none()));
    }

    #[test]
    fn what_is_under_way_is_bounded() {
        let mut turnstile = Turnstile::new(Rng::with_seed(4));
        (1..=10_000).for_each(|request| turnstile.release(Duration::ZERO, person(request), HOLD_OPEN));
        assert_eq!(turnstile.waiting(), MOVING_MAX);
    }
}
