//! Replies in words, for people at a terminal.

use std::fmt::Write;

use serde_json::Value;

use super::text::time;
use crate::store::Purge;
use crate::verify::Verified;

/// How matters stand.
pub(crate) fn status(value: &Value) -> String {
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let mut out = format!(
        "version    {}\ngateways   quic on udp {}\nfeeds      http://{}/\nnewest     order {}\nstore      {}\nalarms     {}\n",
        text("version"),
        text("quic"),
        text("http"),
        value["newest"],
        if value["store_failed"] == true { "FAILED; it is being opened again" } else { "open" },
        value["alarms"],
    );
    for building in value["buildings"].as_array().into_iter().flatten() {
        let connection = match &building["connection"] {
            Value::Null => "not connected".to_owned(),
            connection => format!(
                "connected from {} since {}",
                connection["peer"].as_str().unwrap_or_default(),
                time(connection["since_us"].as_i64().unwrap_or_default())
            ),
        };
        // Writing to a string does not fail.
        let _ = writeln!(out, "building   {}: {} events, {connection}", building["building"], building["events"]);
    }
    out
}

/// The alarms, oldest first.
pub(crate) fn alarms(value: &Value) -> String {
    let mut out = String::new();
    for alarm in value.as_array().into_iter().flatten() {
        let building = alarm["building"].as_u64().map_or_else(|| "-".to_owned(), |building| building.to_string());
        let _ = writeln!(
            out,
            "{} {} building {building}, {} times: {}",
            time(alarm["last_us"].as_i64().unwrap_or_default()),
            alarm["kind"].as_str().unwrap_or_default(),
            alarm["times"],
            alarm["text"].as_str().unwrap_or_default()
        );
    }
    if out.is_empty() { "no alarms\n".into() } else { out }
}

/// The records of purges.
pub(crate) fn purges(value: &Value) -> String {
    let purges: Vec<Purge> = serde_json::from_value(value.clone()).unwrap_or_default();
    let lines: String = purges.iter().map(purged).collect();
    if lines.is_empty() { "nothing has been purged\n".into() } else { lines }
}

/// What a purge that was ordered has done.
pub(crate) fn purged_now(value: &Value) -> String {
    format!("{} events were purged\n{}", value["events"], purges(&value["purges"]))
}

fn purged(purge: &Purge) -> String {
    format!(
        "building {} epoch {:016x}: purged {} to {}, {} events from before {}, on {}; the chain goes on from {}\n",
        purge.building,
        purge.epoch.0,
        purge.first,
        purge.through,
        purge.count,
        time(purge.before_us),
        time(purge.purged_us),
        hex::encode(purge.hash)
    )
}

/// What a verification found.
pub(crate) fn verified(verified: &Verified) -> String {
    let mut out = String::new();
    for span in &verified.epochs {
        let _ = writeln!(
            out,
            "epoch {}: {} events, {} to {}, from {} to {}",
            span.epoch,
            span.events,
            span.first,
            span.last,
            time(span.from_us),
            time(span.to_us)
        );
    }
    for purge in &verified.purges {
        out.push_str(&purged(purge));
    }
    for purged in &verified.purged_before {
        let _ = writeln!(out, "purged by age, by the gateway's own record: {purged}");
    }
    for loss in &verified.losses {
        let _ = writeln!(out, "lost, by the gateway's own record: {loss}");
    }
    for refused in &verified.refused {
        let _ = writeln!(out, "came with another hash and was refused: {refused}");
    }
    for finding in &verified.findings {
        let (first, last) = (finding.first, finding.last);
        let _ = writeln!(out, "{:?} in epoch {} at {first} to {last}: {}", finding.kind, finding.epoch, finding.text);
    }
    let more = verified.findings_total.saturating_sub(verified.findings.len() as u64);
    if more > 0 {
        let _ = writeln!(out, "and {more} more");
    }
    let building = verified.building;
    let upto = verified.purges.iter().map(|purge| purge.before_us).max();
    let upto = upto.map_or_else(String::new, |us| format!(" (purged up to {})", time(us)));
    let _ = match (verified.complete, verified.epochs.first(), verified.epochs.last()) {
        (true, Some(first), Some(last)) => writeln!(
            out,
            "building {building} is complete from {}{upto} to {}: {} events",
            time(first.from_us),
            time(last.to_us),
            verified.events
        ),
        (true, ..) if verified.events == 0 => writeln!(out, "building {building} is complete{upto}: nothing is left"),
        _ if verified.events == 0 => writeln!(out, "of building {building} nothing is kept"),
        (true, ..) => writeln!(out, "building {building} is complete"),
        (false, ..) => writeln!(out, "building {building} is NOT complete: {} findings", verified.findings_total),
    };
    out
}
