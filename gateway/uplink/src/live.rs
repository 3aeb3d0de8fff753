//! The live lane: committed events at once, at best effort, in QUIC datagrams (SPEC 15.10).
//!
//! QUIC sends datagrams before streams, so that a backlog never stands before a fresh event; what bounds a fresh event's wait
//! is the share of the line that this lane keeps to.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use kalitka_protocol::event::Events;
use kalitka_protocol::limits::{LIVE_LEN_MAX, LIVE_REPEAT};
use kalitka_protocol::upstream::{MESSAGE_HEAD_LEN, kind};
use quinn::Connection;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::sleep;

use crate::connection::Context;
use crate::end::End;
use crate::limits::LIVE_REPEATS_MAX;
use crate::rate::{Allowance, bytes_a_second};
use crate::tally::Tally;
use crate::wire;

/// Sends what is committed, until the connection ends.
pub(crate) async fn send(
    context: &Context,
    connection: &Connection,
    mut commits: Receiver<Arc<[u8]>>,
) -> Result<Infallible, End> {
    let allowance = Allowance::new((context.clock)());
    let mut lane = Lane { context, connection, allowance, repeats: VecDeque::new() };
    loop {
        tokio::select! {
            biased;
            () = lane.next_repeat() => lane.repeat(),
            commit = commits.recv() => match commit {
                Ok(events) => lane.send(&events)?,
                Err(RecvError::Lagged(commits)) => Tally::add(&context.tally.live_left_out, commits),
                // Nothing is committed any more.
                Err(RecvError::Closed) => return pending().await,
            },
        }
    }
}

struct Lane<'a> {
    context: &'a Context,
    connection: &'a Connection,
    allowance: Allowance,
    repeats: VecDeque<(Duration, Vec<u8>)>,
}

impl Lane<'_> {
    fn send(&mut self, events: &[u8]) -> Result<(), End> {
        let tally = &self.context.tally;
        let rate = bytes_a_second(self.connection);
        let len_max = self.connection.max_datagram_size().unwrap_or(0).min(LIVE_LEN_MAX);
        for piece in pieces(events, len_max.saturating_sub(MESSAGE_HEAD_LEN)) {
            let (bytes, count) = match piece {
                Piece::Fits { bytes, count } => (bytes, count),
                Piece::TooLong => {
                    Tally::add(&tally.live_left_out, 1);
                    continue;
                }
            };
            let now = (self.context.clock)();
            let message = wire::compose(kind::LIVE, bytes.len(), |out| out.put(bytes))?;
            // What is sent again counts too.
            let is_sent = self.allowance.take(now, rate, 2 * message.len()) && self.put(&message);
            Tally::add(if is_sent { &tally.live_sent } else { &tally.live_left_out }, count);
            if is_sent && self.repeats.len() < LIVE_REPEATS_MAX {
                self.repeats.push_back((now + LIVE_REPEAT, message));
            }
        }
        Ok(())
    }

    /// Sends the message if it need not push out another.
    fn put(&self, message: &[u8]) -> bool {
        let has_room = self.connection.datagram_send_buffer_space() >= message.len();
        has_room && self.connection.send_datagram(message.to_vec().into()).is_ok()
    }

    async fn next_repeat(&self) {
        let Some((due, _)) = self.repeats.front() else { return pending().await };
        sleep(due.saturating_sub((self.context.clock)())).await;
    }

    fn repeat(&mut self) {
        if let Some((_, message)) = self.repeats.pop_front() {
            self.put(&message);
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Fits { bytes: &'a [u8], count: u64 },
    TooLong,
}

/// Takes `events` apart into pieces of whole events with at most `len_max` bytes, as few as go.
fn pieces(events: &[u8], len_max: usize) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let (mut from, mut end, mut count) = (0, 0, 0);
    for event in Events::new(events).map_while(Result::ok) {
        let len = event.bytes.len();
        if end + len - from > len_max {
            if count > 0 {
                pieces.push(Piece::Fits { bytes: &events[from..end], count });
            }
            (from, count) = (end, 0);
        }
        end += len;
        if len > len_max {
            pieces.push(Piece::TooLong);
            from = end;
        } else {
            count += 1;
        }
    }
    if count > 0 {
        pieces.push(Piece::Fits { bytes: &events[from..end], count });
    }
    pieces
}
