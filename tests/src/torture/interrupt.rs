//! A run that is stopped leaves nothing running, nothing mounted and nothing lying about.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// The exit status of a run that was stopped.
const STOPPED: i32 = 130;

/// The folder of the stage that stands.
static STANDS_IN: Mutex<Option<PathBuf>> = Mutex::new(None);
static IS_STOPPED: AtomicBool = AtomicBool::new(false);

/// From now on ctrl-C and SIGTERM clear the stage and end the process.
///
/// # Panics
/// When the system does not let signals be handled.
pub fn clear_when_stopped() {
    let mut signals = Signals::new([SIGINT, SIGTERM]).unwrap();
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            IS_STOPPED.store(true, Ordering::Relaxed);
            // What then does not find its programs any more has nothing to tell.
            std::panic::set_hook(Box::new(|_| {}));
            let mut stands_in = STANDS_IN.lock().unwrap_or_else(PoisonError::into_inner);
            clear(stands_in.take());
            std::process::exit(STOPPED);
        }
    });
}

/// Whether the run is being stopped: then nothing is what it was, and nothing of it is worth keeping.
#[must_use]
pub fn is_stopped() -> bool {
    IS_STOPPED.load(Ordering::Relaxed)
}

/// The stage stands in `folder`, or none does. Once the run is being stopped nobody comes back from here.
pub fn stands_in(folder: Option<PathBuf>) {
    *STANDS_IN.lock().unwrap_or_else(PoisonError::into_inner) = folder;
}

fn clear(stands_in: Option<PathBuf>) {
    for pid in children() {
        // It may have ended by itself.
        let _ = kill_process(pid, Signal::KILL);
    }
    let Some(folder) = stands_in else { return };
    for mounted in mounts_under(&fs::read_to_string("/proc/self/mounts").unwrap_or_default(), &folder) {
        let _ = Command::new("umount").arg("-l").arg(mounted).stderr(Stdio::null()).status();
    }
    let _ = fs::remove_dir_all(folder);
}

/// The processes that this one has started.
fn children() -> Vec<Pid> {
    let ours = std::process::id().to_string();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_ours = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name stands in parentheses and may hold anything; then come the state and the parent.
        stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)) == Some(ours.as_str())
    };
    pids.filter(is_ours).filter_map(Pid::from_raw).collect()
}

/// Where something is mounted under `folder`, by the kernel's table, the innermost first.
fn mounts_under(table: &str, folder: &std::path::Path) -> Vec<PathBuf> {
    let places = table.lines().rev().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from);
    places.filter(|place| place.starts_with(folder)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_children_are_found_and_nobody_elses() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let found = children();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found.contains(&pid));
        assert!(!found.iter().any(|pid| pid.as_raw_nonzero().get() == 1));
    }

    #[test]
    fn only_what_is_mounted_under_the_folder_is_found() {
        let table =
            "/dev/vda / ext4 rw 0 0\n/dev/loop0 /t/a/state ext4 rw 0 0\nsick /t/a/hub fuse rw 0 0\nx /t/ab y rw 0 0\n";
        let found = mounts_under(table, std::path::Path::new("/t/a"));
        assert_eq!(found, [PathBuf::from("/t/a/hub"), PathBuf::from("/t/a/state")]);
    }
}
