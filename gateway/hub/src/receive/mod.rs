//! QUIC: connections of gateways, their record streams and live datagrams (SPEC 15).

mod admit;
mod endpoint;
mod live;
mod messages;
mod record;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::{Endpoint, Incoming};
use tokio::sync::{Semaphore, mpsc};

use crate::failure::Failure;
use crate::hub::Hub;
use crate::limits::{CONNECTIONS_MAX, HANDSHAKES_MAX, HANDSHAKES_UNPROVED_MAX};
use crate::metrics::names;
use crate::pki::Pki;
use crate::store::Work;

/// Where gateways are listened to. To be made within a runtime.
///
/// # Errors
/// [`Failure`] when the address cannot be had or the certificates do not serve.
pub(crate) fn bind(listen: SocketAddr, pki: &Pki) -> Result<(Endpoint, SocketAddr), Failure> {
    let config = tls::server(pki)?;
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
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    while let Some(incoming) = endpoint.accept().await {
        let Some(incoming) = welcome(&endpoint, &handshakes, incoming) else { continue };
        let Ok(place) = Arc::clone(&handshakes).try_acquire_owned() else {
            refuse(incoming, "handshakes");
            continue;
        };
        tokio::spawn(admit::admit(Arc::clone(&hub), incoming, works.clone(), place));
    }
}

/// Under many handshakes an address has to prove itself first, which costs nothing here; under too many connections nobody
/// is taken in.
fn welcome(endpoint: &Endpoint, handshakes: &Semaphore, incoming: Incoming) -> Option<Incoming> {
    if endpoint.open_connections() >= CONNECTIONS_MAX {
        refuse(incoming, "connections");
        return None;
    }
    let under_way = HANDSHAKES_MAX - handshakes.available_permits();
    if under_way >= HANDSHAKES_UNPROVED_MAX && incoming.may_retry() {
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
