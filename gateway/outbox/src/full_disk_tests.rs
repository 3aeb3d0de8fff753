//! A disk that is really full, because somebody else has filled it at any moment.

#[path = "../tests/support/small_disk.rs"]
mod small_disk;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kalitka_protocol::EpochId;

use crate::Outbox;
use crate::error::AppendError;
use crate::lab_tests::*;
use crate::types::{Begun, Bounds, Head};
use small_disk::SmallDisk;

const PATIENCE: Duration = Duration::from_secs(60);

/// A site on `disk`, where what is free is what the disk says.
fn site_on(disk: &SmallDisk, without_sled: bool) -> Site {
    let site = Site::at(&disk.path());
    site.shared.with(|faults| (faults.on_machine, faults.without_sled) = (true, without_sled));
    Site { limits: Bounds { keep_acknowledged: 0, ..ROOMY }, ..site }
}

/// An outbox, as the journal has it.
struct Journal {
    outbox: Outbox,
    /// What an epoch begins with, until that is durable.
    begun: Option<Begun>,
    fresh: u64,
}

impl Journal {
    /// Appends one event: after a failure the store is opened anew, and the event comes again. Gives its identity once it is
    /// durable; none when it is time to give up.
    fn append(&mut self, text: &[u8], deadline: Instant) -> Option<(u64, u64)> {
        while Instant::now() < deadline {
            if let Some(head) = self.try_append(text) {
                return Some((head.epoch.0, head.number));
            }
            std::thread::yield_now();
        }
        None
    }

    fn try_append(&mut self, text: &[u8]) -> Option<Head> {
        if self.outbox.is_poisoned() {
            self.fresh += 1;
            let begun = self.outbox.reopen(EpochId(self.fresh)).ok()?;
            if let Begun::NewEpoch { losses, .. } = &begun {
                assert_eq!(losses[..], [], "what was durable is lost");
                self.begun = Some(begun);
            }
        }
        let mut events = self.begun.as_ref().map_or_else(Vec::new, |begun| beginning(&self.outbox, begun));
        let head = self.outbox.head();
        events.extend(said(head.epoch, head.number + 1 + u64::from(!events.is_empty()), text));
        let head = self.outbox.append(&events).ok()?;
        self.begun = None;
        Some(head)
    }
}

fn lives_through_a_disk_that_others_fill(without_sled: bool, seed: u64) {
    let disk = SmallDisk::mount(112);
    let site = site_on(&disk, without_sled);
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut outbox, begun) = site.open(1);
    start(&mut outbox, &begun);
    let (mut journal, mut durable) = (Journal { outbox, begun: None, fresh: 1 }, BTreeMap::new());
    let filler = disk.filler(seed);
    let until = Instant::now() + Duration::from_secs(4);
    let mut texts = 0..;
    while Instant::now() < until {
        let text = format!("{:06} {}", texts.next().unwrap(), "x".repeat(rng.usize(..2000))).into_bytes();
        if let Some(identity) = journal.append(&text, until) {
            assert_eq!(durable.insert(identity, text), None, "an identity was given twice");
        }
        let outbox = &mut journal.outbox;
        if rng.u8(..20) == 0 && !outbox.is_poisoned() {
            let head = outbox.head();
            outbox.set_floor(head);
            let number = head.number.saturating_sub(rng.u64(..200));
            // Also one that fails may have removed some.
            let _ = outbox.acknowledge(head.epoch, number);
            durable.retain(|&(epoch, of), _| epoch != head.epoch.0 || of > number);
        }
    }
    drop(filler);
    // By itself: nobody does anything but come again.
    let deadline = Instant::now() + PATIENCE;
    let last = journal.append(b"the last", deadline).expect("it does not recover");
    durable.insert(last, b"the last".to_vec());
    let Journal { mut outbox, fresh, .. } = journal;
    assert!(outbox.usage().has_reserve, "the reserve is there again");
    assert!(durable.len() > 3, "{}", durable.len());
    judge(&mut outbox, &durable);
    drop(outbox);
    let (mut outbox, begun) = site.open(fresh + 1);
    assert_eq!(begun, Begun::AsLeft);
    judge(&mut outbox, &durable);
}

/// All that was durable and is not acknowledged is there, as it was.
fn judge(outbox: &mut Outbox, durable: &BTreeMap<(u64, u64), Vec<u8>>) {
    let held: BTreeMap<_, _> =
        held(outbox).into_iter().map(|(epoch, number, bytes)| ((epoch, number), bytes)).collect();
    for (identity, text) in durable {
        assert_eq!(held.get(identity).map(|bytes| &bytes[48..]), Some(&text[..]), "{identity:?}");
    }
}

#[test]
fn sled_lives_through_a_disk_that_others_fill() {
    (1..=2).for_each(|seed| lives_through_a_disk_that_others_fill(false, seed));
}

#[test]
fn segment_log_lives_through_a_disk_that_others_fill() {
    (1..=2).for_each(|seed| lives_through_a_disk_that_others_fill(true, seed));
}

#[test]
fn reserve_makes_room_for_removals_when_the_disk_is_full_to_the_last_block() {
    for without_sled in [false, true] {
        let disk = SmallDisk::mount(112);
        let site = site_on(&disk, without_sled);
        let (mut outbox, begun) = site.open(1);
        start(&mut outbox, &begun);
        fill(&mut outbox, 2000, 10);
        assert!(outbox.usage().has_reserve);
        outbox.set_floor(outbox.head());
        disk.fill();
        assert!(outbox.usage().disk_percent >= 99, "{}", outbox.usage().disk_percent);
        let head = outbox.head();
        let refused = outbox.append(&next_events(head, 2001));
        assert!(matches!(refused, Err(AppendError::DiskFull { .. })), "{refused:?}");
        // What the hub has leaves, and can be told of after a restart, on the room of the reserve.
        assert!(outbox.give_reserve_back());
        outbox.acknowledge(EpochId(1), 1500).unwrap();
        outbox.on_store(|store, _| store.sync()).unwrap();
        let refused = outbox.append(&next_events(head, 2001));
        assert!(
            matches!(refused, Err(AppendError::DiskFull { .. })),
            "the reserve is not for more events: {refused:?}"
        );
        drop(outbox);
        let (mut outbox, begun) = site.open(2);
        assert_eq!(begun, Begun::AsLeft);
        assert_eq!(outbox.epochs()[0].acknowledged, 1500);
        assert_eq!(held(&mut outbox).first().unwrap().1, 1501);
        assert!(outbox.append(&next_events(head, 2001)).is_err());
        disk.free();
        outbox.append(&next_events(head, 2001)).unwrap();
        assert!(outbox.usage().has_reserve, "it is made anew");
    }
}
