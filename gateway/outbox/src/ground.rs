//! What the outbox stands on: stores and a disk. Tests put others in their place.

use std::fmt::Debug;
use std::io;
use std::path::Path;

use crate::error::StoreError;
use crate::reserve;
use crate::segment_log::SegmentLog;
use crate::sled_store::{Disk, SledStore};
use crate::store::Store;

/// Which store stands in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Sled,
    Log,
}

/// Opens stores and looks at the disk.
pub(crate) trait Ground: Debug + Send {
    /// Opens the store in `folder`, or makes it.
    fn open(&mut self, kind: Kind, folder: &Path) -> Result<Box<dyn Store>, StoreError>;

    /// How full the disk of `folder` is.
    fn disk(&self, folder: &Path) -> io::Result<DiskSeen>;

    /// Whether the reserve is in `folder`.
    fn has_reserve(&self, folder: &Path) -> bool;

    /// Puts the reserve into `folder`, or takes it away.
    fn set_reserve(&mut self, folder: &Path, held: bool) -> io::Result<()>;
}

/// How full a disk is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DiskSeen {
    /// Bytes that we may still take.
    pub(crate) free: u64,
    pub(crate) used: u64,
}

/// The real one.
#[derive(Debug)]
pub(crate) struct Machine;

impl Ground for Machine {
    fn open(&mut self, kind: Kind, folder: &Path) -> Result<Box<dyn Store>, StoreError> {
        Ok(match kind {
            Kind::Sled => Box::new(SledStore::open(folder, Box::new(Disk))?),
            Kind::Log => Box::new(SegmentLog::open(folder)?),
        })
    }

    fn disk(&self, folder: &Path) -> io::Result<DiskSeen> {
        let disk = rustix::fs::statvfs(folder)?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        Ok(DiskSeen { free: bytes(disk.f_bavail), used: bytes(disk.f_blocks.saturating_sub(disk.f_bfree)) })
    }

    fn has_reserve(&self, folder: &Path) -> bool {
        reserve::is_held(folder)
    }

    fn set_reserve(&mut self, folder: &Path, held: bool) -> io::Result<()> {
        if held { reserve::hold(folder) } else { reserve::give_back(folder) }
    }
}
