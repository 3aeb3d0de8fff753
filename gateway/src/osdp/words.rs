//! What passes on an OSDP line, and what is wrong there, in words, for the engineer at the cabinet. What is secured is not
//! opened, and no card and no key stands in it.

use kalitka_protocol::osdp::command::code as command;
use kalitka_protocol::osdp::reply::code as reply;
use kalitka_protocol::osdp::{Alarm, Block, Frame, Reply};

/// `frame` in words.
pub(crate) fn words(frame: &Frame<'_>) -> String {
    let (address, number) = (frame.header.address.number(), frame.header.sequence.number());
    let name = if frame.header.is_reply { reply_name(frame.code) } else { command_name(frame.code) };
    let what = name.map_or_else(|| format!("code {:02x}", frame.code), ToOwned::to_owned);
    let way = if frame.header.is_reply { "from" } else { "to" };
    let how = match frame.block {
        Some(Block::Encrypted) => format!(", secured, {} bytes", frame.data.len()),
        Some(Block::Authentic) => ", secured".into(),
        Some(Block::Handshake { .. }) => ", handshake".into(),
        None => in_the_clear(frame),
    };
    format!("{way} {address}, number {number}: {what}{how}")
}

/// What `alarm` means, and what to do.
pub(super) const fn remedy(alarm: Alarm) -> &'static str {
    match alarm {
        Alarm::WrongKey => {
            "an OSDP device has not shown that it has its key, and is refused: it was changed, reset, or somebody plays it; look \
             at it, and `osdp enrol` it only when it is yours"
        }
        Alarm::NotEnrolled => "an OSDP device has no key yet, and is refused: `osdp enrol` it",
        Alarm::NoSecureChannel => {
            "an OSDP device says that it has no secure channel, and is refused: change the device"
        }
        Alarm::NoChannel => {
            "an OSDP device answers and no channel comes about, and it is refused: look at the line and at the device's firmware"
        }
        Alarm::CapabilitiesChanged => {
            "an OSDP device can do other things than when it was enrolled: `osdp enrol` it again if its firmware was changed"
        }
        Alarm::ChannelBroken => {
            "an OSDP channel broke by a frame that was not the device's: look at the line and who has hands on it"
        }
    }
}

/// What a frame says that anybody can read, if it is nobody's secret.
fn in_the_clear(frame: &Frame<'_>) -> String {
    match Reply::parse(frame.code, frame.data) {
        Ok(Reply::Identity(of)) if frame.header.is_reply => {
            let [a, b, c] = of.vendor;
            let [major, minor, build] = of.firmware;
            format!(
                ", vendor {a:02x}{b:02x}{c:02x}, model {}, serial number {:08x}, firmware {major}.{minor}.{build}",
                of.model, of.serial
            )
        }
        Ok(Reply::Capabilities(of)) if frame.header.is_reply => {
            let one = |[function, level, count]: &[u8; 3]| format!("{function}:{level}/{count}");
            format!(" {}", of.entries().iter().map(one).collect::<Vec<_>>().join(" "))
        }
        Ok(Reply::Nak(refusal)) if frame.header.is_reply => format!(", {refusal:?}"),
        _ => ", in the clear".into(),
    }
}

const fn command_name(code: u8) -> Option<&'static str> {
    Some(match code {
        command::POLL => "poll",
        command::IDENTITY => "who are you",
        command::CAPABILITIES => "what can you do",
        command::LOCAL_STATUS => "tamper and power?",
        command::INPUT_STATUS => "inputs?",
        command::OUTPUT_STATUS => "outputs?",
        command::READER_STATUS => "readers?",
        command::OUTPUT => "output",
        command::LED => "LED",
        command::BUZZER => "buzzer",
        command::TEXT => "text",
        command::COMMUNICATION => "take another address and speed",
        command::KEY_SET => "take a key",
        command::CHALLENGE => "challenge",
        command::PANEL_CRYPTOGRAM => "cryptogram",
        _ => return None,
    })
}

const fn reply_name(code: u8) -> Option<&'static str> {
    Some(match code {
        reply::ACK => "done, or nothing new",
        reply::NAK => "refused",
        reply::IDENTITY => "identity",
        reply::CAPABILITIES => "capabilities",
        reply::LOCAL_STATUS => "tamper and power",
        reply::INPUT_STATUS => "inputs",
        reply::OUTPUT_STATUS => "outputs",
        reply::READER_STATUS => "readers",
        reply::RAW | reply::FORMATTED => "a card",
        reply::KEYPAD => "keys pressed",
        reply::COMMUNICATION => "address and speed",
        reply::DEVICE_CRYPTOGRAM => "cryptogram",
        reply::FIRST_MAC => "first MAC",
        reply::BUSY => "busy",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(hex: &str) -> String {
        words(&Frame::parse(&hex::decode(hex.replace(' ', "")).unwrap()).unwrap())
    }

    #[test]
    fn frames_of_the_standard_are_told() {
        let cases = [
            ("53 00 09 00 04 61 00 C0 66", "to 0, number 0: who are you, in the clear"),
            ("53 00 09 00 05 62 00 A3 04", "to 0, number 1: what can you do, in the clear"),
            (
                "53 80 14 00 04 45 16 42 68 00 0C 4C 8F BC F4 02 0A 02 C6 4C",
                "from 0, number 0: identity, vendor 164268, model 0, serial number f4bc8f4c, firmware 2.10.2",
            ),
        ];
        for (frame, words) in cases {
            assert_eq!(said(frame), words);
        }
    }

    #[test]
    fn card_in_the_clear_is_not_told() {
        use kalitka_protocol::osdp::frame::{Header, emit};
        use kalitka_protocol::osdp::{Address, Check, Sequence};
        let address = Address::new(5).unwrap();
        let header = Header { address, is_reply: true, sequence: Sequence::FIRST, check: Check::Crc };
        let mut frame = [0; 64];
        let len = emit(header, None, reply::RAW, &[0, 1, 26, 0, 0xab, 0xcd, 0xef, 0x40], &mut frame).unwrap();
        assert_eq!(words(&Frame::parse(&frame[..len]).unwrap()), "from 5, number 0: a card, in the clear");
    }
}
