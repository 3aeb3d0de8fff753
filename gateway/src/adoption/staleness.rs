//! For how long a snapshot's permissions count whole, as the operator has said, and whether that is over.
//!
//! The view decides by the second itself; here it is reckoned, shown and told.

use kalitka_core::UnixSeconds;

use crate::limits::DAY_SECONDS;
use crate::metrics::names;

/// The operator's word, and what was told last.
pub(super) struct Staleness {
    /// Seconds after its making at which a snapshot is stale; `None` for never.
    after: Option<i64>,
    is_told: bool,
}

impl Staleness {
    /// Snapshots are stale after `days`, or with 0 never.
    pub(super) fn new(days: u16) -> Self {
        Self { after: (days > 0).then(|| i64::from(days) * DAY_SECONDS), is_told: false }
    }

    /// The second from which a snapshot that was made at `created` is stale, if it ever is.
    pub(super) fn from(&self, created: i64) -> Option<UnixSeconds> {
        self.after.map(|after| UnixSeconds(created.saturating_add(after)))
    }

    /// Shows whether the snapshot in force is stale, and says so when it was otherwise before. Gives whether it was.
    pub(super) fn tell(&mut self, is_stale: bool) -> bool {
        metrics::gauge!(names::SNAPSHOT_STALE).set(f64::from(u8::from(is_stale)));
        let is_news = std::mem::replace(&mut self.is_told, is_stale) != is_stale;
        match (is_news, is_stale) {
            (false, _) => {}
            (true, true) => tracing::warn!(
                "the snapshot is stale: it is older than snapshots.stale_after_days, and only access levels of time.essential \
                 count; publish a new one, and see why none has come"
            ),
            (true, false) => tracing::info!("the snapshot is not stale any more, and all its permissions count"),
        }
        is_news
    }
}
