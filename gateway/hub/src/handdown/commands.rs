//! Commands down, their results up, on one stream (SPEC 15.3, 15.8, 15.9).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kalitka_protocol::upstream::{CommandResult, kind};
use quinn::{RecvStream, SendStream};
use tokio::sync::Notify;

use super::{Stopped, end, pause, stream};
use crate::clock::Clock;
use crate::connections::Connection;
use crate::failure::Failure;
use crate::hub::Hub;
use crate::ledger::{self, CommandEntry, CommandState};
use crate::limits::{COMMANDS_UNDER_WAY_MAX, ENVELOPE_BYTES_MAX, MESSAGE_HEAD_ROOM};
use crate::metrics::names;

/// Bytes of a command result's body.
const RESULT_LEN: usize = 16;

/// Hands commands down in the order of their numbers until the connection ends. Those without a result go down again on
/// the next connection; what became of one that was done before is in its event (SPEC 14.10).
pub(super) async fn hand_down(hub: &Arc<Hub>, connection: &Connection, bell: &Notify) {
    let first = next(hub, connection, 0, COMMANDS_UNDER_WAY_MAX, bell).await;
    let stopped = match connection.quic.open_bi().await {
        Err(_) => Stopped::Gone,
        Ok((send, receive)) => {
            let under_way = AtomicUsize::new(0);
            tokio::select! {
                stopped = send_all(hub, connection, send, first, &under_way, bell) => stopped,
                stopped = take_results(hub, connection, receive, &under_way, bell) => stopped,
            }
        }
    };
    end(hub, connection, "commands", &stopped).await;
}

async fn send_all(
    hub: &Arc<Hub>,
    connection: &Connection,
    mut send: SendStream,
    mut commands: Vec<CommandEntry>,
    under_way: &AtomicUsize,
    bell: &Notify,
) -> Stopped {
    let mut after = 0;
    loop {
        for command in commands {
            let sent = stream::write::<{ ENVELOPE_BYTES_MAX + MESSAGE_HEAD_ROOM }>(&mut send, kind::COMMAND, |out| {
                out.put(&command.envelope)
            });
            if sent.await.is_err() {
                return Stopped::Gone;
            }
            after = command.number;
            under_way.fetch_add(1, Ordering::Relaxed);
            tracing::info!(building = connection.building, number = after, "command handed down");
        }
        while under_way.load(Ordering::Relaxed) >= COMMANDS_UNDER_WAY_MAX {
            bell.notified().await;
        }
        commands = next(hub, connection, after, COMMANDS_UNDER_WAY_MAX - under_way.load(Ordering::Relaxed), bell).await;
    }
}

/// The next commands above `after`, at least one.
async fn next(hub: &Arc<Hub>, connection: &Connection, after: u64, count: usize, bell: &Notify) -> Vec<CommandEntry> {
    let building = connection.building;
    loop {
        match ledger::with(hub, move |_, ledger| Ok(ledger.take_commands(building, after, count)?)).await {
            Ok(commands) if !commands.is_empty() => return commands,
            Ok(_) => bell.notified().await,
            Err(error) => pause(connection, &error, bell).await,
        }
    }
}

async fn take_results(
    hub: &Arc<Hub>,
    connection: &Connection,
    mut receive: RecvStream,
    under_way: &AtomicUsize,
    bell: &Notify,
) -> Stopped {
    loop {
        let body = match stream::read(&mut receive, kind::COMMAND_RESULT, RESULT_LEN).await {
            Ok(body) => body,
            Err(error) => return error.into(),
        };
        let result = match CommandResult::parse(&body) {
            Ok(result) => result,
            Err(error) => return Stopped::Malformed(error.to_string()),
        };
        if note(hub, connection, result).await {
            under_way.fetch_sub(1, Ordering::Relaxed);
        }
        bell.notify_one();
    }
}

/// Keeps `result`; says whether a command waited for it.
async fn note(hub: &Arc<Hub>, connection: &Connection, CommandResult { number, outcome }: CommandResult) -> bool {
    let building = connection.building;
    let noted: Result<bool, Failure> = ledger::with(hub, move |_, ledger| {
        Ok(ledger.note_command((building, number), CommandState { code: outcome.code(), at: Clock::wall_seconds() })?)
    })
    .await;
    metrics::counter!(names::COMMANDS, "outcome" => outcome.label()).increment(1);
    match noted {
        Ok(waited) => {
            tracing::info!(building, number, outcome = outcome.label(), waited, "command's result");
            waited
        }
        Err(error) => {
            // It goes down again on the next connection, and its result comes again.
            tracing::error!(building, number, %error, "cannot keep a command's result");
            false
        }
    }
}
