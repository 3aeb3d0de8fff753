//! Whether the wall clock is kept, and could be right.

use kalitka_core::Word;

use super::{Case, Finding, snapshot};
use crate::clock::Clock;
use crate::config::Trust;

const CHECK: &str = "clock";

pub(super) fn look(case: &Case<'_>) -> Vec<Finding> {
    let word = match case.config.time.trust {
        Trust::Always => Word::Vouched,
        Trust::Synchronised => Clock::word(),
    };
    let made = snapshot::kept(case.config).and_then(Result::ok).map(|snapshot| snapshot.header().created);
    vec![judge(word, Clock::wall_seconds(), made)]
}

/// The clock shows `now` by somebody's `word`; the kept snapshot was made at `made`.
fn judge(word: Word, now: i64, made: Option<i64>) -> Finding {
    const HOUR: i64 = 3600;
    if let Some(behind) = made.map(|made| made - now).filter(|&behind| behind > HOUR) {
        let found = format!("it is {} h behind the making of the snapshot in force", behind / HOUR);
        return Finding::wrong(
            CHECK,
            found,
            "set it (`timedatectl set-time`), and have a time service keep it; is the battery of the box's clock empty?",
        );
    }
    match word {
        Word::Vouched => Finding::good(CHECK, "it is kept"),
        Word::Earlier => Finding::notice(
            CHECK,
            "it was synchronised since the machine's start, and is not now",
            "see that the time service reaches its server: `timedatectl timesync-status`",
        ),
        Word::Nobody => Finding::wrong(
            CHECK,
            "nobody keeps it: schedules do not count, and only essential levels pass",
            "`timedatectl set-ntp true`, or install chrony; without any time service on this network see the runbook, *The clock*",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn clock_that_nobody_keeps_or_that_is_before_the_snapshot_is_wrong() {
        const NOW: i64 = 1_700_000_000;
        for (word, made, verdict) in [
            (Word::Vouched, Some(NOW - 1), Verdict::Good),
            (Word::Vouched, None, Verdict::Good),
            (Word::Earlier, None, Verdict::Notice),
            (Word::Nobody, None, Verdict::Wrong),
            (Word::Vouched, Some(NOW + 3600), Verdict::Good),
            (Word::Vouched, Some(NOW + 7201), Verdict::Wrong),
        ] {
            let finding = judge(word, NOW, made);
            assert_eq!(finding.verdict, verdict, "{word:?} {made:?}: {}", finding.found);
        }
    }
}
