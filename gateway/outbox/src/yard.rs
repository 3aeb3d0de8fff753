//! The folder and the stores in it: opening the one that is named, making new ones, salvaging damaged ones.

mod renewal;

use std::io;
use std::path::{Path, PathBuf};

use kalitka_protocol::event::Loss;

use crate::carve::{Carved, Kept, Unreadable, newest_sequence};
use crate::check::{Checked, check};
use crate::error::{OpenError, StoreError};
use crate::ground::{DiskSeen, Ground, Kind, Machine};
use crate::limits::{DISK_RESERVE, REOPENS_MAX, RESERVE_BYTES};
use crate::opening::is_missing;
use crate::place::{Named, Place};
use crate::record::Record;
use crate::salvage::{Choice, choose};
use crate::store::Store;
use crate::types::{Head, Opening};

/// Where stores are opened and made.
#[derive(Debug)]
pub(crate) struct Yard {
    ground: Box<dyn Ground>,
    place: Place,
    machine: [u8; 16],
    building: u32,
    /// The store in use, named or to be named.
    current: Option<Named>,
    /// How often sled was opened.
    sled_opens: u32,
    /// What the present opening makes of what the disk does not give.
    unreadable: Unreadable,
}

/// A store that is open and whole.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) store: Box<dyn Store>,
    pub(crate) checked: Checked,
    /// What is missing, when it had to be salvaged.
    pub(crate) salvaged: Option<Vec<Loss>>,
}

impl Yard {
    pub(crate) fn take(
        ground: Box<dyn Ground>,
        opening: &Opening<'_>,
        unreadable: Unreadable,
    ) -> Result<Self, OpenError> {
        let place = Place::take(opening.folder, unreadable)?;
        let (machine, building) = (opening.machine, opening.building);
        let yard = Self { ground, current: place.named, place, machine, building, sled_opens: 0, unreadable };
        match yard.place.named {
            Some(Named { building: found, .. }) if found != building => {
                Err(OpenError::Building { path: yard.path(), found, wanted: building })
            }
            _ => Ok(yard),
        }
    }

    pub(crate) const fn building(&self) -> u32 {
        self.building
    }

    pub(crate) fn kind(&self) -> Kind {
        self.current.map_or(Kind::Sled, |named| named.kind)
    }

    /// Whether the store in use was made on this machine.
    pub(crate) fn is_ours(&self) -> bool {
        self.current.is_none_or(|named| named.machine == self.machine)
    }

    /// Stores in quarantine, and their bytes.
    pub(crate) fn quarantined(&self) -> (u64, u64) {
        self.place.quarantine.usage()
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.place.folder
    }

    pub(crate) fn free(&self) -> io::Result<u64> {
        Ok(self.disk()?.free)
    }

    pub(crate) fn disk(&self) -> io::Result<DiskSeen> {
        self.ground.disk(&self.place.folder)
    }

    /// Free bytes that a commit needs: without the reserve, room for that too.
    pub(crate) fn free_needed(&self) -> u64 {
        if self.ground.has_reserve(&self.place.folder) { DISK_RESERVE } else { DISK_RESERVE + RESERVE_BYTES }
    }

    /// Makes the reserve anew, if it is not there. Without it all goes on, until the disk is full.
    pub(crate) fn hold_reserve(&mut self) {
        if !self.ground.has_reserve(&self.place.folder)
            && let Err(error) = self.ground.set_reserve(&self.place.folder, true)
        {
            tracing::debug!(%error, "the reserve cannot be made");
        }
    }

    pub(crate) fn has_reserve(&self) -> bool {
        self.ground.has_reserve(&self.place.folder)
    }

    /// Gives the reserve back to the disk; says whether there was one.
    pub(crate) fn give_reserve_back(&mut self) -> bool {
        self.ground.has_reserve(&self.place.folder) && self.ground.set_reserve(&self.place.folder, false).is_ok()
    }

    /// The store that is there, or a new one in a blank folder. One that cannot be gone on with is salvaged. `head` is the newest
    /// durable event, if that is known exactly.
    pub(crate) fn open(&mut self, head: Option<Head>) -> Result<Found, OpenError> {
        self.believe_the_name()?;
        self.place.tidy().map_err(|error| self.io("tidy up", error))?;
        let Some(named) = self.place.named else {
            let is_blank = self.place.stores().map_err(|error| self.io("list", error))?.is_empty();
            let is_blank = is_blank && !self.place.was_named;
            return if is_blank { self.fresh() } else { self.salvage(Kept::default(), head) };
        };
        let folder = self.place.store_folder(named.kind, named.number);
        if self.place.is_unconfirmed() {
            tracing::warn!(folder = %folder.display(), "the disk has not confirmed all of the outbox's store; copying it");
            return self.salvage(Kept::default(), head);
        }
        let kept = Kept::read(&folder, self.unreadable).map_err(|error| self.broken(error))?;
        if kept.has_hole() {
            tracing::error!(folder = %folder.display(), "events are missing in the outbox's store; salvaging");
            return self.salvage(kept, head);
        }
        match self.open_named(named, &kept, head.map_or(u64::MAX, |head| head.number)) {
            Ok(found) => Ok(found),
            Err(error) if self.is_curable(&error) => Err(self.broken(error)),
            Err(error) => {
                tracing::error!(folder = %folder.display(), %error, "the outbox's store is damaged; salvaging");
                self.salvage(kept, head)
            }
        }
    }

    /// Ceases to believe the name when its store is not there, or when another was begun later and holds newer blocks: then
    /// the name is an older one that was put back. What an interrupted change leaves has none.
    fn believe_the_name(&mut self) -> Result<(), OpenError> {
        let Some(named) = self.place.named else { return Ok(()) };
        let folder = self.place.store_folder(named.kind, named.number);
        if !folder.is_dir() {
            tracing::error!(folder = %folder.display(), "the outbox's store is not there; salvaging what is");
            self.place.distrust();
            return Ok(());
        }
        let behind = self.place.behind(named).map_err(|error| self.io("list", error))?;
        if behind.is_empty() {
            return Ok(());
        }
        let sequence = |folder: &Path| newest_sequence(folder, self.unreadable).map_err(|error| self.broken(error));
        let newest = sequence(&folder)?;
        for path in &behind {
            if sequence(path)? > newest {
                tracing::error!(folder = %path.display(), "a newer store than the outbox's stands beside it; salvaging both");
                self.place.distrust();
                break;
            }
        }
        Ok(())
    }

    fn open_named(&mut self, named: Named, kept: &Kept, end: u64) -> Result<Found, StoreError> {
        let mut store = self.open_store(named.kind, named.number)?;
        let checked = check_all(store.as_mut(), kept, self.building, end)?;
        self.current = Some(named);
        Ok(Found { store, checked, salvaged: None })
    }

    fn open_store(&mut self, kind: Kind, number: u64) -> Result<Box<dyn Store>, StoreError> {
        if kind == Kind::Sled {
            self.sled_opens += 1;
        }
        let folder = self.place.store_folder(kind, number);
        self.ground.open(kind, &folder)
    }

    /// A store of which nothing is kept yet; sled, unless that has been opened too often or does not open.
    fn fresh_store(&mut self) -> Result<Box<dyn Store>, OpenError> {
        let number = self.place.next_number().map_err(|error| self.io("list", error))?;
        let (machine, building) = (self.machine, self.building);
        if self.sled_opens <= REOPENS_MAX {
            match self.open_store(Kind::Sled, number) {
                Ok(store) => {
                    self.current = Some(Named { kind: Kind::Sled, number, machine, building });
                    return Ok(store);
                }
                Err(error) => tracing::error!(%error, "sled does not make a new store; the segment log takes over"),
            }
        }
        let number = number + 1;
        let store = self.open_store(Kind::Log, number).map_err(|error| self.broken(error))?;
        self.current = Some(Named { kind: Kind::Log, number, machine, building });
        Ok(store)
    }

    fn fresh(&mut self) -> Result<Found, OpenError> {
        self.need_disk(0)?;
        let store = self.fresh_store()?;
        Ok(Found { store, checked: Checked::default(), salvaged: None })
    }

    /// Copies what is whole in all stores of the folder into a new one. It is not named yet.
    fn salvage(&mut self, kept: Kept, head: Option<Head>) -> Result<Found, OpenError> {
        let mut carved = Carved::default();
        carved.add(kept, self.building);
        for folder in self.place.stores().map_err(|error| self.io("list", error))? {
            let passed = &mut |_| ();
            carved.look_through(&folder, self.building, self.unreadable, passed).map_err(|error| self.broken(error))?;
        }
        let choice = choose(&mut carved, head);
        self.write(&choice, &carved)
    }

    /// Writes what was chosen into a new store. It is not named yet.
    pub(crate) fn write(&mut self, choice: &Choice, carved: &Carved) -> Result<Found, OpenError> {
        self.need_disk(choice.bytes())?;
        let mut store = self.fresh_store()?;
        choice.write(carved, store.as_mut()).map_err(|error| self.broken(error))?;
        let checked = check(store.as_mut(), self.building).map_err(|error| self.broken(error))?;
        Ok(Found { store, checked, salvaged: Some(choice.losses.clone()) })
    }

    /// Notes that the disk has not confirmed what was written to the store in use.
    pub(crate) fn note_unconfirmed(&self) {
        self.place.note_unconfirmed();
    }

    /// Tries whether the disk takes and confirms anything, before a store is opened on it: each opening of sled costs memory.
    pub(crate) fn probe(&self) -> Result<(), OpenError> {
        self.place.probe().map_err(|error| self.io("write and sync a file", error))
    }

    /// Whether a person, or time, mends this without loss: nothing is moved aside then.
    fn is_curable(&self, error: &StoreError) -> bool {
        use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        match error {
            StoreError::Io(error) => {
                self.unreadable == Unreadable::Awaited
                    || matches!(error.kind(), PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull)
            }
            _ => false,
        }
    }

    /// Opens the named store again, or salvages it when it is not to be trusted or sled was opened too often.
    pub(crate) fn reopen(&mut self, distrusted: bool, head: Head, unreadable: Unreadable) -> Result<Found, OpenError> {
        self.unreadable = unreadable;
        match self.place.named {
            Some(named) if !distrusted && (named.kind == Kind::Log || self.sled_opens <= REOPENS_MAX) => {
                self.open(Some(head))
            }
            Some(_) => {
                self.believe_the_name()?;
                self.place.tidy().map_err(|error| self.io("tidy up", error))?;
                self.salvage(Kept::default(), Some(head))
            }
            None => self.open(Some(head)),
        }
    }

    /// Moves the segment log's contents to a new sled store; on failure the log stays.
    pub(crate) fn leave_refuge(&mut self, mut found: Found) -> Found {
        let Some(log) = self.current.filter(|named| named.kind == Kind::Log) else { return found };
        match self.copy_to_sled(&mut found, log) {
            Ok(store) => Found { store, ..found },
            Err(error) => {
                tracing::warn!(%error, "the outbox stays on the segment log");
                self.current = Some(log);
                found
            }
        }
    }

    fn copy_to_sled(&mut self, found: &mut Found, log: Named) -> Result<Box<dyn Store>, StoreError> {
        let number = self.place.next_number()?;
        let mut store = self.open_store(Kind::Sled, number)?;
        renewal::copy(found.store.as_mut(), store.as_mut())?;
        self.current = Some(Named { kind: Kind::Sled, number, ..log });
        self.settle()?;
        self.place.discard(log.kind, log.number)?;
        Ok(store)
    }

    /// Names the store in use, now that all it needs is durable in it, and moves others aside.
    pub(crate) fn settle(&mut self) -> io::Result<()> {
        let Some(current) = &mut self.current else { return Ok(()) };
        current.machine = self.machine;
        let current = *current;
        if self.place.named != Some(current) {
            self.place.name(current)?;
            self.place.tidy()?;
        }
        Ok(())
    }

    /// Refuses when fewer than `needed` bytes are `free`.
    pub(crate) fn need(&self, needed: u64, free: u64) -> Result<(), OpenError> {
        if free < needed { Err(OpenError::StillFull { path: self.path(), free, needed }) } else { Ok(()) }
    }

    /// Refuses to make a store of `bytes` on a disk that is too full for it. What is in quarantine gives way first, then the
    /// reserve: without a store nothing else is written.
    fn need_disk(&mut self, bytes: u64) -> Result<(), OpenError> {
        let needed = bytes + DISK_RESERVE;
        let free = |yard: &Self| yard.free().map_err(|error| yard.io("look at the disk", error));
        if free(self)? < needed {
            tracing::warn!("the disk is too full for a new store; damaged ones that were kept are removed");
            if let Err(error) = self.place.quarantine.empty() {
                tracing::error!(%error, "damaged stores cannot be removed");
            }
        }
        if free(self)? < needed && self.give_reserve_back() {
            tracing::error!("the disk is too full for a new store; the reserve is given back to it");
        }
        self.need(needed, free(self)?)
    }

    /// Gives the reserve back when `error` is that the disk is full; says whether it did.
    pub(crate) fn makes_room_after(&mut self, error: &OpenError) -> bool {
        let gave = error.is_full() && self.give_reserve_back();
        if gave {
            tracing::error!(%error, "the reserve is given back, so that the store opens");
        }
        gave
    }

    pub(crate) fn broken(&self, error: StoreError) -> OpenError {
        OpenError::Store { path: self.path(), error }
    }

    pub(crate) fn io(&self, what: &'static str, error: io::Error) -> OpenError {
        OpenError::Io { path: self.path(), what, error }
    }

    fn path(&self) -> PathBuf {
        Path::to_path_buf(&self.place.folder)
    }
}

/// Looks at everything in a store that is to be gone on with; `end` is the last number that its present epoch can have.
fn check_all(store: &mut dyn Store, kept: &Kept, building: u32, end: u64) -> Result<Checked, StoreError> {
    let checked = check(store, building)?;
    let Some(present) = checked.epochs.last() else {
        // None is named before it has an epoch.
        return Err(StoreError::Damaged("nothing is in it".into()));
    };
    let Record { ordinal, void, .. } = present.record;
    if kept.reaches_behind(ordinal, present.last, void, end) {
        return Err(StoreError::Damaged("it has dropped its end".into()));
    }
    Ok(checked)
}

/// Whether the copy of a store in `folder`, which may be changed, would be gone on with where `known` is known of it.
pub(crate) fn look_at_copy(kind: Kind, folder: &Path, building: u32, known: Option<Head>) -> Result<(), StoreError> {
    let kept = Kept::read(folder, Unreadable::GivenUp)?;
    let mut store = Machine.open(kind, folder)?;
    let checked = check_all(store.as_mut(), &kept, building, u64::MAX)?;
    if is_missing(store.as_mut(), &checked.epochs, known)? {
        return Err(StoreError::Damaged("it ends before its mark, or holds other events there".into()));
    }
    Ok(())
}
