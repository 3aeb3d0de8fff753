//! What the uplink asks for: where to go on, events, and what the hub has made of them (SPEC 15.4 to 15.6, 15.13).

use kalitka_outbox::{EpochSummary, NewEpochWhy, Resume};
use kalitka_protocol::EpochId;
use kalitka_protocol::event::Body;
use kalitka_protocol::limits::EARLIER_EPOCHS_MAX;
use kalitka_protocol::upstream::{Earlier, Hello, Position};
use kalitka_uplink::{Leg, Request, Run};

use super::writer::Journal;
use crate::durable;
use crate::metrics::names;

/// Name of the hub's newest checkpoint in the state folder.
const HUB_CHECKPOINT: &str = "hub.checkpoint";

impl Journal {
    /// Does what the uplink asks. A reply that is dropped tells it to ask again on a new connection.
    pub(super) fn serve(&mut self, request: Request) {
        match request {
            Request::Standing { reply } => {
                if let Some(hello) = self.hello() {
                    let _ = reply.send(hello);
                }
            }
            Request::Position { position, reply } => {
                let _ = reply.send(self.resume(&position));
            }
            Request::Read { epoch, from, bytes_max, reply } => {
                let _ = reply.send(self.read(epoch, from, bytes_max));
            }
            Request::Acknowledged { epoch, number } => self.acknowledged(epoch, number),
            Request::Forked { epoch, number } => {
                if let Err(error) = self.reissue(epoch, number) {
                    tracing::error!(error, "events that the hub has otherwise could not get new identities yet");
                }
            }
            Request::Command { envelope, reply } => self.command(&envelope, reply),
            // Goes to the adopter, not here; dropped, it is asked again.
            Request::Snapshot { .. } => {}
            Request::Checkpoint { bytes } => {
                if let Err(error) = durable::replace(&self.state.join(HUB_CHECKPOINT), &bytes) {
                    tracing::warn!(%error, "cannot keep the hub's checkpoint; the next one comes within the hour");
                }
            }
        }
    }

    /// The hello of a connection, once there is something to say, and whether it names every epoch of which something waits.
    fn hello(&mut self) -> Option<(Hello, bool)> {
        let generation = self.generation();
        let outbox = self.store.readable()?;
        let head = outbox.head();
        let epochs = outbox.epochs();
        let present = epochs.iter().find(|of| of.epoch == head.epoch)?;
        let (earlier, names_all) = earlier(epochs.iter().filter(|of| of.epoch != head.epoch));
        let hello = Hello {
            building: self.building,
            epoch: head.epoch,
            last: head.number,
            hash: head.hash,
            oldest: present.oldest,
            generation,
            earlier,
        };
        Some((hello, names_all))
    }

    /// What follows from the hub's position is durable before anything is sent by it.
    fn resume(&mut self, position: &Position) -> Result<Vec<Leg>, String> {
        // It rules: a hub that was set back no longer has what it once acknowledged.
        self.acknowledged.clear();
        self.commit();
        let now = self.clock.monotonic();
        let outbox = self.store.readable().ok_or("the outbox is not open")?;
        let resumed = outbox.resume(position);
        let Resume { legs, begin_epoch, closes, lost } = resumed.map_err(|error| self.store.failed(&error, now))?;
        let is_to_record = begin_epoch.is_some() || !closes.is_empty() || !lost.is_empty();
        let mut legs: Vec<_> = legs.into_iter().map(|leg| Leg { epoch: leg.epoch, next: leg.next }).collect();
        // What is lost is found once; it waits in the batch, whatever becomes of the rest.
        lost.into_iter().for_each(|loss| self.push_now(Body::Loss(loss)));
        if is_to_record && !self.store.is_taking() {
            // The rest is found again at the next position.
            return self.commit_or_fail().map(|()| Vec::new());
        }
        if let Some(why) = begin_epoch {
            self.store.begin_epoch(why)?;
        }
        if is_to_record {
            closes.into_iter().for_each(|closed| self.push_now(Body::LossClosed(closed)));
            self.commit_or_fail()?;
        }
        if begin_epoch.is_some() {
            let head = self.store.outbox().ok_or("the outbox is not open")?.head();
            legs.retain(|leg| leg.epoch != head.epoch);
            legs.push(Leg { epoch: head.epoch, next: 1 });
        }
        Ok(legs)
    }

    fn read(&mut self, epoch: EpochId, from: u64, bytes_max: usize) -> Result<Option<Run>, String> {
        let now = self.clock.monotonic();
        let outbox = self.store.readable().ok_or("the outbox is not open")?;
        let run = outbox.read(epoch, from, bytes_max).map_err(|error| self.store.failed(&error, now))?;
        Ok(run.map(|run| Run {
            epoch: run.epoch,
            first: run.first,
            hash_before: run.hash_before,
            events: run.events,
            count: run.count,
            hash: run.hash,
        }))
    }

    fn acknowledged(&mut self, epoch: EpochId, number: u64) {
        let known = self.acknowledged.entry(epoch).or_default();
        *known = number.max(*known);
        self.take_acknowledgement(epoch, number);
    }

    /// Tells a store that was opened anew what the hub has acknowledged meanwhile, or the store has forgotten.
    pub(super) fn acknowledge_again(&mut self) {
        for (epoch, number) in self.acknowledged.clone() {
            let head = self.store.readable().map(|outbox| outbox.head());
            // Of the present epoch it may have lost what the hub has; the next position says so.
            if head.is_some_and(|head| head.epoch != epoch || number <= head.number) {
                self.take_acknowledgement(epoch, number);
            }
        }
    }

    fn take_acknowledgement(&mut self, epoch: EpochId, number: u64) {
        let now = self.clock.monotonic();
        if let Some(outbox) = self.store.readable()
            && let Err(error) = outbox.acknowledge(epoch, number)
        {
            let error = self.store.failed(&error, now);
            tracing::warn!(error, "an acknowledgement was not taken");
        }
    }

    /// Gives the events of `epoch` from `number` on new identities: the hub has others under these.
    fn reissue(&mut self, epoch: EpochId, number: u64) -> Result<(), String> {
        self.commit_or_fail()?;
        let outbox = self.store.outbox().ok_or("the outbox is not open")?;
        if outbox.head().epoch == epoch {
            self.store.begin_epoch(NewEpochWhy::HubOther)?;
            self.commit_or_fail()?;
        }
        let outbox = self.store.outbox().ok_or("the outbox is not open")?;
        let now = self.clock.monotonic();
        let moved = outbox.reissue(epoch, number).map_err(|error| self.store.not_taken(&error, now))?;
        metrics::counter!(names::OUTBOX_REISSUED).increment(moved);
        tracing::error!(
            epoch = format!("{:016x}", epoch.0),
            number,
            moved,
            "the hub has other events under these identities; ours got new ones"
        );
        self.show_head();
        Ok(())
    }
}

/// Of `epochs`, newest first, those that a hello names, and whether they are all of which something waits for the hub. Of
/// more than it has room for the oldest that wait come first: the hub takes their events and closes their losses, and the
/// next hello names others.
fn earlier<'a>(epochs: impl DoubleEndedIterator<Item = &'a EpochSummary> + Clone) -> (Earlier, bool) {
    let waits = |of: &&EpochSummary| of.acknowledged < of.last || of.loss_open.is_some();
    let waiting = epochs.clone().filter(waits).count();
    let (old, others) = (epochs.clone().rev().filter(waits), epochs.clone().filter(|of| !waits(of)));
    let others = others.take(EARLIER_EPOCHS_MAX.saturating_sub(waiting));
    let named: Vec<_> = old.take(EARLIER_EPOCHS_MAX).chain(others).map(|of| of.epoch).collect();
    let mut earlier = Earlier::new();
    let have_room = epochs.filter(|of| named.contains(&of.epoch)).all(|of| earlier.push(of.epoch).is_ok());
    (earlier, have_room && waiting <= EARLIER_EPOCHS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hello_names_what_waits_first_and_says_when_it_has_no_room_for_all() {
        let epoch = |number: u64, waits: bool, loss_open: bool| EpochSummary {
            epoch: EpochId(number),
            oldest: 1,
            last: 5,
            hash: [0; 32],
            acknowledged: if waits { 4 } else { 5 },
            loss_open: loss_open.then_some(6),
        };
        // Of how many earlier epochs, which wait; which are named, newest first, and whether all are.
        let cases: [(u64, Vec<u64>, Vec<u64>, bool); 5] = [
            (0, vec![], vec![], true),
            (15, vec![3], (1..=15).rev().collect(), true),
            (20, vec![1, 2], (8..=20).chain([1, 2]).rev().collect::<Vec<_>>(), true),
            (20, (1..=20).collect(), (1..=15).rev().collect(), false),
            (30, (10..=25).collect(), (10..=24).rev().collect(), false),
        ];
        for (count, waiting, mut expected, all) in cases {
            expected.sort_unstable_by(|one, other| other.cmp(one));
            let waits = |number| waiting.contains(&number);
            let epochs: Vec<_> =
                (1..=count).rev().map(|n| epoch(n, waits(n) && n % 2 == 0, waits(n) && n % 2 == 1)).collect();
            let (named, names_all) = earlier(epochs.iter());
            let named: Vec<_> = named.as_slice().iter().map(|epoch| epoch.0).collect();
            assert_eq!((named, names_all), (expected, all), "{count} {waiting:?}");
        }
    }
}
