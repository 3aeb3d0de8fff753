//! What systemd is to a gateway: it binds the sockets, hands them to one process after the other, and listens to what each says.

use std::fs::{self, DirBuilder, File};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};

use crate::process::{Process, program, run_well};
use crate::site::{BOUND, Site, text};

/// Descriptors can be passed on safely only as the first three: a shell puts them where `sd_listen_fds(3)` has them.
const HAND_OVER: &str = r#"exec 3<&0 4<&1 5<&2 </dev/null >>"$LOG" 2>&1; LISTEN_PID=$$ exec "$@""#;
const ANY: &str = "127.0.0.1:0";
/// So many can be handed over.
const HANDED_MAX: usize = 3;

/// A socket that is kept while processes come and go.
#[derive(Debug)]
pub enum Kept {
    /// Where readers send to.
    Udp(UdpSocket),
    /// Where metrics are served.
    Tcp(TcpListener),
    /// Where the command line asks.
    Unix(UnixListener),
}

impl Kept {
    fn handed(&self) -> Stdio {
        let copy = match self {
            Self::Udp(socket) => socket.try_clone().map(OwnedFd::from),
            Self::Tcp(socket) => socket.try_clone().map(OwnedFd::from),
            Self::Unix(socket) => socket.try_clone().map(OwnedFd::from),
        };
        Stdio::from(copy.unwrap())
    }
}

/// The manager of one service.
#[derive(Debug)]
pub struct ServiceManager {
    kept: Vec<Kept>,
    told: UnixDatagram,
    folder: PathBuf,
}

impl ServiceManager {
    /// One with `kept` sockets, and a folder for what it is told and what its service logs.
    ///
    /// # Panics
    /// When the system gives none; so do all functions here when something fails.
    #[must_use]
    pub fn new(kept: Vec<Kept>, folder: &Path) -> Self {
        assert!(kept.len() <= HANDED_MAX);
        let told = UnixDatagram::bind(folder.join("notify")).unwrap();
        told.set_read_timeout(Some(BOUND)).unwrap();
        Self { kept, told, folder: folder.to_path_buf() }
    }

    /// Starts `name` with `args`, and hands the sockets over.
    #[must_use]
    pub fn start(&self, name: &str, args: &[&str]) -> Process {
        self.start_under(&[], name, args)
    }

    /// The same by `before`: a program that runs another one in its own place.
    #[must_use]
    pub fn start_under(&self, before: &[&str], name: &str, args: &[&str]) -> Process {
        let log = self.folder.join("service.log");
        let mut shell = Command::new("sh");
        shell.args(["-c", HAND_OVER, "sh"]).args(before).arg(program(name)).args(args);
        shell.env("LOG", &log).env("LISTEN_FDS", self.kept.len().to_string());
        shell.env("NOTIFY_SOCKET", self.folder.join("notify")).env("WATCHDOG_USEC", "10000000");
        let mut handed = self.kept.iter().map(Kept::handed);
        shell.stdin(handed.next().unwrap_or_else(Stdio::null));
        shell.stdout(handed.next().unwrap_or_else(Stdio::null));
        shell.stderr(handed.next().unwrap_or_else(Stdio::null));
        // Made here, so that a process that ends at once has one to be shown.
        drop(File::options().append(true).create(true).open(&log).unwrap());
        Process::of(&mut shell, &log)
    }

    /// Waits until the service says `state`, like `READY=1`; what it says before is heard and forgotten.
    pub fn await_state(&self, state: &str) {
        let mut buffer = [0; 4096];
        loop {
            let len = self.told.recv(&mut buffer).unwrap_or_else(|error| panic!("it never said {state}: {error}"));
            let said = str::from_utf8(&buffer[..len]).unwrap();
            if said.lines().any(|line| line == state) {
                return;
            }
        }
    }

    /// Forgets what it has been told up to now.
    pub fn forget(&self) {
        self.told.set_nonblocking(true).unwrap();
        while self.told.recv(&mut [0; 4096]).is_ok() {}
        self.told.set_nonblocking(false).unwrap();
    }

    /// What the service says next, if anything, within `patience`.
    #[must_use]
    pub fn state_within(&self, patience: Duration) -> Option<String> {
        self.told.set_read_timeout(Some(patience)).unwrap();
        let mut buffer = [0; 4096];
        let said = self.told.recv(&mut buffer).ok();
        self.told.set_read_timeout(Some(BOUND)).unwrap();
        said.map(|len| String::from_utf8_lossy(&buffer[..len]).into_owned())
    }

    /// The log of all its processes.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("service.log")).unwrap_or_default()
    }
}

/// A building of `holders` holders whose gateway has all its sockets from a manager that keeps them.
///
/// # Panics
/// When the system gives none.
#[must_use]
pub fn kept_site(holders: u32) -> (Site, ServiceManager) {
    let mut site = Site::new(holders);
    let (mut udp, address) = udp_group(1);
    let http = TcpListener::bind(ANY).unwrap();
    site.listen_at(address, http.local_addr().unwrap());
    let control = UnixListener::bind(site.path("control")).unwrap();
    let kept = vec![Kept::Udp(udp.remove(0)), Kept::Tcp(http), Kept::Unix(control)];
    let manager = ServiceManager::new(kept, &site.path(""));
    (site, manager)
}

/// The configuration of a hub in `folder` that has its keys, on free ports.
///
/// # Panics
/// When they cannot be made.
#[must_use]
pub fn lone_hub(folder: &Path) -> PathBuf {
    let (state, control) = (folder.join("state"), folder.join("control"));
    DirBuilder::new().mode(0o700).create(&state).unwrap();
    let page = format!(
        "state = {state:?}\n[quic]\nlisten = \"{ANY}\"\n[http]\nlisten = \"{ANY}\"\n[control]\nsocket = {control:?}\n"
    );
    let config = folder.join("hub.toml");
    fs::write(&config, page).unwrap();
    run_well("kalitka-hub", ["pki", "init", "--config", text(&config)]);
    config
}

/// UDP sockets that share one free port of this machine, bound one after the other.
///
/// # Panics
/// When the system gives none.
#[must_use]
pub fn udp_group(many: usize) -> (Vec<UdpSocket>, SocketAddr) {
    let mut address: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let mut group = Vec::new();
    for _ in 0..many {
        let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None).unwrap();
        sockopt::set_socket_reuseport(&socket, many > 1).unwrap();
        bind(&socket, &address).unwrap();
        let socket = UdpSocket::from(socket);
        address = socket.local_addr().unwrap();
        group.push(socket);
    }
    (group, address)
}

/// `--config` and the file, as arguments.
#[must_use]
pub fn run_by(config: &Path) -> [&str; 3] {
    ["run", "--config", text(config)]
}
