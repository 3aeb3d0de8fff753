//! One connection: the record stream, the live lane, and what the hub opens.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use kalitka_protocol::limits::EARLIER_EPOCHS_MAX;
use kalitka_protocol::upstream::{Hello, Position, kind};
use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::end::End;
use crate::identity::Identity;
use crate::limits::CONNECT_PATIENCE;
use crate::port::{Port, Request, State};
use crate::record::Record;
use crate::renewal::{self, NextTry};
use crate::run::{History, Options};
use crate::tally::Tally;
use crate::window::Window;
use crate::wire;
use crate::{command, live, snapshot};

/// Bytes of the longest hello (SPEC 15.4).
const HELLO_LEN_MAX: usize = 65 + 8 * EARLIER_EPOCHS_MAX;

/// What every part of a connection uses.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) options: Arc<Options>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) port: Arc<Port>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) clock: Arc<dyn Fn() -> Duration + Send + Sync>,
    pub(crate) history: Arc<History>,
    pub(crate) next_renewal: Arc<NextTry>,
}

/// Serves a connection to its end. `is_good` is set when it has carried something.
pub(crate) async fn serve(context: &Context, connection: &Connection, is_good: &AtomicBool) -> End {
    let Err(end) = attend(context, connection, is_good).await;
    connection.close(VarInt::from_u32(end.code()), end.text().as_bytes());
    end
}

async fn attend(context: &Context, connection: &Connection, is_good: &AtomicBool) -> Result<Infallible, End> {
    // Before the hello: what is committed from then on travels live.
    let commits = context.port.live.subscribe();
    let greeted = timeout(CONNECT_PATIENCE, greet(context, connection)).await;
    let greeted = greeted.map_err(|_| End::Lost("the hub does not say its position".into()))??;
    let Greeted { send, receive, position, names_all } = greeted;
    let ask = |reply| Request::Position { position: position.clone(), reply };
    let legs = context.port.ask("the hub's position", ask).await?.map_err(End::Journal)?;
    Tally::add(&context.tally.connections, 1);
    let up = State::Up { since: (context.clock)(), hub: connection.remote_address() };
    tracing::info!(hub = %connection.remote_address(), "connected to the hub");
    context.port.state.send_replace(up);
    let window = Window::default();
    let record = Record { context, connection, window: &window, names_all };
    let ended = tokio::select! {
        ended = record.send(send, legs) => ended,
        ended = record.receive(receive) => ended,
        ended = record.watch() => ended,
        ended = live::send(context, connection, commits) => ended,
        ended = take_streams(context, connection) => ended,
        never = renewal::keep_up(context, connection) => match never {},
    };
    is_good.store(window.is_good(), Relaxed);
    context.tally.in_flight.store(0, Relaxed);
    context.tally.round_trip_us.store(0, Relaxed);
    context.tally.pace.store(0, Relaxed);
    // A part may see that the connection is gone before it is known why.
    match connection.close_reason() {
        Some(reason) if !matches!(ended, Err(End::Breach { .. })) => Err(reason.into()),
        _ => ended,
    }
}

/// The record stream, and what was said on it first.
struct Greeted {
    send: SendStream,
    receive: RecvStream,
    position: Box<Position>,
    /// Whether the hello names every epoch of which something waits.
    names_all: bool,
}

/// Says hello and hears the position, which is the hub's first word.
async fn greet(context: &Context, connection: &Connection) -> Result<Greeted, End> {
    let (hello, names_all): (Hello, bool) =
        context.port.ask("its standing", |reply| Request::Standing { reply }).await?;
    let (mut send, mut receive) = connection.open_bi().await?;
    wire::send(&mut send, kind::HELLO, HELLO_LEN_MAX, |out| hello.emit(out)).await?;
    let message = loop {
        let message = wire::read(&mut receive).await?;
        let message = message.ok_or_else(|| End::malformed("the record stream", "the hub ended it"))?;
        match message.kind {
            kind::POSITION => break message,
            known if kind::is_known(known) => {
                return Err(End::malformed(
                    "the record stream",
                    format!("a message of kind {known} before a position"),
                ));
            }
            _ => {}
        }
    };
    let position = Position::parse(&message.body).map_err(|why| End::unparsed("a position", why))?;
    if !position.answers(&hello) {
        return Err(End::malformed("a position", "it is not of the epochs in the hello"));
    }
    Ok(Greeted { send, receive, position: Box::new(position), names_all })
}

/// Takes the streams that the hub opens, each by the kind of its first message.
async fn take_streams(context: &Context, connection: &Connection) -> Result<Infallible, End> {
    let opened = Arc::new(Opened { commands: AtomicBool::new(false), snapshots: Semaphore::new(1) });
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            stream = connection.accept_bi() => {
                let (send, receive) = stream?;
                let (context, opened) = (context.clone(), Arc::clone(&opened));
                streams.spawn(async move { take_stream(&context, &opened, send, receive).await });
            }
            ended = next_ended(&mut streams) => ended?,
        }
    }
}

async fn next_ended(streams: &mut JoinSet<Result<(), End>>) -> Result<(), End> {
    match streams.join_next().await {
        Some(ended) => ended.unwrap_or_else(|error| Err(End::Lost(format!("a stream's task ended: {error}")))),
        None => pending().await,
    }
}

/// What the hub may have open only once.
struct Opened {
    commands: AtomicBool,
    snapshots: Semaphore,
}

async fn take_stream(context: &Context, opened: &Opened, send: SendStream, mut receive: RecvStream) -> Result<(), End> {
    while let Some(message) = wire::read(&mut receive).await? {
        match message.kind {
            kind::COMMAND if opened.commands.swap(true, Relaxed) => {
                return Err(End::malformed("a stream", "a second one of commands"));
            }
            kind::COMMAND => return command::serve(context, message, &mut receive, send).await,
            kind::SNAPSHOT => {
                let one = opened.snapshots.try_acquire();
                let _held = one.map_err(|_| End::malformed("a stream", "a second snapshot at the same time"))?;
                return snapshot::serve(context, &message, &mut receive, send).await;
            }
            known if kind::is_known(known) => {
                return Err(End::malformed("a stream", format!("it begins with a message of kind {known}")));
            }
            _ => {}
        }
    }
    Ok(())
}
