//! A disk that is slow, failing, full or read-only when it is told so: a file system in user space over a folder that is
//! well.
//!
//! What is done in its folder is done in the folder beside it, unless a [`Fault`] strikes: then the operation waits, fails,
//! or is done by half. Reads and writes come here one by one, whatever the kernel would cache; of `sync_file_range` nothing
//! is seen, because nothing waits in the kernel to be written. What was written and not synced since is remembered, and is
//! lost when the power is [cut](SickDisk::cut_power); a sync that fails has given up what was written before it, as Linux
//! does it: no later sync makes that durable. Whoever else has the file open is told of it once, at his next sync.
//!
//! A process that waits here cannot be killed before it is let go, as on a real disk. So nothing waits longer than
//! [`WAIT_MAX`], and a disk that is dropped lets everybody go.

mod faults;
mod nodes;
mod pages;
mod replies;
mod through;

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use fuser::{BackgroundSession, Config, MountOption, Session};

use faults::Ward;
pub use faults::{CHANGES, Fault, FaultId, Ill, Op, WAIT_MAX};
use through::Through;

/// The disk, as a folder. Dropped, it lets go of whoever waits and is unmounted; what is on it stays beside it.
#[derive(Debug)]
pub struct SickDisk {
    folder: PathBuf,
    ward: Arc<Ward>,
    _session: BackgroundSession,
}

impl SickDisk {
    /// A well disk in the place of `folder`, with what is in it. It is kept in the folder beside it that ends in `.well`.
    ///
    /// # Panics
    /// When the machine does not allow it: it takes root and `/dev/fuse`, and no library or program.
    #[must_use]
    pub fn mount(folder: &Path) -> Self {
        let well = folder.with_extension("well");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).unwrap();
        let mode = fs::metadata(folder).unwrap().permissions().mode();
        fs::rename(folder, &well).unwrap();
        fs::DirBuilder::new().mode(mode & 0o7777).create(folder).unwrap();
        let ward = Arc::new(Ward::default());
        let through = Through::new(&well, Arc::clone(&ward)).unwrap();
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("sick".into()), MountOption::DefaultPermissions];
        config.acl = fuser::SessionACL::All;
        config.n_threads = Some(2);
        let session = Session::new(through, folder, &config).and_then(Session::spawn);
        let session = session.unwrap_or_else(|error: io::Error| panic!("{}: cannot mount: {error}", folder.display()));
        Self { folder: folder.to_path_buf(), ward, _session: session }
    }

    /// Where it is mounted.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// From now on `fault` strikes, until it is lifted or has struck as often as it says.
    pub fn fault(&self, fault: Fault) -> FaultId {
        self.ward.add(fault)
    }

    /// Takes one fault away; who waits for it goes on.
    pub fn lift(&self, fault: FaultId) {
        self.ward.lift(fault);
    }

    /// Takes all faults away; who waits goes on, and what then is done is done well.
    pub fn heal(&self) {
        self.ward.heal();
    }

    /// How often `fault` has struck, also when it is over.
    #[must_use]
    pub fn struck(&self, fault: FaultId) -> u64 {
        self.ward.struck(fault)
    }

    /// Operations that wait now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.ward.waiting()
    }

    /// Says to whoever asks that so many bytes are free; the truth again with `None`. It is a fault of [`Ill::NoSpace`] that
    /// lets writes fail.
    pub fn say_free(&self, bytes: Option<u64>) {
        self.ward.say_free(bytes);
    }

    /// The power goes: what was not synced is lost. Nobody may use the folder. The faults stay.
    pub fn cut_power(&self) {
        self.ward.pages().cut_power();
    }
}

impl Drop for SickDisk {
    fn drop(&mut self) {
        self.ward.close();
        // Lazily, because what was killed may still hold a file for a moment.
        let _ = Command::new("umount").arg("-l").arg(&self.folder).stderr(Stdio::null()).status();
    }
}

#[cfg(test)]
mod tests;
