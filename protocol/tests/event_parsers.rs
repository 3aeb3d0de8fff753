//! The parser of events as an adversary sees it, and what is done to events in place.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]

#[path = "support/record.rs"]
mod record;

use kalitka_protocol::EpochId;
use kalitka_protocol::credential::{Credential, Shape};
use kalitka_protocol::event::*;
use kalitka_protocol::limits::*;
use kalitka_protocol::wire::{Malformed, NoRoom, Writer};
use proptest::prelude::*;
use record::{EPOCH, bodies, header, run, with, written};

// SPEC 14.2 a header out of its range
#[test]
fn event_headers_out_of_their_range_are_malformed() {
    let good = run(2, 1);
    let table: [(usize, &[u8], &str); 11] = [
        (0, &[47, 0], "event length"),
        (0, &[1, 16], "event length"),
        (2, &[2], "event layout"),
        (2, &[0], "event layout"),
        (4, &[0; 4], "building"),
        (8, &[0; 8], "epoch"),
        (16, &[0; 8], "event number"),
        (44, &[3], "clock quality"),
        (45, &[2], "event flags"),
        (46, &[1], "event reserved"),
        (47, &[1], "event reserved"),
    ];
    for (place, new, field) in table {
        let bad = with(&good, place, new);
        assert_eq!(Events::new(&bad).next(), Some(Err(Malformed::Value(field))), "{place}");
        assert_eq!(Event::parse(&bad), Err(Malformed::Value(field)));
        let behind = [&good[..], &bad, &good].concat();
        assert_eq!(Events::new(&behind).count(), 2, "nothing is read behind what is malformed");
        assert!(chain_all(&[0; 32], &behind).is_err());
    }
    assert_eq!(Event::parse(&[]), Err(Malformed::Truncated("event")));
    assert_eq!(Events::new(&[]).next(), None);
}

// SPEC 14.5 to 14.13 bodies out of their range
#[test]
fn event_bodies_out_of_their_range_are_malformed_and_still_events() {
    let bodies = bodies();
    let sample = |place: usize| record::event(bodies[place].0, bodies[place].1);
    // Places in the list of samples; offsets in the body.
    let table: [(usize, usize, &[u8], &str); 33] = [
        (0, 0, &[0; 4], "reader"),
        (0, 12, &[0; 4], "request"),
        (0, 22, &[2], "verdict"),
        (0, 23, &[3], "grant rule"),
        (0, 24, &[0], "direction"),
        (0, 25, &[17], "holder length"),
        (0, 28, &[9], "credential shape"),
        (0, 28, &[2], "credential bits"),
        (0, 29, &[33], "credential bits"),
        (0, 43, &[1], "credential padding"),
        (0, 44, b"\n", "holder"),
        (0, 44, &[0xd0], "holder"),
        (2, 10, &[1], "report reserved"),
        (2, 12 + 36, &[8], "report kind"),
        (3, 8, &[1], "last number"),
        (3, 16, &[1], "hash"),
        (5, 8, &[0; 8], "first lost"),
        (5, 16, &[2, 0, 0, 0, 0, 0, 0, 0], "last lost"),
        (5, 24, &[8], "loss cause"),
        (6, 16, &[0xff; 8], "last lost"),
        (7, 8, &[1], "first lost"),
        (7, 16, &[1], "last lost"),
        (7, 0, &[9], "loss epoch"),
        (9, 16, &[1], "highest held"),
        (9, 24, &[1], "hash"),
        (11, 46, &[1, 4], "command length"),
        (13, 5, &[0x7f], "software version"),
        (15, 0, &[0; 8], "purged epoch"),
        (15, 8, &[0; 8], "first purged"),
        (15, 16, &[2, 0, 0, 0, 0, 0, 0, 0], "last purged"),
        (15, 16, &[0xff; 8], "last purged"),
        (15, 64, &[0; 8], "purged count"),
        (15, 64, &[8], "purged count"),
    ];
    for (place, offset, new, field) in table {
        let bad = with(&sample(place), EVENT_HEADER_LEN + offset, new);
        assert_eq!(Event::parse(&bad), Err(Malformed::Value(field)), "sample {place}, offset {offset}");
        let raw = Events::new(&bad).next().unwrap().unwrap();
        assert_eq!(raw.bytes, bad, "it is kept as it is");
        assert!(raw.event().is_err());
    }
}

// SPEC 14.8 a loss of a class counts what it names, and no more than there are
#[test]
fn loss_of_a_class_counts_some_of_its_range() {
    let loss = |cause, last, count| {
        Event::parse(&record::event(9, Body::Loss(Loss { epoch: EPOCH, first: 3, last, cause, count })))
            .map(|event| event.header.number)
    };
    for cause in [LossCause::HousekeepingGaveWay, LossCause::DenialsGaveWay] {
        assert_eq!((loss(cause, 4, 1), loss(cause, 4, 2)), (Ok(9), Ok(9)));
        for count in [0, 3, u32::MAX] {
            assert_eq!(loss(cause, 4, count), Err(Malformed::Value("loss count")));
        }
        assert_eq!((loss(cause, 9, 7), loss(cause, 9, 8)), (Ok(9), Err(Malformed::Value("loss count"))));
        assert_eq!(loss(cause, UNKNOWN_END, 2), Err(Malformed::Value("last lost")));
    }
}

// SPEC 14.9 the end that was found is at the least the one before the first lost, and has a hash if it is not
// SPEC 14.13 what is purged is one event at the least, and all of the range at most
#[test]
fn ranges_may_have_one_event_and_all_of_it_and_no_less_and_no_more() {
    let parsed = |body| Event::parse(&record::event(9, body)).map(|_| ());
    let closed =
        |held, hash| parsed(Body::LossClosed(LossClosed { epoch: EpochId(5), first: 3, held, hash: [hash; 32] }));
    assert_eq!((closed(2, 0), closed(3, 1), closed(9, 1)), (Ok(()), Ok(()), Ok(())));
    assert_eq!((closed(1, 0), closed(2, 1)), (Err(Malformed::Value("highest held")), Err(Malformed::Value("hash"))));
    let purged = |last, count| {
        parsed(Body::Purged(Purged { epoch: EpochId(5), first: 3, last, hash: [1; 32], before_us: 7, count }))
    };
    assert_eq!((purged(3, 1), purged(9, 7)), (Ok(()), Ok(())));
    assert_eq!(
        (purged(2, 1), purged(u64::MAX, 1)),
        (Err(Malformed::Value("last purged")), Err(Malformed::Value("last purged")))
    );
    assert_eq!(purged(9, 8), Err(Malformed::Value("purged count")));
}

// SPEC 14.14 by kind and verdict; what cannot be read is kept
#[test]
fn class_is_read_of_kind_and_verdict_and_doubt_keeps() {
    let class = |bytes: &[u8]| Events::new(bytes).next().unwrap().unwrap().class();
    let classes: Vec<_> = bodies().into_iter().map(|(number, body)| class(&record::event(number, body))).collect();
    let mut expected = vec![Class::Kept; classes.len()];
    (expected[0], expected[1]) = (Class::Grant, Class::Denial);
    (expected[12], expected[13]) = (Class::Housekeeping, Class::Housekeeping);
    assert_eq!(classes, expected);
    assert!(Class::Housekeeping < Class::Denial && Class::Denial < Class::Grant && Class::Grant < Class::Kept);
    let granted = record::event(2, bodies()[0].1);
    for (what, bytes) in [
        ("a verdict of a later version", with(&granted, EVENT_HEADER_LEN + 22, &[2])),
        ("a rule of a later version", with(&granted, EVENT_HEADER_LEN + 23, &[99])),
        ("a body that ends before", [&[70, 0][..], &granted[2..70]].concat()),
    ] {
        assert_eq!(class(&bytes), Class::Kept, "{what}");
    }
    assert_eq!(class(&with(&record::event(3, bodies()[1].1), EVENT_HEADER_LEN + 23, &[99])), Class::Denial);
}

// SPEC 14.7 number 1 and no other
#[test]
fn epoch_begins_with_number_1_and_nothing_else_has_it() {
    for (number, body) in bodies() {
        let begins = matches!(body, Body::EpochBegun(_));
        let moved = record::event(if begins { 2 } else { 1 }, body);
        assert_eq!(Event::parse(&moved), Err(Malformed::Value("event number")));
        assert!(Event::parse(&record::event(number, body)).is_ok());
    }
}

#[test]
fn texts_of_events_end_at_their_limits() {
    let Body::Decision(decision) = bodies()[0].1 else { panic!() };
    let Body::Command(command) = bodies()[11].1 else { panic!() };
    let started = |version| Body::GatewayStarted(GatewayStarted { readers: 1, version });
    let unknown = |bytes| Body::Unknown { kind: 200, bytes };
    let long = [b'x'; EVENT_LEN_MAX];
    let holder = |len| Body::Decision(Decision { holder: &long[..len], ..decision });
    let body = |len| Body::Command(CommandDone { body: &long[..len], ..command });
    let ends = [
        (holder(HOLDER_MAX), holder(HOLDER_MAX + 1)),
        (body(COMMAND_BODY_MAX), body(COMMAND_BODY_MAX + 1)),
        (started(&long[..SOFTWARE_VERSION_MAX]), started(&long[..=SOFTWARE_VERSION_MAX])),
        (unknown(&long[EVENT_HEADER_LEN..]), unknown(&long[EVENT_HEADER_LEN - 1..])),
    ];
    for (fits, over) in ends {
        let fits = Event { header: header(2), body: fits };
        assert_eq!(Event::parse(&written(|out| fits.emit(out))), Ok(fits));
        let mut buffer = vec![0; 2 * EVENT_LEN_MAX];
        let over = Event { header: header(2), body: over };
        assert_eq!(over.emit(&mut Writer::new(&mut buffer)), Err(NoRoom));
    }
    let nameless = Event { header: header(2), body: started(b"") };
    assert_eq!(Event::parse(&written(|out| nameless.emit(out))), Err(Malformed::Value("version length")));
}

// SPEC 15.13 a new identity, and nothing else new
#[test]
fn renumbered_event_differs_in_its_identity_alone() {
    let other = EpochId(0x99);
    for (number, body) in bodies() {
        let original = record::event(number, body);
        let mut moved = original.clone();
        if matches!(body, Body::EpochBegun(_)) {
            assert_eq!(renumber(&mut moved, other, 40), Err(Malformed::Value("event number")));
            assert_eq!(moved, original, "the event that began the epoch stays behind");
            continue;
        }
        renumber(&mut moved, other, 40).unwrap();
        let expected = match body {
            Body::Loss(loss) if loss.cause.is_of_own_epoch() => Body::Loss(Loss { epoch: other, ..loss }),
            body => body,
        };
        let header = EventHeader { epoch: other, number: 40, ..header(number) };
        assert_eq!(Event::parse(&moved), Ok(Event { header, body: expected }));
        renumber(&mut moved, EPOCH, number).unwrap();
        assert_eq!(moved, original, "and back");
    }
}

#[test]
fn renumber_changes_nothing_of_what_is_no_event() {
    let one = run(9, 1);
    let broken_loss = with(&record::event(7, bodies()[7].1), EVENT_HEADER_LEN + 24, &[9]);
    for bytes in [&[][..], &one[..47], &one[..one.len() - 1], &[&one[..], &[0]].concat(), &run(9, 2), &broken_loss] {
        let mut moved = bytes.to_vec();
        assert!(renumber(&mut moved, EPOCH, 40).is_err());
        assert_eq!(moved, bytes);
    }
    for (epoch, number) in [(EpochId(0), 40), (EPOCH, 0)] {
        let mut moved = one.clone();
        assert!(renumber(&mut moved, epoch, number).is_err());
        assert_eq!(moved, one);
    }
}

#[test]
fn canonical_credentials_are_taken_and_no_others() {
    let uid = [4, 1, 2, 3, 5, 6, 7, 8, 9, 10];
    for len in [4, 7, 10] {
        for shape in Shape::ALL {
            let credential = shape.credential_of_uid(&uid[..len]).unwrap();
            assert_eq!(Credential::from_canonical(*credential.as_bytes()), Ok(credential), "{shape:?} of {len}");
            for place in 0..16 {
                let mut bytes = *credential.as_bytes();
                bytes[place] = 0xff;
                let bits = usize::from(credential.as_bytes()[1]);
                let allowed = place >= 2 && (place - 1) * 8 <= bits;
                assert_eq!(Credential::from_canonical(bytes).is_ok(), allowed, "{shape:?} of {len}, byte {place}");
            }
        }
    }
    let mut turned = *Credential::from_uid(&uid).unwrap().as_bytes();
    turned[0] = Shape::UidReversed.code();
    assert!(Credential::from_canonical(turned).is_err(), "shape 2 never occurs");
}

proptest! {
    #[test]
    fn headers_round_trip(
        building in 1u32.., epoch in 1u64.., number in 2u64.., wall_us: i64, monotonic_us: u64, gateway_boot: u32,
        quality in prop::sample::select(ClockQuality::ALL), jumped: bool, body in prop::collection::vec(any::<u8>(), 0..100),
        kind in 10u8..,
    ) {
        let epoch = EpochId(epoch);
        let header = EventHeader { building, epoch, number, wall_us, monotonic_us, gateway_boot, quality, jumped };
        let event = Event { header, body: Body::Unknown { kind, bytes: &body } };
        let bytes = written(|out| event.emit(out));
        let mut room = vec![0; bytes.len()];
        assert!(event.emit(&mut Writer::new(&mut room)).is_ok() && room == bytes, "it needs as much as it is long");
        assert_eq!(event.emit(&mut Writer::new(&mut room[1..])), Err(NoRoom));
        prop_assert_eq!(Event::parse(&bytes), Ok(event));
        prop_assert_eq!(chain(&[1; 32], &bytes), chain_all(&[1; 32], &bytes).unwrap().0);
    }
}
