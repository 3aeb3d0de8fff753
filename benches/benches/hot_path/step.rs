//! What a hot step is, for whoever measures it.

use std::hint::black_box;
use std::time::Duration;

use crate::stage::Stage;

/// A step by name, not made yet. Its figures are of one run, divided by `each`.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    /// Answers, probes or events that one run stands for.
    pub(crate) each: u32,
    /// Runs between two looks at the clock, at most.
    pub(crate) batch: usize,
    /// How long it is measured.
    pub(crate) sampled: Duration,
    /// Runs whose instructions are counted; 0 for none.
    pub(crate) counted: usize,
    /// Whether it takes much time or memory and is left out unless asked for.
    pub(crate) long: bool,
    make: Make,
}

type Make = Box<dyn Fn(&Stage) -> Box<dyn Work>>;

/// A step that has been made.
pub(crate) trait Work {
    /// Makes the inputs of `runs` runs, which replace those before. Not measured.
    fn ready(&mut self, runs: usize);

    /// Runs once with each input. This is measured.
    fn run(&mut self);

    /// Runs once with each input and says whether every run did what the step is named after. Not measured.
    fn is_right(&mut self) -> bool;
}

impl Step {
    /// The step that `set_up` prepares once, `input` before each run; `body` is what is measured, and what it gives tells
    /// `right` whether it did what the step is named after.
    pub(crate) fn new<S: 'static, I: 'static, O: 'static>(
        name: &'static str,
        set_up: impl Fn(&Stage) -> S + 'static,
        input: impl Fn(&mut S) -> I + Copy + 'static,
        body: impl Fn(&mut S, &mut I) -> O + Copy + 'static,
        right: impl Fn(&O) -> bool + Copy + 'static,
    ) -> Self {
        let make = move |stage: &Stage| -> Box<dyn Work> {
            Box::new(Loop { state: set_up(stage), inputs: Vec::new(), input, body, right })
        };
        let (each, batch, counted, long) = (1, 256, 64, false);
        Self { name, each, batch, counted, long, sampled: Duration::from_millis(400), make: Box::new(make) }
    }

    /// One run stands for so many answers, probes or events.
    pub(crate) fn each(self, each: u32) -> Self {
        Self { each, batch: self.batch / each.min(64) as usize, counted: self.counted / each.min(64) as usize, ..self }
    }

    /// One run takes so long that the clock is looked at before and after each.
    pub(crate) fn slow(self) -> Self {
        Self { batch: 1, counted: 1, ..self }
    }

    /// Its inputs take far longer to make than a run takes.
    pub(crate) fn hard_to_set_up(self) -> Self {
        Self { sampled: Duration::from_millis(20), batch: 1, counted: self.counted.min(4), ..self }
    }

    /// Its instructions are not counted: they are those of another step, on a larger table.
    pub(crate) fn not_counted(self) -> Self {
        Self { counted: 0, ..self }
    }

    /// It is left out unless asked for.
    pub(crate) fn long(self) -> Self {
        Self { long: true, ..self }
    }

    /// Makes the step.
    pub(crate) fn make(&self, stage: &Stage) -> Box<dyn Work> {
        (self.make)(stage)
    }
}

struct Loop<S, I, N, B, R> {
    state: S,
    inputs: Vec<I>,
    input: N,
    body: B,
    right: R,
}

impl<S, I, O, N, B, R> Work for Loop<S, I, N, B, R>
where
    N: Fn(&mut S) -> I,
    B: Fn(&mut S, &mut I) -> O,
    R: Fn(&O) -> bool,
{
    fn ready(&mut self, runs: usize) {
        self.inputs.clear();
        for _ in 0..runs {
            self.inputs.push((self.input)(&mut self.state));
        }
    }

    fn run(&mut self) {
        for input in &mut self.inputs {
            black_box((self.body)(&mut self.state, black_box(input)));
        }
    }

    fn is_right(&mut self) -> bool {
        let Self { state, inputs, body, right, .. } = self;
        inputs.iter_mut().all(|input| right(&body(state, input)))
    }
}
