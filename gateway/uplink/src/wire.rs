//! Messages on QUIC streams (SPEC 15.2).

use kalitka_protocol::upstream::{Head, MESSAGE_HEAD_LEN, message};
use kalitka_protocol::wire::{NoRoom, Writer};
use quinn::{RecvStream, SendStream};

use crate::end::End;

/// A message as it came.
pub(crate) struct Message {
    pub(crate) kind: u8,
    pub(crate) body: Vec<u8>,
}

/// The next message; `None` when the stream has ended between two. Cancelled, it may have taken a part of one.
pub(crate) async fn read(stream: &mut RecvStream) -> Result<Option<Message>, End> {
    let mut head = [0; MESSAGE_HEAD_LEN];
    let Some(begun) = stream.read(&mut head).await? else { return Ok(None) };
    stream.read_exact(&mut head[begun..]).await?;
    let head = Head::parse(&head).map_err(|why| End::unparsed("the head of a message", why))?;
    // The head has checked that it is bounded.
    let len = usize::try_from(head.len).unwrap_or(0);
    let mut body = vec![0; len];
    stream.read_exact(&mut body).await?;
    Ok(Some(Message { kind: head.kind, body }))
}

/// A message of `kind` with a body of at most `body_max` bytes that `emit` writes.
pub(crate) fn compose(
    kind: u8,
    body_max: usize,
    emit: impl FnOnce(&mut Writer<'_>) -> Result<(), NoRoom>,
) -> Result<Vec<u8>, End> {
    let mut bytes = vec![0; MESSAGE_HEAD_LEN + body_max];
    let mut out = Writer::new(&mut bytes);
    message(kind, &mut out, emit).map_err(|_| End::Journal(format!("a message of kind {kind} does not fit")))?;
    let len = out.len();
    bytes.truncate(len);
    Ok(bytes)
}

/// Sends a message of `kind`.
pub(crate) async fn send(
    stream: &mut SendStream,
    kind: u8,
    body_max: usize,
    emit: impl FnOnce(&mut Writer<'_>) -> Result<(), NoRoom>,
) -> Result<(), End> {
    stream.write_all(&compose(kind, body_max, emit)?).await?;
    Ok(())
}
