//! One serial line: a task that opens its port, moves frames both ways, and opens it again when it goes.

use std::io;
use std::time::Duration;

use kalitka_protocol::datagram::{Clear, clear};
use kalitka_protocol::frame::{self, Deframer, Unframed};
use kalitka_protocol::limits::FRAME_MAX;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::Receiver;
use tokio::time::{sleep, timeout};
use tokio_serial::SerialStream;

use super::ear::{Ear, News};
use super::port::{self, NotOpened};
use super::settings::Port;
use crate::clock::Clock;
use crate::limits::{LINE_READ_BYTES, LINE_WRITE_PATIENCE, REOPEN_MAX, REOPEN_MIN};
use crate::metrics::LineMetrics;
use crate::udp::{Inlet, Letter};

/// A line with all that its task needs.
pub(super) struct Line {
    pub(super) port: Port,
    pub(super) inlet: Inlet,
    /// What workers have for its reader.
    pub(super) outlet: Receiver<Letter>,
    pub(super) metrics: LineMetrics,
    pub(super) clock: Clock,
}

/// Why a line that was up is no more.
enum Gone {
    /// Its device is, or who held a pty's other end.
    HungUp,
    /// Nothing could be written for [`LINE_WRITE_PATIENCE`].
    Stuck,
    Failed(io::Error),
    /// Nobody has anything for it any more: the gateway ends.
    Ended,
}

impl Line {
    /// Serves the line until nobody has anything for it any more.
    pub(super) async fn run(mut self) {
        let mut pause = REOPEN_MIN;
        let mut refused: Option<NotOpened> = None;
        loop {
            match port::open(&self.port.port, self.port.speed()) {
                Ok(stream) => {
                    refused = None;
                    if matches!(self.serve(stream, &mut pause).await, Gone::Ended) {
                        return;
                    }
                }
                Err(error) => self.not_opened(&mut refused, error),
            }
            if !self.rest(pause).await {
                return;
            }
            pause = (pause * 2).min(REOPEN_MAX);
        }
    }

    fn not_opened(&self, before: &mut Option<NotOpened>, error: NotOpened) {
        self.metrics.not_opened(&error);
        if before.as_ref() != Some(&error) {
            let port = self.port.port.display();
            tracing::warn!(%port, %error, "a serial port is not open; the gateway goes on trying");
        }
        *before = Some(error);
    }

    /// Lets `pause` go by, and what comes for the reader meanwhile: it is told nothing late. Says whether there is still
    /// anybody from whom something could come.
    async fn rest(&mut self, pause: Duration) -> bool {
        let until = sleep(pause);
        tokio::pin!(until);
        loop {
            tokio::select! {
                () = &mut until => return true,
                letter = self.outlet.recv() => match letter {
                    Some(_) => self.metrics.line_down.increment(1),
                    None => return false,
                },
            }
        }
    }

    /// Moves frames until the port is gone. Something that was whole begins the pauses between openings anew.
    async fn serve(&mut self, mut stream: SerialStream, pause: &mut Duration) -> Gone {
        let (port, speed) = (self.port.port.display(), self.port.speed());
        tracing::info!(%port, %speed, "a serial port is open");
        self.metrics.up();
        let mut talk = Talk { deframer: Deframer::new(), ear: Ear::default(), is_whole: false };
        let gone = loop {
            let mut bytes = [0; LINE_READ_BYTES];
            let done = tokio::select! {
                read = stream.read(&mut bytes) => match read {
                    Ok(0) => Err(Gone::HungUp),
                    Ok(len) => {
                        self.take_in(&bytes[..len], &mut talk);
                        Ok(())
                    }
                    Err(error) => Err(Gone::Failed(error)),
                },
                letter = self.outlet.recv() => match letter {
                    Some(letter) => write(&mut stream, &letter, &self.metrics).await,
                    None => Err(Gone::Ended),
                },
            };
            if let Err(gone) = done {
                break gone;
            }
            // A port that opens and fails at once is given pauses; one over which something whole came is not.
            if talk.is_whole {
                *pause = REOPEN_MIN;
            }
        };
        self.metrics.down();
        port::let_go(stream);
        match &gone {
            Gone::HungUp => tracing::warn!(%port, "a serial port is gone; the gateway waits for it to come back"),
            Gone::Stuck => tracing::warn!(%port, "a serial port takes nothing; it is opened anew"),
            Gone::Failed(error) => tracing::warn!(%port, %error, "a serial port has failed; it is opened anew"),
            Gone::Ended => {}
        }
        gone
    }

    /// Takes what has come.
    fn take_in(&self, bytes: &[u8], talk: &mut Talk) {
        if let Some(news) = talk.heard(bytes, &self.inlet, &self.metrics, self.clock.monotonic()) {
            self.tell(news);
        }
    }

    fn tell(&self, news: News) {
        let (port, speed) = (self.port.port.display(), self.port.speed());
        self.metrics.unreadable(matches!(news, News::Unreadable { .. }));
        match news {
            News::Unreadable { bytes } => tracing::warn!(
                %port, bytes,
                "bytes come and no frame: the reader's line hardly runs at {speed}, or something else speaks there; \
                 `kalitka-gateway serial probe` finds the speed while the gateway is stopped"
            ),
            News::Readable => tracing::info!(%port, "frames come whole again"),
        }
    }
}

/// What is known of a line while its port is open.
struct Talk {
    deframer: Deframer,
    ear: Ear,
    /// Whether a whole frame has come.
    is_whole: bool,
}

impl Talk {
    /// Hands in the datagrams that `bytes` complete.
    fn heard(&mut self, bytes: &[u8], inlet: &Inlet, metrics: &LineMetrics, now: Duration) -> Option<News> {
        metrics.received_bytes.increment(bytes.len() as u64);
        let mut is_whole = false;
        self.deframer.feed(bytes, &mut |result: Unframed<'_>| match result {
            Ok(datagram) => {
                is_whole = true;
                metrics.received.increment(1);
                if let Some(Clear::Initiation { reader, .. }) = clear(datagram) {
                    metrics.heard(reader.0);
                }
                if !inlet.hand_in(datagram) {
                    metrics.worker_full.increment(1);
                }
            }
            Err(fault) => metrics.fault(fault),
        });
        self.is_whole |= is_whole;
        self.ear.heard(now, bytes.len(), is_whole)
    }
}

/// Writes `letter` in a frame.
async fn write(stream: &mut SerialStream, letter: &Letter, metrics: &LineMetrics) -> Result<(), Gone> {
    let mut frame = [0; FRAME_MAX];
    // Workers have datagrams only.
    let Some(len) = frame::emit(letter.bytes(), &mut frame) else { return Ok(()) };
    timeout(LINE_WRITE_PATIENCE, stream.write_all(&frame[..len]))
        .await
        .map_err(|_| Gone::Stuck)?
        .map_err(Gone::Failed)?;
    metrics.sent.increment(1);
    metrics.sent_bytes.increment(len as u64);
    Ok(())
}
