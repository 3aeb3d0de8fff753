//! What an enemy on the wire sends: nothing of it is answered, changes anything or stops the worker.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::ask;
use common::rig::{Rig, TestReader, laid_out};
use kalitka_core::{DropReason, Outcome};
use kalitka_protocol::limits::{DATAGRAM_MAX, MESSAGES_MAX, PLAINTEXT_MAX};
use kalitka_protocol::message::Message;
use kalitka_protocol::reason::Direction;

const ROUNDS: usize = 100_000;

fn enemy() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 666))
}

/// Every cut and every flipped bit of `datagram`, and one byte too many.
fn damaged(datagram: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let cuts = (0..datagram.len()).map(|len| datagram[..len].to_vec());
    let flips = (0..datagram.len() * 8).map(|bit| {
        let mut flipped = datagram.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        flipped
    });
    cuts.chain(flips).chain([[datagram, &[0]].concat()])
}

fn assert_dropped(rig: &mut Rig, datagram: &[u8]) {
    let outcome = rig.take(enemy(), datagram);
    assert!(matches!(outcome, Outcome::Dropped(_)), "{outcome:?} {datagram:02x?}");
    assert!(rig.effects().is_empty() && rig.out.datagram().is_empty());
}

#[test]
fn damaged_initiation_is_dropped_and_the_true_one_still_taken() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(101));
    let (_, initiation) = reader.initiate();
    for damaged in damaged(&initiation) {
        assert_dropped(&mut rig, &damaged);
    }
    rig.reply(reader.address, &initiation);
}

#[test]
fn damaged_sealed_datagram_is_dropped_and_the_true_one_still_taken() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(101));
    rig.connect(&mut reader);
    let datagram = reader.seal(&[Message::Ask(ask(1, 1, Direction::Entry))]);
    let before: Vec<_> = rig.worker.status().collect();
    for damaged in damaged(&datagram) {
        assert_dropped(&mut rig, &damaged);
    }
    assert_eq!(rig.worker.status().collect::<Vec<_>>(), before);
    rig.reply(reader.address, &datagram);
}

#[test]
fn random_bytes_are_dropped() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(101));
    rig.connect(&mut reader);
    let session = reader.link().id;
    let mut rng = fastrand::Rng::with_seed(2);
    for round in 0..ROUNDS {
        let mut bytes = vec![0; rng.usize(..DATAGRAM_MAX + 8)];
        rng.fill(&mut bytes);
        // Most rounds get past the first checks.
        for (place, value) in [rng.u8(1..4), 1, 0, 0].into_iter().enumerate().take(bytes.len()) {
            bytes[place] = value;
        }
        if round % 2 == 0 && bytes.len() >= 8 {
            let name = if bytes[0] == 3 { session.0 } else { 101 };
            bytes[4..8].copy_from_slice(&name.to_le_bytes());
            bytes.truncate(if bytes[0] == 3 { usize::MAX } else { 96 });
        }
        assert_dropped(&mut rig, &bytes);
    }
    let datagram = reader.seal(&[Message::Ask(ask(1, 1, Direction::Entry))]);
    rig.reply(reader.address, &datagram);
}

#[test]
fn authentic_nonsense_does_no_more_than_its_messages_may() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(101));
    rig.connect(&mut reader);
    let mut rng = fastrand::Rng::with_seed(3);
    let whole = laid_out(&[1, 2, 3].map(|request| Message::Ask(ask(request, 1, Direction::Entry))));
    for round in 0..ROUNDS / 2 {
        let mut bytes = if round % 2 == 0 { vec![0; rng.usize(..PLAINTEXT_MAX)] } else { whole.clone() };
        match bytes.len() {
            0 => {}
            len if round % 2 == 0 => rng.fill(&mut bytes[..len]),
            len => bytes[rng.usize(..len)] = rng.u8(..),
        }
        let datagram = reader.link().seal_bytes(&bytes);
        let outcome = rig.take(reader.address, &datagram);
        assert!(rig.effects().len() <= MESSAGES_MAX + 2);
        assert!(!matches!(outcome, Outcome::HandOver { .. }));
        if let Outcome::Dropped(reason) = outcome {
            let expected = [DropReason::MalformedMessage, DropReason::WrongDirectionMessage];
            assert!(expected.contains(&reason), "{reason:?}");
        }
    }
}

#[test]
fn a_flood_of_forged_initiations_does_not_keep_the_reader_out() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(101));
    let (_, initiation) = reader.initiate();
    let mut rng = fastrand::Rng::with_seed(4);
    for _ in 0..1000 {
        let mut forged = initiation.clone();
        // A stamp beyond every honest one, and a tag that is a guess.
        forged[8..16].fill(0xff);
        rng.fill(&mut forged[80..]);
        assert_dropped(&mut rig, &forged);
    }
    rig.pass(Duration::from_millis(1));
    rig.reply(reader.address, &initiation);
}
