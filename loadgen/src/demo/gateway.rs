//! The gateway of the demo, as a child process.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::keys::ReaderKey;
use crate::limits::CHILD_PATIENCE;

/// How often a child's state is looked at.
const GLANCE: Duration = Duration::from_millis(5);

/// How to start the gateway, and where it then is.
#[derive(Clone, Debug)]
pub(super) struct Site {
    pub(super) program: PathBuf,
    pub(super) config: PathBuf,
    pub(super) log: PathBuf,
    pub(super) udp: SocketAddr,
    pub(super) http: SocketAddr,
}

impl Site {
    /// A site in `folder` with ports that are free now.
    pub(super) fn new(program: PathBuf, folder: &Path) -> io::Result<Self> {
        let loopback = (Ipv4Addr::LOCALHOST, 0);
        Ok(Self {
            program,
            config: folder.join("gateway.toml"),
            log: folder.join("gateway.log"),
            udp: UdpSocket::bind(loopback)?.local_addr()?,
            http: TcpListener::bind(loopback)?.local_addr()?,
        })
    }

    fn start(&self) -> io::Result<Child> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        // A group of its own: ctrl-C is the demo's to handle, and a gateway that is kept outlives the terminal's.
        Command::new(&self.program)
            .args(["run", "--config"])
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(|error| named(&self.program, &error))
    }

    /// Whether the gateway says that it is ready.
    fn is_ready(&self) -> bool {
        let ask = || -> io::Result<bool> {
            let mut stream = TcpStream::connect_timeout(&self.http, GLANCE * 20)?;
            stream.set_read_timeout(Some(GLANCE * 20))?;
            stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n")?;
            let mut status = [0; 12];
            stream.read_exact(&mut status)?;
            Ok(status.ends_with(b" 200"))
        };
        ask().unwrap_or(false)
    }

    /// Has the running gateway make a key for `reader`.
    pub(super) fn add_reader(&self, reader: u32) -> io::Result<ReaderKey> {
        let number = reader.to_string();
        let output = finish(
            Command::new(&self.program).args(["reader", "add", &number, "--json", "--config"]).arg(&self.config),
        )?;
        serde_json::from_slice(&output.stdout).map_err(|error| io::Error::other(format!("reader add: {error}")))
    }
}

/// The running gateway. It is ended when this goes, unless it is [`kept`](Self::keep).
pub(super) struct Gateway {
    site: Site,
    child: Option<Child>,
    restart: Option<JoinHandle<io::Result<Child>>>,
}

impl Gateway {
    /// Starts it and waits until it is ready.
    pub(super) fn start(site: Site, stop: &AtomicBool) -> io::Result<Self> {
        let child = site.start()?;
        let mut gateway = Self { site, child: Some(child), restart: None };
        let begun = Instant::now();
        while !gateway.site.is_ready() {
            gateway.check_alive()?;
            if stop.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            if begun.elapsed() > CHILD_PATIENCE {
                return Err(gateway.failed("is not ready"));
            }
            thread::sleep(GLANCE);
        }
        Ok(gateway)
    }

    /// Its process number.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Fails when it has ended by itself.
    pub(super) fn check_alive(&mut self) -> io::Result<()> {
        if self.restart.as_ref().is_some_and(JoinHandle::is_finished) {
            self.join()?;
        }
        match self.child.as_mut().map(Child::try_wait).transpose()?.flatten() {
            Some(status) => Err(self.failed(&format!("has ended by itself ({status})"))),
            None => Ok(()),
        }
    }

    /// Kills it with SIGKILL, and has it started again from another thread as soon as it is gone.
    pub(super) fn kill_and_restart(&mut self) -> io::Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        child.kill()?;
        let site = self.site.clone();
        self.restart = Some(thread::spawn(move || {
            child.wait()?;
            site.start()
        }));
        Ok(())
    }

    /// Waits for a restart under way.
    fn join(&mut self) -> io::Result<()> {
        if let Some(restart) = self.restart.take() {
            let child = restart.join().map_err(|_| io::Error::other("the restart of the gateway broke off"))?;
            self.child = Some(child?);
        }
        Ok(())
    }

    /// Leaves it running; gives its process number.
    pub(super) fn keep(mut self) -> io::Result<Option<u32>> {
        self.join()?;
        let pid = self.pid();
        self.child = None;
        Ok(pid)
    }

    /// Ends it in order: SIGTERM, and SIGKILL when that takes too long.
    pub(super) fn end(&mut self) -> io::Result<()> {
        self.join()?;
        let Some(mut child) = self.child.take() else { return Ok(()) };
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM)?;
        }
        let begun = Instant::now();
        while child.try_wait()?.is_none() {
            if begun.elapsed() > CHILD_PATIENCE {
                child.kill()?;
            }
            thread::sleep(GLANCE);
        }
        Ok(())
    }

    fn failed(&self, what: &str) -> io::Error {
        let mut log = String::new();
        // What cannot be read is not shown.
        let _ = File::open(&self.site.log).and_then(|mut file| file.read_to_string(&mut log));
        let last: Vec<&str> = log.lines().rev().take(10).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        io::Error::other(format!("the gateway {what}; its log {}:\n{}", self.site.log.display(), last.join("\n")))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // On this way out the reason is told already.
        let _ = self.end();
    }
}

/// Runs `command` to its end; its words are the error when it fails.
pub(super) fn finish(command: &mut Command) -> io::Result<Output> {
    let program = PathBuf::from(command.get_program());
    let output = command.stdin(Stdio::null()).output().map_err(|error| named(&program, &error))?;
    if output.status.success() {
        return Ok(output);
    }
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(io::Error::other(format!("{} failed ({}): {words}", program.display(), output.status)))
}

fn named(program: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", program.display()))
}
