//! Whether the state folder's disk has room, takes writes, keeps them over a power cut, and how fast it confirms.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FsWord, Mode, OFlags, fstatfs, openat, statvfs};

use super::{Case, Finding};
use crate::clock::Clock;
use crate::limits::{DISK_WRONG_PERCENT, FULL_PERCENT, SYNC_SLOW, SYNC_WRONG};

const CHECK: &str = "disk";
/// File systems whose files are gone with the power (`linux/magic.h`).
const FORGETFUL: [FsWord; 2] = [0x0102_1994, 0x8584_58f6];

pub(super) fn look(case: &Case<'_>) -> Vec<Finding> {
    let state = nearest(&case.config.state);
    vec![room(state, case.config.outbox.bytes_max).unwrap_or_else(|error| unseen(state, &error)), confirmation(state)]
}

/// The folder, or the nearest one above it that is there.
fn nearest(folder: &Path) -> &Path {
    folder.ancestors().find(|ancestor| ancestor.is_dir()).unwrap_or(folder)
}

fn unseen(folder: &Path, error: &io::Error) -> Finding {
    let found = format!("{}: cannot look at its disk: {error}", folder.display());
    Finding::wrong(CHECK, found, "run this as root or as the gateway's user, and look at the disk")
}

fn room(folder: &Path, outbox_max: u64) -> io::Result<Finding> {
    let found = statvfs(folder)?;
    let taken = found.f_blocks.saturating_sub(found.f_bfree);
    let bytes = percent(taken, taken.saturating_add(found.f_bavail));
    let files = percent(found.f_files.saturating_sub(found.f_ffree), found.f_files);
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    Ok(judge(folder, bytes.max(files), files > bytes, free, outbox_max))
}

fn percent(part: u64, whole: u64) -> u8 {
    u8::try_from(part.saturating_mul(100).checked_div(whole).unwrap_or(0)).unwrap_or(100)
}

fn judge(folder: &Path, percent: u8, by_files: bool, free: u64, outbox_max: u64) -> Finding {
    const MIB: u64 = 1 << 20;
    let what = if by_files { "file numbers" } else { "room" };
    let (folder, free_mib) = (folder.display(), free / MIB);
    let found = format!("{folder}: {percent} % of its {what} taken, {free_mib} MiB free");
    let remedy = "make room on it: `du -x` says where it went; see the runbook, *The disk is full*";
    if percent >= DISK_WRONG_PERCENT {
        Finding::wrong(CHECK, found, remedy)
    } else if percent >= FULL_PERCENT {
        Finding::notice(CHECK, found, remedy)
    } else if free < outbox_max {
        let found = format!("{found}, and the outbox may grow to {} MiB", outbox_max / MIB);
        Finding::notice(CHECK, found, "make room, or lower outbox.bytes_max: without a hub the disk fills first")
    } else {
        Finding::good(CHECK, found)
    }
}

/// What it takes to have a block confirmed.
fn confirmation(folder: &Path) -> Finding {
    let shown = folder.display();
    match sync_time(folder) {
        Ok((true, _)) => {
            let found = format!("{shown} lies in memory: what is receipted is gone with the power");
            Finding::wrong(CHECK, found, "put `state` on a disk")
        }
        Ok((false, took)) => judge_sync(took),
        // File systems without nameless files are rare, and as good.
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            Finding::good(CHECK, format!("{shown}: cannot be tried without leaving a file"))
        }
        Err(error) => {
            let found = format!("{shown}: takes no write: {error}");
            Finding::wrong(
                CHECK,
                found,
                "run this as root or as the gateway's user; else look at the disk and the kernel's log",
            )
        }
    }
}

fn judge_sync(took: Duration) -> Finding {
    let found = format!("confirms a write in {:.1} ms", took.as_secs_f64() * 1000.0);
    let remedy = "receipts wait for it: a worn card or a shared disk; put `state` on a better one";
    if took >= SYNC_WRONG {
        Finding::wrong(CHECK, found, remedy)
    } else if took >= SYNC_SLOW {
        Finding::notice(CHECK, found, remedy)
    } else {
        Finding::good(CHECK, found)
    }
}

/// Whether `folder` forgets, and how long it takes to write a block into it and have that confirmed: the best of three, in a
/// file that has no name.
fn sync_time(folder: &Path) -> io::Result<(bool, Duration)> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let mut file = File::from(openat(rustix::fs::CWD, folder, flags, Mode::RUSR | Mode::WUSR)?);
    let forgets = FORGETFUL.contains(&fstatfs(&file)?.f_type);
    let (clock, mut best) = (Clock::start(), Duration::MAX);
    for _ in 0..3 {
        let begun = clock.monotonic();
        file.write_all(&[0x5a; 4096])?;
        file.sync_data()?;
        best = best.min(clock.monotonic() - begun);
    }
    Ok((forgets, best))
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::tests::{config, judged};
    use super::*;

    #[test]
    fn disk_that_fills_is_noticed_and_one_that_is_full_is_wrong() {
        let verdict = |percent, free| judge(Path::new("/state"), percent, false, free, 1 << 30).verdict;
        assert_eq!(verdict(FULL_PERCENT - 1, 2 << 30), Verdict::Good);
        assert_eq!(verdict(FULL_PERCENT, 2 << 30), Verdict::Notice);
        assert_eq!(verdict(DISK_WRONG_PERCENT - 1, 2 << 30), Verdict::Notice);
        assert_eq!(verdict(DISK_WRONG_PERCENT, 2 << 30), Verdict::Wrong);
        assert_eq!(verdict(10, (1 << 30) - 1), Verdict::Notice);
        let of_files = judge(Path::new("/state"), 99, true, 2 << 30, 1 << 30);
        assert!(of_files.found.contains("file numbers"), "{}", of_files.found);
    }

    #[test]
    fn slow_disk_is_noticed_and_one_that_hangs_is_wrong() {
        assert_eq!(judge_sync(SYNC_SLOW - Duration::from_micros(1)).verdict, Verdict::Good);
        assert_eq!(judge_sync(SYNC_SLOW).verdict, Verdict::Notice);
        assert_eq!(judge_sync(SYNC_WRONG).verdict, Verdict::Wrong);
    }

    #[test]
    fn state_in_memory_is_wrong() {
        let finding = confirmation(Path::new("/dev/shm"));
        assert!(finding.verdict == Verdict::Wrong && finding.found.contains("in memory"), "{}", finding.found);
    }

    #[test]
    fn folder_that_takes_no_write_is_wrong() {
        let finding = confirmation(Path::new("/proc/self"));
        assert!(finding.verdict == Verdict::Wrong && finding.found.contains("takes no write"), "{}", finding.found);
    }

    #[test]
    fn nothing_is_left_behind() {
        let folder = tempfile::tempdir_in(std::env::current_dir().unwrap()).unwrap();
        let config = config(folder.path(), "");
        let (_, text) = judged(&look(&Case { config: &config, running: None }));
        assert!(text.contains("confirms a write in"), "{text}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
