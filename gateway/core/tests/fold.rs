//! The fold of events: which reports and commands are known, over checkpoints and restarts.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;

use kalitka_core::limits::{LOGS_OF_A_READER, OVERLAY_MAX, READERS_REMEMBERED};
use kalitka_core::{Fold, Judge, OverlayEntry, ReportVerdict, Safety, Standing};
use kalitka_protocol::credential::{CREDENTIAL_LEN, Credential};
use kalitka_protocol::event::{
    Body, ClockQuality, CommandDone, Event, EventHeader, GatewayStarted, ReportTaken, SnapshotAdopted,
};
use kalitka_protocol::limits::EVENT_LEN_MAX;
use kalitka_protocol::message::{Order, Report, ReportKind};
use kalitka_protocol::reason::Tone;
use kalitka_protocol::upstream::{CommandBody, CommandOutcome, PortalModeCode};
use kalitka_protocol::wire::{Malformed, Writer};
use kalitka_protocol::{BootId, EpochId, LogId, ReaderId};
use kalitka_snapshot::model::PortalMode;

const READER: ReaderId = ReaderId(101);
const LOG: LogId = LogId(7);
/// More logs than are remembered of a reader.
const MANY_LOGS: u64 = LOGS_OF_A_READER as u64 + 4;

fn report(log: LogId, number: u64, oldest: bool) -> Report {
    Report {
        log,
        number,
        boot: BootId(0),
        request: 0,
        age_ms: 0,
        count: 0,
        kind: ReportKind::Passed,
        direction: None,
        input: 0,
        unasked: false,
        oldest,
        card: None,
    }
}

fn card(number: u32) -> Credential {
    Credential::from_uid(&number.to_be_bytes()).unwrap()
}

/// The bytes of an event, as they lie in the outbox.
fn event(body: Body<'_>) -> Vec<u8> {
    let header = EventHeader {
        building: 17,
        epoch: EpochId(1),
        number: 2,
        wall_us: 0,
        monotonic_us: 0,
        gateway_boot: 0,
        quality: ClockQuality::Good,
        jumped: false,
    };
    let mut bytes = [0; EVENT_LEN_MAX];
    let mut writer = Writer::new(&mut bytes);
    Event { header, body }.emit(&mut writer).unwrap();
    let len = writer.len();
    bytes[..len].to_vec()
}

fn taken(reader: ReaderId, log: LogId, number: u64) -> Vec<u8> {
    let report = report(log, number, false);
    event(Body::Report(ReportTaken { reader, generation: 3, portal: None, report }))
}

fn command(number: u64, outcome: CommandOutcome, body: CommandBody) -> Vec<u8> {
    let mut bytes = [0; 32];
    let mut writer = Writer::new(&mut bytes);
    body.emit(&mut writer).unwrap();
    let len = writer.len();
    let (operator, result) = ([5; 32], outcome.code());
    event(Body::Command(CommandDone { number, operator, reader: 0, result, body: &bytes[..len] }))
}

fn apply(fold: &mut Fold, events: &[Vec<u8>]) {
    events.iter().for_each(|event| fold.apply(&Event::parse(event).unwrap()));
}

fn fold_of(events: &[Vec<u8>]) -> Fold {
    let mut fold = Fold::default();
    apply(&mut fold, events);
    fold
}

fn bytes_of(fold: &Fold) -> Vec<u8> {
    let mut bytes = Vec::new();
    fold.to_bytes(&mut bytes);
    bytes
}

fn blocked(card: Credential, number: u64) -> OverlayEntry {
    OverlayEntry::Credential { credential: card, standing: Standing::Blocked, number }
}

fn some_body(rng: &mut fastrand::Rng) -> CommandBody {
    let reader = [None, Some(ReaderId(1)), Some(ReaderId(2))][rng.usize(..3)];
    let credential = card(rng.u32(..4));
    match rng.u8(..6) {
        0..=1 => CommandBody::Block { credential },
        2 => CommandBody::Unblock { credential },
        3 => CommandBody::Mode { reader, mode: None },
        4 => CommandBody::Mode { reader, mode: Some(PortalModeCode::ALL[rng.usize(..PortalModeCode::ALL.len())]) },
        _ => CommandBody::Reader { reader, order: Order::Play(Tone::Attention) },
    }
}

/// What may happen, in any order: reports of so many logs of each reader, commands old and new with every outcome.
fn some_event(rng: &mut fastrand::Rng, logs: u64) -> Vec<u8> {
    match rng.u8(..20) {
        0..=11 => taken(ReaderId(rng.u32(1..4)), LogId(rng.u64(..logs)), rng.u64(1..1000)),
        12..=17 => {
            let outcome = CommandOutcome::ALL[rng.usize(..CommandOutcome::ALL.len())];
            command(rng.u64(1..60), outcome, some_body(rng))
        }
        18 => event(Body::GatewayStarted(GatewayStarted { readers: 3, version: b"1" })),
        _ => event(Body::Unknown { kind: 200, bytes: &[1, 2, 3] }),
    }
}

// SPEC 7.3 the next one, or the oldest that its reader still has; one that was taken is receipted again
#[test]
fn report_is_taken_when_it_is_next_or_the_oldest_and_repeated_when_it_was_taken() {
    use ReportVerdict::{OutOfOrder, Repeat, Take};
    let known = fold_of(&[taken(READER, LOG, 5)]);
    let nothing = Fold::default();
    for (fold, number, oldest, expected) in [
        (&known, 6, false, Take),
        (&known, 6, true, Take),
        (&known, 7, false, OutOfOrder),
        (&known, 7, true, Take),
        (&known, u64::MAX, true, Take),
        (&known, 5, false, Repeat { taken: 5 }),
        (&known, 5, true, Repeat { taken: 5 }),
        (&known, 1, true, Repeat { taken: 5 }),
        (&nothing, 1, false, Take),
        (&nothing, 2, false, OutOfOrder),
        (&nothing, 900, true, Take),
    ] {
        let report = report(LOG, number, oldest);
        assert_eq!(fold.judge(READER, &report), expected, "{number} {oldest}");
        assert_eq!(Judge::default().judge(fold, READER, &report), expected, "{number} {oldest}");
    }
    // Another log, and the same number of another reader's log, are not known.
    assert_eq!(known.judge(READER, &report(LogId(8), 6, false)), OutOfOrder);
    assert_eq!(known.judge(ReaderId(102), &report(LOG, 6, false)), OutOfOrder);
    let last = fold_of(&[taken(READER, LOG, u64::MAX)]);
    assert_eq!(last.judge(READER, &report(LOG, u64::MAX, true)), Repeat { taken: u64::MAX });
}

#[test]
fn reports_of_one_commit_follow_each_other_before_any_is_applied() {
    use ReportVerdict::{OutOfOrder, Repeat, Take};
    let (fold, mut judge) = (fold_of(&[taken(READER, LOG, 5)]), Judge::default());
    let mut judged = |reader, log, number| judge.judge(&fold, reader, &report(log, number, false));
    let numbers = [6, 7, 9, 7, 8, 3, 9];
    let verdicts = [Take, Take, OutOfOrder, Repeat { taken: 7 }, Take, Repeat { taken: 8 }, Take];
    assert_eq!(numbers.map(|number| judged(READER, LOG, number)), verdicts);
    assert_eq!(judged(READER, LogId(1), 1), Take);
    assert_eq!(judged(ReaderId(102), LOG, 1), Take);
    assert_eq!(judged(ReaderId(103), LOG, 2), OutOfOrder);
    let due: Vec<_> = judge.receipts().collect();
    assert_eq!(due, [(READER, LogId(1), 1), (READER, LOG, 9), (ReaderId(102), LOG, 1)]);
    // A commit that came to nothing has taken nothing.
    judge.clear();
    assert_eq!(judge.receipts().len(), 0);
    assert_eq!(judge.judge(&fold, READER, &report(LOG, 6, false)), Take);
}

#[test]
fn repeat_alone_is_receipted_up_to_all_that_was_taken() {
    let (fold, mut judge) = (fold_of(&[taken(READER, LOG, 5)]), Judge::default());
    judge.judge(&fold, READER, &report(LOG, 2, false));
    assert_eq!(judge.receipts().collect::<Vec<_>>(), [(READER, LOG, 5)]);
}

#[test]
fn checkpoint_and_what_follows_it_fold_to_what_all_events_do() {
    for seed in 0..60 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let events: Vec<_> = (0..200).map(|_| some_event(&mut rng, MANY_LOGS)).collect();
        let all = fold_of(&events);
        for _ in 0..4 {
            let (before, after) = events.split_at(rng.usize(..=events.len()));
            let mut fold = Fold::from_bytes(&bytes_of(&fold_of(before))).unwrap();
            apply(&mut fold, after);
            assert_eq!(fold, all, "seed {seed}, checkpoint after {}", before.len());
            assert_eq!(bytes_of(&fold), bytes_of(&all), "seed {seed}");
        }
    }
}

#[test]
fn fold_knows_what_a_list_of_everything_knows() {
    for seed in 0..60 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut fold, mut judge) = (Fold::default(), Judge::default());
        let mut slow: BTreeMap<(u32, u64), u64> = BTreeMap::new();
        for _ in 0..60 {
            // A commit of a few reports; one in four commits comes to nothing.
            let (mut events, mut expected) = (Vec::new(), slow.clone());
            for _ in 0..rng.usize(1..12) {
                // As many logs as are remembered.
                let (reader, log) = (rng.u32(1..4), rng.u64(..LOGS_OF_A_READER as u64));
                let highest = expected.get(&(reader, log)).copied().unwrap_or(0);
                let given = report(LogId(log), rng.u64(highest.saturating_sub(2).max(1)..highest + 4), rng.bool());
                let verdict = judge.judge(&fold, ReaderId(reader), &given);
                let right = match given.number {
                    number if number <= highest => ReportVerdict::Repeat { taken: highest },
                    number if number == highest + 1 || given.oldest => ReportVerdict::Take,
                    _ => ReportVerdict::OutOfOrder,
                };
                assert_eq!(verdict, right, "seed {seed}: {given:?} after {highest}");
                if right == ReportVerdict::Take {
                    expected.insert((reader, log), given.number);
                    events.push(taken(ReaderId(reader), LogId(log), given.number));
                }
            }
            if rng.u8(..4) > 0 {
                assert!(judge.receipts().all(|(reader, log, number)| expected[&(reader.0, log.0)] == number));
                apply(&mut fold, &events);
                slow = expected;
            }
            judge.clear();
        }
        for (&(reader, log), &number) in &slow {
            assert_eq!(fold.taken(ReaderId(reader), LogId(log)), Some(number), "seed {seed}");
        }
    }
}

#[test]
fn event_that_comes_again_makes_nothing_unknown_and_nothing_new() {
    for seed in 0..40 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let events: Vec<_> = (0..100).map(|_| some_event(&mut rng, LOGS_OF_A_READER as u64)).collect();
        let fold = fold_of(&events);
        let mut again = fold.clone();
        let from = rng.usize(..events.len());
        apply(&mut again, &events[from..rng.usize(from..events.len())]);
        assert_eq!(again.safety(), fold.safety(), "seed {seed}");
        let logs =
            (1..4).flat_map(|reader| (0..LOGS_OF_A_READER as u64).map(move |log| (ReaderId(reader), LogId(log))));
        for (reader, log) in logs {
            assert_eq!(again.taken(reader, log), fold.taken(reader, log), "seed {seed}");
        }
    }
}

#[test]
fn log_that_was_longest_without_a_report_is_forgotten_for_a_ninth() {
    let logs = u64::try_from(LOGS_OF_A_READER).unwrap();
    let mut events: Vec<_> = (0..logs).map(|log| taken(READER, LogId(log), 10 + log)).collect();
    events.push(taken(READER, LogId(0), 11));
    events.push(taken(READER, LogId(logs), 1));
    let fold = fold_of(&events);
    assert_eq!(fold.taken(READER, LogId(0)), Some(11));
    assert_eq!(fold.taken(READER, LogId(1)), None);
    assert!((2..=logs).all(|log| fold.taken(READER, LogId(log)).is_some()));
}

#[test]
fn reader_that_was_longest_without_a_report_is_forgotten_beyond_the_bound() {
    let last = u32::try_from(READERS_REMEMBERED).unwrap();
    let events = (1..=last).chain([1, last + 1]).map(|reader| taken(ReaderId(reader), LOG, u64::from(reader)));
    let fold = fold_of(&events.collect::<Vec<_>>());
    assert_eq!(fold.taken(ReaderId(1), LOG), Some(1));
    assert_eq!(fold.taken(ReaderId(2), LOG), None);
    assert_eq!(fold.taken(ReaderId(last + 1), LOG), Some(u64::from(last) + 1));
    assert_eq!(Fold::from_bytes(&bytes_of(&fold)), Ok(fold));
}

// SPEC 15.8 a number is done once, and the highest, come again, gets its result again
#[test]
fn newest_command_is_remembered_with_its_outcome_and_only_an_operator_uses_numbers_up() {
    use CommandOutcome::*;
    let body = CommandBody::Block { credential: card(1) };
    let newest = |events: &[Vec<u8>]| fold_of(events).safety().newest();
    assert_eq!(newest(&[]), None);
    for outcome in [Done, NotSupported, GivenUp, ReaderUnknown, TooLate, Malformed] {
        assert_eq!(newest(&[command(4, outcome, body), command(3, Done, body)]), Some((4, outcome)));
    }
    for outcome in [NumberNotAbove, OperatorUnknown, SignatureWrong] {
        assert_eq!(newest(&[command(3, GivenUp, body), command(u64::MAX, outcome, body)]), Some((3, GivenUp)));
    }
}

// SPEC 15.9 for every reader the lowest result that is not 0
#[test]
fn command_of_several_readers_has_the_lowest_outcome_that_is_not_done() {
    use CommandOutcome::*;
    let body = CommandBody::Reader { reader: None, order: Order::Play(Tone::Welcome) };
    for (outcomes, expected) in [
        ([Done, Done, Done], Done),
        ([Done, GivenUp, Done], GivenUp),
        ([GivenUp, Done, NotSupported], NotSupported),
        ([NotSupported, GivenUp, GivenUp], NotSupported),
    ] {
        let events = outcomes.map(|outcome| command(4, outcome, body));
        assert_eq!(fold_of(&events).safety().newest(), Some((4, expected)));
    }
}

#[test]
fn orders_that_were_done_hold_and_others_do_not() {
    use CommandOutcome::{Done, NotSupported, TooLate};
    let block = |number| CommandBody::Block { credential: card(number) };
    let closed = CommandBody::Mode { reader: None, mode: Some(PortalModeCode::Closed) };
    let fold = fold_of(&[
        command(1, Done, block(1)),
        command(2, TooLate, block(2)),
        command(3, Done, CommandBody::Mode { reader: Some(READER), mode: Some(PortalModeCode::Free) }),
        command(4, Done, closed),
        command(5, NotSupported, CommandBody::Unblock { credential: card(1) }),
        event(Body::SnapshotAdopted(SnapshotAdopted {
            generation: 4,
            cause: kalitka_protocol::event::AdoptionCause::Newer,
            hash: [1; 32],
        })),
    ]);
    let mode = OverlayEntry::Mode { reader: None, mode: Some(PortalMode::Closed), number: 4 };
    assert_eq!(fold.safety().orders().entries().collect::<Vec<_>>(), [blocked(card(1), 1), mode]);
    let mut pruned = fold;
    pruned.safety_mut().prune(1);
    assert_eq!(pruned.safety().orders().entries().collect::<Vec<_>>(), [mode]);
}

#[test]
fn more_blocks_than_fit_forget_the_oldest_which_a_snapshot_contains() {
    let mut fold = Fold::default();
    let max = u32::try_from(OVERLAY_MAX).unwrap();
    for number in 0..max {
        let taken = fold.safety_mut().order(blocked(card(number), u64::from(number) + 1));
        assert_eq!(taken, Ok(true));
    }
    let next = u64::from(max) + 1;
    apply(&mut fold, &[command(next, CommandOutcome::Done, CommandBody::Block { credential: card(max) })]);
    let entries: Vec<_> = fold.safety().orders().entries().collect();
    assert_eq!(entries.len(), OVERLAY_MAX);
    assert!(!entries.contains(&blocked(card(0), 1)) && entries.contains(&blocked(card(max), next)));
}

#[test]
fn merged_safety_has_the_newer_of_both_whichever_takes_over_the_other() {
    for seed in 0..100 {
        let mut rng = fastrand::Rng::with_seed(seed);
        // One history, of which each has seen a part.
        let history: Vec<_> =
            (1..30).map(|number| command(number, CommandOutcome::Done, some_body(&mut rng))).collect();
        let part = |rng: &mut fastrand::Rng| {
            let events: Vec<_> = history.iter().filter(|_| rng.bool()).cloned().collect();
            fold_of(&events).safety().clone()
        };
        let (one, other) = (part(&mut rng), part(&mut rng));
        let (mut both, mut htob) = (one.clone(), other.clone());
        both.merge(&other).unwrap();
        htob.merge(&one).unwrap();
        assert_eq!(both, htob, "seed {seed}");
        assert_eq!(both.newest(), one.newest().max(other.newest()), "seed {seed}");
        let mut same = both.clone();
        same.merge(&one).unwrap();
        assert_eq!(same, both, "seed {seed}");
    }
}

fn some_fold(rng: &mut fastrand::Rng) -> Fold {
    fold_of(&(0..rng.usize(1..80)).map(|_| some_event(rng, MANY_LOGS)).collect::<Vec<_>>())
}

#[test]
fn bytes_that_are_no_fold_are_refused_and_what_is_taken_is_laid_out_the_same() {
    let mut rng = fastrand::Rng::with_seed(1);
    for round in 0..8 {
        let bytes = bytes_of(&some_fold(&mut rng));
        for end in 0..bytes.len() {
            assert!(Fold::from_bytes(&bytes[..end]).is_err(), "round {round}, cut at {end}");
        }
        let trailing = [&bytes[..], &[0]].concat();
        assert_eq!(Fold::from_bytes(&trailing), Err(Malformed::Trailing("safety")));
        for bit in 0..8 * bytes.len() {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(fold) = Fold::from_bytes(&flipped) {
                assert_eq!(bytes_of(&fold), flipped, "round {round}, bit {bit}");
            }
        }
    }
    for _ in 0..20_000 {
        let len = rng.usize(..200);
        let mut noise: Vec<u8> = (0..len).map(|_| rng.u8(..)).collect();
        noise.iter_mut().take(rng.usize(..20)).for_each(|byte| *byte &= 1);
        if let Ok(fold) = Fold::from_bytes(&noise) {
            assert_eq!(bytes_of(&fold), noise);
        }
    }
}

#[test]
fn safety_alone_comes_back_from_its_bytes() {
    let mut rng = fastrand::Rng::with_seed(2);
    for _ in 0..20 {
        let safety = some_fold(&mut rng).safety().clone();
        let mut bytes = Vec::new();
        safety.to_bytes(&mut bytes);
        assert_eq!(Safety::from_bytes(&bytes).unwrap(), safety);
        for end in 0..bytes.len() {
            assert!(Safety::from_bytes(&bytes[..end]).is_err());
        }
    }
    let other = [&[2, 0, 0, 0], &[0; 12][..]].concat();
    assert_eq!(Safety::from_bytes(&other), Err(Malformed::Version));
    // A credential that no reader could send is none.
    let odd = [&[1, 0, 0, 0, 1, 0, 0, 0], &[0; 8][..], &[1, 0, 0, 0], &[0; 4], &[9, 0, 0, 0, 0, 0, 0, 0]].concat();
    let odd = [&odd[..], &[1, 31, 0xff, 0xff, 0xff, 0xff], &[0; CREDENTIAL_LEN - 6]].concat();
    assert!(matches!(Safety::from_bytes(&odd), Err(Malformed::Value(_))));
}

#[test]
fn only_the_mode_that_is_configured_for_all_has_no_command() {
    let (closed, one) = (Some(PortalMode::Closed), Some(READER));
    for (reader, mode, is_taken) in
        [(None, closed, true), (one, closed, false), (None, None, false), (one, None, false)]
    {
        let mut safety = Safety::default();
        safety.order(OverlayEntry::Mode { reader, mode, number: 7 }).unwrap();
        let mut bytes = Vec::new();
        safety.to_bytes(&mut bytes);
        // The number is the last field.
        let number = bytes.len() - 8;
        bytes[number..].fill(0);
        let taken = Safety::from_bytes(&bytes);
        assert_eq!(taken.is_ok(), is_taken, "{reader:?} {mode:?}");
        assert!(is_taken || taken == Err(Malformed::Value("command number")));
    }
}

/// What stands on disks. Bytes of a version are never changed here: another layout is another version.
#[test]
fn version_1_lies_on_disk_as_it_always_did() {
    let free = CommandBody::Mode { reader: Some(READER), mode: Some(PortalModeCode::Free) };
    let fold = fold_of(&[
        taken(READER, LOG, 258),
        taken(READER, LogId(8), 1),
        command(3, CommandOutcome::Done, CommandBody::Block { credential: card(0x0102_0304) }),
        command(4, CommandOutcome::Done, free),
        command(5, CommandOutcome::GivenUp, CommandBody::Unblock { credential: card(1) }),
    ]);
    let (zero, number) = ([0; 4], |number: u8| [number, 0, 0, 0, 0, 0, 0, 0]);
    let reports = [
        &[1, 0, 0, 0, 1, 0, 0, 0][..],
        &number(2),
        &[101, 0, 0, 0, 2, 0, 0, 0],
        &number(2),
        &[number(8), number(1), number(7), [2, 1, 0, 0, 0, 0, 0, 0]].concat(),
    ];
    let safety = [
        &[1, 2, 0, 0, 2, 0, 0, 0][..],
        &number(5),
        &[1, 0, 0, 0],
        &zero,
        &number(3),
        &[1, 32, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[3, 2, 0, 0],
        &[101, 0, 0, 0],
        &number(4),
    ];
    assert_eq!(bytes_of(&fold), [reports.concat(), safety.concat()].concat());
}
