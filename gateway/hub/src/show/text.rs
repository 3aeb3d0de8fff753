//! An event in words, for people at a terminal.

use jiff::Timestamp;
use kalitka_protocol::event::{Body, Decision, ReportTaken, UNKNOWN_END};
use kalitka_protocol::reason::Verdict;
use kalitka_protocol::upstream::CommandOutcome;

use super::Shown;

/// A moment, RFC 3339 in UTC to the millisecond.
pub(crate) fn time(wall_us: i64) -> String {
    Timestamp::from_microsecond(wall_us).map_or_else(|_| format!("{wall_us} us"), |time| format!("{time:.3}"))
}

pub(super) fn line(shown: &Shown<'_>) -> String {
    let header = shown.raw.header;
    let order = shown.order.map_or_else(|| "live".to_owned(), |order| order.to_string());
    let what = match shown.raw.event() {
        Ok(event) => body(&event.body),
        Err(error) => format!("kind {}, which does not hold: {error}", shown.raw.kind),
    };
    let jumped = if header.jumped { ", the clock has jumped" } else { "" };
    format!(
        "{order} {time} building {} epoch {:016x} number {}: {what}{jumped}\n",
        header.building,
        header.epoch.0,
        header.number,
        time = time(header.wall_us),
    )
}

fn body(body: &Body<'_>) -> String {
    match body {
        Body::Decision(it) => decision(it),
        Body::Report(it) => report(it),
        Body::EpochBegun(it) => match it.before {
            Some(before) => format!("epoch begun behind {:016x} number {}", before.0, it.last),
            None => "epoch begun, the first".into(),
        },
        Body::Loss(it) => {
            let last = if it.last == UNKNOWN_END { "an unknown end".to_owned() } else { it.last.to_string() };
            format!(
                "LOST in epoch {:016x} from {} to {last}, {} events: {}",
                it.epoch.0,
                it.first,
                it.count,
                it.cause.label()
            )
        }
        Body::LossClosed(it) => {
            format!("loss in epoch {:016x} from {}: the hub holds up to {}", it.epoch.0, it.first, it.held)
        }
        Body::Command(it) => {
            let outcome = CommandOutcome::from_code(it.result).map_or("unknown", CommandOutcome::label);
            format!("command {} reader {}: {outcome}", it.number, it.reader)
        }
        Body::SnapshotAdopted(it) => format!("snapshot {} adopted: {}", it.generation, it.cause.label()),
        Body::GatewayStarted(it) => {
            format!("gateway started, version {}, {} readers", String::from_utf8_lossy(it.version), it.readers)
        }
        Body::Purged(it) => format!(
            "purged by age: epoch {:016x} from {} to {}, {} events before {}",
            it.epoch.0,
            it.first,
            it.last,
            it.count,
            time(it.before_us)
        ),
        Body::Unknown { kind, bytes } => format!("kind {kind} of {} bytes", bytes.len()),
    }
}

fn decision(it: &Decision<'_>) -> String {
    let verdict = match it.verdict {
        Verdict::Grant(rule) => format!("granted by {}", rule.label()),
        Verdict::Deny(reason) => format!("denied: {}", reason.label()),
    };
    let holder = if it.holder.is_empty() { "nobody known".into() } else { String::from_utf8_lossy(it.holder) };
    format!("reader {} {} {holder} {verdict}", it.reader.0, it.direction.label())
}

fn report(it: &ReportTaken) -> String {
    let report = it.report;
    let direction = report.direction.map_or("", |direction| direction.label());
    let unasked = if report.unasked { ", unasked" } else { "" };
    format!("reader {} {} {direction}{unasked}", it.reader.0, report.kind.label())
}
