//! A disk of its own for a folder, whose power can be cut: ext4 on a loop device.
//!
//! What a power cut leaves is what has reached the device. That is the image as it lies in its file, without what the
//! mounted file system still holds in memory; so the image is copied, the old mount is thrown away, and the copy is mounted
//! in its place. Whoever writes there is stopped at the moment of the copy.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{FallocateFlags, SeekFrom, copy_file_range, seek};

use crate::process::well;
use crate::site::text;

/// Copies of an image until one is of one moment.
const COPIES_MAX: u32 = 50;

/// The disk. Dropped, it is unmounted; its image goes with the folder that it lies in.
#[derive(Debug)]
pub struct Disk {
    image: PathBuf,
    folder: PathBuf,
    cuts: u32,
}

impl Disk {
    /// A new disk of `mebibytes` under `folder`, which is empty and stays the mount's place. The image lies beside it.
    ///
    /// # Panics
    /// When the machine does not allow it (root, loop devices, e2fsprogs); so do all functions here.
    #[must_use]
    pub fn mount(folder: &Path, mebibytes: u32) -> Self {
        let image = folder.with_extension("img");
        fs::create_dir_all(folder).unwrap();
        fs::File::create(&image).unwrap().set_len(u64::from(mebibytes) << 20).unwrap();
        well("mkfs.ext4", &["-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", text(&image)]);
        let disk = Self { image, folder: folder.to_path_buf(), cuts: 0 };
        disk.mount_image();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
        disk
    }

    /// Keeps what has reached the disk by now, as it would be found after a power cut at this moment. The file system
    /// may be writing by itself: then the copy is none of one moment, and made anew.
    pub fn freeze_frame(&mut self) {
        self.cuts += 1;
        let written = || fs::metadata(&self.image).unwrap().modified().unwrap();
        for _ in 0..COPIES_MAX {
            let before = written();
            copy_data(&self.image, &self.next_image());
            if written() == before {
                return;
            }
        }
        panic!("{} does not come to rest", self.image.display());
    }

    /// Fills the disk but for `leave` bytes.
    pub fn fill(&self, leave: u64) {
        let file = fs::File::create(self.filler()).unwrap();
        let stat = rustix::fs::statvfs(&self.folder).unwrap();
        let free = (stat.f_bavail * stat.f_frsize).saturating_sub(leave);
        // Whoever else writes takes some of it meanwhile, and then the disk is as full as it can be.
        let _ = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, free.max(1));
    }

    /// Ends [`fill`](Self::fill), for a later power cut, too.
    pub fn make_room(&self) {
        fs::remove_file(self.filler()).unwrap();
        rustix::fs::syncfs(fs::File::open(&self.folder).unwrap()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.folder.join(".filler")
    }

    /// Puts what [`freeze_frame`](Self::freeze_frame) has kept in the place of the disk. Nobody may use the folder.
    pub fn cut_power(&mut self) {
        well("umount", &[text(&self.folder)]);
        fs::rename(self.next_image(), &self.image).unwrap();
        self.mount_image();
    }

    /// Lets the file system give up and turn read-only, as it does when it finds itself damaged; until it is repaired.
    pub fn turn_read_only(&self) {
        well("mount", &["-o", "remount,abort", text(&self.folder)]);
    }

    /// Checks the file system as a boot does, and mounts it anew. Nobody may use the folder.
    pub fn repair(&self) {
        well("umount", &[text(&self.folder)]);
        // It says by its status that it has corrected something.
        let _ = Command::new("e2fsck")
            .args(["-fy", text(&self.image)])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        self.mount_image();
    }

    fn next_image(&self) -> PathBuf {
        self.image.with_extension(format!("{}.img", self.cuts))
    }

    fn mount_image(&self) {
        // What is deleted leaves the image, so that its copies stay small.
        well("mount", &["-o", "loop,discard", text(&self.image), text(&self.folder)]);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, because what was killed may still hold a file for a moment.
        let _ = Command::new("umount").arg("-l").arg(&self.folder).stderr(Stdio::null()).status();
    }
}

/// Copies the file `from` to `to`, but not its holes.
fn copy_data(from: &Path, to: &Path) {
    let (source, target) = (fs::File::open(from).unwrap(), fs::File::create(to).unwrap());
    let len = source.metadata().unwrap().len();
    target.set_len(len).unwrap();
    let mut end = 0;
    // No data behind the last hole is an error of that name.
    while let Ok(begin) = seek(&source, SeekFrom::Data(end)) {
        end = seek(&source, SeekFrom::Hole(begin)).unwrap();
        let (mut read, mut written) = (begin, begin);
        while read < end {
            let part = usize::try_from(end - read).unwrap();
            let copied = copy_file_range(&source, Some(&mut read), &target, Some(&mut written), part).unwrap();
            assert!(copied > 0, "{} has become shorter", from.display());
        }
    }
}
