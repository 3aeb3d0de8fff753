//! The complete feed: what the hub keeps, in store order, each event once.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::timeout;

use super::body::Lines;
use super::query::Query;
use super::watch::{End, Watch};
use crate::hub::Hub;
use crate::ledger::with;
use crate::limits::{FEED_HEARTBEAT, FEED_PAGE_BYTES};
use crate::show::{Format, Shown, purged_line};
use crate::store::{Purge, Record};

/// Sends every event behind `query.after`, then, when asked to follow, each one as soon as it is durable.
pub(super) async fn send(hub: Arc<Hub>, query: Query, watch: Watch, mut out: Lines) {
    let end = match pages(&hub, query, &watch, &mut out).await {
        Ok(()) => End::Complete,
        Err(end) => end,
    };
    watch.ended(end);
    out.end(end).await;
}

async fn pages(
    hub: &Arc<Hub>,
    Query { mut after, follow, .. }: Query,
    watch: &Watch,
    out: &mut Lines,
) -> Result<(), End> {
    let mut stored = hub.stored.clone();
    let mut heard = hub.clock.monotonic();
    let mut told = BTreeMap::new();
    loop {
        watch.goes_on().await?;
        // Marked before it is looked: what comes in between wakes the wait below.
        let newest = *stored.borrow_and_update();
        let only = watch.only();
        let page = with(hub, move |hub, _| Ok(hub.store.page(after, only, FEED_PAGE_BYTES)?)).await;
        let page = page.map_err(|_| End::Store)?;
        for purge in page.purged.iter().filter(|purge| watch.shows(purge.building)) {
            tell(purge, &mut told, out).await?;
        }
        for record in &page.records {
            lines(record, after, watch, out).await?;
            after = after.max(record.last_order());
        }
        if !page.records.is_empty() {
            // A long way over other buildings' events is no silence.
            let now = hub.clock.monotonic();
            if now.saturating_sub(heard) >= FEED_HEARTBEAT {
                heard = now;
                out.line("\n").await?;
                out.flush().await?;
            }
            continue;
        }
        out.flush().await?;
        if !follow {
            return Ok(());
        }
        after = after.max(newest);
        wait(&mut stored, watch, out).await?;
    }
}

/// Tells once of each purge that has taken events from behind the reader's place: they will not come.
async fn tell(purge: &Purge, told: &mut BTreeMap<(u32, u64), u64>, out: &mut Lines) -> Result<(), End> {
    if told.insert((purge.building, purge.epoch.0), purge.through) == Some(purge.through) {
        return Ok(());
    }
    out.line(&purged_line(purge)).await
}

async fn lines(record: &Record, after: u64, watch: &Watch, out: &mut Lines) -> Result<(), End> {
    if !watch.shows(record.building) {
        return Ok(());
    }
    for placed in record.placed(after) {
        let placed = placed.map_err(|_| End::Store)?;
        out.line(&Shown::from(placed).line(Format::Json).unwrap_or_default()).await?;
    }
    Ok(())
}

/// Until something more is durable; an empty line now and then tells both ends that the other lives.
async fn wait(stored: &mut tokio::sync::watch::Receiver<u64>, watch: &Watch, out: &mut Lines) -> Result<(), End> {
    let changed = tokio::select! {
        changed = timeout(FEED_HEARTBEAT, stored.changed()) => changed,
        end = watch.stopping() => return Err(end),
        end = out.gone() => return Err(end),
    };
    match changed {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(End::Stopping),
        Err(_) => {
            out.line("\n").await?;
            out.flush().await
        }
    }
}
