//! The file system: every operation is judged, and then done in the folder beside.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::SystemTime;

use fuser::{
    BsdFileFlags, Errno as FuseErrno, FileAttr, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use rustix::fs::{AtFlags, CWD, FallocateFlags, Gid, Mode, OFlags, Uid};
use rustix::io::{Errno, Result};

use super::faults::{Op, Verdict, Ward};
use super::nodes::Nodes;
use super::replies::{TTL, answer, answer_attributes, answer_entry};

/// The file system. What an operation waits for, a thread of its own waits for.
pub(super) struct Through(Arc<Inner>);

struct Inner {
    ward: Arc<Ward>,
    nodes: Nodes,
}

impl Through {
    pub(super) fn new(root: &Path, ward: Arc<Ward>) -> Result<Self> {
        Ok(Self(Arc::new(Inner { ward, nodes: Nodes::new(root)? })))
    }

    /// Does `work` as the ward says: at once, later, or not.
    fn attend(&self, op: Op, path: impl FnOnce(&Nodes) -> String, work: impl FnOnce(&Inner, Verdict) + Send + 'static) {
        let verdict = self.0.ward.verdict(op, || path(&self.0.nodes));
        if verdict.is_at_once() {
            return work(&self.0, verdict);
        }
        let inner = Arc::clone(&self.0);
        thread::spawn(move || {
            inner.ward.wait(&verdict);
            work(&inner, verdict);
        });
    }
}

/// What a verdict lets be done.
fn judged<T>(verdict: Verdict, work: impl FnOnce() -> Result<T>) -> std::result::Result<T, FuseErrno> {
    verdict.error.map_or_else(work, Err).map_err(of)
}

fn of(error: Errno) -> FuseErrno {
    FuseErrno::from_i32(error.raw_os_error())
}

fn io<T>(done: std::io::Result<T>) -> Result<T> {
    done.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

impl Inner {
    /// Opens the file for what the kernel asked; for writing also for reading, so that what is overwritten is known.
    fn open(&self, inode: INodeNo, writes: bool) -> Result<File> {
        io(OpenOptions::new().read(true).write(writes).open(self.nodes.door(inode)?))
    }

    fn write(&self, inode: INodeNo, handle: FileHandle, at: u64, data: &[u8]) -> Result<()> {
        let file = self.nodes.file(handle.0)?;
        io(self.ward.pages().change(inode.0, &file, at, at + data.len() as u64))?;
        io(file.write_all_at(data, at))
    }

    fn cut(&self, inode: INodeNo, len: u64) -> Result<()> {
        let file = self.open(inode, true)?;
        let now = io(file.metadata())?.len();
        io(self.ward.pages().change(inode.0, &file, len.min(now), len.max(now)))?;
        io(file.set_len(len))
    }

    fn sync(&self, inode: INodeNo, handle: FileHandle, verdict: Verdict) -> std::result::Result<(), FuseErrno> {
        if verdict.error.is_some() {
            self.ward.pages().given_up(inode.0);
        }
        let failures = self.ward.pages().failures(inode.0);
        let is_news = self.nodes.tell_failures(handle.0, failures);
        judged(verdict, || {
            if is_news {
                return Err(Errno::IO);
            }
            io(self.nodes.file(handle.0)?.sync_data())?;
            self.ward.pages().synced(inode.0);
            Ok(())
        })
    }

    fn create(&self, parent: INodeNo, name: &OsStr, mode: u32) -> Result<(FileAttr, u64)> {
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&*self.nodes.at(parent)?, name, flags, Mode::from_raw_mode(mode))?;
        // The kernel has applied the umask of whoever asked; ours is not to be applied too.
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o7777))?;
        let attributes = self.nodes.look_up(parent, name)?;
        let failures = self.ward.pages().failures(attributes.ino.0);
        Ok((attributes, self.nodes.opened(file.into(), failures)))
    }

    fn make_folder(&self, parent: INodeNo, name: &OsStr, mode: u32) -> Result<FileAttr> {
        let mode = Mode::from_raw_mode(mode & 0o7777);
        rustix::fs::mkdirat(&*self.nodes.at(parent)?, name, mode)?;
        rustix::fs::chmodat(&*self.nodes.at(parent)?, name, mode, AtFlags::empty())?;
        self.nodes.look_up(parent, name)
    }

    fn remove(&self, parent: INodeNo, name: &OsStr, flags: AtFlags) -> Result<()> {
        let folder = self.nodes.at(parent)?;
        let stat = rustix::fs::statat(&*folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        rustix::fs::unlinkat(&*folder, name, flags)?;
        if stat.st_nlink <= 1 || flags.contains(AtFlags::REMOVEDIR) {
            self.ward.pages().forget(stat.st_ino);
        }
        Ok(())
    }

    fn set_attributes(&self, inode: INodeNo, set: &Set) -> Result<()> {
        let door = self.nodes.door(inode)?;
        if let Some(mode) = set.mode {
            rustix::fs::chmodat(CWD, &door, Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())?;
        }
        let (uid, gid) = (set.uid.map(Uid::from_raw), set.gid.map(Gid::from_raw));
        if uid.is_some() || gid.is_some() {
            rustix::fs::chownat(CWD, &door, uid, gid, AtFlags::empty())?;
        }
        let mut times = std::fs::FileTimes::new();
        if let Some(time) = set.accessed {
            times = times.set_accessed(time);
        }
        if let Some(time) = set.modified {
            times = times.set_modified(time);
        }
        if set.accessed.is_some() || set.modified.is_some() {
            io(io(OpenOptions::new().read(true).open(&door))?.set_times(times))?;
        }
        Ok(())
    }
}

/// What is set of a file's attributes, besides its length.
struct Set {
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    accessed: Option<SystemTime>,
    modified: Option<SystemTime>,
}

fn moment(time: TimeOrNow) -> SystemTime {
    match time {
        TimeOrNow::SpecificTime(time) => time,
        TimeOrNow::Now => SystemTime::now(),
    }
}

impl Filesystem for Through {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        answer_entry(self.0.nodes.look_up(parent, name).map_err(of), reply);
    }

    fn forget(&self, _: &Request, inode: INodeNo, lookups: u64) {
        self.0.nodes.forget(inode, lookups);
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        answer_attributes(self.0.nodes.attributes(inode).map_err(of), reply);
    }

    fn setattr(
        &self,
        _: &Request,
        inode: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        accessed: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = Set { mode, uid, gid, accessed: accessed.map(moment), modified: modified.map(moment) };
        self.attend(
            Op::Write,
            |nodes| nodes.path(inode),
            move |inner, verdict| {
                let done = judged(verdict, || {
                    size.map_or(Ok(()), |len| inner.cut(inode, len))?;
                    inner.set_attributes(inode, &set)?;
                    inner.nodes.attributes(inode)
                });
                answer_attributes(done, reply);
            },
        );
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let name = name.to_owned();
        let path = name.clone();
        self.attend(
            Op::Create,
            move |nodes| nodes.path_in(parent, &path),
            move |inner, verdict| {
                answer_entry(judged(verdict, || inner.make_folder(parent, &name, mode & !umask)), reply);
            },
        );
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.to_owned();
        let path = name.clone();
        self.attend(
            Op::Remove,
            move |nodes| nodes.path_in(parent, &path),
            move |inner, verdict| {
                answer(judged(verdict, || inner.remove(parent, &name, AtFlags::empty())), reply);
            },
        );
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.to_owned();
        let path = name.clone();
        self.attend(
            Op::Remove,
            move |nodes| nodes.path_in(parent, &path),
            move |inner, verdict| {
                answer(judged(verdict, || inner.remove(parent, &name, AtFlags::REMOVEDIR)), reply);
            },
        );
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (name, new_name) = (name.to_owned(), new_name.to_owned());
        let path = new_name.clone();
        let flags = rustix::fs::RenameFlags::from_bits_retain(flags.bits());
        self.attend(
            Op::Rename,
            move |nodes| nodes.path_in(new_parent, &path),
            move |inner, verdict| {
                let done = judged(verdict, || {
                    let (from, to) = (inner.nodes.at(parent)?, inner.nodes.at(new_parent)?);
                    rustix::fs::renameat_with(&*from, &name, &*to, &new_name, flags)
                });
                answer(done, reply);
            },
        );
    }

    fn link(&self, _: &Request, inode: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let name = name.to_owned();
        let path = name.clone();
        self.attend(
            Op::Create,
            move |nodes| nodes.path_in(parent, &path),
            move |inner, verdict| {
                let done = judged(verdict, || {
                    let door = inner.nodes.door(inode)?;
                    rustix::fs::linkat(CWD, &door, &*inner.nodes.at(parent)?, &name, AtFlags::SYMLINK_FOLLOW)?;
                    inner.nodes.look_up(parent, &name)
                });
                answer_entry(done, reply);
            },
        );
    }

    fn open(&self, _: &Request, inode: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let writes = OFlags::from_bits_retain(flags.0.cast_unsigned()).intersects(OFlags::WRONLY | OFlags::RDWR);
        let op = if writes { Op::OpenToWrite } else { Op::Open };
        self.attend(
            op,
            |nodes| nodes.path(inode),
            move |inner, verdict| match judged(verdict, || inner.open(inode, writes)) {
                Ok(file) => {
                    let failures = inner.ward.pages().failures(inode.0);
                    reply.opened(FileHandle(inner.nodes.opened(file, failures)), FopenFlags::FOPEN_DIRECT_IO);
                }
                Err(error) => reply.error(error),
            },
        );
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, _: i32, reply: ReplyCreate) {
        let name = name.to_owned();
        let path = name.clone();
        self.attend(
            Op::Create,
            move |nodes| nodes.path_in(parent, &path),
            move |inner, verdict| match judged(verdict, || inner.create(parent, &name, mode & !umask)) {
                Ok((attributes, handle)) => {
                    let flags = FopenFlags::FOPEN_DIRECT_IO;
                    reply.created(&TTL, &attributes, Generation(0), FileHandle(handle), flags);
                }
                Err(error) => reply.error(error),
            },
        );
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        handle: FileHandle,
        at: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.attend(
            Op::Read,
            |nodes| nodes.path(inode),
            move |inner, verdict| {
                let size = if verdict.is_short { (size / 2).max(1) } else { size };
                let mut bytes = vec![0; size as usize];
                let read = judged(verdict, || io(inner.nodes.file(handle.0)?.read_at(&mut bytes, at)));
                match read {
                    Ok(read) => reply.data(&bytes[..read]),
                    Err(error) => reply.error(error),
                }
            },
        );
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        handle: FileHandle,
        at: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let data = data.to_vec();
        self.attend(
            Op::Write,
            |nodes| nodes.path(inode),
            move |inner, verdict| {
                let part = if verdict.is_short { (data.len() / 2).max(1) } else { data.len() };
                match judged(verdict, || inner.write(inode, handle, at, &data[..part])) {
                    Ok(()) => reply.written(u32::try_from(part).unwrap_or(u32::MAX)),
                    Err(error) => reply.error(error),
                }
            },
        );
    }

    fn fsync(&self, _: &Request, inode: INodeNo, handle: FileHandle, _: bool, reply: ReplyEmpty) {
        self.attend(
            Op::Sync,
            |nodes| nodes.path(inode),
            move |inner, verdict| {
                answer(inner.sync(inode, handle, verdict), reply);
            },
        );
    }

    fn fallocate(
        &self,
        _: &Request,
        inode: INodeNo,
        handle: FileHandle,
        at: u64,
        len: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        self.attend(
            Op::Write,
            |nodes| nodes.path(inode),
            move |inner, verdict| {
                let done = judged(verdict, || {
                    let file = inner.nodes.file(handle.0)?;
                    io(inner.ward.pages().change(inode.0, &file, at, at + len))?;
                    rustix::fs::fallocate(&*file, FallocateFlags::from_bits_retain(mode.cast_unsigned()), at, len)
                });
                answer(done, reply);
            },
        );
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.0.nodes.closed(handle.0);
        reply.ok();
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // Nothing to do, and so the kernel never asks again: who ends does not wait for us.
        reply.error(FuseErrno::ENOSYS);
    }

    fn opendir(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.attend(
            Op::Open,
            |nodes| nodes.path(inode),
            move |inner, verdict| match judged(verdict, || io(inner.nodes.list(inode))) {
                Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::empty()),
                Err(error) => reply.error(error),
            },
        );
    }

    fn readdir(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        match self.0.nodes.listed(handle.0) {
            Ok(listed) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX);
                for (place, (inode, kind, name)) in listed.iter().enumerate().skip(from) {
                    if reply.add(INodeNo(*inode), place as u64 + 1, *kind, name) {
                        break;
                    }
                }
                reply.ok();
            }
            Err(error) => reply.error(of(error)),
        }
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.0.nodes.folder_closed(handle.0);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.attend(
            Op::SyncFolder,
            |nodes| nodes.path(inode),
            move |inner, verdict| {
                let done =
                    judged(verdict, || io(File::open(inner.nodes.door(inode)?).and_then(|folder| folder.sync_all())));
                answer(done, reply);
            },
        );
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let there = self.0.nodes.door(INodeNo::ROOT).and_then(|door| rustix::fs::statvfs(&door));
        match there {
            Ok(there) => {
                let free = self.0.ward.free().map_or(there.f_bavail, |bytes| bytes / there.f_frsize.max(1));
                #[expect(clippy::cast_possible_truncation, reason = "block sizes are small")]
                let (block, name, fragment) = (there.f_bsize as u32, there.f_namemax as u32, there.f_frsize as u32);
                reply.statfs(there.f_blocks, free, free, there.f_files, there.f_ffree, block, name, fragment);
            }
            Err(error) => reply.error(of(error)),
        }
    }
}
