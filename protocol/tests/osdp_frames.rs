//! OSDP frames: the standard's own, what a damaged line makes of them, and a second opinion.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]

#[path = "support/osdp.rs"]
mod support;

use kalitka_protocol::credential::CardRead;
use kalitka_protocol::osdp::card::card;
use kalitka_protocol::osdp::command::{Blink, Colour, Switch, Text};
use kalitka_protocol::osdp::deframer::Dropped;
use kalitka_protocol::osdp::frame::{Front, Header, emit, front};
use kalitka_protocol::osdp::reply::{Raw, Refusal};
use kalitka_protocol::osdp::secure::{Challenge, DeviceCryptogram, NotOpened, accept, answer};
use kalitka_protocol::osdp::{Act, Address, Block, Check, Command, Deframer, Frame, Reply, Scbk, Sequence};
use kalitka_protocol::wire::{Malformed, Writer};
use proptest::prelude::*;
use support::frames_by_trying;

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text.replace(' ', "")).unwrap()
}

fn header(address: u8, is_reply: bool, sequence: u8, check: Check) -> Header {
    let address = Address::new(address).unwrap_or(Address::BROADCAST);
    let sequence = (0..sequence).fold(Sequence::FIRST, |sequence, _| sequence.next());
    Header { address, is_reply, sequence, check }
}

fn emitted(header: Header, block: Option<Block>, code: u8, data: &[u8]) -> Vec<u8> {
    let mut out = [0xa5; 1500];
    let len = emit(header, block, code, data, &mut out).unwrap();
    out[..len].to_vec()
}

fn data_of(command: &Command<'_>) -> Vec<u8> {
    let mut data = [0xa5; 128];
    let mut writer = Writer::new(&mut data);
    command.emit(&mut writer).unwrap();
    let len = writer.len();
    data[..len].to_vec()
}

fn commanded(address: u8, sequence: u8, check: Check, command: &Command<'_>) -> Vec<u8> {
    emitted(header(address, false, sequence, check), None, command.code(), &data_of(command))
}

#[test]
fn frames_of_the_standard_are_made_byte_for_byte() {
    let communication = Command::Communication { address: 0, baud: 9600 };
    let made = [
        (commanded(0, 0, Check::Crc, &Command::Identity), "53 00 09 00 04 61 00 C0 66"),
        (commanded(0, 1, Check::Crc, &Command::Capabilities), "53 00 09 00 05 62 00 A3 04"),
        (commanded(127, 0, Check::Crc, &communication), "53 7F 0D 00 04 6E 00 80 25 00 00 6E 38"),
        (commanded(127, 0, Check::Sum, &communication), "53 7F 0C 00 00 6E 00 80 25 00 00 0F"),
        (commanded(0, 0, Check::Sum, &Command::Identity), "53 00 08 00 00 61 00 44"),
    ];
    for (made, expected) in made {
        assert_eq!(hex::encode_upper(&made), expected.replace(' ', ""));
        assert!(Frame::parse(&made).is_ok());
    }
    let identity = bytes("53 80 14 00 04 45 16 42 68 00 0C 4C 8F BC F4 02 0A 02 C6 4C");
    let frame = Frame::parse(&identity).unwrap();
    assert!(frame.header.is_reply && frame.header.address.number() == 0);
    let Ok(Reply::Identity(identity)) = Reply::parse(frame.code, frame.data) else { panic!() };
    assert_eq!((identity.vendor, identity.serial, identity.firmware), ([0x16, 0x42, 0x68], 0xf4bc_8f4c, [2, 10, 2]));
}

#[test]
fn data_of_acts_are_laid_out_as_the_standard_says() {
    let blink = Blink { on: 2, off: 1, on_colour: Colour::Green, off_colour: Colour::None };
    let table = [
        (Act::Output { number: 1, switch: Switch::OnForATime, tenths: 0x0132 }, "01 05 32 01"),
        (Act::Led { number: 0, blink, tenths: Some(30) }, "00 00 02 02 01 02 00 1E 00 00 00 00 00 00"),
        (Act::Led { number: 0, blink, tenths: None }, "00 00 00 00 00 00 00 00 00 01 02 01 02 00"),
        (Act::Buzzer { on: 1, off: 2, count: 3 }, "00 02 01 02 03"),
        (Act::Text { seconds: 5, text: Text::new("Hi") }, "00 03 05 01 01 02 48 69"),
    ];
    for (act, expected) in table {
        assert_eq!(data_of(&Command::Act(act)), bytes(expected), "{act:?}");
    }
    let long = Text::new("!Проходите, пожалуйста");
    assert_eq!(data_of(&Command::Act(Act::Text { seconds: 1, text: long })).len(), 6 + 31, "cut between two letters");
    let key = Scbk::new([0x5a; 16]).unwrap();
    assert_eq!(data_of(&Command::KeySet(&key)), [&[1, 16][..], &[0x5a; 16]].concat());
    assert!(!format!("{:?}", Command::KeySet(&key)).contains("5a"));
}

/// Annex E: the default key, A = B0..B7, B = A0..A7.
#[test]
fn cryptograms_of_annex_e_are_made_by_both_halves() {
    let random_a: [u8; 8] = std::array::from_fn(|place| 0xb0 + u8::try_from(place).unwrap());
    let random_b: [u8; 8] = std::array::from_fn(|place| 0xa0 + u8::try_from(place).unwrap());
    let client = bytes("FDE5D2F428EC16312471EA3C02BD7796");
    let server = bytes("26D3356E07762D262801FC8E6665A891");
    let first_mac = bytes("B2A30057EB98BA2229EC1F875662B524");
    let (made, answered) = answer(&Scbk::DEFAULT, &random_a, [0; 8], random_b);
    assert_eq!(made.cryptogram[..], client);
    let challenge = Challenge::new(&Scbk::DEFAULT, random_a);
    assert_eq!(challenge.random(), &random_a);
    let (awaiting, ours) = challenge.answered(&made).unwrap();
    assert_eq!(ours[..], server);
    let (_, mac) = accept(&answered, &ours).unwrap();
    assert_eq!(mac[..], first_mac);
    assert!(awaiting.confirmed(&mac).is_ok());
    for bit in 0..128 {
        let flipped = |block: [u8; 16]| (u128::from_be_bytes(block) ^ 1 << bit).to_be_bytes();
        let wrong = DeviceCryptogram { cryptogram: flipped(made.cryptogram), ..made };
        assert!(challenge.answered(&wrong).is_err());
        assert!(awaiting.confirmed(&flipped(mac)).is_err() && accept(&answered, &flipped(ours)).is_err());
    }
}

#[test]
fn default_key_is_nobodys_own() {
    assert!(Scbk::new(*Scbk::DEFAULT.as_bytes()).is_none());
    assert!(Scbk::new([0x30; 16]).is_some());
}

#[test]
fn every_truncation_and_every_flipped_bit_of_a_frame_is_refused() {
    let whole = [
        commanded(5, 2, Check::Crc, &Command::Poll),
        commanded(5, 2, Check::Sum, &Command::Capabilities),
        emitted(header(5, true, 1, Check::Crc), Some(Block::Handshake { step: 0x12, value: 1 }), 0x76, &[9; 32]),
        emitted(header(5, true, 3, Check::Crc), Some(Block::Encrypted), 0x50, &[9; 20]),
    ];
    for frame in whole {
        let is_frame = Frame::parse(&frame).is_ok();
        for end in 0..frame.len() {
            assert!(Frame::parse(&frame[..end]).is_err());
        }
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Frame::parse(&flipped).is_err(), "bit {bit}");
        }
        let longer = [&frame[..], &[0]].concat();
        assert!(Frame::parse(&longer).is_err());
        assert!(is_frame || frame[5] == 2, "only data that are no whole blocks are refused");
    }
}

#[test]
fn blocks_are_taken_only_in_their_length_kind_and_direction() {
    for is_reply in [false, true] {
        for len in 0..=4_u8 {
            for kind in 0..=255_u8 {
                let data = vec![0; 16 + usize::from(len.saturating_sub(2)) + 4 + 1];
                let body = [&[len, kind][..], &data].concat();
                // Written as a frame without block, then marked as one with.
                let mut frame = emitted(header(1, is_reply, 1, Check::Sum), None, body[0], &body[1..]);
                frame[4] |= 8;
                let end = frame.len() - 1;
                frame[end] = frame[..end].iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg();
                let expected = match (len, kind, is_reply) {
                    (3, 0x11 | 0x13, false) | (3, 0x12 | 0x14, true) => true,
                    // Data of 16 and a MAC.
                    (2, 0x15 | 0x17, false) | (2, 0x16 | 0x18, true) => true,
                    _ => false,
                };
                assert_eq!(Frame::parse(&frame).is_ok(), expected, "{len} {kind:#x} {is_reply}");
            }
        }
    }
}

#[test]
fn frame_that_is_wrong_names_the_field() {
    let secured =
        |data: usize| emitted(header(1, true, 1, Check::Crc), Some(Block::Encrypted), 0x50, &vec![7; data + 4]);
    assert!(Frame::parse(&secured(16)).is_ok());
    for data in [0, 15, 17] {
        assert_eq!(Frame::parse(&secured(data)), Err(Malformed::Value("data length")), "{data}");
    }
    for (block, field) in [([2, 0x99], "security block type"), ([4, 0x15], "security block length")] {
        let mut frame = emitted(header(1, false, 1, Check::Crc), Some(Block::Authentic), 0x60, &[7; 4]);
        frame[5..7].copy_from_slice(&block);
        recheck(&mut frame);
        assert_eq!(Frame::parse(&frame), Err(Malformed::Value(field)));
    }
}

#[test]
fn header_of_a_frame_is_none_when_the_frame_would_be_too_short_or_too_long() {
    for (control, least) in [(0x00, 7), (0x04, 8), (0x08, 9), (0x0c, 10)] {
        for len in (0..20).chain(1430..1450) {
            let [low, high] = u16::to_le_bytes(len);
            let expected = if (least..=1440).contains(&len) { Front::Partial } else { Front::Nothing };
            assert_eq!(front(&[0x53, 1, low, high, control]), expected, "{control:#x} {len}");
        }
    }
}

#[test]
fn replies_are_taken_only_in_their_length() {
    let table: [(u8, &[usize]); 9] = [
        (0x40, &[0]),
        (0x45, &[12]),
        (0x48, &[2]),
        (0x54, &[5]),
        (0x76, &[32]),
        (0x78, &[16]),
        (0x79, &[0]),
        (0x46, &[3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 33, 36, 39]),
        // Reader, format, bits: 0 bits are no card.
        (0x50, &[]),
    ];
    for (code, lengths) in table {
        for len in 0..40 {
            assert_eq!(Reply::parse(code, &vec![0; len]).is_ok(), lengths.contains(&len), "{code:#x} {len}");
        }
    }
    assert!(Reply::parse(0x46, &[1; 97]).is_err() && Reply::parse(0x46, &[1; 99]).is_err());
    assert!(Reply::parse(0x49, &[1; 32]).is_ok() && Reply::parse(0x49, &[1; 33]).is_err());
    assert!(Reply::parse(0x49, &[2]).is_err());
    assert_eq!(Reply::parse(0x41, &[4]), Ok(Reply::Nak(Refusal::Sequence)));
    assert!(Reply::parse(0x41, &[]).is_err());
    assert!(Reply::parse(0x53, &[0, 3, 1, 2]).is_err() && Reply::parse(0x53, &[0, 2, 1, 2, 3]).is_err());
    assert!(Reply::parse(0x53, &[0, 200]).is_err());
    let Ok(Reply::Keypad(keypad)) = Reply::parse(0x53, &[0, 2, 0x31, 0x0d]) else { panic!() };
    assert_eq!(keypad.digits(), [0x31, 0x0d]);
    assert!(!format!("{keypad:?}").contains("49"), "keys are nobody's to read");
}

#[test]
fn raw_cards_become_cards_by_their_number_of_bits() {
    let wiegand = CardRead::from_wiegand(24, 0x5b_9c61).unwrap();
    let data = &wiegand.to_bytes()[2..6];
    const fn raw(format: u8, bits: u16, data: &[u8]) -> Raw<'_> {
        Raw { reader: 0, format, bits, data }
    }
    assert_eq!(card(&raw(1, 26, data)), Some(wiegand));
    assert_eq!(card(&raw(0, 26, data)), Some(wiegand));
    // What stands behind the last bit is no part of it.
    let mut dirty = data.to_vec();
    dirty[3] |= 0x3f;
    assert_eq!(card(&raw(0, 26, &dirty)), Some(wiegand));
    let uid = [4, 0xa2, 0x24, 0x5b, 0x9c, 0x61, 0x80];
    assert_eq!(card(&raw(0, 56, &uid)), CardRead::from_uid(&uid));
    assert_eq!(card(&raw(1, 56, &uid)), None, "a UID has no parity");
    for bits in (1..=130).filter(|bits| ![26, 34, 37, 32, 56, 80].contains(bits)) {
        let data = vec![0; usize::from(bits).div_ceil(8)];
        assert_eq!(card(&raw(0, bits, &data)), None, "{bits}");
    }
    assert_eq!(card(&raw(2, 26, data)), None);
    assert!(
        Reply::parse(0x50, &[0, 0, 26, 0, 1, 2, 3]).is_err()
            && Reply::parse(0x50, &[0, 0, 26, 0, 1, 2, 3, 4, 5]).is_err()
    );
}

/// Both ends of a channel.
fn channels() -> (kalitka_protocol::osdp::secure::Channel, kalitka_protocol::osdp::secure::Channel) {
    let key = Scbk::new([7; 16]).unwrap();
    let challenge = Challenge::new(&key, [1; 8]);
    let (made, answered) = answer(&key, challenge.random(), [2; 8], [3; 8]);
    let (awaiting, cryptogram) = challenge.answered(&made).unwrap();
    let (device, first) = accept(&answered, &cryptogram).unwrap();
    (awaiting.confirmed(&first).unwrap(), device)
}

#[test]
fn channel_takes_each_frame_once_in_order_unchanged_and_no_other() {
    let (mut panel, mut device) = channels();
    let mut before: Option<Vec<u8>> = None;
    for len in [0, 1, 15, 16, 17, 31, 32, 95, 0, 2] {
        let data: Vec<u8> = (0..len).collect();
        let mut out = [0xa5; 128];
        let sealed = panel.seal(header(1, false, 1, Check::Crc), 0x68, &data, &mut out).unwrap();
        let frame = out[..sealed].to_vec();
        if let Some(before) = &before {
            let replayed = Frame::parse(before).unwrap();
            assert!(matches!(device.clone().open(&replayed), Err(NotOpened::Mac)));
        }
        // A changed frame whose check was made anew: only the MAC can tell.
        for bit in 0..(frame.len() - 2) * 8 {
            let mut forged = frame.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            recheck(&mut forged);
            if let Ok(parsed) = Frame::parse(&forged) {
                assert!(device.clone().open(&parsed).is_err(), "bit {bit} of {len}");
            }
        }
        assert_eq!(device.open(&Frame::parse(&frame).unwrap()).unwrap().data(), data);
        let reply = header(1, true, 1, Check::Sum);
        let sealed = device.seal(reply, 0x50, &data, &mut out).unwrap();
        assert_eq!(panel.open(&Frame::parse(&out[..sealed]).unwrap()).unwrap().data(), data);
        before = Some(frame);
    }
    assert!(panel.seal(header(1, false, 1, Check::Crc), 0x6b, &[0; 96], &mut [0; 200]).is_err());
    assert!(panel.seal(header(1, false, 1, Check::Crc), 0x6b, &[0; 95], &mut [0; 64]).is_err());
}

/// Makes the checksum of `frame` anew.
fn recheck(frame: &mut [u8]) {
    let (body, check) = frame.split_last_chunk_mut::<2>().unwrap();
    *check = crc16_slowly(body).to_le_bytes();
}

fn crc16_slowly(bytes: &[u8]) -> u16 {
    let mut crc = 0x1d0f_u16;
    for byte in bytes {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 };
        }
    }
    crc
}

fn found(stream: &[u8], chunks: impl Fn(usize) -> usize) -> Vec<Vec<u8>> {
    let (mut deframer, mut found, mut place) = (Deframer::new(), Vec::new(), 0);
    let mut take = |deframer: &mut Deframer| {
        while let Some(frame) = deframer.next() {
            found.push(emitted_again(&frame));
        }
    };
    while place < stream.len() {
        let end = (place + chunks(place).max(1)).min(stream.len());
        let mut rest = &stream[place..end];
        while !rest.is_empty() {
            rest = deframer.push(rest);
            take(&mut deframer);
        }
        place = end;
    }
    while deframer.give_up_front() {
        take(&mut deframer);
    }
    found
}

#[test]
fn what_a_deframer_drops_is_counted_to_the_byte_and_told_once() {
    let whole = commanded(5, 2, Check::Crc, &Command::Poll);
    let mut spoilt = whole.clone();
    spoilt[7] ^= 1;
    let mut deframer = Deframer::new();
    assert!(!deframer.is_within());
    assert!(deframer.push(&[&[1, 2, 3], &whole[..], &spoilt, &whole[..4]].concat()).is_empty());
    assert!(deframer.next().is_some() && deframer.is_within());
    assert_eq!(deframer.take_dropped(), Dropped { bytes: 3, frames: 0 });
    assert!(deframer.next().is_none() && deframer.is_within());
    assert_eq!(deframer.take_dropped(), Dropped { bytes: 8, frames: 1 });
    deframer.clear();
    assert!(!deframer.is_within());
    assert_eq!(deframer.take_dropped(), Dropped { bytes: 4, frames: 0 });
    assert!(deframer.push(&whole).is_empty() && deframer.next().is_some());
    assert!(!deframer.is_within(), "a frame that was given is not waited for");
    assert_eq!(deframer.take_dropped(), Dropped::default());
}

#[test]
fn deframer_gives_back_what_it_has_no_room_for() {
    let mut deframer = Deframer::new();
    // The header of the longest frame.
    assert!(deframer.push(&[0x53, 5, 0xa0, 5, 4]).is_empty());
    assert_eq!(deframer.push(&[0; 1440]), [0; 5]);
}

/// The bytes of a frame, made anew from what was read of it.
fn emitted_again(frame: &Frame<'_>) -> Vec<u8> {
    let data = match frame.block {
        Some(block) if block.has_mac() => [frame.data, &frame.mac].concat(),
        _ => frame.data.to_vec(),
    };
    emitted(frame.header, frame.block, frame.code, &data)
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let check = prop_oneof![Just(Check::Crc), Just(Check::Sum)];
    let data = prop::collection::vec(any::<u8>(), 0..40);
    (0_u8..127, any::<bool>(), 0_u8..4, check, any::<u8>(), data).prop_map(
        |(address, is_reply, sequence, check, code, data)| {
            emitted(header(address, is_reply, sequence, check), None, code, &data)
        },
    )
}

/// Frames, noise that likes to look like frames, and frames cut short, by turns.
fn any_stream() -> impl Strategy<Value = Vec<u8>> {
    let noise = prop::collection::vec(prop_oneof![any::<u8>(), Just(0x53), 0_u8..16], 0..30);
    let piece = prop_oneof![
        3 => any_frame(),
        2 => noise,
        1 => (any_frame(), any::<prop::sample::Index>()).prop_map(|(frame, end)| frame[..end.index(frame.len())].to_vec()),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn deframer_finds_what_trying_every_place_finds(stream in any_stream(), step in 1_usize..50) {
        prop_assert_eq!(found(&stream, |_| step), frames_by_trying(&stream));
        prop_assert_eq!(found(&stream, |place| place % 7 + 1), frames_by_trying(&stream));
    }

    #[test]
    fn nothing_that_arrives_makes_a_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000), code in any::<u8>()) {
        let _ = Frame::parse(&bytes);
        let _ = Reply::parse(code, &bytes);
        let _ = found(&bytes, |_| 64);
    }

    #[test]
    fn second_opinion_reads_every_frame_alike(frame in any_frame()) {
        let ours = Frame::parse(&frame).unwrap();
        let (theirs, len) = osdp::packet::ParsedPacket::parse(&frame).unwrap();
        prop_assert_eq!(len, frame.len());
        prop_assert_eq!((theirs.code, theirs.data), (ours.code, ours.data));
        prop_assert_eq!(theirs.addr.is_reply(), ours.header.is_reply);
        prop_assert_eq!(theirs.ctrl.sqn.value(), ours.header.sequence.number());
    }
}

/// The crate `osdp` as the device's half of a whole conversation.
#[test]
fn second_opinion_holds_a_secured_conversation() {
    use osdp::packet::{Address, ParsedPacket, Sqn};
    use osdp::reply::CCrypt;
    use osdp::secure::{Direction, Disconnected, Session, seal, unseal};
    let key = Scbk::new([7; 16]).unwrap();
    let challenge = Challenge::new(&key, [1; 8]);
    let (made, answered) = answer(&key, challenge.random(), [2; 8], [3; 8]);
    let session = Session::<Disconnected>::new([7; 16]).challenge([1; 8]);
    let cryptogram = CCrypt { cuid: made.client, rnd_b: made.random, client_cryptogram: made.cryptogram };
    let session = session.receive_ccrypt(&cryptogram).unwrap_or_else(|_| panic!());
    let (awaiting, ours) = challenge.answered(&made).unwrap();
    assert_eq!(session.server_cryptogram(), ours);
    let (_, first) = accept(&answered, &ours).unwrap();
    let mut theirs = session.confirm_rmac_i(&first).unwrap_or_else(|_| panic!());
    let mut panel = awaiting.confirmed(&first).unwrap();
    for (round, len) in [0_usize, 4, 15, 16, 17, 40, 0, 3].into_iter().enumerate() {
        let data = vec![u8::try_from(round).unwrap(); len];
        let mut out = [0; 128];
        let sealed = panel.seal(header(9, false, 1, Check::Crc), 0x69, &data, &mut out).unwrap();
        let (packet, _) = ParsedPacket::parse(&out[..sealed]).unwrap();
        assert_eq!(unseal(&mut theirs, &packet, &out[..sealed]).unwrap(), data);
        let reply = Address::reply(9).unwrap();
        let reply =
            seal(&mut theirs, reply, Sqn::new(1).unwrap(), Direction::PdToAcu, !data.is_empty(), 0x50, &data).unwrap();
        assert_eq!(panel.open(&Frame::parse(&reply).unwrap()).unwrap().data(), data);
    }
}
