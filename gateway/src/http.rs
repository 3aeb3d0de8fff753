//! Plain HTTP for whoever watches: `/metrics`, `/healthz`, `/readyz`, and the status page ([`crate::page`]). GET only, nothing
//! personal.

use std::fmt::Write as _;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{MethodFilter, on};
use kalitka_process::handed::Handed;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Sleep;

use crate::adoption::Standing;
use crate::clock::Clock;
use crate::failure::Failure;
use crate::journal::JournalStatus;
use crate::limits::{HTTP_CONNECTION_LIFE, HTTP_CONNECTIONS_MAX, JOURNAL_STUCK_AFTER, WORKER_STUCK_AFTER};
use crate::metrics::Collector;
use crate::page::{self, Page};

/// What is shown.
pub(crate) struct Surface {
    pub(crate) clock: Clock,
    pub(crate) collector: Arc<Collector>,
    pub(crate) standing: watch::Receiver<Standing>,
    pub(crate) journal: watch::Receiver<JournalStatus>,
}

impl Surface {
    /// Whether every worker has shown lately that it lives.
    pub(crate) fn healthy(&self) -> bool {
        let now = self.clock.monotonic();
        self.collector.tallies().iter().all(|tally| tally.silent_for(now) < WORKER_STUCK_AFTER)
    }

    /// What is not as it should be and stops no decision.
    fn degraded(&self) -> String {
        let journal = self.journal.borrow();
        let mut lines = String::new();
        let busy = self.collector.journal().busy_for(self.clock.monotonic());
        if busy >= JOURNAL_STUCK_AFTER {
            let seconds = busy.as_secs();
            // Writing to a string does not fail.
            let _ =
                writeln!(lines, "degraded: the disk has not answered for {seconds} s; reports wait at their readers");
        }
        for (is_so, line) in [
            (!journal.taking, "degraded: events are not made durable, and reports wait at their readers\n"),
            (
                journal.at_bound,
                "degraded: the outbox is at its bound; decisions are not recorded, and reports wait at their readers\n",
            ),
            (journal.safety_damaged, "degraded: the blocks and modes in force could not be read\n"),
            (journal.on_refuge, "degraded: the plain log stands in for the store; restart when convenient\n"),
        ] {
            if is_so {
                lines.push_str(line);
            }
        }
        lines
    }
}

/// The listener at `listen`, handed over or bound; gives the address with its port, also when any port was asked for.
///
/// # Errors
/// [`Failure::Environment`] naming the address.
pub(crate) fn open(listen: SocketAddr, handed: &mut Handed) -> Result<(TcpListener, SocketAddr), Failure> {
    let listener = handed.take_tcp("http.listen", listen).map_or_else(|| TcpListener::bind(listen), Ok);
    let bound = listener.and_then(|listener| {
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

/// Serves until it is dropped.
///
/// # Errors
/// What the system says when it cannot be served at all.
pub(crate) async fn serve(listener: TcpListener, surface: Arc<Surface>, page: Arc<Page>) -> io::Result<()> {
    let router = Router::new()
        .route("/metrics", on(MethodFilter::GET, metrics))
        .route("/healthz", on(MethodFilter::GET, healthz))
        .route("/readyz", on(MethodFilter::GET, readyz))
        .with_state(surface)
        .merge(page::routes(page));
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(HTTP_CONNECTIONS_MAX));
    axum::serve(Bounded { listener, places }, router).await
}

async fn metrics(State(surface): State<Arc<Surface>>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        surface.collector.render(surface.clock.monotonic()),
    )
}

async fn healthz(State(surface): State<Arc<Surface>>) -> impl IntoResponse {
    if surface.healthy() {
        (StatusCode::OK, format!("ok\n{}", surface.degraded()))
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "a worker is stuck\n".into())
    }
}

async fn readyz(State(surface): State<Arc<Surface>>) -> impl IntoResponse {
    if !surface.healthy() {
        (StatusCode::SERVICE_UNAVAILABLE, "a worker is stuck\n")
    } else if surface.standing.borrow().in_force.is_none() {
        (StatusCode::SERVICE_UNAVAILABLE, "no snapshot is in force\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}

/// A listener that has no more than so many connections at a time; the next one waits in the kernel.
struct Bounded {
    listener: tokio::net::TcpListener,
    places: Arc<Semaphore>,
}

impl axum::serve::Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // The semaphore is never closed, so there is a place sooner or later.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let (stream, address) = axum::serve::Listener::accept(&mut self.listener).await;
        let end = Box::pin(tokio::time::sleep(HTTP_CONNECTION_LIFE));
        (Connection { stream, end, _place: place }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection with its place, which it loses after [`HTTP_CONNECTION_LIFE`]: who hangs does not keep others from asking.
struct Connection {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Connection {
    /// Ready with an error once the connection's time is over; wakes its task then.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.end.as_mut().poll(cx).map(|()| io::ErrorKind::TimedOut.into())
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(over) = self.poll_end(cx) {
            return Poll::Ready(Err(over));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Poll::Ready(over) = self.poll_end(cx) {
            return Poll::Ready(Err(over));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
