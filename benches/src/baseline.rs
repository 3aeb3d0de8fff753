//! The committed instruction counts of the hot steps, and what has become of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A step may take so much more than the baseline, as a share of it.
pub const BOUND: f64 = 0.05;
/// So few instructions more are never too many: a compiler's whim, not a change.
pub const SLACK: f64 = 3.0;

/// What compiled and counted: counts of different makers cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maker {
    /// What `rustc --version` prints.
    pub rustc: String,
    /// What `valgrind --version` prints.
    pub valgrind: String,
    /// The processor's architecture.
    pub machine: String,
}

/// Instruction counts by step.
#[derive(Clone, Debug, PartialEq)]
pub struct Baseline {
    /// What made them.
    pub maker: Maker,
    /// Instructions of one run of each step.
    pub steps: BTreeMap<String, f64>,
}

/// A count beside the baseline's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// The baseline does not know the step.
    New,
    /// More or less as before: so many parts of the baseline more (or, below zero, less).
    Same(f64),
    /// Beyond the bound.
    More(f64),
    /// Better by more than the bound: the baseline should be written anew, so that it stays so.
    Less(f64),
}

impl Baseline {
    /// Reads what [`to_text`](Self::to_text) wrote.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn from_text(text: &str) -> Result<Self, String> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.message().to_owned())?;
        let word = |name: &str| {
            let value = table.get(name).and_then(toml::Value::as_str);
            value.map(str::to_owned).ok_or_else(|| format!("it does not name its {name}"))
        };
        let maker = Maker { rustc: word("rustc")?, valgrind: word("valgrind")?, machine: word("machine")? };
        let steps =
            table.get("instructions").and_then(toml::Value::as_table).ok_or("it has no table of instructions")?;
        let count = |(step, count): (&String, &toml::Value)| {
            let count = count.as_float().filter(|count| count.is_finite() && *count >= 0.0);
            Ok((step.clone(), count.ok_or_else(|| format!("the count of `{step}` is none, such as 12.0"))?))
        };
        Ok(Self { maker, steps: steps.iter().map(count).collect::<Result<_, String>>()? })
    }

    /// The file's text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Maker { rustc, valgrind, machine } = &self.maker;
        let mut text = "# Instructions of one run of each hot step. Written by `make bench UPDATE=1`.\n".to_owned();
        for (name, value) in [("rustc", rustc), ("valgrind", valgrind), ("machine", machine)] {
            let _ = writeln!(text, "{name} = {value:?}");
        }
        text.push_str("\n[instructions]\n");
        for (step, count) in &self.steps {
            let _ = writeln!(text, "{step:?} = {count:.1}");
        }
        text
    }

    /// What has become of `step`, which now takes `count` instructions.
    #[must_use]
    pub fn judge(&self, step: &str, count: f64) -> Verdict {
        let Some(&before) = self.steps.get(step) else { return Verdict::New };
        let (more, share) = (count - before, (count - before) / before.max(1.0));
        match share {
            _ if more.abs() <= SLACK => Verdict::Same(share),
            _ if share > BOUND => Verdict::More(share),
            _ if share < -BOUND => Verdict::Less(share),
            _ => Verdict::Same(share),
        }
    }

    /// This one with `counts` of `maker` in it. Counts of another maker than before stand alone: the others are forgotten.
    #[must_use]
    pub fn updated(mut self, maker: Maker, counts: BTreeMap<String, f64>) -> Self {
        if self.maker != maker {
            self.steps.clear();
        }
        self.steps.extend(counts);
        Self { maker, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maker(rustc: &str) -> Maker {
        Maker { rustc: rustc.to_owned(), valgrind: "valgrind-3.19.0".to_owned(), machine: "x86_64".to_owned() }
    }

    fn baseline() -> Baseline {
        let steps = [("open", 1000.0), ("probe, 16,000 entries", 40.5), ("nothing", 0.0)];
        Baseline { maker: maker("rustc 1.95.0"), steps: steps.map(|(step, count)| (step.to_owned(), count)).into() }
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(Baseline::from_text(&baseline().to_text()), Ok(baseline()));
    }

    #[test]
    fn what_is_no_baseline_is_refused_with_its_fault() {
        let text = baseline().to_text();
        for (from, to, fault) in [
            ("rustc = ", "compiler = ", "its rustc"),
            ("valgrind = ", "counter = ", "its valgrind"),
            ("machine = ", "made_on = ", "its machine"),
            ("[instructions]", "[steps]", "no table"),
            ("1000.0", "\"many\"", "`open`"),
            ("1000.0", "-1.0", "`open`"),
            ("1000.0", "inf", "`open`"),
            ("1000.0", "1000.0.0", ""),
        ] {
            let error = Baseline::from_text(&text.replace(from, to)).unwrap_err();
            assert!(error.contains(fault), "{to}: {error}");
        }
    }

    #[test]
    fn more_than_five_in_a_hundred_is_too_much_and_less_is_said() {
        let baseline = baseline();
        assert_eq!(baseline.judge("open", 1050.0), Verdict::Same(0.05));
        assert_eq!(baseline.judge("open", 1060.0), Verdict::More(0.06));
        assert_eq!(baseline.judge("open", 950.0), Verdict::Same(-0.05));
        assert_eq!(baseline.judge("open", 900.0), Verdict::Less(-0.1));
        assert_eq!(baseline.judge("close", 1.0), Verdict::New);
    }

    #[test]
    fn a_few_instructions_more_are_not_too_many_however_short_the_step() {
        let baseline = baseline();
        assert!(matches!(baseline.judge("probe, 16,000 entries", 43.5), Verdict::Same(_)));
        assert!(matches!(baseline.judge("probe, 16,000 entries", 43.6), Verdict::More(_)));
        assert_eq!(baseline.judge("nothing", 3.0), Verdict::Same(3.0));
        assert_eq!(baseline.judge("nothing", 4.0), Verdict::More(4.0));
    }

    #[test]
    fn counts_of_another_compiler_replace_all() {
        let counts = || BTreeMap::from([("open".to_owned(), 900.0)]);
        let same = baseline().updated(maker("rustc 1.95.0"), counts());
        assert_eq!((same.steps.len(), same.steps["open"]), (3, 900.0));
        let other = baseline().updated(maker("rustc 1.96.0"), counts());
        assert_eq!((other.steps, other.maker), (counts(), maker("rustc 1.96.0")));
    }
}
