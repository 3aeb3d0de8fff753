//! A Debian of its own for a test: this machine's files as they are, under a layer in memory that takes every change.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::process::well;
use crate::site::text;

/// The root. Dropped, it is gone with all that was done in it.
#[derive(Debug)]
pub struct FreshRoot {
    folder: TempDir,
}

impl FreshRoot {
    /// A root as this machine has it, without what runs in it: no process, no device, no systemd.
    ///
    /// # Panics
    /// When the system does not allow it; so do all functions here when something fails.
    #[must_use]
    pub fn new() -> Self {
        let root = Self { folder: tempfile::tempdir().unwrap() };
        let (layers, at) = (root.folder.path().join("layers"), root.path("/"));
        fs::create_dir_all(&layers).unwrap();
        fs::create_dir_all(&at).unwrap();
        // Of its own file system, because layers in memory can be laid over any other.
        well("mount", &["-t", "tmpfs", "tmpfs", text(&layers)]);
        let (upper, work) = (layers.join("upper"), layers.join("work"));
        fs::create_dir(&upper).unwrap();
        fs::create_dir(&work).unwrap();
        let options = format!("lowerdir=/,upperdir={},workdir={}", text(&upper), text(&work));
        well("mount", &["-t", "overlay", "overlay", "-o", &options, text(&at)]);
        fs::create_dir_all(root.path("/dev")).unwrap();
        fs::write(root.path("/dev/null"), "").unwrap();
        root
    }

    /// Where `path` of that root is on this machine.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join("root").join(path.trim_start_matches('/'))
    }

    /// Runs `program` in it.
    pub fn run(&self, program: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
        self.command(&[]).arg(program).args(args).stdin(Stdio::null()).output().unwrap()
    }

    /// What enters it by `chroot` with `options`, and knows nothing of the test's own surroundings; who is run there comes behind.
    #[must_use]
    pub fn command(&self, options: &[&str]) -> Command {
        let mut chroot = Command::new("chroot");
        chroot.args(options).arg(self.path("/")).env_clear();
        chroot.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        chroot.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C.UTF-8");
        chroot
    }

    /// The same, which must succeed; gives all that was said.
    pub fn well(&self, program: &str, args: &[&str]) -> String {
        let output = self.run(program, args);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(output.status.success(), "{program} {args:?}: {said}");
        said
    }

    /// Puts `file` into it, as `path`.
    pub fn copy_in(&self, file: &Path, path: &str) {
        let target = self.path(path);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(file, target).unwrap();
    }

    /// From now on a systemd seems to run in it, and `systemctl` writes down what it is told.
    pub fn pretend_systemd(&self) {
        fs::create_dir_all(self.path("/run/systemd/system")).unwrap();
        let program = self.path("/usr/local/bin/systemctl");
        fs::write(&program, "#!/bin/sh\necho \"$*\" >> /systemctl.log\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// What `systemctl` has been told since the last look.
    #[must_use]
    pub fn systemctl(&self) -> Vec<String> {
        let log = self.path("/systemctl.log");
        let told = fs::read_to_string(&log).unwrap_or_default();
        let _ = fs::remove_file(log);
        told.lines().map(str::to_owned).collect()
    }
}

impl Default for FreshRoot {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for FreshRoot {
    fn drop(&mut self) {
        for layer in ["root", "layers"] {
            let layer = self.folder.path().join(layer);
            let _ = Command::new("umount").arg("-l").arg(layer).stderr(Stdio::null()).status();
        }
    }
}
