//! PEM (RFC 7468): base64 between two lines. What was a key is zeroed.

use zeroize::Zeroizing;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Characters of base64 in a line (RFC 7468, section 2).
const LINE: usize = 64;

/// The text of `der` between lines that name `label`.
pub(crate) fn encode(label: &str, der: &[u8]) -> Zeroizing<String> {
    let body = der.len().div_ceil(3) * 4;
    // Room for all of it at once: a string that grows leaves copies of keys in freed memory.
    let mut text = Zeroizing::new(String::with_capacity(body + body / LINE + 2 * label.len() + 64));
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    for line in der.chunks(LINE / 4 * 3) {
        line.chunks(3).for_each(|three| encode_three(three, &mut text));
        text.push('\n');
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

fn encode_three(three: &[u8], text: &mut String) {
    let bits = (0..3).fold(0, |bits, place| bits << 8 | u32::from(three.get(place).copied().unwrap_or(0)));
    for place in 0..4 {
        let index = (bits >> (18 - 6 * place) & 63) as usize;
        text.push(if place <= three.len() { char::from(ALPHABET[index]) } else { '=' });
    }
}

/// The bytes of the one block that `text` consists of, which must name `label`.
pub(crate) fn decode(label: &str, text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let body = text.trim().strip_prefix("-----BEGIN ")?.strip_prefix(label)?.strip_prefix("-----")?;
    let body = body.strip_suffix("-----")?.strip_suffix(label)?.strip_suffix("-----END ")?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(body.len() / 4 * 3 + 3));
    let (mut bits, mut held, mut padded) = (0_u32, 0_u32, 0_u32);
    for character in body.bytes().filter(|byte| !byte.is_ascii_whitespace()) {
        if character == b'=' {
            padded += 1;
            continue;
        }
        let value = ALPHABET.iter().position(|&known| known == character).filter(|_| padded == 0)?;
        bits = bits << 6 | u32::try_from(value).ok()?;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held & 0xff) as u8);
        }
    }
    // What is left over is padding: fewer than 6 bits, all zero, and as many `=` as pairs of them.
    let is_whole = held < 6 && bits & ((1 << held) - 1) == 0 && padded * 2 == held;
    is_whole.then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_comes_back() {
        for len in 0..200 {
            let bytes: Vec<u8> = (0..len).map(|place: u8| place.wrapping_mul(151) ^ 0xa5).collect();
            let text = encode("THING", &bytes);
            assert_eq!(*decode("THING", &text).unwrap(), bytes, "{len}");
            assert!(decode("OTHER", &text).is_none());
        }
    }

    #[test]
    fn text_is_that_of_the_rfc() {
        assert_eq!(*encode("X", b"foob").as_str(), *"-----BEGIN X-----\nZm9vYg==\n-----END X-----\n");
        let line = encode("X", &[0; 49]);
        assert_eq!(line.lines().nth(1).unwrap().len(), 64);
    }

    #[test]
    fn damaged_text_is_none() {
        for body in ["Zm9vYg=", "Zm9vYg", "Zm9vYh==", "Zm9v*g==", "Zm=vYg==", "Z"] {
            assert!(decode("X", &format!("-----BEGIN X-----\n{body}\n-----END X-----\n")).is_none(), "{body}");
        }
        for text in ["", "-----BEGIN X-----", "-----BEGIN X-----\nZm9v\n-----END Y-----", "Zm9v"] {
            assert!(decode("X", text).is_none(), "{text}");
        }
    }
}
