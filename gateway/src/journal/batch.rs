//! The events of one commit: encoded as they come, and numbered at once when it is known from where on.

use kalitka_protocol::EpochId;
use kalitka_protocol::event::{Body, Event, EventHeader, Events, kind, renumber};
use kalitka_protocol::limits::EVENT_LEN_MAX;
use kalitka_protocol::wire::Writer;

use crate::limits::{COMMIT_BYTES_MAX, COMMIT_EVENTS_MAX, KEPT_BYTES_MAX};

/// Encoded events, one behind the other.
#[derive(Debug)]
pub(super) struct Batch {
    /// Room, of which the first `filled` bytes are events.
    room: Vec<u8>,
    filled: usize,
    count: usize,
    /// Identity of the first event, when all have theirs from it on.
    first: Option<(EpochId, u64)>,
    tells: bool,
    /// Loss records among the events.
    losses: u64,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            room: vec![0; COMMIT_BYTES_MAX + EVENT_LEN_MAX],
            filled: 0,
            count: 0,
            first: None,
            tells: false,
            losses: 0,
        }
    }
}

impl Batch {
    /// Puts an event behind the others. One that does not fit its layout is left out and said so; the journal's own
    /// events all fit.
    pub(super) fn push(&mut self, mut header: EventHeader, body: Body<'_>) -> bool {
        if let Some((epoch, first)) = self.first {
            (header.epoch, header.number) = (epoch, first + self.count as u64);
        }
        if self.room.len() - self.filled < EVENT_LEN_MAX {
            self.room.resize(self.room.len() * 2, 0);
        }
        let (tells, is_loss) = (matches!(body, Body::Report(_) | Body::Command(_)), matches!(body, Body::Loss(_)));
        let mut writer = Writer::new(&mut self.room[self.filled..]);
        if (Event { header, body }).emit(&mut writer).is_err() {
            return false;
        }
        self.filled += writer.len();
        self.count += 1;
        self.tells |= tells;
        self.losses += u64::from(is_loss);
        true
    }

    /// Whether a commit should not wait for more.
    pub(super) const fn is_full(&self) -> bool {
        self.count >= COMMIT_EVENTS_MAX || self.filled >= COMMIT_BYTES_MAX
    }

    /// Whether memory has no more room for what cannot be committed.
    pub(super) const fn is_beyond_keeping(&self) -> bool {
        self.filled >= KEPT_BYTES_MAX
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) const fn len(&self) -> usize {
        self.count
    }

    /// Whether some of the events tell the fold anything.
    pub(super) const fn tells(&self) -> bool {
        self.tells
    }

    /// How many of the events are loss records.
    pub(super) const fn losses(&self) -> u64 {
        self.losses
    }

    /// The events with their identities: of `epoch`, numbers from `first` on.
    pub(super) fn number(&mut self, epoch: EpochId, first: u64) -> &[u8] {
        if self.first != Some((epoch, first)) {
            let mut rest = &mut self.room[..self.filled];
            let mut number = first;
            while let Some((event, behind)) = split_first(rest) {
                // What this made is whole, and an epoch's beginning has its identity already.
                let _ = renumber(event, epoch, number);
                number += 1;
                rest = behind;
            }
            self.first = Some((epoch, first));
        }
        &self.room[..self.filled]
    }

    /// Empties it. What comes is numbered from `next` on, if that is known by now, and else when it is committed.
    pub(super) fn clear(&mut self, next: Option<(EpochId, u64)>) {
        (self.filled, self.count, self.first, self.tells, self.losses) = (0, 0, next, false, 0);
    }

    /// Forgets all reports: their readers keep them, and send them again.
    pub(super) fn forget_reports(&mut self) {
        let events = self.room[..self.filled].to_vec();
        self.clear(None);
        for event in Events::new(&events).flatten().filter(|event| event.kind != kind::REPORT) {
            self.room[self.filled..][..event.bytes.len()].copy_from_slice(event.bytes);
            self.filled += event.bytes.len();
            self.count += 1;
            self.tells |= event.kind == kind::COMMAND;
            self.losses += u64::from(event.kind == kind::LOSS);
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
    use crate::journal::tests::rig;
    use kalitka_protocol::ReaderId;
    use kalitka_protocol::event::{ClockQuality, GatewayStarted, Loss, LossCause, ReportTaken};

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
        let report = rig::report(number, false);
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
    fn loss_records_are_counted_and_outlive_reports_that_are_forgotten() {
        let loss = Loss { epoch: EpochId(1), first: 0, last: 0, cause: LossCause::RingFull, count: 5 };
        let mut batch = Batch::default();
        for body in [Body::Loss(loss), report(1), Body::Loss(loss)] {
            assert!(batch.push(header(), body));
        }
        assert_eq!((batch.len(), batch.losses()), (3, 2));
        batch.forget_reports();
        assert_eq!((batch.len(), batch.losses()), (2, 2));
        batch.clear(None);
        assert_eq!(batch.losses(), 0);
    }

    #[test]
    fn events_that_were_numbered_as_they_came_are_the_same() {
        let (mut early, mut late) = (Batch::default(), Batch::default());
        early.clear(Some((EpochId(5), 900)));
        for number in 1..=3 {
            assert!(early.push(header(), report(number)) && late.push(header(), report(number)));
        }
        assert_eq!(early.number(EpochId(5), 900), late.number(EpochId(5), 900));
        assert_eq!(early.number(EpochId(6), 2), late.number(EpochId(6), 2), "a guess that was wrong does no harm");
    }

    #[test]
    fn reports_are_forgotten_and_nothing_else() {
        let mut batch = Batch::default();
        let started = Body::GatewayStarted(GatewayStarted { readers: 1, version: b"0.1.0" });
        assert!(batch.push(header(), report(1)) && batch.push(header(), started) && batch.push(header(), report(2)));
        batch.forget_reports();
        assert_eq!((batch.len(), batch.tells()), (1, false));
        let kinds: Vec<_> = Events::new(batch.number(EpochId(1), 2)).map(|event| event.unwrap().kind).collect();
        assert_eq!(kinds, [kind::GATEWAY_STARTED]);
    }
}
