//! One open feed: whose it is, what it may show, and when it ends.

use std::sync::Arc;

use crate::hub::Hub;
use crate::ledger::{SubscriberEntry, with};
use crate::metrics::names;

use super::body::Place;

/// Why a feed ends before its reader goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Everything was sent, and nobody wanted to follow.
    Complete,
    /// The reader has gone.
    Gone,
    /// The reader took nothing for too long.
    Slow,
    /// The subscriber's token was taken back.
    Revoked,
    /// The hub stops.
    Stopping,
    /// The store does not answer, or is damaged.
    Store,
}

impl End {
    /// All of them.
    pub(crate) const ALL: [Self; 6] =
        [Self::Complete, Self::Gone, Self::Slow, Self::Revoked, Self::Stopping, Self::Store];

    /// As the last line and the metric name it.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Gone => "gone",
            Self::Slow => "slow",
            Self::Revoked => "revoked",
            Self::Stopping => "stopping",
            Self::Store => "store",
        }
    }
}

/// An open feed's subscriber, looked at again and again.
pub(super) struct Watch {
    hub: Arc<Hub>,
    subscriber: SubscriberEntry,
    building: Option<u32>,
    _place: Place,
}

impl Watch {
    pub(super) fn new(hub: Arc<Hub>, subscriber: SubscriberEntry, building: Option<u32>, place: Place) -> Self {
        metrics::gauge!(names::FEEDS).increment(1);
        tracing::info!(subscriber = subscriber.name, building, "a feed has begun");
        Self { hub, subscriber, building, _place: place }
    }

    /// The only building to show, if there is one only.
    pub(super) fn only(&self) -> Option<u32> {
        match self.subscriber.buildings[..] {
            [only] => Some(only),
            _ => self.building,
        }
    }

    /// Whether this feed shows `building`.
    pub(super) fn shows(&self, building: u32) -> bool {
        let allowed = &self.subscriber.buildings;
        self.building.is_none_or(|only| only == building) && (allowed.is_empty() || allowed.contains(&building))
    }

    /// Whether the feed may go on: the token still stands, and the hub does not stop.
    pub(super) async fn goes_on(&self) -> Result<(), End> {
        if *self.hub.stopping.borrow() {
            return Err(End::Stopping);
        }
        let subscriber = self.subscriber.clone();
        let stands =
            with(&self.hub, move |_, ledger| Ok(ledger.subscriber(&subscriber.name)? == Some(subscriber))).await;
        match stands {
            Ok(true) => Ok(()),
            Ok(false) => Err(End::Revoked),
            Err(_) => Err(End::Store),
        }
    }

    /// Resolves once the hub stops.
    pub(super) async fn stopping(&self) -> End {
        let mut stopping = self.hub.stopping.clone();
        // Gone with the hub.
        let _ = stopping.wait_for(|stopping| *stopping).await;
        End::Stopping
    }

    /// Tells of the end.
    pub(super) fn ended(&self, end: End) {
        metrics::counter!(names::FEEDS_ENDED, "why" => end.label()).increment(1);
        tracing::info!(
            subscriber = self.subscriber.name,
            building = self.building,
            why = end.label(),
            "a feed has ended"
        );
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        metrics::gauge!(names::FEEDS).decrement(1);
    }
}
