//! What the kernel says of this process, under the names that Prometheus' own clients give it.

use std::fmt::Write as _;
use std::fs;

use rustix::process::{Resource, getrlimit};

/// Name, type and help text of each figure, in the order of [`Figures::values`].
const DECLARED: [(&str, &str, &str); 7] = [
    (
        "process_cpu_seconds_total",
        "counter",
        "Processor time that the process has taken, its own and the kernel's for it",
    ),
    ("process_resident_memory_bytes", "gauge", "Memory of the process that is in RAM"),
    ("process_virtual_memory_bytes", "gauge", "Address space of the process"),
    ("process_open_fds", "gauge", "Files, sockets and pipes that the process has open"),
    ("process_max_fds", "gauge", "How many it may have open"),
    ("process_threads", "gauge", "Threads of the process"),
    ("process_start_time_seconds", "gauge", "When the process was started, in seconds since 1970"),
];

/// The figures of one moment.
#[derive(Clone, Copy, Debug)]
struct Figures {
    cpu_seconds: f64,
    resident_bytes: u64,
    virtual_bytes: u64,
    open_files: u64,
    open_files_max: u64,
    threads: u64,
    /// Of the whole machine's figures, which a unit may hide (`ProcSubset=`).
    started_seconds: Option<f64>,
}

/// Appends the figures of now to `text` in the Prometheus text format; nothing of what the kernel does not say.
pub fn render(text: &mut String) {
    let Some(figures) = Figures::read() else { return };
    for ((name, kind, help), value) in DECLARED.into_iter().zip(figures.values()) {
        let Some(value) = value else { continue };
        // Writing to a string does not fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
    }
}

impl Figures {
    fn read() -> Option<Self> {
        let stat = Stat::parse(&fs::read_to_string("/proc/self/stat").ok()?)?;
        let booted = fs::read_to_string("/proc/stat").ok().and_then(|stat| booted(&stat));
        let ticks = rustix::param::clock_ticks_per_second();
        let limit = getrlimit(Resource::Nofile).current;
        Some(Self {
            cpu_seconds: seconds(stat.cpu_ticks, ticks),
            resident_bytes: stat.resident_pages * rustix::param::page_size() as u64,
            virtual_bytes: stat.virtual_bytes,
            // The folder that is read is open, too, while it is.
            open_files: (fs::read_dir("/proc/self/fd").ok()?.count() as u64).saturating_sub(1),
            open_files_max: limit.unwrap_or(u64::MAX),
            threads: stat.threads,
            started_seconds: booted.map(|booted| seconds(booted * ticks + stat.started_ticks, ticks)),
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "samples are floats; none of the numbers is told to the last digit")]
    const fn values(&self) -> [Option<f64>; DECLARED.len()] {
        [
            Some(self.cpu_seconds),
            Some(self.resident_bytes as f64),
            Some(self.virtual_bytes as f64),
            Some(self.open_files as f64),
            Some(self.open_files_max as f64),
            Some(self.threads as f64),
            self.started_seconds,
        ]
    }
}

#[expect(clippy::cast_precision_loss, reason = "ticks of a century are far below 2^52")]
const fn seconds(ticks: u64, ticks_a_second: u64) -> f64 {
    ticks as f64 / ticks_a_second as f64
}

/// Of the kernel's line about a process (proc(5), `/proc/pid/stat`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    started_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(line: &str) -> Option<Self> {
        // The name before it may have brackets and spaces of its own.
        let (_, behind) = line.rsplit_once(')')?;
        let fields: Vec<&str> = behind.split_ascii_whitespace().collect();
        // The first of them is field 3.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            started_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

/// When the machine was started, in seconds since 1970.
fn booted(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_from_behind_the_name_whatever_it_is() {
        let line = "7 (a) (b c) S 1 2 3 4 5 6 7 8 9 10 100 20 13 14 15 16 3 18 5000 6000 70 22 23";
        let stat = Stat { cpu_ticks: 120, threads: 3, started_ticks: 5000, virtual_bytes: 6000, resident_pages: 70 };
        assert_eq!(Stat::parse(line), Some(stat));
        assert_eq!(Stat::parse("7 (a) S 1 2"), None);
        assert_eq!(Stat::parse(""), None);
        assert_eq!(booted("cpu 1 2\nbtime 1700000000\nprocesses 5\n"), Some(1_700_000_000));
    }

    #[test]
    fn this_process_is_known_by_what_it_has() {
        let before = Figures::read().unwrap();
        let file = fs::File::open("/proc/self/stat").unwrap();
        let memory = vec![1_u8; 64 << 20];
        let after = Figures::read().unwrap();
        assert!(after.resident_bytes >= before.resident_bytes + (32 << 20), "{before:?} {after:?}");
        assert!(after.open_files > 3 && after.open_files < after.open_files_max && after.threads >= 1);
        assert!(after.cpu_seconds >= before.cpu_seconds && after.started_seconds > Some(1.6e9));
        drop((file, memory));
        let mut text = String::new();
        render(&mut text);
        assert_eq!(text.lines().filter(|line| line.starts_with("process_")).count(), DECLARED.len());
    }
}
