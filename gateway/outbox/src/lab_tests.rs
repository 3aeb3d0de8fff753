//! What the tests build with: events, a folder, and a ground that records, and fails when told to.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use kalitka_protocol::EpochId;
use kalitka_protocol::event::{Body, ClockQuality, EpochBegun, Event, EventHeader, Events, Loss};
use kalitka_protocol::limits::EVENT_LEN_MAX;
use kalitka_protocol::wire::Writer;
use tempfile::TempDir;

use crate::Outbox;
use crate::error::{OpenError, StoreError};
use crate::ground::{DiskSeen, Ground, Kind, Machine};
use crate::limits::RESERVE_BYTES;
use crate::segment_log::SegmentLog;
use crate::sled_store::{Barrier, SledStore};
use crate::store::{Key, Store, Visit};
use crate::types::{Begun, Bounds, Head, Opening};

pub(crate) const BUILDING: u32 = 7;
pub(crate) const ROOMY: Bounds = Bounds { events_max: 1 << 40, bytes_max: 1 << 40, keep_acknowledged: 1 << 40 };
/// A kind that no version knows, to fill events with what one likes.
pub(crate) const FILLER: u8 = 200;

/// What was done, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Put,
    Remove,
    Flush,
    SyncData,
    OpenSled,
    OpenLog,
}

/// What shall fail, and what was done.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    pub(crate) steps: Vec<Step>,
    /// Free bytes; `None` for plenty.
    pub(crate) free: Option<u64>,
    /// Whether sled never opens, so that the segment log stands in for it.
    pub(crate) without_sled: bool,
    pub(crate) used: u64,
    /// Whether the disk is looked at as it is.
    pub(crate) on_machine: bool,
    /// Whether the reserve is held. Given back, its bytes are free.
    pub(crate) reserve: bool,
    /// What the next openings of sled meet: `None` for no fault.
    pub(crate) opens: VecDeque<Option<StoreError>>,
    /// What the next steps of that kind meet.
    pub(crate) puts: VecDeque<Option<io::ErrorKind>>,
    pub(crate) flushes: VecDeque<Option<io::ErrorKind>>,
    pub(crate) syncs: VecDeque<Option<io::ErrorKind>>,
    /// What the next puts meet when they are done: nobody can know that they are.
    pub(crate) puts_short: VecDeque<Option<io::ErrorKind>>,
    /// What the next commits of any store meet: before they sync, or when they have.
    pub(crate) commits: VecDeque<Option<(bool, io::ErrorKind)>>,
    /// What the next readings meet.
    pub(crate) reads: VecDeque<Option<StoreError>>,
    /// A folder that is copied at each sync, before and after, and the copies.
    pub(crate) copied: Option<std::path::PathBuf>,
    pub(crate) copies: Vec<TempDir>,
    /// Copied too after each change.
    pub(crate) copies_steps: bool,
    /// The inode of the file last synced.
    pub(crate) synced_inode: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Shared(Arc<Mutex<Faults>>);

impl Shared {
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Faults) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }

    /// Keeps the folder as it stands, when that is wanted.
    fn copy(&self) {
        let Some(source) = self.with(|faults| faults.copied.clone()) else { return };
        let target = tempfile::tempdir().unwrap();
        copy_folder(&source, target.path());
        self.with(|faults| faults.copies.push(target));
    }

    /// Meets what a reading meets.
    fn read(&self) -> Result<(), StoreError> {
        self.with(|faults| faults.reads.pop_front().flatten()).map_or(Ok(()), Err)
    }

    fn copy_step(&self) {
        if self.with(|faults| faults.copies_steps) {
            self.copy();
        }
    }

    /// What was done since the last look.
    pub(crate) fn steps(&self) -> Vec<Step> {
        self.with(|faults| std::mem::take(&mut faults.steps))
    }
}

#[derive(Debug)]
struct Lab(Shared);

impl Ground for Lab {
    fn open(&mut self, kind: Kind, folder: &Path) -> Result<Box<dyn Store>, StoreError> {
        let step = if kind == Kind::Sled { Step::OpenSled } else { Step::OpenLog };
        let fault = self.0.with(|faults| {
            faults.steps.push(step);
            if kind != Kind::Sled {
                return None;
            }
            let absent = faults.without_sled.then(|| StoreError::Panicked("no sled here".into()));
            absent.or_else(|| faults.opens.pop_front().flatten())
        });
        if let Some(fault) = fault {
            return Err(fault);
        }
        let store: Box<dyn Store> = match kind {
            Kind::Sled => Box::new(SledStore::open(folder, Box::new(Told(self.0.clone())))?),
            Kind::Log => Box::new(SegmentLog::open(folder)?),
        };
        Ok(Box::new(Watched { store, shared: self.0.clone() }))
    }

    fn disk(&self, folder: &Path) -> io::Result<DiskSeen> {
        if self.0.with(|faults| faults.on_machine) {
            return Machine.disk(folder);
        }
        Ok(self.0.with(|faults| DiskSeen { free: faults.free.unwrap_or(u64::MAX >> 1), used: faults.used }))
    }

    fn has_reserve(&self, folder: &Path) -> bool {
        if self.0.with(|faults| faults.on_machine) {
            return Machine.has_reserve(folder);
        }
        self.0.with(|faults| faults.reserve)
    }

    fn set_reserve(&mut self, folder: &Path, held: bool) -> io::Result<()> {
        if self.0.with(|faults| faults.on_machine) {
            return Machine.set_reserve(folder, held);
        }
        self.0.with(|faults| {
            if let (Some(free), true) = (&mut faults.free, faults.reserve != held) {
                *free = if held { free.saturating_sub(RESERVE_BYTES) } else { *free + RESERVE_BYTES };
            }
            faults.reserve = held;
        });
        Ok(())
    }
}

/// The real barrier, with a record and faults before it.
#[derive(Debug)]
pub(crate) struct Told(pub(crate) Shared);

impl Barrier for Told {
    fn flush(&mut self, db: &sled::Db) -> sled::Result<()> {
        let fault = self.0.with(|faults| {
            faults.steps.push(Step::Flush);
            faults.flushes.pop_front().flatten()
        });
        fault.map_or_else(|| db.flush().map(drop), |kind| Err(sled::Error::Io(kind.into())))
    }

    fn sync_data(&mut self, file: &File) -> io::Result<()> {
        let inode = file.metadata()?.ino();
        let fault = self.0.with(|faults| {
            faults.steps.push(Step::SyncData);
            faults.synced_inode = inode;
            faults.syncs.pop_front().flatten()
        });
        self.0.copy();
        fault.map_or_else(|| file.sync_data(), |kind| Err(kind.into()))?;
        self.0.copy();
        Ok(())
    }
}

#[derive(Debug)]
struct Watched {
    store: Box<dyn Store>,
    shared: Shared,
}

impl Store for Watched {
    fn put(&mut self, key: Key, value: &[u8]) -> Result<(), StoreError> {
        let fault = self.shared.with(|faults| {
            faults.steps.push(Step::Put);
            faults.puts.pop_front().flatten()
        });
        if let Some(kind) = fault {
            return Err(StoreError::Io(kind.into()));
        }
        self.store.put(key, value)?;
        self.shared.copy_step();
        let short = self.shared.with(|faults| faults.puts_short.pop_front().flatten());
        short.map_or(Ok(()), |kind| Err(StoreError::Io(kind.into())))
    }

    fn remove(&mut self, key: Key) -> Result<(), StoreError> {
        self.shared.with(|faults| faults.steps.push(Step::Remove));
        self.store.remove(key)?;
        self.shared.copy_step();
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.shared.copy();
        let fault = self.shared.with(|faults| faults.commits.pop_front().flatten());
        let Some((is_synced, kind)) = fault else { return self.store.sync() };
        if is_synced {
            self.store.sync()?;
        }
        let error = kind.into();
        Err(if kind == io::ErrorKind::StorageFull { StoreError::Io(error) } else { StoreError::NotSynced(error) })
    }

    fn at_or_before(&mut self, key: Key) -> Result<Option<(Key, Vec<u8>)>, StoreError> {
        self.shared.read()?;
        self.store.at_or_before(key)
    }

    fn scan(&mut self, key: Key, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.shared.read()?;
        self.store.scan(key, visit)
    }

    fn disk_bytes(&self) -> u64 {
        self.store.disk_bytes()
    }
}

/// An outbox's folder and what it is opened with.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) folder: TempDir,
    pub(crate) shared: Shared,
    pub(crate) machine: [u8; 16],
    pub(crate) building: u32,
    pub(crate) known: Option<Head>,
    pub(crate) earlier: Vec<EpochId>,
    pub(crate) limits: Bounds,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::at(&std::env::temp_dir())
    }

    /// In a folder of its own under `place`.
    pub(crate) fn at(place: &Path) -> Self {
        Self {
            folder: tempfile::tempdir_in(place).unwrap(),
            shared: Shared::default(),
            machine: [1; 16],
            building: BUILDING,
            known: None,
            earlier: Vec::new(),
            limits: ROOMY,
        }
    }

    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("outbox")
    }

    pub(crate) fn try_open(&self, fresh: u64) -> Result<(Outbox, Begun), OpenError> {
        self.try_open_at(&self.path(), fresh)
    }

    pub(crate) fn try_open_at(&self, folder: &Path, fresh: u64) -> Result<(Outbox, Begun), OpenError> {
        Outbox::open_on(Box::new(Lab(self.shared.clone())), self.opening(folder, fresh))
    }

    pub(crate) fn opening<'a>(&'a self, folder: &'a Path, fresh: u64) -> Opening<'a> {
        let Self { machine, building, known, limits, .. } = *self;
        let earlier = &self.earlier[..];
        Opening { folder, building, machine, fresh_epoch: EpochId(fresh), known, earlier, limits }
    }

    pub(crate) fn open(&self, fresh: u64) -> (Outbox, Begun) {
        self.try_open(fresh).unwrap()
    }

    /// A new outbox with epoch 1 begun and events up to number `last`; commits end at multiples of `together`.
    pub(crate) fn filled(&self, last: u64, together: u64) -> Outbox {
        let (mut outbox, begun) = self.open(1);
        start(&mut outbox, &begun);
        fill(&mut outbox, last, together);
        outbox
    }

    /// The folder of the store in use.
    pub(crate) fn store(&self) -> std::path::PathBuf {
        let mut stores: Vec<_> = std::fs::read_dir(self.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| ["sled-", "log-"].iter().any(|kind| path.display().to_string().contains(kind)))
            .collect();
        assert_eq!(stores.len(), 1, "{stores:?}");
        stores.pop().unwrap()
    }
}

pub(crate) fn event(epoch: EpochId, number: u64, body: Body<'_>) -> Vec<u8> {
    let header = EventHeader {
        building: BUILDING,
        epoch,
        number,
        wall_us: 1_700_000_000_000_000 + i64::try_from(number).unwrap(),
        monotonic_us: number,
        gateway_boot: 1,
        quality: ClockQuality::Good,
        jumped: false,
    };
    let mut bytes = [0; EVENT_LEN_MAX];
    let mut out = Writer::new(&mut bytes);
    Event { header, body }.emit(&mut out).unwrap();
    let len = out.len();
    bytes[..len].to_vec()
}

/// An event that says `text` and nothing else.
pub(crate) fn said(epoch: EpochId, number: u64, text: &[u8]) -> Vec<u8> {
    event(epoch, number, Body::Unknown { kind: FILLER, bytes: text })
}

/// Appends the beginning of an epoch as the journal does.
pub(crate) fn start(outbox: &mut Outbox, begun: &Begun) {
    outbox.append(&beginning(outbox, begun)).unwrap();
}

/// The events with which an epoch begins.
pub(crate) fn beginning(outbox: &Outbox, begun: &Begun) -> Vec<u8> {
    let Begun::NewEpoch { before, losses, .. } = begun else { panic!("{begun:?}") };
    let before = *before;
    let epoch = outbox.head().epoch;
    let (last, hash) = before.map_or((0, [0; 32]), |before| (before.number, before.hash));
    let first = EpochBegun { before: before.map(|before| before.epoch), last, hash };
    let mut events = event(epoch, 1, Body::EpochBegun(first));
    for (number, loss) in (2..).zip(losses) {
        events.extend(event(epoch, number, Body::Loss(*loss)));
    }
    events
}

/// Appends the loss as the next event.
pub(crate) fn tell(outbox: &mut Outbox, loss: Loss) {
    let head = outbox.head();
    outbox.append(&event(head.epoch, head.number + 1, Body::Loss(loss))).unwrap();
}

/// The text of filler event `number`: about 100 bytes, and different for each.
pub(crate) fn text(number: u64) -> Vec<u8> {
    format!("event {number} {}", "x".repeat(usize::try_from(number % 80).unwrap())).into_bytes()
}

/// The filler events from the head's successor up to `last`.
pub(crate) fn next_events(head: Head, last: u64) -> Vec<u8> {
    (head.number + 1..=last).flat_map(|number| said(head.epoch, number, &text(number))).collect()
}

/// Appends filler events up to number `last`; commits end at multiples of `together`.
pub(crate) fn fill(outbox: &mut Outbox, last: u64, together: u64) {
    while outbox.head().number < last {
        let next = ((outbox.head().number / together + 1) * together).min(last);
        let head = outbox.append(&next_events(outbox.head(), next)).unwrap();
        assert_eq!(head.number, next);
    }
}

/// Everything held: epoch, number and bytes, oldest epoch first.
pub(crate) fn held(outbox: &mut Outbox) -> Vec<(u64, u64, Vec<u8>)> {
    let mut events = Vec::new();
    for summary in outbox.epochs().into_iter().rev() {
        let mut from = 1;
        while let Some(run) = outbox.read(summary.epoch, from, 10_000).unwrap() {
            for event in Events::new(&run.events) {
                let event = event.unwrap();
                assert_eq!(event.header.epoch, summary.epoch);
                events.push((event.header.epoch.0, event.header.number, event.bytes.to_vec()));
            }
            from = run.first + u64::from(run.count);
            assert_eq!(outbox.hash_at(summary.epoch, from - 1).unwrap(), Some(run.hash));
        }
    }
    events
}

/// The numbers held of `epoch`.
pub(crate) fn numbers(outbox: &mut Outbox, epoch: u64) -> Vec<u64> {
    held(outbox).into_iter().filter(|(of, ..)| *of == epoch).map(|(_, number, _)| number).collect()
}

/// The texts of all filler events held, in order.
pub(crate) fn texts(outbox: &mut Outbox) -> Vec<Vec<u8>> {
    let events = held(outbox).into_iter();
    let filler = events.filter(|(_, _, bytes)| bytes[3] == FILLER);
    filler.map(|(_, _, bytes)| bytes[48..].to_vec()).collect()
}

/// A number from the environment, or what stands for it in ordinary runs and in soak (`KALITKA_SOAK=1`).
pub(crate) fn number_from_environment(name: &str, ordinary: u64, soak: u64) -> u64 {
    let is_soak = std::env::var("KALITKA_SOAK").is_ok_and(|value| value != "0" && !value.is_empty());
    let default = if is_soak { soak } else { ordinary };
    std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

/// The seed of this run: `KALITKA_SEED`, or always the same. Printed, so that a failure can be repeated.
pub(crate) fn seed() -> u64 {
    let seed = number_from_environment("KALITKA_SEED", 20_261_122, 20_261_123);
    println!("KALITKA_SEED={seed}");
    seed
}

/// Copies a folder with all in it, as it stands at this moment.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
