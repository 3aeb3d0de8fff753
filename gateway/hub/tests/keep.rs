//! What a gateway sends is kept once, acknowledged when it is durable, and found again (SPEC 15.4 to 15.7).
#![allow(clippy::unwrap_used, clippy::panic, clippy::float_cmp, clippy::cast_precision_loss)]

mod support;

use std::time::{SystemTime, UNIX_EPOCH};

use kalitka_protocol::upstream::PositionEntry;
use support::Site;
use support::gateway::{Gateway, Identity, Said};
use support::history::History;

const BUILDING: u32 = 17;

#[tokio::test(flavor = "multi_thread")]
async fn events_are_kept_once_and_the_position_says_so() {
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let mut history = History::of(BUILDING, 7, 10);
    let (mut gateway, position) = Gateway::hello(&identity, hub.quic, &history, &[]).await;
    assert_eq!(position.as_slice(), [PositionEntry::nothing(history.epoch)]);
    for numbers in [(1, 4), (5, 5), (6, 10)] {
        gateway.batch(&history, numbers).await;
        assert_eq!(gateway.hear().await, Said::Acknowledged(7, numbers.1));
    }
    // The same again, in other batches, and new ones behind.
    history.grow(20);
    gateway.batch(&history, (3, 15)).await;
    assert_eq!(gateway.hear().await, Said::Acknowledged(7, 15));
    gateway.batch(&history, (1, 20)).await;
    assert_eq!(gateway.hear().await, Said::Acknowledged(7, 20));
    let events = hub.events(BUILDING);
    let numbers: Vec<u64> = events.iter().map(|event| event["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
    let orders: Vec<u64> = events.iter().map(|event| event["order"].as_u64().unwrap()).collect();
    assert_eq!(orders, (1..=20).collect::<Vec<_>>());
    for (event, number) in events.iter().zip(1..) {
        assert_eq!(event["hash"], hex::encode(history.hash(number)));
    }
    let (status, verified) = hub.verify(BUILDING);
    assert_eq!((status, verified["complete"].as_bool(), verified["events"].as_u64()), (0, Some(true), Some(20)));

    drop(gateway);
    hub.kill();
    let hub = site.start();
    let (_gateway, position) = Gateway::hello(&identity, hub.quic, &history, &[]).await;
    let kept = PositionEntry { epoch: history.epoch, last: 20, hash: history.hash(20) };
    assert_eq!(position.as_slice(), [kept]);
}

#[tokio::test(flavor = "multi_thread")]
async fn how_far_the_worst_gateway_is_behind_is_seen_while_it_is_connected() {
    const LAG: &str = "kalitka_hub_worst_lag_seconds";
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let history = History::of(BUILDING, 7, 10);
    let (mut gateway, _) = Gateway::hello(&identity, hub.quic, &history, &[]).await;
    assert_eq!(hub.metric(LAG), 0.0);
    gateway.batch(&history, (1, 10)).await;
    assert_eq!(gateway.hear().await, Said::Acknowledged(7, 10));
    let waited = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64() - history.wall_us as f64 / 1e6;
    hub.await_metric(LAG, |lag| (waited - 10.0..=waited + 60.0).contains(&lag));
    drop(gateway);
    hub.await_metric(LAG, |lag| lag == 0.0);
    assert!(hub.metric("process_open_fds") > 3.0);
}
