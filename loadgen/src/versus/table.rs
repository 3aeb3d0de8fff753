//! What a comparison came to: a table for people, one line for scripts.

use std::fmt::Write as _;

use super::figures::Spread;

/// What a figure must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }
}

/// How a figure is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A ratio.
    Times,
    /// Nanoseconds.
    Nanos,
    /// Microseconds.
    Micros,
    /// So many.
    Count,
}

impl Unit {
    fn write(self, value: f64) -> String {
        match self {
            Self::Times => format!("{value:.3}"),
            Self::Nanos => format!("{value:.0} ns"),
            Self::Micros => format!("{value:.2} µs"),
            Self::Count => format!("{value:.0}"),
        }
    }
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    what: String,
    unit: Unit,
    must: Option<Bound>,
    goal: Option<Bound>,
    /// `None` when it could not be measured.
    measured: Option<Spread>,
    remarks: Vec<String>,
}

impl Row {
    /// A figure that is only told.
    #[must_use]
    pub fn told(what: &str, unit: Unit, measured: Option<Spread>) -> Self {
        Self { what: what.into(), unit, must: None, goal: None, measured, remarks: Vec::new() }
    }

    /// A figure that must keep a bound, and had better keep another.
    #[must_use]
    pub fn bound(what: &str, unit: Unit, must: Bound, goal: Option<Bound>, measured: Option<Spread>) -> Self {
        Self { must: Some(must), goal, ..Self::told(what, unit, measured) }
    }

    /// The same with a remark, if there is one.
    #[must_use]
    pub fn remark(mut self, remark: Option<String>) -> Self {
        self.remarks.extend(remark);
        self
    }

    /// Whether it keeps what it must; a figure that could not be measured does not.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.must.is_none_or(|must| self.measured.is_some_and(|spread| must.holds(spread.median)))
    }

    fn write(&self) -> String {
        let bound = |bound: Option<Bound>| match bound {
            None => String::new(),
            Some(Bound::AtMost(value)) => format!("≤ {}", self.unit.write(value)),
            Some(Bound::AtLeast(value)) => format!("≥ {}", self.unit.write(value)),
        };
        let (median, range) = match self.measured {
            None => ("-".into(), String::new()),
            Some(Spread { median, least, greatest }) => {
                (self.unit.write(median), format!("{} to {}", self.unit.write(least), self.unit.write(greatest)))
            }
        };
        let missed = (!self.holds()).then_some("**missed**");
        let remarks: Vec<&str> = missed.into_iter().chain(self.remarks.iter().map(String::as_str)).collect();
        format!(
            "| {} | {} | {} | {median} | {range} | {} |",
            self.what,
            bound(self.must),
            bound(self.goal),
            remarks.join("; ")
        )
    }
}

/// What the line `RESULT` says; `None` for what was not measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Result {
    /// The gateway's answers a second over the bare echo's, 16,000 entries.
    pub ratio: Option<Spread>,
    /// The burn at which an echo is as slow.
    pub burn_ns_equal: Option<f64>,
    /// CPU of the worker's thread over the echo's, for each answer.
    pub worker_cpu_over_echo_us: Option<f64>,
    /// CPU of the whole process over the echo's, for each answer.
    pub process_cpu_over_echo_us: Option<f64>,
    /// Median round trip over the echo's.
    pub rtt_ratio: Option<f64>,
    /// 99th percentile at a fixed rate over the echo's.
    pub p99_ratio: Option<f64>,
    /// Answers that were not right.
    pub wrong: u64,
    /// Asks without an answer.
    pub lost: u64,
    /// Events that the journals lost.
    pub journal_dropped: u64,
}

impl Result {
    /// The line that scripts read. What was not measured is `-`.
    #[must_use]
    pub fn line(&self) -> String {
        let show = |value: Option<f64>, digits: usize| value.map_or_else(|| "-".into(), |v| format!("{v:.digits$}"));
        let mut line = "RESULT".to_owned();
        let mut field = |name: &str, value: String| {
            // Writing into a string does not fail.
            let _ = write!(line, " {name}={value}");
        };
        field("ratio", show(self.ratio.map(|ratio| ratio.median), 3));
        field("ratio_min", show(self.ratio.map(|ratio| ratio.least), 3));
        field("ratio_max", show(self.ratio.map(|ratio| ratio.greatest), 3));
        field("burn_ns_equal", show(self.burn_ns_equal, 0));
        field("worker_cpu_over_echo_us", show(self.worker_cpu_over_echo_us, 2));
        field("process_cpu_over_echo_us", show(self.process_cpu_over_echo_us, 2));
        field("rtt_ratio", show(self.rtt_ratio, 3));
        field("p99_ratio", show(self.p99_ratio, 3));
        field("wrong", self.wrong.to_string());
        field("lost", self.lost.to_string());
        field("journal_dropped", self.journal_dropped.to_string());
        line
    }
}

/// All that a comparison found out.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What was measured, in order.
    pub rows: Vec<Row>,
    /// What scripts read.
    pub result: Result,
}

impl Report {
    /// The table, in Markdown.
    #[must_use]
    pub fn table(&self) -> String {
        let head = "| what | must | goal | median | least to greatest | |\n|---|---|---|--:|---|---|";
        let rows = self.rows.iter().map(Row::write);
        std::iter::once(head.to_owned()).chain(rows).collect::<Vec<_>>().join("\n")
    }

    /// Whether every figure keeps what it must.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.rows.iter().all(Row::holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_line_is_the_one_that_scripts_know() {
        let mut result = Result {
            ratio: Some(Spread { median: 0.8512, least: 0.84, greatest: 0.9 }),
            burn_ns_equal: Some(649.6),
            worker_cpu_over_echo_us: Some(0.649),
            process_cpu_over_echo_us: Some(1.6),
            rtt_ratio: Some(1.1),
            p99_ratio: Some(1.25),
            wrong: 0,
            lost: 3,
            journal_dropped: 0,
        };
        assert_eq!(
            result.line(),
            "RESULT ratio=0.851 ratio_min=0.840 ratio_max=0.900 burn_ns_equal=650 worker_cpu_over_echo_us=0.65 \
             process_cpu_over_echo_us=1.60 rtt_ratio=1.100 p99_ratio=1.250 wrong=0 lost=3 journal_dropped=0"
        );
        result = Result { wrong: 7, ..Result::default() };
        assert_eq!(
            result.line(),
            "RESULT ratio=- ratio_min=- ratio_max=- burn_ns_equal=- worker_cpu_over_echo_us=- \
             process_cpu_over_echo_us=- rtt_ratio=- p99_ratio=- wrong=7 lost=0 journal_dropped=0"
        );
    }

    #[test]
    fn row_says_what_it_must_be_what_it_is_and_whether_that_will_do() {
        let measured = Some(Spread { median: 901.0, least: 880.4, greatest: 1000.0 });
        let must = Bound::AtMost(900.0);
        let row = Row::bound("burn", Unit::Nanos, must, Some(Bound::AtMost(650.0)), measured);
        assert!(!row.holds());
        let row = row.remark(None).remark(Some("worker busy 80 %".into()));
        assert_eq!(
            row.write(),
            "| burn | ≤ 900 ns | ≤ 650 ns | 901 ns | 880 ns to 1000 ns | **missed**; worker busy 80 % |"
        );
        let kept = Row::bound("asks", Unit::Times, Bound::AtLeast(3.0), None, Some(Spread::exactly(3.0)));
        assert!(kept.holds());
        assert_eq!(kept.write(), "| asks | ≥ 3.000 |  | 3.000 | 3.000 to 3.000 |  |");
        assert!(!Row::bound("asks", Unit::Times, Bound::AtLeast(3.0), None, None).holds());
        assert!(Row::told("asks", Unit::Count, None).holds());
        let report = Report { rows: vec![kept, row], result: Result::default() };
        assert!(!report.holds());
        assert_eq!(report.table().lines().count(), 4);
    }
}
