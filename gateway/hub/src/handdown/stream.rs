//! Messages on a QUIC stream (SPEC 15.2).

use kalitka_protocol::limits::MESSAGE_HEAD_LEN;
use kalitka_protocol::upstream::{Head, kind, message};
use kalitka_protocol::wire::{Malformed, NoRoom, Writer};
use quinn::{ReadExactError, RecvStream, SendStream};

/// Why no message came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoMessage {
    /// The stream has ended between two messages.
    #[error("the other side has ended the stream")]
    Ended,
    /// What came is none, or longer than what is awaited.
    #[error("malformed: {0}")]
    Malformed(Malformed),
    /// The connection is gone.
    #[error("the connection is gone: {0}")]
    Gone(quinn::ReadError),
}

/// Reads the next message, which is to be of the awaited kind and have at most `body_max` bytes. Unknown kinds are skipped
/// (SPEC 15.2), known ones are not of this stream (SPEC 15.11). Not to be dropped before it is ready: half a message would
/// be lost.
///
/// # Errors
/// [`NoMessage`].
pub(crate) async fn read(stream: &mut RecvStream, awaited: u8, body_max: usize) -> Result<Vec<u8>, NoMessage> {
    loop {
        let mut head = [0; MESSAGE_HEAD_LEN];
        match stream.read_exact(&mut head).await {
            Err(ReadExactError::FinishedEarly(0)) => return Err(NoMessage::Ended),
            read => read.map_err(broken)?,
        }
        let head = Head::parse(&head).map_err(NoMessage::Malformed)?;
        let mut left = head.len as usize;
        if head.kind == awaited {
            if left > body_max {
                return Err(NoMessage::Malformed(Malformed::Value("message length")));
            }
            let mut body = vec![0; left];
            stream.read_exact(&mut body).await.map_err(broken)?;
            return Ok(body);
        }
        if kind::is_known(head.kind) {
            return Err(NoMessage::Malformed(Malformed::Value("message kind")));
        }
        let mut skipped = [0; 512];
        while left > 0 {
            let step = left.min(skipped.len());
            stream.read_exact(&mut skipped[..step]).await.map_err(broken)?;
            left -= step;
        }
    }
}

fn broken(error: ReadExactError) -> NoMessage {
    match error {
        ReadExactError::FinishedEarly(_) => NoMessage::Malformed(Malformed::Truncated("message")),
        ReadExactError::ReadError(error) => NoMessage::Gone(error),
    }
}

/// Writes a message of `kind` whose body fits `ROOM` bytes with its head.
///
/// # Errors
/// What the stream says; [`quinn::WriteError::ClosedStream`] too when the body did not fit.
pub(crate) async fn write<const ROOM: usize>(
    stream: &mut SendStream,
    kind: u8,
    body: impl FnOnce(&mut Writer<'_>) -> Result<(), NoRoom>,
) -> Result<(), quinn::WriteError> {
    let mut bytes = vec![0; ROOM];
    let mut out = Writer::new(&mut bytes);
    message(kind, &mut out, body).map_err(|NoRoom| quinn::WriteError::ClosedStream)?;
    let len = out.len();
    stream.write_all(&bytes[..len]).await
}
