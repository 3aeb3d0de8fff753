//! What may be spoken on a line. Each tongue hears all bytes, and says what it understands of them.

use kalitka_protocol::ReaderId;
use kalitka_protocol::datagram::{Clear, clear};
use kalitka_protocol::frame::Deframer;
use kalitka_protocol::osdp;

use crate::osdp::words::words as osdp_words;

/// What a tongue makes of some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Something whole, in words. No secret stands in it, and nothing that was sealed.
    Whole(String),
    /// Something that began as the tongue has it and was spoilt, and how.
    Spoilt(&'static str),
}

/// A way to speak on a line.
pub(super) trait Tongue {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Hears `bytes`, the next on the line.
    fn hear(&mut self, bytes: &[u8], say: &mut dyn FnMut(Said));
}

/// All that are listened for: whoever adds one adds it here.
pub(super) fn all() -> Vec<Box<dyn Tongue>> {
    vec![Box::new(Frames(Deframer::new())), Box::new(Osdp(osdp::Deframer::new()))]
}

/// OSDP.
struct Osdp(osdp::Deframer);

impl Tongue for Osdp {
    fn name(&self) -> &'static str {
        "OSDP"
    }

    fn hear(&mut self, mut bytes: &[u8], say: &mut dyn FnMut(Said)) {
        loop {
            bytes = self.0.push(bytes);
            while let Some(frame) = self.0.next() {
                say(Said::Whole(osdp_words(&frame)));
            }
            if bytes.is_empty() {
                break;
            }
        }
        for _ in 0..self.0.take_dropped().frames {
            say(Said::Spoilt("check"));
        }
    }
}

/// Our own frames (SPEC 18).
struct Frames(Deframer);

impl Tongue for Frames {
    fn name(&self) -> &'static str {
        "Kalitka"
    }

    fn hear(&mut self, bytes: &[u8], say: &mut dyn FnMut(Said)) {
        self.0.feed(bytes, &mut |result| {
            say(match result {
                Ok(datagram) => Said::Whole(words(datagram)),
                Err(fault) => Said::Spoilt(fault.label()),
            });
        });
    }
}

/// What stands in the clear of `datagram`.
fn words(datagram: &[u8]) -> String {
    let len = datagram.len();
    let of = |what, ReaderId(reader): ReaderId, stamp: u64| {
        format!("{what} of reader {reader}, boot {}, number {}", stamp >> 32, stamp & u64::from(u32::MAX))
    };
    match clear(datagram) {
        Some(Clear::Initiation { reader, stamp }) => of("initiation", reader, stamp.0),
        Some(Clear::Response { reader, stamp }) => of("response to an initiation", reader, stamp.0),
        Some(Clear::Sealed { session, counter }) => {
            format!("sealed, session {:08x}, number {counter}, {len} bytes", session.0)
        }
        None => format!("a whole frame of {len} bytes that is no datagram of this version"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kalitka_protocol::datagram::{emit_initiation, emit_response, sealed_header};
    use kalitka_protocol::frame::emit;
    use kalitka_protocol::limits::FRAME_MAX;
    use kalitka_protocol::{SessionId, Stamp};

    fn heard(line: &[u8]) -> Vec<Said> {
        let mut said = Vec::new();
        all().iter_mut().for_each(|tongue| tongue.hear(line, &mut |one| said.push(one)));
        said
    }

    fn framed(datagram: &[u8]) -> Vec<u8> {
        let mut frame = [0; FRAME_MAX];
        let len = emit(datagram, &mut frame).unwrap();
        frame[..len].to_vec()
    }

    #[test]
    fn what_stands_in_the_clear_is_told_and_nothing_else() {
        let sealed = [&sealed_header(SessionId(0x4001_0040), 7)[..], b"this is what was sealed, 32 bytes"].concat();
        let stamp = Stamp::new(3, 4);
        let cases: [(&[u8], &str); 4] = [
            (&emit_initiation(ReaderId(101), stamp, &[0x5a; 64]), "initiation of reader 101, boot 3, number 4"),
            (
                &emit_response(ReaderId(101), stamp, &[0x5a; 64]),
                "response to an initiation of reader 101, boot 3, number 4",
            ),
            (&sealed, "sealed, session 40010040, number 7, 49 bytes"),
            (&[9; 40], "a whole frame of 40 bytes that is no datagram of this version"),
        ];
        for (datagram, words) in cases {
            assert_eq!(heard(&framed(datagram)), [Said::Whole(words.into())]);
        }
    }

    #[test]
    fn an_osdp_frame_is_told_and_a_spoilt_one_counted() {
        let asked = hex::decode("530009000461 00C066".replace(' ', "")).unwrap();
        // To the other tongue it is noise.
        assert_eq!(heard(&asked).last(), Some(&Said::Whole("to 0, number 0: who are you, in the clear".into())));
        let mut spoilt = asked;
        spoilt[6] ^= 1;
        assert_eq!(heard(&spoilt).last(), Some(&Said::Spoilt("check")));
    }

    #[test]
    fn what_is_spoilt_is_told_by_its_reason() {
        let mut line = framed(&[7; 64]);
        line[10] ^= 1;
        assert_eq!(heard(&line), [Said::Spoilt("checksum")]);
        assert_eq!(heard(&[0, 1, 0]), [Said::Spoilt("short")]);
        assert!(heard(&[0; 100]).is_empty());
    }
}
