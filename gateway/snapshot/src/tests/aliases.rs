//! One card in several shapes, and cards that look alike when cut.

use kalitka_protocol::credential::{CardFormat, CardRead, Credential, Shape, ShapeSet};

use super::*;
use crate::Warning;

const SHAPES: &[&str] = &["uid", "w26", "w26-reversed", "w34", "w34-reversed", "w37", "w37-reversed", "uid-reversed"];

/// A building with one reader of each of `shapes`.
fn building_of(shapes: &[&str]) -> String {
    let mut text = String::from(
        "[building]\nnumber = 17\norganisation = 3\nname = \"S\"\ntime_zone = \"Europe/Moscow\"\n\
         [[area]]\nname = \"a\"\n[[portal]]\nname = \"p\"\nfrom = \"a\"\nto = \"a\"\n",
    );
    for (at, shape) in shapes.iter().enumerate() {
        text += &format!("[[reader]]\nnumber = {}\nportal = \"p\"\nshapes = [\"{shape}\"]\n", at + 1);
    }
    text
}

fn cards(cards: &[(&str, &str)]) -> String {
    let rows = cards.iter().map(|(card, holder)| format!("{card},{holder},issued,,,\n"));
    format!("card,holder,state,valid_from,valid_to,blocked_until\n{}", rows.collect::<String>())
}

fn built(shapes: &[&str], list: &[(&str, &str)]) -> (Snapshot, Vec<Warning>) {
    let roster = read(&building_of(shapes), &PEOPLE.replace("staff;pupil", "").replace("pupil,,", ",,"), &cards(list));
    let (file, warnings) = crate::build(&roster.unwrap(), 1, CREATED, 0).unwrap();
    (verified(&sign(file, &secret()).unwrap()).unwrap(), warnings)
}

/// What a reader of `shape` sends for a UID.
fn shown(shape: Shape, uid: &[u8]) -> CardRead {
    let mut order = uid.to_vec();
    if shape.is_reversed() {
        order.reverse();
    }
    let Some(bits) = shape.cut_bits() else { return CardRead::from_uid(&order).unwrap() };
    let number = order.iter().fold(0u128, |number, &byte| number << 8 | u128::from(byte)) & ((1 << bits) - 1);
    CardRead::from_wiegand(bits, u64::try_from(number).unwrap()).unwrap()
}

#[test]
fn a_card_is_found_at_a_reader_of_every_shape() {
    for uid in [
        &[0x04, 0xa1, 0xb2, 0xc3][..],
        &[4, 1, 2, 3, 4, 5, 6],
        &[0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99],
    ] {
        let (snapshot, warnings) = built(SHAPES, &[(&format!("uid:{}", hex::encode(uid)), "p0001")]);
        assert_eq!(warnings, []);
        for &shape in Shape::ALL {
            let credential = ShapeSet::default().with(shape).interpret(&shown(shape, uid)).unwrap();
            let slot = snapshot.probe(&credential).unwrap();
            assert_eq!(slot.holder, 0, "{shape:?}");
        }
        // The full UID once for both orders, and six cuts.
        assert_eq!(snapshot.header().entries, 7);
    }
}

#[test]
fn a_card_has_no_alias_of_a_shape_that_no_reader_declares() {
    let uid = [4, 1, 2, 3, 4, 5, 6];
    for &declared in SHAPES {
        let (snapshot, _) = built(&[declared], &[("uid:04010203040506", "p0001")]);
        for &shape in Shape::ALL {
            let credential = shape.credential_of_uid(&uid).unwrap();
            let known = shape.cut_bits().is_none() || shape.label() == declared;
            assert_eq!(snapshot.probe(&credential).is_some(), known, "{declared} {shape:?}");
        }
    }
}

#[test]
fn cards_that_look_alike_when_cut_are_ambiguous_there_and_only_there() {
    let (first, second) = ([4, 1, 2, 3, 0xaa, 0xbb, 0xcc], [4, 9, 9, 9, 0xaa, 0xbb, 0xcc]);
    let list = [("uid:04010203aabbcc", "p0001"), ("uid:04090909aabbcc", "p0002")];
    let (snapshot, warnings) = built(&["uid", "w26", "w37"], &list);
    let ambiguous = snapshot.probe(&Shape::Wiegand26.credential_of_uid(&first).unwrap()).unwrap();
    assert_eq!(ambiguous.credential_state, CredentialState::Ambiguous as u8);
    assert_eq!(ambiguous.holder, NOBODY);
    for (uid, holder) in [(first, 0), (second, 1)] {
        for shape in [Shape::Uid, Shape::Wiegand37] {
            assert_eq!(snapshot.probe(&shape.credential_of_uid(&uid).unwrap()).unwrap().holder, holder);
        }
    }
    let cards = list.map(|(card, holder)| (card.to_owned(), Some(holder.to_owned()))).to_vec();
    let alias = "w26:170-48076".to_owned();
    assert_eq!(warnings, [Warning::Ambiguous { alias: alias.clone(), cards }]);
    let text = warnings[0].to_string();
    assert!([&alias, "p0001", "p0002"].iter().all(|named| text.contains(*named)), "{text}");
}

#[test]
fn an_alias_and_a_card_known_by_that_number_are_ambiguous() {
    let list = [("uid:04010203aabbcc", "p0001"), ("w26:170-48076", "p0002"), ("uid:0faabbcc", "p0003")];
    let (snapshot, warnings) = built(&["w26"], &list);
    let credential = Credential::from_number(Shape::Wiegand26, 0x00aa_bbcc).unwrap();
    assert_eq!(snapshot.probe(&credential).unwrap().credential_state, CredentialState::Ambiguous as u8);
    let [Warning::Ambiguous { cards, .. }] = &warnings[..] else { panic!("{warnings:?}") };
    assert_eq!(cards.len(), 3);
    // Two full UIDs and the one alias.
    assert_eq!(snapshot.header().entries, 3);
}

#[test]
fn a_card_known_by_its_number_answers_at_readers_of_its_shape() {
    let list = [("w26:12-34567", "p0001"), ("w34-reversed:4000000000", "p0002"), ("w37:34359738367", "p0003")];
    let (snapshot, warnings) = built(&["w26", "w34-reversed"], &list);
    let at = |shape, bits, number| {
        let read = CardRead::from_wiegand(bits, number).unwrap();
        snapshot.probe(&ShapeSet::default().with(shape).interpret(&read).unwrap()).map(|slot| slot.holder.to_native())
    };
    assert_eq!(at(Shape::Wiegand26, 24, 12 << 16 | 34_567), Some(0));
    assert_eq!(at(Shape::Wiegand26Reversed, 24, 12 << 16 | 34_567), None);
    assert_eq!(at(Shape::Wiegand34Reversed, 32, 4_000_000_000), Some(1));
    assert_eq!(at(Shape::Wiegand37, 35, 34_359_738_367), Some(2));
    let unread = Warning::Unreadable { card: "w37:34359738367".into(), holder: Some("p0003".into()) };
    assert_eq!(warnings, [unread]);
}

#[test]
fn a_misread_wiegand_frame_is_no_card() {
    let read = CardRead::from_wiegand(24, 7).unwrap().to_bytes();
    let mut data = [0; 14];
    data.copy_from_slice(&read[2..]);
    data[1] ^= 1;
    let wrong = CardRead::new(CardFormat::Wiegand, 26, data).unwrap();
    assert!(ShapeSet::default().with(Shape::Wiegand26).interpret(&wrong).is_err());
}
