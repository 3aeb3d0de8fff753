//! Snapshots down, one at a time, from where the gateway has them already (SPEC 15.12).

use std::io::SeekFrom;
use std::path::Path;
use std::sync::Arc;

use kalitka_protocol::upstream::{SnapshotHead, SnapshotResult, SnapshotWanted, kind, snapshot_result};
use quinn::SendStream;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{Stopped, end, pause, stream};
use crate::clock::Clock;
use crate::connections::Connection;
use crate::failure::Failure;
use crate::hub::Hub;
use crate::ledger::{self, SnapshotEntry, SnapshotOutcome};
use crate::limits::{SNAPSHOT_AGAIN, SNAPSHOT_CHUNK_BYTES, SNAPSHOT_PATIENCE};
use crate::metrics::names;
use crate::publish;

/// Room for a snapshot's message: head and body.
const HEAD_ROOM: usize = 64;
/// Bytes of the bodies that come back.
const WANTED_LEN: usize = 16;
const RESULT_LEN: usize = 8;

/// What became of one offer.
enum Offered {
    /// The gateway has said what it makes of it.
    Result(SnapshotResult),
    /// It has not, or the file is not to be had: worth another try later.
    Again(String),
}

/// Offers the newest snapshot whenever it is newer than what the gateway has, until the connection ends. One that the
/// gateway refuses is offered again on its next connection only; one that it could not write, after a while.
pub(super) async fn hand_down(hub: &Arc<Hub>, connection: &Connection, generation: u32, bell: &Notify) {
    let mut done = generation;
    let building = connection.building;
    let stopped = loop {
        let newest = match ledger::with(hub, move |_, ledger| Ok(ledger.snapshot(building)?)).await {
            Ok(newest) => newest.filter(|newest| newest.generation > done),
            Err(error) => {
                pause(connection, &error, bell).await;
                continue;
            }
        };
        let Some(newest) = newest else {
            bell.notified().await;
            continue;
        };
        match offer(hub, connection, &newest).await {
            Ok(Offered::Result(result)) => {
                note(hub, &newest, result).await;
                if result.result == snapshot_result::NOT_KEPT {
                    let _ = timeout(SNAPSHOT_AGAIN, bell.notified()).await;
                } else {
                    done = newest.generation;
                }
            }
            Ok(Offered::Again(why)) => {
                tracing::warn!(building, generation = newest.generation, why, "snapshot not handed down; trying again");
                let _ = timeout(SNAPSHOT_AGAIN, bell.notified()).await;
            }
            Err(stopped) => break stopped,
        }
    };
    end(hub, connection, "snapshot", &stopped).await;
}

/// One snapshot on a stream of its own.
async fn offer(hub: &Hub, connection: &Connection, entry: &SnapshotEntry) -> Result<Offered, Stopped> {
    let path = publish::path(&hub.config.state, entry.building, entry.generation);
    let (mut send, mut receive) = connection.quic.open_bi().await.map_err(|_| Stopped::Gone)?;
    // Acknowledgements and commands go first.
    let _ = send.set_priority(-1);
    let head = SnapshotHead { generation: entry.generation, len: entry.bytes, hash: entry.hash };
    stream::write::<HEAD_ROOM>(&mut send, kind::SNAPSHOT, |out| head.emit(out)).await?;
    let wanted = stream::read(&mut receive, kind::SNAPSHOT_WANTED, WANTED_LEN);
    let Ok(wanted) = timeout(SNAPSHOT_PATIENCE, wanted).await else {
        return Ok(Offered::Again("the gateway does not say what it wants of it".into()));
    };
    let wanted = SnapshotWanted::parse(&wanted?).map_err(|error| Stopped::Malformed(error.to_string()))?;
    if wanted.generation != entry.generation || wanted.offset > entry.bytes {
        return Err(Stopped::Malformed("snapshot wanted: another generation, or beyond its end".into()));
    }
    if let Err(error) = send_from(&mut send, &path, wanted.offset).await {
        let gone = connection.quic.close_reason().is_some();
        return if gone { Err(Stopped::Gone) } else { Ok(Offered::Again(error)) };
    }
    let result = stream::read(&mut receive, kind::SNAPSHOT_RESULT, RESULT_LEN);
    let Ok(result) = timeout(SNAPSHOT_PATIENCE, result).await else {
        return Ok(Offered::Again("the gateway does not say what became of it".into()));
    };
    let result = SnapshotResult::parse(&result?).map_err(|error| Stopped::Malformed(error.to_string()))?;
    if result.generation != entry.generation {
        return Err(Stopped::Malformed("snapshot result: another generation".into()));
    }
    Ok(Offered::Result(result))
}

/// Sends the file from `offset` on and ends the stream. On error the stream is reset, so that nobody takes a part of the
/// file for all of it.
async fn send_from(send: &mut SendStream, path: &Path, offset: u64) -> Result<(), String> {
    let sent = copy(send, path, offset).await;
    if sent.is_err() {
        let _ = send.reset(0u32.into());
    }
    sent
}

async fn copy(send: &mut SendStream, path: &Path, offset: u64) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut file = File::open(path).await.map_err(failed)?;
    file.seek(SeekFrom::Start(offset)).await.map_err(failed)?;
    let mut chunk = vec![0; SNAPSHOT_CHUNK_BYTES];
    loop {
        let len = file.read(&mut chunk).await.map_err(failed)?;
        if len == 0 {
            return send.finish().map_err(|error| error.to_string());
        }
        let written = timeout(SNAPSHOT_PATIENCE, send.write_all(&chunk[..len])).await;
        written.map_err(|_| "the gateway takes nothing".to_owned())?.map_err(|error| error.to_string())?;
    }
}

async fn note(hub: &Arc<Hub>, entry: &SnapshotEntry, SnapshotResult { result, .. }: SnapshotResult) {
    let key @ (building, generation) = (entry.building, entry.generation);
    let outcome = match result {
        0 => "adopted",
        snapshot_result::NOT_KEPT => "not_kept",
        _ => "refused",
    };
    metrics::counter!(names::SNAPSHOTS, "outcome" => outcome).increment(1);
    let noted: Result<(), Failure> = ledger::with(hub, move |_, ledger| {
        Ok(ledger.note_snapshot(key, SnapshotOutcome { code: result, at: Clock::wall_seconds() })?)
    })
    .await;
    match noted {
        Ok(()) => tracing::info!(building, generation, result, outcome, "snapshot handed down"),
        Err(error) => tracing::error!(building, generation, %error, "cannot keep a snapshot's result"),
    }
}
