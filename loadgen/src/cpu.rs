//! CPU time of each thread of a process, as the scheduler counts it.
//!
//! It is read from `/proc/<pid>/task/*/schedstat`, whose first field is nanoseconds on a CPU, system calls included, and whose
//! second is nanoseconds for which it could have run and others did. The count of a thread that is running right now may be
//! one tick behind; that of one that waits is exact.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Threads that one reading takes; more are left out.
const THREADS_MAX: usize = 4096;

/// CPU time of a process's threads, each since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    threads: BTreeMap<u32, Thread>,
}

/// What one thread has had of the CPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Its name, of which the system keeps 15 bytes.
    pub name: String,
    /// How long it was on a CPU.
    pub cpu: Duration,
    /// How long it could have run while others had the CPU.
    pub kept_waiting: Duration,
}

impl Reading {
    /// Reads the threads of process `pid`. One that ends meanwhile is left out.
    ///
    /// # Errors
    /// What the file system says; [`io::ErrorKind::NotFound`] when there is no such process.
    pub fn of(pid: u32) -> io::Result<Self> {
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{pid}/task"))?.take(THREADS_MAX) {
            let entry = entry?;
            let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
            if let (Some(number), Some(thread)) = (number, thread(&entry.path())) {
                threads.insert(number, thread);
            }
        }
        Ok(Self { threads })
    }

    /// What each thread has used since `earlier`, in the order of their ids. One begun since counts from its beginning.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Vec<Thread> {
        let used = |(number, thread): (&u32, &Thread)| {
            let before = earlier.threads.get(number);
            let since = |of: fn(&Thread) -> Duration| of(thread).saturating_sub(before.map_or(Duration::ZERO, of));
            Thread {
                name: thread.name.clone(),
                cpu: since(|thread| thread.cpu),
                kept_waiting: since(|thread| thread.kept_waiting),
            }
        };
        self.threads.iter().map(used).collect()
    }
}

/// The sum over those of `threads` whose name begins with `prefix`; all for an empty one.
#[must_use]
pub fn total(threads: &[Thread], prefix: &str) -> Duration {
    threads.iter().filter(|thread| thread.name.starts_with(prefix)).map(|thread| thread.cpu).sum()
}

/// CPU time of the calling thread.
#[must_use]
pub fn of_this_thread() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn thread(folder: &Path) -> Option<Thread> {
    let name = fs::read_to_string(folder.join("comm")).ok()?.trim_end().to_owned();
    let schedstat = fs::read_to_string(folder.join("schedstat")).ok()?;
    let mut nanos = schedstat.split_whitespace().map(|field| field.parse().ok().map(Duration::from_nanos));
    Some(Thread { name, cpu: nanos.next()??, kept_waiting: nanos.next()?? })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread::Builder;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_busy_thread_is_told_from_a_waiting_one_by_its_name() {
        let before = Reading::of(std::process::id()).unwrap();
        let (done, wait) = channel();
        let (end, ended) = channel::<()>();
        let busy = Builder::new().name("busy-bee".into()).spawn(move || {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(50) {
                std::hint::spin_loop();
            }
            done.send(()).unwrap();
            ended.recv().unwrap_err();
        });
        wait.recv().unwrap();
        let after = Reading::of(std::process::id()).unwrap();
        drop(end);
        busy.unwrap().join().unwrap();
        let threads = after.since(&before);
        // A crowded machine gives it less than all of the 50 ms.
        let busy = total(&threads, "busy");
        assert!((Duration::from_millis(5)..=Duration::from_millis(100)).contains(&busy), "{threads:?}");
        assert_eq!(total(&threads, "idle"), Duration::ZERO);
        assert!(total(&threads, "") >= busy);
        assert_eq!(total(&after.since(&after), ""), Duration::ZERO);
    }

    #[test]
    fn no_process_is_an_error() {
        assert_eq!(Reading::of(u32::MAX).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
