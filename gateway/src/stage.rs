//! Where people, machines, the hub and signals are served.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use kalitka_process::control::Listener;
use kalitka_process::notify;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::control::{Desk, Request};
use crate::failure::Failure;
use crate::http::{self, Surface};
use crate::limits::{COLLECT_INTERVAL, SHUTDOWN_PATIENCE};
use crate::metrics::names;
use crate::page::Page;
use crate::thread::Ended;
use crate::uplink::Uplink;

/// Set first of all, so that no signal finds the gateway half started.
pub(crate) struct Stage {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
}

/// What is served.
pub(crate) struct Services<'a> {
    pub(crate) control: &'a Listener,
    pub(crate) http: TcpListener,
    pub(crate) desk: Arc<Desk>,
    pub(crate) surface: Arc<Surface>,
    pub(crate) page: Arc<Page>,
    pub(crate) uplink: Option<Uplink>,
}

impl Stage {
    /// # Errors
    /// [`Failure::Environment`] when the system gives no runtime or no signals.
    pub(crate) fn set() -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cannot_serve)?;
        let (terminate, interrupt) = {
            let _entered = runtime.enter();
            let terminate = signal(SignalKind::terminate()).map_err(cannot_serve)?;
            (terminate, signal(SignalKind::interrupt()).map_err(cannot_serve)?)
        };
        Ok(Self { runtime, terminate, interrupt })
    }

    /// Serves until a signal comes or a thread dies: without each of them decisions would grow old or wrong unseen.
    ///
    /// # Errors
    /// [`Failure`] for every other end than by a signal.
    pub(crate) fn serve(self, services: Services<'_>, died: &Ended) -> Result<(), Failure> {
        for verb in Request::VERBS.into_iter().chain([Request::MALFORMED]) {
            metrics::counter!(names::CONTROL_REQUESTS, "verb" => verb).absolute(0);
        }
        let Self { runtime, mut terminate, mut interrupt } = self;
        let Services { control, http, desk, surface, page, uplink } = services;
        let ended = runtime.block_on(async {
            let shutdown = watch::Sender::new(false);
            tokio::spawn(collect(Arc::clone(&surface), Arc::clone(&page)));
            let uplink = uplink.map(|uplink| tokio::spawn(uplink.run(shutdown.subscribe())));
            let ended = tokio::select! {
                _ = terminate.recv() => Ok("SIGTERM"),
                _ = interrupt.recv() => Ok("SIGINT"),
                () = died.notified() => Err(Failure::Defect("a thread has ended by itself; see the lines above, and report them".into())),
                Err(error) = control.serve(|stream| Arc::clone(&desk).attend(stream)) => Err(cannot_serve(error)),
                Err(error) = http::serve(http, surface, page) => Err(cannot_serve(error)),
            };
            notify::stopping();
            shutdown.send_replace(true);
            if let Some(uplink) = uplink {
                // Takes leave of the hub, if that is quick.
                let _ = timeout(SHUTDOWN_PATIENCE, uplink).await;
            }
            ended
        });
        runtime.shutdown_timeout(SHUTDOWN_PATIENCE);
        ended.map(|signal| tracing::info!(signal, "stopping"))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
fn cannot_serve(error: io::Error) -> Failure {
    Failure::Environment(format!("cannot serve metrics and control: {error}"))
}

async fn collect(surface: Arc<Surface>, page: Arc<Page>) {
    let mut ticks = tokio::time::interval(COLLECT_INTERVAL);
    loop {
        ticks.tick().await;
        surface.collector.collect(surface.clock.monotonic());
        page.look();
        // A worker that is stuck lets the service manager's patience run out.
        if surface.healthy() {
            notify::alive();
        }
    }
}
