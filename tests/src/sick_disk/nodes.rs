//! The files that the kernel knows of, each by a handle that a new name does not change.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo};
use rustix::fs::{AtFlags, Mode, OFlags, Stat, openat, statat};
use rustix::io::{Errno, Result};

/// What is listed of a folder: inode, kind, name.
pub(super) type Listed = (u64, FileType, std::ffi::OsString);

#[derive(Debug)]
struct Node {
    /// Opened as a place, not for reading.
    at: Arc<OwnedFd>,
    lookups: u64,
}

/// An open file.
#[derive(Debug)]
struct Open {
    file: Arc<File>,
    /// Of the syncs of this file that failed, how many this handle knows of.
    failures_known: u64,
}

/// Files by inode, and what is open by handle.
#[derive(Debug)]
pub(super) struct Nodes {
    root: PathBuf,
    nodes: Mutex<HashMap<u64, Node>>,
    open: Mutex<(u64, HashMap<u64, Open>)>,
    folders: Mutex<HashMap<u64, Arc<Vec<Listed>>>>,
}

const PLACE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Nodes {
    pub(super) fn new(root: &Path) -> Result<Self> {
        let at = Arc::new(openat(rustix::fs::CWD, root, PLACE, Mode::empty())?);
        let nodes = HashMap::from([(INodeNo::ROOT.0, Node { at, lookups: 1 })]);
        let open = Mutex::new((0, HashMap::new()));
        Ok(Self { root: root.to_path_buf(), nodes: Mutex::new(nodes), open, folders: Mutex::default() })
    }

    pub(super) fn at(&self, inode: INodeNo) -> Result<Arc<OwnedFd>> {
        lock(&self.nodes).get(&inode.0).map(|node| Arc::clone(&node.at)).ok_or(Errno::STALE)
    }

    /// A path that opens the file, whatever it is called.
    pub(super) fn door(&self, inode: INodeNo) -> Result<PathBuf> {
        use std::os::fd::AsRawFd as _;
        Ok(PathBuf::from(format!("/proc/self/fd/{}", self.at(inode)?.as_raw_fd())))
    }

    /// What the file is called, from the disk's root on.
    pub(super) fn path(&self, inode: INodeNo) -> String {
        let named = self.door(inode).ok().and_then(|door| std::fs::read_link(door).ok());
        let inner = named.as_deref().and_then(|named| named.strip_prefix(&self.root).ok());
        inner.map_or_else(String::new, |inner| format!("/{}", inner.display()))
    }

    /// What `name` in `parent` is or would be called.
    pub(super) fn path_in(&self, parent: INodeNo, name: &OsStr) -> String {
        format!("{}/{}", self.path(parent).trim_end_matches('/'), name.to_string_lossy())
    }

    /// The file `name` in `parent`, counted as looked up.
    pub(super) fn look_up(&self, parent: INodeNo, name: &OsStr) -> Result<FileAttr> {
        let at = openat(&*self.at(parent)?, name, PLACE, Mode::empty())?;
        let stat = statat(&at, "", AtFlags::EMPTY_PATH)?;
        let mut nodes = lock(&self.nodes);
        let node = nodes.entry(stat.st_ino).or_insert_with(|| Node { at: Arc::new(at), lookups: 0 });
        node.lookups += 1;
        Ok(attributes(&stat, stat.st_ino))
    }

    pub(super) fn attributes(&self, inode: INodeNo) -> Result<FileAttr> {
        let stat = statat(&*self.at(inode)?, "", AtFlags::EMPTY_PATH)?;
        Ok(attributes(&stat, inode.0))
    }

    pub(super) fn forget(&self, inode: INodeNo, lookups: u64) {
        let mut nodes = lock(&self.nodes);
        if let Some(node) = nodes.get_mut(&inode.0) {
            node.lookups = node.lookups.saturating_sub(lookups);
            if node.lookups == 0 && inode != INodeNo::ROOT {
                nodes.remove(&inode.0);
            }
        }
    }

    pub(super) fn opened(&self, file: File, failures_known: u64) -> u64 {
        let mut open = lock(&self.open);
        open.0 += 1;
        let handle = open.0;
        open.1.insert(handle, Open { file: Arc::new(file), failures_known });
        handle
    }

    pub(super) fn file(&self, handle: u64) -> Result<Arc<File>> {
        lock(&self.open).1.get(&handle).map(|open| Arc::clone(&open.file)).ok_or(Errno::BADF)
    }

    /// Tells the handle of so many failed syncs; whether that is news.
    pub(super) fn tell_failures(&self, handle: u64, failures: u64) -> bool {
        let mut open = lock(&self.open);
        open.1.get_mut(&handle).is_some_and(|open| std::mem::replace(&mut open.failures_known, failures) < failures)
    }

    pub(super) fn closed(&self, handle: u64) {
        lock(&self.open).1.remove(&handle);
    }

    /// Lists a folder as it is now; what happens to it meanwhile does not shift what is read.
    pub(super) fn list(&self, inode: INodeNo) -> std::io::Result<u64> {
        use std::os::unix::fs::{DirEntryExt as _, FileTypeExt as _};
        let mut listed = vec![(inode.0, FileType::Directory, ".".into()), (inode.0, FileType::Directory, "..".into())];
        for entry in std::fs::read_dir(self.door(inode)?)? {
            let entry = entry?;
            let kind = match entry.file_type()? {
                kind if kind.is_dir() => FileType::Directory,
                kind if kind.is_symlink() => FileType::Symlink,
                kind if kind.is_socket() => FileType::Socket,
                _ => FileType::RegularFile,
            };
            listed.push((entry.ino(), kind, entry.file_name()));
        }
        let mut open = lock(&self.open);
        open.0 += 1;
        lock(&self.folders).insert(open.0, Arc::new(listed));
        Ok(open.0)
    }

    pub(super) fn listed(&self, handle: u64) -> Result<Arc<Vec<Listed>>> {
        lock(&self.folders).get(&handle).cloned().ok_or(Errno::BADF)
    }

    pub(super) fn folder_closed(&self, handle: u64) {
        lock(&self.folders).remove(&handle);
    }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "as the system gives them")]
fn attributes(stat: &Stat, inode: u64) -> FileAttr {
    let time = |seconds: i64, nanos: u64| -> SystemTime { UNIX_EPOCH + Duration::new(seconds as u64, nanos as u32) };
    let kind = match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
        rustix::fs::FileType::Directory => FileType::Directory,
        rustix::fs::FileType::Symlink => FileType::Symlink,
        rustix::fs::FileType::Socket => FileType::Socket,
        _ => FileType::RegularFile,
    };
    FileAttr {
        ino: INodeNo(inode),
        size: stat.st_size as u64,
        blocks: stat.st_blocks as u64,
        atime: time(stat.st_atime, stat.st_atime_nsec),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        crtime: UNIX_EPOCH,
        kind,
        perm: (stat.st_mode & 0o7777) as u16,
        nlink: stat.st_nlink as u32,
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}
