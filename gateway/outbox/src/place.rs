//! The outbox's folder: which store in it is the one, and what becomes of one that cannot be gone on with.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use kalitka_protocol::wire::Cursor;
use rustix::fs::FlockOperation;

use crate::carve::Unreadable;
use crate::error::OpenError;
use crate::ground::Kind;
use crate::quarantine::{Quarantine, remove};
use crate::two_generations::{self, Found};

const NAME: &str = "store";
pub(crate) const LOCK_NAME: &str = "lock";
const PROBE_NAME: &str = "probe";
const UNCONFIRMED_NAME: &str = "unconfirmed";
const SLED_PREFIX: &str = "sled-";
const LOG_PREFIX: &str = "log-";

/// Which store is the one, and whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) kind: Kind,
    /// Of its folder.
    pub(crate) number: u64,
    pub(crate) machine: [u8; 16],
    pub(crate) building: u32,
}

/// The folder, locked for this process.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    /// The store in use; `None` in a blank folder, or when what says so is damaged.
    pub(crate) named: Option<Named>,
    /// Whether a store was ever named here, as far as one can see.
    pub(crate) was_named: bool,
    pub(crate) quarantine: Quarantine,
    sequence: u64,
    /// Held for as long as the outbox lives.
    _lock: File,
}

impl Place {
    /// Takes the folder, making it when it is not there. What the disk does not give of its name is `unreadable`.
    pub(crate) fn take(folder: &Path, unreadable: Unreadable) -> Result<Self, OpenError> {
        let at = |what: &'static str| move |error| OpenError::Io { path: folder.to_path_buf(), what, error };
        fs::create_dir_all(folder).map_err(at("make the folder"))?;
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(folder.join(LOCK_NAME));
        let lock = lock.map_err(at("make the lock"))?;
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(OpenError::Locked { path: folder.to_path_buf() });
        }
        let found = two_generations::read(folder, NAME);
        if found.unreadable > 0 && unreadable == Unreadable::Awaited {
            return Err(at("read which store is the one")(io::Error::other("the disk does not give it")));
        }
        let (sequence, was_named) = (found.next_sequence(), !found.is_blank());
        let quarantine = Quarantine::of(folder);
        Ok(Self { folder: folder.to_path_buf(), named: named(found), was_named, quarantine, sequence, _lock: lock })
    }

    pub(crate) fn store_folder(&self, kind: Kind, number: u64) -> PathBuf {
        let prefix = match kind {
            Kind::Sled => SLED_PREFIX,
            Kind::Log => LOG_PREFIX,
        };
        self.folder.join(format!("{prefix}{number}"))
    }

    /// The folders of stores, the one in use or not, oldest first.
    pub(crate) fn stores(&self) -> io::Result<Vec<PathBuf>> {
        stores_in(&self.folder)
    }

    /// Stores that were begun after `named`: an interrupted change has left them, or `named` is not the one.
    pub(crate) fn behind(&self, named: Named) -> io::Result<Vec<PathBuf>> {
        let stores = self.stores()?;
        Ok(stores.into_iter().filter(|path| number_of(path) > Some(named.number)).collect())
    }

    /// Ceases to trust what says which store is the one.
    pub(crate) const fn distrust(&mut self) {
        self.named = None;
    }

    /// The number of the next store. A quarantine that cannot be listed keeps none back: of two of one name the newer stays.
    pub(crate) fn next_number(&self) -> io::Result<u64> {
        let stores = self.numbered(&[SLED_PREFIX, LOG_PREFIX])?;
        let aside = self.quarantine.stores().unwrap_or_default();
        let taken = stores.iter().chain(&aside).filter_map(|path| number_of(path));
        Ok(taken.chain(self.named.map(|named| named.number)).max().unwrap_or(0) + 1)
    }

    /// Makes `named` the one; durable when it returns.
    pub(crate) fn name(&mut self, named: Named) -> io::Result<()> {
        two_generations::write(&self.folder, NAME, self.sequence, &emit(named))?;
        self.sequence += 1;
        self.named = Some(named);
        // All that is in a store that is named anew was written and synced by this process.
        match fs::remove_file(self.folder.join(UNCONFIRMED_NAME)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok(())
    }

    /// Removes what an interrupted change of stores has left, and puts every store that is not the one into quarantine.
    /// Whoever names a store has taken over what was whole in the others.
    pub(crate) fn tidy(&self) -> io::Result<()> {
        let Some(named) = self.named else { return Ok(()) };
        let used = self.store_folder(named.kind, named.number);
        for path in self.numbered(&[SLED_PREFIX, LOG_PREFIX])?.into_iter().filter(|path| *path != used) {
            if path.is_dir() && number_of(&path) < Some(named.number) {
                self.set_aside(&path);
            } else {
                remove(&path)?;
            }
        }
        File::open(&self.folder)?.sync_all()
    }

    /// Puts the folder of a store into quarantine. What cannot be kept there for a look at it is removed: all that was whole in
    /// it has been copied, and nothing that only stands beside the store in use keeps that from being opened.
    fn set_aside(&self, store: &Path) {
        let Err(error) = self.quarantine.take_in(store) else { return };
        tracing::error!(store = %store.display(), %error, "a damaged store cannot be put into quarantine and is removed");
        if let Err(error) = remove(store) {
            tracing::error!(store = %store.display(), %error, "a damaged store cannot be removed; trying again at the next start");
        }
    }

    /// Notes that the disk has not confirmed what was written to the store in use: what is read of it may not be on the disk,
    /// whatever later syncs say. The note is for the next process. It need not outlive a power cut, for then only the disk is
    /// left to read.
    pub(crate) fn note_unconfirmed(&self) {
        if let Err(error) = File::create(self.folder.join(UNCONFIRMED_NAME)) {
            tracing::error!(%error, "cannot note that the store is to be copied; do not restart before it takes events again");
        }
    }

    /// Whether that was noted.
    pub(crate) fn is_unconfirmed(&self) -> bool {
        self.folder.join(UNCONFIRMED_NAME).exists()
    }

    /// Tries whether the disk takes and confirms anything.
    pub(crate) fn probe(&self) -> io::Result<()> {
        let path = self.folder.join(PROBE_NAME);
        let probed =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path).and_then(|mut file| {
                file.write_all(PROBE_NAME.as_bytes())?;
                file.sync_all()
            });
        // What is left of one that failed is overwritten by the next.
        probed.and_then(|()| fs::remove_file(&path))
    }

    /// Removes a store that nothing is needed of.
    pub(crate) fn discard(&self, kind: Kind, number: u64) -> io::Result<()> {
        remove(&self.store_folder(kind, number))
    }

    fn numbered(&self, prefixes: &[&str]) -> io::Result<Vec<PathBuf>> {
        numbered(&self.folder, prefixes)
    }
}

/// The folders of stores in `folder`, oldest first.
pub(crate) fn stores_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let stores = numbered(folder, &[SLED_PREFIX, LOG_PREFIX])?;
    Ok(stores.into_iter().filter(|path| path.is_dir()).collect())
}

/// What kind of store stands in `folder`, by its name.
pub(crate) fn kind_of(folder: &Path) -> Option<Kind> {
    let name = folder.file_name()?.to_str()?;
    [(SLED_PREFIX, Kind::Sled), (LOG_PREFIX, Kind::Log)]
        .into_iter()
        .find_map(|(prefix, kind)| name.starts_with(prefix).then_some(kind))
}

/// The store that is named in the outbox's folder `folder`, without taking it.
pub(crate) fn look(folder: &Path) -> Option<Named> {
    named(two_generations::read(folder, NAME))
}

fn named(found: Found) -> Option<Named> {
    // With one generation damaged or gone the other may name a store that has been replaced since: then none is trusted.
    let both = found.damaged == 0 && (found.older.is_some() || found.next_sequence() == 2);
    found.newest.filter(|_| both).and_then(|(_, bytes)| parse(&bytes))
}

fn numbered(folder: &Path, prefixes: &[&str]) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if prefixes.iter().any(|prefix| name.starts_with(prefix)) && number_of(&path).is_some() {
            paths.push(path);
        }
    }
    paths.sort_by_key(|path| number_of(path));
    Ok(paths)
}

pub(crate) fn number_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.rsplit_once('-')?.1.parse().ok()
}

fn emit(Named { kind, number, machine, building }: Named) -> Vec<u8> {
    let mut out = vec![if kind == Kind::Sled { 1 } else { 2 }];
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&machine);
    out.extend_from_slice(&building.to_le_bytes());
    out
}

fn parse(bytes: &[u8]) -> Option<Named> {
    let mut cursor = Cursor::new(bytes);
    let field = "store";
    let kind = match cursor.u8(field).ok()? {
        1 => Kind::Sled,
        2 => Kind::Log,
        _ => return None,
    };
    let number = cursor.u64(field).ok()?;
    let (machine, building) = (cursor.array(field).ok()?, cursor.u32(field).ok()?);
    cursor.is_empty().then_some(Named { kind, number, machine, building })
}
