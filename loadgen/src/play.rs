//! Runs readers against a gateway: one thread, an open-loop schedule kept to fractions of a millisecond, every answer
//! judged as it comes.

use std::io;
use std::iter::Peekable;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use kalitka_protocol::message::ReportKind;
use kalitka_protocol::reader::Happening;

use crate::arrivals::{Arrivals, Profile};
use crate::deck::{Deck, Show, looks_of};
use crate::fleet::{Fate, Fleet, wall_seconds};
use crate::limits::{ENCORE_EVERY, GIVE_UP_AFTER, SPIN, TURN_MAX, WARM_UP_MAX};
use crate::oracle::Look;
use crate::tally::{Answered, Asked, Mark, Tally, histogram, record};

/// What a run is to be.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Who comes when.
    pub profile: Profile,
    /// Asks a second on the average, when the profile is scheduled.
    pub rate: u32,
    /// How long cards are shown.
    pub duration: Duration,
    /// Seed of what is shown when.
    pub seed: u64,
    /// How long after the last card the run waits for receipts of all reports.
    pub receipts_within: Duration,
}

/// What else happens during a run.
pub trait Stage {
    /// Does what is due at `at` of the run, which is `now` by the clock of fleet and score.
    ///
    /// # Errors
    /// Whatever ends the run.
    fn turn(&mut self, at: Duration, now: Duration, fleet: &mut Fleet, tally: &mut Tally) -> io::Result<()>;

    /// When something is due next; the loop looks every [`TURN_MAX`] anyway.
    fn next(&self) -> Duration;

    /// A watched card, if it is to be shown instead of the next one drawn, and the reader's place in the fleet.
    fn marked(&mut self) -> Option<(usize, Show, Mark)> {
        None
    }

    /// A watched card to show after all others, every [`ENCORE_EVERY`], as long as something has still to happen.
    fn encore(&mut self) -> Option<(usize, Show, Mark)> {
        None
    }
}

/// One second of a run, for the progress line and the interval log.
pub struct Second<'a> {
    /// Seconds since the run's beginning.
    pub number: u64,
    /// The score so far.
    pub tally: &'a Tally,
    /// Nanoseconds to the answers of this second.
    pub latency: &'a Histogram<u64>,
    /// Cards shown and not answered yet.
    pub waiting: usize,
}

/// A run under way.
struct Game<'a> {
    fleet: &'a mut Fleet,
    tally: &'a mut Tally,
    stage: &'a mut dyn Stage,
    plan: Plan,
    arrivals: Peekable<Arrivals>,
    /// When the next card after all others is due; `None` when there is none.
    encore: Option<Duration>,
    last_shown: Duration,
    deck: Deck,
    looks: Vec<Vec<Look>>,
    start: Instant,
    latency: Histogram<u64>,
}

/// Gets every reader its session; before that no card is shown.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`] when some reader gets none in [`WARM_UP_MAX`], [`io::ErrorKind::Interrupted`] when
/// `stop` is raised, or what the sockets say. Gives the moment from which the fleet's clock runs.
pub fn warm_up(fleet: &mut Fleet, stop: &AtomicBool) -> io::Result<Instant> {
    let start = Instant::now();
    while !fleet.is_up() {
        let now = start.elapsed();
        if stop.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if now > WARM_UP_MAX {
            let what = "not every reader got a session: wrong address, wrong keys, or no gateway";
            return Err(io::Error::new(io::ErrorKind::TimedOut, what));
        }
        fleet.turn(now)?;
        for place in fleet.wait(fleet.next_timeout().saturating_sub(now).min(TURN_MAX))? {
            fleet.receive(place, || start.elapsed())?;
        }
    }
    Ok(start)
}

/// Plays `plan` on a fleet that [`warm_up`] has readied at `clock`, keeping the score in `tally`; `each_second` is told of
/// every second. It ends when all cards are shown and answered or given up and all reports are receipted or no longer
/// waited for, or `stop` is raised. Gives the time that showing and answering took.
///
/// # Errors
/// What the sockets, the stage or `each_second` say.
pub fn play(
    (fleet, clock): (&mut Fleet, Instant),
    tally: &mut Tally,
    stage: &mut dyn Stage,
    plan: Plan,
    each_second: &mut dyn FnMut(&Second<'_>) -> io::Result<()>,
    stop: &AtomicBool,
) -> io::Result<Duration> {
    // The kernel may otherwise wake this thread 50 µs late. Refused: then lateness says so.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let oracle = tally.judges().first();
    let deck = Deck::new(oracle, plan.profile.exits(), plan.seed);
    let looks = looks_of(oracle, &fleet.ids());
    let arrivals = Arrivals::new(plan.profile, plan.rate, plan.duration, plan.seed).peekable();
    let latency = histogram();
    let start = clock;
    let (encore, last_shown) = (Some(Duration::ZERO), Duration::ZERO);
    let mut game = Game { fleet, tally, stage, plan, arrivals, encore, last_shown, deck, looks, start, latency };
    game.run(each_second, stop)
}

impl Game<'_> {
    fn run(
        &mut self,
        each_second: &mut dyn FnMut(&Second<'_>) -> io::Result<()>,
        stop: &AtomicBool,
    ) -> io::Result<Duration> {
        let begun = self.start.elapsed();
        let end = begun + self.plan.duration;
        self.encore = Some(end);
        let (mut seconds, mut over) = (0, None);
        loop {
            let now = self.start.elapsed();
            self.stage.turn(now - begun, now, self.fleet, self.tally)?;
            self.show_due(begun, now)?;
            self.fleet.turn(now)?;
            self.settle();
            if now - begun >= Duration::from_secs(seconds + 1) {
                seconds += 1;
                let waiting = self.fleet.waiting();
                each_second(&Second { number: seconds, tally: self.tally, latency: &self.latency, waiting })?;
                self.latency.reset();
            }
            let is_stopped = stop.load(Ordering::Relaxed);
            if over.is_none() && (is_stopped || self.is_over(end, now)) {
                // What waits still gets no answer that counts any more.
                self.fleet.give_up();
                self.settle();
                self.tally.end(now);
                over = Some(now);
            }
            if let Some(over) = over
                && (is_stopped || self.is_receipted(over, now))
            {
                return Ok(over - begun);
            }
            self.wait(begun, begun + Duration::from_secs(seconds + 1))?;
        }
    }

    /// Whether all cards are shown, and answered as far as they ever will be.
    fn is_over(&mut self, end: Duration, now: Duration) -> bool {
        let is_settled = self.fleet.waiting() == 0 || now >= end.max(self.last_shown) + GIVE_UP_AFTER + TURN_MAX;
        now >= end && self.arrivals.peek().is_none() && self.encore.is_none() && is_settled
    }

    /// Whether nothing waits for a receipt any more, the last card being settled since `over`.
    fn is_receipted(&self, over: Duration, now: Duration) -> bool {
        self.fleet.reports().0 + self.fleet.moving() == 0 || now >= over + self.plan.receipts_within
    }

    /// Shows every card whose moment has come, or fills the report memories.
    fn show_due(&mut self, begun: Duration, now: Duration) -> io::Result<()> {
        while let Some(at) = self.arrivals.next_if(|&at| begun + at <= now) {
            let (place, show, mark) = match self.stage.marked() {
                Some((place, show, mark)) => (place, show, Some(mark)),
                None => {
                    let place = self.deck.place(self.looks.len());
                    (place, self.deck.draw(&self.looks[place]), None)
                }
            };
            self.show(begun + at, place, show, mark)?;
        }
        if now >= begun + self.plan.duration {
            return self.show_encore(now);
        }
        if self.plan.profile == Profile::Reports {
            self.fill_memories(now);
        }
        Ok(())
    }

    fn show_encore(&mut self, now: Duration) -> io::Result<()> {
        while let Some(at) = self.encore.filter(|&at| at <= now && self.arrivals.peek().is_none()) {
            let card = self.stage.encore();
            self.encore = card.map(|_| at + ENCORE_EVERY);
            if let Some((place, show, mark)) = card {
                self.show(at, place, show, Some(mark))?;
            }
        }
        Ok(())
    }

    /// Has every reader pass somebody as long as its memory has room. Nobody was asked, as in fall-back.
    fn fill_memories(&mut self, now: Duration) {
        for place in 0..self.looks.len() {
            for _ in 0..self.fleet.report_room(place) {
                let Show { card, direction } = self.deck.draw(&self.looks[place]);
                let (kind, direction, card) = (ReportKind::Passed, Some(direction), Some(card));
                let pass = Happening { kind, direction, request: None, input: 0, unasked: true, card };
                if !self.fleet.report(now, place, pass) {
                    break;
                }
            }
        }
    }

    fn show(&mut self, shown: Duration, place: usize, show: Show, mark: Option<Mark>) -> io::Result<()> {
        let now = self.start.elapsed();
        self.last_shown = shown;
        let in_outage = self.tally.is_lost_time(shown);
        self.tally.ask(in_outage, now.saturating_sub(shown));
        let reader = self.fleet.ids()[place];
        self.fleet.show(now, place, Asked { reader, show, shown, sent: wall_seconds(), in_outage, mark })
    }

    /// Sleeps until something is due or comes; the last stretch before something due is spun away.
    fn wait(&mut self, begun: Duration, next_second: Duration) -> io::Result<()> {
        let encore = self.encore.unwrap_or(Duration::MAX);
        let arrival = self.arrivals.peek().map_or(encore, |&at| begun + at);
        let stage = begun.saturating_add(self.stage.next());
        let due = arrival.min(stage).min(next_second).min(self.fleet.next_timeout());
        let patience = due.saturating_sub(self.start.elapsed()).saturating_sub(SPIN).min(TURN_MAX);
        let start = self.start;
        for place in self.fleet.wait(patience)? {
            self.fleet.receive(place, || start.elapsed())?;
        }
        Ok(())
    }

    /// Enters into the score what has become of cards.
    fn settle(&mut self) {
        for fate in self.fleet.take_fates() {
            match fate {
                Fate::Answered(ask, answer) => self.answered(&ask, &answer),
                Fate::GivenUp(ask) => self.tally.give_up(&ask),
                Fate::Abandoned(_) => self.tally.abandoned += 1,
            }
        }
    }

    fn answered(&mut self, ask: &Asked, answer: &Answered) {
        record(&mut self.latency, answer.at.saturating_sub(ask.shown));
        self.tally.answer(ask, answer);
    }
}
