//! A journal in memory, which writes down what it is asked.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use kalitka_protocol::EpochId;
use kalitka_protocol::event::{Body, ClockQuality, EpochBegun, Event, EventHeader, GatewayStarted, chain};
use kalitka_protocol::limits::EARLIER_EPOCHS_MAX;
use kalitka_protocol::upstream::{CommandOutcome, Earlier, Hello, Position};
use kalitka_protocol::wire::Writer;
use kalitka_uplink::{Busy, HeadSeen, Leg, Request, Run};
use tokio::sync::{broadcast, watch};

pub(crate) struct Epoch {
    pub(crate) id: EpochId,
    /// Each event and the chain's hash up to it.
    pub(crate) events: Vec<(Vec<u8>, [u8; 32])>,
}

/// What a test looks at, and may change.
#[derive(Default)]
pub(crate) struct Book {
    pub(crate) epochs: Vec<Epoch>,
    pub(crate) positions: Vec<Position>,
    pub(crate) acknowledged: Vec<(EpochId, u64)>,
    pub(crate) forked: Vec<(EpochId, u64)>,
    pub(crate) commands: Vec<Vec<u8>>,
    pub(crate) snapshots: Vec<(PathBuf, u32, Vec<u8>)>,
    pub(crate) checkpoints: Vec<Vec<u8>>,
    /// How often to say that it is busy.
    pub(crate) busy: u32,
    pub(crate) snapshot_result: u8,
    /// Commands whose reply is dropped.
    pub(crate) mute: bool,
}

pub(crate) struct Journal {
    building: u32,
    book: Mutex<Book>,
    pub(crate) head: watch::Sender<Option<HeadSeen>>,
    pub(crate) live: broadcast::Sender<Arc<[u8]>>,
    /// Changes with everything that is written down.
    pub(crate) asked: watch::Sender<u64>,
}

impl Journal {
    /// One that has begun `epoch`.
    pub(crate) fn new(building: u32, epoch: EpochId) -> Self {
        let journal = Self {
            building,
            book: Mutex::default(),
            head: watch::Sender::new(None),
            live: broadcast::Sender::new(64),
            asked: watch::Sender::new(0),
        };
        journal.begin(epoch);
        journal
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    /// Waits until `look` finds something in the book.
    pub(crate) async fn until<T>(&self, look: impl Fn(&Book) -> Option<T>) -> T {
        let mut asked = self.asked.subscribe();
        loop {
            if let Some(found) = look(&self.book()) {
                return found;
            }
            asked.changed().await.unwrap();
        }
    }

    /// Begins an epoch of which the head does not tell.
    pub(crate) fn begin_unseen(&self, id: EpochId) {
        let seen = *self.head.borrow();
        let quiet = watch::Sender::new(None);
        self.begin_at(id, &quiet);
        assert_eq!(*self.head.borrow(), seen);
    }

    /// Begins an epoch.
    pub(crate) fn begin(&self, id: EpochId) {
        self.begin_at(id, &self.head);
    }

    fn begin_at(&self, id: EpochId, head: &watch::Sender<Option<HeadSeen>>) {
        let before =
            self.book().epochs.last().map(|epoch| {
                (epoch.id, epoch.events.len() as u64, epoch.events.last().map_or([0; 32], |(_, hash)| *hash))
            });
        self.book().epochs.push(Epoch { id, events: Vec::new() });
        let (before, last, hash) = before.map_or((None, 0, [0; 32]), |(id, last, hash)| (Some(id), last, hash));
        self.commit_at(&[Body::EpochBegun(EpochBegun { before, last, hash })], head);
    }

    /// Commits `count` events of the length of a report.
    pub(crate) fn commit_many(&self, count: usize) {
        // 48 and 5 bytes and these.
        let version = [b'v'; 59];
        let body = Body::GatewayStarted(GatewayStarted { readers: 1, version: &version });
        self.commit(&vec![body; count]);
    }

    pub(crate) fn commit(&self, bodies: &[Body<'_>]) {
        self.commit_at(bodies, &self.head);
    }

    fn commit_at(&self, bodies: &[Body<'_>], head: &watch::Sender<Option<HeadSeen>>) {
        let mut book = self.book();
        let epoch = book.epochs.last_mut().unwrap();
        let mut commit = Vec::new();
        for &body in bodies {
            let header = EventHeader {
                building: self.building,
                epoch: epoch.id,
                number: epoch.events.len() as u64 + 1,
                wall_us: 1,
                monotonic_us: 1,
                gateway_boot: 1,
                quality: ClockQuality::Good,
                jumped: false,
            };
            let mut bytes = vec![0; 4096];
            let mut out = Writer::new(&mut bytes);
            Event { header, body }.emit(&mut out).unwrap();
            let len = out.len();
            bytes.truncate(len);
            let hash = chain(&epoch.events.last().map_or([0; 32], |(_, hash)| *hash), &bytes);
            commit.extend_from_slice(&bytes);
            epoch.events.push((bytes, hash));
        }
        let seen = HeadSeen { epoch: epoch.id, number: epoch.events.len() as u64 };
        drop(book);
        head.send_replace(Some(seen));
        // Nobody may be connected.
        let _ = self.live.send(commit.into());
    }

    pub(crate) fn take(&self, request: Request) -> Result<(), Busy> {
        let mut book = self.book();
        if book.busy > 0 {
            book.busy -= 1;
            return Err(Busy);
        }
        match request {
            Request::Standing { reply } => drop(reply.send(hello(&book, self.building))),
            Request::Position { position, reply } => {
                drop(reply.send(Ok(legs(&position))));
                book.positions.push(*position);
            }
            Request::Read { epoch, from, bytes_max, reply } => {
                drop(reply.send(Ok(run(&book, epoch, from, bytes_max))));
            }
            Request::Acknowledged { epoch, number } => book.acknowledged.push((epoch, number)),
            Request::Forked { epoch, number } => book.forked.push((epoch, number)),
            Request::Command { envelope, reply } => {
                let number = book.commands.len() as u64 + 1;
                book.commands.push(envelope);
                if !book.mute {
                    let _ = reply.send((number, CommandOutcome::Done));
                }
            }
            Request::Snapshot { file, generation, reply } => {
                let bytes = std::fs::read(&file).unwrap();
                book.snapshots.push((file, generation, bytes));
                let _ = reply.send(book.snapshot_result);
            }
            Request::Checkpoint { bytes } => book.checkpoints.push(bytes),
        }
        drop(book);
        self.asked.send_modify(|asked| *asked += 1);
        Ok(())
    }
}

fn hello(book: &Book, building: u32) -> (Hello, bool) {
    let (present, before) = book.epochs.split_last().unwrap();
    let waits = |epoch: &&Epoch| !book.acknowledged.contains(&(epoch.id, epoch.events.len() as u64));
    let named: Vec<_> = if before.len() <= EARLIER_EPOCHS_MAX {
        before.iter().collect()
    } else {
        before.iter().filter(waits).take(EARLIER_EPOCHS_MAX).collect()
    };
    let names_all = before.iter().filter(waits).count() <= EARLIER_EPOCHS_MAX;
    let mut earlier = Earlier::new();
    named.iter().rev().for_each(|epoch| earlier.push(epoch.id).unwrap());
    let last = present.events.len() as u64;
    let hash = present.events.last().map_or([0; 32], |(_, hash)| *hash);
    (Hello { building, epoch: present.id, last, hash, oldest: 1, generation: 0, earlier }, names_all)
}

fn legs(position: &Position) -> Vec<Leg> {
    position.as_slice().iter().rev().map(|entry| Leg { epoch: entry.epoch, next: entry.last + 1 }).collect()
}

fn run(book: &Book, epoch: EpochId, from: u64, bytes_max: usize) -> Option<Run> {
    let events = &book.epochs.iter().find(|known| known.id == epoch)?.events;
    let at = usize::try_from(from - 1).unwrap();
    let mut bytes = Vec::new();
    let mut count = 0;
    for (event, _) in events.get(at..)? {
        if count > 0 && bytes.len() + event.len() > bytes_max {
            break;
        }
        bytes.extend_from_slice(event);
        count += 1;
    }
    let hash_before = at.checked_sub(1).map_or([0; 32], |before| events[before].1);
    let hash = events.get(at + (count as usize).checked_sub(1)?)?.1;
    Some(Run { epoch, first: from, hash_before, events: bytes, count, hash })
}
