//! What a run of a named test says of a fault.

/// What became of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The named test failed.
    Caught,
    /// The named test passed.
    Missed,
    /// No such test ran.
    NotRun,
    /// The code with the fault in it does not compile: it proves nothing.
    NotCompiled,
    /// The test did not end in its time.
    Hung,
    /// The test does not pass as the code stands: its failing proves nothing.
    FailsAnyway,
}

impl Verdict {
    /// Reads what cargo printed of a run of the test `name`.
    #[must_use]
    pub fn of(name: &str, printed: &str) -> Self {
        let said = |outcome: &str| printed.lines().any(|line| line.trim_end() == format!("test {name} ... {outcome}"));
        // A test that prints stands between its name and its outcome; the summary at the end names it once more.
        let failed = printed.lines().any(|line| line.strip_prefix("    ") == Some(name));
        let summary = |of: &str| printed.lines().any(|line| line.starts_with(&format!("test result: {of}")));
        if said("FAILED") || failed && summary("FAILED") {
            Self::Caught
        } else if printed.contains("error: could not compile") {
            Self::NotCompiled
        } else if all_passed(1, printed) {
            Self::Missed
        } else {
            Self::NotRun
        }
    }

    /// For people.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Caught => "caught",
            Self::Missed => "MISSED",
            Self::NotRun => "NO SUCH TEST",
            Self::NotCompiled => "DOES NOT COMPILE",
            Self::Hung => "HUNG",
            Self::FailsAnyway => "FAILS WITHOUT THE FAULT",
        }
    }
}

/// Whether what cargo printed is of a run in which so many tests ran and passed.
#[must_use]
pub(super) fn all_passed(tests: usize, printed: &str) -> bool {
    printed.lines().any(|line| line.starts_with(&format!("test result: ok. {tests} passed; 0 failed")))
}

#[cfg(test)]
mod tests {
    use super::{Verdict, all_passed};

    #[test]
    fn tests_have_passed_when_all_have_run_and_none_has_failed() {
        let of = |summary: &str| all_passed(2, &format!("test a ... ok\ntest result: {summary}; 0 ignored\n"));
        assert!(of("ok. 2 passed; 0 failed"));
        for summary in ["ok. 1 passed; 0 failed", "FAILED. 2 passed; 1 failed", "ok. 12 passed; 0 failed"] {
            assert!(!of(summary), "{summary}");
        }
        assert!(!all_passed(2, "error: could not compile `x` (lib) due to 1 previous error\n"));
    }

    #[test]
    fn run_is_read_as_what_it_is() {
        let passed = "running 1 test\ntest a::b ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored\n";
        let failed =
            "running 1 test\ntest a::b ... FAILED\n\nfailures:\n    a::b\n\ntest result: FAILED. 0 passed; 1 failed\n";
        let printing =
            "running 1 test\ntest a::b ... seed 7\nFAILED\n\nfailures:\n    a::b\n\ntest result: FAILED. 0 passed\n";
        let empty = "running 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored\n";
        let broken = "error[E0308]: mismatched types\nerror: could not compile `x` (lib) due to 1 previous error\n";
        let other = failed.replace("a::b", "a::c");
        for (printed, verdict) in [
            (passed, Verdict::Missed),
            (failed, Verdict::Caught),
            (printing, Verdict::Caught),
            (empty, Verdict::NotRun),
            (broken, Verdict::NotCompiled),
            (other.as_str(), Verdict::NotRun),
            ("", Verdict::NotRun),
        ] {
            assert_eq!(Verdict::of("a::b", printed), verdict, "{printed}");
        }
    }
}
