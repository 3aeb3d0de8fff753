//! Why the crate `osdp` is a second opinion here and no part of the product (docs/decisions/0014-our-own-osdp.md). When one of
//! these fails, the crate has changed: read that page again.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]

use osdp::packet::{Address, ParsedPacket, Sqn, crc16};
use osdp::reply::CCrypt;
use osdp::secure::crypto::{SessionKeys, client_cryptogram};
use osdp::secure::{Direction, Disconnected, Secure, Session, seal, unseal};

const KEY: [u8; 16] = [0xcd; 16];

fn session() -> Session<Secure> {
    let keys = SessionKeys::derive(&KEY, &[1; 8]);
    let client_cryptogram = client_cryptogram(&keys.s_enc, &[1; 8], &[2; 8]);
    let challenged = Session::<Disconnected>::new(KEY).challenge([1; 8]);
    let answered = challenged.receive_ccrypt(&CCrypt { cuid: [0; 8], rnd_b: [2; 8], client_cryptogram });
    let answered = answered.unwrap_or_else(|_| panic!());
    let first = answered.initial_rmac();
    answered.confirm_rmac_i(&first).unwrap_or_else(|_| panic!())
}

#[test]
fn its_session_shows_its_keys_to_a_log() {
    let shown = format!("{:?}", session());
    assert!(shown.contains("205, 205, 205, 205, 205, 205, 205, 205"));
}

#[test]
fn it_decrypts_before_it_looks_at_the_mac_and_says_which_was_wrong() {
    let (mut panel, device) = (session(), session());
    let address = Address::pd(1).unwrap();
    let frame = seal(&mut panel, address, Sqn::new(1).unwrap(), Direction::AcuToPd, true, 0x6b, &[7; 20]).unwrap();
    let mut answers = std::collections::BTreeSet::new();
    for place in 8..frame.len() - 6 {
        for byte in 0..=255 {
            let mut forged = frame.clone();
            forged[place] = byte;
            let end = forged.len() - 2;
            let check = crc16(&forged[..end]);
            forged[end..].copy_from_slice(&check.to_le_bytes());
            let (packet, _) = ParsedPacket::parse(&forged).unwrap();
            if let Err(error) = unseal(&mut device.clone(), &packet, &forged) {
                answers.insert(format!("{error:?}"));
            }
        }
    }
    assert!(answers.len() > 1, "forged frames are told apart by what is inside them: {answers:?}");
}
