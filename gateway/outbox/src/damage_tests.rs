//! A store damaged in every way that we could think of: it opens without a person, every event is held or told to be lost,
//! nothing is held that was not written, and from then on the store is whole.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fastrand::Rng;
use kalitka_protocol::EpochId;

use crate::block::MAGIC;
use crate::error::{OpenError, StoreError};
use crate::lab_tests::*;
use crate::limits::BLOCK_HEADER_LEN;
use crate::types::{Begun, Bounds, NewEpochWhy};

const EVENTS: u64 = 3000;
const ACKNOWLEDGED: u64 = 500;
/// Two seconds are promised on a quiet machine in release; others work here too.
const OPENING_MAX: Duration = Duration::from_secs(20);

/// What was there before the damage.
struct Before {
    site: Site,
    /// A copy of the folder from when two thirds of the events were there.
    old: tempfile::TempDir,
    events: BTreeMap<u64, Vec<u8>>,
}

/// A store that a hub has had a part of, with removed blocks and a copy from earlier.
fn before(without_sled: bool) -> Before {
    let site = Site { limits: Bounds { keep_acknowledged: 200, ..ROOMY }, ..Site::new() };
    site.shared.with(|faults| faults.without_sled = without_sled);
    let mut outbox = site.filled(EVENTS * 2 / 3, 10);
    let old = tempfile::tempdir().unwrap();
    copy_folder(&site.path(), old.path());
    fill(&mut outbox, EVENTS - 100, 10);
    outbox.set_floor(outbox.head());
    outbox.acknowledge(outbox.head().epoch, ACKNOWLEDGED).unwrap();
    fill(&mut outbox, EVENTS, 10);
    let events = held(&mut outbox).into_iter().map(|(_, number, bytes)| (number, bytes)).collect();
    Before { site, old, events }
}

/// What is damaged: a copy of the outbox's folder.
struct Victim<'a> {
    site: Site,
    old: &'a Path,
    rng: &'a mut Rng,
}

impl Victim<'_> {
    /// The store's file with the most in it.
    fn data(&self) -> PathBuf {
        let files = fs::read_dir(self.site.store()).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.is_file()).max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
    }

    /// Where in the data something was written.
    fn written(&self) -> u64 {
        let bytes = fs::read(self.data()).unwrap();
        bytes.iter().rposition(|&byte| byte != 0).unwrap() as u64 + 1
    }

    fn overwrite(&mut self, len: usize, with: impl Fn(&mut Rng) -> u8) {
        let at = self.rng.u64(..self.written());
        let bytes: Vec<u8> = (0..len).map(|_| with(self.rng)).collect();
        OpenOptions::new().write(true).open(self.data()).unwrap().write_all_at(&bytes, at).unwrap();
    }

    fn flip(&mut self, times: u32) {
        for _ in 0..times {
            let (path, at, bit) = (self.data(), self.rng.u64(..self.written()), self.rng.u8(..8));
            let mut bytes = fs::read(&path).unwrap();
            bytes[usize::try_from(at).unwrap()] ^= 1 << bit;
            fs::write(path, bytes).unwrap();
        }
    }

    /// Overwrites the block that begins with event `first`, wherever a form of it lies.
    fn break_block(&self, first: u64) {
        let path = self.data();
        let mut bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() - BLOCK_HEADER_LEN {
            if bytes[at..].starts_with(&MAGIC) && bytes[at + 24..at + 32] == first.to_le_bytes() {
                bytes[at + BLOCK_HEADER_LEN..][..20].fill(0x55);
            }
        }
        fs::write(path, bytes).unwrap();
    }

    fn swap(&mut self, len: u64) {
        let mut bytes = fs::read(self.data()).unwrap();
        let blocks = self.written() / len;
        let (one, other) = (self.rng.u64(..blocks.max(1)) * len, self.rng.u64(..blocks.max(1)) * len);
        let end = bytes.len() - 1;
        for at in 0..len {
            let place = |start: u64| usize::try_from(start + at).unwrap().min(end);
            bytes.swap(place(one), place(other));
        }
        fs::write(self.data(), bytes).unwrap();
    }

    fn cut(&mut self, bytes: u64) {
        let path = self.data();
        let left = self.written().saturating_sub(bytes);
        OpenOptions::new().write(true).open(path).unwrap().set_len(left).unwrap();
    }

    /// Puts an older copy of what is under `path` in its place.
    fn put_back(&self, path: &Path) {
        let old = self.old.join(path.strip_prefix(self.site.path()).unwrap());
        if old.is_dir() {
            fs::remove_dir_all(path).unwrap();
            copy_folder(&old, path);
        } else {
            fs::copy(old, path).unwrap();
        }
    }

    fn in_outbox(&self, name: &str) -> PathBuf {
        self.site.path().join(name)
    }

    fn in_store(&self, name: &str) -> PathBuf {
        self.site.store().join(name)
    }
}

type Damage = (&'static str, fn(&mut Victim<'_>));

const DAMAGES: [Damage; 38] = [
    ("nothing", |_| ()),
    ("one bit flipped", |of| of.flip(1)),
    ("forty bits flipped", |of| of.flip(40)),
    ("a sector zeroed", |of| of.overwrite(512, |_| 0)),
    ("a page zeroed", |of| of.overwrite(4096, |_| 0)),
    ("64 KiB zeroed", |of| of.overwrite(65_536, |_| 0)),
    ("64 KiB of rubbish", |of| of.overwrite(65_536, |rng| rng.u8(..))),
    ("a quarter of a MiB zeroed", |of| of.overwrite(1 << 18, |_| 0)),
    ("two sectors swapped", |of| of.swap(512)),
    ("two pages swapped", |of| of.swap(4096)),
    ("two parts of 64 KiB swapped", |of| of.swap(65_536)),
    ("one byte cut off", |of| of.cut(1)),
    ("100 bytes cut off", |of| of.cut(100)),
    ("a page cut off", |of| of.cut(4096)),
    ("100 KiB cut off", |of| of.cut(100 << 10)),
    ("everything cut off", |of| of.cut(u64::MAX)),
    ("the data's file missing", |of| fs::remove_file(of.data()).unwrap()),
    ("the data an older copy", |of| of.put_back(&of.data())),
    ("the store an older copy", |of| of.put_back(&of.site.store())),
    ("the store missing", |of| fs::remove_dir_all(of.site.store()).unwrap()),
    ("the store an empty folder", |of| {
        let store = of.site.store();
        fs::remove_dir_all(&store).unwrap();
        fs::create_dir(store).unwrap();
    }),
    ("the store a file", |of| {
        let store = of.site.store();
        fs::remove_dir_all(&store).unwrap();
        fs::write(store, b"a file").unwrap();
    }),
    ("rubbish behind the data", |of| {
        let path = of.data();
        let bytes = [fs::read(&path).unwrap(), vec![0x5a; 100_000]].concat();
        fs::write(path, bytes).unwrap();
    }),
    ("the data twice", |of| {
        let path = of.data();
        let bytes = fs::read(&path).unwrap().repeat(2);
        fs::write(path, bytes).unwrap();
    }),
    ("the configuration rubbish", |of| fs::write(of.in_store("conf"), [b'x'; 100]).unwrap()),
    ("the configuration missing", |of| {
        let _ = fs::remove_file(of.in_store("conf"));
    }),
    ("all but the data missing", |of| {
        let data = of.data();
        for entry in fs::read_dir(of.site.store()).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_file() && entry != data {
                fs::remove_file(entry).unwrap();
            }
        }
    }),
    ("leftovers in the store", |of| {
        fs::write(of.in_store("snap.0000000000000400.generating"), b"half").unwrap();
        fs::write(of.in_store("whatever"), b"rubbish").unwrap();
    }),
    ("a snapshot of rubbish", |of| fs::write(of.in_store("snap.00000000007fffff"), vec![7; 100]).unwrap()),
    ("a log's file of rubbish", |of| fs::write(of.in_store("0000000000000099.log"), vec![7; 100]).unwrap()),
    ("a file in blobs", |of| {
        fs::create_dir_all(of.in_store("blobs")).unwrap();
        fs::write(of.in_store("blobs/77"), b"rubbish").unwrap();
    }),
    ("leftovers beside the store", |of| {
        fs::create_dir(of.in_outbox("sled-88")).unwrap();
        fs::write(of.in_outbox("sled-89"), b"a file").unwrap();
        fs::write(of.in_outbox("log-1"), b"a file").unwrap();
        fs::write(of.in_outbox("store.a.new"), b"half").unwrap();
    }),
    ("an older copy of the store beside it", |of| {
        let old = of.old.join(of.site.store().file_name().unwrap());
        copy_folder(&old, &of.in_outbox("sled-77"));
    }),
    ("one name missing", |of| {
        let name = ["store.a", "store.b"][of.rng.usize(..2)];
        let _ = fs::remove_file(of.in_outbox(name));
    }),
    ("no name", |of| {
        let _ = fs::remove_file(of.in_outbox("store.a"));
        let _ = fs::remove_file(of.in_outbox("store.b"));
    }),
    ("one name rubbish", |of| fs::write(of.in_outbox("store.b"), b"rubbish").unwrap()),
    ("the mark missing", |of| fs::remove_file(of.in_outbox("mark")).unwrap()),
    ("the mark rubbish", |of| fs::write(of.in_outbox("mark"), vec![1; 5000]).unwrap()),
];

/// Opens what `damage` has made of `before`, and judges it.
fn judge(before: &Before, (name, damage): &Damage, without_sled: bool, rng: &mut Rng) -> Duration {
    let site = Site { limits: before.site.limits, ..Site::new() };
    site.shared.with(|faults| faults.without_sled = without_sled);
    copy_folder(&before.site.path(), &site.path());
    let mut victim = Victim { site, old: before.old.path(), rng };
    damage(&mut victim);
    let site = victim.site;
    let since = Instant::now();
    let (mut outbox, begun) = site.try_open(2).unwrap_or_else(|error| panic!("{name}: {error}"));
    let took = since.elapsed();
    assert!(took < OPENING_MAX, "{name}: {took:?}");
    let kept: BTreeMap<u64, Vec<u8>> =
        held(&mut outbox).into_iter().filter(|(of, ..)| *of == 1).map(|(_, number, bytes)| (number, bytes)).collect();
    let losses = match &begun {
        Begun::AsLeft => Vec::new(),
        Begun::NewEpoch { losses, .. } => losses.clone(),
    };
    let told = |number: u64| losses.iter().any(|loss| loss.epoch.0 == 1 && (loss.first..=loss.last).contains(&number));
    for (number, bytes) in &before.events {
        match kept.get(number) {
            Some(found) => {
                assert_eq!(found, bytes, "{name}: event {number} is another");
                assert!(!told(*number), "{name}: event {number} is held and told to be lost: {losses:?}");
            }
            None => assert!(*number <= ACKNOWLEDGED || told(*number), "{name}: {number} is gone: {begun:?}"),
        }
    }
    assert!(kept.keys().all(|number| *number <= EVENTS), "{name}: what was never written is held");
    if begun != Begun::AsLeft {
        start(&mut outbox, &begun);
    }
    let last = outbox.head().number + 20;
    fill(&mut outbox, last, 7);
    let after = held(&mut outbox);
    drop(outbox);
    let (mut outbox, begun) = site.open(3);
    assert_eq!((begun, held(&mut outbox)), (Begun::AsLeft, after), "{name}: told once, whole from then on");
    took
}

fn every_damage_is_contained(without_sled: bool) {
    let mut rng = Rng::with_seed(seed());
    let before = before(without_sled);
    assert_eq!(before.events.keys().next_back(), Some(&EVENTS));
    let mut slowest = (Duration::ZERO, "");
    for round in 0..number_from_environment("KALITKA_DAMAGES", 1, 100) {
        for damage in &DAMAGES {
            println!("round {round}: {}", damage.0);
            slowest = slowest.max((judge(&before, damage, without_sled, &mut rng), damage.0));
        }
    }
    println!("slowest: {slowest:?}");
}

#[test]
fn every_damage_to_sled_costs_the_damaged_alone_and_is_told() {
    every_damage_is_contained(false);
}

#[test]
fn every_damage_to_the_segment_log_costs_the_damaged_alone_and_is_told() {
    every_damage_is_contained(true);
}

/// The segment log reads from the disk what has changed there since it was opened.
#[test]
fn damage_found_by_a_reading_is_cured_by_a_reopening() {
    let site = Site::new();
    site.shared.with(|faults| faults.without_sled = true);
    let mut outbox = site.filled(3000, 10);
    let (head, before) = (outbox.head(), held(&mut outbox));
    let path = site.store().join("0000000000000001.log");
    let data = OpenOptions::new().write(true).open(&path).unwrap();
    for part in 1..8 {
        data.write_all_at(&[0x55; 300], part * 30_000).unwrap();
    }
    let mut from = 1;
    let error = loop {
        match outbox.read(head.epoch, from, 10_000) {
            Ok(Some(run)) => from = run.first + u64::from(run.count),
            Ok(None) => panic!("the damage is not seen"),
            Err(error) => break error,
        }
    };
    assert!(error.is_damage() && outbox.is_poisoned(), "{error}");
    let begun = outbox.reopen(EpochId(2)).unwrap();
    let Begun::NewEpoch { before: link, losses, why: NewEpochWhy::Damaged } = &begun else { panic!("{begun:?}") };
    assert_eq!(*link, Some(head));
    start(&mut outbox, &begun);
    let told = |number: u64| losses.iter().any(|loss| (loss.first..=loss.last).contains(&number));
    let kept: Vec<_> = held(&mut outbox).into_iter().filter(|(of, ..)| *of == 1).collect();
    let expected: Vec<_> = before.into_iter().filter(|(_, number, _)| !told(*number)).collect();
    assert!(kept == expected && losses.len() == 7, "{losses:?}");
    assert!(losses.iter().all(|loss| loss.count == 10 || loss.count == 20), "whole blocks, and only those: {losses:?}");
}

#[test]
fn panic_in_a_reading_is_cured_by_a_reopening_and_damage_by_a_copy() {
    let panicked = || StoreError::Panicked("in a reading".into());
    let damaged = || StoreError::Damaged("in a reading".into());
    for (fault, is_whole) in [(panicked(), true), (damaged(), false)] {
        let site = Site::new();
        let mut outbox = site.filled(300, 10);
        let (head, events) = (outbox.head(), held(&mut outbox));
        site.shared.with(|faults| faults.reads.push_back(Some(fault)));
        assert!(outbox.read(head.epoch, 1, 10_000).unwrap_err().is_damage());
        assert!(outbox.read(head.epoch, 1, 10_000).is_err(), "nothing is told of a store that has failed");
        let begun = outbox.reopen(EpochId(2)).unwrap();
        if is_whole {
            assert_eq!(begun, Begun::AsLeft);
        } else {
            let losses = vec![];
            assert_eq!(begun, Begun::NewEpoch { before: Some(head), losses, why: NewEpochWhy::Damaged });
            start(&mut outbox, &begun);
        }
        assert_eq!(held(&mut outbox)[..events.len()], events);
    }
}

/// The second damage comes before the first was told of.
#[test]
fn epoch_that_never_began_hands_on_what_it_had_to_tell() {
    let site = Site::new();
    let head = site.filled(200, 10).head();
    let mut rng = Rng::with_seed(1);
    let mut damage = |site: Site, damage: fn(&mut Victim<'_>)| {
        let mut victim = Victim { site, old: Path::new(""), rng: &mut rng };
        damage(&mut victim);
        victim.site
    };
    let site = damage(site, |of| of.break_block(101));
    let Begun::NewEpoch { before, losses, .. } = site.open(2).1 else { panic!() };
    assert_eq!(before, Some(head));
    let gap = losses[0];
    assert_eq!((gap.first, gap.last), (101, 110));
    let site = damage(site, |of| fs::write(of.in_store("conf"), [b'x'; 100]).unwrap());
    let (mut outbox, begun) = site.open(3);
    let Begun::NewEpoch { before, losses, .. } = &begun else { panic!("{begun:?}") };
    assert_eq!(*before, Some(head), "the epoch without events is passed over");
    assert!(losses.contains(&gap), "{losses:?}");
    start(&mut outbox, &begun);
    drop(outbox);
    assert_eq!(site.open(4).1, Begun::AsLeft);
}

/// Killed in the middle of a cure, a store must not have been made worse by it.
#[test]
fn store_with_a_hole_is_salvaged_without_being_opened() {
    let site = Site::new();
    let before = held(&mut site.filled(3000, 10));
    let mut rng = Rng::with_seed(1);
    let victim = Victim { site, old: Path::new(""), rng: &mut rng };
    victim.break_block(501);
    let data = victim.data();
    let site = victim.site;
    let bytes = fs::read(&data).unwrap();
    site.shared.steps();
    site.shared.with(|faults| faults.free = Some(1));
    assert!(matches!(site.try_open(2), Err(OpenError::StillFull { .. })));
    assert!(site.shared.steps().is_empty() && fs::read(&data).unwrap() == bytes, "it was opened");
    site.shared.with(|faults| faults.free = None);
    let (mut outbox, begun) = site.open(2);
    let Begun::NewEpoch { losses, .. } = &begun else { panic!("{begun:?}") };
    assert_eq!((losses[0].first, losses[0].last, losses.len()), (501, 510, 2));
    let expected: Vec<_> = before.into_iter().filter(|(_, number, _)| !(501..=510).contains(number)).collect();
    assert!(held(&mut outbox) == expected);
    assert!(fs::read(site.path().join("quarantine/sled-1/db")).unwrap() == bytes, "it is kept as it was found");
}

/// A twin's store beside ours: of an epoch that ended there is one end.
#[test]
fn store_of_a_twin_beside_ours_does_not_keep_the_outbox_from_opening() {
    let site = Site::new();
    let mut outbox = site.filled(30, 10);
    let twin = tempfile::tempdir().unwrap();
    copy_folder(&site.path(), twin.path());
    fill(&mut outbox, 40, 10);
    let begun = outbox.begin_epoch(EpochId(2), NewEpochWhy::HubOther).unwrap();
    start(&mut outbox, &begun);
    drop(outbox);
    let (mut other, _) = site.try_open_at(twin.path(), 9).unwrap();
    // More commits than ours, so that its blocks seem newer; and as many events.
    for number in 31..=40 {
        other.append(&said(EpochId(1), number, b"the twin's")).unwrap();
    }
    drop(other);
    copy_folder(&twin.path().join("sled-1"), &site.path().join("sled-7"));
    let (mut outbox, begun) = site.open(3);
    assert!(matches!(begun, Begun::NewEpoch { .. }), "{begun:?}");
    start(&mut outbox, &begun);
    let after = held(&mut outbox);
    assert_eq!(numbers(&mut outbox, 2), [1]);
    drop(outbox);
    let (mut outbox, begun) = site.open(4);
    assert_eq!((begun, held(&mut outbox)), (Begun::AsLeft, after));
}
