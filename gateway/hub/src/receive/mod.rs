//! QUIC: connections of gateways, their record streams and live datagrams (SPEC 15).

mod admit;
mod endpoint;
mod live;
mod messages;
mod places;
mod record;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{Endpoint, Incoming};
use tokio::sync::mpsc;

use crate::failure::Failure;
use crate::hub::Hub;
use crate::limits::CONNECTIONS_MAX;
use crate::metrics::names;
use crate::pki::Pki;
use crate::store::Work;
use places::Places;

/// Where gateways are listened to; `grace` is for how long an expired certificate may renew itself. To be made within a runtime.
///
/// # Errors
/// [`Failure`] when the address cannot be had or the certificates do not serve.
pub(crate) fn bind(listen: SocketAddr, pki: &Pki, grace: Duration) -> Result<(Endpoint, SocketAddr), Failure> {
    let config = tls::server(pki, grace)?;
    let bound = endpoint::bind(listen, config, pki).and_then(|endpoint| {
        let address = endpoint.local_addr()?;
        Ok((endpoint, address))
    });
    bound.map_err(|error| {
        Failure::Environment(format!(
            "quic.listen: cannot listen on {listen}: {error}; stop what uses it, or configure another address"
        ))
    })
}

/// Takes connections until the endpoint is closed.
pub(crate) async fn serve(endpoint: Endpoint, hub: Arc<Hub>, works: mpsc::Sender<Work>) {
    let places = Places::default();
    while let Some(incoming) = endpoint.accept().await {
        let Some(incoming) = welcome(&endpoint, &places, incoming) else { continue };
        match places.take(incoming.remote_address().ip()) {
            Ok(place) => drop(tokio::spawn(admit::admit(Arc::clone(&hub), incoming, works.clone(), place))),
            Err(reason) => refuse(incoming, reason),
        }
    }
}

/// Under many handshakes an address has to prove itself first, which costs nothing here; under too many connections nobody
/// is taken in.
fn welcome(endpoint: &Endpoint, places: &Places, incoming: Incoming) -> Option<Incoming> {
    if endpoint.open_connections() >= CONNECTIONS_MAX {
        refuse(incoming, "connections");
        return None;
    }
    if places.want_proof(incoming.remote_address().ip()) && incoming.may_retry() {
        // What cannot be retried comes again by itself.
        let _ = incoming.retry();
        return None;
    }
    Some(incoming)
}

fn refuse(incoming: Incoming, reason: &'static str) {
    metrics::counter!(names::CONNECTIONS_REFUSED, "reason" => reason).increment(1);
    incoming.refuse();
}
