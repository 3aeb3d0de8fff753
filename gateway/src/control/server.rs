//! The gateway's end of the control socket.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};

use kalitka_uplink::State;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::wire::{KeyText, Reply, Request, Status, UplinkStatus};
use crate::adoption::{self, Order, Standing};
use crate::clock::Clock;
use crate::failure::Failure;
use crate::journal::JournalStatus;
use crate::keys::KeyBook;
use crate::limits::{CONTROL_IDLE_MAX, CONTROL_LINE_MAX, CONTROL_PATIENCE};
use crate::metrics::names;
use crate::osdp::Counter;

/// Where requests are dealt with.
pub(crate) struct Desk {
    pub(crate) keys: Arc<KeyBook>,
    pub(crate) orders: SyncSender<Order>,
    pub(crate) standing: watch::Receiver<Standing>,
    pub(crate) journal: watch::Receiver<JournalStatus>,
    pub(crate) uplink: watch::Receiver<State>,
    pub(crate) osdp: Arc<Counter>,
    pub(crate) clock: Clock,
    /// All of the status that does not change.
    pub(crate) fixed: Status,
}

impl Desk {
    /// Deals with the requests of one connection. Who does not ask or hear in time is let go.
    pub(crate) async fn attend(self: Arc<Self>, stream: UnixStream) {
        // There is nobody left to tell.
        let _ = timeout(CONTROL_PATIENCE, self.serve(stream)).await;
    }

    async fn serve(&self, stream: UnixStream) -> io::Result<()> {
        let peer = stream.peer_cred()?.uid();
        let (receive, mut send) = stream.into_split();
        let mut receive = BufReader::new(receive);
        loop {
            let mut line = Vec::new();
            let mut request = (&mut receive).take(CONTROL_LINE_MAX);
            // Who does not ask in time does not keep others from asking.
            timeout(CONTROL_IDLE_MAX, request.read_until(b'\n', &mut line)).await??;
            if line.is_empty() {
                return Ok(());
            }
            let whole = line.ends_with(b"\n");
            let reply = match serde_json::from_slice::<Request>(&line) {
                Ok(request) if whole => self.take(peer, request).await,
                Ok(_) => malformed("the request does not end in a newline".into()),
                Err(error) => malformed(format!("no request that the gateway knows: {error}")),
            };
            // It may hold a key.
            let mut reply = Zeroizing::new(serde_json::to_vec(&reply)?);
            reply.push(b'\n');
            send.write_all(&reply).await?;
            if !whole {
                return Ok(());
            }
        }
    }

    async fn take(&self, peer: u32, request: Request) -> Reply {
        let (verb, reader) = (request.verb(), request.reader());
        metrics::counter!(names::CONTROL_REQUESTS, "verb" => verb).increment(1);
        let reply = self.answer(request).await.unwrap_or_else(Reply::from);
        match &reply {
            Reply::Refused { error } | Reply::Failed { error } => {
                tracing::warn!(peer_uid = peer, verb, reader, error, "control request not done");
            }
            Reply::Status(_) | Reply::Readers { .. } | Reply::Devices { .. } => {
                tracing::debug!(peer_uid = peer, verb, "control request");
            }
            _ => tracing::info!(peer_uid = peer, verb, reader, "control request done"),
        }
        reply
    }

    async fn answer(&self, request: Request) -> Result<Reply, Failure> {
        match request {
            Request::ReaderAdd { reader } => self.with_keys(move |keys| key(reader, &keys.add(reader)?)).await,
            Request::ReaderRekey { reader } => self.with_keys(move |keys| key(reader, &keys.rekey(reader)?)).await,
            Request::ReaderRevoke { reader } => {
                self.with_keys(move |keys| keys.revoke(reader).map(|()| Reply::Revoked { reader })).await
            }
            Request::ReaderList {} => Ok(Reply::Readers { readers: self.keys.readers() }),
            Request::SnapshotAdopt { file } => self.adopt(file).await,
            Request::OsdpEnrol { reader, seconds } => self.enrol_device(reader, seconds).await,
            Request::OsdpStatus {} => Ok(Reply::Devices { devices: self.osdp.shown() }),
            Request::Status {} => Ok(Reply::Status(Box::new(self.status()))),
        }
    }

    fn status(&self) -> Status {
        let readers = self.keys.readers().len();
        let journal = self.journal.borrow().clone();
        let uplink = UplinkStatus::of(&self.uplink.borrow(), self.clock.monotonic());
        Status { readers, snapshot: self.standing.borrow().clone(), journal, uplink, ..self.fixed.clone() }
    }

    /// Does what needs the disk away from the threads that serve.
    async fn with_keys(
        &self,
        work: impl FnOnce(&KeyBook) -> Result<Reply, Failure> + Send + 'static,
    ) -> Result<Reply, Failure> {
        let keys = Arc::clone(&self.keys);
        let done = tokio::task::spawn_blocking(move || work(&keys)).await;
        done.map_err(|error| Failure::Defect(format!("the request was not finished: {error}")))?
    }

    /// Opens an install window. A device's reader has a key of its own in the table, too, by which it asks the workers.
    async fn enrol_device(&self, reader: u32, seconds: u64) -> Result<Reply, Failure> {
        let osdp = Arc::clone(&self.osdp);
        self.with_keys(move |keys| {
            osdp.has(reader)?;
            if !keys.readers().contains(&reader) {
                keys.add(reader)?;
            }
            osdp.install(reader, seconds).map(|()| Reply::WindowOpen { reader, seconds })
        })
        .await
    }

    async fn adopt(&self, file: PathBuf) -> Result<Reply, Failure> {
        if !file.is_absolute() {
            return Err(Failure::Input(format!("{}: give the absolute path", file.display())));
        }
        let (reply, replied) = oneshot::channel();
        self.orders.try_send(Order { file: file.clone(), reply: adoption::Reply::Control(reply) }).map_err(
            |error| match error {
                TrySendError::Full(_) => Failure::Environment("too many adoptions are waiting; try again".into()),
                TrySendError::Disconnected(_) => {
                    Failure::Environment("the gateway is stopping; try again when it runs".into())
                }
            },
        )?;
        let adopted = replied
            .await
            .map_err(|_| Failure::Environment("the gateway is stopping; try again when it runs".into()))?;
        let refused = |error| Failure::Input(format!("{}: refused: {error}", file.display()));
        adopted.map(Reply::Adopted).map_err(refused)
    }
}

fn malformed(error: String) -> Reply {
    metrics::counter!(names::CONTROL_REQUESTS, "verb" => Request::MALFORMED).increment(1);
    Reply::Refused { error }
}

fn key(reader: u32, psk: &kalitka_protocol::handshake::Psk) -> Result<Reply, Failure> {
    Ok(Reply::Key { reader, psk: KeyText::of(psk) })
}
