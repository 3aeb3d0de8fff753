//! The disks of a stage: those whose power is cut by keeping the image of a moment, or those that are ill when told so.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::Duration;

use super::fault::Sickness;
use crate::disk::Disk;
use crate::sick_disk::{CHANGES, Fault, Ill, Op, SickDisk};

/// Size of a disk with an image.
const MEBIBYTES: u32 = 256;

/// One disk.
#[derive(Debug)]
pub enum Ground {
    /// ext4 on a loop device.
    Image(Disk),
    /// A file system in user space.
    Sick(SickDisk),
}

impl Ground {
    /// A disk under `folder`.
    ///
    /// # Panics
    /// When the machine does not allow it; so do all functions here.
    #[must_use]
    pub fn mount(folder: &Path, is_sick: bool) -> Self {
        if is_sick {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).unwrap();
            Self::Sick(SickDisk::mount(folder))
        } else {
            Self::Image(Disk::mount(folder, MEBIBYTES))
        }
    }

    /// Keeps what is durable at this moment, if that is not known anyway. Whoever writes there is stopped.
    pub fn freeze_frame(&mut self) {
        if let Self::Image(disk) = self {
            disk.freeze_frame();
        }
    }

    /// What was not durable is gone. Nobody uses the disk.
    pub fn cut_power(&mut self) {
        match self {
            Self::Image(disk) => disk.cut_power(),
            Self::Sick(disk) => disk.cut_power(),
        }
    }

    /// Fills the disk but for `leave` bytes.
    pub fn fill(&self, leave: u64) {
        match self {
            Self::Image(disk) => disk.fill(leave),
            Self::Sick(_) => self.fall_ill(Sickness::Full),
        }
    }

    /// From now on the disk is ill; one with an image can only be full.
    pub fn fall_ill(&self, how: Sickness) {
        let disk = match self {
            Self::Image(disk) => return disk.fill(0),
            Self::Sick(disk) => disk,
        };
        let every = |ops: &[Op], ill, n: u16| disk.fault(Fault::new(ops, ill).every(u64::from(n)));
        match how {
            Sickness::SlowSyncs(ms) => {
                every(&[Op::Sync, Op::SyncFolder], Ill::Slow(Duration::from_millis(ms.into())), 1);
            }
            Sickness::FailingSyncs(n) => {
                every(&[Op::Sync], Ill::Io, n);
            }
            Sickness::FailingWrites(n) => {
                every(&[Op::Write], Ill::Io, n);
            }
            Sickness::FailingReads(n) => {
                every(&[Op::Read], Ill::Io, n);
            }
            Sickness::ShortWrites(n) => {
                every(&[Op::Write], Ill::Short, n);
            }
            Sickness::ReadOnly => {
                every(CHANGES, Ill::ReadOnly, 1);
            }
            Sickness::Full => {
                every(&[Op::Write, Op::Create], Ill::NoSpace, 1);
                disk.say_free(Some(0));
            }
        }
    }

    /// The disk is well, and has room.
    pub fn heal(&self) {
        match self {
            Self::Image(disk) => disk.make_room(),
            Self::Sick(disk) => {
                disk.heal();
                disk.say_free(None);
            }
        }
    }
}
