//! Both stores against a model, and what only the segment log promises.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use crate::error::StoreError;
use crate::limits::LOG_FILE_BYTES;
use crate::segment_log::SegmentLog;
use crate::sled_store::{Disk, SledStore};
use crate::store::{Key, Store};

type Model = BTreeMap<Key, Vec<u8>>;
type Opener = fn(&Path) -> Box<dyn Store>;

const OPENERS: [(&str, Opener); 2] = [
    ("sled", |folder| Box::new(SledStore::open(folder, Box::new(Disk)).unwrap())),
    ("log", |folder| Box::new(SegmentLog::open(folder).unwrap())),
];

fn contents(store: &mut dyn Store, from: Key) -> Model {
    let mut model = Model::new();
    let take = &mut |key, value: &[u8]| {
        model.insert(key, value.to_vec());
        ControlFlow::Continue(())
    };
    store.scan(from, take).unwrap();
    model
}

fn key(random: &mut fastrand::Rng) -> Key {
    Key { ordinal: random.u64(1..4), number: random.u64(0..60) }
}

fn step(random: &mut fastrand::Rng, store: &mut dyn Store, model: &mut Model) {
    let key = key(random);
    match random.u32(0..10) {
        0..5 => {
            let len = if random.u32(0..8) == 0 { random.usize(0..100_000) } else { random.usize(0..300) };
            let value = vec![random.u8(..); len];
            store.put(key, &value).unwrap();
            model.insert(key, value);
        }
        5..8 => {
            store.remove(key).unwrap();
            model.remove(&key);
        }
        8 => store.sync().unwrap(),
        _ => {
            let expected = model.range(..=key).next_back().map(|(key, value)| (*key, value.clone()));
            assert_eq!(store.at_or_before(key).unwrap(), expected);
        }
    }
}

#[test]
fn both_stores_do_what_a_map_does_over_reopenings() {
    for (name, open) in OPENERS {
        for seed in 0..3 {
            let mut random = fastrand::Rng::with_seed(seed);
            let folder = tempfile::tempdir().unwrap();
            let mut model = Model::new();
            for _ in 0..6 {
                let mut store = open(&folder.path().join("store"));
                assert_eq!(contents(store.as_mut(), Key::FIRST), model, "{name}, seed {seed}");
                for _ in 0..150 {
                    step(&mut random, store.as_mut(), &mut model);
                }
                let from = key(&mut random);
                let behind: Model = model.range(from..).map(|(key, value)| (*key, value.clone())).collect();
                assert_eq!(contents(store.as_mut(), from), behind, "{name}, seed {seed}");
            }
        }
    }
}

/// The file as it may be after a loss of power: all that was synced, and any part of what was not.
#[test]
fn torn_end_costs_only_what_was_not_synced() {
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..60 {
        let folder = tempfile::tempdir().unwrap();
        let mut log = SegmentLog::open(folder.path()).unwrap();
        let mut models = vec![Model::new()];
        for _ in 0..random.usize(0..20) {
            let mut model = models[0].clone();
            step(&mut random, &mut log, &mut model);
            models[0] = model;
        }
        log.sync().unwrap();
        let file = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        let synced = usize::try_from(fs::metadata(&file).unwrap().len()).unwrap();
        for number in 0..random.u64(1..6) {
            let value = vec![5; random.usize(0..5000)];
            let key = Key { ordinal: 9, number };
            log.put(key, &value).unwrap();
            let mut model = models.last().unwrap().clone();
            model.insert(key, value);
            models.push(model);
        }
        drop(log);
        let mut bytes = fs::read(&file).unwrap();
        let cut = random.usize(synced..=bytes.len());
        if random.bool() {
            bytes.truncate(cut);
        } else {
            // A page that never came to the disk, with later ones that did.
            let end = bytes.len().min(cut + 512);
            bytes[cut..end].fill(0);
        }
        fs::write(&file, bytes).unwrap();
        let mut log = SegmentLog::open(folder.path()).unwrap();
        let found = contents(&mut log, Key::FIRST);
        assert!(models.contains(&found));
        log.put(Key { ordinal: 10, number: 1 }, b"on").unwrap();
        drop(log);
        assert_eq!(contents(&mut SegmentLog::open(folder.path()).unwrap(), Key::FIRST).len(), found.len() + 1);
    }
}

#[test]
fn damage_in_synced_entries_is_no_torn_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = SegmentLog::open(folder.path()).unwrap();
    for number in 1..50 {
        log.put(Key { ordinal: 1, number }, &[3; 100]).unwrap();
        log.sync().unwrap();
    }
    drop(log);
    let file = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&file).unwrap();
    for at in [0, 50, 1000, 5000] {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        fs::write(&file, bytes).unwrap();
        assert!(matches!(SegmentLog::open(folder.path()), Err(StoreError::Damaged(_))), "{at}");
    }
}

#[test]
fn files_are_deleted_whole_and_nothing_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = SegmentLog::open(folder.path()).unwrap();
    let stay = Key { ordinal: 1, number: 0 };
    log.put(stay, b"a record that is never removed").unwrap();
    let value = vec![1; 100_000];
    for number in 1..=1000 {
        log.put(Key { ordinal: 1, number }, &value).unwrap();
        if number > 100 {
            log.remove(Key { ordinal: 1, number: number - 100 }).unwrap();
        }
        log.sync().unwrap();
        assert!(log.disk_bytes() < 4 * LOG_FILE_BYTES, "{number}: {}", log.disk_bytes());
    }
    let on_disk: u64 = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert_eq!(on_disk, log.disk_bytes());
    drop(log);
    let found = contents(&mut SegmentLog::open(folder.path()).unwrap(), Key::FIRST);
    let expected: Vec<_> = [0].into_iter().chain(901..=1000).collect();
    assert_eq!(found.keys().map(|key| key.number).collect::<Vec<_>>(), expected);
}
