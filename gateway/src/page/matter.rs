//! What may be wrong with a building, worst first, and where the runbook says what to do.

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use super::overview::{Overview, Way};
use crate::limits::{FULL_PERCENT, JOURNAL_STUCK_AFTER, PAGE_HUB_AWAY, PAGE_RECENT};

/// How bad it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Level {
    /// All is well.
    #[default]
    Well,
    /// Somebody should look, and doors answer.
    Look,
    /// People stand before doors, or what they do is not kept.
    Bad,
}

impl Level {
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Look => "look",
            Self::Bad => "bad",
        }
    }
}

/// Declares the matters, worst first: label, level, section of the runbook.
macro_rules! matters {
    ($($(#[$meta:meta])* $variant:ident = $label:literal, $level:ident, $runbook:literal;)+) => {
        /// One thing that is not as it should be.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Matter { $($(#[$meta])* $variant,)+ }

        impl Matter {
            /// Each of them, worst first.
            pub(crate) const ALL: [Self; [$($label),+].len()] = [$(Self::$variant),+];

            pub(crate) const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }

            pub(crate) const fn level(self) -> Level {
                match self { $(Self::$variant => Level::$level,)+ }
            }

            /// The section of `deploy/RUNBOOK.md` that says what to do.
            pub(crate) const fn runbook(self) -> &'static str {
                match self { $(Self::$variant => $runbook,)+ }
            }
        }
    };
}

matters! {
    WorkerStuck = "worker_stuck", Bad, "Restart and update";
    NoSnapshot = "no_snapshot", Bad, "Everybody is denied";
    TimeUnknown = "time_unknown", Bad, "The clock";
    OrdersUnknown = "orders_unknown", Bad, "Orders of operators";
    NoneInSnapshot = "none_in_snapshot", Bad, "Everybody is denied";
    NoReaders = "no_readers", Bad, "Keys";
    AllAway = "all_away", Bad, "A reader is silent";
    Stale = "stale", Bad, "A snapshot is stale";
    NotKept = "not_kept", Bad, "Events are not made durable";
    DiskHangs = "disk_hangs", Bad, "Events are not made durable";
    AtBound = "at_bound", Bad, "The outbox is at its bound";
    PortGone = "port_gone", Look, "A reader on a serial line";
    OsdpPortGone = "osdp_port_gone", Look, "An OSDP device is not in service";
    Away = "away", Look, "A reader is silent";
    DeviceRefused = "device_refused", Look, "An OSDP device is not in service";
    LineUnreadable = "line_unreadable", Look, "A reader on a serial line";
    NotInSnapshot = "not_in_snapshot", Look, "Everybody is denied";
    SnapshotRefused = "snapshot_refused", Look, "A snapshot is refused";
    HubAway = "hub_away", Look, "No uplink";
    TimeHeld = "time_held", Look, "The clock";
    NearBound = "near_bound", Look, "The outbox is at its bound";
    DiskNearlyFull = "disk_nearly_full", Look, "The disk is full";
    OnRefuge = "on_refuge", Look, "Events are not made durable";
    Quarantined = "quarantined", Look, "Look into an outbox";
    NoKey = "no_key", Look, "Keys";
}

impl Serialize for Matter {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut told = to.serialize_struct("Matter", 3)?;
        told.serialize_field("matter", self.label())?;
        told.serialize_field("level", &self.level())?;
        told.serialize_field("runbook", self.runbook())?;
        told.end()
    }
}

impl Matter {
    /// What is so of `overview`, worst first.
    pub(crate) fn of(overview: &Overview) -> Vec<Self> {
        Self::ALL.into_iter().filter(|matter| matter.is_so(overview)).collect()
    }

    fn is_so(self, overview: &Overview) -> bool {
        let Overview { readers, lines, snapshot, outbox, uplink, is_beginning, .. } = overview;
        let is_strange = snapshot.generation > 0 && readers.not_in_snapshot > 0;
        let is_gone = |way| lines.iter().any(|line| line.way == way && !line.is_up);
        match self {
            Self::WorkerStuck => overview.workers_stuck > 0,
            Self::NoSnapshot => snapshot.generation == 0,
            Self::TimeUnknown => overview.clock == "none",
            Self::TimeHeld => overview.clock == "held",
            Self::OrdersUnknown => outbox.is_safety_state_damaged,
            Self::NoReaders => readers.keyed == 0,
            Self::AllAway => readers.keyed > 0 && readers.up == 0 && !is_beginning,
            Self::Away => readers.up > 0 && readers.away > 0 && !is_beginning,
            Self::DeviceRefused => readers.refused > 0,
            Self::NotInSnapshot => is_strange && readers.not_in_snapshot < readers.up,
            Self::NoneInSnapshot => is_strange && readers.not_in_snapshot >= readers.up,
            Self::NoKey => readers.keyed > 0 && readers.without_key > 0,
            Self::PortGone => is_gone(Way::Serial),
            Self::OsdpPortGone => is_gone(Way::Osdp),
            Self::LineUnreadable => lines.iter().any(|line| line.is_unreadable),
            Self::NotKept => !outbox.is_taking && !is_beginning,
            Self::DiskHangs => outbox.busy_seconds >= JOURNAL_STUCK_AFTER.as_secs(),
            Self::AtBound => outbox.is_at_bound,
            Self::NearBound => !outbox.is_at_bound && outbox.bound_percent >= FULL_PERCENT,
            Self::DiskNearlyFull => outbox.disk_percent >= FULL_PERCENT,
            Self::OnRefuge => outbox.is_on_refuge,
            Self::Quarantined => outbox.quarantined_stores > 0,
            Self::Stale => snapshot.is_stale,
            Self::SnapshotRefused => {
                snapshot.is_refusal_open && snapshot.refused_seconds_ago.is_some_and(|ago| ago < PAGE_RECENT.as_secs())
            }
            Self::HubAway => !matches!(uplink.state, "off" | "up") && uplink.since_seconds >= PAGE_HUB_AWAY.as_secs(),
        }
    }
}
