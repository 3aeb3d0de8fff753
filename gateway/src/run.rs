//! The running gateway: what is started in which order, and how it ends.
//!
//! Everything that can fail for want of a file, a port or a permission is done before the first thread starts. Workers
//! start as soon as the snapshot and the operators' orders are in force; the outbox, the uplink, metrics and control follow.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use kalitka_core::{Overlay, Texts, View};
use kalitka_outbox::Bounds;
use kalitka_process::control::Listener;
use kalitka_process::handed::Handed;
use kalitka_process::notify;
use kalitka_snapshot::model::PortalMode;
use tokio::sync::{broadcast, watch};

use crate::adoption::{Adopter, Order};
use crate::clock::Clock;
use crate::config::{self, Config, SafeMode};
use crate::control::{Desk, Status, UplinkStatus};
use crate::failure::Failure;
use crate::http::{self, Surface};
use crate::journal::{self, Door, Journal, JournalStatus, Kept, Recorder, Ring, SafetyFile, Setup, Work};
use crate::keys::{self, KeyBook};
use crate::limits::{ADOPTIONS_WAITING_MAX, LIVE_COMMITS_MAX, SETTLE_PATIENCE, STAMPS_WAITING_MAX, WRITTEN_PATIENCE};
use crate::logs;
use crate::metrics::{Collector, KernelDrops, Measured, Standings, names};
use crate::osdp::{self, Beginning, Boots, Counter, DeviceKeys, LastCommands};
use crate::page::{Memory, Page};
use crate::published::Published;
use crate::serial::{self, Wiring};
use crate::stage::{Services, Stage};
use crate::stamps::{self, Keeper};
use crate::state::{self, StateFolder};
use crate::thread::{self, Ended};
use crate::trust::Trust;
use crate::udp::{self, Pool, Shared};
use crate::uplink::{self, Uplink};

/// Runs the gateway until it is told to stop.
///
/// # Errors
/// [`Failure`] when it cannot start, or when a thread has died.
pub(crate) fn run(config: &Config) -> Result<(), Failure> {
    // Before any thread: it changes the environment.
    let mut handed = Handed::take()?;
    let clock = Clock::start();
    logs::start(&config.log)?;
    let stage = Stage::set()?;
    // Whatever the gateway makes is for itself; the control socket is opened to its group by name.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let _state = StateFolder::take(&config.state, crate::PROGRAM)?;
    state::make(&config.snapshots.inbox, crate::PROGRAM)?;
    let died = Ended::default();
    let (ground, surroundings) = Ground::open(config, &mut handed, &clock)?;
    let Surroundings { collector, http, http_address, control } = surroundings;
    let (standing, keys, udp) = (ground.adopter.standing(), Arc::clone(&ground.keys), ground.sockets.address);
    let (views, overlay) = (Arc::clone(&ground.views), Arc::clone(&ground.overlay));
    let (uplink_tally, lines) = (Arc::clone(&ground.measured.uplink), ground.wiring.lamps());
    let Started { threads, journal, uplink_state, uplink, osdp } = start(config, ground, &clock, &died)?;
    let version = env!("CARGO_PKG_VERSION");
    notify::ready();
    tracing::info!(building = config.building, %udp, http = %http_address, version, "serving");

    let fixed = Status {
        version: version.into(),
        building: config.building,
        udp,
        http: http_address,
        readers: 0,
        snapshot: standing.borrow().clone(),
        journal: JournalStatus::default(),
        uplink: UplinkStatus::default(),
    };
    let orders = threads.orders.clone();
    let page = Arc::new(Page {
        building: config.building,
        clock: clock.clone(),
        collector: Arc::clone(&collector),
        views,
        overlay,
        standing: standing.clone(),
        journal: journal.clone(),
        uplink: uplink_state.clone(),
        uplink_tally,
        osdp: Arc::clone(&osdp),
        lines,
        memory: Memory::new(),
    });
    let (journal_shown, standing_shown) = (journal.clone(), standing.clone());
    let desk =
        Arc::new(Desk { keys, orders, standing, journal, uplink: uplink_state, osdp, clock: clock.clone(), fixed });
    let surface = Arc::new(Surface { clock, collector, standing: standing_shown, journal: journal_shown });
    let ended = stage.serve(Services { control: &control, http, desk, surface, page, uplink }, &died);
    let stopped = threads.stop();
    drop(control);
    ended.and(stopped)
}

/// What the threads are made of: all that may fail has not.
struct Ground {
    trust: Trust,
    measured: Measured,
    device_keys: Arc<DeviceKeys>,
    last_commands: Arc<LastCommands>,
    keys: Arc<KeyBook>,
    keeper: Keeper,
    safety_file: SafetyFile,
    kept: Option<Kept>,
    overlay: Arc<Overlay>,
    views: Arc<Published<View>>,
    sockets: udp::Sockets,
    wiring: Wiring,
    texts: Texts,
    recorders: Vec<Recorder>,
    door: Door,
    ring: Ring,
    adopter: Adopter,
}

/// Where people and machines reach the gateway, besides readers.
struct Surroundings {
    collector: Arc<Collector>,
    http: TcpListener,
    http_address: SocketAddr,
    control: Listener,
}

impl Ground {
    fn open(config: &Config, handed: &mut Handed, clock: &Clock) -> Result<(Self, Surroundings), Failure> {
        let mut trust = Trust::of(config)?;
        let measured = Measured::new(config.udp.workers);
        let collector = Collector::install(measured.clone())?;
        let device_keys = Arc::new(osdp::open_keys(&config.state)?);
        let last_commands = Arc::new(osdp::open_commands(&config.state, &config.osdp)?);
        let keys = Arc::new(KeyBook::open(config.state.join(keys::FILE_NAME))?);
        let keeper = Keeper::open(config.state.join(stamps::FILE_NAME), keys.published())?;
        let (safety_file, kept) = SafetyFile::open(&config.state);
        let overlay = Arc::new(ordered(kept.as_ref(), config.safety.mode));
        let views = Arc::new(Published::new(None));
        let sockets = udp::open(&config.udp, handed)?;
        let wiring = Wiring::of(&config.serial);
        let (http, http_address) = http::open(config.http.listen, handed)?;
        let control = Listener::open(&config.control.socket, handed, crate::PROGRAM)?;
        let (recorders, door, ring) = journal::rings(usize::from(config.udp.workers), config.journal.ring);
        let publishers = std::mem::take(&mut trust.publishers);
        let in_force = (Arc::clone(&views), Arc::clone(&overlay));
        let plans = Arc::clone(&measured.plans);
        let adopter = Adopter::start(config, publishers, in_force, (door.clone(), clock.clone()), plans)?;
        note_receive_buffer(sockets.receive_buffer, config.udp.receive_buffer_bytes);
        let texts = config.texts().map_err(Failure::Input)?;
        let standings = Standings { keys: keys.published(), views: Arc::clone(&views) };
        let collector = collector.with(KernelDrops::of(sockets.inodes.clone(), sockets.address), standings);
        let surroundings = Surroundings { collector: Arc::new(collector), http, http_address, control };
        let ground = Self {
            trust,
            measured,
            device_keys,
            last_commands,
            keys,
            keeper,
            safety_file,
            kept,
            overlay,
            views,
            sockets,
            wiring,
            texts,
            recorders,
            door,
            ring,
            adopter,
        };
        Ok((ground, surroundings))
    }
}

/// What operators have ordered, as it was kept; the safe mode when that cannot be read.
fn ordered(kept: Option<&Kept>, mode: SafeMode) -> Overlay {
    let overlay = Overlay::default();
    match kept {
        Some(kept) => {
            // What was kept was in force, so all of it has room.
            let _ = overlay.restore(kept.safety.orders().entries());
        }
        None if mode == SafeMode::Closed => {
            tracing::error!(
                "the blocks and modes in force cannot be read: all portals are closed until an operator orders a mode"
            );
            overlay.safe_mode(PortalMode::Closed);
        }
        None => tracing::error!("the blocks and modes in force cannot be read; portals stand as scheduled"),
    }
    overlay
}

/// The running threads, and what they show.
struct Started {
    threads: Threads,
    journal: watch::Receiver<JournalStatus>,
    uplink_state: watch::Receiver<kalitka_uplink::State>,
    uplink: Option<Uplink>,
    osdp: Arc<Counter>,
}

fn start(config: &Config, ground: Ground, clock: &Clock, died: &Ended) -> Result<Started, Failure> {
    let Ground { trust, measured, keys, keeper, overlay, views, sockets, wiring, texts, .. } = ground;
    let Ground { recorders, door, ring, adopter, .. } = ground;
    let shared = Arc::new(Shared {
        clock: clock.clone(),
        views: Arc::clone(&views),
        overlay: Arc::clone(&overlay),
        keys: keys.published(),
        texts,
        fall_back_after_ms: config.readers.fall_back_after_ms,
        spin: config.spin(),
        tallies: measured.workers,
        lines: wiring.lines.clone(),
    });
    let (taken, stamps_taken) = sync_channel(STAMPS_WAITING_MAX);
    let (udp, stamps) = (sockets.address, keeper.current());
    let workers = Pool::start(&shared, sockets, &config.udp.cores, &stamps, &taken, recorders, died)?;
    let beginning = Beginning {
        lines: config.osdp.clone(),
        device_keys: ground.device_keys,
        last_commands: ground.last_commands,
        keys: keys.published(),
        boots: Boots::of(&stamps),
        udp,
        clock: clock.clone(),
        tally: measured.osdp,
    };
    let (counter, lines) = osdp::start(beginning, died)?;
    drop(taken);
    let serial = wiring.start(|number| workers.inlet(number), clock, died)?;
    let (head, live) = (watch::Sender::new(None), broadcast::Sender::new(LIVE_COMMITS_MAX));
    let (status, uplink_state) = (watch::Sender::new(JournalStatus::default()), watch::Sender::default());
    let (journal_shown, uplink_shown) = (status.subscribe(), uplink_state.subscribe());
    let committed = (head.subscribe(), live.clone());
    let journal = Journal::new(Setup {
        building: config.building,
        state: config.state.clone(),
        bounds: bounds(config),
        retention: config.retention.events,
        operators: trust.operators,
        clock: clock.clone(),
        ring,
        posts: workers.posts(),
        views,
        keys: keys.published(),
        overlay,
        kept: ground.kept,
        safety_file: ground.safety_file,
        head,
        live,
        status,
        tally: measured.journal,
    });
    let journal = thread::spawn_on(config.journal.core, "journal", died, move || journal.run())?;
    let keeper_clock = clock.clone();
    let keeper = thread::spawn("stamps", died, move || keeper.run(&stamps_taken, &keeper_clock))?;
    let (orders, orders_taken) = sync_channel(ADOPTIONS_WAITING_MAX);
    let adopter = thread::spawn("adopter", died, move || adopter.run(&orders_taken, &|| keys.settle()))?;
    let uplink = trust.enrolled.then(|| Uplink {
        options: uplink::options(config),
        port: uplink::port(door.clone(), orders.clone(), committed, uplink_state),
        tally: measured.uplink,
        clock: clock.clone(),
    });
    let threads = Threads { serial, workers, lines, door, journal, keeper, orders, adopter };
    Ok(Started { threads, journal: journal_shown, uplink_state: uplink_shown, uplink, osdp: Arc::new(counter) })
}

const fn bounds(config: &Config) -> Bounds {
    let config::Outbox { events_max, bytes_max, keep_acknowledged } = config.outbox;
    Bounds { events_max, bytes_max, keep_acknowledged }
}

/// What runs until the end.
struct Threads {
    serial: Option<serial::Running>,
    workers: Pool,
    lines: Option<osdp::Running>,
    door: Door,
    journal: JoinHandle<()>,
    keeper: JoinHandle<()>,
    orders: SyncSender<Order>,
    adopter: JoinHandle<()>,
}

impl Threads {
    /// What takes its time on the disk, while readers are still answered. Then lines and workers, so that nothing is taken any more;
    /// then those who keep what the workers took. A disk that does not answer is not waited for.
    ///
    /// # Errors
    /// [`Failure::Environment`] when it did not answer in time: nothing that was receipted is lost by it.
    fn stop(self) -> Result<(), Failure> {
        self.door.settle(SETTLE_PATIENCE);
        let device_keys = self.lines.map(osdp::Running::stop);
        if let Some(serial) = self.serial {
            serial.stop();
        }
        self.workers.stop();
        drop(self.orders);
        let (done, all_done) = sync_channel(1);
        let waits = move || {
            self.door.wait_to_hand_in(Work::Stop);
            let threads = [("journal", self.journal), ("stamps", self.keeper), ("adopter", self.adopter)];
            for (name, thread) in threads.into_iter().chain(device_keys.map(|thread| ("osdp keys", thread))) {
                if thread.join().is_err() {
                    tracing::error!(thread = name, "a thread had panicked");
                }
            }
            // Nobody waits any more for what came too late.
            let _ = done.send(());
        };
        thread::spawn("stop", &Ended::default(), waits)?;
        if all_done.recv_timeout(WRITTEN_PATIENCE).is_err() {
            let seconds = WRITTEN_PATIENCE.as_secs();
            return Err(Failure::Environment(format!(
                "the disk of the state folder has not answered for {seconds} s; stopped without it, and nothing receipted is \
                 lost; look at the disk"
            )));
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// What the kernel grants is twice what it was asked for, as far as it likes.
fn note_receive_buffer(granted: usize, asked: usize) {
    let wanted = asked.saturating_mul(2);
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; buffers stay far below 2^52 bytes")]
    metrics::gauge!(names::UDP_RECEIVE_BUFFER).set(granted as f64);
    if granted < wanted {
        tracing::info!(
            granted,
            wanted,
            "udp.receive_buffer_bytes: the system grants less; raise sysctl net.core.rmem_max, or ask for less"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kalitka_core::{OverlayEntry, Standing};
    use kalitka_protocol::credential::Shape;

    #[test]
    fn orders_that_were_kept_hold_before_anything_is_answered() {
        let mut kept = Kept::default();
        let credential = Shape::Uid.credential_of_uid(&[1, 2, 3, 4]).unwrap();
        let block = OverlayEntry::Credential { credential, standing: Standing::Blocked, number: 1 };
        kept.safety.order(block).unwrap();
        assert_eq!(ordered(Some(&kept), SafeMode::Closed).entries(), [block]);
        assert!(ordered(Some(&Kept::default()), SafeMode::Closed).is_empty());
    }

    #[test]
    fn orders_that_cannot_be_read_close_all_portals_unless_told_otherwise() {
        let closed = OverlayEntry::Mode { reader: None, mode: Some(PortalMode::Closed), number: 0 };
        assert_eq!(ordered(None, SafeMode::Closed).entries(), [closed]);
        assert!(ordered(None, SafeMode::AsScheduled).is_empty());
    }
}
