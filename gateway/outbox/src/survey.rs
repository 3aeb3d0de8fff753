//! Looks at an outbox that nobody has open, or at any damaged part of one, and changes nothing in it.
//!
//! Stores are not opened: whole blocks and records are found wherever they lie in the files, and what the gateway would keep
//! of them is chosen as its own salvage chooses. Only a private copy is ever opened.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use kalitka_protocol::EpochId;
use kalitka_protocol::event::{Events, Loss, RawEvent, chain};
use rustix::fs::FlockOperation;

use crate::block;
use crate::carve::{Carved, Unreadable, building_of, files_under};
use crate::error::StoreError;
use crate::ground::Machine;
use crate::mark;
use crate::opening::establish_salvaged;
use crate::place::{self, Named};
use crate::quarantine;
use crate::salvage::{Choice, choose};
use crate::sled_store::DATA_NAME;
use crate::types::{Begun, Head, Opening};
use crate::yard::Yard;

/// Why a folder cannot be surveyed or salvaged.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// The file system.
    #[error("{path}: cannot {what}: {error}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What it said.
        error: io::Error,
    },
    /// Another process has it open.
    #[error("{path}: another process has this outbox open; stop the gateway, or look at a copy made while it stood")]
    Open {
        /// Where.
        path: PathBuf,
    },
    /// There is no event and no record of an epoch in it.
    #[error(
        "{path}: there is no whole block of events here; name the folder `outbox` of a state folder, or a store in it"
    )]
    Nothing {
        /// Where.
        path: PathBuf,
    },
    /// The target is not blank.
    #[error(
        "{path}: there is something here already; name a folder that is not there or empty, outside the damaged one"
    )]
    NotBlank {
        /// Where.
        path: PathBuf,
    },
    /// What was found cannot be read again, or the target does not take it.
    #[error("{path}: {error}")]
    Store {
        /// Where.
        path: PathBuf,
        /// What was found.
        error: StoreError,
    },
    /// The target cannot be made.
    #[error(transparent)]
    Target(#[from] crate::error::OpenError),
}

/// What was found of one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochFound {
    /// The epoch.
    pub epoch: EpochId,
    /// The first whole event, and the last; `None` when there is none.
    pub span: Option<(u64, u64)>,
    /// Whole events.
    pub events: u64,
    /// In as many blocks.
    pub blocks: u64,
    /// The hub has said that it keeps all up to this one.
    pub acknowledged: u64,
    /// Numbers that are missing and were told of in a loss record.
    pub told: Vec<(u64, u64)>,
    /// Numbers that are missing and never were told of.
    pub holes: Vec<(u64, u64)>,
}

impl EpochFound {
    fn none(epoch: EpochId) -> Self {
        let (told, holes) = (Vec::new(), Vec::new());
        Self { epoch, span: None, events: 0, blocks: 0, acknowledged: 0, told, holes }
    }
}

/// What a salvage has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salvaged {
    /// The epoch with which the gateway goes on.
    pub epoch: EpochId,
    /// The highest known event of the epoch before.
    pub before: Option<Head>,
    /// What the gateway will tell the hub to be lost.
    pub losses: Vec<Loss>,
    /// Events in the new outbox.
    pub events: u64,
}

/// Everything whole in a folder.
#[derive(Debug)]
pub struct Survey {
    folder: PathBuf,
    building: u32,
    /// Its stores that were looked through.
    stores: Vec<PathBuf>,
    named: Option<Named>,
    mark: Option<Head>,
    carved: Carved,
    choice: Choice,
    /// Keeps a gateway from opening it meanwhile.
    _locks: Vec<File>,
}

impl Survey {
    /// Looks through `folder`: an outbox's, the quarantine in it, or a single store's. `passed` hears how many bytes were looked
    /// at and how many there are.
    ///
    /// # Errors
    /// [`SurveyError`].
    pub fn take(folder: &Path, passed: &mut dyn FnMut(u64, u64)) -> Result<Self, SurveyError> {
        let at = |what: &'static str| move |error| SurveyError::Io { path: folder.to_path_buf(), what, error };
        let broken = |error| SurveyError::Store { path: folder.to_path_buf(), error };
        let mut stores = place::stores_in(folder).map_err(at("list the folder"))?;
        if stores.is_empty() {
            stores.push(folder.to_path_buf());
        }
        let locks = lock(folder, &stores)?;
        let named = place::look(folder);
        let bytes =
            stores.iter().map(|store| bytes_of(store)).sum::<io::Result<u64>>().map_err(at("look at the files"))?;
        let building = match named {
            Some(named) => Some(named.building),
            None => building_of(&stores).map_err(broken)?,
        };
        let nothing = || SurveyError::Nothing { path: folder.to_path_buf() };
        let building = building.ok_or_else(nothing)?;
        let (mut carved, mut done) = (Carved::default(), 0);
        for store in &stores {
            let told = &mut |more| {
                done += more;
                passed(done.min(bytes), bytes);
            };
            carved.look_through(store, building, Unreadable::GivenUp, told).map_err(broken)?;
        }
        let choice = choose(&mut carved, None);
        let mark = mark::look(folder);
        if choice.is_empty() && mark.is_none() {
            return Err(nothing());
        }
        Ok(Self { folder: folder.to_path_buf(), building, stores, named, mark, carved, choice, _locks: locks })
    }

    /// Whose events these are.
    #[must_use]
    pub const fn building(&self) -> u32 {
        self.building
    }

    /// The folders of the stores that were looked through.
    #[must_use]
    pub fn stores(&self) -> &[PathBuf] {
        &self.stores
    }

    /// What was found, oldest epoch first. An end that the mark knows of and that is not there is a hole.
    #[must_use]
    pub fn epochs(&self) -> Vec<EpochFound> {
        let mut epochs = self.choice.epochs();
        let Some(mark) = self.mark else { return epochs };
        if epochs.iter().all(|found| found.epoch != mark.epoch) {
            epochs.push(EpochFound::none(mark.epoch));
        }
        for found in epochs.iter_mut().filter(|found| found.epoch == mark.epoch) {
            let ends = found.holes.iter().chain(&found.told).map(|hole| hole.1);
            let last = ends.chain(found.span.map(|span| span.1)).max().unwrap_or(0).max(found.acknowledged);
            if last < mark.number {
                found.holes.push((last + 1, mark.number));
            }
        }
        epochs
    }

    /// Whether the gateway would go on with it: a private copy is made in `temporary`, opened and checked there, and removed.
    /// Gives what is wrong, if anything is.
    ///
    /// # Errors
    /// [`SurveyError`] when there is no room for the copy, or it cannot be made.
    pub fn try_opening(&self, temporary: &Path) -> Result<Option<String>, SurveyError> {
        let (kind, store) = match (self.named, self.stores.as_slice()) {
            (Some(named), stores) => {
                let store = stores.iter().find(|store| place::number_of(store) == Some(named.number));
                match store {
                    Some(store) => (named.kind, store),
                    None => return Ok(Some("the store that is named is not there".into())),
                }
            }
            (None, [store]) if *store == self.folder => match place::kind_of(store) {
                Some(kind) => (kind, store),
                None => return Ok(Some("its name does not say what kind of store it is".into())),
            },
            (None, _) => return Ok(Some("nothing says which store is in use".into())),
        };
        let copy = PrivateCopy::make(store, temporary)?;
        Ok(crate::yard::look_at_copy(kind, &copy.folder, self.building, self.mark).err().map(|error| error.to_string()))
    }

    /// Every whole event that the gateway would keep, epoch by epoch in their order, with its h, until `visit` says that it is
    /// enough.
    ///
    /// # Errors
    /// [`SurveyError::Store`] when the files change meanwhile.
    pub fn events(&self, visit: &mut dyn FnMut(&RawEvent<'_>, &[u8; 32]) -> bool) -> Result<(), SurveyError> {
        let broken = |error| SurveyError::Store { path: self.folder.clone(), error };
        let mut open = None;
        for piece in self.choice.pieces() {
            let value = self.carved.load(piece, &mut open).map_err(broken)?;
            let Some(block) = block::parse(&value) else { continue };
            let mut hash = block.header.hash_before;
            for event in Events::new(block.events).flatten() {
                hash = chain(&hash, event.bytes);
                if !visit(&event, &hash) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Makes a fresh outbox in `opening.folder` of everything whole. A gateway that opens it goes on in a new epoch and tells what is
    /// missing.
    ///
    /// # Errors
    /// [`SurveyError`]; what was begun of the new outbox stays and is not used by anybody.
    pub fn salvage(&self, opening: &Opening<'_>) -> Result<Salvaged, SurveyError> {
        let target = || opening.folder.to_path_buf();
        let at = |what: &'static str| move |error| SurveyError::Io { path: target(), what, error };
        if self.is_within(opening.folder).map_err(at("find the folder"))? {
            return Err(SurveyError::NotBlank { path: target() });
        }
        fs::create_dir_all(opening.folder).map_err(at("make the folder"))?;
        if fs::read_dir(opening.folder).map_err(at("list the folder"))?.next().is_some() {
            return Err(SurveyError::NotBlank { path: target() });
        }
        let mut yard = Yard::take(Box::new(Machine), opening, Unreadable::GivenUp)?;
        let found = yard.write(&self.choice, &self.carved)?;
        let (epoch, events, begun) = establish_salvaged(&mut yard, found, self.mark, opening)?;
        let Begun::NewEpoch { before, losses, .. } = begun else {
            return Ok(Salvaged { epoch, before: None, losses: Vec::new(), events });
        };
        Ok(Salvaged { epoch, before, losses, events })
    }
}

impl Survey {
    /// Whether `target`, which need not be there, would lie in what is looked at.
    fn is_within(&self, target: &Path) -> io::Result<bool> {
        let target = std::path::absolute(target)?;
        let above = target.ancestors().find(|above| above.exists()).unwrap_or(&target);
        Ok(above.canonicalize()?.starts_with(self.folder.canonicalize()?))
    }
}

/// Sees to it that nobody has the outbox or one of its stores open, nor gets it.
fn lock(folder: &Path, stores: &[PathBuf]) -> Result<Vec<File>, SurveyError> {
    if [Some(folder), folder.parent()].into_iter().flatten().any(|of| of.ends_with(quarantine::NAME)) {
        // Nobody opens what lies there, though whoever has put it there may run.
        return Ok(Vec::new());
    }
    let outboxes = [Some(folder), folder.parent()].into_iter().flatten().map(|of| of.join(place::LOCK_NAME));
    let data = stores.iter().map(|store| store.join(DATA_NAME));
    let mut locks = Vec::new();
    for path in outboxes.chain(data).filter(|path| path.is_file()) {
        let file = File::open(&path).map_err(|error| SurveyError::Io { path: path.clone(), what: "open it", error })?;
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_err() {
            return Err(SurveyError::Open { path: folder.to_path_buf() });
        }
        locks.push(file);
    }
    Ok(locks)
}

fn bytes_of(store: &Path) -> io::Result<u64> {
    files_under(store)?.iter().map(|path| Ok(fs::metadata(path)?.len())).sum()
}

/// A copy of a store that goes when this is dropped.
struct PrivateCopy {
    /// Of the store, in a folder of its own.
    folder: PathBuf,
    whole: PathBuf,
}

impl PrivateCopy {
    fn make(store: &Path, temporary: &Path) -> Result<Self, SurveyError> {
        let at = |what: &'static str| move |error| SurveyError::Io { path: temporary.to_path_buf(), what, error };
        let whole = temporary.join(format!("kalitka-outbox-{}", std::process::id()));
        let free = rustix::fs::statvfs(temporary).map_err(|error| at("look at the disk")(error.into()))?;
        let needed = bytes_of(store).map_err(at("look at the store"))? + crate::limits::DISK_RESERVE;
        if free.f_bavail.saturating_mul(free.f_frsize) < needed {
            let error =
                io::Error::new(io::ErrorKind::StorageFull, format!("{needed} bytes are needed for a private copy"));
            return Err(at("make a copy")(error));
        }
        make_private(&whole).map_err(at("make a folder"))?;
        let copy = Self { folder: whole.join(store.file_name().unwrap_or_default()), whole };
        copy.fill(store).map_err(at("copy the store"))?;
        Ok(copy)
    }

    fn fill(&self, store: &Path) -> io::Result<()> {
        fs::create_dir(&self.folder)?;
        for path in files_under(store)? {
            let target = self.folder.join(path.strip_prefix(store).unwrap_or(&path));
            target.parent().map_or(Ok(()), fs::create_dir_all)?;
            fs::copy(&path, target)?;
        }
        Ok(())
    }
}

impl Drop for PrivateCopy {
    fn drop(&mut self) {
        // A leftover in the folder for temporary files is the system's to remove.
        let _ = fs::remove_dir_all(&self.whole);
    }
}

fn make_private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().mode(0o700).create(folder)
}
