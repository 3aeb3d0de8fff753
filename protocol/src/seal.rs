//! Sealing and opening of datagrams in portable code: the reader's side of SPEC 5.

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};

use crate::SessionId;
use crate::datagram::{self, Sealed};
use crate::limits::{SEALED_HEADER_LEN, TAG_LEN};
use crate::wire::NoRoom;

/// One direction's key, expanded.
#[derive(Clone)]
pub struct SealKey(Aes256Gcm);

impl core::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SealKey(secret)")
    }
}

impl SealKey {
    /// Expands `key`.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(Aes256Gcm::new(&(*key).into()))
    }

    /// Seals `plaintext_len` bytes that stand in `datagram` behind room for the header; gives the datagram's length.
    ///
    /// # Errors
    /// [`NoRoom`] when header, plaintext and tag do not fit in `datagram`.
    pub fn seal(
        &self,
        session: SessionId,
        counter: u64,
        datagram: &mut [u8],
        plaintext_len: usize,
    ) -> Result<usize, NoRoom> {
        let len = SEALED_HEADER_LEN + plaintext_len + TAG_LEN;
        let (header, rest) =
            datagram.get_mut(..len).and_then(<[u8]>::split_first_chunk_mut::<SEALED_HEADER_LEN>).ok_or(NoRoom)?;
        *header = datagram::sealed_header(session, counter);
        let (text, tag) = rest.split_at_mut(plaintext_len);
        let nonce = datagram::nonce(counter);
        let made = self.0.encrypt_inout_detached(&nonce.into(), header, text.into()).map_err(|_| NoRoom)?;
        tag.copy_from_slice(&made);
        Ok(len)
    }

    /// Opens `sealed` in place; gives the plaintext, or `None` when the seal does not hold.
    #[must_use]
    pub fn open<'a>(&self, sealed: Sealed<'a>) -> Option<&'a [u8]> {
        let Sealed { counter, header, body, .. } = sealed;
        let (text, tag) = body.split_last_chunk_mut::<TAG_LEN>()?;
        let nonce = datagram::nonce(counter);
        self.0.decrypt_inout_detached(&nonce.into(), header, (&mut *text).into(), &(*tag).into()).ok()?;
        Some(text)
    }
}
