//! A run: chapter after chapter, each on a stage of its own, until the time is over or everything asked for is done.

use std::any::Any;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::executor::Executor;
use super::plan::{self, Mix};
use super::stage::Stage;
use super::tally::{Score, Shared};

/// Stages that are kept for a look at them.
const KEPT_MAX: usize = 3;

/// How long a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Whole chapters, each of this mix, until so much time is over.
    Time(Duration, Mix),
    /// So many faults of each kind; or only what one chapter has of them.
    Faults(Mix, Option<u64>),
    /// Of a run whose chapters have this mix, the one with this number.
    Chapter(u64, Mix),
}

/// What a run is to be.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Everything follows from it.
    pub seed: u64,
    /// How long.
    pub length: Length,
    /// From a gateway's start to its first answer it may take so long.
    pub start_max: Duration,
}

/// Tortures, telling of each chapter; gives what came of it.
#[must_use]
pub fn torture(options: &Options) -> Score {
    let shared = Shared::new(Score::new(options.start_max).into());
    let begun = Instant::now();
    let (first, chapters) = match options.length {
        Length::Time(..) => (0, u64::MAX),
        Length::Faults(mix, None) => (0, mix.chapters()),
        Length::Faults(_, Some(number)) => (number, number + 1),
        Length::Chapter(number, _) => (number, number + 1),
    };
    let mut kept = 0;
    for number in first..chapters {
        let (mix, damaged_before) = match options.length {
            Length::Time(time, _) if begun.elapsed() >= time => break,
            Length::Time(_, mix) | Length::Chapter(_, mix) => (mix, number * mix.damaged),
            Length::Faults(mix, _) => {
                let of = mix.chapters();
                (mix.share(number, of), mix.damaged * number / of)
            }
        };
        let chapter = plan::chapter(options.seed, number, mix, damaged_before);
        let since = Instant::now();
        let broken = play(&chapter, options, &shared, kept < KEPT_MAX);
        kept += usize::from(broken > 0);
        let score = shared.lock().unwrap();
        println!(
            "chapter {number}: {} faults in {:.1} s; by now {} {broken} broken promises here",
            chapter.blows.len(),
            since.elapsed().as_secs_f64(),
            score.result().replacen("RESULT ", "", 1)
        );
    }
    shared.lock().unwrap().clone()
}

/// Plays a chapter; gives how many promises it broke.
fn play(chapter: &plan::Chapter, options: &Options, shared: &Shared, may_keep: bool) -> usize {
    let before = shared.lock().unwrap().broken.len();
    let name = format!("kalitka-torture-{}-{}", options.seed, chapter.number);
    // A folder that is there already keeps nothing more.
    let keep = if may_keep { std::env::temp_dir().join(name) } else { PathBuf::from("/") };
    let (theirs, of) = (Shared::clone(shared), chapter.clone());
    // What panics is the harness: something did not come that must, or a program has ended by itself.
    let played =
        std::thread::spawn(move || Executor::play(Stage::set(of.crowd_seed, of.on_sick_disks, &keep), &of, &theirs));
    let played = played.join();
    let mut score = match shared.lock() {
        Ok(score) => score,
        Err(poisoned) => poisoned.into_inner(),
    };
    if let Err(panic) = played {
        score.broken.push(said(panic.as_ref()));
    }
    let seed = options.seed;
    let log = std::mem::take(&mut score.log);
    let broken = score.broken.len() - before;
    if broken > 0 {
        println!("chapter {} of seed {seed} broke promises:", chapter.number);
        score.broken[before..].iter().for_each(|what| println!("  {what}"));
        log.iter().for_each(|done| println!("  {done}"));
    }
    broken
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned())).unwrap_or_else(|| "a panic".to_owned())
}
