//! The score: what was asked, what was answered, how fast, and whether it was right.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use hdrhistogram::Histogram;
use kalitka_protocol::ReaderId;
use kalitka_protocol::limits::ASK_RESENDS;
use kalitka_protocol::reason::Verdict;

use crate::deck::Show;
use crate::limits::{IN_FLIGHT, LATENCY_MAX, WRONG_SHOWN};
use crate::oracle::Oracle;

/// Which roster is right for which generation of the snapshot.
pub struct Judges {
    /// Ascending by the first generation that a roster is right for; generations below the first are wrong.
    rosters: Vec<(u32, Oracle)>,
    ordered: Option<Ordered>,
}

/// What an operator's command makes of the first roster.
struct Ordered {
    oracle: Oracle,
    /// When the command was given and when it was known to be done, by the run's clock. In between both are right.
    given: Duration,
    done: Duration,
}

impl Judges {
    /// One roster, right from `generation` on; 0 for every one.
    #[must_use]
    pub fn from(generation: u32, oracle: Oracle) -> Self {
        Self { rosters: vec![(generation, oracle)], ordered: None }
    }

    /// The same with another roster that is right from `generation` on.
    #[must_use]
    pub fn then(mut self, generation: u32, oracle: Oracle) -> Self {
        self.rosters.push((generation, oracle));
        self.rosters.sort_by_key(|&(from, _)| from);
        self
    }

    /// The same with what a command makes of the first roster; [`Tally::order`] says when it is given.
    #[must_use]
    pub fn ordered(mut self, oracle: Oracle) -> Self {
        self.ordered = Some(Ordered { oracle, given: Duration::MAX, done: Duration::MAX });
        self
    }

    /// The first roster.
    #[must_use]
    pub fn first(&self) -> &Oracle {
        &self.rosters[0].1
    }

    /// Whether `generation` is one of the last of several rosters.
    #[must_use]
    pub fn is_last(&self, generation: u32) -> bool {
        self.rosters.len() > 1 && self.rosters.last().is_some_and(|&(from, _)| generation >= from)
    }

    /// Whether the command was surely done when the card was shown.
    fn is_ordered(&self, ask: &Asked) -> bool {
        self.ordered.as_ref().is_some_and(|ordered| ask.shown > ordered.done)
    }

    /// Whether `answer` is right for `ask`.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn check(&self, ask: &Asked, answer: &Answered) -> Result<(), String> {
        let right = self.verdicts(ask, answer);
        if right.contains(&answer.verdict) { Ok(()) } else { Err(wrong(ask, answer, &right)) }
    }

    /// Whether some roster, at one of `seconds`, lets the card of `show` pass at `reader` or not, as `is_grant` says: of an answer
    /// that is no more than a light.
    #[must_use]
    pub fn may_say(&self, is_grant: bool, reader: ReaderId, show: &Show, seconds: RangeInclusive<i64>) -> bool {
        let rosters = self.rosters.iter().map(|(_, oracle)| oracle);
        let oracles = rosters.chain(self.ordered.as_ref().map(|ordered| &ordered.oracle));
        let says = |oracle: &Oracle, second| oracle.judge(reader, &show.card, show.direction, 0, second).is_grant();
        oracles.flat_map(|oracle| seconds.clone().map(move |second| says(oracle, second))).any(|said| said == is_grant)
    }

    /// What the right roster says about `ask` at each second at which it may have been decided.
    fn verdicts(&self, ask: &Asked, answer: &Answered) -> Vec<Verdict> {
        let Some(place) = self.rosters.iter().rposition(|&(from, _)| from <= answer.generation) else {
            return Vec::new();
        };
        let ordered = self.ordered.as_ref().filter(|ordered| place == 0 && answer.at >= ordered.given);
        let roster = Some(&self.rosters[place].1).filter(|_| ordered.is_none_or(|ordered| ask.shown <= ordered.done));
        let judge = |oracle: &Oracle, second| oracle.judge(ask.reader, &ask.show.card, ask.show.direction, 0, second);
        let seconds = ask.sent..=answer.wall.max(ask.sent);
        let oracles = roster.into_iter().chain(ordered.map(|ordered| &ordered.oracle));
        oracles.flat_map(|oracle| seconds.clone().map(move |second| judge(oracle, second))).collect()
    }
}

/// One card shown at one reader.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Where.
    pub reader: ReaderId,
    /// What.
    pub show: Show,
    /// When it was meant to be shown, by the run's clock. Latency is counted from here.
    pub shown: Duration,
    /// Wall clock when it was sent, in whole seconds since 1970.
    pub sent: i64,
    /// Whether it was shown during the outage or was on its way when that began.
    pub in_outage: bool,
    /// Whether it is a card whose fate is watched.
    pub mark: Option<Mark>,
}

/// A card whose fate is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The next snapshot blocks it.
    BySnapshot,
    /// An operator's command blocks it.
    ByCommand,
}

/// What came back for one.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    /// The gateway's decision.
    pub verdict: Verdict,
    /// Generation of the snapshot that it was decided by.
    pub generation: u32,
    /// When it came, by the run's clock.
    pub at: Duration,
    /// Wall clock then, in whole seconds since 1970.
    pub wall: i64,
}

/// When the gateway was gone.
#[derive(Clone, Copy, Debug)]
pub struct Outage {
    /// When it was killed, by the run's clock.
    pub from: Duration,
    /// When the first right answer came to a card shown after that.
    pub to: Option<Duration>,
}

/// How often something happened outside and during the outage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Outside it.
    pub outside: u64,
    /// During it.
    pub during: u64,
}

impl Count {
    fn add(&mut self, in_outage: bool) {
        *(if in_outage { &mut self.during } else { &mut self.outside }) += 1;
    }

    /// Both together.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.outside + self.during
    }
}

/// What became of a card that gets blocked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Marked {
    /// Granted before the block was in force.
    pub granted_before: u64,
    /// Refused after.
    pub refused_after: u64,
    /// Granted after: each is a wrong answer.
    pub granted_after: u64,
}

/// The score of one run.
pub struct Tally {
    judges: Judges,
    /// Cards shown.
    pub asked: Count,
    /// Answers that the reader acted on.
    pub answered: Count,
    /// Cards shown that got no answer in time.
    pub unanswered: Count,
    /// Asks lost by a reader's own power loss.
    pub abandoned: u64,
    /// Answers that the oracle does not agree with.
    pub wrong: u64,
    /// The first of them, in words.
    pub wrong_shown: Vec<String>,
    /// Answers by their reason or rule.
    pub verdicts: BTreeMap<&'static str, u64>,
    /// Nanoseconds from the intended moment to the answer, outside the outage.
    pub latency: Histogram<u64>,
    /// The same, during it.
    pub latency_in_outage: Histogram<u64>,
    /// Nanoseconds by which the generator itself was late in asking.
    pub lateness: Histogram<u64>,
    /// The outage, once it has begun.
    pub outage: Option<Outage>,
    /// The card that the next snapshot blocks.
    pub by_snapshot: Marked,
    /// The card that a command blocks.
    pub by_command: Marked,
    /// When the last roster's snapshot was first answered by, by the run's clock.
    pub last_snapshot_seen: Option<Duration>,
    /// The highest generation answered by, and when it first was. To a card shown later, no older one is right.
    newest: Option<(u32, Duration)>,
    /// The generation that a snapshot put there brings, and when at the latest it must be in force.
    promised: Option<(u32, Duration)>,
    /// When the run was over.
    ended: Option<Duration>,
}

impl Tally {
    /// An empty score, judged by `judges`.
    #[must_use]
    pub fn new(judges: Judges) -> Self {
        Self {
            judges,
            asked: Count::default(),
            answered: Count::default(),
            unanswered: Count::default(),
            abandoned: 0,
            wrong: 0,
            wrong_shown: Vec::new(),
            verdicts: BTreeMap::new(),
            latency: histogram(),
            latency_in_outage: histogram(),
            lateness: histogram(),
            outage: None,
            by_snapshot: Marked::default(),
            by_command: Marked::default(),
            last_snapshot_seen: None,
            newest: None,
            promised: None,
            ended: None,
        }
    }

    /// Cards, outside the outage, that got no answer before their reader's second resend.
    #[must_use]
    pub fn unanswered_after_one_resend(&self) -> u64 {
        let second_resend = u64::try_from(ASK_RESENDS[1].as_nanos()).unwrap_or(u64::MAX);
        self.unanswered.outside + self.latency.count_between(second_resend, u64::MAX)
    }

    /// The rosters that answers are judged by.
    #[must_use]
    pub const fn judges(&self) -> &Judges {
        &self.judges
    }

    /// Whether the gateway is gone now.
    #[must_use]
    pub const fn is_in_outage(&self) -> bool {
        matches!(self.outage, Some(Outage { to: None, .. }))
    }

    /// The gateway was killed at `at`, with `in_flight` cards shown just before and not yet answered.
    pub fn begin_outage(&mut self, at: Duration, in_flight: u64) {
        self.outage = Some(Outage { from: at, to: None });
        self.asked.outside -= in_flight;
        self.asked.during += in_flight;
    }

    /// Whether a card meant to be shown at `shown` and shown now belongs to the outage: the gateway is gone, and was so
    /// before the card's resends were over. A late generator moves no card into the outage.
    #[must_use]
    pub fn is_lost_time(&self, shown: Duration) -> bool {
        self.outage.is_some_and(|outage| outage.to.is_none() && shown + IN_FLIGHT > outage.from)
    }

    /// The last roster's snapshot is known to be in force at `at`: a card shown later must be judged by it.
    pub fn promise_last(&mut self, at: Duration) {
        self.promised = self.judges.rosters.last().map(|&(from, _)| (from, at));
    }

    /// The operator's command is given at `at`.
    pub const fn order(&mut self, at: Duration) {
        if let Some(ordered) = &mut self.judges.ordered {
            ordered.given = at;
        }
    }

    /// The operator's command is known to be done at `at`: a card shown later must be judged by it.
    pub const fn order_done(&mut self, at: Duration) {
        if let Some(ordered) = &mut self.judges.ordered {
            ordered.done = at;
        }
    }

    /// The run is over at `at`.
    pub const fn end(&mut self, at: Duration) {
        self.ended = Some(at);
    }

    /// Whether a snapshot older than `generation` was surely in force no more when the card was shown.
    fn is_outdated(&self, shown: Duration, generation: u32) -> bool {
        let later = [self.newest, self.promised].into_iter().flatten();
        later.into_iter().any(|(newer, since)| generation < newer && shown > since)
    }

    /// A card is shown, `late` after it was meant to be.
    pub fn ask(&mut self, in_outage: bool, late: Duration) {
        self.asked.add(in_outage);
        record(&mut self.lateness, late);
    }

    /// An ask is answered.
    pub fn answer(&mut self, ask: &Asked, answer: &Answered) {
        let outdated = self.is_outdated(ask.shown, answer.generation);
        let right = if outdated { Vec::new() } else { self.judges.verdicts(ask, answer) };
        let is_right = right.contains(&answer.verdict);
        if !is_right {
            self.note_wrong(ask, answer, &right);
        }
        if is_right && self.newest.is_none_or(|(newest, _)| answer.generation > newest) {
            self.newest = Some((answer.generation, answer.at));
        }
        self.answered.add(ask.in_outage);
        *self.verdicts.entry(label(answer.verdict)).or_default() += 1;
        let took = answer.at.saturating_sub(ask.shown);
        record(if ask.in_outage { &mut self.latency_in_outage } else { &mut self.latency }, took);
        if let Some(outage) = &mut self.outage
            && is_right
            && ask.shown >= outage.from
        {
            outage.to.get_or_insert(answer.at);
        }
        let is_last = self.judges.is_last(answer.generation);
        if is_last {
            self.last_snapshot_seen.get_or_insert(answer.at);
        }
        match ask.mark {
            Some(Mark::BySnapshot) => self.by_snapshot.count(is_last, answer.verdict.is_grant()),
            Some(Mark::ByCommand) => self.by_command.count(self.judges.is_ordered(ask), answer.verdict.is_grant()),
            None => {}
        }
    }

    /// An ask will not be answered any more.
    pub fn give_up(&mut self, ask: &Asked) {
        self.unanswered.add(ask.in_outage);
    }

    /// Whether the gateway was killed and has answered rightly since.
    #[must_use]
    pub const fn came_back(&self) -> bool {
        matches!(self.outage, Some(Outage { to: Some(_), .. }))
    }

    /// The gateway's absence, from the kill to the first right answer, or to the end of the run when there was none;
    /// `None` when it was never gone.
    #[must_use]
    pub fn outage_len(&self) -> Option<Duration> {
        let outage = self.outage?;
        Some(outage.to.or(self.ended)?.saturating_sub(outage.from))
    }

    fn note_wrong(&mut self, ask: &Asked, answer: &Answered, right: &[Verdict]) {
        self.wrong += 1;
        if self.wrong_shown.len() < WRONG_SHOWN {
            self.wrong_shown.push(wrong(ask, answer, right));
        }
    }
}

/// What is wrong with `answer`, in words.
fn wrong(ask: &Asked, answer: &Answered, right: &[Verdict]) -> String {
    let right: Vec<_> = right.iter().map(|&verdict| label(verdict)).collect();
    format!(
        "reader {}, card {}, {}, second {}, generation {}: answered {}, right is {}",
        ask.reader.0,
        hex::encode(ask.show.card.to_bytes()),
        ask.show.direction.label(),
        ask.sent,
        answer.generation,
        label(answer.verdict),
        if right.is_empty() {
            "no answer by a snapshot of no roster, or of one that is outdated".to_owned()
        } else {
            right.join(" or ")
        },
    )
}

impl Marked {
    const fn count(&mut self, is_after: bool, is_grant: bool) {
        match (is_after, is_grant) {
            (false, true) => self.granted_before += 1,
            (false, false) => {}
            (true, false) => self.refused_after += 1,
            (true, true) => self.granted_after += 1,
        }
    }
}

/// The name of a verdict in tables.
#[must_use]
pub const fn label(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Grant(rule) => rule.label(),
        Verdict::Deny(reason) => reason.label(),
    }
}

/// A histogram of nanoseconds.
pub(crate) fn histogram() -> Histogram<u64> {
    let highest = u64::try_from(LATENCY_MAX.as_nanos()).unwrap_or(u64::MAX);
    // Bounds and precision are constants that the crate allows.
    Histogram::new_with_bounds(1, highest, 3).unwrap_or_else(|_| unreachable!("constant bounds"))
}

/// Records `took` as nanoseconds; what is beyond the bounds counts as the bound.
pub(crate) fn record(histogram: &mut Histogram<u64>, took: Duration) {
    histogram.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
}

#[cfg(test)]
mod tests;
