//! The feeds, and what machines watch: plain HTTP.
//!
//! `/feed/complete` is every event that the hub keeps, in store order, from any place on; `/feed/live` is what gateways
//! send ahead, at best effort (SPEC 15.10). Both are JSON lines, for subscribers with a token. `openapi.json` describes
//! all of it, and a test compares it with what is served here.

mod body;
mod complete;
mod connection;
mod live;
mod query;
pub(crate) mod subscribers;
mod watch;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};

use crate::hub::Hub;
use crate::ledger::with;
use crate::metrics::names;
use body::Places;
use connection::Bounded;
use query::Query;
pub(crate) use watch::End;
use watch::Watch;

/// The description of all this.
const OPENAPI: &str = include_str!("../../openapi.json");

/// What is shared by those who serve.
#[derive(Clone)]
struct Desk {
    hub: Arc<Hub>,
    places: Arc<Places>,
}

/// A path, and what answers there.
type Route = (&'static str, fn() -> MethodRouter<Desk>);

/// What is served.
const ROUTES: [Route; 5] = [
    ("/feed/complete", || on(MethodFilter::GET, complete_feed)),
    ("/feed/live", || on(MethodFilter::GET, live_feed)),
    ("/metrics", || on(MethodFilter::GET, metrics)),
    ("/healthz", || on(MethodFilter::GET, healthz)),
    ("/openapi.json", || on(MethodFilter::GET, openapi)),
];

/// Serves feeds, `/metrics` and `/healthz` until it is dropped.
///
/// # Errors
/// What the system says when it cannot be served at all.
pub(crate) async fn serve(listener: TcpListener, hub: Arc<Hub>) -> io::Result<()> {
    let desk = Desk { hub, places: Arc::default() };
    let router =
        ROUTES.iter().fold(Router::new(), |router, (path, route)| router.route(path, route())).with_state(desk);
    axum::serve(Bounded::new(tokio::net::TcpListener::from_std(listener)?), router).await
}

async fn metrics(State(desk): State<Desk>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], desk.hub.collector.render())
}

async fn healthz(State(desk): State<Desk>) -> impl IntoResponse {
    let held_up = desk.hub.store.held_up();
    if desk.hub.store.is_failed() {
        (StatusCode::SERVICE_UNAVAILABLE, "the store has failed and is being opened again\n".into())
    } else if held_up > 0 {
        (StatusCode::SERVICE_UNAVAILABLE, format!("the disk has not answered for {held_up} s; nothing is taken\n"))
    } else {
        (StatusCode::OK, "ok\n".into())
    }
}

async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI)
}

async fn complete_feed(State(desk): State<Desk>, request: Request) -> Response {
    let query = Query::complete(request.uri().query().unwrap_or_default());
    match admit(&desk, request.headers(), query).await {
        Ok((query, watch)) => {
            let hub = desk.hub;
            body::response(move |out| complete::send(hub, query, watch, out))
        }
        Err(refused) => refused.into_response(),
    }
}

async fn live_feed(State(desk): State<Desk>, request: Request) -> Response {
    let query = Query::live(request.uri().query().unwrap_or_default());
    match admit(&desk, request.headers(), query).await {
        Ok((_, watch)) => {
            // From here on nothing is missed, also before the first line is sent.
            let events = desk.hub.live.subscribe();
            let hub = desk.hub;
            body::response(move |out| live::send(hub, events, watch, out))
        }
        Err(refused) => refused.into_response(),
    }
}

/// Why a feed is not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    NoToken,
    OtherBuilding,
    Query(&'static str),
    TooMany,
    Store,
}

impl Refused {
    /// As the metric names it.
    const fn label(self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::OtherBuilding => "other_building",
            Self::Query(_) => "query",
            Self::TooMany => "too_many",
            Self::Store => "store",
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        metrics::counter!(names::FEED_REQUESTS, "answer" => self.label()).increment(1);
        match self {
            Self::NoToken => (
                StatusCode::UNAUTHORIZED,
                [(header::WWW_AUTHENTICATE, "Bearer")],
                "no subscriber has this token; send `Authorization: Bearer TOKEN`\n",
            )
                .into_response(),
            Self::OtherBuilding => (StatusCode::FORBIDDEN, "the token is not for this building\n").into_response(),
            Self::Query(what) => (StatusCode::BAD_REQUEST, format!("{what}\n")).into_response(),
            Self::TooMany => {
                (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "30")], "too many feeds are open; close one\n")
                    .into_response()
            }
            Self::Store => (
                StatusCode::SERVICE_UNAVAILABLE,
                [(header::RETRY_AFTER, "5")],
                "the store is being opened again; try again in a moment\n",
            )
                .into_response(),
        }
    }
}

/// Lets a subscriber in: by its token first, so that who has none learns nothing.
async fn admit(
    desk: &Desk,
    headers: &HeaderMap,
    query: Result<Query, &'static str>,
) -> Result<(Query, Watch), Refused> {
    let token = bearer(headers).ok_or(Refused::NoToken)?.to_owned();
    let found = with(&desk.hub, move |hub, ledger| Ok((subscribers::find(ledger, &token)?, hub.store.newest()?))).await;
    let (subscriber, newest) = found.map_err(|_| Refused::Store)?;
    let subscriber = subscriber.ok_or(Refused::NoToken)?;
    let query = query.map_err(Refused::Query)?;
    // Of a store that was restored: what comes up to there has other events than the reader knows, and would be left out.
    if query.after > newest {
        return Err(Refused::Query("after: beyond the newest event; was the store restored? Then read it anew"));
    }
    let allowed = |building| subscriber.buildings.is_empty() || subscriber.buildings.contains(&building);
    if query.building.is_some_and(|building| !allowed(building)) {
        return Err(Refused::OtherBuilding);
    }
    let place = desk.places.take(&subscriber.name).ok_or(Refused::TooMany)?;
    metrics::counter!(names::FEED_REQUESTS, "answer" => "given").increment(1);
    Ok((query, Watch::new(Arc::clone(&desk.hub), subscriber, query.building, place)))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
