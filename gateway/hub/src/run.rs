//! The running hub: what is started in which order, and how it ends.
//!
//! Everything that can fail for want of a file, a port or a permission is done before the first gateway is let in.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use kalitka_process::control::Listener;
use kalitka_process::notify;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, broadcast, watch};

use crate::alarms::Alarms;
use crate::clock::Clock;
use crate::config::Config;
use crate::connections::Connections;
use crate::control::{self as control_socket, Desk, Request};
use crate::doors::DoorRequest;
use crate::failure::Failure;
use crate::hub::Hub;
use crate::limits::{BATCH_BYTES_MAX, LIVE_WAITING_MAX, SHUTDOWN_PATIENCE, UPKEEP_INTERVAL};
use crate::logs;
use crate::metrics::{Collector, names};
use crate::pki::Pki;
use crate::state::StateFolder;
use crate::store::{Store, Writer};
use crate::{feed, receive, renew, retention};

/// Runs the hub until it is told to stop.
///
/// # Errors
/// [`Failure`] when it cannot start, or when a part of it has died.
pub(crate) fn run(config: Config) -> Result<(), Failure> {
    let clock = Clock::start();
    logs::start(&config.log)?;
    let mut stage = Stage::set()?;
    // Whatever the hub makes is for itself; the control socket is opened to its group by name.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let _state = StateFolder::take(&config.state, crate::PROGRAM)?;
    let collector = Arc::new(Collector::install()?);
    let pki = Pki::open_current(&config.state, Clock::wall_seconds())?;
    pki.show_expiry();
    let store = Store::open(&config.state)?;
    let (endpoint, quic) = {
        let _entered = stage.runtime.enter();
        receive::bind(config.quic.listen, &pki, config.renew_expired())?
    };
    let (http_listener, http) = bind_http(config.http.listen)?;
    let control = Listener::bind(&config.control.socket, crate::PROGRAM)?;
    let (writer, works, stored) = Writer::new(store.newest()?);
    let (stop, stopping) = watch::channel(false);
    let alarms = Alarms::of(&store)?;
    let live = broadcast::Sender::new(LIVE_WAITING_MAX);
    let connections = Connections::default();
    let room = Arc::new(Semaphore::new(BATCH_BYTES_MAX));
    let hub = Arc::new(Hub { config, clock, store, stored, live, alarms, connections, room, pki, collector, stopping });
    tracing::info!(%quic, %http, newest = *hub.stored.borrow(), version = env!("CARGO_PKG_VERSION"), "serving");

    let desk = Arc::new(Desk { hub: Arc::clone(&hub), quic, http });
    notify::ready();
    let ended = stage.serve(&hub, async {
        let mut writer = tokio::spawn(writer.run(Arc::clone(&hub)));
        let mut receive = tokio::spawn(receive::serve(endpoint.clone(), Arc::clone(&hub), works));
        tokio::select! {
            _ = &mut writer => Err(Failure::Defect("the writer has ended by itself; see the lines above, and report them".into())),
            _ = &mut receive => Err(Failure::Defect("the receiver has ended by itself; see the lines above, and report them".into())),
            Err(error) = control.serve(|stream| control_socket::attend(Arc::clone(&desk), stream)) => Err(cannot_serve(error)),
            Err(error) = feed::serve(http_listener, Arc::clone(&hub)) => Err(cannot_serve(error)),
        }
    });
    notify::stopping();
    stop.send_replace(true);
    endpoint.close(0_u32.into(), b"the hub is stopping");
    stage.runtime.block_on(async {
        // So that gateways hear it, and do not wait for a hub that is gone.
        let _ = tokio::time::timeout(SHUTDOWN_PATIENCE, endpoint.wait_idle()).await;
        // A disk that hangs does not keep the hub from ending.
        let _ = tokio::time::timeout(SHUTDOWN_PATIENCE, hub.alarms.keep(&hub)).await;
    });
    stage.runtime.shutdown_timeout(SHUTDOWN_PATIENCE);
    tracing::info!("stopped");
    ended
}

/// Where gateways, people, machines and signals are served. Set first of all, so that no signal finds the hub half
/// started.
struct Stage {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
}

impl Stage {
    fn set() -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(cannot_serve)?;
        let (terminate, interrupt) = {
            let _entered = runtime.enter();
            let terminate = signal(SignalKind::terminate()).map_err(cannot_serve)?;
            (terminate, signal(SignalKind::interrupt()).map_err(cannot_serve)?)
        };
        Ok(Self { runtime, terminate, interrupt })
    }

    /// Serves until a signal comes or `work` ends.
    fn serve(&mut self, hub: &Arc<Hub>, work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
        for verb in Request::VERBS.into_iter().chain(DoorRequest::VERBS).chain([Request::MALFORMED]) {
            metrics::counter!(names::CONTROL_REQUESTS, "verb" => verb).absolute(0);
        }
        let Self { runtime, terminate, interrupt } = self;
        runtime.block_on(async {
            tokio::spawn(keep_up(Arc::clone(hub)));
            tokio::spawn(renew::watch_expiry(Arc::clone(hub)));
            tokio::spawn(retention::run(Arc::clone(hub)));
            tokio::spawn(keep_alarms(Arc::clone(hub)));
            let signal = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
                ended = work => return ended,
            };
            tracing::info!(signal, "stopping");
            Ok(())
        })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
fn cannot_serve(error: io::Error) -> Failure {
    Failure::Environment(format!("cannot serve gateways, control and feeds: {error}"))
}

/// Keeps what grows while nobody looks bounded; also while the disk hangs. That it comes round is what the service manager hears of:
/// writer and receiver end the process by themselves when they end.
async fn keep_up(hub: Arc<Hub>) {
    let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
    loop {
        ticks.tick().await;
        hub.collector.upkeep();
        show_load(&hub);
        notify::alive();
    }
}

/// Puts new alarms into the store.
async fn keep_alarms(hub: Arc<Hub>) {
    let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        hub.alarms.keep(&hub).await;
    }
}

fn show_load(hub: &Hub) {
    let waiting = BATCH_BYTES_MAX.saturating_sub(hub.room.available_permits());
    metrics::gauge!(names::WAITING_BYTES).set(f64::from(u32::try_from(waiting).unwrap_or(u32::MAX)));
    metrics::gauge!(names::WORST_LAG).set(hub.connections.worst_lag(Clock::wall_us()).as_secs_f64());
    metrics::gauge!(names::PACE_BYTES).set(f64::from(*hub.connections.pace().borrow()));
}

fn bind_http(listen: SocketAddr) -> Result<(TcpListener, SocketAddr), Failure> {
    let bound = TcpListener::bind(listen).and_then(|listener| {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    });
    bound.map_err(|error| {
        Failure::Environment(format!(
            "http.listen: cannot listen on {listen}: {error}; stop what uses it, or configure another address"
        ))
    })
}
