//! One thread's share of the readers: datagrams in, at most one datagram and some effects out.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use kalitka_protocol::limits::{DATAGRAM_MAX, SEALED_HEADER_LEN, TAG_LEN};
use kalitka_protocol::message::{Command, Message, Order, Receipt};
use kalitka_protocol::upstream::CommandOutcome;
use kalitka_protocol::wire::Writer;
use kalitka_protocol::{BootId, LogId, ReaderId, Stamp};
use snow::params::NoiseParams;

use crate::handshake;
use crate::keys::Keys;
use crate::limits::{COMMANDS_MAX, READERS_MAX, SWEEP_INTERVAL, WORKERS_MAX};
use crate::output::{CommandRefused, Effect, Output};
use crate::overlay::Overlay;
use crate::reader::Reader;
use crate::session::Session;
use crate::texts::Texts;
use crate::view::View;

pub use arrivals::{Opened, Opening};

mod arrivals;

/// Where random bytes come from.
pub trait Entropy {
    /// Fills `bytes` with fresh random ones, fit for keys.
    fn fill(&mut self, bytes: &mut [u8]);
}

/// What one batch of datagrams sees, from its first to its last.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// The snapshot with its rules, once one is adopted.
    pub view: Option<&'a View>,
    /// What operators have ordered since the snapshot was made.
    pub overlay: &'a Overlay,
    /// The readers' keys.
    pub keys: &'a Keys,
    /// What persons are told.
    pub texts: &'a Texts,
    /// How long readers go unanswered before they fall back, in milliseconds; at least 200.
    pub fall_back_after_ms: u16,
}

/// What a worker knows of a reader's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReaderStatus {
    /// The reader.
    pub reader: ReaderId,
    /// Its boot.
    pub boot: BootId,
    /// The firmware that it named; 0 when none.
    pub firmware: u32,
    /// Where its newest datagram came from.
    pub address: SocketAddr,
    /// When the session was agreed on, by the monotonic clock.
    pub since: Duration,
    /// When its newest datagram came, likewise.
    pub heard: Duration,
}

/// The single writer of all that is known of its readers: number `r` with `r % workers == index`.
pub struct Worker {
    index: u8,
    workers: u8,
    entropy: Box<dyn Entropy + Send>,
    noise: NoiseParams,
    /// Highest stamps from before, until the first table of keys says who the readers are.
    stamps: BTreeMap<ReaderId, Stamp>,
    keys_version: Option<u64>,
    /// The worker's readers by the place that their sessions' numbers name.
    readers: Vec<Option<Reader>>,
    places: BTreeMap<ReaderId, u16>,
    /// The readers, by place, whose commands are due, and when.
    due: BTreeSet<(Duration, u16)>,
    /// Commands that ended with their readers' keys, to be told of.
    ended: Vec<Effect>,
    swept: Duration,
    /// How many sessions have been agreed on.
    agreed: u64,
}

impl core::fmt::Debug for Worker {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Worker({} of {}, {} readers)", self.index, self.workers, self.places.len())
    }
}

impl Worker {
    /// Worker `index` of `workers` (1 to [`WORKERS_MAX`]; out of range they are brought into it). `stamps` are the highest
    /// that [`Effect::StampTaken`] has told of, for the readers whose keys have not changed since.
    #[must_use]
    pub fn new(
        index: u8,
        workers: u8,
        stamps: impl IntoIterator<Item = (ReaderId, Stamp)>,
        entropy: Box<dyn Entropy + Send>,
    ) -> Self {
        let workers = workers.clamp(1, WORKERS_MAX);
        Self {
            index: index % workers,
            workers,
            entropy,
            noise: handshake::params(),
            stamps: stamps.into_iter().collect(),
            keys_version: None,
            readers: Vec::new(),
            places: BTreeMap::new(),
            due: BTreeSet::new(),
            ended: Vec::new(),
            swept: Duration::ZERO,
            agreed: 0,
        }
    }

    /// The readers that have a session in use.
    pub fn status(&self) -> impl Iterator<Item = ReaderStatus> {
        self.readers.iter().flatten().filter_map(|reader| {
            let Session { boot, firmware, peer: address, since, heard, .. } = **reader.current.as_ref()?;
            Some(ReaderStatus { reader: reader.id, boot, firmware, address, since, heard })
        })
    }

    /// Seals the receipt of `log` up to and with `number` (SPEC 7.4): all of it is durable. Gives where the datagram in
    /// `out` goes; `None` when `reader` has no session, and the receipt waits for its next repeat.
    pub fn receipt(
        &mut self,
        now: Duration,
        reader: ReaderId,
        log: LogId,
        number: u64,
        out: &mut Output,
    ) -> Option<SocketAddr> {
        out.clear();
        let index = *self.places.get(&reader)?;
        let session = self.readers.get_mut(usize::from(index))?.as_mut()?.current.as_deref_mut()?;
        send(session, now, &Message::Receipt(Receipt { log, number }), out)
    }

    /// Ends the session of a reader that has one, and seals that it is over (SPEC 10.5); gives where the datagram in `out` goes.
    /// `None` when no session is left. For the worker's own end: whoever comes after it knows none of them.
    pub fn leave(&mut self, now: Duration, out: &mut Output) -> Option<SocketAddr> {
        out.clear();
        // One that can be sealed no more has nothing to be told.
        let mut sessions = self.readers.iter_mut().flatten().filter_map(|reader| reader.current.take());
        sessions.find_map(|mut session| send(&mut session, now, &Message::Leave, out))
    }

    /// Takes a command for `reader`, to be sent by [`poll`](Self::poll) until it is done or, at `until`, given up.
    /// [`Effect::CommandEnded`] tells which, once.
    ///
    /// # Errors
    /// [`CommandRefused`]: nothing is sent then, and nothing told.
    pub fn command(
        &mut self,
        now: Duration,
        reader: ReaderId,
        id: u64,
        order: Order,
        until: Duration,
    ) -> Result<(), CommandRefused> {
        let index = *self.places.get(&reader).ok_or(CommandRefused::ReaderUnknown)?;
        let reader = self.readers.get_mut(usize::from(index)).and_then(Option::as_mut);
        let reader = reader.ok_or(CommandRefused::ReaderUnknown)?;
        reader.commands.push(now, id, order, until)?;
        schedule(&mut self.due, index, reader);
        Ok(())
    }

    /// The moment, by the monotonic clock, from which [`poll`](Self::poll) has something to do.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Duration> {
        if !self.ended.is_empty() {
            return Some(Duration::ZERO);
        }
        self.due.first().map(|&(due, _)| due)
    }

    /// Does what is due by itself, leaving in `out` at most one datagram, for the address that is given, and what came of
    /// it. To be called while an address is given or [`next_timeout`](Self::next_timeout) has come.
    pub fn poll(&mut self, now: Duration, out: &mut Output) -> Option<SocketAddr> {
        out.clear();
        let told = self.ended.len().min(out.effects.room());
        self.ended.drain(..told).for_each(|effect| out.effects.note(effect));
        while let Some(&(due, index)) = self.due.first()
            && due <= now
            && out.effects.room() >= COMMANDS_MAX
        {
            self.due.pop_first();
            let reader = self.readers.get_mut(usize::from(index)).and_then(Option::as_mut);
            let Some(reader) = reader else { continue };
            reader.due = None;
            let sent = advance(reader, now, out);
            schedule(&mut self.due, index, reader);
            if sent.is_some() {
                return sent;
            }
        }
        None
    }

    const fn owner(&self, reader: ReaderId) -> u8 {
        #[expect(clippy::cast_possible_truncation, reason = "a remainder of a u8 is less than it")]
        let owner = (reader.0 % self.workers as u32) as u8;
        owner
    }

    /// Makes the worker's readers those of `keys`, when the table has changed. Each datagram does so too; who has a command
    /// for a reader and perhaps no datagram before does it by this.
    #[inline]
    pub fn follow(&mut self, keys: &Keys) {
        if self.keys_version != Some(keys.version()) {
            self.follow_anew(keys);
        }
    }

    fn follow_anew(&mut self, keys: &Keys) {
        self.keys_version = Some(keys.version());
        for place in &mut self.readers {
            if let Some(gone) = place.take_if(|reader| keys.get(reader.id).is_none()) {
                let place = self.places.remove(&gone.id);
                self.due.retain(|&(_, index)| Some(index) != place);
                give_up_all(gone, &mut self.ended);
            }
        }
        for keys in keys.iter() {
            if self.owner(keys.reader) != self.index {
                continue;
            }
            let stamp = self.stamps.remove(&keys.reader);
            let index = self.places.get(&keys.reader).copied();
            match index.and_then(|index| self.readers.get_mut(usize::from(index))) {
                Some(Some(known)) => {
                    if let Some(former) = known.rekey(keys) {
                        self.due.retain(|&(_, of)| Some(of) != index);
                        give_up_all(former, &mut self.ended);
                    }
                }
                _ => self.seat(Reader::new(keys, stamp)),
            }
        }
        // Stamps are told of before the first table only: readers that come later have keys that were never used.
        self.stamps.clear();
    }

    /// Gives `reader` the first free place. [`Keys`] holds no more readers than there are places.
    fn seat(&mut self, reader: Reader) {
        let free = self.readers.iter().position(Option::is_none).unwrap_or(self.readers.len());
        let Some(index) = u16::try_from(free).ok().filter(|_| free < READERS_MAX) else { return };
        self.places.insert(reader.id, index);
        match self.readers.get_mut(free) {
            Some(place) => *place = Some(reader),
            None => self.readers.push(Some(reader)),
        }
    }

    fn sweep(&mut self, now: Duration) {
        if now.saturating_sub(self.swept) >= SWEEP_INTERVAL {
            self.swept = now;
            self.readers.iter_mut().flatten().for_each(|reader| reader.retire(now));
        }
    }
}

/// Seals `message` in `session`, alone; gives where it goes.
fn send(session: &mut Session, now: Duration, message: &Message<'_>, out: &mut Output) -> Option<SocketAddr> {
    let mut writer = Writer::new(&mut out.datagram[SEALED_HEADER_LEN..DATAGRAM_MAX - TAG_LEN]);
    message.emit(&mut writer).ok()?;
    let len = writer.len();
    let len = session.seal(now, &mut out.datagram, len).ok()?;
    out.reply(len);
    Some(session.peer)
}

/// Gives up what of `reader`'s commands is over, and sends the first if it is due.
fn advance(reader: &mut Reader, now: Duration, out: &mut Output) -> Option<SocketAddr> {
    let Reader { id: reader, current, commands, .. } = reader;
    commands.give_up(now, |id| out.effects.note(given_up(*reader, id)));
    let session = current.as_deref_mut()?;
    let (id, order) = commands.send(now)?;
    let seen = session.highest()?;
    send(session, now, &Message::Command(Command { id, seen, order }), out)
}

/// Notes anew when the commands of `reader`, at place `index`, are due.
#[inline]
fn schedule(all: &mut BTreeSet<(Duration, u16)>, index: u16, reader: &mut Reader) {
    if reader.due.is_none() && reader.commands.is_empty() {
        return;
    }
    let due = reader.commands.due(reader.current.is_some());
    if due == reader.due {
        return;
    }
    if let Some(before) = reader.due {
        all.remove(&(before, index));
    }
    if let Some(due) = due {
        all.insert((due, index));
    }
    reader.due = due;
}

/// Gives up the commands of a reader that is no more.
fn give_up_all(mut gone: Reader, ended: &mut Vec<Effect>) {
    ended.extend(gone.commands.drain().map(|id| given_up(gone.id, id)));
}

const fn given_up(reader: ReaderId, id: u64) -> Effect {
    Effect::CommandEnded { reader, id, outcome: CommandOutcome::GivenUp }
}
