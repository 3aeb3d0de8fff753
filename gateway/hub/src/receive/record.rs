//! A gateway's record stream: hello, position, and then batches and what becomes of them (SPEC 15.3 to 15.7, 15.13).

use std::sync::Arc;

use kalitka_protocol::EpochId;
use kalitka_protocol::event::Events;
use kalitka_protocol::limits::MESSAGE_HEAD_LEN;
use kalitka_protocol::upstream::{
    Acknowledgement, Batch, Checkpoint, Fork, Hello, Pace, Position, PositionEntry, close, kind, message,
};
use kalitka_protocol::wire::{Malformed, NoRoom, Writer};
use quinn::{RecvStream, SendStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{interval, timeout};

use super::{live, messages};
use crate::alarms::AlarmKind;
use crate::clock::Clock;
use crate::connections::Connection;
use crate::handdown;
use crate::hub::Hub;
use crate::limits::{ADDRESS_LOOK, BATCHES_WAITING_MAX, HELLO_PATIENCE};
use crate::metrics::names;
use crate::renew;
use crate::store::{Checked, Forked, NotNow, NotSound, StoreError, Taken, Work};

/// Room for the longest message that goes out: a position of 16 entries.
const ROOM: usize = MESSAGE_HEAD_LEN + 4 + 16 * 48;

/// Why a record stream has ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Ended {
    /// The other side is gone, or has ended the stream.
    #[error("gone")]
    Gone,
    #[error("{0}")]
    Malformed(String),
    #[error("a message has another version")]
    Version,
    #[error("{0}")]
    Building(String),
    #[error("{0}")]
    History(String),
    #[error("the hub takes nothing now; try again later")]
    NotNow,
}

impl From<Malformed> for Ended {
    fn from(error: Malformed) -> Self {
        match error {
            Malformed::Version => Self::Version,
            error => Self::Malformed(error.to_string()),
        }
    }
}

impl From<NotNow> for Ended {
    fn from(_: NotNow) -> Self {
        Self::NotNow
    }
}

impl From<StoreError> for Ended {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "cannot read the store");
        Self::NotNow
    }
}

impl From<NotSound> for Ended {
    fn from(error: NotSound) -> Self {
        match error {
            NotSound::Building => Self::Building(error.to_string()),
            NotSound::Number => Self::Malformed(error.to_string()),
            NotSound::Hash | NotSound::Signature => Self::History(error.to_string()),
        }
    }
}

impl From<Result<(), renew::Malformed>> for Ended {
    fn from(ended: Result<(), renew::Malformed>) -> Self {
        ended.map_or_else(|error| Self::Malformed(error.to_string()), |()| Self::Gone)
    }
}

impl From<quinn::WriteError> for Ended {
    fn from(_: quinn::WriteError) -> Self {
        Self::Gone
    }
}

impl Ended {
    /// SPEC 15.11, and what a person has to look at.
    const fn code(&self) -> (u32, Option<AlarmKind>) {
        match self {
            Self::Gone => (0, None),
            Self::Malformed(_) => (close::MALFORMED, Some(AlarmKind::Malformed)),
            Self::Version => (close::VERSION, Some(AlarmKind::Malformed)),
            Self::Building(_) => (close::BUILDING, Some(AlarmKind::Building)),
            Self::History(_) => (close::HISTORY, Some(AlarmKind::History)),
            Self::NotNow => (close::NOT_NOW, None),
        }
    }
}

/// Serves a gateway that was let in, until its connection ends.
pub(super) async fn serve(hub: &Arc<Hub>, connection: &Arc<Connection>, works: &mpsc::Sender<Work>) {
    let ended = match greet(hub, connection).await {
        Ok((hello, send, receive)) => {
            let batches = batches(hub, connection, works, (send, receive));
            tokio::select! {
                ended = batches => ended,
                ended = live::serve(hub, connection) => ended,
                () = note_addresses(connection) => Ended::Gone,
                ended = renew::serve(hub, &connection.quic, &connection.certificate) => ended.into(),
                () = handdown::run(Arc::clone(hub), Arc::clone(connection), hello.generation) => Ended::Gone,
            }
        }
        Err(ended) => ended,
    };
    let (code, alarm) = ended.code();
    let text = ended.to_string();
    if let Some(kind) = alarm {
        hub.alarms.raise(kind, Some(connection.building), text.clone());
    }
    connection.close(code, &text);
}

/// Counts the connection's changes of address, until it has ended. QUIC has found the new one by itself (RFC 9000, section 9).
async fn note_addresses(connection: &Connection) {
    let mut known = connection.quic.remote_address();
    let mut looks = interval(ADDRESS_LOOK);
    while connection.quic.close_reason().is_none() {
        looks.tick().await;
        let now = connection.quic.remote_address();
        if now != known {
            metrics::counter!(names::ADDRESSES_CHANGED).increment(1);
            tracing::info!(building = connection.building, before = %known, %now, "a gateway's address has changed");
            known = now;
        }
    }
}

/// Takes the hello and answers it with the position.
async fn greet(hub: &Arc<Hub>, connection: &Connection) -> Result<(Hello, SendStream, RecvStream), Ended> {
    let heard = timeout(HELLO_PATIENCE, async {
        let (send, mut receive) = connection.quic.accept_bi().await.map_err(|_| Ended::Gone)?;
        let body = messages::next(&mut receive, kind::HELLO).await?;
        Ok::<_, Ended>((send, receive, Hello::parse(&body)?))
    });
    let slow = |_| Ended::Malformed(format!("no hello within {} s", HELLO_PATIENCE.as_secs()));
    let (mut send, receive, hello) = heard.await.map_err(slow)??;
    if hello.building != connection.building {
        let (said, proved) = (hello.building, connection.building);
        return Err(Ended::Building(format!("the hello names building {said}, the certificate {proved}")));
    }
    let position = position(hub, &hello).await?;
    write(&mut send, kind::POSITION, |out| position.emit(out)).await?;
    Ok((hello, send, receive))
}

/// What is kept of the hello's epochs (SPEC 15.5).
async fn position(hub: &Arc<Hub>, hello: &Hello) -> Result<Position, Ended> {
    let shared = Arc::clone(hub);
    let (building, present, earlier) = (hello.building, hello.epoch, hello.earlier);
    let looked = tokio::task::spawn_blocking(move || {
        let entry = |epoch: EpochId| -> Result<PositionEntry, StoreError> {
            let head = shared.store.head(building, epoch)?;
            let kept = |head: crate::store::Head| PositionEntry { epoch, last: head.last, hash: head.hash };
            Ok(head.map_or(PositionEntry::nothing(epoch), kept))
        };
        let mut position = Position::new(entry(present)?);
        for &epoch in earlier.as_slice() {
            let entry = entry(epoch)?;
            // There are as many places as epochs in a hello.
            position.push(entry).map_err(|NoRoom| StoreError::Damaged("a position of too many epochs".into()))?;
        }
        Ok::<_, StoreError>(position)
    });
    Ok(looked.await.map_err(|_| Ended::NotNow)??)
}

/// A batch that is with the writer.
struct UnderWay {
    epoch: EpochId,
    last: u64,
    hash: [u8; 32],
    /// When its first event happened, microseconds since 1970.
    first_us: Option<i64>,
    taken: oneshot::Receiver<Result<Taken, NotNow>>,
}

/// Takes batches and answers them in their order. What was taken before the end is answered yet.
async fn batches(
    hub: &Arc<Hub>,
    connection: &Arc<Connection>,
    works: &mpsc::Sender<Work>,
    (mut send, mut receive): (SendStream, RecvStream),
) -> Ended {
    let (under_way, mut answers) = mpsc::channel(BATCHES_WAITING_MAX);
    let take = async {
        let forked = Forked::default();
        let ended = loop {
            match take(hub, connection, works, &mut receive, &forked).await {
                Ok(batch) => {
                    if under_way.send(batch).await.is_err() {
                        break Ended::Gone;
                    }
                }
                Err(ended) => break ended,
            }
        };
        drop(under_way);
        ended
    };
    let answer = async {
        let mut pace = hub.connections.pace();
        pace.mark_changed();
        loop {
            let said = tokio::select! {
                batch = answers.recv() => match batch {
                    Some(batch) => answer(hub, connection, &mut send, batch).await,
                    None => return None,
                },
                Ok(()) = pace.changed() => {
                    let bytes = *pace.borrow_and_update();
                    tell_pace(connection, &mut send, bytes).await
                }
            };
            if let Err(ended) = said {
                return Some(ended);
            }
        }
    };
    tokio::pin!(take, answer);
    tokio::select! {
        ended = &mut take => answer.await.unwrap_or(ended),
        Some(ended) = &mut answer => ended,
    }
}

/// Reads and checks the next batch, and gives it to the writer.
async fn take(
    hub: &Hub,
    connection: &Connection,
    works: &mpsc::Sender<Work>,
    receive: &mut RecvStream,
    forked: &Forked,
) -> Result<UnderWay, Ended> {
    let (body, place) = messages::next_within(receive, kind::BATCH, &hub.room).await?;
    let batch = Batch::parse(&body)?;
    let checked = Checked::check(connection.building, connection.certificate.public_key, &batch, Clock::wall_us())?;
    let (reply, taken) = oneshot::channel();
    let first_us = Events::new(batch.events).flatten().next().map(|event| event.header.wall_us);
    let under_way = UnderWay { epoch: batch.epoch, last: batch.last(), hash: batch.hash, first_us, taken };
    let work = Work { batch: checked, forked: forked.clone(), reply, place };
    works.send(work).await.map_err(|_| Ended::NotNow)?;
    Ok(under_way)
}

/// Tells the gateway how much it may have on its way; whether it obeys or not, no more of it waits here to be read.
async fn tell_pace(connection: &Connection, send: &mut SendStream, bytes: u32) -> Result<(), Ended> {
    connection.quic.set_receive_window(bytes.into());
    write(send, kind::PACE, |out| Pace { bytes }.emit(out)).await
}

/// Waits until the writer has said what became of a batch, and tells the gateway.
async fn answer(hub: &Arc<Hub>, connection: &Connection, send: &mut SendStream, batch: UnderWay) -> Result<(), Ended> {
    let UnderWay { epoch, last, hash, first_us, taken } = batch;
    match taken.await.map_err(|_| Ended::NotNow)?? {
        Taken::Kept { order, .. } => {
            let acknowledgement = Acknowledgement { epoch, number: last };
            write(send, kind::ACKNOWLEDGEMENT, |out| acknowledgement.emit(out)).await?;
            connection.note_acknowledged(order);
            if let Some(first_us) = first_us {
                connection.note_lag(first_us, Clock::wall_us());
            }
            if hub.connections.is_checkpoint_due(connection.building, hub.clock.monotonic()) {
                let checkpoint = checkpoint(hub, connection.building, (epoch, last, hash));
                write(send, kind::CHECKPOINT, |out| checkpoint.emit(out)).await?;
            }
        }
        Taken::Fork { number, is_held_before } => {
            if is_held_before {
                let acknowledgement = Acknowledgement { epoch, number: number - 1 };
                write(send, kind::ACKNOWLEDGEMENT, |out| acknowledgement.emit(out)).await?;
            }
            let text = format!(
                "epoch {:016x} number {number} came with another hash than the one kept; nothing of it was kept",
                epoch.0
            );
            hub.alarms.raise(AlarmKind::Fork, Some(connection.building), text);
            let fork = Fork { epoch, number };
            write(send, kind::FORK, |out| fork.emit(out)).await?;
        }
        Taken::Dropped => {}
    }
    Ok(())
}

/// The hub's word for what it keeps (SPEC 15.7).
fn checkpoint(hub: &Hub, building: u32, (epoch, number, hash): (EpochId, u64, [u8; 32])) -> Checkpoint {
    let wall_us = Clock::wall_us();
    let mut checkpoint = Checkpoint { building, epoch, number, hash, wall_us, signature: [0; 64] };
    let signature = hub.pki.checkpoint().sign(&checkpoint.signed());
    checkpoint.signature.copy_from_slice(signature.as_ref());
    checkpoint
}

async fn write(
    send: &mut SendStream,
    kind: u8,
    body: impl FnOnce(&mut Writer<'_>) -> Result<(), NoRoom>,
) -> Result<(), Ended> {
    let mut bytes = [0; ROOM];
    let mut out = Writer::new(&mut bytes);
    message(kind, &mut out, body).map_err(|NoRoom| Ended::Gone)?;
    let len = out.len();
    Ok(send.write_all(&bytes[..len]).await?)
}
