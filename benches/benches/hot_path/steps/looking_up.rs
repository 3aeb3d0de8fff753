//! The index and the decision, in tables of several sizes.

use std::hint::black_box;
use std::sync::Arc;

use fastrand::Rng;
use kalitka_benches::{NOW, READER};
use kalitka_core::{Overlay, Time, View, decide};
use kalitka_protocol::credential::Credential;
use kalitka_protocol::message::Ask;
use kalitka_protocol::reason::Direction;

use crate::stage::{Size, Stage, card, credential};
use crate::step::Step;

/// More than any cache between a core and its memory here.
const WASHING_BYTES: usize = 64 << 20;
/// Bytes of a cache line.
const LINE: usize = 64;
/// Probes between two washings.
const COLD_PROBES: u32 = 256;

pub(super) fn steps() -> Vec<Step> {
    use Size::{Million, SixteenThousand, TenMillion, TenThousand};
    vec![
        probe("probe, 10,000 entries at random", TenThousand),
        probe("probe, 1,000,000 entries at random", Million).not_counted(),
        probe("probe, 10,000,000 entries at random", TenMillion).not_counted().long(),
        unknown("probe of an unknown card, 10,000 entries", TenThousand),
        cold("probe, 10,000 entries, out of the caches", TenThousand),
        cold("probe, 1,000,000 entries, out of the caches", Million),
        cold("probe, 10,000,000 entries, out of the caches", TenMillion).long(),
        same_card("decide on the same card again"),
        any_card("probe + decide, 16,000 entries at random", SixteenThousand),
        any_card("probe + decide, 1,000,000 entries at random", Million).not_counted(),
        any_card("probe + decide, 10,000,000 entries at random", TenMillion).not_counted().long(),
    ]
}

/// A table and who comes next.
struct Crowd {
    view: Arc<View>,
    overlay: Overlay,
    entries: u32,
    rng: Rng,
    requests: u32,
}

impl Crowd {
    fn new(stage: &Stage, size: Size) -> Self {
        let (view, entries) = (stage.view(size), stage.entries(size));
        Self { view, entries, overlay: Overlay::default(), rng: Rng::with_seed(1), requests: 0 }
    }

    fn anybody(&mut self) -> u32 {
        self.rng.u32(..self.entries)
    }

    fn ask(&mut self, holder: u32) -> Ask {
        self.requests += 1;
        Ask { request: self.requests, age_ms: 3, direction: Direction::Entry, card: card(holder) }
    }

    fn grants(&self, ask: &Ask) -> bool {
        decide(Some(&self.view), &self.overlay, READER, ask, Time::good(NOW)).verdict.is_grant()
    }
}

fn probe(name: &'static str, size: Size) -> Step {
    Step::new(
        name,
        move |stage| Crowd::new(stage, size),
        |crowd| credential(crowd.anybody()),
        |crowd, key| crowd.view.snapshot().probe(key).is_some(),
        |&found| found,
    )
}

fn unknown(name: &'static str, size: Size) -> Step {
    Step::new(
        name,
        move |stage| Crowd::new(stage, size),
        |crowd| credential(crowd.entries + crowd.anybody()),
        |crowd, key| crowd.view.snapshot().probe(key).is_none(),
        |&unknown| unknown,
    )
}

/// Each probe waits for the one before, and finds nothing of the table in a cache.
fn cold(name: &'static str, size: Size) -> Step {
    let set_up = move |stage: &Stage| (Crowd::new(stage, size), vec![1u8; WASHING_BYTES]);
    let input = |(crowd, washing): &mut (Crowd, Vec<u8>)| {
        washing.iter_mut().step_by(LINE).for_each(|byte| *byte = byte.wrapping_add(1));
        black_box(&washing);
        (0..COLD_PROBES).map(|_| *credential(crowd.anybody()).as_bytes()).collect::<Vec<_>>()
    };
    let body = |(crowd, _): &mut (Crowd, Vec<u8>), keys: &mut Vec<[u8; 16]>| {
        // Zero, which the processor does not know before the slot has come.
        let mut of_the_last = 0;
        for key in &mut *keys {
            key[15] ^= of_the_last;
            let slot = crowd.view.snapshot().probe(&Credential::from_bytes(*key));
            of_the_last = slot.map_or(1, |slot| slot.reserved[0]);
        }
        of_the_last
    };
    Step::new(name, set_up, input, body, |&last| last == 0).each(COLD_PROBES).hard_to_set_up().not_counted()
}

fn same_card(name: &'static str) -> Step {
    Step::new(
        name,
        |stage| Crowd::new(stage, Size::SixteenThousand),
        |crowd| crowd.ask(1),
        |crowd, ask| crowd.grants(ask),
        |&granted| granted,
    )
}

fn any_card(name: &'static str, size: Size) -> Step {
    Step::new(
        name,
        move |stage| Crowd::new(stage, size),
        |crowd| {
            let holder = crowd.anybody();
            crowd.ask(holder)
        },
        |crowd, ask| crowd.grants(ask),
        |&granted| granted,
    )
}
