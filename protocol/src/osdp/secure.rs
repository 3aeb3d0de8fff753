//! The secure channel (IEC 60839-11-5, Annex D): AES-128, keys of one session, a MAC chained over everything said in it.
//!
//! Both halves are here, because they are the same but for who begins: [`Challenge`] to [`Channel`] for the control panel,
//! [`answer`] and [`accept`] for a device.

use aes_gcm::KeyInit;
use aes_gcm::aes::Aes128;
use aes_gcm::aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::frame::{Block, Frame, Header, MAC_LEN, emit_covered, emit_end};
use crate::limits::{OSDP_DATA_MAX, OSDP_HEADER_LEN, OSDP_REPLY_MAX};
use crate::wire::{NoRoom, Writer};

const BLOCK: usize = 16;
const PADDING: u8 = 0x80;

/// A device's key, from which every session's keys are made.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Scbk([u8; 16]);

impl core::fmt::Debug for Scbk {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Scbk(secret)")
    }
}

impl Scbk {
    /// The key that every device has before it is given one. Everybody knows it: it is good for giving a key, and for nothing
    /// else.
    pub const DEFAULT: Self =
        Self([0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f]);

    /// The key of sixteen random bytes; `None` for the one that everybody knows.
    #[must_use]
    pub fn new(bytes: [u8; 16]) -> Option<Self> {
        let key = Self(bytes);
        if key.is(&Self::DEFAULT) { None } else { Some(key) }
    }

    /// The bytes: for the key file and for the device, never for a log.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Whether both are the same key; takes as long when they are not.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// The keys of one session.
#[derive(Clone)]
struct Keys {
    encryption: Aes128,
    mac: Aes128,
    last_mac: Aes128,
}

impl Keys {
    fn new(key: &Scbk, challenge: &[u8; 8]) -> Self {
        let cipher = Aes128::new(&key.0.into());
        let derived = |kind: u8| {
            let mut bytes = [0; BLOCK];
            bytes[..2].copy_from_slice(&[1, kind]);
            bytes[2..8].copy_from_slice(&challenge[..6]);
            encrypt(&cipher, &mut bytes);
            let derived = Aes128::new(&bytes.into());
            bytes.zeroize();
            derived
        };
        Self { encryption: derived(0x82), mac: derived(1), last_mac: derived(2) }
    }

    fn cryptogram(&self, first: &[u8; 8], second: &[u8; 8]) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        block[..8].copy_from_slice(first);
        block[8..].copy_from_slice(second);
        encrypt(&self.encryption, &mut block);
        block
    }

    fn first_mac(&self, cryptogram: &[u8; BLOCK]) -> [u8; BLOCK] {
        let mut block = *cryptogram;
        encrypt(&self.mac, &mut block);
        encrypt(&self.last_mac, &mut block);
        block
    }

    /// The MAC of `covered` behind the one before.
    fn chained(&self, before: &[u8; BLOCK], covered: &[u8]) -> [u8; BLOCK] {
        let mut state = *before;
        let mut blocks = covered.chunks(BLOCK).peekable();
        while let Some(block) = blocks.next() {
            state.iter_mut().zip(block).for_each(|(state, byte)| *state ^= byte);
            if let Some(padding) = state.get_mut(block.len()) {
                *padding ^= PADDING;
            }
            encrypt(if blocks.peek().is_some() { &self.mac } else { &self.last_mac }, &mut state);
        }
        state
    }
}

fn encrypt(cipher: &Aes128, block: &mut [u8; BLOCK]) {
    cipher.encrypt_block(block.into());
}

/// What a device answers to a challenge. 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceCryptogram {
    /// The device's own number.
    pub client: [u8; 8],
    /// Its random bytes.
    pub random: [u8; 8],
    /// What only a holder of the key can make of both sides' random bytes.
    pub cryptogram: [u8; BLOCK],
}

/// The other side has not shown that it has the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongKey;

/// The control panel has challenged.
#[derive(Clone)]
pub struct Challenge {
    keys: Keys,
    random: [u8; 8],
}

impl Challenge {
    /// A challenge of `random` bytes to a holder of `key`.
    #[must_use]
    pub fn new(key: &Scbk, random: [u8; 8]) -> Self {
        Self { keys: Keys::new(key, &random), random }
    }

    /// The random bytes, which are what is sent.
    #[must_use]
    pub const fn random(&self) -> &[u8; 8] {
        &self.random
    }

    /// Takes the device's answer; gives what awaits its first MAC, and the cryptogram to send.
    ///
    /// # Errors
    /// [`WrongKey`] when the answer is not of a holder of the key.
    pub fn answered(&self, answer: &DeviceCryptogram) -> Result<(Awaiting, [u8; BLOCK]), WrongKey> {
        if !bool::from(self.keys.cryptogram(&self.random, &answer.random).ct_eq(&answer.cryptogram)) {
            return Err(WrongKey);
        }
        let cryptogram = self.keys.cryptogram(&answer.random, &self.random);
        Ok((Awaiting { first_mac: self.keys.first_mac(&cryptogram), keys: self.keys.clone() }, cryptogram))
    }
}

/// The control panel has shown that it has the key, and awaits the device's first MAC.
#[derive(Clone)]
pub struct Awaiting {
    keys: Keys,
    first_mac: [u8; BLOCK],
}

impl Awaiting {
    /// The channel, when `mac` is the device's first.
    ///
    /// # Errors
    /// [`WrongKey`] when it is not.
    pub fn confirmed(&self, mac: &[u8; BLOCK]) -> Result<Channel, WrongKey> {
        if !bool::from(self.first_mac.ct_eq(mac)) {
            return Err(WrongKey);
        }
        Ok(Channel { keys: self.keys.clone(), ours: self.first_mac, theirs: self.first_mac })
    }
}

/// A device's answer to `challenge`, and what awaits the control panel's cryptogram.
#[must_use]
pub fn answer(key: &Scbk, challenge: &[u8; 8], client: [u8; 8], random: [u8; 8]) -> (DeviceCryptogram, Answered) {
    let keys = Keys::new(key, challenge);
    let cryptogram = keys.cryptogram(challenge, &random);
    let expected = keys.cryptogram(&random, challenge);
    (DeviceCryptogram { client, random, cryptogram }, Answered { keys, expected })
}

/// A device awaits the control panel's cryptogram.
#[derive(Clone)]
pub struct Answered {
    keys: Keys,
    expected: [u8; BLOCK],
}

/// A device's channel and its first MAC, when `cryptogram` shows that the control panel has the key.
///
/// # Errors
/// [`WrongKey`] when it does not.
pub fn accept(answered: &Answered, cryptogram: &[u8; BLOCK]) -> Result<(Channel, [u8; BLOCK]), WrongKey> {
    if !bool::from(answered.expected.ct_eq(cryptogram)) {
        return Err(WrongKey);
    }
    let first = answered.keys.first_mac(cryptogram);
    Ok((Channel { keys: answered.keys.clone(), ours: first, theirs: first }, first))
}

/// Why a secured frame is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOpened {
    /// It is not secured.
    Clear,
    /// Its MAC does not hold.
    Mac,
    /// It is authentic, and longer than anything expected or wrongly padded.
    Malformed,
}

/// What has been opened, wiped when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Opened {
    data: [u8; OSDP_REPLY_MAX],
    len: usize,
}

impl Opened {
    /// The data.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data[..self.len]
    }
}

/// One side of a secure channel.
#[derive(Clone, ZeroizeOnDrop)]
pub struct Channel {
    #[zeroize(skip)]
    keys: Keys,
    /// The MAC of what this side said last.
    ours: [u8; BLOCK],
    /// The MAC of what the other side said last.
    theirs: [u8; BLOCK],
}

impl core::fmt::Debug for Channel {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Channel(secret)")
    }
}

impl Channel {
    /// Writes a secured frame to `out`; gives its length.
    ///
    /// # Errors
    /// [`NoRoom`] when `data` are more than [`OSDP_DATA_MAX`] bytes or the frame does not fit; the channel is as it was.
    pub fn seal(&mut self, header: Header, code: u8, data: &[u8], out: &mut [u8]) -> Result<usize, NoRoom> {
        let mut padded = [0; (OSDP_DATA_MAX / BLOCK + 1) * BLOCK];
        let padded_len = if data.is_empty() { 0 } else { (data.len() / BLOCK + 1) * BLOCK };
        padded.get_mut(..data.len()).filter(|_| data.len() <= OSDP_DATA_MAX).ok_or(NoRoom)?.copy_from_slice(data);
        padded[data.len()] = PADDING;
        let mut before = self.theirs.map(|byte| !byte);
        for block in padded[..padded_len].as_chunks_mut::<BLOCK>().0 {
            block.iter_mut().zip(before).for_each(|(byte, before)| *byte ^= before);
            encrypt(&self.keys.encryption, block);
            before = *block;
        }
        let block = if data.is_empty() { Block::Authentic } else { Block::Encrypted };
        let len = OSDP_HEADER_LEN + 2 + 1 + padded_len + MAC_LEN + header.check.size();
        let mut writer = Writer::new(out.get_mut(..len).ok_or(NoRoom)?);
        emit_covered(&mut writer, header, Some(block), code, &padded[..padded_len], len)?;
        let mac = self.keys.chained(&self.theirs, writer.written());
        emit_end(&mut writer, header.check, &mac)?;
        self.ours = mac;
        Ok(len)
    }

    /// Writes a frame with a MAC whose `data` anybody can read, as devices do when they refuse; gives its length.
    ///
    /// # Errors
    /// [`NoRoom`] when it does not fit.
    pub fn seal_open(&mut self, header: Header, code: u8, data: &[u8], out: &mut [u8]) -> Result<usize, NoRoom> {
        let len = OSDP_HEADER_LEN + 2 + 1 + data.len() + MAC_LEN + header.check.size();
        let mut writer = Writer::new(out.get_mut(..len).ok_or(NoRoom)?);
        emit_covered(&mut writer, header, Some(Block::Authentic), code, data, len)?;
        let mac = self.keys.chained(&self.theirs, writer.written());
        emit_end(&mut writer, header.check, &mac)?;
        self.ours = mac;
        Ok(len)
    }

    /// Opens a secured `frame` of the other side. Its MAC is looked at first; nothing is decrypted that is not authentic. What was
    /// not encrypted comes as it is.
    ///
    /// # Errors
    /// [`NotOpened`]; the channel is as it was unless the frame was authentic.
    pub fn open(&mut self, frame: &Frame<'_>) -> Result<Opened, NotOpened> {
        if !frame.block.is_some_and(Block::has_mac) {
            return Err(NotOpened::Clear);
        }
        let mac = self.keys.chained(&self.ours, frame.covered);
        if !bool::from(mac[..MAC_LEN].ct_eq(&frame.mac)) {
            return Err(NotOpened::Mac);
        }
        self.theirs = mac;
        let mut opened = Opened { data: [0; OSDP_REPLY_MAX], len: 0 };
        if frame.data.is_empty() {
            return Ok(opened);
        }
        opened.data.get_mut(..frame.data.len()).ok_or(NotOpened::Malformed)?.copy_from_slice(frame.data);
        if frame.block == Some(Block::Authentic) {
            opened.len = frame.data.len();
            return Ok(opened);
        }
        let mut before = self.ours.map(|byte| !byte);
        for block in opened.data[..frame.data.len()].as_chunks_mut::<BLOCK>().0 {
            let next = *block;
            self.keys.encryption.decrypt_block((&mut *block).into());
            block.iter_mut().zip(before).for_each(|(byte, before)| *byte ^= before);
            before = next;
        }
        let end = opened.data[..frame.data.len()].iter().rposition(|&byte| byte != 0);
        opened.len = end.filter(|&end| opened.data[end] == PADDING).ok_or(NotOpened::Malformed)?;
        Ok(opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Annex E: the keys of a session by the default key. Each is known by what it makes of one block.
    #[test]
    fn session_keys_are_those_of_annex_e() {
        let challenge: [u8; 8] = core::array::from_fn(|place| 0xb0 + u8::try_from(place).unwrap());
        let keys = Keys::new(&Scbk::DEFAULT, &challenge);
        let table = [
            (&keys.mac, 0x5e86_c676_603b_dee2_d8be_afe1_7863_7332_u128),
            (&keys.last_mac, 0x6fda_86e8_5777_7e81_1320_3575_8239_172e),
            (&keys.encryption, 0xbf8d_c2a8_329a_cb8c_67c6_d0cd_9a45_1682),
        ];
        for (made, expected) in table {
            let (mut by_made, mut by_expected) = ([0x5a; BLOCK], [0x5a; BLOCK]);
            encrypt(made, &mut by_made);
            encrypt(&Aes128::new(&expected.to_be_bytes().into()), &mut by_expected);
            assert_eq!(by_made, by_expected);
        }
    }
}
