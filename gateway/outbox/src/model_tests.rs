//! Random lives of an outbox against a model that keeps everything in memory: every event that was durable is held, at its identity and with
//! its bytes, or the hub has it, or a loss that was told names it; and nothing is held that was not written.
//!
//! Some lives have sled and the segment log side by side, which must show the same throughout; in others the power goes, and the
//! disk keeps any part of what was not synced. `KALITKA_SEED` repeats a life, `KALITKA_STEPS` says how many steps there are.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;

use fastrand::Rng;
use kalitka_protocol::EpochId;
use kalitka_protocol::event::{Events, Loss, chain_all};

use crate::Outbox;
use crate::lab_tests::*;
use crate::limits::REOPENS_MAX;
use crate::reading::{self, Limit};
use crate::types::{Begun, Bounds, Head, NewEpochWhy};

const BOUNDS: Bounds = Bounds { events_max: 300, bytes_max: 1 << 20, keep_acknowledged: 40 };
/// Steps of one life.
const LIFE: u64 = 250;

/// What became of a filler event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is durable under this epoch and number.
    Durable(u64, u64),
    /// The power went before anybody was told: it may be there.
    InDoubt,
    /// It was refused, or found gone when it was in doubt.
    Gone,
}

/// What must be true of the outbox.
#[derive(Debug, Default)]
pub(crate) struct Model {
    /// By the number that its text begins with.
    pub(crate) fates: BTreeMap<u64, Fate>,
    pub(crate) next_text: u64,
    /// Up to where the hub has an epoch's events.
    pub(crate) acknowledged: BTreeMap<u64, u64>,
    /// Epochs and numbers from which on events were to get new identities, and may have them.
    pub(crate) moving: Vec<(u64, u64)>,
    /// Losses that were told durably.
    pub(crate) told: Vec<Loss>,
    /// The newest event that the caller was told is durable.
    pub(crate) head: Option<Head>,
    pub(crate) checkpoints: [Option<Head>; 2],
    pub(crate) fresh: u64,
}

impl Model {
    fn text(&mut self, rng: &mut Rng) -> (u64, Vec<u8>) {
        self.next_text += 1;
        let len = if rng.u8(..8) == 0 { rng.usize(..3000) } else { rng.usize(..60) };
        (self.next_text, format!("{} {}", self.next_text, "x".repeat(len)).into_bytes())
    }

    pub(crate) fn fresh(&mut self) -> u64 {
        self.fresh += 1;
        self.fresh + 1
    }

    /// Whether what was at `from` may be at `to` now.
    fn has_moved(&self, from: (u64, u64), to: (u64, u64)) -> bool {
        to.0 > from.0 && self.moving.iter().any(|moving| moving.0 == from.0 && moving.1 <= from.1)
    }

    pub(crate) fn is_excused(&self, epoch: u64, number: u64, now: &[Loss]) -> bool {
        number <= self.acknowledged.get(&epoch).copied().unwrap_or(0)
            || self.told.iter().chain(now).any(|loss| covers(loss, epoch, number))
    }
}

/// The number of a filler event's text.
pub(crate) fn id_of(event: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(&event[48..]).ok().filter(|_| event[3] == FILLER)?;
    text.split(' ').next()?.parse().ok()
}

fn covers(loss: &Loss, epoch: u64, number: u64) -> bool {
    loss.epoch.0 == epoch && (loss.first..=loss.last).contains(&number)
}

/// What a store shows of itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) head: Head,
    pub(crate) epochs: Vec<crate::types::EpochSummary>,
    pub(crate) events: Vec<(u64, u64, Vec<u8>)>,
}

/// One outbox of a life.
pub(crate) struct Side {
    pub(crate) site: Site,
    pub(crate) outbox: Option<Outbox>,
}

impl Side {
    fn new(without_sled: bool) -> Self {
        let site = Site { limits: BOUNDS, ..Site::new() };
        site.shared.with(|faults| faults.without_sled = without_sled);
        Self { site, outbox: None }
    }

    pub(crate) fn outbox(&mut self) -> &mut Outbox {
        self.outbox.as_mut().unwrap()
    }

    /// The folder as it stands, with all that was written in it: sled has in memory what no commit has waited for.
    pub(crate) fn copy(&mut self) -> tempfile::TempDir {
        self.outbox().on_store(|store, _| store.sync()).unwrap();
        let copy = tempfile::tempdir().unwrap();
        copy_folder(&self.site.path(), copy.path());
        copy
    }

    /// Everything held, with the chain looked at throughout.
    pub(crate) fn shown(&mut self) -> Shown {
        let outbox = self.outbox();
        let (head, epochs) = (outbox.head(), outbox.epochs());
        let mut events = Vec::new();
        for epoch in outbox.ledger.earlier.clone().into_iter().filter(|epoch| epoch.record.moving.is_some()) {
            // Nobody is told of what still waits to be moved, and it is there.
            let mut from = epoch.record.moving.map_or(1, |moving| moving.first);
            let mut waiting = |from| {
                outbox
                    .on_store(|store, _| reading::read(store, &epoch, from, epoch.last, Limit::Bytes(20_000)))
                    .unwrap()
            };
            while let Some(run) = waiting(from) {
                let waits = Events::new(&run.events).flatten();
                events.extend(waits.map(|event| (epoch.id().0, event.header.number, event.bytes.to_vec())));
                from = run.first + u64::from(run.count);
            }
        }
        for of in epochs.iter().rev() {
            let (mut from, mut before) = (1, None);
            while let Some(run) = outbox.read(of.epoch, from, 20_000).unwrap() {
                let follows = before.is_none_or(|(next, hash)| next != run.first || hash == run.hash_before);
                assert!(follows, "the chain breaks before {} of epoch {}", run.first, of.epoch.0);
                assert!(run.first > 1 || run.hash_before == [0; 32]);
                assert_eq!(chain_all(&run.hash_before, &run.events).unwrap(), (run.hash, u64::from(run.count)));
                for event in Events::new(&run.events).flatten() {
                    events.push((of.epoch.0, event.header.number, event.bytes.to_vec()));
                }
                from = run.first + u64::from(run.count);
                before = Some((from, run.hash));
            }
        }
        Shown { head, epochs, events }
    }
}

pub(crate) struct Life {
    pub(crate) rng: Rng,
    pub(crate) model: Model,
    pub(crate) sides: Vec<Side>,
    /// Whether another's events have taken the places of ours at the last opening.
    pub(crate) is_twin: bool,
    /// What was done, for whoever has to find out.
    pub(crate) log: Vec<String>,
}

impl Drop for Life {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let from = self.log.len().saturating_sub(40);
            println!("the last of {} steps:\n{}", self.log.len(), self.log[from..].join("\n"));
        }
    }
}

impl Life {
    fn new(seed: u64, kinds: &[bool]) -> Self {
        let sides = kinds.iter().map(|without_sled| Side::new(*without_sled)).collect();
        let mut life =
            Self { rng: Rng::with_seed(seed), model: Model::default(), sides, is_twin: false, log: Vec::new() };
        life.open();
        life
    }

    pub(crate) fn note(&mut self, what: impl std::fmt::Debug) {
        self.log.push(format!("{what:?}"));
    }

    /// Opens every side, as a start of the process does; gives how.
    pub(crate) fn open(&mut self) -> Begun {
        let fresh = self.model.fresh();
        let mut begun = Vec::new();
        for side in &mut self.sides {
            side.outbox = None;
            side.site.known = self.model.checkpoints[1].or(self.model.checkpoints[0]);
            let (outbox, how) = side.site.open(fresh);
            side.outbox = Some(outbox);
            begun.push(how);
        }
        if let Some(older) = self.model.checkpoints[0] {
            self.sides.iter_mut().for_each(|side| side.outbox().set_floor(older));
        }
        self.opened(&begun);
        begun.swap_remove(0)
    }

    /// Opens every side anew after a failure.
    pub(crate) fn reopen(&mut self) {
        let fresh = EpochId(self.model.fresh());
        let begun: Vec<_> = self.sides.iter_mut().map(|side| side.outbox().reopen(fresh).unwrap()).collect();
        self.opened(&begun);
    }

    fn opened(&mut self, begun: &[Begun]) {
        self.note(begun);
        assert!(begun.iter().all(|how| *how == begun[0]), "the stores differ: {begun:?}");
        let losses = match &begun[0] {
            Begun::AsLeft => Vec::new(),
            Begun::NewEpoch { losses, .. } => losses.clone(),
        };
        self.check(&losses);
        if begun[0] != Begun::AsLeft {
            // Failures are for the events behind it: an epoch that does not begin is told again.
            self.sides.iter_mut().for_each(|side| start(side.outbox(), &begun[0]));
            self.model.told.extend(losses);
            self.model.head = Some(self.sides[0].outbox().head());
        }
    }

    /// Compares what is held with what must be.
    pub(crate) fn check(&mut self, now: &[Loss]) {
        let shown: Vec<_> = self.sides.iter_mut().map(Side::shown).collect();
        assert!(shown.iter().all(|other| *other == shown[0]), "the stores differ");
        let held = &shown[0];
        let mut found = BTreeMap::new();
        for (epoch, number, bytes) in &held.events {
            let Some(id) = id_of(bytes) else { continue };
            assert_eq!(found.insert(id, (*epoch, *number)), None, "{id} is held twice");
            assert!(
                !now.iter().any(|loss| covers(loss, *epoch, *number)),
                "{epoch}/{number} is held and lost: {now:?}"
            );
        }
        let mut fates = std::mem::take(&mut self.model.fates);
        for (id, fate) in &mut fates {
            let place = found.remove(id);
            match (*fate, place) {
                (Fate::Durable(epoch, number), Some(place)) if self.model.has_moved((epoch, number), place) => {
                    *fate = Fate::Durable(place.0, place.1);
                }
                (Fate::Durable(epoch, number), Some(place)) => {
                    assert_eq!((epoch, number), place, "{id} is held at another place");
                }
                (Fate::InDoubt, Some((epoch, number))) => *fate = Fate::Durable(epoch, number),
                (Fate::InDoubt, None) => *fate = Fate::Gone,
                (Fate::Gone, Some(place)) => panic!("{id} is held at {place:?} and was refused"),
                (Fate::Durable(..) | Fate::Gone, None) => {}
            }
        }
        self.model.fates = fates;
        assert!(found.is_empty(), "never written, and held: {found:?}");
        let places: BTreeSet<_> = held.events.iter().map(|(epoch, number, _)| (*epoch, *number)).collect();
        let there: BTreeSet<_> = held.events.iter().filter_map(|(_, _, bytes)| id_of(bytes)).collect();
        let mut replaced = Vec::new();
        for (id, fate) in self.model.fates.iter().filter(|(id, _)| !there.contains(id)) {
            if let Fate::Durable(epoch, number) = *fate {
                if places.contains(&(epoch, number)) {
                    replaced.push(*id);
                } else {
                    assert!(
                        self.model.is_excused(epoch, number, now),
                        "{id} at {epoch}/{number} is gone without a word"
                    );
                }
            }
        }
        // A twin's events have the place of ours.
        assert!(replaced.is_empty() || self.is_twin, "{replaced:?} were replaced");
        self.model.fates.extend(replaced.into_iter().map(|id| (id, Fate::Gone)));
        if let Some(head) = self.model.head {
            let known = held.epochs.iter().any(|of| of.epoch == head.epoch && of.last >= head.number);
            assert!(
                known || self.model.is_excused(head.epoch.0, head.number, now),
                "{head:?} is gone: {:?}",
                held.epochs
            );
        }
        if now.is_empty() {
            self.model.head = Some(held.head).filter(|head| head.number > 0);
        }
    }

    /// Events for every side, and what they are.
    pub(crate) fn events(&mut self) -> (Vec<u64>, Vec<u8>) {
        let head = self.sides[0].outbox().head();
        let many = if self.rng.u8(..6) == 0 { 120 } else { self.rng.u64(1..12) };
        let (mut ids, mut events) = (Vec::new(), Vec::new());
        for number in head.number + 1..=head.number + many {
            let (id, text) = self.model.text(&mut self.rng);
            ids.push(id);
            events.extend(said(head.epoch, number, &text));
        }
        (ids, events)
    }

    pub(crate) fn settle(&mut self, ids: &[u64], head: Option<Head>, otherwise: Fate) {
        for (id, behind) in ids.iter().zip((0..ids.len() as u64).rev()) {
            let fate = head.map_or(otherwise, |head| Fate::Durable(head.epoch.0, head.number - behind));
            self.model.fates.insert(*id, fate);
        }
        self.model.head = head.or(self.model.head);
    }

    pub(crate) fn append(&mut self) {
        let (ids, events) = self.events();
        self.note(("append", ids.len()));
        let heads: Vec<_> = self.sides.iter_mut().map(|side| side.outbox().append(&events).unwrap()).collect();
        assert!(heads.iter().all(|head| *head == heads[0]));
        self.settle(&ids, Some(heads[0]), Fate::Gone);
    }

    /// An append that meets a fault at some step, and what follows.
    fn append_and_fail(&mut self) {
        if self.sides[0].outbox().usage().reopens == REOPENS_MAX {
            self.open();
        }
        let (ids, events) = self.events();
        let (place, kind) = (self.rng.u8(..5), [ErrorKind::StorageFull, ErrorKind::Other][self.rng.usize(..2)]);
        self.note(("append that fails", ids.len(), place, kind));
        for side in &mut self.sides {
            side.site.shared.with(|faults| match place {
                0 => faults.puts.push_back(Some(kind)),
                1 => faults.puts.extend([None, Some(kind)]),
                2 => faults.commits.push_back(Some((false, kind))),
                3 => faults.commits.push_back(Some((true, kind))),
                _ => faults.puts_short.push_back(Some(kind)),
            });
            let failed = side.outbox().append(&events);
            // The second put of a commit of one block is that of a record behind it, when there is one at all.
            assert!(place == 1 || failed.is_err());
            side.site.shared.with(|faults| (faults.puts.clear(), faults.commits.clear(), faults.puts_short.clear()));
        }
        let taken = self.sides[0].outbox().head();
        let is_taken = self.model.head.is_none_or(|head| taken != head);
        self.settle(&ids, is_taken.then_some(taken), Fate::Gone);
        if self.sides[0].outbox().is_poisoned() {
            self.reopen();
        }
    }

    fn acknowledge(&mut self) {
        let epochs = self.sides[0].outbox().epochs();
        let of = epochs[self.rng.usize(..epochs.len())];
        if of.last == 0 {
            return;
        }
        let number = self.rng.u64(1..=of.last);
        self.note(("acknowledge", of.epoch.0, number));
        self.sides.iter_mut().for_each(|side| side.outbox().acknowledge(of.epoch, number).unwrap());
        let known = self.model.acknowledged.entry(of.epoch.0).or_default();
        *known = number.max(*known);
    }

    pub(crate) fn checkpoint(&mut self) {
        let head = self.sides[0].outbox().head();
        self.note(("checkpoint", head.number));
        self.model.checkpoints = [self.model.checkpoints[1], Some(head)];
        if let Some(older) = self.model.checkpoints[0] {
            self.sides.iter_mut().for_each(|side| side.outbox().set_floor(older));
        }
    }

    /// At the bound nothing of these events gives way but what the hub has; when that is not enough, it takes all.
    fn give_way(&mut self) {
        let given: Vec<_> = self.sides.iter_mut().map(|side| side.outbox().give_way().unwrap()).collect();
        assert!(given.iter().all(Option::is_none), "{given:?}");
        let crowded: Vec<_> = self.sides.iter_mut().map(|side| side.outbox().is_crowded()).collect();
        assert!(crowded.iter().all(|is_crowded| *is_crowded == crowded[0]), "{crowded:?}");
        if !crowded[0] {
            return;
        }
        self.note("the bound is reached");
        for of in self.sides[0].outbox().epochs().into_iter().filter(|of| of.last > 0) {
            self.sides.iter_mut().for_each(|side| side.outbox().acknowledge(of.epoch, of.last).unwrap());
            let known = self.model.acknowledged.entry(of.epoch.0).or_default();
            *known = of.last.max(*known);
        }
        (0..2).for_each(|_| self.checkpoint());
        self.sides.iter_mut().for_each(|side| assert_eq!(side.outbox().give_way().unwrap(), None));
        assert!(self.sides.iter_mut().all(|side| !side.outbox().is_crowded()), "nothing has left");
    }

    pub(crate) fn begin_epoch(&mut self, why: NewEpochWhy) {
        let fresh = EpochId(self.model.fresh());
        self.note(("begin epoch", why, fresh));
        let begun: Vec<_> = self.sides.iter_mut().map(|side| side.outbox().begin_epoch(fresh, why).unwrap()).collect();
        if self.rng.bool() {
            // It is told again.
            assert_eq!(self.open(), begun[0]);
            return;
        }
        self.sides.iter_mut().for_each(|side| start(side.outbox(), &begun[0]));
        if let Begun::NewEpoch { losses, .. } = &begun[0] {
            self.model.told.extend(losses);
        }
        self.model.head = Some(self.sides[0].outbox().head());
    }

    fn step(&mut self, alone: bool) {
        match self.rng.u8(..100) {
            0..50 => self.append(),
            50..60 => self.append_and_fail(),
            60..70 => self.acknowledge(),
            70..80 => self.checkpoint(),
            80..86 => self.give_way(),
            86..88 => self.begin_epoch(NewEpochWhy::HubOther),
            88 => self.begin_epoch(NewEpochWhy::HubAhead),
            89..91 => self.reissue(),
            91..93 => self.resume(),
            93 => drop(self.open()),
            94..96 => self.kill(),
            96 => self.put_back(),
            97 => self.twin(),
            _ if alone => self.cut_power(),
            _ => self.check(&[]),
        }
    }
}

/// As many lives as `steps` make.
fn live(steps: u64, kinds: &[bool]) {
    let first = seed();
    for life in 0..steps.div_ceil(LIFE) {
        let seed = first + life;
        let played = std::panic::catch_unwind(|| {
            let mut life = Life::new(seed, kinds);
            for _ in 0..LIFE {
                life.step(kinds.len() == 1);
            }
            life.check(&[]);
        });
        assert!(played.is_ok(), "repeat it with KALITKA_SEED={seed} KALITKA_STEPS={LIFE}");
    }
}

#[test]
fn sled_and_the_segment_log_show_the_same_and_what_the_model_says() {
    live(number_from_environment("KALITKA_STEPS", 500, 200_000), &[false, true]);
}

#[test]
fn segment_log_loses_and_doubles_nothing_whatever_fails() {
    live(number_from_environment("KALITKA_STEPS", 2500, 2_000_000), &[true]);
}

#[test]
fn sled_loses_and_doubles_nothing_whatever_fails() {
    live(number_from_environment("KALITKA_STEPS", 500, 200_000), &[false]);
}
