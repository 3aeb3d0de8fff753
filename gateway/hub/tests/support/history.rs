//! A gateway's history: events with identities, chain and signatures.

use kalitka_protocol::event::{
    Body, ClockQuality, EpochBegun, Event, EventHeader, Loss, LossCause, LossClosed, ReportTaken, chain,
};
use kalitka_protocol::message::{Report, ReportKind};
use kalitka_protocol::reason::Direction;
use kalitka_protocol::upstream::{Batch, batch_signed, kind, message};
use kalitka_protocol::wire::Writer;
use kalitka_protocol::{BootId, EpochId, LogId, ReaderId};
use ring::signature::Ed25519KeyPair;

/// The events of one epoch.
#[derive(Clone, Debug)]
pub(crate) struct History {
    pub(crate) building: u32,
    pub(crate) epoch: EpochId,
    /// Event n is at n - 1.
    pub(crate) events: Vec<Vec<u8>>,
    /// h(n) is at n.
    pub(crate) hashes: Vec<[u8; 32]>,
    /// About when the next events happen, microseconds since 1970.
    pub(crate) wall_us: i64,
}

impl History {
    /// With its first event, which names `before` as the epoch before.
    pub(crate) fn begin(building: u32, epoch: u64, before: Option<&History>) -> Self {
        let wall_us = 1_700_000_000_000_000;
        let mut history = Self { building, epoch: EpochId(epoch), events: Vec::new(), hashes: vec![[0; 32]], wall_us };
        let named = EpochBegun {
            before: before.map(|before| before.epoch),
            last: before.map_or(0, History::last),
            hash: before.map_or([0; 32], |before| before.hash(before.last())),
        };
        history.push(Body::EpochBegun(named));
        history
    }

    /// A first epoch of `last` events.
    pub(crate) fn of(building: u32, epoch: u64, last: u64) -> Self {
        let mut history = Self::begin(building, epoch, None);
        history.grow(last);
        history
    }

    /// Adds reports until `last` is the last number.
    pub(crate) fn grow(&mut self, last: u64) {
        while self.last() < last {
            self.report(0);
        }
    }

    pub(crate) fn last(&self) -> u64 {
        self.events.len() as u64
    }

    pub(crate) fn hash(&self, number: u64) -> [u8; 32] {
        self.hashes[usize::try_from(number).unwrap()]
    }

    /// Adds a pass; histories with another `salt` have other hashes from here on.
    pub(crate) fn report(&mut self, salt: u32) {
        let number = self.last() + 1;
        self.push(Body::Report(ReportTaken {
            reader: ReaderId(101),
            generation: 3,
            portal: Some(0),
            report: Report {
                log: LogId(self.epoch.0 ^ 0xff),
                number,
                boot: BootId(9),
                request: u32::try_from(number).unwrap(),
                age_ms: salt,
                count: 0,
                kind: ReportKind::Passed,
                direction: Some(Direction::Entry),
                input: 0,
                unasked: false,
                oldest: number == 2,
                card: None,
            },
        }));
    }

    pub(crate) fn loss(&mut self, epoch: EpochId, range: (u64, u64), cause: LossCause) {
        self.loss_of(epoch, range, cause, 0);
    }

    pub(crate) fn loss_of(&mut self, epoch: EpochId, (first, last): (u64, u64), cause: LossCause, count: u32) {
        self.push(Body::Loss(Loss { epoch, first, last, cause, count }));
    }

    pub(crate) fn loss_closed(&mut self, epoch: EpochId, first: u64, held: u64, hash: [u8; 32]) {
        self.push(Body::LossClosed(LossClosed { epoch, first, held, hash }));
    }

    pub(crate) fn push(&mut self, body: Body<'_>) {
        let number = self.last() + 1;
        let header = EventHeader {
            building: self.building,
            epoch: self.epoch,
            number,
            wall_us: self.wall_us + i64::try_from(number).unwrap() * 1000,
            monotonic_us: number * 1000,
            gateway_boot: 7,
            quality: ClockQuality::Good,
            jumped: false,
        };
        let mut bytes = [0; 4096];
        let mut out = Writer::new(&mut bytes);
        Event { header, body }.emit(&mut out).unwrap();
        let len = out.len();
        self.push_raw(bytes[..len].to_vec());
    }

    /// Adds bytes as an event, whatever they are.
    pub(crate) fn push_raw(&mut self, event: Vec<u8>) {
        self.hashes.push(chain(&self.hash(self.last()), &event));
        self.events.push(event);
    }

    /// The batch of `first` to `last`, signed by `key`, as a message.
    pub(crate) fn batch(&self, (first, last): (u64, u64), key: &Ed25519KeyPair) -> Vec<u8> {
        self.batch_with((first, last), key, |_| {})
    }

    /// As [`batch`](Self::batch), changed before it is written.
    pub(crate) fn batch_with(
        &self,
        (first, last): (u64, u64),
        key: &Ed25519KeyPair,
        change: impl FnOnce(&mut Batch<'_>),
    ) -> Vec<u8> {
        let place = |number: u64| usize::try_from(number).unwrap();
        let events = self.events[place(first) - 1..place(last)].concat();
        let hash = self.hash(last);
        let signed = batch_signed(self.building, self.epoch, last, &hash);
        let mut batch = Batch {
            epoch: self.epoch,
            first,
            hash_before: self.hash(first - 1),
            count: u32::try_from(last - first + 1).unwrap(),
            events: &events,
            hash,
            signature: key.sign(&signed).as_ref().try_into().unwrap(),
        };
        change(&mut batch);
        let mut bytes = vec![0; 8 + 152 + events.len()];
        let mut out = Writer::new(&mut bytes);
        message(kind::BATCH, &mut out, |out| batch.emit(out)).unwrap();
        bytes
    }
}
