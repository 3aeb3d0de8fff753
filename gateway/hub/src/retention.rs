//! What is older than is kept goes: every day, building by building, in steps between which batches are written.
//!
//! The steps and their record stand in [`crate::store`]; here is when, by which clock, and what is told of it.

use std::sync::Arc;
use std::time::Duration;

use kalitka_process::horizon::Horizon;
use tokio::time::sleep;

use crate::alarms::AlarmKind;
use crate::clock::Clock;
use crate::failure::Failure;
use crate::hub::Hub;
use crate::ledger::with;
use crate::limits::{PURGE_FIRST, PURGE_INTERVAL, PURGE_PAUSE, PURGE_SLACK};
use crate::metrics::names;
use crate::store::{Old, Purge, Scrub};

/// Where the store keeps the moment that was believed last.
const CLOCK_NOTE: &str = "retention_clock";

/// Purges for as long as the hub runs.
pub(crate) async fn run(hub: Arc<Hub>) {
    let age = hub.config.retention.events;
    let kept = with(&hub, |hub, _| Ok(hub.store.note(CLOCK_NOTE)?)).await.ok().flatten();
    let kept = kept.and_then(|bytes| bytes.try_into().ok()).map(i64::from_le_bytes);
    let mut horizon = Horizon::new(kept, age.duration(), hub.clock.monotonic());
    let (first, interval) = paces(age.duration());
    sleep(first).await;
    loop {
        if let Some(now_us) = look(&hub, &mut horizon).await
            && let Err(error) = all(&hub, now_us.saturating_sub(age.micros())).await
        {
            tracing::warn!(%error, "old events were not purged; trying again");
        }
        if let Err(error) = show(&hub).await {
            tracing::warn!(%error, "the age of the oldest events could not be read");
        }
        sleep(interval).await;
    }
}

/// How long after the start, and then how often.
fn paces(age: Duration) -> (Duration, Duration) {
    (PURGE_FIRST.min(age / 8), PURGE_INTERVAL.min(age / 4))
}

/// The moment by which ages are judged, if the clock is believed.
async fn look(hub: &Arc<Hub>, horizon: &mut Horizon) -> Option<i64> {
    let before_us = horizon.believed_us();
    let now_us = horizon.look(Clock::wall_us(), hub.clock.monotonic(), true);
    metrics::gauge!(names::RETENTION_WAITING).set(if now_us.is_none() { 1.0 } else { 0.0 });
    if now_us.is_none() {
        tracing::warn!(
            "the clock is far ahead of what was believed before; nothing is purged before it has been so for a day"
        );
    }
    if let Some(believed_us) = horizon.believed_us().filter(|_| horizon.believed_us() != before_us) {
        let kept = with(hub, move |hub, _| Ok(hub.store.set_note(CLOCK_NOTE, &believed_us.to_le_bytes())?)).await;
        if let Err(error) = kept {
            tracing::warn!(%error, "cannot keep the time that is believed");
        }
    }
    now_us
}

/// Purges every building, and then what is left of it in the file.
async fn all(hub: &Arc<Hub>, before_us: i64) -> Result<(), Failure> {
    let buildings = with(hub, |hub, _| Ok(hub.store.buildings()?)).await?;
    let old = Old { before_us, now_us: Clock::wall_us() };
    let mut purged = 0;
    for building in buildings.into_keys() {
        while let Some(purge) = step(hub, building, old).await? {
            purged += purge.count;
            sleep(PURGE_PAUSE).await;
        }
    }
    if purged > 0 { scrub(hub).await } else { Ok(()) }
}

/// One step; gives its record as it now stands.
///
/// # Errors
/// What the store says.
pub(crate) async fn step(hub: &Arc<Hub>, building: u32, old: Old) -> Result<Option<Purge>, Failure> {
    let purged = with(hub, move |hub, _| Ok(hub.store.purge(building, old, &hub.pki)?)).await?;
    if let Some((purge, removed)) = &purged {
        metrics::counter!(names::EVENTS_PURGED).increment(*removed);
        tracing::info!(building, epoch = format!("{:016x}", purge.epoch.0), through = purge.through, removed, "purged");
    }
    Ok(purged.map(|(purge, _)| purge))
}

/// Overwrites what purged events have left in the store's file.
///
/// # Errors
/// What the store says: then some of it may still be there until the next time.
pub(crate) async fn scrub(hub: &Arc<Hub>) -> Result<(), Failure> {
    let mut next = Scrub::Begin;
    while next != Scrub::Done {
        next = with(hub, move |hub, _| Ok(hub.store.scrub(next)?)).await?;
        sleep(PURGE_PAUSE).await;
    }
    Ok(())
}

/// Shows how old the oldest events are, and raises an alarm when that is too old.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; ages stay far below 2^52")]
async fn show(hub: &Arc<Hub>) -> Result<(), Failure> {
    let oldest = with(hub, |hub, _| {
        let mut oldest = Vec::new();
        for building in hub.store.buildings()?.into_keys() {
            oldest.extend(hub.store.oldest_us(building)?.map(|us| (us, building)));
        }
        Ok(oldest.into_iter().min())
    });
    let oldest = oldest.await?;
    let age_us = oldest.map_or(0, |(us, _)| Clock::wall_us().saturating_sub(us).max(0));
    metrics::gauge!(names::OLDEST_EVENT).set(age_us as f64 / 1e6);
    let kept = hub.config.retention.events.duration();
    let slack = PURGE_SLACK.min(kept);
    if let Some((_, building)) = oldest
        && u128::try_from(age_us).unwrap_or(0) > (kept + slack).as_micros()
    {
        let days = age_us / 86_400_000_000;
        let text =
            format!("its oldest event is {days} days old and should be purged by now; see the log and the clock");
        hub.alarms.raise(AlarmKind::Retention, Some(building), text);
    }
    Ok(())
}
