//! The record stream: batches up, acknowledgements down (SPEC 15.3 to 15.7, 15.13).

use std::convert::Infallible;
use std::sync::atomic::Ordering::Relaxed;

use kalitka_protocol::EpochId;
use kalitka_protocol::event::{Body, Event, Events};
use kalitka_protocol::limits::BATCH_FRAME_LEN;
use kalitka_protocol::upstream::{
    Acknowledgement, Batch, Checkpoint, Fork, Pace, batch_signed, checkpoint_signed, kind,
};
use quinn::{Connection, RecvStream, SendStream};
use ring::signature::{ED25519, UnparsedPublicKey};
use tokio::time::sleep;

use crate::connection::Context;
use crate::end::End;
use crate::limits::{ACKNOWLEDGEMENT_PATIENCE, BUSY_AGAIN, KEEP_ALIVE};
use crate::port::{HeadSeen, Leg, Request, Run};
use crate::rate;
use crate::tally::Tally;
use crate::window::{TooManyEpochs, Window};
use crate::wire;

/// The record stream of one connection.
pub(crate) struct Record<'a> {
    pub(crate) context: &'a Context,
    pub(crate) connection: &'a Connection,
    pub(crate) window: &'a Window,
    /// Whether the hello names every epoch of which something waits for the hub.
    pub(crate) names_all: bool,
}

impl Record<'_> {
    /// Sends the legs and then what is committed, batch after batch.
    pub(crate) async fn send(&self, mut stream: SendStream, legs: Vec<Leg>) -> Result<Infallible, End> {
        let mut head = self.context.port.head.clone();
        let mut at = None;
        for leg in legs {
            self.begin(leg)?;
            at = Some(self.drain(&mut stream, leg, None).await?);
        }
        loop {
            let seen = head.wait_for(|seen| seen.is_some_and(|seen| at.is_none_or(|at| is_behind(at, seen)))).await;
            let Some(seen) = *seen.map_err(|_| End::Shutdown)? else { continue };
            let before = at;
            if let Some(old) = at.filter(|at| at.epoch != seen.epoch) {
                // What was committed last before the epoch ended.
                self.drain(&mut stream, old, None).await?;
            }
            let leg = at.filter(|at| at.epoch == seen.epoch).unwrap_or(Leg { epoch: seen.epoch, next: 1 });
            self.begin(leg)?;
            let came_from = before.map(|before| before.epoch).filter(|&before| before != leg.epoch);
            at = Some(self.drain(&mut stream, leg, came_from).await?);
            if at == Some(leg) {
                // The head is ahead of what can be read: the store is being looked after.
                sleep(BUSY_AGAIN).await;
            }
        }
    }

    fn begin(&self, leg: Leg) -> Result<(), End> {
        self.window.begin(leg).map_err(|TooManyEpochs| End::EpochMissed)
    }

    /// Sends what the epoch holds from the leg on; gives where it goes on.
    async fn drain(&self, stream: &mut SendStream, leg: Leg, came_from: Option<EpochId>) -> Result<Leg, End> {
        let Leg { epoch, mut next } = leg;
        loop {
            let bytes_max = self.window.room(rate::pace(self.connection)).await;
            if self.window.is_forked(epoch) {
                return Ok(Leg { epoch, next: u64::MAX });
            }
            let read = |reply| Request::Read { epoch, from: next, bytes_max, reply };
            let run = self.context.port.ask("events", read).await?.map_err(End::Journal)?;
            let Some(run) = run else { return Ok(Leg { epoch, next }) };
            if run.epoch != epoch || run.first < next || run.count == 0 {
                return Err(End::Journal(format!("the journal gave events {} where {next} was asked for", run.first)));
            }
            if let Some(expected) = came_from.filter(|_| run.first == 1) {
                follows(&run, expected)?;
            }
            next = run.last().saturating_add(1);
            self.send_batch(stream, &run).await?;
        }
    }

    async fn send_batch(&self, stream: &mut SendStream, run: &Run) -> Result<(), End> {
        let context = self.context;
        let last = run.last();
        let signed = batch_signed(context.identity.building(), run.epoch, last, &run.hash);
        let batch = Batch {
            epoch: run.epoch,
            first: run.first,
            hash_before: run.hash_before,
            count: run.count,
            events: &run.events,
            hash: run.hash,
            signature: context.identity.key().sign(&signed),
        };
        let len = BATCH_FRAME_LEN + run.events.len();
        let bytes = wire::compose(kind::BATCH, len, |out| batch.emit(out))?;
        // Before it leaves: its acknowledgement cannot come earlier.
        self.window.sent(run, (context.clock)());
        let tally = &context.tally;
        Tally::add(&tally.batches, 1);
        Tally::add(&tally.events, u64::from(run.count));
        Tally::add(&tally.bytes, run.events.len() as u64);
        Tally::add(&tally.resent, context.history.sent(run));
        tally.in_flight.store(self.window.bytes() as u64, Relaxed);
        Ok(stream.write_chunk(bytes.into()).await?)
    }

    /// Takes what the hub says on the stream.
    pub(crate) async fn receive(&self, mut stream: RecvStream) -> Result<Infallible, End> {
        while let Some(message) = wire::read(&mut stream).await? {
            match message.kind {
                kind::ACKNOWLEDGEMENT => self.acknowledged(&message.body).await?,
                kind::FORK => self.forked(&message.body).await?,
                kind::CHECKPOINT => self.checkpoint(&message.body).await?,
                kind::PACE => self.paced(&message.body)?,
                known if kind::is_known(known) => {
                    return Err(End::malformed("the record stream", format!("a message of kind {known}")));
                }
                _ => {}
            }
            self.context.tally.in_flight.store(self.window.bytes() as u64, Relaxed);
        }
        Err(End::malformed("the record stream", "the hub ended it"))
    }

    async fn acknowledged(&self, body: &[u8]) -> Result<(), End> {
        const WHAT: &str = "an acknowledgement";
        let Acknowledgement { epoch, number } = Acknowledgement::parse(body).map_err(|why| End::unparsed(WHAT, why))?;
        self.window.acknowledge(epoch, number).map_err(|why| End::malformed(WHAT, why))?;
        let round_trip = u64::try_from(self.connection.rtt().as_micros()).unwrap_or(u64::MAX);
        self.context.tally.round_trip_us.store(round_trip, Relaxed);
        Tally::add(&self.context.tally.acknowledgements, 1);
        self.context.port.tell(|| Request::Acknowledged { epoch, number }).await;
        Ok(())
    }

    fn paced(&self, body: &[u8]) -> Result<(), End> {
        let Pace { bytes } = Pace::parse(body).map_err(|why| End::unparsed("a pace", why))?;
        self.window.limit(usize::try_from(bytes).unwrap_or(usize::MAX));
        self.context.tally.pace.store(u64::from(bytes), Relaxed);
        Ok(())
    }

    async fn forked(&self, body: &[u8]) -> Result<(), End> {
        let Fork { epoch, number } = Fork::parse(body).map_err(|why| End::unparsed("a fork", why))?;
        self.window.fork(epoch, number).map_err(|why| End::malformed("a fork", why))?;
        Tally::add(&self.context.tally.forks, 1);
        tracing::error!(
            epoch = format_args!("{:016x}", epoch.0),
            number,
            "the hub keeps another event of this identity"
        );
        self.context.port.tell(|| Request::Forked { epoch, number }).await;
        Ok(())
    }

    /// Hands a checkpoint on, if it is of this building and of the pinned key. Another one ends nothing: it proves nothing.
    async fn checkpoint(&self, body: &[u8]) -> Result<(), End> {
        let parsed = Checkpoint::parse(body).map_err(|why| End::unparsed("a checkpoint", why))?;
        let Checkpoint { building, epoch, number, hash, wall_us, signature } = parsed;
        let identity = &self.context.identity;
        let signed = checkpoint_signed(building, epoch, number, &hash, wall_us);
        let key = UnparsedPublicKey::new(&ED25519, identity.hub_key());
        if building == identity.building() && key.verify(&signed, &signature).is_ok() {
            self.context.port.tell(|| Request::Checkpoint { bytes: body.to_vec() }).await;
        } else {
            Tally::add(&self.context.tally.checkpoints_refused, 1);
            tracing::error!(
                building,
                "a checkpoint is not of this building and the pinned hub key; nothing is kept of it"
            );
        }
        Ok(())
    }

    /// Ends when batches stay unacknowledged for too long, or when all are acknowledged and another hello has more to name.
    pub(crate) async fn watch(&self) -> Result<Infallible, End> {
        loop {
            sleep(KEEP_ALIVE).await;
            let now = (self.context.clock)();
            if self.window.oldest().is_none() && !self.names_all {
                return Err(End::EpochMissed);
            }
            if self.window.oldest().is_some_and(|sent| now.saturating_sub(sent) > ACKNOWLEDGEMENT_PATIENCE) {
                return Err(End::Lost("the hub acknowledges nothing; look after its disk".into()));
            }
        }
    }
}

/// Whether `seen` is not yet sent, standing at `at`.
fn is_behind(at: Leg, seen: HeadSeen) -> bool {
    seen.epoch != at.epoch || seen.number >= at.next
}

/// Checks that the epoch which begins with `run` names `expected` as the one before, so that none was passed over.
fn follows(run: &Run, expected: EpochId) -> Result<(), End> {
    let first = Events::new(&run.events).next();
    let first = first.and_then(Result::ok).and_then(|raw| raw.event().ok());
    match first {
        Some(Event { body: Body::EpochBegun(begun), .. }) if begun.before == Some(expected) => Ok(()),
        _ => Err(End::EpochMissed),
    }
}
