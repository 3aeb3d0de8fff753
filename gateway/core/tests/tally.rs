//! What is seen of each reader from outside its worker: whether it speaks, how often it asks again, how fast its clock runs.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::ask;
use common::rig::{Rig, TestReader, keys};
use kalitka_core::{Keys, Outcome, ReaderTally};
use kalitka_protocol::ReaderId;
use kalitka_protocol::limits::SESSION_AGE_MAX;
use kalitka_protocol::message::{Message, Ping};
use kalitka_protocol::reason::Direction;

fn tally(keys: &Keys, reader: u32) -> Arc<ReaderTally> {
    Arc::clone(&keys.get(ReaderId(reader)).unwrap().tally)
}

fn ping(reports_waiting: u16, falling_back: bool) -> Message<'static> {
    Message::Ping(Ping { token: 1, reports_waiting, falling_back })
}

#[test]
fn reader_is_heard_by_what_is_authentic_and_by_nothing_else() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(101));
    let tally = tally(&rig.keys, 101);
    rig.shake_hands(&mut reader);
    assert_eq!((tally.heard(), tally.has_session()), (None, false), "an initiation proves no session");
    let first = reader.seal(&[]);
    assert_eq!(rig.take(reader.address, &first), Outcome::Silent);
    let heard = tally.heard();
    assert_eq!((heard, tally.has_session()), (Some(rig.now.monotonic), true));
    rig.pass(Duration::from_secs(1));
    let mut forged = reader.seal(&[ping(0, false)]);
    *forged.last_mut().unwrap() ^= 1;
    for datagram in [&forged, &first] {
        assert!(matches!(rig.take(reader.address, datagram), Outcome::Dropped(_)));
    }
    assert_eq!(tally.heard(), heard, "a forged and a replayed datagram");
}

#[test]
fn asks_are_counted_once_and_their_repeats_apart() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(101));
    rig.connect(&mut reader);
    let asks: Vec<_> = [1, 2, 2, 3, 1].map(|request| Message::Ask(ask(request, 1, Direction::Entry))).to_vec();
    for ask in asks {
        let datagram = reader.seal(&[ask]);
        rig.reply(reader.address, &datagram);
    }
    let counted = tally(&rig.keys, 101);
    assert_eq!((counted.asks.get(), counted.repeats.get()), (3, 2));
    let other = tally(&rig.keys, 102);
    assert_eq!((other.asks.get(), other.repeats.get(), other.heard()), (0, 0, None));
}

#[test]
fn pings_tell_what_waits_and_how_fast_the_readers_clock_runs() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(101));
    rig.connect(&mut reader);
    let tally = tally(&rig.keys, 101);
    for number in 0..=30 {
        assert_eq!(tally.drift_ppm(), None, "after {number} pings");
        let datagram = reader.seal(&[ping(number, number % 2 == 0)]);
        rig.reply(reader.address, &datagram);
        assert_eq!((tally.reports_waiting(), tally.is_falling_back()), (number, number % 2 == 0));
        rig.pass(Duration::from_millis(1020));
    }
    assert_eq!(tally.drift_ppm(), Some(20_000));
}

#[test]
fn session_ends_with_its_time_and_with_its_key_and_the_counts_go_on() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(101));
    rig.connect(&mut reader);
    let first = tally(&rig.keys, 101);
    let datagram = reader.seal(&[Message::Ask(ask(1, 1, Direction::Entry))]);
    rig.reply(reader.address, &datagram);
    rig.pass(SESSION_AGE_MAX + Duration::from_secs(60));
    rig.take(reader.address, &datagram);
    assert!(!first.has_session(), "its time is over");
    rig.connect(&mut reader);
    assert!(first.has_session());
    rig.keys = keys(2, &[(101, 2)]).with_tallies_of(&rig.keys);
    rig.take(reader.address, &datagram);
    assert_eq!((first.has_session(), first.asks.get()), (false, 1), "under the next key");
    assert!(Arc::ptr_eq(&first, &tally(&rig.keys, 101)));
}
