//! What every event begins with: whose it is, and when it happened (SPEC 14.2).

use std::path::Path;

use kalitka_protocol::EpochId;
use kalitka_protocol::event::{ClockQuality, EventHeader};

use super::record::Moment;
use crate::limits::CLOCK_JUMP_US;

/// Before this moment, the beginning of 2026, no clock of a gateway can be right.
const PLAUSIBLE_FROM_US: i64 = 1_767_225_600_000_000;
/// There when the system's own time service has heard of the time.
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";

/// Makes headers; their identity is given at the commit.
#[derive(Debug)]
pub(super) struct Headers {
    building: u32,
    gateway_boot: u32,
    /// Wall clock less monotonic clock of the event before.
    offset_us: Option<i64>,
    synchronised: bool,
}

impl Headers {
    pub(super) fn new(building: u32, gateway_boot: u32) -> Self {
        let mut headers = Self { building, gateway_boot, offset_us: None, synchronised: false };
        headers.look_at_clock();
        headers
    }

    /// Learns how good the wall clock is.
    pub(super) fn look_at_clock(&mut self) {
        self.synchronised = Path::new(SYNCHRONISED).exists();
    }

    /// How good the wall clock is when it says `wall_us`: *held* when nobody vouches for it, *none* when it cannot be right.
    pub(super) const fn quality(&self, wall_us: i64) -> ClockQuality {
        if wall_us < PLAUSIBLE_FROM_US {
            ClockQuality::None
        } else if self.synchronised {
            ClockQuality::Good
        } else {
            ClockQuality::Held
        }
    }

    /// The header of what happened `at`. It says whether the clock has jumped since the one before.
    pub(super) fn next(&mut self, at: Moment) -> EventHeader {
        let monotonic_us = u64::try_from(at.monotonic.as_micros()).unwrap_or(u64::MAX);
        let offset = at.wall_us.saturating_sub(i64::try_from(monotonic_us).unwrap_or(i64::MAX));
        let before = self.offset_us.replace(offset);
        EventHeader {
            building: self.building,
            epoch: EpochId(1),
            // Any but 1, which is kept to the event that opens an epoch.
            number: 2,
            wall_us: at.wall_us,
            monotonic_us,
            gateway_boot: self.gateway_boot,
            quality: self.quality(at.wall_us),
            jumped: before.is_some_and(|before| offset.saturating_sub(before).saturating_abs() > CLOCK_JUMP_US),
        }
    }
}

/// The first four bytes of the machine's boot id; 0 when the system does not say.
pub(super) fn gateway_boot() -> u32 {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let mut bytes = [0; 4];
    let known = text.get(..8).is_some_and(|digits| hex::decode_to_slice(digits, &mut bytes).is_ok());
    if known { u32::from_le_bytes(bytes) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn clock_that_is_set_shows_once_and_one_that_runs_does_not() {
        let mut headers = Headers::new(17, 1);
        let start = PLAUSIBLE_FROM_US + 1;
        let mut jumped = |wall_us: i64, monotonic_ms: u64| {
            headers.next(Moment { wall_us, monotonic: Duration::from_millis(monotonic_ms) }).jumped
        };
        assert!(!jumped(start, 0));
        assert!(!jumped(start + 1_000_000, 1000));
        // Events of two workers may come in the other order.
        assert!(!jumped(start + 900_000, 900));
        assert!(jumped(start + 5_000_000, 2000));
        assert!(!jumped(start + 6_000_000, 3000));
        assert!(jumped(start, 4000));
    }

    #[test]
    fn clock_before_this_software_is_none() {
        let headers = Headers::new(17, 1);
        assert_eq!(headers.quality(0), ClockQuality::None);
        assert_ne!(headers.quality(PLAUSIBLE_FROM_US), ClockQuality::None);
    }
}
