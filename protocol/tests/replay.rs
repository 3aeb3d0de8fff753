//! The replay window against a set that forgets nothing.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]

use std::collections::HashSet;

use kalitka_protocol::limits::REPLAY_WINDOW;
use kalitka_protocol::replay::{ReplayWindow, Replayed};
use proptest::prelude::*;

/// Every counter ever taken.
#[derive(Default)]
struct Model {
    seen: HashSet<u64>,
    highest: Option<u64>,
}

impl Model {
    fn check(&self, counter: u64) -> Result<(), Replayed> {
        match self.highest {
            Some(highest) if highest.saturating_sub(counter) >= REPLAY_WINDOW => Err(Replayed::TooOld),
            _ if self.seen.contains(&counter) => Err(Replayed::Seen),
            _ => Ok(()),
        }
    }

    fn mark(&mut self, counter: u64) {
        self.seen.insert(counter);
        self.highest = self.highest.max(Some(counter));
    }
}

// SPEC 5.4 the window's edge
#[test]
fn window_ends_1023_below_the_highest() {
    for highest in [REPLAY_WINDOW, 5_000, 1 << 31] {
        let mut window = ReplayWindow::default();
        window.mark(highest);
        assert_eq!(window.check(highest), Err(Replayed::Seen));
        assert_eq!(window.check(highest - (REPLAY_WINDOW - 1)), Ok(()), "limit - 1");
        assert_eq!(window.check(highest - REPLAY_WINDOW), Err(Replayed::TooOld), "limit");
        assert_eq!(window.check(highest + 1), Ok(()));
        assert_eq!(window.highest(), Some(highest));
    }
}

#[test]
fn jump_leaves_nothing_seen_of_the_window_before() {
    for jump in [1, 63, 64, REPLAY_WINDOW - 1, REPLAY_WINDOW, REPLAY_WINDOW + 1, 2 * REPLAY_WINDOW, 1 << 40] {
        let mut window = ReplayWindow::default();
        (0..REPLAY_WINDOW).for_each(|counter| window.mark(counter));
        let highest = REPLAY_WINDOW - 1 + jump;
        window.mark(highest);
        let skipped = REPLAY_WINDOW.max(highest - (REPLAY_WINDOW - 1))..highest;
        assert!(skipped.clone().all(|counter| window.check(counter) == Ok(())), "jump of {jump}");
    }
}

#[test]
fn counter_zero_is_taken_once() {
    let mut window = ReplayWindow::default();
    assert_eq!(window.highest(), None);
    assert_eq!(window.check(0), Ok(()));
    window.mark(0);
    assert_eq!((window.check(0), window.highest()), (Err(Replayed::Seen), Some(0)));
}

#[test]
fn greatest_counter_is_taken_once() {
    let mut window = ReplayWindow::default();
    window.mark(u64::MAX);
    assert_eq!((window.check(u64::MAX), window.highest()), (Err(Replayed::Seen), Some(u64::MAX)));
    assert_eq!(window.check(u64::MAX - (REPLAY_WINDOW - 1)), Ok(()));
    assert_eq!(window.check(u64::MAX - REPLAY_WINDOW), Err(Replayed::TooOld));
}

#[test]
fn looking_moves_nothing() {
    let mut window = ReplayWindow::default();
    window.mark(10);
    for counter in [1 << 40, u64::MAX] {
        assert_eq!(window.check(counter), Ok(()));
    }
    assert_eq!((window.check(9), window.highest()), (Ok(()), Some(10)));
}

/// Steps forth and back around the window's length, and jumps.
fn steps() -> impl Strategy<Value = Vec<i64>> {
    let window = REPLAY_WINDOW.cast_signed();
    let step = prop_oneof![
        8 => -70i64..70,
        2 => -window - 2..window + 2,
        1 => prop::sample::select(vec![window - 1, window, window + 1, 1 - window, -window, -window - 1, 64, -64]),
        1 => 0i64..5_000,
    ];
    prop::collection::vec(step, 1..400)
}

proptest! {
    #[test]
    fn window_says_what_a_set_of_all_counters_says(
        start in prop_oneof![0u64..3_000, u64::MAX - 3_000..],
        steps in steps(),
    ) {
        let (mut window, mut model) = (ReplayWindow::default(), Model::default());
        let mut at = start;
        for step in steps {
            at = at.saturating_add_signed(step);
            prop_assert_eq!(window.check(at), model.check(at), "counter {}", at);
            if model.check(at).is_ok() {
                window.mark(at);
                model.mark(at);
            }
            prop_assert_eq!(window.highest(), model.highest);
        }
    }
}
