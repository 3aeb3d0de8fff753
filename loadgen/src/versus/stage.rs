//! Where a comparison takes place: a school with a snapshot for each size, and the cores that everybody stays on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::Options;
use super::server::{Echo, Serving};
use crate::fleet::wall_seconds;
use crate::limits::{COMPARED_EVENTS_MAX, COMPARED_RING, HOLDERS_MAX, HOLDERS_MIN, SIZING_ROUNDS_MAX};
use crate::oracle::Oracle;
use crate::output::note;
use crate::roster::{self, DEMO_SEED};
use crate::site::child::finish;
use crate::site::gateway::{Gateway, Settings};
use crate::site::{folder, programs, zone};
use crate::tally::Judges;

/// Entries that a holder's cards have in the index, aliases counted: a first guess.
const ENTRIES_OF_A_HOLDER: u32 = 6;
/// The readers of an invented school.
const READERS: [u32; 10] = [101, 102, 103, 104, 105, 106, 107, 108, 201, 202];

/// The stage. Dropped, its folder is removed if it was made to be.
pub(super) struct Stage<'a> {
    pub(super) options: &'a Options,
    pub(super) stop: &'a AtomicBool,
    programs: PathBuf,
    folder: Folder,
    /// Cores of the servers' workers and of everybody else; `None` on a machine that has but one.
    cores: Option<(usize, usize)>,
    started: u32,
}

struct Folder {
    path: PathBuf,
    is_kept: bool,
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.is_kept {
            note(&format!("everything is left in {}", self.path.display()));
        } else if let Err(error) = fs::remove_dir_all(&self.path) {
            note(&format!("{} stays behind: {error}", self.path.display()));
        }
    }
}

/// A school and its snapshot.
pub(super) struct School {
    /// Credentials and aliases in the index.
    pub(super) entries: u64,
    pub(super) judges: Judges,
    building: u32,
    publisher: String,
    roster: PathBuf,
    snapshot: PathBuf,
}

impl School {
    /// Other judges of the same school.
    pub(super) fn judges_anew(&self) -> io::Result<Judges> {
        Oracle::read(&self.roster).map(|oracle| Judges::from(0, oracle)).map_err(io::Error::other)
    }
}

/// How a gateway's workers are set up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Workers {
    pub(super) count: usize,
    pub(super) spin: Duration,
    /// Whether the journal shares the first one's core, as on a box that has no other to spare.
    pub(super) journal_beside: bool,
}

impl Workers {
    /// One that blocks.
    pub(super) const ONE: Self = Self { count: 1, spin: Duration::ZERO, journal_beside: false };
}

impl<'a> Stage<'a> {
    /// Makes the folder.
    pub(super) fn new(options: &'a Options, stop: &'a AtomicBool) -> io::Result<Self> {
        let folder = Folder { path: folder::make("compare")?, is_kept: options.keep };
        let programs = programs(options.binaries.as_deref())?;
        let cores = cores().filter(|&count| count > 1).map(|count| (0, count - 1));
        Ok(Self { options, stop, programs, folder, cores, started: 0 })
    }

    /// The core that this program and the journals are to stay on.
    pub(super) fn own_core(&self) -> Option<usize> {
        self.cores.map(|(_, rest)| rest)
    }

    /// Fails when it is to stop.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    }

    /// Invents a school whose index has at least `entries` entries, and signs its snapshot.
    pub(super) fn school(&self, entries: u32) -> io::Result<School> {
        let tool = self.programs.join("kalitka-snapshot");
        let folder = self.folder.path.join(format!("school-{entries}"));
        let (invented, roster) = (folder.join("invented"), folder.join("roster"));
        let (secret, snapshot) = (folder.join("publisher.key"), folder.join("school.snapshot"));
        fs::create_dir_all(&folder)?;
        let publisher = folder::make_key(&tool, &secret)?;
        let mut holders = entries.div_ceil(ENTRIES_OF_A_HOLDER);
        for _ in 0..SIZING_ROUNDS_MAX {
            self.check()?;
            holders = holders.clamp(HOLDERS_MIN, HOLDERS_MAX);
            roster::write(&invented, holders, DEMO_SEED)?;
            folder::copy_roster(&invented, &roster, &zone::of_morning(wall_seconds()))?;
            folder::build(&tool, &roster, &snapshot, 1, &secret)?;
            let found = entries_of(&tool, &snapshot)?;
            if found >= entries.into() {
                note(&format!("a school of {holders} holders: {found} entries"));
                let oracle = Oracle::read(&roster).map_err(io::Error::other)?;
                let building = oracle.building();
                let judges = Judges::from(0, oracle);
                return Ok(School { entries: found, judges, building, publisher, roster, snapshot });
            }
            fs::remove_file(&snapshot)?;
            holders = more_holders(holders, found, entries);
        }
        Err(io::Error::other(format!("no school has {entries} entries")))
    }

    /// Starts a gateway of `school`, without a hub. It knows all readers, and has nothing in its store.
    pub(super) fn gateway(&mut self, school: &School, workers: Workers) -> io::Result<Serving> {
        self.check()?;
        self.started += 1;
        let folder = self.folder.path.join(format!("gateway-{}", self.started));
        fs::create_dir(&folder)?;
        let settings = Settings {
            building: school.building,
            publisher: Some(school.publisher.clone()),
            udp: udp(workers, self.cores),
            also: also(self.cores.map(|(first, rest)| if workers.journal_beside { first } else { rest })),
        };
        let gateway = Gateway::new(self.programs.join("kalitka-gateway"), &folder, &settings)?;
        Serving::start(gateway, &school.snapshot, &READERS, self.stop)
    }

    /// Starts an echo where a gateway's worker would be.
    pub(super) fn echo(&self, burn: Duration, args: &[&str]) -> io::Result<Echo> {
        self.check()?;
        let mut all = vec!["--burn-ns".to_owned(), burn.as_nanos().to_string()];
        if let Some((core, _)) = self.cores {
            all.extend(["--core".to_owned(), core.to_string()]);
        }
        all.extend(args.iter().map(ToString::to_string));
        Echo::start(&self.programs.join("kalitka-loadgen"), &all)
    }

    /// How it is played, for the table.
    pub(super) fn describe(&self) -> String {
        let Options { slice, alternations, .. } = self.options;
        let cores = self.cores.map_or_else(
            || "on one core, all of them".to_owned(),
            |(first, rest)| format!("workers and echoes on core {first}, generator on core {rest}, journal there too but for the open loop"),
        );
        format!(
            "{alternations} alternations of {} ms each, {cores}, load average {}",
            slice.as_millis(),
            load_average()
        )
    }

    /// Sessions that a gateway has here.
    pub(super) const SESSIONS: usize = READERS.len();
}

/// Cores that this program may run on: as many as the machine has, or as it was confined to.
fn cores() -> Option<usize> {
    std::thread::available_parallelism().ok().map(usize::from)
}

/// Threads that wanted to run of late, over one, five and fifteen minutes.
fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// Lines of `[udp]`. The second worker shares the core of everybody else on a machine of two.
fn udp(workers: Workers, cores: Option<(usize, usize)>) -> String {
    let Workers { count, spin, .. } = workers;
    let mut lines = format!("workers = {count}\n");
    if let Some((first, rest)) = cores {
        let places: Vec<usize> = (0..count).map(|place| (first + place).min(rest)).collect();
        lines += &format!("cores = {places:?}\n");
    }
    if !spin.is_zero() {
        lines += &format!("spin_us = {}\n", spin.as_micros());
    }
    lines
}

/// Sections of a configuration: room for all that a setting asks, so that what is compared is the work and not its bounds.
fn also(core: Option<usize>) -> String {
    let core = core.map_or_else(String::new, |core| format!("core = {core}\n"));
    format!(
        "[journal]\n{core}ring = {COMPARED_RING}\n\n[outbox]\nevents_max = {COMPARED_EVENTS_MAX}\nbytes_max = {}\n",
        1_u64 << 36
    )
}

fn entries_of(tool: &Path, snapshot: &Path) -> io::Result<u64> {
    let output = finish(Command::new(tool).args(["info", "--json"]).arg(snapshot))?;
    let info: Value = serde_json::from_slice(&output.stdout)?;
    info["entries"].as_u64().ok_or_else(|| io::Error::other("kalitka-snapshot info tells no entries"))
}

/// Holders with which there should be `wanted` entries, when `holders` have `found`.
fn more_holders(holders: u32, found: u64, wanted: u32) -> u32 {
    let more = u64::from(holders) * u64::from(wanted) / found.max(1);
    u32::try_from(more + more / 100 + 1).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_holders_are_enough_and_not_many_too_many() {
        assert_eq!(more_holders(100, 500, 1000), 203);
        assert!(more_holders(166_667, 900_000, 1_000_000) > 185_185);
        assert!(more_holders(50, 0, 1000) > 50_000);
    }

    #[test]
    fn workers_stay_on_cores_of_their_own_as_long_as_there_are_some() {
        let two = Workers { count: 2, spin: Duration::from_micros(50), ..Workers::ONE };
        assert_eq!(udp(two, Some((0, 1))), "workers = 2\ncores = [0, 1]\nspin_us = 50\n");
        assert_eq!(udp(Workers::ONE, Some((0, 3))), "workers = 1\ncores = [0]\n");
        assert_eq!(udp(two, Some((0, 3))), "workers = 2\ncores = [0, 1]\nspin_us = 50\n");
        assert_eq!(udp(Workers::ONE, None), "workers = 1\n");
        assert!(also(Some(1)).contains("[journal]\ncore = 1\nring = ") && !also(None).contains("core"));
    }
}
