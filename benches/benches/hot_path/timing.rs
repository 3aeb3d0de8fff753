//! Steps by wall time. Criterion warms up and says how often a step runs; the figures are of the batches in which it does.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode};

use crate::stage::Stage;
use crate::step::{Step, Work};

const SAMPLES: usize = 25;
const WARM_UP: Duration = Duration::from_millis(150);

/// Nanoseconds of one answer, probe or event: the median of all batches, and what the middle nine tenths of them lie between.
/// A batch takes microseconds, so that few of them meet another program on their core.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

/// Times `steps` one after the other. Criterion keeps its files in `folder`.
pub(crate) fn time(steps: &[&Step], stage: &Stage, folder: &Path) -> BTreeMap<&'static str, Spread> {
    let mut criterion = Criterion::default().output_directory(folder).sample_size(SAMPLES).warm_up_time(WARM_UP);
    let mut group = criterion.benchmark_group("hot_path");
    group.sampling_mode(SamplingMode::Flat);
    let mut times = BTreeMap::new();
    for step in steps {
        let (mut work, mut batches) = (step.make(stage), Vec::new());
        group.measurement_time(step.sampled).bench_function(step.name, |bencher| {
            bencher.iter_custom(|runs| run(&mut *work, step.batch, usize::try_from(runs).unwrap(), &mut batches));
        });
        times.insert(step.name, spread(batches, step));
    }
    group.finish();
    times
}

/// Runs so often, in batches of which the whole ones are noted; gives the time that all took.
fn run(work: &mut dyn Work, batch: usize, runs: usize, batches: &mut Vec<Duration>) -> Duration {
    let (mut left, mut took) = (runs, Duration::ZERO);
    while left > 0 {
        let now = left.min(batch);
        work.ready(now);
        let since = Instant::now();
        work.run();
        let this = since.elapsed();
        if now == batch {
            batches.push(this);
        }
        took += this;
        left -= now;
    }
    took
}

#[expect(clippy::cast_precision_loss, reason = "a batch is a few hundred runs")]
fn spread(mut batches: Vec<Duration>, step: &Step) -> Spread {
    batches.sort_unstable();
    let each = step.batch as f64 * f64::from(step.each);
    let at = |share: usize| batches[(batches.len() - 1) * share / 100].as_secs_f64() * 1e9 / each;
    Spread { low: at(5), median: at(50), high: at(95) }
}
