//! An event as one JSON object: named as docs/events.md names its parts, with all its bytes beside.

use kalitka_protocol::event::{Body, RawEvent, UNKNOWN_END};
use kalitka_protocol::reason::Verdict;
use serde_json::{Value, json};

/// One object and a newline.
pub(super) fn line(raw: &RawEvent<'_>, hash: &[u8; 32]) -> String {
    let header = raw.header;
    let (kind, about) = match raw.event() {
        Ok(event) => about(&event.body),
        Err(error) => ("malformed", json!({"kind_code": raw.kind, "error": error.to_string()})),
    };
    let mut line = json!({
        "building": header.building,
        "epoch": epoch(header.epoch.0),
        "number": header.number,
        "hash": hex::encode(hash),
        "kind": kind,
        "wall_us": header.wall_us,
        "monotonic_us": header.monotonic_us,
        "gateway_boot": format!("{:08x}", header.gateway_boot),
        "clock": header.quality.label(),
        "jumped": header.jumped,
        "event": hex::encode(raw.bytes),
    });
    if let (Some(line), Value::Object(about)) = (line.as_object_mut(), about) {
        line.extend(about);
    }
    format!("{line}\n")
}

/// The kind, and what tells one event from others of it; the bytes have the rest.
fn about(body: &Body<'_>) -> (&'static str, Value) {
    match body {
        Body::Decision(it) => {
            let (verdict, reason) = match it.verdict {
                Verdict::Grant(rule) => ("grant", rule.label()),
                Verdict::Deny(reason) => ("deny", reason.label()),
            };
            let (reader, boot, request) = (it.reader.0, epoch(it.boot.0), it.request);
            let about =
                json!({"reader": reader, "boot": boot, "request": request, "verdict": verdict, "reason": reason});
            ("decision", about)
        }
        Body::Report(it) => {
            let (log, report) = (epoch(it.report.log.0), it.report.number);
            (
                "report",
                json!({"reader": it.reader.0, "log": log, "report": report, "report_kind": it.report.kind.label()}),
            )
        }
        Body::EpochBegun(it) => {
            ("epoch_begun", json!({"before": it.before.map(|before| epoch(before.0)), "last": it.last}))
        }
        Body::Loss(it) => {
            let (last, cause) = ((it.last != UNKNOWN_END).then_some(it.last), it.cause.label());
            let lost = epoch(it.epoch.0);
            ("loss", json!({"lost_epoch": lost, "first": it.first, "last": last, "cause": cause, "count": it.count}))
        }
        Body::LossClosed(it) => {
            ("loss_closed", json!({"lost_epoch": epoch(it.epoch.0), "first": it.first, "held": it.held}))
        }
        Body::Command(it) => ("command", json!({"command": it.number})),
        Body::SnapshotAdopted(it) => ("snapshot_adopted", json!({"generation": it.generation})),
        Body::GatewayStarted(it) => ("gateway_started", json!({"readers": it.readers})),
        other => ("unknown", json!({"kind_code": other.kind()})),
    }
}

fn epoch(id: u64) -> String {
    format!("{id:016x}")
}
