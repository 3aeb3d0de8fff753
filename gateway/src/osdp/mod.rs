//! OSDP devices on RS-485 lines. Each line has a task of its own, and all tasks share one thread.
//!
//! The protocol's own [`kalitka_protocol::osdp::Bus`] says whose turn it is; here are the port, the keys, and each device's
//! [`seat`], which asks the workers as every reader does.

mod commands;
mod keeper;
mod keys;
mod line;
mod portal;
pub(crate) mod probe;
mod seat;
pub(crate) mod settings;
pub(crate) mod words;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

use kalitka_core::Keys;
use kalitka_protocol::{ReaderId, Stamp};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::failure::Failure;
use crate::limits::{OSDP_LEARNT_MAX, OSDP_ORDERS_MAX, OSDP_WINDOW_MAX, OSDP_WINDOW_MIN};
use crate::metrics::OsdpTally;
use crate::published::Published;
use crate::thread::{self, Ended};
pub(crate) use commands::LastCommands;
pub(crate) use keys::{DeviceKeys, FILE_NAME};
use line::{Line, Order, Shared};
use settings::Settings;

/// A device as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shown {
    pub(crate) reader: u32,
    pub(crate) port: PathBuf,
    pub(crate) address: u8,
    /// `offline`, `opening`, `refused` or `online`.
    pub(crate) state: String,
    /// What somebody must look into.
    pub(crate) alarm: Option<String>,
    /// Whether an install window is open.
    pub(crate) installing: bool,
}

/// How often readers had started when the gateway did, by their stamps.
pub(crate) struct Boots(BTreeMap<ReaderId, u32>);

impl Boots {
    /// Of the highest `stamps` from before.
    pub(crate) fn of(stamps: &[(ReaderId, Stamp)]) -> Self {
        let boot = |stamp: Stamp| u32::try_from(stamp.0 >> 32).unwrap_or(u32::MAX);
        Self(stamps.iter().map(|&(reader, stamp)| (reader, boot(stamp))).collect())
    }

    /// The number of this start of `reader`.
    fn after(&self, reader: ReaderId) -> u32 {
        self.0.get(&reader).map_or(1, |boots| boots.saturating_add(1))
    }
}

/// Where the lines' threads begin.
pub(crate) struct Beginning {
    pub(crate) lines: Vec<Settings>,
    pub(crate) device_keys: Arc<DeviceKeys>,
    pub(crate) last_commands: Arc<LastCommands>,
    pub(crate) keys: Arc<Published<Keys>>,
    pub(crate) boots: Boots,
    /// Where the gateway listens for readers.
    pub(crate) udp: SocketAddr,
    pub(crate) clock: Clock,
    pub(crate) tally: Arc<OsdpTally>,
}

/// How the control socket reaches the lines.
pub(crate) struct Counter {
    device_keys: Arc<DeviceKeys>,
    /// Of each line.
    lines: Vec<(mpsc::Sender<Order>, watch::Receiver<Vec<Shown>>)>,
    /// The port of each line, and whether it is open.
    ports: Vec<(PathBuf, Arc<AtomicBool>)>,
    /// Line and place of each reader.
    places: BTreeMap<u32, (usize, usize)>,
}

/// The running lines.
pub(crate) struct Running {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
    keeper: JoinHandle<()>,
}

/// Starts the lines on a thread, if there are any.
///
/// # Errors
/// [`Failure::Environment`] when the system gives no thread, socket or random bytes.
pub(crate) fn start(beginning: Beginning, died: &Ended) -> Result<(Counter, Option<Running>), Failure> {
    let Beginning { lines: settings, device_keys, last_commands, keys, boots, udp, clock, tally } = beginning;
    let (keeper, learnt) = sync_channel(OSDP_LEARNT_MAX);
    let gateway = reachable(udp);
    let shared = Arc::new(Shared { clock, gateway, keys, keeper, last_commands, boots, tally });
    let (lines, ports, places) = (Vec::new(), Vec::new(), BTreeMap::new());
    let mut counter = Counter { device_keys: Arc::clone(&device_keys), lines, ports, places };
    if settings.is_empty() {
        return Ok((counter, None));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Environment(format!("cannot serve OSDP lines: {error}")))?;
    let mut lines = Vec::new();
    let entered = runtime.enter();
    for (number, settings) in settings.into_iter().enumerate() {
        let readers = settings.devices.iter().map(|device| device.reader);
        counter.places.extend(readers.enumerate().map(|(place, reader)| (reader, (number, place))));
        let ((orders, taken), (shown, seen)) = (mpsc::channel(OSDP_ORDERS_MAX), watch::channel(Vec::new()));
        counter.lines.push((orders, seen));
        let line = Line::new(settings, Arc::clone(&shared), &device_keys, taken, shown)?;
        counter.ports.push(line.lamp());
        lines.push(line);
    }
    drop((entered, shared));
    let keeper = thread::spawn("osdp keys", died, move || keeper::run(&learnt, &device_keys))?;
    let (stop, stopped) = oneshot::channel();
    let body = move || {
        runtime.block_on(async {
            let mut tasks = JoinSet::new();
            for line in lines {
                tasks.spawn(line.run());
            }
            tokio::select! {
                _ = stopped => {}
                // None ends by itself.
                _ = tasks.join_next() => {}
            }
        });
        // A disk that hangs does not keep the process.
        runtime.shutdown_background();
    };
    Ok((counter, Some(Running { stop, thread: thread::spawn("osdp", died, body)?, keeper })))
}

impl Running {
    /// Lets go of all ports; gives the thread that keeps what was learnt of devices, which ends when it has.
    pub(crate) fn stop(self) -> JoinHandle<()> {
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::error!("the thread of the OSDP lines had panicked");
        }
        self.keeper
    }
}

impl Counter {
    /// Whether a device is the reader `reader`.
    ///
    /// # Errors
    /// [`Failure::Input`] when none is.
    pub(crate) fn has(&self, reader: u32) -> Result<(), Failure> {
        self.places.get(&reader).map(|_| ()).ok_or_else(|| {
            Failure::Input(format!(
                "reader {reader} is no OSDP device; [[osdp]] of the configuration names those that are"
            ))
        })
    }

    /// Opens an install window of `seconds` for the device of `reader`, after its key is on the disk.
    ///
    /// # Errors
    /// [`Failure::Input`] for a reader that is none or a time that is too long, [`Failure::Environment`] when the key cannot be
    /// kept or the line does not take the order.
    pub(crate) fn install(&self, reader: u32, seconds: u64) -> Result<(), Failure> {
        self.has(reader)?;
        let time = Duration::from_secs(seconds);
        if !(OSDP_WINDOW_MIN..=OSDP_WINDOW_MAX).contains(&time) {
            let (min, max) = (OSDP_WINDOW_MIN.as_secs(), OSDP_WINDOW_MAX.as_secs());
            return Err(Failure::Input(format!("{seconds} s is out of range; give a time from {min} s to {max} s")));
        }
        let key = self.device_keys.for_window(reader)?;
        let place = self.places.get(&reader).and_then(|&(line, place)| Some((self.lines.get(line)?, place)));
        let sent =
            place.is_some_and(|((orders, _), place)| orders.try_send(Order::Install { place, key, time }).is_ok());
        if sent { Ok(()) } else { Err(Failure::Environment("the line takes no orders now; try again".into())) }
    }

    /// The lines' ports, and whether each is open.
    pub(crate) fn ports(&self) -> impl Iterator<Item = (&Path, bool)> {
        self.ports.iter().map(|(port, is_open)| (port.as_path(), is_open.load(Ordering::Relaxed)))
    }

    /// All devices as they stand.
    pub(crate) fn shown(&self) -> Vec<Shown> {
        self.lines.iter().flat_map(|(_, shown)| shown.borrow().clone()).collect()
    }
}

/// Where this process reaches its own sockets that listen at `udp`.
fn reachable(udp: SocketAddr) -> SocketAddr {
    match udp.ip() {
        ip if !ip.is_unspecified() => udp,
        IpAddr::V4(_) => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), udp.port()),
        IpAddr::V6(_) => SocketAddr::new(Ipv6Addr::LOCALHOST.into(), udp.port()),
    }
}

/// Reads the devices' keys in the state folder.
///
/// # Errors
/// As [`DeviceKeys::open`].
pub(crate) fn open_keys(state: &Path) -> Result<DeviceKeys, Failure> {
    DeviceKeys::open(state.join(FILE_NAME))
}

/// Reads the last commands of the devices on `lines` in the state folder. Without devices the file is nobody's, and stops no gateway.
///
/// # Errors
/// As [`LastCommands::open`].
pub(crate) fn open_commands(state: &Path, lines: &[Settings]) -> Result<LastCommands, Failure> {
    let path = state.join(commands::FILE_NAME);
    let readers = lines.iter().flat_map(|line| line.devices.iter().map(|device| device.reader));
    if lines.is_empty() { Ok(LastCommands::none(path)) } else { LastCommands::open(path, readers) }
}
