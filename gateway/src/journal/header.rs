//! What every event begins with: whose it is, and when it happened (SPEC 14.2).

use kalitka_protocol::EpochId;
use kalitka_protocol::event::EventHeader;

use crate::clock::Moment;

/// Makes headers; their identity is given at the commit.
#[derive(Debug)]
pub(super) struct Headers {
    building: u32,
    gateway_boot: u32,
    /// How often time had jumped by the newest event of a worker.
    jumps: Option<u8>,
}

impl Headers {
    pub(super) const fn new(building: u32, gateway_boot: u32) -> Self {
        Self { building, gateway_boot, jumps: None }
    }

    /// The header of what a worker decided or took `at`. It says whether time has jumped since the newest one before.
    pub(super) fn next(&mut self, at: Moment) -> EventHeader {
        // Events of two workers may come in the other order: what is older has not jumped.
        let ahead = at.jumps.wrapping_sub(self.jumps.unwrap_or(at.jumps)).cast_signed();
        if self.jumps.is_none() || ahead > 0 {
            self.jumps = Some(at.jumps);
        }
        EventHeader { jumped: ahead > 0, ..self.own(at) }
    }

    /// The header of what the journal itself records `at`. What workers did before may come behind it, and says whether time
    /// has jumped.
    pub(super) fn own(&self, at: Moment) -> EventHeader {
        EventHeader {
            building: self.building,
            epoch: EpochId(1),
            // Any but 1, which is kept to the event that opens an epoch.
            number: 2,
            wall_us: at.wall_us,
            monotonic_us: u64::try_from(at.monotonic.as_micros()).unwrap_or(u64::MAX),
            gateway_boot: self.gateway_boot,
            quality: at.quality,
            jumped: false,
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
    use kalitka_protocol::event::ClockQuality;
    use std::time::Duration;

    fn at(jumps: u8) -> Moment {
        Moment { wall_us: 1, monotonic: Duration::ZERO, quality: ClockQuality::Good, jumps }
    }

    #[test]
    fn jump_shows_once_and_in_no_event_from_before_it() {
        for first in [0, 100, 255_u8] {
            let mut headers = Headers::new(17, 1);
            let mut jumped = |jumps: u8| headers.next(at(first.wrapping_add(jumps))).jumped;
            assert!(!jumped(0), "nothing was before it");
            assert!(!jumped(0));
            assert!(jumped(1));
            // Another worker's, decided before.
            assert!(!jumped(0));
            assert!(!jumped(1));
            assert!(jumped(3));
            assert!(!jumped(3));
        }
    }

    #[test]
    fn jump_is_not_hidden_by_what_the_journal_records_before_it_takes_what_workers_did() {
        let mut headers = Headers::new(17, 1);
        assert!(!headers.own(at(2)).jumped);
        assert!(!headers.next(at(0)).jumped);
        assert!(!headers.own(at(2)).jumped);
        assert!(headers.next(at(1)).jumped && headers.next(at(2)).jumped);
    }

    #[test]
    fn header_says_how_well_the_time_is_known() {
        for &quality in ClockQuality::ALL {
            let header = Headers::new(17, 1).next(Moment { quality, ..at(0) });
            assert_eq!((header.quality, header.wall_us), (quality, 1));
        }
    }
}
