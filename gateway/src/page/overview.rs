//! How the building stands, in one bounded value: the page shows it, `/status.json` is it. Names are stable, and documented in
//! `docs/status.md`; a test compares.

use serde::Serialize;

use super::matter::{Level, Matter};

/// How the building stands. Nothing in it names a card or a person.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Overview {
    pub(crate) version: &'static str,
    pub(crate) building: u32,
    pub(crate) running_seconds: u64,
    /// Whether it has served for so short a time that readers may not have been heard yet.
    #[serde(skip)]
    pub(crate) is_beginning: bool,
    /// The worst of `matters`.
    pub(crate) level: Level,
    /// What is not as it should be, worst first.
    pub(crate) matters: Vec<Matter>,
    pub(crate) workers_stuck: usize,
    /// `good`, `held` or `none`.
    pub(crate) clock: &'static str,
    pub(crate) readers: Readers,
    pub(crate) lines: Vec<Line>,
    pub(crate) portals: Portals,
    pub(crate) snapshot: Snapshot,
    pub(crate) outbox: Outbox,
    pub(crate) uplink: Uplink,
    /// Reasons for which somebody was refused since the start, the most frequent of late first.
    pub(crate) refusals: Vec<Refusal>,
}

/// The readers that have a key or stand in the snapshot.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Readers {
    pub(crate) known: usize,
    /// Those with a key.
    pub(crate) keyed: usize,
    pub(crate) up: usize,
    pub(crate) away: usize,
    /// OSDP devices that are not let in.
    pub(crate) refused: usize,
    pub(crate) without_key: usize,
    pub(crate) not_in_snapshot: usize,
    /// Worst first, then by number.
    pub(crate) listed: Vec<Reader>,
    pub(crate) unlisted: usize,
}

/// One reader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Reader {
    pub(crate) reader: u32,
    pub(crate) portal: Option<String>,
    /// By which it is reached; nothing until it has been heard, unless the configuration says.
    pub(crate) way: Option<Way>,
    pub(crate) state: State,
    pub(crate) heard_seconds_ago: Option<u64>,
    /// Reports that wait at the reader, by its newest ping.
    pub(crate) reports_waiting: u16,
    /// Whether its newest ping said that it does what it does without the gateway.
    pub(crate) is_in_fall_back: bool,
}

/// How a reader is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Way {
    Udp,
    Serial,
    Osdp,
}

/// How a reader stands; worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// An OSDP device that is not let in.
    Refused,
    /// It has a key, and nothing is heard of it.
    Away,
    /// It stands in the snapshot and has no key.
    NoKey,
    /// It is there, and the snapshot does not know it: whoever shows a card is refused.
    NotInSnapshot,
    Up,
}

impl State {
    pub(crate) const ALL: [Self; 5] = [Self::Refused, Self::Away, Self::NoKey, Self::NotInSnapshot, Self::Up];
}

/// A serial line, with one reader of our protocol or OSDP devices.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) port: String,
    pub(crate) way: Way,
    pub(crate) is_up: bool,
    /// Bytes come, and no frame.
    pub(crate) is_unreadable: bool,
}

/// The portals of the snapshot in force.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Portals {
    pub(crate) known: usize,
    /// Those without a reader up first, then those with most readers away, then as in the snapshot.
    pub(crate) listed: Vec<Portal>,
    pub(crate) unlisted: usize,
}

/// One portal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Portal {
    pub(crate) portal: String,
    /// `normal`, `closed`, `free`, `entry_only`, `exit_only`, or `differs` from reader to reader; nothing while time is not known.
    pub(crate) mode: Option<&'static str>,
    /// Whether an operator has ordered it, at each of its readers.
    pub(crate) is_ordered: bool,
    pub(crate) readers: usize,
    pub(crate) readers_up: usize,
}

/// The snapshot in force.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Snapshot {
    /// 0 for none.
    pub(crate) generation: u32,
    /// By the time that is decided by; nothing while that is not known.
    pub(crate) age_seconds: Option<i64>,
    pub(crate) entries: u64,
    pub(crate) is_stale: bool,
    /// The newest refusal since the start: a label of `kalitka_snapshot_refused_total`.
    pub(crate) refused: Option<String>,
    /// Whether that is still to be looked at: nothing was adopted since.
    pub(crate) is_refusal_open: bool,
    pub(crate) refused_seconds_ago: Option<u64>,
}

/// What waits for the hub, and the disk.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Outbox {
    pub(crate) is_taking: bool,
    /// How long the disk has kept the present turn waiting.
    pub(crate) busy_seconds: u64,
    pub(crate) waiting_events: u64,
    pub(crate) oldest_seconds: Option<i64>,
    pub(crate) held_events: u64,
    pub(crate) held_bytes: u64,
    pub(crate) bound_percent: u8,
    pub(crate) is_at_bound: bool,
    pub(crate) disk_percent: u8,
    pub(crate) is_on_refuge: bool,
    pub(crate) quarantined_stores: u64,
    pub(crate) is_safety_state_damaged: bool,
}

/// The connection to the hub.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Uplink {
    /// `off`, `connecting`, `up` or `down`.
    pub(crate) state: &'static str,
    /// Since when it is so; an attempt and the pause after it are one time.
    pub(crate) since_seconds: u64,
    pub(crate) round_trip_us: Option<u64>,
    /// The code with which the hub closed the connection (SPEC 15.11).
    pub(crate) code: Option<u64>,
}

/// One reason for which people are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Refusal {
    /// A label of `kalitka_ask_denied_total`.
    pub(crate) reason: &'static str,
    pub(crate) last_15_minutes: u64,
    pub(crate) since_start: u64,
    pub(crate) newest_seconds_ago: u64,
}
