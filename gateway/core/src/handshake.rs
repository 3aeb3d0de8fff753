//! The responder's half of Noise, for initiations whose tag holds. `snow` runs it, with random bytes passed in.

use kalitka_protocol::datagram::{Handshake, NOISE_LEN, PAYLOAD_LEN};
use kalitka_protocol::handshake::{Hello, NOISE_NAME, Psk, Welcome, prologue};
use kalitka_protocol::{ReaderId, Stamp};
use snow::params::{
    BaseChoice, CipherChoice, DHChoice, HandshakeChoice, HandshakeModifier, HandshakeModifierList, HandshakePattern,
    HashChoice, NoiseParams,
};
use snow::resolvers::{CryptoResolver, DefaultResolver, RingResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::output::DropReason;
use crate::session;

/// A handshake whose initiation has been read.
pub(crate) struct Responder {
    state: snow::HandshakeState,
    /// What the reader said of itself.
    pub(crate) hello: Hello,
    /// The initiation's stamp, which the response repeats.
    pub(crate) stamp: Stamp,
}

impl Responder {
    /// Reads `initiation`. `ephemeral` is 32 fresh random bytes, used once.
    pub(crate) fn read(
        params: &NoiseParams,
        psk: &Psk,
        initiation: &Handshake<'_>,
        ephemeral: Ephemeral,
    ) -> Result<Self, DropReason> {
        let mut state = build(params, psk, initiation.reader, ephemeral).map_err(|_| DropReason::HandshakeMalformed)?;
        let mut payload = [0; NOISE_LEN];
        let len = state.read_message(initiation.noise(), &mut payload).map_err(|_| DropReason::HandshakeForged)?;
        let hello = payload.get(..len).and_then(|payload| Hello::parse(payload).ok());
        let hello = hello.ok_or(DropReason::HandshakeMalformed)?;
        Ok(Self { state, hello, stamp: initiation.stamp })
    }

    /// Answers with `welcome`; gives the Noise message and the session's keys.
    pub(crate) fn answer(mut self, welcome: &Welcome) -> Result<([u8; NOISE_LEN], session::Keys), DropReason> {
        let mut noise = [0; NOISE_LEN];
        let written = self.state.write_message(&welcome.to_bytes(), &mut noise);
        if written.ok() != Some(NOISE_LEN) {
            return Err(DropReason::HandshakeMalformed);
        }
        let (receive, send) = self.state.dangerously_get_raw_split();
        let (receive, send) = (Zeroizing::new(receive), Zeroizing::new(send));
        let keys = session::Keys::new(&receive, &send).ok_or(DropReason::HandshakeMalformed)?;
        Ok((noise, keys))
    }
}

const _: () = assert!(PAYLOAD_LEN <= NOISE_LEN);

/// The parameters of the protocol's Noise: [`NOISE_NAME`], spelt out.
pub(crate) fn params() -> NoiseParams {
    let modifiers = HandshakeModifierList { list: vec![HandshakeModifier::Psk(0)] };
    let handshake = HandshakeChoice { pattern: HandshakePattern::NN, modifiers };
    let (dh, cipher, hash) = (DHChoice::Curve25519, CipherChoice::AESGCM, HashChoice::SHA256);
    NoiseParams::new(NOISE_NAME.to_owned(), BaseChoice::Noise, handshake, dh, cipher, hash)
}

fn build(
    params: &NoiseParams,
    psk: &Psk,
    reader: ReaderId,
    ephemeral: Ephemeral,
) -> Result<snow::HandshakeState, snow::Error> {
    snow::Builder::with_resolver(params.clone(), Box::new(Resolver(ephemeral)))
        .psk(0, psk.as_bytes())?
        .prologue(&prologue(reader))?
        .build_responder()
}

/// Fresh random bytes for one ephemeral key.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Ephemeral(pub(crate) [u8; 32]);

/// `snow`'s primitives: AES-GCM and SHA-256 by ring, Curve25519 by its default, and no randomness but what was passed in.
struct Resolver(Ephemeral);

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Once(Some(self.0.clone()))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        RingResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        RingResolver.resolve_cipher(choice)
    }
}

/// Gives its bytes once; a second ephemeral key of the same bytes can never be made.
struct Once(Option<Ephemeral>);

impl Random for Once {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        let bytes = self.0.take().filter(|bytes| bytes.0.len() == dest.len()).ok_or(snow::Error::Rng)?;
        dest.copy_from_slice(&bytes.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_what_the_name_says() {
        assert_eq!(params(), NOISE_NAME.parse().unwrap());
    }

    #[test]
    fn random_bytes_are_given_once() {
        let mut once = Once(Some(Ephemeral([7; 32])));
        let mut bytes = [0; 32];
        assert!(once.try_fill_bytes(&mut bytes).is_ok());
        assert_eq!(bytes, [7; 32]);
        assert!(once.try_fill_bytes(&mut bytes).is_err());
    }
}
