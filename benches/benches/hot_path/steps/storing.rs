//! What the journal does with decisions. It has a thread of its own; no answer waits for it.

use kalitka_outbox::{Bounds, Opening, Outbox};
use kalitka_protocol::event::{Body, ClockQuality, Decision, EpochBegun, Event, EventHeader};
use kalitka_protocol::limits::EVENT_LEN_MAX;
use kalitka_protocol::reason::{Direction, Grant, Verdict};
use kalitka_protocol::wire::Writer;
use kalitka_protocol::{BootId, EpochId, ReaderId};
use tempfile::TempDir;

use crate::stage::credential;
use crate::step::Step;

const BUILDING: u32 = 17;
const EPOCH: EpochId = EpochId(1);
const EVENTS: u32 = 1_024;
/// Acknowledged events that stay, in blocks.
const BLOCKS_KEPT: u64 = 16;

pub(super) fn steps() -> Vec<Step> {
    vec![lay_out(), commit()]
}

fn event(number: u64, body: Body<'_>) -> Event<'_> {
    let header = EventHeader {
        building: BUILDING,
        epoch: EPOCH,
        number,
        wall_us: 0,
        monotonic_us: number,
        gateway_boot: 1,
        quality: ClockQuality::Good,
        jumped: false,
    };
    Event { header, body }
}

fn decision(number: u64) -> Event<'static> {
    let decision = Decision {
        reader: ReaderId(101),
        boot: BootId(1),
        request: 1,
        generation: 1,
        portal: Some(0),
        verdict: Verdict::Grant(Grant::AccessLevel),
        direction: Direction::Entry,
        age_ms: 3,
        credential: Some(credential(1)),
        holder: b"holder-000000001",
    };
    event(number, Body::Decision(decision))
}

fn lay_out() -> Step {
    Step::new(
        "lay out a decision's event",
        |_| 0,
        |number| {
            *number += 1;
            (*number, [0; EVENT_LEN_MAX])
        },
        |_, (number, bytes)| decision(*number).emit(&mut Writer::new(bytes)),
        Result::is_ok,
    )
}

/// An outbox on the disk that the programs are built on.
struct Store {
    outbox: Outbox,
    /// Number of the next event.
    next: u64,
    _folder: TempDir,
}

impl Store {
    fn open() -> Self {
        let program = std::env::current_exe().unwrap();
        let folder = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
        let limits =
            Bounds { events_max: u64::MAX, bytes_max: u64::MAX, keep_acknowledged: BLOCKS_KEPT * u64::from(EVENTS) };
        let (machine, known) = ([1; 16], None);
        let opening = Opening {
            folder: folder.path(),
            building: BUILDING,
            machine,
            fresh_epoch: EPOCH,
            known,
            earlier: &[],
            limits,
        };
        let (mut outbox, _) = Outbox::open(opening).unwrap();
        let begun = Body::EpochBegun(EpochBegun { before: None, last: 0, hash: [0; 32] });
        outbox.append(&laid_out([event(1, begun)])).unwrap();
        Self { outbox, next: 2, _folder: folder }
    }
}

fn laid_out<'a>(events: impl IntoIterator<Item = Event<'a>>) -> Vec<u8> {
    let (mut all, mut bytes) = (Vec::new(), [0; EVENT_LEN_MAX]);
    for event in events {
        let mut writer = Writer::new(&mut bytes);
        event.emit(&mut writer).unwrap();
        let len = writer.len();
        all.extend_from_slice(&bytes[..len]);
    }
    all
}

/// Appending with its sync; what the hub has acknowledged leaves between the runs.
fn commit() -> Step {
    Step::new(
        "commit a block of 1,024 decisions, disk included",
        |_| Store::open(),
        |Store { outbox, next, .. }| {
            let head = outbox.head();
            outbox.set_floor(head);
            outbox.acknowledge(EPOCH, head.number).unwrap();
            let first = *next;
            *next += u64::from(EVENTS);
            laid_out((first..*next).map(decision))
        },
        |Store { outbox, .. }, events| outbox.append(events).is_ok(),
        |&durable| durable,
    )
    .slow()
}
