//! One connection after the other.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kalitka_protocol::EpochId;
use kalitka_protocol::upstream::{ALPN, ALPN_RENEW, HUB_NAME, close};
use quinn::{Connecting, Connection, ConnectionError, Endpoint, VarInt};
use tokio::net::lookup_host;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::backoff::Backoff;
use crate::congestion::Congestion;
use crate::connection::{Context, serve};
use crate::end::End;
use crate::identity::{Identity, IdentityError};
use crate::limits::{
    BACKOFF_FIRST, CONNECT_PATIENCE, EPOCHS_MAX, GOOD_AFTER, HUB_ADDRESSES_MAX, SECOND_CONNECTION_PAUSE_MAX,
    SHUTDOWN_PATIENCE, SOMEBODY_PAUSE,
};
use crate::port::{Port, Run, State};
use crate::tally::Tally;
use crate::{renewal, tls};

/// What the uplink is told about its place.
#[derive(Clone, Debug)]
pub struct Options {
    /// The building, from 1; the identity must be of the same.
    pub building: u32,
    /// `HOST:PORT` of the hub, in the place of the pinned one.
    pub hub: Option<String>,
    /// The identity folder. Read anew for each connection, so that a renewed certificate needs no restart.
    pub identity: PathBuf,
    /// The folder for snapshots on their way and whole. It is made when missing, and nothing else may stand in it.
    pub snapshots: PathBuf,
    /// What decides how fast may be sent.
    pub congestion: Congestion,
    /// Reads the wall clock, since 1970: it says when the certificate is to be renewed.
    pub wall: fn() -> Duration,
}

/// Why there can be no uplink at all.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The box has not been enrolled.
    #[error("{}: there is no identity; enrol the gateway with `kalitka-gateway enrol`", .0.display())]
    NotEnrolled(PathBuf),
    /// The identity folder cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The identity is another building's.
    #[error(
        "the gateway is enrolled for building {enrolled}, and the configuration names {configured}; correct the one or enrol anew"
    )]
    OtherBuilding {
        /// Of the certificate.
        enrolled: u32,
        /// Of the options.
        configured: u32,
    },
}

/// Keeps a connection to the hub until `shutdown` says true: connects, resumes, sends, and tries again with growing, random
/// pauses. `clock` is monotonic.
///
/// # Errors
/// [`Broken`] when there is nothing to connect with at the start; all else is tried again and shown in the port's state.
pub async fn run(
    options: Options,
    port: Port,
    tally: Arc<Tally>,
    clock: impl Fn() -> Duration + Send + Sync + 'static,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), Broken> {
    let identity = Arc::new(read(&options)?);
    let (options, port) = (Arc::new(options), Arc::new(port));
    let mut context = Context {
        options,
        identity,
        port,
        tally,
        clock: Arc::new(clock),
        history: Arc::default(),
        next_renewal: Arc::default(),
    };
    let mut backoff = Backoff::default();
    // The power comes back to a whole city at one moment.
    tokio::select! {
        () = sleep(BACKOFF_FIRST.mul_f64(fastrand::f64())) => {}
        () = ended(&mut shutdown) => {}
    }
    loop {
        let attempt = backoff.failures().saturating_add(1);
        context.port.state.send_replace(State::Connecting { attempt });
        let mut tried = Tried::within(backoff.patience());
        let end = tokio::select! {
            end = attempt_once(&mut context, &mut tried) => end,
            () = ended(&mut shutdown) => End::Shutdown,
        };
        if matches!(end, End::Shutdown) {
            tried.hang_up(&end).await;
            context.port.state.send_replace(State::Off);
            return Ok(());
        }
        let pause = pause(&context, &mut backoff, &tried, &end);
        tokio::select! {
            () = sleep(pause) => {}
            () = ended(&mut shutdown) => {}
        }
    }
}

async fn ended(shutdown: &mut watch::Receiver<bool>) {
    // The sender gone means the same as true.
    let _ = shutdown.wait_for(|&down| down).await;
}

pub(crate) fn read(options: &Options) -> Result<Identity, Broken> {
    let identity = Identity::read(&options.identity)?;
    let identity = identity.ok_or_else(|| Broken::NotEnrolled(options.identity.clone()))?;
    let (enrolled, configured) = (identity.building(), options.building);
    if enrolled == configured { Ok(identity) } else { Err(Broken::OtherBuilding { enrolled, configured }) }
}

/// What came of an attempt beside its end.
#[derive(Debug, Default)]
pub(crate) struct Tried {
    endpoint: Option<Endpoint>,
    /// Since when the connection stood.
    since: Option<Duration>,
    is_good: AtomicBool,
    /// How long the hub may be silent.
    patience: Duration,
}

impl Tried {
    /// An attempt in which the hub may be silent for so long.
    pub(crate) fn within(patience: Duration) -> Self {
        Self { patience, ..Self::default() }
    }

    /// Lets the hub know, if there is one.
    pub(crate) async fn hang_up(&self, end: &End) {
        if let Some(endpoint) = &self.endpoint {
            endpoint.close(VarInt::from_u32(end.code()), end.text().as_bytes());
            // The hub notices later, by itself.
            let _ = timeout(SHUTDOWN_PATIENCE, endpoint.wait_idle()).await;
        }
    }
}

/// Connects, and serves the connection to its end.
async fn attempt_once(context: &mut Context, tried: &mut Tried) -> End {
    if context.port.head.clone().wait_for(Option::is_some).await.is_err() {
        return End::Shutdown;
    }
    match read(&context.options) {
        Ok(identity) => context.identity = Arc::new(identity),
        Err(why) => return End::Lost(why.to_string()),
    }
    context.tally.show_expiry(&context.identity);
    match connect(&context.options, &context.identity, ALPN, tried).await {
        Ok(connection) => {
            tried.since = Some((context.clock)());
            let end = serve(context, &connection, &tried.is_good).await;
            if !end.is_expired() {
                return end;
            }
            context.tally.closed_with(u64::from(close::EXPIRED));
            renew_expired(context, tried).await
        }
        Err(end) => end,
    }
}

/// A connection by a certificate that has expired, which is good for its renewal and for nothing else.
async fn renew_expired(context: &Context, tried: &mut Tried) -> End {
    match connect(&context.options, &context.identity, ALPN_RENEW, tried).await {
        Ok(connection) => {
            let end = renewal::once(context, &connection).await;
            connection.close(VarInt::from_u32(end.code()), end.text().as_bytes());
            end
        }
        Err(end) => end,
    }
}

/// A connection to the first address of the hub that gives one.
pub(crate) async fn connect(
    options: &Options,
    identity: &Identity,
    alpn: &[u8],
    tried: &mut Tried,
) -> Result<Connection, End> {
    let hub = options.hub.as_deref().unwrap_or(identity.hub());
    let unknown = |why: &dyn std::fmt::Display| End::Lost(format!("{hub}: no address of the hub: {why}"));
    let addresses = lookup_host(hub).await.map_err(|error| unknown(&error))?;
    let config = tls::connection(identity, alpn, options.congestion).map_err(End::Lost)?;
    let mut end = unknown(&"the name has none");
    for address in addresses.take(HUB_ADDRESSES_MAX) {
        let endpoint = endpoint_for(address)?;
        tried.endpoint = Some(endpoint.clone());
        let connecting = endpoint.connect_with(config.clone(), address, HUB_NAME);
        let connecting = connecting.map_err(|error| End::Lost(format!("{hub}: {error}")))?;
        match handshake(connecting, tried.patience).await {
            Ok(connection) => return Ok(connection),
            Err(error) => end = error.into(),
        }
    }
    Err(end)
}

/// Waits long for a hub that has been heard, which may have a whole city to greet, and not for one that says nothing.
async fn handshake(mut connecting: Connecting, patience: Duration) -> Result<Connection, ConnectionError> {
    let silent = |_| ConnectionError::TimedOut;
    timeout(patience, connecting.handshake_data()).await.map_err(silent)??;
    timeout(CONNECT_PATIENCE, connecting).await.map_err(silent)?
}

/// A socket of the family of `hub`.
pub(crate) fn endpoint_for(hub: SocketAddr) -> Result<Endpoint, End> {
    let any = if hub.is_ipv6() { (Ipv6Addr::UNSPECIFIED, 0).into() } else { (Ipv4Addr::UNSPECIFIED, 0).into() };
    Endpoint::client(any).map_err(|error| End::Lost(format!("there is no UDP socket: {error}")))
}

/// Counts the failure, shows it, and says how long to wait.
fn pause(context: &Context, backoff: &mut Backoff, tried: &Tried, end: &End) -> Duration {
    let now = (context.clock)();
    let was_long = tried.since.is_some_and(|since| now.saturating_sub(since) >= GOOD_AFTER);
    if tried.is_good.load(Relaxed) || was_long {
        backoff.reset();
    }
    Tally::add(&context.tally.failures, 1);
    let code = match end {
        End::ClosedByHub { code, .. } => Some(*code),
        _ => None,
    };
    if let Some(code) = code {
        context.tally.closed_with(code);
    }
    let chance = fastrand::f64();
    let pause = match code {
        _ if needs_somebody(code) => SOMEBODY_PAUSE.mul_f64(f64::midpoint(1.0, chance)),
        // After a crash it is our own, which the hub forgets when it has been silent for long enough.
        Some(SECOND_CONNECTION) => backoff.pause(chance).min(SECOND_CONNECTION_PAUSE_MAX),
        _ => backoff.pause(chance),
    };
    tracing::warn!(code, pause_ms = pause.as_millis(), "no connection to the hub: {}", end.text());
    context.port.state.send_replace(State::Down { code, text: end.text(), retry_at: now + pause });
    pause
}

const SECOND_CONNECTION: u64 = close::SECOND_CONNECTION as u64;

/// Whether the hub's code tells of something that another attempt does not change.
fn needs_somebody(code: Option<u64>) -> bool {
    const CODES: [u32; 4] = [close::VERSION, close::BUILDING, close::REVOKED, close::NO_BUILDING];
    code.is_some_and(|code| CODES.iter().any(|&known| u64::from(known) == code))
}

/// The highest number sent of each epoch in the life of the process.
#[derive(Debug, Default)]
pub(crate) struct History(Mutex<Vec<(EpochId, u64)>>);

impl History {
    /// Remembers that `run` is sent; gives how many of its events had been sent before.
    pub(crate) fn sent(&self, run: &Run) -> u64 {
        let mut epochs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = run.last();
        if let Some((_, highest)) = epochs.iter_mut().find(|(epoch, _)| *epoch == run.epoch) {
            let again = (*highest).min(last).saturating_add(1).saturating_sub(run.first);
            *highest = last.max(*highest);
            return again;
        }
        if epochs.len() >= EPOCHS_MAX {
            epochs.remove(0);
        }
        epochs.push((run.epoch, last));
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_sent_again_are_counted() {
        let history = History::default();
        let run = |first, count| Run {
            epoch: EpochId(1),
            first,
            hash_before: [0; 32],
            events: Vec::new(),
            count,
            hash: [0; 32],
        };
        for (first, count, again) in [(1, 10, 0), (11, 5, 0), (6, 10, 10), (1, 20, 15), (21, 1, 0), (2, 3, 3)] {
            assert_eq!(history.sent(&run(first, count)), again, "{first} {count}");
        }
    }

    #[test]
    fn what_only_a_person_can_change_is_tried_seldom() {
        for code in 0..12 {
            assert_eq!(needs_somebody(Some(code)), [2, 3, 6, 7].contains(&code), "{code}");
        }
        assert!(!needs_somebody(None));
    }
}
