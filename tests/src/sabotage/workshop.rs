//! A scratch copy of the repository, in which faults are tried.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::fault::{Fault, Suite};
use super::verdict::{Verdict, all_passed};
use crate::process::cargo;
use crate::wait::until_or;

/// How long a run may take, its building included.
const RUN_MAX: Duration = Duration::from_secs(900);

/// The copy, with a target folder of its own beside it, so that only what a fault touches is built anew.
#[derive(Debug)]
pub struct Workshop {
    root: PathBuf,
    tree: PathBuf,
    target: PathBuf,
}

impl Workshop {
    /// A copy of the repository at `root` under `folder`, as its work tree stands; one that is there is brought up to date.
    ///
    /// # Errors
    /// What git or the file system says.
    pub fn open(root: &Path, folder: &Path) -> Result<Self, String> {
        let folder = std::path::absolute(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let workshop = Self { root: root.into(), tree: folder.join("tree"), target: folder.join("target") };
        let mut git = Command::new("git");
        git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root);
        let listed = git.output().map_err(|error| format!("git: {error}"))?;
        let names: BTreeSet<&str> = std::str::from_utf8(&listed.stdout)
            .map_err(|error| error.to_string())?
            .split('\0')
            .filter(|name| !name.is_empty() && root.join(name).is_file())
            .collect();
        if names.is_empty() {
            return Err(format!("{}: git knows of no files here", root.display()));
        }
        for name in &names {
            workshop.copy(name)?;
        }
        workshop.forget_others(&workshop.tree, &names)?;
        Ok(workshop)
    }

    /// Whether the fault fits the code.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn fits(&self, fault: &Fault) -> Result<(), String> {
        self.spoilt(fault).map(|_| ())
    }

    /// Puts the fault in, runs the test that must notice, and takes the fault out.
    ///
    /// # Errors
    /// When the fault does not fit the code, or the run cannot be made.
    pub fn try_out(&self, fault: &Fault) -> Result<Verdict, String> {
        let path = self.tree.join(&fault.file);
        let (whole, spoilt) = self.spoilt(fault)?;
        fs::write(&path, spoilt).map_err(|error| format!("{}: {error}", path.display()))?;
        let ended = self.run(&Suite::of(fault), &[fault.test.as_str()].into());
        fs::write(&path, whole).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(if ended? { Verdict::of(&fault.test, &self.printed()) } else { Verdict::Hung })
    }

    /// Whether the `tests` of `suite` pass as the copy stands.
    ///
    /// # Errors
    /// When cargo cannot be run.
    pub fn passes(&self, suite: &Suite, tests: &BTreeSet<&str>) -> Result<bool, String> {
        Ok(self.run(suite, tests)? && all_passed(tests.len(), &self.printed()))
    }

    /// The text of the fault's file, without the fault and with it.
    fn spoilt(&self, fault: &Fault) -> Result<(String, String), String> {
        let path = self.tree.join(&fault.file);
        let whole = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let spoilt = fault.put_into(&whole)?;
        Ok((whole, spoilt))
    }

    /// Runs `tests` as the copy stands; says whether the run ended in its time.
    fn run(&self, suite: &Suite, tests: &BTreeSet<&str>) -> Result<bool, String> {
        let log = self.target.with_extension("log");
        let file = File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        let errors = file.try_clone().map_err(|error| error.to_string())?;
        let mut cargo = cargo();
        cargo.args(suite.cargo_test(tests)).current_dir(&self.tree).env("CARGO_TARGET_DIR", &self.target);
        cargo.stdin(Stdio::null()).stdout(file).stderr(errors).process_group(0);
        let mut child = cargo.spawn().map_err(|error| format!("cargo: {error}"))?;
        let ended = until_or(RUN_MAX, || child.try_wait().ok().flatten()).is_some();
        if !ended {
            end_group(&mut child);
        }
        Ok(ended)
    }

    /// What the last run printed.
    #[must_use]
    pub fn printed(&self) -> String {
        fs::read(self.target.with_extension("log"))
            .map_or_else(|_| String::new(), |log| String::from_utf8_lossy(&log).into())
    }

    /// Copies one file unless it is there as it is: cargo goes by the time of the last writing.
    fn copy(&self, name: &str) -> Result<(), String> {
        let (from, to) = (self.root.join(name), self.tree.join(name));
        let of = |path: &Path| format!("{}", path.display());
        let bytes = fs::read(&from).map_err(|error| format!("{}: {error}", of(&from)))?;
        if fs::read(&to).is_ok_and(|there| there == bytes) {
            return Ok(());
        }
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", of(folder)))?;
        }
        fs::copy(&from, &to).map_err(|error| format!("{}: {error}", of(&to)))?;
        // The copy carries the time of the original, and cargo looks for later ones.
        File::options()
            .append(true)
            .open(&to)
            .and_then(|file| file.set_modified(std::time::SystemTime::now()))
            .map_err(|error| format!("{}: {error}", of(&to)))
    }

    /// Removes from the copy what the repository no longer has.
    fn forget_others(&self, folder: &Path, names: &BTreeSet<&str>) -> Result<(), String> {
        let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for entry in entries {
            let path = entry.map_err(|error| error.to_string())?.path();
            let name = path.strip_prefix(&self.tree).ok().and_then(Path::to_str).unwrap_or_default();
            if path.is_dir() {
                self.forget_others(&path, names)?;
            } else if !names.contains(name) {
                fs::remove_file(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            }
        }
        Ok(())
    }
}

/// Ends a run and all that it has started.
fn end_group(child: &mut Child) {
    // The group is the run's own, made at its start.
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    let _ = child.wait();
}
