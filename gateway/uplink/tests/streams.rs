//! What the hub hands down: commands and snapshots (SPEC 15.3, 15.8, 15.9, 15.12).
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::atomic::Ordering::Relaxed;

use kalitka_protocol::upstream::{CommandOutcome, SnapshotHead, close, kind, snapshot_result};
use quinn::ConnectionError;
use support::hub::{Link, send};
use support::rig::{EPOCH, Rig};
use support::within_a_minute;

const LEN: usize = 9 * 1024 * 1024 + 17;

fn file(seed: u8) -> Vec<u8> {
    (0..LEN).map(|at| at.wrapping_mul(0x9e37_79b9).to_le_bytes()[2] ^ seed).collect()
}

fn head(generation: u32, file: &[u8]) -> SnapshotHead {
    SnapshotHead { generation, len: file.len() as u64, hash: *blake3::hash(file).as_bytes() }
}

async fn closed_by_gateway(link: &Link) -> u64 {
    match link.connection.closed().await {
        ConnectionError::ApplicationClosed(closed) => closed.error_code.into_inner(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn commands_reach_the_journal_in_order_and_each_gets_its_result() {
    within_a_minute(async {
        let rig = Rig::start();
        let link = rig.hub.fresh().await;
        let envelopes: Vec<Vec<u8>> = (0..40_u8).map(|at| vec![at; 126]).collect();
        let mut commands = link.commands(&envelopes[0]).await;
        for envelope in &envelopes[1..] {
            commands.command(envelope).await;
        }
        let mut results = Vec::new();
        for _ in &envelopes {
            let result = commands.result().await;
            assert_eq!(result.outcome, CommandOutcome::Done);
            results.push(result.number);
        }
        results.sort_unstable();
        assert_eq!(results, (1..=40).collect::<Vec<u64>>());
        assert_eq!(rig.journal.book().commands, envelopes);
        // The stream ends with the hub's side of it, and the connection stays.
        commands.send.finish().unwrap();
        assert!(support::hub::read(&mut commands.receive).await.is_none());
        assert!(link.connection.close_reason().is_none());
    });
}

#[test]
fn command_that_the_journal_drops_gets_no_result_and_the_next_one_does() {
    within_a_minute(async {
        let rig = Rig::start();
        rig.journal.book().mute = true;
        let link = rig.hub.fresh().await;
        let mut commands = link.commands(&[1; 126]).await;
        rig.journal.until(|book| (book.commands.len() == 1).then_some(())).await;
        rig.journal.book().mute = false;
        commands.command(&[2; 126]).await;
        assert_eq!(commands.result().await.number, 2);
    });
}

#[test]
fn stream_that_the_hub_may_not_open_ends_the_connection() {
    within_a_minute(async {
        let rig = Rig::start();
        let link = rig.hub.fresh().await;
        let _first = link.commands(&[1; 126]).await;
        rig.journal.until(|book| (!book.commands.is_empty()).then_some(())).await;
        let _second = link.commands(&[2; 126]).await;
        assert_eq!(closed_by_gateway(&link).await, u64::from(close::MALFORMED));

        for (code, body) in [(kind::POSITION, 52), (kind::ENROLLED, 100), (kind::COMMAND, 118 + 1025)] {
            let rig = Rig::start();
            let link = rig.hub.fresh().await;
            let (mut stream, _receive) = link.connection.open_bi().await.unwrap();
            send(&mut stream, code, |out| out.put(&vec![1; body])).await;
            assert_eq!(closed_by_gateway(&link).await, u64::from(close::MALFORMED), "{code}");
            assert!(rig.journal.book().commands.is_empty());
        }
    });
}

#[test]
fn snapshot_comes_whole_and_its_result_goes_back() {
    within_a_minute(async {
        for result in [snapshot_result::ADOPTED, 7, snapshot_result::GENERATION_NOT_ABOVE] {
            let rig = Rig::start();
            rig.journal.book().snapshot_result = result;
            let file = file(1);
            let link = rig.hub.fresh().await;
            let (offer, wanted) = link.offer(&head(5, &file)).await;
            assert_eq!((wanted.generation, wanted.offset), (5, 0));
            let said = offer.finish(&file).await;
            assert_eq!((said.generation, said.result), (5, result));
            assert!(rig.snapshot_files().is_empty(), "nothing stays behind");
            let book = rig.journal.book();
            assert!(book.snapshots.len() == 1 && book.snapshots[0].1 == 5 && book.snapshots[0].2 == file);
        }
    });
}

#[test]
fn snapshot_goes_on_where_it_broke_off() {
    within_a_minute(async {
        let rig = Rig::start();
        let file = file(2);
        let link = rig.hub.fresh().await;
        let (mut offer, _) = link.offer(&head(5, &file)).await;
        offer.send.write_all(&file[..6 * 1024 * 1024]).await.unwrap();
        let arrived = async {
            while rig.tally.snapshot_bytes.load(Relaxed) < 6 * 1024 * 1024 {
                tokio::task::yield_now().await;
            }
        };
        arrived.await;
        link.close(0, "the line breaks");

        let link = rig.hub.fresh().await;
        let (offer, wanted) = link.offer(&head(5, &file)).await;
        let has = usize::try_from(wanted.offset).unwrap();
        assert!((4 * 1024 * 1024..=6 * 1024 * 1024).contains(&has), "{has}");
        assert_eq!(offer.finish(&file[has..]).await.result, 0);
        assert!(rig.journal.book().snapshots[0].2 == file);
    });
}

#[test]
fn part_of_another_snapshot_is_cleared_away() {
    within_a_minute(async {
        let rig = Rig::start();
        std::fs::create_dir(&rig.options.snapshots).unwrap();
        for name in ["00.part", "11.snapshot"] {
            std::fs::write(rig.options.snapshots.join(name), "old").unwrap();
        }
        let file = file(3);
        let link = rig.hub.fresh().await;
        let (offer, wanted) = link.offer(&head(6, &file)).await;
        assert_eq!(wanted.offset, 0);
        let part = format!("{}.part", hex::encode(head(6, &file).hash));
        assert!(rig.snapshot_files().iter().all(|path| path.ends_with(&part)));
        assert_eq!(offer.finish(&file).await.result, 0);
    });
}

#[test]
fn whole_snapshot_whose_result_was_lost_is_not_sent_again() {
    within_a_minute(async {
        let rig = Rig::start();
        let file = file(4);
        let head = head(6, &file);
        std::fs::create_dir(&rig.options.snapshots).unwrap();
        std::fs::write(rig.options.snapshots.join(format!("{}.snapshot", hex::encode(head.hash))), &file).unwrap();
        let link = rig.hub.fresh().await;
        let (offer, wanted) = link.offer(&head).await;
        assert_eq!(wanted.offset, LEN as u64);
        assert_eq!(offer.finish(&[]).await.result, 0);
        assert_eq!(rig.journal.book().snapshots.len(), 1);
    });
}

#[test]
fn snapshot_with_another_hash_is_not_kept_and_can_be_offered_again() {
    within_a_minute(async {
        let rig = Rig::start();
        let file = file(5);
        let mut other = file.clone();
        other[LEN / 2] ^= 1;
        let link = rig.hub.fresh().await;
        let (offer, _) = link.offer(&head(6, &file)).await;
        assert_eq!(offer.finish(&other).await.result, snapshot_result::NOT_KEPT);
        assert!(rig.snapshot_files().is_empty() && rig.journal.book().snapshots.is_empty());
        let (offer, wanted) = link.offer(&head(6, &file)).await;
        assert_eq!(wanted.offset, 0);
        assert_eq!(offer.finish(&file).await.result, 0);
    });
}

#[test]
fn snapshot_that_cannot_be_written_is_not_kept_and_events_go_on() {
    within_a_minute(async {
        let rig = Rig::start();
        std::fs::write(&rig.options.snapshots, "in the folder's place").unwrap();
        let file = file(6);
        let mut link = rig.hub.fresh().await;
        let (mut stream, mut receive) = link.connection.open_bi().await.unwrap();
        let head = head(6, &file);
        send(&mut stream, kind::SNAPSHOT, |out| head.emit(out)).await;
        // It wants none of it, and says so before the result (SPEC 15.12).
        let wanted = support::hub::read(&mut receive).await.unwrap();
        assert_eq!((wanted.kind, &wanted.body[8..]), (kind::SNAPSHOT_WANTED, &head.len.to_le_bytes()[..]));
        let result = support::hub::read(&mut receive).await.unwrap();
        assert_eq!((result.kind, result.body[4]), (kind::SNAPSHOT_RESULT, snapshot_result::NOT_KEPT));
        assert_eq!(link.keep_batch().await, (EPOCH, 1, 1));
    });
}

#[test]
fn snapshot_that_is_cut_short_or_too_long_ends_the_connection() {
    within_a_minute(async {
        for (what, bytes) in [("short", LEN - 1), ("long", LEN + 1)] {
            let rig = Rig::start();
            let mut sent = file(7);
            let head = head(6, &sent);
            sent.resize(bytes, 0);
            let link = rig.hub.fresh().await;
            let (mut offer, _) = link.offer(&head).await;
            offer.send.write_all(&sent).await.unwrap();
            offer.send.finish().unwrap();
            assert_eq!(closed_by_gateway(&link).await, u64::from(close::MALFORMED), "{what}");
            assert!(rig.journal.book().snapshots.is_empty(), "{what}");
        }
    });
}
