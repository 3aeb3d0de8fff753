//! What a worker does with datagrams, in two steps: a batch is opened first, then decided and sealed. While one is opened
//! the memory that the decision about another will look at is on its way.

use std::net::SocketAddr;

use kalitka_protocol::SessionId;
use kalitka_protocol::datagram::{self, Datagram, Handshake, Sealed};
use kalitka_protocol::handshake::Welcome;
use kalitka_protocol::limits::{DATAGRAM_MAX, HANDSHAKE_LEN, SEALED_HEADER_LEN, TAG_LEN};
use kalitka_protocol::reason::FallBack;
use kalitka_protocol::wire::{Malformed, Writer};

use super::{Entropy, Worker, World, schedule};
use crate::exchange::Exchange;
use crate::handshake::{Ephemeral, Responder};
use crate::keys::ReaderKeys;
use crate::output::{DropReason, Effect, Outcome, Output};
use crate::reader::{Reader, Which};
use crate::session::{Place, Session};
use crate::time::Now;

/// What the first step makes of a datagram.
#[derive(Debug)]
pub enum Opening {
    /// It holds authentic messages, for [`Worker::answer`].
    Sealed(Opened),
    /// It is an initiation of a reader that has a key; its tag has not been looked at. [`Worker::shake_hands`] does all of
    /// it, which takes up to 0.3 ms when it is honest: the others of a batch are better answered before.
    Initiation,
    /// Nothing is left to do.
    Over(Outcome),
}

/// A datagram that has been opened, not yet answered. Its messages wait in the [`Output`] that it was opened with.
#[derive(Debug)]
pub struct Opened {
    /// The reader's place at the worker.
    place: u16,
    /// The session in which it came.
    serial: u64,
}

impl Worker {
    /// Takes one `datagram` that came from `from`, opening it in place, and leaves in `out` what comes of it, whatever the
    /// outcome. Neither fails nor blocks. [`open`](Self::open) and what follows from it.
    pub fn handle(
        &mut self,
        world: &World<'_>,
        now: Now,
        from: SocketAddr,
        datagram: &mut [u8],
        out: &mut Output,
    ) -> Outcome {
        match self.open(world, now, from, datagram, out) {
            Opening::Sealed(opened) => self.answer(world, now, from, opened, out),
            Opening::Initiation => self.shake_hands(world, now, from, datagram, out),
            Opening::Over(outcome) => outcome,
        }
    }

    /// The first step: everything up to the plaintext of `datagram`, which is opened in place. Begins `out` anew.
    ///
    /// Several datagrams, each with an `out` of its own, may be opened before the first is answered.
    pub fn open(
        &mut self,
        world: &World<'_>,
        now: Now,
        from: SocketAddr,
        datagram: &mut [u8],
        out: &mut Output,
    ) -> Opening {
        out.clear();
        self.follow(world.keys);
        self.sweep(now.monotonic);
        if datagram.len() > DATAGRAM_MAX {
            return Opening::Over(Outcome::Dropped(DropReason::Oversized));
        }
        let opening = match Datagram::parse(datagram) {
            Ok(Datagram::Sealed(sealed)) => self.open_sealed(Arrival { world, now, from }, sealed, out),
            Ok(Datagram::Initiation(initiation)) => match world.keys.get(initiation.reader) {
                Some(_) => Ok(Opening::Initiation),
                None => Err(DropReason::HandshakeUnknownReader),
            },
            Ok(Datagram::Response(_)) => Err(DropReason::NotForGateway),
            Err(malformed) => Err(unparsed(malformed)),
        };
        opening.unwrap_or_else(|reason| Opening::Over(Outcome::Dropped(reason)))
    }

    /// The second step: takes the messages that were `opened`, and leaves what comes of them in the same `out`. The session
    /// may have gone or moved since; then they are dropped.
    pub fn answer(
        &mut self,
        world: &World<'_>,
        now: Now,
        from: SocketAddr,
        opened: Opened,
        out: &mut Output,
    ) -> Outcome {
        self.take(Arrival { world, now, from }, opened, out).unwrap_or_else(Outcome::Dropped)
    }

    /// Takes a `datagram` that is an initiation, and leaves in `out` what comes of it. The cheapest check comes first:
    /// nothing but its tag is looked at of one that is forged.
    pub fn shake_hands(
        &mut self,
        world: &World<'_>,
        now: Now,
        from: SocketAddr,
        datagram: &mut [u8],
        out: &mut Output,
    ) -> Outcome {
        let outcome = match Datagram::parse(datagram) {
            Ok(Datagram::Initiation(initiation)) => {
                self.take_initiation(Arrival { world, now, from }, &initiation, out)
            }
            Ok(Datagram::Sealed(_) | Datagram::Response(_)) => Err(DropReason::NotForGateway),
            Err(malformed) => Err(unparsed(malformed)),
        };
        outcome.unwrap_or_else(Outcome::Dropped)
    }

    fn open_sealed(
        &mut self,
        Arrival { world, now, from }: Arrival<'_>,
        sealed: Sealed<'_>,
        out: &mut Output,
    ) -> Result<Opening, DropReason> {
        let Place { worker, index } = Place::of(sealed.session);
        if worker != self.index && worker < self.workers {
            return Ok(Opening::Over(Outcome::HandOver { worker }));
        }
        // A number that names no worker is no session's here either.
        let reader = self.readers.get_mut(usize::from(index)).and_then(Option::as_mut);
        let reader = reader.ok_or(DropReason::UnknownSession)?;
        let (which, session) = reader.session(sealed.session, now.monotonic).ok_or(DropReason::UnknownSession)?;
        let plaintext = session.open(now.monotonic, from, sealed)?;
        let (serial, firmware) = (session.serial, session.firmware);
        if which == Which::Pending {
            reader.promote(now.monotonic);
            schedule(&mut self.due, index, reader);
            out.effects.note(Effect::SessionOpened { reader: reader.id, address: from, firmware });
        }
        reader.tally.hear(now.monotonic);
        reader.check_address(from)?;
        out.requests.read(plaintext)?;
        if let Some(view) = world.view {
            view.prefetch(reader.id, out.requests.cards());
        }
        Ok(Opening::Sealed(Opened { place: index, serial }))
    }

    fn take(
        &mut self,
        Arrival { world, now, from }: Arrival<'_>,
        Opened { place, serial }: Opened,
        out: &mut Output,
    ) -> Result<Outcome, DropReason> {
        let reader = self.readers.get_mut(usize::from(place)).and_then(Option::as_mut);
        let reader = reader.ok_or(DropReason::UnknownSession)?;
        let boot = reader.boot_of(serial, now.monotonic).ok_or(DropReason::UnknownSession)?;
        reader.check_address(from)?;
        // A datagram of the old session is answered in the current one: the reader has that, for it has used it.
        let Reader { id, answers: Some(answers), current: Some(session), commands, tally, pulse, .. } = reader else {
            return Err(DropReason::UnknownSession);
        };
        let Output { datagram, effects, requests, .. } = &mut *out;
        let mut replies = Writer::new(&mut datagram[SEALED_HEADER_LEN..DATAGRAM_MAX - TAG_LEN]);
        let mut exchange = Exchange { world, now, reader: *id, boot, answers, commands, effects, tally, pulse };
        exchange.take(requests, &mut replies);
        let outcome = match replies.len() {
            0 => Ok(Outcome::Silent),
            len => session.seal(now.monotonic, &mut out.datagram, len).map(|len| out.reply(len)),
        };
        schedule(&mut self.due, place, reader);
        outcome
    }

    fn take_initiation(
        &mut self,
        arrival: Arrival<'_>,
        initiation: &Handshake<'_>,
        out: &mut Output,
    ) -> Result<Outcome, DropReason> {
        let keys = arrival.world.keys.get(initiation.reader).ok_or(DropReason::HandshakeUnknownReader)?;
        if !keys.tags.verify_initiation(initiation) {
            return Err(DropReason::HandshakeForged);
        }
        let worker = self.owner(initiation.reader);
        if worker != self.index {
            return Ok(Outcome::HandOver { worker });
        }
        let index = *self.places.get(&initiation.reader).ok_or(DropReason::HandshakeUnknownReader)?;
        let reader = self.readers.get_mut(usize::from(index)).and_then(Option::as_mut);
        let reader = reader.ok_or(DropReason::HandshakeUnknownReader)?;
        // Taken before the costly part, so that not even a holder of the key makes the gateway work more often.
        reader.take_stamp(initiation.stamp, arrival.now.monotonic)?;
        out.effects.note(Effect::StampTaken { reader: reader.id, stamp: initiation.stamp });
        let mut ephemeral = Ephemeral([0; 32]);
        self.entropy.fill(&mut ephemeral.0);
        let responder = Responder::read(&self.noise, &keys.psk, initiation, ephemeral)?;
        let number = unused_number(Place { worker, index }, reader, &mut *self.entropy);
        self.agreed += 1;
        let response = respond(reader, number, self.agreed, responder, arrival, keys)?;
        out.datagram[..HANDSHAKE_LEN].copy_from_slice(&response);
        Ok(out.reply(HANDSHAKE_LEN))
    }
}

/// A datagram's circumstances.
#[derive(Clone, Copy)]
struct Arrival<'a> {
    world: &'a World<'a>,
    now: Now,
    from: SocketAddr,
}

/// A number for a new session of `reader` that none of its living sessions has.
fn unused_number(place: Place, reader: &Reader, entropy: &mut dyn Entropy) -> SessionId {
    let mut random = [0; 4];
    entropy.fill(&mut random);
    let mut number = place.session(u32::from_le_bytes(random));
    // At most as often as the reader has sessions.
    while reader.has(number) {
        number = place.next(number);
    }
    number
}

/// Agrees on session `number` with `reader`; gives the response.
fn respond(
    reader: &mut Reader,
    number: SessionId,
    serial: u64,
    responder: Responder,
    Arrival { world, now, from }: Arrival<'_>,
    keys: &ReaderKeys,
) -> Result<[u8; HANDSHAKE_LEN], DropReason> {
    let fall_back =
        world.view.and_then(|view| view.reader(reader.id)).map_or(FallBack::Closed, |served| served.fall_back);
    let welcome = Welcome { session: number, fall_back_after_ms: world.fall_back_after_ms, fall_back };
    let (hello, stamp) = (responder.hello, responder.stamp);
    let (noise, session_keys) = responder.answer(&welcome)?;
    reader.agree(Session::new(number, serial, hello, now.monotonic, from, session_keys));
    let mut response = datagram::emit_response(reader.id, stamp, &noise);
    keys.tags.tag_response(&mut response);
    Ok(response)
}

/// The reason by which a datagram that is not laid out as one is counted.
fn unparsed(malformed: Malformed) -> DropReason {
    match malformed {
        Malformed::Version => DropReason::Version,
        Malformed::UnknownType => DropReason::UnknownType,
        Malformed::Truncated(_) | Malformed::Value(_) | Malformed::Trailing(_) => DropReason::Malformed,
    }
}
