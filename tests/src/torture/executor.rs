//! Does to a stage what the plan says, and waits for what must follow by itself.

use std::time::{Duration, Instant};

use super::damage;
use super::fault::{Damage, Fault, Net, Weather, Who};
use super::judge::judge;
use super::plan::{Blow, Chapter, Moment};
use super::stage::Stage;
use super::tally::{Score, Shared};
use super::witness::Witness;
use crate::wait::until;

/// How long anything may take that must come by itself.
const BOUND: Duration = Duration::from_secs(60);
/// How long the hub may take to have everything at the end: the pauses between attempts grow to a minute.
const DRAIN_BOUND: Duration = Duration::from_secs(240);
/// How long a moment waits for the hub at most.
const HEARD_BOUND: Duration = Duration::from_secs(9);
/// Receipts after which it is believed that they flow.
const SOME_RECEIPTS: u64 = 50;
/// Answers after which it is believed that portals are open again.
const SOME_ANSWERS: u64 = 60;
/// Longer than the gateway's gauges take to be true.
const GAUGES: Duration = Duration::from_millis(400);

/// A chapter under way.
pub struct Executor {
    stage: Stage,
    shared: Shared,
    witness: Witness,
    /// The kind of the fault that came last, for what readers went without since.
    since: &'static str,
    safety_was_damaged: bool,
}

impl Executor {
    /// Plays `chapter` on `stage` to its end, and judges.
    ///
    /// # Panics
    /// When something that must come by itself does not.
    pub fn play(stage: Stage, chapter: &Chapter, shared: &Shared) {
        let (shared, witness) = (Shared::clone(shared), Witness::default());
        let mut executor = Self { stage, shared, witness, since: "nothing yet", safety_was_damaged: false };
        executor.await_receipts(SOME_RECEIPTS);
        for (place, blow) in chapter.blows.iter().enumerate() {
            executor.await_moment(blow.moment);
            executor.note_undecided();
            executor.since = blow.fault.label();
            executor.strike(*blow, place);
            executor.score(|score| score.count(blow.fault));
        }
        executor.end();
    }

    fn score(&self, note: impl FnOnce(&mut Score)) {
        note(&mut self.shared.lock().unwrap());
    }

    /// What readers went without since the last fault counts as that one's.
    fn note_undecided(&self) {
        let undecided = self.stage.crowd().take_undecided();
        self.score(|score| score.undecided(self.since, undecided));
    }

    fn await_moment(&mut self, moment: Moment) {
        match moment {
            Moment::Receipts(receipts, ms) => {
                let target = self.stage.crowd().receipted() + receipts;
                let (since, patience) = (Instant::now(), Duration::from_millis(ms.into()));
                let crowd = self.stage.crowd();
                until("a moment", BOUND, || (crowd.receipted() >= target || since.elapsed() >= patience).then_some(()));
            }
            Moment::HubHeard => {
                let _ = self.is_drained(HEARD_BOUND, 2000.0);
            }
        }
        self.stage.assert_alive();
    }

    /// Waits at most `bound` until the hub lacks at most `events`; says whether that came.
    fn is_drained(&mut self, bound: Duration, events: f64) -> bool {
        let since = Instant::now();
        // The gauges of a moment ago are no news.
        until("gauges", BOUND, || (since.elapsed() >= GAUGES).then_some(()));
        let site = &self.stage.city.site;
        let depth = || site.metric("kalitka_outbox_depth_events", "");
        until("the hub", BOUND + bound, || match depth() <= events {
            true => Some(true),
            false => (since.elapsed() >= bound).then_some(false),
        })
    }

    fn await_receipts(&mut self, more: u64) {
        let target = self.stage.crowd().receipted() + more;
        let stage = &mut self.stage;
        until("receipts", BOUND, || {
            stage.assert_alive();
            (stage.crowd().receipted() >= target).then_some(())
        });
    }

    /// Waits for the first answer of a gateway that was started at `began`.
    fn await_deciding(&mut self, began: Instant) {
        let stage = &mut self.stage;
        until("an answer", BOUND, || {
            stage.assert_alive();
            (stage.crowd().fares().fresh_answers > 0).then_some(())
        });
        let took = began.elapsed();
        self.score(|score| score.start(took));
    }

    /// Starts what was killed, and waits until readers are answered if the gateway is among it.
    fn start(&mut self, who: Who) {
        let began = Instant::now();
        self.stage.start(who);
        if who.is_gateway() {
            self.await_deciding(began);
        }
    }

    fn strike(&mut self, blow: Blow, place: usize) {
        match blow.fault {
            Fault::Kill(who, again) => {
                self.stage.kill(who);
                if let Some(ms) = again {
                    self.stage.start(who);
                    let (since, ms) = (Instant::now(), Duration::from_millis(ms.into()));
                    until("a moment of the start", BOUND, || (since.elapsed() >= ms).then_some(()));
                    self.stage.kill(who);
                }
                self.start(who);
            }
            Fault::PowerCut(who) => {
                self.stage.cut_power(who);
                self.start(who);
            }
            Fault::Damage { how: Damage::OldHub, .. } => self.put_an_old_hub_back(),
            Fault::Damage { how, seed, calm } => self.damage(how, seed, calm, place),
            Fault::FullDisk { who, but_kib, ms, restart } => {
                self.with_bad_disk(who, ms, restart, |stage| stage.fill_disk(who, but_kib));
            }
            Fault::SickDisk { who, how, ms, restart } => {
                self.with_bad_disk(who, ms, restart, |stage| stage.sicken_disk(who, how));
            }
            Fault::Net(net, weather) => self.stage.weather(net, weather),
        }
    }

    /// With a disk that `spoil` makes bad for a time decisions go on; receipts need not.
    fn with_bad_disk(&mut self, who: Who, ms: u16, restart: bool, spoil: impl FnOnce(&Stage)) {
        self.stage.crowd().excuse_receipts(true);
        spoil(&self.stage);
        let (since, ms) = (Instant::now(), Duration::from_millis(ms.into()));
        if restart {
            self.stage.kill(who);
            self.start(who);
        }
        until("the end of a bad disk", BOUND, || (since.elapsed() >= ms).then_some(()));
        self.stage.heal_disk(who);
        self.await_receipts(1);
        self.stage.crowd().excuse_receipts(false);
    }

    fn put_an_old_hub_back(&mut self) {
        let (folder, older) = (self.stage.city.site.path("hub"), self.stage.city.site.path("older-hub"));
        self.stage.kill(Who::Hub);
        damage::copy(&folder, &older);
        self.start(Who::Hub);
        self.await_receipts(SOME_RECEIPTS);
        let _ = self.is_drained(HEARD_BOUND, 0.0);
        self.stage.kill(Who::Hub);
        damage::put_back(&older, &folder);
        damage::settle(&folder);
        std::fs::remove_dir_all(&older).unwrap();
        self.start(Who::Hub);
        self.let_the_hub_speak();
    }

    fn damage(&mut self, how: Damage, seed: u64, calm: bool, place: usize) {
        let (state, older) = (self.stage.state(), self.stage.city.site.path("older"));
        let of_old = match how {
            Damage::OldStore => Some(state.join("outbox")),
            Damage::OldState => Some(state.clone()),
            _ => None,
        };
        if let Some(folder) = &of_old {
            self.stage.kill(Who::Gateway);
            damage::copy(folder, &older);
            self.start(Who::Gateway);
            self.await_receipts(1 + seed % 200);
        }
        if calm {
            self.become_calm();
        } else {
            self.cut_off(1 + seed % 150);
        }
        self.stage.kill(Who::Gateway);
        let crowd = self.stage.crowd();
        crowd.hush_asks(false);
        crowd.unhush();
        self.witness.look(&state.join("outbox"));
        let done = match &of_old {
            Some(folder) => {
                damage::put_back(&older, folder);
                std::fs::remove_dir_all(&older).unwrap();
                "as it was a while ago".to_owned()
            }
            None => damage::spoil(&state, how, seed),
        };
        damage::settle(&state);
        self.witness.look_again(&state.join("outbox"));
        self.score(|score| score.log(&format!("blow {place}, {}, calm {calm}: {done}", how.label())));
        self.start(Who::Gateway);
        self.stage.cut_uplink(false);
        if how == Damage::DamagedSafety {
            self.safety_was_damaged = true;
            self.await_open_portals();
        }
        self.await_receipts(1);
        if of_old.is_some() {
            self.let_the_hub_speak();
        }
    }

    /// What was put back learns from the hub what came after it. Until then it gives numbers that are given already, and
    /// another fault could destroy what nobody else knows of.
    fn let_the_hub_speak(&mut self) {
        self.become_calm();
        let crowd = self.stage.crowd();
        crowd.hush_asks(false);
        crowd.unhush();
    }

    /// Everything that readers were receipted is at the hub, and nothing happens any more.
    fn become_calm(&mut self) {
        let crowd = self.stage.crowd();
        crowd.hush();
        crowd.hush_asks(true);
        until("every report to be receipted", BOUND, || (crowd.waiting() == 0).then_some(()));
        assert!(self.is_drained(DRAIN_BOUND, 0.0), "the hub does not get what the gateway holds");
    }

    /// The hub is out of reach, and every report that it can have is receipted: what the store then loses, no reader sends
    /// again.
    fn cut_off(&mut self, receipts: u64) {
        self.stage.cut_uplink(true);
        let crowd = self.stage.crowd();
        let turns = crowd.fares().turns;
        let newest = until("two turns of the readers", BOUND, || {
            let fares = crowd.fares();
            (fares.turns >= turns + 2).then_some(fares.standings)
        });
        until("receipts of what was under way", BOUND, || {
            let now = crowd.fares().standings;
            newest.iter().zip(now).all(|(then, now)| then.0 <= now.1).then_some(())
        });
        self.await_receipts(receipts);
    }

    fn await_open_portals(&self) {
        let crowd = self.stage.crowd();
        let mut from = crowd.fares();
        until("portals to be open again", BOUND, || {
            let fares = crowd.fares();
            if fares.closed > from.closed {
                from = fares;
                return None;
            }
            (fares.answers >= from.answers + SOME_ANSWERS).then_some(())
        });
    }

    /// Lets everything come to rest, and judges.
    fn end(mut self) {
        for net in [Net::Readers, Net::Uplink] {
            self.stage.weather(net, Weather::Fair);
        }
        self.await_receipts(SOME_RECEIPTS);
        self.become_calm();
        self.note_undecided();
        let fares = self.stage.crowd().fares();
        let receipted = self.stage.crowd.take().unwrap().finish();
        let verdict = judge(&receipted, &self.stage.city.events(), &self.stage.forks(), &self.witness);
        let (said, is_complete) = self.stage.city.verify();
        let mut broken = verdict.broken();
        if !is_complete {
            broken.push(format!("the hub's verify is not content:\n{said}"));
        }
        if fares.closed > 0 && !self.safety_was_damaged {
            broken.push(format!("{} answers were those of the safe mode, without a reason for it", fares.closed));
        }
        if !broken.is_empty() {
            self.stage.keep();
        }
        self.score(|score| score.chapter(&verdict, &fares, broken));
    }
}
