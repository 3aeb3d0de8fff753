//! The key file's parser, as an adversary treats it.

use super::*;

fn keys_of(numbers: impl IntoIterator<Item = u32>) -> BTreeMap<ReaderId, Psk> {
    numbers.into_iter().map(|number| (ReaderId(number), Psk::new([number.to_le_bytes()[0]; 32]))).collect()
}

fn parsed(bytes: &[u8]) -> Result<Vec<(u32, [u8; 32])>, LineError> {
    parse(bytes).map(|keys| keys.iter().map(|(reader, psk)| (reader.0, *psk.as_bytes())).collect())
}

#[test]
fn what_is_emitted_is_parsed_alike() {
    for numbers in [vec![], vec![1], vec![101, 102, u32::MAX]] {
        let keys = keys_of(numbers);
        let text = emit(&keys);
        assert_eq!(emit(&parse(text.as_bytes()).unwrap()), text);
    }
}

#[test]
fn every_truncation_is_refused_or_ends_at_a_line() {
    let text = emit(&keys_of([101, 102, 103]));
    for end in 0..text.len() {
        let cut = &text.as_bytes()[..end];
        assert_eq!(parse(cut).is_ok(), cut.ends_with(b"\n"), "cut at {end}");
    }
}

#[test]
fn flipped_bit_never_panics_and_is_refused_or_changes_what_is_read() {
    let text = emit(&keys_of([101, 102]));
    let right = parsed(text.as_bytes()).unwrap();
    for at in 0..text.len() * 8 {
        let mut bytes = text.clone().into_bytes();
        bytes[at / 8] ^= 1 << (at % 8);
        assert_ne!(parsed(&bytes).ok().as_ref(), Some(&right), "bit {at}");
    }
}

#[test]
fn random_bytes_are_refused() {
    let mut random = fastrand::Rng::with_seed(7);
    for len in 0..2000 {
        let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(len).collect();
        assert!(parse(&bytes).is_err());
    }
}

#[test]
fn wrong_lines_are_named() {
    let key = "00".repeat(32);
    let upper = "AA".repeat(32);
    let short = "00".repeat(31);
    let cases = [
        (String::new(), LineError::Title),
        ("kalitka reader keys 2\n".into(), LineError::Title),
        (format!("{TITLE}\n0 {key}\n"), LineError::Shape(2)),
        (format!("{TITLE}\n01 {key}\n"), LineError::Shape(2)),
        (format!("{TITLE}\n+1 {key}\n"), LineError::Shape(2)),
        (format!("{TITLE}\n4294967296 {key}\n"), LineError::Shape(2)),
        (format!("{TITLE}\n1  {key}\n"), LineError::Shape(2)),
        (format!("{TITLE}\n1 {upper}\n"), LineError::Shape(2)),
        (format!("{TITLE}\n1 {short}\n"), LineError::Shape(2)),
        (format!("{TITLE}\n1 {key}\r\n"), LineError::Shape(2)),
        (format!("{TITLE}\n\n"), LineError::Shape(2)),
        (format!("{TITLE}\n1 {key}\n1 {key}\n"), LineError::Order(3)),
        (format!("{TITLE}\n2 {key}\n1 {key}\n"), LineError::Order(3)),
        (format!("{TITLE}\n1 {key}"), LineError::Unfinished(2)),
    ];
    for (text, error) in cases {
        assert_eq!(parsed(text.as_bytes()).unwrap_err(), error, "{text}");
    }
}

#[test]
fn reader_beyond_the_most_is_refused() {
    let count = u32::try_from(READERS_MAX).unwrap();
    assert!(parse(emit(&keys_of(1..=count)).as_bytes()).is_ok());
    let error = parsed(emit(&keys_of(1..=count + 1)).as_bytes()).unwrap_err();
    assert_eq!(error, LineError::TooMany(READERS_MAX + 2));
}
