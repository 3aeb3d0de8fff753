//! What the outbox stands on: stores and a disk. Tests put others in their place.

use std::fmt::Debug;
use std::io;
use std::path::Path;

use crate::error::StoreError;
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

    /// Free bytes on the disk of `folder`.
    fn free(&self, folder: &Path) -> io::Result<u64>;
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

    fn free(&self, folder: &Path) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(folder)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}
