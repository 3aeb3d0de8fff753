//! The core against a slow reading of the same rules that shares no code with it, on random rosters at random borders.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ed25519_dalek::SigningKey;
use fastrand::Rng;
use kalitka_core::{ClockQuality, Overlay, Time, UnixSeconds, View, decide};
use kalitka_loadgen::oracle::{Moment, Oracle};
use kalitka_protocol::ReaderId;
use kalitka_protocol::message::Ask;
use kalitka_protocol::reason::{Denial, Direction, Verdict};
use kalitka_snapshot::roster::Roster;
use kalitka_snapshot::{AlignedBytes, PublisherKey, Snapshot, build, sign};
use kalitka_tests::random::{number_from_environment, seed};
use kalitka_tests::school::School;

const ASKS: u64 = 1_000_000;
const ASKS_IN_SOAK: u64 = 10_000_000;
const VIEWS_PER_SCHOOL: usize = 16;
const ASKS_PER_MOMENT: usize = 12;

type Seen = BTreeMap<(bool, &'static str), u64>;

#[test]
fn no_answer_differs_from_the_reference() {
    let seed = seed();
    let wanted = number_from_environment("KALITKA_ASKS", ASKS, ASKS_IN_SOAK);
    let (asked, next) = (AtomicU64::new(0), AtomicU64::new(0));
    let run = || {
        let mut seen = Seen::new();
        while asked.load(Ordering::Relaxed) < wanted {
            let school = next.fetch_add(1, Ordering::Relaxed);
            asked.fetch_add(ask_about_a_school(seed.wrapping_add(school), &mut seen), Ordering::Relaxed);
        }
        seen
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut seen = Seen::new();
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        for (verdict, count) in runs.into_iter().flat_map(|run| run.join().unwrap()) {
            *seen.entry(verdict).or_default() += count;
        }
    });
    println!("{asked:?} asks, {next:?} schools, verdicts {seen:?}");
    // Without a snapshot or a plan there is nothing to compare; every other denial must have been met, or the test is blind.
    let met = |denial: Denial| seen.contains_key(&(false, denial.label()));
    let missed: Vec<_> = Denial::ALL.iter().copied().filter(|denial| !met(*denial)).collect();
    assert_eq!(missed, [Denial::NoSnapshot, Denial::PlanMissing], "verdicts that no ask has met");
    assert!(seen.contains_key(&(true, "access_level")) && seen.contains_key(&(true, "portal_free")));
}

fn ask_about_a_school(seed: u64, seen: &mut Seen) -> u64 {
    let mut rng = Rng::with_seed(seed);
    let school = School::random(&mut rng);
    let folder = tempfile::tempdir().unwrap();
    school.write(folder.path());
    let snapshot = Arc::new(snapshot_of(&school, folder.path(), seed));
    let oracle = Oracle::read(folder.path()).unwrap_or_else(|error| panic!("seed {seed}: the oracle: {error}"));
    let essential: Vec<String> = (0..4).map(|_| format!("l{}", rng.usize(..8))).collect();
    let mut asked = 0;
    for _ in 0..VIEWS_PER_SCHOOL {
        let now = school.moment(&mut rng);
        let view = View::build(Arc::clone(&snapshot), UnixSeconds(now)).with_essential(&essential);
        let border = view.next_border().0;
        let stale_from = [i64::MAX, i64::MAX, now, now.saturating_add(1), border, i64::MIN][rng.usize(..6)];
        let view = view.stale_from(UnixSeconds(stale_from));
        // The second plan must be exact at the border, before anybody has built a new view.
        let around = [now, border.saturating_sub(1), border, border.saturating_add(1)];
        for now in around.into_iter().filter(|now| view.at(UnixSeconds(*now)).is_some() && school.knows(*now)) {
            for _ in 0..ASKS_PER_MOMENT {
                let quality = ClockQuality::ALL[[0, 0, 1, 1, 2][rng.usize(..5)]];
                let time = Time { seconds: UnixSeconds(now), quality };
                let doubt = Doubt { time, stale_from, essential: &essential };
                let verdict = compare(&school, (&view, &oracle), doubt, seed, &mut rng);
                *seen.entry((verdict.is_grant(), label(verdict))).or_default() += 1;
                asked += 1;
            }
        }
        assert!(view.at(UnixSeconds(now)).is_some(), "seed {seed}: no plan for the moment it was built at, {now}");
    }
    asked
}

fn snapshot_of(school: &School, folder: &std::path::Path, seed: u64) -> Snapshot {
    let roster = Roster::read(folder).unwrap_or_else(|errors| panic!("seed {seed}: {errors}\n{}", school.building));
    let (unsigned, _warnings) = build(&roster, 1, school.created, 0).unwrap();
    let secret = SigningKey::from_bytes(&[7; 32]);
    let publisher = PublisherKey::from_hex(&hex::encode(secret.verifying_key().as_bytes())).unwrap();
    let signed = sign(unsigned, &secret).unwrap();
    Snapshot::verify(AlignedBytes::from(&signed[..]), &[publisher], school.number).unwrap()
}

/// When it is asked, since when the snapshot is too old, and who passes in doubt.
#[derive(Clone, Copy, Debug)]
struct Doubt<'a> {
    time: Time,
    stale_from: i64,
    essential: &'a [String],
}

fn compare(school: &School, (view, oracle): (&View, &Oracle), doubt: Doubt<'_>, seed: u64, rng: &mut Rng) -> Verdict {
    let (reader, shapes) = &school.readers[rng.usize(..school.readers.len())];
    let reader = if rng.u8(..50) == 0 { rng.u32(1..) } else { *reader };
    let ask = Ask {
        request: rng.u32(..),
        age_ms: [0, 17, 1999, 2000, 2000, 2001, u16::MAX][if rng.u8(..10) == 0 { rng.usize(..7) } else { 0 }],
        direction: Direction::ALL[rng.usize(..2)],
        card: school.read(rng, shapes),
    };
    let decided = decide(Some(view), &Overlay::default(), ReaderId(reader), &ask, doubt.time).verdict;
    let right = right(oracle, ReaderId(reader), &ask, doubt);
    assert!(
        decided == right,
        "KALITKA_SEED={seed}: decided {decided:?}, right is {right:?}\nat {doubt:?}, reader {reader}, {ask:?}, card {}\n{}\n{}\n{}",
        hex::encode(ask.card.to_bytes()),
        school.building,
        school.people,
        school.cards,
    );
    decided
}

fn right(oracle: &Oracle, reader: ReaderId, ask: &Ask, doubt: Doubt<'_>) -> Verdict {
    let Doubt { time, stale_from, essential } = doubt;
    let (Ask { card, direction, age_ms, .. }, now) = (ask, time.seconds.0);
    let by = |is_held| {
        let moment = Moment { now, is_held, is_stale: now >= stale_from, essential };
        oracle.judge_in_doubt(reader, card, *direction, *age_ms, moment)
    };
    let good = by(false);
    match time.quality {
        ClockQuality::Good => good,
        ClockQuality::Held => by(true),
        ClockQuality::None => match good {
            Verdict::Deny(Denial::Stale | Denial::ReaderUnknown) => good,
            _ => Verdict::Deny(Denial::TimeUnknown),
        },
    }
}

const fn label(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Grant(rule) => rule.label(),
        Verdict::Deny(reason) => reason.label(),
    }
}
