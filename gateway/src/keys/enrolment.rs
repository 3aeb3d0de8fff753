//! What is shown once when a reader gets a key: for typing in, and for a camera.

use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

/// The key of `reader` for the person who enrols it: in hex, and as a QR code of `kalitka:1:<reader>:<hex>`.
pub(crate) fn enrolment(reader: u32, psk_hex: &str) -> String {
    let code = QrCode::new(format!("kalitka:1:{reader}:{psk_hex}"));
    // A code of under a hundred bytes always fits; without it the hex is still there.
    let picture = code.map(|code| code.render::<Dense1x2>().quiet_zone(true).build()).unwrap_or_default();
    format!(
        "reader {reader}\nkey    {psk_hex}\n\n{picture}\nThe key is not shown again. Clear the screen when the reader has it.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enrolment_shows_the_key_and_a_code() {
        let shown = enrolment(101, &"5a".repeat(32));
        assert!(shown.contains(&"5a".repeat(32)));
        assert!(shown.chars().filter(|&c| matches!(c, '█' | '▀' | '▄')).count() > 100);
    }
}
