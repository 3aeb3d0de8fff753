//! The feeds, as subscribers read them.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use kalitka_protocol::upstream::{Head, kind};
use serde_json::Value;
use support::gateway::{Gateway, Identity, Said};
use support::history::History;
use support::{Hub, PATIENCE, Site};

const BUILDING: u32 = 17;

/// An open feed.
struct Feed {
    status: u16,
    lines: BufReader<Box<dyn Read + Send>>,
}

/// The pieces of a chunked body (RFC 9112, section 7.1).
struct Chunked(BufReader<TcpStream>, usize);

impl Read for Chunked {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.1 == 0 {
            let mut line = String::new();
            while line.trim().is_empty() {
                line.clear();
                if self.0.read_line(&mut line)? == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
            }
            self.1 = usize::from_str_radix(line.trim(), 16).unwrap();
            if self.1 == 0 {
                return Ok(0);
            }
        }
        let len = into.len().min(self.1);
        let read = self.0.read(&mut into[..len])?;
        self.1 -= read;
        Ok(read)
    }
}

impl Feed {
    fn open(hub: &Hub, path: &str, token: &str) -> Self {
        let mut stream = TcpStream::connect(hub.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut stream = BufReader::new(stream);
        let (mut status, mut line) = (0, String::new());
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line).unwrap();
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest[..3].parse().unwrap();
            }
        }
        Self { status, lines: BufReader::new(Box::new(Chunked(stream, 0))) }
    }

    /// The next line that says something; `None` at the end.
    fn next(&mut self) -> Option<Value> {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if line != "\n" {
                return Some(serde_json::from_str(&line).unwrap());
            }
        }
    }

    fn all(mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.next()).collect()
    }

    fn take(&mut self, count: usize) -> Vec<u64> {
        (0..count).map(|_| self.next().unwrap()["number"].as_u64().unwrap()).collect()
    }
}

fn token(hub: &Hub, name: &str, buildings: &[&str]) -> String {
    let mut words = vec!["feed", "token", name];
    for building in buildings {
        words.extend(["--building", building]);
    }
    hub.json(&words)["token"].as_str().unwrap().to_owned()
}

async fn keep(hub: &Hub, identity: &Identity, history: &History, numbers: (u64, u64)) {
    let (mut gateway, _) = Gateway::hello(identity, hub.quic, history, &[]).await;
    gateway.batch(history, numbers).await;
    assert_eq!(gateway.hear().await, Said::Acknowledged(history.epoch.0, numbers.1));
    gateway.connection.close(0u32.into(), b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn complete_feed_is_everything_in_order_and_goes_on_where_it_was_left() {
    let site = Site::new();
    let (one, two) = (Identity::signed(&site, BUILDING), Identity::signed(&site, 18));
    let hub = site.start();
    let (mut history, other) = (History::of(BUILDING, 7, 900), History::of(18, 8, 5));
    keep(&hub, &one, &history, (1, 900)).await;
    keep(&hub, &two, &other, (1, 5)).await;
    let token = token(&hub, "city", &[]);
    let all = Feed::open(&hub, "/feed/complete", &token).all();
    assert_eq!(all.len(), 905);
    assert!(all.iter().zip(1u64..).all(|(event, order)| event["order"] == order));
    assert_eq!(all[..900], hub.events(BUILDING)[..], "the same as the command line shows");
    let rest = Feed::open(&hub, "/feed/complete?after=899", &token).all();
    assert_eq!(rest, all[899..]);
    let only = Feed::open(&hub, "/feed/complete?building=18&after=3", &token).all();
    assert_eq!(only, all[900..]);
    // Followed over a hub that is killed: the reader asks again behind the last that it has.
    let mut follower = Feed::open(&hub, "/feed/complete?after=903&follow=true&building=17", &token);
    history.grow(903);
    keep(&hub, &one, &history, (901, 903)).await;
    assert_eq!(follower.take(3), [901, 902, 903]);
    hub.kill();
    let hub = site.start();
    let mut follower = Feed::open(&hub, "/feed/complete?after=908&follow=true", &token);
    history.grow(904);
    keep(&hub, &one, &history, (904, 904)).await;
    assert_eq!(follower.take(1), [904]);
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriber_sees_only_its_buildings() {
    let site = Site::new();
    let (one, two) = (Identity::signed(&site, BUILDING), Identity::signed(&site, 18));
    let hub = site.start();
    keep(&hub, &one, &History::of(BUILDING, 7, 4), (1, 4)).await;
    keep(&hub, &two, &History::of(18, 8, 2), (1, 2)).await;
    let school = token(&hub, "school", &["18"]);
    let both = token(&hub, "both", &["18", "19"]);
    let buildings = |feed: Feed| -> Vec<u64> { feed.all().iter().map(|it| it["building"].as_u64().unwrap()).collect() };
    assert_eq!(buildings(Feed::open(&hub, "/feed/complete", &school)), [18, 18]);
    assert_eq!(buildings(Feed::open(&hub, "/feed/complete", &both)), [18, 18]);
    assert_eq!(buildings(Feed::open(&hub, "/feed/complete?building=18", &both)), [18, 18]);
    for (path, token, status) in [
        ("/feed/complete?building=17", school.as_str(), 403),
        ("/feed/live?building=17", &school, 403),
        ("/feed/complete?building=17", &both, 403),
        ("/feed/complete", "", 401),
        ("/feed/complete", &school[1..], 401),
        ("/feed/live", &"0".repeat(64), 401),
        ("/feed/complete?after=x", &school, 400),
        // Order numbers that a restored store has lost are given to other events.
        ("/feed/complete?after=1000000", &school, 400),
        ("/feed/live?after=1", &school, 400),
        // Who has no token learns nothing, not even what is asked wrongly.
        ("/feed/complete?after=x", "", 401),
    ] {
        assert_eq!(Feed::open(&hub, path, token).status, status, "{path}");
    }
    assert_eq!(hub.get("/feed/complete").0, 401);
    let (status, _, error) = hub.command(&["feed", "token", "school"]);
    assert_eq!(status, 3, "{error}");
    let state = std::fs::read(site.state("hub.redb")).unwrap();
    for token in [&school, &both] {
        assert!(!state.windows(token.len()).any(|part| part == token.as_bytes()), "a token is kept as a hash only");
    }
}

/// SPEC 15.10: each event is shown once, though it is sent twice.
#[tokio::test(flavor = "multi_thread")]
async fn live_feed_shows_what_gateways_send_ahead() {
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let token = token(&hub, "city", &[]);
    let history = History::of(BUILDING, 7, 5);
    let (gateway, _) = Gateway::hello(&identity, hub.quic, &history, &[]).await;
    let mut feed = Feed::open(&hub, "/feed/live", &token);
    let mut other = Feed::open(&hub, "/feed/live?building=18", &token);
    for number in [2, 2, 4, 5] {
        let event = &history.events[number - 1];
        let head = Head { kind: kind::LIVE, len: u32::try_from(event.len()).unwrap() };
        gateway.connection.send_datagram([&head.to_bytes()[..], event].concat().into()).unwrap();
    }
    let first = feed.next().unwrap();
    assert_eq!((&first["number"], &first["order"], &first["hash"]), (&2.into(), &Value::Null, &Value::Null));
    assert_eq!(feed.take(2), [4, 5]);
    let (status, _, error) = hub.command(&["feed", "revoke", "city"]);
    assert_eq!(status, 0, "{error}");
    assert_eq!(feed.next().unwrap()["end"], "revoked");
    assert_eq!(feed.next(), None);
    assert_eq!(other.next().unwrap()["end"], "revoked");
    assert_eq!(Feed::open(&hub, "/feed/live", &token).status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn open_feeds_are_bounded() {
    let site = Site::new();
    let hub = site.start();
    let (one, other) = (token(&hub, "one", &[]), token(&hub, "other", &[]));
    let open: Vec<Feed> = (0..4).map(|_| Feed::open(&hub, "/feed/live", &one)).collect();
    assert!(open.iter().all(|feed| feed.status == 200));
    assert_eq!(hub.metric("kalitka_hub_feeds"), 4.0);
    assert_eq!(Feed::open(&hub, "/feed/complete", &one).status, 429);
    assert_eq!(Feed::open(&hub, "/feed/complete", &other).status, 200);
    drop(open);
    hub.await_log("a feed has ended");
    for _ in 0..4 {
        hub.await_log("a feed has ended");
    }
    assert_eq!(Feed::open(&hub, "/feed/complete", &one).status, 200);
}

#[test]
fn description_is_served() {
    let site = Site::new();
    let hub = site.start();
    let (status, text) = hub.get("/openapi.json");
    assert_eq!(status, 200);
    let description: Value = serde_json::from_str(&text).unwrap();
    for path in description["paths"].as_object().unwrap().keys() {
        let (status, _) = hub.get(path);
        let expected = if path.starts_with("/feed/") { 401 } else { 200 };
        assert_eq!(status, expected, "{path}");
    }
    assert_eq!(hub.get("/feed").0, 404);
}
