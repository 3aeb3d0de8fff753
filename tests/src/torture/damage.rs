//! Spoils a state folder that nobody uses. What is done follows from the seed and from what lies there.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use fastrand::Rng;

use super::fault::Damage;
use crate::site::text;

/// Bits that are turned, at most.
const FLIPS_MAX: usize = 24;
/// Bytes that are cut off, zeroed or changed places, at most.
const STRETCH_MAX: u64 = 600 << 10;
/// In what the last data of a file is looked for.
const PAGE: u64 = 4096;
const PAGE_BYTES: usize = 4096;

/// Spoils the store in the state folder `state` as `how` says; gives what was done, in words. What puts old copies back is
/// not done here.
///
/// # Panics
/// When the folder is not a gateway's state folder.
pub fn spoil(state: &Path, how: Damage, seed: u64) -> String {
    let mut rng = Rng::with_seed(seed);
    let outbox = state.join("outbox");
    match how {
        Damage::FlippedBits => on_largest(&outbox, |file, used| flip(file, used, &mut rng)),
        Damage::CutTail => on_largest(&outbox, |file, used| cut(file, used, &mut rng)),
        Damage::ZeroedRange => on_largest(&outbox, |file, used| zero(file, used, &mut rng)),
        Damage::SwappedBlocks => on_largest(&outbox, |file, used| swap(file, used, &mut rng)),
        Damage::JunkTail => on_largest(&outbox, |file, _| append_junk(file, &mut rng)),
        Damage::MissingFile => {
            let files = in_use(&outbox);
            let victim = &files[rng.usize(..files.len())];
            fs::remove_file(victim).unwrap();
            format!("{} is gone", victim.display())
        }
        Damage::MissingFolder => {
            fs::remove_dir_all(&outbox).unwrap();
            "the outbox is gone".into()
        }
        Damage::LeftoverFiles => leave_over(&outbox, &mut rng),
        Damage::DamagedName => spoil_generations(&outbox, "store", &mut rng),
        Damage::DamagedCheckpoint => spoil_generations(state, "checkpoint", &mut rng),
        Damage::DamagedSafety => spoil_generations(state, "safety", &mut rng),
        Damage::OldStore | Damage::OldState | Damage::OldHub => unreachable!("old copies are put back by the executor"),
    }
}

/// Makes everything in the folder durable: what was spoiled stays so, whatever then falls over.
///
/// # Panics
/// When the disk refuses.
pub fn settle(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            settle(&entry.path());
        } else if kind.is_file() {
            File::open(entry.path()).unwrap().sync_all().unwrap();
        }
    }
    File::open(folder).unwrap().sync_all().unwrap();
}

/// Copies the folder `from` to `to`, which is not there.
///
/// # Panics
/// When that fails.
pub fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").args(["-a", "--sparse=always", text(from), text(to)]).status().unwrap();
    assert!(copied.success(), "{} cannot be copied", from.display());
}

/// Makes the contents of the folder `folder` those of `copy`, which is left.
///
/// # Panics
/// When that fails.
pub fn put_back(copy: &Path, folder: &Path) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
    }
    let contents = format!("{}/.", text(copy));
    let copied = Command::new("cp").args(["-a", "--sparse=always", &contents, text(folder)]).status().unwrap();
    assert!(copied.success(), "{} cannot be put back", copy.display());
}

/// The files of the outbox, but for stores that were moved aside.
fn in_use(outbox: &Path) -> Vec<PathBuf> {
    let is_aside = |path: &PathBuf| ["quarantine", "damaged-", "/reserve"].iter().any(|part| text(path).contains(part));
    files_under(outbox).into_iter().filter(|path| !is_aside(path)).collect()
}

/// Spoils the file of the store with the most in it; one that only keeps room is all zeros.
fn on_largest(outbox: &Path, spoil: impl FnOnce(&File, u64) -> String) -> String {
    let open = |path: PathBuf| {
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        (used(&file), file, path)
    };
    let largest = in_use(outbox).into_iter().map(open).max_by_key(|(used, ..)| *used);
    let (used, file, path) = largest.unwrap();
    let done = spoil(&file, used);
    file.sync_all().unwrap();
    format!("{}: {done}, of {used} bytes in use", path.display())
}

/// Where the last byte of a file is that is not zero: what lies beyond was only reserved.
fn used(file: &File) -> u64 {
    let mut end = file.metadata().unwrap().len();
    let mut page = [0; PAGE_BYTES];
    while end > 0 {
        let begin = (end - 1) / PAGE * PAGE;
        let part = &mut page[..usize::try_from(end - begin).unwrap()];
        file.read_exact_at(part, begin).unwrap();
        if let Some(last) = part.iter().rposition(|&byte| byte != 0) {
            return begin + last as u64 + 1;
        }
        end = begin;
    }
    1
}

fn flip(file: &File, used: u64, rng: &mut Rng) -> String {
    let flips = rng.usize(1..=FLIPS_MAX);
    for _ in 0..flips {
        let (at, mut byte) = (rng.u64(..used), [0]);
        file.read_exact_at(&mut byte, at).unwrap();
        byte[0] ^= 1 << rng.u8(..8);
        file.write_all_at(&byte, at).unwrap();
    }
    format!("{flips} bits turned")
}

fn stretch(used: u64, rng: &mut Rng) -> u64 {
    // As many short ones as long ones.
    let max = used.min(STRETCH_MAX);
    let halvings = rng.u32(..=max.ilog2());
    rng.u64(1..=max >> halvings)
}

fn cut(file: &File, used: u64, rng: &mut Rng) -> String {
    let gone = stretch(used, rng);
    file.set_len(used - gone).unwrap();
    format!("the last {gone} bytes cut off")
}

fn zero(file: &File, used: u64, rng: &mut Rng) -> String {
    let len = stretch(used, rng);
    let at = rng.u64(..=used - len);
    file.write_all_at(&vec![0; usize::try_from(len).unwrap()], at).unwrap();
    format!("{len} bytes at {at} zeroed")
}

fn swap(file: &File, used: u64, rng: &mut Rng) -> String {
    let len = PAGE << rng.u32(..6);
    let pages = (used / len).max(1);
    let first = rng.u64(..pages);
    let second = (first + rng.u64(1..pages.max(2))) % pages;
    let (one, other) = (first * len, second * len);
    let read = |at: u64| {
        let mut bytes = vec![0; usize::try_from(len).unwrap()];
        let (mut filled, end) = (0, file.metadata().unwrap().len());
        let there = usize::try_from(end.saturating_sub(at).min(len)).unwrap();
        while filled < there {
            filled += file.read_at(&mut bytes[filled..there], at + filled as u64).unwrap();
        }
        bytes
    };
    let (first, second) = (read(one), read(other));
    file.write_all_at(&second, one).unwrap();
    file.write_all_at(&first, other).unwrap();
    format!("{len} bytes at {one} and {other} changed places")
}

fn append_junk(file: &File, rng: &mut Rng) -> String {
    let mut junk = vec![0; rng.usize(1..64 << 10)];
    rng.fill(&mut junk);
    file.write_all_at(&junk, file.metadata().unwrap().len()).unwrap();
    format!("{} bytes of junk behind the end", junk.len())
}

/// Files that a crash leaves, and files that nobody knows.
fn leave_over(outbox: &Path, rng: &mut Rng) -> String {
    let mut junk = vec![0; rng.usize(..20_000)];
    rng.fill(&mut junk);
    for folder in fs::read_dir(outbox).unwrap().flatten().filter(|entry| entry.file_type().unwrap().is_dir()) {
        fs::write(folder.path().join("snap.00000000000FFFFF.generating"), &junk).unwrap();
        fs::write(folder.path().join("stray"), &junk).unwrap();
    }
    for name in ["sled-90", "log-91", "damaged-0"] {
        fs::create_dir_all(outbox.join(name)).unwrap();
        fs::write(outbox.join(name).join("db"), &junk).unwrap();
    }
    for name in ["store.c", "store.a.new", "sled-nonsense", "log-7"] {
        fs::write(outbox.join(name), &junk).unwrap();
    }
    "leftovers of a crash, and files that nobody knows".into()
}

/// Spoils one generation of the file `name`, or both.
fn spoil_generations(folder: &Path, name: &str, rng: &mut Rng) -> String {
    let mut done = String::new();
    let both = rng.bool();
    let first = rng.usize(..2);
    for place in [first, 1 - first].into_iter().take(if both { 2 } else { 1 }) {
        let path = folder.join(format!("{name}.{}", ["a", "b"][place]));
        let mut bytes = fs::read(&path).unwrap_or_default();
        let how = rng.u8(..4);
        match how {
            0 if !bytes.is_empty() => bytes.truncate(rng.usize(..bytes.len())),
            1 if !bytes.is_empty() => {
                let at = rng.usize(..bytes.len());
                bytes[at] ^= 1 << rng.u8(..8);
            }
            2 => bytes.clear(),
            _ => bytes = vec![0xa5; 100],
        }
        fs::write(&path, bytes).unwrap();
        done += &format!("{name}.{} spoiled in way {how}; ", ["a", "b"][place]);
    }
    done
}

fn files_under(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            files.extend(files_under(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A state folder as a gateway leaves it, in small.
    fn state() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("outbox/sled-1");
        fs::create_dir_all(&store).unwrap();
        let mut db = vec![0; 40_000];
        Rng::with_seed(1).fill(&mut db);
        db.resize(100_000, 0);
        fs::write(store.join("db"), db).unwrap();
        fs::write(store.join("conf"), "conf").unwrap();
        fs::write(folder.path().join("outbox/reserve"), vec![0; 200_000]).unwrap();
        for name in ["outbox/store.a", "checkpoint.a", "checkpoint.b"] {
            fs::write(folder.path().join(name), [7; 200]).unwrap();
        }
        folder
    }

    fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let relative = |path: &Path| path.strip_prefix(folder).unwrap().to_path_buf();
        files_under(folder).into_iter().map(|path| (relative(&path), fs::read(&path).unwrap())).collect()
    }

    #[test]
    fn every_way_changes_something_and_does_it_again_by_the_same_seed() {
        let old = [Damage::OldStore, Damage::OldState, Damage::OldHub];
        for how in Damage::ALL.into_iter().filter(|how| !old.contains(how)) {
            let mut changed = 0;
            for seed in 0..20 {
                let [one, other] = [state(), state()];
                let untouched = contents(one.path());
                spoil(one.path(), how, seed);
                spoil(other.path(), how, seed);
                assert_eq!(contents(one.path()), contents(other.path()), "{how:?} {seed}");
                changed += u32::from(contents(one.path()) != untouched);
            }
            // Stretches that change places may be the same one, or equal.
            assert!(changed >= 10, "{how:?} changed something {changed} times of 20");
        }
    }

    #[test]
    fn old_copy_takes_the_place_of_everything() {
        let folder = state();
        let older = folder.path().join("older");
        copy(&folder.path().join("outbox"), &older);
        let before = contents(&older);
        spoil(folder.path(), Damage::LeftoverFiles, 1);
        put_back(&older, &folder.path().join("outbox"));
        assert_eq!(contents(&folder.path().join("outbox")), before);
    }
}
