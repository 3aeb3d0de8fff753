//! An event as one JSON object. Fields are named as in [`kalitka_protocol::event`]; docs/events.md lists them.

use kalitka_protocol::event::{Body, ClockQuality, CommandDone, Decision, Loss, ReportTaken, UNKNOWN_END};
use kalitka_protocol::reason::Verdict;
use kalitka_protocol::upstream::CommandOutcome;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Shown;

/// What every event has.
#[derive(Serialize)]
struct Line {
    order: Option<u64>,
    building: u32,
    epoch: String,
    number: u64,
    hash: Option<String>,
    kind: &'static str,
    wall_us: i64,
    monotonic_us: u64,
    gateway_boot: String,
    clock: &'static str,
    jumped: bool,
    #[serde(flatten)]
    body: Map<String, Value>,
}

/// One object and a newline.
pub(super) fn line(shown: &Shown<'_>) -> String {
    let header = shown.raw.header;
    let (kind, body) = match shown.raw.event() {
        Ok(event) => body(&event.body),
        // A body that is not one of its kind is kept, and shown as what it is.
        Err(error) => (
            "malformed",
            of(
                json!({"kind_code": shown.raw.kind, "error": error.to_string(), "bytes": hex::encode(shown.raw.body())}),
            ),
        ),
    };
    let line = Line {
        order: shown.order,
        building: header.building,
        epoch: epoch(header.epoch.0),
        number: header.number,
        hash: shown.hash.map(hex::encode),
        kind,
        wall_us: header.wall_us,
        monotonic_us: header.monotonic_us,
        gateway_boot: format!("{:08x}", header.gateway_boot),
        clock: clock(header.quality),
        jumped: header.jumped,
        body,
    };
    // Nothing of it can fail to be written; an empty object would show that it did.
    let mut text = serde_json::to_string(&line).unwrap_or_else(|_| "{}".into());
    text.push('\n');
    text
}

pub(super) const fn clock(quality: ClockQuality) -> &'static str {
    quality.label()
}

pub(super) fn epoch(epoch: u64) -> String {
    format!("{epoch:016x}")
}

fn of(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn body(body: &Body<'_>) -> (&'static str, Map<String, Value>) {
    let (kind, value) = match body {
        Body::Decision(it) => ("decision", decision(it)),
        Body::Report(it) => ("report", report(it)),
        Body::EpochBegun(it) => (
            "epoch_begun",
            json!({"before": it.before.map(|before| epoch(before.0)), "last": it.last, "before_hash": hex::encode(it.hash)}),
        ),
        Body::Loss(it) => ("loss", loss(it)),
        Body::LossClosed(it) => (
            "loss_closed",
            json!({"lost_epoch": epoch(it.epoch.0), "first": it.first, "held": it.held, "held_hash": hex::encode(it.hash)}),
        ),
        Body::Command(it) => ("command", command(it)),
        Body::SnapshotAdopted(it) => (
            "snapshot_adopted",
            json!({"generation": it.generation, "cause": it.cause.label(), "snapshot_hash": hex::encode(it.hash)}),
        ),
        Body::Purged(it) => (
            "purged",
            json!({
                "purged_epoch": epoch(it.epoch.0),
                "first": it.first,
                "last": it.last,
                "last_hash": hex::encode(it.hash),
                "before_us": it.before_us,
                "count": it.count,
            }),
        ),
        Body::GatewayStarted(it) => {
            ("gateway_started", json!({"readers": it.readers, "version": String::from_utf8_lossy(it.version)}))
        }
        Body::Unknown { kind, bytes } => ("unknown", json!({"kind_code": kind, "bytes": hex::encode(bytes)})),
    };
    (kind, of(value))
}

fn decision(it: &Decision<'_>) -> Value {
    let (verdict, reason) = match it.verdict {
        Verdict::Grant(rule) => ("grant", rule.label()),
        Verdict::Deny(reason) => ("deny", reason.label()),
    };
    json!({
        "reader": it.reader.0,
        "boot": epoch(it.boot.0),
        "request": it.request,
        "generation": it.generation,
        "portal": it.portal,
        "verdict": verdict,
        "reason": reason,
        "direction": it.direction.label(),
        "age_ms": it.age_ms,
        "credential": it.credential.map(|credential| hex::encode(credential.as_bytes())),
        "holder": (!it.holder.is_empty()).then(|| String::from_utf8_lossy(it.holder)),
    })
}

fn report(it: &ReportTaken) -> Value {
    let report = it.report;
    json!({
        "reader": it.reader.0,
        "generation": it.generation,
        "portal": it.portal,
        "log": epoch(report.log.0),
        "report": report.number,
        "boot": epoch(report.boot.0),
        "request": report.request,
        "age_ms": report.age_ms,
        "count": report.count,
        "report_kind": report.kind.label(),
        "direction": report.direction.map(|direction| direction.label()),
        "input": report.input,
        "unasked": report.unasked,
        "oldest": report.oldest,
        "card": report.card.map(|card| hex::encode(card.to_bytes())),
    })
}

fn loss(it: &Loss) -> Value {
    json!({
        "lost_epoch": epoch(it.epoch.0),
        "first": it.first,
        "last": (it.last != UNKNOWN_END).then_some(it.last),
        "cause": it.cause.label(),
        "count": it.count,
    })
}

fn command(it: &CommandDone<'_>) -> Value {
    json!({
        "command": it.number,
        "operator": hex::encode(it.operator),
        "reader": (it.reader != 0).then_some(it.reader),
        "result": it.result,
        "outcome": CommandOutcome::from_code(it.result).map_or("unknown", CommandOutcome::label),
        "body": hex::encode(it.body),
    })
}
