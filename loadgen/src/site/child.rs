//! Programs that serve, as child processes.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child as Process, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::limits::CHILD_PATIENCE;

/// How often something is looked at that is waited for.
pub(crate) const GLANCE: Duration = Duration::from_millis(5);
/// How long a request over loopback may take.
const REPLY_PATIENCE: Duration = Duration::from_millis(100);

/// How to start a program that serves until it is told to end.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    /// What it is called in messages.
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) config: PathBuf,
    pub(crate) log: PathBuf,
}

impl Service {
    /// The program with a command's `words` and its configuration.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words).arg("--config").arg(&self.config);
        command
    }

    fn start(&self) -> io::Result<Process> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        // A group of its own: ctrl-C is this program's to handle, and what is kept outlives the terminal's.
        let mut command = self.command(&["run"]);
        let command = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        command.spawn().map_err(|error| named(&self.program, &error))
    }

    fn failed(&self, what: &str) -> io::Error {
        let mut log = String::new();
        // What cannot be read is not shown.
        let _ = File::open(&self.log).and_then(|mut file| file.read_to_string(&mut log));
        let last: Vec<&str> = log.lines().rev().take(10).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        io::Error::other(format!("the {} {what}; its log {}:\n{}", self.name, self.log.display(), last.join("\n")))
    }
}

/// A running service. It is ended when this goes, unless it is [`kept`](Self::keep).
pub(crate) struct Child {
    service: Service,
    process: Option<Process>,
    restart: Option<JoinHandle<io::Result<Process>>>,
}

impl Child {
    /// Starts it.
    pub(crate) fn start(service: Service) -> io::Result<Self> {
        let process = service.start()?;
        Ok(Self { service, process: Some(process), restart: None })
    }

    /// Waits until `is_ready`.
    pub(crate) fn wait_until(
        &mut self,
        stop: &AtomicBool,
        what: &str,
        mut is_ready: impl FnMut() -> bool,
    ) -> io::Result<()> {
        let begun = Instant::now();
        while !is_ready() {
            self.check_alive()?;
            if stop.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            if begun.elapsed() > CHILD_PATIENCE {
                return Err(self.service.failed(what));
            }
            thread::sleep(GLANCE);
        }
        Ok(())
    }

    /// Its process number, while it runs.
    pub(crate) fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Its process number, for people.
    pub(crate) fn pid(&self) -> String {
        self.id().map_or_else(|| "?".into(), |id| id.to_string())
    }

    /// Fails when it has ended by itself.
    pub(crate) fn check_alive(&mut self) -> io::Result<()> {
        if self.restart.as_ref().is_some_and(JoinHandle::is_finished) {
            self.join()?;
        }
        match self.process.as_mut().map(Process::try_wait).transpose()?.flatten() {
            Some(status) => Err(self.service.failed(&format!("has ended by itself ({status})"))),
            None => Ok(()),
        }
    }

    /// Kills it with SIGKILL, and has it started again from another thread as soon as it is gone.
    pub(crate) fn kill_and_restart(&mut self) -> io::Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.kill()?;
        let service = self.service.clone();
        self.restart = Some(thread::spawn(move || {
            process.wait()?;
            service.start()
        }));
        Ok(())
    }

    /// Waits for a restart under way.
    fn join(&mut self) -> io::Result<()> {
        if let Some(restart) = self.restart.take() {
            let process = restart.join().map_err(|_| io::Error::other("a restart broke off"))?;
            self.process = Some(process?);
        }
        Ok(())
    }

    /// Leaves it running; gives its process number.
    pub(crate) fn keep(mut self) -> io::Result<String> {
        self.join()?;
        let pid = self.pid();
        self.process = None;
        Ok(pid)
    }

    /// Ends it in order: SIGTERM, and SIGKILL when that takes too long.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        self.join()?;
        let Some(mut process) = self.process.take() else { return Ok(()) };
        if let Some(pid) = i32::try_from(process.id()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM)?;
        }
        let begun = Instant::now();
        while process.try_wait()?.is_none() {
            if begun.elapsed() > CHILD_PATIENCE {
                process.kill()?;
            }
            thread::sleep(GLANCE);
        }
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // On this way out the reason is told already.
        let _ = self.end();
    }
}

/// Whether a GET of `path` at `http` is answered with 200.
pub(crate) fn says_ok(http: SocketAddr, path: &str) -> bool {
    let ask = || -> io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&http, REPLY_PATIENCE)?;
        stream.set_read_timeout(Some(REPLY_PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: loadgen\r\nConnection: close\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(status.ends_with(b" 200"))
    };
    ask().unwrap_or(false)
}

/// Runs `command` to its end; its words are the error when it fails.
pub(crate) fn finish(command: &mut Command) -> io::Result<Output> {
    let program = PathBuf::from(command.get_program());
    let output = command.stdin(Stdio::null()).output().map_err(|error| named(&program, &error))?;
    if output.status.success() {
        return Ok(output);
    }
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(io::Error::other(format!("{} failed ({}): {words}", program.display(), output.status)))
}

/// Runs `command` to its end and gives the first public key, 64 hex digits, that it prints.
pub(crate) fn finish_keygen(command: &mut Command) -> io::Result<String> {
    let output = finish(command)?;
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    let is_key = |word: &&str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let key = words.split_whitespace().find(is_key).map(str::to_owned);
    key.ok_or_else(|| io::Error::other(format!("keygen printed no public key, but {words:?}")))
}

fn named(program: &std::path::Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", program.display()))
}
