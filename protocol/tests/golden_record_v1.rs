//! The bytes of the event record and of the upstream messages, each clause's once and by hand. Never edited: a byte that
//! has to change is layout or version 2.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]

mod support;

use kalitka_protocol::credential::Credential;
use kalitka_protocol::event::*;
use kalitka_protocol::message::{Order, Report, ReportKind};
use kalitka_protocol::reason::{Denial, Direction, Grant, Verdict};
use kalitka_protocol::upstream::{self, *};
use kalitka_protocol::wire::{Malformed, NoRoom, Writer};
use kalitka_protocol::{BootId, EpochId, LogId, ReaderId};
use support::card;

const EPOCH: EpochId = EpochId(0x1817_1615_1413_1211);
const EPOCH_HEX: &str = "1112131415161718";
const OTHER: EpochId = EpochId(0x2827_2625_2423_2221);
const OTHER_HEX: &str = "2122232425262728";

fn bytes(hex: &str) -> Vec<u8> {
    hex::decode(hex.replace([' ', '\n'], "")).unwrap()
}

fn header(number: u64) -> EventHeader {
    EventHeader {
        building: 0x0403_0201,
        epoch: EPOCH,
        number,
        wall_us: -2,
        monotonic_us: 0x0605,
        gateway_boot: 0x0a09_0807,
        quality: ClockQuality::Held,
        jumped: true,
    }
}

/// The event of `body` with `number` is emitted with `golden` behind its header, and parsed of it.
fn assert_event(number: u64, body: Body<'_>, kind: u8, golden: &str) {
    let golden = bytes(golden);
    let mut expected = u16::try_from(48 + golden.len()).unwrap().to_le_bytes().to_vec();
    expected.extend([1, kind, 1, 2, 3, 4]);
    expected.extend(bytes(EPOCH_HEX));
    expected.extend(number.to_le_bytes());
    expected.extend(bytes("feffffffffffffff 0506000000000000 0708090a 01 01 0000"));
    expected.extend(golden);
    let event = Event { header: header(number), body };
    assert_eq!(hex::encode(support::emitted(|out| event.emit(out))), hex::encode(&expected));
    assert_eq!(event.encoded_len(), Ok(expected.len()));
    assert_eq!(Event::parse(&expected), Ok(event));
    let raw = Events::new(&expected).next().unwrap().unwrap();
    assert_eq!((raw.header, raw.kind, raw.bytes), (event.header, kind, &expected[..]));
}

/// `body` is what `emit` writes and `parse` reads.
fn assert_body<'a, T: PartialEq + std::fmt::Debug>(
    value: &T,
    golden: &'a [u8],
    emit: impl Fn(&T, &mut Writer<'_>) -> Result<(), NoRoom>,
    parse: impl Fn(&'a [u8]) -> Result<T, Malformed>,
) {
    assert_eq!(hex::encode(support::emitted(|out| emit(value, out))), hex::encode(golden));
    assert_eq!(parse(golden).as_ref(), Ok(value));
}

// SPEC 14.1 identity
// SPEC 14.2 header
// SPEC 14.4 unknown kinds are kept as they are
#[test]
fn events_begin_with_identity_and_times() {
    assert_event(9, Body::Unknown { kind: 200, bytes: &[1, 2, 3] }, 200, "010203");
    assert_event(9, Body::Unknown { kind: 200, bytes: &[] }, 200, "");
    let qualities = ClockQuality::ALL.iter().map(|quality| (quality.code(), quality.label()));
    assert!(qualities.eq([(0, "good"), (1, "held"), (2, "none")]));
    let kinds = {
        use kalitka_protocol::event::kind::*;
        [DECISION, REPORT, EPOCH_BEGUN, LOSS, LOSS_CLOSED, COMMAND, SNAPSHOT_ADOPTED, GATEWAY_STARTED, PURGED]
    };
    assert_eq!(kinds, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

// SPEC 14.3 the chain: by the primitive, not by this crate's own function
#[test]
fn chain_is_blake3_of_the_hash_before_and_the_whole_event() {
    let body = Body::Unknown { kind: 200, bytes: &[7; 300] };
    let first = support::emitted(|out| Event { header: header(9), body }.emit(out));
    let second = support::emitted(|out| Event { header: header(10), body }.emit(out));
    let one = *blake3::hash(&[&[0; 32][..], &first].concat()).as_bytes();
    let two = *blake3::hash(&[&one[..], &second].concat()).as_bytes();
    assert_eq!(chain(&[0; 32], &first), one);
    assert_eq!(chain_all(&[0; 32], &[&first[..], &second].concat()), Ok((two, 2)));
    assert_eq!(chain_all(&one, &[]), Ok((one, 0)));
    assert!(chain_all(&one, &[&first[..], &second[..40]].concat()).is_err());
}

// SPEC 14.5 decision
#[test]
fn decision_bytes() {
    let uid = [0x04, 0xa2, 0x24, 0x5b, 0x9c, 0x61, 0x80];
    let granted = Decision {
        reader: ReaderId(0x65),
        boot: BootId(0x0807_0605_0403_0201),
        request: 7,
        generation: 3,
        portal: Some(0x0102),
        verdict: Verdict::Grant(Grant::AccessLevel),
        direction: Direction::Exit,
        age_ms: 0x0304,
        credential: Credential::from_uid(&uid),
        holder: b"p-04.2_1",
    };
    let golden = "65000000 0102030405060708 07000000 03000000 0201 01 01 02 08 0403 0138 04a2245b9c6180
        00000000000000 702d30342e325f31";
    assert_event(2, Body::Decision(granted), 1, golden);
    let denied = Decision {
        verdict: Verdict::Deny(Denial::ShapeNotDeclared),
        generation: 0,
        portal: None,
        credential: None,
        holder: b"",
        ..granted
    };
    let golden = "65000000 0102030405060708 07000000 00000000 ffff 00 03 02 00 0403 00000000000000000000000000000000";
    assert_event(2, Body::Decision(denied), 1, golden);
}

// SPEC 14.6 report
#[test]
fn report_taken_bytes() {
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
        oldest: true,
        card: Some(card()),
    };
    let taken = ReportTaken { reader: ReaderId(0x65), generation: 3, portal: Some(5), report };
    let golden = "65000000 03000000 0500 0000 0102030405060708 0900000000000000 1112131415161718 03000000 70110100
        00000000 01 01 00 03 0138 04a2245b9c6180 00000000000000";
    assert_event(2, Body::Report(taken), 2, golden);
}

// SPEC 14.7 epoch begun
// SPEC 14.8 loss
// SPEC 14.9 loss closed
#[test]
fn epoch_and_loss_bytes() {
    let first = EpochBegun { before: None, last: 0, hash: [0; 32] };
    assert_event(1, Body::EpochBegun(first), 3, &"00".repeat(48));
    let next = EpochBegun { before: Some(OTHER), last: 0x0a, hash: [0xcc; 32] };
    let hash = "cc".repeat(32);
    assert_event(1, Body::EpochBegun(next), 3, &format!("{OTHER_HEX} 0a00000000000000 {hash}"));
    let damaged = Loss { epoch: OTHER, first: 3, last: UNKNOWN_END, cause: LossCause::Damaged, count: 0 };
    let golden = format!("{OTHER_HEX} 0300000000000000 ffffffffffffffff 02 000000 00000000");
    assert_event(2, Body::Loss(damaged), 4, &golden);
    let bound = Loss { epoch: EPOCH, first: 3, last: 4, cause: LossCause::Bound, count: 2 };
    let golden = format!("{EPOCH_HEX} 0300000000000000 0400000000000000 03 000000 02000000");
    assert_event(9, Body::Loss(bound), 4, &golden);
    for (cause, code) in [(LossCause::HousekeepingGaveWay, "05"), (LossCause::DenialsGaveWay, "06")] {
        let golden = format!("{EPOCH_HEX} 0300000000000000 0400000000000000 {code} 000000 02000000");
        assert_event(9, Body::Loss(Loss { cause, ..bound }), 4, &golden);
    }
    for (cause, code) in [(LossCause::NotTaken, "01"), (LossCause::RingFull, "04"), (LossCause::AtBound, "07")] {
        let loss = Loss { epoch: EPOCH, first: 0, last: 0, cause, count: u32::MAX };
        let golden = format!("{EPOCH_HEX} 0000000000000000 0000000000000000 {code} 000000 ffffffff");
        assert_event(9, Body::Loss(loss), 4, &golden);
    }
    let closed = LossClosed { epoch: OTHER, first: 3, held: 7, hash: [0xcc; 32] };
    let golden = format!("{OTHER_HEX} 0300000000000000 0700000000000000 {hash}");
    assert_event(9, Body::LossClosed(closed), 5, &golden);
}

// SPEC 14.10 command
// SPEC 14.11 snapshot adopted
// SPEC 14.12 gateway started
#[test]
fn command_snapshot_and_start_bytes() {
    let done =
        CommandDone { number: 5, operator: [0xbb; 32], reader: 0x65, result: 2, body: &[1, 2, 3, 4, 5, 6, 7, 8] };
    let operator = "bb".repeat(32);
    let golden = format!("0500000000000000 {operator} 65000000 02 00 0800 0102030405060708");
    assert_event(9, Body::Command(done), 6, &golden);
    let adopted = SnapshotAdopted { generation: 4, cause: AdoptionCause::RollBack, hash: [0xcc; 32] };
    assert_event(9, Body::SnapshotAdopted(adopted), 7, &format!("04000000 02 000000 {}", "cc".repeat(32)));
    assert_eq!(AdoptionCause::Newer.code(), 1);
    let started = GatewayStarted { readers: 300, version: b"0.3.0" };
    assert_event(9, Body::GatewayStarted(started), 8, "2c010000 05 302e332e30");
}

// SPEC 14.13 purged
#[test]
fn purge_bytes() {
    let purged = Purged { epoch: OTHER, first: 3, last: 0x0a, hash: [0xcc; 32], before_us: 0x0102, count: 7 };
    let golden =
        format!("{OTHER_HEX} 0300000000000000 0a00000000000000 {} 0201000000000000 0700000000000000", "cc".repeat(32));
    assert_event(9, Body::Purged(purged), 9, &golden);
}

// SPEC 15.1 names
// SPEC 15.2 head and kinds
// SPEC 15.11 close codes
#[test]
fn heads_kinds_and_names() {
    let head = Head { kind: 3, len: 0x0403 };
    assert_eq!(head.to_bytes()[..], bytes("03040000 03 01 0000"));
    assert_eq!(Head::parse(&head.to_bytes()), Ok(head));
    let kinds = {
        use upstream::kind::*;
        let down_and_up = [HELLO, POSITION, BATCH, ACKNOWLEDGEMENT, CHECKPOINT, LIVE, SNAPSHOT, SNAPSHOT_RESULT];
        [&down_and_up[..], &[COMMAND, COMMAND_RESULT, FORK, SNAPSHOT_WANTED, ENROL, ENROLLED, ENROL_REFUSED]].concat()
    };
    assert_eq!(kinds, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 16, 17, 18]);
    let added = {
        use upstream::kind::*;
        [RENEW, RENEWED, RENEW_REFUSED, PACE]
    };
    assert_eq!(added, [19, 20, 21, 22]);
    let known: Vec<_> = (0..=u8::MAX).filter(|&kind| upstream::kind::is_known(kind)).collect();
    assert_eq!(known, [&kinds[..], &added].concat());
    let codes = {
        use upstream::close::*;
        [MALFORMED, VERSION, BUILDING, SECOND_CONNECTION, HISTORY, REVOKED, NO_BUILDING, NOT_NOW, EXPIRED]
    };
    assert_eq!(codes, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let protocols = [ALPN, ALPN_ENROL, ALPN_RENEW];
    assert_eq!(protocols, [&b"kalitka/1"[..], b"kalitka-enrol/1", b"kalitka-renew/1"]);
    assert_eq!((HUB_NAME, BUILDING_NAME), ("hub.kalitka", "urn:kalitka:building:"));
    let written = support::emitted(|out| message(4, out, |out| out.put(&[9; 3])));
    assert_eq!(written, bytes("03000000 04 01 0000 090909"));
}

// SPEC 15.4 hello
// SPEC 15.5 position
#[test]
fn hello_and_position_bytes() {
    let mut hello = Hello {
        building: 0x0403_0201,
        epoch: EPOCH,
        last: 10,
        hash: [0xcc; 32],
        oldest: 2,
        generation: 3,
        earlier: Earlier::new(),
    };
    let hash = "cc".repeat(32);
    let start = format!("01020304 {EPOCH_HEX} 0a00000000000000 {hash} 0200000000000000 03000000");
    assert_body(&hello, &bytes(&format!("{start} 00")), Hello::emit, Hello::parse);
    hello.earlier.push(OTHER).unwrap();
    hello.earlier.push(EpochId(1)).unwrap();
    let golden = bytes(&format!("{start} 02 {OTHER_HEX} 0100000000000000"));
    assert_eq!(golden.len(), 65 + 8 * 2);
    assert_body(&hello, &golden, Hello::emit, Hello::parse);
    let mut position = Position::new(PositionEntry { epoch: EPOCH, last: 9, hash: [0xcc; 32] });
    assert!(!position.answers(&hello), "the earlier epochs are missing");
    position.push(PositionEntry::nothing(OTHER)).unwrap();
    position.push(PositionEntry { epoch: EpochId(1), last: 1, hash: [0xcc; 32] }).unwrap();
    let golden = format!(
        "03 000000 {EPOCH_HEX} 0900000000000000 {hash} {OTHER_HEX} 0000000000000000 {} 0100000000000000
        0100000000000000 {hash}",
        "00".repeat(32)
    );
    assert_body(&position, &bytes(&golden), Position::emit, Position::parse);
    assert!(position.answers(&hello));
}

// SPEC 15.6 batch and acknowledgement
// SPEC 15.13 fork
#[test]
fn batch_bytes_and_what_is_signed_of_them() {
    let event = |number| {
        let event = Event { header: header(number), body: Body::Unknown { kind: 200, bytes: &[7] } };
        support::emitted(|out| event.emit(out))
    };
    let events = [event(9), event(10)].concat();
    let batch = Batch {
        epoch: EPOCH,
        first: 9,
        hash_before: [0xaa; 32],
        count: 2,
        events: &events,
        hash: [0xbb; 32],
        signature: [0xcc; 64],
    };
    let golden = format!(
        "{EPOCH_HEX} 0900000000000000 {} 02000000 62000000 {} {} {}",
        "aa".repeat(32),
        hex::encode(&events),
        "bb".repeat(32),
        "cc".repeat(64)
    );
    let golden = bytes(&golden);
    assert_eq!(golden.len(), 152 + events.len());
    assert_body(&batch, &golden, Batch::emit, Batch::parse);
    assert_eq!((batch.last(), batch.building()), (10, Some(0x0403_0201)));
    let signed = batch_signed(0x0403_0201, EPOCH, 10, &batch.hash);
    let prefix = hex::encode("kalitka batch 1");
    let expected = format!("{prefix} 01020304 {EPOCH_HEX} 0a00000000000000 {}", "bb".repeat(32));
    assert_eq!(signed[..], bytes(&expected));
    let identity = bytes(&format!("{EPOCH_HEX} 0a00000000000000"));
    assert_body(
        &Acknowledgement { epoch: EPOCH, number: 10 },
        &identity,
        Acknowledgement::emit,
        Acknowledgement::parse,
    );
    assert_body(&Fork { epoch: EPOCH, number: 10 }, &identity, Fork::emit, Fork::parse);
}

// SPEC 15.7 checkpoint
#[test]
fn checkpoint_bytes_and_what_is_signed_of_them() {
    let checkpoint = Checkpoint {
        building: 0x0403_0201,
        epoch: EPOCH,
        number: 10,
        hash: [0xbb; 32],
        wall_us: -2,
        signature: [0xcc; 64],
    };
    let fields = format!("01020304 {EPOCH_HEX} 0a00000000000000 {} feffffffffffffff", "bb".repeat(32));
    let golden = bytes(&format!("{fields} {}", "cc".repeat(64)));
    assert_eq!(golden.len(), 124);
    assert_body(&checkpoint, &golden, Checkpoint::emit, Checkpoint::parse);
    assert_eq!(checkpoint.signed()[..], bytes(&format!("{} {fields}", hex::encode("kalitka checkpoint 1"))));
}

// SPEC 15.8 envelope and bodies
#[test]
fn command_bytes_and_what_is_signed_of_them() {
    let envelope = Envelope {
        building: 0x0403_0201,
        number: 5,
        not_after_us: 0x0807,
        operator: [0xbb; 32],
        body: &[1, 2, 3, 4, 5, 6, 7, 8],
        signature: [0xcc; 64],
    };
    let fields = format!("01020304 0500000000000000 0708000000000000 {} 0800 0102030405060708", "bb".repeat(32));
    let golden = bytes(&format!("{fields} {}", "cc".repeat(64)));
    assert_eq!(golden.len(), 118 + 8);
    assert_body(&envelope, &golden, Envelope::emit, Envelope::parse);
    let signed = support::emitted(|out| envelope.signed(out));
    assert_eq!(signed, bytes(&format!("{} {fields}", hex::encode("kalitka command 1"))));
    let card = Credential::from_uid(&[0x04, 0xa2, 0x24, 0x5b, 0x9c, 0x61, 0x80]).unwrap();
    let open = Order::Open { direction: Direction::Entry, hold_open_ms: 0x1388 };
    let goldens = [
        (CommandBody::Reader { reader: Some(ReaderId(0x65)), order: open }, "01 01 8813 65000000"),
        (CommandBody::Reader { reader: None, order: open }, "01 01 8813 00000000"),
        (CommandBody::Block { credential: card }, "40 00000000000000 0138 04a2245b9c6180 00000000000000"),
        (CommandBody::Unblock { credential: card }, "41 00000000000000 0138 04a2245b9c6180 00000000000000"),
        (CommandBody::Mode { reader: None, mode: None }, "42 ff 0000 00000000"),
        (
            CommandBody::Mode { reader: Some(ReaderId(0x65)), mode: Some(PortalModeCode::EntryOnly) },
            "42 03 0000 65000000",
        ),
    ];
    for (body, golden) in goldens {
        assert_body(&body, &bytes(golden), CommandBody::emit, |bytes| CommandBody::parse(bytes).map(Option::unwrap));
    }
    assert_eq!(CommandBody::parse(&bytes("43 00 0000 00000000")), Ok(None), "an order of a later version");
    assert_eq!(PortalModeCode::ALL.iter().map(|mode| mode.code()).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
}

// SPEC 15.9 results
#[test]
fn command_result_bytes() {
    let result = CommandResult { number: 5, outcome: CommandOutcome::Malformed };
    assert_body(&result, &bytes("0500000000000000 08 00000000000000"), CommandResult::emit, CommandResult::parse);
    let labels: Vec<_> = CommandOutcome::ALL.iter().map(|outcome| (outcome.code(), outcome.label())).collect();
    let expected = [
        (0, "done"),
        (1, "not_supported"),
        (2, "given_up"),
        (3, "reader_unknown"),
        (4, "too_late"),
        (5, "number_not_above"),
        (6, "operator_unknown"),
        (7, "signature_wrong"),
        (8, "malformed"),
    ];
    assert_eq!(labels, expected);
}

// SPEC 15.10 live
#[test]
fn live_message_is_a_head_and_whole_events() {
    let body = Body::Unknown { kind: 200, bytes: &[7; 527] };
    let event = |number| support::emitted(|out| Event { header: header(number), body }.emit(out));
    let events = [event(9), event(10)].concat();
    let datagram = support::emitted(|out| message(6, out, |out| out.put(&events)));
    assert_eq!(datagram.len(), 1158);
    assert_eq!(datagram[..8], bytes("7e040000 06 01 0000"));
    let numbers: Vec<_> = live(&datagram).unwrap().map(|event| event.unwrap().header.number).collect();
    assert_eq!(numbers, [9, 10]);
    assert_eq!(kalitka_protocol::limits::LIVE_REPEAT.as_millis(), 150);
}

// SPEC 15.12 snapshot, snapshot wanted, snapshot result
#[test]
fn snapshot_bytes() {
    let head = SnapshotHead { generation: 4, len: 0x0403_0201, hash: [0xcc; 32] };
    let golden = bytes(&format!("04000000 00000000 0102030400000000 {}", "cc".repeat(32)));
    assert_body(&head, &golden, SnapshotHead::emit, SnapshotHead::parse);
    let wanted = SnapshotWanted { generation: 4, offset: 0x0201 };
    assert_body(&wanted, &bytes("04000000 00000000 0102000000000000"), SnapshotWanted::emit, SnapshotWanted::parse);
    let result = SnapshotResult { generation: 4, result: snapshot_result::SHARES };
    assert_body(&result, &bytes("04000000 21 000000"), SnapshotResult::emit, SnapshotResult::parse);
    let results = {
        use snapshot_result::*;
        [ADOPTED, GENERATION_NOT_ABOVE, SHARES, NOT_KEPT]
    };
    assert_eq!(results, [0, 32, 33, 34]);
}

// SPEC 15.14 enrolment
#[test]
fn enrolment_bytes() {
    let request = EnrolRequest { secret: [0xaa; 16], building: 0x0403_0201, csr: &[1, 2, 3] };
    let golden = bytes(&format!("{} 01020304 0300 010203", "aa".repeat(16)));
    assert_body(&request, &golden, EnrolRequest::emit, EnrolRequest::parse);
    let enrolled = Enrolled {
        certificate: &[1, 2, 3],
        ca: &[4, 5],
        checkpoint_key: [0xaa; 32],
        publishers: &[[0xbb; 32], [0xcc; 32]],
        operators: &[],
    };
    let keys = ["aa", "bb", "cc"].map(|byte| byte.repeat(32));
    let golden = bytes(&format!("0300 010203 0200 0405 {} 02 {} {} 00", keys[0], keys[1], keys[2]));
    assert_eq!(golden.len(), 38 + 3 + 2 + 64);
    assert_body(&enrolled, &golden, Enrolled::emit, Enrolled::parse);
    let refused = EnrolRefused { code: refusal::TOKEN_USED };
    assert_body(&refused, &bytes("02 000000"), EnrolRefused::emit, EnrolRefused::parse);
    let codes = {
        use refusal::*;
        [TOKEN_UNKNOWN, TOKEN_USED, TOKEN_EXPIRED, OTHER_BUILDING, MALFORMED, NOT_NOW]
    };
    assert_eq!(codes, [1, 2, 3, 4, 5, 6]);
}

// SPEC 15.15 renewal
#[test]
fn renewal_bytes() {
    let request = Renew { building: 0x0403_0201, csr: &[1, 2, 3] };
    assert_body(&request, &bytes("01020304 0300 010203"), Renew::emit, Renew::parse);
    let renewed = Renewed { certificate: &[1, 2, 3] };
    assert_body(&renewed, &bytes("0300 010203"), Renewed::emit, Renewed::parse);
    let refused = RenewRefused { code: renewal::NOT_NOW };
    assert_body(&refused, &bytes("04 000000"), RenewRefused::emit, RenewRefused::parse);
    let codes = {
        use renewal::*;
        [REVOKED, OTHER_BUILDING, MALFORMED, NOT_NOW]
    };
    assert_eq!(codes, [1, 2, 3, 4]);
}

// SPEC 15.16 pace
#[test]
fn pace_bytes() {
    let pace = Pace { bytes: 0x0403_8000 };
    assert_body(&pace, &bytes("00800304 00000000"), Pace::emit, Pace::parse);
    assert_eq!(Pace::parse(&bytes("ff7f0000 00000000")), Err(Malformed::Value("pace")), "one less than the least");
    assert_eq!(Pace::parse(&bytes("00800000 00000000")), Ok(Pace { bytes: 32_768 }));
}

// SPEC 15.14 the token's text: SHA-256 of "abc" is the example of FIPS 180-4
#[test]
fn token_text_is_prefix_secret_and_hash_of_the_ca() {
    let token = Token::new(std::array::from_fn(|place| u8::try_from(place).unwrap()), b"abc");
    let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let text = format!("kalitka1-000102030405060708090a0b0c0d0e0f{hash}");
    assert_eq!(token.to_text()[..], *text.as_bytes());
    assert_eq!(Token::parse(&text), Ok(token.clone()));
    assert!(token.is_of(b"abc") && !token.is_of(b"abd"));
    assert!(!format!("{token:?}").contains("0001"), "a secret is not for logs");
}
