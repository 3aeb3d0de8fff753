//! Durable events a second and CPU time an event: `cargo run --release --example commits [EVENTS [TOGETHER]]`.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::cast_precision_loss)]

use std::time::{Duration, Instant};

use kalitka_outbox::{Bounds, Opening, Outbox};
use kalitka_protocol::EpochId;
use kalitka_protocol::event::{Body, ClockQuality, EpochBegun, Event, EventHeader};
use kalitka_protocol::limits::EVENT_LEN_MAX;
use kalitka_protocol::wire::Writer;
use rustix::time::{ClockId, clock_gettime};

fn event(epoch: EpochId, number: u64, body: Body<'_>) -> Vec<u8> {
    let header = EventHeader {
        building: 1,
        epoch,
        number,
        wall_us: 0,
        monotonic_us: number,
        gateway_boot: 1,
        quality: ClockQuality::Good,
        jumped: false,
    };
    let mut bytes = [0; EVENT_LEN_MAX];
    let mut out = Writer::new(&mut bytes);
    Event { header, body }.emit(&mut out).unwrap();
    let len = out.len();
    bytes[..len].to_vec()
}

fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap())
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>().unwrap());
    let (events, together) = (arguments.next().unwrap_or(1_000_000), arguments.next().unwrap_or(1000));
    let folder = tempfile::tempdir_in(".").unwrap();
    let limits = Bounds { events_max: u64::MAX, bytes_max: u64::MAX, keep_acknowledged: 100_000 };
    let epoch = EpochId(1);
    let opening = Opening {
        folder: folder.path(),
        building: 1,
        machine: [1; 16],
        fresh_epoch: epoch,
        known: None,
        earlier: &[],
        limits,
    };
    let (mut outbox, _) = Outbox::open(opening).unwrap();
    let begun = EpochBegun { before: None, last: 0, hash: [0; 32] };
    outbox.append(&event(epoch, 1, Body::EpochBegun(begun))).unwrap();
    let body = [7; 68];
    let (mut spent, mut waited, mut longest) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    while outbox.head().number < events {
        let first = outbox.head().number + 1;
        let body = Body::Unknown { kind: 200, bytes: &body };
        let commit: Vec<u8> = (first..first + together).flat_map(|number| event(epoch, number, body)).collect();
        let (began, began_cpu) = (Instant::now(), cpu());
        outbox.append(&commit).unwrap();
        let took = began.elapsed();
        (waited, longest) = (waited + took, longest.max(took));
        outbox.set_floor(outbox.head());
        outbox.acknowledge(epoch, outbox.head().number - together).unwrap();
        spent += cpu() - began_cpu;
    }
    let done = outbox.head().number as f64;
    println!(
        "{done} events, {together} together: {:.0} events/s, {:.2} µs CPU an event with acknowledging, longest commit {longest:?}, {:?}",
        done / waited.as_secs_f64(),
        spent.as_secs_f64() * 1e6 / done,
        outbox.usage()
    );
}
