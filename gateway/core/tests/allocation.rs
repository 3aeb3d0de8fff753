//! The steady state of asks allocates nothing.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::ask;
use common::rig::{Rig, TestReader};
use kalitka_core::{Outcome, World};
use kalitka_protocol::message::{Message, Ping};
use kalitka_protocol::reason::Direction;

#[test]
fn asks_their_repeats_pings_and_forgeries_allocate_nothing() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(101));
    rig.connect(&mut reader);
    let ping = Message::Ping(Ping { token: 1, reports_waiting: 0, falling_back: false });
    let messages = |request: u32| [Message::Ask(ask(request, 1 + request % 5, Direction::Entry)), ping.clone()];
    let sealed = (0..400).map(|round| reader.seal(&messages(1 + round / 2)));
    let mut datagrams: Vec<Vec<u8>> = sealed.collect();
    let (_, mut forged) = reader.initiate();
    forged[90] ^= 1;

    let Rig { worker, keys, texts, view, now, out } = &mut rig;
    let world = World { view: view.as_ref(), keys, texts, fall_back_after_ms: 1000 };
    let mut replies = 0;
    let allocated = allocation_counter::measure(|| {
        for datagram in &mut datagrams {
            let outcome = worker.handle(&world, *now, reader.address, datagram, out);
            replies += usize::from(matches!(outcome, Outcome::Reply(_)));
            worker.handle(&world, *now, reader.address, &mut forged, out);
            worker.handle(&world, *now, reader.address, datagram, out);
        }
    });
    assert_eq!((replies, allocated.count_total), (datagrams.len(), 0));
}
