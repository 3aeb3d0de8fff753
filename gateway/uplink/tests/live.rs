//! The live lane (SPEC 15.10), and a connection whose address changes.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use kalitka_loadgen::relay::{BOTH, Line, Relay};
use kalitka_protocol::event::Body;
use kalitka_protocol::upstream::{ALPN, live};
use support::hub::{Hub, Link};
use support::pki::Pki;
use support::rig::{EPOCH, Rig};
use support::within_a_minute;

/// Numbers in the next datagram.
async fn numbers(link: &Link) -> Vec<u64> {
    let datagram = link.connection.read_datagram().await.unwrap();
    live(&datagram).unwrap().map(|event| event.unwrap().header.number).collect()
}

#[test]
fn committed_event_travels_at_once_and_once_more_after_150_ms() {
    within_a_minute(async {
        let rig = Rig::start();
        let mut link = rig.hub.fresh().await;
        link.keep_batch().await;
        rig.journal.commit_many(3);
        let first = link.connection.read_datagram().await.unwrap();
        let at = Instant::now();
        assert_eq!(live(&first).unwrap().count(), 3);
        let again = link.connection.read_datagram().await.unwrap();
        assert_eq!(first, again);
        let after = at.elapsed();
        assert!((Duration::from_millis(100)..Duration::from_secs(2)).contains(&after), "{after:?}");
        assert_eq!((rig.tally.live_sent.load(Relaxed), rig.tally.live_left_out.load(Relaxed)), (3, 0));
    });
}

#[test]
fn events_are_never_split_and_one_that_does_not_fit_comes_in_its_batch_alone() {
    within_a_minute(async {
        let rig = Rig::start();
        let mut link = rig.hub.fresh().await;
        link.keep_batch().await;
        let (small, large) = ([7; 100], [8; 3000]);
        let small = Body::Unknown { kind: 200, bytes: &small };
        rig.journal.commit(&[small, Body::Unknown { kind: 200, bytes: &large }, small, small]);
        assert_eq!(numbers(&link).await, [2]);
        assert_eq!(numbers(&link).await, [4, 5]);
        assert_eq!(link.keep_batch().await, (EPOCH, 2, 5));
        assert_eq!((rig.tally.live_sent.load(Relaxed), rig.tally.live_left_out.load(Relaxed)), (3, 1));
    });
}

#[test]
fn flood_of_events_leaves_the_live_lane_its_share_and_all_come_in_batches() {
    within_a_minute(async {
        let rig = Rig::start();
        let mut link = rig.hub.fresh().await;
        for _ in 0..6 {
            // More at once than waits for the line.
            rig.journal.commit_many(10_000);
        }
        while link.keep_batch().await.2 < 60_001 {}
        let left_out = rig.tally.live_left_out.load(Relaxed);
        assert!(left_out > 1000, "{left_out}");
        assert!(rig.tally.live_sent.load(Relaxed) > 0);
    });
}

#[test]
fn connection_outlives_a_change_of_address_and_a_short_cut() {
    within_a_minute(async {
        let pki = Pki::new();
        let issued = pki.gateway(&["urn:kalitka:building:7"]);
        let hub = Hub::start(pki.server(ALPN, true));
        let relay = Relay::start(hub.address(), Line::PERFECT, 1).unwrap();
        let address = relay.address().to_string();
        let rig = Rig::at(pki, hub, &issued, |options, _| options.hub = Some(address));
        let mut link = rig.hub.fresh().await;
        assert_eq!(link.keep_batch().await, (EPOCH, 1, 1));
        let before = link.connection.remote_address();
        relay.move_clients();
        rig.journal.commit_many(1);
        assert_eq!(link.keep_batch().await, (EPOCH, 2, 2));
        assert_ne!(link.connection.remote_address(), before);
        relay.cut(&BOTH, None);
        rig.journal.commit_many(1);
        let cut = tokio::time::timeout(Duration::from_secs(1), link.batch()).await;
        assert!(cut.is_err());
        relay.mend(&BOTH);
        // The batch's own datagrams come again.
        assert_eq!(link.keep_batch().await, (EPOCH, 3, 3));
        assert_eq!(rig.tally.connections.load(Relaxed), 1);
    });
}
