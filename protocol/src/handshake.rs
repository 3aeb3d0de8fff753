//! The handshake: `Noise_NNpsk0_25519_AESGCM_SHA256` in two datagrams, each under a keyed BLAKE3 tag (SPEC 4).
//!
//! Here are both sides' tags and payloads, and the reader's half of Noise ([`Initiator`]): no allocation, no randomness of
//! its own. The gateway's half is run by a library; both are proved against each other.

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::datagram::{self, Handshake, NOISE_LEN, PAYLOAD_LEN, TAGGED_LEN};
use crate::limits::{HANDSHAKE_LEN, TAG_LEN};
use crate::reason::FallBack;
use crate::wire::{Cursor, Malformed};
use crate::{BootId, ReaderId, SessionId, Stamp, VERSION};

/// The Noise protocol's name. It is 32 bytes long, so it is the first hash as it stands (Noise 5.2).
pub const NOISE_NAME: &str = "Noise_NNpsk0_25519_AESGCM_SHA256";

const INITIATION_CONTEXT: &str = "kalitka 1 initiation tag";
const RESPONSE_CONTEXT: &str = "kalitka 1 response tag";

/// A reader's own key, 32 bytes, known to it and to the gateway.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Psk([u8; 32]);

impl core::fmt::Debug for Psk {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Psk(secret)")
    }
}

impl Psk {
    /// The key of 32 random bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes: for the key file and the handshake, never for a log.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The keys of a reader's two tags, derived once from its [`Psk`] (SPEC 4.5).
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct TagKeys {
    initiation: [u8; 32],
    response: [u8; 32],
}

impl core::fmt::Debug for TagKeys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("TagKeys(secret)")
    }
}

impl TagKeys {
    /// The keys of `psk`.
    #[must_use]
    pub fn new(psk: &Psk) -> Self {
        Self {
            initiation: blake3::derive_key(INITIATION_CONTEXT, psk.as_bytes()),
            response: blake3::derive_key(RESPONSE_CONTEXT, psk.as_bytes()),
        }
    }

    /// Whether `initiation` was made by a holder of the psk. The first thing that the gateway does with one.
    #[must_use]
    pub fn verify_initiation(&self, initiation: &Handshake<'_>) -> bool {
        bool::from(tag(&self.initiation, initiation.tagged()).ct_eq(initiation.tag()))
    }

    /// Whether `response` was made by a holder of the psk.
    #[must_use]
    pub fn verify_response(&self, response: &Handshake<'_>) -> bool {
        bool::from(tag(&self.response, response.tagged()).ct_eq(response.tag()))
    }

    /// Writes the tag into an initiation.
    pub fn tag_initiation(&self, datagram: &mut [u8; HANDSHAKE_LEN]) {
        let tag = tag(&self.initiation, &datagram[..TAGGED_LEN]);
        datagram[TAGGED_LEN..].copy_from_slice(&tag);
    }

    /// Writes the tag into a response.
    pub fn tag_response(&self, datagram: &mut [u8; HANDSHAKE_LEN]) {
        let tag = tag(&self.response, &datagram[..TAGGED_LEN]);
        datagram[TAGGED_LEN..].copy_from_slice(&tag);
    }
}

fn tag(key: &[u8; 32], bytes: &[u8]) -> [u8; TAG_LEN] {
    let mut tag = [0; TAG_LEN];
    tag.copy_from_slice(&blake3::keyed_hash(key, bytes).as_bytes()[..TAG_LEN]);
    tag
}

/// Noise's prologue, which both sides must hash alike: `kalitka`, the version, the reader (SPEC 4.4).
#[must_use]
pub fn prologue(reader: ReaderId) -> [u8; 12] {
    let mut prologue = *b"kalitka\0\0\0\0\0";
    prologue[7] = VERSION;
    prologue[8..].copy_from_slice(&reader.0.to_le_bytes());
    prologue
}

/// What a reader says of itself in its initiation, 16 bytes (SPEC 4.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// This start of the reader.
    pub boot: BootId,
    /// The reader's firmware, for the engineer's eyes; 0 when it has none to tell.
    pub firmware: u32,
}

impl Hello {
    /// The payload.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; PAYLOAD_LEN] {
        let mut bytes = [0; PAYLOAD_LEN];
        bytes[..8].copy_from_slice(&self.boot.0.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.firmware.to_le_bytes());
        bytes
    }

    /// The payload's meaning.
    ///
    /// # Errors
    /// [`Malformed`] when its length or a reserved byte is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(bytes);
        let boot = BootId(cursor.u64("boot")?);
        let firmware = cursor.u32("firmware")?;
        cursor.reserved(4, "hello reserved")?;
        cursor.finish("hello")?;
        Ok(Self { boot, firmware })
    }
}

/// What the gateway tells a reader in its response, 16 bytes (SPEC 4.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The session's number.
    pub session: SessionId,
    /// How long the reader goes unanswered before it falls back, in milliseconds, at least 200.
    pub fall_back_after_ms: u16,
    /// How it then behaves.
    pub fall_back: FallBack,
}

impl Welcome {
    /// The payload.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; PAYLOAD_LEN] {
        let mut bytes = [0; PAYLOAD_LEN];
        bytes[..4].copy_from_slice(&self.session.0.to_le_bytes());
        bytes[4..6].copy_from_slice(&self.fall_back_after_ms.to_le_bytes());
        bytes[6] = self.fall_back.code();
        bytes
    }

    /// The payload's meaning.
    ///
    /// # Errors
    /// [`Malformed`] when its length, mode, time or a reserved byte is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(bytes);
        let session = SessionId(cursor.u32("session")?);
        let fall_back_after_ms = cursor.u16("fall back after")?;
        let fall_back = FallBack::from_code(cursor.u8("fall-back mode")?)?;
        cursor.reserved(9, "welcome reserved")?;
        cursor.finish("welcome")?;
        if fall_back_after_ms < 200 {
            return Err(Malformed::Value("fall back after"));
        }
        Ok(Self { session, fall_back_after_ms, fall_back })
    }
}

/// The two keys of a session.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SessionKeys {
    /// Seals what the reader sends.
    pub reader: [u8; 32],
    /// Seals what the gateway sends.
    pub gateway: [u8; 32],
}

impl core::fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SessionKeys(secret)")
    }
}

/// Why a response is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is of another handshake: reader or stamp differ.
    Foreign,
    /// Its tag or its seal does not hold.
    Forged,
    /// It is authentic, but says what SPEC does not allow.
    Malformed(Malformed),
}

/// The reader's half of one handshake: made with the initiation, consumed by the response.
#[derive(Clone)]
pub struct Initiator {
    reader: ReaderId,
    stamp: Stamp,
    state: SymmetricState,
    ephemeral: [u8; 32],
}

impl core::fmt::Debug for Initiator {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Initiator({:?}, {:?})", self.reader, self.stamp)
    }
}

impl Drop for Initiator {
    fn drop(&mut self) {
        self.ephemeral.zeroize();
    }
}

impl Initiator {
    /// Begins a handshake. `ephemeral` is 32 fresh random bytes, used once. Gives the datagram to send, tag and all.
    #[must_use]
    pub fn new(
        reader: ReaderId,
        psk: &Psk,
        tags: &TagKeys,
        stamp: Stamp,
        hello: &Hello,
        ephemeral: [u8; 32],
    ) -> (Self, [u8; HANDSHAKE_LEN]) {
        let mut state = SymmetricState::new(&prologue(reader));
        state.mix_key_and_hash(psk.as_bytes());
        let public = x25519_dalek::x25519(ephemeral, x25519_dalek::X25519_BASEPOINT_BYTES);
        state.mix_hash(&public);
        state.mix_key(&public);
        let mut noise = [0; NOISE_LEN];
        noise[..32].copy_from_slice(&public);
        noise[32..32 + PAYLOAD_LEN].copy_from_slice(&hello.to_bytes());
        state.encrypt_and_hash(&mut noise[32..]);
        let mut datagram = datagram::emit_initiation(reader, stamp, &noise);
        tags.tag_initiation(&mut datagram);
        (Self { reader, stamp, state, ephemeral }, datagram)
    }

    /// The stamp of this handshake.
    #[must_use]
    pub const fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Ends the handshake with the gateway's response. A response that is refused changes nothing: wait for another.
    ///
    /// # Errors
    /// [`Refused`] says why it is not taken.
    pub fn finish(&self, tags: &TagKeys, response: &Handshake<'_>) -> Result<(SessionKeys, Welcome), Refused> {
        if response.reader != self.reader || response.stamp != self.stamp {
            return Err(Refused::Foreign);
        }
        if !tags.verify_response(response) {
            return Err(Refused::Forged);
        }
        let mut state = self.state.clone();
        let (public, sealed) = response.noise().split_first_chunk::<32>().ok_or(Refused::Forged)?;
        state.mix_hash(public);
        state.mix_key(public);
        let mut shared = x25519_dalek::x25519(self.ephemeral, *public);
        let contributory = !bool::from(shared.ct_eq(&[0; 32]));
        state.mix_key(&shared);
        shared.zeroize();
        let payload = state.decrypt_and_hash(sealed).filter(|_| contributory).ok_or(Refused::Forged)?;
        let welcome = Welcome::parse(&payload).map_err(Refused::Malformed)?;
        Ok((state.split(), welcome))
    }
}

/// Noise's symmetric state (Noise 5.2). Every key is used for one message, so the nonce is always zero.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
struct SymmetricState {
    chaining_key: [u8; 32],
    hash: [u8; 32],
    key: [u8; 32],
}

impl SymmetricState {
    fn new(prologue: &[u8]) -> Self {
        let mut name = [0; 32];
        name.copy_from_slice(NOISE_NAME.as_bytes());
        let mut state = Self { chaining_key: name, hash: name, key: [0; 32] };
        state.mix_hash(prologue);
        state
    }

    fn mix_hash(&mut self, data: &[u8]) {
        self.hash = Sha256::new().chain_update(self.hash).chain_update(data).finalize().into();
    }

    fn mix_key(&mut self, input: &[u8]) {
        let [chaining_key, key, _] = hkdf(&self.chaining_key, input);
        self.chaining_key = chaining_key;
        self.key = key;
    }

    fn mix_key_and_hash(&mut self, input: &[u8]) {
        let [chaining_key, mut hash, key] = hkdf(&self.chaining_key, input);
        self.chaining_key = chaining_key;
        self.mix_hash(&hash);
        hash.zeroize();
        self.key = key;
    }

    /// Encrypts all but the last sixteen bytes of `buffer` in place and writes the tag there.
    fn encrypt_and_hash(&mut self, buffer: &mut [u8]) {
        let (text, tag) = buffer.split_at_mut(PAYLOAD_LEN);
        let cipher = Aes256Gcm::new(&self.key.into());
        // AES-GCM fails only on inputs of many gigabytes.
        if let Ok(made) = cipher.encrypt_inout_detached(&[0; 12].into(), &self.hash, text.into()) {
            tag.copy_from_slice(&made);
        }
        self.mix_hash(buffer);
    }

    fn decrypt_and_hash(&mut self, sealed: &[u8]) -> Option<[u8; PAYLOAD_LEN]> {
        let (text, tag) = sealed.split_first_chunk::<PAYLOAD_LEN>()?;
        let tag: [u8; TAG_LEN] = tag.try_into().ok()?;
        let mut payload = *text;
        let cipher = Aes256Gcm::new(&self.key.into());
        cipher.decrypt_inout_detached(&[0; 12].into(), &self.hash, payload.as_mut_slice().into(), &tag.into()).ok()?;
        self.mix_hash(sealed);
        Some(payload)
    }

    fn split(&self) -> SessionKeys {
        let [reader, gateway, _] = hkdf(&self.chaining_key, &[]);
        SessionKeys { reader, gateway }
    }
}

/// HKDF with three outputs (Noise 4.3).
fn hkdf(chaining_key: &[u8; 32], input: &[u8]) -> [[u8; 32]; 3] {
    let secret = hmac(chaining_key, &[input]);
    let first = hmac(&secret, &[&[1]]);
    let second = hmac(&secret, &[&first, &[2]]);
    let third = hmac(&secret, &[&second, &[3]]);
    [first, second, third]
}

fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    // A key shorter than a block is padded with zeros (RFC 2104), so this is HMAC under `key`.
    let mut block = [0; 64];
    block[..32].copy_from_slice(key);
    let mut mac = <Hmac<Sha256> as KeyInit>::new(&block.into());
    block.zeroize();
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}
