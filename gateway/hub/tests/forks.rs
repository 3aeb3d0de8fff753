//! The same identity with another hash is refused with an alarm, and nothing is lost by it (SPEC 15.13).
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use support::Site;
use support::gateway::{Gateway, Identity, Said};
use support::history::History;

const BUILDING: u32 = 17;

/// Two histories of one epoch: the same up to 10, and then not.
fn two() -> (History, History) {
    let kept = History::of(BUILDING, 7, 10);
    let mut other = kept.clone();
    let mut kept = kept;
    kept.grow(15);
    for _ in 11..=30 {
        other.report(1);
    }
    (kept, other)
}

#[tokio::test(flavor = "multi_thread")]
async fn fork_names_the_first_number_and_keeps_nothing_of_the_batch() {
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let (kept, other) = two();
    let (mut gateway, _) = Gateway::hello(&identity, hub.quic, &kept, &[]).await;
    gateway.batch(&kept, (1, 15)).await;
    assert_eq!(gateway.hear().await, Said::Acknowledged(7, 15));

    gateway.batch(&other, (8, 20)).await;
    // What is under way of that epoch is dropped unanswered, even where it would fit: it is of the other history.
    gateway.batch(&other, (21, 25)).await;
    gateway.batch(&other, (26, 30)).await;
    // What lies before the fork is the same in both, and kept: so nobody has to send it again.
    assert_eq!(gateway.hear().await, Said::Acknowledged(7, 10));
    assert_eq!(gateway.hear().await, Said::Fork(7, 11));
    let next = History::begin(BUILDING, 8, Some(&kept));
    gateway.batch(&next, (1, 1)).await;
    assert_eq!(gateway.hear().await, Said::Acknowledged(8, 1));

    assert_eq!(hub.events(BUILDING).len(), 16);
    assert_eq!(hub.alarms(), [("fork".to_owned(), Some(17))]);
    let (status, verified) = hub.verify(BUILDING);
    assert_eq!(status, 0, "{verified}");
    assert_eq!(verified["refused"].as_array().unwrap().len(), 1);

    // On another connection the legitimate history of the epoch goes on.
    drop(gateway);
    let mut kept = kept;
    kept.grow(18);
    let (mut gateway, _) = Gateway::hello(&identity, hub.quic, &next, &[&kept]).await;
    gateway.batch(&kept, (14, 18)).await;
    assert_eq!(gateway.hear().await, Said::Acknowledged(7, 18));
}

#[tokio::test(flavor = "multi_thread")]
async fn restored_store_is_told_that_its_hash_is_not_the_hubs() {
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let (kept, other) = two();
    let (mut gateway, _) = Gateway::hello(&identity, hub.quic, &kept, &[]).await;
    gateway.batch(&kept, (1, 15)).await;
    assert_eq!(gateway.hear().await, Said::Acknowledged(7, 15));
    drop(gateway);
    let (mut gateway, position) = Gateway::hello(&identity, hub.quic, &other, &[]).await;
    let entry = position.as_slice()[0];
    assert_eq!((entry.last, entry.hash), (15, kept.hash(15)));
    assert_ne!(entry.hash, other.hash(15));
    // It sends what it holds from the oldest on (SPEC 15.5); what is held from 16 on only is of another history, too.
    gateway.batch(&other, (16, 30)).await;
    assert_eq!(gateway.hear().await, Said::Fork(7, 16));
    assert_eq!(hub.events(BUILDING).len(), 15);
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_behind_a_fork_have_new_identities_and_are_no_gap() {
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let (kept, other) = two();
    let (mut gateway, _) = Gateway::hello(&identity, hub.quic, &kept, &[]).await;
    gateway.batch(&kept, (1, 15)).await;
    assert_eq!(gateway.hear().await, Said::Acknowledged(7, 15));
    // Its store was set back, went on to 13 and then was damaged, before it could hear of the fork; and another to 30.
    let mut shorter = kept.clone();
    shorter.hashes[13] = other.hash(13);
    shorter.hashes.truncate(14);
    shorter.events.truncate(13);
    for (epoch, before) in [(8, &other), (9, &shorter)] {
        gateway.batch(&History::begin(BUILDING, epoch, Some(before)), (1, 1)).await;
        assert_eq!(gateway.hear().await, Said::Acknowledged(epoch, 1));
    }
    let (status, verified) = hub.verify(BUILDING);
    assert_eq!((status, verified["findings"].as_array().unwrap().len()), (3, 2), "for all that is known: {verified}");
    gateway.batch(&other, (11, 30)).await;
    assert_eq!(gateway.hear().await, Said::Fork(7, 11));
    let (status, verified) = hub.verify(BUILDING);
    assert_eq!(status, 0, "{verified}");
}
