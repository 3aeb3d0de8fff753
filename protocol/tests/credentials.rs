//! Cards: parity of Wiegand frames against frames worked out by hand, shapes against each other.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]

use kalitka_protocol::credential::{CardFormat, CardRead, Credential, ReadError, Shape, ShapeSet};
use proptest::prelude::*;

const UID: [u8; 7] = [0x04, 0xa2, 0x24, 0x5b, 0x9c, 0x61, 0x80];

/// A frame written as its bits.
fn frame(bits: &str) -> CardRead {
    let mut data = [0; 14];
    for (place, _) in bits.char_indices().filter(|&(_, bit)| bit == '1') {
        data[place / 8] |= 0x80 >> (place % 8);
    }
    CardRead::new(CardFormat::Wiegand, u8::try_from(bits.len()).unwrap(), data).unwrap()
}

fn all_shapes() -> ShapeSet {
    Shape::ALL.iter().fold(ShapeSet::default(), |set, &shape| set.with(shape))
}

// SPEC 3.2 a frame is whole, parity bits and all
// SPEC 3.3 parity: the first bit makes the upper half even, the last the lower half odd
#[test]
fn known_wiegand_frames() {
    let known = [
        // Facility 1, card 1: 0000 0001 0000 | 0000 0000 0001.
        (24, 0x01_0001, "1 000000010000 000000000001 0"),
        (24, 0x00_0000, "0 000000000000 000000000000 1"),
        (24, 0xff_ffff, "0 111111111111 111111111111 1"),
        // Facility 12, card 34567: 0000 1100 1000 | 0111 0000 0111.
        (24, 12 << 16 | 34567, "1 000011001000 011100000111 1"),
        // No bit of the lower half stands under the first parity.
        (24, 4, "0 000000000000 000000000100 0"),
        (32, 4, "0 0000000000000000 0000000000000100 0"),
        (35, 4, "0 00000000000000000 0 00000000000000100 0"),
        (32, 0x0000_0001, "0 0000000000000000 0000000000000001 0"),
        (32, 0x8000_0000, "1 1000000000000000 0000000000000000 1"),
        (32, 0xffff_ffff, "0 1111111111111111 1111111111111111 1"),
        // The middle bit of 35 stands under both parities.
        (35, 1 << 17, "1 00000000000000000 1 00000000000000000 0"),
        (35, 1 << 34, "1 10000000000000000 0 00000000000000000 1"),
        (35, 1, "0 00000000000000000 0 00000000000000001 0"),
    ];
    for (bits, number, written) in known {
        let read = frame(&written.replace(' ', ""));
        assert_eq!(CardRead::from_wiegand(bits, number), Some(read), "{number} in {bits} bits");
        let shape = Shape::ALL.iter().copied().find(|shape| shape.cut_bits() == Some(bits)).unwrap();
        let set = ShapeSet::default().with(shape);
        assert_eq!(set.interpret(&read).ok(), Credential::from_number(shape, number));
    }
}

#[test]
fn set_holds_each_shape_that_was_put_into_it_however_often() {
    let mut set = ShapeSet::default();
    for (count, &shape) in (1..).zip(Shape::ALL) {
        set = set.with(shape).with(shape);
        assert_eq!((set.bits().count_ones(), ShapeSet::from_bits(set.bits())), (count, set), "{shape:?}");
    }
}

#[test]
fn each_flipped_bit_of_a_frame_is_malformed() {
    for (bits, number) in [(24, 0x5b_9c61), (32, 0x5b9c_6180), (35, 0x2_5b9c_6180)] {
        let good = CardRead::from_wiegand(bits, number).unwrap();
        for place in 0..usize::from(bits) + 2 {
            let mut data: [u8; 14] = good.to_bytes()[2..].try_into().unwrap();
            data[place / 8] ^= 0x80 >> (place % 8);
            let read = CardRead::new(CardFormat::Wiegand, bits + 2, data).unwrap();
            assert_eq!(all_shapes().interpret(&read), Err(ReadError::Malformed), "bit {place} of {}", bits + 2);
        }
    }
}

#[test]
fn lengths_and_padding_are_checked() {
    for bits in 0..=u8::MAX {
        let good = |format| CardRead::new(format, bits, [0; 14]).is_ok();
        assert_eq!(good(CardFormat::Uid), [32, 56, 80].contains(&bits), "{bits}");
        assert_eq!(good(CardFormat::Wiegand), [26, 34, 37].contains(&bits), "{bits}");
    }
    for (format, bits) in [(CardFormat::Uid, 56), (CardFormat::Wiegand, 26), (CardFormat::Uid, 80)] {
        for place in 0..112 {
            let mut data = [0; 14];
            data[place / 8] |= 0x80 >> (place % 8);
            assert_eq!(CardRead::new(format, bits, data).is_ok(), place < usize::from(bits), "bit {place} of {bits}");
        }
    }
}

// SPEC 3.4 shapes
// SPEC 3.5 canonical forms
#[test]
fn one_card_in_every_shape() {
    let canonical = |shape: Shape| hex::encode(shape.credential_of_uid(&UID).unwrap().as_bytes());
    let expected = [
        (Shape::Uid, "013804a2245b9c618000000000000000"),
        (Shape::UidReversed, "013804a2245b9c618000000000000000"),
        (Shape::Wiegand26, "03189c61800000000000000000000000"),
        (Shape::Wiegand26Reversed, "041824a2040000000000000000000000"),
        (Shape::Wiegand34, "05205b9c618000000000000000000000"),
        (Shape::Wiegand34Reversed, "06205b24a20400000000000000000000"),
        (Shape::Wiegand37, "07238b738c3000000000000000000000"),
        (Shape::Wiegand37Reversed, "08238b64944080000000000000000000"),
    ];
    for (shape, bytes) in expected {
        assert_eq!(canonical(shape), bytes, "{}", shape.label());
    }
}

#[test]
fn undeclared_shapes_are_refused_and_malformed_ones_first() {
    let none = ShapeSet::default();
    let uid = CardRead::from_uid(&UID).unwrap();
    assert_eq!(none.interpret(&uid), Err(ReadError::ShapeNotDeclared));
    let good = CardRead::from_wiegand(24, 1).unwrap();
    assert_eq!(none.interpret(&good), Err(ReadError::ShapeNotDeclared));
    assert_eq!(none.with(Shape::Wiegand34).interpret(&good), Err(ReadError::ShapeNotDeclared));
    assert_eq!(none.interpret(&frame(&"0".repeat(26))), Err(ReadError::Malformed));
}

#[test]
fn other_lengths_of_uid_are_no_card() {
    for len in 0..=20 {
        let uid = vec![1; len];
        assert_eq!(CardRead::from_uid(&uid).is_some(), [4, 7, 10].contains(&len), "{len}");
        assert_eq!(Credential::from_uid(&uid).is_some(), [4, 7, 10].contains(&len), "{len}");
    }
    assert_eq!(CardRead::from_wiegand(24, 1 << 24), None);
    assert_eq!(CardRead::from_wiegand(25, 0), None);
    assert_eq!(Credential::from_number(Shape::Wiegand26, 1 << 24), None);
    assert_eq!(Credential::from_number(Shape::Uid, 1), None);
}

#[test]
fn labels_are_a_roundtrip() {
    for &shape in Shape::ALL {
        assert_eq!(Shape::from_label(shape.label()), Some(shape));
    }
    assert_eq!(Shape::from_label("w27"), None);
}

fn uid() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 4),
        prop::collection::vec(any::<u8>(), 7),
        prop::collection::vec(any::<u8>(), 10)
    ]
}

proptest! {
    /// A card is the same credential at a reader that turns it round as at one that does not.
    #[test]
    fn a_reversed_uid_is_the_same_credential(uid in uid()) {
        let reversed: Vec<u8> = uid.iter().rev().copied().collect();
        let plain = ShapeSet::default().with(Shape::Uid).interpret(&CardRead::from_uid(&uid).unwrap());
        let turned = ShapeSet::default().with(Shape::UidReversed).interpret(&CardRead::from_uid(&reversed).unwrap());
        prop_assert_eq!(plain, turned);
        prop_assert_eq!(plain.ok(), Credential::from_uid(&uid));
    }

    /// What an old reader sends of a card is the alias that the index has for it, by a sum done in another way.
    #[test]
    fn a_cut_uid_is_its_alias(uid in uid(), place in 2usize..8) {
        let shape = Shape::ALL[place];
        let bits = shape.cut_bits().unwrap();
        let mut order = uid.clone();
        if shape.is_reversed() {
            order.reverse();
        }
        let digits: String = order.iter().map(|byte| format!("{byte:08b}")).collect();
        let cut = &digits[digits.len().saturating_sub(usize::from(bits))..];
        let number = u64::from_str_radix(cut, 2).unwrap();
        let read = CardRead::from_wiegand(bits, number).unwrap();
        prop_assert_eq!(ShapeSet::default().with(shape).interpret(&read).ok(), shape.credential_of_uid(&uid));
    }
}
