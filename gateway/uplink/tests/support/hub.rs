//! A hub that does what a test tells it to, one step after the other.

use std::net::{Ipv4Addr, SocketAddr};

use kalitka_protocol::EpochId;
use kalitka_protocol::upstream::{
    Acknowledgement, Batch, CommandResult, Fork, Head, Hello, Position, PositionEntry, SnapshotHead, SnapshotResult,
    SnapshotWanted, kind, message,
};
use kalitka_protocol::wire::{NoRoom, Writer};
use quinn::{Connection, Endpoint, RecvStream, SendStream, ServerConfig, VarInt};

/// A message, owned.
pub(crate) struct Message {
    pub(crate) kind: u8,
    pub(crate) body: Vec<u8>,
}

pub(crate) struct Hub {
    pub(crate) endpoint: Endpoint,
}

impl Hub {
    pub(crate) fn start(config: ServerConfig) -> Self {
        Self { endpoint: Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap() }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.endpoint.local_addr().unwrap()
    }

    /// The next connection that shakes hands well.
    pub(crate) async fn connection(&self) -> Connection {
        loop {
            let incoming = self.endpoint.accept().await.unwrap();
            if let Ok(connection) = incoming.await {
                return connection;
            }
        }
    }

    /// The next connection, its hello heard.
    pub(crate) async fn greeted(&self) -> Link {
        let connection = self.connection().await;
        let (send, mut receive) = connection.accept_bi().await.unwrap();
        let hello = read(&mut receive).await.unwrap();
        assert_eq!(hello.kind, kind::HELLO);
        Link { connection, send, receive, hello: Hello::parse(&hello.body).unwrap() }
    }

    /// The next connection, told that nothing is here.
    pub(crate) async fn fresh(&self) -> Link {
        let mut link = self.greeted().await;
        let mut position = Position::new(PositionEntry::nothing(link.hello.epoch));
        for &epoch in link.hello.earlier.as_slice() {
            position.push(PositionEntry::nothing(epoch)).unwrap();
        }
        link.position(&position).await;
        link
    }
}

/// A connection as the hub sees it, with its record stream.
pub(crate) struct Link {
    pub(crate) connection: Connection,
    pub(crate) send: SendStream,
    pub(crate) receive: RecvStream,
    pub(crate) hello: Hello,
}

impl Link {
    pub(crate) async fn position(&mut self, position: &Position) {
        send(&mut self.send, kind::POSITION, |out| position.emit(out)).await;
    }

    /// The body of the next batch.
    pub(crate) async fn batch(&mut self) -> Vec<u8> {
        let batch = read(&mut self.receive).await.expect("a batch");
        assert_eq!(batch.kind, kind::BATCH);
        batch.body
    }

    /// The first and last number of the next batch, which is acknowledged.
    pub(crate) async fn keep_batch(&mut self) -> (EpochId, u64, u64) {
        let body = self.batch().await;
        let batch = Batch::parse(&body).unwrap();
        let (epoch, first, last) = (batch.epoch, batch.first, batch.last());
        self.acknowledge(epoch, last).await;
        (epoch, first, last)
    }

    pub(crate) async fn acknowledge(&mut self, epoch: EpochId, number: u64) {
        let acknowledgement = Acknowledgement { epoch, number };
        send(&mut self.send, kind::ACKNOWLEDGEMENT, |out| acknowledgement.emit(out)).await;
    }

    pub(crate) async fn fork(&mut self, epoch: EpochId, number: u64) {
        send(&mut self.send, kind::FORK, |out| Fork { epoch, number }.emit(out)).await;
    }

    pub(crate) fn close(&self, code: u32, text: &str) {
        self.connection.close(VarInt::from_u32(code), text.as_bytes());
    }

    /// Opens the command stream with one command.
    pub(crate) async fn commands(&self, envelope: &[u8]) -> Commands {
        let (mut stream, receive) = self.connection.open_bi().await.unwrap();
        send(&mut stream, kind::COMMAND, |out| out.put(envelope)).await;
        Commands { send: stream, receive }
    }

    /// Offers a snapshot; gives what the gateway wants.
    pub(crate) async fn offer(&self, head: &SnapshotHead) -> (Offer, SnapshotWanted) {
        let (mut stream, mut receive) = self.connection.open_bi().await.unwrap();
        send(&mut stream, kind::SNAPSHOT, |out| head.emit(out)).await;
        let wanted = read(&mut receive).await.unwrap();
        assert_eq!(wanted.kind, kind::SNAPSHOT_WANTED);
        (Offer { send: stream, receive }, SnapshotWanted::parse(&wanted.body).unwrap())
    }
}

pub(crate) struct Commands {
    pub(crate) send: SendStream,
    pub(crate) receive: RecvStream,
}

impl Commands {
    pub(crate) async fn command(&mut self, envelope: &[u8]) {
        send(&mut self.send, kind::COMMAND, |out| out.put(envelope)).await;
    }

    pub(crate) async fn result(&mut self) -> CommandResult {
        let result = read(&mut self.receive).await.unwrap();
        assert_eq!(result.kind, kind::COMMAND_RESULT);
        CommandResult::parse(&result.body).unwrap()
    }
}

pub(crate) struct Offer {
    pub(crate) send: SendStream,
    pub(crate) receive: RecvStream,
}

impl Offer {
    /// Sends the rest and hears the result.
    pub(crate) async fn finish(mut self, rest: &[u8]) -> SnapshotResult {
        self.send.write_all(rest).await.unwrap();
        self.send.finish().unwrap();
        let result = read(&mut self.receive).await.unwrap();
        assert_eq!(result.kind, kind::SNAPSHOT_RESULT);
        assert!(read(&mut self.receive).await.is_none(), "the gateway ends its side");
        SnapshotResult::parse(&result.body).unwrap()
    }
}

/// The next message; `None` at the stream's or the connection's end.
pub(crate) async fn read(stream: &mut RecvStream) -> Option<Message> {
    let mut head = [0; 8];
    stream.read_exact(&mut head).await.ok()?;
    let head = Head::parse(&head).unwrap();
    let mut body = vec![0; head.len as usize];
    stream.read_exact(&mut body).await.ok()?;
    Some(Message { kind: head.kind, body })
}

pub(crate) fn compose(kind: u8, body: impl FnOnce(&mut Writer<'_>) -> Result<(), NoRoom>) -> Vec<u8> {
    let mut bytes = vec![0; 16 * 1024];
    let mut out = Writer::new(&mut bytes);
    message(kind, &mut out, body).unwrap();
    let len = out.len();
    bytes.truncate(len);
    bytes
}

pub(crate) async fn send(stream: &mut SendStream, kind: u8, body: impl FnOnce(&mut Writer<'_>) -> Result<(), NoRoom>) {
    stream.write_all(&compose(kind, body)).await.unwrap();
}
