//! Each bad command by its outcome, and ends of commands to several readers.

use super::*;
use ed25519_dalek::{Signer, SigningKey};

const NOW: Time =
    Time { wall_us: 1_800_000_000_000_000, monotonic: Duration::from_secs(5), quality: ClockQuality::Held };
/// To open for one person at reader 101.
const OPEN: [u8; 8] = [1, 1, 0xb8, 0x0b, 101, 0, 0, 0];

fn operator() -> SigningKey {
    SigningKey::from_bytes(&[3; 32])
}

/// An envelope that is good but for what `change` does before it is signed.
fn envelope(body: &[u8], change: impl FnOnce(&mut Envelope<'_>)) -> Vec<u8> {
    let mut envelope = Envelope {
        building: 17,
        number: 8,
        not_after_us: NOW.wall_us + 1,
        operator: *operator().verifying_key().as_bytes(),
        body,
        signature: [0; 64],
    };
    change(&mut envelope);
    let mut bytes = [0; 2048];
    let mut writer = Writer::new(&mut bytes);
    envelope.signed(&mut writer).unwrap();
    let len = writer.len();
    envelope.signature = operator().sign(&bytes[..len]).to_bytes();
    let mut writer = Writer::new(&mut bytes);
    envelope.emit(&mut writer).unwrap();
    let len = writer.len();
    bytes[..len].to_vec()
}

fn judged(bytes: &[u8], newest: Option<(u64, CommandOutcome)>, time: Time) -> Verdict {
    let commands = Commands::new(vec![*operator().verifying_key().as_bytes()]);
    commands.judge(17, &Envelope::parse(bytes).unwrap(), newest, time)
}

#[test]
fn good_command_is_to_be_done() {
    let verdict = judged(&envelope(&OPEN, |_| {}), Some((7, CommandOutcome::Done)), NOW);
    assert!(matches!(verdict, Verdict::Do(CommandBody::Reader { reader: Some(ReaderId(101)), .. })), "{verdict:?}");
}

/// SPEC 15.9: what became of each command that is not done.
#[test]
fn each_bad_command_has_its_outcome() {
    let foreign = SigningKey::from_bytes(&[4; 32]);
    let cases = [
        (envelope(&OPEN, |e| e.operator = *foreign.verifying_key().as_bytes()), None, 6),
        (envelope(&OPEN, |e| e.building = 18), None, 8),
        (envelope(&OPEN, |_| {}), Some((9, CommandOutcome::Done)), 5),
        // A number is done once; the highest, come again, gets its result again (SPEC 15.8).
        (envelope(&OPEN, |_| {}), Some((8, CommandOutcome::GivenUp)), 2),
    ];
    for (bytes, newest, code) in cases {
        let outcome = CommandOutcome::from_code(code).unwrap();
        assert_eq!(judged(&bytes, newest, NOW), Verdict::Known(outcome));
    }
    for (bytes, code) in [
        (envelope(&OPEN, |e| e.not_after_us = NOW.wall_us - 1), 4),
        (envelope(&[63; 8], |_| {}), 1),
        (envelope(&[1, 9, 0, 0, 101, 0, 0, 0], |_| {}), 8),
    ] {
        let outcome = CommandOutcome::from_code(code).unwrap();
        assert_eq!(judged(&bytes, None, NOW), Verdict::Refused(outcome));
    }
    let no_clock = Time { quality: ClockQuality::None, ..NOW };
    assert_eq!(judged(&envelope(&OPEN, |_| {}), None, no_clock), Verdict::Refused(CommandOutcome::TooLate));
}

#[test]
fn every_flipped_bit_of_an_envelope_is_refused_and_uses_up_no_number() {
    let good = envelope(&OPEN, |_| {});
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        if Envelope::parse(&bytes).is_ok() {
            let verdict = judged(&bytes, None, NOW);
            let known = [CommandOutcome::OperatorUnknown, CommandOutcome::SignatureWrong].map(Verdict::Known);
            assert!(known.contains(&verdict), "bit {bit}: {verdict:?}");
        }
    }
}

#[test]
fn command_ends_with_its_last_reader_and_the_lowest_outcome_that_is_not_done() {
    let bytes = envelope(&OPEN, |_| {});
    let envelope = Envelope::parse(&bytes).unwrap();
    let readers = [1, 2, 3].map(ReaderId);
    let mut commands = Commands::default();
    commands.begin(8, UnderWay::to_readers(&envelope, readers.into_iter(), Duration::from_secs(10)));
    assert!(commands.ended(ReaderId(1), 8, CommandOutcome::Done).is_none());
    // A second word about the same reader changes nothing.
    assert!(commands.ended(ReaderId(1), 8, CommandOutcome::GivenUp).is_none());
    assert!(commands.ended(ReaderId(9), 8, CommandOutcome::Done).is_none());
    assert!(commands.ended(ReaderId(3), 8, CommandOutcome::GivenUp).is_none());
    let ended = commands.ended(ReaderId(2), 8, CommandOutcome::NotSupported).unwrap();
    let outcomes = ended.readers.values().map(|outcome| outcome.unwrap());
    assert_eq!(of_all(outcomes), CommandOutcome::NotSupported);
    assert_eq!(of_all([CommandOutcome::Done].into_iter()), CommandOutcome::Done);
    assert!(commands.ended(ReaderId(2), 8, CommandOutcome::Done).is_none(), "it has ended");
}

#[test]
fn silent_workers_do_not_keep_a_command_for_ever() {
    let bytes = envelope(&OPEN, |_| {});
    let envelope = Envelope::parse(&bytes).unwrap();
    let mut commands = Commands::default();
    let until = Duration::from_secs(10);
    commands.begin(8, UnderWay::to_readers(&envelope, [ReaderId(1)].into_iter(), until));
    assert!(commands.take_overdue(until).is_none());
    assert_eq!(commands.take_overdue(until + COMMAND_RESULT_PATIENCE).unwrap().0, 8);
    // An order to the gateway waits for the disk as long as that takes.
    commands.begin(9, UnderWay::to_gateway(&envelope));
    assert!(commands.take_overdue(Duration::MAX).is_none());
}

#[test]
fn command_is_tried_until_its_not_after_and_not_for_ever() {
    let until = |not_after_us: i64| {
        let bytes = envelope(&OPEN, |e| e.not_after_us = not_after_us);
        Commands::until(&Envelope::parse(&bytes).unwrap(), NOW)
    };
    assert_eq!(until(NOW.wall_us + 2_000_000), NOW.monotonic + Duration::from_secs(2));
    assert_eq!(until(i64::MAX), NOW.monotonic + COMMAND_PATIENCE);
}

#[test]
fn number_below_one_that_has_not_ended_is_refused() {
    let mut commands = Commands::new(vec![*operator().verifying_key().as_bytes()]);
    let later = envelope(&OPEN, |e| e.number = 9);
    let later = Envelope::parse(&later).unwrap();
    commands.begin(9, UnderWay::to_readers(&later, [ReaderId(101)].into_iter(), NOW.monotonic));
    let held_back = envelope(&OPEN, |_| {});
    let verdict = commands.judge(17, &Envelope::parse(&held_back).unwrap(), None, NOW);
    assert_eq!(verdict, Verdict::Known(CommandOutcome::NumberNotAbove));
    assert_eq!(commands.judge(17, &later, None, NOW), Verdict::UnderWay);
}
