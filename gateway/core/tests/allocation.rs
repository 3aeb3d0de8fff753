//! The steady state of asks and reports allocates nothing.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::rig::{Rig, TestReader};
use common::{ask, uid};
use kalitka_core::{Opening, Outcome, Output, World};
use kalitka_protocol::credential::Credential;
use kalitka_protocol::message::{Message, Ping, Report};
use kalitka_protocol::reason::Direction;
use kalitka_protocol::{LogId, ReaderId};
use kalitka_snapshot::model::PortalMode;

const LOG: LogId = LogId(7);

fn report(number: u64) -> Message<'static> {
    let direction = Some(Direction::Entry);
    Message::Report(Report { log: LOG, direction, oldest: number == 1, ..common::report(number) })
}

/// What is allocated by rounds of asks, repeats, pings, reports, receipts and forgeries.
fn allocated(rig: &mut Rig) -> u64 {
    let mut reader = TestReader::new(101);
    rig.connect(&mut reader);
    let ping = Message::Ping(Ping { token: 1, reports_waiting: 0, falling_back: false });
    let messages = |request: u32| {
        let ask = Message::Ask(ask(request, 1 + request % 5, Direction::Entry));
        [ask, ping.clone(), report(u64::from(request))]
    };
    let sealed = (0..400).map(|round| reader.seal(&messages(1 + round / 2)));
    let mut datagrams: Vec<Vec<u8>> = sealed.collect();
    let (_, mut forged) = reader.initiate();
    forged[90] ^= 1;

    let Rig { worker, keys, texts, view, overlay, now, out } = rig;
    let world = World { view: view.as_ref(), overlay, keys, texts, fall_back_after_ms: 1000 };
    let (mut replies, mut receipts) = (0, 0);
    let allocated = allocation_counter::measure(|| {
        for (number, datagram) in (1..).zip(&mut datagrams) {
            let outcome = worker.handle(&world, *now, reader.address, datagram, out);
            replies += usize::from(matches!(outcome, Outcome::Reply(_)));
            worker.handle(&world, *now, reader.address, &mut forged, out);
            worker.handle(&world, *now, reader.address, datagram, out);
            receipts += usize::from(worker.receipt(now.monotonic, ReaderId(101), LOG, number, out).is_some());
            assert_eq!((worker.next_timeout(), worker.poll(now.monotonic, out)), (None, None));
        }
    });
    assert_eq!((replies, receipts), (datagrams.len(), datagrams.len()));
    allocated.count_total
}

#[test]
fn a_batch_opened_and_then_answered_allocates_nothing() {
    let (mut rig, mut reader) = (Rig::new(), TestReader::new(101));
    rig.connect(&mut reader);
    let asks = |request| [request, request + 1].map(|request| Message::Ask(ask(request, 1, Direction::Entry)));
    let mut datagrams: Vec<Vec<u8>> = (1..=320).map(|request| reader.seal(&asks(request))).collect();
    let mut outs: Vec<Output> = (0..32).map(|_| Output::new()).collect();
    let Rig { worker, keys, texts, view, overlay, now, .. } = &mut rig;
    let world = World { view: view.as_ref(), overlay, keys, texts, fall_back_after_ms: 1000 };
    let mut replies = 0;
    let allocated = allocation_counter::measure(|| {
        for batch in datagrams.chunks_mut(32) {
            let mut openings = [const { None }; 32];
            for ((datagram, out), opening) in batch.iter_mut().zip(&mut outs).zip(&mut openings) {
                *opening = Some(worker.open(&world, *now, reader.address, datagram, out));
            }
            for (opening, out) in openings.into_iter().zip(&mut outs) {
                let Some(Opening::Sealed(opened)) = opening else { continue };
                let outcome = worker.answer(&world, *now, reader.address, opened, out);
                replies += usize::from(matches!(outcome, Outcome::Reply(_)));
            }
        }
    });
    assert_eq!((replies, allocated.count_total), (320, 0));
}

#[test]
fn asks_their_repeats_pings_reports_and_forgeries_allocate_nothing() {
    assert_eq!(allocated(&mut Rig::new()), 0);
}

#[test]
fn looking_up_what_operators_have_ordered_allocates_nothing() {
    let mut rig = Rig::new();
    for number in 0..1000 {
        rig.overlay.block(Credential::from_uid(&uid(number)).unwrap(), u64::from(number) + 1).unwrap();
    }
    rig.overlay.set_mode(None, Some(PortalMode::Normal), 2000).unwrap();
    assert_eq!(allocated(&mut rig), 0);
}
