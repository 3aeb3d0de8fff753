//! The table of time's transitions, and readings by the thousand against a reckoning from the whole history.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use Word::{Earlier, Nobody, Vouched};
use kalitka_core::limits::{CLOCK_BACK_US, CLOCK_COAST, CLOCK_CONFIRM, CLOCK_JUMP_US, PLAUSIBLE_FROM_US};
use kalitka_core::{ClockQuality, Reading, Reckoned, Timekeeper, UnixSeconds, Word};
use kalitka_core::{ClockQuality::Good, ClockQuality::Held, ClockQuality::None as Unknown};

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3600 * SECOND;
/// The moment at which the tests' clocks begin, by a right one.
const T: i64 = 1_795_338_000 * SECOND;

/// A keeper with clocks that a test sets.
struct Rig {
    keeper: Timekeeper,
    monotonic_us: i64,
    /// The wall clock's offset.
    offset_us: i64,
    word: Word,
}

impl Rig {
    /// A wall clock that says `wall_us` now.
    fn new(wall_us: i64, word: Word) -> Self {
        Self { keeper: Timekeeper::default(), monotonic_us: 5 * SECOND, offset_us: wall_us - 5 * SECOND, word }
    }

    /// With a snapshot made at `us`.
    fn after_snapshot(mut self, us: i64) -> Self {
        self.keeper.adopted(UnixSeconds(us / SECOND));
        self
    }

    fn after_commit(mut self, us: i64) -> Self {
        self.keeper.committed(us);
        self
    }

    /// Reads; gives the time to decide by, less the right one, in seconds, and its quality.
    fn read(&mut self) -> (i64, ClockQuality) {
        let monotonic = Duration::from_micros(self.monotonic_us.unsigned_abs());
        let wall_us = self.monotonic_us + self.offset_us;
        let reckoned = self.keeper.read(Reading { monotonic, wall_us, word: self.word });
        (((reckoned.wall_us(monotonic)) - T - (self.monotonic_us - 5 * SECOND)) / SECOND, reckoned.quality)
    }

    fn wait(&mut self, us: i64) -> &mut Self {
        self.monotonic_us += us;
        self
    }

    fn step(&mut self, us: i64) -> &mut Self {
        self.offset_us += us;
        self
    }

    fn says(&mut self, word: Word) -> &mut Self {
        self.word = word;
        self
    }

    fn jumps(&self) -> u64 {
        self.keeper.jumps()
    }
}

#[test]
fn first_reading_is_judged_by_word_and_floor() {
    let day = 24 * HOUR;
    let table = [
        // Wall clock, word, snapshot, newest commit; then the time less T, in seconds, and its quality.
        ((T, Vouched, None, None), (0, Good)),
        ((T, Vouched, Some(T - day), Some(T - HOUR)), (0, Good)),
        ((T, Earlier, Some(T - day), None), (0, Good)),
        ((T, Nobody, Some(T - day), None), (-86_400, Held)),
        ((T, Nobody, Some(T - day), Some(T - HOUR)), (-3600, Held)),
        ((T, Nobody, Some(T - HOUR), Some(T - day)), (-3600, Held)),
        ((T, Nobody, None, Some(T - HOUR)), (-3600, Held)),
        ((T, Nobody, None, None), (0, Unknown)),
        // Far ahead: tomorrow's schedules and next year's expiries are not for a clock that nobody vouches for.
        ((T + 365 * day, Nobody, Some(T), None), (0, Held)),
        // Unset, or behind what has passed: not believed on anybody's word.
        ((0, Vouched, Some(T), None), (0, Held)),
        ((946_684_800 * SECOND, Vouched, Some(T), None), (0, Held)),
        ((0, Earlier, Some(T), None), (0, Held)),
        ((T - HOUR, Vouched, Some(T), None), (0, Held)),
        ((T - HOUR, Vouched, Some(T - day), Some(T)), (0, Held)),
        ((T - HOUR, Earlier, Some(T - day), Some(T)), (0, Held)),
        // A little behind is what clocks are.
        ((T - CLOCK_BACK_US, Vouched, Some(T), Some(T)), (-60, Good)),
        ((T - CLOCK_BACK_US - SECOND, Vouched, Some(T), None), (0, Held)),
        // Neither an unset clock nor a snapshot built by one is known time.
        ((0, Vouched, None, None), (-T / SECOND, Unknown)),
        (
            (PLAUSIBLE_FROM_US - 1, Vouched, Some(PLAUSIBLE_FROM_US - 1), None),
            ((PLAUSIBLE_FROM_US - 1 - T) / SECOND, Unknown),
        ),
        ((PLAUSIBLE_FROM_US, Vouched, Some(0), None), ((PLAUSIBLE_FROM_US - T) / SECOND, Good)),
        ((T, Nobody, Some(0), Some(0)), (0, Unknown)),
    ];
    for ((wall_us, word, snapshot, commit), expected) in table {
        let mut rig = Rig::new(wall_us, word);
        rig = snapshot.into_iter().fold(rig, Rig::after_snapshot);
        rig = commit.into_iter().fold(rig, Rig::after_commit);
        assert_eq!(rig.read(), expected, "wall {wall_us}, {word:?}, snapshot {snapshot:?}, commit {commit:?}");
        assert_eq!(rig.jumps(), 0, "nothing was before");
    }
}

#[test]
fn good_time_follows_who_vouches_forward_at_once_and_back_after_a_while() {
    let good = || {
        let mut rig = Rig::new(T, Vouched).after_snapshot(T - 24 * HOUR);
        assert_eq!(rig.read(), (0, Good));
        rig
    };
    let mut ahead = good();
    assert_eq!(ahead.wait(SECOND / 4).step(3 * HOUR).read(), (3 * 3600, Good));
    assert_eq!(ahead.jumps(), 1);
    let mut a_little_back = good();
    assert_eq!(a_little_back.wait(SECOND).step(-30 * SECOND).read(), (-30, Good));
    assert_eq!(
        a_little_back.wait(SECOND).step(-31 * SECOND).read(),
        (-30, Held),
        "the second step counts from the first"
    );
    let mut back = good();
    assert_eq!(back.wait(SECOND).step(-5 * HOUR).read(), (0, Held));
    assert_eq!(back.jumps(), 1);
    let confirm = i64::try_from(CLOCK_CONFIRM.as_micros()).unwrap();
    assert_eq!(back.wait(confirm - 1).read(), (0, Held));
    assert_eq!(back.wait(1).read(), (-5 * 3600, Good));
    assert_eq!(back.jumps(), 2, "and so is the time to decide by");
    assert_eq!(back.wait(HOUR).read(), (-5 * 3600, Good), "it was followed for good");
    let mut behind_the_snapshot = good();
    assert_eq!(behind_the_snapshot.wait(SECOND).step(-25 * HOUR).read(), (0, Held));
    assert_eq!(behind_the_snapshot.wait(2 * confirm).read(), (0, Held), "no word leads behind what was signed");
}

#[test]
fn confirmation_begins_anew_with_each_break_and_jump() {
    let confirm = i64::try_from(CLOCK_CONFIRM.as_micros()).unwrap();
    for disturb in [
        |rig: &mut Rig| {
            rig.step(2 * SECOND).read();
        },
        |rig: &mut Rig| {
            rig.says(Nobody).read();
            rig.says(Vouched).read();
        },
    ] {
        let mut rig = Rig::new(T, Vouched);
        rig.read();
        rig.wait(SECOND).step(-5 * HOUR).read();
        rig.wait(confirm - SECOND);
        disturb(&mut rig);
        assert_eq!(rig.wait(2 * SECOND).read().1, Held);
        assert_eq!(rig.wait(confirm).read().1, Good);
    }
}

#[test]
fn time_that_was_good_stays_so_without_a_word_until_the_clock_is_set() {
    let coast = 30 * 24 * HOUR;
    assert_eq!(Duration::from_micros(coast.unsigned_abs()), CLOCK_COAST, "as decision 12 has it");
    let mut rig = Rig::new(T, Vouched);
    rig.read();
    assert_eq!(rig.says(Nobody).wait(HOUR).read(), (0, Good));
    assert_eq!(rig.step(SECOND / 2).wait(HOUR).read(), (0, Good), "what nobody vouches for is not followed");
    assert_eq!(rig.step(SECOND / 2 + 1).wait(HOUR).read(), (0, Held), "however small its steps");
    assert_eq!(rig.jumps(), 0);
    let mut near = Rig::new(T, Vouched);
    near.read();
    assert_eq!(near.says(Nobody).step(SECOND).wait(HOUR).read(), (0, Good), "a second is not far yet");
    let mut set = Rig::new(T, Vouched);
    set.read();
    assert_eq!(set.says(Nobody).step(3 * HOUR).wait(SECOND).read(), (0, Held), "tomorrow is not now");
    assert_eq!(set.step(-3 * HOUR).wait(SECOND).read(), (0, Held), "set back again, it is still nobody's word");
    assert_eq!(set.jumps(), 2);
    assert_eq!(set.says(Vouched).wait(SECOND).read(), (0, Good));
    let mut old = Rig::new(T, Vouched);
    old.read();
    assert_eq!(old.says(Earlier).wait(coast).read(), (0, Good));
    assert_eq!(old.wait(1).read(), (0, Held));
}

#[test]
fn held_time_runs_on_whatever_the_wall_clock_does_and_rises_to_the_floor() {
    let mut rig = Rig::new(0, Nobody).after_snapshot(T);
    assert_eq!(rig.read(), (0, Held));
    for step in [3 * HOUR, -5 * HOUR, T, -HOUR] {
        assert_eq!(rig.wait(SECOND).step(step).read(), (0, Held));
    }
    assert_eq!(rig.jumps(), 4);
    assert_eq!(rig.says(Earlier).wait(SECOND).read(), (0, Held), "that word counts at the start alone");
    rig.keeper.committed(T + HOUR);
    assert_eq!(rig.read(), (HOUR / SECOND - 5, Held), "the newest commit was known later");
    assert_eq!(rig.jumps(), 5);
    rig.keeper.adopted(UnixSeconds(T / SECOND));
    assert_eq!(rig.wait(SECOND).read(), (HOUR / SECOND - 5, Held), "an older floor does not turn it back");
}

#[test]
fn unknown_time_becomes_held_with_the_first_floor_and_good_with_the_first_word() {
    let mut rig = Rig::new(T, Nobody);
    assert_eq!(rig.read(), (0, Unknown));
    assert_eq!(rig.step(HOUR).read(), (3600, Unknown), "there is nothing else to tell");
    assert_eq!(rig.step(-HOUR).says(Vouched).read(), (0, Good));
    let mut rig = Rig::new(T, Nobody);
    rig.read();
    rig.keeper.adopted(UnixSeconds((T - HOUR) / SECOND));
    assert_eq!(rig.read(), (-3600, Held));
    assert_eq!(rig.says(Vouched).read(), (0, Good));
}

#[test]
fn time_that_was_found_to_be_wrong_is_no_floor_any_more() {
    // The newest event of the run before bears the time of a service that was a year ahead.
    let mut rig = Rig::new(T, Vouched).after_commit(T + 365 * 24 * HOUR);
    rig.read();
    let confirmed = i64::try_from(CLOCK_CONFIRM.as_micros()).unwrap();
    assert_eq!(rig.wait(confirmed).read(), (0, Good));
    assert_eq!(rig.wait(SECOND).says(Nobody).step(HOUR).read(), (0, Held));
}

#[test]
fn snapshot_from_a_clock_ahead_does_not_unseat_a_good_time() {
    let mut rig = Rig::new(T, Vouched);
    rig.read();
    rig.keeper.adopted(UnixSeconds((T + 30 * SECOND) / SECOND));
    assert_eq!(rig.wait(SECOND).read(), (0, Good), "publishers' clocks differ");
}

/// One reading and what was known at it.
#[derive(Clone, Copy, Debug)]
struct Step {
    reading: Reading,
    /// Told with it.
    floor: Option<i64>,
    snapshot: Option<i64>,
}

fn offset(reading: Reading) -> i64 {
    reading.wall_us - i64::try_from(reading.monotonic.as_micros()).unwrap()
}

/// What the steps come to, told from their whole history: of each, the offset and quality.
fn slowly(steps: &[Step]) -> Vec<(i64, ClockQuality)> {
    let mut told: Vec<(i64, ClockQuality)> = Vec::new();
    let mut believed: Vec<bool> = Vec::new();
    for (place, &Step { reading, snapshot, .. }) in steps.iter().enumerate() {
        // The newest commit, as far as no confirmed time lies before it.
        let floor = (0..=place).fold(None, |newest: Option<i64>, at| {
            let newest = newest.max(steps[at].floor);
            let refuted = at < place && believed[at] && is_steady_at(steps, at);
            newest.map(|newest| if refuted { newest.min(steps[at].reading.wall_us) } else { newest })
        });
        let now = i64::try_from(reading.monotonic.as_micros()).unwrap();
        let jumped =
            |at: usize| at > 0 && (offset(steps[at].reading) - offset(steps[at - 1].reading)).abs() > CLOCK_JUMP_US;
        // The run of vouched readings that ends here, as far as no jump interrupts it.
        let mut since = place;
        while steps[since].reading.word == Vouched
            && !jumped(since)
            && since > 0
            && steps[since - 1].reading.word == Vouched
        {
            since -= 1;
        }
        let steady = reading.word == Vouched && reading.monotonic - steps[since].reading.monotonic >= CLOCK_CONFIRM;
        // A time that was followed back after a confirmation makes what was reached before it void.
        let void = (0..place).rev().find(|&at| believed[at] && is_steady_at(steps, at)).unwrap_or(0);
        let reached = (void..place).filter(|&at| believed[at]).map(|at| told[at].0 + now).max();
        let own = told.last().filter(|(_, quality)| *quality != Unknown).map(|(offset, _)| offset + now);
        let commit = floor;
        let not_behind = |known: Option<i64>| known.is_none_or(|known| reading.wall_us >= known - CLOCK_BACK_US);
        let word = reading.word == Vouched || reading.word == Earlier && place == 0;
        let lowest = reading.wall_us >= PLAUSIBLE_FROM_US && not_behind(snapshot);
        let believe = word && lowest && (steady || [own, reached, commit].into_iter().all(not_behind));
        let coasting = told.last().is_some_and(|&(own, quality)| {
            let last = (0..place).rev().find(|&at| believed[at]);
            quality == Good
                && reading.word != Vouched
                && !jumped(place)
                && (own - offset(reading)).abs() <= CLOCK_JUMP_US
                && last.is_some_and(|last| reading.monotonic - steps[last].reading.monotonic <= CLOCK_COAST)
        });
        told.push(if believe {
            (offset(reading), Good)
        } else if coasting {
            told[place - 1]
        } else {
            match own.into_iter().chain(floor).chain(snapshot).max() {
                Some(time) => (time - now, Held),
                None => (offset(reading), Unknown),
            }
        });
        believed.push(believe);
    }
    told
}

fn is_steady_at(steps: &[Step], at: usize) -> bool {
    let is_broken = |place: usize| {
        place > 0
            && ((offset(steps[place].reading) - offset(steps[place - 1].reading)).abs() > CLOCK_JUMP_US
                || steps[place - 1].reading.word != Vouched)
    };
    let since = (0..=at).rev().find(|&place| place == 0 || is_broken(place)).unwrap_or(0);
    steps[at].reading.word == Vouched
        && steps[since].reading.word == Vouched
        && steps[at].reading.monotonic - steps[since].reading.monotonic >= CLOCK_CONFIRM
}

fn random_steps(rng: &mut fastrand::Rng) -> Vec<(Step, bool)> {
    let (mut monotonic, mut offset_us, mut word) = (Duration::ZERO, T, Nobody);
    if rng.u8(..4) == 0 {
        offset_us = rng.i64(0..2 * T);
    }
    let mut snapshot = None;
    (0..rng.usize(1..60))
        .map(|_| {
            monotonic += match rng.u8(..20) {
                0 => Duration::from_secs(rng.u64(..40 * 24 * 3600)),
                1..5 => Duration::from_secs(rng.u64(590..610)),
                _ => Duration::from_millis(rng.u64(..1000)),
            };
            offset_us += match rng.u8(..12) {
                0 => rng.i64(-5 * HOUR..5 * HOUR),
                1 => rng.i64(-70..70) * SECOND,
                2 => rng.i64(-CLOCK_JUMP_US - 2..CLOCK_JUMP_US + 2),
                _ => rng.i64(-200..200),
            };
            if rng.u8(..6) == 0 {
                word = [Nobody, Earlier, Vouched, Vouched][rng.usize(..4)];
            }
            let snapshot_is_new = rng.u8(..10) == 0;
            if snapshot_is_new {
                let us = (T + rng.i64(-30 * HOUR..30 * HOUR)) / SECOND * SECOND;
                snapshot = Some(if rng.u8(..8) == 0 { 0 } else { us }).filter(|us| *us >= PLAUSIBLE_FROM_US);
            }
            let floor = (rng.u8(..15) == 0).then(|| T + rng.i64(-30 * HOUR..30 * HOUR));
            let wall_us = offset_us + i64::try_from(monotonic.as_micros()).unwrap();
            (Step { reading: Reading { monotonic, wall_us, word }, floor, snapshot }, snapshot_is_new)
        })
        .collect()
}

#[test]
fn every_history_comes_to_what_a_slow_reckoning_of_all_of_it_says() {
    let mut seen = [0_u32; 3];
    for seed in 0..4000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let steps = random_steps(&mut rng);
        let mut keeper = Timekeeper::default();
        let told = slowly(&steps.iter().map(|(step, _)| *step).collect::<Vec<_>>());
        let mut before: Option<(Reckoned, Step)> = None;
        for (place, ((step, snapshot_is_new), expected)) in steps.iter().zip(told).enumerate() {
            if *snapshot_is_new {
                keeper.adopted(UnixSeconds(step.snapshot.unwrap_or(0) / SECOND));
            }
            step.floor.into_iter().for_each(|floor| keeper.committed(floor));
            let jumps = keeper.jumps();
            let reckoned = keeper.read(step.reading);
            assert_eq!((reckoned.offset_us, reckoned.quality), expected, "seed {seed}, step {place}: {step:?}");
            seen[usize::from(reckoned.quality.code())] += 1;
            if let Some((last, step_before)) = before {
                let moved = (reckoned.offset_us - last.offset_us).abs() > CLOCK_JUMP_US;
                let set = (offset(step.reading) - offset(step_before.reading)).abs() > CLOCK_JUMP_US;
                assert_eq!(keeper.jumps() - jumps, u64::from(moved || set), "seed {seed}, step {place}");
            }
            before = Some((reckoned, *step));
        }
    }
    assert!(seen.iter().all(|count| *count > 1000), "{seen:?}");
}
