//! Snapshots and commands on their way down.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::fs;
use std::path::PathBuf;

use kalitka_protocol::upstream::{
    CommandOutcome, CommandResult, Earlier, Envelope, Head, Hello, SnapshotHead, SnapshotResult, SnapshotWanted, close,
    kind, message, snapshot_result,
};
use kalitka_protocol::wire::{NoRoom, Writer};
use quinn::{RecvStream, SendStream};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::Value;
use support::gateway::{Gateway, Identity, Said};
use support::history::History;
use support::{Hub, PATIENCE, Site, hub as run, status_and_error};
use tokio::time::timeout;

const BUILDING: u32 = 17;

/// A signed snapshot, as far as the hub looks.
fn snapshot(site: &Site, building: u32, generation: u32, len: usize) -> (PathBuf, Vec<u8>) {
    let key = Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
    let archive: Vec<u8> = (0..len).map(|at| (at * 7 % 251).to_le_bytes()[0]).collect();
    let mut file = vec![0; 256];
    file[..12].copy_from_slice(b"KALITKA\0\x01\0\0\x01");
    file[12..16].copy_from_slice(&building.to_le_bytes());
    file[20..24].copy_from_slice(&generation.to_le_bytes());
    file[40..48].copy_from_slice(&(len as u64).to_le_bytes());
    file[72..104].copy_from_slice(key.public_key().as_ref());
    file[104..136].copy_from_slice(blake3::hash(&archive).as_bytes());
    let signature = key.sign(&file);
    file.extend(archive);
    file.extend(signature.as_ref());
    let path = site.path(&format!("{building}-{generation}.kalitka"));
    fs::write(&path, &file).unwrap();
    (path, file)
}

fn publish(hub: &Hub, path: &std::path::Path) -> Value {
    hub.json(&["snapshot", "publish", &path.display().to_string()])
}

async fn connect(hub: &Hub, identity: &Identity) -> Gateway {
    connect_with(hub, identity, 0).await
}

/// Connects with `generation` in force.
async fn connect_with(hub: &Hub, identity: &Identity, generation: u32) -> Gateway {
    let mut gateway = Gateway::connect(identity, hub.quic).await;
    let history = History::of(BUILDING, 7, 1);
    let hello = Hello {
        building: BUILDING,
        epoch: history.epoch,
        last: 1,
        hash: history.hash(1),
        oldest: 1,
        generation,
        earlier: Earlier::new(),
    };
    let bytes = said(kind::HELLO, |out| hello.emit(out));
    gateway.say(&bytes).await;
    assert!(matches!(gateway.hear().await, Said::Position(_)));
    gateway
}

fn said(kind: u8, body: impl FnOnce(&mut Writer<'_>) -> Result<(), NoRoom>) -> Vec<u8> {
    let mut bytes = [0; 2048];
    let mut out = Writer::new(&mut bytes);
    message(kind, &mut out, body).unwrap();
    let len = out.len();
    bytes[..len].to_vec()
}

/// The next stream that the hub opens, and what it says first.
async fn opened(gateway: &Gateway) -> (SendStream, RecvStream, u8, Vec<u8>) {
    let (send, mut receive) = timeout(PATIENCE, gateway.connection.accept_bi()).await.unwrap().unwrap();
    let (kind, body) = hear(&mut receive).await;
    (send, receive, kind, body)
}

async fn hear(receive: &mut RecvStream) -> (u8, Vec<u8>) {
    let mut head = [0; 8];
    timeout(PATIENCE, receive.read_exact(&mut head)).await.unwrap().unwrap();
    let head = Head::parse(&head).unwrap();
    let mut body = vec![0; head.len as usize];
    receive.read_exact(&mut body).await.unwrap();
    (head.kind, body)
}

async fn offered(gateway: &Gateway) -> (SendStream, RecvStream, SnapshotHead) {
    let (send, receive, kind, body) = opened(gateway).await;
    assert_eq!(kind, kind::SNAPSHOT);
    (send, receive, SnapshotHead::parse(&body).unwrap())
}

async fn want(send: &mut SendStream, generation: u32, offset: u64) {
    let wanted = said(kind::SNAPSHOT_WANTED, |out| SnapshotWanted { generation, offset }.emit(out));
    send.write_all(&wanted).await.unwrap();
}

async fn answer(send: &mut SendStream, generation: u32, result: u8) {
    let result = said(kind::SNAPSHOT_RESULT, |out| SnapshotResult { generation, result }.emit(out));
    send.write_all(&result).await.unwrap();
    let _ = send.finish();
}

/// SPEC 15.12.
#[tokio::test(flavor = "multi_thread")]
async fn snapshot_is_offered_whole_and_its_result_is_kept() {
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let (path, file) = snapshot(&site, BUILDING, 5, 300_000);
    assert_eq!(publish(&hub, &path)["connected"], false);
    // What was handed in is the hub's own: the file given may go.
    fs::remove_file(&path).unwrap();
    let gateway = connect(&hub, &identity).await;
    let (mut send, mut receive, head) = offered(&gateway).await;
    assert_eq!((head.generation, head.len, head.hash), (5, file.len() as u64, *blake3::hash(&file).as_bytes()));
    want(&mut send, 5, 0).await;
    assert_eq!(receive.read_to_end(file.len() + 1).await.unwrap(), file);
    answer(&mut send, 5, snapshot_result::ADOPTED).await;
    hub.await_log("snapshot handed down");
    assert_eq!(hub.json(&["snapshot", "list"])["result"], 0);
    // Published while the gateway is connected, and refused by it: not offered again on this connection.
    let (path, _) = snapshot(&site, BUILDING, 6, 10);
    assert_eq!(publish(&hub, &path)["connected"], true);
    let (mut send, _receive, head) = offered(&gateway).await;
    assert_eq!(head.generation, 6);
    want(&mut send, 6, head.len).await;
    answer(&mut send, 6, snapshot_result::SHARES).await;
    hub.await_log("snapshot handed down");
    let (path, _) = snapshot(&site, BUILDING, 7, 10);
    publish(&hub, &path);
    let (_, _, head) = offered(&gateway).await;
    assert_eq!(head.generation, 7, "the newest, and not the refused one");
}

/// SPEC 15.12: from where the gateway has it already, over cut connections and a killed hub.
#[tokio::test(flavor = "multi_thread")]
async fn snapshot_goes_on_where_it_was_cut() {
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let (path, file) = snapshot(&site, BUILDING, 5, 3_000_000);
    publish(&hub, &path);
    let gateway = connect(&hub, &identity).await;
    let (mut send, mut receive, _) = offered(&gateway).await;
    want(&mut send, 5, 0).await;
    let mut have = vec![0; 1_000_000];
    receive.read_exact(&mut have).await.unwrap();
    gateway.connection.close(0u32.into(), b"");
    drop(gateway);
    hub.kill();
    let hub = site.start();
    let gateway = connect(&hub, &identity).await;
    let (mut send, mut receive, head) = offered(&gateway).await;
    assert_eq!(head.len, file.len() as u64);
    want(&mut send, 5, have.len() as u64).await;
    have.extend(receive.read_to_end(file.len()).await.unwrap());
    assert!(have == file);
    answer(&mut send, 5, 0).await;
    hub.await_log("snapshot handed down");
}

/// SPEC 15.12: result 34, and a hello that says that the generation is in force.
#[tokio::test(flavor = "multi_thread")]
async fn snapshot_that_could_not_be_kept_is_offered_again_and_one_in_force_is_not() {
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let (path, _) = snapshot(&site, BUILDING, 5, 10);
    publish(&hub, &path);
    let gateway = connect(&hub, &identity).await;
    let (mut send, _receive, head) = offered(&gateway).await;
    want(&mut send, 5, head.len).await;
    answer(&mut send, 5, snapshot_result::NOT_KEPT).await;
    hub.await_log("snapshot handed down");
    let (_, key) = operator(&site);
    send_command(&hub, &site, &key, 1);
    let kinds = [opened(&gateway).await.2, opened(&gateway).await.2];
    assert!(kinds.contains(&kind::SNAPSHOT) && kinds.contains(&kind::COMMAND), "{kinds:?}");
    drop(gateway);
    let gateway = connect_with(&hub, &identity, 5).await;
    assert_eq!(opened(&gateway).await.2, kind::COMMAND, "nothing but the command is left to hand down");
    send_command(&hub, &site, &key, 2);
    assert!(timeout(std::time::Duration::from_millis(500), gateway.connection.accept_bi()).await.is_err());
}

fn operator(site: &Site) -> (String, String) {
    let secret = site.path("operator.key").display().to_string();
    let made = run(&["operator", "keygen", "--secret", &secret]);
    assert!(made.status.success());
    (String::from_utf8(made.stdout).unwrap().trim().to_owned(), secret)
}

fn sign(site: &Site, key: &str, building: u32, number: u64, order: &[&str]) -> String {
    let out = site.path(&format!("command-{building}-{number}")).display().to_string();
    let (building, number) = (building.to_string(), number.to_string());
    let head = ["command", "sign", "--key", key, "--building", &building, "--number", &number, "--not-after", "10m"];
    let words = [&head, order, &["--out", &out]].concat();
    let (status, error) = status_and_error(&run(&words));
    assert_eq!(status, 0, "{error}");
    out
}

fn send_command(hub: &Hub, site: &Site, key: &str, number: u64) {
    let file = sign(site, key, BUILDING, number, &["block", "--uid", "04010203"]);
    let (status, _, error) = hub.command(&["command", "send", &file]);
    assert_eq!(status, 0, "{error}");
}

async fn command(receive: &mut RecvStream) -> u64 {
    let (kind, body) = hear(receive).await;
    assert_eq!(kind, kind::COMMAND);
    Envelope::parse(&body).unwrap().number
}

fn result(number: u64, outcome: CommandOutcome) -> Vec<u8> {
    said(kind::COMMAND_RESULT, |out| CommandResult { number, outcome }.emit(out))
}

fn outcomes(hub: &Hub) -> Vec<(u64, Option<String>)> {
    let (status, out, error) = hub.command(&["command", "list", "--building", &BUILDING.to_string(), "--json"]);
    assert_eq!(status, 0, "{error}");
    let entries = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    entries.map(|it| (it["number"].as_u64().unwrap(), it["outcome"].as_str().map(str::to_owned))).collect()
}

/// SPEC 15.3, 15.8, 15.9: in the order of their numbers, on one stream, until there is a result.
#[tokio::test(flavor = "multi_thread")]
async fn commands_go_down_in_order_until_they_have_a_result() {
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let (public, key) = operator(&site);
    for number in [3, 4, 70] {
        send_command(&hub, &site, &key, number);
    }
    let gateway = connect(&hub, &identity).await;
    let (mut send, mut receive, kind, body) = opened(&gateway).await;
    assert_eq!(kind, kind::COMMAND);
    let first = Envelope::parse(&body).unwrap();
    assert_eq!((first.number, hex::encode(first.operator)), (3, public));
    assert_eq!((command(&mut receive).await, command(&mut receive).await), (4, 70));
    send_command(&hub, &site, &key, 71);
    assert_eq!(command(&mut receive).await, 71);
    send.write_all(&result(4, CommandOutcome::Done)).await.unwrap();
    send.write_all(&result(3, CommandOutcome::GivenUp)).await.unwrap();
    send.write_all(&result(3, CommandOutcome::Done)).await.unwrap();
    for _ in 0..3 {
        hub.await_log("command's result");
    }
    let done = |outcome: &str| Some(outcome.to_owned());
    assert_eq!(outcomes(&hub), [(3, done("given_up")), (4, done("done")), (70, None), (71, None)]);
    hub.kill();
    let hub = site.start();
    let gateway = connect(&hub, &identity).await;
    let (mut send, mut receive, _, body) = opened(&gateway).await;
    assert_eq!(Envelope::parse(&body).unwrap().number, 70, "what has no result goes down again");
    assert_eq!(command(&mut receive).await, 71);
    send.write_all(&result(71, CommandOutcome::Done)).await.unwrap();
    hub.await_log("command's result");
    assert_eq!(outcomes(&hub)[3], (71, done("done")));
}

/// SPEC 15.11: code 1.
#[tokio::test(flavor = "multi_thread")]
async fn malformed_result_ends_the_connection_and_alarms() {
    let site = Site::new();
    let identity = Identity::signed(&site, BUILDING);
    let hub = site.start();
    let (_, key) = operator(&site);
    send_command(&hub, &site, &key, 1);
    for wrong in [vec![0xa5; 24], said(kind::POSITION, |_| Ok(())), said(kind::COMMAND_RESULT, |out| out.put(&[9; 16]))]
    {
        let mut gateway = connect(&hub, &identity).await;
        let (mut send, ..) = opened(&gateway).await;
        send.write_all(&wrong).await.unwrap();
        match gateway.hear().await {
            Said::Closed(code, _) => assert_eq!(code, u64::from(close::MALFORMED)),
            said => panic!("{said:?}"),
        }
    }
    assert!(hub.alarms().contains(&("malformed".to_owned(), Some(u64::from(BUILDING)))));
    assert_eq!(outcomes(&hub), [(1, None)]);
}

/// SPEC 15.8: what no gateway would do is refused at the hub's door, where the operator hears it.
#[tokio::test(flavor = "multi_thread")]
async fn command_that_cannot_be_done_is_refused_at_once() {
    let site = Site::new();
    Identity::signed(&site, BUILDING);
    let config = fs::read_to_string(site.config()).unwrap();
    let (public, key) = operator(&site);
    fs::write(site.config(), format!("{config}[gateways]\noperators = [\"{public}\"]\n")).unwrap();
    let hub = site.start();
    let refused = |file: &str, why: &str| {
        let (status, _, error) = hub.command(&["command", "send", file]);
        assert_eq!(status, 3, "{error}");
        assert!(error.contains(why), "{error}");
    };
    send_command(&hub, &site, &key, 5);
    send_command(&hub, &site, &key, 5 + 1);
    refused(&sign(&site, &key, BUILDING, 5, &["unblock", "--uid", "04010203"]), "not above 6");
    refused(&sign(&site, &key, 99, 1, &["mode", "closed"]), "building 99");
    let file = sign(&site, &key, BUILDING, 7, &["open", "--reader", "101"]);
    let right = fs::read_to_string(&file).unwrap();
    fs::write(&file, right.replacen(&right[8..10], "ff", 1)).unwrap();
    refused(&file, "signature");
    fs::write(&file, &right[..right.len() / 2 * 2 - 4]).unwrap();
    refused(&file, "refused");
    fs::write(&file, "text").unwrap();
    refused(&file, "no signed command");
    let stranger = site.path("stranger.key").display().to_string();
    assert!(run(&["operator", "keygen", "--secret", &stranger]).status.success());
    refused(&sign(&site, &stranger, BUILDING, 8, &["mode", "as-scheduled", "--reader", "101"]), "gateways.operators");
    let late = late(&key, &site);
    refused(&late, "time has passed");
    assert_eq!(outcomes(&hub).len(), 2, "nothing of all that was kept");
}

/// A command that was good until 2001.
fn late(key: &str, site: &Site) -> String {
    let seed = hex::decode(fs::read_to_string(key).unwrap().trim()).unwrap();
    let key = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
    let body = [66, 255, 0, 0, 0, 0, 0, 0];
    let operator = key.public_key().as_ref().try_into().unwrap();
    let not_after_us = 1_000_000_000_000_000;
    let mut envelope =
        Envelope { building: BUILDING, number: 9, not_after_us, operator, body: &body, signature: [0; 64] };
    let mut bytes = [0; 1200];
    let mut out = Writer::new(&mut bytes);
    envelope.signed(&mut out).unwrap();
    let len = out.len();
    envelope.signature = key.sign(&bytes[..len]).as_ref().try_into().unwrap();
    let mut out = Writer::new(&mut bytes);
    envelope.emit(&mut out).unwrap();
    let len = out.len();
    let path = site.path("late");
    fs::write(&path, hex::encode(&bytes[..len])).unwrap();
    path.display().to_string()
}

#[test]
fn snapshot_that_does_not_hold_is_refused_at_once() {
    let site = Site::new();
    let hub = site.start();
    let (path, file) = snapshot(&site, BUILDING, 5, 100);
    let mut damaged = file;
    damaged[300] ^= 1;
    fs::write(&path, damaged).unwrap();
    let (status, _, error) = hub.command(&["snapshot", "publish", &path.display().to_string()]);
    assert_eq!(status, 3);
    assert!(error.contains("damaged"), "{error}");
    let (status, out, _) = hub.command(&["snapshot", "list"]);
    assert_eq!((status, out.as_str()), (0, "no snapshot has been published\n"));
}
