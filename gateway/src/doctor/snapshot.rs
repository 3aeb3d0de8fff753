//! Whether there are permissions to decide by, and how old they are.

use kalitka_snapshot::Snapshot;

use super::{Case, Finding};
use crate::adoption::Shelf;
use crate::clock::Clock;
use crate::config::Config;
use crate::limits::{DAY_SECONDS, SNAPSHOT_OLD_DAYS};
use crate::trust::Trust;

const CHECK: &str = "snapshot";

/// The snapshot that a start would decide by; `None` when there is none.
///
/// # Errors
/// Why it could not be used.
pub(super) fn kept(config: &Config) -> Option<Result<Snapshot, String>> {
    let opened = Trust::of(config).and_then(|trust| Ok((Shelf::open(&config.state)?, trust)));
    match opened {
        Ok((mut shelf, trust)) => {
            let loaded = shelf.load(&trust.publishers, config.building)?;
            Some(loaded.map_err(|error| format!("the kept one cannot be used: {error}")))
        }
        Err(failure) => Some(Err(failure.to_string())),
    }
}

pub(super) fn look(case: &Case<'_>) -> Vec<Finding> {
    let mut findings = vec![match kept(case.config) {
        None => Finding::wrong(
            CHECK,
            "there is none: everybody is denied",
            "publish one at the hub, or put one into the inbox; see the runbook, *Everybody is denied*",
        ),
        Some(Err(error)) => Finding::wrong(CHECK, error, "publish a newer one, and see who signs it"),
        Some(Ok(snapshot)) => {
            let header = snapshot.header();
            judge(header.generation, header.created, Clock::wall_seconds(), case.config.snapshots.stale_after_days)
        }
    }];
    if let Some(refused) = case.running.as_ref().and_then(|running| running.status.snapshot.refused.as_ref()) {
        let found = format!("the newest refusal: {}: {}", refused.file, refused.error);
        findings.push(Finding::notice(
            CHECK,
            found,
            "what was in force stayed; see the runbook, *A snapshot is refused*",
        ));
    }
    findings
}

fn judge(generation: u32, created: i64, now: i64, stale_after: u16) -> Finding {
    let days = now.saturating_sub(created).max(0) / DAY_SECONDS;
    let found = format!("generation {generation}, {days} days old");
    let remedy = "see at the hub, or at whoever publishes, why no newer one comes";
    if stale_after > 0 && days >= i64::from(stale_after) {
        Finding::wrong(CHECK, format!("{found}: stale, only essential levels pass"), remedy)
    } else if days >= SNAPSHOT_OLD_DAYS {
        Finding::notice(CHECK, found, remedy)
    } else {
        Finding::good(CHECK, found)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::tests::{config, judged};
    use super::*;

    #[test]
    fn old_snapshot_is_noticed_and_a_stale_one_is_wrong() {
        let at = |days: i64, stale_after| judge(5, 1_000, 1_000 + days * DAY_SECONDS, stale_after).verdict;
        assert_eq!(at(0, 0), Verdict::Good);
        assert_eq!(at(SNAPSHOT_OLD_DAYS, 0), Verdict::Notice);
        assert_eq!(at(SNAPSHOT_OLD_DAYS, 30), Verdict::Notice);
        assert_eq!(at(30, 30), Verdict::Wrong);
    }

    #[test]
    fn none_and_one_that_cannot_be_used_are_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), "");
        let case = Case { config: &config, running: None };
        let (verdict, text) = judged(&look(&case));
        assert!(verdict == Verdict::Wrong && text.contains("everybody is denied"), "{text}");
        std::fs::write(folder.path().join("snapshot.kalitka"), "no snapshot").unwrap();
        let (verdict, text) = judged(&look(&case));
        assert!(verdict == Verdict::Wrong && text.contains("cannot be used"), "{text}");
    }
}
