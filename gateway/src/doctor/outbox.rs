//! Whether events are being made durable, and whether anything stands in their way.

use super::{Case, Finding};
use crate::journal::JournalStatus;

const CHECK: &str = "outbox";

pub(super) fn look(case: &Case<'_>) -> Vec<Finding> {
    case.running.as_ref().map_or_else(Vec::new, |running| judge(&running.status.journal))
}

fn judge(status: &JournalStatus) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !status.taking {
        let trouble = status.trouble.as_deref().unwrap_or("the outbox is not open yet");
        let found = format!("events are not made durable, and reports wait at their readers: {trouble}");
        findings.push(Finding::wrong(CHECK, found, "see the runbook, *Events are not made durable*"));
    }
    if status.at_bound {
        let found = "it is at its bound: decisions are not recorded, and reports wait at their readers";
        findings.push(Finding::wrong(CHECK, found, "see the runbook, *The outbox is at its bound*"));
    }
    if status.safety_damaged {
        let found = "the blocks and modes in force could not be read; the safe mode holds";
        findings.push(Finding::wrong(
            CHECK,
            found,
            "order the modes and blocks anew; see the runbook, *Orders of operators*",
        ));
    }
    if status.on_refuge {
        let found = "the plain log stands in for the store, which failed too often";
        findings.push(Finding::notice(CHECK, found, "look at the disk, then `systemctl restart kalitka-gateway`"));
    }
    if status.quarantined > 0 {
        let found = format!("{} damaged stores are kept, {} bytes", status.quarantined, status.quarantine_bytes);
        findings.push(Finding::notice(CHECK, found, "look at the disk; see the runbook, *Look into an outbox*"));
    }
    if findings.is_empty() {
        let JournalStatus { events, unacknowledged, .. } = status;
        findings.push(Finding::good(CHECK, format!("{events} events kept, {unacknowledged} not yet at the hub")));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::tests::judged;
    use super::*;

    #[test]
    fn whatever_stands_in_the_way_of_events_is_found() {
        let good = || JournalStatus { taking: true, ..JournalStatus::default() };
        assert_eq!(judged(&judge(&good())).0, Verdict::Good);
        for (status, verdict, word) in [
            (JournalStatus { taking: false, trouble: Some("no disk".into()), ..good() }, Verdict::Wrong, "no disk"),
            (JournalStatus { at_bound: true, ..good() }, Verdict::Wrong, "bound"),
            (JournalStatus { safety_damaged: true, ..good() }, Verdict::Wrong, "safe mode"),
            (JournalStatus { on_refuge: true, ..good() }, Verdict::Notice, "plain log"),
            (JournalStatus { quarantined: 2, ..good() }, Verdict::Notice, "2 damaged"),
        ] {
            let (judged, text) = judged(&judge(&status));
            assert!(judged == verdict && text.contains(word), "{text}");
        }
    }
}
