//! The rules for living with sled, each learnt by experiment: a test here goes red when its rule is broken.

use std::fs;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use kalitka_protocol::EpochId;
use kalitka_protocol::event::chain_all;
use kalitka_protocol::limits::EVENT_LEN_MAX;

use crate::block::{self, BlockHeader};
use crate::check::check;
use crate::error::{AppendError, OpenError, StoreError};
use crate::lab_tests::*;
use crate::limits::{BLOCK_MAX, REOPENS_MAX, SLED_CACHE_BYTES, SLED_SEGMENT_BYTES};
use crate::record;
use crate::sled_store::{Barrier, Disk, SledStore};
use crate::store::{Key, Store};
use crate::types::{Begun, Bounds, NewEpochWhy};

const E1: EpochId = EpochId(1);

fn sled_at(folder: &Path) -> SledStore {
    SledStore::open(folder, Box::new(Disk)).unwrap()
}

/// All keys and values.
fn values(store: &mut dyn Store) -> Vec<(Key, Vec<u8>)> {
    let mut values = Vec::new();
    let take = &mut |key, value: &[u8]| {
        values.push((key, value.to_vec()));
        ControlFlow::Continue(())
    };
    store.scan(Key::FIRST, take).unwrap();
    values
}

#[test]
fn commit_is_flush_then_sync_then_acknowledged() {
    let site = Site::new();
    let mut outbox = site.filled(1, 1);
    site.shared.steps();
    fill(&mut outbox, 2, 1);
    assert_eq!(site.shared.steps(), [Step::Put, Step::Flush, Step::SyncData]);
}

#[test]
fn sync_is_of_sleds_own_data_file() {
    let site = Site::new();
    let _outbox = site.filled(2, 1);
    let data = fs::metadata(site.store().join("db")).unwrap();
    assert_eq!(site.shared.with(|faults| faults.synced_inode), data.ino());
}

#[test]
fn nothing_is_acknowledged_when_flush_or_sync_fails() {
    for (flush, sync) in [(Some(ErrorKind::StorageFull), None), (None, Some(ErrorKind::Other))] {
        let site = Site::new();
        let mut outbox = site.filled(5, 5);
        let head = outbox.head();
        site.shared.with(|faults| {
            faults.flushes.push_back(flush);
            faults.syncs.push_back(sync);
        });
        assert!(matches!(outbox.append(&next_events(head, 6)), Err(AppendError::Store(_))));
        assert_eq!(outbox.head(), head);
        assert!(outbox.is_poisoned());
    }
}

#[test]
fn error_poisons_until_reopened() {
    let site = Site::new();
    let mut outbox = site.filled(5, 5);
    let head = outbox.head();
    site.shared.with(|faults| faults.puts.push_back(Some(ErrorKind::StorageFull)));
    assert!(outbox.append(&next_events(head, 6)).is_err());
    site.shared.steps();
    assert!(matches!(outbox.append(&next_events(head, 6)), Err(AppendError::Store(StoreError::Poisoned))));
    assert!(matches!(outbox.read(E1, 1, 9), Err(StoreError::Poisoned)));
    assert!(matches!(outbox.acknowledge(E1, 1), Err(StoreError::Poisoned)));
    assert!(matches!(outbox.give_way(), Err(StoreError::Poisoned)));
    assert_eq!(site.shared.steps(), [], "a poisoned store is not touched");
    assert_eq!(outbox.reopen(EpochId(2)).unwrap(), Begun::AsLeft);
    assert!(!outbox.is_poisoned());
    fill(&mut outbox, 6, 1);
    assert_eq!(numbers(&mut outbox, 1), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn sled_is_opened_once_and_reopened_three_times_then_the_segment_log_takes_over() {
    let site = Site::new();
    let mut outbox = site.filled(5, 5);
    for reopening in 1..=REOPENS_MAX + 1 {
        let head = outbox.head();
        site.shared.with(|faults| faults.puts.push_back(Some(ErrorKind::StorageFull)));
        outbox.append(&next_events(head, head.number + 1)).unwrap_err();
        site.shared.steps();
        let begun = outbox.reopen(EpochId(u64::from(reopening) + 1)).unwrap();
        let opened = site.shared.steps()[0];
        assert_eq!(opened, if reopening <= REOPENS_MAX { Step::OpenSled } else { Step::OpenLog });
        if reopening <= REOPENS_MAX {
            assert_eq!(begun, Begun::AsLeft);
        } else {
            let Begun::NewEpoch { before, losses, why } = &begun else { panic!("{begun:?}") };
            assert_eq!((before, &losses[..], why), (&Some(head), &[][..], &NewEpochWhy::Damaged), "nothing is lost");
            start(&mut outbox, &begun);
        }
        let last = outbox.head().number + 1;
        fill(&mut outbox, last, 1);
    }
    let usage = outbox.usage();
    assert!(usage.on_refuge);
    assert_eq!(usage.reopens, REOPENS_MAX + 1);
    assert_eq!(numbers(&mut outbox, 1), (1..=8).collect::<Vec<_>>());
    let (head, events) = (outbox.head(), held(&mut outbox));
    drop(outbox);
    site.shared.steps();
    let (mut outbox, begun) = site.open(9);
    assert_eq!((begun, outbox.head()), (Begun::AsLeft, head), "a restart goes back to sled, with all that is there");
    assert!(site.shared.steps().contains(&Step::OpenSled));
    assert!(!outbox.usage().on_refuge);
    assert_eq!(held(&mut outbox), events);
    assert!(site.store().display().to_string().contains("sled-"));
}

#[test]
fn segments_are_8_mib_and_the_cache_32() {
    let configured = crate::sled_store::configuration(Path::new("x"));
    assert_eq!((configured.segment_size, configured.cache_capacity), (8 << 20, 32 << 20));
    assert_eq!((SLED_SEGMENT_BYTES, SLED_CACHE_BYTES), (8 << 20, 32 << 20));
    let site = Site::new();
    drop(site.filled(1, 1));
    let conf = fs::read(site.store().join("conf")).unwrap();
    assert!(String::from_utf8_lossy(&conf).contains("segment_size: 8388608\n"));
}

#[test]
fn block_has_at_most_128_kib() {
    let site = Site::new();
    let mut outbox = site.filled(1, 1);
    for size in [EVENT_LEN_MAX - 48, 0, 1000] {
        let body = vec![7; size];
        let first = outbox.head().number + 1;
        let events: Vec<u8> = (first..first + 3000).flat_map(|number| said(E1, number, &body)).collect();
        outbox.append(&events).unwrap();
    }
    drop(outbox);
    let stored = values(&mut sled_at(&site.store()));
    let longest = stored.iter().map(|(_, value)| value.len()).max().unwrap();
    assert!(longest <= BLOCK_MAX && longest > BLOCK_MAX - EVENT_LEN_MAX, "{longest}");
}

#[test]
fn blobs_stays_empty_under_the_largest_blocks() {
    let site = Site::new();
    let mut outbox = site.filled(1, 1);
    let body = vec![7; EVENT_LEN_MAX - 48];
    for _ in 0..40 {
        let first = outbox.head().number + 1;
        let events: Vec<u8> = (first..first + 256).flat_map(|number| said(E1, number, &body)).collect();
        outbox.append(&events).unwrap();
    }
    assert_eq!(fs::read_dir(site.store().join("blobs")).unwrap().count(), 0);
    drop(outbox);
    assert_eq!(site.open(2).1, Begun::AsLeft);
}

#[test]
fn file_in_blobs_fails_the_commit() {
    let site = Site::new();
    let mut outbox = site.filled(1, 1);
    let head = outbox.head();
    fs::write(site.store().join("blobs/77"), b"").unwrap();
    let failed = outbox.append(&next_events(head, 2));
    assert!(matches!(failed, Err(AppendError::Store(StoreError::Damaged(_)))), "{failed:?}");
    assert_eq!(outbox.head(), head);
    let begun = outbox.reopen(EpochId(2)).unwrap();
    assert!(matches!(begun, Begun::NewEpoch { why: NewEpochWhy::Damaged, ref losses, .. } if losses.is_empty()));
    start(&mut outbox, &begun);
    assert_eq!(numbers(&mut outbox, 1), [1], "what was not acknowledged is not there");
}

#[test]
fn values_are_put_with_insert_and_never_in_a_batch() {
    let source = include_str!("sled_store.rs");
    let shipped = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code: Vec<_> = shipped.collect();
    for word in ["apply_batch", "Batch", "transaction"] {
        assert!(!code.iter().any(|line| line.contains(word)), "{word}");
    }
    assert!(code.iter().any(|line| line.contains(".insert(")));
}

#[test]
fn leftover_of_an_interrupted_snapshot_is_removed_before_opening() {
    let site = Site::new();
    drop(site.filled(9, 3));
    let leftover = site.store().join("snap.00000000000000FF.generating");
    fs::write(&leftover, b"half a snapshot").unwrap();
    let (mut outbox, begun) = site.open(2);
    assert_eq!(begun, Begun::AsLeft);
    assert!(!leftover.exists());
    assert_eq!(numbers(&mut outbox, 1).len(), 9);
}

/// A flush that comes to its end within sled.
#[derive(Debug)]
struct Panicking;

impl Barrier for Panicking {
    fn flush(&mut self, _: &sled::Db) -> sled::Result<()> {
        panic!("no such page")
    }

    fn sync_data(&mut self, _: &fs::File) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn panic_inside_sled_is_an_error_of_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = SledStore::open(folder.path(), Box::new(Panicking)).unwrap();
    assert!(matches!(store.sync(), Err(StoreError::Panicked(text)) if text == "no such page"));
}

#[test]
fn panic_in_sleds_opening_is_an_error_and_the_store_is_salvaged() {
    let site = Site::new();
    let mut outbox = site.filled(1, 1);
    let body = vec![7; EVENT_LEN_MAX - 48];
    for _ in 0..24 {
        let first = outbox.head().number + 1;
        let events: Vec<u8> = (first..first + 256).flat_map(|number| said(E1, number, &body)).collect();
        outbox.append(&events).unwrap();
    }
    drop(outbox);
    let whole = fs::read(site.store().join("db")).unwrap();
    let mut damages: Vec<Vec<u8>> = (1..8).map(|part| flipped(&whole, whole.len() / 8 * part)).collect();
    damages.push(whole[..whole.len() - 600_000].to_vec());
    let panicking = damages.iter().filter(|bytes| {
        let folder = tempfile::tempdir().unwrap();
        copy_folder(&site.store(), folder.path());
        fs::write(folder.path().join("db"), bytes).unwrap();
        matches!(SledStore::open(folder.path(), Box::new(Disk)), Err(StoreError::Panicked(_)))
    });
    let mut panicked = 0;
    for bytes in panicking.take(2) {
        panicked += 1;
        let copy = Site::new();
        copy_folder(&site.path(), &copy.path());
        fs::write(copy.store().join("db"), bytes).unwrap();
        let (mut outbox, begun) = copy.open(2);
        assert!(matches!(begun, Begun::NewEpoch { why: NewEpochWhy::Damaged, .. }), "{begun:?}");
        start(&mut outbox, &begun);
        let kept = numbers(&mut outbox, 1).len();
        assert!(kept >= 1 + 24 * 256 - 7 * 32, "{kept}: what is whole is kept");
    }
    assert!(panicked > 0, "sled has stopped panicking, and this test shows nothing any more");
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 0x10;
    bytes
}

/// Alters the stored values with `change`, and gives what the check then says.
fn checked_after(change: impl FnOnce(&mut Vec<(Key, Vec<u8>)>)) -> Result<(), StoreError> {
    let site = Site::new();
    drop(site.filled(30, 5));
    let mut store = sled_at(&site.store());
    let mut altered = values(&mut store);
    let keys: Vec<_> = altered.iter().map(|(key, _)| *key).collect();
    change(&mut altered);
    keys.into_iter().for_each(|key| store.remove(key).unwrap());
    altered.into_iter().for_each(|(key, value)| store.put(key, &value).unwrap());
    check(&mut store, BUILDING).map(drop)
}

/// The block again with another header and a right checksum.
fn forged(value: &[u8], change: impl FnOnce(&mut BlockHeader)) -> Vec<u8> {
    let block = block::parse(value).unwrap();
    let mut header = block.header;
    change(&mut header);
    block::emit(&header, block.events)
}

#[test]
fn checksum_and_continuity_are_checked_at_opening() {
    type Change = Box<dyn FnOnce(&mut Vec<(Key, Vec<u8>)>)>;
    let resequence = |value: &[u8]| forged(value, |header| header.sequence += 1);
    checked_after(|_| {}).unwrap();
    checked_after(|values| values[3].1 = resequence(&values[3].1)).unwrap();
    let cases: Vec<(&str, Change)> = vec![
        ("a flipped bit", Box::new(|values| values[3].1[200] ^= 1)),
        ("a flipped bit in a record", Box::new(|values| values[0].1[100] ^= 1)),
        ("a value cut short", Box::new(|values| values[3].1.truncate(300))),
        ("a byte too many", Box::new(|values| values[3].1.push(0))),
        ("a block missing", Box::new(|values| drop(values.remove(3)))),
        ("the first block missing", Box::new(|values| drop(values.remove(1)))),
        ("the record missing", Box::new(|values| drop(values.remove(0)))),
        ("a wrong hash", Box::new(|values| values[3].1 = forged(&values[3].1, |header| header.hash_before[0] ^= 1))),
        ("a wrong number", Box::new(|values| values[3].1 = forged(&values[3].1, |header| header.first += 1))),
        ("a wrong count", Box::new(|values| values[3].1 = forged(&values[3].1, |header| header.count -= 1))),
        ("another epoch", Box::new(|values| values[3].1 = forged(&values[3].1, |header| header.epoch = EpochId(9)))),
        ("another place", Box::new(|values| values[3].0.number += 1)),
        ("blocks exchanged", Box::new(|values| values.swap(3, 4))),
        ("other bytes, rightly summed", Box::new(|values| values[3].1 = other_events(&values[3].1))),
    ];
    for (name, change) in cases {
        if name == "blocks exchanged" {
            let exchange = |values: &mut Vec<(Key, Vec<u8>)>| {
                let (one, other) = (values[3].1.clone(), values[4].1.clone());
                (values[3].1, values[4].1) = (other, one);
            };
            assert!(matches!(checked_after(exchange), Err(StoreError::Damaged(_))), "{name}");
            continue;
        }
        assert!(matches!(checked_after(change), Err(StoreError::Damaged(_))), "{name}");
    }
}

/// The same identities with another text: only the hash of the next block can tell.
fn other_events(value: &[u8]) -> Vec<u8> {
    let block = block::parse(value).unwrap();
    let mut events = block.events.to_vec();
    *events.last_mut().unwrap() ^= 1;
    assert_ne!(chain_all(&[0; 32], &events), chain_all(&[0; 32], block.events));
    block::emit(&block.header, &events)
}

#[test]
fn records_and_blocks_are_whole_or_nothing() {
    let site = Site::new();
    drop(site.filled(3, 3));
    let stored = values(&mut sled_at(&site.store()));
    for (key, value) in stored {
        for len in 0..value.len() {
            assert!(block::parse(&value[..len]).is_none() && record::parse(&value[..len]).is_none(), "{key:?} {len}");
        }
        for bit in 0..value.len() * 8 {
            let mut flipped = value.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(block::parse(&flipped).is_none() && record::parse(&flipped).is_none(), "{key:?} bit {bit}");
        }
    }
}

#[test]
fn nearly_full_disk_is_refused_before_it_is_full_and_recovers_by_itself() {
    let site = Site::new();
    let mut outbox = site.filled(5, 5);
    site.shared.with(|faults| faults.free = Some((16 << 20) - 1));
    let head = outbox.head();
    assert!(matches!(outbox.append(&next_events(head, 6)), Err(AppendError::DiskFull { .. })));
    assert!(!outbox.is_poisoned(), "a disk that is nearly full costs no reopening");
    assert_eq!(numbers(&mut outbox, 1).len(), 5, "what is there can be sent");
    site.shared.with(|faults| faults.free = None);
    fill(&mut outbox, 6, 1);
}

#[test]
fn full_disk_costs_no_reopening() {
    let site = Site::new();
    let mut outbox = site.filled(5, 5);
    let head = outbox.head();
    site.shared.with(|faults| faults.flushes.push_back(Some(ErrorKind::StorageFull)));
    outbox.append(&next_events(head, 6)).unwrap_err();
    site.shared.with(|faults| faults.free = Some(0));
    for _ in 0..10 {
        assert!(matches!(outbox.reopen(EpochId(2)), Err(OpenError::StillFull { .. })));
    }
    assert_eq!(outbox.usage().reopens, 0);
    site.shared.with(|faults| faults.free = None);
    assert_eq!(outbox.reopen(EpochId(2)).unwrap(), Begun::AsLeft);
    assert_eq!((outbox.usage().reopens, outbox.usage().on_refuge), (1, false));
}

#[test]
fn drained_store_takes_new_events_although_its_files_have_filled_the_disk() {
    let limits = Bounds { keep_acknowledged: 0, ..ROOMY };
    let site = Site { limits, ..Site::new() };
    let mut outbox = site.filled(1, 1);
    let body = vec![7; EVENT_LEN_MAX - 48];
    for _ in 0..60 {
        let first = outbox.head().number + 1;
        let events: Vec<u8> = (first..first + 256).flat_map(|number| said(E1, number, &body)).collect();
        outbox.append(&events).unwrap();
    }
    site.shared.with(|faults| faults.free = Some(1 << 20));
    let head = outbox.head();
    assert!(matches!(outbox.append(&next_events(head, head.number + 1)), Err(AppendError::DiskFull { .. })));
    outbox.set_floor(head);
    outbox.acknowledge(E1, head.number).unwrap();
    fill(&mut outbox, head.number + 10, 1);
}

/// A commit that is durable is told as durable, whatever fails behind it.
#[test]
fn failure_behind_the_sync_poisons_and_takes_nothing_back() {
    let mut site = Site::new();
    drop(site.filled(5, 5));
    site.machine = [2; 16];
    let (mut outbox, begun) = site.open(2);
    site.shared.with(|faults| faults.puts.extend([None, Some(ErrorKind::StorageFull)]));
    start(&mut outbox, &begun);
    assert!(outbox.is_poisoned());
    let head = outbox.head();
    assert_eq!((head.epoch, head.number), (EpochId(2), 2));
    assert_eq!(outbox.reopen(EpochId(3)).unwrap(), Begun::AsLeft);
    assert_eq!((outbox.head(), numbers(&mut outbox, 2).len()), (head, 2));
}

#[test]
fn closed_store_that_lets_go_late_is_waited_for() {
    let site = Site::new();
    drop(site.filled(5, 5));
    let data = fs::File::open(site.store().join("db")).unwrap();
    rustix::fs::flock(&data, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let (opening, closing) = std::sync::mpsc::channel();
    let holder = std::thread::spawn(move || {
        closing.recv().unwrap();
        drop(data);
    });
    opening.send(()).unwrap();
    assert_eq!(site.open(2).1, Begun::AsLeft);
    holder.join().unwrap();
}

#[test]
fn closed_store_that_never_lets_go_is_copied() {
    let site = Site::new();
    drop(site.filled(5, 5));
    let data = fs::File::open(site.store().join("db")).unwrap();
    rustix::fs::flock(&data, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let (mut outbox, begun) = site.open(2);
    assert!(matches!(begun, Begun::NewEpoch { why: NewEpochWhy::Damaged, .. }));
    start(&mut outbox, &begun);
    assert_eq!(numbers(&mut outbox, 1).len(), 5);
}
