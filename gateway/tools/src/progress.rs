//! What a long build is doing.

use std::time::{Duration, Instant};

use crate::say;

/// A build that is done sooner says nothing.
const QUIET: Duration = Duration::from_secs(1);

/// The steps of a build, told on stderr once it has taken a second.
pub(crate) struct Progress {
    began: Instant,
    untold: Vec<String>,
}

impl Progress {
    pub(crate) fn start() -> Self {
        Self { began: Instant::now(), untold: Vec::new() }
    }

    /// Notes that a step is done.
    pub(crate) fn done(&mut self, step: &str) {
        let passed = self.began.elapsed();
        self.untold.push(format!("{:6.1} s  {step}", passed.as_secs_f64()));
        if passed >= QUIET {
            self.untold.drain(..).for_each(|line| say(&line));
        }
    }
}
