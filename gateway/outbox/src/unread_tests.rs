//! What the disk did not confirm is copied before it is believed; what it does not give is awaited.

use std::fs;

use crate::error::{OpenError, StoreError};
use crate::lab_tests::*;
use crate::outbox::Outbox;
use crate::types::{Begun, NewEpochWhy};

const NOTE: &str = "unconfirmed";

#[test]
fn store_of_a_process_whose_sync_failed_is_copied_by_the_next_one() {
    let site = Site::new();
    let mut outbox = site.filled(10, 4);
    let note = site.path().join(NOTE);
    assert!(!note.exists());
    outbox.fail(StoreError::NotSynced(std::io::ErrorKind::Other.into()));
    assert!(note.exists(), "nobody would know of it");
    drop(outbox);
    let before = site.store();
    let (mut outbox, begun) = site.open(2);
    assert!(matches!(begun, Begun::NewEpoch { why: NewEpochWhy::Damaged, .. }), "{begun:?}");
    assert!(site.store() != before && !note.exists());
    start(&mut outbox, &begun);
    assert_eq!(numbers(&mut outbox, 1).len(), 10, "all of it is there");
    drop(outbox);
    assert_eq!(site.open(3).1, Begun::AsLeft);
}

#[test]
fn store_that_is_reopened_after_a_failed_sync_needs_no_second_copy() {
    let site = Site::new();
    let mut outbox = site.filled(10, 4);
    outbox.fail(StoreError::NotSynced(std::io::ErrorKind::Other.into()));
    let begun = outbox.reopen(kalitka_protocol::EpochId(2)).unwrap();
    assert!(!site.path().join(NOTE).exists());
    start(&mut outbox, &begun);
    drop(outbox);
    assert_eq!(site.open(3).1, Begun::AsLeft);
}

#[test]
fn name_that_the_disk_does_not_give_is_awaited() {
    let site = Site::new();
    drop(site.filled(10, 4));
    // A folder in its place stands for whatever cannot be read.
    let name =
        ["store.a", "store.b"].map(|name| site.path().join(name)).into_iter().find(|path| path.exists()).unwrap();
    let kept = fs::read(&name).unwrap();
    fs::remove_file(&name).unwrap();
    fs::create_dir(&name).unwrap();
    for _ in 0..3 {
        let error = Outbox::open_if_readable(site.opening(&site.path(), 2)).unwrap_err();
        assert!(matches!(error, OpenError::Io { .. }), "{error}");
    }
    fs::remove_dir(&name).unwrap();
    fs::write(&name, &kept).unwrap();
    let (_, begun) = Outbox::open_if_readable(site.opening(&site.path(), 2)).unwrap();
    assert_eq!(begun, Begun::AsLeft, "what came back was taken for lost");
}
