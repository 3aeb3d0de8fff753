//! Control requests about certificates, snapshots, commands and feeds.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kalitka_protocol::upstream::{CommandBody, CommandOutcome, Envelope};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::failure::Failure;
use crate::hub::Hub;
use crate::ledger::{CertificateEntry, CommandEntry, Ledger, with};
use crate::limits::{COMMAND_LIFE_MAX, LIST_PAGE, TOKEN_HOURS_MAX};
use crate::operator;
use crate::pki::{Csr, Pki, token};
use crate::{feed, publish};

/// What is asked for. Lists come in pages: `after` is the last of the page before.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum DoorRequest {
    /// A token with which the box of a building enrols, once.
    PkiToken { building: u32, hours: u32 },
    /// A certificate over a request, in hex.
    PkiSign { building: u32, request: String },
    /// Take back the certificates of a building, or the one with a serial number in hex.
    PkiRevoke { building: Option<u32>, serial: Option<String> },
    /// Every certificate that was given.
    PkiList { after: Option<String> },
    /// Hand a signed snapshot down. The path is the hub's: absolute.
    SnapshotPublish { file: PathBuf },
    /// The snapshots that are held.
    SnapshotList { after: Option<u32> },
    /// Hand a signed command down: its envelope in hex.
    CommandSend { envelope: String },
    /// The commands of a building.
    CommandList { building: u32, after: u64 },
    /// A token with which a subscriber reads the feeds, of all buildings when none is named.
    FeedToken { name: String, buildings: Vec<u32> },
    /// Take a subscriber's token back.
    FeedRevoke { name: String },
    /// The subscribers.
    FeedList {},
}

impl DoorRequest {
    /// Every verb, as metrics and logs name them.
    pub(crate) const VERBS: [&'static str; 11] = [
        "pki_token",
        "pki_sign",
        "pki_revoke",
        "pki_list",
        "snapshot_publish",
        "snapshot_list",
        "command_send",
        "command_list",
        "feed_token",
        "feed_revoke",
        "feed_list",
    ];

    /// The verb of this request.
    pub(crate) const fn verb(&self) -> &'static str {
        let [token, sign, revoke, list, publish, snapshots, send, commands, subscribe, unsubscribe, subscribers] =
            Self::VERBS;
        match self {
            Self::PkiToken { .. } => token,
            Self::PkiSign { .. } => sign,
            Self::PkiRevoke { .. } => revoke,
            Self::PkiList { .. } => list,
            Self::SnapshotPublish { .. } => publish,
            Self::SnapshotList { .. } => snapshots,
            Self::CommandSend { .. } => send,
            Self::CommandList { .. } => commands,
            Self::FeedToken { .. } => subscribe,
            Self::FeedRevoke { .. } => unsubscribe,
            Self::FeedList {} => subscribers,
        }
    }
}

/// Does what was asked for by the user `peer_uid`; what is given back goes to the command line as it is.
///
/// # Errors
/// [`Failure`] by whose fault it is.
pub(crate) async fn answer(hub: &Arc<Hub>, peer_uid: u32, request: DoorRequest) -> Result<Value, Failure> {
    let now = Clock::wall_seconds();
    let revoking = matches!(request, DoorRequest::PkiRevoke { .. });
    let value = with(hub, move |hub, ledger| match request {
        DoorRequest::PkiToken { building, hours } => pki_token(hub, ledger, building, hours, now),
        DoorRequest::PkiSign { building, request } => pki_sign(&hub.pki, ledger, building, &request, now),
        DoorRequest::PkiRevoke { building, serial } => pki_revoke(ledger, building, serial.as_deref(), now),
        DoorRequest::PkiList { after } => pki_list(ledger, after.as_deref()),
        DoorRequest::SnapshotPublish { file } => snapshot_publish(hub, ledger, &file, now),
        DoorRequest::SnapshotList { after } => snapshot_list(ledger, after),
        DoorRequest::CommandSend { envelope } => command_send(hub, ledger, &envelope, peer_uid),
        DoorRequest::CommandList { building, after } => command_list(ledger, building, after),
        DoorRequest::FeedToken { name, buildings } => feed::subscribers::add(ledger, &name, buildings, now),
        DoorRequest::FeedRevoke { name } => feed::subscribers::remove(ledger, &name),
        DoorRequest::FeedList {} => feed::subscribers::list(ledger),
    })
    .await?;
    if revoking {
        end_revoked(hub, &value);
    }
    Ok(value)
}

fn building_from_1(building: u32) -> Result<u32, Failure> {
    if building == 0 { Err(Failure::Input("buildings are numbered from 1".into())) } else { Ok(building) }
}

fn pki_token(hub: &Hub, ledger: Ledger<'_>, building: u32, hours: u32, now: i64) -> Result<Value, Failure> {
    building_from_1(building)?;
    if hours == 0 || hours > TOKEN_HOURS_MAX {
        return Err(Failure::Input(format!("a token is good for 1 to {TOKEN_HOURS_MAX} hours")));
    }
    let drawn = token::draw(hub.pki.ca())?;
    let expires = now.saturating_add(Duration::from_secs(u64::from(hours) * 3600).as_secs().cast_signed());
    ledger.add_token(&token::hash(&drawn.secret), building, now, expires)?;
    Ok(json!({ "building": building, "token": token::text(&drawn), "expires": expires }))
}

/// Signs `request` (hex of DER or PEM) for the gateway of `building`, and keeps what was given. Also done with no hub
/// running.
///
/// # Errors
/// [`Failure`] by whose fault it is.
pub(crate) fn pki_sign(
    pki: &Pki,
    ledger: Ledger<'_>,
    building: u32,
    request: &str,
    now: i64,
) -> Result<Value, Failure> {
    building_from_1(building)?;
    let bytes = hex::decode(request).map_err(|_| Failure::Input("the request is not in hex".into()))?;
    let csr = Csr::from_file(&bytes).map_err(|error| Failure::Input(format!("the request is refused: {error}")))?;
    let issued = pki.authority().issue_gateway(&csr, building, now)?;
    ledger.add_certificate(building, &issued)?;
    let serial = hex::encode(&issued.serial);
    Ok(json!({ "building": building, "serial": serial, "not_after": issued.not_after, "certificate": issued.pem }))
}

fn pki_revoke(ledger: Ledger<'_>, building: Option<u32>, serial: Option<&str>, now: i64) -> Result<Value, Failure> {
    let serial = serial.map(hex::decode).transpose();
    let serial = serial.map_err(|_| Failure::Input("a serial number is hexadecimal digits; see `pki list`".into()))?;
    let chosen = |entry: &CertificateEntry| match (building, &serial) {
        (Some(building), None) => entry.building == building,
        (None, Some(serial)) => entry.serial == *serial,
        _ => false,
    };
    if !ledger.certificates()?.iter().any(chosen) {
        return Err(Failure::Input("no such certificate was given; see `pki list`".into()));
    }
    let revoked = ledger.revoke(now, chosen)?;
    Ok(json!({ "revoked": revoked.iter().map(certificate).collect::<Vec<_>>() }))
}

/// Ends living connections whose certificates are revoked now.
fn end_revoked(hub: &Hub, value: &Value) {
    let revoked = value["revoked"].as_array().map(Vec::as_slice).unwrap_or_default();
    for connection in hub.connections.all() {
        let serial = hex::encode(&connection.certificate.serial);
        if revoked.iter().any(|entry| entry["serial"] == serial.as_str()) {
            hub.connections.revoke(connection.building);
        }
    }
}

fn certificate(entry: &CertificateEntry) -> Value {
    json!({
        "serial": hex::encode(&entry.serial),
        "building": entry.building,
        "key": entry.key,
        "not_before": entry.not_before,
        "not_after": entry.not_after,
        "revoked": entry.revoked,
    })
}

fn pki_list(ledger: Ledger<'_>, after: Option<&str>) -> Result<Value, Failure> {
    let later = |entry: &&CertificateEntry| after.is_none_or(|after| hex::encode(&entry.serial).as_str() > after);
    Ok(ledger.certificates()?.iter().filter(later).take(LIST_PAGE).map(certificate).collect())
}

fn snapshot_publish(hub: &Hub, ledger: Ledger<'_>, file: &Path, now: i64) -> Result<Value, Failure> {
    let publishers = hub.config.publishers().map_err(Failure::Input)?;
    let entry = publish::publish((&hub.config.state, &publishers), ledger, file, now)?;
    hub.connections.wake(entry.building);
    let connected = hub.connections.of(entry.building).is_some();
    Ok(json!({
        "building": entry.building,
        "generation": entry.generation,
        "bytes": entry.bytes,
        "hash": hex::encode(entry.hash),
        "connected": connected,
    }))
}

fn snapshot_list(ledger: Ledger<'_>, after: Option<u32>) -> Result<Value, Failure> {
    let entries = ledger.snapshots()?;
    // Whole buildings only, so that the next page begins with another one.
    let mut page: Vec<&_> = entries.iter().filter(|entry| after.is_none_or(|after| entry.building > after)).collect();
    if let Some(cut) = page.get(LIST_PAGE).map(|entry| entry.building) {
        page.retain(|entry| entry.building < cut);
    }
    let shown = page.iter().map(|entry| {
        json!({
            "building": entry.building,
            "generation": entry.generation,
            "bytes": entry.bytes,
            "hash": hex::encode(entry.hash),
            "publisher": hex::encode(entry.publisher),
            "published": entry.published,
            "result": entry.result.as_ref().map(|result| result.code),
            "result_at": entry.result.as_ref().map(|result| result.at),
        })
    });
    Ok(shown.collect())
}

fn command_send(hub: &Hub, ledger: Ledger<'_>, envelope: &str, by_uid: u32) -> Result<Value, Failure> {
    let envelope = hex::decode(envelope).map_err(|_| Failure::Input("the command is not in hex".into()))?;
    let wrong = |what: &str| Failure::Input(format!("the command is refused: {what}"));
    let parsed = Envelope::parse(&envelope).map_err(|error| wrong(&error.to_string()))?;
    if !operator::is_signed(&parsed) {
        return Err(wrong("its signature does not hold"));
    }
    CommandBody::parse(parsed.body).map_err(|error| wrong(&error.to_string()))?;
    let operators = hub.config.operators().map_err(Failure::Input)?;
    if !operators.is_empty() && !operators.contains(&parsed.operator) {
        return Err(wrong("its operator is none of gateways.operators"));
    }
    let now_us = Clock::wall_us();
    if parsed.not_after_us <= now_us {
        return Err(wrong("its time has passed; sign it anew"));
    }
    if parsed.not_after_us.saturating_sub(now_us) > i64::try_from(COMMAND_LIFE_MAX.as_micros()).unwrap_or(i64::MAX) {
        return Err(wrong("it is good for longer than a day; sign it anew for less"));
    }
    let (building, number) = (parsed.building, parsed.number);
    if !ledger.certificates()?.iter().any(|entry| entry.building == building) {
        return Err(wrong(&format!("no gateway of building {building} has ever been given a certificate")));
    }
    let received = now_us.div_euclid(1_000_000);
    ledger.add_command(&CommandEntry { building, number, envelope, received, by_uid, sent: 0, result: None })?;
    hub.connections.wake(building);
    let connected = hub.connections.of(building).is_some();
    Ok(json!({ "building": building, "number": number, "connected": connected }))
}

fn command_list(ledger: Ledger<'_>, building: u32, after: u64) -> Result<Value, Failure> {
    let entries = ledger.commands(building)?;
    let page = entries.iter().filter(|entry| entry.number > after).take(LIST_PAGE);
    Ok(page.map(command).collect())
}

fn command(entry: &CommandEntry) -> Value {
    let envelope = Envelope::parse(&entry.envelope).ok();
    let outcome = entry
        .result
        .as_ref()
        .map(|result| CommandOutcome::from_code(result.code).map_or("unknown", CommandOutcome::label));
    json!({
        "building": entry.building,
        "number": entry.number,
        "operator": envelope.map(|envelope| hex::encode(envelope.operator)),
        "not_after_us": envelope.map(|envelope| envelope.not_after_us),
        "order": envelope.map(|envelope| operator::describe(envelope.body)),
        "received": entry.received,
        "by_uid": entry.by_uid,
        "sent": entry.sent,
        "outcome": outcome,
        "outcome_at": entry.result.as_ref().map(|result| result.at),
    })
}
