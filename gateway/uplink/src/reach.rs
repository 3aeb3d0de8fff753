//! Whether the hub can be reached at all, for a person who wants to know.

use std::net::SocketAddr;
use std::time::Duration;

use kalitka_protocol::upstream::ALPN_RENEW;
use tokio::time::timeout;

use crate::end::End;
use crate::limits::{REFUSAL_PATIENCE, SILENCE_MAX};
use crate::run::{Options, Tried, connect, read};

/// A hub that answers.
#[derive(Clone, Copy, Debug)]
pub struct Reached {
    /// From where.
    pub address: SocketAddr,
    /// To there and back.
    pub round_trip: Duration,
}

/// Shakes hands with the hub by the box's certificate, and takes leave. It is a connection on which nothing can be done but a
/// renewal (SPEC 15.15), so that the one of a running gateway is not disturbed.
///
/// # Errors
/// What is wrong: with the identity, with the way to the hub, or with the certificate in the hub's eyes.
pub async fn reach(options: &Options) -> Result<Reached, String> {
    let identity = read(options).map_err(|error| error.to_string())?;
    let mut tried = Tried::within(SILENCE_MAX);
    let connection = connect(options, &identity, ALPN_RENEW, &mut tried).await.map_err(|end| end.text())?;
    let refused = timeout(REFUSAL_PATIENCE, connection.closed()).await;
    let reached = Reached { address: connection.remote_address(), round_trip: connection.rtt() };
    tried.hang_up(&End::Shutdown).await;
    match refused {
        Ok(reason) => Err(End::from(reason).text()),
        Err(_) => Ok(reached),
    }
}
