//! What OSDP lines measure of themselves.

use std::sync::Arc;

use kalitka_protocol::osdp::{Alarm, Fault};

use super::{Histogram, names};

/// Time on the lines and time of decisions, apart. The thread of the lines is the one that writes.
#[derive(Debug)]
pub(crate) struct OsdpTally {
    /// Of each exchange that was answered, from the first byte of its command to the last of its reply.
    pub(crate) bus: Histogram,
    /// From a card's coming off the line until its answer is there.
    pub(crate) decision: Histogram,
}

impl OsdpTally {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { bus: Histogram::new(), decision: Histogram::new() })
    }
}

/// Why cards are not answered by the core, as labels: their reader has no key, gets no answers at all, has asked about too many
/// others, or has not been answered in time.
pub(crate) mod unanswered {
    pub(crate) const NO_KEY: &str = "no_key";
    pub(crate) const FALL_BACK: &str = "fall_back";
    pub(crate) const BUSY: &str = "busy";
    pub(crate) const LATE: &str = "late";
    pub(crate) const ALL: [&str; 4] = [NO_KEY, FALL_BACK, BUSY, LATE];
}

/// Shows the line at `port` and the devices of `readers` before anything is heard of them.
pub(crate) fn show_line(port: &str, readers: impl Iterator<Item = u32>) {
    metrics::gauge!(names::OSDP_PORT_UP, "port" => port.to_owned()).set(0.0);
    for reader in readers {
        metrics::gauge!(names::OSDP_DEVICE_STATE, "reader" => reader.to_string()).set(0.0);
        metrics::gauge!(names::OSDP_POWER_FAILED, "reader" => reader.to_string()).set(0.0);
    }
}

/// Registers at 0 what is counted by label.
pub(super) fn register() {
    for fault in Fault::ALL {
        metrics::counter!(names::OSDP_FAULTS, "reason" => fault.label()).absolute(0);
    }
    for reason in unanswered::ALL {
        metrics::counter!(names::OSDP_CARDS_UNANSWERED, "reason" => reason).absolute(0);
    }
    for alarm in Alarm::ALL {
        metrics::counter!(names::OSDP_ALARMS, "alarm" => alarm.label()).absolute(0);
    }
}
