//! The walk over one epoch, and what is noted on the way for when all have been walked.

use std::collections::{BTreeMap, BTreeSet};

use kalitka_protocol::EpochId;
use kalitka_protocol::event::{Body, EpochBegun, Loss, LossCause, LossClosed, Purged, RawEvent, UNKNOWN_END};
use kalitka_protocol::upstream::batch_signed;
use ring::signature::{ED25519, UnparsedPublicKey};

use super::{EpochSpan, FindingKind, Verified, name};
use crate::limits::PAGE_BYTES_MAX;
use crate::store::{Head, Purge, Record, Signed, Store, StoreError};

/// What epochs say of each other.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Each epoch's beginning.
    begun: Vec<(EpochId, EpochBegun)>,
    losses: Vec<Loss>,
    purged: Vec<Purged>,
    /// Losses that have got their end, by epoch and first number.
    closed: BTreeMap<(EpochId, u64), LossClosed>,
    /// The keys by which records are signed, and the first record of each: its epoch, first and last number.
    signers: BTreeMap<[u8; 32], (EpochId, (u64, u64))>,
    /// Numbers that are missing within the range of a loss of a class: first and last, by epoch.
    thinned: BTreeMap<EpochId, Vec<(u64, u64)>>,
}

/// The walk over one epoch.
pub(super) struct Walk<'a> {
    building: u32,
    epoch: EpochId,
    verified: &'a mut Verified,
    notes: &'a mut Notes,
    /// The next number, if nothing is missing.
    next: u64,
    /// h of the number before; `None` behind a gap.
    hash: Option<[u8; 32]>,
    /// Signatures over numbers that the walk has not reached.
    ahead: BTreeMap<u64, Signed>,
    gaps: Vec<(u64, u64)>,
    span: Option<EpochSpan>,
}

impl<'a> Walk<'a> {
    /// From number 1 on, or from behind what has been purged.
    pub(super) fn new(
        building: u32,
        epoch: EpochId,
        purge: Option<&Purge>,
        verified: &'a mut Verified,
        notes: &'a mut Notes,
    ) -> Self {
        Self {
            building,
            epoch,
            verified,
            notes,
            next: purge.map_or(1, |purge| purge.through + 1),
            hash: Some(purge.map_or([0; 32], |purge| purge.hash)),
            ahead: BTreeMap::new(),
            gaps: Vec::new(),
            span: None,
        }
    }

    /// Walks to the end, which has to be `head`, or what that has become meanwhile; gives the gaps.
    pub(super) fn all(mut self, store: &Store, head: &Head) -> Result<Vec<(u64, u64)>, StoreError> {
        let mut head = *head;
        loop {
            let page = store.history(self.building, self.epoch, self.next, PAGE_BYTES_MAX)?;
            if page.is_empty() {
                // The gateway goes on sending while its history is walked.
                let now = store.head(self.building, self.epoch)?.unwrap_or_default();
                if now == head {
                    break;
                }
                head = now;
            }
            for record in &page {
                self.record(record);
            }
        }
        let last = self.next - 1;
        if (last, self.hash) != (head.last, Some(head.hash)) {
            let text = format!("the store's own note says that the last number is {}", head.last);
            self.find(FindingKind::Forged, (last, last), text);
        }
        for (number, _) in std::mem::take(&mut self.ahead) {
            self.find(FindingKind::Gap, (number, number), "it is signed, and not kept".into());
        }
        self.verified.epochs.extend(self.span);
        Ok(self.gaps)
    }

    fn record(&mut self, record: &Record) {
        if record.first > self.next {
            self.gaps.push((self.next, record.first - 1));
            self.hash = None;
        }
        let numbers = (record.first, record.last());
        if self.hash.is_some_and(|hash| hash != record.hash_before) {
            self.find(FindingKind::Fork, numbers, "it does not continue what stands before it".into());
        }
        self.signature(record);
        let mut hash = record.hash_before;
        let mut count = 0;
        // Of a record that is not whole, the rest of its numbers is missing.
        for placed in record.placed(0) {
            let Ok(placed) = placed else { break };
            hash = placed.hash;
            let number = record.first + count;
            count += 1;
            self.event(&placed.raw, number, hash);
        }
        if count != u64::from(record.count) || hash != record.hash {
            self.find(FindingKind::Forged, numbers, "its events are not those of its hash".into());
        }
        self.next = record.last().saturating_add(1);
        self.hash = Some(record.hash);
    }

    /// The signature has to be by the certificate's key, and over what the chain gives for the number that it names. Each
    /// is verified once for all records of its batch.
    fn signature(&mut self, record: &Record) {
        let (signed, numbers) = (record.signed, (record.first, record.last()));
        self.notes.signers.entry(signed.key).or_insert((self.epoch, numbers));
        let known = self.ahead.get(&signed.number).copied();
        if known != Some(signed) {
            let bytes = batch_signed(self.building, self.epoch, signed.number, &signed.hash);
            if UnparsedPublicKey::new(&ED25519, signed.key).verify(&bytes, &signed.signature).is_err() {
                self.find(FindingKind::Forged, numbers, "its signature does not hold".into());
            }
        }
        if known.is_some_and(|known| known.hash != signed.hash) {
            let text = format!("another hash was signed for number {} before", signed.number);
            self.find(FindingKind::Forged, numbers, text);
        }
        if signed.number < record.last() {
            let text = format!("its signature is over number {} only", signed.number);
            self.find(FindingKind::Forged, numbers, text);
        } else {
            self.ahead.insert(signed.number, signed);
        }
    }

    fn event(&mut self, raw: &RawEvent<'_>, number: u64, hash: [u8; 32]) {
        let header = raw.header;
        self.verified.events += 1;
        if (header.building, header.epoch, header.number) != (self.building, self.epoch, number) {
            self.find(FindingKind::Forged, (number, number), "it has another identity".into());
        }
        if let Some(signed) = self.ahead.remove(&number)
            && signed.hash != hash
        {
            self.find(FindingKind::Forged, (number, number), "its hash is not the one that was signed".into());
        }
        let span = self.span.get_or_insert_with(|| EpochSpan {
            epoch: name(self.epoch),
            first: number,
            last: number,
            events: 0,
            hash: String::new(),
            from_us: header.wall_us,
            to_us: header.wall_us,
        });
        (span.last, span.to_us) = (number, header.wall_us);
        span.events += 1;
        span.hash = hex::encode(hash);
        match raw.event().map(|event| event.body) {
            Ok(body) => self.notes.take(self.epoch, &body),
            Err(error) => self.find(FindingKind::Malformed, (number, number), error.to_string()),
        }
    }

    fn find(&mut self, kind: FindingKind, numbers: (u64, u64), text: String) {
        self.verified.find(kind, self.epoch, numbers, text);
    }
}

impl Notes {
    fn take(&mut self, epoch: EpochId, body: &Body<'_>) {
        match body {
            Body::EpochBegun(begun) => self.begun.push((epoch, *begun)),
            Body::Loss(loss) => self.losses.push(*loss),
            Body::Purged(purged) => self.purged.push(*purged),
            Body::LossClosed(closed) => {
                self.closed.insert((closed.epoch, closed.first), *closed);
            }
            _ => {}
        }
    }

    /// Names what is missing of `epoch` from `gap`: as a loss as far as the gateway recorded one, else as a finding.
    pub(super) fn explain(&mut self, verified: &mut Verified, epoch: EpochId, (first, last): (u64, u64)) {
        let of_epoch = self.losses.iter().filter(|loss| loss.epoch == epoch);
        let whole = of_epoch.filter(|loss| !loss.cause.is_of_own_epoch() && !loss.cause.is_of_a_class());
        let mut spans: Vec<_> = whole.map(|loss| (self.span(loss), false)).collect();
        let purged = self.purged.iter().filter(|purged| purged.epoch == epoch);
        spans.extend(purged.map(|purged| ((purged.first, purged.last), true)));
        spans.sort_unstable();
        let mut next = first;
        for ((from, to), is_purged) in spans {
            if to < next || from > last {
                continue;
            }
            if from > next {
                self.explain_by_class(verified, epoch, (next, from - 1));
            }
            let (from, to) = (from.max(next), to.min(last));
            let epoch = name(epoch);
            if is_purged {
                verified.purged_before.push(format!("epoch {epoch}: {from} to {to} were purged at the gateway"));
            } else {
                verified.losses.push(format!("epoch {epoch}: {from} to {to} are missing, and recorded as lost"));
            }
            next = to.saturating_add(1);
        }
        if next <= last {
            self.explain_by_class(verified, epoch, (next, last));
        }
    }

    /// The same of what no loss tells of as a whole: within the range of a loss of a class it is counted, and judged when
    /// all is known.
    fn explain_by_class(&mut self, verified: &mut Verified, epoch: EpochId, (first, last): (u64, u64)) {
        let mut next = first;
        for (range, _) in self.ranges(epoch) {
            if range.1 < next || range.0 > last {
                continue;
            }
            if range.0 > next {
                unexplained(verified, epoch, (next, range.0 - 1));
            }
            let missing = (range.0.max(next), range.1.min(last));
            self.thinned.entry(epoch).or_default().push(missing);
            next = missing.1 + 1;
        }
        if next <= last {
            unexplained(verified, epoch, (next, last));
        }
    }

    /// Whether losses name everything from `first` to `last` of `epoch`.
    fn names(&self, epoch: EpochId, (first, last): (u64, u64)) -> bool {
        let of_epoch = self.losses.iter().filter(|loss| loss.epoch == epoch);
        let whole = of_epoch.filter(|loss| !loss.cause.is_of_own_epoch() && !loss.cause.is_of_a_class());
        let mut spans: Vec<(u64, u64)> = whole.map(|loss| self.span(loss)).collect();
        spans.sort_unstable();
        let reach =
            |next: u64, (from, to): (u64, u64)| if from <= next { next.max(to.saturating_add(1)) } else { next };
        spans.into_iter().fold(first, reach) > last
    }

    /// The ranges in which events of a class gave way, those that overlap as one, and how many events their losses count.
    fn ranges(&self, epoch: EpochId) -> Vec<((u64, u64), u64)> {
        let losses = self.losses.iter().filter(|loss| loss.epoch == epoch && loss.cause.is_of_a_class());
        let mut losses: Vec<_> = losses.map(|loss| ((loss.first, loss.last), u64::from(loss.count))).collect();
        losses.sort_unstable();
        let mut ranges: Vec<((u64, u64), u64)> = Vec::new();
        for ((first, last), count) in losses {
            match ranges.last_mut().filter(|(range, _)| first <= range.1) {
                Some((range, counted)) => (range.1, *counted) = (range.1.max(last), *counted + count),
                None => ranges.push(((first, last), count)),
            }
        }
        ranges
    }

    /// Judges what is missing within the ranges of losses of a class: not more than those count (SPEC 14.8). Fewer are when
    /// some had come before they gave way.
    pub(super) fn thinned(&self, verified: &mut Verified) {
        let epochs: BTreeSet<EpochId> = self.losses.iter().map(|loss| loss.epoch).collect();
        for epoch in epochs {
            let missing = self.thinned.get(&epoch).map_or(&[][..], Vec::as_slice);
            for ((first, last), count) in self.ranges(epoch) {
                let of_range = missing.iter().filter(|gap| first <= gap.0 && gap.1 <= last);
                let missing: u64 = of_range.map(|(first, last)| last - first + 1).sum();
                if missing > count {
                    let text = format!("{missing} events are missing, and of this range {count} gave way to the bound");
                    verified.find(FindingKind::Gap, epoch, (first, last), text);
                } else {
                    verified.losses.push(format!(
                        "epoch {}: of {first} to {last}, {count} events gave way to the bound, and {missing} are missing",
                        name(epoch)
                    ));
                }
            }
        }
    }

    /// The numbers that `loss` tells of; what the hub held when it was closed is none of them.
    fn span(&self, loss: &Loss) -> (u64, u64) {
        match self.closed.get(&(loss.epoch, loss.first)) {
            Some(closed) if loss.last == UNKNOWN_END => (closed.held.saturating_add(1), UNKNOWN_END),
            _ => (loss.first, loss.last),
        }
    }

    /// Each of the epochs `walked` names the one before, and what stands there is what it names. One that has begun since
    /// the walk is not among them.
    pub(super) fn links(
        &mut self,
        store: &Store,
        walked: impl Iterator<Item = EpochId>,
        purges: &BTreeMap<EpochId, Purge>,
        verified: &mut Verified,
    ) -> Result<(), StoreError> {
        let building = verified.building;
        let forks = store.forks(building)?;
        let begun: BTreeSet<EpochId> = self.begun.iter().map(|(epoch, _)| *epoch).collect();
        for epoch in walked {
            // Its first event has gone with a purge.
            if !begun.contains(&epoch) && !purges.contains_key(&epoch) {
                verified.find(FindingKind::Link, epoch, (1, 1), "it does not say what stands before it".into());
            }
        }
        for (epoch, begun) in &self.begun.clone() {
            let Some(before) = begun.before else { continue };
            if begun.last == 0 {
                continue;
            }
            let Some(head) = store.head(building, before)? else {
                // All of it may be recorded as lost, before anything of it came here.
                if self.names(before, (1, begun.last)) {
                    self.explain(verified, before, (1, begun.last));
                    continue;
                }
                let text = format!("nothing is kept of epoch {}, which it names as the one before", name(before));
                verified.find(FindingKind::Link, *epoch, (1, 1), text);
                continue;
            };
            // It names the gateway's own history, which was refused: from there on its events got new identities (SPEC 15.13).
            let both_have = head.last.min(begun.last);
            if forks.iter().any(|fork| fork.epoch == before && fork.number <= both_have) {
                continue;
            }
            if head.last < begun.last {
                self.explain(verified, before, (head.last + 1, begun.last));
            }
            if let Some(hash) =
                hash_at(store, building, before, begun.last)?.or_else(|| hash_of(purges, before, begun.last))
                && hash != begun.hash
            {
                let text = format!("epoch {} names another history up to this number", name(*epoch));
                verified.find(FindingKind::Fork, before, (begun.last, begun.last), text);
            }
        }
        for closed in self.closed.values().filter(|closed| closed.held >= closed.first) {
            let known = hash_at(store, building, closed.epoch, closed.held)?
                .or_else(|| hash_of(purges, closed.epoch, closed.held));
            let is_gone = purges.get(&closed.epoch).is_some_and(|purge| closed.held < purge.through);
            if known != Some(closed.hash) && !(known.is_none() && is_gone) {
                let text = "a loss was closed with another history up to this number".to_owned();
                verified.find(FindingKind::Fork, closed.epoch, (closed.held, closed.held), text);
            }
        }
        Ok(())
    }

    /// Whoever has signed has to be among those of the certificates: their `keys`, in hex.
    pub(super) fn signers(&self, keys: &BTreeSet<String>, verified: &mut Verified) {
        for (key, (epoch, numbers)) in &self.signers {
            let key = hex::encode(key);
            if !keys.contains(&key) {
                let text =
                    format!("it is the first that is signed by {key}, which no certificate of this building has");
                verified.find(FindingKind::Forged, *epoch, *numbers, text);
            }
        }
    }

    /// Losses without numbers are told; those without an end have to have got one.
    pub(super) fn open_losses(&self, verified: &mut Verified) {
        for loss in &self.losses {
            let (epoch, first) = (loss.epoch, loss.first);
            if loss.cause.is_of_own_epoch() {
                let text =
                    format!("epoch {}: {} events were never taken: {}", name(epoch), loss.count, loss.cause.label());
                verified.losses.push(text);
            } else if loss.last == UNKNOWN_END && loss.cause == LossCause::Damaged {
                match self.closed.get(&(epoch, first)) {
                    Some(closed) => verified.losses.push(format!(
                        "epoch {}: what its store held behind {} is not known, and recorded as lost",
                        name(epoch),
                        closed.held
                    )),
                    None => verified.find(
                        FindingKind::OpenLoss,
                        epoch,
                        (first, UNKNOWN_END),
                        "the gateway has lost what came from here on, and has not said yet what it is".into(),
                    ),
                }
            }
        }
    }
}

fn unexplained(verified: &mut Verified, epoch: EpochId, (first, last): (u64, u64)) {
    verified.find(FindingKind::Gap, epoch, (first, last), format!("{} events are missing", last - first + 1));
}

/// h of the last number that was purged, when that is it.
fn hash_of(purges: &BTreeMap<EpochId, Purge>, epoch: EpochId, number: u64) -> Option<[u8; 32]> {
    purges.get(&epoch).filter(|purge| purge.through == number).map(|purge| purge.hash)
}

/// h of `number`; `None` when it is not kept.
fn hash_at(store: &Store, building: u32, epoch: EpochId, number: u64) -> Result<Option<[u8; 32]>, StoreError> {
    let Some(record) = store.holding(building, epoch, number)? else { return Ok(None) };
    let placed = record.placed(0).flatten().find(|placed| placed.raw.header.number == number);
    Ok(placed.map(|placed| placed.hash))
}
