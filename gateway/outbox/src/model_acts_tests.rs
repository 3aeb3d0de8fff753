//! What happens in the lives of the model test beside appending: moves to other identities, kills, power cuts, copies put back.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use fastrand::Rng;
use kalitka_protocol::EpochId;
use kalitka_protocol::event::{Body, LossClosed};
use kalitka_protocol::upstream::{Position, PositionEntry};

use crate::lab_tests::*;
use crate::limits::REOPENS_MAX;
use crate::model_tests::{Fate, Life, Side, id_of};
use crate::types::{Begun, NewEpochWhy};

const SECTOR: usize = 512;

impl Life {
    pub(crate) fn reissue(&mut self) {
        let epochs = self.sides[0].outbox().epochs();
        let Some(of) = epochs.get(1).copied() else { return self.begin_epoch(NewEpochWhy::HubOther) };
        // No more than the bound: all moved may lie in the newest block, which never leaves.
        let from = self.rng.u64(1..=of.last.max(1)).max(of.last.saturating_sub(200));
        if self.rng.bool() {
            return self.reissue_and_fail(of.epoch, from);
        }
        self.note(("reissue", of.epoch.0, from));
        for side in &mut self.sides {
            side.outbox().reissue(of.epoch, from).unwrap();
        }
        // Those that were held from there on have new places, in their order; the rest of the model says whether all are there.
        let moved = self.model.fates.iter().filter_map(|(id, fate)| match *fate {
            Fate::Durable(epoch, number) if epoch == of.epoch.0 && number >= from.max(of.oldest) => Some((number, *id)),
            _ => None,
        });
        let moved: BTreeMap<u64, u64> = moved.collect();
        let held = self.sides[0].shown();
        let places = held.events.iter().filter_map(|(epoch, number, bytes)| Some((id_of(bytes)?, (*epoch, *number))));
        let places: BTreeMap<u64, (u64, u64)> = places.collect();
        let mut before = (0, 0);
        for (number, id) in moved {
            let Some(&place) = places.get(&id) else {
                assert!(self.model.is_excused(of.epoch.0, number, &[]), "{id} was moved and is not there");
                self.model.fates.insert(id, Fate::Gone);
                continue;
            };
            assert!(place.0 == held.head.epoch.0 && place > before, "{id} was moved to {place:?}, behind {before:?}");
            before = place;
            self.model.fates.insert(id, Fate::Durable(place.0, place.1));
        }
        self.model.head = Some(held.head);
        self.check(&[]);
    }

    /// A moving that meets a fault at some step; the process goes on, or another one begins.
    fn reissue_and_fail(&mut self, epoch: EpochId, from: u64) {
        if self.sides[0].outbox().usage().reopens == REOPENS_MAX {
            self.open();
        }
        let (place, kind) = (self.rng.u8(..4), [ErrorKind::StorageFull, ErrorKind::Other][self.rng.usize(..2)]);
        // The first commit is that of the moving's record, the second that of the first copy.
        let before = self.rng.usize(..6);
        self.note(("reissue that fails", epoch.0, from, place, kind, before));
        for side in &mut self.sides {
            side.site.shared.with(|faults| match place {
                0 => faults.puts.extend(vec![None; before].into_iter().chain([Some(kind)])),
                1 => faults.puts_short.extend(vec![None; before].into_iter().chain([Some(kind)])),
                _ => faults.commits.extend(vec![None; before / 2].into_iter().chain([Some((place == 2, kind))])),
            });
            let failed = side.outbox().reissue(epoch, from).is_err();
            side.site.shared.with(|faults| (faults.puts.clear(), faults.commits.clear(), faults.puts_short.clear()));
            assert_eq!(failed, side.outbox().is_poisoned());
        }
        self.model.moving.push((epoch.0, from));
        if !self.sides[0].outbox().is_poisoned() {
            return self.check(&[]);
        }
        if self.rng.bool() {
            self.reopen();
        } else {
            self.open();
        }
        self.check(&[]);
    }

    /// The hub says what it has, which may be less than it had.
    pub(crate) fn resume(&mut self) {
        let of = self.sides[0].outbox().epochs()[0];
        let acknowledged = self.model.acknowledged.get(&of.epoch.0).copied().unwrap_or(0);
        let last = self.rng.u64(..=acknowledged.min(of.last));
        let Some(hash) = self.sides[0].outbox().hash_at(of.epoch, last).unwrap() else { return };
        self.note(("resume", of.epoch.0, last));
        let position = Position::new(PositionEntry { epoch: of.epoch, last, hash });
        let resumed: Vec<_> = self.sides.iter_mut().map(|side| side.outbox().resume(&position).unwrap()).collect();
        assert!(resumed.iter().all(|other| *other == resumed[0]));
        self.model.acknowledged.insert(of.epoch.0, last);
        for loss in &resumed[0].lost {
            self.sides.iter_mut().for_each(|side| tell(side.outbox(), *loss));
            self.model.told.push(*loss);
        }
        for closed in &resumed[0].closes {
            self.close(*closed);
        }
        self.model.head = Some(self.sides[0].outbox().head());
    }

    fn close(&mut self, closed: LossClosed) {
        for side in &mut self.sides {
            let head = side.outbox().head();
            side.outbox().append(&event(head.epoch, head.number + 1, Body::LossClosed(closed))).unwrap();
        }
    }

    /// What a process leaves that is killed at this moment.
    pub(crate) fn kill(&mut self) {
        self.note("kill");
        for side in &mut self.sides {
            let copy = side.copy();
            side.outbox = None;
            replace(&side.site.path(), copy.path());
        }
        self.open();
    }

    /// The power goes during an append: of what it wrote the disk has any part.
    pub(crate) fn cut_power(&mut self) {
        let (ids, events) = self.events();
        self.note(("power cut in an append", ids.len()));
        self.settle(&ids, None, Fate::InDoubt);
        let rng = &mut self.rng;
        for side in &mut self.sides {
            let before = tempfile::tempdir().unwrap();
            copy_folder(&side.site.path(), before.path());
            side.site.shared.with(|faults| faults.copied = Some(side.site.path()));
            side.outbox().append(&events).unwrap();
            side.site.shared.with(|faults| faults.copied = None);
            let copies = side.site.shared.with(|faults| std::mem::take(&mut faults.copies));
            side.outbox = None;
            mix(before.path(), copies[0].path(), rng);
            replace(&side.site.path(), before.path());
        }
        self.open();
    }

    /// An older copy is put back, and only the checkpoint knows of what came behind it.
    pub(crate) fn put_back(&mut self) {
        let older: Vec<_> = self.sides.iter_mut().map(Side::copy).collect();
        for _ in 0..self.rng.u8(1..4) {
            self.append();
        }
        self.checkpoint();
        self.note("an older copy is put back");
        for (side, copy) in self.sides.iter_mut().zip(&older) {
            side.outbox = None;
            replace(&side.site.path(), copy.path());
        }
        assert!(matches!(self.open(), Begun::NewEpoch { .. }), "an older copy is gone on with");
    }

    /// A twin goes on from a copy of the store, and its store comes back in the place of ours.
    pub(crate) fn twin(&mut self) {
        let (fresh, texts) = (self.model.fresh(), self.rng.u64(1..30));
        self.append();
        self.note(("the twin's store is put back", texts));
        let twins: Vec<_> = self.sides.iter_mut().map(Side::copy).collect();
        // Ours goes on by at least as much as a twin could, and is then forgotten.
        self.append();
        self.checkpoint();
        for (side, copy) in self.sides.iter_mut().zip(&twins) {
            side.outbox = None;
            let (known, limits) = (side.site.known.take(), side.site.limits);
            side.site.limits = ROOMY;
            let (mut outbox, begun) = side.site.try_open_at(copy.path(), fresh).unwrap();
            (side.site.known, side.site.limits) = (known, limits);
            assert_eq!(begun, Begun::AsLeft);
            let head = outbox.head();
            for number in head.number + 1..=head.number + 150 {
                outbox
                    .append(&event(head.epoch, number, Body::Unknown { kind: FILLER + 1, bytes: b"the twin's" }))
                    .unwrap();
            }
            drop(outbox);
            replace(&side.site.path(), copy.path());
        }
        self.is_twin = true;
        assert!(matches!(self.open(), Begun::NewEpoch { .. }), "another's events are gone on with");
        self.is_twin = false;
    }
}

/// Puts what is in `source` in the place of the folder `target`.
fn replace(target: &Path, source: &Path) {
    fs::remove_dir_all(target).unwrap();
    copy_folder(source, target);
}

/// Takes over, into the folder `before`, any sectors of what is new in the folder `after`.
fn mix(before: &Path, after: &Path, rng: &mut Rng) {
    let all = rng.u8(..4);
    for entry in fs::read_dir(after).unwrap().map(|entry| entry.unwrap().path()) {
        let old = before.join(entry.file_name().unwrap());
        if entry.is_dir() {
            fs::create_dir_all(&old).unwrap();
            mix(&old, &entry, rng);
            continue;
        }
        let new = fs::read(&entry).unwrap();
        let mut kept = fs::read(&old).unwrap_or_default();
        kept.resize(new.len().max(kept.len()), 0);
        // All in order up to some place, or each by chance.
        let until = rng.usize(..=new.len());
        for (place, sector) in new.chunks(SECTOR).enumerate() {
            let at = place * SECTOR;
            if if all < 2 { at < until } else { rng.bool() } {
                kept[at..at + sector.len()].copy_from_slice(sector);
            }
        }
        fs::write(&old, kept).unwrap();
    }
}
