//! Readers on wires. Each serial line has a task of its own, and all tasks share one thread, which waits for nobody else:
//! what comes is handed to the workers, who answer as they answer what comes over the network.

pub(crate) mod cabinet;
mod ear;
mod line;
pub(crate) mod port;
pub(crate) mod settings;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::failure::Failure;
use crate::metrics::{LineLamp, LineMetrics};
use crate::thread::{self, Ended};
use crate::udp::{Inlet, Letter, Lines};
use line::Line;
use settings::Port;

/// The configured lines before they run.
pub(crate) struct Wiring {
    ports: Vec<(Port, LineMetrics, Receiver<Letter>)>,
    /// Where workers leave what goes to them.
    pub(crate) lines: Lines,
}

impl Wiring {
    /// Of `ports`, which are opened only when they run: one that is missing keeps no door shut.
    pub(crate) fn of(ports: &[Port]) -> Self {
        let metrics: Vec<_> = ports.iter().map(|port| LineMetrics::of(&port.port)).collect();
        let (lines, outlets) = Lines::new(metrics.iter().map(|metrics| metrics.line_full.clone()));
        let ports = ports.iter().cloned().zip(metrics).zip(outlets);
        Self { ports: ports.map(|((port, metrics), outlet)| (port, metrics, outlet)).collect(), lines }
    }

    /// The lines' ports, and where it is seen how each stands.
    pub(crate) fn lamps(&self) -> Vec<(PathBuf, Arc<LineLamp>)> {
        self.ports.iter().map(|(port, metrics, _)| (port.port.clone(), metrics.lamp())).collect()
    }

    /// Starts the lines on a thread, if there are any; each hands in at its `inlet`.
    ///
    /// # Errors
    /// [`Failure::Environment`] when the system gives no thread.
    pub(crate) fn start(
        self,
        inlet: impl Fn(u16) -> Inlet,
        clock: &Clock,
        died: &Ended,
    ) -> Result<Option<Running>, Failure> {
        if self.ports.is_empty() {
            return Ok(None);
        }
        let line = |((port, metrics, outlet), number)| Line {
            port,
            inlet: inlet(number),
            outlet,
            metrics,
            clock: clock.clone(),
        };
        let lines: Vec<_> = self.ports.into_iter().zip(0..).map(line).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(no_lines)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let body = move || {
            runtime.block_on(async {
                let mut tasks = JoinSet::new();
                lines.into_iter().for_each(|line| drop(tasks.spawn(line.run())));
                tokio::select! {
                    _ = stopped => {}
                    // None ends by itself.
                    _ = tasks.join_next() => {}
                }
            });
        };
        Ok(Some(Running { stop, thread: thread::spawn("serial", died, body)? }))
    }
}

/// The running lines.
pub(crate) struct Running {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Running {
    /// Lets go of all ports.
    pub(crate) fn stop(self) {
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::error!("the thread of the serial lines had panicked");
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
fn no_lines(error: io::Error) -> Failure {
    Failure::Environment(format!("cannot serve serial lines: {error}"))
}
