//! Where requests are dealt with.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use kalitka_protocol::event::Events;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

use super::server::Replies;
use super::wire::{Asked, Reply, Request};
use crate::clock::Clock;
use crate::doors;
use crate::failure::Failure;
use crate::hub::Hub;
use crate::ledger::with;
use crate::limits::{CONTROL_IDLE_MAX, PAGE_BYTES_MAX};
use crate::metrics::names;
use crate::retention;
use crate::show::{Format, Shown, purged_line, purged_words};
use crate::store::{Old, Page, Purge, Record};
use crate::verify;

/// Answers requests of the command line.
pub(crate) struct Desk {
    pub(crate) hub: Arc<Hub>,
    pub(crate) quic: SocketAddr,
    pub(crate) http: SocketAddr,
}

impl Desk {
    /// Does what the user `peer` asks for, and answers.
    ///
    /// # Errors
    /// When nobody hears the answer.
    pub(super) async fn take(&self, peer: u32, asked: Asked, replies: &mut Replies) -> io::Result<()> {
        let verb = asked.verb();
        metrics::counter!(names::CONTROL_REQUESTS, "verb" => verb).increment(1);
        let quiet = matches!(asked, Asked::Core(_));
        let done = match asked {
            Asked::Core(Request::Events { building, after, follow, format }) => {
                self.events(replies, building, (after, follow), format).await?
            }
            Asked::Core(Request::Live { building, format }) => self.live(replies, building, format).await?,
            Asked::Core(Request::Verify { building }) => self.verify(building).await,
            Asked::Core(Request::PurgeList { building }) => self.purges(building).await,
            Asked::Core(Request::PurgeNow { building, before_us }) => self.purge(replies, building, before_us).await?,
            Asked::Core(Request::Status {}) => self.status().await,
            Asked::Core(Request::Alarms {}) => {
                serde_json::to_value(self.hub.alarms.list()).map_err(|error| Failure::Defect(error.to_string()))
            }
            Asked::Door(request) => doors::answer(&self.hub, peer, request).await,
        };
        match &done {
            Ok(_) if quiet => tracing::debug!(peer_uid = peer, verb, "control request done"),
            Ok(_) => tracing::info!(peer_uid = peer, verb, "control request done"),
            Err(error) => tracing::warn!(peer_uid = peer, verb, %error, "control request not done"),
        }
        replies.send(&done.map_or_else(Reply::from, |value| Reply::Done { value })).await
    }

    /// Sends the events that are kept, a page at a time, and with `follow` those to come.
    async fn events(
        &self,
        replies: &mut Replies,
        building: u32,
        (mut after, follow): (u64, bool),
        format: Format,
    ) -> io::Result<Result<Value, Failure>> {
        let mut stored = self.hub.stored.clone();
        let mut sent = 0_u64;
        let mut told = BTreeMap::new();
        loop {
            stored.borrow_and_update();
            loop {
                let page = match self.page(building, after).await {
                    Ok(page) => page,
                    Err(failure) => return Ok(Err(failure)),
                };
                for purge in &page.purged {
                    if told.insert(purge.epoch, purge.through) != Some(purge.through) {
                        tell(replies, purge, format).await?;
                    }
                }
                let Some(last) = page.records.last() else { break };
                let (lines, shown) = render(&page.records, after, format);
                after = last.last_order();
                sent += shown;
                replies.send_lines(lines.as_bytes()).await?;
            }
            if !follow {
                return Ok(Ok(json!({"events": sent, "last": after})));
            }
            match timeout(CONTROL_IDLE_MAX, stored.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Ok(Ok(json!({"events": sent, "last": after}))),
                // So that it is noticed when nobody listens any more.
                Err(_) => replies.send(&Reply::Waiting {}).await?,
            }
        }
    }

    async fn page(&self, building: u32, after: u64) -> Result<Page, Failure> {
        let hub = Arc::clone(&self.hub);
        let page = tokio::task::spawn_blocking(move || hub.store.page(after, Some(building), PAGE_BYTES_MAX));
        Ok(page.await.map_err(|error| Failure::Defect(format!("the store was not read: {error}")))??)
    }

    /// Sends the events of the live lane until nobody listens.
    async fn live(&self, replies: &mut Replies, building: u32, format: Format) -> io::Result<Result<Value, Failure>> {
        let mut live = self.hub.live.subscribe();
        let mut left_out = 0_u64;
        loop {
            match timeout(CONTROL_IDLE_MAX, live.recv()).await {
                Ok(Ok(event)) if event.building == building => {
                    for raw in Events::new(&event.bytes).flatten() {
                        if let Some(line) = (Shown { order: None, hash: None, raw }).line(format) {
                            replies.send_lines(line.as_bytes()).await?;
                        }
                    }
                }
                Ok(Ok(_)) => {}
                Ok(Err(RecvError::Lagged(events))) => left_out += events,
                Ok(Err(RecvError::Closed)) => return Ok(Ok(json!({"left_out": left_out}))),
                Err(_) => replies.send(&Reply::Waiting {}).await?,
            }
        }
    }

    async fn verify(&self, building: u32) -> Result<Value, Failure> {
        let hub = Arc::clone(&self.hub);
        let found =
            tokio::task::spawn_blocking(move || verify::verify(&hub.store, building, &hub.pki.checkpoint_public()));
        let found =
            found.await.map_err(|error| Failure::Defect(format!("the history was not verified: {error}")))??;
        serde_json::to_value(found).map_err(|error| Failure::Defect(error.to_string()))
    }

    async fn purges(&self, building: Option<u32>) -> Result<Value, Failure> {
        let purges = with(&self.hub, move |hub, _| Ok(hub.store.purges(building)?)).await?;
        serde_json::to_value(purges).map_err(|error| Failure::Defect(error.to_string()))
    }

    /// Purges what happened before a moment, whatever the configuration keeps, and gives how many events went.
    async fn purge(
        &self,
        replies: &mut Replies,
        building: Option<u32>,
        before_us: i64,
    ) -> io::Result<Result<Value, Failure>> {
        let now_us = Clock::wall_us();
        if before_us > now_us {
            return Ok(Err(Failure::Input("--before: that moment has not come yet; give one that has".into())));
        }
        let buildings = with(&self.hub, |hub, _| Ok(hub.store.buildings()?)).await;
        let buildings = match buildings {
            Ok(buildings) => buildings,
            Err(failure) => return Ok(Err(failure)),
        };
        let (old, mut steps) = (Old { before_us, now_us }, 0_u64);
        for building in buildings.into_keys().filter(|of| building.is_none_or(|only| only == *of)) {
            loop {
                match retention::step(&self.hub, building, old).await {
                    Ok(Some(_)) => steps += 1,
                    Ok(None) => break,
                    Err(failure) => return Ok(Err(failure)),
                }
                // So that whoever waits knows that the hub is there.
                replies.send(&Reply::Waiting {}).await?;
            }
        }
        let scrubbed = if steps > 0 { self.scrub(replies).await? } else { Ok(()) };
        let purges = with(&self.hub, move |hub, _| Ok(hub.store.purges(None)?)).await;
        Ok(scrubbed.and(purges).map(|purges| {
            let made: Vec<_> = purges.into_iter().filter(|purge| purge.purged_us == now_us).collect();
            json!({"events": made.iter().map(|purge| purge.count).sum::<u64>(), "purges": made})
        }))
    }

    /// Overwrites what purged events left in the store's file.
    async fn scrub(&self, replies: &mut Replies) -> io::Result<Result<(), Failure>> {
        let hub = Arc::clone(&self.hub);
        let mut scrub = tokio::spawn(async move { retention::scrub(&hub).await });
        loop {
            match timeout(CONTROL_IDLE_MAX, &mut scrub).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(error)) => return Ok(Err(Failure::Defect(error.to_string()))),
                Err(_) => replies.send(&Reply::Waiting {}).await?,
            }
        }
    }

    async fn status(&self) -> Result<Value, Failure> {
        let hub = Arc::clone(&self.hub);
        let kept = tokio::task::spawn_blocking(move || hub.store.buildings());
        let kept = kept.await.map_err(|error| Failure::Defect(format!("the store was not read: {error}")))??;
        let mut buildings: BTreeMap<u32, Value> = kept
            .into_iter()
            .map(|(building, events)| (building, json!({"building": building, "events": events})))
            .collect();
        for connection in self.hub.connections.all() {
            let entry = buildings
                .entry(connection.building)
                .or_insert_with(|| json!({"building": connection.building, "events": 0}));
            entry["connection"] = json!({
                "peer": connection.quic.remote_address(),
                "since_us": connection.since_us,
                "rtt_us": u64::try_from(connection.quic.rtt().as_micros()).unwrap_or(u64::MAX),
            });
        }
        Ok(json!({
            "version": env!("CARGO_PKG_VERSION"),
            "quic": self.quic,
            "http": self.http,
            "newest": *self.hub.stored.borrow(),
            "store_failed": self.hub.store.is_failed(),
            "alarms": self.hub.alarms.list().len(),
            "buildings": buildings.into_values().collect::<Vec<_>>(),
        }))
    }
}

/// Tells of events that would have been shown and have been purged.
async fn tell(replies: &mut Replies, purge: &Purge, format: Format) -> io::Result<()> {
    match format {
        Format::Json => replies.send_lines(purged_line(purge).as_bytes()).await,
        Format::Text => replies.send_lines(purged_words(purge).as_bytes()).await,
        // The existing system's columns have no place for it.
        Format::Csv => replies.send(&Reply::Note { text: purged_words(purge) }).await,
    }
}

/// The lines of a page's events behind `after`, and how many they are.
fn render(page: &[Record], after: u64, format: Format) -> (String, u64) {
    let mut lines = String::new();
    let mut shown = 0;
    for record in page {
        // What cannot be read is for `verify` to name.
        for placed in record.placed(after).flatten() {
            if let Some(line) = Shown::from(placed).line(format) {
                lines.push_str(&line);
                shown += 1;
            }
        }
    }
    (lines, shown)
}

/// Counts and refuses what is no request.
pub(super) fn malformed(error: String) -> Reply {
    metrics::counter!(names::CONTROL_REQUESTS, "verb" => Request::MALFORMED).increment(1);
    Reply::Refused { error }
}
