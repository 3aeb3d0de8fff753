//! The last command of each device: in a file of the state folder, written before the command is done.
//!
//! A device has no memory, and a command is done once, over the restarts of whoever plays its reader too (SPEC 8.1). The file: a
//! title, then a line for each reader that was ever given a command: its number, and the command's.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::durable;
use crate::failure::Failure;
use crate::limits::STATE_FILE_BYTES_MAX;

/// Name of the file in the state folder.
pub(crate) const FILE_NAME: &str = "osdp.commands";
const TITLE: &str = "kalitka osdp commands 1";

/// The last commands and their file.
pub(crate) struct LastCommands {
    path: PathBuf,
    /// What the file is to say: all that is wanted is written at once.
    wanted: Mutex<BTreeMap<u32, u64>>,
    /// What it says; whoever writes holds it.
    written: Mutex<BTreeMap<u32, u64>>,
}

impl LastCommands {
    /// Reads the file at `path`; no file means that there was no command yet.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be read or a line is wrong. It is not passed over in silence: without it a command could be
    /// done twice.
    pub(crate) fn open(path: PathBuf) -> Result<Self, Failure> {
        let bytes = durable::read_if_there(&path, STATE_FILE_BYTES_MAX)
            .map_err(|error| Failure::at(&path, "read the devices' last commands", &error, durable::READ_REMEDY))?;
        let kept = bytes.map_or(Ok(BTreeMap::new()), |bytes| parse(&bytes)).map_err(|line| {
            let path = path.display();
            Failure::Input(format!("{path}: line {line} is none that was written; restore the file, or remove it"))
        })?;
        Ok(Self { wanted: Mutex::new(kept.clone()), written: Mutex::new(kept), ..Self::none(path) })
    }

    /// No commands of anybody, whatever the file at `path` says.
    pub(crate) const fn none(path: PathBuf) -> Self {
        Self { path, wanted: Mutex::new(BTreeMap::new()), written: Mutex::new(BTreeMap::new()) }
    }

    /// The last command of `reader`; 0 when there was none.
    pub(crate) fn of(&self, reader: u32) -> u64 {
        lock(&self.written).get(&reader).copied().unwrap_or(0)
    }

    /// Puts on the disk that `reader` has been given the command `id`. Waits for the disk, and for no more than two writes of it:
    /// a command of all readers is to reach the last of them as well.
    ///
    /// # Errors
    /// [`Failure::Environment`] when it cannot be kept: then the command must not be done.
    pub(crate) fn keep(&self, reader: u32, id: u64) -> Result<(), Failure> {
        lock(&self.wanted).insert(reader, id);
        let mut written = lock(&self.written);
        if written.get(&reader) == Some(&id) {
            // Whoever wrote meanwhile has written this, too.
            return Ok(());
        }
        self.write(&mut written)
    }

    /// Writes all that is wanted by now.
    fn write(&self, written: &mut BTreeMap<u32, u64>) -> Result<(), Failure> {
        let wanted = lock(&self.wanted).clone();
        durable::replace(&self.path, emit(&wanted).as_bytes()).map_err(|error| {
            let remedy = "make room on the disk, and let the state folder belong to the gateway's user";
            Failure::at(&self.path, "write the devices' last commands", &error, remedy)
        })?;
        *written = wanted;
        Ok(())
    }
}

fn lock(commands: &Mutex<BTreeMap<u32, u64>>) -> MutexGuard<'_, BTreeMap<u32, u64>> {
    commands.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The commands in `bytes`, or the number of the line that is wrong.
fn parse(bytes: &[u8]) -> Result<BTreeMap<u32, u64>, usize> {
    let text = std::str::from_utf8(bytes).map_err(|_| 1_usize)?;
    let mut lines = text.split_inclusive('\n').map(|line| line.strip_suffix('\n'));
    if lines.next().flatten() != Some(TITLE) {
        return Err(1);
    }
    let mut kept = BTreeMap::<u32, u64>::new();
    for (line, number) in lines.zip(2..) {
        let (reader, id) = line.and_then(|line| line.split_once(' ')).ok_or(number)?;
        let (reader, id) = (reader.parse().map_err(|_| number)?, id.parse().map_err(|_| number)?);
        let is_next = kept.last_key_value().is_none_or(|(last, _)| *last < reader);
        if !is_next || line != Some(&format!("{reader} {id}")) {
            return Err(number);
        }
        kept.insert(reader, id);
    }
    Ok(kept)
}

fn emit(kept: &BTreeMap<u32, u64>) -> String {
    let mut text = format!("{TITLE}\n");
    for (reader, id) in kept {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{reader} {id}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn what_was_kept_is_there_after_a_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        let commands = LastCommands::open(path.clone()).unwrap();
        assert_eq!(commands.of(101), 0);
        for (reader, id) in [(102, 5), (101, u64::MAX), (102, 7)] {
            commands.keep(reader, id).unwrap();
        }
        let commands = LastCommands::open(path).unwrap();
        assert_eq!((commands.of(101), commands.of(102), commands.of(103)), (u64::MAX, 7, 0));
    }

    #[test]
    fn what_cannot_be_kept_is_said_and_is_not_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let commands = LastCommands::open(folder.path().join(FILE_NAME)).unwrap();
        fs::remove_dir(folder.path()).unwrap();
        assert!(matches!(commands.keep(101, 1), Err(Failure::Environment(_))));
        assert_eq!(commands.of(101), 0);
    }

    #[test]
    fn commands_that_wait_for_the_disk_together_are_written_together() {
        let folder = tempfile::tempdir().unwrap();
        let commands = LastCommands::open(folder.path().join(FILE_NAME)).unwrap();
        let all = &commands;
        let kept = thread::scope(|scope| {
            let mut writing = lock(&commands.written);
            let keepers: Vec<_> = (1..=64).map(|reader| scope.spawn(move || all.keep(reader, 7))).collect();
            let deadline = Instant::now() + Duration::from_secs(60);
            while lock(&commands.wanted).len() < keepers.len() {
                assert!(Instant::now() < deadline, "they wait before they say what they want");
                thread::yield_now();
            }
            commands.write(&mut writing).unwrap();
            // Whoever writes again cannot.
            fs::remove_dir_all(folder.path()).unwrap();
            drop(writing);
            keepers.into_iter().map(|keeper| keeper.join().unwrap()).filter(Result::is_ok).count()
        });
        assert_eq!((kept, commands.of(1), commands.of(64)), (64, 7, 7));
    }

    #[test]
    fn damaged_file_is_refused_by_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        for (text, line) in [
            ("", 1),
            ("kalitka osdp keys 1\n", 1),
            ("kalitka osdp commands 1", 1),
            ("kalitka osdp commands 1\n101\n", 2),
            ("kalitka osdp commands 1\n101 1", 2),
            ("kalitka osdp commands 1\n101 01\n", 2),
            ("kalitka osdp commands 1\n101 -1\n", 2),
            ("kalitka osdp commands 1\n101 1 1\n", 2),
            ("kalitka osdp commands 1\n101 1\n101 2\n", 3),
        ] {
            fs::write(&path, text).unwrap();
            let refused = LastCommands::open(path.clone()).map(|_| ()).unwrap_err();
            assert!(refused.to_string().contains(&format!("line {line} ")), "{text:?}: {refused}");
        }
    }
}
