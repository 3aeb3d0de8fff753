//! The live feed: what gateways send ahead of their batches, at best effort.

use std::sync::Arc;

use kalitka_protocol::event::Events;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

use super::body::Lines;
use super::watch::{End, Watch};
use crate::hub::{Hub, LiveEvent};
use crate::limits::FEED_HEARTBEAT;
use crate::show::{Format, Shown};

/// Sends events as they come. A reader that falls behind is told how many were left out for it.
pub(super) async fn send(hub: Arc<Hub>, mut events: Receiver<LiveEvent>, watch: Watch, mut out: Lines) {
    drop(hub);
    let end = loop {
        if let Err(end) = step(&mut events, &watch, &mut out).await {
            break end;
        }
    };
    watch.ended(end);
    out.end(end).await;
}

async fn step(events: &mut Receiver<LiveEvent>, watch: &Watch, out: &mut Lines) -> Result<(), End> {
    let event = tokio::select! {
        event = timeout(FEED_HEARTBEAT, events.recv()) => event,
        end = watch.stopping() => return Err(end),
        end = out.gone() => return Err(end),
    };
    match event {
        Ok(Ok(event)) => {
            if watch.shows(event.building) {
                let raw = Events::new(&event.bytes).next().and_then(Result::ok);
                if let Some(raw) = raw {
                    let shown = Shown { order: None, hash: None, raw };
                    out.line(&shown.line(Format::Json).unwrap_or_default()).await?;
                }
            }
            // More may be there already: they go together.
            if events.is_empty() { out.flush().await } else { Ok(()) }
        }
        Ok(Err(RecvError::Lagged(count))) => out.line(&format!("{{\"left_out\":{count}}}\n")).await,
        Ok(Err(RecvError::Closed)) => Err(End::Stopping),
        Err(_) => {
            watch.goes_on().await?;
            out.line("\n").await?;
            out.flush().await
        }
    }
}
