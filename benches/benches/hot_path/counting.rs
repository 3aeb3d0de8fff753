//! Steps by instructions: the same program runs once more under callgrind, which counts only inside [`counted_loop`].

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;

use kalitka_benches::callgrind::{instructions, of_one_run};

use crate::stage::Stage;
use crate::step::{Step, Work};

/// What the program is started with to be counted.
pub(crate) const FLAG: &str = "--count";
/// [`counted_loop`] as callgrind knows it.
const COUNTED: &str = "*::counted_loop";

/// What `program --version` prints; `None` when it is not there.
pub(crate) fn version(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The steps that are counted.
fn counted<'a>(steps: &[&'a Step]) -> Vec<&'a Step> {
    steps.iter().copied().filter(|step| step.counted > 0).collect()
}

/// Instructions of one answer, probe or event of each step that is counted. `arguments` make the program take just `steps`.
///
/// # Errors
/// What went wrong, in words.
pub(crate) fn count(steps: &[&Step], arguments: &[String]) -> Result<BTreeMap<String, f64>, String> {
    let steps = counted(steps);
    if steps.is_empty() {
        return Ok(BTreeMap::new());
    }
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let out = folder.path().join("part");
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--quiet", "--tool=callgrind", "--collect-atstart=no"]);
    valgrind.arg(format!("--toggle-collect={COUNTED}")).arg(format!("--dump-after={COUNTED}"));
    valgrind.arg(format!("--callgrind-out-file={}", out.display()));
    let status = valgrind.arg(program).arg(FLAG).args(arguments).status().map_err(|error| error.to_string())?;
    if !status.success() {
        return Err(format!("valgrind ended with {status}"));
    }
    let count = |(at, step): (usize, &&Step)| {
        let [once, twice] = [2 * at + 1, 2 * at + 2].map(|part| read(&out.with_extension(part.to_string())));
        let runs = step.counted as u64;
        let one = of_one_run(once?, twice?, runs).ok_or_else(|| format!("{}: twice the runs took less", step.name))?;
        Ok((step.name.to_owned(), one / f64::from(step.each)))
    };
    steps.iter().enumerate().map(count).collect()
}

/// Instructions of the part in `file`.
fn read(file: &Path) -> Result<u64, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("callgrind left no {}: {error}", file.display()))?;
    instructions(&text).ok_or_else(|| format!("{} is no part of a callgrind run", file.display()))
}

/// Runs what [`count`] counts: each step's loop once, and once with twice the runs.
pub(crate) fn be_counted(steps: &[&Step], stage: &Stage) {
    for step in counted(steps) {
        let mut work = step.make(stage);
        // What happens only the first time belongs to no run.
        work.ready(step.counted);
        work.run();
        for runs in [step.counted, 2 * step.counted] {
            work.ready(runs);
            counted_loop(&mut *work);
        }
    }
}

/// Callgrind counts from the beginning of this function to its end, and then leaves a part of its file.
#[inline(never)]
fn counted_loop(work: &mut dyn Work) {
    work.run();
    // Without this the call would be a jump, and the end of the function another one's.
    black_box(());
}
