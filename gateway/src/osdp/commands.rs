//! The last command of each device: in a file of the state folder, written before the command is done.
//!
//! A device has no memory, and a command is done once, over the restarts of whoever plays its reader too (SPEC 8.1). The file: a
//! title, then a line for each reader that was ever given a command: its number, and the command's. A file that does not read as it
//! was written stops no door: what the devices that are configured then are told next is not done, as it may have been done
//! before. From the first of these commands on `?` stands in the file for those of which nobody knows yet.

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
/// Stands in the file for a number that is not known.
const UNKNOWN: &str = "?";

/// The last command of each reader that was given one; `None` when it is not known any more.
type Last = BTreeMap<u32, Option<u64>>;

/// The last commands and their file.
pub(crate) struct LastCommands {
    path: PathBuf,
    /// What the file is to say: all that is wanted is written at once.
    wanted: Mutex<Last>,
    /// What it says; whoever writes holds it.
    written: Mutex<Last>,
}

impl LastCommands {
    /// Reads the file at `path`; no file means that there was no command yet. Of one that is damaged nothing is believed: what
    /// each of `readers` was told last is unknown.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be read.
    pub(crate) fn open(path: PathBuf, readers: impl Iterator<Item = u32>) -> Result<Self, Failure> {
        let bytes = durable::read_if_there(&path, STATE_FILE_BYTES_MAX)
            .map_err(|error| Failure::at(&path, "read the devices' last commands", &error, durable::READ_REMEDY))?;
        match bytes.map_or(Ok(Last::new()), |bytes| parse(&bytes)) {
            Ok(kept) => Ok(Self::known(path, kept)),
            Err(line) => Ok(Self::unknown(path, readers, line)),
        }
    }

    /// No commands of anybody, whatever the file at `path` says.
    pub(crate) const fn none(path: PathBuf) -> Self {
        Self { path, wanted: Mutex::new(Last::new()), written: Mutex::new(Last::new()) }
    }

    fn known(path: PathBuf, kept: Last) -> Self {
        Self { wanted: Mutex::new(kept.clone()), written: Mutex::new(kept), ..Self::none(path) }
    }

    /// The file at `path` is damaged at `line`, and stays so until there is something to write.
    fn unknown(path: PathBuf, readers: impl Iterator<Item = u32>, line: usize) -> Self {
        tracing::error!(
            path = %path.display(),
            line,
            "the last commands of the OSDP devices are damaged: the next command to each is not done, as it may have been done before"
        );
        Self::known(path, readers.map(|reader| (reader, None)).collect())
    }

    /// The last command of `reader`; 0 when there was none, or none that is known.
    pub(crate) fn of(&self, reader: u32) -> u64 {
        lock(&self.written).get(&reader).copied().flatten().unwrap_or(0)
    }

    /// Puts on the disk that `reader` has been given the command `id`. Waits for the disk, and for no more than two writes of it:
    /// a command of all readers is to reach the last of them as well.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be kept, or is the first after the file was damaged: then the command must not be done.
    pub(crate) fn keep(&self, reader: u32, id: u64) -> Result<(), Failure> {
        let may_be_done = lock(&self.wanted).insert(reader, Some(id)) == Some(None);
        let mut written = lock(&self.written);
        // Whoever wrote meanwhile has written this, too.
        let is_written = written.get(&reader) == Some(&Some(id));
        let kept = if is_written { Ok(()) } else { self.write(&mut written) };
        if !may_be_done {
            return kept;
        }
        if kept.is_err() {
            lock(&self.wanted).insert(reader, None);
        }
        kept.and(Err(Failure::Input(format!(
            "{} was damaged, and the command may have been done before: give it once more",
            self.path.display()
        ))))
    }

    /// Writes all that is wanted by now.
    fn write(&self, written: &mut Last) -> Result<(), Failure> {
        let wanted = lock(&self.wanted).clone();
        durable::replace(&self.path, emit(&wanted).as_bytes()).map_err(|error| {
            let remedy = "make room on the disk, and let the state folder belong to the gateway's user";
            Failure::at(&self.path, "write the devices' last commands", &error, remedy)
        })?;
        *written = wanted;
        Ok(())
    }
}

fn lock(commands: &Mutex<Last>) -> MutexGuard<'_, Last> {
    commands.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The commands in `bytes`, or the number of the line that is wrong.
fn parse(bytes: &[u8]) -> Result<Last, usize> {
    let text = std::str::from_utf8(bytes).map_err(|_| 1_usize)?;
    let mut lines = text.split_inclusive('\n').map(|line| line.strip_suffix('\n'));
    if lines.next().flatten() != Some(TITLE) {
        return Err(1);
    }
    let mut kept = Last::new();
    for (line, number) in lines.zip(2..) {
        let (reader, id) = line.and_then(|line| line.split_once(' ')).ok_or(number)?;
        let reader = reader.parse().map_err(|_| number)?;
        let id = if id == UNKNOWN { None } else { Some(id.parse().map_err(|_| number)?) };
        let is_next = kept.last_key_value().is_none_or(|(last, _)| *last < reader);
        if !is_next || line != Some(of_one(reader, id).as_str()) {
            return Err(number);
        }
        kept.insert(reader, id);
    }
    Ok(kept)
}

fn emit(kept: &Last) -> String {
    let mut text = format!("{TITLE}\n");
    for (reader, id) in kept {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}", of_one(*reader, *id));
    }
    text
}

/// The line of one reader.
fn of_one(reader: u32, id: Option<u64>) -> String {
    id.map_or_else(|| format!("{reader} {UNKNOWN}"), |id| format!("{reader} {id}"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    /// The commands in the file at `path`, of the readers 101 and 102.
    fn opened(path: &Path) -> LastCommands {
        LastCommands::open(path.into(), [101, 102].into_iter()).unwrap()
    }

    #[test]
    fn what_was_kept_is_there_after_a_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        let commands = opened(&path);
        assert_eq!(commands.of(101), 0);
        for (reader, id) in [(102, 5), (101, u64::MAX), (102, 7)] {
            commands.keep(reader, id).unwrap();
        }
        let commands = opened(&path);
        assert_eq!((commands.of(101), commands.of(102), commands.of(103)), (u64::MAX, 7, 0));
    }

    #[test]
    fn what_cannot_be_kept_is_said_and_is_not_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let commands = opened(&folder.path().join(FILE_NAME));
        fs::remove_dir(folder.path()).unwrap();
        assert!(matches!(commands.keep(101, 1), Err(Failure::Environment(_))));
        assert_eq!(commands.of(101), 0);
    }

    #[test]
    fn commands_that_wait_for_the_disk_together_are_written_together() {
        let folder = tempfile::tempdir().unwrap();
        let commands = opened(&folder.path().join(FILE_NAME));
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
    fn next_command_after_damage_may_have_been_done_and_is_not_done_and_the_one_after_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        fs::write(&path, "damaged").unwrap();
        let commands = opened(&path);
        assert!(commands.keep(101, 7).unwrap_err().to_string().contains("may have been done before"));
        assert!(commands.keep(101, 8).is_ok());
        drop(commands);
        // What the other was told is as unknown after one more start.
        let commands = opened(&path);
        assert_eq!((commands.of(101), commands.of(102)), (8, 0));
        assert!(commands.keep(102, 7).is_err() && commands.keep(102, 8).is_ok());
        assert!(commands.keep(101, 9).is_ok());
    }

    #[test]
    fn command_that_may_have_been_done_may_have_been_so_until_the_disk_takes_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state").join(FILE_NAME);
        let write = |text| fs::create_dir(path.parent().unwrap()).and_then(|()| fs::write(&path, text)).unwrap();
        write("damaged");
        let commands = opened(&path);
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
        assert!(matches!(commands.keep(101, 7), Err(Failure::Environment(_))));
        write("damaged");
        assert!(matches!(commands.keep(101, 8), Err(Failure::Input(_))));
        assert!(commands.keep(101, 9).is_ok());
    }

    #[test]
    fn line_that_was_not_written_is_found() {
        for (text, line) in [
            ("", 1),
            ("kalitka osdp keys 1\n", 1),
            ("kalitka osdp commands 1", 1),
            ("kalitka osdp commands 1\n101\n", 2),
            ("kalitka osdp commands 1\n101 1", 2),
            ("kalitka osdp commands 1\n101 01\n", 2),
            ("kalitka osdp commands 1\n101 -1\n", 2),
            ("kalitka osdp commands 1\n101 ??\n", 2),
            ("kalitka osdp commands 1\n101 1 1\n", 2),
            ("kalitka osdp commands 1\n101 1\n101 2\n", 3),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(line), "{text:?}");
        }
        assert_eq!(parse(b"kalitka osdp commands 1\n101 1\n102 ?\n"), Ok([(101, Some(1)), (102, None)].into()));
    }
}
