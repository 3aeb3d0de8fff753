//! The hub's end of the control socket.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::desk::Desk;
use super::wire::{Asked, Reply};
use crate::limits::{CONTROL_IDLE_MAX, CONTROL_LINE_MAX, CONTROL_PATIENCE};

/// Deals with the requests of one connection. Whoever does not ask or hear in time is let go.
pub(crate) async fn attend(desk: Arc<Desk>, stream: UnixStream) {
    // There is nobody left to tell.
    let _ = serve(&desk, stream).await;
}

/// Takes requests, one after the other.
async fn serve(desk: &Desk, stream: UnixStream) -> io::Result<()> {
    let peer = stream.peer_cred()?.uid();
    let (receive, send) = stream.into_split();
    let mut receive = BufReader::new(receive);
    let mut replies = Replies { send };
    loop {
        let mut line = Vec::new();
        let mut request = (&mut receive).take(CONTROL_LINE_MAX);
        // Who does not ask in time does not keep others from asking.
        timeout(CONTROL_IDLE_MAX, request.read_until(b'\n', &mut line)).await??;
        if line.is_empty() {
            return Ok(());
        }
        let whole = line.ends_with(b"\n");
        match Asked::parse(&line) {
            Ok(asked) if whole => desk.take(peer, asked, &mut replies).await?,
            Ok(_) => replies.send(&super::desk::malformed("the request does not end in a newline".into())).await?,
            Err(error) => {
                replies.send(&super::desk::malformed(format!("no request that the hub knows: {error}"))).await?;
            }
        }
        if !whole {
            return Ok(());
        }
    }
}

/// Where replies go.
pub(super) struct Replies {
    send: OwnedWriteHalf,
}

impl Replies {
    /// Sends one line.
    ///
    /// # Errors
    /// When nobody hears it in time.
    pub(super) async fn send(&mut self, reply: &Reply) -> io::Result<()> {
        // It may hold a token.
        let mut line = Zeroizing::new(serde_json::to_vec(reply)?);
        line.push(b'\n');
        self.send_lines(&line).await
    }

    /// Sends whole lines.
    ///
    /// # Errors
    /// When nobody hears them in time.
    pub(super) async fn send_lines(&mut self, lines: &[u8]) -> io::Result<()> {
        timeout(CONTROL_PATIENCE, self.send.write_all(lines)).await?
    }
}
