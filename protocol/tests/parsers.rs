//! Every parser as an adversary sees it: round trips, truncations, flipped bits, random bytes, too long, too little room.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]

mod support;

use kalitka_protocol::credential::CardRead;
use kalitka_protocol::datagram::{self, Clear, Datagram};
use kalitka_protocol::limits::{
    DATAGRAM_MAX, LIST_ENTRIES_MAX, LIST_TEXT_MAX, MESSAGES_MAX, PLAINTEXT_MAX, SEALED_HEADER_LEN, TAG_LEN, TEXT_MAX,
};
use kalitka_protocol::message::*;
use kalitka_protocol::reason::{Denial, Direction, FallBack, Grant, Tone, Verdict};
use kalitka_protocol::seal::SealKey;
use kalitka_protocol::wire::{Malformed, NoRoom, Writer};
use kalitka_protocol::{BootId, LogId, SessionId};
use proptest::prelude::*;
use support::card;

/// The bytes of `message`; what it does not write stays as it was.
fn emitted(message: &Message<'_>) -> Vec<u8> {
    let mut buffer = [0xa5; DATAGRAM_MAX];
    let mut writer = Writer::new(&mut buffer);
    message.emit(&mut writer).unwrap();
    let len = writer.len();
    assert!(!writer.is_empty());
    assert!(buffer[len..].iter().all(|&byte| byte == 0xa5), "nothing is written behind the message");
    buffer[..len].to_vec()
}

#[test]
fn what_is_wrong_is_said_with_the_fields_name() {
    for (wrong, said) in [
        (Malformed::Truncated("ask"), "the bytes end inside ask"),
        (Malformed::Value("mode"), "mode holds a value that is not allowed"),
        (Malformed::Trailing("page"), "bytes are left over after page"),
        (Malformed::Version, "this is of another version"),
        (Malformed::UnknownType, "the datagram is of no known type"),
    ] {
        assert_eq!(wrong.to_string(), said);
    }
    assert_eq!(NoRoom.to_string(), "the buffer is too short");
}

fn with_page<T>(texts: &[String], then: impl FnOnce(&Message<'_>) -> T) -> T {
    let entry = |(state, text)| ListEntry { reference: 7, state, text };
    let entries: Vec<_> = (0..).zip(texts.iter().map(String::as_str)).map(entry).collect();
    let mut buffer = [0xa5; PLAINTEXT_MAX];
    let entries = ListEntries::lay_out(&entries, &mut buffer).unwrap();
    then(&Message::ListPage(ListPage { request: 1, page: 2, pages: 64, status: ListStatus::Entries, entries }))
}

// What stands in the clear is what the parser reads, and nothing is read of what it refuses.
#[test]
fn clear_fields_are_those_of_the_parser() {
    let mut rng = fastrand::Rng::with_seed(5);
    for round in 0..200_000 {
        let mut bytes = vec![0; if round % 3 == 0 { 96 } else { rng.usize(0..1300) }];
        rng.fill(&mut bytes);
        for (byte, value) in bytes.iter_mut().zip([rng.u8(0..5), 1, 0, 0]) {
            *byte = if rng.u8(..20) == 0 { *byte } else { value };
        }
        let clear = datagram::clear(&bytes);
        let parsed = match Datagram::parse(&mut bytes) {
            Ok(Datagram::Initiation(of)) => Some(Clear::Initiation { reader: of.reader, stamp: of.stamp }),
            Ok(Datagram::Response(of)) => Some(Clear::Response { reader: of.reader, stamp: of.stamp }),
            Ok(Datagram::Sealed(of)) => Some(Clear::Sealed { session: of.session, counter: of.counter }),
            Err(_) => None,
        };
        assert_eq!(clear, parsed, "{} bytes", bytes.len());
    }
}

/// One message of each kind, as bytes.
fn samples() -> Vec<Vec<u8>> {
    let report = Report {
        log: LogId(1),
        number: 2,
        boot: BootId(3),
        request: 4,
        age_ms: 5,
        count: 0,
        kind: ReportKind::Passed,
        direction: Some(Direction::Exit),
        input: 0,
        unasked: false,
        oldest: false,
        card: Some(card()),
    };
    let order = Order::Open { direction: Direction::Entry, hold_open_ms: 5000 };
    let mut samples: Vec<_> = [
        Message::Ask(Ask { request: 1, age_ms: 2, direction: Direction::Entry, card: card() }),
        Message::Report(report),
        Message::Report(Report { card: None, ..report }),
        Message::Done(Done { id: 1, result: CommandResult::Done }),
        Message::Ping(Ping { token: 1, reports_waiting: 2, falling_back: true }),
        Message::ListAsk(ListAsk { request: 1, page: 2, list: ListKind::Children, card: card() }),
        support::grant(1),
        Message::Receipt(Receipt { log: LogId(1), number: 2 }),
        Message::Command(Command { id: 1, seen: 2, order }),
        Message::Pong(Pong { token: 1 }),
        Message::Leave,
    ]
    .iter()
    .map(emitted)
    .collect();
    samples.push(with_page(&["p0421".to_owned(), String::new()], emitted));
    samples
}

/// What `bytes` parse as, if all of them do as messages that are known.
fn parsed(bytes: &[u8]) -> Option<Vec<Message<'_>>> {
    let mut messages = Messages::new(bytes);
    let parsed = messages.by_ref().collect::<Result<_, _>>().ok()?;
    (messages.skipped == 0).then_some(parsed)
}

#[test]
fn every_truncation_is_refused() {
    for sample in samples() {
        assert!(parsed(&sample).is_some_and(|messages| messages.len() == 1));
        for len in 1..sample.len() {
            let error = Messages::new(&sample[..len]).find_map(Result::err);
            assert!(matches!(error, Some(Malformed::Truncated(_))), "{len} of {sample:02x?}: {error:?}");
        }
        // A body shorter or longer than its kind's, with a header that says so.
        for len in (0..sample.len() - 4).chain([sample.len() - 3]) {
            let mut cut = sample.clone();
            cut.resize(4 + len, 0);
            cut[2..4].copy_from_slice(&u16::try_from(len).unwrap().to_le_bytes());
            assert!(parsed(&cut).is_none(), "body of {len}: {cut:02x?}");
        }
    }
}

#[test]
fn every_flipped_bit_is_refused_or_seen() {
    for sample in samples() {
        for bit in 0..sample.len() * 8 {
            let mut flipped = sample.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let Some(messages) = parsed(&flipped) else { continue };
            let again: Vec<u8> = messages.iter().flat_map(emitted).collect();
            // An unknown reason of a denial is the one thing that is read as something else.
            let folded = matches!(messages[..], [Message::Answer(Answer { verdict: Verdict::Deny(_), .. })]);
            assert!(again == flipped || folded, "bit {bit} of {sample:02x?} parses as {messages:?}");
        }
    }
}

#[test]
fn every_emission_without_room_writes_nothing() {
    for sample in samples() {
        let message = Messages::new(&sample).next().unwrap().unwrap();
        for room in 0..sample.len() {
            let mut buffer = vec![0xa5; room];
            let mut writer = Writer::new(&mut buffer);
            assert_eq!(message.emit(&mut writer), Err(NoRoom));
            assert!(writer.is_empty());
            assert!(buffer.iter().all(|&byte| byte == 0xa5), "{room} of {}", sample.len());
        }
    }
}

// SPEC 5.6 a field out of its range is malformed
#[test]
fn fields_out_of_their_range_are_malformed() {
    // Samples in their order; offsets behind the message header.
    let table: [(usize, usize, u8, &str); 9] = [
        (0, 0, 0, "request"),
        (1, 8, 0, "report number"),
        (1, 32, 1, "report count"),
        (1, 38, 1, "input"),
        (3, 0, 0, "command id"),
        (5, 0, 0, "request"),
        (5, 4, 64, "page"),
        (6, 10, 0, "hold open"),
        (8, 0, 0, "command id"),
    ];
    let samples = samples();
    for (sample, place, value, field) in table {
        let mut bytes = samples[sample].clone();
        bytes[4 + place] = value;
        assert_eq!(Messages::new(&bytes).next(), Some(Err(Malformed::Value(field))), "sample {sample}");
    }
}

#[test]
fn texts_and_lists_end_at_their_limits() {
    let long = "x".repeat(TEXT_MAX + 1);
    let answer = |text| {
        Message::Answer(Answer {
            request: 1,
            generation: 1,
            hold_open_ms: 0,
            verdict: Verdict::Deny(Denial::NoAccess),
            tone: Tone::Refused,
            text,
        })
    };
    let mut buffer = [0; DATAGRAM_MAX];
    assert_eq!(answer(&long).emit(&mut Writer::new(&mut buffer)), Err(NoRoom));
    let bytes = emitted(&answer(&long[1..]));
    assert!(parsed(&bytes).is_some());
    let mut over = bytes.clone();
    over.push(b'x');
    over[2] += 1;
    over[4 + 13] += 1;
    assert_eq!(Messages::new(&over).next(), Some(Err(Malformed::Value("text length"))));
    let mut torn = bytes;
    *torn.last_mut().unwrap() = 0xd0;
    assert_eq!(Messages::new(&torn).next(), Some(Err(Malformed::Value("text"))));
    let full = vec!["y".repeat(LIST_TEXT_MAX); LIST_ENTRIES_MAX];
    with_page(&full, |page| {
        let bytes = emitted(page);
        assert!(bytes.len() <= PLAINTEXT_MAX);
        assert_eq!(parsed(&bytes), Some(vec![page.clone()]));
        let Message::ListPage(page) = page else { panic!() };
        assert!(page.entries.iter().map(|entry| entry.text.to_owned()).eq(full.clone()));
    });
    let entry = ListEntry { reference: 1, state: 0, text: &long[..LIST_TEXT_MAX + 1] };
    assert_eq!(ListEntries::lay_out(&[entry], &mut buffer), Err(NoRoom));
    let entry = ListEntry { text: "", ..entry };
    assert_eq!(ListEntries::lay_out(&[entry; LIST_ENTRIES_MAX + 1], &mut buffer), Err(NoRoom));
}

#[test]
fn every_flipped_bit_and_truncation_of_a_sealed_datagram_is_refused() {
    let key = SealKey::new(&[3; 32]);
    let mut datagram = [0; 96];
    let len = key.seal(SessionId(5), 6, &mut datagram, 40).unwrap();
    let opens = |bytes: &mut [u8]| match Datagram::parse(bytes) {
        Ok(Datagram::Sealed(sealed)) => key.open(sealed).is_some(),
        _ => false,
    };
    assert!(opens(&mut { datagram }[..len]));
    for bit in 0..len * 8 {
        let mut flipped = datagram;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(!opens(&mut flipped[..len]), "bit {bit}");
    }
    for cut in 0..len {
        assert!(!opens(&mut { datagram }[..cut]), "{cut} bytes");
    }
    assert!(!opens(&mut { datagram }[..len + 1]), "one byte more");
}

#[test]
fn seal_needs_room_for_header_and_tag() {
    let key = SealKey::new(&[3; 32]);
    let whole = SEALED_HEADER_LEN + 10 + TAG_LEN;
    assert_eq!(key.seal(SessionId(1), 0, &mut [0; 64][..whole - 1], 10), Err(NoRoom));
    assert_eq!(key.seal(SessionId(1), 0, &mut [0; 64][..whole], 10), Ok(whole));
}

fn cards() -> impl Strategy<Value = CardRead> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 7).prop_map(|uid| CardRead::from_uid(&uid).unwrap()),
        (0u64..1 << 35).prop_map(|number| CardRead::from_wiegand(35, number).unwrap()),
    ]
}

fn directions() -> impl Strategy<Value = Direction> {
    prop::sample::select(Direction::ALL)
}

fn verdicts() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        prop::sample::select(Grant::ALL).prop_map(Verdict::Grant),
        prop::sample::select(Denial::ALL).prop_map(Verdict::Deny),
    ]
}

fn reports() -> impl Strategy<Value = Message<'static>> {
    let head = ((any::<[u64; 2]>(), 1u64..), any::<[u32; 3]>(), prop::sample::select(ReportKind::ALL));
    let tail = (prop::option::of(directions()), any::<u8>(), any::<[bool; 2]>(), prop::option::of(cards()));
    (head, tail).prop_map(
        |((([log, boot], number), [request, age_ms, count], kind), (direction, input, [unasked, oldest], card))| {
            let (log, boot) = (LogId(log), BootId(boot));
            let count = if kind == ReportKind::ReportsLost { count } else { 0 };
            let input = if kind == ReportKind::InputChange { input } else { 0 };
            Message::Report(Report {
                log,
                number,
                boot,
                request,
                age_ms,
                count,
                kind,
                direction,
                input,
                unasked,
                oldest,
                card,
            })
        },
    )
}

fn orders() -> impl Strategy<Value = Order> {
    prop_oneof![
        (directions(), any::<u16>()).prop_map(|(direction, hold_open_ms)| Order::Open { direction, hold_open_ms }),
        prop::sample::select(FallBack::ALL).prop_map(Order::SetFallBack),
        prop::sample::select(Tone::ALL).prop_map(Order::Play),
    ]
}

/// Every message that borrows nothing.
fn messages() -> impl Strategy<Value = Message<'static>> {
    prop_oneof![
        (1u32.., any::<u16>(), directions(), cards())
            .prop_map(|(request, age_ms, direction, card)| Message::Ask(Ask { request, age_ms, direction, card })),
        reports(),
        (1u64.., prop::sample::select(CommandResult::ALL)).prop_map(|(id, result)| Message::Done(Done { id, result })),
        (any::<u32>(), any::<u16>(), any::<bool>()).prop_map(|(token, reports_waiting, falling_back)| {
            Message::Ping(Ping { token, reports_waiting, falling_back })
        }),
        (1u32.., 0u16..64, cards()).prop_map(|(request, page, card)| Message::ListAsk(ListAsk {
            request,
            page,
            list: ListKind::Children,
            card
        })),
        any::<[u64; 2]>().prop_map(|[log, number]| Message::Receipt(Receipt { log: LogId(log), number })),
        (1u64.., any::<u64>(), orders()).prop_map(|(id, seen, order)| Message::Command(Command { id, seen, order })),
        any::<u32>().prop_map(|token| Message::Pong(Pong { token })),
        Just(Message::Leave),
    ]
}

proptest! {
    #[test]
    fn messages_round_trip(messages in prop::collection::vec(messages(), 0..MESSAGES_MAX)) {
        let mut buffer = [0xa5; 4096];
        let mut writer = Writer::new(&mut buffer);
        for message in &messages {
            message.emit(&mut writer).unwrap();
        }
        let len = writer.len();
        prop_assert_eq!(parsed(&buffer[..len]), Some(messages));
    }

    #[test]
    fn answers_round_trip(
        [request, generation]: [u32; 2], hold_open_ms: u16, verdict in verdicts(), text in "\\PC{0,16}",
    ) {
        let hold_open_ms = if verdict.is_grant() { hold_open_ms } else { 0 };
        let answer = Answer { request, generation, hold_open_ms, verdict, tone: Tone::Silent, text: &text };
        let bytes = emitted(&Message::Answer(answer));
        prop_assert_eq!(parsed(&bytes), Some(vec![Message::Answer(answer)]));
    }

    #[test]
    fn pages_round_trip(texts in prop::collection::vec("\\PC{0,12}", 0..LIST_ENTRIES_MAX)) {
        with_page(&texts, |page| {
            let bytes = emitted(page);
            assert_eq!(parsed(&bytes), Some(vec![page.clone()]));
        });
    }

    /// Nothing panics, and what parses whole is what its meaning is written as.
    #[test]
    fn random_bytes_are_refused_or_mean_themselves(bytes in prop::collection::vec(any::<u8>(), 0..200), kind: usize) {
        let mut bytes = bytes;
        let sample = &samples()[kind % 11];
        // Half of the time with a good header, so that bodies are reached.
        if kind & 64 == 0 && bytes.len() >= sample.len() {
            bytes.truncate(sample.len());
            bytes[..4].copy_from_slice(&sample[..4]);
        }
        if let Some(messages) = parsed(&bytes) {
            let again: Vec<u8> = messages.iter().flat_map(emitted).collect();
            let folds = messages.iter().any(|m| matches!(m, Message::Answer(a) if !a.verdict.is_grant()));
            prop_assert!(folds || again == bytes);
        }
        let _ = Datagram::parse(&mut bytes);
    }

    #[test]
    fn sealed_datagrams_round_trip(key: [u8; 32], session: u32, counter: u64, text in prop::collection::vec(any::<u8>(), 0..=PLAINTEXT_MAX)) {
        let key = SealKey::new(&key);
        let mut datagram = [0xa5; DATAGRAM_MAX];
        datagram[SEALED_HEADER_LEN..SEALED_HEADER_LEN + text.len()].copy_from_slice(&text);
        let len = key.seal(SessionId(session), counter, &mut datagram, text.len()).unwrap();
        prop_assert!(datagram[len..].iter().all(|&byte| byte == 0xa5));
        let Ok(Datagram::Sealed(sealed)) = Datagram::parse(&mut datagram[..len]) else { panic!("not sealed") };
        prop_assert_eq!((sealed.session, sealed.counter), (SessionId(session), counter));
        prop_assert_eq!(key.open(sealed), Some(&text[..]));
    }
}
