//! Tables of measured figures, in Markdown, as docs/performance.md holds them.

use std::process::Command;

/// What a figure's median must be.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// Less than this.
    Below(f64),
    /// This or more.
    AtLeast(f64),
    /// Anything: it stands there to be compared with.
    None,
}

impl Bound {
    fn holds(self, median: f64) -> bool {
        match self {
            Self::Below(bound) => median < bound,
            Self::AtLeast(bound) => median >= bound,
            Self::None => true,
        }
    }

    fn shown(self, unit: &str) -> String {
        match self {
            Self::Below(bound) => format!("< {} {unit}", rounded(bound)),
            Self::AtLeast(bound) => format!("≥ {} {unit}", rounded(bound)),
            Self::None => "-".to_owned(),
        }
    }
}

fn rounded(bound: f64) -> f64 {
    (bound * 100.0).round() / 100.0
}

/// What is printed, and whether every median held its bound.
#[derive(Debug)]
pub struct Table {
    held: bool,
}

impl Table {
    /// Prints the heading: the command, the commit and the day.
    #[must_use]
    pub fn begin(command: &str) -> Self {
        let said = |program: &str, args: &[&str]| {
            let output = Command::new(program).args(args).output().ok().filter(|output| output.status.success());
            output.map_or_else(
                || "unknown".to_owned(),
                |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            )
        };
        let (commit, date) = (said("git", &["rev-parse", "--short", "HEAD"]), said("date", &["-u", "+%F"]));
        println!("\n`{command}`, commit {commit}, {date}\n");
        println!("| what | must be | median | least to greatest |\n|---|---|--:|---|");
        Self { held: true }
    }

    /// Prints the row of one figure, measured several times.
    ///
    /// # Panics
    /// When there are no `values`.
    pub fn row(&mut self, what: &str, bound: Bound, unit: &str, mut values: Vec<f64>) {
        values.sort_by(f64::total_cmp);
        let (least, median, greatest) = (values[0], values[values.len() / 2], values[values.len() - 1]);
        println!("| {what} | {} | {median:.2} {unit} | {least:.2} to {greatest:.2} |", bound.shown(unit));
        self.held &= bound.holds(median);
    }

    /// Ends the process with an error if a median was not within its bound.
    pub fn end(self) {
        if !self.held {
            eprintln!("figures: a median is not within its bound");
            std::process::exit(1);
        }
    }
}

/// A share as `+12.3 %`.
#[must_use]
pub fn percent(share: f64) -> String {
    format!("{:+.1} %", share * 100.0)
}

/// A figure as `12.3` below a hundred, and as `1,234,568` from there on.
#[must_use]
pub fn number(value: f64) -> String {
    if value < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_as_people_read_them() {
        let written = [0.04, 9.96, 99.9, 100.4, 999.6, 12_345.0, 1_234_567.8].map(number);
        assert_eq!(written, ["0.0", "10.0", "99.9", "100", "1,000", "12,345", "1,234,568"]);
        assert_eq!([0.0, -0.0512, 1.5].map(percent), ["+0.0 %", "-5.1 %", "+150.0 %"]);
    }

    #[test]
    fn a_bound_holds_what_is_below_or_from_it_on() {
        assert!(Bound::Below(2.0).holds(1.9) && !Bound::Below(2.0).holds(2.0));
        assert!(Bound::AtLeast(2.0).holds(2.0) && !Bound::AtLeast(2.0).holds(1.9));
        assert!(Bound::None.holds(f64::MAX));
    }
}
