//! Messages of a gateway's stream (SPEC 15.2).

use kalitka_protocol::limits::MESSAGE_HEAD_LEN;
use kalitka_protocol::upstream::{Head, kind};
use kalitka_protocol::wire::Malformed;
use quinn::{ReadExactError, RecvStream};

use super::record::Ended;

/// The kinds that stand in SPEC 15.2.
const KNOWN: [u8; 15] = [
    kind::HELLO,
    kind::POSITION,
    kind::BATCH,
    kind::ACKNOWLEDGEMENT,
    kind::CHECKPOINT,
    kind::LIVE,
    kind::SNAPSHOT,
    kind::SNAPSHOT_RESULT,
    kind::COMMAND,
    kind::COMMAND_RESULT,
    kind::FORK,
    kind::SNAPSHOT_WANTED,
    kind::ENROL,
    kind::ENROLLED,
    kind::ENROL_REFUSED,
];
const SKIPPED_AT_ONCE: usize = 4096;

/// The body of the next message, which has to be of the kind `wanted`. Unknown kinds are skipped; a known one that does
/// not belong here is the stream's end. Not to be dropped before it is ready: half a message would be lost.
///
/// # Errors
/// [`Ended`] when none comes.
pub(super) async fn next(stream: &mut RecvStream, wanted: u8) -> Result<Vec<u8>, Ended> {
    loop {
        let mut head = [0; MESSAGE_HEAD_LEN];
        match stream.read_exact(&mut head).await {
            Err(ReadExactError::FinishedEarly(0)) => return Err(Ended::Gone),
            read => read.map_err(broken)?,
        }
        let head = Head::parse(&head).map_err(Ended::from)?;
        let mut left = usize::try_from(head.len).map_err(|_| Ended::from(Malformed::Value("message length")))?;
        if head.kind == wanted {
            let mut body = vec![0; left];
            stream.read_exact(&mut body).await.map_err(broken)?;
            return Ok(body);
        }
        if KNOWN.contains(&head.kind) {
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
