//! What a gateway sends is kept once, acknowledged when it is durable, and found again (SPEC 15.4 to 15.7).
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

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
