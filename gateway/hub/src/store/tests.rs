use std::collections::BTreeMap;

use kalitka_protocol::EpochId;
use kalitka_protocol::event::{Body, ClockQuality, EpochBegun, Event, EventHeader, GatewayStarted};
use kalitka_protocol::upstream::{Batch, batch_signed};
use kalitka_protocol::wire::Writer;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use super::append::append;
use super::*;
use crate::ledger::{Ledger, Standing};
use crate::pki::GatewayCertificate;

const BUILDING: u32 = 17;

fn key() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap()
}

fn public() -> [u8; 32] {
    key().public_key().as_ref().try_into().unwrap()
}

/// As when the gateway has shown its certificate.
fn know_key(store: &Store) {
    let (building, serial, public_key) = (BUILDING, vec![1], public());
    let shown = GatewayCertificate { building, serial, public_key, not_before: 0, not_after: 9 };
    assert_eq!(Ledger::of(store).standing(&shown).unwrap(), Standing::Unknown);
}

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    (folder, store)
}

/// Event `number` of the history `salt` of an epoch, of about `len` bytes.
fn event(epoch: u64, number: u64, salt: u32, len: usize) -> Vec<u8> {
    let header = EventHeader {
        building: BUILDING,
        epoch: EpochId(epoch),
        number,
        wall_us: 1,
        monotonic_us: 2,
        gateway_boot: 3,
        quality: ClockQuality::Good,
        jumped: false,
    };
    let filler = vec![0; len];
    let body = match number {
        1 => Body::EpochBegun(EpochBegun { before: None, last: 0, hash: [0; 32] }),
        _ if len > 0 => Body::Unknown { kind: 200, bytes: &filler },
        _ => Body::GatewayStarted(GatewayStarted { readers: salt, version: b"1" }),
    };
    let mut bytes = vec![0; 4096];
    let mut out = Writer::new(&mut bytes);
    Event { header, body }.emit(&mut out).unwrap();
    let written = out.len();
    bytes.truncate(written);
    bytes
}

/// The batch `first` to `last` of a history of which `event` and `hash` give number n.
fn batch(epoch: u64, first: u64, events: &[Vec<u8>], hash_before: [u8; 32]) -> Checked {
    checked(epoch, first, events, hash_before).unwrap()
}

fn checked(epoch: u64, first: u64, events: &[Vec<u8>], hash_before: [u8; 32]) -> Result<Checked, NotSound> {
    let bytes = events.concat();
    let (hash, count) = kalitka_protocol::event::chain_all(&hash_before, &bytes).unwrap();
    let signed = batch_signed(BUILDING, EpochId(epoch), first + (count - 1), &hash);
    let batch = Batch {
        epoch: EpochId(epoch),
        first,
        hash_before,
        count: u32::try_from(count).unwrap(),
        events: &bytes,
        hash,
        signature: key().sign(&signed).as_ref().try_into().unwrap(),
    };
    Checked::check(BUILDING, public(), &batch, 5)
}

fn put(store: &Store, batch: &Checked) -> Taken {
    store.write(|transaction| append(&mut Tables::open(transaction)?, batch)).unwrap()
}

/// Every kept number of an epoch with its hash; what stands in the store holds together.
fn kept(store: &Store, epoch: u64) -> BTreeMap<u64, [u8; 32]> {
    let mut kept = BTreeMap::new();
    let mut from = 1;
    loop {
        let page = store.history(BUILDING, EpochId(epoch), from, 5000).unwrap();
        let Some(last) = page.last() else { return kept };
        from = last.last() + 1;
        for record in &page {
            assert!(record.events.len() <= RECORD_EVENTS_MAX);
            assert_eq!(record.placed(0).count(), usize::try_from(record.count).unwrap());
            for placed in record.placed(0) {
                let placed = placed.unwrap();
                assert!(kept.insert(placed.raw.header.number, placed.hash).is_none(), "twice");
            }
            assert_eq!(kept[&record.last()], record.hash);
        }
    }
}

const RECORD_EVENTS_MAX: usize = crate::limits::RECORD_BYTES_MAX - record::HEAD_LEN;

/// Random batches of two histories that part at a random number, against a map of what must be kept.
#[test]
fn each_identity_is_kept_once_with_one_hash_whatever_comes() {
    const NUMBERS: u64 = 60;
    for seed in 0..40 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (_folder, store) = store();
        let parts = random.u64(2..=NUMBERS);
        let histories: Vec<(Vec<_>, Vec<_>)> = (0..2)
            .map(|history| {
                let salt = |number: u64| if number >= parts { history } else { 0 };
                let events: Vec<_> = (1..=NUMBERS).map(|number| event(7, number, salt(number), 0)).collect();
                let hashes = events.iter().scan([0; 32], |hash, event| {
                    *hash = kalitka_protocol::event::chain(hash, event);
                    Some(*hash)
                });
                let hashes = std::iter::once([0_u8; 32]).chain(hashes).collect();
                (events, hashes)
            })
            .collect();
        // Number by number: the hash that is known, and whether the event is kept.
        let mut known: BTreeMap<u64, [u8; 32]> = BTreeMap::new();
        let mut model: BTreeMap<u64, [u8; 32]> = BTreeMap::new();
        let mut order = 0;
        for _ in 0..60 {
            let (events, hashes) = &histories[usize::from(random.u8(..10) == 0)];
            let first = random.u64(1..=NUMBERS);
            let last = random.u64(first..=NUMBERS.min(first + 12));
            let at = |number: u64| usize::try_from(number).unwrap();
            let taken = put(&store, &batch(7, first, &events[at(first) - 1..at(last)], hashes[at(first) - 1]));
            let differs = |number: u64| known.get(&number).is_some_and(|hash| *hash != hashes[at(number)]);
            match taken {
                Taken::Kept { new, order: newest } => {
                    assert!(!(first - 1..=last).any(differs), "seed {seed}: a fork was kept");
                    let fresh = (first..=last).filter(|number| !model.contains_key(number)).count() as u64;
                    order += fresh;
                    assert_eq!((new, newest), (fresh, order), "seed {seed}");
                    model.extend((first..=last).map(|number| (number, hashes[at(number)])));
                    known.extend((first - 1..=last).map(|number| (number, hashes[at(number)])));
                }
                Taken::Fork { number, .. } => {
                    assert!((first - 1..=last).any(differs), "seed {seed}: no fork in {first} to {last}");
                    assert!((first..=last).contains(&number));
                    let before = (first..number).filter(|number| model.contains_key(number));
                    assert!(before.map(differs).all(|differs| !differs), "seed {seed}: {number} is not the first");
                    assert!(!(first..number).any(differs), "seed {seed}: {number} is not the first");
                }
                Taken::Dropped => panic!("nothing drops here"),
            }
        }
        assert_eq!(kept(&store, 7), model, "seed {seed}");
        let head = store.head(BUILDING, EpochId(7)).unwrap().unwrap();
        let (last, hash) = model.last_key_value().unwrap();
        assert_eq!((head.last, head.hash, head.count), (*last, *hash, model.len() as u64));
        orders_are_one_row(&store, order);
    }
}

/// Read page by page of any size, from any order number on, the events come in their order and each once.
fn orders_are_one_row(store: &Store, newest: u64) {
    for bytes_max in [1, 1000, 1 << 20] {
        for building in [None, Some(BUILDING)] {
            for start in [0, 1, newest / 2, newest] {
                let mut after = start;
                loop {
                    let page = store.page(after, building, bytes_max).unwrap().records;
                    let Some(last) = page.last() else { break };
                    for placed in page.iter().flat_map(|record| record.placed(after).collect::<Vec<_>>()) {
                        start.checked_add(1).unwrap();
                        let order = placed.unwrap().order;
                        assert!(order > after);
                    }
                    let first = page[0].placed(after).next().unwrap().unwrap().order;
                    assert_eq!(first, after + 1);
                    after = last.last_order();
                }
                assert_eq!(after, newest.max(start));
            }
            assert!(store.page(newest + 5, building, bytes_max).unwrap().records.is_empty());
        }
    }
    assert!(store.page(0, Some(BUILDING + 1), 1000).unwrap().records.is_empty());
}

#[test]
fn large_batch_is_cut_into_records_and_comes_back_whole() {
    let (_folder, store) = store();
    let events: Vec<_> = (1..=250).map(|number| event(7, number, 0, 4000)).collect();
    let taken = put(&store, &batch(7, 1, &events, [0; 32]));
    assert_eq!(taken, Taken::Kept { new: 250, order: 250 });
    assert_eq!(kept(&store, 7).len(), 250);
    let mut bytes: Vec<u8> = Vec::new();
    let mut from = 1;
    loop {
        let page = store.history(BUILDING, EpochId(7), from, 1).unwrap();
        let [record] = &page[..] else { break };
        assert!(record.first == from && record.signed.number == 250);
        bytes.extend(&record.events);
        from = record.last() + 1;
    }
    assert_eq!(bytes, events.concat());
    orders_are_one_row(&store, 250);
    know_key(&store);
    assert!(crate::verify::verify(&store, BUILDING, &[0; 32]).unwrap().complete);
}

#[test]
fn history_that_grows_while_it_is_verified_is_not_called_forged() {
    let (_folder, store) = store();
    know_key(&store);
    let mut before = [0; 32];
    let batches: Vec<_> = (1..=150)
        .map(|number| {
            let batch = batch(7, number, &[event(7, number, 0, 0)], before);
            before = batch.hash();
            batch
        })
        .collect();
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| batches.iter().for_each(|batch| assert_ne!(put(&store, batch), Taken::Dropped)));
        while !writing.is_finished() {
            assert_eq!(crate::verify::verify(&store, BUILDING, &[0; 32]).unwrap().findings, []);
        }
    });
    assert_eq!(crate::verify::verify(&store, BUILDING, &[0; 32]).unwrap().events, 150);
}

/// Behind it there is no number; whoever counted on would begin at 0, for ever.
#[test]
fn last_of_all_numbers_is_refused() {
    let refused = checked(7, u64::MAX, &[event(7, u64::MAX, 0, 0)], [3; 32]);
    assert_eq!(refused.unwrap_err(), NotSound::Number);
    let (_folder, store) = store();
    let before = batch(7, u64::MAX - 1, &[event(7, u64::MAX - 1, 0, 0)], [3; 32]);
    assert_eq!(put(&store, &before), Taken::Kept { new: 1, order: 1 });
    assert_eq!(put(&store, &before), Taken::Kept { new: 0, order: 1 });
}

#[test]
fn epochs_stand_in_the_order_in_which_they_came() {
    let (_folder, store) = store();
    for epoch in [9, 3, 5] {
        put(&store, &batch(epoch, 1, &[event(epoch, 1, 0, 0)], [0; 32]));
    }
    put(&store, &batch(3, 2, &[event(3, 2, 0, 0)], kept(&store, 3)[&1]));
    let epochs: Vec<_> = store.epochs(BUILDING).unwrap().iter().map(|(epoch, head)| (epoch.0, head.ordinal)).collect();
    assert_eq!(epochs, [(9, 1), (3, 2), (5, 3)]);
    assert_eq!(store.buildings().unwrap(), BTreeMap::from([(BUILDING, 4)]));
}

#[test]
fn store_that_failed_says_so_until_it_is_open_again() {
    let (_folder, store) = store();
    put(&store, &batch(7, 1, &[event(7, 1, 0, 0)], [0; 32]));
    let failed: Result<(), _> = store.write(|_| Err(redb::StorageError::PreviousIo.into()));
    assert!(matches!(failed, Err(StoreError::Failed(_))) && store.is_failed());
    assert!(matches!(store.newest(), Err(StoreError::Reopening)));
    store.reopen().unwrap();
    assert_eq!(store.newest().unwrap(), 1);
}

#[test]
fn what_is_given_up_changes_nothing() {
    let (_folder, store) = store();
    let given_up: Result<(), _> = store.write(|transaction| {
        append(&mut Tables::open(transaction)?, &batch(7, 1, &[event(7, 1, 0, 0)], [0; 32]))?;
        Err(StoreError::NoRoom)
    });
    assert!(given_up.is_err() && !store.is_failed());
    assert_eq!((store.newest().unwrap(), store.buildings().unwrap().len()), (0, 0));
}

#[test]
fn record_that_is_damaged_is_named() {
    let (_folder, store) = store();
    put(&store, &batch(7, 1, &[event(7, 1, 0, 0)], [0; 32]));
    store
        .write(|transaction| {
            transaction.open_table(tables::RECORDS)?.insert((BUILDING, 7, 1), [9; 300].as_slice())?;
            Ok(())
        })
        .unwrap();
    let error = store.page(0, None, 100).unwrap_err().to_string();
    assert!(error.contains("(17, 7, 1)") && error.contains("layout"), "{error}");
    assert!(!store.is_failed());
}
