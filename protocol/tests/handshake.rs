//! Our half of Noise against `snow`'s, both ways.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]

mod support;

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use hmac::{Hmac, Mac};
use kalitka_protocol::datagram::{Datagram, Handshake, emit_response};
use kalitka_protocol::handshake::{
    Hello, Initiator, NOISE_NAME, Psk, Refused, SessionKeys, TagKeys, Welcome, prologue,
};
use kalitka_protocol::limits::HANDSHAKE_LEN;
use kalitka_protocol::wire::Malformed;
use kalitka_protocol::{BootId, ReaderId, Stamp};
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use support::{PSK, READER, respond, snow, welcome};

const HELLO: Hello = Hello { boot: BootId(77), firmware: 5 };
const STAMP: Stamp = Stamp::new(1, 2);
const OURS: [u8; 32] = [0x11; 32];
const THEIRS: [u8; 32] = [0x22; 32];

fn tags(psk: [u8; 32]) -> TagKeys {
    TagKeys::new(&Psk::new(psk))
}

fn initiate(psk: [u8; 32], reader: ReaderId, ephemeral: [u8; 32]) -> (Initiator, [u8; HANDSHAKE_LEN]) {
    Initiator::new(reader, &Psk::new(psk), &tags(psk), STAMP, &HELLO, ephemeral)
}

fn parse(datagram: &mut [u8]) -> Handshake<'_> {
    match Datagram::parse(datagram) {
        Ok(Datagram::Initiation(handshake) | Datagram::Response(handshake)) => handshake,
        other => panic!("{other:?}"),
    }
}

fn finish(initiator: &Initiator, response: &[u8; HANDSHAKE_LEN]) -> Result<(SessionKeys, Welcome), Refused> {
    initiator.finish(&tags(PSK), &parse(&mut response.clone()))
}

/// The response to an initiation of ours.
fn response(initiation: &[u8; HANDSHAKE_LEN]) -> [u8; HANDSHAKE_LEN] {
    respond(&PSK, &parse(&mut initiation.clone()), &welcome(9), &THEIRS).unwrap().response
}

proptest! {
    // SPEC 4.1 it is the Noise of the framework
    // SPEC 4.10 the split keys
    #[test]
    fn whole_handshake_agrees_with_snow(
        psk: [u8; 32], reader in 1u32.., ours: [u8; 32], theirs: [u8; 32], boot: u64, session: u32,
    ) {
        let hello = Hello { boot: BootId(boot), firmware: 5 };
        let (initiator, mut initiation) =
            Initiator::new(ReaderId(reader), &Psk::new(psk), &tags(psk), STAMP, &hello, ours);
        // The same message byte for byte by snow's initiator.
        let mut peer = snow(true, &psk, &prologue(ReaderId(reader)), &ours);
        let mut noise = [0; 64];
        prop_assert_eq!(peer.write_message(&hello.to_bytes(), &mut noise).unwrap(), 64);
        prop_assert_eq!(&initiation[16..80], &noise[..]);
        // snow's responder takes it, and we take its response.
        let mut made = respond(&psk, &parse(&mut initiation), &welcome(session), &theirs).unwrap();
        prop_assert_eq!(made.hello, hello);
        let (keys, welcomed) = initiator.finish(&tags(psk), &parse(&mut made.response)).unwrap();
        prop_assert_eq!(welcomed, welcome(session));
        prop_assert_eq!((keys.reader, keys.gateway), (made.reader_key, made.gateway_key));
        // snow's initiator comes to the same keys.
        let mut payload = [0; 64];
        prop_assert_eq!(peer.read_message(&made.response[16..80], &mut payload).unwrap(), 16);
        prop_assert_eq!(peer.dangerously_get_raw_split(), (keys.reader, keys.gateway));
    }
}

#[test]
fn snow_refuses_another_psk_and_another_prologue() {
    let (_, mut initiation) = initiate(PSK, READER, OURS);
    let noise = parse(&mut initiation).noise().to_vec();
    let takes =
        |psk: &[u8; 32], prologue: &[u8]| snow(false, psk, prologue, &THEIRS).read_message(&noise, &mut [0; 64]);
    assert!(takes(&PSK, &prologue(READER)).is_ok());
    assert!(takes(&[1; 32], &prologue(READER)).is_err(), "psk");
    assert!(takes(&PSK, &prologue(ReaderId(102))).is_err(), "prologue");
}

// SPEC 4.13 what of a response is checked
#[test]
fn response_by_another_psk_prologue_or_handshake_is_refused() {
    let (initiator, initiation) = initiate(PSK, READER, OURS);
    let good = response(&initiation);
    assert!(finish(&initiator, &good).is_ok());
    let mut noise: [u8; 64] = good[16..80].try_into().unwrap();
    let of = |reader, stamp, noise: &[u8; 64], psk| {
        let mut response = emit_response(reader, stamp, noise);
        tags(psk).tag_response(&mut response);
        finish(&initiator, &response).map(|_| ())
    };
    assert_eq!(of(READER, STAMP, &noise, PSK), Ok(()));
    assert_eq!(of(ReaderId(102), STAMP, &noise, PSK), Err(Refused::Foreign));
    assert_eq!(of(READER, Stamp::new(1, 3), &noise, PSK), Err(Refused::Foreign));
    assert_eq!(of(READER, STAMP, &noise, [1; 32]), Err(Refused::Forged), "tag");
    noise[63] ^= 1;
    assert_eq!(of(READER, STAMP, &noise, PSK), Err(Refused::Forged), "Noise under a good tag");
    // An initiation of the same stamp and another ephemeral key has another session.
    let (other, _) = initiate(PSK, READER, [0x33; 32]);
    assert_eq!(finish(&other, &good).map(|_| ()), Err(Refused::Forged));
}

/// HKDF as SPEC 4.1 has it, written again.
fn kdf(key: &[u8], input: &[u8]) -> [Vec<u8>; 2] {
    let hmac = |key: &[u8], input: &[u8]| {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).unwrap();
        mac.update(input);
        mac.finalize().into_bytes().to_vec()
    };
    let temporary = hmac(key, input);
    let first = hmac(&temporary, &[1]);
    let second = hmac(&temporary, &[&first[..], &[2]].concat());
    [first, second]
}

/// The Noise message of a gateway whose public key is `public` and makes the shared secret `shared`: SPEC 4.1 followed by
/// hand, as whoever holds the psk can.
fn noise_of(initiation: &[u8; HANDSHAKE_LEN], public: &[u8; 32], shared: &[u8; 32]) -> [u8; 64] {
    let hash = |hash: &[u8], data: &[u8]| Sha256::new().chain_update(hash).chain_update(data).finalize().to_vec();
    let name = NOISE_NAME.as_bytes();
    let mut h = hash(name, &prologue(READER));
    let temporary = kdf(name, &PSK);
    h = hash(&h, &temporary[1]);
    h = hash(&h, &initiation[16..48]);
    let [mut c, _] = kdf(&temporary[0], &initiation[16..48]);
    h = hash(&h, &initiation[48..80]);
    h = hash(&h, public);
    [c, _] = kdf(&c, public);
    let [_, k] = kdf(&c, shared);
    let mut noise = [0; 64];
    noise[..32].copy_from_slice(public);
    noise[32..48].copy_from_slice(&welcome(9).to_bytes());
    let cipher = Aes256Gcm::new_from_slice(&k).unwrap();
    let tag = cipher.encrypt_inout_detached(&[0; 12].into(), &h, (&mut noise[32..48]).into()).unwrap();
    noise[48..].copy_from_slice(&tag);
    noise
}

#[test]
fn response_with_a_key_of_small_order_is_refused() {
    let (initiator, initiation) = initiate(PSK, READER, OURS);
    let mut one = [0; 32];
    one[0] = 1;
    let honest = x25519_dalek::x25519(THEIRS, x25519_dalek::X25519_BASEPOINT_BYTES);
    for (public, taken) in [(honest, true), ([0; 32], false), (one, false)] {
        let noise = noise_of(&initiation, &public, &x25519_dalek::x25519(OURS, public));
        let mut response = emit_response(READER, STAMP, &noise);
        tags(PSK).tag_response(&mut response);
        assert_eq!(finish(&initiator, &response).is_ok(), taken, "{public:02x?}");
    }
}

#[test]
fn authentic_response_that_says_what_is_not_allowed_is_malformed() {
    let (initiator, mut initiation) = initiate(PSK, READER, OURS);
    let mut wrong = welcome(9);
    wrong.fall_back_after_ms = 199;
    let made = respond(&PSK, &parse(&mut initiation), &wrong, &THEIRS).unwrap();
    let refused = Refused::Malformed(Malformed::Value("fall back after"));
    assert_eq!(finish(&initiator, &made.response).map(|_| ()), Err(refused));
}

#[test]
fn each_flipped_bit_of_an_initiation_is_refused_and_by_snow_alone_too() {
    let (_, initiation) = initiate(PSK, READER, OURS);
    for bit in 0..initiation.len() * 8 {
        let mut flipped = initiation;
        flipped[bit / 8] ^= 1 << (bit % 8);
        let Ok(Datagram::Initiation(parsed)) = Datagram::parse(&mut flipped) else { continue };
        assert!(!tags(PSK).verify_initiation(&parsed), "bit {bit}");
        let mut state = snow(false, &PSK, &prologue(parsed.reader), &THEIRS);
        // What Noise itself covers: the reader by the prologue, and its own message. X25519 ignores a key's top bit, but
        // the hash does not.
        if (32..64).contains(&bit) || (128..640).contains(&bit) {
            assert!(state.read_message(parsed.noise(), &mut [0; 64]).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn each_flipped_bit_of_a_response_is_refused_and_changes_nothing() {
    let (initiator, initiation) = initiate(PSK, READER, OURS);
    let good = response(&initiation);
    for bit in 0..good.len() * 8 {
        let mut flipped = good;
        flipped[bit / 8] ^= 1 << (bit % 8);
        let Ok(Datagram::Response(parsed)) = Datagram::parse(&mut flipped) else { continue };
        assert!(initiator.finish(&tags(PSK), &parsed).is_err(), "bit {bit}");
        // A tag made anew does not help who cannot make the Noise message.
        let noise: [u8; 64] = parsed.noise().try_into().unwrap();
        let mut retagged = emit_response(READER, STAMP, &noise);
        tags(PSK).tag_response(&mut retagged);
        assert!(retagged == good || finish(&initiator, &retagged).is_err(), "bit {bit}, tagged anew");
    }
    assert!(finish(&initiator, &good).is_ok(), "refused responses have changed nothing");
}

#[test]
fn tags_of_the_two_directions_are_not_each_others() {
    let (_, mut initiation) = initiate(PSK, READER, OURS);
    assert!(tags(PSK).verify_initiation(&parse(&mut initiation)));
    assert!(!tags(PSK).verify_response(&parse(&mut initiation)));
    assert!(!tags([1; 32]).verify_initiation(&parse(&mut initiation)));
}

#[test]
fn secrets_do_not_show() {
    let (initiator, initiation) = initiate(PSK, READER, OURS);
    let (keys, _) = finish(&initiator, &response(&initiation)).unwrap();
    let shown = format!("{:?} {:?} {:?} {:?}", Psk::new(PSK), tags(PSK), initiator, keys);
    assert_eq!(shown, "Psk(secret) TagKeys(secret) Initiator(ReaderId(101), Stamp(4294967298)) SessionKeys(secret)");
}

#[test]
fn payloads_of_every_length_and_flipped_bit() {
    for len in 0..40 {
        assert_eq!(Hello::parse(&vec![0; len]).is_ok(), len == 16);
    }
    let good = welcome(9).to_bytes();
    for len in 0..good.len() {
        assert!(Welcome::parse(&good[..len]).is_err());
    }
    for bit in 0..good.len() * 8 {
        let mut flipped = good;
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(parsed) = Welcome::parse(&flipped) {
            assert_eq!(parsed.to_bytes(), flipped, "what parses is what was sent");
            assert_ne!(parsed, welcome(9));
        }
    }
}
