//! Every metric: its name, what it is and what it means. `deploy/RUNBOOK.md` says the same for people; a test compares them.

use metrics::Unit;

pub(crate) const BUILD_INFO: &str = "kalitka_hub_build_info";
pub(crate) const ALARMS: &str = "kalitka_hub_alarms_total";
pub(crate) const CONTROL_REQUESTS: &str = "kalitka_hub_control_requests_total";
pub(crate) const CONNECTIONS: &str = "kalitka_hub_connections";
pub(crate) const CONNECTIONS_REFUSED: &str = "kalitka_hub_connections_refused_total";
pub(crate) const ADDRESSES_CHANGED: &str = "kalitka_hub_addresses_changed_total";
pub(crate) const WORST_LAG: &str = "kalitka_hub_worst_lag_seconds";
pub(crate) const BATCHES: &str = "kalitka_hub_batches_total";
pub(crate) const EVENTS_KEPT: &str = "kalitka_hub_events_kept_total";
pub(crate) const EVENTS_PURGED: &str = "kalitka_hub_events_purged_total";
pub(crate) const OLDEST_EVENT: &str = "kalitka_hub_oldest_event_seconds";
pub(crate) const RETENTION_WAITING: &str = "kalitka_hub_retention_waiting";
pub(crate) const LIVE_EVENTS: &str = "kalitka_hub_live_events_total";
pub(crate) const COMMITS: &str = "kalitka_hub_commits_total";
pub(crate) const COMMIT_SECONDS: &str = "kalitka_hub_commit_seconds";
pub(crate) const STORE_FAILED: &str = "kalitka_hub_store_failed";
pub(crate) const STORE_HELD_UP: &str = "kalitka_hub_store_held_up_seconds";
pub(crate) const STORE_REOPENED: &str = "kalitka_hub_store_reopened_total";
pub(crate) const ENROLMENTS: &str = "kalitka_hub_enrolments_total";
pub(crate) const RENEWALS: &str = "kalitka_hub_renewals_total";
pub(crate) const CERTIFICATE_EXPIRES: &str = "kalitka_hub_certificate_expires_seconds";
pub(crate) const GATEWAY_EXPIRES: &str = "kalitka_hub_gateway_certificate_expires_seconds";
pub(crate) const WAITING_BYTES: &str = "kalitka_hub_waiting_bytes";
pub(crate) const PACE_BYTES: &str = "kalitka_hub_pace_bytes";
pub(crate) const SNAPSHOTS: &str = "kalitka_hub_snapshots_total";
pub(crate) const COMMANDS: &str = "kalitka_hub_commands_total";
pub(crate) const FEEDS: &str = "kalitka_hub_feeds";
pub(crate) const FEEDS_ENDED: &str = "kalitka_hub_feeds_ended_total";
pub(crate) const FEED_REQUESTS: &str = "kalitka_hub_feed_requests_total";

/// The counters, with their help texts.
pub(crate) const COUNTERS: &[(&str, &str)] = &[
    (ALARMS, "Alarms raised, by kind"),
    (CONTROL_REQUESTS, "Requests on the control socket, by verb"),
    (CONNECTIONS_REFUSED, "Connections that were not let in, by reason"),
    (ADDRESSES_CHANGED, "Living connections that went on from another address"),
    (BATCHES, "Batches that hold, by what became of them"),
    (EVENTS_KEPT, "Events that were kept, each once"),
    (EVENTS_PURGED, "Events that were removed by their age"),
    (LIVE_EVENTS, "Events of the live lane, fresh or repeated"),
    (COMMITS, "Commits of the store with batches"),
    (STORE_REOPENED, "Times that the store was opened again after an error"),
    (ENROLMENTS, "Requests of boxes for a certificate, by what became of them"),
    (RENEWALS, "Requests of gateways for their next certificate, by what became of them"),
    (SNAPSHOTS, "Snapshots handed down, by what the gateway said"),
    (COMMANDS, "Results of commands handed down"),
    (FEEDS_ENDED, "Feeds that ended, by why"),
    (FEED_REQUESTS, "Requests for a feed, by answer"),
];

/// Values of the label of [`CONNECTIONS_REFUSED`].
pub(crate) const REFUSALS: [&str; 10] = [
    "connections",
    "handshakes",
    "handshakes_of_one",
    "slow",
    "handshake",
    "certificate",
    "revoked",
    "expired",
    "second_connection",
    "store",
];

/// Values of the label of [`SNAPSHOTS`].
pub(crate) const SNAPSHOT_OUTCOMES: [&str; 3] = ["adopted", "not_kept", "refused"];

/// The gauges, with their help texts.
pub(crate) const GAUGES: &[(&str, &str)] = &[
    (BUILD_INFO, "Always 1; the version is in the label"),
    (CONNECTIONS, "Gateways that are connected"),
    (WORST_LAG, "Of the connected gateways the longest wait of an event of the newest batch until it was durable here"),
    (CERTIFICATE_EXPIRES, "When the hub's own certificate and its CA's expire, in seconds since 1970"),
    (GATEWAY_EXPIRES, "When the first building's newest certificate that is not revoked expires; 0 for none"),
    (WAITING_BYTES, "Bytes of batches that are read and not yet durable"),
    (PACE_BYTES, "Bytes of events that each gateway may have sent and not acknowledged"),
    (OLDEST_EVENT, "Age of the oldest event that is kept, when it was last looked at"),
    (RETENTION_WAITING, "1 while the clock is not believed, and nothing is purged"),
    (FEEDS, "Feeds that are read now"),
    (STORE_HELD_UP, "How long the disk has kept the present write waiting; 0 below half a second"),
    (STORE_FAILED, "1 while the store has failed and is not open again"),
];

/// The unit of metric `name`, which its ending says.
pub(crate) fn unit(name: &str) -> Unit {
    match name.trim_end_matches("_total").rsplit('_').next() {
        Some("seconds") => Unit::Seconds,
        Some("bytes") => Unit::Bytes,
        _ => Unit::Count,
    }
}
