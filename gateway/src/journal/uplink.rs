//! What the uplink asks for: where to go on, events, and what the hub has made of them (SPEC 15.4 to 15.6, 15.13).

use kalitka_outbox::{NewEpochWhy, Resume};
use kalitka_protocol::EpochId;
use kalitka_protocol::event::Body;
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

    /// The hello of a connection, once there is something to say.
    fn hello(&mut self) -> Option<Hello> {
        let generation = self.generation();
        let outbox = self.store.readable()?;
        let head = outbox.head();
        let epochs = outbox.epochs();
        let present = epochs.iter().find(|of| of.epoch == head.epoch)?;
        let mut earlier = Earlier::new();
        for of in epochs.iter().filter(|of| of.epoch != head.epoch) {
            // More than fit: the newest are named, and the others when those are gone.
            if earlier.push(of.epoch).is_err() {
                break;
            }
        }
        Some(Hello {
            building: self.building,
            epoch: head.epoch,
            last: head.number,
            hash: head.hash,
            oldest: present.oldest,
            generation,
            earlier,
        })
    }

    /// What follows from the hub's position is durable before anything is sent by it.
    fn resume(&mut self, position: &Position) -> Result<Vec<Leg>, String> {
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
