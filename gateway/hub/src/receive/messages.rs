//! Messages of a gateway's stream (SPEC 15.2).

use std::sync::Arc;

use kalitka_protocol::limits::MESSAGE_HEAD_LEN;
use kalitka_protocol::upstream::{Head, kind};
use kalitka_protocol::wire::Malformed;
use quinn::{ReadExactError, RecvStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::record::Ended;
use crate::limits::BATCH_PATIENCE;

const SKIPPED_AT_ONCE: usize = 4096;

/// The body of the next message, which has to be of the kind `wanted`. Unknown kinds are skipped; a known one that does
/// not belong here is the stream's end. Not to be dropped before it is ready: half a message would be lost.
///
/// # Errors
/// [`Ended`] when none comes.
pub(super) async fn next(stream: &mut RecvStream, wanted: u8) -> Result<Vec<u8>, Ended> {
    let len = next_len(stream, wanted).await?;
    body(stream, len).await
}

/// The same, with room for it in `room` before its body is read; the place is given back with what is returned beside it.
///
/// # Errors
/// [`Ended`] when none comes, or not all of it in time.
pub(super) async fn next_within(
    stream: &mut RecvStream,
    wanted: u8,
    room: &Arc<Semaphore>,
) -> Result<(Vec<u8>, OwnedSemaphorePermit), Ended> {
    let len = next_len(stream, wanted).await?;
    let bytes = u32::try_from(len).map_err(|_| Ended::from(Malformed::Value("message length")))?;
    let place = Arc::clone(room).acquire_many_owned(bytes).await.map_err(|_| Ended::NotNow)?;
    // Whoever begins a batch and does not end it takes room from the others.
    let slow = |_| Ended::Malformed(format!("a batch not whole within {} s", BATCH_PATIENCE.as_secs()));
    Ok((timeout(BATCH_PATIENCE, body(stream, len)).await.map_err(slow)??, place))
}

async fn body(stream: &mut RecvStream, len: usize) -> Result<Vec<u8>, Ended> {
    let mut body = vec![0; len];
    stream.read_exact(&mut body).await.map_err(broken)?;
    Ok(body)
}

/// The length of the next message of the kind `wanted`, its head read.
async fn next_len(stream: &mut RecvStream, wanted: u8) -> Result<usize, Ended> {
    loop {
        let mut head = [0; MESSAGE_HEAD_LEN];
        match stream.read_exact(&mut head).await {
            Err(ReadExactError::FinishedEarly(0)) => return Err(Ended::Gone),
            read => read.map_err(broken)?,
        }
        let head = Head::parse(&head).map_err(Ended::from)?;
        let mut left = usize::try_from(head.len).map_err(|_| Ended::from(Malformed::Value("message length")))?;
        if head.kind == wanted {
            return Ok(left);
        }
        if kind::is_known(head.kind) {
            return Err(Ended::Malformed(format!("a message of kind {} does not belong here", head.kind)));
        }
        let mut skipped = vec![0; left.min(SKIPPED_AT_ONCE)];
        while left > 0 {
            let step = left.min(skipped.len());
            stream.read_exact(&mut skipped[..step]).await.map_err(broken)?;
            left -= step;
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
fn broken(error: ReadExactError) -> Ended {
    match error {
        ReadExactError::FinishedEarly(_) => Malformed::Truncated("message").into(),
        ReadExactError::ReadError(_) => Ended::Gone,
    }
}
