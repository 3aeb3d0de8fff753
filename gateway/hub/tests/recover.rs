//! What was acknowledged is there whatever falls over: the process, the disk.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use kalitka_protocol::upstream::close;
use quinn::ConnectionError;
use support::gateway::{Gateway, Identity, Said, closed};
use support::history::History;
use support::{BINARY, PATIENCE, Site};
use tokio::time::timeout;

const BUILDING: u32 = 17;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_by_kills_under_load() {
    const KILLS: u64 = 8;
    const BATCH: u64 = 40;
    let site = Site::new();
    let identities = [Identity::signed(&site, 17), Identity::signed(&site, 18)];
    let mut histories = [History::of(17, 7, 2000), History::of(18, 8, 2000)];
    let mut acknowledged = [0; 2];
    for _ in 0..KILLS {
        let hub = site.start();
        let mut gateways = Vec::new();
        for (at, identity) in identities.iter().enumerate() {
            let (gateway, position) = Gateway::hello(identity, hub.quic, &histories[at], &[]).await;
            let last = position.as_slice()[0].last;
            assert!(last >= acknowledged[at], "{} was acknowledged, {last} is kept", acknowledged[at]);
            assert_eq!(position.as_slice()[0].hash, histories[at].hash(last));
            gateways.push((gateway, last));
        }
        // Batches are under way, some answered and some not, when the hub is killed.
        let answers = fastrand::u64(1..12);
        for (at, (gateway, last)) in gateways.iter_mut().enumerate() {
            let mut first = *last + 1;
            histories[at].grow(first + 20 * BATCH);
            for _ in 0..20 {
                gateway.batch(&histories[at], (first, first + BATCH - 1)).await;
                first += BATCH;
            }
        }
        for _ in 0..answers {
            for (at, (gateway, _)) in gateways.iter_mut().enumerate() {
                let Said::Acknowledged(_, number) = gateway.hear().await else { panic!("no answer") };
                acknowledged[at] = number;
            }
        }
        hub.kill();
    }
    let hub = site.start();
    for (history, acknowledged) in histories.iter().zip(acknowledged) {
        let events = hub.events(history.building);
        assert!(events.len() as u64 >= acknowledged);
        for (event, number) in events.iter().zip(1..) {
            assert_eq!(event["number"], number);
            assert_eq!(event["hash"], hex::encode(history.hash(number)));
        }
        let (status, verified) = hub.verify(history.building);
        assert_eq!(status, 0, "{verified}");
    }
}

/// Of a gateway that has nothing to say; one that has hears of it with its first word.
#[tokio::test(flavor = "multi_thread")]
async fn gateway_is_back_within_seconds_of_a_killed_hub() {
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let mut history = History::of(BUILDING, 7, 10);
    let (mut gateway, _) = Gateway::hello(&identity, hub.quic, &history, &[]).await;
    gateway.batch(&history, (1, 10)).await;
    assert_eq!(gateway.hear().await, Said::Acknowledged(7, 10));
    let (quic, killed) = (hub.quic, Instant::now());
    hub.kill();
    site.listen(quic);
    let hub = site.start();
    let ended = timeout(PATIENCE, gateway.connection.closed()).await.unwrap();
    assert_eq!(ended, ConnectionError::Reset);
    let (mut gateway, position) = Gateway::hello(&identity, hub.quic, &history, &[]).await;
    assert_eq!(position.as_slice()[0].last, 10);
    history.grow(11);
    gateway.batch(&history, (11, 11)).await;
    assert_eq!(gateway.hear().await, Said::Acknowledged(7, 11));
    let away = killed.elapsed();
    assert!(away < Duration::from_secs(7), "{away:?}");
}

/// It knows of no revoked certificate either, which a person has to hear.
#[tokio::test(flavor = "multi_thread")]
async fn blank_store_takes_its_gateways_in_and_says_that_it_does_not_know_them() {
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    std::fs::remove_file(site.state("hub.redb")).unwrap();
    let hub = site.start();
    let history = History::of(BUILDING, 7, 10);
    for _ in 0..2 {
        let (mut gateway, _) = Gateway::hello(&identity, hub.quic, &history, &[]).await;
        gateway.batch(&history, (1, 10)).await;
        assert_eq!(gateway.hear().await, Said::Acknowledged(7, 10));
        gateway.connection.close(0_u32.into(), b"");
    }
    assert_eq!(hub.alarms(), [("certificate".to_owned(), Some(17))]);
    assert_eq!(hub.json(&["alarms"])[0]["times"], 1);
    assert_eq!(hub.verify(BUILDING).0, 0);
    assert_eq!(hub.command(&["pki", "revoke", "--building", "17"]).0, 0);
    let (_endpoint, connection) = identity.connect(hub.quic).await.unwrap();
    let Said::Closed(code, _) = closed(&connection).await else { panic!("it was let in") };
    assert_eq!(code, u64::from(close::REVOKED));
}

#[tokio::test(flavor = "multi_thread")]
async fn full_disk_keeps_nothing_half_and_needs_no_restart() {
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let mut hub = site.start_by(Command::new("sh").args(["-c", "trap '' XFSZ; exec \"$@\"", "sh", BINARY]));
    let mut history = History::of(BUILDING, 7, 10);
    let (mut gateway, _) = Gateway::hello(&identity, hub.quic, &history, &[]).await;
    gateway.batch(&history, (1, 10)).await;
    assert_eq!(gateway.hear().await, Said::Acknowledged(7, 10));

    hub.limit_files(Some(0));
    history.grow(20);
    gateway.batch(&history, (11, 20)).await;
    let Said::Closed(code, reason) = gateway.hear().await else { panic!("it was kept") };
    assert_eq!(code, u64::from(close::NOT_NOW), "{reason}");
    assert!(reason.contains("later"), "{reason}");
    assert!(hub.alarms().contains(&("store".to_owned(), None)));
    assert_eq!(hub.metric("kalitka_hub_store_failed"), 1.0);

    hub.limit_files(None);
    hub.await_log("the store is open again");
    let (mut gateway, position) = Gateway::hello(&identity, hub.quic, &history, &[]).await;
    assert_eq!(position.as_slice()[0].last, 10);
    gateway.batch(&history, (11, 20)).await;
    assert_eq!(gateway.hear().await, Said::Acknowledged(7, 20));
    assert_eq!(hub.events(BUILDING).len(), 20);
    assert_eq!(hub.metric("kalitka_hub_store_failed"), 0.0);
    assert_eq!(hub.verify(BUILDING).0, 0);
    // The alarm outlives the process.
    hub.signal(rustix::process::Signal::TERM);
    assert!(hub.wait().success());
    assert!(site.start().alarms().contains(&("store".to_owned(), None)));
}
