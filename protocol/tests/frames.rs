//! Frames on serial lines: against a slow reference, and against everything that a line does to bytes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]

use fastrand::Rng;
use kalitka_protocol::frame::{Deframer, Fault, emit};
use kalitka_protocol::limits::{DATAGRAM_MAX, DATAGRAM_MIN, FRAME_MAX};
use proptest::prelude::*;

type Got = Result<Vec<u8>, Fault>;

fn framed(datagram: &[u8]) -> Vec<u8> {
    let mut frame = [0xa5; FRAME_MAX];
    let len = emit(datagram, &mut frame).unwrap();
    frame[..len].to_vec()
}

/// What the deframer makes of `pieces`, fed one after the other.
fn deframed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Got> {
    let (mut deframer, mut got) = (Deframer::new(), Vec::new());
    for piece in pieces {
        deframer.feed(piece, &mut |result| got.push(result.map(|datagram| datagram.to_vec())));
    }
    got
}

fn datagrams(got: &[Got]) -> Vec<Vec<u8>> {
    got.iter().filter_map(|got| got.clone().ok()).collect()
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 })
    })
}

/// What stands between two delimiters, read from SPEC 18.3 without a thought of speed. `None` when nothing does.
fn reference_body(stuffed: &[u8]) -> Option<Got> {
    if stuffed.is_empty() {
        return None;
    }
    let (mut body, mut rest, mut cut_off) = (Vec::new(), stuffed, false);
    while let Some((&code, after)) = rest.split_first() {
        let count = usize::from(code) - 1;
        cut_off = count > after.len();
        body.extend(&after[..count.min(after.len())]);
        rest = &after[count.min(after.len())..];
        if code < 255 && !rest.is_empty() {
            body.push(0);
        }
    }
    Some(if body.len() > DATAGRAM_MAX + 4 {
        Err(Fault::Oversized)
    } else if cut_off {
        Err(Fault::CutOff)
    } else if body.len() < DATAGRAM_MIN + 4 {
        Err(Fault::Short)
    } else {
        let checksum = u32::from_le_bytes(body.split_off(body.len() - 4).try_into().unwrap());
        if crc32c(&body) == checksum { Ok(body) } else { Err(Fault::Checksum) }
    })
}

fn reference(line: &[u8]) -> Vec<Got> {
    let mut parts: Vec<_> = line.split(|&byte| byte == 0).collect();
    let unended = parts.pop().unwrap_or_default();
    let mut got: Vec<_> = parts.into_iter().filter_map(reference_body).collect();
    // What is too long is told of before it has ended.
    if let Some(Err(Fault::Oversized)) = reference_body(unended) {
        got.push(Err(Fault::Oversized));
    }
    got
}

/// A datagram of length `len`, of which bytes are zero with a chance of `zeros` in 256.
fn datagram(rng: &mut Rng, len: usize, zeros: u8) -> Vec<u8> {
    (0..len).map(|_| if rng.u8(..) < zeros { 0 } else { rng.u8(1..) }).collect()
}

// SPEC 18.1 what travels are datagrams, whole
// SPEC 18.2 delimiters, body, checksum
// SPEC 18.3 by hand: groups with and without their zero, and the full group
#[test]
fn frame_is_delimiters_around_stuffed_datagram_and_checksum() {
    let body = |datagram: &[u8]| [datagram, &crc32c(datagram).to_le_bytes()].concat();
    assert_eq!(crc32c(b"123456789"), 0xe306_9283, "the check value of CRC-32C");
    let mut datagram = vec![0x11; 32];
    datagram[3] = 0;
    let [a, b, c, d] = crc32c(&datagram).to_le_bytes();
    assert!(![a, b, c, d].contains(&0), "the example's checksum has no zero");
    let by_hand = [&[0, 4, 0x11, 0x11, 0x11, 33][..], &[0x11; 28], &[a, b, c, d, 0]].concat();
    assert_eq!(framed(&datagram), by_hand);
    let full = [0x22; 254];
    let [a, b, c, d] = crc32c(&full).to_le_bytes();
    assert_eq!(framed(&full), [&[0, 255][..], &full, &[5, a, b, c, d, 0]].concat());
    for len in [DATAGRAM_MIN, 253, 254, 255, 507, 508, 509, DATAGRAM_MAX] {
        for zeros in [0, 1, 128, 255] {
            let datagram = self::datagram(&mut Rng::with_seed(len as u64), len, zeros);
            let frame = framed(&datagram);
            assert!(frame.len() <= FRAME_MAX && frame[0] == 0 && frame.last() == Some(&0));
            assert!(!frame[1..frame.len() - 1].contains(&0), "no zero inside");
            assert_eq!(reference_body(&frame[1..frame.len() - 1]), Some(Ok(datagram.clone())));
            assert_eq!(deframed([&frame[..]]), [Ok(datagram.clone())], "{len} bytes, {zeros} in 256 of them zero");
            assert!(frame.len() - 2 <= body(&datagram).len() + body(&datagram).len().div_ceil(254));
        }
    }
}

#[test]
fn what_is_no_datagram_gets_no_frame() {
    let mut frame = [0; FRAME_MAX];
    for (len, is_framed) in [(0, false), (31, false), (32, true), (1200, true), (1201, false), (5000, false)] {
        assert_eq!(emit(&vec![1; len], &mut frame).is_some(), is_framed, "{len} bytes");
    }
    assert_eq!(emit(&[1; DATAGRAM_MAX], &mut frame), Some(FRAME_MAX), "the limit is the longest frame's length");
}

// SPEC 18.4 the next delimiter begins anew
#[test]
fn every_truncation_costs_one_frame_and_never_the_next() {
    let mut rng = Rng::with_seed(1);
    let (first, second) = (datagram(&mut rng, 70, 20), datagram(&mut rng, 90, 20));
    let (cut, whole) = (framed(&first), framed(&second));
    for end in 0..cut.len() {
        let got = deframed([&cut[..end], &whole]);
        let expected = if end == cut.len() - 1 { vec![first.clone(), second.clone()] } else { vec![second.clone()] };
        assert_eq!(datagrams(&got), expected, "cut after {end} bytes");
    }
    for start in 1..cut.len() {
        let got = deframed([&cut[start..], &whole]);
        let expected = if start == 1 { vec![first.clone(), second.clone()] } else { vec![second.clone()] };
        assert_eq!(datagrams(&got), expected, "begun after {start} bytes");
    }
}

// SPEC 18.5 faults are counted by their reasons, and no other datagram is taken for one
#[test]
fn every_flipped_bit_is_noticed_and_costs_no_other_frame() {
    let mut rng = Rng::with_seed(2);
    let (first, second) = (datagram(&mut rng, 300, 10), datagram(&mut rng, 40, 10));
    let (hit, whole) = (framed(&first), framed(&second));
    let mut faults = std::collections::BTreeSet::new();
    for place in 0..hit.len() {
        for bit in 0..8 {
            let mut line = hit.clone();
            line[place] ^= 1 << bit;
            let got = deframed([&line[..], &whole]);
            faults.extend(got.iter().filter_map(|got| got.clone().err()));
            // Of a delimiter that is hit, its neighbour does the work, or the frame is lost.
            let known = [&first, &second];
            assert!(datagrams(&got).iter().all(|got| known.contains(&got)), "byte {place} bit {bit}");
            assert_eq!(datagrams(&got).last(), Some(&second), "byte {place} bit {bit}");
            assert!(got.len() > 1, "byte {place} bit {bit} is counted");
        }
    }
    assert!(faults.contains(&Fault::Checksum) && faults.contains(&Fault::CutOff), "{faults:?}");
}

#[test]
fn line_without_delimiters_takes_no_memory_and_is_told_of_once() {
    let mut rng = Rng::with_seed(3);
    let noise: Vec<u8> = (0..1_000_000).map(|_| rng.u8(1..)).collect();
    let whole = datagram(&mut rng, 64, 10);
    let got = deframed([&noise[..], &framed(&whole)]);
    assert_eq!(got, [Err(Fault::Oversized), Ok(whole)]);
}

#[test]
fn whole_frame_of_a_datagram_that_is_too_long_by_one_byte_is_oversized() {
    let framed_by_hand = |len: usize| {
        // Without a zero, so that groups are full ones but for the last.
        let mut bodies = (1..=255u8).map(|last| [&vec![7; len - 1][..], &[last]].concat());
        let body = bodies.find_map(|datagram| {
            let body = [&datagram[..], &crc32c(&datagram).to_le_bytes()].concat();
            (!body.contains(&0)).then_some(body)
        });
        let groups = body.unwrap();
        let groups = groups.chunks(254).map(|group| [&[u8::try_from(group.len() + 1).unwrap()], group].concat());
        [&[0][..], &groups.collect::<Vec<_>>().concat(), &[0]].concat()
    };
    assert!(matches!(deframed([&framed_by_hand(DATAGRAM_MAX)[..]])[..], [Ok(_)]));
    assert_eq!(deframed([&framed_by_hand(DATAGRAM_MAX + 1)[..]]), [Err(Fault::Oversized)]);
}

#[test]
fn reset_forgets_half_a_frame() {
    let whole = framed(&[7; 64]);
    let (mut deframer, mut got) = (Deframer::new(), Vec::new());
    deframer.feed(&whole[..40], &mut |result| got.push(result.map(|datagram| datagram.to_vec())));
    deframer.reset();
    deframer.feed(&whole, &mut |result| got.push(result.map(|datagram| datagram.to_vec())));
    assert_eq!(got, [Ok(vec![7; 64])]);
}

#[test]
fn labels_are_distinct_and_places_count_from_zero() {
    let labels: std::collections::BTreeSet<_> = Fault::ALL.iter().map(|fault| fault.label()).collect();
    assert_eq!(labels.len(), Fault::ALL.len());
    assert!(Fault::ALL.iter().enumerate().all(|(place, fault)| *fault as usize == place));
}

/// Some of a line: a datagram, or noise of so many bytes.
#[derive(Clone, Debug)]
enum Piece {
    Datagram(Vec<u8>),
    Noise(Vec<u8>),
    /// A frame with these places overwritten.
    Hit(Vec<u8>, Vec<(usize, u8)>),
}

fn piece() -> impl Strategy<Value = Piece> {
    let byte = prop_oneof![3 => any::<u8>(), 1 => Just(0), 1 => Just(255), 1 => Just(1)];
    let lengths = DATAGRAM_MIN..=DATAGRAM_MAX;
    // Zeros end groups; only where there are hardly any is a group full.
    let datagram = prop_oneof![
        prop::collection::vec(byte.clone(), lengths.clone()),
        prop::collection::vec(1..=255_u8, lengths.clone()),
        prop::collection::vec(prop_oneof![200 => 1..=255_u8, 1 => Just(0)], lengths),
    ];
    let hits = prop::collection::vec((any::<usize>(), any::<u8>()), 1..6);
    prop_oneof![
        4 => datagram.clone().prop_map(Piece::Datagram),
        3 => prop::collection::vec(byte, 0..2000).prop_map(Piece::Noise),
        2 => (datagram, hits).prop_map(|(datagram, hits)| Piece::Hit(datagram, hits)),
    ]
}

fn line(pieces: &[Piece]) -> Vec<u8> {
    let bytes = |piece: &Piece| match piece {
        Piece::Datagram(datagram) => framed(datagram),
        Piece::Noise(noise) => noise.clone(),
        Piece::Hit(datagram, hits) => {
            let mut frame = framed(datagram);
            for &(place, byte) in hits {
                let len = frame.len();
                frame[place % len] = byte;
            }
            frame
        }
    };
    pieces.iter().flat_map(bytes).collect()
}

proptest! {
    /// However a line's bytes come together, the deframer says what the slow one says.
    #[test]
    fn deframer_is_the_slow_reference(
        pieces in prop::collection::vec(piece(), 0..8),
        cuts in prop::collection::vec(1..700_usize, 1..40),
    ) {
        let line = line(&pieces);
        let (mut rest, mut parts) = (&line[..], Vec::new());
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (part, after) = rest.split_at((*cut).min(rest.len()));
            parts.push(part);
            rest = after;
        }
        prop_assert_eq!(deframed(parts), reference(&line));
    }

    /// Noise between frames, whatever it is, costs none of them.
    #[test]
    fn noise_between_frames_costs_none(pieces in prop::collection::vec(piece(), 0..8)) {
        let whole = |piece: &Piece| if let Piece::Datagram(datagram) = piece { Some(datagram.clone()) } else { None };
        let sent: Vec<_> = pieces.iter().filter_map(whole).collect();
        let got = datagrams(&deframed([&line(&pieces)[..]]));
        let mut rest = got.iter();
        for datagram in sent {
            prop_assert!(rest.any(|got| *got == datagram), "a datagram between noise is lost");
        }
    }

    #[test]
    fn random_bytes_give_no_datagram(noise in prop::collection::vec(any::<u8>(), 0..5000)) {
        prop_assert!(datagrams(&deframed([&noise[..]])).is_empty());
    }
}
