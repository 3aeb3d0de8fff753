//! The record stream against a hub that does what it is told (SPEC 15.2 to 15.7, 15.11, 15.13).
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use kalitka_protocol::EpochId;
use kalitka_protocol::event::chain_all;
use kalitka_protocol::limits::EARLIER_EPOCHS_MAX;
use kalitka_protocol::upstream::{
    Batch, Checkpoint, Pace, Position, PositionEntry, batch_signed, checkpoint_signed, close, kind,
};
use kalitka_uplink::State;
use quinn::{ConnectionError, VarInt};
use ring::signature::{ED25519, UnparsedPublicKey};
use support::hub::{Link, compose, read, send};
use support::rig::{BUILDING, EPOCH, Rig};
use support::within_a_minute;

const SECOND: EpochId = EpochId(0xe2);
const THIRD: EpochId = EpochId(0xe3);

/// Keeps batches until the epoch's `last`.
async fn keep_until(link: &mut Link, epoch: EpochId, last: u64) -> u64 {
    let mut first_kept = None;
    loop {
        let (got, first, end) = link.keep_batch().await;
        assert_eq!(got, epoch);
        first_kept.get_or_insert(first);
        if end == last {
            return first_kept.unwrap();
        }
        assert!(end < last);
    }
}

/// The code with which the gateway closes the connection.
async fn closed_by_gateway(link: &Link) -> u32 {
    match link.connection.closed().await {
        ConnectionError::ApplicationClosed(closed) => u32::try_from(closed.error_code.into_inner()).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_batch_is_chained_and_signed_by_the_certificates_key() {
    within_a_minute(async {
        let rig = Rig::start();
        rig.journal.commit_many(20_000);
        let mut link = rig.hub.fresh().await;
        let identity = kalitka_uplink::Identity::read(&rig.options.identity).unwrap().unwrap();
        let (_, certificate) = x509_parser::parse_x509_certificate(identity.certificate()).unwrap();
        let key = certificate.public_key().subject_public_key.data.to_vec();
        let (mut hash, mut next) = ([0; 32], 1);
        while next <= 20_001 {
            let body = link.batch().await;
            let batch = Batch::parse(&body).unwrap();
            assert_eq!((batch.epoch, batch.first, batch.hash_before), (EPOCH, next, hash));
            (hash, _) = chain_all(&hash, batch.events).unwrap();
            assert_eq!(batch.hash, hash);
            let signed = batch_signed(BUILDING, EPOCH, batch.last(), &hash);
            UnparsedPublicKey::new(&ED25519, &key).verify(&signed, &batch.signature).unwrap();
            next = batch.last() + 1;
            link.acknowledge(EPOCH, batch.last()).await;
        }
        let number =
            rig.journal.until(|book| book.acknowledged.iter().map(|(_, number)| *number).find(|&n| n == 20_001));
        number.await;
    });
}

#[test]
fn sending_goes_on_where_the_hub_says_also_when_that_is_lower() {
    within_a_minute(async {
        let rig = Rig::start();
        rig.journal.commit_many(999);
        let mut link = rig.hub.fresh().await;
        keep_until(&mut link, EPOCH, 1000).await;
        rig.journal.until(|book| (!book.acknowledged.is_empty()).then_some(())).await;
        link.close(0, "");
        let mut link = rig.hub.greeted().await;
        assert_eq!((link.hello.building, link.hello.epoch, link.hello.last), (BUILDING, EPOCH, 1000));
        let hash = rig.journal.book().epochs[0].events[499].1;
        link.position(&Position::new(PositionEntry { epoch: EPOCH, last: 500, hash })).await;
        assert_eq!(keep_until(&mut link, EPOCH, 1000).await, 501);
        assert_eq!(rig.tally.resent.load(Relaxed), 500);
        rig.journal.commit_many(1);
        assert_eq!(link.keep_batch().await, (EPOCH, 1001, 1001));
        assert_eq!(rig.tally.connections.load(Relaxed), 2);
    });
}

#[test]
fn earlier_epochs_go_first_and_a_new_one_follows_on_the_same_connection() {
    within_a_minute(async {
        let rig = Rig::start();
        rig.journal.commit_many(99);
        rig.journal.begin(SECOND);
        let mut link = rig.hub.fresh().await;
        keep_until(&mut link, EPOCH, 100).await;
        keep_until(&mut link, SECOND, 1).await;
        rig.journal.begin(THIRD);
        rig.journal.commit_many(9);
        keep_until(&mut link, THIRD, 10).await;
        assert_eq!(rig.tally.connections.load(Relaxed), 1);
    });
}

#[test]
fn epoch_that_was_passed_over_comes_by_a_new_hello() {
    within_a_minute(async {
        let rig = Rig::start();
        let mut link = rig.hub.fresh().await;
        keep_until(&mut link, EPOCH, 1).await;
        // Two epochs begin before the uplink looks.
        rig.journal.begin_unseen(SECOND);
        rig.journal.begin(THIRD);
        let mut link = rig.hub.greeted().await;
        assert_eq!((link.hello.epoch, link.hello.earlier.as_slice()), (THIRD, &[SECOND, EPOCH][..]));
        let mut position = Position::new(PositionEntry::nothing(THIRD));
        position.push(PositionEntry::nothing(SECOND)).unwrap();
        position.push(PositionEntry { epoch: EPOCH, last: 1, hash: [1; 32] }).unwrap();
        link.position(&position).await;
        keep_until(&mut link, SECOND, 1).await;
        keep_until(&mut link, THIRD, 1).await;
    });
}

/// SPEC 15.4.
#[test]
fn epochs_that_one_hello_has_no_room_for_come_by_the_next() {
    within_a_minute(async {
        let rig = Rig::start();
        let more = 2 * EARLIER_EPOCHS_MAX as u64 + 3;
        (1..more).for_each(|place| rig.journal.begin_unseen(EpochId(EPOCH.0 + place)));
        rig.journal.begin(EpochId(EPOCH.0 + more));
        let (mut kept, mut connections) = (BTreeSet::new(), 0);
        while kept.len() as u64 <= more {
            let mut link = rig.hub.fresh().await;
            connections += 1;
            let before: Vec<EpochId> = link.hello.earlier.as_slice().iter().rev().copied().collect();
            assert!(before.is_sorted() && before.len() <= EARLIER_EPOCHS_MAX, "{before:?}");
            for epoch in before.into_iter().chain([link.hello.epoch]) {
                keep_until(&mut link, epoch, 1).await;
                kept.insert(epoch);
            }
            if kept.len() as u64 <= more {
                assert_eq!(closed_by_gateway(&link).await, 0);
            }
        }
        assert_eq!(connections, 3);
    });
}

#[test]
fn forked_epoch_is_told_and_no_longer_sent() {
    within_a_minute(async {
        let rig = Rig::start();
        rig.journal.commit_many(9);
        let mut link = rig.hub.fresh().await;
        let body = link.batch().await;
        assert_eq!(Batch::parse(&body).unwrap().last(), 10);
        link.fork(EPOCH, 4).await;
        rig.journal.until(|book| (book.forked == [(EPOCH, 4)]).then_some(())).await;
        rig.journal.commit_many(5);
        rig.journal.begin(SECOND);
        keep_until(&mut link, SECOND, 1).await;
        assert_eq!((rig.tally.forks.load(Relaxed), rig.tally.connections.load(Relaxed)), (1, 1));
        assert!(rig.journal.book().acknowledged.iter().all(|(epoch, _)| *epoch == SECOND));
    });
}

#[test]
fn sending_stops_at_the_window_until_something_is_acknowledged() {
    within_a_minute(async {
        let rig = Rig::start();
        rig.journal.commit_many(100_000);
        let mut link = rig.hub.fresh().await;
        let mut body = link.batch().await;
        let mut bytes = 0;
        let last = loop {
            let batch = Batch::parse(&body).unwrap();
            bytes += batch.events.len();
            let last = batch.last();
            match tokio::time::timeout(Duration::from_millis(700), link.batch()).await {
                Ok(next) => body = next,
                Err(_) => break last,
            }
        };
        // At most the largest window and the batch that fills it; at least the smallest.
        assert!(last < 100_001 && (32 * 1024..=2304 * 1024).contains(&bytes), "{last} {bytes}");
        link.acknowledge(EPOCH, last).await;
        assert_eq!(Batch::parse(&link.batch().await).unwrap().first, last + 1);
    });
}

#[test]
fn what_the_hub_may_not_say_ends_the_connection_with_its_code() {
    let acknowledge = |number: u64| {
        let body = [EPOCH.0.to_le_bytes(), number.to_le_bytes()].concat();
        compose(kind::ACKNOWLEDGEMENT, |out| out.put(&body))
    };
    let mut other_version = acknowledge(1);
    other_version[5] = 2;
    let mut reserved = acknowledge(1);
    reserved[6] = 1;
    let cases = [
        ("an acknowledgement of what was not sent", acknowledge(2), close::MALFORMED),
        ("one that is cut short", compose(kind::ACKNOWLEDGEMENT, |out| out.put(&[1; 15])), close::MALFORMED),
        ("a fork of what was not sent", compose(kind::FORK, |out| out.put(&[1; 16])), close::MALFORMED),
        ("another version", other_version, close::VERSION),
        ("reserved bytes", reserved, close::MALFORMED),
        ("a body that is too long", vec![1, 0, 16, 0, kind::ACKNOWLEDGEMENT, 1, 0, 0], close::MALFORMED),
        ("a batch", compose(kind::BATCH, |_| Ok(())), close::MALFORMED),
        ("a second position", compose(kind::POSITION, |out| out.put(&[0; 52])), close::MALFORMED),
        ("a command", compose(kind::COMMAND, |out| out.put(&[0; 126])), close::MALFORMED),
        ("a checkpoint that is cut short", compose(kind::CHECKPOINT, |out| out.put(&[1; 123])), close::MALFORMED),
    ];
    within_a_minute(async move {
        for (what, bytes, code) in cases {
            let mut rig = Rig::start();
            let mut link = rig.hub.fresh().await;
            link.batch().await;
            link.send.write_all(&bytes).await.unwrap();
            assert_eq!(closed_by_gateway(&link).await, code, "{what}");
            assert_eq!(rig.down().await.0, None, "{what}");
            let book = rig.journal.book();
            assert!(book.acknowledged.is_empty() && book.forked.is_empty() && book.checkpoints.is_empty(), "{what}");
        }
    });
}

#[test]
fn message_of_an_unknown_kind_is_skipped() {
    within_a_minute(async {
        let rig = Rig::start();
        let mut link = rig.hub.greeted().await;
        let skipped = compose(99, |out| out.put(&[7; 1000]));
        link.send.write_all(&skipped).await.unwrap();
        link.position(&Position::new(PositionEntry::nothing(EPOCH))).await;
        link.send.write_all(&skipped).await.unwrap();
        assert_eq!(link.keep_batch().await, (EPOCH, 1, 1));
        rig.journal.until(|book| (!book.acknowledged.is_empty()).then_some(())).await;
    });
}

#[test]
fn position_that_does_not_answer_the_hello_ends_the_connection() {
    within_a_minute(async {
        let rig = Rig::start();
        let mut link = rig.hub.greeted().await;
        link.position(&Position::new(PositionEntry::nothing(SECOND))).await;
        assert_eq!(closed_by_gateway(&link).await, close::MALFORMED);
        assert!(rig.journal.book().positions.is_empty());
    });
}

#[test]
fn each_code_of_the_hub_is_shown_counted_and_tried_again() {
    within_a_minute(async {
        // Expired, 9, is answered by a renewal.
        for code in (1..=10).filter(|&code| code != close::EXPIRED) {
            let mut rig = Rig::start();
            let link = rig.hub.fresh().await;
            link.close(code, "because");
            let (shown, text) = rig.down().await;
            assert_eq!(shown, Some(u64::from(code)));
            assert!(text.contains("because"), "{text}");
            let place = if code > 8 { 0 } else { code as usize };
            assert_eq!(rig.tally.closed[place].load(Relaxed), 1, "{code}");
        }
    });
}

#[test]
fn checkpoint_is_kept_only_under_the_pinned_key_and_for_this_building() {
    within_a_minute(async {
        let rig = Rig::start();
        let mut link = rig.hub.fresh().await;
        let checkpoint = |building: u32, number| {
            let signed = checkpoint_signed(building, EPOCH, number, &[3; 32], 5);
            let signature = rig.pki.checkpoint.sign(&signed).as_ref().try_into().unwrap();
            Checkpoint { building, epoch: EPOCH, number, hash: [3; 32], wall_us: 5, signature }
        };
        let mut forged = checkpoint(BUILDING, 1);
        forged.number = 2;
        let good = checkpoint(BUILDING, 3);
        for one in [forged, checkpoint(BUILDING + 1, 1), good] {
            send(&mut link.send, kind::CHECKPOINT, |out| one.emit(out)).await;
        }
        let kept = rig.journal.until(|book| book.checkpoints.first().cloned()).await;
        assert_eq!(Checkpoint::parse(&kept).unwrap(), good);
        assert_eq!(rig.tally.checkpoints_refused.load(Relaxed), 2);
        assert_eq!(link.keep_batch().await, (EPOCH, 1, 1));
    });
}

#[test]
fn busy_journal_is_asked_again() {
    within_a_minute(async {
        let rig = Rig::start();
        rig.journal.book().busy = 5;
        let mut link = rig.hub.fresh().await;
        rig.journal.book().busy = 5;
        link.keep_batch().await;
        rig.journal.until(|book| (book.acknowledged == [(EPOCH, 1)]).then_some(())).await;
    });
}

#[test]
fn nothing_is_connected_before_the_outbox_is_open() {
    within_a_minute(async {
        let rig = Rig::start_closed();
        let waiting = tokio::time::timeout(Duration::from_millis(500), rig.hub.endpoint.accept()).await;
        assert!(waiting.is_err());
        rig.journal.commit_many(1);
        rig.hub.fresh().await.keep_batch().await;
    });
}

#[test]
fn hub_that_acknowledges_nothing_is_left() {
    within_a_minute(async {
        let mut rig = Rig::start();
        let mut link = rig.hub.fresh().await;
        link.batch().await;
        rig.ahead.store(61, Relaxed);
        let (code, text) = rig.down().await;
        assert!(code.is_none() && text.contains("acknowledges nothing"), "{text}");
    });
}

#[test]
fn end_of_the_process_is_told_to_the_hub() {
    within_a_minute(async {
        let rig = Rig::start();
        let mut link = rig.hub.fresh().await;
        link.keep_batch().await;
        assert!(matches!(*rig.state.borrow(), State::Up { .. }));
        rig.shutdown.send(true).unwrap();
        match link.connection.closed().await {
            ConnectionError::ApplicationClosed(closed) => assert_eq!(closed.error_code, VarInt::from_u32(0)),
            other => panic!("{other:?}"),
        }
        rig.uplink.await.unwrap().unwrap();
        assert_eq!(*rig.state.borrow(), State::Off);
        assert!(read(&mut link.receive).await.is_none());
    });
}

/// SPEC 15.16.
#[test]
fn hub_that_asks_for_less_gets_less() {
    within_a_minute(async {
        let rig = Rig::start();
        let mut link = rig.hub.fresh().await;
        send(&mut link.send, kind::PACE, |out| Pace { bytes: 32_768 }.emit(out)).await;
        until_paced(&rig, 32_768).await;
        rig.journal.commit_many(4000);
        let (mut on_the_way, mut sent) = (0, 0);
        while sent < 4000 * 112 {
            let body = link.batch().await;
            let batch = Batch::parse(&body).unwrap();
            on_the_way += batch.events.len();
            sent += batch.events.len();
            assert!(on_the_way <= 32_768, "{on_the_way} bytes are on their way");
            // As late as can be: there is no room for another one of this size.
            if on_the_way + 16_384 > 32_768 {
                link.acknowledge(batch.epoch, batch.last()).await;
                on_the_way = 0;
            }
        }
        send(&mut link.send, kind::PACE, |out| Pace { bytes: 1 << 20 }.emit(out)).await;
        until_paced(&rig, 1 << 20).await;
        rig.journal.commit_many(4000);
        // More is let through when there is more.
        while Batch::parse(&link.batch().await).unwrap().events.len() <= 16_384 {}
    });
}

async fn until_paced(rig: &Rig, bytes: u64) {
    while rig.tally.pace.load(Relaxed) != bytes {
        tokio::task::yield_now().await;
    }
}

/// SPEC 15.16.
#[test]
fn pace_below_the_least_ends_the_connection() {
    within_a_minute(async {
        let mut rig = Rig::start();
        let mut link = rig.hub.fresh().await;
        send(&mut link.send, kind::PACE, |out| out.put(&[0, 0, 0, 0, 0, 0, 0, 0])).await;
        let (_, text) = rig.down().await;
        assert!(text.contains("a pace"), "{text}");
    });
}
