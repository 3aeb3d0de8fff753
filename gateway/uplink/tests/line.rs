//! A backlog over a bad line, and a fresh event beside it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use kalitka_loadgen::relay::{Dropped, Line, Relay};
use kalitka_protocol::upstream::{ALPN, live};
use kalitka_uplink::Congestion;
use quinn::Connection;
use support::hub::{Hub, Link};
use support::journal::Journal;
use support::pki::Pki;
use support::rig::Rig;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Between two fresh events.
const FRESH_EVERY: Duration = Duration::from_millis(20);
/// How long the last fresh events may be on their way.
const LATE: Duration = Duration::from_secs(2);

/// What came of a backlog.
struct Drained {
    took: Duration,
    /// Of the fresh events, sorted; those that did not come count as [`LATE`].
    delays: Vec<Duration>,
    /// Datagrams handed on, and those that found the queue full.
    datagrams: u64,
    overflowed: u64,
}

impl Drained {
    fn at(&self, hundredths: usize) -> Duration {
        self.delays[(self.delays.len() - 1) * hundredths / 100]
    }
}

/// Sends `backlog` events over `line`, and fresh ones meanwhile.
async fn drain(line: Line, congestion: Congestion, backlog: u64) -> Drained {
    let pki = Pki::new();
    let issued = pki.gateway(&["urn:kalitka:building:7"]);
    let hub = Hub::start(pki.server(ALPN, true));
    let relay = Relay::start(hub.address(), line, 1).unwrap();
    let address = relay.address().to_string();
    let rig = Rig::at(pki, hub, &issued, |options, _| {
        (options.congestion, options.hub) = (congestion, Some(address));
    });
    rig.journal.commit_many(usize::try_from(backlog).unwrap() - 1);
    let mut link: Link = rig.hub.fresh().await;
    let begun = Instant::now();
    let arriving = arrivals(link.connection.clone());
    let fresh = commit_fresh(Arc::clone(&rig.journal), backlog);
    while link.keep_batch().await.2 < backlog {}
    let took = begun.elapsed();
    let committed = fresh.await.unwrap();
    let arrived = arriving.await.unwrap();
    let delay = |number: &u64, at: &Instant| arrived.get(number).map_or(LATE, |seen| *seen - *at);
    let mut delays: Vec<_> = committed.iter().map(|(number, at)| delay(number, at)).collect();
    delays.sort();
    let totals = relay.totals();
    let both = [totals.up, totals.down];
    let datagrams = both.iter().map(|way| way.passed).sum();
    let overflowed = both.iter().map(|way| way.dropped(Dropped::QueueFull)).sum();
    let drained = Drained { took, delays, datagrams, overflowed };
    let round_trip = Duration::from_micros(rig.tally.round_trip_us.load(Relaxed));
    println!(
        "{congestion:?} {line:?}: {backlog} events in {took:?}; {} fresh: median {:?}, 99th percentile {:?}, last {:?}; \
         round trip {round_trip:?}; {totals}",
        committed.len(),
        drained.at(50),
        drained.at(99),
        drained.at(100),
    );
    drained
}

/// When each event came live for the first time. Ends when none comes for a while.
fn arrivals(connection: Connection) -> JoinHandle<BTreeMap<u64, Instant>> {
    tokio::spawn(async move {
        let mut first = BTreeMap::new();
        while let Ok(Ok(datagram)) = timeout(LATE, connection.read_datagram()).await {
            for event in live(&datagram).unwrap() {
                first.entry(event.unwrap().header.number).or_insert_with(Instant::now);
            }
        }
        first
    })
}

/// Commits an event now and then until the backlog is at the hub; gives when each was.
fn commit_fresh(journal: Arc<Journal>, backlog: u64) -> JoinHandle<Vec<(u64, Instant)>> {
    tokio::spawn(async move {
        let mut committed = Vec::new();
        let mut ticks = tokio::time::interval(FRESH_EVERY);
        while journal.book().acknowledged.last().is_none_or(|(_, number)| *number < backlog) {
            ticks.tick().await;
            journal.commit_many(1);
            committed.push((journal.head.borrow().unwrap().number, Instant::now()));
        }
        committed
    })
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(future)
}

/// The long form of the test is wanted (`KALITKA_SOAK=1`).
fn is_soak() -> bool {
    std::env::var("KALITKA_SOAK").is_ok_and(|value| value != "0" && !value.is_empty())
}

#[test]
fn months_backlog_drains_over_a_bad_line_while_a_fresh_event_is_never_late() {
    let backlog: u64 = if is_soak() { 300_000 } else { 30_000 };
    let drained = run(drain(Line::POOR, Congestion::default(), backlog));
    // 45 s for 300,000, and the time that a connection takes to find the line's rate.
    let bound = Duration::from_micros(150) * u32::try_from(backlog).unwrap() + Duration::from_secs(2);
    assert!(drained.took < bound, "{:?}", drained.took);
    assert!(drained.at(99) < Duration::from_secs(1), "{:?}", drained.at(99));
}

#[test]
fn others_on_the_line_lose_little_by_a_backlog() {
    let line = Line { loss_millionths: 0, ..Line::POOR };
    let drained = run(drain(line, Congestion::default(), 15_000));
    assert!(drained.overflowed * 50 < drained.datagrams, "{} of {}", drained.overflowed, drained.datagrams);
}
