//! Mutated input for the parsers of events and upstream messages: none panics, what is read means what is written, and
//! nothing is accepted that was changed under a hash or a signature.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../protocol/tests/support/record.rs"]
mod record;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use fastrand::Rng;
use kalitka_protocol::EpochId;
use kalitka_protocol::event::{Body, Event, Events, chain, chain_all, renumber};
use kalitka_protocol::upstream::{Batch, Checkpoint, CommandBody, Envelope, batch_signed};
use kalitka_tests::mutate::{guarded, mutate};
use kalitka_tests::random::{number_from_environment, seed};
use record::{EPOCH, Sample, batch, envelope, run, samples, written};

/// Executions of each parser in ordinary runs, and in soak.
const EXECUTIONS: u64 = 500_000;
const EXECUTIONS_IN_SOAK: u64 = 10_000_000;

/// How many executions a test makes, so many hundredths of what each parser gets.
fn executions(percent: u64) -> u64 {
    number_from_environment("KALITKA_FUZZ_EXECUTIONS", EXECUTIONS * percent / 100, EXECUTIONS_IN_SOAK * percent / 100)
}

/// A sample mutated, with pieces of the others.
fn mutated(rng: &mut Rng, samples: &[Sample], others: &[Vec<u8>]) -> (usize, Vec<u8>) {
    let place = rng.usize(..samples.len());
    let mut bytes = samples[place].bytes.clone();
    mutate(rng, &mut bytes, others);
    (place, bytes)
}

/// What `sample`'s parser reads of `bytes` means what is written of it; of a decision, the same as is read again.
fn read_and_written(sample: &Sample, bytes: &[u8]) {
    let Ok(again) = (sample.again)(bytes) else { return };
    let decision = sample.name == "event" && matches!(Event::parse(bytes).unwrap().body, Body::Decision(_));
    if decision {
        assert_eq!(Event::parse(&again), Event::parse(bytes));
    } else {
        assert!(again == bytes, "{} is written as {}", sample.name, hex::encode(again));
    }
}

fn fuzz_samples(what: &str, is_mine: impl Fn(&Sample) -> bool) {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    let samples: Vec<_> = samples().into_iter().filter(is_mine).collect();
    let others: Vec<_> = samples.iter().map(|sample| sample.bytes.clone()).collect();
    for _ in 0..executions(100) {
        let (place, bytes) = mutated(&mut rng, &samples, &others);
        guarded(what, seed, &bytes, || read_and_written(&samples[place], &bytes));
    }
}

#[test]
fn what_is_read_of_mutated_events_is_what_would_be_written() {
    fuzz_samples("event", |sample| sample.name == "event");
}

#[test]
fn what_is_read_of_mutated_messages_is_what_would_be_written() {
    fuzz_samples("upstream message", |sample| sample.name != "event");
}

/// Walks over `bytes` as whoever stores, chains or moves events does.
fn walk(bytes: &[u8]) {
    let mut hash = [7; 32];
    let mut place = 0;
    let mut is_whole = true;
    for raw in Events::new(bytes) {
        let Ok(raw) = raw else {
            is_whole = false;
            break;
        };
        assert_eq!(raw.bytes, &bytes[place..place + raw.bytes.len()], "events lie one behind the other");
        place += raw.bytes.len();
        hash = chain(&hash, raw.bytes);
        assert_eq!(Event::parse(raw.bytes), raw.event());
        move_one(raw.bytes);
    }
    assert_eq!(is_whole, place == bytes.len());
    assert_eq!(chain_all(&[7; 32], bytes).ok().map(|(hash, _)| hash), is_whole.then_some(hash));
}

/// Gives an event a new identity and the old one again.
fn move_one(event: &[u8]) {
    let header = Events::new(event).next().unwrap().unwrap().header;
    let mut moved = event.to_vec();
    if renumber(&mut moved, EpochId(9), 1 << 40).is_err() {
        assert_eq!(moved, event);
        return;
    }
    let new = Events::new(&moved).next().unwrap().unwrap().header;
    assert_eq!((new.epoch, new.number), (EpochId(9), 1 << 40));
    renumber(&mut moved, header.epoch, header.number).unwrap();
    let parsed = |bytes: &[u8]| Events::new(bytes).next().unwrap().unwrap().header;
    assert_eq!(parsed(&moved), header);
}

#[test]
fn mutated_runs_of_events_are_walked_over_to_their_first_flaw() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    let events: Vec<_> =
        samples().into_iter().filter(|sample| sample.name == "event").map(|sample| sample.bytes).collect();
    for _ in 0..executions(100) {
        let mut bytes: Vec<u8> = (0..rng.usize(1..8)).flat_map(|_| events[rng.usize(..events.len())].clone()).collect();
        mutate(&mut rng, &mut bytes, &events);
        guarded("run of events", seed, &bytes, || walk(&bytes));
    }
}

fn signature_holds(key: &VerifyingKey, signed: &[u8], signature: &[u8; 64]) -> bool {
    key.verify_strict(signed, &Signature::from_bytes(signature)).is_ok()
}

/// Whether a hub that keeps the events before would keep the batch.
fn hub_keeps(key: &VerifyingKey, hash_before: &[u8; 32], bytes: &[u8]) -> bool {
    let Ok(batch) = Batch::parse(bytes) else { return false };
    let chained = chain_all(hash_before, batch.events);
    let signed = batch_signed(7, batch.epoch, batch.last(), &batch.hash);
    batch.first == 9
        && batch.building() == Some(7)
        && batch.hash_before == *hash_before
        && chained == Ok((batch.hash, u64::from(batch.count)))
        && signature_holds(key, &signed, &batch.signature)
}

/// Whether a gateway of building 7 would obey the envelope, whatever its body says.
fn gateway_obeys(key: &VerifyingKey, bytes: &[u8]) -> bool {
    let Ok(envelope) = Envelope::parse(bytes) else { return false };
    let _ = CommandBody::parse(envelope.body);
    let signed = written(|out| envelope.signed(out));
    envelope.operator == *key.as_bytes() && signature_holds(key, &signed, &envelope.signature)
}

fn checkpoint_holds(key: &VerifyingKey, bytes: &[u8]) -> bool {
    Checkpoint::parse(bytes).is_ok_and(|checkpoint| signature_holds(key, &checkpoint.signed(), &checkpoint.signature))
}

#[test]
fn nothing_is_accepted_that_was_changed_under_a_hash_or_a_signature() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    let secret = SigningKey::from_bytes(&[7; 32]);
    let key = secret.verifying_key();
    let hash_before = [1; 32];
    let events = run(9, 3);
    let (hash, _) = chain_all(&hash_before, &events).unwrap();
    let mut signed = Batch { hash_before, hash, ..batch(&events, 3) };
    signed.signature = secret.sign(&batch_signed(7, EPOCH, 11, &hash)).to_bytes();
    let mut order = envelope(&[1, 1, 0x88, 0x13, 101, 0, 0, 0]);
    order.operator = *key.as_bytes();
    order.signature = secret.sign(&written(|out| order.signed(out))).to_bytes();
    let mut seen = Checkpoint { building: 7, epoch: EPOCH, number: 9, hash, wall_us: 1, signature: [0; 64] };
    seen.signature = secret.sign(&seen.signed()).to_bytes();
    let originals = [written(|out| signed.emit(out)), written(|out| order.emit(out)), written(|out| seen.emit(out))];
    let accepts = |place: usize, bytes: &[u8]| match place {
        0 => hub_keeps(&key, &hash_before, bytes),
        1 => gateway_obeys(&key, bytes),
        _ => checkpoint_holds(&key, bytes),
    };
    originals.iter().enumerate().for_each(|(place, bytes)| assert!(accepts(place, bytes), "the original {place}"));
    for _ in 0..executions(50) {
        let place = rng.usize(..originals.len());
        let mut bytes = originals[place].clone();
        mutate(&mut rng, &mut bytes, &originals);
        guarded("signed", seed, &bytes, || {
            assert_eq!(accepts(place, &bytes), bytes == originals[place], "took what was changed");
        });
    }
}
