//! The parsers of events and upstream messages as an adversary sees them: round trips, truncations, flipped bits, random
//! bytes, fields out of their range, too long, too little room.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]

#[path = "support/record.rs"]
mod record;

use kalitka_protocol::EpochId;
use kalitka_protocol::event::{Body, Event};
use kalitka_protocol::limits::*;
use kalitka_protocol::upstream::*;
use kalitka_protocol::wire::{Malformed, NoRoom, Writer};
use proptest::prelude::*;
use record::{EPOCH, batch, bodies, envelope, header, run, samples, with, written};

#[test]
fn samples_mean_themselves() {
    for sample in samples() {
        assert_eq!((sample.again)(&sample.bytes), Ok(sample.bytes.clone()), "{}", sample.name);
    }
}

#[test]
fn every_truncation_is_refused() {
    for sample in samples() {
        for len in 0..sample.bytes.len() {
            assert!((sample.again)(&sample.bytes[..len]).is_err(), "{len} bytes of {}", sample.name);
        }
        // An event behind an event is still no one event; a live message of a longer head holds another.
        let longer = [&sample.bytes[..], &[0]].concat();
        assert!((sample.again)(&longer).is_err(), "{} and one byte", sample.name);
        let twice = [&sample.bytes[..], &sample.bytes].concat();
        assert!((sample.again)(&twice).is_err(), "{} twice", sample.name);
    }
}

#[test]
fn every_flipped_bit_is_refused_or_seen() {
    for sample in samples() {
        for bit in 0..sample.bytes.len() * 8 {
            let mut flipped = sample.bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let Ok(again) = (sample.again)(&flipped) else { continue };
            // An unknown reason of a denial is the one thing that is read as something else.
            let folded = sample.name == "event" && matches!(Event::parse(&flipped).unwrap().body, Body::Decision(_));
            assert!(again == flipped || folded && bit / 8 == 48 + 23, "bit {bit} of {} passes unseen", sample.name);
        }
    }
}

#[test]
fn every_emission_without_room_writes_nothing() {
    for (number, body) in bodies() {
        let event = Event { header: header(number), body };
        let len = event.encoded_len().unwrap();
        assert_eq!(written(|out| event.emit(out)).len(), len);
        let mut message_room = vec![0xa5; len + MESSAGE_HEAD_LEN];
        for room in 0..len {
            let mut buffer = vec![0xa5; room];
            let mut writer = Writer::new(&mut buffer);
            assert_eq!(event.emit(&mut writer), Err(NoRoom));
            assert!(writer.is_empty() && buffer.iter().all(|&byte| byte == 0xa5), "{room} of {len}");
            let mut writer = Writer::new(&mut message_room[..room + MESSAGE_HEAD_LEN]);
            assert_eq!(message(kind::LIVE, &mut writer, |out| event.emit(out)), Err(NoRoom));
            assert!(writer.is_empty(), "a message that does not fit leaves the writer as it was");
        }
    }
}

// SPEC 14.4 what cannot be read is kept as it is
#[test]
fn batch_takes_events_whose_bodies_it_cannot_read() {
    let odd = with(&run(10, 1), EVENT_HEADER_LEN + 24, &[9]);
    let unknown = with(&run(11, 1), 3, &[200]);
    assert!(Event::parse(&odd).is_err());
    let events = [&run(9, 1)[..], &odd, &unknown].concat();
    let bytes = written(|out| batch(&events, 3).emit(out));
    assert_eq!(Batch::parse(&bytes).unwrap().events, events);
}

// SPEC 15.6 one building, one epoch, one after the other, as many as it says
#[test]
fn batch_of_other_events_than_it_says_is_malformed() {
    let other_building = with(&run(10, 1), 4, &[8]);
    let other_epoch = with(&run(10, 1), 8, &[9]);
    let lay = |events: &[&[u8]], count| written(|out| batch(&events.concat(), count).emit(out));
    let nine = run(9, 1);
    assert!(Batch::parse(&lay(&[&nine, &run(10, 1)], 2)).is_ok());
    let table: [(Vec<u8>, &str); 10] = [
        (lay(&[&nine, &other_building], 2), "building"),
        (lay(&[&nine, &other_epoch], 2), "epoch"),
        (lay(&[&nine, &run(11, 1)], 2), "event number"),
        (lay(&[&nine, &nine], 2), "event number"),
        (lay(&[&run(10, 1), &nine], 2), "event number"),
        (lay(&[&nine, &run(10, 1)], 1), "event count"),
        (lay(&[&nine, &run(10, 1)], 3), "event count"),
        (lay(&[&nine], 0), "event count"),
        (lay(&[&nine[..47]], 1), "events length"),
        (with(&lay(&[&nine], 1), 8, &[0; 8]), "first number"),
    ];
    for (bytes, field) in table {
        assert_eq!(Batch::parse(&bytes), Err(Malformed::Value(field)));
    }
    let cut = [&nine[..], &run(10, 1)[..40]].concat();
    assert_eq!(Batch::parse(&lay(&[&cut], 2)), Err(Malformed::Truncated("event")));
    let (two, three) = (run(u64::MAX - 1, 1), with(&run(1, 1), 16, &[0xff; 8]));
    let last = Batch { first: u64::MAX - 1, ..batch(&[], 2) };
    let end = [&two[..], &three].concat();
    let bytes = written(|out| Batch { events: &end, ..last }.emit(out));
    assert_eq!(Batch::parse(&bytes).unwrap().last(), u64::MAX);
    let beyond = [&end[..], &run(1, 1)].concat();
    let bytes = written(|out| Batch { events: &beyond, count: 3, ..last }.emit(out));
    assert_eq!(Batch::parse(&bytes), Err(Malformed::Value("event number")), "numbers do not run over");
}

#[test]
fn batch_ends_at_its_limit() {
    let event = record::event(2, Body::Unknown { kind: 200, bytes: &[0; 4000] });
    let count = BATCH_EVENTS_MAX / event.len();
    let events: Vec<u8> = (0..count).flat_map(|n| with(&event, 16, &(9 + n as u64).to_le_bytes())).collect();
    let len = u32::try_from(count).unwrap();
    let whole = written(|out| message(kind::BATCH, out, |out| batch(&events, len).emit(out)));
    assert!(whole.len() <= MESSAGE_HEAD_LEN + BODY_MAX);
    assert_eq!(Batch::parse(&whole[MESSAGE_HEAD_LEN..]).map(|batch| batch.count), Ok(len));
    let over = [&events[..], &with(&event, 16, &(9 + count as u64).to_le_bytes())].concat();
    let mut buffer = vec![0; 2 * BODY_MAX];
    let mut out = Writer::new(&mut buffer);
    assert_eq!(message(kind::BATCH, &mut out, |out| batch(&over, len + 1).emit(out)), Err(NoRoom));
    assert!(out.is_empty());
    let bytes = written(|out| batch(&over, len + 1).emit(out));
    assert_eq!(Batch::parse(&bytes), Err(Malformed::Value("events length")));
}

#[test]
fn enrolment_pins_thirty_two_keys_of_a_kind_and_no_more() {
    let keys = [[9; 32]; 33];
    let enrolled = |publishers, operators| Enrolled {
        certificate: &[1; 300],
        ca: &[2; 280],
        checkpoint_key: [3; 32],
        publishers,
        operators,
    };
    let bytes = written(|out| enrolled(&keys[..32], &keys[..32]).emit(out));
    assert_eq!(Enrolled::parse(&bytes), Ok(enrolled(&keys[..32], &keys[..32])));
    let mut buffer = [0; 4096];
    for (publishers, operators) in [(33, 1), (1, 33)] {
        let out = &mut Writer::new(&mut buffer);
        assert_eq!(enrolled(&keys[..publishers], &keys[..operators]).emit(out), Err(NoRoom));
    }
}

#[test]
fn epochs_and_positions_are_shown_as_the_lists_that_they_are() {
    let mut earlier = Earlier::new();
    earlier.push(EpochId(5)).unwrap();
    assert_eq!(format!("{earlier:?}"), "[EpochId(5)]");
    assert!(format!("{:?}", Position::new(PositionEntry::nothing(EpochId(6)))).starts_with("[PositionEntry {"));
}

#[test]
fn message_behind_another_says_its_own_length() {
    let bytes = written(|out| {
        message(200, out, |out| out.put(&[1; 5]))?;
        message(201, out, |out| out.put(&[2; 7]))
    });
    let second = Head::parse(bytes[MESSAGE_HEAD_LEN + 5..].first_chunk().unwrap());
    assert_eq!(second, Ok(Head { kind: 201, len: 7 }));
}

// SPEC 15.2 another version, too long
#[test]
fn heads_out_of_their_range_are_malformed() {
    let good = Head { kind: 200, len: 1_048_576 };
    assert_eq!(Head::parse(&good.to_bytes()), Ok(good), "an unknown kind is there to be skipped");
    let over = Head { len: 1_048_577, ..good };
    assert_eq!(Head::parse(&over.to_bytes()), Err(Malformed::Value("message length")));
    for (place, error) in
        [(5, Malformed::Version), (6, Malformed::Value("message reserved")), (7, Malformed::Value("message reserved"))]
    {
        let mut bytes = good.to_bytes();
        bytes[place] += 1;
        assert_eq!(Head::parse(&bytes), Err(error));
    }
}

#[test]
fn messages_out_of_their_range_are_malformed() {
    let samples = samples();
    // Offset, new bytes, field.
    let table: [(&str, usize, &[u8], &str); 36] = [
        ("hello", 0, &[0; 4], "building"),
        ("hello", 4, &[0; 8], "epoch"),
        ("hello", 64, &[16], "earlier epoch"),
        ("hello", 65, &[0; 8], "earlier epoch"),
        ("hello", 65, &[6, 0, 0, 0, 0, 0, 0, 0], "earlier epoch"),
        ("hello", 65, &EPOCH.0.to_le_bytes(), "earlier epoch"),
        ("position", 0, &[0], "entries"),
        ("position", 1, &[1], "position reserved"),
        ("position", 4, &[0; 8], "epoch"),
        ("position", 12, &[0; 8], "hash"),
        ("acknowledgement", 0, &[0; 8], "epoch"),
        ("acknowledgement", 8, &[0; 8], "event number"),
        ("fork", 8, &[0; 8], "event number"),
        ("checkpoint", 0, &[0; 4], "building"),
        ("command", 4, &[0; 8], "command number"),
        ("command", 52, &[7, 0], "command length"),
        ("command", 52, &[1, 4], "command length"),
        ("command result", 8, &[9], "command outcome"),
        ("command result", 15, &[1], "result reserved"),
        ("snapshot", 0, &[0; 4], "snapshot generation"),
        ("snapshot", 8, &[0; 8], "snapshot length"),
        ("snapshot", 8, &[1, 0, 0, 64], "snapshot length"),
        ("snapshot wanted", 8, &[1, 0, 0, 64], "snapshot offset"),
        ("snapshot result", 5, &[1], "result reserved"),
        ("enrol", 20, &[0, 0], "certificate request"),
        ("enrol", 20, &[1, 16], "certificate request"),
        ("enrolled", 2 + 300 + 2 + 280 + 32, &[33], "publishers"),
        ("enrol refused", 0, &[0], "refusal"),
        ("renew", 0, &[0; 4], "building"),
        ("renew", 4, &[0, 0], "certificate request"),
        ("renew", 4, &[1, 16], "certificate request"),
        ("renewed", 0, &[1, 16], "certificate"),
        ("renew refused", 0, &[0], "refusal"),
        ("renew refused", 1, &[1], "refusal reserved"),
        ("pace", 0, &[255, 127, 0, 0], "pace"),
        ("pace", 7, &[1], "pace reserved"),
    ];
    for (name, offset, new, field) in table {
        let sample = samples.iter().find(|sample| sample.name == name).unwrap();
        let error = (sample.again)(&with(&sample.bytes, offset, new)).unwrap_err();
        let cut = error == Malformed::Truncated(field);
        assert!(cut || error == Malformed::Value(field), "{name}, offset {offset}: {error:?}");
    }
}

#[test]
fn hello_and_position_hold_no_more_than_they_can() {
    let mut earlier = Earlier::new();
    for epoch in 1..=15 {
        earlier.push(EpochId(epoch)).unwrap();
    }
    assert_eq!(earlier.push(EpochId(16)), Err(NoRoom));
    assert_eq!(earlier.as_slice().len(), 15);
    let hello = Hello { building: 7, epoch: EPOCH, last: 0, hash: [0; 32], oldest: 1, generation: 0, earlier };
    let bytes = written(|out| hello.emit(out));
    assert_eq!(Hello::parse(&bytes), Ok(hello));
    let over = with(&[&bytes[..], &16u64.to_le_bytes()].concat(), 64, &[16]);
    assert_eq!(Hello::parse(&over), Err(Malformed::Value("earlier epochs")));
    let mut position = Position::new(PositionEntry::nothing(EPOCH));
    for epoch in 1..=15 {
        position.push(PositionEntry::nothing(EpochId(epoch))).unwrap();
    }
    assert_eq!(position.push(PositionEntry::nothing(EpochId(16))), Err(NoRoom));
    assert!(position.answers(&hello));
    let bytes = written(|out| position.emit(out));
    assert_eq!(Position::parse(&bytes), Ok(position));
    let over = with(&[&bytes[..], &[1; 48]].concat(), 0, &[17]);
    assert_eq!(Position::parse(&over), Err(Malformed::Value("entries")));
}

// SPEC 15.8 bodies of commands
#[test]
fn command_bodies_out_of_their_range_are_malformed() {
    let block = samples().into_iter().find(|sample| sample.bytes[0] == 64 && sample.name == "command body").unwrap();
    let table: [(Vec<u8>, Malformed); 9] = [
        (vec![], Malformed::Truncated("order")),
        (vec![1, 3, 0, 0, 0, 0, 0, 0], Malformed::Value("direction")),
        (vec![2, 0, 1, 0, 0, 0, 0, 0], Malformed::Value("hold open")),
        (vec![1, 1, 0, 0, 0, 0, 0, 0, 0], Malformed::Trailing("command body")),
        (vec![66, 5, 0, 0, 0, 0, 0, 0], Malformed::Value("portal mode")),
        (vec![66, 255, 1, 0, 0, 0, 0, 0], Malformed::Value("command reserved")),
        (with(&block.bytes, 1, &[1]), Malformed::Value("command reserved")),
        (with(&block.bytes, 8, &[2]), Malformed::Value("credential bits")),
        (with(&block.bytes, 8, &[0; 16]), Malformed::Value("credential shape")),
    ];
    for (bytes, error) in table {
        assert_eq!(CommandBody::parse(&bytes), Err(error), "{bytes:?}");
    }
    for order in (0..=u8::MAX).filter(|order| !matches!(order, 1..=3 | 64..=66)) {
        assert_eq!(CommandBody::parse(&[order]), Ok(None), "order {order} is a later version's");
    }
    for len in [COMMAND_BODY_MIN - 1, COMMAND_BODY_MAX + 1] {
        let mut buffer = vec![0; 2 * COMMAND_BODY_MAX];
        assert_eq!(envelope(&vec![1; len]).emit(&mut Writer::new(&mut buffer)), Err(NoRoom), "{len} bytes");
        assert_eq!(envelope(&vec![1; len]).signed(&mut Writer::new(&mut buffer)), Err(NoRoom));
    }
}

// SPEC 15.10 live
#[test]
fn live_message_of_anything_else_is_malformed() {
    let datagram = |kind, events: &[u8]| written(|out| message(kind, out, |out| out.put(events)));
    let long = record::event(2, Body::Unknown { kind: 200, bytes: &[0; LIVE_LEN_MAX - MESSAGE_HEAD_LEN - 48] });
    assert!(live(&datagram(kind::LIVE, &long)).is_ok());
    assert!(live(&datagram(kind::LIVE, &run(9, 3))).is_ok_and(|events| events.count() == 3));
    let over = record::event(2, Body::Unknown { kind: 200, bytes: &[0; LIVE_LEN_MAX - MESSAGE_HEAD_LEN - 47] });
    let table = [
        (datagram(kind::LIVE, &over), Malformed::Trailing("live message")),
        (datagram(kind::BATCH, &long), Malformed::Value("message kind")),
        (datagram(kind::LIVE, &[]), Malformed::Truncated("event")),
        (datagram(kind::LIVE, &run(9, 2)[..60]), Malformed::Truncated("event length")),
        ([&datagram(kind::LIVE, &run(9, 1))[..], &run(10, 1)].concat(), Malformed::Value("message length")),
        (vec![], Malformed::Truncated("message head")),
    ];
    for (bytes, error) in table {
        let refused = live(&bytes).map(Iterator::count).unwrap_err();
        let kind = |error| std::mem::discriminant(&error);
        assert!(kind(refused) == kind(error), "{refused:?} is not {error:?}");
    }
}

#[test]
fn token_of_other_text_is_refused_without_repeating_it() {
    let text = String::from_utf8(Token::new([7; 16], b"ca").to_text().to_vec()).unwrap();
    let upper = text.to_uppercase();
    let other = text.replacen("kalitka1-", "kalitka2-", 1);
    let cyrillic = format!("{}ж", &text[..text.len() - 2]);
    let spaced = format!(" {}", &text[..text.len() - 1]);
    for bad in ["", "kalitka1-", &text[..text.len() - 1], &format!("{text}0"), &upper, &other, &cyrillic, &spaced] {
        let error = Token::parse(bad).unwrap_err();
        assert!(bad.is_empty() || !error.to_string().contains(bad), "{error}");
    }
}

proptest! {
    /// Nothing panics, and what parses is what its meaning is written as.
    #[test]
    fn random_bytes_are_refused_or_mean_themselves(tail in prop::collection::vec(any::<u8>(), 0..300), pick: usize, keep: usize) {
        let samples = samples();
        let sample = &samples[pick % samples.len()];
        let keep = keep % (sample.bytes.len() + 1);
        let mut bytes = [&sample.bytes[..keep], &tail].concat();
        if pick & 64 == 0 {
            bytes.resize(sample.bytes.len(), 0);
        }
        if let Ok(again) = (sample.again)(&bytes) {
            let folds = sample.name == "event" && matches!(Event::parse(&bytes).unwrap().body, Body::Decision(_));
            prop_assert!(folds || again == bytes);
        }
    }

    #[test]
    fn envelopes_round_trip_and_all_but_the_signature_is_signed(
        building in 1u32.., number in 1u64.., not_after_us: i64, operator: [u8; 32],
        body in prop::collection::vec(any::<u8>(), COMMAND_BODY_MIN..=COMMAND_BODY_MAX),
    ) {
        let envelope = Envelope { building, number, not_after_us, operator, body: &body, signature: [7; 64] };
        let bytes = written(|out| envelope.emit(out));
        prop_assert_eq!(Envelope::parse(&bytes), Ok(envelope));
        let signed = written(|out| envelope.signed(out));
        prop_assert_eq!(&signed[17..], &bytes[..bytes.len() - 64]);
        prop_assert!(signed.len() <= 1095);
    }
}

/// SPEC 15.12: who has all of it wants nothing more of it.
#[test]
fn longest_snapshot_may_be_there_as_a_whole() {
    for offset in [0, SNAPSHOT_LEN_MAX] {
        let wanted = SnapshotWanted { generation: 4, offset };
        assert_eq!(SnapshotWanted::parse(&written(|out| wanted.emit(out))), Ok(wanted));
    }
    let head = SnapshotHead { generation: 4, len: SNAPSHOT_LEN_MAX, hash: [1; 32] };
    assert_eq!(SnapshotHead::parse(&written(|out| head.emit(out))), Ok(head));
}
