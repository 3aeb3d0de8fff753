//! A hub, as its own command line shows it: what it holds of a building, held against a run's list of reports.

use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kalitka_protocol::ReaderId;

use crate::book::Book;
use crate::compare::{Comparison, Found};
use crate::limits::LOOK_AGAIN;

/// Where to look.
#[derive(Clone, Debug)]
pub struct Hub {
    /// The program `kalitka-hub`.
    pub program: PathBuf,
    /// The running hub's control socket.
    pub socket: PathBuf,
    /// The building whose reports are looked for.
    pub building: u32,
    /// Whether it holds the reports of one run and no others.
    pub is_alone: bool,
    /// How long it may take to hold everything.
    pub within: Duration,
}

impl Hub {
    /// Waits until the hub holds all of `book` that is receipted (the readers `apart` are not in it), or `within` is over, or `stop` is raised. Then reads
    /// everything that it holds anew and compares it.
    ///
    /// # Errors
    /// When the hub's command line cannot be run or fails to the end, or what it says cannot be understood.
    pub fn compare(&self, book: &Book, apart: &[ReaderId], stop: &AtomicBool) -> io::Result<Found> {
        let begun = Instant::now();
        let mut arriving = Comparison::new(book, self.is_alone).without(apart);
        loop {
            let read = self.read(&mut arriving);
            let is_late = begun.elapsed() > self.within || stop.load(Ordering::Relaxed);
            // A hub that is just starting is asked again.
            match read {
                Err(error) if is_late || error.kind() != io::ErrorKind::ConnectionRefused => return Err(error),
                Ok(()) if is_late || arriving.missing() == 0 => break,
                _ => thread::sleep(LOOK_AGAIN),
            }
        }
        let mut whole = Comparison::new(book, self.is_alone).without(apart);
        self.read(&mut whole)?;
        Ok(whole.finish())
    }

    /// Lets `comparison` take what the hub holds behind the last that it took.
    fn read(&self, comparison: &mut Comparison<'_>) -> io::Result<()> {
        let after = comparison.order();
        self.lines(after, &mut |line| comparison.take(line).map_err(io::Error::other))
    }

    /// Has `take` take each line that the hub shows behind the record of order `after`.
    ///
    /// # Errors
    /// As [`compare`](Self::compare), or what `take` says.
    pub fn lines(&self, after: u64, take: &mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        let (building, after) = (self.building.to_string(), after.to_string());
        let mut command = Command::new(&self.program);
        command.args(["events", "--building", &building, "--after", &after, "--json", "--socket"]).arg(&self.socket);
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.program.display())))?;
        let lines = child.stdout.take().map(|stdout| BufReader::new(stdout).lines()).into_iter().flatten();
        let mut taken = Ok(());
        for line in lines {
            taken = line.and_then(|line| take(&line));
            if taken.is_err() {
                child.kill()?;
                break;
            }
        }
        let mut words = String::new();
        if let Some(mut stderr) = child.stderr.take() {
            stderr.read_to_string(&mut words)?;
        }
        let status = child.wait()?;
        taken?;
        if status.success() {
            return Ok(());
        }
        let what = format!("{} events ({status}): {}", self.program.display(), words.trim_end());
        // By its exit status 4 it says that the socket does not answer.
        let kind = if status.code() == Some(4) { io::ErrorKind::ConnectionRefused } else { io::ErrorKind::Other };
        Err(io::Error::new(kind, what))
    }
}

#[cfg(test)]
mod tests;
