//! `verify` says "complete", or names each gap, fork and forged record.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use kalitka_protocol::EpochId;
use kalitka_protocol::event::{LossCause, UNKNOWN_END};
use kalitka_protocol::upstream::batch_signed;
use redb::{Database, ReadableTable, TableDefinition};
use ring::signature::KeyPair as _;
use serde_json::Value;
use support::gateway::{Gateway, Identity, Said};
use support::history::History;
use support::{Hub, Site};

const BUILDING: u32 = 17;
const RECORDS: TableDefinition<'_, (u32, u64, u64), &[u8]> = TableDefinition::new("records");

/// Sends `numbers` of `history`, each pair a batch.
async fn send(gateway: &mut Gateway, history: &History, batches: &[(u64, u64)]) {
    for &numbers in batches {
        gateway.batch(history, numbers).await;
        assert_eq!(gateway.hear().await, Said::Acknowledged(history.epoch.0, numbers.1));
    }
}

/// Kind, first and last number of each finding.
fn findings(hub: &Hub) -> (i32, Vec<(String, u64, u64)>, Value) {
    let (status, verified) = hub.verify(BUILDING);
    let of = |finding: &Value| {
        let number = |key: &str| finding[key].as_u64().unwrap();
        (finding["kind"].as_str().unwrap().to_owned(), number("first"), number("last"))
    };
    let findings: Vec<_> = verified["findings"].as_array().unwrap().iter().map(of).collect();
    assert_eq!(status == 0, findings.is_empty());
    (status, findings, verified)
}

fn finding(kind: &str, first: u64, last: u64) -> (String, u64, u64) {
    (kind.to_owned(), first, last)
}

#[tokio::test(flavor = "multi_thread")]
async fn gap_is_named_until_the_gateway_has_told_of_its_loss() {
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let mut history = History::of(BUILDING, 7, 30);
    let (mut gateway, _) = Gateway::hello(&identity, hub.quic, &history, &[]).await;
    send(&mut gateway, &history, &[(1, 5), (16, 20), (26, 30)]).await;
    let (status, found, _) = findings(&hub);
    assert_eq!((status, found), (3, vec![finding("gap", 6, 15), finding("gap", 21, 25)]));
    history.loss(EpochId(7), (6, 12), LossCause::Bound);
    send(&mut gateway, &history, &[(31, 31)]).await;
    assert_eq!(findings(&hub).1, [finding("gap", 13, 15), finding("gap", 21, 25)]);
    history.loss(EpochId(7), (10, 15), LossCause::Bound);
    history.loss(EpochId(7), (21, 25), LossCause::Bound);
    send(&mut gateway, &history, &[(32, 33)]).await;
    let (status, _, verified) = findings(&hub);
    assert_eq!((status, verified["losses"].as_array().unwrap().len()), (0, 3), "{verified}");
    // What was thought lost, and is found yet.
    send(&mut gateway, &history, &[(4, 22)]).await;
    assert_eq!(findings(&hub).2["losses"].as_array().unwrap().len(), 1);
    assert_eq!(hub.events(BUILDING).len(), 30);
}

/// SPEC 14.8: of a range as many may be missing as gave way of it, and no more; and none that no range has.
#[tokio::test(flavor = "multi_thread")]
async fn what_gave_way_by_its_class_is_counted_and_hides_nothing_else() {
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let mut history = History::of(BUILDING, 7, 40);
    let (mut gateway, _) = Gateway::hello(&identity, hub.quic, &history, &[]).await;
    send(&mut gateway, &history, &[(1, 4), (6, 9), (12, 20), (22, 29), (31, 40)]).await;
    assert_eq!(
        findings(&hub).1,
        [finding("gap", 5, 5), finding("gap", 10, 11), finding("gap", 21, 21), finding("gap", 30, 30)]
    );
    // Two of the three numbers in two ranges that overlap.
    history.loss_of(EpochId(7), (5, 10), LossCause::HousekeepingGaveWay, 1);
    history.loss_of(EpochId(7), (8, 21), LossCause::DenialsGaveWay, 2);
    send(&mut gateway, &history, &[(41, 42)]).await;
    assert_eq!(findings(&hub).1, [finding("gap", 30, 30), finding("gap", 5, 21)]);
    history.loss_of(EpochId(7), (21, 30), LossCause::DenialsGaveWay, 2);
    send(&mut gateway, &history, &[(43, 43)]).await;
    let (status, _, verified) = findings(&hub);
    assert_eq!(status, 0, "{verified}");
    assert!(verified["losses"][0].as_str().unwrap().contains("of 5 to 30, 5 events gave way"), "{verified}");
    // What had been on its way is no contradiction.
    send(&mut gateway, &history, &[(10, 12)]).await;
    assert_eq!(findings(&hub).0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn epochs_have_to_name_what_stands_before_them() {
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let first = History::of(BUILDING, 7, 10);
    let (mut gateway, _) = Gateway::hello(&identity, hub.quic, &first, &[]).await;
    send(&mut gateway, &first, &[(1, 10)]).await;
    let mut second = History::begin(BUILDING, 8, Some(&first));
    second.loss(EpochId(7), (11, UNKNOWN_END), LossCause::Damaged);
    send(&mut gateway, &second, &[(1, 2)]).await;
    assert_eq!(findings(&hub).1, [finding("open_loss", 11, UNKNOWN_END)]);
    second.loss_closed(EpochId(7), 11, 10, [0; 32]);
    send(&mut gateway, &second, &[(3, 3)]).await;
    assert_eq!(findings(&hub).0, 0);
    let mut wrong = History::begin(BUILDING, 9, None);
    wrong.loss_closed(EpochId(7), 5, 8, [3; 32]);
    send(&mut gateway, &wrong, &[(1, 2)]).await;
    assert_eq!(findings(&hub).1, [finding("fork", 8, 8)]);

    // An epoch behind one that nobody has, one behind another history, one behind numbers that never came.
    let mut longer = second.clone();
    longer.grow(5);
    let mut forged = first.clone();
    forged.hashes[10] = [7; 32];
    for (epoch, before) in [(20, &History::of(BUILDING, 99, 3)), (21, &forged), (22, &longer)] {
        send(&mut gateway, &History::begin(BUILDING, epoch, Some(before)), &[(1, 1)]).await;
    }
    assert_eq!(
        findings(&hub).1,
        [finding("link", 1, 1), finding("fork", 10, 10), finding("gap", 4, 5), finding("fork", 8, 8)]
    );
}

/// What is done to a record's bytes; an empty one is gone.
type Change = fn(&mut Vec<u8>);

/// Changes record (7, `first`) of the stopped hub's store.
fn change(site: &Site, first: u64, change: impl FnOnce(&mut Vec<u8>)) {
    let database = Database::open(site.state("hub.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut records = transaction.open_table(RECORDS).unwrap();
        let place = (BUILDING, 7, first);
        let mut bytes = records.get(place).unwrap().unwrap().value().to_vec();
        change(&mut bytes);
        if bytes.is_empty() {
            records.remove(place).unwrap();
        } else {
            records.insert(place, bytes.as_slice()).unwrap();
        }
    }
    transaction.commit().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn record_that_was_changed_on_the_hub_is_named() {
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let history = History::of(BUILDING, 7, 30);
    let (mut gateway, _) = Gateway::hello(&identity, hub.quic, &history, &[]).await;
    send(&mut gateway, &history, &[(1, 10), (11, 20), (21, 30)]).await;
    drop(gateway);
    hub.kill();
    let whole = std::fs::read(site.state("hub.redb")).unwrap();
    let cases: [(&str, u64, Change, &[&str]); 5] = [
        ("an event's byte", 11, |bytes| bytes[224 + 60] ^= 1, &["forged"]),
        ("the signature", 21, |bytes| bytes[170] ^= 1, &["forged"]),
        ("the key", 1, |bytes| bytes[90] ^= 1, &["forged"]),
        ("the hash before", 11, |bytes| bytes[30] ^= 1, &["fork", "forged"]),
        ("a record that is gone", 11, Vec::clear, &["gap"]),
    ];
    for (what, first, how, kinds) in cases {
        std::fs::write(site.state("hub.redb"), &whole).unwrap();
        change(&site, first, how);
        let hub = site.start();
        let (status, found, verified) = findings(&hub);
        assert_eq!(status, 3, "{what}");
        for kind in kinds {
            let named = |(found, from, to): &(String, u64, u64)| found == kind && (*from..=*to).contains(&first);
            assert!(found.iter().any(named), "{what}: {verified}");
        }
        hub.kill();
    }
}

/// A batch that was cut has one signature in several records; it vouches for each of them.
#[tokio::test(flavor = "multi_thread")]
async fn record_that_another_key_signed_is_named() {
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let history = History::of(BUILDING, 7, 30);
    let (mut gateway, _) = Gateway::hello(&identity, hub.quic, &history, &[]).await;
    send(&mut gateway, &history, &[(11, 20), (1, 30)]).await;
    assert_eq!(findings(&hub).0, 0);
    drop(gateway);
    hub.kill();
    let mut forged = history.clone();
    forged.events.truncate(20);
    forged.hashes.truncate(21);
    (21..=30).for_each(|_| forged.report(1));
    let thief = Identity::signed(&site, BUILDING + 1).signer();
    let signed = batch_signed(BUILDING, EpochId(7), 30, &forged.hash(30));
    let whole = std::fs::read(site.state("hub.redb")).unwrap();
    // With no signature of its own, and with one that holds.
    for by_thief in [false, true] {
        std::fs::write(site.state("hub.redb"), &whole).unwrap();
        change(&site, 21, |bytes| {
            bytes.truncate(224);
            bytes[56..88].copy_from_slice(&forged.hash(30));
            bytes[128..160].copy_from_slice(&forged.hash(30));
            if by_thief {
                bytes[88..120].copy_from_slice(thief.public_key().as_ref());
                bytes[160..224].copy_from_slice(thief.sign(&signed).as_ref());
            }
            bytes.extend(forged.events[20..].concat());
        });
        let hub = site.start();
        let found = findings(&hub).1;
        assert!(found.contains(&finding("forged", 21, 30)), "{found:?}");
        hub.kill();
    }
    // All of the history, by the key of another building.
    std::fs::write(site.state("hub.redb"), &whole).unwrap();
    for (first, number) in [(1, 30), (11, 20), (21, 30)] {
        let signed = batch_signed(BUILDING, EpochId(7), number, &history.hash(number));
        change(&site, first, |bytes| {
            bytes[88..120].copy_from_slice(thief.public_key().as_ref());
            bytes[160..224].copy_from_slice(thief.sign(&signed).as_ref());
        });
    }
    let hub = site.start();
    assert_eq!(findings(&hub).1, [finding("forged", 1, 10)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn history_of_which_nothing_is_kept_is_not_complete() {
    let site = Site::new();
    let (status, verified) = site.start().verify(BUILDING);
    assert_eq!((status, verified["complete"].as_bool()), (3, Some(false)));
}

#[tokio::test(flavor = "multi_thread")]
async fn epoch_that_never_came_is_no_broken_link_once_it_is_recorded_as_lost() {
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let gone = History::of(BUILDING, 6, 10);
    let mut next = History::begin(BUILDING, 7, Some(&gone));
    let (mut gateway, _) = Gateway::hello(&identity, hub.quic, &next, &[]).await;
    send(&mut gateway, &next, &[(1, 1)]).await;
    assert_eq!(findings(&hub).1, [finding("link", 1, 1)]);
    next.loss(EpochId(6), (1, UNKNOWN_END), LossCause::Damaged);
    next.loss_closed(EpochId(6), 1, 0, [0; 32]);
    send(&mut gateway, &next, &[(2, 3)]).await;
    let (status, found, verified) = findings(&hub);
    assert_eq!((status, found), (0, Vec::new()), "{verified}");
    assert_eq!(verified["losses"].as_array().unwrap().len(), 2, "{verified}");
}
