//! A store that is not exactly as it was left: a new epoch, and everything whole is kept.

use std::fs;

use kalitka_protocol::EpochId;
use kalitka_protocol::event::{Loss, LossCause, UNKNOWN_END};

use crate::error::{AppendError, OpenError};
use crate::lab_tests::*;
use crate::limits::{DISK_RESERVE, QUARANTINE_BYTES_MAX, QUARANTINE_STORES_MAX, RESERVE_BYTES};
use crate::record::Void;
use crate::sled_store::{Disk, SledStore};
use crate::store::{Key, Store};
use crate::types::{Begun, Head, NewEpochWhy};

const E1: EpochId = EpochId(1);

fn unknown_end(epoch: u64, first: u64) -> Loss {
    Loss { epoch: EpochId(epoch), first, last: UNKNOWN_END, cause: LossCause::Damaged, count: 0 }
}

#[test]
fn other_machine_goes_on_in_a_new_epoch() {
    let mut site = Site::new();
    let head = site.filled(10, 4).head();
    site.machine = [2; 16];
    let (mut outbox, begun) = site.open(2);
    let losses = vec![unknown_end(1, 11)];
    assert_eq!(begun, Begun::NewEpoch { before: Some(head), losses, why: NewEpochWhy::OtherMachine });
    start(&mut outbox, &begun);
    assert_eq!(numbers(&mut outbox, 1).len(), 10, "the old epoch's events are still sent");
    assert_eq!(numbers(&mut outbox, 2), [1, 2]);
    drop(outbox);
    assert_eq!(site.open(3).1, Begun::AsLeft);
}

#[test]
fn missing_store_that_a_checkpoint_knows_is_a_loss() {
    let site = Site { known: Some(Head { epoch: E1, number: 500, hash: [3; 32] }), ..Site::new() };
    let (mut outbox, begun) = site.open(2);
    let losses = vec![unknown_end(1, 1)];
    assert_eq!(begun, Begun::NewEpoch { before: site.known, losses, why: NewEpochWhy::Missing });
    start(&mut outbox, &begun);
    let open: Vec<_> = outbox.epochs().iter().map(|epoch| (epoch.epoch.0, epoch.loss_open)).collect();
    assert_eq!(open, [(2, None), (1, Some(1))], "the hub is asked what it holds of the lost epoch");
    drop(outbox);
    let (outbox, begun) = site.open(3);
    assert_eq!((begun, outbox.epochs().len()), (Begun::AsLeft, 2));
}

#[test]
fn store_that_ends_before_the_checkpoint_is_not_gone_on_with() {
    let mut site = Site::new();
    let mut outbox = site.filled(10, 4);
    let old = tempfile::tempdir().unwrap();
    copy_folder(&site.path(), old.path());
    fill(&mut outbox, 30, 4);
    site.known = Some(outbox.head());
    drop(outbox);
    assert_eq!(site.open(2).1, Begun::AsLeft);
    let (mut outbox, begun) = site.try_open_at(old.path(), 3).unwrap();
    let losses = vec![unknown_end(1, 11)];
    assert_eq!(begun, Begun::NewEpoch { before: site.known, losses, why: NewEpochWhy::Older });
    start(&mut outbox, &begun);
    assert_eq!(numbers(&mut outbox, 1).len(), 10);
}

#[test]
fn store_with_other_events_than_the_checkpoint_saw_is_not_gone_on_with() {
    let mut site = Site::new();
    let outbox = site.filled(10, 4);
    site.known = Some(Head { number: 8, hash: [9; 32], ..outbox.head() });
    drop(outbox);
    assert!(matches!(site.open(2).1, Begun::NewEpoch { why: NewEpochWhy::Older, .. }));
}

#[test]
fn older_store_of_an_epoch_before_the_known_one_keeps_its_events() {
    let mut site = Site::new();
    drop(site.filled(10, 4));
    site.known = Some(Head { epoch: EpochId(8), number: 70, hash: [8; 32] });
    let (mut outbox, begun) = site.open(9);
    let losses = vec![unknown_end(1, 11), unknown_end(8, 1)];
    assert_eq!(begun, Begun::NewEpoch { before: site.known, losses, why: NewEpochWhy::Older });
    start(&mut outbox, &begun);
    drop(outbox);
    site.known = None;
    let (mut outbox, begun) = site.open(10);
    assert_eq!((begun, numbers(&mut outbox, 1).len()), (Begun::AsLeft, 10));
    assert_eq!(outbox.epochs().len(), 3);
}

/// Every tenth of the data file damaged in turn: sled takes damage in its newest segment for a torn end, in silence.
#[test]
fn damage_costs_the_damaged_blocks_alone_and_is_told() {
    let site = Site::new();
    drop(site.filled(10_000, 10));
    let whole = fs::read(site.store().join("db")).unwrap();
    for tenth in 1..10 {
        let copy = Site::new();
        copy_folder(&site.path(), &copy.path());
        let mut bytes = whole.clone();
        bytes[whole.len() / 10 * tenth] ^= 1;
        fs::write(copy.store().join("db"), bytes).unwrap();
        let (mut outbox, begun) = copy.open(2);
        let kept = numbers(&mut outbox, 1);
        assert!(kept.len() >= 9_990, "tenth {tenth}: {}", kept.len());
        if begun == Begun::AsLeft {
            assert_eq!(kept.len(), 10_000, "tenth {tenth}: nothing was needed of what was damaged");
            continue;
        }
        let Begun::NewEpoch { before, losses, why: NewEpochWhy::Damaged } = &begun else { panic!("{begun:?}") };
        assert_eq!(before.unwrap().number, *kept.last().unwrap());
        let lost = |number: u64| losses.iter().any(|loss| (loss.first..=loss.last).contains(&number));
        assert!((1..=10_000).all(|number| kept.binary_search(&number).is_ok() != lost(number)), "{losses:?}");
        assert_eq!(losses.last(), Some(&unknown_end(1, kept.last().unwrap() + 1)));
        start(&mut outbox, &begun);
        drop(outbox);
        let (mut outbox, begun) = copy.open(3);
        assert_eq!((begun, numbers(&mut outbox, 1)), (Begun::AsLeft, kept), "told once, whole from then on");
    }
}

#[test]
fn every_cut_of_the_tail_is_found_or_costs_nothing() {
    let mut site = Site::new();
    let outbox = site.filled(3_000, 10);
    site.known = Some(outbox.head());
    drop(outbox);
    let whole = fs::read(site.store().join("db")).unwrap();
    for cut in [1, 100, 4096, 65_536, whole.len() / 2] {
        let mut copy = Site::new();
        copy.known = site.known;
        copy_folder(&site.path(), &copy.path());
        fs::write(copy.store().join("db"), &whole[..whole.len() - cut]).unwrap();
        let (mut outbox, begun) = copy.open(2);
        let kept = numbers(&mut outbox, 1);
        if begun == Begun::AsLeft {
            assert_eq!(kept.len(), 3_000, "{cut}");
        } else {
            assert!(matches!(&begun, Begun::NewEpoch { losses, .. } if !losses.is_empty()), "{cut} {begun:?}");
            start(&mut outbox, &begun);
        }
        let next = outbox.head().number + 1;
        fill(&mut outbox, next, 1);
    }
}

#[test]
fn folder_without_its_name_is_salvaged() {
    let site = Site::new();
    let head = site.filled(100, 10).head();
    fs::write(site.path().join("store.b"), b"rubbish").unwrap();
    let (mut outbox, begun) = site.open(2);
    assert!(matches!(begun, Begun::NewEpoch { before, why: NewEpochWhy::Damaged, .. } if before == Some(head)));
    start(&mut outbox, &begun);
    assert_eq!(numbers(&mut outbox, 1).len(), 100);
    drop(outbox);
    assert_eq!(site.open(3).1, Begun::AsLeft);
}

/// The older generation names a store that has been replaced: believing it would throw the new one away.
#[test]
fn older_name_is_not_believed_when_the_newest_is_damaged() {
    let site = Site::new();
    drop(site.filled(100, 10));
    fs::write(site.store().join("conf"), vec![b'x'; 100]).unwrap();
    let (mut outbox, begun) = site.open(2);
    start(&mut outbox, &begun);
    fill(&mut outbox, 20, 5);
    drop(outbox);
    fs::write(site.path().join("store.a"), b"rubbish").unwrap();
    let (mut outbox, begun) = site.open(3);
    start(&mut outbox, &begun);
    assert_eq!((numbers(&mut outbox, 1).len(), numbers(&mut outbox, 2).len()), (100, 20));
}

#[test]
fn damaged_stores_go_to_quarantine_and_the_newest_are_kept() {
    let site = Site::new();
    drop(site.filled(100, 10));
    let mut usage = crate::types::Usage::default();
    for fresh in 2..8 {
        fs::write(site.store().join("conf"), vec![b'x'; 100]).unwrap();
        let (mut outbox, begun) = site.open(fresh);
        assert!(matches!(begun, Begun::NewEpoch { why: NewEpochWhy::Damaged, .. }));
        start(&mut outbox, &begun);
        assert_eq!(numbers(&mut outbox, 1).len(), 100);
        usage = outbox.usage();
    }
    let kept = fs::read_dir(site.path().join("quarantine")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut kept: Vec<_> = kept.map(|name| name.into_string().unwrap()).collect();
    kept.sort();
    assert_eq!(kept, ["sled-4", "sled-5", "sled-6"]);
    assert_eq!(usage.quarantined, QUARANTINE_STORES_MAX as u64);
    assert!(usage.quarantine_bytes > 0 && usage.quarantine_bytes <= QUARANTINE_BYTES_MAX, "{usage:?}");
}

/// What is kept for a look keeps nothing from being opened.
#[test]
fn quarantine_that_cannot_be_used_keeps_no_store_from_being_opened_or_cured() {
    let site = Site::new();
    drop(site.filled(100, 10));
    // Not a folder: it is neither listed nor does it take anything in.
    fs::write(site.path().join("quarantine"), b"").unwrap();
    for fresh in 2..6 {
        // There is one store, and none beside it of the cure before.
        fs::write(site.store().join("conf"), vec![b'x'; 100]).unwrap();
        let (mut outbox, begun) = site.open(fresh);
        start(&mut outbox, &begun);
        assert_eq!(numbers(&mut outbox, 1).len(), 100);
    }
    assert_eq!(site.open(6).1, Begun::AsLeft);
}

/// What was copied is worth more than what is kept to be looked at.
#[test]
fn quarantine_gives_way_when_the_disk_is_too_full_for_a_new_store() {
    let site = Site::new();
    drop(site.filled(100, 10));
    fs::write(site.store().join("conf"), vec![b'x'; 100]).unwrap();
    let (mut outbox, begun) = site.open(2);
    start(&mut outbox, &begun);
    assert_eq!(outbox.usage().quarantined, 1);
    drop(outbox);
    fs::write(site.store().join("conf"), vec![b'x'; 100]).unwrap();
    site.shared.with(|faults| faults.free = Some(1));
    assert!(matches!(site.try_open(3), Err(OpenError::StillFull { .. })));
    assert!(!site.path().join("quarantine").exists());
    site.shared.with(|faults| faults.free = None);
    assert_eq!(numbers(&mut site.open(3).0, 1).len(), 100);
}

/// Without the room of the reserve nothing would ever open.
#[test]
fn reserve_is_given_back_for_a_store_that_cannot_be_opened_without_its_room() {
    let site = Site::new();
    let mut outbox = site.filled(1000, 10);
    let bytes = outbox.usage().block_bytes;
    outbox.set_floor(outbox.head());
    drop(outbox);
    fs::write(site.store().join("conf"), vec![b'x'; 100]).unwrap();
    // What a salvage needs of the disk is more than is free of it, and less than is free with the reserve's room.
    site.shared.with(|faults| (faults.free, faults.reserve) = (Some(DISK_RESERVE + bytes - RESERVE_BYTES), true));
    let (mut outbox, begun) = site.open(2);
    assert_eq!((numbers(&mut outbox, 1).len(), outbox.usage().has_reserve), (1000, false));
    let refused = outbox.append(&beginning(&outbox, &begun));
    assert!(
        matches!(refused, Err(AppendError::DiskFull { .. })),
        "what was given back is not taken for room: {refused:?}"
    );
    site.shared.with(|faults| faults.free = None);
    start(&mut outbox, &begun);
    assert!(outbox.usage().has_reserve, "it is made anew");
    drop(outbox);
    // The store is whole, and what must be written to open it has no room.
    let why = crate::StoreError::Io(std::io::ErrorKind::StorageFull.into());
    site.shared.with(|faults| (faults.free, faults.opens) = (Some(0), [Some(why)].into()));
    assert_eq!(numbers(&mut site.open(3).0, 1).len(), 1000);
    assert!(!site.shared.with(|faults| faults.reserve));
}

#[test]
fn interrupted_salvage_is_begun_again() {
    let site = Site::new();
    drop(site.filled(100, 10));
    fs::create_dir_all(site.path().join("sled-2/blobs")).unwrap();
    fs::write(site.path().join("sled-2/db"), b"half").unwrap();
    let (mut outbox, begun) = site.open(2);
    assert_eq!((begun, numbers(&mut outbox, 1).len()), (Begun::AsLeft, 100));
    assert!(!site.path().join("sled-2").exists());
}

#[test]
fn outbox_is_one_processs_and_one_buildings() {
    let mut site = Site::new();
    let outbox = site.filled(1, 1);
    assert!(matches!(site.try_open(2), Err(OpenError::Locked { .. })));
    drop(outbox);
    site.building = BUILDING + 1;
    assert!(matches!(site.try_open(2), Err(OpenError::Building { found: BUILDING, .. })));
}

#[test]
fn append_that_failed_leaves_nothing_behind() {
    let site = Site::new();
    let mut outbox = site.filled(5, 5);
    let head = outbox.head();
    let large: Vec<u8> = (6..=100).flat_map(|number| said(E1, number, &[7; 4000])).collect();
    site.shared.with(|faults| faults.flushes.push_back(Some(std::io::ErrorKind::StorageFull)));
    outbox.append(&large).unwrap_err();
    assert_eq!(outbox.reopen(EpochId(2)).unwrap(), Begun::AsLeft);
    assert_eq!((outbox.head(), numbers(&mut outbox, 1)), (head, vec![1, 2, 3, 4, 5]));
    fill(&mut outbox, 7, 1);
    let events = held(&mut outbox);
    drop(outbox);
    let (mut outbox, begun) = site.open(2);
    assert_eq!((begun, held(&mut outbox)), (Begun::AsLeft, events));
}

/// What failed may still lie in the files; salvage must not take it for history.
#[test]
fn append_that_failed_is_not_salvaged_either() {
    let site = Site::new();
    let mut outbox = site.filled(5, 5);
    let large: Vec<u8> = (6..=100).flat_map(|number| said(E1, number, &[7; 4000])).collect();
    site.shared.with(|faults| faults.syncs.push_back(Some(std::io::ErrorKind::Other)));
    outbox.append(&large).unwrap_err();
    let begun = outbox.reopen(EpochId(2)).unwrap();
    assert!(matches!(&begun, Begun::NewEpoch { losses, .. } if losses.is_empty()), "{begun:?}");
    start(&mut outbox, &begun);
    assert_eq!(numbers(&mut outbox, 1), [1, 2, 3, 4, 5]);
    drop(outbox);
    fs::write(site.store().join("conf"), vec![b'x'; 100]).unwrap();
    let (mut outbox, _) = site.open(3);
    assert_eq!(numbers(&mut outbox, 1), [1, 2, 3, 4, 5]);
}

#[test]
fn what_failed_before_is_no_gap_in_what_came_after() {
    let site = Site::new();
    let mut outbox = site.filled(5, 5);
    let large: Vec<u8> = (6..=100).flat_map(|number| said(E1, number, &[7; 4000])).collect();
    site.shared.with(|faults| faults.puts.extend([None, None, Some(std::io::ErrorKind::StorageFull)]));
    outbox.append(&large).unwrap_err();
    assert_eq!(outbox.reopen(EpochId(2)).unwrap(), Begun::AsLeft);
    fill(&mut outbox, 10, 1);
    drop(outbox);
    fs::write(site.store().join("conf"), vec![b'x'; 100]).unwrap();
    let Begun::NewEpoch { losses, .. } = site.open(3).1 else { panic!() };
    assert_eq!(losses, [unknown_end(1, 11)]);
}

/// The process ended when the mark was durable and the blocks were not removed yet.
#[test]
fn blocks_marked_as_void_do_not_come_back() {
    let site = Site::new();
    let mut outbox = site.filled(30, 5);
    let hash = outbox.hash_at(E1, 20).unwrap();
    drop(outbox);
    let mut store = SledStore::open(&site.store(), Box::new(Disk)).unwrap();
    let key = Key { ordinal: 1, number: 0 };
    let mut record = crate::record::parse(&store.at_or_before(key).unwrap().unwrap().1).unwrap();
    record.void = Void { number: 20, sequence: 1000 };
    store.put(key, &record.to_bytes()).unwrap();
    store.sync().unwrap();
    drop(store);
    // It never says what was not durable.
    fs::remove_file(site.path().join("mark")).unwrap();
    let (mut outbox, begun) = site.open(2);
    assert_eq!((begun, outbox.head().number, Some(outbox.head().hash)), (Begun::AsLeft, 20, hash));
    fill(&mut outbox, 24, 1);
    drop(outbox);
    let (mut outbox, begun) = site.open(3);
    assert_eq!((begun, numbers(&mut outbox, 1)), (Begun::AsLeft, (1..=24).collect::<Vec<_>>()));
}

#[test]
fn month_of_events_is_salvaged_within_two_seconds() {
    let site = Site::new();
    drop(site.filled(100_000, 1000));
    fs::write(site.store().join("conf"), vec![b'x'; 100]).unwrap();
    let begun_at = std::time::Instant::now();
    let (mut outbox, begun) = site.open(2);
    start(&mut outbox, &begun);
    let took = begun_at.elapsed();
    println!("{took:?}");
    assert_eq!(outbox.usage().events, 100_002);
    // Two seconds on a quiet machine; others work here too.
    assert!(took < std::time::Duration::from_secs(10), "{took:?}");
}

#[test]
fn store_that_is_missing_names_every_epoch_that_the_hub_lacks() {
    let newest = Head { epoch: EpochId(8), number: 70, hash: [8; 32] };
    let earlier = vec![EpochId(6), EpochId(8), EpochId(7)];
    let mut site = Site { known: Some(newest), earlier, ..Site::new() };
    let (outbox, begun) = site.open(9);
    let losses = vec![unknown_end(6, 1), unknown_end(7, 1), unknown_end(8, 1)];
    assert_eq!(begun, Begun::NewEpoch { before: Some(newest), losses, why: NewEpochWhy::Missing });
    let open: Vec<_> = outbox.epochs().iter().filter(|of| of.loss_open == Some(1)).map(|of| of.epoch).collect();
    assert_eq!(open, [EpochId(8), EpochId(7), EpochId(6)], "the hub is asked for each of them");
    drop(outbox);
    site.earlier.clear();
    let again = site.open(10).1;
    assert!(matches!(again, Begun::NewEpoch { losses, .. } if losses.len() == 3), "told again until it is durable");
}

#[test]
fn older_store_names_the_epochs_that_began_behind_it() {
    let mut site = Site::new();
    drop(site.filled(10, 5));
    site.known = Some(Head { epoch: EpochId(8), number: 70, hash: [8; 32] });
    site.earlier = vec![E1, EpochId(7)];
    let (_, begun) = site.open(9);
    let losses = vec![unknown_end(1, 11), unknown_end(7, 1), unknown_end(8, 1)];
    assert_eq!(begun, Begun::NewEpoch { before: site.known, losses, why: NewEpochWhy::Older });
}
