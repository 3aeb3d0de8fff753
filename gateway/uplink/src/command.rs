//! The command stream: envelopes down, results up (SPEC 15.8, 15.9).

use std::sync::Arc;

use kalitka_protocol::upstream::{CommandOutcome, CommandResult, kind};
use quinn::{RecvStream, SendStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::connection::Context;
use crate::end::End;
use crate::limits::{BUSY_AGAIN, COMMANDS_WAITING_MAX, ENVELOPE_BYTES_MAX};
use crate::port::Request;
use crate::tally::Tally;
use crate::wire::{self, Message};

const RESULT_LEN: usize = 16;

type Result<T> = std::result::Result<T, End>;

/// Serves the stream that began with the envelope `first`, until the hub ends it.
pub(crate) async fn serve(
    context: &Context,
    first: Message,
    receive: &mut RecvStream,
    mut send: SendStream,
) -> Result<()> {
    let (sender, envelopes) = mpsc::channel(1);
    let obeyed = obey(context, envelopes, &mut send);
    tokio::try_join!(take(first, receive, sender), obeyed)?;
    // The hub has ended its side; the stream is done.
    let _ = send.finish();
    Ok(())
}

/// Takes envelopes in their order.
async fn take(first: Message, stream: &mut RecvStream, envelopes: mpsc::Sender<Vec<u8>>) -> Result<()> {
    let mut next = Some(first);
    while let Some(Message { kind: kind_code, body }) = next {
        match kind_code {
            kind::COMMAND if body.len() > ENVELOPE_BYTES_MAX => {
                return Err(End::malformed("a command", "it is too long"));
            }
            // Nobody there: the stream's other half has failed and says so itself.
            kind::COMMAND => drop(envelopes.send(body).await),
            known if kind::is_known(known) => {
                return Err(End::malformed("the command stream", format!("a message of kind {known}")));
            }
            _ => {}
        }
        next = wire::read(stream).await?;
    }
    Ok(())
}

/// Hands envelopes to the journal in their order, and sends the results as they come.
async fn obey(context: &Context, mut envelopes: mpsc::Receiver<Vec<u8>>, send: &mut SendStream) -> Result<()> {
    let mut waiting = JoinSet::new();
    let mut is_open = true;
    while is_open || !waiting.is_empty() {
        tokio::select! {
            envelope = envelopes.recv(), if is_open && waiting.len() < COMMANDS_WAITING_MAX => match envelope {
                Some(envelope) => {
                    Tally::add(&context.tally.commands, 1);
                    waiting.spawn(submit(context, envelope).await);
                }
                None => is_open = false,
            },
            Some(result) = waiting.join_next() => {
                // Without a result the hub sends the command again, over the next connection.
                if let Ok(Some((number, outcome))) = result {
                    let result = CommandResult { number, outcome };
                    wire::send(send, kind::COMMAND_RESULT, RESULT_LEN, |out| result.emit(out)).await?;
                }
            }
        }
    }
    Ok(())
}

/// Hands the envelope over; gives what waits for its result.
async fn submit(
    context: &Context,
    envelope: Vec<u8>,
) -> impl Future<Output = Option<(u64, CommandOutcome)>> + Send + 'static {
    let port = Arc::clone(&context.port);
    let answer = loop {
        let (reply, answer) = tokio::sync::oneshot::channel();
        if (port.requests)(Request::Command { envelope: envelope.clone(), reply }).is_ok() {
            break answer;
        }
        sleep(BUSY_AGAIN).await;
    };
    async move { answer.await.ok() }
}
