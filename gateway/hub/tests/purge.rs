//! What is older than is kept goes, provably: a signed record stays, and the history is complete from there on.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::time::{Instant, SystemTime};

use kalitka_protocol::EpochId;
use kalitka_protocol::event::{Body, Purged};
use redb::{Database, ReadableTable, TableDefinition};
use serde_json::Value;
use support::gateway::{Gateway, Identity, Said};
use support::history::History;
use support::{Hub, PATIENCE, Site};

const BUILDING: u32 = 17;
const DAY_US: i64 = 86_400_000_000;
const PURGES: TableDefinition<'_, (u32, u64, u64), &[u8]> = TableDefinition::new("purges");

fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_micros()).unwrap()
}

/// 30 events of 200 days ago, and 10 of today.
fn history() -> History {
    let mut history = History::begin(BUILDING, 7, None);
    // The first one is as old as the others: its batch goes with it.
    history.events.clear();
    history.hashes.truncate(1);
    history.wall_us = now_us() - 200 * DAY_US;
    history.push(Body::EpochBegun(kalitka_protocol::event::EpochBegun { before: None, last: 0, hash: [0; 32] }));
    history.grow(30);
    history.wall_us = now_us() - DAY_US;
    history.grow(40);
    history
}

async fn send(gateway: &mut Gateway, history: &History, batches: &[(u64, u64)]) {
    for &numbers in batches {
        gateway.batch(history, numbers).await;
        assert_eq!(gateway.hear().await, Said::Acknowledged(history.epoch.0, numbers.1));
    }
}

/// Purges what is older than 100 days.
fn purge(hub: &Hub) -> Value {
    let before = now_us() - 100 * DAY_US;
    let before = moment(before);
    hub.json(&["purge", "now", "--before", &before])
}

/// A moment as the command line takes it.
fn moment(us: i64) -> String {
    let mut date = std::process::Command::new("date");
    let output = date.args(["-u", "-d", &format!("@{}", us / 1_000_000), "+%Y-%m-%dT%H:%M:%SZ"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Which numbers of `history` have bytes anywhere in the hub's state folder.
fn on_disk(site: &Site, history: &History) -> Vec<u64> {
    let file = std::fs::read(site.state("hub.redb")).unwrap();
    // Number and times: no two events have them, and no key of the store.
    let found = |event: &&Vec<u8>| file.windows(32).any(|window| window == &event[16..48]);
    let numbers =
        history.events.iter().filter(found).map(|event| u64::from_le_bytes(event[16..24].try_into().unwrap()));
    numbers.collect()
}

fn numbers(events: &[Value]) -> Vec<u64> {
    events.iter().filter_map(|event| event["number"].as_u64()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn purged_history_is_complete_from_the_purge_on_and_its_bytes_are_gone() {
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let history = history();
    let (mut gateway, _) = Gateway::hello(&identity, hub.quic, &history, &[]).await;
    send(&mut gateway, &history, &[(1, 10), (11, 30), (31, 40)]).await;
    assert_eq!(on_disk(&site, &history).len(), 40);
    let purged = purge(&hub);
    assert_eq!(purged["events"], 30, "{purged}");
    assert_eq!(on_disk(&site, &history), (31..=40).collect::<Vec<_>>(), "of the others no byte is left");

    // What is left is proved from there on, also after a crash.
    hub.kill();
    let hub = site.start();
    let (status, verified) = hub.verify(BUILDING);
    assert_eq!((status, &verified["complete"], &verified["events"]), (0, &true.into(), &10.into()), "{verified}");
    let record = &verified["purges"][0];
    assert_eq!((&record["first"], &record["through"], &record["count"]), (&1.into(), &30.into(), &30.into()));
    assert_eq!(record["hash"], hex::encode(history.hash(30)));
    let (_, words, _) = hub.command(&["verify", "--building", "17"]);
    assert!(words.contains("complete from") && words.contains("purged up to"), "{words}");
    assert_eq!(hub.json(&["purge", "list"]).as_array().unwrap().len(), 1);

    // Whoever reads is told.
    let events = hub.events(BUILDING);
    assert_eq!((events[0]["purged"]["through"].as_u64(), events[0]["purged"]["order"].as_u64()), (Some(30), Some(30)));
    assert_eq!(numbers(&events), (31..=40).collect::<Vec<_>>());
    let (_, csv, error) = hub.command(&["events", "--building", "17", "--csv"]);
    assert!(error.contains("up to number 30") && csv.lines().count() == 11, "{csv}{error}");
    let (_, later, _) = hub.command(&["events", "--building", "17", "--json", "--after", "30"]);
    assert!(!later.contains("purged"), "who has had them misses nothing: {later}");
}

#[tokio::test(flavor = "multi_thread")]
async fn purged_identities_that_come_again_are_acknowledged_and_not_kept() {
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let history = history();
    let (mut gateway, _) = Gateway::hello(&identity, hub.quic, &history, &[]).await;
    send(&mut gateway, &history, &[(1, 30), (31, 40)]).await;
    assert_eq!(purge(&hub)["events"], 30);
    // A gateway that was set back sends all of it again, in other batches.
    send(&mut gateway, &history, &[(1, 20), (15, 30), (25, 35), (31, 40)]).await;
    assert_eq!(numbers(&hub.events(BUILDING)), (31..=40).collect::<Vec<_>>());
    // Another history of them is seen by the one hash that is known.
    let mut other = history.clone();
    other.events.truncate(25);
    other.hashes.truncate(26);
    (26..=40).for_each(|_| other.report(1));
    gateway.batch(&other, (21, 30)).await;
    assert_eq!(gateway.hear().await, Said::Fork(7, 21));
    assert_eq!(hub.verify(BUILDING).0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn order_numbers_and_heads_outlive_everything_that_was_kept() {
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let mut history = history();
    let (mut gateway, _) = Gateway::hello(&identity, hub.quic, &history, &[]).await;
    send(&mut gateway, &history, &[(1, 40)]).await;
    let purged = hub.json(&["purge", "now", "--before", &moment(now_us())]);
    assert_eq!(purged["events"], 40);
    let (status, verified) = hub.verify(BUILDING);
    assert_eq!((status, &verified["events"]), (0, &0.into()), "{verified}");
    drop(gateway);
    hub.kill();
    let hub = site.start();
    assert_eq!(hub.json(&["status"])["newest"], 40);
    let (mut gateway, position) = Gateway::hello(&identity, hub.quic, &history, &[]).await;
    assert!(format!("{position:?}").contains("40"), "the head is known: {position:?}");
    history.wall_us = now_us();
    history.grow(45);
    send(&mut gateway, &history, &[(41, 45)]).await;
    let events = hub.events(BUILDING);
    let orders: Vec<_> = events.iter().filter_map(|event| event["order"].as_u64()).collect();
    assert_eq!((numbers(&events), orders), ((41..=45).collect(), (41..=45).collect()));
    assert_eq!(hub.verify(BUILDING).0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn purge_without_the_hubs_signature_is_no_proof() {
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let history = history();
    let (mut gateway, _) = Gateway::hello(&identity, hub.quic, &history, &[]).await;
    send(&mut gateway, &history, &[(1, 30), (31, 40)]).await;
    assert_eq!(purge(&hub)["events"], 30);
    drop(gateway);
    hub.kill();
    let whole = std::fs::read(site.state("hub.redb")).unwrap();
    let change = |change: &dyn Fn(Option<String>) -> Option<String>| {
        std::fs::write(site.state("hub.redb"), &whole).unwrap();
        let database = Database::open(site.state("hub.redb")).unwrap();
        let transaction = database.begin_write().unwrap();
        {
            let mut purges = transaction.open_table(PURGES).unwrap();
            let place = (BUILDING, 7, 30);
            let text = String::from_utf8(purges.get(place).unwrap().unwrap().value().to_vec()).unwrap();
            match change(Some(text)) {
                Some(text) => drop(purges.insert(place, text.as_bytes()).unwrap()),
                None => drop(purges.remove(place).unwrap()),
            }
        }
        transaction.commit().unwrap();
    };
    let kinds = |hub: &Hub| -> Vec<String> {
        let (status, verified) = hub.verify(BUILDING);
        assert_eq!(status, 3, "{verified}");
        let findings = verified["findings"].as_array().unwrap();
        findings.iter().map(|finding| finding["kind"].as_str().unwrap().to_owned()).collect()
    };
    change(&|text| text.map(|text| text.replace("\"count\":30", "\"count\":3")));
    assert_eq!(kinds(&site.start()), ["purge"]);
    change(&|_| None);
    assert_eq!(kinds(&site.start()), ["gap", "link"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_gateway_purged_before_it_came_is_named_and_no_gap() {
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let mut history = History::of(BUILDING, 7, 30);
    let (mut gateway, _) = Gateway::hello(&identity, hub.quic, &history, &[]).await;
    send(&mut gateway, &history, &[(1, 5), (16, 30)]).await;
    assert_eq!(hub.verify(BUILDING).0, 3);
    let hash = history.hash(15);
    history.push(Body::Purged(Purged { epoch: EpochId(7), first: 6, last: 15, hash, before_us: 9, count: 10 }));
    send(&mut gateway, &history, &[(31, 31)]).await;
    let (status, verified) = hub.verify(BUILDING);
    assert_eq!((status, verified["losses"].as_array().unwrap().len()), (0, 0), "{verified}");
    assert!(verified["purged_before"][0].as_str().unwrap().contains("6 to 15"), "{verified}");
    assert_eq!(hub.events(BUILDING).last().unwrap()["kind"], "purged");
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_purges_by_itself_what_is_older_than_is_configured() {
    let site = Site::new();
    let config = std::fs::read_to_string(site.path("hub.toml")).unwrap();
    std::fs::write(site.path("hub.toml"), format!("{config}[retention]\nevents = \"4s\"\n")).unwrap();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let mut history = History::of(BUILDING, 7, 30);
    history.wall_us = now_us();
    let (mut gateway, _) = Gateway::hello(&identity, hub.quic, &history, &[]).await;
    send(&mut gateway, &history, &[(1, 30)]).await;
    let deadline = Instant::now() + PATIENCE;
    while hub.metric("kalitka_hub_events_purged_total") < 30.0 {
        assert!(Instant::now() < deadline, "nothing is purged");
    }
    assert_eq!(hub.verify(BUILDING).0, 0);
    while !on_disk(&site, &history).is_empty() {
        assert!(Instant::now() < deadline, "its bytes stay");
    }
}
