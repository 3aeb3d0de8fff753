//! Every hot step in process, by wall time. Noise: close what else runs, read medians, compare runs of one machine only.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use kalitka_benches::{NOW, Pair, READER, forged_initiation, verified};
use kalitka_core::{Overlay, View, decide};
use kalitka_loadgen::oracle::{Identity, Oracle};
use kalitka_protocol::credential::{CardRead, Credential};
use kalitka_protocol::message::{Ask, Message, Ping};
use kalitka_protocol::reason::Direction;
use kalitka_tests::site::Site;

const HOLDERS: u32 = 10_000;
const PING: Ping = Ping { token: 1, reports_waiting: 0, falling_back: false };

fn uids(roster: &Path) -> Vec<Vec<u8>> {
    let oracle = Oracle::read(roster).unwrap();
    let uids = oracle.cards().filter_map(|card| match card {
        Identity::Uid(uid) => Some(uid.to_vec()),
        Identity::Number(..) => None,
    });
    uids.collect()
}

fn ask_of(uid: &[u8], request: u32) -> Ask {
    Ask { request, age_ms: 3, direction: Direction::Entry, card: CardRead::from_uid(uid).unwrap() }
}

fn hot_path(criterion: &mut Criterion) {
    let site = Site::new(HOLDERS);
    let file = site.build(1);
    let snapshot = Arc::new(verified(&site, &file));
    let uids = uids(&site.path("roster"));
    let mut rng = fastrand::Rng::with_seed(1);
    let mut any = || uids[rng.usize(..uids.len())].clone();
    let mut pair = Pair::new(Arc::clone(&snapshot));

    criterion.bench_function("probe", |bencher| {
        let key = |uid: Vec<u8>| Credential::from_uid(&uid).unwrap();
        bencher.iter_batched(|| key(any()), |key| black_box(snapshot.probe(&key).is_some()), BatchSize::SmallInput);
    });
    criterion.bench_function("decide", |bencher| {
        let (view, overlay) = (View::build(Arc::clone(&snapshot), NOW), Overlay::default());
        let decided = |ask| decide(Some(&view), &overlay, READER, &ask, NOW);
        bencher.iter_batched(|| ask_of(&any(), 1), |ask| black_box(decided(ask)), BatchSize::SmallInput);
    });
    let mut request = 0;
    criterion.bench_function("open, decide, seal: a whole answer", |bencher| {
        // The pair is used by the set-up and by what is measured, one after the other.
        let pair = std::cell::RefCell::new(&mut pair);
        let next = || {
            request += 1;
            pair.borrow_mut().sealed(&Message::Ask(ask_of(&any(), request)))
        };
        bencher.iter_batched(next, |mut ask| black_box(pair.borrow_mut().handle(&mut ask)), BatchSize::SmallInput);
    });
    criterion.bench_function("open and seal: ping to pong", |bencher| {
        let pair = std::cell::RefCell::new(&mut pair);
        let next = || pair.borrow_mut().sealed(&Message::Ping(PING));
        bencher.iter_batched(next, |mut ping| black_box(pair.borrow_mut().handle(&mut ping)), BatchSize::SmallInput);
    });
    criterion.bench_function("forged initiation", |bencher| {
        let forged = forged_initiation();
        bencher.iter_batched(|| forged, |mut forged| black_box(pair.handle(&mut forged)), BatchSize::SmallInput);
    });
    criterion.bench_function("verify 10,000 holders", |bencher| bencher.iter(|| verified(&site, &file)));
    criterion.bench_function("build the view", |bencher| {
        bencher.iter(|| View::build(Arc::clone(&snapshot), NOW));
    });
}

criterion_group!(benches, hot_path);
criterion_main!(benches);
