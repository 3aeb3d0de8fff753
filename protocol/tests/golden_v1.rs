//! The bytes of protocol version 1, each clause's once and by hand. Never edited: a byte that has to change is version 2.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]

mod support;

use kalitka_protocol::credential::CardRead;
use kalitka_protocol::datagram::{self, Datagram};
use kalitka_protocol::handshake::{Hello, Initiator, Psk, TagKeys, Welcome, prologue};
use kalitka_protocol::limits::DATAGRAM_MAX;
use kalitka_protocol::message::*;
use kalitka_protocol::reason::{Denial, Direction, FallBack, Grant, Tone, Verdict};
use kalitka_protocol::seal::SealKey;
use kalitka_protocol::wire::{Malformed, Writer};
use kalitka_protocol::{BootId, LogId, ReaderId, SessionId, Stamp, VERSION};
use support::card;

fn bytes(hex: &str) -> Vec<u8> {
    hex::decode(hex.replace([' ', '\n'], "")).unwrap()
}

/// `message` is emitted as `golden` and `golden` parsed as `message`.
fn assert_golden(message: &Message<'_>, golden: &str) {
    let golden = bytes(golden);
    let mut buffer = vec![0xa5; golden.len()];
    let mut writer = Writer::new(&mut buffer);
    message.emit(&mut writer).unwrap();
    assert_eq!(writer.len(), golden.len());
    assert_eq!(hex::encode(&buffer), hex::encode(&golden));
    let parsed: Vec<_> = Messages::new(&golden).collect();
    assert_eq!(parsed, [Ok(message.clone())]);
}

// SPEC 2.2 type, version, reserved
// SPEC 4.2 layout of a handshake datagram
#[test]
fn handshake_datagrams_are_header_reader_stamp_noise_tag() {
    let noise: [u8; datagram::NOISE_LEN] = std::array::from_fn(|place| u8::try_from(place + 0x40).unwrap());
    let made =
        [datagram::emit_initiation, datagram::emit_response].map(|emit| emit(ReaderId(101), Stamp::new(3, 4), &noise));
    for (kind, mut datagram) in (1..).zip(made) {
        let head = format!("0{kind}010000 65000000 0400000003000000");
        assert_eq!(datagram[..16], bytes(&head));
        assert_eq!(datagram[16..80], noise);
        assert_eq!(datagram[80..], [0; 16]);
        let (Datagram::Initiation(parsed) | Datagram::Response(parsed)) = Datagram::parse(&mut datagram).unwrap()
        else {
            panic!("parsed as sealed");
        };
        assert_eq!((parsed.reader, parsed.stamp, parsed.noise()), (ReaderId(101), Stamp(0x3_0000_0004), &noise[..]));
    }
}

// SPEC 2.1 length
// SPEC 2.3 type, version, reserved
#[test]
fn lengths_types_versions_and_reserved_bytes_are_checked() {
    let good = |len: usize| {
        let mut datagram = vec![0; len];
        datagram[..2].copy_from_slice(&[3, VERSION]);
        datagram
    };
    assert!(Datagram::parse(&mut good(32)).is_ok());
    assert!(Datagram::parse(&mut good(DATAGRAM_MAX)).is_ok());
    assert_eq!(Datagram::parse(&mut good(DATAGRAM_MAX + 1)).unwrap_err(), Malformed::Trailing("datagram"));
    assert_eq!(Datagram::parse(&mut good(31)).unwrap_err(), Malformed::Truncated("seal"));
    let reserved = Malformed::Value("reserved");
    for (place, value, error) in [
        (0, 0, Malformed::UnknownType),
        (0, 4, Malformed::UnknownType),
        (1, 2, Malformed::Version),
        (2, 1, reserved),
        (3, 1, reserved),
    ] {
        let mut datagram = good(96);
        datagram[place] = value;
        assert_eq!(Datagram::parse(&mut datagram).unwrap_err(), error);
    }
    for len in [95, 97] {
        let mut datagram = good(len);
        datagram[0] = 1;
        assert_eq!(Datagram::parse(&mut datagram).unwrap_err(), Malformed::Value("handshake length"));
    }
}

// SPEC 4.4 prologue
#[test]
fn prologue_is_name_version_and_reader() {
    assert_eq!(prologue(ReaderId(0x0102_0304))[..], bytes("6b616c69746b61 01 04030201"));
}

// SPEC 4.5 tags: by the primitives, not by this crate's own functions
#[test]
fn tags_are_keyed_blake3_over_all_before_them() {
    let psk = [7; 32];
    let tags = TagKeys::new(&Psk::new(psk));
    let mut datagram: [u8; 96] = std::array::from_fn(|place| u8::try_from(place).unwrap());
    for context in ["kalitka 1 initiation tag", "kalitka 1 response tag"] {
        let key = blake3::derive_key(context, &psk);
        let expected = blake3::keyed_hash(&key, &datagram[..80]);
        if context.contains("initiation") {
            tags.tag_initiation(&mut datagram);
        } else {
            tags.tag_response(&mut datagram);
        }
        assert_eq!(datagram[80..], expected.as_bytes()[..16]);
    }
}

// SPEC 4.6 the initiation's payload
// SPEC 4.7 the response's payload
#[test]
fn handshake_payloads() {
    let hello = Hello { boot: BootId(0x0807_0605_0403_0201), firmware: 0x0c0b_0a09 };
    assert_eq!(hello.to_bytes()[..], bytes("0102030405060708 090a0b0c 00000000"));
    assert_eq!(Hello::parse(&hello.to_bytes()), Ok(hello));
    let welcome = Welcome { session: SessionId(0x0403_0201), fall_back_after_ms: 1000, fall_back: FallBack::Free };
    assert_eq!(welcome.to_bytes()[..], bytes("01020304 e803 02 000000000000000000"));
    assert_eq!(Welcome::parse(&welcome.to_bytes()), Ok(welcome));
    for (ms, parses) in [(199, false), (200, true), (u16::MAX, true)] {
        let payload = Welcome { fall_back_after_ms: ms, ..welcome }.to_bytes();
        assert_eq!(Welcome::parse(&payload).is_ok(), parses, "{ms} ms");
    }
}

// SPEC 4.1 the whole initiation, as in the worked example
#[test]
fn initiation_of_fixed_keys() {
    let psk = Psk::new(std::array::from_fn(|place| u8::try_from(place).unwrap()));
    let hello = Hello { boot: BootId(0x1122_3344_5566_7788), firmware: 7 };
    let (_, initiation) =
        Initiator::new(ReaderId(101), &psk, &TagKeys::new(&psk), Stamp::new(1, 0), &hello, [0x11; 32]);
    let golden = "010100006500000000000000010000007b4e909bbe7ffe44c465a220037d608e
        e35897d31ef972f07f74892cb0f73f13e50782f0ed26b95234e9c5738a069136
        d71b8e55fdae5f83889a9a77dc7287ebc58126efe18a6fb79f05de7fd8cf1141";
    assert_eq!(initiation[..], bytes(golden));
}

// SPEC 5.1 header and layout
// SPEC 5.3 nonce, key, associated data
#[test]
fn sealed_datagram_is_header_ciphertext_tag() {
    assert_eq!(
        datagram::sealed_header(SessionId(0x0403_0201), 0x0102_0304_0506_0708)[..],
        bytes("03010000 01020304 0807060504030201")
    );
    assert_eq!(datagram::nonce(0x0102_0304_0506_0708)[..], bytes("00000000 0807060504030201"));
    // Test case 14 of the GCM specification: zero key, nonce and text, without associated data, gives this ciphertext.
    let mut datagram = [0; 48];
    assert_eq!(SealKey::new(&[0; 32]).seal(SessionId(0), 0, &mut datagram, 16), Ok(48));
    assert_eq!(datagram[16..32], bytes("cea7403d4d606b6e074ec5d3baf39d18"));
    for place in 0..48 {
        let mut flipped = datagram;
        flipped[place] ^= 0x10;
        if let Ok(Datagram::Sealed(sealed)) = Datagram::parse(&mut flipped) {
            assert_eq!(SealKey::new(&[0; 32]).open(sealed), None, "byte {place} is covered");
        }
    }
}

// SPEC 3.1 a card on the wire
// SPEC 6.3 ask
#[test]
fn ask_bytes() {
    let ask = Ask { request: 0x0403_0201, age_ms: 0x0605, direction: Direction::Exit, card: card() };
    let golden = "01001800 01020304 0506 02 00 0138 04a2245b9c6180 00000000000000";
    assert_golden(&Message::Ask(ask), golden);
}

// SPEC 6.4 answer
#[test]
fn answer_bytes() {
    let answer = |verdict, tone, hold_open_ms, text| {
        Message::Answer(Answer { request: 1, generation: 0x0807_0605, hold_open_ms, verdict, tone, text })
    };
    let granted = answer(Verdict::Grant(Grant::PortalFree), Tone::Welcome, 5000, "да");
    assert_golden(&granted, "81001400 01000000 05060708 8813 01 02 01 04 0000 d0b4d0b0");
    let denied = answer(Verdict::Deny(Denial::OutsideSchedule), Tone::Attention, 0, "");
    assert_golden(&denied, "81001000 01000000 05060708 0000 00 52 03 00 0000");
}

// SPEC 7.2 report
#[test]
fn report_bytes() {
    let report = Report {
        log: LogId(0x0807_0605_0403_0201),
        number: 9,
        boot: BootId(0x1817_1615_1413_1211),
        request: 3,
        age_ms: 70_000,
        count: 0,
        kind: ReportKind::Passed,
        direction: Some(Direction::Entry),
        input: 0,
        unasked: true,
        oldest: false,
        card: Some(card()),
    };
    let golden = "02003800 0102030405060708 0900000000000000 1112131415161718 03000000 70110100 00000000 01 01 00 01
        0138 04a2245b9c6180 00000000000000";
    assert_golden(&Message::Report(report), golden);
    let input =
        Report { kind: ReportKind::InputChange, direction: None, input: 0x85, unasked: false, card: None, ..report };
    let golden = "02003800 0102030405060708 0900000000000000 1112131415161718 03000000 70110100 00000000 06 00 85 00
        00000000000000000000000000000000";
    assert_golden(&Message::Report(input), golden);
    let golden = "02003800 0102030405060708 0900000000000000 1112131415161718 03000000 70110100 00000000 06 00 85 02
        00000000000000000000000000000000";
    assert_golden(&Message::Report(Report { oldest: true, ..input }), golden);
}

// SPEC 7.4 receipt
#[test]
fn receipt_bytes() {
    let receipt = Receipt { log: LogId(0x0807_0605_0403_0201), number: 0x0a };
    assert_golden(&Message::Receipt(receipt), "82001000 0102030405060708 0a00000000000000");
}

// SPEC 8.3 command
// SPEC 8.4 done
#[test]
fn command_and_done_bytes() {
    let command = |order| Message::Command(Command { id: 0x0102, seen: 0x0304, order });
    let open = Order::Open { direction: Direction::Entry, hold_open_ms: 0x1388 };
    assert_golden(&command(open), "83001800 0201000000000000 0403000000000000 01 01 8813 00000000");
    let mode = Order::SetFallBack(FallBack::ExitFree);
    assert_golden(&command(mode), "83001800 0201000000000000 0403000000000000 02 01 0000 00000000");
    let tone = Order::Play(Tone::Attention);
    assert_golden(&command(tone), "83001800 0201000000000000 0403000000000000 03 03 0000 00000000");
    let done = Done { id: 0x0102, result: CommandResult::NotSupported };
    assert_golden(&Message::Done(done), "03001000 0201000000000000 01 00000000000000");
}

// SPEC 9.1 list ask
// SPEC 9.2 list page
// SPEC 9.3 list entry
#[test]
fn list_bytes() {
    let ask = ListAsk { request: 5, page: 63, list: ListKind::Children, card: card() };
    assert_golden(&Message::ListAsk(ask), "05001800 05000000 3f00 01 00 0138 04a2245b9c6180 00000000000000");
    let mut buffer = [0xa5; 100];
    let entries = [ListEntry { reference: 7, state: 1, text: "p0421" }, ListEntry { reference: 8, state: 0, text: "" }];
    let entries = ListEntries::lay_out(&entries, &mut buffer).unwrap();
    let page = ListPage { request: 5, page: 1, pages: 2, status: ListStatus::Entries, entries };
    let golden = "85002100 05000000 0100 0200 00 02 0000 07000000 01 05 0000 7030343231 08000000 00 00 0000";
    assert_golden(&Message::ListPage(page), golden);
}

// SPEC 10.4 ping and pong
#[test]
fn ping_and_pong_bytes() {
    let ping = Ping { token: 0x0403_0201, reports_waiting: 0x0605, falling_back: true };
    assert_golden(&Message::Ping(ping), "04000800 01020304 0506 01 00");
    assert_golden(&Message::Pong(Pong { token: 0x0403_0201 }), "84000800 01020304 00000000");
}

// SPEC 10.5 leave
#[test]
fn leave_bytes() {
    assert_golden(&Message::Leave, "86000000");
}

// SPEC 5.5 message headers and kinds
// SPEC 5.6 unknown kinds, the number of messages
#[test]
fn unknown_kinds_are_skipped_and_counted() {
    let pong = "84000800 01000000 00000000";
    let plaintext = bytes(&format!("7f000300 ffffff {pong} ff000000 {pong}"));
    let mut messages = Messages::new(&plaintext);
    assert_eq!(messages.by_ref().flatten().count(), 2);
    assert_eq!(messages.skipped, 2);
    for (count, whole) in [(32, true), (33, false)] {
        let plaintext = bytes(&"7f000000".repeat(count));
        assert_eq!(Messages::new(&plaintext).all(|message| message.is_ok()), whole, "{count} messages");
    }
    let flagged = bytes("84010800 01000000 00000000");
    assert_eq!(Messages::new(&flagged).next(), Some(Err(Malformed::Value("message flags"))));
}

// SPEC 6.7 reasons, each with its code
#[test]
fn reasons_have_their_codes_and_unknown_denials_stay_denials() {
    let codes: Vec<_> = Denial::ALL.iter().map(|denial| denial.code()).collect();
    let expected =
        [1, 2, 3, 4, 5, 6, 7, 16, 17, 32, 33, 34, 35, 36, 37, 38, 39, 48, 49, 50, 64, 65, 66, 67, 80, 81, 82, 83];
    assert_eq!(codes, expected);
    for code in 0..=u8::MAX {
        let denied = Verdict::from_bytes([0, code]).unwrap();
        assert!(!denied.is_grant());
        assert_eq!(Verdict::from_bytes([1, code]).is_ok(), code == 1 || code == 2, "grant {code}");
        assert!(Verdict::from_bytes([2, code]).is_err());
        assert_eq!(Denial::from_code(code).is_ok(), expected.contains(&code));
    }
    for grant in Grant::ALL {
        assert_eq!(Verdict::from_bytes(Verdict::Grant(*grant).to_bytes()), Ok(Verdict::Grant(*grant)));
    }
}

// SPEC 12.1 a new kind is no new version
// SPEC 12.2 the limits are the numbers of the page
// SPEC 4.12 so are those of the next session
#[test]
fn limits_are_those_of_the_page() {
    use kalitka_protocol::limits::*;
    assert_eq!(VERSION, 1);
    assert_eq!((DATAGRAM_MAX, MESSAGES_MAX, PLAINTEXT_MAX, TEXT_MAX, LIST_TEXT_MAX), (1200, 32, 1168, 64, 48));
    assert_eq!((DATAGRAM_MIN, FRAME_MAX, CHECKSUM_LEN), (32, 1211, 4));
    assert_eq!((LIST_ENTRIES_MAX, LIST_PAGES_MAX, REPLAY_WINDOW, SESSION_DATAGRAMS_MAX), (16, 64, 1024, 1 << 32));
    assert_eq!((ASKS_OUTSTANDING, ASKS_KEPT, REPORTS_OUTSTANDING), (64, 64, 64));
    let seconds = [SESSION_AGE_MAX, OLD_SESSION_LIFE, ASK_AGE_MAX, COMMAND_AGE_MAX].map(|age| age.as_secs());
    assert_eq!(seconds, [86_400, 10, 2, 3]);
    assert_eq!(INITIATION_INTERVAL_MIN.as_millis(), 100);
    assert_eq!((SESSION_DATAGRAMS_MARGIN, SESSION_AGE_MARGIN.as_secs()), (65_536, 60));
    assert_eq!((EVENT_HEADER_LEN, EVENT_LEN_MAX, HOLDER_MAX, SOFTWARE_VERSION_MAX), (48, 4096, 16, 64));
    assert_eq!((BODY_MAX, EARLIER_EPOCHS_MAX, POSITION_ENTRIES_MAX, BATCH_EVENTS_MAX), (1_048_576, 15, 16, 1_048_424));
    assert_eq!((COMMAND_BODY_MIN, COMMAND_BODY_MAX, LIVE_LEN_MAX, SNAPSHOT_LEN_MAX), (8, 1024, 1200, 1_073_741_824));
    assert_eq!((CERTIFICATE_LEN_MAX, PINNED_KEYS_MAX, LIVE_REPEAT.as_millis()), (4096, 32, 150));
}

// SPEC 3.3 the frame of the worked example
#[test]
fn wiegand_frame_on_the_wire() {
    let frame = CardRead::from_wiegand(24, 0x5b_9c61).unwrap();
    assert_eq!(frame.to_bytes()[..], bytes("021a adce3080 00000000000000000000"));
}
