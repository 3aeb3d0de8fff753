//! The events of one commit: encoded as they come, numbered when they are committed.

use kalitka_protocol::EpochId;
use kalitka_protocol::event::{Body, Event, EventHeader, Events, kind, renumber};
use kalitka_protocol::limits::EVENT_LEN_MAX;
use kalitka_protocol::wire::Writer;

use crate::limits::{COMMIT_BYTES_MAX, COMMIT_EVENTS_MAX, KEPT_BYTES_MAX};

/// Encoded events, one behind the other, whose identities are not given yet.
#[derive(Debug)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    count: usize,
    scratch: Box<[u8; EVENT_LEN_MAX]>,
}

impl Default for Batch {
    fn default() -> Self {
        Self { bytes: Vec::with_capacity(COMMIT_BYTES_MAX), count: 0, scratch: Box::new([0; EVENT_LEN_MAX]) }
    }
}

impl Batch {
    /// Puts an event behind the others. One that does not fit its layout is left out and said so; the journal's own
    /// events all fit.
    pub(super) fn push(&mut self, header: EventHeader, body: Body<'_>) -> bool {
        let mut writer = Writer::new(&mut self.scratch[..]);
        if (Event { header, body }).emit(&mut writer).is_err() {
            return false;
        }
        let len = writer.len();
        self.bytes.extend_from_slice(&self.scratch[..len]);
        self.count += 1;
        true
    }

    /// Whether a commit should not wait for more.
    pub(super) const fn is_full(&self) -> bool {
        self.count >= COMMIT_EVENTS_MAX || self.bytes.len() >= COMMIT_BYTES_MAX
    }

    /// Whether memory has no more room for what cannot be committed.
    pub(super) const fn is_beyond_keeping(&self) -> bool {
        self.bytes.len() >= KEPT_BYTES_MAX
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) const fn len(&self) -> usize {
        self.count
    }

    /// The events with their identities: of `epoch`, numbers from `first` on.
    pub(super) fn number(&mut self, epoch: EpochId, first: u64) -> &[u8] {
        let mut rest = &mut self.bytes[..];
        let mut number = first;
        while let Some((event, behind)) = split_first(rest) {
            // What this made is whole, and an epoch's beginning has its identity already.
            let _ = renumber(event, epoch, number);
            number += 1;
            rest = behind;
        }
        &self.bytes
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
    }

    /// Forgets all reports: their readers keep them, and send them again.
    pub(super) fn forget_reports(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.count = 0;
        for event in Events::new(&bytes).flatten().filter(|event| event.kind != kind::REPORT) {
            self.bytes.extend_from_slice(event.bytes);
            self.count += 1;
        }
    }
}

/// The first event, by its own length, and what is behind it.
fn split_first(bytes: &mut [u8]) -> Option<(&mut [u8], &mut [u8])> {
    let &[low, high, ..] = &bytes[..] else { return None };
    bytes.split_at_mut_checked(usize::from(u16::from_le_bytes([low, high])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kalitka_protocol::event::{ClockQuality, GatewayStarted, ReportTaken};
    use kalitka_protocol::message::{Report, ReportKind};
    use kalitka_protocol::{BootId, LogId, ReaderId};

    fn header() -> EventHeader {
        EventHeader {
            building: 17,
            epoch: EpochId(1),
            number: 2,
            wall_us: 0,
            monotonic_us: 0,
            gateway_boot: 0,
            quality: ClockQuality::Held,
            jumped: false,
        }
    }

    fn report(number: u64) -> Body<'static> {
        let report = Report {
            log: LogId(7),
            number,
            boot: BootId(0),
            request: 0,
            age_ms: 0,
            count: 0,
            kind: ReportKind::Passed,
            direction: None,
            input: 0,
            unasked: false,
            oldest: false,
            card: None,
        };
        Body::Report(ReportTaken { reader: ReaderId(101), generation: 0, portal: None, report })
    }

    #[test]
    fn events_are_numbered_in_their_order_whatever_they_were_before() {
        let mut batch = Batch::default();
        assert!(batch.push(header(), report(1)) && batch.push(header(), report(2)));
        for first in [2, 900] {
            let numbered = batch.number(EpochId(5), first);
            let identities: Vec<_> =
                Events::new(numbered).map(|event| event.unwrap().header).map(|h| (h.epoch.0, h.number)).collect();
            assert_eq!(identities, [(5, first), (5, first + 1)]);
        }
    }

    #[test]
    fn reports_are_forgotten_and_nothing_else() {
        let mut batch = Batch::default();
        let started = Body::GatewayStarted(GatewayStarted { readers: 1, version: b"0.1.0" });
        assert!(batch.push(header(), report(1)) && batch.push(header(), started) && batch.push(header(), report(2)));
        batch.forget_reports();
        assert_eq!(batch.len(), 1);
        let kinds: Vec<_> = Events::new(batch.number(EpochId(1), 2)).map(|event| event.unwrap().kind).collect();
        assert_eq!(kinds, [kind::GATEWAY_STARTED]);
    }
}
