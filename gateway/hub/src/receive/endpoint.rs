//! The hub's UDP end. A gateway whose hub was killed learns from the next one, at once, that its connection is gone: QUIC's
//! stateless resets are made with a key that outlives the process.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::{ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, ServerConfig, TokioRuntime};
use quinn_proto::InvalidCid;
use ring::hmac;
use zeroize::Zeroizing;

use crate::pki::Pki;

const RESET_CONTEXT: &str = "kalitka-hub 2026-11 stateless reset key";
const IDS_CONTEXT: &str = "kalitka-hub 2026-11 connection id key";
/// Random, so that nobody gathers the reset tokens of ids that others will have.
const NONCE_LEN: usize = 8;
const TAG_LEN: usize = 8;
const ID_LEN: usize = NONCE_LEN + TAG_LEN;

/// Random ids with a tag, by which every process of this hub knows them: only such an id is answered with a reset.
struct Ids {
    random: blake3::OutputReader,
    key: Zeroizing<[u8; 32]>,
}

impl Ids {
    fn of(key: &[u8; 32], seed: &[u8; 32]) -> Self {
        Self { random: blake3::Hasher::new_keyed(seed).finalize_xof(), key: Zeroizing::new(*key) }
    }

    fn tag(&self, nonce: &[u8]) -> [u8; TAG_LEN] {
        let mut tag = [0; TAG_LEN];
        blake3::Hasher::new_keyed(&self.key).update(nonce).finalize_xof().fill(&mut tag);
        tag
    }
}

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; ID_LEN];
        let (nonce, tag) = id.split_at_mut(NONCE_LEN);
        self.random.fill(nonce);
        tag.copy_from_slice(&self.tag(nonce));
        ConnectionId::new(&id)
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        let known = id.split_at_checked(NONCE_LEN).is_some_and(|(nonce, tag)| self.tag(nonce) == tag);
        if known { Ok(()) } else { Err(InvalidCid) }
    }

    fn cid_len(&self) -> usize {
        ID_LEN
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// An endpoint at `listen`. To be made within a runtime.
pub(super) fn bind(listen: SocketAddr, server: ServerConfig, pki: &Pki) -> io::Result<Endpoint> {
    let secret = pki.key();
    let derive = |context| Zeroizing::new(blake3::derive_key(context, secret.secret_der()));
    let (reset, ids) = (derive(RESET_CONTEXT), derive(IDS_CONTEXT));
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(io::Error::other)?;
    let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &*reset)));
    config.cid_generator(move || Box::new(Ids::of(&ids, &seed)));
    Endpoint::new(config, Some(server), UdpSocket::bind(listen)?, Arc::new(TokioRuntime))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_known_to_the_next_process_and_to_no_other_hub() {
        let mut before = Ids::of(&[1; 32], &[2; 32]);
        let (after, other) = (Ids::of(&[1; 32], &[3; 32]), Ids::of(&[4; 32], &[2; 32]));
        let id = before.generate_cid();
        assert!(id != before.generate_cid() && id.len() == before.cid_len());
        assert!(before.validate(&id).is_ok() && after.validate(&id).is_ok());
        assert!(other.validate(&id).is_err());
        for at in 0..ID_LEN {
            let mut wrong = [0; ID_LEN];
            wrong.copy_from_slice(&id);
            wrong[at] ^= 1;
            assert!(after.validate(&ConnectionId::new(&wrong)).is_err(), "{at}");
        }
        assert!(after.validate(&ConnectionId::new(&[7; 4])).is_err());
    }
}
