//! The table that is printed, and the verdict.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use kalitka_benches::baseline::{BOUND, Baseline, Maker, Verdict};
use kalitka_benches::table::{number, percent};

use crate::counting::version;
use crate::step::Step;
use crate::timing::Spread;

/// The committed counts.
fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("baseline.toml")
}

/// What compiles and counts here. The compiler is the one that cargo has just used.
pub(crate) fn maker(valgrind: String) -> Maker {
    let rustc = version(&std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned()));
    Maker { rustc: rustc.unwrap_or_default(), valgrind, machine: std::env::consts::ARCH.to_owned() }
}

/// The committed baseline; `None` when there is none yet.
pub(crate) fn baseline() -> Result<Option<Baseline>, String> {
    let Ok(text) = fs::read_to_string(file()) else { return Ok(None) };
    Baseline::from_text(&text).map(Some).map_err(|fault| format!("benches/baseline.toml is no baseline: {fault}"))
}

/// Writes `counts` into the baseline: in its place when they are of the `whole` list of steps.
pub(crate) fn update(
    before: Option<Baseline>,
    maker: Maker,
    counts: BTreeMap<String, f64>,
    whole: bool,
) -> Result<(), String> {
    let baseline = match before {
        Some(before) if !whole => before.updated(maker, counts),
        _ => Baseline { maker, steps: counts },
    };
    fs::write(file(), baseline.to_text()).map_err(|error| format!("benches/baseline.toml: {error}"))
}

/// Prints the table; gives what is beyond its bound, one line each.
pub(crate) fn print(
    steps: &[&Step],
    times: &BTreeMap<&'static str, Spread>,
    counts: &BTreeMap<String, f64>,
    baseline: Option<&Baseline>,
) -> Vec<String> {
    println!("\n| step | ns, median | nine tenths | instructions | baseline | difference |");
    println!("|---|--:|--:|--:|--:|--:|");
    let mut beyond = Vec::new();
    for step in steps {
        let Spread { low, median, high } = times[step.name];
        let (count, before) = (counts.get(step.name), baseline.and_then(|of| of.steps.get(step.name)));
        let verdict = count.zip(baseline).map(|(&count, baseline)| baseline.judge(step.name, count));
        let shown = |count: Option<&f64>| count.map_or_else(|| "-".to_owned(), |&count| number(count));
        println!(
            "| {} | {} | {} to {} | {} | {} | {} |",
            step.name,
            number(median),
            number(low),
            number(high),
            shown(count),
            shown(before),
            verdict.map_or_else(|| "-".to_owned(), difference)
        );
        if let (Some(Verdict::More(more)), Some(count), Some(before)) = (verdict, count, before) {
            let (count, before, more) = (number(*count), number(*before), percent(more));
            beyond.push(format!("{}: {count} instructions, the baseline {before} ({more})", step.name));
        }
    }
    beyond
}

fn difference(verdict: Verdict) -> String {
    match verdict {
        Verdict::New => "new".to_owned(),
        Verdict::Same(share) => percent(share),
        Verdict::More(share) => format!("**{}**", percent(share)),
        Verdict::Less(share) => format!("{}, better", percent(share)),
    }
}

/// What a count beyond the bound means, and what is to be done.
pub(crate) fn remedy(beyond: &[String]) -> String {
    format!(
        "bench: more than {:.0} % over the baseline:\n  {}\nFind out why. If it is meant, run `make bench UPDATE=1` and \
         commit benches/baseline.toml with the reason.",
        BOUND * 100.0,
        beyond.join("\n  ")
    )
}
