//! The running gateway: what is started in which order, and how it ends.
//!
//! Everything that can fail for want of a file, a port or a permission is done before the first thread starts. Workers
//! start as soon as the snapshot is in force; metrics and control follow.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::adoption::{Adopter, Order};
use crate::clock::Clock;
use crate::config::Config;
use crate::control::{Desk, Listener, Request, Status};
use crate::failure::Failure;
use crate::http::{self, Surface};
use crate::keys::{self, KeyBook};
use crate::limits::{ADOPTIONS_WAITING_MAX, COLLECT_INTERVAL, SHUTDOWN_PATIENCE, STAMPS_WAITING_MAX};
use crate::logs;
use crate::metrics::{Collector, Tally, names};
use crate::published::Published;
use crate::stamps::{self, Keeper};
use crate::state::{self, StateFolder};
use crate::thread::{self, Ended};
use crate::udp::{self, Pool, Shared};

/// Runs the gateway until it is told to stop.
///
/// # Errors
/// [`Failure`] when it cannot start, or when a thread has died.
pub(crate) fn run(config: &Config) -> Result<(), Failure> {
    let clock = Clock::start();
    logs::start(&config.log)?;
    let stage = Stage::set()?;
    // Whatever the gateway makes is for itself; the control socket is opened to its group by name.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let _state = StateFolder::take(&config.state)?;
    state::make(&config.snapshots.inbox)?;
    let tallies: Arc<[Tally]> = (0..config.udp.workers).map(|_| Tally::new()).collect();
    let collector = Arc::new(Collector::install(Arc::clone(&tallies))?);
    let keys = Arc::new(KeyBook::open(config.state.join(keys::FILE_NAME))?);
    let keeper = Keeper::open(config.state.join(stamps::FILE_NAME), keys.published())?;
    let views = Arc::new(Published::new(None));
    let sockets = udp::bind(config.udp.listen, config.udp.workers)?;
    let (http_listener, http) = http::bind(config.http.listen)?;
    let control = Listener::bind(&config.control.socket)?;
    let adopter = Adopter::start(config, Arc::clone(&views), clock)?;
    let standing = adopter.standing();
    note_receive_buffer(sockets.receive_buffer);

    let shared = Arc::new(Shared {
        clock,
        views,
        keys: keys.published(),
        texts: config.texts().map_err(Failure::Input)?,
        fall_back_after_ms: config.readers.fall_back_after_ms,
        tallies,
    });
    let (taken, stamps_taken) = sync_channel(STAMPS_WAITING_MAX);
    let died = Ended::default();
    let workers = Pool::start(&shared, sockets.sockets, &keeper.current(), &taken, &died)?;
    drop(taken);
    let keeper = thread::spawn("stamps", &died, move || keeper.run(&stamps_taken, clock))?;
    let (orders, orders_taken) = sync_channel(ADOPTIONS_WAITING_MAX);
    let adopter = thread::spawn("adopter", &died, move || adopter.run(&orders_taken))?;
    tracing::info!(building = config.building, udp = %sockets.address, %http, version = env!("CARGO_PKG_VERSION"), "serving");

    let fixed = Status {
        version: env!("CARGO_PKG_VERSION").into(),
        building: config.building,
        udp: sockets.address,
        http,
        readers: 0,
        snapshot: standing.borrow().clone(),
    };
    let desk = Arc::new(Desk { keys, orders: orders.clone(), standing: standing.clone(), fixed });
    let surface = Arc::new(Surface { clock, collector, standing });
    let ended = stage.serve(&control, http_listener, desk, surface, &died);
    stop(workers, keeper, (orders, adopter));
    drop(control);
    ended
}

/// Where people, machines and signals are served. Set first of all, so that no signal finds the gateway half started.
struct Stage {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
}

impl Stage {
    fn set() -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cannot_serve)?;
        let (terminate, interrupt) = {
            let _entered = runtime.enter();
            let terminate = signal(SignalKind::terminate()).map_err(cannot_serve)?;
            (terminate, signal(SignalKind::interrupt()).map_err(cannot_serve)?)
        };
        Ok(Self { runtime, terminate, interrupt })
    }

    /// Serves until a signal comes or a thread dies: without each of them decisions would grow old or wrong unseen.
    fn serve(
        self,
        control: &Listener,
        http: TcpListener,
        desk: Arc<Desk>,
        surface: Arc<Surface>,
        died: &Ended,
    ) -> Result<(), Failure> {
        for verb in Request::VERBS.into_iter().chain([Request::MALFORMED]) {
            metrics::counter!(names::CONTROL_REQUESTS, "verb" => verb).absolute(0);
        }
        let Self { runtime, mut terminate, mut interrupt } = self;
        let ended = runtime.block_on(async {
            tokio::spawn(collect(Arc::clone(&surface)));
            tokio::select! {
                _ = terminate.recv() => Ok("SIGTERM"),
                _ = interrupt.recv() => Ok("SIGINT"),
                () = died.notified() => Err(Failure::Defect("a thread has ended by itself; see the lines above, and report them".into())),
                Err(error) = control.serve(desk) => Err(cannot_serve(error)),
                Err(error) = http::serve(http, surface) => Err(cannot_serve(error)),
            }
        });
        runtime.shutdown_timeout(SHUTDOWN_PATIENCE);
        ended.map(|signal| tracing::info!(signal, "stopping"))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
fn cannot_serve(error: io::Error) -> Failure {
    Failure::Environment(format!("cannot serve metrics and control: {error}"))
}

async fn collect(surface: Arc<Surface>) {
    let mut ticks = tokio::time::interval(COLLECT_INTERVAL);
    loop {
        ticks.tick().await;
        surface.collector.collect();
    }
}

/// Workers first, so that nothing is taken any more; then those who keep what the workers took.
fn stop(workers: Pool, keeper: JoinHandle<()>, (orders, adopter): (SyncSender<Order>, JoinHandle<()>)) {
    workers.stop();
    drop(orders);
    for (name, thread) in [("stamps", keeper), ("adopter", adopter)] {
        if thread.join().is_err() {
            tracing::error!(thread = name, "a thread had panicked");
        }
    }
    tracing::info!("stopped");
}

fn note_receive_buffer(granted: usize) {
    let wanted = crate::limits::RECEIVE_BUFFER_BYTES;
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; buffers stay far below 2^52 bytes")]
    metrics::gauge!(names::UDP_RECEIVE_BUFFER).set(granted as f64);
    if granted < wanted {
        tracing::info!(granted, wanted, "small UDP receive buffer; for large bursts raise sysctl net.core.rmem_max");
    }
}
