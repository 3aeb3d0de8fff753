//! A small disk of its own, ext4 on a loop device, and somebody else who fills it.
#![allow(dead_code, reason = "each test uses its own part")]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use tempfile::TempDir;

/// The disk. Dropped, it is unmounted, and its image is gone.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// A new disk of `mebibytes`.
    pub(crate) fn mount(mebibytes: u32) -> Self {
        let disk = Self { folder: tempfile::tempdir().unwrap() };
        let (image, folder) = (disk.folder.path().join("image"), disk.path());
        File::create(&image).unwrap().set_len(u64::from(mebibytes) << 20).unwrap();
        fs::create_dir(&folder).unwrap();
        let image = image.to_str().unwrap();
        well("mkfs.ext4", &["-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", image]);
        well("mount", &["-o", "loop", image, folder.to_str().unwrap()]);
        disk
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// Takes all that is free, to the last block.
    pub(crate) fn fill(&self) {
        fill(&self.path());
    }

    /// Gives that back.
    pub(crate) fn free(&self) {
        free(&self.path());
    }

    /// Somebody who fills it and gives it back at random moments, until dropped.
    pub(crate) fn filler(&self, seed: u64) -> Filler {
        let folder = self.path();
        let (over, is_over) = mpsc::channel::<()>();
        let mut rng = fastrand::Rng::with_seed(seed);
        let thread = std::thread::spawn(move || {
            let goes_on = |ms| is_over.recv_timeout(Duration::from_millis(ms)) == Err(RecvTimeoutError::Timeout);
            while goes_on(rng.u64(1..60)) {
                fill(&folder);
                let more = goes_on(rng.u64(1..120));
                free(&folder);
                if !more {
                    break;
                }
            }
        });
        Filler { over: Some(over), thread: Some(thread) }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a store's own threads may hold a file for a moment.
        let _ = Command::new("umount").arg("-l").arg(self.path()).stderr(Stdio::null()).status();
    }
}

/// Who fills a disk.
#[derive(Debug)]
pub(crate) struct Filler {
    /// Dropped, he stops.
    over: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Filler {
    fn drop(&mut self) {
        self.over = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn fill(folder: &Path) {
    let Ok(mut file) = File::create(folder.join("filler")) else { return };
    for part in [1 << 20, 64 << 10, 1024] {
        let part = vec![1; part];
        while file.write_all(&part).is_ok() {}
    }
    // What the kernel held back until it knew where all of it goes is taken too.
    while file.sync_all().is_ok() && file.write_all(&[1; 1024]).is_ok() {}
}

fn free(folder: &Path) {
    let _ = fs::remove_file(folder.join("filler"));
}

fn well(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; deploy/setup-debian installs it"));
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}
