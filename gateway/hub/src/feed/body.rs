//! A response that goes on: lines in pieces, through a short queue that a slow reader fills.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use http_body::Frame;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::watch::End;
use crate::limits::{FEED_PATIENCE, FEED_PIECE_BYTES, FEED_WAITING_MAX, FEEDS_MAX, FEEDS_OF_ONE_MAX};

/// Who has how many feeds open.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<BTreeMap<String, usize>>);

/// One open feed's place; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    name: String,
}

impl Places {
    /// A place for the subscriber `name`, unless it or all together have too many.
    pub(super) fn take(self: &Arc<Self>, name: &str) -> Option<Place> {
        let mut open = self.open();
        let all: usize = open.values().sum();
        let own = open.get(name).copied().unwrap_or(0);
        if all >= FEEDS_MAX || own >= FEEDS_OF_ONE_MAX {
            return None;
        }
        open.insert(name.to_owned(), own + 1);
        Some(Place { places: Arc::clone(self), name: name.to_owned() })
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        // Nothing panics while it holds the map, and a map is whole at every step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.places.open();
        match open.get_mut(&self.name) {
            Some(own) if *own > 1 => *own -= 1,
            _ => {
                open.remove(&self.name);
            }
        }
    }
}

/// Where a feed's lines go.
pub(super) struct Lines {
    piece: Vec<u8>,
    queue: mpsc::Sender<Piece>,
    /// How long the reader may take nothing.
    patience: Duration,
}

/// A piece of the body; an error ends the response in a way that its reader sees.
pub(super) type Piece = io::Result<Bytes>;

impl Lines {
    pub(super) const fn new(queue: mpsc::Sender<Piece>, patience: Duration) -> Self {
        Self { piece: Vec::new(), queue, patience }
    }

    /// Adds a line with its end, and sends what has gathered when that is enough for a piece.
    ///
    /// # Errors
    /// [`End::Slow`] or [`End::Gone`].
    pub(super) async fn line(&mut self, line: &str) -> Result<(), End> {
        self.piece.extend_from_slice(line.as_bytes());
        if self.piece.len() < FEED_PIECE_BYTES { Ok(()) } else { self.flush().await }
    }

    /// Sends what has gathered.
    ///
    /// # Errors
    /// As [`Lines::line`].
    pub(super) async fn flush(&mut self) -> Result<(), End> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::take(&mut self.piece));
        match timeout(self.patience, self.queue.send(Ok(piece))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::Slow),
        }
    }

    /// Resolves when the reader has gone.
    pub(super) async fn gone(&self) -> End {
        self.queue.closed().await;
        End::Gone
    }

    /// Ends the body: with the reason as the last line, unless all was sent or nobody can hear it.
    pub(super) async fn end(mut self, end: End) {
        match end {
            End::Complete => {
                let _ = self.flush().await;
            }
            End::Gone => {}
            End::Slow => {
                // What was sent is not to be taken for the whole.
                let _ = self.queue.try_send(Err(io::ErrorKind::TimedOut.into()));
            }
            End::Revoked | End::Stopping | End::Store => {
                let _ = self.line(&format!("{{\"end\":\"{}\"}}\n", end.label())).await;
                let _ = self.flush().await;
            }
        }
    }
}

/// A response of JSON lines that `send` makes, in a task of its own.
pub(super) fn response<F: Future<Output = ()> + Send + 'static>(send: impl FnOnce(Lines) -> F) -> Response {
    let (queue, pieces) = mpsc::channel(FEED_WAITING_MAX);
    tokio::spawn(send(Lines::new(queue, FEED_PATIENCE)));
    let head = [(header::CONTENT_TYPE, "application/jsonl"), (header::CACHE_CONTROL, "no-store")];
    (head, Body::new(Pieces(pieces))).into_response()
}

struct Pieces(mpsc::Receiver<Piece>);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}
